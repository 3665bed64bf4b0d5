"""The loop: what a record holds, determinism, pairing, divergence."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import paddle
import pytest
from helpers.commands import LOSS_OPTIONS, ROOT
from helpers.learning import SGD, built, learn, numbers
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import data, losses, models, rehearsal, schedulers, training, weights
from experiments.heads import head_of, log_softmax


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


def untrained(splits):
    """Outputs and values of a network that has learned nothing on the training set."""
    return training.evaluate(built(), training.tensor(splits, splits.train), splits.train.labels)


def test_training_numbers_are_exact_sums_over_every_example_once(splits):
    """With a rate that moves nothing, they are those of the untrained network."""
    # 200 = 3 x 64 + 8: a ragged last batch
    records, _ = learn(splits, lr=1e-30, epochs=1, batch_size=64)
    outputs, values = untrained(splits)
    mean = values.mean(dtype=np.float64)
    assert records[1].metrics["train/loss"] == pytest.approx(mean, rel=1e-6)
    assert records[1].metrics["train/accuracy"] == (outputs.argmax(1) == splits.train.labels).mean()


def test_one_step_is_the_gradient_step_of_the_mean_loss(splits):
    """Softmax regression by numpy: W - lr x'(p - e) / n."""
    n = len(splits.train)
    weight, bias = (p.numpy().astype(np.float64) for p in built().network.parameters())
    _, (new_weight, new_bias) = learn(splits, lr=0.5, epochs=1, batch_size=n)
    x = splits.train.inputs.reshape(n, -1) / 255.0
    z = x @ weight + bias
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(n), splits.train.labels] -= 1
    np.testing.assert_allclose(new_weight, weight - 0.5 * x.T @ p / n, atol=1e-6)
    np.testing.assert_allclose(new_bias, bias - 0.5 * p.mean(0), atol=1e-6)


def test_the_sizes_of_a_step_by_numpy(splits):
    """Softmax regression: the gradient is x'(p - e) / n, the step lr times that."""
    n = len(splits.train)
    weights = [p.numpy().astype(np.float64) for p in built().network.parameters()]
    p = np.exp(log_softmax(untrained(splits)[0]))
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
    runs = []
    for steps in (1, 1000):  # the first step of an epoch, or all
        monkeypatch.setattr(training, "MEASURED_STEPS", steps)
        how = {"optimizer": optimizer, "model": models.convnet, "lr": 0.01, "batch_size": 20}
        runs.append(learn(splits, **how))
    (some, weights), (every, same) = runs
    for a, b in zip(weights, same, strict=True):
        np.testing.assert_array_equal(a, b)
    names = {"train/gradient_norm", "train/update_ratio"}
    for one, other in zip(numbers(some), numbers(every), strict=True):
        assert {name for name in one if one[name] != other[name]} == names & set(one)
        assert list(one) == list(other)


@pytest.mark.parametrize(
    ("size", "batch_size", "expected"),
    [(200, 10, 10), (200, 1, 10), (200, 64, 4), (200, 500, 1), (190, 10, 10)],
)
def test_ten_steps_are_measured_evenly_or_all_there_are(
    splits, size, batch_size, expected, monkeypatch
):
    at, real = [], (training.step, training.measured_step)
    for measured, step in enumerate(real):
        noted = lambda *a, is_it=measured, do=step: (at.append(is_it), do(*a))[1]  # noqa: E731
        monkeypatch.setattr(training, step.__name__, noted)
    first = data.Examples(splits.train.inputs[:size], splits.train.labels[:size])
    few = dataclasses.replace(splits, train=first, clean_labels=splits.clean_labels[:size])
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
    predicted = untrained(noisy)[0].argmax(1)
    flipped = noisy.train.labels != noisy.clean_labels
    record = learn(noisy, lr=1e-30, epochs=1, batch_size=64)[0][1]
    expected = {
        "train/accuracy_flipped": (predicted == noisy.train.labels)[flipped].mean(),
        "train/accuracy_recovered": (predicted == noisy.clean_labels)[flipped].mean(),
        "train/accuracy_untouched": (predicted == noisy.train.labels)[~flipped].mean(),
    }
    assert {name: record.metrics[name] for name in expected} == expected


@pytest.mark.slow
def test_a_network_that_learns_by_heart_predicts_the_wrong_labels():
    noisy = data.digits(seed=0, train_size=100, validation_size=50, label_noise=0.5)
    how = {"lr": 0.01, "epochs": 60, "batch_size": 10}
    records, _ = learn(noisy, model=models.mlp, optimizer=paddle.optimizer.Adam, **how)
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
    other = {"model": models.mlp, "optimizer": paddle.optimizer.Adam, "loss": losses.mse}
    learn(splits, **other, lr=0.001, seed=5)
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
    for option in LOSS_OPTIONS:
        loss = instantiate(OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml"))
        splits = data.digits(seed=seed)
        with training.fresh(seed):
            how = {"lr": 0.1, "steps": 1, "class_counts": [100] * 10}
            learner = training.build(models.convnet, loss, SGD, schedulers.constant, **how)
            hashes = weights.weight_hashes(learner.network)
        init.add(hashes["init_hash"])
        head.setdefault(head_of(loss, 10).name, set()).add(hashes["head_hash"])
        order.add(data.order_hash(splits, seed=seed))
    assert len(init) == len(order) == 1
    counts = {name: len(hashes) for name, hashes in head.items()}
    assert counts == {"logits": 1, "cosines": 1, "prediction": 1}


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
    # the last step of each epoch, of 4 steps in all
    expected = [0.1 * (1 + np.cos(np.pi * t / 4)) / 2 for t in (1, 3)]
    assert [r.metrics["lr"] for r in records[1:]] == pytest.approx(expected)


def test_weight_decay_moves_the_weights(splits):
    plain = learn(splits, epochs=1)[1][0]
    decayed = learn(splits, epochs=1, optimizer=functools.partial(SGD, weight_decay=0.1))[1][0]
    assert np.abs(decayed).sum() < np.abs(plain).sum()


ONE_EACH = r"one value per example from the loss, \[2\] for a batch of 2, got"


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (lambda logits, labels: logits.sum(), rf"{ONE_EACH} \[\]"),
        (lambda logits, labels: logits, rf"{ONE_EACH} \[2, 10\]"),
        (lambda logits, labels: logits.sum(axis=1).astype("float64"), "expected paddle.float32"),
        (lambda logits, labels: 1.0, "expected a Paddle tensor .* got float"),
    ],
)
def test_a_loss_of_the_wrong_shape_or_type_is_refused_in_rehearsal(loss, complaint):
    with pytest.raises(ValueError, match=complaint):
        rehearsal.rehearse(built(loss=loss))


def test_a_model_of_the_wrong_width_is_refused_in_rehearsal():
    wide = built(lambda outputs: models.softmax(11))
    with pytest.raises(ValueError, match=r"outputs \[batch, 10\] from the model, got \[2, 11\]"):
        rehearsal.rehearse(wide)
    wide = dataclasses.replace(wide, shape=(13,))
    with pytest.raises(ValueError, match=r"takes inputs of the shape \[2, 13\], got the error"):
        rehearsal.rehearse(wide)


def test_evaluation_does_not_depend_on_its_batches(splits, monkeypatch):
    learner, images = built(models.convnet), training.tensor(splits, splits.test)
    outputs, values = training.evaluate(learner, images, splits.test.labels)
    monkeypatch.setattr(training, "EVALUATION_BATCH", 7)
    again, _ = training.evaluate(learner, images, splits.test.labels)
    assert outputs.shape == (360, 10)
    assert values.shape == (360,)
    np.testing.assert_allclose(again, outputs, atol=1e-5)
