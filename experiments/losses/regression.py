"""Losses of one number: the prediction is compared with the label as a quantity.

A network with one output is read as the label itself. The contract is in
experiments/losses/__init__.py.
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from experiments.guards import check_number
from experiments.losses.checks import check_prediction


def mse(prediction: Tensor, labels: Tensor) -> Tensor:
    """Squared error; the best constant prediction is the mean label.

    (f - y)^2

    prediction [batch], labels [batch] -> [batch]

    >>> mse(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.25, 4.0]

    Source: Legendre 1805.
    """
    check_prediction(prediction, labels)
    return paddle.square(prediction - labels.astype(prediction.dtype))


def mae_scalar(prediction: Tensor, labels: Tensor) -> Tensor:
    """Absolute error; the best constant prediction is the median label.

    |f - y|

    prediction [batch], labels [batch] -> [batch]

    >>> mae_scalar(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.5, 2.0]

    Source: Boscovich 1757.
    """
    check_prediction(prediction, labels)
    return paddle.abs(prediction - labels.astype(prediction.dtype))


def huber(prediction: Tensor, labels: Tensor, *, delta: float = 1) -> Tensor:
    """Half the squared error near the label, and a straight line beyond `delta`.

    r^2 / 2 where |r| < delta, delta |r| - delta^2 / 2 elsewhere, with r = f - y

    Args:
        prediction: the outputs of the network, [batch].
        labels: the numbers, [batch].
        delta: where the parabola ends, in units of the label; above 0.

    >>> huber(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.125, 1.5]

    Source: Huber 1964, Robust estimation of a location parameter.
    """
    check_prediction(prediction, labels)
    check_number("delta", delta, above=0)
    error = prediction - labels.astype(prediction.dtype)
    clipped = paddle.clip(error, -delta, delta)
    return clipped * (error - clipped / 2)  # both branches at once; the gradient is `clipped`
