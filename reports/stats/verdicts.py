"""One contrast of two sets of numbers, and the verdict on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from reports.stats.intervals import RESAMPLES, finite_array, mean_interval, welch_interval
from reports.stats.power import EQUIVALENT_FROM
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

    `n`: pairs, or the smaller sample when not paired. `difference`: mean of a minus mean of b,
    `low` and `high` its interval (`interval`: none, t, bootstrap, welch, ranks). `sd`: of the
    paired differences, or the root mean square of the two samples' standard deviations. `p`: of the
    sign-flip or the permutation test. `d_z`: NaN when not paired. `p_better`: P(a is better than b)
    with its interval. `p_equivalence`: of two one-sided t tests against the margin, NaN without a
    margin or a spread.
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
    p_equivalence: float = math.nan


def contrast(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    step: float = math.nan,
    margin: float = math.nan,
) -> Contrast:
    """Compare a [n_a] with b [n_b], values of one metric in one unit.

    Paired: `mean_interval` and `sign_flip_p` of the differences, in the order given. Not paired:
    `welch_interval` and `permutation_p`.

    Accuracies are rounded to whole test examples, so their spread may look smaller than it is, down
    to 0. The interval and `p_equivalence` use at least the spread of that rounding: step / sqrt(12)
    for a run, and step / sqrt(6) for the difference of two.

    Args:
        a: values of one side, [n_a].
        b: values of the other, [n_b], in the same unit.
        rng: of the resamples.
        paired: whether a and b are in the same order of seeds.
        higher_is_better: False for errors such as NLL.
        level: of the intervals.
        resamples: of the bootstrap and of the tests.
        step: what one test example is worth, in the unit of the values; NaN where they are not
            rounded.
        margin: half the width of equivalence, in the same unit; NaN when it is not asked.

    Source: Schuirmann 1987, J. of Pharmacokinetics and Biopharmaceutics 15, for `p_equivalence`.

    >>> rng = np.random.default_rng(0)
    >>> c = contrast([98.0, 99.0, 97.0], [97.0, 97.0, 94.0], rng)  # differences 1, 2, 3
    >>> print(f"{c.difference} [{c.low:.3f}, {c.high:.3f}] p {c.p} d_z {c.d_z} P {c.p_better}")
    2.0 [-0.484, 4.484] p 0.25 d_z 2.0 P 1.0
    """
    x, y = finite_array(a, 1, "a"), finite_array(b, 1, "b")
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    rounding = 0.0 if math.isnan(step) else step / math.sqrt(12)
    if paired:
        d = differences(x, y)
        mean = mean_interval(d, rng, level=level, resamples=resamples)
        sd = _sd(d)
        # Of the differences before rounding: rounded ones add up to sums that are no longer tied.
        p = sign_flip_p(x - y, rng, resamples=resamples)
        parts, freedoms = [max(sd, math.sqrt(2) * rounding) ** 2 / max(d.size, 1)], [d.size - 1]
    else:
        mean = welch_interval(x, y, level=level)
        sd = math.sqrt((_sd(x) ** 2 + _sd(y) ** 2) / 2)
        p = permutation_p(x, y, rng, resamples=resamples)
        parts = [max(_sd(side), rounding) ** 2 / max(side.size, 1) for side in (x, y)]
        freedoms = [x.size - 1, y.size - 1]
    low, high, p_equivalence = mean.low, mean.high, math.nan
    if not math.isnan(low):
        error, freedom = math.sqrt(sum(parts)), _satterthwaite(parts, freedoms)
        if mean.method != "bootstrap" or math.sqrt(2) * rounding > sd:
            half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
            low, high = min(low, mean.estimate - half), max(high, mean.estimate + half)
        p_equivalence = _outside_p(mean.estimate, error, freedom, margin)
    return Contrast(
        n=min(x.size, y.size),
        n_a=x.size,
        n_b=y.size,
        paired=paired,
        difference=mean.estimate,
        low=low,
        high=high,
        interval=mean.method,
        sd=sd,
        p=p,
        d_z=effect_size_dz(d) if paired else math.nan,
        p_better=chance.estimate,
        p_better_low=chance.low,
        p_better_high=chance.high,
        p_equivalence=p_equivalence,
    )


def _satterthwaite(parts: list[float], freedoms: list[int]) -> float:
    """Degrees of freedom of a sum of squared standard errors."""
    total = sum(parts)
    if total == 0:
        return float(sum(freedoms))
    return total**2 / sum(part**2 / v for part, v in zip(parts, freedoms, strict=True))


def _outside_p(difference: float, error: float, freedom: float, margin: float) -> float:
    """The p-value of the hypothesis that the true difference lies outside -+margin.

    It is the larger of two one-sided p-values.
    """
    if math.isnan(margin):
        return math.nan
    inside = margin * (1 + _ROUNDING) - abs(difference)
    if error == 0:
        return 0.0 if inside >= 0 else 1.0
    return float(special.stdtr(freedom, -inside / error))


def rank_contrast(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Contrast:
    """Compare a [n_a] with b [n_b] by their order alone.

    So a value may be infinite, which stands for a run that diverged.

    Paired: the sign test, exact. Not paired: `permutation_p` of the ranks (Wilcoxon, Mann and
    Whitney). There is no mean, so `difference`, its interval, `sd` and `d_z` are NaN.

    >>> c = rank_contrast([-math.inf] * 6, [0.1 * i for i in range(6)], np.random.default_rng(0))
    >>> c.p, c.p_better, c.difference
    (0.03125, 0.0, nan)
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    ranks = pd.Series(np.concatenate([x, y])).rank().to_numpy()
    x, y = ranks[: x.size], ranks[x.size :]
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    if paired:
        p = sign_flip_p(np.sign(x - y), rng, resamples=resamples)
    else:
        p = permutation_p(x, y, rng, resamples=resamples)
    return Contrast(
        n=min(x.size, y.size),
        n_a=x.size,
        n_b=y.size,
        paired=paired,
        difference=math.nan,
        low=math.nan,
        high=math.nan,
        interval="ranks",
        sd=math.nan,
        p=p,
        d_z=math.nan,
        p_better=chance.estimate,
        p_better_low=chance.low,
        p_better_high=chance.high,
    )


def verdict(
    low: float,
    high: float,
    p_holm: float,
    *,
    n: int,
    p_equivalence: float = 0.0,
    margin: float = math.nan,
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> str:
    """One of four, in this order, and speaking of a.

    1. "equivalent": n is at least 5, the interval of a minus b lies inside -+margin (ends
       included), and Holm's p of equivalence is below alpha;
    2. "better" or "worse": Holm's p is below alpha and the interval excludes 0;
    3. "undecided": everything else, so also whatever has no interval, as with one seed.

    Args:
        low: lower end of the interval; NaN when there is none.
        high: upper end of the interval; NaN when there is none.
        p_holm: adjusted over the family.
        n: pairs, or runs of the smaller side.
        p_equivalence: `Contrast.p_equivalence`, adjusted over the family.
        margin: from `Metric.margin`; NaN when equivalence is not asked.
        alpha: of the tests.
        higher_is_better: False for errors such as NLL.

    >>> verdict(-0.05, 0.02, 0.5, n=9, margin=0.1)
    'equivalent'
    >>> [verdict(0.02, 0.3, p, n=9) for p in (0.01, 0.06)]
    ['better', 'undecided']
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    widest = margin * (1 + _ROUNDING)
    inside = -widest <= low and high <= widest
    if inside and n >= EQUIVALENT_FROM and p_equivalence < alpha:
        return "equivalent"
    if p_holm < alpha and (low > 0 or high < 0):
        return "better" if (low > 0) == higher_is_better else "worse"
    return "undecided"


def rank_verdict(p_holm: float, p_better: float, *, alpha: float = 0.05) -> str:
    """The verdict on a `rank_contrast`, which has no interval: "better", "worse" or "undecided"."""
    if not p_holm < alpha or p_better == 0.5:
        return "undecided"
    return "better" if p_better > 0.5 else "worse"


def _sd(values: np.ndarray) -> float:
    if values.size < 2:
        return math.nan
    return 0.0 if np.ptp(values) == 0 else float(values.std(ddof=1))
