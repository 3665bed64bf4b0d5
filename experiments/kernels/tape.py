"""What operations of this package need on Paddle's tape."""

from __future__ import annotations

import functools

import paddle


@functools.cache
def anchor() -> paddle.Tensor:
    """The tensor that stands first in the list that a `PyLayer` is applied to.

    `paddle.grad` with respect to some of its tensors demands None for each of the others, without
    telling the layer which ones they are. In a list it looks at the first tensor alone. This one
    always needs a gradient, gets None, and nobody asks for it.
    """
    tensor = paddle.zeros([1], "float32")
    tensor.stop_gradient = False
    return tensor
