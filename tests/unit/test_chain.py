"""Chains of layers in oneDNN against Paddle's own operators: values, gradients, falling back."""

from __future__ import annotations

import copy
import logging
import threading

import numpy as np
import paddle
import pytest
from helpers.chains import (
    assert_equal,
    assert_same,
    chains,
    inputs,
    networks,
    normalized,
    residual,
    step,
)  # fmt: skip
from paddle import nn

from experiments import models, training, weights
from experiments.kernels import chain, conv_block, onednn, plan
from experiments.kernels.builder import Builder
from experiments.losses import ce
from experiments.optimizers import sgd
from experiments.schedulers import constant


def test_conv_blocks_are_computed_too_where_they_cannot_be_compiled(monkeypatch):
    monkeypatch.setattr(conv_block, "kernel", lambda network=None: "stock")
    stock, ours = networks(lambda: models.convnet(10).body)
    assert_equal(step(ours, inputs((7, 1, 28, 28))), step(stock, inputs((7, 1, 28, 28))))
    assert all(chains(ours)[0].plans.values())
    assert chain.kernel(ours) == f"onednn-{onednn.library().version}"


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2D(2, 8, 3), nn.BatchNorm2D(16)],
        lambda: [nn.Conv2D(2, 8, 3), nn.Conv2D(4, 8, 3)],
        lambda: [nn.Conv2D(2, 8, 3), nn.BatchNorm2D(4)],
        lambda: [nn.Conv2D(2, 8, 3), nn.Flatten(), nn.Linear(7, 2)],
        lambda: [nn.Conv2D(2, 8, 3), nn.Flatten(), nn.Linear(129, 2)],
        lambda: [nn.Conv2D(3, 8, 3)],
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


def test_a_bias_of_another_shape_is_left_to_paddle():
    stock, ours = networks(lambda: [nn.Conv2D(2, 8, 3), nn.Flatten(), nn.Linear(128, 6)])
    for network in (stock, ours):
        network[2].bias = paddle.create_parameter([1], "float32", is_bias=True)  # zero
    with paddle.no_grad():
        results = [network(paddle.to_tensor(inputs((3, 2, 6, 6)))) for network in (stock, ours)]
    np.testing.assert_array_equal(*results)


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
    spec = [paddle.static.InputSpec([None, 1, 28, 28], "float32")]
    exported = paddle.jit.to_static(copy.deepcopy(ours), input_spec=spec, full_graph=True)
    np.testing.assert_allclose(exported(x).numpy(), ours(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2D(4, 4, 3, groups=2)],
        lambda: [nn.Conv2D(4, 4, 3, padding="SAME")],
        lambda: [nn.Conv2D(4, 4, 3, padding=1, padding_mode="reflect")],
        lambda: [type("Own", (nn.Conv2D,), {})(4, 4, 3)],
        lambda: [nn.ReLU(), nn.MaxPool2D(2)],
        lambda: [nn.Flatten(1, 2), nn.ReLU()],
        lambda: [nn.BatchNorm2D(4, use_global_stats=True), nn.Dropout(0.5)],
    ],
)
def test_other_layers_are_left_to_paddle(layers):
    stock, ours = networks(layers)
    assert not chains(ours)
    for network in (stock, ours):
        network.eval()
    assert_same(step(ours, inputs((2, 4, 6, 6))), step(stock, inputs((2, 4, 6, 6))))


@pytest.mark.parametrize("change", ["hook", "type", "evaluation", "replaced"])
def test_other_uses_are_left_to_paddle(change):
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    x, plans = inputs((2, 2, 6, 6)), chains(ours)[0].plans
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
    expected, actual = step(stock, x), step(ours, x)
    if change in ("hook", "replaced"):  # of the last of three layers
        assert_equal(actual, expected)
        assert len(chains(ours)[0].layers) == 2
    else:
        assert not plans
        assert_same(actual, expected)


def test_one_chain_used_twice_and_a_graph_used_twice():
    stock, ours = networks(lambda: normalized((3, 3), 1, nn.ReLU()))
    actual = []
    for network in (stock, ours):
        x = paddle.to_tensor(inputs((4, 3, 5, 5)), stop_gradient=False)
        total = (network(network(x)) * network(x * 2)).sum()
        paddle.grad(
            total, [x, *network[0].parameters(), *network[1].parameters()[:2]], retain_graph=True
        )
        network(x)  # whatever memory is free by now is used again
        total.backward()
        actual.append([x.grad.numpy(), network[0].weight.grad.numpy(), network[1]._mean.numpy()])
    for one, other in zip(*actual, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5)


def test_what_is_frozen_gets_no_gradient():
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    for network in (stock, ours):
        network[0].weight.stop_gradient = True
    expected, actual = step(stock, inputs((2, 2, 6, 6))), step(ours, inputs((2, 2, 6, 6)))
    assert [name for name in actual if name.startswith("d ")] == ["d 1.weight", "d 1.bias"]
    assert_equal(actual, expected)


FIRST_WEIGHTS = {  # layers, the input, and how many parameters are frozen
    "behind a layer without weights": (
        lambda: [nn.Tanh(), nn.Conv2D(64, 1, 3, stride=4), nn.ReLU()],
        (8, 64, 32, 32),
        0,
    ),
    "behind a frozen convolution": (
        lambda: [*normalized((2, 8), 3, nn.ReLU(), nn.MaxPool2D(2)), nn.Conv2D(8, 2, 2)],
        (8, 2, 32, 32),
        3,
    ),
    "linear": (
        lambda: [nn.Conv2D(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 2), nn.ReLU()],
        (8, 1, 12, 12),
        2,
    ),
    "in a block": (lambda: [residual(2, 4, 2), nn.Conv2D(4, 2, 2)], (8, 2, 16, 16), 0),
    "in a block, behind its frozen convolution": (lambda: [residual(2, 4)], (3, 2, 8, 8), 3),
    "behind a frozen block": (lambda: [residual(2, 4), residual(4, 5, 2)], (8, 2, 16, 16), 8),
}


@pytest.mark.parametrize("case", FIRST_WEIGHTS)
def test_an_input_without_a_gradient_ends_the_backward_pass(case):
    layers, shape, frozen = FIRST_WEIGHTS[case]
    gradients = []
    for network in networks(layers):
        learned = network.parameters()
        for tensor in learned[:frozen]:
            tensor.stop_gradient = True
        network(paddle.to_tensor(inputs(shape))).square().sum().backward()
        gradients.append([tensor.grad for tensor in learned if not tensor.stop_gradient])
        assert all(tensor.grad is None for tensor in learned[:frozen])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("chosen", [[0], [1], [2], [3], [0, 2], [3, 1]])
def test_gradients_of_some_tensors(chosen):
    """Paddle's own normalization has none of its weight alone, so all of its gradients are used."""
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    x = paddle.to_tensor(inputs((4, 2, 6, 6)), stop_gradient=False)
    tensors = [[x, *each[0].parameters(), each[1].weight, each[1].bias] for each in (stock, ours)]
    expected = paddle.grad(stock(x).square().sum(), tensors[0])
    some = [tensors[1][i] for i in chosen]
    others = [tensor for i, tensor in enumerate(tensors[1]) if i not in chosen]
    for excluded in ([], others):
        gradients = paddle.grad(ours(x).square().sum(), some, no_grad_vars=excluded)
        for i, gradient in zip(chosen, gradients, strict=True):
            np.testing.assert_allclose(gradient, expected[i], rtol=1e-3, atol=1e-4)


def test_threads_share_a_network():
    _, ours = networks(lambda: normalized((2, 8), 3, nn.ReLU(), nn.MaxPool2D(2)))
    ours.eval()
    x = [paddle.to_tensor(inputs((20, 2, 20, 20), seed)) for seed in range(3)]
    with paddle.no_grad():
        expected = [ours(each).numpy() for each in x]
    equal = []

    def evaluate(i):
        with paddle.no_grad():
            equal.append(all((ours(x[i]).numpy() == expected[i]).all() for _ in range(200)))

    threads = [threading.Thread(target=evaluate, args=[i]) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 3


def test_memory_is_used_again(monkeypatch):
    _, ours = networks(lambda: normalized((2, 8), 3, nn.ReLU()))
    x = inputs((4, 2, 12, 12))
    step(ours, x)
    ours.eval()
    with paddle.no_grad():
        ours(paddle.to_tensor(x))
        monkeypatch.setattr(plan, "Buffer", None)  # there is no other
        for _ in range(20):
            ours(paddle.to_tensor(x))


def test_arrays_begin_at_lines_of_the_cache():
    builder = Builder(learns=True)
    builder.passing(onednn.plain(3, 5)), builder.passing(onednn.plain(7, 9))
    assert (builder.sizes["odd"], builder.sizes["even"]) == (64, 256)


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
    networks = [models.cnn_bn(10), models.mlp(10, dropout=0.5)]
    for network in networks:
        chain.install(network)
    version = onednn.library().version
    assert [chain.kernel(network) for network in networks] == [f"onednn-{version}", "stock"]
    others = "InputShape, BatchNorm1D, ReLU, Linear"
    text = f"oneDNN {version} can compute 10 of 14 layers, not {others}"
    assert chain.notices(networks[0]) == ((logging.INFO, text),)
    assert chain.notices(networks[1]) == ()
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")
    assert [chain.kernel(network) for network in networks] == ["stock", "stock"]
    assert chain.notices(networks[0]) == ()
    assert not chains(networks[0].body)


def test_another_default_type_is_no_obstacle():
    chain._obstacle.cache_clear()
    paddle.set_default_dtype("float64")
    try:
        assert chain._obstacle() == ""
        assert paddle.get_default_dtype() == "float64"
    finally:
        paddle.set_default_dtype("float32")


FAULTS = {  # and what is said of each
    "absent": "this Paddle has no oneDNN",
    "version": "expected oneDNN 2, got 3",
    "slow": "oneDNN has no fast reorder here",
    "wrong": "it does not compute what Paddle's operators compute",
    "symbol": "undefined symbol",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_onednn_cannot_be_used_paddle_computes(monkeypatch, fault):
    if fault == "absent":
        monkeypatch.setattr(paddle, "__file__", "/nowhere/paddle/__init__.py")
    elif fault == "version":
        monkeypatch.setattr(onednn, "MAJOR", 2)
    elif fault == "slow":
        monkeypatch.setattr(onednn, "SLOW", "brg|jit")
    elif fault == "symbol":
        call = onednn._Library.call
        monkeypatch.setattr(
            onednn._Library, "call", lambda self, name, *rest: call(self, f"other_{name}", *rest)
        )
    else:
        monkeypatch.setattr(onednn, "POOLING_AVERAGE", onednn.POOLING_MAX)
    for cached in (onednn.library, chain._obstacle):
        cached.cache_clear()
    stock, ours = networks(lambda: normalized((2, 3), 3, nn.ReLU()))
    assert_same(step(ours, inputs((2, 2, 6, 6))), step(stock, inputs((2, 2, 6, 6))))
    assert chain.kernel(ours) == "stock"
    ((level, text),) = chain.notices(ours)
    assert level == logging.WARNING and FAULTS[fault] in text
    monkeypatch.undo()
    for cached in (onednn.library, chain._obstacle):
        cached.cache_clear()
