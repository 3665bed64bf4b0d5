"""What every loss refuses. Some microseconds a call, where a training step takes 20 thousand."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor

_FLOATS = (paddle.float32, paddle.float64)
_INTEGERS = (paddle.int64, paddle.int32, paddle.int16, paddle.int8, paddle.uint8)


def check_logits(logits: Tensor, labels: Tensor, name: str = "logits") -> None:
    """Raise unless logits are floats [batch, K], K >= 2, and labels int64 [batch] in 0..K-1.

    name: What the errors call them.
    """
    _check_dtype(name, logits, _FLOATS)
    _check_dtype("labels", labels, (paddle.int64,))
    shape = list(logits.shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
        raise ValueError(f"{name}: expected shape [batch, K] with K of at least 2, got {shape}")
    if labels.shape != shape[:1]:
        raise ValueError(f"labels: expected shape {shape[:1]}, got {list(labels.shape)}")
    values = labels.numpy()
    if np.maximum.reduce(values.view(np.uint64)) >= shape[1]:  # a label below 0 is a large number
        span = f"{values.min()}..{values.max()}"
        raise ValueError(f"labels: expected classes in 0..{shape[1] - 1}, got {span}")


def check_prediction(prediction: Tensor, labels: Tensor) -> None:
    """Raise unless prediction is floats [batch], and labels are numbers [batch]."""
    _check_dtype("prediction", prediction, _FLOATS)
    _check_dtype("labels", labels, _INTEGERS + _FLOATS)
    if prediction.ndim != 1 or prediction.shape[0] < 1:
        raise ValueError(f"prediction: expected shape [batch], got {list(prediction.shape)}")
    if labels.shape != prediction.shape:
        raise ValueError(
            f"labels: expected shape {list(prediction.shape)}, got {list(labels.shape)}"
        )


def _check_dtype(name: str, value: Tensor, permitted: tuple[paddle.dtype, ...]) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a Paddle tensor, got {type(value).__name__}")
    if value.dtype not in permitted:
        names = ", ".join(str(dtype).removeprefix("paddle.") for dtype in permitted)
        raise TypeError(
            f"{name}: expected dtype {names}, got {str(value.dtype).removeprefix('paddle.')}"
        )
