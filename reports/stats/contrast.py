"""One contrast of two sets of runs: estimate, interval and tests, before its family is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from reports.stats import two_way
from reports.stats.intervals import finite_array
from reports.stats.significance import (
    differences,
    effect_size_dz,
    is_trusted,
    outlying,
    probability_of_improvement,
    sign_flip_p,
)

SEEDS_AND_IMAGES = "new seeds and new examples"
SEEDS = "new seeds, on this test set"
IMAGES = "new examples, for these two networks"
FOLDS = "new seeds, each tested on a fold of these data"


class Values(NamedTuple):
    """The runs of one side.

    scores: the metric of each run, [n]. images: the same for each test example, [n, images], whose
    mean is the score; None where it is not stored. planned: which runs were declared, [n].
    """

    scores: np.ndarray
    images: np.ndarray | None
    planned: np.ndarray

    def only(self, kept: np.ndarray) -> Values:
        """The runs at the places that are kept."""
        images = None if self.images is None else self.images[kept]
        return Values(self.scores[kept], images, self.planned[kept])


class Evidence(NamedTuple):
    """The tests of one contrast at one pair of learning rates.

    p: of all runs. e_value: of all seeds. p_decides: of all looks together (see
    `two_way.at_looks`). planned_n: pairs (or runs of the smaller side) that were declared.
    """

    estimate: two_way.Estimate
    of_seeds: two_way.Estimate
    p: float
    e_value: float
    p_decides: float
    p_equivalence: float
    p_equivalence_decides: float
    planned_n: int


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """a against b, before correction for its family. Everything is NaN where there are no values.

    `n`: pairs, or the smaller sample when not paired; `planned_n`: those of them that were
    declared. `difference`: mean of a minus mean of b, `low` and `high` its interval (`interval`:
    none, two-way, t, welch, images, ranks), and `generalises` says over what. `seeds_only_low` and
    `seeds_only_high`: the interval for new seeds on the same test examples. `sd`: of the paired
    differences, or the root mean square of the two samples' standard deviations; `error` and
    `freedom`: of the difference; `of_images`: the part of its variance that more seeds do not make
    smaller. `p`: of the interval's test; `p_seeds`: exact, of the seeds alone (sign flips when
    paired, else Welch's t); `e_value`, `p_decides`, `p_equivalence`, `p_equivalence_decides`: see
    `Evidence`. `median`, `trimmed_mean` (20 % at each end): of the paired differences, or the
    difference of those of the two samples. `outliers`: places of outlying pairs; of runs of a, then
    of b, when not paired. `trusted`: see `significance.is_trusted`.
    """

    n: int = 0
    n_a: int = 0
    n_b: int = 0
    planned_n: int = 0
    paired: bool = False
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    interval: str = "none"
    generalises: str = ""
    test_images: int = 0
    seeds_only_low: float = math.nan
    seeds_only_high: float = math.nan
    sd: float = math.nan
    error: float = math.nan
    freedom: float = math.nan
    of_images: float = math.nan
    p: float = math.nan
    p_seeds: float = math.nan
    e_value: float = math.nan
    p_decides: float = math.nan
    p_equivalence: float = math.nan
    p_equivalence_decides: float = math.nan
    d_z: float = math.nan
    p_better: float = math.nan
    p_better_low: float = math.nan
    p_better_high: float = math.nan
    median: float = math.nan
    trimmed_mean: float = math.nan
    outliers: tuple[int, ...] = ()
    trusted: bool = True

    @property
    def direction(self) -> float:
        """1, 0 or -1: the side of the difference, or where only the order is known, of a."""
        return float(np.sign(self.p_better - 0.5 if self.interval == "ranks" else self.difference))


def values(
    scores: ArrayLike, images: np.ndarray | None = None, planned: ArrayLike | None = None
) -> Values:
    """The runs of one side; all count as planned by default."""
    x = finite_array(scores, 1, "scores")
    declared = np.ones(x.size, bool) if planned is None else np.asarray(planned, dtype=bool)
    return Values(x, images, declared)


def evidence(
    a: Values, b: Values, *, paired: bool = True, step: float = math.nan, margin: float = math.nan
) -> Evidence:
    """The tests of a against b: of all runs, of the declared ones, and of the e-value."""
    samples, estimate, of_seeds = _estimates(a, b, paired, step)
    kept = _declared(a, b, paired)
    every, planned = all(each.all() for each in kept), int(min(each.sum() for each in kept))
    first = estimate if every else None
    if not every and planned >= 2:
        _, first, _ = _estimates(a.only(kept[0]), b.only(kept[1]), paired, step)
    alone = min(len(a.scores), len(b.scores)) < 2  # says nothing about the losses

    def tested(p: Callable[[two_way.Estimate], Any], e: Any) -> tuple[float, float]:
        """The p of all runs, and that of all looks."""
        nothing, of_all = np.full((), np.nan), p(estimate)
        once = nothing if first is None else p(first)
        decides = two_way.at_looks(once, nothing if every else of_all, e)
        return float(of_all), 1.0 if alone else float(decides)

    e = two_way.e_difference(samples, estimate)
    p, p_decides = tested(two_way.p_difference, e)
    equivalence = tested(
        lambda each: two_way.p_equivalence(each, margin),
        two_way.e_equivalence(samples, estimate, margin),
    )
    return Evidence(estimate, of_seeds, p, float(e), p_decides, *equivalence, planned)


def _declared(a: Values, b: Values, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which runs of either side were declared; of a pair both have to be."""
    return (a.planned & b.planned,) * 2 if paired else (a.planned, b.planned)


def _rounding(step: float, paired: bool) -> float:
    """The least standard deviation over seeds of values that are multiples of `step`."""
    return 0.0 if math.isnan(step) else step / math.sqrt(6 if paired else 12)


def _estimates(
    a: Values, b: Values, paired: bool, step: float
) -> tuple[list[np.ndarray], two_way.Estimate, two_way.Estimate]:
    """The samples of a contrast, its estimate, and that of the seeds alone."""
    samples = [differences(a.scores, b.scores)] if paired else [a.scores, b.scores]
    rounding = _rounding(step, paired)
    of_seeds = two_way.estimate(samples, rounding=rounding)
    if a.images is None or b.images is None:
        return samples, of_seeds, of_seeds
    per_image = (
        [np.subtract(a.images, b.images, dtype=np.float64)] if paired else [a.images, b.images]
    )
    parts = [two_way.image_parts(each) for each in per_image]
    one_image = 0.0 if math.isnan(step) else step
    both = two_way.estimate(samples, parts, rounding=rounding, one_image=one_image)
    return samples, both, of_seeds


def contrast(
    a: Values,
    b: Values,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
    step: float = math.nan,
    margin: float = math.nan,
) -> Contrast:
    """Compare the runs of two sides, values of one metric in one unit.

    Accuracies are rounded to whole test examples, so their spread may look smaller than it is, down
    to 0. The tests use at least the spread of that rounding: step / sqrt(12) for a run, and step /
    sqrt(6) for the difference of two. For new images the standard error is at least a step.

    Args:
        a: runs of one side.
        b: runs of the other, in the same order of seeds when paired.
        paired: whether a and b are compared seed by seed.
        higher_is_better: False for errors such as NLL.
        level: of the intervals.
        step: what one test example is worth, in the unit of the values; NaN where they are not
            rounded.
        margin: half the width of equivalence, in the same unit; NaN: none.

    >>> c = contrast(values([98.0, 99.0, 97.0]), values([97.0, 97.0, 94.0]))  # differences 1, 2, 3
    >>> print(f"{c.difference} [{c.low:.3f}, {c.high:.3f}] p {c.p:.3f} d_z {c.d_z} P {c.p_better}")
    2.0 [-0.484, 4.484] p 0.074 d_z 2.0 P 1.0
    """
    order = _order(a.scores, b.scores, paired, higher_is_better, level)
    if not order["n"]:
        return Contrast(**order)
    tests = evidence(a, b, paired=paired, step=step, margin=margin)._asdict()
    estimate, of_seeds = tests.pop("estimate"), tests.pop("of_seeds")
    (low, high), (seeds_low, seeds_high) = (each.interval(level) for each in (estimate, of_seeds))
    images = 0 if a.images is None or b.images is None else a.images.shape[1]
    interval, generalises = "t" if paired else "welch", SEEDS
    if images:
        interval, generalises = "two-way", SEEDS_AND_IMAGES
    if order["n"] < 2:
        interval, generalises = ("images", IMAGES) if images else ("none", "")
    return Contrast(
        **order,
        **tests,
        **(_of_pairs if paired else _of_samples)(a.scores, b.scores, step, of_seeds, 1 - level),
        difference=float(estimate.difference),
        low=float(low),
        high=float(high),
        interval=interval,
        generalises=generalises,
        test_images=images,
        seeds_only_low=float(seeds_low),
        seeds_only_high=float(seeds_high),
        error=math.sqrt(estimate.variance),
        freedom=float(estimate.freedom),
        of_images=float(estimate.of_images),
    )


def _order(
    x: np.ndarray, y: np.ndarray, paired: bool, higher_is_better: bool, level: float
) -> dict[str, Any]:
    """The fields of a contrast that are known of any values."""
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    return {
        **{"n": min(x.size, y.size), "n_a": x.size, "n_b": y.size, "paired": paired},
        **{"p_better": chance.estimate, "p_better_low": chance.low, "p_better_high": chance.high},
    }


def _of_pairs(
    x: np.ndarray, y: np.ndarray, step: float, of_seeds: two_way.Estimate, alpha: float
) -> dict[str, Any]:
    """What a contrast says of its paired differences, and whether they can be trusted."""
    d, rounding = differences(x, y), _rounding(step, True)
    p_seeds = sign_flip_p(d, step)
    return {
        **{"sd": float(two_way.spread(d)), "d_z": effect_size_dz(d), "p_seeds": p_seeds},
        **{"median": float(np.median(d)), "trimmed_mean": _trimmed_mean(d)},
        "outliers": tuple(np.flatnonzero(outlying(d, rounding)).tolist()),
        "trusted": is_trusted(d, p_seeds, rounding, alpha=alpha),
    }


def _of_samples(
    x: np.ndarray, y: np.ndarray, step: float, of_seeds: two_way.Estimate, alpha: float
) -> dict[str, Any]:
    """The same of two samples, for which there is no test of outlying seeds."""
    far = [outlying(each, _rounding(step, False)) for each in (x, y)]
    trimmed = _trimmed_mean(x) - _trimmed_mean(y)
    return {
        "sd": math.sqrt((float(two_way.spread(x)) ** 2 + float(two_way.spread(y)) ** 2) / 2),
        "p_seeds": float(two_way.p_difference(of_seeds)),
        **{"median": float(np.median(x) - np.median(y)), "trimmed_mean": trimmed},
        "outliers": tuple(np.flatnonzero(np.concatenate(far)).tolist()),
    }


def _trimmed_mean(values: np.ndarray) -> float:
    """The mean without a fifth of the values at either end."""
    cut = len(values) // 5
    return float(np.sort(values)[cut : len(values) - cut].mean())


def rank_contrast(
    a: Values, b: Values, *, paired: bool = True, higher_is_better: bool = True, level: float = 0.95
) -> Contrast:
    """Compare the runs of two sides by their order alone.

    So a value may be infinite, which stands for a run that diverged.

    Paired: the sign test, exact, with the e-value of a uniform prior. Not paired: the test of
    Wilcoxon, Mann and Whitney, of the declared runs only. There is no mean, so `difference`, its
    interval, `sd` and `d_z` are NaN.

    >>> a, b = (Values(np.array(x), None, np.ones(6, bool)) for x in ([-np.inf] * 6, range(6)))
    >>> c = rank_contrast(a, b)
    >>> c.p, c.p_better, c.difference
    (0.03125, 0.0, nan)
    """
    ranks = scipy.stats.rankdata(np.concatenate([a.scores, b.scores]))
    x, y = ranks[: len(a.scores)], ranks[len(a.scores) :]
    kept = _declared(a, b, paired)
    every, planned = all(each.all() for each in kept), int(min(each.sum() for each in kept))
    p, e = _rank_p(x, y, paired)
    once = p if every else math.nan
    if planned and not every:
        once, _ = _rank_p(x[kept[0]], y[kept[1]], paired)
    looks = (np.array(each, dtype=float) for each in (once, math.nan if every else p, e))
    return Contrast(
        **_order(x, y, paired, higher_is_better, level),
        planned_n=planned,
        interval="ranks",
        generalises=SEEDS,
        p=p,
        p_seeds=p,
        e_value=e,
        p_decides=float(two_way.at_looks(*looks)),
    )


def _rank_p(x: np.ndarray, y: np.ndarray, paired: bool) -> tuple[float, float]:
    """The p and the e-value of a comparison by order; NaN where there is no e-value."""
    if not paired:
        return float(scipy.stats.mannwhitneyu(x, y).pvalue), math.nan
    wins, losses = int((x > y).sum()), int((x < y).sum())
    if not wins + losses:
        return 1.0, 1.0
    log_e = (wins + losses) * math.log(2) + special.betaln(wins + 1, losses + 1)
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue), math.exp(log_e)
