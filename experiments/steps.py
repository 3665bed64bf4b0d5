"""A step of training: the forward pass, the optimizer's step, and how large that is."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import paddle

from experiments import context
from experiments.kernels import chain

if TYPE_CHECKING:
    from experiments.training import Learner


class Forward(NamedTuple):
    """The forward pass of a batch.

    Attributes:
        outputs: Of the network, [batch, outputs] float32.
        values: Of the loss, [batch].
        backward: Adds the gradients of the mean of `values`; to be called at most once.
        learned: What it gives gradients to without Paddle's tape, where that is all that learns.
    """

    outputs: np.ndarray
    values: np.ndarray
    backward: Callable[[], None]
    learned: Sequence[paddle.Tensor] = ()


def forward(
    learner: Learner,
    inputs: paddle.Tensor,
    labels: paddle.Tensor,
    index: paddle.Tensor | None = None,
) -> Forward:
    """The forward pass of inputs [batch, ...] and labels [batch], in training.

    Where oneDNN computes the whole network, the network is not on Paddle's tape; nor is a loss with
    an attribute `and_gradient`: itself, and a function of outputs [batch, K] and labels [batch]. It
    returns arrays, the values [batch] and their gradients [K, batch].

    index: As in `Learner.losses`.
    """
    outputs, continued = chain.outputs_of(learner.network, inputs)
    if continued is None:
        recorded = outputs.numpy().copy()  # a loss may change them in place
        values = learner.losses(outputs, labels, index)
        return Forward(recorded, values.numpy(), functools.partial(backward, values))
    bare = context.bare(learner.loss)
    owner, and_gradient = getattr(bare, "and_gradient", (None, None))
    if and_gradient and owner is bare:
        numbers, slopes = and_gradient(outputs, labels)
        gradient = np.multiply(slopes.T, np.float32(1 / len(numbers)), order="C")
        return Forward(outputs.numpy(), numbers, lambda: continued(gradient), continued.parameters)
    outputs.stop_gradient = False
    values = learner.losses(paddle.assign(outputs), labels, index)  # may be changed in place

    def through_loss() -> None:
        backward(values)
        if outputs.grad is not None:
            continued(outputs.grad.numpy())

    own = isinstance(learner.loss, paddle.nn.Layer)  # it may have weights
    learned = () if own else continued.parameters
    return Forward(outputs.numpy(), values.numpy(), through_loss, learned)


def step(learner: Learner, forward: Forward) -> None:
    """One step of the optimizer, and of its schedule, on the mean of a batch's values."""
    forward.backward()
    advance(learner, forward.learned)


def measured_step(learner: Learner, forward: Forward) -> tuple[float, float]:
    """`step`; the norm of the gradient, and that of the weights' change over that of weights."""
    forward.backward()
    weights = learner.network.parameters()
    gradient = _norm(weight.grad.numpy() for weight in weights if weight.grad is not None)
    before = [weight.numpy().astype(np.float64) for weight in weights]
    advance(learner, forward.learned)
    with np.errstate(invalid="ignore"):  # of infinite weights
        change = _norm(weight.numpy() - old for weight, old in zip(weights, before, strict=True))
    return gradient, change / (_norm(before) or math.nan)


def advance(learner: Learner, learned: Sequence[paddle.Tensor] = ()) -> None:
    """What the optimizer and its schedule do with the gradient; none is left of it.

    learned: As in `Forward`.
    """
    learner.optimizer.step()
    for parameter in learned:
        parameter.clear_gradient(False)  # zeros would be filled in, and the next gradient added
    if not learned:
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


def backward(values: paddle.Tensor) -> None:
    """The gradient of the mean of `values` [batch], without two operators that compute the mean."""
    values.backward(_shares(len(values), values.dtype))


@functools.lru_cache(maxsize=4)
def _shares(count: int, dtype: paddle.dtype) -> paddle.Tensor:
    """The gradient of a mean of `count` values."""
    return paddle.full([count], 1 / count, dtype)
