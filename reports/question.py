"""What a report asks of the runs, and whether it was declared before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.metrics import read_metric

if TYPE_CHECKING:
    from reports.runs import Declared


class QuestionError(ValueError):
    """A question that these runs cannot be asked; the message says what there is."""


@dataclass(frozen=True)
class Question:
    """What is compared, and how.

    metric: a column such as test_accuracy. margin: the margin in its unit; None means the default.
    target: a validation accuracy in [0, 1], of which the report says when it was reached; None
    means `reports.stats.budget.usual_target`.

    subjects: losses each of which is compared with every other, instead of all with the reference.
    """

    reference: str = "ce"
    metric: str = "test_accuracy"
    margin: float | None = None
    all_pairs: bool = False
    subjects: tuple[str, ...] = ()
    tuning_seeds: tuple[int, ...] | None = None
    seed: int = 0
    target: float | None = None


def standing(
    runs: pd.DataFrame,
    question: Question,
    reference: str,
    declared: Sequence[Declared],
    disagreement: str,
) -> dict[str, Any]:
    """The question that was declared before some of these runs, and why it is not asked now."""
    own = [each for each in declared if each.sweep in set(runs["parent_run_id"])]
    if not own:
        return {"exploratory": disagreement or "no question was declared before these runs"}
    asks = read_metric(question.metric).typed, question.margin, reference
    usual = not question.all_pairs and not question.subjects
    why = disagreement or "another question was declared before the runs"
    chosen = own[0]
    for each in own if usual and not disagreement else ():
        seeds = set(runs.loc[runs["epochs"] == each.epochs, "seed"])
        if asks != (each.metric, each.margin, each.reference) or not seeds:
            continue
        lacking = sorted(set(each.seeds) - seeds)
        if not lacking:
            return {"declared": each, "exploratory": ""}
        chosen, why = each, f"{len(lacking)} of the {len(each.seeds)} declared seeds have no run"
    return {"declared": chosen, "exploratory": why}
