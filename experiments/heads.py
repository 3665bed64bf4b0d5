"""What a network's raw outputs mean.

A loss states its head by the name of its first parameter: `logits`, one for each class;
`cosines`, those of the angles between the features and the weights of each class; or `prediction`,
one number that is read as the label itself. Where a function of another library names it otherwise,
its option says so, e.g. `head: logits`. Arrays in here are numpy's; a head knows neither losses'
formulas nor networks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments import context

NAMES = ("logits", "cosines", "prediction")


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
        scale: Where the raw outputs are cosines, their factor; None elsewhere.
    """

    name: str
    classes: int
    outputs: int
    argument: Callable[[Any], Any]
    predict: Callable[[np.ndarray], np.ndarray]
    log_probabilities: Callable[[np.ndarray], np.ndarray] | None
    scale: float | None = None


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


def cosines_head(classes: int, scale: float) -> Head:
    """Logits that are `scale` (> 0) times cosines; the loss gets the cosines, in [-1, 1]."""

    def argument(outputs: Any) -> Any:
        return (outputs / scale).clip(-1, 1)  # rounding may lead beyond 1

    return replace(logits_head(classes), name="cosines", argument=argument, scale=scale)


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

    That of a mixture is the head of all its parts.

    Raises ValueError when neither is one of `NAMES`, or when they contradict each other.
    """
    if names := {head_name(part) for part in context.parts(loss)}:
        if len(names) > 1:
            raise ValueError(
                f"expected parts that take the same outputs, got {' and '.join(sorted(names))}"
            )
        return names.pop()
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
        "a loss's first parameter states its head: expected 'logits' (one for each class), "
        f"'cosines' (the same) or 'prediction' (1 number), got {first!r}; where a function of "
        "another library names it otherwise, put e.g. `head: logits` into the option"
    )


def head_of(loss: Callable[..., Any], classes: int) -> Head:
    """The head that `loss` states, for `classes` classes; raises as `head_name` does.

    Cosines have as their scale the value `s` of the loss, or of a mixture's first part; 1 where it
    has none.
    """
    match head_name(loss):
        case "logits":
            return logits_head(classes)
        case "prediction":
            return number_head(classes)
    first = [*context.parts(loss), loss][0]
    s = inspect.signature(first).parameters.get("s")
    return cosines_head(classes, 1 if s is None else s.default)
