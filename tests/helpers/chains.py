"""Networks by Paddle's own operators and by oneDNN, and what a step of them gives."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import paddle
from paddle import nn

from experiments import models, training, weights
from experiments.kernels import chain
from experiments.kernels.residual import Residual
from experiments.losses import ce
from experiments.optimizers import sgd
from experiments.schedulers import constant

__all__ = ["models"]  # for another process, which trains one


def networks(layers, seed=0):
    """A network by Paddle's own operators and its copy by oneDNN, normalizations in disorder."""
    paddle.seed(seed)
    stock = nn.Sequential(*layers())
    for layer in stock.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            for tensor in (layer.weight, layer.bias, layer._mean, layer._variance):
                tensor.set_value(paddle.rand(tensor.shape) + 0.5)
    ours = copy.deepcopy(stock)
    chain.install(ours)
    return stock, ours


def step(network, x, seed=1):
    """Output, gradients of the input and of the weights, and the state afterwards, by name."""
    x = paddle.to_tensor(x, stop_gradient=False)
    y = network(x)
    dy = np.random.default_rng(seed).standard_normal(y.shape).astype("float32")
    y.backward(paddle.to_tensor(dy))
    gradients = {f"d {k}": v.grad for k, v in network.named_parameters() if v.grad is not None}
    actual = {"y": y, "dx": x.grad, **gradients, **network.state_dict()}
    network.clear_gradients()
    return {name: tensor.numpy() for name, tensor in actual.items()}


def inputs(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def trained(model, steps=3):
    """A digest of a network's weights after some steps."""
    with training.fresh(0):
        learner = training.build(model, ce, sgd, constant, lr=0.1, steps=1)
        for i in range(steps):
            x, labels = paddle.to_tensor(inputs((20, 1, 28, 28), i)), paddle.arange(20) % 10
            training.step(learner, training.forward(learner, x, labels))
        return hashlib.sha256(repr(weights.weight_hashes(learner.network)).encode()).hexdigest()


def assert_same(ours, stock):
    """To the bit, of what `step` gives."""
    assert list(ours) == list(stock)
    for name, value in stock.items():
        np.testing.assert_array_equal(ours[name], value)


def assert_equal(ours, stock, tolerance=1e-5):
    assert list(ours) == list(stock)
    scale = max(np.linalg.norm(value) for name, value in stock.items() if name.startswith("d "))
    for name, value in stock.items():
        # a bias before a normalization has the gradient 0, up to the rounding of the others
        size = max(np.linalg.norm(value), scale if name.endswith("bias") else 0)
        assert np.linalg.norm(ours[name] - value) <= tolerance * size, name


def chains(network):
    return [part for part in chain._parts(network) if isinstance(part, chain.Chain)]


def normalized(channels, size, *layers):
    """A convolution and its normalization before other layers."""
    return [nn.Conv2D(*channels, size, bias_attr=False), nn.BatchNorm2D(channels[1]), *layers]


def residual(before, width, stride=1):
    """A block of two convolutions with their normalizations."""
    first = nn.Conv2D(before, width, 3, stride, padding=1, bias_attr=False)
    second = nn.Conv2D(width, width, 3, padding=1, bias_attr=False)
    layers = first, nn.BatchNorm2D(width), nn.ReLU(), second, nn.BatchNorm2D(width)
    return Residual(nn.Sequential(*layers), stride)
