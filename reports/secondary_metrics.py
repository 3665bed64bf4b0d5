"""What is measured besides accuracy.

It says which metrics stand in which table, and makes the frames of those that are no column.

Pure: frames in, frames out. A metric that no run has is in no frame. Those that order no losses,
like the size of a step, are defined here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.metrics import OFFERED, Metric
from reports.stats.bands import bands

LIKELIHOOD = tuple(
    OFFERED[f"test_{name}"]
    for name in ("nll", "brier", "ece", "ece_scaled", "mean_absolute_error", "off_by_one")
)
"""At the end of a run, beside its accuracy."""

_FURTHER = (
    *("test_balanced_accuracy", "test_macro_f1", "test_accuracy_many", "test_accuracy_medium"),
    *("test_accuracy_few", "test_top5_accuracy", "test_margin", "test_aurc", "test_nll_scaled"),
    *("test_brier_scaled", "corrupted_accuracy"),
)
FURTHER = tuple(OFFERED[name] for name in _FURTHER)
"""At the end of a run, in a table of their own."""

MEMORIZATION = tuple(
    OFFERED[f"train_accuracy_{name}"] for name in ("flipped", "recovered", "untouched")
)
"""After each epoch, of training examples, where labels were flipped."""

_NORM, _RATIO = "norm of the gradient", "norm of an update / norm of the weights"
STEPS = (
    Metric("train_gradient_norm", _NORM, _NORM, False),
    Metric("train_update_ratio", _RATIO, _RATIO, False),
)
"""After each epoch, of the steps that were taken in it."""

_CORRUPTED = "corrupted_accuracy_"


def by_epoch(curves: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean and band of the measures of each epoch.

    The columns are measure (the name of a metric), loss, epoch, mean, low, high (NaN: no band)
    and n.

    Args:
        curves: a row per run and epoch: loss, seed, epoch and the measures' columns.
        seed: of the resamples.
    """
    parts = []
    for measure in MEMORIZATION + STEPS:
        if measure.name in curves and np.isfinite(curves[measure.name].astype(float)).any():
            means = bands(curves, measure.name, seed=seed)
            parts.append(means.dropna(subset=["mean"]).assign(measure=measure.name))
    columns = ["measure", "loss", "epoch", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def corruptions(evaluated: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on each kind of corrupted test images, mean over runs.

    The columns are loss, corruption, accuracy in [0, 1] and n.

    evaluated: a row per run, with columns such as corrupted_accuracy_fog. Losses without any such
    number are left out.
    """
    kinds = [name for name in evaluated if str(name).startswith(_CORRUPTED)]
    long = evaluated.melt(["loss"], kinds, "corruption", "accuracy").astype({"accuracy": float})
    long["corruption"] = long["corruption"].str.removeprefix(_CORRUPTED)
    means = long.groupby(["loss", "corruption"])["accuracy"].agg(["mean", "count"])
    means = means[means["count"] > 0].set_axis(["accuracy", "n"], axis=1)
    return means.reset_index()
