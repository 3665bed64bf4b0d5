"""The loop: what a record holds, determinism, pairing, divergence."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random as stdlib_random
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.marks import with_slow
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paddle import nn

from experiments import (
    checkpoints,
    data,
    losses,
    models,
    rehearsal,
    schedulers,
    stopping,
    training,
    weights,
)
from experiments.heads import head_of, log_softmax

ROOT = Path(__file__).resolve().parents[2]
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
SGD = paddle.optimizer.SGD


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.digits(seed=0, train_size=200, validation_size=50)


def learn(
    splits,
    *,
    loss=losses.ce,
    model=models.softmax,
    optimizer=SGD,
    scheduler=schedulers.constant,
    **options,
):
    """Records and final weights of a small run."""
    plan = {"lr": 0.1, "epochs": 2, "batch_size": 64, "seed": 0} | options
    with training.fresh(plan["seed"]):
        steps = max(1, plan["epochs"] * -(-len(splits.train) // plan["batch_size"]))
        learner = training.build(model, loss, optimizer, scheduler, lr=plan.pop("lr"), steps=steps)
        records = list(training.train(learner, splits, **plan))
        return records, [p.numpy() for p in learner.network.parameters()]


def numbers(records):
    return [{k: v for k, v in r.metrics.items() if not k.startswith("time/")} for r in records]


def test_records_are_the_untrained_network_then_every_epoch(splits):
    records, _ = learn(splits)
    assert [r.epoch for r in records] == [0, 1, 2]
    assert set(records[0].metrics) == {"val/loss", "val/accuracy", "val/nll", "time/val_seconds"}
    assert set(records[1].metrics) - set(records[0].metrics) == {
        "train/loss", "train/accuracy", "train/gradient_norm", "train/update_ratio", "lr",
        "time/train_seconds",
    }  # fmt: skip
    assert records[2].metrics["val/loss"] < records[0].metrics["val/loss"]
    assert not any(r.diverged for r in records)


def test_training_numbers_are_exact_sums_over_every_example_once(splits):
    """With a rate that moves nothing.

    An epoch's numbers are those of the untrained network on the training set.
    """
    records, _ = learn(
        splits, lr=1e-30, epochs=1, batch_size=64
    )  # 200 = 3 x 64 + 8: a ragged last batch
    with training.fresh(0):
        learner = training.build(
            models.softmax, losses.ce, SGD, schedulers.constant, lr=0.1, steps=1
        )
        outputs, values = training.evaluate(
            learner, training.tensor(splits, splits.train), splits.train.labels
        )
    assert records[1].metrics["train/loss"] == pytest.approx(
        values.mean(dtype=np.float64), rel=1e-6
    )
    assert records[1].metrics["train/accuracy"] == (outputs.argmax(1) == splits.train.labels).mean()


def test_one_step_is_the_gradient_step_of_the_mean_loss(splits):
    """Softmax regression by numpy: W - lr x'(p - e) / n."""
    n = len(splits.train)
    with training.fresh(0):
        before = training.build(
            models.softmax, losses.ce, SGD, schedulers.constant, lr=0.5, steps=1
        )
        weight, bias = (p.numpy().astype(np.float64) for p in before.network.parameters())
    _, (new_weight, new_bias) = learn(splits, lr=0.5, epochs=1, batch_size=n)
    x = splits.train.inputs.reshape(n, -1) / 255.0
    z = x @ weight + bias
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(n), splits.train.labels] -= 1
    np.testing.assert_allclose(new_weight, weight - 0.5 * x.T @ p / n, atol=1e-6)
    np.testing.assert_allclose(new_bias, bias - 0.5 * p.mean(0), atol=1e-6)


def test_the_sizes_of_a_step_by_numpy(splits):
    """Softmax regression, one step on all examples.

    The gradient is x'(p - e) / n, the step lr times that.
    """
    n = len(splits.train)
    with training.fresh(0):
        before = training.build(
            models.softmax, losses.ce, SGD, schedulers.constant, lr=0.5, steps=1
        )
        weights = [p.numpy().astype(np.float64) for p in before.network.parameters()]
        outputs, _ = training.evaluate(
            before, training.tensor(splits, splits.train), splits.train.labels
        )
    p = np.exp(log_softmax(outputs))
    p[np.arange(n), splits.train.labels] -= 1
    gradient = np.hypot(
        np.linalg.norm(splits.train.inputs.reshape(n, -1).T / 255 @ p / n),
        np.linalg.norm(p.mean(0)),
    )
    weight = np.hypot(*(np.linalg.norm(w) for w in weights))
    clipped = functools.partial(SGD, grad_clip=paddle.nn.ClipGradByGlobalNorm(gradient / 4))
    for optimizer, step in ((SGD, 0.5 * gradient), (clipped, 0.5 * gradient / 4)):
        record = learn(splits, lr=0.5, epochs=1, batch_size=n, optimizer=optimizer)[0][1]
        assert record.metrics["train/gradient_norm"] == pytest.approx(gradient, rel=1e-5)
        assert record.metrics["train/update_ratio"] == pytest.approx(step / weight, rel=1e-4)


@pytest.mark.parametrize("optimizer", [SGD, paddle.optimizer.Momentum, paddle.optimizer.Adam])
def test_measuring_a_step_does_not_change_it(splits, optimizer, monkeypatch):
    found = []
    for steps in (1, 1000):  # the first step of an epoch, or all
        monkeypatch.setattr(training, "MEASURED_STEPS", steps)
        found.append(
            learn(splits, optimizer=optimizer, model=models.convnet, lr=0.01, batch_size=20)
        )
    (some, weights), (every, same) = found
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
    names = {"train/gradient_norm", "train/update_ratio"}
    for one, other in zip(numbers(some), numbers(every), strict=True):
        assert {k: v for k, v in one.items() if k not in names} == {
            k: v for k, v in other.items() if k not in names
        }
        assert all(one[name] != other[name] for name in names if name in one)


@pytest.mark.parametrize(
    ("size", "batch_size", "expected"),
    [(200, 10, 10), (200, 1, 10), (200, 64, 4), (200, 500, 1), (190, 10, 10)],
)
def test_ten_steps_are_measured_evenly_or_all_there_are(
    splits, size, batch_size, expected, monkeypatch
):
    at, real = [], (training.step, training.measured_step)
    for measured, step in enumerate(real):
        monkeypatch.setattr(
            training,
            step.__name__,
            lambda *a, measured=measured, step=step: (at.append(measured), step(*a))[1],
        )
    few = dataclasses.replace(
        splits,
        train=data.Examples(splits.train.inputs[:size], splits.train.labels[:size]),
        clean_labels=splits.clean_labels[:size],
    )
    learn(few, epochs=1, batch_size=batch_size)
    assert len(at) == -(-size // batch_size)
    assert sum(at) == expected
    gaps = np.diff(np.flatnonzero(at))
    assert at[0] == at[-1] == 1
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_weights_that_are_all_zero_have_no_update_ratio_and_train(splits):
    def blank(outputs):
        network = models.softmax(outputs)
        network.head.weight.set_value(paddle.zeros_like(network.head.weight))
        return network

    records, _ = learn(splits, model=blank)
    assert "train/update_ratio" not in records[1].metrics
    assert records[1].metrics["train/gradient_norm"] > 0
    assert records[2].metrics["train/update_ratio"] > 0
    assert not records[1].diverged


def test_what_is_learned_of_flipped_labels(splits):
    """With a rate that moves nothing, the shares are those of the untrained network."""
    assert not any("flipped" in name for record in learn(splits)[0] for name in record.metrics)
    noisy = data.digits(seed=0, train_size=200, validation_size=50, label_noise=0.4)
    with training.fresh(0):
        learner = training.build(
            models.softmax, losses.ce, SGD, schedulers.constant, lr=0.1, steps=1
        )
        outputs, _ = training.evaluate(
            learner, training.tensor(noisy, noisy.train), noisy.train.labels
        )
    predicted, flipped = outputs.argmax(1), noisy.train.labels != noisy.clean_labels
    record = learn(noisy, lr=1e-30, epochs=1, batch_size=64)[0][1]
    assert {
        name: record.metrics[f"train/accuracy_{name}"]
        for name in ("flipped", "recovered", "untouched")
    } == {
        "flipped": (predicted == noisy.train.labels)[flipped].mean(),
        "recovered": (predicted == noisy.clean_labels)[flipped].mean(),
        "untouched": (predicted == noisy.train.labels)[~flipped].mean(),
    }


@pytest.mark.slow
def test_a_network_that_learns_by_heart_predicts_the_wrong_labels():
    noisy = data.digits(seed=0, train_size=100, validation_size=50, label_noise=0.5)
    records, _ = learn(
        noisy, model=models.mlp, optimizer=paddle.optimizer.Adam, lr=0.01, epochs=60, batch_size=10
    )
    assert records[1].metrics["train/accuracy_flipped"] < 0.5
    assert records[-1].metrics["train/accuracy_flipped"] > 0.95
    assert records[-1].metrics["train/accuracy_recovered"] < 0.05
    assert records[-1].metrics["train/accuracy_untouched"] > 0.95


@pytest.mark.parametrize("model", [models.softmax, models.mlp, models.convnet])
@pytest.mark.parametrize(
    "optimizer", [SGD, paddle.optimizer.Momentum, paddle.optimizer.Adam, paddle.optimizer.AdamW]
)
def test_the_same_configuration_gives_the_same_bits_after_another_job(splits, model, optimizer):
    first = learn(splits, model=model, optimizer=optimizer, lr=0.01)
    learn(
        splits, model=models.mlp, optimizer=paddle.optimizer.Adam, loss=losses.mse, lr=0.001, seed=5
    )
    paddle.randn([17])  # a job that leaves Paddle's stream elsewhere
    again = learn(splits, model=model, optimizer=optimizer, lr=0.01)
    assert numbers(first[0]) == numbers(again[0])
    for a, b in zip(first[1], again[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_other_numbers(splits):
    assert numbers(learn(splits, seed=0)[0]) != numbers(learn(splits, seed=1)[0])


def test_a_longer_run_begins_with_the_shorter_one(splits):
    assert numbers(learn(splits, epochs=3)[0])[:3] == numbers(learn(splits, epochs=2)[0])


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_fixes_body_and_order_for_every_loss_and_the_head_for_every_loss_of_its_kind(seed):
    init, head, order = set(), {}, set()
    assert len(LOSSES) >= 2
    for option in LOSSES:
        loss = instantiate(OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml"))
        splits = data.digits(seed=seed)
        with training.fresh(seed):
            learner = training.build(
                models.convnet,
                loss,
                SGD,
                schedulers.constant,
                lr=0.1,
                steps=1,
                class_counts=[100] * 10,
            )
            hashes = weights.weight_hashes(learner.network)
        init.add(hashes["init_hash"])
        head.setdefault(head_of(loss, 10).name, set()).add(hashes["head_hash"])
        order.add(data.order_hash(splits, seed=seed))
    assert len(init) == 1
    assert len(order) == 1
    assert {name: len(hashes) for name, hashes in head.items()} == {
        "logits": 1,
        "cosines": 1,
        "prediction": 1,
    }


def test_no_epochs_evaluates_the_untrained_network(splits):
    records, weights = learn(splits, epochs=0)
    assert [r.epoch for r in records] == [0]
    np.testing.assert_array_equal(weights[1], np.zeros(10, dtype=np.float32))


def test_a_batch_larger_than_the_training_set_is_one_step(splits):
    assert numbers(learn(splits, batch_size=10_000)[0]) == numbers(learn(splits, batch_size=200)[0])


def test_divergence_ends_training_with_a_reason_and_finite_numbers(splits):
    records, _ = learn(splits, loss=losses.mse, model=models.mlp, lr=1e6, epochs=5)
    assert records[-1].diverged
    assert records[-1].epoch == 1
    assert all(np.isfinite(v) for r in records for v in r.metrics.values())


def test_weights_that_are_not_finite_are_divergence_though_the_loss_was_finite(splits):
    """One step in the whole epoch: its loss is finite, the weights after it are not."""
    records, _ = learn(splits, loss=losses.mse, lr=1e38, epochs=3, batch_size=200)
    assert [r.epoch for r in records] == [0, 1]
    assert np.isfinite(records[1].metrics["train/loss"])
    assert records[1].diverged == "the weights head.weight are not finite after epoch 1"


def test_cosine_is_stepped_per_step_and_ends_near_zero(splits):
    records, _ = learn(splits, scheduler=schedulers.cosine, epochs=2, batch_size=100, lr=0.1)
    expected = [
        0.1 * (1 + np.cos(np.pi * t / 4)) / 2 for t in (1, 3)
    ]  # the last step of each epoch, of 4 steps in all
    assert [r.metrics["lr"] for r in records[1:]] == pytest.approx(expected)


def test_weight_decay_moves_the_weights(splits):
    plain = learn(splits, epochs=1)[1][0]
    decayed = learn(splits, epochs=1, optimizer=functools.partial(SGD, weight_decay=0.1))[1][0]
    assert np.abs(decayed).sum() < np.abs(plain).sum()


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (
            lambda logits, labels: logits.sum(),
            r"one value per example, \[2\] for a batch of 2, returned \[\]",
        ),
        (
            lambda logits, labels: logits,
            r"one value per example, \[2\] for a batch of 2, returned \[2, 10\]",
        ),
        (lambda logits, labels: logits.sum(axis=1).astype("float64"), "must return paddle.float32"),
        (lambda logits, labels: 1.0, "must return a Paddle tensor .* returned float"),
    ],
)
def test_a_loss_of_the_wrong_shape_or_type_is_refused_in_rehearsal(loss, complaint):
    with training.fresh(0):
        learner = training.build(models.softmax, loss, SGD, schedulers.constant, lr=0.1, steps=1)
        with pytest.raises(ValueError, match=complaint):
            rehearsal.rehearse(learner)


def test_a_model_of_the_wrong_width_is_refused_in_rehearsal():
    with training.fresh(0):
        wide = training.build(
            lambda outputs: models.softmax(11), losses.ce, SGD, schedulers.constant, lr=0.1, steps=1
        )
        with pytest.raises(ValueError, match=r"must return \[batch, 10\], returned \[2, 11\]"):
            rehearsal.rehearse(wide)
        wide = dataclasses.replace(wide, shape=(13,))
        with pytest.raises(ValueError, match=r"takes inputs of the shape \[2, 13\], got the error"):
            rehearsal.rehearse(wide)


def test_evaluation_does_not_depend_on_its_batches(splits, monkeypatch):
    with training.fresh(0):
        learner = training.build(
            models.convnet, losses.ce, SGD, schedulers.constant, lr=0.1, steps=1
        )
        images = training.tensor(splits, splits.test)
        outputs, values = training.evaluate(learner, images, splits.test.labels)
        monkeypatch.setattr(training, "EVALUATION_BATCH", 7)
        again, _ = training.evaluate(learner, images, splits.test.labels)
    assert outputs.shape == (360, 10)
    assert values.shape == (360,)
    np.testing.assert_allclose(again, outputs, atol=1e-5)


def options(group):
    """Every option of a group, as the program gets them."""
    return {
        path.stem: instantiate(option)
        for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
        if not OmegaConf.is_missing(option := OmegaConf.load(path), "_target_")
    }


def check_resuming(splits, place, optimizer, scheduler, model=models.mlp, done=2):
    """Train 4 epochs at once, and `done` epochs and the rest from a checkpoint.

    Expect the same to the bit.
    """
    plan = {"epochs": 4, "batch_size": 64, "seed": 0}

    def train(resume=False, epochs=None):
        with training.fresh(0):
            learner = training.build(model, losses.ce, optimizer, scheduler, lr=0.01, steps=16)
            if resume:
                training.restore(learner, checkpoints.load(place))
            records = training.train(learner, splits, done=done if resume else None, **plan)
            records = numbers(itertools.islice(records, epochs))
            assert checkpoints.save(place, training.state(learner))
            random = paddle.rand([9]), np.random.rand(9), stdlib_random.random()
            weights = [w.numpy().tobytes() for w in learner.network.state_dict().values()]
            return records, weights, [np.asarray(values).tobytes() for values in random]

    first, *_ = train(epochs=done + 1)
    learn(splits, model=models.mlp, optimizer=paddle.optimizer.Adam, seed=5)  # moves Paddle's state
    rest, *resumed = train(resume=True)
    calm, *expected = train()
    assert first + rest == calm
    assert resumed == expected


OPTIMIZERS, SCHEDULERS = options("optimizer"), options("scheduler")
RESUMED = list(itertools.product(OPTIMIZERS, SCHEDULERS, [0, 2]))
FAST = [("adam", name, 2) for name in SCHEDULERS] + [(name, "cosine", 2) for name in OPTIMIZERS]
FAST = [*dict.fromkeys(FAST), ("adam", "cosine", 0)]


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "done"),
    with_slow(FAST, [case for case in RESUMED if case not in FAST]),
)
def test_a_resumed_run_equals_the_undisturbed_one(splits, tmp_path, optimizer, scheduler, done):
    check_resuming(splits, tmp_path / "a", OPTIMIZERS[optimizer], SCHEDULERS[scheduler], done=done)


@pytest.mark.parametrize("name", ["RMSProp", "Lamb", "NAdam", "Rprop"])
def test_a_resumed_run_with_an_optimizer_of_paddle_equals_the_undisturbed_one(
    splits, tmp_path, name
):
    optimizer = getattr(paddle.optimizer, name)
    check_resuming(splits, tmp_path / "a", optimizer, schedulers.constant)


class Shake(nn.Layer):
    """Scales by a number from NumPy's stream and one from Python's."""

    def forward(self, x):
        return x * (1 + 0.1 * np.random.randn() + 0.1 * stdlib_random.gauss(0, 1))


def noisy(outputs):
    """A network whose steps draw from all random streams, with running averages."""
    body = [nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1D(16), nn.Dropout(0.5), Shake()]
    return models.with_head(nn.Sequential(*body), 16, outputs)


def warmup(lr, *, steps):
    after = paddle.optimizer.lr.PolynomialDecay(lr, decay_steps=steps)
    return paddle.optimizer.lr.LinearWarmup(after, steps // 2, 0.0, lr)


# Paddle warns of the state of the schedule in LinearWarmup, which it uses all the same.
@pytest.mark.filterwarnings("ignore:There are some unused values in state_dict")
def test_a_resumed_run_draws_the_same_random_numbers(splits, tmp_path):
    check_resuming(splits, tmp_path / "a", paddle.optimizer.Adam, warmup, noisy)


def test_a_resumed_run_in_bfloat16_equals_the_undisturbed_one(splits, tmp_path):
    """Weights in bfloat16, which the optimizer keeps in float32 besides.

    A CPU multiplies in float32 only.
    """

    class Half(nn.Layer):
        def __init__(self, outputs):
            super().__init__()
            self.head = nn.Linear(784, outputs)

        def forward(self, images):
            weight, bias = self.head.weight.astype("float32"), self.head.bias.astype("float32")
            return images.reshape([-1, 784]) @ weight + bias

    def half(outputs):
        return Half(outputs).to(dtype="bfloat16")

    sgd = functools.partial(SGD, multi_precision=True)
    check_resuming(splits, tmp_path / "a", sgd, schedulers.cosine, half)
    state = checkpoints.load(tmp_path / "a")
    assert {w.dtype for w in state["network"].values()} == {paddle.bfloat16}
    assert {w.dtype for w in state["optimizer"]["master_weights"].values()} == {paddle.float32}


def test_pixels_lie_as_paddle_takes_them_without_a_copy():
    images = np.arange(3 * 28 * 28, dtype=np.uint32).reshape(3, 28, 28).astype(np.uint8)
    examples = data.Examples(images, np.arange(3))
    none = np.empty(0, np.int64)
    splits = data.Splits("own", "", examples, examples, examples, none, none, none)
    found = training.tensor(splits, examples)
    assert found.shape == [3, 1, 28, 28] and found.dtype == paddle.float32
    assert found.is_contiguous() and found.strides == [784, 784, 28, 1]
    np.testing.assert_array_equal(found.numpy()[:, 0], images.astype(np.float32) / np.float32(255))


def test_the_best_epoch_is_the_earliest_of_the_highest_and_never_the_untrained_network():
    def records(*accuracies):
        none = np.empty((0, 10), np.float32)
        metrics = [{"val/accuracy": value} for value in accuracies]
        return [training.Record(epoch, each, none) for epoch, each in enumerate(metrics)]

    assert stopping.best(records(0.9)).epoch == 0
    assert stopping.best(records(0.9, 0.2, 0.5, 0.5)).epoch == 2
    assert [stopping.is_over(records(0.9, 0.2, 0.5, 0.5), n) for n in (1, 2)] == [True, False]
    assert not stopping.is_over(records(0.9), 1) and not stopping.is_over([], 1)
    assert not stopping.is_over(records(0.9, 0.2, 0.1), None)
