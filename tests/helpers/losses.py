"""Every loss of conf/loss/, its hyperparameters and its formula in NumPy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import context
from helpers.commands import ROOT

FOLDER = ROOT / "conf" / "loss"
CONFIGS: dict[str, Any] = {
    path.stem: OmegaConf.to_container(OmegaConf.load(path))
    for path in sorted(FOLDER.glob("*.yaml"))
}


def class_counts(classes: int) -> np.ndarray:
    """Counts [classes] that fall by the same factor from class to class, from 5,000 to 50."""
    return np.geomspace(5000, 50, classes).round()


def in_context(loss: Callable[..., Any]) -> functools.partial[Any]:
    """A loss that gets what it needs, in the last of 5 epochs."""
    needs = context.needed(loss)
    if not needs:
        return loss

    @functools.wraps(loss.func)
    def call(outputs: Any, labels: Any, *more: Any, **hyper: Any) -> Any:
        counts = class_counts(getattr(outputs, "shape", [10])[-1])
        seen = context.Context(epoch=5, epochs=5)
        seen.class_counts = paddle.to_tensor(counts, dtype="float32")
        return loss.func(outputs, labels, *more, **seen.of(needs), **hyper)

    return functools.partial(call, **loss.keywords)


ALL = {option: instantiate(config) for option, config in CONFIGS.items()}
CLASSES = [option for option, loss in ALL.items() if context.class_of(loss)]
LAYERS = [option for option in CLASSES if option != "mixture"]
LOSSES = {option: in_context(loss) for option, loss in ALL.items() if option not in CLASSES}
OURS = [
    option for option in LOSSES if CONFIGS[option]["_target_"].startswith("experiments.losses.")
]


def parameters(option: str) -> list[inspect.Parameter]:
    """Those of the function, without what it needs of a run."""
    arguments = inspect.signature(LOSSES[option].func).parameters.values()
    return [each for each in arguments if each.name not in context.needed(LOSSES[option])]


each_option = pytest.mark.parametrize("option", list(LOSSES))
ON_NUMBERS = [option for option in LOSSES if parameters(option)[0].name == "prediction"]
each_on_numbers = pytest.mark.parametrize("option", ON_NUMBERS)
ON_COSINES = [option for option in LOSSES if parameters(option)[0].name == "cosines"]
ON_LOGITS = [option for option in LOSSES if option not in {*ON_NUMBERS, *ON_COSINES}]

# Hyperparameters tried besides the option's own: the corners of what is permitted.
OTHER_HYPERPARAMETERS: dict[str, list[dict[str, float]]] = {
    "huber": [{"delta": 0.3}, {"delta": 5}],
    "label_smoothing": [{"s": 0}, {"s": 0.9}],
    "focal": [{"gamma": 0}, {"gamma": 0.5}, {"gamma": 1}, {"gamma": 5}],
    "poly1": [{"epsilon": -1}, {"epsilon": 0}, {"epsilon": 3.3}],
    "taylor_ce": [{"t": 1}, {"t": 7}],
    "gce": [{"q": 1e-6}, {"q": 0.1}, {"q": 1}],
    "sce": [{"alpha": 0}, {"beta": 0}, {"alpha": 6, "beta": 0.1}],
    "nce_rce": [{"beta": 0}, {"alpha": 0, "beta": 1}, {"alpha": 0.3, "beta": 0.7}],
    "phuber_ce": [{"tau": 1}, {"tau": 1.7}, {"tau": 1e30}],
    "bitempered": [
        *({"t1": 1, "t2": 1}, {"t1": 0.2, "t2": 4}, {"t1": 0, "t2": 1.7}, {"t1": 0.7, "t2": 1})
    ],
    "logit_norm": [{"t": 1}, {"t": 0.3}],
    "agce": [{"a": 0.6, "q": 0.6}, {"a": 1, "q": 2}],
    "aul": [{"a": 1.5, "q": 0.9}, {"a": 5.5, "q": 3}],
    "js": [{"pi": 0.1}, {"pi": 0.9}],
    "asymmetric": [{"gamma_pos": 1, "gamma_neg": 0.5}, {"s": 0}, {"gamma_neg": 0, "s": 0.9}],
    "nce_mae": [{"alpha": 0}, {"beta": 0}, {"alpha": 0.3, "beta": 7}],
    "nfl_mae": [{"gamma": 0}, {"beta": 0, "gamma": 2}, {"alpha": 0.3, "beta": 7}],
    "nfl_rce": [{"gamma": 0}, {"beta": 0, "gamma": 1}],
    "class_balanced": [{"beta": 0}, {"beta": 0.9}, {"beta": 0.99999}],
    "class_balanced_focal": [{"beta": 0}, {"gamma": 0}, {"beta": 0.99, "gamma": 0.5}],
    "logit_adjusted": [{"t": 0}, {"t": 2.5}],
    "ldam": [{"defer": 1, "s": 3}, {"margin": 0, "defer": 0}, {"margin": 2, "beta": 0}],
    "arcface": [{"margin": 0}, {"margin": 1.5, "s": 4}, {"s": 64}],
    "square": [{"k": 5, "M": 20}, {"k": 0.1, "M": 0.5}],
    "hinge": [{"margin": 0.3}, {"p": 2}, {"margin": 2, "p": 1.3}],
}

# These bend at z = 0, logit_norm the more sharply the nearer to it: central differences keep away.
KINK_AT_ZERO = {"phuber_ce", "logit_norm", "crammer_singer"}


def cases(options: list[str]) -> pytest.MarkDecorator:
    """Every option as it is, and with its other hyperparameters: `option` and `hyper`."""
    pairs = [
        (option, hyper)
        for option in options
        for hyper in [{}, *OTHER_HYPERPARAMETERS.get(option, [])]
    ]
    names = [
        " ".join([option, *(f"{key}={value}" for key, value in hyper.items())])
        for option, hyper in pairs
    ]
    return pytest.mark.parametrize(("option", "hyper"), pairs, ids=names)


def evaluate(option: str, outputs: np.ndarray, labels: np.ndarray, **hyper: float) -> np.ndarray:
    """The loss of every example, by Paddle: [batch], in the dtype of `outputs`."""
    return LOSSES[option](paddle.to_tensor(outputs), paddle.to_tensor(labels), **hyper).numpy()


def gradient(option: str, outputs: np.ndarray, labels: np.ndarray, **hyper: float) -> np.ndarray:
    """The gradient of every example's loss by its own outputs, by Paddle, in their shape."""
    leaf = paddle.to_tensor(outputs, stop_gradient=False)
    LOSSES[option](leaf, paddle.to_tensor(labels), **hyper).sum().backward()
    assert leaf.grad is not None
    return leaf.grad.numpy()


def random_logits(classes: int = 10, batch: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Float64 logits [batch, classes] of up to some 40, the first row exactly 0; labels [batch]."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(batch, classes)) * np.geomspace(0.1, 15, batch)[:, None]
    logits[0] = 0
    return logits, rng.integers(0, classes, size=batch)


def random_batches(option: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs that the option takes, with labels; of 2, 3 and 10 classes."""
    if option in ON_NUMBERS:
        return [random_predictions()]
    drawn = [random_logits(classes) for classes in (2, 3, 10)]
    if option in ON_COSINES:
        return [(np.cos(outputs + np.pi / 2), labels) for outputs, labels in drawn]
    return drawn


def random_batch(option: str) -> tuple[np.ndarray, np.ndarray]:
    return random_batches(option)[-1]


def random_predictions(batch: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Float64 predictions [batch] on both sides of their labels [batch], near and far."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, size=batch)
    return labels + rng.normal(size=batch) * 3, labels


def log_softmax(z: np.ndarray, xp: Any = np) -> np.ndarray:
    z = z - z.max(axis=1, keepdims=True)
    return z - xp.log(xp.exp(z).sum(axis=1, keepdims=True))


def tempered_log_softmax(z: np.ndarray, t: float, xp: Any = np) -> np.ndarray:
    """By the fixed-point iteration of Amid et al. 2019, continued until nothing changes."""
    if t == 1:
        return log_softmax(z, xp)
    z = z - z.max(axis=1, keepdims=True)

    def sum_of_exp_t(a: np.ndarray) -> np.ndarray:
        return ((1 + (1 - t) * a) ** (1 / (1 - t))).sum(axis=1, keepdims=True)

    a = z
    for _ in range(100):
        a = z * sum_of_exp_t(a) ** (1 - t)
    normaliser = (1 - sum_of_exp_t(a) ** (t - 1)) / (1 - t)
    return xp.log(1 + (1 - t) * (z - normaliser)) / (1 - t)


def class_balance(classes: int, beta: float) -> np.ndarray:
    """The weights of Cui et al. 2019, whose mean is 1: [classes]."""
    weights = (1 - beta) / (1 - beta ** class_counts(classes))
    return weights / weights.mean()


def formula(
    option: str, outputs: np.ndarray, y: np.ndarray, xp: Any = np, **hyper: float
) -> np.ndarray:
    """The losses as they are written in the literature: [batch]. `xp` is numpy or jax.numpy."""
    h = {key: value for key, value in CONFIGS[option].items() if not key.startswith("_")} | hyper
    if option in ON_NUMBERS:
        r = xp.abs(outputs - y)
        if option == "mse":
            return r**2
        if option == "mae_scalar":
            return r
        if option == "huber":
            return xp.where(r < h["delta"], r**2 / 2, h["delta"] * r - h["delta"] ** 2 / 2)
    z, rows, K = outputs, np.arange(len(y)), outputs.shape[1]
    e = np.eye(K)[y]
    log_p = log_softmax(z, xp)
    p, log_p_y = xp.exp(log_p), log_p[rows, y]
    p_y = p[rows, y]
    match option:
        case "ce":
            return -log_p_y
        case "ce_double_softmax":
            return -log_softmax(p, xp)[rows, y]
        case "label_smoothing":
            return -(((1 - h["s"]) * e + h["s"] / K) * log_p).sum(axis=1)
        case "focal":
            return -((1 - p_y) ** h["gamma"]) * log_p_y
        case "poly1":
            return -log_p_y + h["epsilon"] * (1 - p_y)
        case "taylor_ce":
            return sum((1 - p_y) ** k / k for k in range(1, h["t"] + 1))
        case "gce":
            return -xp.expm1(h["q"] * log_p_y) / h["q"]
        case "mae":
            return 1 - p_y
        case "sce":
            return -h["alpha"] * log_p_y - h["beta"] * np.log(1e-4) * (1 - p_y)
        case "nce_rce":
            return h["alpha"] * log_p_y / log_p.sum(axis=1) - h["beta"] * np.log(1e-4) * (1 - p_y)
        case "phuber_ce":
            return xp.where(p_y > 1 / h["tau"], -log_p_y, np.log(h["tau"]) + 1 - h["tau"] * p_y)
        case "bitempered":
            t1, log_p = h["t1"], tempered_log_softmax(z, h["t2"], xp)
            p, log_p_y = xp.exp(log_p), log_p[rows, y]
            log_t1 = log_p_y if t1 == 1 else (p[rows, y] ** (1 - t1) - 1) / (1 - t1)
            return ((p ** (2 - t1)).sum(axis=1) - 1) / (2 - t1) - log_t1
        case "agce":
            return ((h["a"] + 1) ** h["q"] - (h["a"] + p_y) ** h["q"]) / h["q"]
        case "aul":
            return ((h["a"] - p_y) ** h["q"] - (h["a"] - 1) ** h["q"]) / h["q"]
        case "js":
            share = h["pi"]
            log_mixed = xp.where(e == 1, xp.log(share + (1 - share) * p), log_p + np.log(1 - share))
            of_label = -log_mixed[rows, y]
            of_network = (p * (log_p - log_mixed)).sum(axis=1)
            scale = -(1 - share) * np.log(1 - share)
            return (share * of_label + (1 - share) * of_network) / scale
        case "asymmetric":
            power = xp.where(e == 1, h["gamma_pos"], h["gamma_neg"])
            focusing = xp.where(e == 1, 1 - p, p) ** power
            return -(((1 - h["s"]) * e + h["s"] / K) * focusing * log_p).sum(axis=1)
        case "nce_mae":
            return h["alpha"] * log_p_y / log_p.sum(axis=1) + h["beta"] * (1 - p_y)
        case "nfl_mae" | "nfl_rce":
            focal = (1 - p) ** h["gamma"] * log_p
            passive = 1 if option == "nfl_mae" else -np.log(1e-4)
            normalised = focal[rows, y] / focal.sum(axis=1)
            return h["alpha"] * normalised + h["beta"] * passive * (1 - p_y)
        case "class_balanced" | "class_balanced_focal":
            weights = class_balance(K, h["beta"])[y]
            return -weights * (1 - p_y) ** h.get("gamma", 0) * log_p_y
        case "logit_adjusted" | "balanced_softmax":
            return -log_softmax(z + h.get("t", 1) * np.log(class_counts(K)), xp)[rows, y]
        case "ldam":
            margins = h["margin"] * (class_counts(K).min() / class_counts(K)) ** 0.25
            weights = class_balance(K, h["beta"])[y] if h["defer"] < 1 else 1
            return -weights * log_softmax(h["s"] * (z - margins * e), xp)[rows, y]
        case "arcface":
            angle = xp.arccos(z)
            wider = xp.where(e == 1, angle + h["margin"], angle)
            beyond = z - e * h["margin"] * np.sin(h["margin"])
            wide = xp.where(wider < np.pi, xp.cos(wider), beyond)
            return -log_softmax(h["s"] * wide, xp)[rows, y]
        case "brier":
            return ((p - e) ** 2).sum(axis=1)
        case "spherical":
            return -p_y / xp.sqrt((p**2).sum(axis=1))
        case "logit_norm":
            length = xp.sqrt((z**2).sum(axis=1, keepdims=True))
            return -log_softmax(z / xp.where(length == 0, 1, h["t"] * length), xp)[rows, y]
        case "square":
            return (xp.where(e == 1, h["k"], 1) * (z - h["M"] * e) ** 2).mean(axis=1)
        case "squentropy":
            return -log_p_y + (z**2 * (e == 0)).sum(axis=1) / (K - 1)
        case "hinge":
            lacking = xp.maximum(0, h["margin"] - z[rows, y][:, None] + z) ** h["p"]
            return (lacking * (e == 0)).sum(axis=1) / K
        case "crammer_singer":
            return xp.maximum(0, 1 + xp.where(e == 1, -np.inf, z).max(axis=1) - z[rows, y])
        case "ovr_bce":
            return xp.logaddexp(0, xp.where(e == 1, -z, z)).sum(axis=1)
    raise NotImplementedError(f"add the formula of {option} to `formula` in helpers/losses.py")
