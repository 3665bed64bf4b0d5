"""Every loss: a pure function from outputs and labels to one value per example.

The contract, the same for all of them:

* The first parameter states the head: `logits` [batch, K], K >= 2, one score per class, or `prediction`
  [batch], one number that is read as the label itself. Both are float32 or float64, and so is the result.
* `labels` [batch] are int64 in 0..K-1 for logits, and any integers or floats for a prediction.
* The result is [batch], in nats where logarithms are involved; the caller reduces.
* Hyperparameters are keyword-only, with a default. They are checked here, where they are used.
* A wrong type or dtype raises TypeError, a wrong shape or value ValueError. Nothing is ever broadcast.

The formulas are for one example: z its logits, p = softmax(z), y its true class, e the one-hot vector of y,
f its prediction.

A new loss is one function here and one conf/loss/NAME.yaml with its defaults; tests/test_losses.py finds it.
Reductions, class weights, accuracies and whatever knows a network belong elsewhere.

Why Paddle's own losses are not called: on the CPU, Paddle 3.3.1 lets cross-entropy stop growing at 64, gives
the binary cross-entropy of logits a wrong gradient at 0, broadcasts [N, 1] against [N], and rounds Huber's
delta to float32.
"""

from __future__ import annotations

import math
from numbers import Real

import paddle
import paddle.nn.functional as F
from paddle import Tensor

# ---- One number: the prediction is compared with the label as a quantity ----


def mse(prediction: Tensor, labels: Tensor) -> Tensor:
    """Squared error; the best constant prediction is the mean label.

    (f - y)^2

    >>> mse(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.25, 4.0]

    Source: Legendre 1805.
    """
    _check_prediction(prediction, labels)
    return paddle.square(prediction - labels.astype(prediction.dtype))


def mae_scalar(prediction: Tensor, labels: Tensor) -> Tensor:
    """Absolute error; the best constant prediction is the median label.

    |f - y|

    >>> mae_scalar(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.5, 2.0]

    Source: Boscovich 1757.
    """
    _check_prediction(prediction, labels)
    return paddle.abs(prediction - labels.astype(prediction.dtype))


def huber(prediction: Tensor, labels: Tensor, *, delta: float = 1) -> Tensor:
    """Half the squared error near the label, and a straight line beyond `delta`.

    r^2 / 2 where |r| < delta, delta |r| - delta^2 / 2 elsewhere, with r = f - y

    Args:
        delta: where the parabola ends, in units of the label; above 0.

    >>> huber(paddle.to_tensor([2.5, 7.0]), paddle.to_tensor([3, 9])).tolist()
    [0.125, 1.5]

    Source: Huber 1964, Robust estimation of a location parameter.
    """
    _check_prediction(prediction, labels)
    _check_number("delta", delta, above=0)
    error = prediction - labels.astype(prediction.dtype)
    clipped = paddle.clip(error, -delta, delta)
    return clipped * (error - clipped / 2)  # both branches at once; the gradient is `clipped`


# ---- Logits, through the probability of the true class alone: functions of its log-odds ----


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: the surprise at seeing the true class.

    -ln p_y

    >>> round(ce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # ln 10
    2.3026
    >>> ce(paddle.to_tensor([[100.0, 0.0]]), paddle.to_tensor([1])).item()
    100.0

    Source: Bridle 1990, Probabilistic interpretation of feedforward classification network outputs, with
    relationships to statistical pattern recognition.
    """
    _check_logits(logits, labels)
    return _softplus(-_log_odds(logits, labels))


def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2) -> Tensor:
    """Cross-entropy that pays less attention to what is already classified well.

    -(1 - p_y)^gamma ln p_y

    Args:
        gamma: how fast attention falls; at least 0, where it is `ce`.

    >>> round(focal(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.81 ln 10
    1.8651

    Source: Lin et al. 2017, Focal loss for dense object detection.
    """
    _check_logits(logits, labels)
    _check_number("gamma", gamma, at_least=0)
    log_odds = _log_odds(logits, labels)
    # As a power of 1 - p_y, a gamma below 1 would have an infinite slope at p_y = 1.
    attention = paddle.exp(_softplus(log_odds) * -gamma)
    return attention * _softplus(-log_odds)


def gce(logits: Tensor, labels: Tensor, *, q: float = 0.7) -> Tensor:
    """Generalised cross-entropy: between `ce`, which learns fast, and `mae`, which resists wrong labels.

    (1 - p_y^q) / q

    Args:
        q: above 0, towards which it is `ce`, and at most 1, where it is `mae`.

    >>> round(gce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    1.1435

    Source: Zhang and Sabuncu 2018, Generalized cross entropy loss for training deep neural networks with
    noisy labels.
    """
    _check_logits(logits, labels)
    _check_number("q", q, above=0, at_most=1)
    # expm1 keeps the digits that 1 - p_y^q loses when q is small, and has no infinite slope at p_y = 0.
    return paddle.expm1(ce(logits, labels) * -q) / -q


def mae(logits: Tensor, labels: Tensor) -> Tensor:
    """Absolute error of the probabilities, halved; over all K labels it sums to K - 1, whatever the logits.

    1 - p_y = sum over classes of |p - e| / 2

    Source: Ghosh, Kumar and Sastry 2017, Robust loss functions under label noise for deep neural networks.
    """
    _check_logits(logits, labels)
    return F.sigmoid(-_log_odds(logits, labels))


# ---- Logits, through all the probabilities ----


def label_smoothing(logits: Tensor, labels: Tensor, *, s: float = 0.1) -> Tensor:
    """Cross-entropy against a label that leaves a share `s` to be divided equally among all classes.

    -sum over classes of t ln p, with t = (1 - s) e + s / K

    Args:
        s: at least 0, where it is `ce`, and below 1.

    Its minimum is the entropy of t, not 0:

    >>> optimum = paddle.to_tensor([[0.91, *[0.01] * 9]]).log()
    >>> round(label_smoothing(optimum, paddle.to_tensor([0])).item(), 4)
    0.5003

    Source: Szegedy et al. 2016, Rethinking the Inception architecture for computer vision.
    """
    _check_logits(logits, labels)
    _check_number("s", s, at_least=0, below=1)
    target = _one_hot(logits, labels) * (1 - s) + s / logits.shape[1]
    shifted = _shifted(logits)
    return paddle.logsumexp(shifted, axis=1) - (target * shifted).sum(axis=1)


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared distance between the probabilities and the label; in [0, 2].

    sum over classes of (p - e)^2

    >>> round(brier(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.81 + 9 * 0.01
    0.9

    Source: Brier 1950, Verification of forecasts expressed in terms of probability.
    """
    _check_logits(logits, labels)
    target = _one_hot(logits, labels)
    return paddle.square(F.softmax(logits, axis=1) - target).sum(axis=1)


def ce_double_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of probabilities mistaken for logits: a published course's bug, kept as a specimen.

    -ln softmax(p)_y

    However sure and right the network is, the value stays above ln(e + K - 1) - 1:

    >>> round(ce_double_softmax(paddle.to_tensor([[1e4, *[0.0] * 9]]), paddle.to_tensor([0])).item(), 4)
    1.4612
    """
    _check_logits(logits, labels)
    return ce(F.softmax(logits, axis=1), labels)


# ---- Logits as plain scores, without a softmax ----


def square(logits: Tensor, labels: Tensor, *, k: float = 1, M: float = 1) -> Tensor:
    """Squared error of the logits themselves against M for the true class and 0 for the others.

    (k (z_y - M)^2 + sum over j != y of z_j^2) / K

    Args:
        k: weight of the true class; above 0.
        M: the score that the true class should reach; above 0.

    >>> round(square(paddle.zeros([1, 10]), paddle.to_tensor([3]), k=2, M=3).item(), 4)  # 2 * 9 / 10
    1.8

    Source: Hui and Belkin 2020, Evaluation of neural architectures trained with square loss vs
    cross-entropy in classification tasks.
    """
    _check_logits(logits, labels)
    _check_number("k", k, above=0)
    _check_number("M", M, above=0)
    target = _one_hot(logits, labels)
    weights = 1 - target + target * k
    return (weights * paddle.square(logits - target * M)).mean(axis=1)


def hinge(logits: Tensor, labels: Tensor, *, margin: float = 1, p: float = 1) -> Tensor:
    """Every class that comes within `margin` of the true one costs what it lacks, to the power `p`.

    (sum over j != y of max(0, margin - z_y + z_j)^p) / K

    Args:
        margin: by how much the true class should lead; above 0.
        p: at least 1; 2 makes the slope continuous.

    >>> round(hinge(paddle.to_tensor([[2.0, 1.5, 0.0]]), paddle.to_tensor([0])).item(), 4)  # 0.5 / 3
    0.1667

    Source: Weston and Watkins 1999, Support vector machines for multi-class pattern recognition.
    """
    _check_logits(logits, labels)
    _check_number("margin", margin, above=0)
    _check_number("p", p, at_least=1)
    target = _one_hot(logits, labels)
    true_score = (target * logits).sum(axis=1, keepdim=True)
    lacking = F.relu(logits - true_score + margin) * (1 - target)
    if p != 1:
        lacking = lacking ** paddle.full_like(lacking, p)  # Paddle would round a plain number p to float32
    return lacking.sum(axis=1) / logits.shape[1]


def ovr_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """One versus the rest: K independent yes-or-no questions, a binary cross-entropy each.

    -ln sigmoid(z_y) - sum over j != y of ln(1 - sigmoid(z_j))

    >>> round(ovr_bce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 10 ln 2
    6.9315

    Source: Rifkin and Klautau 2004, In defense of one-vs-all classification.
    """
    _check_logits(logits, labels)
    against = 1 - _one_hot(logits, labels) * 2  # -1 for the true class, 1 for the others
    return _softplus(logits * against).sum(axis=1)


# ---- What the formulas share ----
#
# The log-odds of the true class,
#
#     m = ln(p_y / (1 - p_y)) = z_y - logsumexp over j != y of z_j,
#
# say everything about p_y:
#
#     p_y = sigmoid(m)    1 - p_y = sigmoid(-m)    -ln p_y = softplus(-m)    -ln(1 - p_y) = softplus(m)
#
# None of these overflows or has an infinite slope, so no loss needs an epsilon or a clip.

_OUT_OF_THE_RUNNING = -1e30  # below any other logit, and finite, because 0 times it has to be 0


def _log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """ln(p_y / (1 - p_y)): [batch]."""
    shifted, true = _shifted(logits), _one_hot(logits, labels)
    rivals = shifted + true * _OUT_OF_THE_RUNNING
    return (true * shifted).sum(axis=1) - paddle.logsumexp(rivals, axis=1)


def _shifted(logits: Tensor) -> Tensor:
    """The same softmax from logits of which the largest is 0: [batch, K].

    Paddle's logsumexp is finite without this, but its gradient inherits the rounding of large logits.
    """
    return logits - logits.detach().max(axis=1, keepdim=True)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """e, in the dtype of the logits: [batch, K]."""
    return F.one_hot(labels, logits.shape[1]).astype(logits.dtype)


def _softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x), elementwise. Beyond the threshold it is x; Paddle's own, 20, is too low for float64."""
    return F.softplus(x, threshold=40)


# ---- Checks: some microseconds a call, where a training step takes 20 thousand ----

_FLOATS = (paddle.float32, paddle.float64)
_INTEGERS = (paddle.int64, paddle.int32, paddle.int16, paddle.int8, paddle.uint8)


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    """Raise unless logits are floats [batch, K], K >= 2, and labels int64 [batch] in 0..K-1."""
    _check_dtype("logits", logits, _FLOATS)
    _check_dtype("labels", labels, (paddle.int64,))
    if logits.ndim != 2 or logits.shape[0] < 1 or logits.shape[1] < 2:
        raise ValueError(f"logits: expected shape [batch, K] with K of at least 2, came {list(logits.shape)}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: expected shape {list(logits.shape[:1])}, came {list(labels.shape)}")
    values = labels.numpy()
    low, high = values.min(), values.max()
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"labels: expected classes in 0..{logits.shape[1] - 1}, came {low}..{high}")


def _check_prediction(prediction: Tensor, labels: Tensor) -> None:
    """Raise unless prediction is floats [batch], and labels are numbers [batch]."""
    _check_dtype("prediction", prediction, _FLOATS)
    _check_dtype("labels", labels, _INTEGERS + _FLOATS)
    if prediction.ndim != 1 or prediction.shape[0] < 1:
        raise ValueError(f"prediction: expected shape [batch], came {list(prediction.shape)}")
    if labels.shape != prediction.shape:
        raise ValueError(f"labels: expected shape {list(prediction.shape)}, came {list(labels.shape)}")


def _check_dtype(name: str, value: Tensor, permitted: tuple[paddle.dtype, ...]) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a Paddle tensor, came {type(value).__name__}")
    if value.dtype not in permitted:
        names = ", ".join(str(dtype).removeprefix("paddle.") for dtype in permitted)
        raise TypeError(f"{name}: expected dtype {names}, came {str(value.dtype).removeprefix('paddle.')}")


def _check_number(
    name: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Raise unless `value` is a finite number within the bounds; nan never is, and a bool is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, came {value!r}")
    if not (at_least <= value <= at_most and above < value < below):
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        permitted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound))
        raise ValueError(f"{name}: expected a finite number {permitted}, came {value}")
