"""What is measured besides accuracy: each measure's column, name and unit, and the frames of those that are no column.

Pure: frames in, frames out. A measure that no run has is in no frame. New measures are new lines here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from reports import stats


class Measure(NamedTuple):
    """column: in the frames of `reports.runs`. words: for people, the unit in brackets. Shown times `scale`, so many digits."""

    column: str
    words: str
    scale: float = 1
    digits: int = 4


LIKELIHOOD = (
    Measure("test_nll", "NLL (nats)"),
    Measure("test_brier", "Brier"),
    Measure("test_ece", "ECE (%)", 100, 2),
    Measure("test_ece_scaled", "ECE scaled (%)", 100, 2),
    Measure("test_mean_absolute_error", "mean abs. error", 1, 3),
    Measure("test_off_by_one", "off by one (%)", 100, 2),
)
"""At the end of a run, beside its accuracy."""

FURTHER = (
    Measure("test_macro_f1", "macro F1 (%)", 100, 2),
    Measure("test_margin", "margin", 1, 3),
    Measure("test_aurc", "AURC (%)", 100, 3),
    Measure("test_nll_scaled", "NLL scaled (nats)"),
    Measure("test_brier_scaled", "Brier scaled"),
    Measure("corrupted_accuracy", "corrupted (%)", 100, 2),
)
"""At the end of a run, in a table of their own."""

MEMORISATION = (
    Measure("train_accuracy_flipped", "flipped, predicted as the wrong label", 100, 2),
    Measure("train_accuracy_recovered", "flipped, predicted as the true label", 100, 2),
    Measure("train_accuracy_untouched", "not flipped, predicted right", 100, 2),
)
"""After each epoch, of training examples, where labels were flipped."""

STEPS = (
    Measure("train_gradient_norm", "norm of the gradient", 1, 3),
    Measure("train_update_ratio", "norm of an update / norm of the weights", 1, 5),
)
"""After each epoch, of the steps that were taken in it."""

_CORRUPTED = "corrupted_accuracy_"


def by_epoch(curves: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean and band of the measures of each epoch: measure (its column), loss, epoch, mean, low, high (NaN: no band), n.

    Args:
        curves: a row per run and epoch: loss, seed, epoch and the measures' columns.
        seed: of the resamples.
    """
    parts = []
    for measure in MEMORISATION + STEPS:
        if measure.column in curves and np.isfinite(curves[measure.column].astype(float)).any():
            found = stats.bands(curves, measure.column, by=["loss"], seed=seed)
            parts.append(found.dropna(subset=["mean"]).assign(measure=measure.column))
    columns = ["measure", "loss", "epoch", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def corruptions(judged: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on each kind of corrupted test images, mean over runs: loss, corruption, accuracy in [0, 1].

    judged: a row per run, with columns such as corrupted_accuracy_fog. Losses without any such number are left out.
    """
    kinds = [name for name in judged if str(name).startswith(_CORRUPTED)]
    long = judged.melt(["loss"], kinds, "corruption", "accuracy").astype({"accuracy": float})
    long["corruption"] = long["corruption"].str.removeprefix(_CORRUPTED)
    means = long.groupby(["loss", "corruption"], observed=True)["accuracy"].mean()
    return means.dropna().reset_index()
