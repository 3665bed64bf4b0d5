"""Tests of losses by their ranks on several data sets, and of differences by signed ranks.

Sources: Demsar 2006, Journal of Machine Learning Research 7 (ranks, tests, critical difference);
Benavoli, Corani, Demsar and Zaffalon 2017, the same journal 18 (Bayesian signed-rank test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from reports.stats.significance import flip_p, subset_sums

SAMPLES = 10_000
"""Samples of the posterior: the standard error of a probability is at most 0.005."""

_PRIOR = 0.5  # the weight of one imagined data set without a difference
_FAR = 1e300  # stands for an infinite difference where sums of differences are taken


class Friedman(NamedTuple):
    """The test that all losses have the same average rank, in the form of Iman and Davenport."""

    chi2: float
    f: float
    p: float


def friedman(ranks: pd.DataFrame) -> Friedman | None:
    """Friedman's test with the F of Iman and Davenport; None for fewer than three losses.

    Args:
        ranks: unit by loss.
    """
    units, losses = ranks.shape
    if losses < 3:
        return None
    if (ranks.nunique(axis=1) == 1).all():  # all are equal on every unit
        return Friedman(0.0, 0.0, 1.0)
    chi2 = float(scipy.stats.friedmanchisquare(*ranks.to_numpy().T).statistic)
    f = iman_davenport(chi2, units, losses)
    return Friedman(chi2, f, float(scipy.stats.f.sf(f, losses - 1, (losses - 1) * (units - 1))))


def iman_davenport(chi2: float, units: int, losses: int) -> float:
    """The F of Iman and Davenport from Friedman's chi squared, which is too conservative.

    The example of Demsar 2006, 14 data sets and 4 classifiers:

    >>> round(iman_davenport(9.28, 14, 4), 2)
    3.69
    """
    rest = units * (losses - 1) - chi2
    return math.inf if rest <= 1e-9 * units else (units - 1) * chi2 / rest


def critical_difference(losses: int, units: int, alpha: float = 0.05) -> float:
    """How far average ranks have to be apart by Nemenyi's test.

    The example of Demsar 2006, 14 data sets and 4 classifiers:

    >>> round(critical_difference(4, 14, 0.10), 2)
    1.12
    """
    q = scipy.stats.studentized_range.ppf(1 - alpha, losses, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(losses * (losses + 1) / (6 * units)))


def groups(average_ranks: pd.Series, difference: float) -> list[list[str]]:
    """The largest groups of losses whose average ranks differ by less than `difference`.

    >>> groups(pd.Series({"a": 1.0, "b": 1.8, "c": 2.6, "d": 4.6}), 1.0)
    [['a', 'b'], ['b', 'c']]
    """
    ordered = average_ranks.sort_values(kind="stable")
    groups_so_far: list[list[str]] = []
    for rank in ordered:
        near = ordered[(ordered >= rank) & (ordered < rank + difference)]
        together = [str(loss) for loss in near.index]
        if len(together) > 1 and not any(set(together) <= set(each) for each in groups_so_far):
            groups_so_far.append(together)
    return groups_so_far


def signed_rank_p(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The exact p of Wilcoxon's signed-rank test: two-sided, and that differences are above 0.

    Equal sizes have their mean rank. Differences of 0 take part in the ranking, and half of their
    ranks counts for either side (Demsar 2006). Given these ranks every sign is as likely as the
    other, which is exact also with ties, unlike the exact p of `scipy.stats.wilcoxon`.

    >>> signed_rank_p([1.0, 2.0, 3.0])  # one of the eight patterns is as far up
    (0.25, 0.125)
    """
    values = np.asarray(differences, dtype=float)
    doubled = np.rint(2 * scipy.stats.rankdata(np.abs(values)))
    return flip_p((np.sign(values) * doubled).astype(int))


def pseudomedian(
    differences: Sequence[float] | np.ndarray, alpha: float = 0.05
) -> tuple[float, float, float]:
    """The estimate of Hodges and Lehmann with its interval: what the signed-rank test inverts.

    The estimate is the median of the means of all pairs of differences, each with itself included.

    >>> pseudomedian([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    (3.5, 1.0, 6.0)
    """
    values = np.clip(np.asarray(differences, dtype=float), -_FAR, _FAR)
    first, second = np.triu_indices(len(values))
    means = np.sort(values[first] / 2 + values[second] / 2)
    below = np.cumsum(subset_sums(np.arange(1, len(values) + 1)))
    least = int((below <= alpha / 2).sum()) - 1  # so many of the means at either end lie outside
    low, high = (means[least], means[-1 - least]) if least >= 0 else (math.nan, math.nan)
    return _finite(np.median(means)), _finite(low), _finite(high)


def _finite(value: float) -> float:
    """The value, infinite again where `_FAR` stood for an infinity."""
    return math.copysign(math.inf, value) if abs(value) > _FAR / 10 else float(value)


def practical(
    differences: Sequence[float] | np.ndarray,
    margin: float,
    generator: np.random.Generator,
    samples: int = SAMPLES,
) -> tuple[float, float, float]:
    """The Bayesian signed-rank test: probabilities that a is better, equivalent or worse.

    The weights of the data sets are drawn from a Dirichlet distribution, with an imagined data set
    without a difference as the prior. In each sample the region wins (above the margin, within it,
    below) that holds most of the means of two data sets.

    Args:
        differences: on each unit, above 0 where a is better.
        margin: half the width of practical equivalence.
        generator: of the samples.
        samples: how many.
    """
    values = np.clip([0.0, *differences], -_FAR, _FAR)
    means = values[:, None] / 2 + values[None, :] / 2
    above, below = (means > margin).astype(float), (means < -margin).astype(float)
    weights = generator.dirichlet([_PRIOR, *[1.0] * (len(values) - 1)], samples)
    up, down = ((weights @ each * weights).sum(axis=1) for each in (above, below))
    within = 1 - up - down
    wins = np.argmax(np.stack([within, up, down]), axis=0)
    within_p, up_p, down_p = (float((wins == region).mean()) for region in range(3))
    return up_p, within_p, down_p
