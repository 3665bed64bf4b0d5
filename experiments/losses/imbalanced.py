"""Losses of logits, or of cosines, for classes of unequal sizes.

They need `class_counts`, how many training examples each class has; n in the formulas.
"""

from __future__ import annotations

import math

import paddle
from paddle import Tensor

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.numerics import one_hot, shifted
from experiments.losses.true_class import ce, focal


def class_balanced(
    logits: Tensor, labels: Tensor, *, class_counts: Tensor, beta: float = 0.999
) -> Tensor:
    """Cross-entropy with a weight for each class, by its effective number of examples.

    -w_y ln p_y, with w = (1 - beta) / (1 - beta^n), scaled to a sum of K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        class_counts: [K], above 0.
        beta: at least 0, where it is `ce`, and below 1, towards which w is proportional to 1 / n.

    >>> counts = paddle.to_tensor([1.0, 3.0])
    >>> values = class_balanced(paddle.zeros([2, 2]), paddle.to_tensor([0, 1]), class_counts=counts)
    >>> [round(value, 3) for value in (values / math.log(2)).tolist()]  # near 3 : 1
    [1.5, 0.5]

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples.
    """
    check_logits(logits, labels)
    check_number("beta", beta, at_least=0, below=1)
    return ce(logits, labels) * _weights(logits, class_counts, beta)[labels]


def class_balanced_focal(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    beta: float = 0.999,
    gamma: float = 2,
) -> Tensor:
    """`focal` loss with the weights of `class_balanced`.

    -w_y (1 - p_y)^gamma ln p_y, with w = (1 - beta) / (1 - beta^n), scaled to a sum of K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        class_counts: [K], above 0.
        beta: at least 0, where it is `focal`, and below 1.
        gamma: at least 0, where it is `class_balanced`.

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples, with the
    softmax of Lin et al. 2017.
    """
    check_logits(logits, labels)
    check_number("beta", beta, at_least=0, below=1)
    check_number("gamma", gamma, at_least=0)
    weights = _weights(logits, class_counts, beta)[labels]
    return focal(logits, labels, gamma=gamma) * weights


def logit_adjusted(logits: Tensor, labels: Tensor, *, class_counts: Tensor, t: float = 1) -> Tensor:
    """Cross-entropy of logits to which the logarithm of each class's share is added.

    -ln softmax(z + t ln(n / sum of n))_y

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        class_counts: [K], above 0.
        t: the strength; at least 0, where it is `ce`. At 1 it is `balanced_softmax`.

    >>> counts = paddle.to_tensor([1.0, 3.0])
    >>> value = logit_adjusted(paddle.zeros([1, 2]), paddle.to_tensor([0]), class_counts=counts)
    >>> round(value.item(), 4)  # ln 4
    1.3863

    Source: Menon et al. 2021, Long-tail learning via logit adjustment.
    """
    check_logits(logits, labels)
    check_number("t", t, at_least=0)
    counts = _counts(logits, class_counts)
    return ce(shifted(logits) + paddle.log(counts / counts.sum()) * t, labels)


def balanced_softmax(logits: Tensor, labels: Tensor, *, class_counts: Tensor) -> Tensor:
    """Cross-entropy of a softmax in which each class counts as often as it has examples.

    -ln(n_y e^z_y / sum over classes of n e^z)

    logits [batch, K], labels [batch] -> [batch]

    Source: Ren et al. 2020, Balanced meta-softmax for long-tailed visual recognition.
    """
    check_logits(logits, labels)
    return ce(shifted(logits) + paddle.log(_counts(logits, class_counts)), labels)


def ldam(
    cosines: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    epoch: int,
    epochs: int,
    margin: float = 0.5,
    s: float = 30,
    beta: float = 0.9999,
    defer: float = 0.8,
) -> Tensor:
    """Cross-entropy with a margin that is larger for rarer classes, and weights at the end.

    -w_y ln softmax(s (c - m_y e))_y, with c the cosines and m = margin (min n / n)^(1/4); w is that
    of `class_balanced` after the share `defer` of the epochs, and 1 before

    Args:
        cosines: of the features and the weights of each class, [batch, K].
        labels: the classes, [batch].
        class_counts: [K], above 0.
        epoch: the number of the epoch.
        epochs: how many the run has.
        margin: that of the rarest class; at least 0.
        s: the scale; above 0.
        beta: of the weights; at least 0 and below 1.
        defer: from 0, where the weights are there at once, to 1, where they never are.

    Source: Cao et al. 2019, Learning imbalanced datasets with label-distribution-aware margin loss.
    """
    check_logits(cosines, labels, "cosines")
    check_number("margin", margin, at_least=0)
    check_number("s", s, above=0)
    check_number("beta", beta, at_least=0, below=1)
    check_number("defer", defer, at_least=0, at_most=1)
    counts = _counts(cosines, class_counts)
    margins = (paddle.log(counts.min() / counts) / 4).exp() * margin
    values = ce((cosines - one_hot(cosines, labels) * margins) * s, labels)
    if epoch > defer * epochs:
        values = values * _weights(cosines, class_counts, beta)[labels]
    return values


def _counts(logits: Tensor, class_counts: Tensor) -> Tensor:
    """The counts in the dtype of the logits; ValueError unless there is one for each class."""
    if class_counts.shape != logits.shape[1:]:
        raise ValueError(
            f"class_counts: expected shape {logits.shape[1:]}, got {list(class_counts.shape)}"
        )
    return class_counts.astype(logits.dtype)


def _weights(logits: Tensor, class_counts: Tensor, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n), scaled to a sum of K: [K]."""
    counts = _counts(logits, class_counts)
    if beta == 0:
        return paddle.ones_like(counts)
    weights = 1 / -paddle.expm1(counts * math.log(beta))
    return weights * (logits.shape[1] / weights.sum())
