"""Networks: images to raw outputs.

A model is a function `(outputs, *, hyperparameters) -> Network`; `outputs` is the width of the last layer and comes from
the loss's head. It draws its initial weights from Paddle's stream, body first, so that with one seed the body is the
same whatever the head.
"""

from __future__ import annotations

import paddle
from paddle import nn

from experiments.conv_block import ConvBlock

PIXELS = 28 * 28


class Network(nn.Layer):
    """A body that ends in `features` numbers per image, and a linear head over them.

    `forward` takes images [batch, 1, 28, 28] or [batch, 28, 28], float32 in [0, 1], and returns raw outputs [batch, outputs].
    """

    def __init__(self, body: nn.Layer, features: int, outputs: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, outputs)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        # The reshape is for loaders that squeeze the channel away, mlflow.pyfunc among them.
        return self.head(self.body(images.reshape([-1, 1, 28, 28])))


def convnet(outputs: int) -> Network:
    """The tutorial's network: two convolutions 5x5 with 20 channels, each pooled 2x2, and a linear layer on 980."""
    body = nn.Sequential(
        ConvBlock(1, 20, kernel_size=5, padding=2),
        ConvBlock(20, 20, kernel_size=5, padding=2),
        nn.Flatten(),
    )
    return Network(body, features=20 * 7 * 7, outputs=outputs)


def mlp(outputs: int, *, hidden: int = 128) -> Network:
    """One hidden layer of `hidden` (>= 1) rectified units."""
    if isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 1:
        raise ValueError(f"hidden: expected a whole number of at least 1, came {hidden!r}")
    body = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, hidden), nn.ReLU())
    return Network(body, features=hidden, outputs=outputs)


def softmax(outputs: int) -> Network:
    """One linear layer on the pixels: with `loss=ce`, softmax regression."""
    return Network(nn.Flatten(), features=PIXELS, outputs=outputs)
