"""Many runs: those of a grid, the parent of a sweep.

The runs of processes that died without a word.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow.entities import Run as MlflowRun

from experiments import owners, reuse, source_digest
from experiments.terminal import plural
from experiments.tracking import claims
from experiments.tracking.claims import Claim, Registry
from experiments.tracking.run import create_run
from experiments.tracking.store import Away, Store

log = logging.getLogger(__name__)

Planned = tuple[list[str], source_digest.Parts]  # identities; by option, the files that it reaches


def runs_by_identity(store: Store, identities: Iterable[str]) -> dict[str, MlflowRun]:
    """For each identity its newest FINISHED run, else its newest run.

    Identities never run are absent.
    """
    runs = all_runs(store)
    return {identity: reuse.counting(runs[identity]) for identity in identities if identity in runs}


def all_runs(store: Store) -> dict[str, list[MlflowRun]]:
    """The runs of each identity, oldest first."""
    found: dict[str, list[MlflowRun]] = {}
    for run in store.search("tags.kind = 'run'"):
        found.setdefault(run.data.tags.get("identity", ""), []).append(run)
    return found


def the_dead(store: Store, *, parent: str | None = None) -> list[MlflowRun]:
    """The runs and parents (of `parent`.

    Its children) that are RUNNING though their owner is dead.
    """
    of_parent = f" and tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    running = list(store.search("attributes.status = 'RUNNING'" + of_parent))
    if not running:
        return []
    registry = claims.read(store)
    # Once an owner is known to be dead, once more as he left it: he may have ended well since, or
    # another have taken it up.
    again = [store.client.get_run(run.info.run_id) for run in running if _ownerless(registry, run)]
    return [run for run in again if run.info.status == "RUNNING" and _ownerless(registry, run)]


def _ownerless(registry: Registry, run: MlflowRun) -> bool:
    if "owner" not in run.data.tags:
        return False  # not ours
    owner = owners.parse(run.data.tags["owner"])
    # Of this process's own, a run that is still RUNNING was left so; its sweep goes on.
    left = owner.token == owners.me().token and run.data.tags.get("kind") == "run"
    return left or not registry.lives(owner)


def bury_the_dead(
    store: Store, *, parent: str | None = None, how: str = "killed"
) -> list[MlflowRun]:
    """`bury` all `the_dead`, and say so; those runs."""
    found = the_dead(store, parent=parent)
    for run in found:
        bury(store, run, how)
    if found:
        count = plural(len(found), "run")
        log.info("%s of processes that are dead were still RUNNING; ended", count)
    return found


def bury(store: Store, run: MlflowRun, how: str = "killed") -> None:
    """End a run or a parent that nobody runs any more.

    how: killed or failed. A run that had said all it had to say, and only missed its status,
    becomes FINISHED.
    """
    tags = run.data.tags
    identity, _, attempt = tags.get("attempt", "").partition("/")
    ended = Claim(store, identity, int(attempt)).end(how) if attempt else how
    if ended == "finished" and "outcome" in tags:
        store.client.set_terminated(run.info.run_id, "FINISHED")
        return
    if tags.get("kind") == "run":
        store.client.set_tag(run.info.run_id, "outcome", how)
    store.client.set_terminated(run.info.run_id, how.upper())


def planned(store: Store, parent: str) -> Planned:
    """What a sweep has planned, from its parent run."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(store.client.download_artifacts(parent, "grid.json", directory))
        grid = json.loads(path.read_text(encoding="utf-8"))
    return grid["identities"], grid.get("code", {})


def begin_sweep(
    store: Store,
    *,
    name: str,
    identities: Iterable[str],
    again: bool,
    code: source_digest.Parts | None = None,
) -> str:
    """The id of the parent run of the grid with these identities.

    RUNNING and owned by this process.

    code: the files that each option reaches, with their digests, for `planned`. The newest parent
    of the same grid goes on, unless it is another living process's, or FINISHED and `again`; else
    there is a new one.
    """
    grid = sorted(set(identities))
    digest = hashlib.sha256(json.dumps(grid).encode()).hexdigest()
    known = list(store.search(f"tags.kind = 'sweep' and tags.grid = '{digest}'"))
    owner = owners.me().text()
    # A parent that is RUNNING has an owner who lives: the dead are buried before a sweep begins.
    if (
        known
        and known[-1].info.status != "RUNNING"
        and not (again and known[-1].info.status == "FINISHED")
    ):
        run_id = known[-1].info.run_id
        store.client.set_tag(run_id, "owner", owner)
        store.client.update_run(run_id, status="RUNNING")
        return run_id
    run_id = create_run(store, name, {"kind": "sweep", "grid": digest, "owner": owner}).info.run_id
    store.client.log_text(
        run_id, json.dumps({"identities": grid, "code": code or {}}, indent=1), "grid.json"
    )
    return run_id


def end_sweep(store: Store, parent: str, status: str) -> None:
    """Close the parent with FINISHED, FAILED or KILLED.

    With it the children whose process died without a word.

    Children that other processes run, and that live, are left to them. What cannot be told now, the
    next command will tell.
    """
    try:
        bury_the_dead(store, parent=parent, how="killed" if status == "KILLED" else "failed")
        store.client.set_terminated(parent, status)
    except Away as error:
        log.warning("%s; the same command will end this sweep, and go on with it", error)


def correct(store: Store, run: MlflowRun, status: str) -> None:
    """Give a run that has ended another status; its end stays when it was.

    One that has changed since `run` was read is left alone.
    """
    now = store.client.get_run(run.info.run_id).info
    if now.status == run.info.status:
        store.client.set_terminated(now.run_id, status, end_time=now.end_time)
