"""Losses compared over several data sets (or models): these are the unit, never their seeds.

Each loss has one value on each data set, its mean over seeds at its best learning rate. Everything
else is computed from this table of values.

Source: Demsar 2006, Journal of Machine Learning Research 7.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from reports.metrics import read_metric
from reports.stats.intervals import named_generator
from reports.stats.ranks import (
    SAMPLES,
    Friedman,
    critical_difference,
    friedman,
    groups,
    practical,
    pseudomedian,
    signed_rank_p,
)
from reports.stats.runs import FINISHED, newest_runs
from reports.stats.significance import holm
from reports.stats.tuning import at_chosen, choose_rates

LEAST = 6
"""The fewest data sets that are tested: of five, the exact two-sided p is never below 0.05."""

SCORES = ["unit", "loss", "epochs", "lr", "value", "seeds", "diverged"]
PRACTICALLY = ("practically_better", "practically_equivalent", "practically_worse")
CONTRASTS = [
    *("a", "b", "n", "won", "tied", "lost", "difference", "low", "high", "p", "p_holm", "family"),
    *("p_equivalence", "p_equivalence_holm", "margin"),
    *PRACTICALLY,
    "verdict",
]

_DIGITS = 9  # values that differ by less are equal: means of the same numbers in another order


@dataclass(frozen=True)
class Comparison:
    """The losses over the units, which are data sets or models.

    values: unit by loss, in the metric's own unit; NaN where a loss has no result, infinite where a
    run diverged and the metric has no value for that. left_out: by unit, the losses without a
    result there; all else is of the other units alone. ranks: unit by loss, 1 is the best.
    average_ranks: by loss, the best first. critical_difference: of average ranks, by Nemenyi's
    test. groups: losses whose average ranks differ by less than that. friedman: None for fewer than
    three losses. Without a test (fewer than `LEAST` units), there are no contrasts, groups or
    friedman, and the critical difference is NaN.
    """

    values: pd.DataFrame
    left_out: dict[str, list[str]]
    ranks: pd.DataFrame
    average_ranks: pd.Series
    critical_difference: float
    friedman: Friedman | None
    contrasts: pd.DataFrame
    groups: list[list[str]] = field(default_factory=list)

    @property
    def tested(self) -> bool:
        """Whether there are enough units for a test, and two losses."""
        return len(self.contrasts) > 0


def scores(
    summary: pd.DataFrame,
    *,
    unit: str,
    metric: str,
    diverged: Mapping[str, float],
    tuning_seeds: Iterable[int] | None = None,
) -> pd.DataFrame:
    """The value of each loss on each unit: the metric at its best rate, mean over seeds.

    The rate of a loss is chosen on each unit by validation, as in a report on that unit alone. A
    run that diverged counts with the value in `diverged`. Where the unit has none, the mean is
    infinitely bad, so the loss ranks last there. Runs without a result are not averaged.

    The length of training is the largest that all units have, or, where they have none in common,
    the largest of each unit.

    Args:
        summary: runs as in `reports.stats.runs`, of several settings that differ in `unit` alone.
        unit: the column that names the data set or the model.
        metric: a column.
        diverged: by unit, the value of a diverged run; NaN or absent: there is none.
        tuning_seeds: seeds that choose rates and are not evaluated; None: all seeds do both.

    Returns:
        A row per unit and loss with a finished run: unit, loss, epochs, `lr`, `value`, `seeds`
        (behind the value) and `diverged` (of these).

    Raises:
        ValueError: `tuning_seeds` do not fit the runs of a unit.
    """
    sign = 1 if read_metric(metric).higher_is_better else -1
    fixed = None if tuning_seeds is None else tuple(tuning_seeds)
    units = {str(name): newest_runs(runs) for name, runs in summary.groupby(unit, sort=True)}
    lengths = [set(runs["epochs"]) for runs in units.values()]
    common = set.intersection(*lengths) if lengths else set()
    rows = []
    for name, runs in units.items():
        epochs = max(common or set(runs["epochs"]))
        family = runs[runs["epochs"] == epochs]
        chosen = choose_rates(family, fixed)
        rates = chosen.set_index("loss")["lr"]
        evaluated = family[at_chosen(family, chosen) & ~family["seed"].isin(fixed or ())]
        for loss, own in evaluated[evaluated["outcome"].isin(FINISHED)].groupby("loss", sort=True):
            lost = (own["outcome"] == "diverged").to_numpy()
            as_assigned = diverged.get(name, math.nan)
            as_assigned = -sign * math.inf if math.isnan(as_assigned) else as_assigned
            value = own[metric].to_numpy(dtype=float, na_value=math.nan)
            value = np.where(lost, as_assigned, np.where(np.isfinite(value), value, math.nan))
            finite = value[~np.isnan(value)]
            if lost.all() or len(finite) > lost.sum():  # otherwise its head has no such number
                mean = float(finite.mean())
                counts = [len(finite), int(lost.sum())]
                rows.append([name, str(loss), int(epochs), float(rates[str(loss)]), mean, *counts])
    return pd.DataFrame(rows, columns=SCORES)


def compare(
    results: pd.DataFrame,
    *,
    reference: str,
    metric: str,
    margin: float = math.nan,
    all_pairs: bool = False,
    alpha: float = 0.05,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Comparison:
    """Compare the losses over the units.

    A contrast is decided by the exact Wilcoxon signed-rank test of the differences on each unit,
    with Holm's correction over the contrasts. It is "equivalent" if two one-sided tests reject a
    difference outside the margin, else "better" or "worse" if the two-sided test rejects that there
    is no difference, else "undecided".

    Args:
        results: from `scores`.
        reference: b of every contrast.
        metric: the column that the values are of.
        margin: half the width of practical equivalence, in the unit of differences (points for
            shares); NaN: none, and no loss is called equivalent.
        all_pairs: whether every two losses are compared.
        alpha: of Holm's p and of Nemenyi's test; intervals have level 1 - alpha.
        seed: of the samples of the posterior.
        samples: how many of these; they decide no verdict.

    Raises:
        ValueError: no unit has a result of the reference.
    """
    read = read_metric(metric)
    sign = 1 if read.higher_is_better else -1
    values = results.pivot(index="unit", columns="loss", values="value").astype(float)
    if reference not in values.columns:
        raise ValueError(f"reference: no run has a result of {reference!r}; got {list(values)}")
    losses = [reference, *(loss for loss in values.columns if loss != reference)]
    values = values[losses].rename_axis(index=None, columns=None)
    lacking = {
        str(unit): [loss for loss in losses if math.isnan(row[loss])]
        for unit, row in values.iterrows()
    }
    left_out = {unit: without for unit, without in lacking.items() if without}
    complete = values.drop(index=list(left_out))
    rounded = complete.round(_DIGITS)
    ranks = (-sign * rounded).rank(axis=1)
    average = ranks.mean().sort_values(kind="stable")
    if len(complete) < LEAST or len(losses) < 2:
        none = pd.DataFrame(columns=CONTRASTS)
        return Comparison(values, left_out, ranks, average, math.nan, None, none)
    pairs = [
        (a, b)
        for place, b in enumerate(losses if all_pairs else losses[:1])
        for a in losses[place + 1 :]
    ]
    scaled = read.scale * rounded
    rows = []
    for a, b in pairs:
        row, sizes = _contrast(
            a, b, scaled[a].to_numpy(), scaled[b].to_numpy(), sign, margin, alpha
        )
        generator = named_generator(seed, "across", a, b)
        chances = practical(sign * sizes, 0.0 if math.isnan(margin) else margin, generator, samples)
        rows.append(row | dict(zip(PRACTICALLY, chances, strict=True)))
    contrasts = pd.DataFrame(rows, columns=CONTRASTS).assign(family=len(rows))
    contrasts["p_holm"] = holm(contrasts["p"])
    contrasts["p_equivalence_holm"] = holm(contrasts["p_equivalence"])
    contrasts["verdict"] = [
        _verdict(row.p_holm, row.p_equivalence_holm, row.verdict, alpha)
        for row in contrasts.itertuples()
    ]
    difference = critical_difference(len(losses), len(complete), alpha)
    return Comparison(
        *(values, left_out, ranks, average, difference, friedman(ranks), contrasts),
        groups=groups(average, difference),
    )


def fewest_units(family: int, alpha: float = 0.05) -> int:
    """The fewest units with which a contrast of the family can become significant at all.

    >>> fewest_units(1), fewest_units(2), fewest_units(22)
    (6, 7, 10)
    """
    return next(n for n in itertools.count(LEAST) if family * 2.0 ** (1 - n) < alpha)


def _contrast(
    a: str, b: str, of_a: np.ndarray, of_b: np.ndarray, sign: int, margin: float, alpha: float
) -> tuple[dict[str, Any], np.ndarray]:
    """A contrast without what depends on its family, its verdict the direction; the differences."""
    both = np.isinf(of_a) & np.isinf(of_b)  # diverged on both sides: no difference
    difference = (np.where(both, 0.0, of_a) - np.where(both, 0.0, of_b)).round(_DIGITS)
    p, p_above = signed_rank_p(difference)
    outside = math.nan
    if math.isfinite(margin):
        outside = max(signed_rank_p(margin + difference)[1], signed_rank_p(margin - difference)[1])
    estimate, low, high = pseudomedian(difference, alpha)
    higher = p_above < 0.5
    row = {
        "a": a,
        "b": b,
        "n": len(difference),
        "won": int((sign * difference > 0).sum()),
        "tied": int((difference == 0).sum()),
        "lost": int((sign * difference < 0).sum()),
        "difference": estimate,
        "low": low,
        "high": high,
        "p": p,
        "p_equivalence": outside,
        "margin": margin,
        "verdict": "better" if higher == (sign > 0) else "worse",
    }
    return row, difference


def _verdict(p: float, p_equivalence: float, direction: str, alpha: float) -> str:
    if p_equivalence < alpha:
        return "equivalent"
    return direction if p < alpha else "undecided"
