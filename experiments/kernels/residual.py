"""The block of residual networks, as a layer that oneDNN computes as part of a chain."""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from experiments.guards import check_number


class Residual(nn.Layer):
    """relu(convolutions(x) + shortcut(x)) of He et al. (2016), the shortcut without weights.

    x [batch, channels, height, width] -> [batch, width, rows, columns], the shape that
    `convolutions` gives. The shortcut takes every `stride`-th pixel of x and has zeros in the
    channels that x lacks, so width >= channels, rows = (height - 1) // stride + 1, and columns
    likewise.

    Args:
        convolutions: Layers such as 3x3 convolutions with batch normalization. Together they
            divide height and width by `stride`.
        stride: >= 1.

    Raises:
        ValueError: When it is called: the two parts of the sum differ in shape.
    """

    def __init__(self, convolutions: nn.Sequential, stride: int = 1) -> None:
        super().__init__()
        check_number("stride", stride, at_least=1, whole=True)
        self.convolutions, self._stride = convolutions, int(stride)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The block by Paddle's own operators, but for its convolutions."""
        y = self.convolutions(x)
        # A pool of single pixels: the gradient of a slice with steps is four times slower.
        shortcut = F.max_pool2d(x, 1, self._stride) if self._stride > 1 else x
        more = y.shape[1] - x.shape[1]
        if more < 0 or y.shape[2:] != shortcut.shape[2:]:
            raise ValueError(
                f"convolutions: expected at least {x.shape[1]} channels of "
                f"{shortcut.shape[2:]} pixels, as the shortcut has, got {y.shape[1:]}"
            )
        if more:
            shortcut = F.pad(shortcut, [0, 0, 0, more, 0, 0, 0, 0])
        return F.relu(y + shortcut)
