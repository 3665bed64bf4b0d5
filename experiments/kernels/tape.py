"""What operations of this package need of Paddle: tensors to fill, and its tape."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import paddle

_CPU = paddle.CPUPlace()


def empty(shape: Sequence[int], dtype: paddle.dtype = paddle.float32) -> paddle.Tensor:
    """A tensor to fill, on the CPU."""
    return paddle._C_ops.empty([*shape], dtype, _CPU)  # `paddle.empty` takes twice as long


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


def hooked(parameter: paddle.Tensor) -> bool:
    """Whether a hook on the gradient of a parameter was ever registered.

    Paddle numbers the hooks of a tensor and lists them nowhere, so this takes the next number.
    """
    number = parameter._register_grad_hook(_unchanged)
    parameter._remove_grad_hook(number)
    if number not in (0, getattr(parameter, "_hooks_until_now", 0)):
        return True
    parameter._hooks_until_now = number + 1
    return False


def _unchanged(gradient: paddle.Tensor) -> None:
    """A hook that changes nothing."""
