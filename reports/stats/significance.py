"""Tests of differences, and effect sizes, for numbers in arrays.

Every function takes finite values; runs that have none are left out, and counted, by the caller.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from reports.stats.intervals import RESAMPLES, Interval, finite_array

EXACT_FLIPS = 20
"""Pairs up to which the sign-flip test visits all 2^(n - 1) sign patterns.

Those are half of all, by symmetry.
"""

EXACT_SPLITS = 200_000
"""Ways to split two samples up to which the permutation test visits all.

10 against 10 has 184,756.
"""

_TIE = 1e-9
"""Sums that differ by less than this share of the sum of absolute differences are tied.

Percentages of N examples differ by multiples of 100 / N, and their subtraction errs by some 1e-14:
for up to a million examples rounding lies far below this share, and the smallest true difference
far above.
"""

_TIE_OF_VALUES = (
    1e-12  # the same for sums of the values themselves, which lose nothing by subtraction
)


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


def sign_flip_p(
    pair_differences: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> float:
    """Two-sided p of the paired sign-flip test: could a and b change places in every pair?

    The share of sign patterns with abs(sum of +-d) >= abs(sum of d): all of them up to 20 pairs, so
    p is never below 2^(1 - n); a random sample of patterns above, with p = (b + 1) / (m + 1). All
    differences 0 give 1, no pair NaN.

    Args:
        pair_differences: [n], any unit.
        rng: used above 20 pairs only.
        resamples: m.

    Source: Fisher 1935, The Design of Experiments, 21; the + 1: Phipson and Smyth 2010, Stat. Appl.
    Genet. Mol. Biol. 9.

    4 of the 16 sign patterns, +-(1 + 2 + 3 +- 0.5):

    >>> sign_flip_p([1.0, 2.0, 3.0, -0.5], np.random.default_rng(0))
    0.25
    """
    d = finite_array(pair_differences, 1, "differences")
    if d.size == 0:
        return math.nan
    total, bound = abs(d.sum()), _TIE * np.abs(d).sum()
    if d.size <= EXACT_FLIPS:
        sums = d[:1]
        for value in d[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= total - bound))
    signs = rng.integers(0, 2, size=(resamples, d.size), dtype=np.int8)
    as_large = np.count_nonzero(np.abs(2 * (signs @ d) - d.sum()) >= total - bound)
    return float((as_large + 1) / (resamples + 1))


def permutation_p(
    a: ArrayLike, b: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> float:
    """Two-sided p of the permutation test on the difference of two means of unpaired samples.

    The share of ways to split the n_a + n_b values in which abs(mean difference) is at least the
    observed
    one: all ways up to 200,000 of them, a random sample with p = (b + 1) / (m + 1) above. NaN when
    a sample is empty.

    Args:
        a: [n_a], in any unit.
        b: [n_b], in the same unit.
        rng: used when there are too many splits to visit.
        resamples: m.

    Source: Pitman 1937, Supplement to the J. of the Royal Statistical Society 4; the + 1 as in
    `sign_flip_p`.

    >>> permutation_p([3.0, 4.0], [1.0, 2.0], np.random.default_rng(0))  # 2 of 6: {3, 4} and {1, 2}
    0.3333333333333333
    """
    x, y = finite_array(a, 1, "a"), finite_array(b, 1, "b")
    if not (x.size and y.size):
        return math.nan
    values = np.concatenate([x, y])
    pooled = (
        values - values.mean()
    )  # then the difference of means is the first sample's sum times a constant
    total, bound = abs(pooled[: x.size].sum()), _TIE_OF_VALUES * np.abs(values).sum()
    splits = math.comb(pooled.size, x.size)
    if splits <= EXACT_SPLITS:
        chosen = itertools.chain.from_iterable(itertools.combinations(range(pooled.size), x.size))
        rows = np.fromiter(chosen, dtype=np.intp, count=splits * x.size).reshape(splits, x.size)
        return float(np.mean(np.abs(pooled[rows].sum(axis=1)) >= total - bound))
    shuffled = rng.permuted(np.tile(pooled, (resamples, 1)), axis=1)
    as_large = np.count_nonzero(np.abs(shuffled[:, : x.size].sum(axis=1)) >= total - bound)
    return float((as_large + 1) / (resamples + 1))


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p values of one family, in the order given.

    With p sorted upwards, p_holm(i) = min(1, max over j <= i of (m - j + 1) p(j)). A NaN (a
    contrast that was planned and could not be tested) stays NaN and counts in m, so filling in
    missing runs never makes the family larger.

    Args:
        p: [m], in [0, 1] or NaN.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    0.01 x 3, then 0.03 x 2, then the larger of 0.04 x 1 and 0.06:

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or np.any((values < 0) | (values > 1)):
        raise ValueError(f"p: expected one dimension of numbers in [0, 1] or NaN, got {values!r}")
    order = np.argsort(values, kind="stable")  # NaN goes last, where it lifts no other
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def effect_size_dz(pair_differences: ArrayLike) -> float:
    """Cohen's d_z: the mean of the paired differences [n] over their standard deviation (n - 1).

    It has no unit.

    NaN for fewer than two pairs, and where all differences are 0; infinite (with its sign) where
    all are equal and not 0.

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
