"""Exact tests on the seeds alone, corrections for families, effect sizes and outlying seeds.

Every function takes finite values; runs that have none are left out, and counted, by the caller.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from reports.stats.intervals import Interval, finite_array

OUTLYING = 3.5
"""Robust standard deviations from the median beyond which a seed is named as outlying."""

TURNING = 5.0
"""The same for a seed that may turn a verdict: a stricter limit, which costs little power."""

_SUMS_OF_COUNTS, _SUMS = 200_000, 10_000  # at most so many different sums are told apart


def differences(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """The difference a minus b, rounded so that equal differences are equal.

    Accuracies are counts of examples: 98.12 - 98.02 and 98.13 - 98.03 % are both ten of 10,000, but
    not in binary. Rounded to 12 digits of the largest value of either side.

    >>> 98.12 - 98.02 == 98.13 - 98.03, differences([98.12, 98.13], [98.02, 98.03]).tolist()
    (False, [0.1, 0.1])
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    size = max(np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0))
    if size == 0:
        return x - y
    return np.round(x - y, 12 - math.ceil(math.log10(size)))


def sign_flip_p(pair_differences: ArrayLike, step: float = math.nan) -> float:
    """Two-sided p of the paired sign-flip test: could a and b change places in every pair?

    The share of all 2^n sign patterns with abs(sum of +-d) >= abs(sum of d), counted exactly by
    adding one pair after the other, so p is never below 2^(1 - n). Differences of counts are whole
    multiples of `step`; others are rounded to a fine grid. No pair gives NaN.

    Args:
        pair_differences: [n], any unit.
        step: what one test image is worth, in the same unit; NaN where values are not counts.

    Source: Fisher 1935, The Design of Experiments, 21.

    4 of the 16 sign patterns, +-(1 + 2 + 3 +- 0.5):

    >>> sign_flip_p([1.0, 2.0, 3.0, -0.5])
    0.25
    """
    d = finite_array(pair_differences, 1, "differences")
    if d.size == 0:
        return math.nan
    grid = np.abs(d).sum() / (_SUMS if math.isnan(step) else _SUMS_OF_COUNTS)
    grid = max(grid, step) if step > 0 else grid
    return flip_p(np.rint(d / grid).astype(np.int64) if grid else np.zeros(d.size, np.int64))[0]


def flip_p(counts: np.ndarray) -> tuple[float, float]:
    """The exact p of the sum of whole numbers if each sign is random: two-sided, and for above 0.

    >>> flip_p(np.array([1, 2, 3]))  # one of the eight patterns is as far up
    (0.25, 0.125)
    """
    sizes = np.abs(counts[counts != 0])
    chance = subset_sums(sizes)
    total, above = int(sizes.sum()), int(counts[counts > 0].sum())
    far = np.abs(2 * np.arange(total + 1) - total) >= abs(2 * above - total)
    return min(1.0, float(chance[far].sum())), min(1.0, float(chance[above:].sum()))


def subset_sums(sizes: np.ndarray) -> np.ndarray:
    """The probability of each sum of those of these whole numbers that a fair coin picks."""
    chance = np.ones(1)
    for size in sizes:
        chance = (np.pad(chance, (0, size)) + np.pad(chance, (size, 0))) / 2
    return chance


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p values of one family, in the order given.

    A NaN (a contrast that was planned and could not be tested) stays NaN and counts in the family,
    so filling in missing runs never makes the family larger.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    if not values.size:
        return values
    finite = np.nan_to_num(values, nan=1.0)
    order = np.argsort(finite, kind="stable")
    adjusted = np.empty_like(finite)
    times = np.arange(values.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(times * finite[order]), 1.0)
    return np.where(np.isnan(values), np.nan, adjusted)


def effect_size_dz(pair_differences: ArrayLike) -> float:
    """Cohen's d_z: the mean of the paired differences [n] over their standard deviation (n - 1).

    It has no unit. NaN for fewer than two pairs, and where all differences are 0; infinite (with
    its sign) where all are equal and not 0.

    Source: Cohen 1988, Statistical Power Analysis, 2.3.5; Lakens 2013, Frontiers in Psychology 4,
    equation 7.

    >>> effect_size_dz([1.0, 2.0, 3.0])  # mean 2, standard deviation 1
    2.0
    """
    d = finite_array(pair_differences, 1, "differences")
    if d.size < 2:
        return math.nan
    if np.ptp(d) == 0:
        return math.nan if d[0] == 0 else math.copysign(math.inf, d[0])
    return float(d.mean() / d.std(ddof=1))


def outlying(values: np.ndarray, rounding: float = 0.0, *, limit: float = OUTLYING) -> np.ndarray:
    """Which values [..., n] lie far from the median, by the median absolute deviation.

    Far is more than `limit` robust standard deviations, of at least `rounding`. Of fewer than four
    values none is called outlying.

    Source: Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers.

    >>> outlying(np.array([0.1, 0.2, 0.1, -80.0, 0.3])).tolist()
    [False, False, False, True, False]
    """
    if values.shape[-1] < 4:
        return np.zeros(values.shape, dtype=bool)
    far = np.abs(values - np.median(values, axis=-1, keepdims=True))
    robust = 1.4826 * np.median(far, axis=-1, keepdims=True)
    return far > limit * np.maximum(robust, max(rounding, 1e-12))


def is_trusted(
    pair_differences: np.ndarray, p_seeds: float, rounding: float = 0.0, *, alpha: float = 0.05
) -> bool:
    """Whether the t test of paired differences [n] can be trusted although seeds are outlying.

    A seed is outlying here at more than 5 robust standard deviations from the median. The test is
    not to be trusted where such a seed lies on the other side of 0 than the mean, since more seeds
    like it would reverse the verdict. Nor is it where the exact sign-flip test does not agree.

    Args:
        pair_differences: [n], any unit.
        p_seeds: of `sign_flip_p`.
        rounding: the least robust standard deviation.
        alpha: of the sign-flip test, if n is large enough for it.

    >>> is_trusted(np.array([0.1, 0.2, 0.1, 0.2, 0.2, 5.0]), 0.03125)
    True
    >>> is_trusted(np.array([0.5, 0.6, 0.5, 0.6, 0.6, -0.4]), 0.0625)
    False
    """
    d = pair_differences
    turning = outlying(d, rounding, limit=TURNING)
    if not turning.any():
        return True
    agrees = p_seeds <= max(alpha, 2.0 ** (1 - min(d.size, 50)))
    return agrees and not (d[turning] * d.mean() < 0).any()


def unseen_share(n: int, confidence: float = 0.95) -> float:
    """The largest share of seeds with a result that n seeds can all fail to show.

    A larger share would have been seen with the given confidence (the rule of three, exactly). It
    is what a verdict cannot speak of: no test of a mean excludes rare values that did not occur.

    Source: Hanley and Lippman-Hand 1983, J. of the American Medical Association 249; Bahadur and
    Savage 1956, Annals of Mathematical Statistics 27.

    >>> [round(unseen_share(n), 2) for n in (3, 10, 40)]
    [0.63, 0.26, 0.07]
    """
    return float(1 - (1 - confidence) ** (1 / n))


def probability_of_improvement(
    a: ArrayLike,
    b: ArrayLike,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
) -> Interval:
    """P(A is better than B), a tie counting half, with Wilson's score interval.

    Paired: the share of seeds at which a beats b, n = pairs. Unpaired: the share of all n_a x n_b
    couples (Mann-Whitney U / n_a n_b), n = min(n_a, n_b).

    Wilson, and not a bootstrap over pairs, since ten wins of ten leave a bootstrap nothing to
    resample: it would say [1, 1]. Ties counted as halves spread less than wins and losses, and no U
    / (n_a n_b) has more variance than p (1 - p) / min(n_a, n_b), so with either the interval errs
    on the wide side. One run a side has no interval.

    Args:
        a: [n_a].
        b: [n_b]; n_a = n_b, in the same order of seeds, when paired.
        paired: whether a and b are compared seed by seed.
        higher_is_better: False for errors such as NLL.
        level: of the interval.

    Source: Wilson 1927, J. of the American Statistical Association 22; Brown, Cai and DasGupta
    2001, Statistical Science 16; the measure: Agarwal et al. 2021, arXiv 2108.13264; the bound on
    U: van Dantzig 1951, Indagationes Mathematicae 13.

    >>> chance, low, high, _ = probability_of_improvement([3, 3, 3, 3], [1, 2, 3, 4])
    >>> print(f"{chance} [{low:.3f}, {high:.3f}]")  # two wins, a tie, a loss
    0.625 [0.219, 0.908]
    """
    x, y = finite_array(a, 1, "a"), finite_array(b, 1, "b")
    if paired and x.size != y.size:
        raise ValueError(f"paired values come in twos: got {x.size} of a and {y.size} of b")
    n = min(x.size, y.size)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, "none")
    signs = np.sign(differences(x, y) if paired else differences(x[:, None], y[None, :]))
    share = float(np.mean((1 + (signs if higher_is_better else -signs)) / 2))
    if n < 2:
        return Interval(share, math.nan, math.nan, "none")
    z = float(special.ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), "wilson")
