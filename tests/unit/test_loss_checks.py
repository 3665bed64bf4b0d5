"""Checks of losses: every classic mistake is named, and nothing else."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers.checked_losses import broadcast_over_rows, names
from helpers.losses import LOSSES, OTHER_HYPERPARAMETERS
from helpers.marks import with_slow

from experiments import checks, losses, training

# of the losses, those that the fast suite tries
QUICK = ("ce", "ce_double_softmax", "focal", "mse")
KNOWN_BAD = {"ce_double_softmax": ["softmax-twice"]}


# Beyond the corners that helpers/losses.py lists: what someone might set who looks for where a loss
# breaks.
EXTREMES: dict[str, list[dict[str, float]]] = {
    "huber": [{"delta": 1e-6}, {"delta": 1e6}],
    "label_smoothing": [{"s": 0.5}, {"s": 0.999}],
    "focal": [{"gamma": 0.01}, {"gamma": 50}, {"gamma": 500}],
    "poly1": [{"epsilon": -0.5}, {"epsilon": 1e6}],
    "taylor_ce": [{"t": 50}, {"t": 1000}],
    "gce": [{"q": 1e-12}, {"q": 0.8}],
    "sce": [{"alpha": 1e-3, "beta": 100}, {"alpha": 100, "beta": 1e-3}],
    "nce_rce": [{"alpha": 1e-3, "beta": 100}, {"alpha": 100, "beta": 1e-3}],
    "phuber_ce": [{"tau": 1.01}, {"tau": 1000}],
    "bitempered": [{"t1": 0, "t2": 1}, {"t1": 0, "t2": 4}, {"t1": 1, "t2": 4}],
    # at 1 it has a floor too, and one of its own choosing
    "logit_norm": [{"t": 1e-3}, {"t": 1}, {"t": 100}],
    "square": [{"k": 1e-3, "M": 1}, {"k": 100, "M": 1e3}],
    "hinge": [{"margin": 1e-3}, {"margin": 1e3, "p": 2}, {"p": 10}],
}


@pytest.mark.parametrize("option", with_slow(QUICK, sorted({*LOSSES} - {*QUICK})))
def test_of_our_losses_the_specimen_alone_is_a_mistake(option):
    tried = [{}, *OTHER_HYPERPARAMETERS.get(option, []), *EXTREMES.get(option, [])]
    for hyper in tried:
        warnings = checks.of_loss(functools.partial(LOSSES[option], **hyper), calls=3)
        assert names(warnings) == KNOWN_BAD.get(option, []), (hyper, warnings)


cross_entropy = functools.partial(F.cross_entropy, reduction="none")
WEIGHTS = paddle.arange(10, dtype="float32")  # class 0 does not count at all


def softmaxed(logits, labels):
    return cross_entropy(F.softmax(logits, axis=1), labels)


def softmaxed_and_weighted(logits, labels):
    return cross_entropy(F.softmax(logits, axis=1), labels, weight=WEIGHTS)


def focal_of_softmaxed(logits, labels):
    return losses.focal(F.softmax(logits, axis=1), labels)


def broadcast_over_columns(prediction, labels):
    return paddle.square(prediction.unsqueeze(1) - labels.astype("float32")).mean(axis=0)


def entropy(logits, labels):
    return -(F.softmax(logits, axis=1) * F.log_softmax(logits, axis=1)).sum(axis=1)


def labels_cast_to_bool(logits, labels):
    return losses.ce(logits, labels.astype("bool").astype("int64"))


def distance_to_the_label(logits, labels):
    return paddle.square(logits - labels.astype("float32").unsqueeze(1)).mean(axis=1)


def errors(logits, labels):
    return (logits.argmax(axis=1) != labels).astype("float32")


def nine_classes(logits, labels):
    return losses.ce(logits[:, :9], labels.clip(max=8))


def without_its_minus(logits, labels):
    return F.log_softmax(logits, axis=1)[paddle.arange(len(labels)), labels]


def gain(prediction, labels):
    return -paddle.square(prediction - labels.astype("float32"))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (softmaxed, ["softmax-twice"]),
        (softmaxed_and_weighted, ["softmax-twice"]),
        (focal_of_softmaxed, ["softmax-twice"]),
        (broadcast_over_rows, ["broadcast"]),
        (broadcast_over_columns, ["broadcast"]),
        (entropy, ["labels-ignored"]),
        (labels_cast_to_bool, ["labels-ignored"]),
        (distance_to_the_label, ["labels-as-numbers"]),
        (errors, ["no-gradient"]),
        (nine_classes, ["labels-ignored", "logit-unused"]),
        (without_its_minus, ["wrong-way"]),
        (gain, ["wrong-way"]),
    ],
)
def test_a_loss_of_a_users_own_with_the_mistake(loss, expected):
    assert names(checks.of_loss(loss)) == expected


@pytest.mark.parametrize(
    "loss",
    [
        lambda logits, labels: cross_entropy(logits, labels),
        lambda logits, labels: cross_entropy(F.log_softmax(logits, axis=1), labels),
        lambda logits, labels: cross_entropy(logits, labels, weight=WEIGHTS),
        lambda logits, labels: (F.softmax(logits) - F.one_hot(labels, 10)).square().mean(axis=1),
        lambda prediction, labels: paddle.square(prediction - labels.astype("float32")),
    ],
)
def test_a_loss_of_a_users_own_without_a_mistake(loss):
    assert checks.of_loss(loss) == []


def test_what_is_said_has_the_floor_and_the_labels():
    (twice,) = checks.of_loss(losses.ce_double_softmax)
    assert f"stays at {np.log(np.e + 9) - 1:.4f} " in twice.text
    assert "stays at 1.4612 " in twice.text
    assert "does not depend on the label" in checks.of_loss(entropy)[0].text
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9" in checks.of_loss(labels_cast_to_bool)[0].text
    assert "number 9" in checks.of_loss(nine_classes)[1].text


def raises(logits, labels):
    raise RuntimeError("not today")


@pytest.mark.parametrize("loss", [raises, lambda logits, labels: losses.ce(logits, labels) / 0])
def test_of_a_loss_that_raises_or_is_not_finite_nothing_is_known(loss):
    assert checks.of_loss(loss) == []


@pytest.mark.parametrize("calls", [1, 2, 500, 999])
def test_a_loss_that_counts_its_calls_has_a_hidden_state(calls):
    count = itertools.count(1)

    def warm(logits, labels):
        return losses.ce(logits, labels) * (0.5 if next(count) <= calls else 1)

    (warning,) = checks.of_loss(warm, rows=3)
    assert warning.name == "hidden-state"
    assert "depends on something besides its arguments" in warning.text
    assert f"of {calls + 1} calls with the same ones" in warning.text


def test_a_loss_that_draws_random_numbers_has_a_hidden_state():
    def dropped(logits, labels):
        return losses.ce(F.dropout(logits), labels)

    with training.fresh(0):
        assert names(checks.of_loss(dropped, calls=2)) == ["hidden-state"]


def largest_of_the_batch(logits, labels):
    return paddle.topk(losses.ce(logits, labels), 50)[0].mean().expand([len(labels)])


@pytest.mark.parametrize("rows", [50, 77, 100, 250])
def test_a_loss_over_the_batch_is_tried_in_batches_of_the_runs_size(rows):
    assert names(checks.of_loss(largest_of_the_batch, rows=rows)) == ["broadcast"]
    assert checks.of_loss(largest_of_the_batch, rows=49) == []  # it raises, as it does in rehearsal


@pytest.mark.parametrize("rows", with_slow([2, 100], [1, 7, 333]))
def test_the_size_of_the_batch_changes_no_finding(rows):
    assert checks.of_loss(losses.ce, rows=rows) == checks.of_loss(losses.mse, rows=rows) == []
    assert names(checks.of_loss(softmaxed, rows=rows)) == ["softmax-twice"]
    assert names(checks.of_loss(nine_classes, rows=rows)) == ["labels-ignored", "logit-unused"]
    expected = ["broadcast"] if rows > 1 else []
    assert names(checks.of_loss(broadcast_over_columns, rows=rows)) == expected


def test_a_loss_is_tried_on_batches_that_the_rehearsal_has_tried():
    sizes = set()

    def watched(logits, labels):
        sizes.add((tuple(logits.shape), str(logits.dtype), tuple(labels.shape), str(labels.dtype)))
        return losses.ce(logits, labels)

    assert checks.of_loss(watched) == []
    assert sizes == {((2, 10), "paddle.float32", (2,), "paddle.int64")}
