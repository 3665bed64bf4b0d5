"""Residual blocks: what they compute, and that chains of layers take them as they are."""

from __future__ import annotations

import copy

import numpy as np
import paddle
import pytest
from helpers.chains import assert_equal, assert_same, chains, inputs, networks, residual, step
from paddle import nn

from experiments import models
from experiments.kernels import chain
from experiments.kernels.residual import Residual


def test_the_shortcut_skips_pixels_and_has_zeros_in_further_channels():
    images = np.arange(-9, 9, dtype=np.float32).reshape(1, 1, 3, 6)
    block = Residual(nn.Sequential(nn.Conv2D(1, 2, 1, 2)), 2)
    for parameter in block.parameters():
        parameter.set_value(paddle.ones_like(parameter))
    kept = images[0, 0, ::2, ::2]
    np.testing.assert_array_equal(
        block(paddle.to_tensor(images))[0], np.maximum([2 * kept + 1, kept + 1], 0)
    )


@pytest.mark.parametrize(
    ("convolution", "stride"), [((4, 3, 1), 1), ((4, 8, 1), 2), ((4, 8, 3), 1), ((4, 1, 8), 1)]
)
def test_a_shortcut_that_does_not_fit_is_an_error(convolution, stride):
    for network in networks(lambda: [Residual(nn.Sequential(nn.Conv2D(*convolution)), stride)]):
        with pytest.raises(ValueError, match="convolutions: expected at least 4 channels"):
            network(paddle.ones([2, 4, 8, 8]))


@pytest.mark.parametrize(
    ("stride", "error"), [(0, ValueError), (1.5, ValueError), ("2", TypeError)]
)
def test_the_stride_is_checked(stride, error):
    with pytest.raises(error, match="stride: expected"):
        Residual(nn.Sequential(nn.ReLU()), stride)


def test_the_weights_of_resnet_keep_their_names():
    names = list(models.resnet(10, depth=8).state_dict())
    assert names[:5] == [
        "body.0.weight", "body.1.weight", "body.1.bias", "body.1._mean", "body.1._variance",
    ]  # fmt: skip
    assert names[5:16] == [
        f"body.3.convolutions.{name}"
        for name in [
            "0.weight", "1.weight", "1.bias", "1._mean", "1._variance",
            "3.weight", "4.weight", "4.bias", "4._mean", "4._variance",
        ]
    ] + ["body.4.convolutions.0.weight"]  # fmt: skip


def test_a_network_of_blocks_is_one_chain():
    network = models.resnet(10, depth=8, shape=(1, 12, 12))
    chain.install(network)
    assert len(chains(network)) == 1
    (_, text), *others = chain.notices(network)
    assert "can compute 21 of 22 layers, not InputShape" in text and not others
    assert len(chains(network)[0].normalizations) == 7


def test_the_same_bits_again():
    """Also in memory that was used by another batch in between."""
    _, ours = networks(lambda: [residual(3, 4, 2), residual(4, 4)])
    again = copy.deepcopy(ours)
    first = step(ours, inputs((6, 3, 12, 12)))
    step(ours, inputs((7, 3, 10, 10)))
    assert_same(step(again, inputs((6, 3, 12, 12))), first)


@pytest.mark.parametrize(
    "change", ["hook", "inner hook", "replaced", "inner replaced", "layer", "subclass", "trained"]
)
def test_changes_of_a_block_count(change):
    """Those between two steps of one network."""
    stock, ours = networks(lambda: [nn.Conv2D(3, 3, 1), residual(3, 4)])
    step(ours, inputs((2, 3, 6, 6)))
    step(stock, inputs((2, 3, 6, 6)))
    for network in (stock, ours):
        block, inner = network[1], network[1].convolutions[3]
        if change == "hook":
            block.register_forward_post_hook(lambda layer, given, output: output * 2)
        elif change == "inner hook":
            inner.register_forward_post_hook(lambda layer, given, output: output * 2)
        elif change == "replaced":
            block.forward = lambda x, block=block: 2 * block.convolutions(x)
        elif change == "inner replaced":
            inner.forward = lambda x, inner=inner: nn.Conv2D.forward(inner, 2 * x)
        elif change == "layer":
            block.convolutions[2] = nn.Tanh()
        elif change == "subclass":
            block.__class__ = type("Own", (Residual,), {"forward": lambda self, x: x.tanh()})
        else:
            block.convolutions[0].weight.stop_gradient = True
    expected, actual = step(stock, inputs((2, 3, 6, 6))), step(ours, inputs((2, 3, 6, 6)))
    assert_equal(actual, expected)
    whole = change in ("layer", "trained")
    assert len(chains(ours)[0].layers) == (2 if whole else 1)


def test_evaluation_with_a_gradient_is_left_to_paddle():
    stock, ours = networks(lambda: [residual(3, 4, 2)])
    for network in (stock, ours):
        network.eval()
    assert_equal(step(ours, inputs((2, 3, 6, 6))), step(stock, inputs((2, 3, 6, 6))))


def test_exported_for_images_of_any_size():
    network = models.resnet(10, depth=8)[1]
    chain.install(network)
    network.eval()
    exported = paddle.jit.to_static(
        copy.deepcopy(network),
        input_spec=[paddle.static.InputSpec([None, 1, None, None], "float32")],
        full_graph=True,
    )
    x = paddle.to_tensor(inputs((3, 1, 18, 21)))
    np.testing.assert_allclose(exported(x).numpy(), network(x).numpy(), rtol=1e-4, atol=1e-5)


def test_a_network_of_blocks_needs_no_tape():
    network = models.resnet(10, depth=8, shape=(1, 12, 12))
    chain.install(network)
    x = inputs((6, 1, 12, 12))
    y, continued = chain.outputs_of(network, paddle.to_tensor(x))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    continued(dy)
    named = network.named_parameters()
    off_tape = {f"d {name}": each.grad for name, each in named if each.grad is not None}
    network.clear_gradients()
    on_tape = step(network, x)
    np.testing.assert_array_equal(y, on_tape["y"])
    assert len(off_tape) == 7 + 2 * 7 + 2  # of convolutions, normalizations and the head
    for name, gradient in off_tape.items():
        np.testing.assert_array_equal(gradient, on_tape[name])


def test_images_with_fewer_rows_than_the_stride_are_left_to_paddle():
    stock, ours = networks(lambda: [residual(3, 4, 2)])
    assert_equal(step(ours, inputs((2, 3, 1, 7))), step(stock, inputs((2, 3, 1, 7))))
    assert list(chains(ours)[0].plans.values()) == [None]
