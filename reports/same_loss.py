"""An A/A comparison: a loss against itself, which is to find no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from reports.analysis import Predictions, comparisons, of_test_set, read_predictions
from reports.metrics import read_metric
from reports.question import Question, QuestionError
from reports.setting_frames import ended_runs
from reports.stats.runs import with_tuned
from reports.stats.verdicts import RunScores


def same_loss(
    summary: pd.DataFrame,
    question: Question,
    loss: str | None,
    predictions: Predictions,
    scores: RunScores | None = None,
) -> pd.DataFrame:
    """Compare a loss with itself at every learning rate, as a report compares two losses.

    The halves of its runs are those of the seeds at even and at odd places. `loss` None means each
    loss.

    Returns:
        Rows of `reports.stats.contrasts`, a and b being the loss.

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
    question = replace(question, all_pairs=False, subjects=(), tuning_seeds=None)
    frames = [pd.DataFrame(columns=["a", "verdict"])]
    for _, runs in with_tuned(ended).groupby("setting", sort=True, dropna=False):
        ok = runs[runs["outcome"] == "ok"]
        read = read_predictions(ok, sorted(set(ok["loss"])), predictions)
        test_size, constant = of_test_set(read, read_metric(question.metric))
        diverged_as = None if constant is None else float(constant.mean())
        for (name, _), own in runs.groupby(["loss", "tuned"], sort=True):
            other = f"{name} (other seeds)"
            second = sorted(own["seed"].unique())[1::2]
            halves = own.assign(loss=np.where(own["seed"].isin(second), other, name))
            if halves["loss"].nunique() == 2:
                frame = comparisons(
                    halves, other, question, test_size, diverged_as, constant, scores
                )
                frames.append(frame[frame["view"] == "equal"].assign(a=name, b=name))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
