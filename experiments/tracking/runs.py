"""Which runs a store has, one process for each, and the end of those whose process has ended."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

from mlflow.entities import Run as MlflowRun

from experiments import places
from experiments.terminal import plural
from experiments.tracking import locks
from experiments.tracking.store import Store

log = logging.getLogger(__name__)

_STALE_SECONDS = 3600.0  # without a new metric, after which a run of another host counts as stale


class Finished(Exception):
    """The run has been finished since one last looked."""


def all_runs(store: Store) -> dict[str, list[MlflowRun]]:
    """The runs of each identity, oldest first."""
    by_identity: dict[str, list[MlflowRun]] = {}
    for run in store.search("tags.kind = 'run'"):
        by_identity.setdefault(run.data.tags.get("identity", ""), []).append(run)
    return by_identity


def is_local(store: Store, run: MlflowRun) -> bool:
    """Whether the lock of a run, or of a sweep's run, is on this machine.

    In a database a run that names no host counts as local.
    """
    default = locks.HOST if places.database(store.uri) else ""
    return run.data.tags.get("host", default) == locks.HOST


@contextlib.contextmanager
def run_lock(store: Store, identity: str, *, again: bool = False) -> Iterator[None]:
    """Hold the lock of a run; runs of it in status RUNNING whose process has ended are closed.

    Raises:
        Taken: Another process computes it.
        Finished: A FINISHED run of it is in the store, and not `again`.
    """
    with locks.lock(store, identity, wait=True):
        same = f"tags.identity = '{identity}' and attributes.status = "
        for run in store.search(same + "'RUNNING'"):
            if is_local(store, run):
                _close(store, run, "killed")
        if not again and store.search(same + "'FINISHED'"):
            raise Finished
        yield


def close_stale(
    store: Store,
    *,
    parent: str = "",
    identity: str = "",
    outcome: str = "killed",
    other_hosts: bool = False,
) -> None:
    """Close runs and sweeps that are RUNNING although their process has ended, and say so.

    Args:
        store: The store.
        parent: The id of a sweep whose jobs are over, also those on other machines.
        identity: That of a single run whose process has ended.
        outcome: The outcome of the runs of `parent` or `identity`: killed or failed; that of all
            others is killed.
        other_hosts: Also close stale runs of other machines, see `is_stale`; else they are named.
    """
    closed, stale = 0, []
    for run in _running(store):
        tags = run.data.tags
        of_parent = parent != "" and tags.get("mlflow.parentRunId") == parent
        end = outcome if of_parent or identity == tags.get("identity", "no run") else "killed"
        if is_local(store, run):
            name = tags.get("identity", run.info.run_id)
            with contextlib.suppress(locks.Taken), locks.lock(store, name, probe=True):
                closed += _close(store, run, end)
        elif of_parent:
            closed += _close(store, run, end)
        elif is_stale(store, run):
            if other_hosts:
                closed += _close(store, run, end)
            else:
                stale.append(f"{run.info.run_id} on {tags.get('host', 'another machine')}")
    if closed:
        log.info("closed %s in status RUNNING whose process has ended", plural(closed, "run"))
    if stale and not parent:  # logged when a command begins
        log.warning(
            "%s RUNNING on other machines without a new metric for an hour: %s; close_stale=true "
            "marks such runs as killed",
            plural(len(stale), "run"),
            ", ".join(stale),
        )


def runners(store: Store, identities: Iterable[str]) -> dict[str, str]:
    """The process that computes each of these runs, in words; absent where none does."""
    wanted = set(identities)
    processes = {i: holder for i in wanted if (holder := locks.holder(store, i))}
    for run in _running(store):
        identity = run.data.tags.get("identity")
        if identity in wanted and not is_local(store, run) and not is_stale(store, run):
            processes.setdefault(
                identity, f"a process on {run.data.tags.get('host', 'another host')}"
            )
    return processes


def is_stale(store: Store, run: MlflowRun) -> bool:
    """Whether a RUNNING run, or a sweep with all its runs, has had no new metric for an hour."""
    return time.time() - _last_update(store, run) / 1000 > _STALE_SECONDS


def _last_update(store: Store, run: MlflowRun) -> int:
    """When something of a run was written for the last time, in milliseconds since 1970."""
    times = [run.info.start_time, run.info.end_time or 0]
    if run.data.tags.get("kind") == "sweep":
        children = store.search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        times += [_last_update(store, child) for child in children]
    elif run.info.status == "RUNNING":
        for key in run.data.metrics:
            history = store.client.get_metric_history(run.info.run_id, key)
            times += [metric.timestamp for metric in history]
    return max(times)


def _running(store: Store) -> list[MlflowRun]:
    """The RUNNING runs and sweeps of this project, oldest first."""
    runs = store.search("attributes.status = 'RUNNING'")
    return [run for run in runs if run.data.tags.get("kind") in ("run", "sweep")]


def _close(store: Store, run: MlflowRun, outcome: str) -> bool:
    """End a run that no process computes any more, unless it has ended since it was read.

    A run that has its outcome misses only its status, and becomes FINISHED.
    """
    run = store.client.get_run(run.info.run_id)
    if run.info.status != "RUNNING":
        return False
    if run.data.tags.get("outcome") in ("ok", "diverged"):
        store.client.set_terminated(run.info.run_id, "FINISHED")
        return True
    if run.data.tags["kind"] == "run":
        store.client.set_tag(run.info.run_id, "outcome", outcome)
    store.client.set_terminated(run.info.run_id, outcome.upper())
    return True
