"""What a network's raw outputs mean.

A loss states its head by the name of its first parameter: `logits`, one for each class, or
`prediction`, one number that is read as the label itself. Where a function of another library names
it otherwise, its option says `head: logits` or `head: prediction`. Arrays in here are numpy's; a
head knows neither losses' formulas nor networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments import context

NAMES = ("logits", "prediction")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax, in float64: [n, K] -> [n, K], finite for finite logits."""
    z = logits.astype(np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Head:
    """How many raw outputs there are and how they are read.

    Attributes:
        name: The loss's first parameter.
        classes: The number K of classes.
        outputs: The width of the network's last layer.
        argument: Raw outputs [n, outputs] -> what the loss takes, of Paddle or numpy alike.
        predict: Raw outputs [n, outputs] -> classes [n], int64 in 0..K-1.
        log_probabilities: Raw outputs -> ln p [n, K]; None where the head has no probabilities.
    """

    name: str
    classes: int
    outputs: int
    argument: Callable[[Any], Any]
    predict: Callable[[np.ndarray], np.ndarray]
    log_probabilities: Callable[[np.ndarray], np.ndarray] | None


def logits_head(classes: int) -> Head:
    """One logit for each of `classes` classes."""
    return Head(
        name="logits",
        classes=classes,
        outputs=classes,
        argument=lambda outputs: outputs,
        predict=lambda outputs: outputs.argmax(axis=1),
        log_probabilities=log_softmax,
    )


def number_head(classes: int) -> Head:
    """One number, which is rounded to the nearest of the labels 0 to `classes` - 1."""
    return Head(
        name="prediction",
        classes=classes,
        outputs=1,
        argument=lambda outputs: outputs[:, 0],
        predict=lambda outputs: np.clip(np.rint(outputs[:, 0]), 0, classes - 1).astype(np.int64),
        log_probabilities=None,
    )


def head_name(loss: Callable[..., Any]) -> str:
    """The head that `loss` states: by its attribute `head`, or by the name of its first parameter.

    Raises ValueError when neither is 'logits' or 'prediction', or when they contradict each other.
    """
    stated = getattr(loss, "__dict__", {}).get("head")
    first = next(iter(context.signature(loss).parameters), None)
    if stated is not None and first in NAMES and first != stated:
        raise ValueError(
            f"expected the head of the loss's first parameter, {first!r}, got `head: {stated}`; "
            "leave `head` out"
        )
    if (name := stated or first) in NAMES:
        return str(name)
    raise ValueError(
        "a loss's first parameter states its head: expected 'logits' (one for each class) or "
        f"'prediction' (1 number), got {first!r}; where a function of another library names it "
        "otherwise, put `head: logits` or `head: prediction` into the option"
    )


def head_of(loss: Callable[..., Any], classes: int) -> Head:
    """The head that `loss` states, for `classes` classes; raises as `head_name` does."""
    return logits_head(classes) if head_name(loss) == "logits" else number_head(classes)
