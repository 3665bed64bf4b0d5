"""The verdicts on contrasts: on one, and on a family with what would decide the undecided ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.metrics import Metric, read_metric
from reports.stats import two_way
from reports.stats.contrast import Contrast, contrast, values
from reports.stats.power import (
    DECIDED_FROM,
    EQUIVALENT_FROM,
    Seeds,
    detectable_difference,
    seeds_needed,
)
from reports.stats.significance import holm

RunScores = Callable[[str], np.ndarray | None]
"""The metric of a run, by its id, for each test example; None where it is not stored."""


@dataclass(frozen=True)
class Rules:
    """What holds for every contrast of a family.

    metric: a column; shares are compared in percentage points, others in their own unit. margin: of
    equivalence, in the unit of the difference; None: for accuracies 0.1 points or two test
    examples, whichever is larger, else no margin. test_size: test examples that the metric counts:
    the margin of an accuracy is at least one of them, and the spread of runs is at least that of
    rounding to one. scores: the metric of a run for each test example. Where a run of a contrast
    has none, or one whose mean is not its metric, the contrast is about these test examples only.
    diverged: what a diverged run counts with: the accuracy, in [0, 1], of the best constant answer;
    NaN where that is not known or the metric has none. constant: the same for each test example.
    alpha: of Holm's p; intervals have level 1 - alpha.
    """

    metric: str = "test_accuracy"
    margin: float | None = None
    test_size: int | None = None
    scores: RunScores | None = None
    diverged: float = math.nan
    constant: np.ndarray | None = None
    alpha: float = 0.05

    @cached_property
    def read(self) -> Metric:
        """What the metric is."""
        return read_metric(self.metric)

    @cached_property
    def step(self) -> float:
        """What one test example is worth; NaN where values are not rounded to it."""
        return self.read.one_example(self.test_size) or math.nan

    @cached_property
    def half_width(self) -> float:
        """The margin of equivalence; NaN where there is none."""
        return self.read.margin(self.margin, self.test_size)


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
        margin: half the width of equivalence; NaN: none.
        step: what one test example is worth; NaN where values are not rounded to it.
        planned: how many of the first seeds were declared before the runs; None: all.
        alpha: of the tests.

    >>> a, b = [97.1, 97.4, 96.9, 97.3, 97.2], [96.2, 96.7, 96.1, 96.6, 96.3]
    >>> result = compare(a, b)
    >>> print(result.verdict, f"{result.contrast.low:.2f} to {result.contrast.high:.2f}")
    better 0.68 to 0.92
    >>> result = compare(a, b, planned=2)  # the others were added after a look at these two
    >>> print(result.verdict, f"{result.contrast.e_value:.0f}")
    undecided 31
    >>> right = np.random.default_rng(0).random((6, 500)) < [[0.97]] * 6
    >>> result = compare(100 * right, 100 * right[::-1], paired=False, margin=2.0, step=0.2)
    >>> result.verdict, result.contrast.generalises
    ('equivalent', 'new seeds and new examples')
    """
    samples = []
    for each in (a, b):
        x = np.asarray(each, dtype=np.float64)
        declared = np.arange(len(x)) < (len(x) if planned is None else planned)
        per_image = x if x.ndim > 1 else None
        samples.append(values(x if x.ndim < 2 else x.mean(axis=1), per_image, declared))
    how = {"higher_is_better": higher_is_better, "margin": margin}
    result = contrast(*samples, paired=paired, level=1 - alpha, step=step, **how)  # type: ignore[arg-type]
    words = verdict(
        result.low,
        result.high,
        result.p_decides,
        n=result.n,
        p_equivalence=result.p_equivalence_decides,
        alpha=alpha,
        **how,  # type: ignore[arg-type]
    )
    if words in ("better", "worse") and not result.trusted:
        words = "undecided"
    return Comparison(words, result)


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
        margin: from `Metric.margin`; NaN: none.
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


def decide(family: list[dict[str, Any]], rules: Rules) -> None:
    """Complete the rows of one family: Holm's p, the verdict and what it would take.

    Args:
        family: rows with the fields of `Contrast`, `applies` (whether the contrast is a member of
            the family), and `p_at_best` and `p_equivalence_at_best` (at the best rates alone).
        rules: of the family.
    """
    tested = [row for row in family if row["applies"]]
    for name, adjusted in (
        ("p_decides", "p_holm"),
        ("p_at_best", "p_holm_at_best"),
        ("p_equivalence_decides", "p_equivalence_holm"),
        ("p_equivalence_at_best", "p_equivalence_holm_at_best"),
    ):
        for row in family:
            row[adjusted] = math.nan
        for row, p in zip(tested, holm([row[name] for row in tested]), strict=True):
            row[adjusted] = float(p)
    for row in family:
        row["at_best"] = _verdict(row, "holm_at_best", rules)
        outcome = _verdict(row, "holm", rules)
        distrusted = outcome in ("better", "worse") and not row["trusted"]
        row |= {"family": len(tested), "verdict": "undecided" if distrusted else outcome}
        row["reason"] = _reason(row, distrusted) if row["verdict"] == "undecided" else ""
        row |= _what_it_takes(row, rules.alpha / max(len(tested), 1), rules)
        if row["reason"] == "too few seeds" and math.isinf(row["seeds_needed"]):
            row["reason"] = "too close to tell"


def _what_it_takes(row: Mapping[str, Any], alpha: float, rules: Rules) -> dict[str, float]:
    """The difference that the runs of a row show, and the seeds that would decide it."""
    detectable, seeds = math.nan, Seeds(math.nan, math.nan, math.nan)
    if row["n"] > 1:  # so few that no verdict is given can show nothing
        level = two_way.PLANNED * alpha
        few = row["n"] < DECIDED_FROM
        detectable = (
            math.inf if few else detectable_difference(row["error"], row["freedom"], alpha=level)
        )
    unknown = row["reason"] in ("", "rates")  # nothing to decide, or nothing at the best rates
    if not unknown and row["n"] >= DECIDED_FROM:
        samples = 1 if row["paired"] else 2
        step = 0.0 if math.isnan(rules.step) else rules.step
        seeds = seeds_needed(
            row["difference"],
            max(row["sd"], step / math.sqrt(6 * samples)),
            row["n"],
            of_images=row["of_images"],
            margin=rules.half_width,
            alpha=alpha,
            samples=samples,
        )
    names = ("detectable", "seeds_needed_low", "seeds_needed", "seeds_needed_high")
    return dict(zip(names, (detectable, *seeds), strict=True))


def _verdict(row: Mapping[str, Any], adjusted: str, rules: Rules) -> str:
    p_holm = row[f"p_{adjusted}"]
    if row["interval"] == "ranks":
        return rank_verdict(p_holm, row["p_better"], alpha=rules.alpha)
    return verdict(
        row["low"],
        row["high"],
        p_holm,
        n=row["n"],
        p_equivalence=row[f"p_equivalence_{adjusted}"],
        margin=rules.half_width,
        alpha=rules.alpha,
        higher_is_better=rules.read.higher_is_better,
    )


def _reason(row: Mapping[str, Any], distrusted: bool) -> str:
    """Why a contrast is undecided, before it is known how many seeds would decide."""
    if row["n"] < 2:
        return "one seed" if row["n"] else "nothing to compare"
    if distrusted:
        return "not to be trusted"
    decided = row["at_best"] == "equivalent" or (row["at_best"] != "undecided" and row["trusted"])
    return "rates" if decided else "too few seeds"
