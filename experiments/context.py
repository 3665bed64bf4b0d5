"""What a loss may see besides outputs and labels.

A loss names what it needs as parameters without a default, after its first two, and gets that and
nothing else; so does `forward` of a loss that is a `paddle.nn.Layer`. The layer's constructor names
what it needs in the same way, out of what is known before training, `CONSTANT`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NAMES = ("epoch", "epochs", "step", "steps", "index", "class_counts", "classes", "features")
CONSTANT = ("epochs", "steps", "class_counts", "classes", "features")
WHOLE = frozenset({"epochs", "steps"})  # what makes a run differ from the beginning of a longer one


@dataclass
class Context:
    """What is known of a run while it trains.

    Attributes:
        epochs: How many the run has.
        steps: How many steps of the optimizer it has.
        classes: The number K of classes.
        class_counts: How many training examples each class has, after label noise: a float32
            tensor [K].
        epoch: The epoch in training, from 1 on; in an evaluation, that after which it is.
        step: The step in training, from 1 on; in an evaluation, that after which it is.
        index: Where the batch's examples are in the training set, int64 [batch]; None in an
            evaluation, whose examples are not in it.
        features: The input of the network's head [batch, features], where a loss names it. The
            constructor of a loss gets the number of features instead.
    """

    epochs: int = 0
    steps: int = 0
    classes: int = 0
    class_counts: Any = None
    epoch: int = 0
    step: int = 0
    index: Any = None
    features: Any = None

    def of(self, names: Sequence[str]) -> dict[str, Any]:
        """The values of some of `NAMES`."""
        return {name: getattr(self, name) for name in names}

    def after(self, epoch: int) -> None:
        """Go to the end of an epoch."""
        self.epoch, self.step = epoch, epoch * self.steps // max(1, self.epochs)

    def watch(self, head: Any) -> None:
        """Keep what the layer `head` of a network gets, from now on."""
        head.register_forward_pre_hook(lambda _, inputs: setattr(self, "features", inputs[0]))


def signature(loss: Callable[..., Any]) -> inspect.Signature:
    """How a loss is called, or the `forward` of a layer or of a class of layers."""
    if layer := class_of(loss):
        own = inspect.signature(layer.forward)
        return own.replace(parameters=list(own.parameters.values())[1:])
    return inspect.signature(getattr(_target(loss), "forward", loss))


def class_of(loss: Callable[..., Any]) -> Any:
    """The class of layers that has to be built to have the loss; None where it is a function."""
    target = _target(loss)
    return target if inspect.isclass(target) else None


def parts(loss: Any) -> list[Callable[..., Any]]:
    """The losses that a mixture consists of; none of another loss."""
    return list(loss.keywords["parts"].values()) if hasattr(class_of(loss), "needs") else []


def needed(loss: Any) -> tuple[str, ...]:
    """Which of `NAMES` a call of the loss needs; a mixture says so itself."""
    if hasattr(class_of(loss), "needs"):
        needs = class_of(loss).needs(**loss.keywords)
        return tuple(name for name in NAMES if name in needs)
    call = signature(loss)
    others = list(call.parameters.values())[2:]  # after outputs and labels
    return _required(call.replace(parameters=others), NAMES)


def needed_to_build(loss: Callable[..., Any]) -> tuple[str, ...]:
    """Which of `CONSTANT` the constructor of a loss needs; none where it is a function."""
    if hasattr(class_of(loss), "needs"):
        return tuple(name for name in needed(loss) if name in CONSTANT)
    return _required(inspect.signature(loss), CONSTANT) if class_of(loss) else ()


def is_whole(loss: Callable[..., Any]) -> bool:
    """Whether a run with this loss is no beginning of a longer run."""
    return not WHOLE.isdisjoint({*needed(loss), *needed_to_build(loss)})


def counts(labels: Any, classes: int) -> tuple[int, ...]:
    """How many of the labels, an array, are each of the classes 0 to `classes` - 1."""
    return tuple(np.bincount(labels, minlength=classes).tolist())


def checked_counts(class_counts: Sequence[int] | None) -> Sequence[int]:
    """`class_counts`; ValueError unless there are counts of all classes, none of them 0."""
    if not class_counts or min(class_counts) < 1:
        raise ValueError(
            "class_counts: expected at least one training example of each class, got "
            f"{class_counts if class_counts is None else list(class_counts)}; this loss needs them "
            "(see data.train_size)"
        )
    return class_counts


def bare(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A loss without the partial functions around it that give it no argument."""
    while isinstance(loss, functools.partial) and not loss.args and not loss.keywords:
        loss = loss.func
    return loss


def _required(call: inspect.Signature, names: Sequence[str]) -> tuple[str, ...]:
    parameters: Mapping[str, inspect.Parameter] = call.parameters
    without = [name for name, each in parameters.items() if each.default is each.empty]
    return tuple(name for name in names if name in without)


def _target(loss: Callable[..., Any]) -> Any:
    """What a loss is beneath partial functions and wrappers."""
    target: Any = loss
    while True:
        if isinstance(target, functools.partial):
            target = target.func
        elif hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        else:
            return target
