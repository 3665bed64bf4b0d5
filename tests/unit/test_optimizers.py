"""Every option of conf/optimizer/, step by step against its formula in numpy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from helpers.commands import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import optimizers

OPTIONS = sorted(
    path.stem
    for path in (ROOT / "conf" / "optimizer").glob("*.yaml")
    if path.stem != "paddle"  # it names no class
)
START = np.array([1.0, -2.0, 3.0])


def gradient(w):
    return np.array([2.0, -1.0, 0.5]) * w


def walk(make, steps=3, **values):
    """Where `make`'s optimizer is after some steps down sum(c w^2) / 2, in float64."""
    w = paddle.create_parameter([3], "float64")
    w.set_value(paddle.to_tensor(START))
    optimizer = make(learning_rate=0.1, parameters=[w], **values)
    for _ in range(steps):
        (paddle.to_tensor([1.0, -0.5, 0.25], dtype="float64") * w * w).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    return w.numpy()


def by_hand(steps=3, momentum=0.0, nesterov=False, decay=0.0, clip=None):
    w, v = START.copy(), np.zeros(3)
    for _ in range(steps):
        g = gradient(w)
        if clip is not None:
            g = g * min(1.0, clip / np.linalg.norm(g))
        g = g + decay * w
        v = momentum * v + g
        w = w - 0.1 * (g + momentum * v if nesterov else v)
    return w


def adam_by_hand(steps=3, coupled=0.0, decoupled=0.0):
    w, m, v = START.copy(), np.zeros(3), np.zeros(3)
    for t in range(1, steps + 1):
        g = gradient(w) + coupled * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w * (1 - 0.1 * decoupled)
        w = w - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"weight_decay": 0.3}, {"decay": 0.3}),
        ({"clip_norm": 0.5}, {"clip": 0.5}),
        ({"clip_norm": 1000.0}, {}),
    ],
)
def test_sgd(values, expected):
    np.testing.assert_allclose(walk(optimizers.sgd, **values), by_hand(**expected), rtol=1e-6)


def test_sgd_is_paddles_to_the_bit_with_a_schedule_and_parameters_of_their_own_rate():
    walks = []
    for make in (optimizers.sgd, paddle.optimizer.SGD):
        paddle.seed(0)
        own = paddle.ParamAttr(learning_rate=0.5)
        layers = [paddle.nn.Linear(4, 3), paddle.nn.Linear(4, 3, weight_attr=own)]
        for layer in layers:
            rate = paddle.optimizer.lr.ExponentialDecay(0.1, gamma=0.5)
            optimizer = make(learning_rate=rate, parameters=layer.parameters())
            frozen = layer.bias.numpy()
            layer.bias.stop_gradient = True
            for _ in range(3):
                layer(paddle.ones([2, 4])).square().sum().backward()
                optimizer.step()
                optimizer.clear_grad()
                rate.step()
            np.testing.assert_array_equal(layer.bias.numpy(), frozen)
        walks.append([layer.weight.numpy() for layer in layers])
    np.testing.assert_array_equal(walks[0], walks[1])
    ours = optimizers.sgd(learning_rate=0.1, parameters=layers[0].parameters())
    assert type(ours) is not type(optimizer)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    how = {"momentum": 0.8, "nesterov": nesterov}
    weights = walk(optimizers.momentum, weight_decay=0.3, clip_norm=1.0, **how)
    np.testing.assert_allclose(weights, by_hand(decay=0.3, clip=1.0, **how), rtol=1e-6)


def test_weight_decay_is_coupled_in_adam_and_decoupled_in_adamw():
    makes = optimizers.adam, optimizers.adamw
    coupled, decoupled = (walk(make, weight_decay=0.3) for make in makes)
    np.testing.assert_allclose(coupled, adam_by_hand(coupled=0.3), rtol=1e-5)
    np.testing.assert_allclose(decoupled, adam_by_hand(decoupled=0.3), rtol=1e-5)
    assert np.abs(coupled - decoupled).max() > 1e-3


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_clips_the_gradient_and_refuses_a_norm_that_is_none(option):
    make = instantiate(OmegaConf.load(ROOT / "conf" / "optimizer" / f"{option}.yaml"))
    assert np.isfinite(walk(make, clip_norm=0.5)).all()
    with pytest.raises(ValueError, match="clip_norm: expected a finite number above 0"):
        walk(make, clip_norm=0)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2.0])
def test_momentum_is_checked(momentum):
    words = "momentum: expected a finite number at least 0 and below 1"
    with pytest.raises(ValueError, match=words):
        walk(optimizers.momentum, momentum=momentum)
