"""What a run says of each test example, from the files that it stored.

Pure: bytes and arrays in, arrays out. Test sets keep their file order, so the i-th value of every
run of a setting is of the same image.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np


def arrays(data: bytes | None, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The named arrays of an .npz file; None when it is missing or cannot be read."""
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except Exception:  # there is no end to what damaged bytes raise
        return None


def correct(data: bytes | None) -> np.ndarray | None:
    """Right (1) or wrong (0) of each image, from the file `contract.CORRECT`."""
    stored = arrays(data, ["correct"])
    if stored is None or stored["correct"].ndim != 1 or stored["correct"].dtype != bool:
        return None
    return stored["correct"].astype(np.float32)


def of_predictions(predictions: Mapping[str, np.ndarray], metric: str) -> np.ndarray | None:
    """The value of each image, float32, of which the metric is the mean.

    Args:
        predictions: as `reports.runs.predictions` returns them.
        metric: such as test_accuracy or test_nll; another one is no mean over examples: None.
    """
    from experiments import metrics
    from experiments.heads import log_softmax

    outputs, labels = predictions["outputs"], predictions["label"]
    if metric == "test_accuracy":
        return metrics.correct(predictions["predicted"], labels).astype(np.float32)
    if metric == "test_balanced_accuracy":
        return metrics.balanced_by_example(predictions["predicted"], labels).astype(np.float32)
    by_example = {"test_nll": metrics.nll_by_example, "test_brier": metrics.brier_by_example}
    if metric == "test_top5_accuracy" and outputs.shape[1] > 1:
        return metrics.among_top(outputs, labels).astype(np.float32)
    if metric not in by_example or outputs.shape[1] == 1:
        return None
    return by_example[metric](log_softmax(outputs), labels).astype(np.float32)
