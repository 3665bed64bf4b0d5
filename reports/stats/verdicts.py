"""One contrast of two sets of numbers, and the verdict on it; what the metrics mean for both."""

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

ROPE = 0.1
"""Default margin for accuracies, in points: the binomial standard error of 10,000 test examples near 99 %."""

ACCURACIES = ("accuracy", "off_by_one")
ERRORS = (
    "nll",
    "brier",
    "ece",
    "ece_scaled",
    "mean_absolute_error",
    "seconds",
    "train_seconds",
    "val_seconds",
)

_ROUNDING = 1e-9  # of the margin: an interval that ends on the margin lies inside it


@dataclass(frozen=True)
class Metric:
    """How a metric is read: accuracies are compared in percentage points, everything else in its own unit."""

    name: str
    higher_is_better: bool
    in_points: bool

    @property
    def scale(self) -> float:
        """What values are multiplied by before they are compared."""
        return 100.0 if self.in_points else 1.0

    @property
    def unit(self) -> str:
        return "points" if self.in_points else ""

    def margin(self, rope: float | None, test_size: int | None) -> float:
        """The margin of equivalence, in the unit of the differences; NaN when equivalence is not asked.

        Args:
            rope: half its width; None means `ROPE` for accuracies, and for other metrics that none was
                chosen.
            test_size: examples scored; no accuracy is told apart by less than one of them.
        """
        if rope is not None and not (math.isfinite(rope) and rope >= 0):
            raise ValueError(f"rope: expected a number >= 0, in the unit of the difference, got {rope!r}")
        if test_size is not None and test_size < 1:
            raise ValueError(f"test_size: expected a number of examples >= 1, got {test_size!r}")
        if not self.in_points:
            return math.nan if rope is None else rope
        return max(ROPE if rope is None else rope, 0.0 if test_size is None else 100.0 / test_size)


def read_metric(name: str, higher_is_better: bool | None = None) -> Metric:
    """Which way a column such as `test_nll` is better, from its name or, for a metric unknown here, as told.

    Raises:
        ValueError: a run's own loss, which is never compared between losses; or an unknown metric without
            direction.
    """
    head, _, tail = name.partition("_")
    kind = tail if head in ("train", "val", "test", "time") else name
    if kind == "loss":
        raise ValueError(
            f"{name}: values of different losses are not comparable; compare accuracy, nll, brier or ece"
        )
    if higher_is_better is None:
        if kind not in ACCURACIES + ERRORS:
            known = ", ".join(ACCURACIES + ERRORS)
            raise ValueError(f"{name}: say whether higher_is_better; known by name are {known}")
        higher_is_better = kind in ACCURACIES
    return Metric(name, bool(higher_is_better), kind in ACCURACIES)


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
    chance = probability_of_improvement(x, y, paired=paired, higher_is_better=higher_is_better, level=level)
    if paired:
        d = differences(x, y)
        mean = mean_interval(d, rng, level=level, resamples=resamples)
        sd = _sd(d)
        p = sign_flip_p(d, rng, resamples=resamples)
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
