"""What it would take: the difference n seeds can show, and the seeds that would decide.

Planning numbers for normal differences of a known spread. The decision they plan for is the one of
a verdict: the exact test below `alpha` (the caller passes alpha / m for a family of m, Holm's first
and hardest step) or an interval inside the margin.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

SEEDS_CAP = 10_000
"""Above this many seeds `seeds_needed` says infinity: no longer a plan."""

EQUIVALENT_FROM = 5
"""Pairs (or runs of the smaller side) from which two losses can be called equivalent."""

_FEW_STEPS = 20  # from so many on, the steps of the exact test no longer matter
_DRAWS = 10_000  # simulated samples behind a power: its standard error is at most half a percent
# computed for all samples; where there are more ways (n > 13), fewer samples are drawn
_SHIFTS = 80_000_000


def smallest_p(n: int, samples: int = 1) -> float:
    """The smallest p the exact test can give.

    It is 2^(1 - n) on n pairs, and 2 / C(2n, n) on two samples of n.

    >>> [smallest_p(n) for n in (5, 6, 8, 10)]
    [0.0625, 0.03125, 0.0078125, 0.001953125]
    """
    if n < 1:
        return 1.0
    if samples == 1:
        return 2.0 ** max(1 - n, -1000)
    return min(1.0, 2 / math.comb(2 * min(n, 250), min(n, 250)))


def power_of_difference(
    n: int, difference: float, sd: float, *, alpha: float = 0.05, samples: int = 1
) -> float:
    """The chance that n seeds show a true `difference`: the power of the two-sided t test.

    P(abs(T) > t(1 - alpha / 2)) for T of noncentral t with noncentrality difference / (sd
    sqrt(samples / n)). With few seeds and a small alpha the exact test has far less, because its p
    comes in steps of `smallest_p`: with no step below alpha the power is 0, however large the
    difference, and with fewer than 20 it is the power of the verdict itself (p below alpha, and an
    interval that excludes 0), from simulated normal draws.

    Args:
        n: pairs, or runs a side when `samples` is 2.
        difference: in the unit of `sd`.
        sd: of the paired differences, or of one run when `samples` is 2.
        alpha: of the test, already divided by the size of the family.
        samples: 1 for paired values, 2 for two independent samples of n.

    Source: Cohen 1988, Statistical Power Analysis, chapter 2.

    >>> print(f"{power_of_difference(10, 1.0, 1.0):.4f}")
    0.8031
    """
    steps = _steps_below(n, alpha, samples)
    if n < 2 or steps == 0:
        return 0.0
    if sd == 0:
        return float(difference != 0)
    if steps < _FEW_STEPS:
        shifts = _deciding_shifts(n, alpha, samples)
        below = np.searchsorted(shifts, [difference / sd, -difference / sd], side="left")
        return float(below.sum() / shifts.size)
    spread, weight = _spreads(samples * (n - 1))
    bound = special.stdtrit(samples * (n - 1), 1 - alpha / 2) * spread
    shift = difference / (sd * math.sqrt(samples / n))
    return float(weight @ (special.ndtr(shift - bound) + special.ndtr(-shift - bound)))


def _steps_below(n: int, alpha: float, samples: int) -> int:
    """How many values the exact p can take below alpha."""
    return math.ceil(alpha / smallest_p(n, samples)) - 1


@lru_cache(maxsize=256)
def _deciding_shifts(n: int, alpha: float, samples: int) -> np.ndarray:
    """The shifts of a, in sd, above which the verdict finds it, for simulated normal samples.

    p is the number of ways to flip pairs (or to exchange runs) that give at least the observed sum,
    in steps. A flip of some pairs does so while their mean is at most 0, an exchange while the runs
    of b that come in have at least the mean of those of a that go out. Both end at a certain shift,
    so the p of a sample falls below alpha at the k-th largest of these shifts, where k is the
    number of steps below alpha. Half of the ways count, since the other half are their mirror
    images.
    """
    if samples == 1:
        flips = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
        ways = -flips / flips.sum(axis=1, keepdims=True)
    else:
        chosen = np.zeros((math.comb(2 * n, n), 2 * n))
        rows = list(itertools.combinations(range(2 * n), n))
        np.put_along_axis(chosen, np.array(rows), 1, axis=1)
        exchanged = chosen - np.repeat([1, 0], n)
        exchanged = exchanged[np.abs(exchanged).sum(axis=1) > 0]
        ways = exchanged / exchanged[:, n:].sum(axis=1, keepdims=True)
    k = _steps_below(n, alpha, samples)
    rng = np.random.default_rng([n, samples])
    draws = max(100, min(_DRAWS, _SHIFTS // len(ways)))
    block = max(1, min(1_000, 4_000_000 // len(ways)))  # 32 MB of shifts at a time
    found = []
    for first in range(0, draws, block):
        z = rng.standard_normal((min(block, draws - first), samples * n))
        ends = z @ ways.T
        ends.partition(ends.shape[1] - k, axis=1)
        a, b = z[:, :n], z[:, n:]
        if samples == 1:
            error, freedom = a.std(axis=1, ddof=1) / math.sqrt(n), np.full(len(z), n - 1.0)
            mean = a.mean(axis=1)
        else:
            parts = a.var(axis=1, ddof=1) / n, b.var(axis=1, ddof=1) / n
            error = np.sqrt(parts[0] + parts[1])
            freedom = (n - 1) * error**4 / (parts[0] ** 2 + parts[1] ** 2)
            mean = a.mean(axis=1) - b.mean(axis=1)
        excludes = special.stdtrit(freedom, 0.975) * error - mean
        found.append(np.maximum(ends[:, -k], excludes))
    return np.sort(np.concatenate(found))


def power_of_equivalence(
    n: int, difference: float, sd: float, margin: float, *, level: float = 0.95, samples: int = 1
) -> float:
    """The chance that n seeds show equivalence when the true difference is `difference`.

    That is the chance that their interval lies inside -+margin.

    Arguments as in `power_of_difference`; `margin` in the same unit. That is the power of two
    one-sided t tests, each at (1 - level) / 2.

    Source: Schuirmann 1987, J. of Pharmacokinetics and Biopharmaceutics 15.

    >>> print(f"{power_of_equivalence(10, 0.0, 0.1, 0.1):.3f}")
    0.614
    """
    if n < 2:
        return 0.0
    if sd == 0:
        return float(abs(difference) <= margin)
    spread, weight = _spreads(samples * (n - 1))
    bound = special.stdtrit(samples * (n - 1), (1 + level) / 2) * spread
    error = sd * math.sqrt(samples / n)
    inside = special.ndtr((margin - difference) / error - bound) - special.ndtr(
        (-margin - difference) / error + bound
    )
    return float(weight @ np.maximum(inside, 0.0))


def detectable_difference(
    n: int, sd: float, *, alpha: float = 0.05, power: float = 0.8, samples: int = 1
) -> float:
    """The smallest true difference that n seeds show with the given power, in the unit of `sd`.

    NaN below two seeds or without a spread; infinity where no difference can reach alpha (5 pairs
    have p >= .0625).

    >>> print(f"{detectable_difference(10, 1.0):.4f}", detectable_difference(5, 1.0))
    0.9960 inf
    """
    if n < 2 or math.isnan(sd):
        return math.nan
    if _steps_below(n, alpha, samples) == 0:
        return math.inf
    return 0.0 if sd == 0 else sd * _detectable_in_sd(n, alpha, power, samples)


def seeds_needed(
    difference: float,
    sd: float,
    *,
    margin: float = math.nan,
    alpha: float = 0.05,
    level: float = 0.95,
    power: float = 0.8,
    samples: int = 1,
    at_least: int = 2,
    cap: int = SEEDS_CAP,
) -> float:
    """The seeds after which a verdict is likely if the observed difference and spread are true.

    The smaller of two numbers: the seeds that would show the difference (`power_of_difference`),
    and, when the difference is smaller than the margin, the seeds that would show equivalence
    (`power_of_equivalence`); each with the given power.

    Args:
        difference: the observed difference.
        sd: the observed spread, in the unit of `difference`.
        margin: of equivalence, in the same unit; NaN: equivalence is not asked.
        alpha: of the test, already divided by the size of the family.
        level: of the interval that shows equivalence.
        power: of either test.
        samples: 1 for paired values, 2 for two independent samples.
        at_least: the answer is never below (a caller with n undecided seeds passes n + 1).
        cap: the answer is infinity when more than this many are needed.

    Returns:
        A whole number (as a float, to stand in a column), infinity above the cap, NaN without a
        spread.

    >>> seeds_needed(1.0, 1.0), seeds_needed(1.0, 1.0, alpha=0.005)
    (10.0, 18.0)
    >>> seeds_needed(0.0, 0.1, margin=0.1)
    13.0
    """
    if math.isnan(difference) or math.isnan(sd):
        return math.nan

    def shows_difference(n: int) -> bool:
        return power_of_difference(n, difference, sd, alpha=alpha, samples=samples) >= power

    def shows_equivalence(n: int) -> bool:
        found = power_of_equivalence(n, difference, sd, margin, level=level, samples=samples)
        return n >= EQUIVALENT_FROM and found >= power

    needed = _first(shows_difference, at_least, cap)
    if abs(difference) < margin:
        needed = min(needed, _first(shows_equivalence, at_least, cap))
    return needed


def _first(reached: Callable[[int], bool], low: int, cap: int) -> float:
    """The smallest n in low..cap with reached(n), which stays true once it is.

    The result is infinite if there is none.
    """
    if low > cap or not reached(cap):
        return math.inf
    high = cap
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return float(low)


@lru_cache(maxsize=1024)
def _detectable_in_sd(n: int, alpha: float, power: float, samples: int) -> float:
    low, high = 0.0, 1.0
    while power_of_difference(n, high, 1.0, alpha=alpha, samples=samples) < power:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        enough = power_of_difference(n, middle, 1.0, alpha=alpha, samples=samples) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(80)


@lru_cache(maxsize=1024)
def _spreads(freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for a mean over s / sigma, where s has `freedom` degrees of freedom.

    Given s the mean is normal, so a noncentral t is an integral of normals over s: one rule serves
    both powers, and has values where the common codes for the noncentral t give NaN (n = 100, d =
    1).
    """
    nodes, weights = _gauss_legendre()
    quantiles = special.gammaincinv(freedom / 2, (nodes + 1) / 2)
    return np.sqrt(2 * quantiles / freedom), weights / 2
