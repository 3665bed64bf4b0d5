"""What tests of conv blocks share."""

from __future__ import annotations

import numpy as np
import paddle
from paddle.nn import functional as F

from experiments.kernels.conv_block import ConvBlock


def stock(x, weight, bias, padding):
    """Paddle's operators: convolution with its bias, pooling, ReLU."""
    return F.relu(F.max_pool2d(F.conv2d(x, weight, bias, padding=padding), 2))


def block_of(weight, bias, padding):
    """A block with these numpy parameters."""
    layer = ConvBlock(weight.shape[1], weight.shape[0], weight.shape[2], padding=padding)
    layer.to(dtype=str(weight.dtype))
    layer.weight.set_value(weight)
    layer.bias.set_value(bias)
    return layer


def run_block(x, weight, bias, padding, dy):
    """y, and the gradients of x, weight, bias, by a block, of numpy arrays."""
    layer = block_of(weight, bias, padding)
    x = paddle.to_tensor(x, stop_gradient=False)
    y = layer(x)
    y.backward(paddle.to_tensor(dy))
    return [tensor.numpy() for tensor in (y, x.grad, layer.weight.grad, layer.bias.grad)]


def run_stock(x, weight, bias, padding, dy):
    """The same by Paddle's operators."""
    inputs = [paddle.to_tensor(array, stop_gradient=False) for array in (x, weight, bias)]
    y = stock(*inputs, padding)
    y.backward(paddle.to_tensor(dy))
    return [tensor.numpy() for tensor in (y, *(each.grad for each in inputs))]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def pooled(shape):
    batch, _, height, width, out, size, padding = shape
    return batch, out, (height + 2 * padding - size + 1) // 2, (width + 2 * padding - size + 1) // 2


def whole_numbers(shape, seed=0):
    """Small integers: every sum is exact in float32, whatever its order.

    Windows are full of ties.
    """
    batch, channels, height, width, out, size, padding = shape
    rng = np.random.default_rng(seed)
    sizes = [(batch, channels, height, width), (out, channels, size, size), (out,), pooled(shape)]
    x, weight, bias, dy = (rng.integers(-2, 3, size).astype("float32") for size in sizes)
    return x, weight, bias, padding, dy
