"""Training on the digits."""

from __future__ import annotations

import random as stdlib_random

import numpy as np
import paddle
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paddle import nn

from experiments import losses, models, schedulers, training
from helpers.commands import ROOT

SGD = paddle.optimizer.SGD


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


def built(model=models.softmax, loss=losses.ce, *, lr=0.1, **more):
    """A network that has learned nothing, its weights drawn from seed 0."""
    with training.fresh(0):
        return training.build(model, loss, SGD, schedulers.constant, lr=lr, steps=1, **more)


def numbers(records):
    return [{k: v for k, v in r.metrics.items() if not k.startswith("time/")} for r in records]


def options(group):
    """Every option of a group, as the program gets them."""
    return {
        path.stem: instantiate(option)
        for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
        if not OmegaConf.is_missing(option := OmegaConf.load(path), "_target_")
    }


class Shake(nn.Layer):
    """Scales by a number from NumPy's stream and one from Python's."""

    def forward(self, x):
        return x * (1 + 0.1 * np.random.randn() + 0.1 * stdlib_random.gauss(0, 1))


def noisy(outputs):
    """A network whose steps draw from all random streams, with running averages."""
    body = [nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1D(16), nn.Dropout(0.5), Shake()]
    return models.with_head(nn.Sequential(*body), 16, outputs)
