"""A step of training off Paddle's tape equals one on it."""

from __future__ import annotations

import functools

import numpy as np
import paddle
import pytest
from paddle import nn

from experiments import losses, models, training
from experiments.kernels import chain
from experiments.optimizers import sgd
from experiments.schedulers import constant

INPUTS = np.random.default_rng(0).random((3, 20, 1, 28, 28), dtype=np.float32)
LABELS = paddle.arange(20) % 10


def in_place(logits, labels):
    """A loss that changes its outputs."""
    return losses.ce(logits.scale_(0.5), labels)


def through_features(logits, labels, *, features):
    """A loss with a gradient beside the one of the outputs."""
    return losses.ce(logits, labels) + 0.01 * features.square().sum(axis=1)


class Scaled(nn.Layer):
    """A layer without weights, before those that oneDNN computes."""

    def forward(self, inputs):
        return 3 * inputs - 1


def scaled_inputs(outputs):
    return nn.Sequential(Scaled(), nn.Flatten(), nn.Linear(784, outputs))


def trained(model, loss, monkeypatch, kernel):
    """Outputs, values and weights of three steps, and whether they were off the tape."""
    monkeypatch.setenv("FAIRLOSS_KERNEL", kernel)
    arrays = []
    with training.fresh(0):
        learner = training.build(model, loss, sgd, constant, lr=0.1, steps=3)
        for inputs in INPUTS:
            computed = training.forward(learner, paddle.to_tensor(inputs), LABELS)
            arrays += [computed.outputs.copy(), computed.values.copy()]
            training.step(learner, computed)
        arrays += [each.numpy() for each in learner.network.parameters()]
        _, continued = chain.outputs_of(learner.network, paddle.to_tensor(INPUTS[0]))
        return arrays, continued is not None


@pytest.mark.parametrize("model", [models.softmax, models.mlp, models.lenet5, scaled_inputs])
@pytest.mark.parametrize(
    "loss", [losses.ce, losses.focal, losses.mse, functools.partial(losses.gce, q=0.5), in_place]
)
def test_values_and_weights_equal_those_of_paddles_tape(model, loss, monkeypatch):
    assert as_on_the_tape(model, loss, monkeypatch)


def as_on_the_tape(model, loss, monkeypatch):
    """Whether the steps were off the tape, which are as those on it."""
    expected, _ = trained(model, loss, monkeypatch, "stock")
    actual, off_tape = trained(model, loss, monkeypatch, "")
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    return off_tape


def shared(outputs):
    """A network that uses one layer twice."""
    inner = nn.Linear(10, 10)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), inner, nn.ReLU(), inner)


def scaled_gradient(outputs):
    """A network with a hook on a gradient."""
    network = models.mlp(outputs)
    network.head.weight.register_hook(lambda gradient: 0 * gradient)
    return network


def dropped_and_shared(outputs):
    """A network with random numbers before a chain that cannot do without the tape."""
    return nn.Sequential(nn.Dropout(0.5), *shared(outputs))


def replaced(outputs):
    """A network whose layer computes something else than its class."""
    layer = nn.Linear(784, outputs)
    layer.forward = lambda x: 0.5 * nn.Linear.forward(layer, x)
    return nn.Sequential(nn.Flatten(), layer)


@functools.wraps(losses.ce)
def twice(logits, labels):
    return 2 * losses.ce(logits, labels)


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        *((each, losses.ce) for each in (shared, dropped_and_shared, replaced, scaled_gradient)),
        *((models.mlp, each) for each in (through_features, twice)),
    ],
)
def test_what_only_the_tape_knows_is_kept(model, loss, monkeypatch):
    as_on_the_tape(model, loss, monkeypatch)


@pytest.mark.parametrize("hooked", [False, True])
def test_a_loss_that_uses_a_weight_adds_to_its_gradient(hooked, monkeypatch):
    runs = {}
    for kernel in ("stock", ""):
        weights, seen = [], []

        def model(outputs, weights=weights):
            network = models.mlp(outputs)
            weights.append(network.head.weight)
            return network

        def decayed(logits, labels, weights=weights):
            return losses.ce(logits, labels) + weights[0].square().sum()

        def halved(gradient, seen=seen):
            seen.append(gradient.numpy())
            return 0.5 * gradient

        monkeypatch.setenv("FAIRLOSS_KERNEL", kernel)
        with training.fresh(0):
            learner = training.build(model, decayed, sgd, constant, lr=0.1, steps=3)
            for number, inputs in enumerate(INPUTS):
                if hooked and number == 1:
                    weights[0].register_hook(halved)
                computed = training.forward(learner, paddle.to_tensor(inputs), LABELS)
                assert bool(computed.learned) == (not kernel and not (hooked and number))
                training.step(learner, computed)
        runs[kernel] = [*seen, weights[0].numpy()]
    for one, other in zip(runs["stock"], runs[""], strict=True):  # the hook sees one gradient
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_a_network_with_other_parts_that_learn_stays_on_the_tape():
    for model in (models.convnet, models.cnn_bn):
        network = model(10)
        chain.install(network)
        assert chain.outputs_of(network, paddle.to_tensor(INPUTS[0]))[1] is None


def test_a_frozen_layer_keeps_its_weights(monkeypatch):
    def frozen(outputs):
        network = models.mlp(outputs)
        for weight in network.body.parameters():
            weight.stop_gradient = True
        return network

    arrays, off_tape = trained(frozen, losses.ce, monkeypatch, "")
    with training.fresh(0):
        before = [each.numpy() for each in frozen(10).parameters()]
    assert off_tape
    same = [np.array_equal(*pair) for pair in zip(before, arrays[-4:], strict=True)]
    assert same == [True, True, False, False]


def test_labels_and_weights_are_checked_as_on_the_tape():
    learner = training.build(models.mlp, losses.ce, sgd, constant, lr=0.1, steps=3)
    inputs = paddle.to_tensor(INPUTS[0])
    with pytest.raises(ValueError, match=r"labels: expected classes in 0\.\.9, got -1"):
        training.forward(learner, inputs, LABELS - 1)
    computed = training.forward(learner, inputs, LABELS)
    with paddle.no_grad():
        learner.network.head.weight.scale_(0.5)
    with pytest.raises(RuntimeError, match="changed in place"):
        computed.backward()
    computed = training.forward(learner, inputs, LABELS)
    computed.backward()
    with pytest.raises(IndexError):
        computed.backward()
