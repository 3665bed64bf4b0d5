"""Chains of layers in oneDNN have the values and gradients of Paddle's own operators."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from helpers.chains import assert_equal, chains, inputs, networks, normalized, residual, step
from paddle import nn

from experiments import models
from experiments.kernels.residual import Residual

CASES = {  # layers, and the shape of the input
    "one convolution": (lambda: [nn.Conv2D(3, 5, 3)], (4, 3, 8, 9)),
    "one image": (lambda: [nn.Conv2D(1, 6, 5, padding=2), nn.Tanh()], (1, 1, 28, 28)),
    "lenet5": (lambda: models.lenet5(10).body, (7, 1, 28, 28)),
    "cnn_bn": (lambda: models.cnn_bn(10).body[:8], (5, 1, 28, 28)),
    "stride, no bias": (
        lambda: [nn.Conv2D(3, 8, 3, 2, padding=1, bias_attr=False), nn.ReLU(), nn.Conv2D(8, 4, 1)],
        (6, 3, 17, 20),
    ),
    "sizes of each axis, dilation": (
        lambda: [nn.Conv2D(2, 7, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2)), nn.ReLU()],
        (3, 2, 12, 9),
    ),
    "padding of each side": (
        lambda: [nn.Conv2D(2, 3, 3, padding=[0, 1, 2, 1]), nn.MaxPool2D(2, 1)],
        (2, 2, 6, 5),
    ),
    "pools that overlap": (
        lambda: [nn.MaxPool2D(3, 2, 1), nn.Conv2D(4, 4, 3, padding=1), nn.AvgPool2D(3, 2, 1)],
        (5, 4, 11, 13),
    ),
    "padding counts in the average": (
        lambda: [nn.Conv2D(2, 4, 1), nn.AvgPool2D(3, 2, 1, exclusive=False)],
        (5, 2, 9, 9),
    ),
    "activations side by side": (
        lambda: [nn.Tanh(), nn.ReLU(), nn.Conv2D(2, 4, 3), nn.Tanh(), nn.ReLU(), nn.Tanh()],
        (3, 2, 6, 6),
    ),
    "nested": (
        lambda: [
            nn.Sequential(*normalized((3, 6), 3, nn.ReLU())),
            nn.Sequential(*normalized((6, 20), 3, nn.Tanh(), nn.MaxPool2D(2))),
        ],
        (9, 3, 10, 10),
    ),
    "many channels": (lambda: [nn.Conv2D(33, 65, 3, padding=1), nn.ReLU()], (2, 33, 4, 5)),
    "one pixel": (lambda: [nn.Conv2D(3, 4, 4), nn.ReLU()], (8, 3, 4, 4)),
    "mean of an image": (
        lambda: [nn.Conv2D(2, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2D(1), nn.Tanh()],
        (4, 2, 9, 6),
    ),
    "means of parts of an image": (
        lambda: [nn.Conv2D(2, 3, 3), nn.AdaptiveAvgPool2D(2), nn.Tanh()],
        (4, 2, 9, 6),
    ),
    "block": (lambda: [residual(4, 4)], (5, 4, 6, 7)),
    "wider block, one image": (lambda: [residual(3, 7)], (1, 3, 8, 5)),
    "block of one channel": (lambda: [residual(1, 4, 2)], (3, 1, 6, 5)),
    "block, stride": (lambda: [residual(3, 3, 2), residual(3, 8, 2)], (5, 3, 12, 8)),
    "block, stride, odd sizes": (lambda: [residual(3, 3, 2), residual(3, 8, 3)], (4, 3, 9, 11)),
    "block of activations": (
        lambda: [
            nn.Conv2D(2, 3, 1),
            Residual(nn.Sequential(nn.ReLU(), nn.Conv2D(3, 4, 1), nn.Tanh())),
            Residual(nn.Sequential(nn.Tanh())),
            *(nn.ReLU(), nn.Tanh()),
        ],
        (3, 2, 6, 6),
    ),
    "blocks in a block": (
        lambda: [Residual(nn.Sequential(residual(3, 4), nn.Sequential(residual(4, 5))))],
        (3, 3, 6, 6),
    ),
    "pools and blocks": (
        lambda: [
            *(nn.MaxPool2D(2), residual(2, 4), nn.MaxPool2D(2)),
            Residual(nn.Sequential(nn.Conv2D(4, 4, 3, padding=1), nn.AvgPool2D(3, 1, 1))),
            *(nn.AdaptiveAvgPool2D((1, 1)), nn.Flatten(), nn.Linear(4, 2)),
        ],
        (3, 2, 12, 12),
    ),
    "resnet": (lambda: models.resnet(10, depth=14, shape=(3, 12, 12)).body, (6, 3, 12, 12)),
    "flat": (
        lambda: [
            *(nn.Conv2D(3, 4, 4), nn.Tanh(), nn.Flatten(), nn.ReLU()),
            *(nn.Linear(4, 5, bias_attr=False), nn.Tanh(), nn.Linear(5, 1)),
        ],
        (8, 3, 4, 4),
    ),
    "flat images": (
        lambda: [nn.Conv2D(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4), nn.ReLU()],
        (3, 2, 4, 4),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_paddles_operators(case):
    layers, shape = CASES[case]
    stock, ours = networks(layers)
    assert len(chains(ours)) == 1
    for seed in (0, 1):  # the second in memory that was used before
        assert_equal(step(ours, inputs(shape, seed)), step(stock, inputs(shape, seed)))
    assert all(chains(ours)[0].plans.values())
    stock.eval(), ours.eval()
    with paddle.no_grad():
        x = paddle.to_tensor(inputs(shape, 2))
        np.testing.assert_allclose(ours(x).numpy(), stock(x).numpy(), rtol=1e-4, atol=1e-5)
    assert len(chains(ours)[0].plans) == 2
