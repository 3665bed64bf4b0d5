"""Which runs have a seed that was declared before the results were seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.contract import numbers_in
from reports.runs.naming import loss_values, scalars, setting_key
from reports.runs.records import Run
from reports.runs.versions import code_of


def planned(runs: Sequence[Run], sweeps: Iterable[Run]) -> set[str]:
    """The ids of the runs whose seeds were declared.

    The runs of one setting, number of epochs, loss and code have one plan: the seeds of the first
    sweep of two seeds or more that started one of them. Where two or more of its seeds had
    finished before, their results may have led to the plan, and they are not of it. (One seed says
    nothing about the losses.) Single runs without a sweep declare nothing.

    Args:
        runs: every complete run of the experiment, those that do not count included.
        sweeps: the parent runs of the experiment, the oldest first.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    children: dict[str, list[Run]] = {}
    keys = {run.run_id: _key(run) for run in runs}
    for run in runs:
        groups.setdefault(keys[run.run_id], []).append(run)
        children.setdefault(run.tags.get("mlflow.parentRunId", ""), []).append(run)
    plans: dict[tuple[Any, ...], set[int]] = {}
    for sweep in sweeps:
        own = children.get(sweep.run_id, [])
        seeds = _declared(sweep, own)
        for key in {keys[run.run_id] for run in own} - plans.keys():
            if len(seeds) > 1:
                before = {_seed(run) for run in groups[key] if _ended_before(run, sweep)}
                plans[key] = seeds - before if len(before) > 1 else seeds
    return {
        run.run_id for key, seeds in plans.items() for run in groups[key] if _seed(run) in seeds
    }


def _declared(sweep: Run, children: Iterable[Run]) -> set[int]:
    """The seeds of a sweep: those that it recorded, of older ones those of the runs it started."""
    with contextlib.suppress(ValueError, KeyError):
        return set(numbers_in(sweep.tags["seeds"]))
    return {_seed(run) for run in children}


def _ended_before(run: Run, sweep: Run) -> bool:
    return run.status == "FINISHED" and (run.ended or 0) <= (sweep.started or 0)


def _key(run: Run) -> tuple[Any, ...]:
    return setting_key(run), scalars(run)["epochs"], tuple(loss_values(run).items()), code_of(run)


def _seed(run: Run) -> int:
    return int(scalars(run)["seed"])
