"""Tests of a mean difference over seeds and test images, at one or at many looks.

Everything here works on the last axes of arrays, so a simulation of thousands of experiments runs
the same lines as a report does.

A contrast is given as samples: one sample of paired differences, or the two samples of a and of b
where runs are not paired. A sample has a value per seed, [..., seeds], and may have a value per
seed and test image, [..., seeds, images].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

PLANNED = 0.9
"""The share of alpha that is spent once, on the seeds that were declared before the sweep ran.

The rest is spent by an e-value, which may be looked at after every further seed.
"""

_ROUNDING = 1e-9  # of the margin: an interval that ends on the margin lies inside it


class Parts(NamedTuple):
    """What test images add to one sample.

    columns: the mean over seeds of every image, [..., images]. residual: the variance of the mean
    that belongs to neither seeds nor images alone, [...]; NaN for one seed.
    """

    columns: np.ndarray
    residual: np.ndarray


class Estimate(NamedTuple):
    """A mean difference with its variance and degrees of freedom, each [...].

    of_images: the part of the variance that more seeds do not make smaller.
    """

    difference: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    of_images: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the t interval."""
        half = special.stdtrit(self.freedom, (1 + level) / 2) * np.sqrt(self.variance)
        return self.difference - half, self.difference + half


def image_parts(values: np.ndarray) -> Parts:
    """The parts of a sample with a value per seed and image, [..., seeds, images]."""
    x = np.asarray(values, dtype=np.float64)
    n, m = x.shape[-2:]
    columns, rows = x.mean(axis=-2), x.mean(axis=-1)
    squares = np.einsum("...ij,...ij->...", x, x) + n * m * rows.mean(axis=-1) ** 2
    squares -= m * (rows**2).sum(axis=-1) + n * (columns**2).sum(axis=-1)
    freedom = (n - 1) * (m - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.maximum(squares, 0.0) / freedom / (n * m) if n > 1 else squares * np.nan
    return Parts(columns, residual)


def estimate(
    samples: Sequence[np.ndarray],
    parts: Sequence[Parts] = (),
    *,
    rounding: float = 0.0,
    one_image: float = 0.0,
) -> Estimate:
    """The mean of the first sample, less that of the second if there is one.

    Without images the variance is that of seeds, and the test is Student's or Welch's. With images
    it is the two-way clustered variance: that of seeds (rows), plus that of images (columns), less
    the residual that both contain, but never less than either alone. The degrees of freedom are
    Satterthwaite's. With one seed in a sample the images alone are left.

    Args:
        samples: one or two arrays, [..., seeds].
        parts: of the same samples, in the same unit; none where there are no values per image.
        rounding: the least standard deviation over seeds, where values are rounded.
        one_image: what one image is worth, where values are shares of images. It is the least
            standard error over images: that of two networks that differ at one of them. Images
            without a difference do not show that there is none at new ones.

    Source: Owen 2007, Annals of Applied Statistics 1; Cameron, Gelbach and Miller 2011, J. of
    Business and Economic Statistics 29; Satterthwaite 1946, Biometrics Bulletin 2.
    """
    means = [sample.mean(axis=-1) for sample in samples]
    difference = means[0] - means[1] if len(means) > 1 else means[0]
    nothing = np.full(np.shape(difference), np.nan)
    freedoms = [sample.shape[-1] - 1 for sample in samples]
    alone = min(freedoms) < 1
    if alone and not parts:
        return Estimate(difference, nothing, nothing, nothing)
    rows = [spread(sample, rounding) ** 2 / sample.shape[-1] for sample in samples]
    if not parts:
        variance = np.sum(rows, axis=0)
        squared = np.sum([row**2 / v for row, v in zip(rows, freedoms, strict=True)], axis=0)
        return Estimate(difference, variance, _freedom(variance, squared, sum(freedoms)), nothing)
    columns = parts[0].columns - parts[1].columns if len(parts) > 1 else parts[0].columns
    images = columns.shape[-1]
    of_columns = np.maximum(columns.var(axis=-1, ddof=1) / images, one_image**2)
    if alone:
        return Estimate(difference, of_columns, np.full_like(nothing, images - 1), of_columns)
    of_rows = np.sum(rows, axis=0)
    residuals = [part.residual for part in parts]
    residual = np.sum(residuals, axis=0)
    variance = np.maximum(of_rows + of_columns - residual, np.maximum(of_rows, of_columns))
    squared = of_columns**2 / (images - 1)
    for row, part, v in zip(rows, residuals, freedoms, strict=True):
        squared = squared + row**2 / v + part**2 / (v * (images - 1))
    freedom = _freedom(variance, squared, sum(freedoms))
    return Estimate(difference, variance, freedom, np.maximum(of_columns - residual, one_image**2))


def spread(sample: np.ndarray, rounding: float = 0.0) -> np.ndarray:
    """The standard deviation over seeds, at least that of rounding; 0 for equal values."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = sample.std(axis=-1, ddof=1) if sample.shape[-1] > 1 else sample.mean(axis=-1) * np.nan
    return np.maximum(np.where(np.ptp(sample, axis=-1) == 0, sd * 0, sd), rounding)


def _freedom(variance: np.ndarray, squared: np.ndarray, most: int) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(squared > 0, variance**2 / squared, most)


def p_difference(estimate: Estimate) -> np.ndarray:
    """Two-sided p of the t test that there is no difference; NaN without a variance."""
    return 2 * _upper(np.abs(estimate.difference), estimate)


def p_equivalence(estimate: Estimate, margin: float) -> np.ndarray:
    """The larger p of two one-sided t tests that the difference lies outside -+margin.

    Source: Schuirmann 1987, J. of Pharmacokinetics and Biopharmaceutics 15.
    """
    return _upper(margin * (1 + _ROUNDING) - np.abs(estimate.difference), estimate)


def _upper(distance: np.ndarray, estimate: Estimate) -> np.ndarray:
    """P(T > distance / standard error); a half at a distance of 0, however small the error."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(distance == 0, 0.0, distance / np.sqrt(estimate.variance))
    return np.where(np.isnan(estimate.variance), np.nan, special.stdtr(estimate.freedom, -t))


def e_difference(samples: Sequence[np.ndarray], estimate: Estimate) -> np.ndarray:
    """The e-value against no difference: what a bet of 1 on a difference has become.

    The Bayes factor of a normal prior of variance 1 on the standardised difference, invariant to
    the unit. Under no difference it exceeds 1 / alpha with probability alpha at most, however often
    it is looked at while seeds are added. Its t statistic has the whole variance of `estimate`,
    that of the images included, so adding seeds does not make the images of one test set evidence.

    Source: Perez-Ortiz, Lardy, de Heide and Gruenwald 2024, Annals of Statistics 52.
    """
    t, n, freedom = _student(samples, estimate, 0.0)
    return np.exp(_log_e(t, n, freedom))


def e_equivalence(samples: Sequence[np.ndarray], estimate: Estimate, margin: float) -> np.ndarray:
    """The e-value against a difference outside -+margin: the smaller of two one-sided ones."""
    turned = estimate._replace(difference=-estimate.difference)
    return np.minimum(
        one_sided_e(samples, estimate, -margin), one_sided_e(samples, turned, -margin)
    )


def one_sided_e(samples: Sequence[np.ndarray], estimate: Estimate, bound: float) -> np.ndarray:
    """The e-value against a difference of at most `bound`.

    It has the prior above `bound` alone: twice the posterior chance of that side, times the
    two-sided e-value.
    """
    t, n, freedom = _student(samples, estimate, bound)
    # Posterior of the standardised difference with prior N(0, 1): Student's t with v + 1 degrees.
    with np.errstate(invalid="ignore"):
        middle = t * np.sqrt(n / (n + 1) * (freedom + 1) / (freedom + t**2 / (n + 1)))
        chance = special.stdtr(freedom + 1, middle)
    chance = np.where(np.isinf(t), t > 0, chance)
    return 2 * chance * np.exp(_log_e(t, n, freedom))


def _student(
    samples: Sequence[np.ndarray], estimate: Estimate, bound: float
) -> tuple[np.ndarray, float, float]:
    """The t statistic against `bound`, the effective n and the degrees of freedom of the seeds."""
    sizes = [sample.shape[-1] for sample in samples]
    freedom, n = sum(sizes) - len(sizes), 1 / sum(1 / size for size in sizes)
    difference = estimate.difference - bound
    if min(sizes) < 2:
        return difference * np.nan, n, np.nan
    variance = estimate.variance
    if len(samples) > 1:  # the e-value of two samples has a common variance
        squares = [spread(each) ** 2 * (each.shape[-1] - 1) for each in samples]
        variance = np.maximum(variance, np.sum(squares, axis=0) / freedom / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(difference == 0, 0.0, difference / np.sqrt(variance))
    return t, n, float(freedom)


def _log_e(t: np.ndarray, n: float, freedom: float) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        u = np.minimum(t**2 / freedom, 1e300)
    power = -(freedom + 1) / 2
    return -0.5 * np.log1p(n) + power * (np.log1p(u / (1 + n)) - np.log1p(u))


def e_threshold(n: np.ndarray, freedom: np.ndarray, e: float) -> np.ndarray:
    """The least abs(t) with the e-value `e`; infinite where n is too small for any."""
    ratio = (e * np.sqrt(1 + n)) ** (-2 / (freedom + 1))
    rest = ratio - 1 / (1 + n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rest > 0, np.sqrt(freedom * (1 - ratio) / rest), np.inf)


def at_looks(planned: np.ndarray, every: np.ndarray, e: np.ndarray) -> np.ndarray:
    """The p that decides, from that of the declared seeds, that of all seeds and their e-value.

    It is below alpha where the declared seeds are significant at `PLANNED` alpha, or all seeds are
    and their e-value exceeds 1 / ((1 - PLANNED) alpha). NaN counts as no evidence.
    """
    with np.errstate(divide="ignore"):
        anytime = np.maximum(1 / ((1 - PLANNED) * e), every / PLANNED)
    return np.minimum(np.fmin(np.fmin(planned / PLANNED, anytime), 1.0), 1.0)
