"""Runs of layers in oneDNN against Paddle's own operators: values, gradients, falling back."""

from __future__ import annotations

import copy
import logging

import numpy as np
import paddle
import pytest
from helpers.chains import assert_equal, inputs, networks, normalized, runs, step
from paddle import nn

from experiments import models, training, weights
from experiments.kernels import chain, conv_block, onednn
from experiments.losses import ce
from experiments.optimizers import sgd
from experiments.schedulers import constant

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
    assert len(runs(ours)) == 1
    for seed in (0, 1):  # the second in memory that was used before
        assert_equal(step(ours, inputs(shape, seed)), step(stock, inputs(shape, seed)))
    assert all(runs(ours)[0]._plans.values())
    stock.eval(), ours.eval()
    with paddle.no_grad():
        x = paddle.to_tensor(inputs(shape, 2))
        np.testing.assert_allclose(ours(x).numpy(), stock(x).numpy(), rtol=1e-4, atol=1e-5)
    assert len(runs(ours)[0]._plans) == 2


def test_conv_blocks_are_computed_too_where_they_cannot_be_compiled(monkeypatch):
    monkeypatch.setattr(conv_block, "kernel", lambda network=None: "stock")
    stock, ours = networks(lambda: models.convnet(10).body)
    assert_equal(step(ours, inputs((7, 1, 28, 28))), step(stock, inputs((7, 1, 28, 28))))
    assert all(runs(ours)[0]._plans.values())
    assert chain.kernel(ours) == f"onednn-{onednn.library().version}"


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2D(2, 8, 3), nn.BatchNorm2D(16)],
        lambda: [nn.Conv2D(2, 8, 3), nn.Conv2D(4, 8, 3)],
        lambda: [nn.Conv2D(2, 8, 3), nn.Flatten(), nn.Linear(7, 2)],
    ],
)
def test_layers_that_do_not_fit_raise_paddles_error(layers):
    _, ours = networks(layers)
    with pytest.raises((ValueError, RuntimeError), match="InvalidArgument"):
        ours(paddle.ones([2, 2, 6, 6]))


def test_weights_of_another_shape_are_another_plan():
    stock, ours = networks(lambda: [nn.Conv2D(2, 8, 3), nn.ReLU()])
    step(ours, inputs((3, 2, 6, 6)))
    for network in (stock, ours):
        paddle.seed(5)
        network[0].weight = paddle.create_parameter([4, 2, 3, 3], "float32")
        network[0].bias = paddle.create_parameter([4], "float32")
    assert_equal(step(ours, inputs((3, 2, 6, 6))), step(stock, inputs((3, 2, 6, 6))))


def test_statistics_move_without_a_gradient_too():
    stock, ours = networks(lambda: normalized((2, 3), 3))
    with paddle.no_grad():
        for network in (stock, ours):
            network(paddle.to_tensor(inputs((4, 2, 6, 6))))
    for one, other in zip(ours[1].parameters(), stock[1].parameters(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5)


def test_networks_stay_what_they_are():
    with training.fresh(0):
        stock = models.cnn_bn(10)
        after = paddle.rand([3]).numpy()
    with training.fresh(0):
        ours = training.build(models.cnn_bn, ce, sgd, constant, lr=0.1, steps=1).network
        np.testing.assert_array_equal(paddle.rand([3]).numpy(), after)
        chain.kernel(ours)
    assert isinstance(ours.body, nn.Sequential) and isinstance(ours.body[:2], nn.Sequential)
    assert weights.weight_hashes(ours) == weights.weight_hashes(stock)
    assert [p.name for p in ours.parameters()] == [p.name for p in stock.parameters()]
    ours.eval()
    x = paddle.to_tensor(inputs((3, 1, 28, 28)))
    exported = paddle.jit.to_static(
        copy.deepcopy(ours),
        input_spec=[paddle.static.InputSpec([None, 1, 28, 28], "float32")],
        full_graph=True,
    )
    np.testing.assert_allclose(exported(x).numpy(), ours(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2D(4, 4, 3, groups=2)],
        lambda: [nn.Conv2D(4, 4, 3, padding="SAME")],
        lambda: [nn.Conv2D(4, 4, 3, padding=1, padding_mode="reflect")],
        lambda: [type("Own", (nn.Conv2D,), {})(4, 4, 3)],
        lambda: [nn.ReLU(), nn.MaxPool2D(2)],
        lambda: [nn.Flatten(1, 2), nn.Linear(6, 2)],
        lambda: [nn.BatchNorm2D(4, use_global_stats=True), nn.Dropout(0.5)],
    ],
)
def test_other_layers_are_left_to_paddle(layers):
    stock, ours = networks(layers)
    assert not runs(ours)
    for network in (stock, ours):
        network.eval()
    for one, other in zip(
        *(step(network, inputs((2, 4, 6, 6))).values() for network in (ours, stock)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", ["hook", "type", "evaluation", "replaced"])
def test_other_uses_are_left_to_paddle(change):
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    x, plans = inputs((2, 2, 6, 6)), runs(ours)[0]._plans
    for network in (stock, ours):
        if change == "hook":
            network[2].register_forward_post_hook(lambda layer, given, output: output * 2)
        elif change == "type":
            network.to(dtype="float64")
            x = x.astype("float64")
        elif change == "evaluation":
            network.eval()  # with a gradient
        elif change == "replaced":
            network[2] = nn.Sigmoid()
    expected, found = step(stock, x), step(ours, x)
    if change in ("hook", "replaced"):  # of the last of three layers
        assert_equal(found, expected)
        assert len(runs(ours)[0].layers) == 2
    else:
        assert not plans
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_one_run_used_twice_and_a_graph_used_twice():
    stock, ours = networks(lambda: normalized((3, 3), 1, nn.ReLU()))
    found = []
    for network in (stock, ours):
        x = paddle.to_tensor(inputs((4, 3, 5, 5)), stop_gradient=False)
        total = (network(network(x)) * network(x * 2)).sum()
        paddle.grad(
            total, [x, *network[0].parameters(), *network[1].parameters()[:2]], retain_graph=True
        )
        network(x)  # whatever memory is free by now is used again
        total.backward()
        found.append([x.grad.numpy(), network[0].weight.grad.numpy(), network[1]._mean.numpy()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5)


def test_what_is_frozen_gets_no_gradient():
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    for network in (stock, ours):
        network[0].weight.stop_gradient = True
    expected, found = step(stock, inputs((2, 2, 6, 6))), step(ours, inputs((2, 2, 6, 6)))
    assert [name for name in found if name.startswith("d ")] == ["d 1.weight", "d 1.bias"]
    assert_equal(found, expected)


def test_refuses_second_derivatives_and_changed_weights():
    _, ours = networks(lambda: [nn.Conv2D(1, 2, 3)])
    x = paddle.ones([2, 1, 5, 5])
    x.stop_gradient = False
    with pytest.raises(OSError, match="second derivative"):
        paddle.grad(ours(x).sum(), [x, *ours.parameters()], create_graph=True)
    y = ours(x).sum()
    with paddle.no_grad():
        ours[0].weight.scale_(2.0)
    with pytest.raises(OSError, match="changed in place"):
        y.backward()


def test_the_tag_and_the_notice_say_what_computes_a_network(monkeypatch):
    networks = [models.cnn_bn(10), models.mlp(10)]
    for network in networks:
        chain.install(network)
    version = onednn.library().version
    assert [chain.kernel(network) for network in networks] == [f"onednn-{version}", "stock"]
    assert chain.notices(networks[0]) == (
        (
            logging.INFO,
            f"oneDNN {version} computes 10 of 13 layers, not BatchNorm1D, ReLU, Linear",
        ),
    )
    assert chain.notices(networks[1]) == ()
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")
    assert [chain.kernel(network) for network in networks] == ["stock", "stock"]
    assert chain.notices(networks[0]) == ()
    assert not runs(networks[0].body)


@pytest.mark.parametrize("fault", ["absent", "version", "slow", "wrong"])
def test_where_onednn_cannot_be_used_paddle_computes(monkeypatch, fault):
    if fault == "absent":
        monkeypatch.setattr(paddle, "__file__", "/nowhere/paddle/__init__.py")
    elif fault == "version":
        monkeypatch.setattr(onednn, "MAJOR", 2)
    elif fault == "slow":
        monkeypatch.setattr(onednn, "SLOW", "brg|jit")
    else:
        monkeypatch.setattr(onednn, "POOLING_AVERAGE", onednn.POOLING_MAX)
    for cached in (onednn.library, chain._obstacle):
        cached.cache_clear()
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    expected, found = step(stock, inputs((2, 2, 6, 6))), step(ours, inputs((2, 2, 6, 6)))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert chain.kernel(ours) == "stock"
    ((level, text),) = chain.notices(ours)
    assert level == logging.WARNING
    said = {
        "absent": "this Paddle has no oneDNN",
        "version": "expected oneDNN 2, got 3",
        "slow": "oneDNN has no fast reorder here",
        "wrong": "it does not compute what Paddle's operators compute",
    }
    assert said[fault] in text
    monkeypatch.undo()
    for cached in (onednn.library, chain._obstacle):
        cached.cache_clear()
