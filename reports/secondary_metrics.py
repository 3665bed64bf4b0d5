"""What is measured besides accuracy.

It says which metrics stand in which table, and makes the frames of those that are no column.

Pure: frames in, frames out. A measure that no run has is in no frame. What can be compared between
losses is told by `reports.metrics`; measures that order no losses, like the size of a step, have
their lines here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from reports.metrics import OFFERED
from reports.stats.bands import bands


class Measure(NamedTuple):
    """column: in the frames of `reports.runs`. words: for people, the unit in brackets.

    Shown times `scale`, so many digits.
    """

    column: str
    words: str
    scale: float = 1
    digits: int = 4


def _measures(*names: str) -> tuple[Measure, ...]:
    metrics = [OFFERED[name] for name in names]
    return tuple(
        Measure(metric.name, metric.column, metric.scale, metric.digits) for metric in metrics
    )


LIKELIHOOD = _measures(
    *(
        "test_nll",
        "test_brier",
        "test_ece",
        "test_ece_scaled",
        "test_mean_absolute_error",
        "test_off_by_one",
    )
)
"""At the end of a run, beside its accuracy."""

FURTHER = _measures(
    *(
        "test_balanced_accuracy",
        "test_macro_f1",
        *("test_accuracy_many", "test_accuracy_medium", "test_accuracy_few"),
        "test_top5_accuracy",
        "test_margin",
        "test_aurc",
        "test_nll_scaled",
        "test_brier_scaled",
        "corrupted_accuracy",
    )
)
"""At the end of a run, in a table of their own."""

MEMORIZATION = tuple(
    measure._replace(words=OFFERED[measure.column].heading)  # one axis has the unit of all
    for measure in _measures(
        "train_accuracy_flipped", "train_accuracy_recovered", "train_accuracy_untouched"
    )
)
"""After each epoch, of training examples, where labels were flipped."""

STEPS = (
    Measure("train_gradient_norm", "norm of the gradient", 1, 3),
    Measure("train_update_ratio", "norm of an update / norm of the weights", 1, 5),
)
"""After each epoch, of the steps that were taken in it."""

_CORRUPTED = "corrupted_accuracy_"


def by_epoch(curves: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean and band of the measures of each epoch.

    The columns are measure (its column), loss, epoch, mean, low, high (NaN: no band) and n.

    Args:
        curves: a row per run and epoch: loss, seed, epoch and the measures' columns.
        seed: of the resamples.
    """
    parts = []
    for measure in MEMORIZATION + STEPS:
        if measure.column in curves and np.isfinite(curves[measure.column].astype(float)).any():
            found = bands(curves, measure.column, by=["loss"], seed=seed)
            parts.append(found.dropna(subset=["mean"]).assign(measure=measure.column))
    columns = ["measure", "loss", "epoch", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def corruptions(judged: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on each kind of corrupted test images, mean over runs.

    The columns are loss, corruption, accuracy in [0, 1] and n.

    judged: a row per run, with columns such as corrupted_accuracy_fog. Losses without any such
    number are left out.
    """
    kinds = [name for name in judged if str(name).startswith(_CORRUPTED)]
    long = judged.melt(["loss"], kinds, "corruption", "accuracy").astype({"accuracy": float})
    long["corruption"] = long["corruption"].str.removeprefix(_CORRUPTED)
    means = long.groupby(["loss", "corruption"], observed=True)["accuracy"].agg(["mean", "count"])
    means = means[means["count"] > 0].set_axis(["accuracy", "n"], axis=1)
    return means.reset_index()
