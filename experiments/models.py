"""Networks: inputs to raw outputs.

A model is a function `(outputs, *, shape, init_scale, hyperparameters)` that returns a Paddle
layer. `outputs` is the width of the last layer and comes from the loss's head, `shape` is that of
an input and comes from the data: (channels, height, width) or (features,). It draws its initial
weights from Paddle's stream, body first, so that with one seed the body is the same whatever the
head. `init_scale` (> 0) multiplies the initial weights of the last layer: a large one starts from
saturated outputs.

A network of a user's own may be any `paddle.nn.Layer`, and needs no parameter `shape`. Its head is
its sublayer `head`, or else the last sublayer with weights; the others are its body.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from experiments.guards import check_number
from experiments.kernels.conv_block import ConvBlock
from experiments.kernels.residual import Residual

Shape = tuple[int, ...]

IMAGE: Shape = (1, 28, 28)


class InputShape(nn.Layer):
    """Gives inputs their shape [batch, *shape].

    It is for loaders that leave a channel axis of 1 away, `mlflow.pyfunc` among them.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape

    def forward(self, inputs: paddle.Tensor) -> paddle.Tensor:
        """Inputs [batch, ...] as [batch, *shape]."""
        if paddle.in_dynamic_mode() and tuple(inputs.shape[1:]) == tuple(self.shape):
            return inputs  # a step of a small network takes a thirtieth less time
        return inputs.reshape([-1, *self.shape])


def with_head(
    body: nn.Layer, features: int, outputs: int, init_scale: float = 1.0, shape: Shape = IMAGE
) -> nn.Sequential:
    """A body that ends in `features` numbers per input, and a linear head over them.

    The network takes float32 [batch, *shape] and returns raw outputs [batch, outputs].
    """
    head = nn.Linear(features, outputs)
    if init_scale != 1:
        head.weight.set_value(head.weight * init_scale)
    return nn.Sequential(("input", InputShape(shape)), ("body", body), ("head", head))


def convnet(outputs: int, *, shape: Shape = IMAGE, init_scale: float = 1.0) -> nn.Sequential:
    """The tutorial's: two 5x5 convolutions with 20 channels, pooled 2x2, and a linear layer."""
    check_number("init_scale", init_scale, above=0)
    channels, height, width = _image(shape, least=4)
    body = nn.Sequential(
        ConvBlock(channels, 20, kernel_size=5, padding=2),
        ConvBlock(20, 20, kernel_size=5, padding=2),
        nn.Flatten(),
    )
    return with_head(body, 20 * (height // 4) * (width // 4), outputs, init_scale, shape)


def lenet5(outputs: int, *, shape: Shape = IMAGE, init_scale: float = 1.0) -> nn.Sequential:
    """LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998): average pooling, tanh.

    Convolutions 5x5 with 6 and 16 channels, linear layers of 120 and 84. As in what is called
    LeNet-5 today, pooling has no weights, every channel sees every other, and tanh is not scaled.
    """
    check_number("init_scale", init_scale, above=0)
    channels, height, width = _image(shape, least=12)
    body = nn.Sequential(
        nn.Conv2D(channels, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2D(2),
        nn.Conv2D(6, 16, 5), nn.Tanh(), nn.AvgPool2D(2),
        nn.Flatten(),
        nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 120), nn.Tanh(),
        nn.Linear(120, 84), nn.Tanh(),
    )  # fmt: skip
    return with_head(body, 84, outputs, init_scale, shape)


def cnn_bn(outputs: int, *, shape: Shape = IMAGE, init_scale: float = 1.0) -> nn.Sequential:
    """Batch normalisation: 3x3 convolutions with 32 and 64 channels, a linear layer of 128.

    Comparisons of losses under label noise train it on MNIST (Ma et al., Normalized loss functions,
    2020). Its running means and variances are part of a checkpoint and of `init_hash`.
    """
    check_number("init_scale", init_scale, above=0)
    channels, height, width = _image(shape, least=4)
    body = nn.Sequential(
        nn.Conv2D(channels, 32, 3, padding=1), nn.BatchNorm2D(32), nn.ReLU(), nn.MaxPool2D(2),
        nn.Conv2D(32, 64, 3, padding=1), nn.BatchNorm2D(64), nn.ReLU(), nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 128), nn.BatchNorm1D(128), nn.ReLU(),
    )  # fmt: skip
    return with_head(body, 128, outputs, init_scale, shape)


def mlp(
    outputs: int,
    *,
    shape: Shape = IMAGE,
    hidden: int | Sequence[int] = 128,
    dropout: float = 0.0,
    init_scale: float = 1.0,
) -> nn.Sequential:
    """Hidden layers of rectified units on pixels or features.

    Args:
        outputs: The width of the last layer.
        shape: That of an input.
        hidden: The width (>= 1) of the hidden layer, or of each of several.
        dropout: The probability, in [0, 1), that a hidden unit is left out of a training step.
        init_scale: See above.
    """
    widths: list[Any] = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    for width in widths:
        check_number("hidden", width, at_least=1, whole=True)
    check_number("dropout", dropout, at_least=0, below=1)
    check_number("init_scale", init_scale, above=0)
    sizes = [math.prod(shape), *map(int, widths)]
    layers: list[nn.Layer] = [nn.Flatten()]
    for size, width in itertools.pairwise(sizes):
        layers += [nn.Linear(size, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return with_head(nn.Sequential(*layers), sizes[-1], outputs, init_scale, shape)


def softmax(outputs: int, *, shape: Shape = IMAGE, init_scale: float = 1.0) -> nn.Sequential:
    """One linear layer on pixels or features: with `loss=ce`, softmax regression."""
    check_number("init_scale", init_scale, above=0)
    return with_head(nn.Flatten(), math.prod(shape), outputs, init_scale, shape)


def resnet(
    outputs: int, *, shape: Shape = IMAGE, depth: int = 20, init_scale: float = 1.0
) -> nn.Sequential:
    """The residual network of He et al. (2016, section 4.2) for small images.

    A 3x3 convolution, three stages of blocks with 16, 32 and 64 channels, each stage at half the
    resolution of the one before, and the mean over all places. Where the resolution changes, the
    shortcut takes every second pixel and pads channels with zeros.

    Args:
        outputs: The width of the last layer.
        shape: (channels, height, width) of an image.
        depth: The number of layers with weights, 6 n + 2: 8, 14, 20, ...
        init_scale: See above.
    """
    check_number("init_scale", init_scale, above=0)
    check_number("depth", depth, at_least=8, whole=True)
    if depth % 6 != 2:
        raise ValueError(f"depth: expected 6 n + 2, such as 8 or 20, got {depth}")
    channels, _, _ = _image(shape, least=4)
    first = [nn.Conv2D(channels, 16, 3, padding=1, bias_attr=False), nn.BatchNorm2D(16), nn.ReLU()]
    blocks = [
        _block(before, width, stride)
        for width in (16, 32, 64)
        for before, stride in [
            (max(16, width // 2), 1 if width == 16 else 2),
            *[(width, 1)] * (depth // 6 - 1),
        ]
    ]
    body = nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2D(1), nn.Flatten())
    return with_head(body, 64, outputs, init_scale, shape)


def _block(before: int, width: int, stride: int) -> Residual:
    """Two 3x3 convolutions with batch normalisation, beside a shortcut."""
    convolutions = nn.Sequential(
        nn.Conv2D(before, width, 3, stride, padding=1, bias_attr=False),
        nn.BatchNorm2D(width),
        nn.ReLU(),
        nn.Conv2D(width, width, 3, padding=1, bias_attr=False),
        nn.BatchNorm2D(width),
    )
    return Residual(convolutions, stride)


def _image(shape: Shape, least: int) -> tuple[int, int, int]:
    """Channels, height and width; ValueError where they are not of a large enough image."""
    if len(shape) != 3 or min(shape[1:]) < least:
        raise ValueError(
            f"expected images of at least {least} x {least} pixels, got inputs of "
            f"the shape {list(shape)}; for features take model=mlp or model=softmax"
        )
    return shape[0], shape[1], shape[2]
