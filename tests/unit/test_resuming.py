"""Resumed runs equal undisturbed ones."""

from __future__ import annotations

import functools
import itertools
import random as stdlib_random

import numpy as np
import paddle
import pytest
from helpers.learning import SGD, learn, noisy, numbers, options
from helpers.marks import with_slow
from paddle import nn

from experiments import checkpoints, data, losses, models, schedulers, stopping, training


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
    pixels = training.tensor(splits, examples)
    assert pixels.shape == [3, 1, 28, 28] and pixels.dtype == paddle.float32
    assert pixels.is_contiguous() and pixels.strides == [784, 784, 28, 1]
    np.testing.assert_array_equal(pixels.numpy()[:, 0], images.astype(np.float32) / np.float32(255))


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
