"""One contrast of two sets of numbers, and the verdict on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reports.stats.intervals import RESAMPLES, finite_array, mean_interval, welch_interval
from reports.stats.significance import (
    differences,
    effect_size_dz,
    permutation_p,
    probability_of_improvement,
    sign_flip_p,
)

_ROUNDING = 1e-9  # of the margin: an interval that ends on the margin lies inside it


@dataclass(frozen=True)
class Contrast:
    """a against b, before correction for its family. Everything is NaN where there are no values.

    `n`: pairs, or the smaller sample when not paired. `difference`: mean of a minus mean of b, `low` and
    `high` its interval (`interval`: none, t, bootstrap, welch). `sd`: of the paired differences, or the root
    mean square of the two samples' standard deviations. `p`: of the sign-flip or the permutation test. `d_z`:
    NaN when not paired. `p_better`: P(a is better than b) with its interval.
    """

    n: int
    n_a: int
    n_b: int
    paired: bool
    difference: float
    low: float
    high: float
    interval: str
    sd: float
    p: float
    d_z: float
    p_better: float
    p_better_low: float
    p_better_high: float


def contrast(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Contrast:
    """Compare a [n_a] with b [n_b], values of one metric in one unit.

    Paired: `mean_interval` and `sign_flip_p` of the differences, in the order given. Not paired:
    `welch_interval` and `permutation_p`.

    >>> c = contrast([98.0, 99.0, 97.0], [97.0, 97.0, 94.0], np.random.default_rng(0))  # differences 1, 2, 3
    >>> print(f"{c.difference} [{c.low:.3f}, {c.high:.3f}] p {c.p} d_z {c.d_z} P {c.p_better}")
    2.0 [-0.484, 4.484] p 0.25 d_z 2.0 P 1.0
    """
    x, y = finite_array(a, 1, "a"), finite_array(b, 1, "b")
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    if paired:
        d = differences(x, y)
        mean = mean_interval(d, rng, level=level, resamples=resamples)
        sd = _sd(d)
        # Of the differences before rounding: rounded ones add up to sums that are no longer tied.
        p = sign_flip_p(x - y, rng, resamples=resamples)
    else:
        mean = welch_interval(x, y, level=level)
        sd = math.sqrt((_sd(x) ** 2 + _sd(y) ** 2) / 2)
        p = permutation_p(x, y, rng, resamples=resamples)
    return Contrast(
        n=min(x.size, y.size),
        n_a=x.size,
        n_b=y.size,
        paired=paired,
        difference=mean.estimate,
        low=mean.low,
        high=mean.high,
        interval=mean.method,
        sd=sd,
        p=p,
        d_z=effect_size_dz(d) if paired else math.nan,
        p_better=chance.estimate,
        p_better_low=chance.low,
        p_better_high=chance.high,
    )


def verdict(
    low: float,
    high: float,
    p_holm: float,
    *,
    margin: float = math.nan,
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> str:
    """One of four, in this order, and speaking of a.

    1. "equivalent": the interval of a minus b lies inside -+margin (ends included);
    2. "better" or "worse": Holm's p is below alpha and the interval excludes 0;
    3. "undecided": everything else, so also whatever has no interval, as with one seed.

    Args:
        low, high: ends of the interval, NaN when there is none.
        p_holm: adjusted over the family.
        margin: from `Metric.margin`; NaN when equivalence is not asked.

    >>> [verdict(-0.05, 0.02, 0.5, margin=0.1), verdict(0.02, 0.3, 0.01), verdict(0.02, 0.3, 0.06)]
    ['equivalent', 'better', 'undecided']
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    widest = margin * (1 + _ROUNDING)
    if -widest <= low and high <= widest:
        return "equivalent"
    if p_holm < alpha and (low > 0 or high < 0):
        return "better" if (low > 0) == higher_is_better else "worse"
    return "undecided"


def _sd(values: np.ndarray) -> float:
    if values.size < 2:
        return math.nan
    return 0.0 if np.ptp(values) == 0 else float(values.std(ddof=1))
