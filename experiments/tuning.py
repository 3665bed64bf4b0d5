"""Choosing learning rates with an equal budget, as the reports do it, and extending a grid."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments import contract

_DIGITS = 12  # mean accuracies that differ by less are equal


class Diverged(float):
    """The accuracy that a diverged run counts with, see `contract.constant_accuracy`."""


def score(run: Any) -> float:
    """The validation accuracy in [0, 1] of a finished run of MLflow; `Diverged` if it diverged."""
    accuracy = contract.validation_accuracy(run.data.metrics)
    if run.data.tags.get("outcome") == "ok" and accuracy is not None:
        return accuracy
    return Diverged(contract.constant_accuracy(run.data.tags.get("classes")))


def all_diverged(trials: Mapping[float, Sequence[float]]) -> bool:
    """Whether no run of any rate ended well."""
    return all(isinstance(score, Diverged) for scores in trials.values() for score in scores)


def choose(trials: Mapping[float, Sequence[float]]) -> float:
    """The rate (> 0) with the highest mean accuracy; of equal rates the smaller.

    The reports choose the same.

    Args:
        trials: Of each rate the `score` of its runs.
    """
    return min(trials, key=lambda rate: (-round(statistics.fmean(trials[rate]), _DIGITS), rate))


def extended(rates: Iterable[float], chosen: Iterable[float]) -> list[float]:
    """`rates`, ascending, and half a decade more on each side where a chosen one is the last."""
    grid = sorted(set(rates))
    best = set(chosen)
    below = [contract.half_decade(grid[0], -1)] if grid[0] in best else []
    above = [contract.half_decade(grid[-1], 1)] if grid[-1] in best else []
    return [*below, *grid, *above]


def at_the_edge(loss: str, trials: Mapping[float, Sequence[float]]) -> str:
    """A warning where the best rate of a loss is the last that was tried on a side, else "".

    Args:
        loss: The loss, in words.
        trials: As for `choose`.
    """
    if len(trials) < 2 or all_diverged(trials):
        return ""
    best = choose(trials)
    wider = [rate for rate in extended(trials, [best]) if rate not in trials]
    if not wider:
        return ""
    side = "lowest" if best == min(trials) else "highest"
    return (
        f"rate-edge: the best learning rate of {loss} is {best:g}, the {side} of the {len(trials)} "
        f"tried: a better one may lie beyond. Add lr={','.join(f'{rate:g}' for rate in wider)} for "
        "every loss"
    )
