"""Losses that see more than outputs and labels: what they get, and what they keep."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import paddle
import pytest
from helpers.commands import ROOT
from helpers.settings import settings

from experiments import (
    checks,
    context,
    data,
    functions,
    losses,
    models,
    rehearsal,
    schedulers,
    training,
)
from experiments import weights as weights_module
from experiments.config import CommandError
from experiments.heads import log_softmax

SGD = paddle.optimizer.SGD


class Memory(paddle.nn.Layer):
    """Counts in a buffer how often each example was seen, and trains a scale of its own."""

    def __init__(self, class_counts, classes, features, *, rate=0.5):
        super().__init__()
        self.register_buffer("seen", paddle.zeros([int(class_counts.sum())]))
        attr = paddle.ParamAttr(learning_rate=rate)
        self.scale = self.create_parameter([classes, features], attr=attr)

    def forward(self, logits, labels, index, features):
        if index is not None:
            self.seen[index] = self.seen[index] + 1
        distance = (features - self.scale[labels]).square().mean(axis=1)
        return losses.ce(logits, labels) + distance


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.digits(seed=0, train_size=100, validation_size=30)


def learner_of(loss, splits, *, model=models.softmax, epochs=2, optimizer=SGD):
    steps = training.total_steps(len(splits.train), epochs=epochs, batch_size=40)
    counts = context.counts(splits.train.labels, 10)
    how = {"lr": 0.1, "steps": steps, "epochs": epochs, "class_counts": counts}
    return training.build(model, loss, optimizer, schedulers.constant, **how)


def test_a_loss_gets_what_it_names_and_nothing_else(splits, monkeypatch):
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")  # a head with a hook has no other
    got = []

    def loss(logits, labels, *, epoch, epochs, step, steps, index, class_counts, classes, features):
        got.append((epoch, step, None if index is None else index.numpy(), features.numpy()))
        assert (epochs, steps, classes) == (2, 6, 10)
        assert class_counts.numpy().tolist() == np.bincount(splits.train.labels).tolist()
        return losses.ce(logits, labels)

    with training.fresh(0):
        learner = learner_of(loss, splits)
        records = list(training.train(learner, splits, epochs=2, batch_size=40, seed=0))
    assert [(epoch, step) for epoch, step, *_ in got] == [
        (0, 0), (1, 1), (1, 2), (1, 3), (1, 3), (2, 4), (2, 5), (2, 6), (2, 6),
    ]  # fmt: skip
    images = training.tensor(splits, splits.train).numpy().reshape(100, -1)
    trained = [seen for seen in got if seen[2] is not None]
    for _, _, index, features in trained:
        np.testing.assert_array_equal(features, images[index])
    order = data.epoch_order(100, seed=0, epoch=1)
    np.testing.assert_array_equal(np.concatenate([seen[2] for seen in trained[:3]]), order)
    validation = training.tensor(splits, splits.validation).numpy().reshape(30, -1)
    np.testing.assert_array_equal(got[0][3], validation)

    with training.fresh(0):
        plain = learner_of(losses.ce, splits)
        assert plain.needs == ()
        alone = list(training.train(plain, splits, epochs=2, batch_size=40, seed=0))
    assert records[-1].metrics["val/loss"] == alone[-1].metrics["val/loss"]


def test_a_layer_is_built_and_trained_at_its_own_rate_and_resumes_to_the_same_bits(splits):
    def run(epochs, restored=None):
        with training.fresh(0):
            learner = learner_of(Memory, splits, optimizer=paddle.optimizer.Adam, epochs=3)
            if restored:
                training.restore(learner, restored)
            done = 1 if restored else None
            list(training.train(learner, splits, epochs=epochs, batch_size=40, seed=0, done=done))
            return training.state(learner), learner

    whole, learner = run(3)
    assert learner.needs == ("index", "features")
    assert learner.loss.seen.numpy().tolist() == [3.0] * 100
    assert checks.of_parameters(learner.initial, learner.own_parameters()) == []
    half, _ = run(1)
    resumed, _ = run(3, half)
    for part in ("network", "loss", "optimizer"):
        assert whole[part].keys() == resumed[part].keys()
    for name in ("seen", "scale"):
        np.testing.assert_array_equal(whole["loss"][name].numpy(), resumed["loss"][name].numpy())

    steps = []
    for rate in (0.5, 0.25):
        with training.fresh(0):
            learner = learner_of(functools.partial(Memory, rate=rate), splits, epochs=1)
            list(training.train(learner, splits, epochs=1, batch_size=100, seed=0))
            steps.append(learner.own_parameters()["scale"] - learner.initial["scale"])
    np.testing.assert_allclose(steps[0], 2 * steps[1], atol=1e-6)


def test_the_examples_in_the_docs_train(splits, tmp_path):
    np.save(tmp_path / "weights.npy", np.zeros(100))
    text = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    defined: dict[str, Any] = {}
    files = "schedule|memory|cosines|weights"
    for block in re.findall(rf"```python\n# my_(?:{files}).py\n(.*?)```", text, re.DOTALL):
        exec(block, defined)
    weighted = functools.partial(defined["Weighted"], path=tmp_path / "weights.npy")
    with training.fresh(0):
        learner = learner_of(weighted, splits)
        *_, last = training.train(learner, splits, epochs=1, batch_size=40, seed=0)
    assert last.metrics["train/loss"] == 0
    assert last.metrics["val/loss"] == pytest.approx(last.metrics["val/nll"])
    for name in ("warm_focal", "Consistent", "cosface"):
        with training.fresh(0):
            loss = functools.partial(defined[name], **({"s": 4} if name == "cosface" else {}))
            learner = learner_of(loss, splits)
            records = list(training.train(learner, splits, epochs=2, batch_size=40, seed=0))
        assert records[2].metrics["train/loss"] < records[1].metrics["train/loss"]
        if name == "Consistent":
            rows = learner.loss.before.numpy().sum(axis=1)
            np.testing.assert_allclose(rows, 1, rtol=1e-5)
            assert (learner.loss.before.numpy() != 0.1).all()
            assert records[2].metrics["val/loss"] == pytest.approx(records[2].metrics["val/nll"])
        elif name == "warm_focal":
            answers = records[2].validation_outputs, splits.validation.labels
            focal = losses.focal(*map(paddle.to_tensor, answers)).numpy().mean(dtype=np.float64)
            assert records[2].metrics["val/loss"] == pytest.approx(focal, rel=1e-6)


Z = np.array([[0.0, 0, 0], [1.0, -1, 0.5], [-2.0, 3, 0], [0.3, 0.2, -4]])
Y = np.array([0, 2, 0, 1])
P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
COUNTS = paddle.to_tensor([2.0, 1.0, 3.0])


def value_and_gradient(loss, *seen, logits=Z):
    given = paddle.to_tensor(logits, stop_gradient=False)
    values = loss(given, paddle.to_tensor(Y), *seen)
    values.sum().backward()
    return values.numpy(), given.grad.numpy()


def test_elr_is_its_formula_with_the_targets_of_the_visits_before():
    loss, index = losses.Elr(COUNTS, 3, weight=2, beta=0.6), np.array([5, 1, 0, 3])
    surprise = -np.log(P[range(4), Y])
    once, _ = value_and_gradient(loss, paddle.to_tensor(index))
    pull = 2 * np.log(1 - 0.4 * (P * P).sum(axis=1))
    np.testing.assert_allclose(once, surprise + pull, atol=1e-6)
    targets = 0.6 * 0.4 * P + 0.4 * P  # the logits are the same at the second visit
    twice, slopes = value_and_gradient(loss, paddle.to_tensor(index))
    inner = (targets * P).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(twice, surprise + 2 * np.log(1 - inner[:, 0]), atol=1e-6)
    expected = P - np.eye(3)[Y] - 2 * P * (targets - inner) / (1 - inner)
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(loss.targets.numpy()[index], targets, rtol=1e-5)
    assert not loss.targets.numpy()[[2, 4]].any()
    np.testing.assert_allclose(value_and_gradient(loss, None)[0], surprise, 1e-12)


def test_truncated_gce_leaves_out_what_it_has_judged_improbable():
    loss = losses.TruncatedGce(COUNTS, q=0.5, k=0.4, start=3, every=2)
    index = paddle.to_tensor([5, 1, 0, 3])
    p = P[range(4), Y]
    full, limit = (1 - p**0.5) / 0.5, (1 - 0.4**0.5) / 0.5
    assert (p > 0.4).tolist() == [False, False, False, True]
    values, slopes = value_and_gradient(loss, 2, index)
    np.testing.assert_allclose(values, full, 1e-12)
    np.testing.assert_allclose(slopes, (p**0.5)[:, None] * (P - np.eye(3)[Y]), 1e-9)
    values, slopes = value_and_gradient(loss, 3, index)
    np.testing.assert_allclose(values, np.where(p > 0.4, full, limit), 1e-12)
    assert slopes.any(axis=1).tolist() == [False, False, False, True]
    swapped = np.log(np.eye(3)[Y] + 0.1)  # now all labels are probable, but not judged
    assert value_and_gradient(loss, 4, index, logits=swapped)[1].any(axis=1).sum() == 1
    assert value_and_gradient(loss, 5, index, logits=swapped)[1].any(axis=1).all()
    np.testing.assert_allclose(value_and_gradient(loss, 1, None)[0], np.minimum(full, limit), 1e-12)


def test_centres_go_to_the_features_of_their_class():
    features = paddle.to_tensor([[1.0, 2], [3, 4], [3, 6], [0, 1]], stop_gradient=False)
    loss = losses.Centre(3, 2, weight=0.02, rate=0.5)
    values = loss(paddle.to_tensor(Z.astype(np.float32)), paddle.to_tensor(Y), features)
    distance = np.square(features.numpy()).sum(axis=1)
    np.testing.assert_allclose(values, -np.log(P[range(4), Y]) + 0.01 * distance, rtol=1e-5)
    values.mean().backward()
    np.testing.assert_allclose(features.grad, 0.02 * features.numpy() / 4, rtol=1e-5)
    SGD(learning_rate=0.1, parameters=loss.parameters()).step()
    expected = 0.1 * 0.5 * np.array([[4.0, 8], [0, 1], [3, 4]]) / 4
    np.testing.assert_allclose(loss.centres, expected, rtol=1e-5)


def test_parameters_that_training_leaves_alone_raise_a_warning():
    before = {"centres": np.zeros(3), "scale": np.ones(1)}
    (warning,) = checks.of_parameters(before, before | {"scale": np.zeros(1)})
    assert warning.name == "idle-parameters"
    assert "its parameters centres are" in warning.text


class Judging(losses.TruncatedGce):
    """As the shipped one, but its state is no buffer."""

    def __init__(self, class_counts):
        super().__init__(class_counts, start=3, every=9)
        del self.kept
        self.kept = paddle.ones([int(class_counts.sum())])


@pytest.mark.parametrize("loss", [Judging, losses.TruncatedGce])
def test_a_state_that_has_an_effect_in_later_epochs_is_found(splits, loss):
    with training.fresh(0):
        learner = learner_of(loss, splits, epochs=5)
        learner.context.epoch = learner.context.step = 1
        plain = rehearsal._in_one_state(learner)
        warnings = checks.of_loss(plain, rows=40, calls=2, anywhere=False)
    assert [each.name for each in warnings] == ["hidden-state"] * (loss is Judging)
    assert (learner.context.epoch, learner.context.step) == (1, 1)


def test_what_a_loss_needs_and_cannot_have_is_refused(splits):
    class NoHead(paddle.nn.Layer):
        def forward(self, inputs):
            return inputs.reshape([len(inputs), -1])[:, :10]

    class Apart(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.head = paddle.nn.Linear(784, 10)

        def forward(self, inputs):
            return inputs.reshape([len(inputs), -1]) @ self.head.weight

    class Convolved(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.head = paddle.nn.Conv2D(1, 10, 28)

        def forward(self, inputs):
            return self.head(inputs).flatten(1)

    def by_counts(logits, labels, class_counts):
        return losses.ce(logits, labels)

    def by_features(logits, labels, features):
        return losses.ce(logits, labels)

    def by_index(logits, labels, index):
        return losses.ce(logits, labels) * (index >= 0)

    with pytest.raises(ValueError, match=r"where index is None, as for validation and test ex.*: "):
        rehearsal.rehearse_loss(learner_of(by_index, splits), 5)
    with pytest.raises(ValueError, match=r"class_counts: expected at least .* got \[3, 0\]"):
        training.build(
            models.softmax, by_counts, SGD, schedulers.constant, lr=0.1, steps=1, classes=2,
            class_counts=[3, 0],
        )  # fmt: skip
    for network in (NoHead, Convolved):
        with pytest.raises(ValueError, match=r"features: expected .* whose head is one linear la"):
            learner_of(by_features, splits, model=lambda outputs, of=network: of())
    for loss, what in ((by_features, "features"), (losses.arcface, "cosines")):
        with pytest.raises(ValueError, match=rf"{what}: expected .* whose head is one linear la"):
            learner_of(loss, splits, model=lambda outputs: Convolved())
        with pytest.raises(ValueError, match=f"{what}: expected a network that calls its head"):
            rehearsal.rehearse(learner_of(loss, splits, model=lambda outputs: Apart()))


def test_a_loss_of_cosines_gets_them_and_the_network_returns_them_scaled(splits):
    got = []

    def loss(cosines, labels, *, s=20):
        got.append(cosines.numpy())
        return losses.ce(cosines * s, labels)

    def run(epochs, kept=None):
        with training.fresh(0):
            learner = learner_of(loss, splits, model=models.lenet5, optimizer=paddle.optimizer.Adam)
            if kept:
                training.restore(learner, kept)
            how = {"epochs": epochs, "batch_size": 40, "seed": 0, "done": 1 if kept else None}
            return learner, list(training.train(learner, splits, **how))

    learner, records = run(2)
    network, given = learner.network, training.tensor(splits, splits.validation)
    features, weights = network.body(given).numpy(), network.head.weight.numpy()
    lengths = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(weights, axis=0)
    cosines = features @ weights / lengths
    np.testing.assert_allclose(got[-1], cosines, atol=1e-5)
    outputs = records[2].validation_outputs
    np.testing.assert_allclose(outputs, 20 * cosines, atol=1e-4)
    surprise = -log_softmax(20 * cosines)[range(30), splits.validation.labels].mean()
    assert records[2].metrics["val/nll"] == pytest.approx(surprise, rel=1e-4)
    assert records[2].metrics["val/loss"] == pytest.approx(surprise, rel=1e-4)
    with training.fresh(0):
        plain = learner_of(losses.ce, splits, model=models.lenet5)
    before = weights_module.weight_hashes(plain.network)
    with training.fresh(0):
        fresh = learner_of(loss, splits, model=models.lenet5)
    assert weights_module.weight_hashes(fresh.network) == before  # names and initial values
    np.testing.assert_array_equal(network.head.bias, plain.network.head.bias)

    half, _ = run(1)
    _, resumed = run(2, training.state(half))
    np.testing.assert_array_equal(resumed[-1].validation_outputs, outputs)


def test_a_head_that_gives_cosines_is_no_part_of_a_chain():
    def network(outputs):
        return paddle.nn.Sequential(
            paddle.nn.Conv2D(1, 4, 5, stride=2), paddle.nn.ReLU(), paddle.nn.Flatten(),
            paddle.nn.Linear(576, outputs),
        )  # fmt: skip

    with training.fresh(0):
        learner = training.build(
            network, losses.arcface, SGD, schedulers.constant, lr=0.1, steps=1, epochs=1
        )
        values = learner.network(paddle.randn([5, 1, 28, 28]))
    assert float(values.abs().max()) <= 30.001
    assert learner.context.features.shape == [5, 576]
    rehearsal.rehearse(learner)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("misspelt", "missing a required argument: 'epoh'; .* it may name epoch, epochs, step"),
        ("Built", "'gamma'; .* it may name epochs, steps, class_counts, classes, features"),
        ("Called", r"Called.forward: missing .* it may name epoch, epochs"),
        ("Plain", "or a subclass of paddle.nn.Layer whose forward is one, got another class"),
    ],
)
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path, monkeypatch, name, text
):
    (tmp_path / "losses_of_mine.py").write_text(
        "from paddle import nn\n"
        "def misspelt(logits, labels, *, epoh): ...\n"
        "class Built(nn.Layer):\n    def __init__(self, gamma): ...\n"
        "    def forward(self, logits, labels): ...\n"
        "class Called(nn.Layer):\n    def forward(self, logits, labels, epoh): ...\n"
        "class Plain:\n    def __call__(self, logits, labels): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    job = settings("data=digits")
    job.options["loss"] = {"_target_": f"losses_of_mine.{name}", "_partial_": True}
    with pytest.raises(CommandError, match=text):
        functions.function(job, "loss")


def test_only_a_loss_that_names_epochs_or_steps_has_no_shorter_trajectory():
    assert context.is_whole(lambda logits, labels, *, epochs: 0)
    assert context.is_whole(functools.partial(lambda logits, labels, steps, k: 0, k=1))
    assert not context.is_whole(lambda logits, labels, *, epoch, epochs=1: 0)
    assert not context.is_whole(Memory)


def test_the_first_two_parameters_are_outputs_and_labels_by_any_name():
    assert context.needed(lambda logits, classes: 0) == ()
