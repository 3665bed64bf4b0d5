"""Losses of logits as plain scores: some or all of their terms have no softmax.

Most of them change when a constant is added to all logits, as the softmax does not.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.numerics import OUT_OF_THE_RUNNING, one_hot, softplus
from experiments.losses.true_class import ce


def square(logits: Tensor, labels: Tensor, *, k: float = 1, M: float = 1) -> Tensor:
    """Squared error of the logits themselves against M for the true class and 0 for the others.

    (k (z_y - M)^2 + sum over j != y of z_j^2) / K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        k: weight of the true class; above 0.
        M: the score that the true class should reach; above 0.

    >>> zeros = paddle.zeros([1, 10])
    >>> round(square(zeros, paddle.to_tensor([3]), k=2, M=3).item(), 4)  # 2 * 9 / 10
    1.8

    Source: Hui and Belkin 2020, Evaluation of neural architectures trained with square loss vs
    cross-entropy in classification tasks.
    """
    check_logits(logits, labels)
    check_number("k", k, above=0)
    check_number("M", M, above=0)
    target = one_hot(logits, labels)
    weights = 1 - target + target * k
    return (weights * paddle.square(logits - target * M)).mean(axis=1)


def squentropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, and the mean square of the wrong classes' logits.

    -ln p_y + (sum over j != y of z_j^2) / (K - 1)

    logits [batch, K], labels [batch] -> [batch]

    >>> near, far = paddle.to_tensor([[0.0, 0.0, 0.0]]), paddle.to_tensor([[2.0, 2.0, 2.0]])
    >>> label = paddle.to_tensor([0])
    >>> [round(squentropy(z, label).item(), 4) for z in (near, far)]  # ln 3, ln 3 + 4
    [1.0986, 5.0986]

    Source: Hui, Belkin and Wright 2023, Cut your losses with squentropy.
    """
    check_logits(logits, labels)
    wrong = 1 - one_hot(logits, labels)
    return ce(logits, labels) + (wrong * paddle.square(logits)).sum(axis=1) / (logits.shape[1] - 1)


def hinge(logits: Tensor, labels: Tensor, *, margin: float = 1, p: float = 1) -> Tensor:
    """Every class that comes within `margin` of the true one costs what it lacks, to the power `p`.

    (sum over j != y of max(0, margin - z_y + z_j)^p) / K

    Args:
        logits: the outputs of the network, [batch, K].
        labels: the classes, [batch].
        margin: by how much the true class should lead; above 0.
        p: at least 1; 2 makes the slope continuous.

    >>> logits = paddle.to_tensor([[2.0, 1.5, 0.0]])
    >>> round(hinge(logits, paddle.to_tensor([0])).item(), 4)  # 0.5 / 3
    0.1667

    Source: Weston and Watkins 1999, Support vector machines for multi-class pattern recognition.
    """
    check_logits(logits, labels)
    check_number("margin", margin, above=0)
    check_number("p", p, at_least=1)
    target = one_hot(logits, labels)
    true_score = (target * logits).sum(axis=1, keepdim=True)
    lacking = F.relu(logits - true_score + margin) * (1 - target)
    if p != 1:
        lacking = lacking ** paddle.full_like(
            lacking, p
        )  # Paddle would round a plain number p to float32
    return lacking.sum(axis=1) / logits.shape[1]


def crammer_singer(logits: Tensor, labels: Tensor) -> Tensor:
    """What the true class lacks of a lead of 1 over its strongest rival, and nothing else.

    max(0, 1 - z_y + max over j != y of z_j)

    logits [batch, K], labels [batch] -> [batch]

    >>> crammer_singer(paddle.to_tensor([[2.0, 1.5, 0.0]]), paddle.to_tensor([0])).item()
    0.5

    Source: Crammer and Singer 2001, On the algorithmic implementation of multiclass kernel-based
    vector machines.
    """
    check_logits(logits, labels)
    target = one_hot(logits, labels)
    # Equal rivals share the gradient: Paddle promises it of `amax` alone.
    strongest = paddle.amax(logits + target * OUT_OF_THE_RUNNING, axis=1)
    return F.relu(1 + strongest - (target * logits).sum(axis=1))


def ovr_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """One versus the rest: K independent yes-or-no questions, a binary cross-entropy each.

    -ln sigmoid(z_y) - sum over j != y of ln(1 - sigmoid(z_j))

    logits [batch, K], labels [batch] -> [batch]

    >>> round(ovr_bce(paddle.zeros([1, 10]), paddle.to_tensor([3])).item(), 4)  # 10 ln 2
    6.9315

    Source: Rifkin and Klautau 2004, In defense of one-vs-all classification.
    """
    check_logits(logits, labels)
    against = 1 - one_hot(logits, labels) * 2  # -1 for the true class, 1 for the others
    return softplus(logits * against).sum(axis=1)
