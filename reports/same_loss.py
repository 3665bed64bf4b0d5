"""An A/A comparison: a loss against itself, which is to find no difference."""

from __future__ import annotations

import math

import pandas as pd

from reports.analysis import Predictions, is_cross_validated, of_test_set, read_predictions
from reports.metrics import read_metric
from reports.question import Question, QuestionError
from reports.setting_frames import ended_runs
from reports.stats.contrast import FOLDS, SEEDS
from reports.stats.contrasts import same_loss_contrasts
from reports.stats.verdicts import RunScores


def same_loss(
    summary: pd.DataFrame,
    question: Question,
    loss: str | None,
    predictions: Predictions,
    scores: RunScores | None = None,
) -> pd.DataFrame:
    """An A/A comparison: a loss against itself on two halves of its seeds.

    The halves are the seeds at even and at odd places. `loss` None means each loss.

    Raises:
        QuestionError: no run has the loss.
    """
    ended = ended_runs(summary, question.metric)
    if loss is not None:
        if loss not in set(ended["loss"]):
            raise QuestionError(
                f"aa={loss}: no run has this loss; there are "
                f"{', '.join(sorted(set(ended['loss'])))}"
            )
        ended = ended[ended["loss"] == loss]
    frames = []
    for _, runs in ended.groupby("setting", sort=True, dropna=False):
        seeds = sorted(runs["seed"].unique())
        halves = (runs[runs["seed"].isin(seeds[start::2])] for start in (0, 1))
        ok = runs[runs["outcome"] == "ok"]
        read = read_predictions(ok, sorted(set(ok["loss"])), predictions)
        test_size, constant = of_test_set(read, read_metric(question.metric))
        folds = is_cross_validated(runs)
        contrasts = same_loss_contrasts(
            *halves,
            metric=question.metric,
            margin=question.margin,
            test_size=test_size,
            scores=None if folds else scores,
            diverged=math.nan if constant is None else float(constant.mean()),
            constant=None if folds else constant,
        )
        if folds:
            contrasts["generalises"] = contrasts["generalises"].replace({SEEDS: FOLDS})
        frames += [contrasts] if len(contrasts) else []
    return (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["a", "verdict"])
    )
