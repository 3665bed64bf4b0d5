"""The parent run of a sweep."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments import contract, source_digest
from experiments.tracking import locks
from experiments.tracking.run import create_run
from experiments.tracking.runs import close_stale
from experiments.tracking.store import Away, Store

log = logging.getLogger(__name__)

_TAG_LENGTH = 8000  # the longest that MLflow keeps

Planned = tuple[list[str], source_digest.Parts]  # identities; by option, the files that it reaches


def planned(store: Store, parent: str) -> Planned:
    """What a sweep has planned, from its parent run."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(store.client.download_artifacts(parent, "grid.json", directory))
        grid = json.loads(path.read_text(encoding="utf-8"))
    return grid["identities"], grid.get("code", {})


@dataclasses.dataclass
class Sweep:
    """A sweep that is under way: the id of its run, and the status that it will end with."""

    run_id: str
    status: str = "KILLED"


@contextlib.contextmanager
def tracked_sweep(
    store: Store,
    *,
    name: str,
    identities: Iterable[str],
    again: bool,
    code: source_digest.Parts | None = None,
    seeds: Iterable[int] = (),
    question: Mapping[str, Any] | None = None,
    tuned: Mapping[str, Any] | None = None,
) -> Iterator[Sweep]:
    """The parent run of the grid with these identities, RUNNING and locked during the block.

    The newest parent of the same grid goes on, unless another process holds its lock, or it is
    FINISHED and there are runs to compute; else there is a new one. At the end it gets the status
    of the `Sweep`, after an exception FAILED, and its runs whose process has ended are closed.

    Args:
        store: The store.
        name: The name of a new parent.
        identities: Those of the grid.
        again: Whether there are runs to compute.
        code: The files that each option reaches, with their digests, for `planned`.
        seeds: Those that the command declares. A new parent keeps them in its tag `seeds`, which
            does not change when it goes on.
        question: What its report will be asked; kept in the tag `question` in the same way. A
            parent with another question does not go on: there is a new one beside it.
        tuned: The values that are tuned, by loss and name; kept in the tag `tune` in the same way.
    """
    declared = {"seeds": contract.ranges(seeds)}
    if question is not None:
        declared["question"] = json.dumps(question)
    if tuned:
        declared["tune"] = json.dumps(tuned)
    grid = sorted(set(identities))
    digest = hashlib.sha256(json.dumps(grid).encode()).hexdigest()
    with contextlib.ExitStack() as stack:
        sweep = None
        same = [
            run
            for run in store.search(f"tags.kind = 'sweep' and tags.grid = '{digest}'")
            if question is None or run.data.tags.get("question") == declared["question"]
            if run.data.tags.get("tune") == declared.get("tune")
        ]
        for run in same[-1:]:
            if run.info.status != "RUNNING" and not (again and run.info.status == "FINISHED"):
                with contextlib.suppress(locks.Taken):
                    stack.enter_context(locks.lock(store, run.info.run_id))
                    sweep = Sweep(run.info.run_id)
        if sweep is None:
            tags = {"kind": "sweep", "grid": digest}
            # Without a tag of its seeds, a report takes those of its runs.
            tags |= {key: text for key, text in declared.items() if 0 < len(text) <= _TAG_LENGTH}
            sweep = Sweep(create_run(store, name, tags).info.run_id)
            stack.enter_context(locks.lock(store, sweep.run_id, wait=True))
        content = json.dumps({"identities": grid, "code": code or {}}, indent=1)
        store.client.log_text(sweep.run_id, content, "grid.json")
        store.client.set_tag(sweep.run_id, "host", locks.HOST)
        store.client.update_run(sweep.run_id, status="RUNNING")
        try:
            yield sweep
        except Exception:
            sweep.status = "FAILED"
            raise
        finally:
            # After an error or an interruption, it does not wait for the store.
            _end_sweep(store if sweep.status == "FINISHED" else store.hasty(), sweep)


def _end_sweep(store: Store, sweep: Sweep) -> None:
    """Give a sweep its status, and close its runs whose process has ended."""
    outcome = "killed" if sweep.status == "KILLED" else "failed"
    try:
        close_stale(store, parent=sweep.run_id, outcome=outcome)
        store.client.set_terminated(sweep.run_id, sweep.status)
    except Away as error:
        log.warning("%s; the same command will end this sweep, and go on with it", error)
