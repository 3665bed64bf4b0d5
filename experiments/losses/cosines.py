"""Losses of cosines: of the angles between an example's features and the weights of each class.

The network's outputs are the loss's own scale `s` times the cosines.
"""

from __future__ import annotations

import math

import paddle
from paddle import Tensor

from experiments.guards import check_number
from experiments.losses.checks import check_logits
from experiments.losses.numerics import one_hot
from experiments.losses.true_class import ce


def arcface(cosines: Tensor, labels: Tensor, *, s: float = 30, margin: float = 0.5) -> Tensor:
    """Cross-entropy of cosines, with a margin added to the angle of the true class.

    -ln softmax(s c')_y, with c' = cos(theta + margin) for the true class and cos(theta) for the
    others. Where theta + margin is over pi, cos(theta + margin) would rise again, so c' is
    cos(theta) - margin sin(margin) there, as in the authors' code

    Args:
        cosines: of the features and the weights of each class, [batch, K].
        labels: the classes, [batch].
        s: the scale; above 0. The source takes 64, for tens of thousands of classes.
        margin: in radians; at least 0 and below pi / 2.

    >>> zeros, labels = paddle.zeros([1, 2]), paddle.to_tensor([0])
    >>> value = arcface(zeros, labels, s=1, margin=math.pi / 6)
    >>> round(value.item(), 4)  # ln(1 + e^0.5)
    0.9741

    Source: Deng et al. 2019, ArcFace: additive angular margin loss for deep face recognition.
    """
    check_logits(cosines, labels, "cosines")
    check_number("s", s, above=0)
    check_number("margin", margin, at_least=0, below=math.pi / 2)
    true = one_hot(cosines, labels)
    own = (cosines * true).sum(axis=1)
    sine = paddle.sqrt((1 - own * own).clip(min=1e-7))  # whose slope at 0 would be infinite
    wider = own * math.cos(margin) - sine * math.sin(margin)
    beyond = own - margin * math.sin(margin)
    moved = paddle.where(own > -math.cos(margin), wider, beyond)
    return ce((cosines + true * (moved - own).unsqueeze(1)) * s, labels)
