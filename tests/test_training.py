"""The loop: what a record holds, determinism, pairing, divergence."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import paddle
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import data, losses, models, schedulers, training
from experiments.heads import head_of

ROOT = Path(__file__).resolve().parent.parent
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
SGD = paddle.optimizer.SGD


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.digits(seed=0, train_size=200, validation_size=50)


def learn(
    splits, *, loss=losses.ce, model=models.softmax, optimizer=SGD, scheduler=schedulers.constant, **options
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
        "train/loss", "train/accuracy", "lr", "time/train_seconds",
    }  # fmt: skip
    assert records[2].metrics["val/loss"] < records[0].metrics["val/loss"]
    assert not any(r.diverged for r in records)


def test_training_numbers_are_exact_sums_over_every_example_once(splits):
    """With a rate that moves nothing, an epoch's numbers are those of the untrained network on the training set."""
    records, _ = learn(splits, lr=1e-30, epochs=1, batch_size=64)  # 200 = 3 x 64 + 8: a ragged last batch
    with training.fresh(0):
        learner = training.build(models.softmax, losses.ce, SGD, schedulers.constant, lr=0.1, steps=1)
        outputs, values = training.evaluate(
            learner, training.pixels(splits.train.images), splits.train.labels
        )
    assert records[1].metrics["train/loss"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
    assert records[1].metrics["train/accuracy"] == (outputs.argmax(1) == splits.train.labels).mean()


def test_one_step_is_the_gradient_step_of_the_mean_loss(splits):
    """Softmax regression by numpy: W - lr x'(p - e) / n."""
    n = len(splits.train)
    with training.fresh(0):
        before = training.build(models.softmax, losses.ce, SGD, schedulers.constant, lr=0.5, steps=1)
        weight, bias = (p.numpy().astype(np.float64) for p in before.network.parameters())
    _, (new_weight, new_bias) = learn(splits, lr=0.5, epochs=1, batch_size=n)
    x = splits.train.images.reshape(n, -1) / 255.0
    z = x @ weight + bias
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(n), splits.train.labels] -= 1
    np.testing.assert_allclose(new_weight, weight - 0.5 * x.T @ p / n, atol=1e-6)
    np.testing.assert_allclose(new_bias, bias - 0.5 * p.mean(0), atol=1e-6)


@pytest.mark.parametrize("model", [models.softmax, models.mlp, models.convnet])
@pytest.mark.parametrize(
    "optimizer", [SGD, paddle.optimizer.Momentum, paddle.optimizer.Adam, paddle.optimizer.AdamW]
)
def test_the_same_configuration_gives_the_same_bits_after_another_job(splits, model, optimizer):
    first = learn(splits, model=model, optimizer=optimizer, lr=0.01)
    learn(splits, model=models.mlp, optimizer=paddle.optimizer.Adam, loss=losses.mse, lr=0.001, seed=5)
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
            learner = training.build(models.convnet, loss, SGD, schedulers.constant, lr=0.1, steps=1)
            hashes = training.weight_hashes(learner.network)
        init.add(hashes["init_hash"])
        head.setdefault(head_of(loss).name, set()).add(hashes["head_hash"])
        order.add(data.order_hash(splits, seed=seed))
    assert len(init) == 1
    assert len(order) == 1
    assert {name: len(hashes) for name, hashes in head.items()} == {"logits": 1, "prediction": 1}


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
        (lambda logits, labels: logits, r"one value per example, \[2\] for a batch of 2, returned \[2, 10\]"),
        (lambda logits, labels: logits.sum(axis=1).astype("float64"), "must return paddle.float32"),
        (lambda logits, labels: 1.0, "must return a Paddle tensor .* returned float"),
    ],
)
def test_a_loss_of_the_wrong_shape_or_type_is_refused_in_rehearsal(loss, complaint):
    with training.fresh(0):
        learner = training.build(models.softmax, loss, SGD, schedulers.constant, lr=0.1, steps=1)
        with pytest.raises(ValueError, match=complaint):
            training.rehearse(learner)


def test_a_model_of_the_wrong_width_is_refused_in_rehearsal():
    with training.fresh(0):
        wide = training.build(
            lambda outputs: models.softmax(11), losses.ce, SGD, schedulers.constant, lr=0.1, steps=1
        )
        with pytest.raises(ValueError, match=r"must return \[batch, 10\], returned \[2, 11\]"):
            training.rehearse(wide)


def test_evaluation_does_not_depend_on_its_batches(splits, monkeypatch):
    with training.fresh(0):
        learner = training.build(models.convnet, losses.ce, SGD, schedulers.constant, lr=0.1, steps=1)
        images = training.pixels(splits.test.images)
        outputs, values = training.evaluate(learner, images, splits.test.labels)
        monkeypatch.setattr(training, "EVALUATION_BATCH", 7)
        again, _ = training.evaluate(learner, images, splits.test.labels)
    assert outputs.shape == (360, 10)
    assert values.shape == (360,)
    np.testing.assert_allclose(again, outputs, atol=1e-5)
