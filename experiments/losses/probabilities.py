"""Losses of logits through all the probabilities: what is left for the wrong classes matters too.

Here are also the losses whose probabilities are not the softmax of the logits but of something made
from them, or a heavier-tailed relative of it.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.numerics import LOG_OF_ZERO, one_hot, shifted
from experiments.losses.true_class import ce, focal, mae


def label_smoothing(logits: Tensor, labels: Tensor, *, s: float = 0.1) -> Tensor:
    """Cross-entropy against labels whose share `s` is divided equally among all classes.

    -sum over classes of t ln p, with t = (1 - s) e + s / K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        s: at least 0, where it is `ce`, and below 1.

    Its minimum is the entropy of t, not 0:

    >>> optimum = paddle.to_tensor([[0.91, *[0.01] * 9]]).log()
    >>> round(label_smoothing(optimum, paddle.to_tensor([0])).item(), 4)
    0.5003

    Source: Szegedy et al. 2016, Rethinking the Inception architecture for computer vision.
    """
    check_logits(logits, labels)
    check_number("s", s, at_least=0, below=1)
    target = one_hot(logits, labels) * (1 - s) + s / logits.shape[1]
    z = shifted(logits)
    return paddle.logsumexp(z, axis=1) - (target * z).sum(axis=1)


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared distance between the probabilities and the label; in [0, 2].

    sum over classes of (p - e)^2

    logits [batch, K], labels [batch] -> [batch]

    >>> round(brier(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.81 + 9 * 0.01
    0.9

    Source: Brier 1950, Verification of forecasts expressed in terms of probability.
    """
    check_logits(logits, labels)
    target = one_hot(logits, labels)
    return paddle.square(F.softmax(logits, axis=1) - target).sum(axis=1)


def spherical(logits: Tensor, labels: Tensor) -> Tensor:
    """The true class's share of the probabilities' length, negated; in [-1, 0].

    -p_y / |p|, with |p| = sqrt(sum over classes of p^2)

    logits [batch, K], labels [batch] -> [batch]

    >>> round(spherical(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # -1 / sqrt(10)
    -0.3162

    Source: Gneiting and Raftery 2007, Strictly proper scoring rules, prediction, and estimation.
    """
    check_logits(logits, labels)
    z = shifted(logits)
    true = (one_hot(logits, labels) * z).sum(axis=1)
    return -paddle.exp(true - paddle.logsumexp(z * 2, axis=1) / 2)


def nce_rce(logits: Tensor, labels: Tensor, *, alpha: float = 1, beta: float = 10) -> Tensor:
    """Normalised and reverse cross-entropy.

    Each sums to a constant over all K labels, whatever the logits.

    alpha ln p_y / (sum over classes of ln p) - beta A (1 - p_y), with A = ln 1e-4 for ln 0

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        alpha: weight of the normalised cross-entropy, whose constant is 1; at least 0.
        beta: weight of the reverse one, which is 9.21 `mae`; at least 0.

    The value of equal logits is 0.1 + 10 * 0.9 * 9.2103:

    >>> round(nce_rce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    82.9931

    Source: Ma et al. 2020, Normalized loss functions for deep learning with noisy labels.
    """
    check_logits(logits, labels)
    check_number("alpha", alpha, at_least=0)
    check_number("beta", beta, at_least=0)
    z = shifted(logits)
    total = paddle.logsumexp(z, axis=1) * logits.shape[1] - z.sum(
        axis=1
    )  # of -ln p; neither term is negative
    return ce(logits, labels) / total * alpha + mae(logits, labels) * (-LOG_OF_ZERO * beta)


def nce_mae(logits: Tensor, labels: Tensor, *, alpha: float = 1, beta: float = 1) -> Tensor:
    """Normalised cross-entropy and `mae`: each sums to a constant over all K labels.

    alpha ln p_y / (sum over classes of ln p) + beta (1 - p_y)

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        alpha: weight of the normalised cross-entropy; at least 0.
        beta: weight of `mae`; at least 0.

    >>> round(nce_mae(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.1 + 0.9
    1.0

    Source: Ma et al. 2020, Normalized loss functions for deep learning with noisy labels.
    """
    check_number("beta", beta, at_least=0)
    return nce_rce(logits, labels, alpha=alpha, beta=0) + mae(logits, labels) * beta


def nfl_mae(
    logits: Tensor, labels: Tensor, *, alpha: float = 1, beta: float = 1, gamma: float = 0.5
) -> Tensor:
    """Normalised `focal` loss and `mae`.

    alpha F_y / (sum over classes of F) + beta (1 - p_y), with F = -(1 - p)^gamma ln p

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        alpha: weight of the normalised focal loss; at least 0.
        beta: weight of `mae`; at least 0.
        gamma: that of `focal`; at least 0, where it is `nce_mae`.

    >>> round(nfl_mae(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 0.1 + 0.9
    1.0

    Source: Ma et al. 2020, Normalized loss functions for deep learning with noisy labels.
    """
    check_logits(logits, labels)
    check_number("alpha", alpha, at_least=0)
    check_number("beta", beta, at_least=0)
    check_number("gamma", gamma, at_least=0)
    return _normalised_focal(logits, labels, gamma) * alpha + mae(logits, labels) * beta


def nfl_rce(
    logits: Tensor, labels: Tensor, *, alpha: float = 1, beta: float = 10, gamma: float = 0.5
) -> Tensor:
    """Normalised `focal` loss and reverse cross-entropy.

    alpha F_y / (sum over classes of F) - beta A (1 - p_y), with F = -(1 - p)^gamma ln p and
    A = ln 1e-4 for ln 0

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        alpha: weight of the normalised focal loss; at least 0.
        beta: weight of the reverse cross-entropy, which is 9.21 `mae`; at least 0.
        gamma: that of `focal`; at least 0, where it is `nce_rce`.

    >>> round(nfl_rce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    82.9931

    Source: Ma et al. 2020, Normalized loss functions for deep learning with noisy labels.
    """
    check_number("beta", beta, at_least=0)
    return nfl_mae(logits, labels, alpha=alpha, beta=-LOG_OF_ZERO * beta, gamma=gamma)


def asymmetric(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_pos: float = 0,
    gamma_neg: float = 4,
    s: float = 0.1,
) -> Tensor:
    """Label smoothing in which easy wrong classes weigh less than the true one.

    -t_y (1 - p_y)^gamma_pos ln p_y - sum over j != y of t_j p_j^gamma_neg ln p_j, with
    t = (1 - s) e + s / K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        gamma_pos: the focusing of the true class; at least 0.
        gamma_neg: the focusing of the others; at least 0.
        s: that of `label_smoothing`, at least 0 and below 1; at 0 it is `focal`.

    The value of equal logits is (0.91 + 9 * 0.01 * 0.1^4) ln 10:

    >>> round(asymmetric(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    2.0954

    Source: Ridnik et al. 2021, Asymmetric loss for multi-label classification; the form for one
    label of the authors' program.
    """
    check_logits(logits, labels)
    check_number("gamma_pos", gamma_pos, at_least=0)
    check_number("gamma_neg", gamma_neg, at_least=0)
    check_number("s", s, at_least=0, below=1)
    z, others = shifted(logits), 1 - one_hot(logits, labels)
    log_p = z - paddle.logsumexp(z, axis=1, keepdim=True)
    wrong = (others * paddle.exp(log_p * gamma_neg) * log_p).sum(axis=1)
    share = s / logits.shape[1]
    return focal(logits, labels, gamma=gamma_pos) * (1 - s + share) - wrong * share


def bitempered(logits: Tensor, labels: Tensor, *, t1: float = 0.8, t2: float = 1.2) -> Tensor:
    """Cross-entropy with a bounded logarithm, and of probabilities with heavy tails.

    -log_t1(p_y) + (sum over classes of p^(2 - t1) - 1) / (2 - t1), with p = exp_t2(z - lambda) of
    sum 1, log_t(x) = (x^(1 - t) - 1) / (1 - t) and exp_t its inverse

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        t1: at least 0 and at most 1; below 1 the loss is bounded, and one wrong label costs only so
            much.
        t2: at least 1 and at most 4; above 1 the tails are heavy, and labels near a boundary cost
            less. With t1 and t2 at 1, it is `ce`.

    >>> round(bitempered(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)
    1.5377

    Source: Amid et al. 2019, Robust bi-tempered logistic loss based on Bregman divergences. Their
    program approaches lambda in 5 steps of a fixed-point iteration; here it is exact, and so is the
    gradient.
    """
    check_logits(logits, labels)
    check_number("t1", t1, at_least=0, at_most=1)
    check_number("t2", t2, at_least=1, at_most=4)
    log_p = _tempered_log_softmax(logits, t2)
    log_p_true = (one_hot(logits, labels) * log_p).sum(axis=1)
    powers = paddle.exp(log_p * (2 - t1)).sum(axis=1)
    return (powers - 1) / (2 - t1) - _tempered_log(log_p_true, t1)


def logit_norm(logits: Tensor, labels: Tensor, *, t: float = 0.04) -> Tensor:
    """Cross-entropy of the logits' direction: longer logits are not surer ones.

    -ln softmax(z / (t |z|))_y, with |z| = sqrt(sum over classes of z^2)

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        t: the temperature, above 0: all logits have the length 1 / t.

    >>> far, near = paddle.to_tensor([[4.0, 3.0, 0.0]]), paddle.to_tensor([[0.4, 0.3, 0.0]])
    >>> [round(logit_norm(z, paddle.to_tensor([0]), t=1).item(), 4) for z in (far, near)]
    [0.8189, 0.8189]

    Logits shorter than 1e-7 have no direction to speak of and are divided by 1e-7 t: at 0 the value
    is ln K, and the gradient finite, if enormous.

    Source: Wei et al. 2022, Mitigating neural network overconfidence with logit normalization.
    """
    check_logits(logits, labels)
    check_number("t", t, above=0)
    length = paddle.sqrt(paddle.square(logits).sum(axis=1, keepdim=True).clip(min=1e-14))
    return ce(logits / (length * t), labels)


def ce_double_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of probabilities mistaken for logits.

    It is the bug of a published course, kept as a known-bad example.

    -ln softmax(p)_y

    logits [batch, K], labels [batch] -> [batch]

    However sure and right the network is, the value stays above ln(e + K - 1) - 1:

    >>> sure = paddle.to_tensor([[1e4, *[0.0] * 9]])
    >>> round(ce_double_softmax(sure, paddle.to_tensor([0])).item(), 4)
    1.4612
    """
    check_logits(logits, labels)
    return ce(F.softmax(logits, axis=1), labels)


def _normalised_focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """`focal` over its sum over all K labels: [batch].

    1 - p loses its digits where p is near 1, so the largest p has `focal` itself.
    """
    largest = logits.detach().argmax(axis=1)
    z, others = shifted(logits), 1 - one_hot(logits, largest)
    log_p = z - paddle.logsumexp(z, axis=1, keepdim=True)
    attention = paddle.exp(paddle.log1p(-paddle.exp(log_p) * others) * gamma)
    total = focal(logits, largest, gamma=gamma) - (others * attention * log_p).sum(axis=1)
    return focal(logits, labels, gamma=gamma) / total


# ---- The tempered softmax ----

_NEWTON_STEPS = 8  # 6 reach float64's last digits for 10 classes, 8 for 1000


def _tempered_log_softmax(logits: Tensor, t: float) -> Tensor:
    """The logarithm of p = exp_t(z - lambda), with lambda such that p sums to 1: [batch, K].

    t is at least 1. lambda is the zero of log_t(sum of exp_t(z - lambda)), which falls and is
    convex in it, a straight line where t is 1 or all logits are equal: Newton's steps approach it
    from the left, and are few.
    """
    z = shifted(logits)

    def log_exp(x: Tensor) -> Tensor:
        return x if t == 1 else paddle.log1p(x * (1 - t)) / (1 - t)

    def step(normaliser: Tensor) -> Tensor:
        log_p = log_exp(z - normaliser)
        log_sum = paddle.logsumexp(log_p, axis=1, keepdim=True)
        slope = paddle.exp(log_p * t).sum(axis=1, keepdim=True) / paddle.exp(log_sum * t)
        return normaliser + _tempered_log(log_sum, t) / slope.detach()

    normaliser = paddle.zeros([logits.shape[0], 1], dtype=logits.dtype)
    with paddle.no_grad():
        for _ in range(_NEWTON_STEPS - 1):
            normaliser = step(normaliser)
    # One step from the solution has the solution's own derivative: the others need no gradient.
    return log_exp(z - step(normaliser))


def _tempered_log(log_x: Tensor, t: float) -> Tensor:
    """log_t(x) = (x^(1 - t) - 1) / (1 - t), from ln x, which it is at t = 1; elementwise."""
    return log_x if t == 1 else paddle.expm1(log_x * (1 - t)) / (1 - t)
