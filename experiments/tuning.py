"""Choosing learning rates with an equal budget, and extending their grid.

Pure, and as the reports do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

_DIGITS = 12  # mean accuracies that differ by less are equal


def choose(trials: Mapping[float, Sequence[float | None]]) -> float:
    """The rate (> 0) with the best trials.

    Of each rate its accuracies in [0, 1], None for a run that diverged.

    Rates are ranked by the number of trials that gave an accuracy, then by their mean; of equals
    the smaller wins. So a rate at which a seed diverged comes after every rate at which fewer did,
    and where every trial diverged the smallest rate is chosen.
    """
    scored = {
        rate: [score for score in scores if score is not None] for rate, scores in trials.items()
    }
    return min(
        scored,
        key=lambda rate: (
            -len(scored[rate]),
            -round(sum(scored[rate]) / max(1, len(scored[rate])), _DIGITS),
            rate,
        ),
    )


def extended(rates: Iterable[float], chosen: Iterable[float]) -> list[float]:
    """`rates` (> 0), ascending.

    Half a decade further on each side on which one of the `chosen` is the last.
    """
    grid = sorted(set(rates))
    best = set(chosen)
    below = [half_decade(grid[0], -1)] if grid[0] in best else []
    above = [half_decade(grid[-1], 1)] if grid[-1] in best else []
    return [*below, *grid, *above]


def half_decade(rate: float, steps: int) -> float:
    """The rate `steps` half decades from `rate` (> 0), of the form 1 or 3 times a power of ten."""
    number = round(2 * math.log10(rate)) + steps
    return float(f"{(1, 3)[number % 2]}e{number // 2}")
