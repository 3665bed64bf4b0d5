"""What the formulas share, computed so that nothing overflows.

The log-odds of the true class,

    m = ln(p_y / (1 - p_y)) = z_y - logsumexp over j != y of z_j,

say everything about p_y:

    p_y = sigmoid(m)    1 - p_y = sigmoid(-m)    -ln p_y = softplus(-m)
    -ln(1 - p_y) = softplus(m)

None of these overflows or has an infinite slope, so no loss needs an epsilon or a clip.
"""

from __future__ import annotations

import math

import paddle
import paddle.nn.functional as F
from paddle import Tensor

LOG_OF_ZERO = math.log(1e-4)  # of a label's zeros, in the reverse cross-entropy
OUT_OF_THE_RUNNING = -1e30  # below any other logit, and finite, because 0 times it has to be 0


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """ln(p_y / (1 - p_y)): [batch]."""
    z, true = shifted(logits), one_hot(logits, labels)
    rivals = z + true * OUT_OF_THE_RUNNING
    return (true * z).sum(axis=1) - paddle.logsumexp(rivals, axis=1)


def shifted(logits: Tensor) -> Tensor:
    """Logits [batch, K] with the same softmax, the largest 0: large ones round the gradient."""
    return logits - logits.detach().max(axis=1, keepdim=True)


def one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """e, in the dtype of the logits: [batch, K]."""
    return F.one_hot(labels, logits.shape[1]).astype(logits.dtype)


def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x), elementwise."""
    return F.softplus(x, threshold=40)  # beyond it is x; Paddle's own, 20, is too low for float64
