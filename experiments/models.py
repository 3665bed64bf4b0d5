"""Networks: images to raw outputs.

A model is a function `(outputs, *, init_scale, hyperparameters) -> Network`; `outputs` is the width
of the last layer and comes from the loss's head. It draws its initial weights from Paddle's stream,
body first, so that with one seed the body is the same whatever the head. `init_scale` (> 0)
multiplies the initial weights of the last layer: a large one starts from saturated outputs.
"""

from __future__ import annotations

import paddle
from paddle import nn

from experiments.guards import check_number
from experiments.kernels.conv_block import ConvBlock

PIXELS = 28 * 28


class Network(nn.Layer):
    """A body that ends in `features` numbers per image, and a linear head over them.

    `forward` takes images [batch, 1, 28, 28] or [batch, 28, 28], float32 in [0, 1], and returns raw
    outputs [batch, outputs].
    """

    def __init__(self, body: nn.Layer, features: int, outputs: int, init_scale: float = 1.0):
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, outputs)
        if init_scale != 1:
            self.head.weight.set_value(self.head.weight * init_scale)

    # Exported by running it once, which is faster than translating its source.
    @paddle.jit.not_to_static
    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Raw outputs [batch, outputs] for images [batch, 1, 28, 28]."""
        # The reshape is for loaders that squeeze the channel away, mlflow.pyfunc among them.
        return self.head(self.body(images.reshape([-1, 1, 28, 28])))


def convnet(outputs: int, *, init_scale: float = 1.0) -> Network:
    """The tutorial's: two 5x5 convolutions with 20 channels, pooled 2x2, and a linear layer."""
    check_number("init_scale", init_scale, above=0)
    body = nn.Sequential(
        ConvBlock(1, 20, kernel_size=5, padding=2),
        ConvBlock(20, 20, kernel_size=5, padding=2),
        nn.Flatten(),
    )
    return Network(body, 20 * 7 * 7, outputs, init_scale)


def lenet5(outputs: int, *, init_scale: float = 1.0) -> Network:
    """LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998): average pooling, tanh.

    Convolutions 5x5 with 6 and 16 channels, linear layers of 120 and 84. As in what is called
    LeNet-5 today, pooling has no weights, every channel sees every other, and tanh is not scaled.
    """
    check_number("init_scale", init_scale, above=0)
    body = nn.Sequential(
        nn.Conv2D(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2D(2),
        nn.Conv2D(6, 16, 5), nn.Tanh(), nn.AvgPool2D(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Tanh(),
        nn.Linear(120, 84), nn.Tanh(),
    )  # fmt: skip
    return Network(body, 84, outputs, init_scale)


def cnn_bn(outputs: int, *, init_scale: float = 1.0) -> Network:
    """Batch normalisation: 3x3 convolutions with 32 and 64 channels, linear layers of 128 and 10.

    Comparisons of losses under label noise train it on MNIST (Ma et al., Normalized loss functions,
    2020). Its running means and variances are part of a checkpoint and of `init_hash`.
    """
    check_number("init_scale", init_scale, above=0)
    body = nn.Sequential(
        nn.Conv2D(1, 32, 3, padding=1), nn.BatchNorm2D(32), nn.ReLU(), nn.MaxPool2D(2),
        nn.Conv2D(32, 64, 3, padding=1), nn.BatchNorm2D(64), nn.ReLU(), nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128), nn.BatchNorm1D(128), nn.ReLU(),
    )  # fmt: skip
    return Network(body, 128, outputs, init_scale)


def mlp(outputs: int, *, hidden: int = 128, init_scale: float = 1.0) -> Network:
    """One hidden layer of `hidden` (>= 1) rectified units."""
    check_number("hidden", hidden, at_least=1, whole=True)
    check_number("init_scale", init_scale, above=0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, int(hidden)), nn.ReLU())
    return Network(body, int(hidden), outputs, init_scale)


def softmax(outputs: int, *, init_scale: float = 1.0) -> Network:
    """One linear layer on the pixels: with `loss=ce`, softmax regression."""
    check_number("init_scale", init_scale, above=0)
    return Network(nn.Flatten(), PIXELS, outputs, init_scale)
