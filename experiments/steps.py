"""One step of the optimizer, and how large it is."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import paddle

if TYPE_CHECKING:
    from experiments.training import Learner


def step(learner: Learner, values: paddle.Tensor) -> None:
    """One step of the optimizer, and of its schedule, on the mean of `values` [batch]."""
    _backward(values)
    _advance(learner)


def measured_step(learner: Learner, values: paddle.Tensor) -> tuple[float, float]:
    """`step`; the norm of the gradient, and that of the weights' change over that of weights."""
    _backward(values)
    weights = learner.network.parameters()
    gradient = _norm(weight.grad.numpy() for weight in weights if weight.grad is not None)
    before = [weight.numpy().astype(np.float64) for weight in weights]
    _advance(learner)
    with np.errstate(invalid="ignore"):  # of infinite weights
        change = _norm(weight.numpy() - old for weight, old in zip(weights, before, strict=True))
    return gradient, change / (_norm(before) or math.nan)


def _advance(learner: Learner) -> None:
    """What the optimizer and its schedule do with the gradient; none is left of it."""
    learner.optimizer.step()
    learner.optimizer.clear_grad()
    rate = learner.optimizer._learning_rate
    if isinstance(rate, paddle.optimizer.lr.LRScheduler):
        rate.step()


def _norm(arrays: Iterable[np.ndarray]) -> float:
    """L2 norm of all numbers of all arrays, summed in float64."""
    return math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))


def means(sizes: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The means of `measured_step` over an epoch, without those that are not finite."""
    names = "train/gradient_norm", "train/update_ratio"
    means = zip(names, np.mean(sizes, axis=0).tolist(), strict=True)
    return {name: mean for name, mean in means if np.isfinite(mean)}


def _backward(values: paddle.Tensor) -> None:
    """The gradient of the mean of `values` [batch], without two operators that compute the mean."""
    values.backward(_shares(len(values), values.dtype))


@functools.lru_cache(maxsize=4)
def _shares(count: int, dtype: paddle.dtype) -> paddle.Tensor:
    """The gradient of a mean of `count` values."""
    return paddle.full([count], 1 / count, dtype)
