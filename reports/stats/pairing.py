"""The runs of a loss in one trial: which count against another loss, and whether as pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from reports.names import plain
from reports.stats.runs import FINISHED, Trial, ended_badly, trials

RunsBySeed = dict[int, Any]
"""The runs of one loss in one trial, by seed."""

_PROVED = "hashes equal"
_NOTHING = "nothing to pair"


class Dropped(NamedTuple):
    """A run a contrast lacks.

    `reason`: missing, failed, killed, no value (of the metric), or no rate (none could be chosen,
    since no tuning seed has a finished run).
    """

    loss: str
    lr: float
    seed: int
    reason: str


class LossRuns(NamedTuple):
    """A loss in one trial. has: whether its head has the metric."""

    loss: str
    trial: Trial
    runs: RunsBySeed
    metric: str
    has: bool

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return self.trial.lr

    def lacking(self, seed: int) -> str:
        """Why it has nothing to count at a seed, or nothing."""
        if math.isnan(self.lr):
            return "no rate"
        run = self.runs.get(seed)
        if run is None:
            return "missing"
        if run["outcome"] not in FINISHED:
            return str(run["outcome"])
        valued = self.has and (run["outcome"] == "diverged" or math.isfinite(run[self.metric]))
        return "" if valued else "no value"


def with_metric(runs: pd.DataFrame, metric: str) -> dict[str, bool]:
    """Whether the head of each loss has the metric.

    It has not when runs are ok and none of them has a value.
    """
    ok = runs[runs["outcome"] == "ok"]
    valued = set(ok.loc[ok[metric].abs() < math.inf, "loss"].astype(str))
    return {loss: loss in valued for loss in set(ok["loss"].astype(str))}


def runs_by_trial(
    kept: pd.DataFrame, metric: str, has: Mapping[str, bool]
) -> dict[tuple[str, Trial], LossRuns]:
    """The runs of each loss in each trial."""
    by_trial: dict[tuple[str, Trial], LossRuns] = {}
    for run, trial in zip(kept.to_dict("records"), trials(kept), strict=True):
        key = str(run["loss"]), trial
        side = by_trial.setdefault(key, LossRuns(*key, {}, metric, has.get(key[0], True)))
        side.runs[int(run["seed"])] = run
    return by_trial


def ended_well(run: Mapping[str, Any]) -> bool:
    """Whether the run finished and did not diverge."""
    return bool(run["outcome"] == "ok")


class ComparedRuns(NamedTuple):
    """The runs of two losses that count, in the same order of seeds where they are paired.

    pairing: why they are, or are not. diverged: how many of either loss; where no run of either
    ended well, there is nothing to compare, and these are all that diverged.
    """

    a: RunsBySeed
    b: RunsBySeed
    pairing: str
    paired: bool
    diverged: tuple[int, ...]

    def survivors(self) -> ComparedRuns:
        """The runs that did not diverge, of pairs those of which neither did."""
        alive = [{s: run for s, run in side.items() if ended_well(run)} for side in self[:2]]
        a, b = _common(alive) if self.paired else alive
        return self._replace(a=a, b=b)


def compared_runs(a: LossRuns, b: LossRuns) -> ComparedRuns:
    """The runs of two losses that count."""
    runs: list[RunsBySeed] = [
        {seed: run for seed, run in sorted(side.runs.items()) if not side.lacking(seed)}
        for side in (a, b)
    ]
    trained = any(ended_well(run) for side in runs for run in side.values())
    pairing = _pairing(*runs) if trained else _NOTHING
    paired = pairing in (_PROVED, _NOTHING)
    if trained and paired:
        runs = _common(runs)
    diverged = tuple(sum(not ended_well(run) for run in side.values()) for side in runs)
    counted = runs if trained else [{}, {}]
    return ComparedRuns(counted[0], counted[1], pairing, paired, diverged)


def _common(runs: Sequence[RunsBySeed]) -> list[RunsBySeed]:
    seeds = sorted(runs[0].keys() & runs[1].keys())
    return [{seed: side[seed] for seed in seeds} for side in runs]


def _pairing(a: RunsBySeed, b: RunsBySeed) -> str:
    """Why the runs of two sides are pairs, or are not."""
    if not (a and b):
        return _NOTHING
    common = sorted(a.keys() & b.keys())
    if not common:
        return "no seed in common"
    differ: dict[str, list[int]] = {}
    for seed in common:
        for name in ("init_hash", "order_hash"):
            one, other = a[seed][name], b[seed][name]
            if not (isinstance(one, str) and one and isinstance(other, str) and other):
                differ.setdefault(f"{name} not recorded", []).append(seed)
            elif one != other:
                differ.setdefault(f"{name} differs", []).append(seed)
    if not differ:
        return _PROVED
    return "; ".join(
        f"{what} at seed {', '.join(map(str, seeds))}" for what, seeds in differ.items()
    )


def dropped(a: LossRuns, b: LossRuns) -> list[list[Dropped]]:
    """The runs that either side lacks, of all seeds of both."""
    return [
        [
            Dropped(side.loss, side.lr, seed, reason)
            for seed in sorted(a.runs.keys() | b.runs.keys())
            if (reason := side.lacking(seed))
        ]
        for side in (a, b)
    ]


def why_nothing(both: Iterable[LossRuns], view: str, runs: pd.DataFrame) -> str:
    """How the runs of each side ended that has no run that ended well.

    For example "all 2 runs of mse diverged".
    """
    texts = []
    for side in both:
        name, tried = plain(side.loss, 48), runs[runs["loss"].astype(str) == side.loss]
        if view != "best":  # at its other rates the loss may have done well
            name = f"{name} at learning rate {side.lr:g}"
            tried = tried[(tried["lr"] == side.lr) & (tried["tuned"] == side.trial.tuned)]
        texts.append(_ended(side, name, [str(outcome) for outcome in tried["outcome"]]))
    return " and ".join(dict.fromkeys(text for text in texts if text))


def _ended(side: LossRuns, name: str, outcomes: list[str]) -> str:
    """How a side's runs ended; "" when some that count ended well.

    outcomes: those of all runs of its loss.
    """
    at_rate = [str(run["outcome"]) for run in side.runs.values()]
    if "ok" in at_rate:
        return ""
    if not outcomes:
        return f"there are no runs of {name}"
    if "ok" not in outcomes:
        return ended_badly(outcomes, f"of {name}")
    if math.isnan(side.lr):
        return f"no run of {name} on tuning seeds finished, so it has no learning rate"
    if not at_rate:
        return f"no evaluation seed has a run of {name} at its learning rate {side.lr:g}"
    return ended_badly(at_rate, f"of {name} on evaluation seeds at its learning rate {side.lr:g}")
