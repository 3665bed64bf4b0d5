"""Means of runs with their intervals, and the generators behind everything random in a report.

Arrays in, small tuples out. What is compared with what, and what follows from it, is not decided
here.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

RESAMPLES = 9_999
"""Resamples of a bootstrap or a test.

(9,999 + 1) x 2.5 % is whole, so quantiles are order statistics.
"""

BOOTSTRAP_FROM = 20
"""The number of values from which the studentised bootstrap replaces Student's t."""

_BLOCK = 2**22  # entries of a resampling matrix held at once: 32 MB
_FLAT = 1e-10  # a resample with less than this share of the sample's variance has none but rounding


class Interval(NamedTuple):
    """An estimate with its interval; both ends are NaN where there is none (`method` "none")."""

    estimate: float
    low: float
    high: float
    method: str


class Intervals(NamedTuple):
    """The same for k columns at once: arrays of shape [k]."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: np.ndarray


def named_generator(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on a seed and on what it is for, and on nothing else.

    So the interval of one loss does not move when another loss joins the report, and a verdict can
    be derived again on its own.

    Args:
        seed: a whole number >= 0.
        names: what the numbers are for; told apart by how they print.

    >>> ce, mse, again = (named_generator(0, "band", loss).random() for loss in ("ce", "mse", "ce"))
    >>> ce == again, ce == mse
    (True, False)
    """
    digest = hashlib.sha256(repr([str(name) for name in names]).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def finite_array(values: ArrayLike, dimensions: int, what: str = "values") -> np.ndarray:
    """`values` as float64, or a ValueError: the caller leaves missing runs out, and counts them."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise ValueError(
            f"{what}: expected {dimensions} dimension(s), got an array of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{what}: {bad} of {array.size} are NaN or infinite; leave them out and count them "
            "first"
        )
    return array


def mean_interval(values: ArrayLike, rng: np.random.Generator, *, level: float = 0.95) -> Interval:
    """The mean of `values` [n] and its interval: `mean_intervals` of one column.

    >>> mean, low, high, method = mean_interval([1.0, 2.0, 3.0], np.random.default_rng(0))
    >>> print(f"{mean:.3f} [{low:.3f}, {high:.3f}] {method}")  # 2 -+ 4.303 / sqrt(3)
    2.000 [-0.484, 4.484] t
    """
    column = finite_array(values, 1)[:, None]
    mean, low, high, method = mean_intervals(column, rng, level=level)
    return Interval(float(mean[0]), float(low[0]), float(high[0]), str(method[0]))


def mean_intervals(
    values: ArrayLike, rng: np.random.Generator, *, level: float = 0.95
) -> Intervals:
    """The mean of each column of `values` [n, k] and its interval.

    Below 20 values Student's t: mean -+ t(n - 1) s / sqrt(n). From 20 on the studentized
    ("bootstrap-t") interval [mean - q_high s / sqrt(n), mean - q_low s / sqrt(n)], with q the
    quantiles of (mean* - mean) / (s* / sqrt(n)) over resamples of the n values; all columns share
    the resamples. A resample without spread counts as -+infinity (0 if it has the sample's mean);
    where that makes an end infinite (nearly all values equal), Student's t is used and `method`
    says so. One value has no interval (NaN); equal values have one of zero width.

    Args:
        values: [n, k], finite; the unit is kept.
        rng: used from 20 values on only.
        level: coverage, in (0, 1).

    Returns:
        estimate, low, high and method ("none", "t", "bootstrap"), each [k].

    Raises:
        ValueError: a value is NaN or infinite.

    Source: Student 1908; Efron and Tibshirani 1993, An Introduction to the Bootstrap, 12.5; for the
    order statistics Davison and Hinkley 1997, Bootstrap Methods and their Application, 5.2.
    """
    x = finite_array(values, 2)
    n, k = x.shape
    nothing = np.full(k, np.nan)
    if n < 2:
        return Intervals(
            x[0] if n else nothing, nothing, nothing.copy(), np.full(k, "none", dtype=object)
        )
    # The mean of equal numbers need not equal them to the last bit.
    constant = x.min(axis=0) == x.max(axis=0)
    mean = np.where(constant, x[0], x.mean(axis=0))
    error = np.where(constant, 0.0, x.std(axis=0, ddof=1) / math.sqrt(n))
    t = special.stdtrit(n - 1, (1 + level) / 2)
    low, high = mean - t * error, mean + t * error
    method = np.full(k, "t", dtype=object)
    if n >= BOOTSTRAP_FROM:
        varied = np.flatnonzero(~constant)
        q_low, q_high = np.zeros(k), np.zeros(k)
        if varied.size:
            scaled = (x[:, varied] - mean[varied]) / (error[varied] * math.sqrt(n))
            q_low[varied], q_high[varied] = _studentised_quantiles(scaled, rng, level)
        bounded = np.isfinite(q_low) & np.isfinite(q_high)
        low[bounded] = (mean - q_high * error)[bounded]
        high[bounded] = (mean - q_low * error)[bounded]
        method[bounded] = "bootstrap"
    return Intervals(mean, low, high, method)


def _studentised_quantiles(
    z: np.ndarray, rng: np.random.Generator, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper quantile [k] of the studentised mean over resamples of z [n, k].

    The columns of z have mean 0 and variance 1.
    """
    n, k = z.shape
    squares = z**2
    t = np.empty((RESAMPLES, k))
    rows = max(1, _BLOCK // max(n, k))
    for start in range(0, RESAMPLES, rows):
        m = min(rows, RESAMPLES - start)
        # How often each value was drawn: then all columns cost two matrix products.
        drawn = rng.integers(0, n, size=(m, n)) + n * np.arange(m)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=m * n).reshape(m, n) / n
        mean = weights @ z
        variance = weights @ squares - mean**2
        flat = variance < _FLAT
        error = np.sqrt(np.where(flat, 1.0, variance) / (n - 1))
        t[start : start + m] = mean / error
        t[start : start + m][flat] = np.where(
            abs(mean[flat]) < _FLAT, 0.0, np.copysign(np.inf, mean[flat])
        )
    rank = max(1, math.floor((RESAMPLES + 1) * (1 - level) / 2 + 1e-9))
    t.partition([rank - 1, RESAMPLES - rank], axis=0)
    return t[rank - 1], t[RESAMPLES - rank]
