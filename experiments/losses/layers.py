"""Losses of logits that keep a state or train parameters: layers, built once in each run.

A state is a buffer, so that it is part of checkpoints. Where `index` is None, as in validation and
test, the examples are not in the training set and have no state.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.true_class import ce, gce


class Elr(nn.Layer):
    """Early-learning regularization: an example's output should stay what it was early on.

    -ln p_y + weight ln(1 - sum over classes of p t), with t <- beta t + (1 - beta) p without a
    gradient, from 0 on; p is clipped to [1e-4, 1 - 1e-4] in the second term, and without `index`
    there is the first term alone

    Args:
        class_counts: how many training examples each class has, [K].
        classes: K.
        weight: of the second term; at least 0, where it is `ce`.
        beta: how much of t is kept; at least 0 and below 1.

    >>> loss = Elr(paddle.to_tensor([2.0, 1.0]), 2, weight=1, beta=0)
    >>> zeros, labels = paddle.zeros([1, 2]), paddle.to_tensor([0])
    >>> round(loss(zeros, labels, paddle.to_tensor([2])).item(), 4)  # ln 2 + ln(1 - 1/2)
    0.0

    Source: Liu et al. 2020, Early-learning regularization prevents memorization of noisy labels.
    """

    def __init__(
        self, class_counts: Tensor, classes: int, *, weight: float = 3, beta: float = 0.7
    ) -> None:
        check_number("weight", weight, at_least=0)
        check_number("beta", beta, at_least=0, below=1)
        super().__init__()
        self.weight, self.beta = weight, beta
        self.register_buffer("targets", paddle.zeros([int(class_counts.sum()), classes]))

    def forward(self, logits: Tensor, labels: Tensor, index: Tensor | None) -> Tensor:
        """Logits [batch, K], labels [batch], index [batch] -> [batch]."""
        check_logits(logits, labels)
        values = ce(logits, labels)
        if index is None:
            return values
        p = F.softmax(logits, axis=1).clip(1e-4, 1 - 1e-4)
        now = p.detach() / p.detach().sum(axis=1, keepdim=True)
        before = self.targets[index].astype(p.dtype)
        targets = before * self.beta + now * (1 - self.beta)
        self.targets[index] = targets.astype(self.targets.dtype)
        return values + paddle.log(1 - (p * targets).sum(axis=1)) * self.weight


class TruncatedGce(nn.Layer):
    """Generalized cross-entropy that leaves out examples whose label is improbable.

    L(p_y) = (1 - p_y^q) / q until the epoch `start`; from it on L(k), without a gradient, for
    examples whose p_y was at most k when they were judged last. They are judged in the epoch
    `start` and in each `every`-th one after it. Without `index` the value is L(max(p_y, k))

    Args:
        class_counts: how many training examples each class has, [K].
        q: that of `gce`; above 0 and at most 1.
        k: at least 0, where it is `gce`, and below 1.
        start: the first epoch that judges; a whole number of at least 1. The source: 40 of 120.
        every: after how many epochs it judges again; a whole number of at least 1. The source: 10.

    >>> loss = TruncatedGce(paddle.to_tensor([2.0, 1.0]), q=1, k=0.6, start=2)
    >>> zeros, labels, index = paddle.zeros([1, 2]), paddle.to_tensor([0]), paddle.to_tensor([2])
    >>> [round(loss(zeros, labels, epoch, index).item(), 4) for epoch in (1, 2)]
    [0.5, 0.4]

    Source: Zhang and Sabuncu 2018, Generalized cross entropy loss for training deep neural networks
    with noisy labels.
    """

    def __init__(
        self,
        class_counts: Tensor,
        *,
        q: float = 0.7,
        k: float = 0.5,
        start: int = 5,
        every: int = 1,
    ) -> None:
        check_number("q", q, above=0, at_most=1)
        check_number("k", k, at_least=0, below=1)
        check_number("start", start, at_least=1, whole=True)
        check_number("every", every, at_least=1, whole=True)
        super().__init__()
        self.q, self.k, self.start, self.every = q, k, start, every
        self.register_buffer("kept", paddle.ones([int(class_counts.sum())]))

    def forward(self, logits: Tensor, labels: Tensor, epoch: int, index: Tensor | None) -> Tensor:
        """Logits [batch, K], labels [batch], index [batch] -> [batch]."""
        values = gce(logits, labels, q=self.q)
        limit = (1 - self.k**self.q) / self.q
        if index is None:
            return values.clip(max=limit)
        if epoch >= self.start and (epoch - self.start) % self.every == 0:
            self.kept[index] = (values < limit).astype(self.kept.dtype)
        kept = self.kept[index].astype(values.dtype)
        return values * kept + (1 - kept) * limit


class Centre(nn.Layer):
    """Cross-entropy, and the distance of an example's features from the centre of its class.

    -ln p_y + weight / 2 |f - c_y|^2, with f the input of the network's head; the centres c start at
    0 and are trained

    Args:
        classes: K.
        features: how many there are.
        weight: of the distance; above 0.
        rate: the centres' learning rate over that of the network, for the distance without its
            weight; above 0.

    >>> loss = Centre(2, 3, weight=2)
    >>> zeros, labels = paddle.zeros([1, 2]), paddle.to_tensor([0])
    >>> round(loss(zeros, labels, paddle.ones([1, 3])).item(), 4)  # ln 2 + 3
    3.6931

    Source: Wen et al. 2016, A discriminative feature learning approach for deep face recognition.
    """

    def __init__(
        self, classes: int, features: int, *, weight: float = 0.003, rate: float = 0.5
    ) -> None:
        check_number("weight", weight, above=0)
        check_number("rate", rate, above=0)
        super().__init__()
        self.weight = weight
        self.centres = self.create_parameter(
            [classes, features],
            attr=paddle.ParamAttr(learning_rate=rate / weight),
            default_initializer=nn.initializer.Constant(0.0),
        )

    def forward(self, logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
        """Logits [batch, K], labels [batch], features [batch, features] -> [batch]."""
        distance = paddle.square(features - self.centres[labels]).sum(axis=1)
        return ce(logits, labels) + distance * (self.weight / 2)
