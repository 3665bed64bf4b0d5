"""Sums of losses: their values, weights that change, weights of the classes, what is refused."""

from __future__ import annotations

import doctest
import functools
import re

import numpy as np
import paddle
import pytest
from helpers.losses import ALL
from helpers.options import OPTIONS
from helpers.settings import settings

from experiments import context, data, functions, heads, losses, mixtures, schedulers, training
from experiments import models as networks
from experiments.config import CommandError

Mixture = mixtures.Mixture
CE, FOCAL = functools.partial(losses.ce), functools.partial(losses.focal, gamma=2)
Z = np.array([[0.0, 0, 0], [1.0, -1, 0.5], [-2.0, 3, 0]])
Y = np.array([0, 2, 0])
P_Y = (np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True))[range(3), Y]


def values_of(loss, **seen):
    built = loss(**{name: seen[name] for name in context.needed_to_build(loss)})
    needs = context.needed(loss)
    given = {name: seen[name] for name in needs}
    return built(paddle.to_tensor(Z), paddle.to_tensor(Y), **given).numpy()


def test_the_examples_in_the_docstring_print_what_they_say():
    result = doctest.testmod(mixtures)
    assert result.attempted == 4
    assert result.failed == 0


def test_the_shipped_mixture_is_the_weighted_sum():
    expected = -(0.7 + 0.3 * (1 - P_Y) ** 2) * np.log(P_Y)
    np.testing.assert_allclose(values_of(ALL["mixture"], classes=3), expected, rtol=1e-12)
    assert context.needed(ALL["mixture"]) == ("classes",)
    assert not context.is_whole(ALL["mixture"])


@pytest.mark.parametrize(
    ("weight", "needs", "whole", "expected"),
    [
        ({"from": 1, "to": 3}, ("epoch", "epochs"), True, [1, 1, 1.5, 2, 2.5, 3]),
        ({"from": 1, "to": 0, "at": 3}, ("epoch",), False, [1, 1, 1, 0, 0, 0]),
    ],
)
def test_a_weight_changes_over_the_epochs(weight, needs, whole, expected):
    loss = functools.partial(Mixture, parts={"ce": CE}, weights={"ce": weight})
    assert context.needed(loss) == (*needs, "classes")
    assert context.is_whole(loss) is whole
    got = [values_of(loss, epoch=epoch, epochs=5, classes=3)[0] for epoch in range(6)]
    np.testing.assert_allclose(got, np.array(expected) * np.log(3), rtol=1e-12)


EFFECTIVE = 1 / (1 - 0.9 ** np.array([10, 40, 20]))  # Cui et al., with beta 0.9


@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [
        ([1, 2, 0.5], [1, 2, 0.5]),
        ("inverse", np.array([1 / 10, 1 / 40, 1 / 20]) * 3 / (0.1 + 0.025 + 0.05)),
        ("effective", EFFECTIVE * 3 / EFFECTIVE.sum()),
    ],
)
def test_classes_may_have_weights(class_weights, expected):
    how = {"class_weights": class_weights, "beta": 0.9}
    loss = functools.partial(Mixture, parts={"ce": CE}, weights={"ce": 1}, **how)
    got = values_of(loss, class_counts=paddle.to_tensor([10.0, 40, 20]), classes=3)
    np.testing.assert_allclose(got, -np.log(P_Y) * np.array(expected)[Y], rtol=1e-6)
    if isinstance(class_weights, list):
        with pytest.raises(ValueError, match="expected one of each of 4 classes, got 3"):
            values_of(loss, classes=4)


def test_the_head_is_that_of_the_parts():
    one = functools.partial(Mixture, parts={"mse": losses.mse}, weights={"mse": 1})
    assert heads.head_of(one, 10).outputs == 1
    arc = functools.partial(losses.arcface, s=7)
    two = functools.partial(Mixture, parts={"a": arc, "b": losses.ldam}, weights={"a": 1, "b": 1})
    assert heads.head_of(two, 10).scale == 7
    assert context.needed(two) == ("epoch", "epochs", "class_counts", "classes")


def test_a_mixture_with_a_state_trains_logs_its_parts_and_resumes_to_the_bit():
    splits = data.digits(seed=0, train_size=100, validation_size=30)
    parts = {"elr": losses.Elr, "centre": losses.Centre}
    loss = functools.partial(Mixture, parts=parts, weights={"elr": 1, "centre": 0.5})

    def run(epochs, kept=None):
        with training.fresh(0):
            learner = training.build(
                networks.softmax, loss, paddle.optimizer.SGD, schedulers.constant,
                lr=0.1, steps=9, epochs=3, class_counts=context.counts(splits.train.labels, 10),
            )  # fmt: skip
            if kept:
                training.restore(learner, kept)
            how = {"epochs": epochs, "batch_size": 40, "seed": 0, "done": 1 if kept else None}
            return learner, list(training.train(learner, splits, **how))

    learner, records = run(3)
    for record in records[1:]:
        for of in ("train", "val"):
            parts_sum = record.metrics[f"{of}/loss_elr"] + record.metrics[f"{of}/loss_centre"] / 2
            assert record.metrics[f"{of}/loss"] == pytest.approx(parts_sum, rel=1e-5)
    assert learner.loss.elr.targets.numpy().any(axis=1).all()
    half, _ = run(1)
    resumed, after = run(3, training.state(half))
    for name, value in learner.loss.state_dict().items():
        np.testing.assert_array_equal(resumed.loss.state_dict()[name], value)
    assert after[-1].metrics["val/loss"] == records[-1].metrics["val/loss"]


MSE = {"_target_": "experiments.losses.mse", "_partial_": True}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"weights": {"ce": 1}}, "weights: expected one of each part, ce, focal, got {'ce': 1}"),
        (
            {"weights": {"ce": 1, "focal": {"from": 1}}},
            "weights.focal: expected a number, {from, to} or {from, to, at}, got {'from': 1}",
        ),
        ({"parts": {"ce": 3}}, "parts: expected names of losses, each with its `_target_`"),
        ({"class_weights": "other"}, "class_weights: expected a list of numbers, inverse or"),
        ({"class_weights": 3}, "class_weights: expected a list of numbers, inverse or"),
        (
            {"parts": {"ce": OPTIONS["loss"], "focal": MSE}},
            "expected parts that take the same outputs, got logits and prediction",
        ),
    ],
)
def test_what_is_no_mixture_is_refused(changed, text):
    job = settings("data=digits", "loss=mixture")
    job.options["loss"] |= changed
    with pytest.raises(CommandError, match=re.escape(text)):
        functions.function(job, "loss")


@pytest.mark.parametrize("wrong", ["abc", [1], float("nan"), 0, 1])
def test_beta_and_weights_have_to_be_numbers_in_range(wrong):
    parts = {"ce": losses.ce}
    with pytest.raises((TypeError, ValueError), match=r"^beta: expected"):
        Mixture(parts=parts, weights={"ce": 1}, beta=wrong)
    if wrong not in (0, 1):
        with pytest.raises((TypeError, ValueError), match=r"^weights\.ce: expected"):
            Mixture(parts=parts, weights={"ce": wrong})


@pytest.mark.parametrize("wrong", ["x", None, -1, float("nan")])
def test_weights_of_classes_have_to_be_numbers_of_at_least_0(wrong):
    with pytest.raises((TypeError, ValueError), match=r"^class_weights: expected"):
        Mixture(parts={"ce": CE}, weights={"ce": 1}, class_weights=[1, wrong], classes=2)


@pytest.mark.parametrize("name", ["training", "weights", "class_weights", "forward"])
def test_a_part_with_a_state_cannot_have_the_name_of_something_else(name):
    seen = {"class_counts": paddle.to_tensor([2.0, 1.0]), "classes": 2}
    with pytest.raises(ValueError, match=f"parts: expected another name than {name}, which is tak"):
        Mixture(parts={name: losses.Elr}, weights={name: 1}, **seen)
