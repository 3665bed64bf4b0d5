"""One contrast of two sets of runs, and the verdict on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from reports.stats import two_way
from reports.stats.intervals import finite_array
from reports.stats.power import DECIDED_FROM, EQUIVALENT_FROM
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

    p: of all runs. e: e-value of all seeds. p_decides: of all looks together (see
    `two_way.at_looks`). planned: pairs (or runs of the smaller side) that were declared.
    """

    found: two_way.Estimate
    of_seeds: two_way.Estimate
    p: float
    e: float
    p_decides: float
    p_equivalence: float
    p_equivalence_decides: float
    planned: int


@dataclass(frozen=True)
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

    n: int
    n_a: int
    n_b: int
    planned_n: int
    paired: bool
    difference: float
    low: float
    high: float
    interval: str
    generalises: str
    test_images: int
    seeds_only_low: float
    seeds_only_high: float
    sd: float
    error: float
    freedom: float
    of_images: float
    p: float
    p_seeds: float
    e_value: float
    p_decides: float
    p_equivalence: float
    p_equivalence_decides: float
    d_z: float
    p_better: float
    p_better_low: float
    p_better_high: float
    median: float
    trimmed_mean: float
    outliers: tuple[int, ...]
    trusted: bool


def values(
    scores: ArrayLike, images: np.ndarray | None = None, planned: ArrayLike | None = None
) -> Values:
    """The runs of one side; all count as planned by default."""
    x = finite_array(scores, 1, "scores")
    there = np.ones(x.size, bool) if planned is None else np.asarray(planned, dtype=bool)
    return Values(x, images, there)


def evidence(
    a: Values, b: Values, *, paired: bool = True, step: float = math.nan, margin: float = math.nan
) -> Evidence:
    """The tests of a against b: of all runs, of the declared ones, and of the e-value."""
    rounding = 0.0 if math.isnan(step) else step / math.sqrt(6 if paired else 12)
    samples, found, of_seeds = _estimates(a, b, paired, rounding)
    p, p_equivalence = two_way.p_difference(found), np.full((), np.nan)
    if not math.isnan(margin):
        p_equivalence = two_way.p_equivalence(found, margin)
    e = two_way.e_difference(samples, found)
    kept_a, kept_b = a.planned, b.planned
    if paired:
        kept_a = kept_b = a.planned & b.planned
    planned = int(min(kept_a.sum(), kept_b.sum()))
    once, once_equivalence = np.full((), np.nan), np.full((), np.nan)
    later, later_equivalence = once, once
    if kept_a.all() and kept_b.all():
        once, once_equivalence = p, p_equivalence
    else:
        later, later_equivalence = p, p_equivalence
        if planned >= 2:
            _, first, _ = _estimates(a.only(kept_a), b.only(kept_b), paired, rounding)
            once = two_way.p_difference(first)
            if not math.isnan(margin):
                once_equivalence = two_way.p_equivalence(first, margin)
    e_equivalence = np.full((), np.nan)
    if not math.isnan(margin):
        e_equivalence = two_way.e_equivalence(samples, found, margin)
    alone = min(len(a.scores), len(b.scores)) < 2  # says nothing about the losses
    decides = two_way.at_looks(once, later, e)
    equivalent = two_way.at_looks(once_equivalence, later_equivalence, e_equivalence)
    return Evidence(
        found,
        of_seeds,
        float(p),
        float(e),
        1.0 if alone else float(decides),
        float(p_equivalence),
        1.0 if alone else float(equivalent),
        planned,
    )


def _estimates(
    a: Values, b: Values, paired: bool, rounding: float
) -> tuple[list[np.ndarray], two_way.Estimate, two_way.Estimate]:
    """The samples of a contrast, its estimate, and that of the seeds alone."""
    samples = [differences(a.scores, b.scores)] if paired else [a.scores, b.scores]
    of_seeds = two_way.estimate(samples, rounding=rounding)
    if a.images is None or b.images is None:
        return samples, of_seeds, of_seeds
    per_image = (
        [np.subtract(a.images, b.images, dtype=np.float64)] if paired else [a.images, b.images]
    )
    parts = [two_way.image_parts(each) for each in per_image]
    return samples, two_way.estimate(samples, parts, rounding=rounding), of_seeds


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
    sqrt(6) for the difference of two.

    Args:
        a: runs of one side.
        b: runs of the other, in the same order of seeds when paired.
        paired: whether a and b are compared seed by seed.
        higher_is_better: False for errors such as NLL.
        level: of the intervals.
        step: what one test example is worth, in the unit of the values; NaN where they are not
            rounded.
        margin: half the width of equivalence, in the same unit; NaN when it is not asked.

    >>> c = contrast(values([98.0, 99.0, 97.0]), values([97.0, 97.0, 94.0]))  # differences 1, 2, 3
    >>> print(f"{c.difference} [{c.low:.3f}, {c.high:.3f}] p {c.p:.3f} d_z {c.d_z} P {c.p_better}")
    2.0 [-0.484, 4.484] p 0.074 d_z 2.0 P 1.0
    """
    x, y = a.scores, b.scores
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    nothing = _nothing(x.size, y.size, paired)
    if not min(x.size, y.size):
        return nothing
    found = evidence(a, b, paired=paired, step=step, margin=margin)
    (low, high), (seeds_low, seeds_high) = (
        each.interval(level) for each in (found.found, found.of_seeds)
    )
    images = 0 if a.images is None or b.images is None else a.images.shape[1]
    several = min(x.size, y.size) > 1
    how, generalises = ("t" if paired else "welch"), SEEDS
    if images:
        how, generalises = ("two-way", SEEDS_AND_IMAGES) if several else ("images", IMAGES)
    elif not several:
        how, generalises = "none", ""
    d = differences(x, y) if paired else None
    rounding = 0.0 if math.isnan(step) else step / math.sqrt(6 if paired else 12)
    if d is None:
        sd = math.sqrt((_sd(x) ** 2 + _sd(y) ** 2) / 2)
        p_seeds = float(two_way.p_difference(found.of_seeds))
        outliers = np.concatenate([outlying(x, rounding), outlying(y, rounding)])
    else:
        sd, p_seeds, outliers = _sd(d), sign_flip_p(d, step), outlying(d, rounding)
    middle = [
        float(of(x) - of(y) if d is None else of(d))
        for of in (np.median, lambda values: scipy.stats.trim_mean(values, 0.2))
    ]
    return Contrast(
        n=nothing.n,
        n_a=x.size,
        n_b=y.size,
        planned_n=found.planned,
        paired=paired,
        difference=float(found.found.difference),
        low=float(low),
        high=float(high),
        interval=how,
        generalises=generalises,
        test_images=images,
        seeds_only_low=float(seeds_low),
        seeds_only_high=float(seeds_high),
        sd=sd,
        error=math.sqrt(found.found.variance),
        freedom=float(found.found.freedom),
        of_images=float(found.found.of_images),
        p=found.p,
        p_seeds=p_seeds,
        e_value=found.e,
        p_decides=found.p_decides,
        p_equivalence=found.p_equivalence,
        p_equivalence_decides=found.p_equivalence_decides,
        d_z=math.nan if d is None else effect_size_dz(d),
        p_better=chance.estimate,
        p_better_low=chance.low,
        p_better_high=chance.high,
        median=middle[0],
        trimmed_mean=middle[1],
        outliers=tuple(np.flatnonzero(outliers).tolist()),
        trusted=d is None or is_trusted(d, p_seeds, rounding, alpha=1 - level),
    )


def _nothing(n_a: int, n_b: int, paired: bool) -> Contrast:
    nan = math.nan
    return Contrast(
        *(min(n_a, n_b), n_a, n_b, 0, paired, nan, nan, nan, "none", "", 0, nan, nan),
        *(nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan),
        *((), True),
    )


def rank_contrast(
    a: Values,
    b: Values,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    level: float = 0.95,
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
    chance = probability_of_improvement(
        x, y, paired=paired, higher_is_better=higher_is_better, level=level
    )
    kept = (a.planned & b.planned,) * 2 if paired else (a.planned, b.planned)
    p, e = _rank_p(x, y, paired)
    once, later = (p, math.nan) if kept[0].all() and kept[1].all() else (math.nan, p)
    planned = int(min(kept[0].sum(), kept[1].sum()))
    if planned and not math.isnan(later):
        once, _ = _rank_p(x[kept[0]], y[kept[1]], paired)
    fields = vars(_nothing(x.size, y.size, paired)) | {
        "planned_n": planned,
        "interval": "ranks",
        "generalises": SEEDS,
        "p": p,
        "p_seeds": p,
        "e_value": e,
        "p_decides": float(
            two_way.at_looks(*(np.array(each, dtype=float) for each in (once, later, e)))
        ),
        "p_better": chance.estimate,
        "p_better_low": chance.low,
        "p_better_high": chance.high,
    }
    return Contrast(**fields)


def _rank_p(x: np.ndarray, y: np.ndarray, paired: bool) -> tuple[float, float]:
    if not paired:
        return float(scipy.stats.mannwhitneyu(x, y).pvalue), math.nan
    wins, losses = int((x > y).sum()), int((x < y).sum())
    if not wins + losses:
        return 1.0, 1.0
    log_e = (wins + losses) * math.log(2) + special.betaln(wins + 1, losses + 1)
    return float(scipy.stats.binomtest(wins, wins + losses).pvalue), math.exp(log_e)


class Comparison(NamedTuple):
    """A verdict on a, and the numbers behind it."""

    verdict: str
    contrast: Contrast


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    paired: bool = True,
    higher_is_better: bool = True,
    margin: float = math.nan,
    step: float = math.nan,
    planned: int | None = None,
    alpha: float = 0.05,
) -> Comparison:
    """Compare two losses from numbers of any program: one comparison, by the rules of a report.

    Args:
        a: the metric of each run, [seeds], or its value for each test example, [seeds, images].
        b: the same of the other loss, in the same order of seeds when paired.
        paired: whether the runs of one seed belong together.
        higher_is_better: False for errors.
        margin: half the width of equivalence; NaN when it is not asked.
        step: what one test example is worth; NaN where values are not rounded to it.
        planned: how many of the first seeds were declared before the runs; None: all.
        alpha: of the tests.

    >>> a, b = [97.1, 97.4, 96.9, 97.3, 97.2], [96.2, 96.7, 96.1, 96.6, 96.3]
    >>> found = compare(a, b)
    >>> print(found.verdict, f"{found.contrast.low:.2f} to {found.contrast.high:.2f}")
    better 0.68 to 0.92
    >>> found = compare(a, b, planned=2)  # the others were added after a look at these two
    >>> print(found.verdict, f"{found.contrast.e_value:.0f}")
    undecided 31
    >>> right = np.random.default_rng(0).random((6, 500)) < [[0.97]] * 6
    >>> found = compare(100 * right, 100 * right[::-1], paired=False, margin=2.0, step=0.2)
    >>> found.verdict, found.contrast.generalises
    ('equivalent', 'new seeds and new examples')
    """
    sides = []
    for each in (a, b):
        x = np.asarray(each, dtype=np.float64)
        there = np.arange(len(x)) < (len(x) if planned is None else planned)
        sides.append(values(x if x.ndim < 2 else x.mean(axis=1), x if x.ndim > 1 else None, there))
    how = {"higher_is_better": higher_is_better, "margin": margin}
    found = contrast(*sides, paired=paired, level=1 - alpha, step=step, **how)  # type: ignore[arg-type]
    words = verdict(
        found.low,
        found.high,
        found.p_decides,
        n=found.n,
        p_equivalence=found.p_equivalence_decides,
        alpha=alpha,
        **how,  # type: ignore[arg-type]
    )
    if words in ("better", "worse") and not found.trusted:
        words = "undecided"
    return Comparison(words, found)


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
    2. "better" or "worse": n is at least 3, Holm's p is below alpha and the interval excludes 0;
    3. "undecided": everything else.

    Args:
        low: lower end of the interval; NaN when there is none.
        high: upper end of the interval; NaN when there is none.
        p_holm: the p that decides, adjusted over the family.
        n: pairs, or runs of the smaller side.
        p_equivalence: the p of equivalence that decides, adjusted over the family.
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
    widest = margin * (1 + 1e-9)  # an interval that ends on the margin lies inside it
    inside = -widest <= low and high <= widest
    if inside and n >= EQUIVALENT_FROM and p_equivalence < alpha:
        return "equivalent"
    if n >= DECIDED_FROM and p_holm < alpha and (low > 0 or high < 0):
        return "better" if (low > 0) == higher_is_better else "worse"
    return "undecided"


def rank_verdict(p_holm: float, p_better: float, *, alpha: float = 0.05) -> str:
    """The verdict on a `rank_contrast`, which has no interval: "better", "worse" or "undecided"."""
    if not p_holm < alpha or p_better == 0.5:
        return "undecided"
    return "better" if p_better > 0.5 else "worse"


def _sd(values: np.ndarray) -> float:
    return float(two_way.spread(values))
