"""What it would take: the difference that n seeds can show, and the seeds that would decide.

Planning numbers for normal differences. The decision they plan for is the one of a verdict (see
`reports.stats.two_way`); the caller passes alpha / m for a family of m, Holm's first and hardest
step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from reports.stats.two_way import PLANNED, e_threshold

SEEDS_CAP = 10_000
"""Above this many seeds `seeds_needed` says infinity: no longer a plan."""

DECIDED_FROM = 3
"""Pairs (or runs of the smaller side) from which a loss can be called better or worse."""

EQUIVALENT_FROM = 5
"""Pairs (or runs of the smaller side) from which two losses can be called equivalent."""

_DRAWS = 128


class Seeds(NamedTuple):
    """A number of seeds: the median of what would be enough, and its quartiles."""

    low: float
    middle: float
    high: float


def detectable_difference(
    error: float, freedom: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest true difference that is shown with the given power, in the unit of `error`.

    Args:
        error: the standard error of the difference.
        freedom: its degrees of freedom.
        alpha: of the test, already divided by the size of the family.
        power: of the test; the chance of the wrong direction is neglected.

    >>> print(f"{detectable_difference(1 / math.sqrt(10), 9):.3f}")
    0.996
    """
    if not error > 0:
        return math.nan if math.isnan(error) else 0.0
    t = special.stdtrit(freedom, 1 - alpha / 2)
    return error * float(special.nctdtrinc(freedom, 1 - power, t))


def seeds_needed(
    difference: float,
    sd: float,
    n: int,
    *,
    of_images: float = 0.0,
    margin: float = math.nan,
    alpha: float = 0.05,
    power: float = 0.8,
    samples: int = 1,
    cap: int = SEEDS_CAP,
) -> Seeds:
    """The seeds after which a verdict has the given chance, from the n seeds there are.

    The true difference and spread are not known: they are drawn from their posterior (reference
    prior), and each draw has a number of seeds of its own. The result is the median of these
    numbers with their quartiles. Further seeds were not declared, so they decide by the e-value.

    Args:
        difference: as observed.
        sd: as observed, of the paired differences, or of one run when `samples` is 2.
        n: pairs, or runs of the smaller side.
        of_images: the variance that more seeds do not make smaller.
        margin: of equivalence, in the unit of `difference`; NaN: none.
        alpha: of the tests, already divided by the size of the family.
        power: of either test.
        samples: 1 for paired values, 2 for two independent samples.
        cap: a number is infinity when more than this many are needed.

    >>> low, middle, high = seeds_needed(1.0, 1.0, 10)
    >>> low < middle < high
    True
    """
    if n < 2 or math.isnan(difference) or not sd > 0:
        return Seeds(math.nan, math.nan, math.nan)
    # Evenly spread points of the unit square, so nothing is random.
    place = np.arange(1, _DRAWS + 1)
    u, w = (0.7548776662 * place) % 1, (0.5698402910 * place) % 1
    freedom = samples * (n - 1)
    sigma = sd * np.sqrt(freedom / special.chdtri(freedom, u))
    images = 0.0 if math.isnan(of_images) else of_images
    mean = difference + special.ndtri(w) * np.sqrt(samples * sigma**2 / n + images)

    shift = np.abs(mean)

    def enough(seeds: np.ndarray) -> np.ndarray:
        v, error = samples * (seeds - 1.0), np.sqrt(samples * sigma**2 / seeds + images)
        least = e_threshold(seeds / samples, v, 1 / ((1 - PLANNED) * alpha))
        t = np.maximum(special.stdtrit(v, 1 - PLANNED * alpha / 2), least)
        shows = _above(t, v, shift / error) >= power
        if math.isnan(margin):
            return shows
        t = np.maximum(special.stdtrit(v, 1 - PLANNED * alpha), least)
        ends = ((margin + side * mean) / error for side in (1, -1))
        inside = 1 - sum(1 - _above(t, v, end) for end in ends)
        return shows | ((inside >= power) & (seeds >= EQUIVALENT_FROM))

    low, high = np.full(_DRAWS, n + 1), np.full(_DRAWS, cap)
    never = ~enough(high)
    while (low < high).any():
        middle = (low + high) // 2
        reached = enough(middle)
        low, high = (
            np.where(reached, low, np.minimum(middle + 1, high)),
            np.where(reached, middle, high),
        )
    quartiles = np.quantile(np.where(never, math.inf, low), (0.25, 0.5, 0.75), method="higher")
    return Seeds(*map(float, quartiles))


def _above(t: np.ndarray, freedom: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """P(T > t) of noncentral t, to a few thousandths (Abramowitz and Stegun 1964, 26.7.10)."""
    with np.errstate(invalid="ignore"):
        z = (shift - t * (1 - 1 / (4 * freedom))) / np.sqrt(1 + t**2 / (2 * freedom))
    return np.where(np.isinf(t), 0.0, special.ndtr(z))
