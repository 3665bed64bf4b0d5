"""What was declared before the results were seen: questions, and the seeds of runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from experiments.contract import is_metric, numbers_in
from reports.runs.naming import Tuned, loss_values, scalars, setting_key
from reports.runs.records import Run
from reports.runs.versions import code_of
from reports.runs.wording import some


@dataclass(frozen=True)
class Declared:
    """A question that was declared with a sweep, before its runs.

    sweep: the id of the sweep, `parent_run_id` of the runs that it started; name: the sweep's.
    time: when it was declared, UTC: when the sweep began. It never changes; a sweep that goes on
    with another question is a sweep of its own.
    metric: as typed, such as test/accuracy. margin: None for the metric's own. reference: the loss
    that all others are compared with. epochs: those of the answer. seeds: all that were to be run.
    """

    sweep: str
    name: str
    time: pd.Timestamp
    metric: str
    margin: float | None
    reference: str
    epochs: int
    seeds: tuple[int, ...]

    @property
    def asks(self) -> tuple[str, float | None, str, int]:
        """What is asked, whoever declared it and of which seeds."""
        return self.metric, self.margin, self.reference, self.epochs


def common(named: Mapping[str, Sequence[Declared]]) -> tuple[list[Declared], str]:
    """The questions that several sweeps or experiments declared alike, of all their seeds.

    Args:
        named: the questions of each, by its name for people.

    Returns:
        The questions, and "" or why there are none; without a common question those of all.
    """
    every = [each for own in named.values() for each in own]
    shared = set.intersection(*({each.asks for each in own} for own in named.values()))
    if not shared:
        without = [name for name, own in named.items() if not own]
        why = (
            f"no question was declared with {some(without)}"
            if without
            else (f"{some(list(named))} declared different questions")
        )
        return every, why
    seeds = {
        asks: tuple(sorted({seed for each in every if each.asks == asks for seed in each.seeds}))
        for asks in shared
    }
    return [replace(each, seeds=seeds[each.asks]) for each in every if each.asks in shared], ""


def questions(sweeps: Iterable[Run]) -> list[Declared]:
    """The questions that were declared with these sweeps; one that cannot be read is left out."""
    declared = []
    for sweep in sweeps:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            content = json.loads(sweep.tags["question"])
            margin = None if content["margin"] is None else float(content["margin"])
            time = pd.Timestamp(sweep.started or 0, unit="ms", tz="UTC")
            texts = str(content["reference"]), int(content["epochs"])
            seeds = numbers_in(content["seeds"])
            if is_metric(content["metric"]):
                name = content["metric"]
                declared.append(
                    Declared(sweep.run_id, sweep.name, time, name, margin, *texts, seeds)
                )
    return declared


def tunings(sweeps: Iterable[Run]) -> list[Tuned]:
    """The own values that these sweeps declared as tuned; what cannot be read is left out."""
    tuned: list[Tuned] = []
    for sweep in sweeps:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            content = json.loads(sweep.tags["tune"])
            tuned.append(
                {
                    str(loss): {
                        str(name): [str(value) for value in values] for name, values in each.items()
                    }
                    for loss, each in content.items()
                }
            )
    return tuned


def planned(runs: Sequence[Run], sweeps: Iterable[Run]) -> dict[str, int]:
    """The runs whose seeds were declared: by id, how many seeds of the plan have no result yet.

    The runs of one setting, number of epochs, loss and code have one plan: the seeds of the first
    sweep of two seeds or more that started one of them. Where two or more of its seeds had
    finished before, their results may have led to the plan, and they are not of it. (One seed says
    nothing about the losses.) Seeds of another sweep belong to the plan, too, where at most one
    seed had finished when that sweep began: as of sweeps that run side by side. Single runs without
    a sweep declare nothing.

    Args:
        runs: every complete run of the experiments, those that do not count included.
        sweeps: the parent runs of the experiments, the oldest first.
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
        for key in {keys[run.run_id] for run in own}:
            before = {_seed(run) for run in groups[key] if _ended_before(run, sweep)}
            if key in plans and len(before) < 2:
                plans[key] = plans[key] | seeds
            elif key not in plans and len(seeds) > 1:
                plans[key] = seeds - before if len(before) > 1 else seeds
    missing_by_run: dict[str, int] = {}
    for key, seeds in plans.items():
        missing = len(seeds - {_seed(run) for run in groups[key] if run.status == "FINISHED"})
        missing_by_run |= {run.run_id: missing for run in groups[key] if _seed(run) in seeds}
    return missing_by_run


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
