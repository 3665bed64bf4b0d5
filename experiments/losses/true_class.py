"""Losses of logits through p_y, the probability of the true class, alone.

Each of them pulls the logits in the same direction, that of cross-entropy, and only the force
differs: the gradient is w(p_y) (p - e). Beside each formula stands its w.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.numerics import LOG_OF_ZERO, log_odds, one_hot, softplus


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: the surprise at seeing the true class.

    -ln p_y    w = 1

    logits [batch, K], labels [batch] -> [batch]

    >>> round(ce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # ln 10
    2.3026
    >>> ce(paddle.to_tensor([[100.0, 0.0]]), paddle.to_tensor([1])).item()
    100.0

    Source: Bridle 1990, Probabilistic interpretation of feedforward classification network outputs,
    with relationships to statistical pattern recognition.
    """
    check_logits(logits, labels)
    if logits.place.is_cpu_place() and os.environ.get("FAIRLOSS_KERNEL") != "stock":
        return _CrossEntropy.apply(logits, labels)
    return softplus(-log_odds(logits, labels))


class _CrossEntropy(PyLayer):
    """`ce` in NumPy: of arrays this small, each operator of Paddle costs more than its work."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        values, ctx.slopes = _ce_and_gradient(logits, labels)
        ctx.save_for_backward(logits, labels)
        return paddle.to_tensor(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if paddle.is_grad_enabled():  # for a second derivative
            logits, labels = ctx.saved_tensor()
            return (F.softmax(logits) - one_hot(logits, labels)) * gradient.unsqueeze(1)
        return paddle.to_tensor((ctx.slopes * gradient.numpy()).T)


def _ce_and_gradient(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`ce` of logits [batch, K] and labels [batch]: values [batch], their gradients [K, batch].

    With m the log-odds of the true class and q the softmax of the other classes among themselves,
    the gradient is (1 - p_y) q in the others and -(1 - p_y) in the true class, 1 - p_y =
    sigmoid(-m). So it keeps its digits where p_y is nearly 1.
    """
    rivals = logits.numpy().T.copy()  # [K, batch]: NumPy is faster along the batch
    flat, batch = rivals.reshape(-1), rivals.shape[1]
    true = labels.numpy() * batch + _positions(batch)
    logit = flat[true]
    flat[true] = -np.inf
    with np.errstate(invalid="ignore", over="ignore"):  # of logits that are not finite
        odds = np.maximum.reduce(rivals)  # in the end against the true class
        rivals -= odds
        shares = np.exp(rivals, out=rivals)
        total = np.add.reduce(shares)
        odds -= logit
        odds += np.log(total)
        values = np.logaddexp(0, odds) + 0 * logit
        slope = np.expm1(-values)  # p_y - 1
        shares *= slope / -total
    flat[true] = slope
    return values, shares


@functools.lru_cache(maxsize=4)
def _positions(count: int) -> np.ndarray:
    return np.arange(count)


def _checked(logits: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`_ce_and_gradient` of arguments that `ce` would take; raises as `ce` does."""
    check_logits(logits, labels)
    return _ce_and_gradient(logits, labels)


# What training calls. `functools.wraps` copies it, so it says whose it is.
ce.and_gradient = ce, _checked  # type: ignore[attr-defined]


def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2) -> Tensor:
    """Cross-entropy that pays less attention to what is already classified well.

    -(1 - p_y)^gamma ln p_y    w = (1 - p_y)^gamma - gamma p_y (1 - p_y)^(gamma - 1) ln p_y

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        gamma: how fast attention falls; at least 0, where it is `ce`.

    >>> round(focal(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.81 ln 10
    1.8651

    Source: Lin et al. 2017, Focal loss for dense object detection.
    """
    check_logits(logits, labels)
    check_number("gamma", gamma, at_least=0)
    m = log_odds(logits, labels)
    # As a power of 1 - p_y, a gamma below 1 would have an infinite slope at p_y = 1.
    attention = paddle.exp(softplus(m) * -gamma)
    return attention * softplus(-m)


def poly1(logits: Tensor, labels: Tensor, *, epsilon: float = 1) -> Tensor:
    """Cross-entropy with another weight on the first term of its series in 1 - p_y.

    -ln p_y + epsilon (1 - p_y)    w = 1 + epsilon p_y

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        epsilon: what is added to the first term's weight of 1; at least -1. At 0 it is `ce`.

    >>> round(poly1(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # ln 10 + 0.9
    3.2026

    Source: Leng et al. 2022, PolyLoss: a polynomial expansion perspective of classification loss
    functions.
    """
    check_logits(logits, labels)
    check_number("epsilon", epsilon, at_least=-1)
    return ce(logits, labels) + mae(logits, labels) * epsilon


def taylor_ce(logits: Tensor, labels: Tensor, *, t: int = 2) -> Tensor:
    """The first `t` terms of cross-entropy's series in 1 - p_y.

    sum over k = 1..t of (1 - p_y)^k / k    w = 1 - (1 - p_y)^t

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        t: how many terms; a whole number of at least 1, where it is `mae`. Towards infinity it is
            `ce`.

    >>> round(taylor_ce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.9 + 0.81 / 2
    1.305

    Source: Feng et al. 2020, Can cross entropy loss be robust to label noise?
    """
    check_logits(logits, labels)
    check_number("t", t, at_least=1, whole=True)
    k = paddle.arange(1, int(t) + 1, dtype=logits.dtype)
    log_miss = -softplus(log_odds(logits, labels)).unsqueeze(
        1
    )  # ln(1 - p_y): [batch, 1], for the t terms
    return (paddle.exp(log_miss * k) / k).sum(axis=1)


def gce(logits: Tensor, labels: Tensor, *, q: float = 0.7) -> Tensor:
    """Generalised cross-entropy.

    Between `ce`, which learns fast, and `mae`, which resists wrong labels.

    (1 - p_y^q) / q    w = p_y^q

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        q: above 0, towards which it is `ce`, and at most 1, where it is `mae`.

    >>> round(gce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    1.1435

    Source: Zhang and Sabuncu 2018, Generalized cross entropy loss for training deep neural networks
    with noisy labels.
    """
    check_logits(logits, labels)
    check_number("q", q, above=0, at_most=1)
    # expm1 keeps the digits that 1 - p_y^q loses when q is small, and has no infinite slope at p_y
    # = 0.
    return paddle.expm1(ce(logits, labels) * -q) / -q


def mae(logits: Tensor, labels: Tensor) -> Tensor:
    """Absolute error of the probabilities, halved.

    Over all K labels it sums to K - 1, whatever the logits.

    1 - p_y = sum over classes of |p - e| / 2    w = p_y

    logits [batch, K], labels [batch] -> [batch]

    Source: Ghosh, Kumar and Sastry 2017, Robust loss functions under label noise for deep neural
    networks.
    """
    check_logits(logits, labels)
    return F.sigmoid(-log_odds(logits, labels))


def sce(logits: Tensor, labels: Tensor, *, alpha: float = 0.1, beta: float = 1) -> Tensor:
    """Symmetric cross-entropy: of the label under the network, and of the network under the label.

    -alpha ln p_y - beta A (1 - p_y), with A = ln 1e-4 for ln 0    w = alpha - beta A p_y

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        alpha: weight of the cross-entropy, which learns fast; at least 0.
        beta: weight of the reverse one, which is 9.21 `mae` and resists wrong labels; at least 0.

    >>> round(sce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    8.5196

    Source: Wang et al. 2019, Symmetric cross entropy for robust learning with noisy labels; A as in
    the authors' program, which puts 1e-4 for a label's zeros.
    """
    check_logits(logits, labels)
    check_number("alpha", alpha, at_least=0)
    check_number("beta", beta, at_least=0)
    return ce(logits, labels) * alpha + mae(logits, labels) * (-LOG_OF_ZERO * beta)


def phuber_ce(logits: Tensor, labels: Tensor, *, tau: float = 10) -> Tensor:
    """Cross-entropy whose slope in p_y is at most `tau`: below p_y = 1 / tau, a straight line.

    -ln p_y where p_y > 1 / tau, ln tau + 1 - tau p_y elsewhere    w = min(1, tau p_y)

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        tau: the greatest slope; at least 1, where it is `mae`. Towards infinity it is `ce`.

    >>> logits = paddle.to_tensor([[0.0, 5.0]])
    >>> round(phuber_ce(logits, paddle.to_tensor([0])).item(), 4)  # ce: 5.0067
    3.2357

    Source: Menon et al. 2020, Can gradient clipping mitigate label noise?
    """
    check_logits(logits, labels)
    check_number("tau", tau, at_least=1)
    surprise = ce(logits, labels)
    # What is beyond the bend, in logarithms: ln(1 / (tau p_y)), so that a large tau cannot
    # overflow.
    beyond = F.relu(surprise - math.log(tau))
    return paddle.where(beyond > 0, math.log(tau) - paddle.expm1(-beyond), surprise)


def agce(logits: Tensor, labels: Tensor, *, a: float = 4, q: float = 0.2) -> Tensor:
    """Asymmetric generalized cross-entropy: `gce` of a probability that is shifted by `a`.

    ((a + 1)^q - (a + p_y)^q) / q    w = p_y (a + p_y)^(q - 1)

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        a: above 0, towards which it is `gce`.
        q: above 0; at 1 it is `mae`.

    >>> round(agce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    0.2684

    Source: Zhou et al. 2021, Asymmetric loss functions for learning with noisy labels; the defaults
    are those for MNIST in the authors' code, config.py of github.com/hitcszx/ALFs.
    """
    check_logits(logits, labels)
    check_number("a", a, above=0)
    check_number("q", q, above=0)
    miss = mae(logits, labels)  # (a + p_y) / (a + 1) = 1 - miss / (a + 1)
    return paddle.expm1(paddle.log1p(miss / -(a + 1)) * q) * (-((a + 1) ** q) / q)


def aul(logits: Tensor, labels: Tensor, *, a: float = 3, q: float = 0.1) -> Tensor:
    """Asymmetric unhinged loss: a power of the distance of p_y from a point beyond 1.

    ((a - p_y)^q - (a - 1)^q) / q    w = p_y (a - p_y)^(q - 1)

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        a: above 1.
        q: above 0; at 1 it is `mae`.

    >>> round(aul(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    0.4057

    Source: Zhou et al. 2021, Asymmetric loss functions for learning with noisy labels; the defaults
    are those for MNIST in the authors' code, config.py of github.com/hitcszx/ALFs.
    """
    check_logits(logits, labels)
    check_number("a", a, above=1)
    check_number("q", q, above=0)
    miss = mae(logits, labels)  # (a - p_y) / (a - 1) = 1 + miss / (a - 1)
    return paddle.expm1(paddle.log1p(miss / (a - 1)) * q) * ((a - 1) ** q / q)


def js(logits: Tensor, labels: Tensor, *, pi: float = 0.5) -> Tensor:
    """Jensen-Shannon divergence of the probabilities from the label, scaled to end at 1.

    (pi KL(e, m) + (1 - pi) KL(p, m)) / Z, with m = pi e + (1 - pi) p and
    Z = -(1 - pi) ln(1 - pi)    w = p_y (1 - ln(m_y / p_y) / ln(1 - pi))

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        pi: the weight of the label, above 0, towards which it is `ce`, and below 1, towards which
            it is `mae`.

    >>> round(js(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    1.5166

    Source: Englesson and Azizpour 2021, Generalized Jensen-Shannon divergence loss for learning
    with noisy labels; for one view of an image.
    """
    check_logits(logits, labels)
    check_number("pi", pi, above=0, below=1)
    m = log_odds(logits, labels)
    p, miss = F.sigmoid(m), F.sigmoid(-m)
    log_mixed = paddle.log1p(miss * (pi - 1))  # ln m_y
    mixed = 1 + miss * (pi - 1)
    scale = -math.log1p(-pi)
    return (mixed * log_mixed / (pi - 1) - p * softplus(-m)) / scale + miss
