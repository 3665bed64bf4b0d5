"""Classic mistakes in a loss, seen in its values and slopes on random outputs.

A check says what is wrong in a sentence, or returns None.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.heads import Head, head_of, log_softmax

if TYPE_CHECKING:
    import paddle

CALLS = 1000  # of a loss with the same arguments, in search of a state that it keeps
_CALLS_SECONDS = 5.0  # after which fewer calls have to do


@dataclass(frozen=True)
class Probe:
    """What a loss made of random outputs, each with every label.

    Attributes:
        head: The loss's head.
        outputs: [m, outputs] float32.
        labels: [m].
        values: [m], of the loss.
        slopes: [m, outputs], of each value in its example's outputs.
        some: Indices [s] of examples that were tried in other ways.
        elsewhere: Their values [s] beside other examples in a batch.
        turned: Their values [s] with each output at the place of the next.
        surest: Values [2] where the true class leads by 10,000, or the prediction is the label.
    """

    head: Head
    outputs: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    some: np.ndarray
    elsewhere: np.ndarray
    turned: np.ndarray
    surest: np.ndarray

    @property
    def by_label(self) -> np.ndarray:
        """The values as [outputs tried, labels]."""
        return self.values.reshape(-1, self.head.classes)


def hidden_state(
    loss: Callable[..., paddle.Tensor], rows: int, calls: int, classes: int
) -> str | None:
    """The loss keeps a state, or draws random numbers: equal calls give different values."""
    import paddle

    head, outputs, labels = _drawn(loss, classes)
    some = np.arange(rows) % len(labels)
    end = time.monotonic() + _CALLS_SECONDS
    first = None
    for call in range(1, calls + 1):
        try:
            with paddle.no_grad():
                given = head.argument(paddle.to_tensor(outputs[some]))
                values = loss(given, paddle.to_tensor(labels[some])).numpy()
        except Exception:  # a user's loss may raise anything; it will raise it in training, too
            return None
        first = values if first is None else first
        if not np.array_equal(values, first, equal_nan=True):
            return (
                f"it depends on something besides its arguments: of {call} calls with the same "
                "ones, the last gave another value than the first. Such is a loss that draws "
                "random numbers or counts its calls; a run that is resumed after a kill may then "
                "differ from one that was not"
            )
        if time.monotonic() > end:
            break
    return None


def softmax_twice(probe: Probe) -> str | None:
    """The loss applies softmax twice; with 10 classes it stays above ln(e + 9) - 1 = 1.4612.

    With a label fixed, its values fall exactly as softmax(softmax(z))_y rises. Other losses order
    the same logits differently.
    """
    if probe.head.name != "logits":
        return None
    twice = log_softmax(np.exp(log_softmax(probe.outputs)))[
        np.arange(len(probe.labels)), probe.labels
    ]
    order = np.argsort(twice.reshape(-1, probe.head.classes), axis=0)
    steps = np.diff(np.take_along_axis(probe.by_label, order, axis=0), axis=0)
    fall = np.ptp(probe.by_label, axis=0)
    # Of two classes, any loss has this order; only after a second softmax it stays far from 0.
    if not fall.any() or (steps > 1e-4 * fall).any() or probe.surest[0] < 0.01:
        return None
    return (
        "softmax is applied twice: however sure and right the network is, this loss stays at "
        f"{probe.surest[0]:.4f} (cross-entropy goes to 0), and its gradient is weak. A "
        "cross-entropy takes logits and has its own softmax: leave yours out"
    )


def broadcast(probe: Probe) -> str | None:
    """[batch, 1] broadcasts against [batch]: an example's value depends on others in its batch.

    The mean over a row has the right shape, and the network learns the mean label.
    """
    if _same(probe.elsewhere, probe.values[probe.some]):
        return None
    return (
        "the value of an example changes with the other examples in its batch, as when [batch, 1] "
        "against [batch] broadcasts to [batch, batch]: compare outputs and labels of one shape, "
        "[batch]. Where a loss over the batch is meant, that is as it should be"
    )


def labels_ignored(probe: Probe) -> str | None:
    """The loss gives the same value for several labels: it ignores them, or a cast lost some."""
    groups: dict[int, list[int]] = {}
    for label, values in enumerate(probe.by_label.T):
        alike = next((other for other in groups if _same(probe.by_label[:, other], values)), label)
        groups.setdefault(alike, []).append(label)
    if len(groups) == probe.head.classes:
        return None
    if len(groups) == 1:
        return "the value does not depend on the label: nothing can be learned from it"
    listed = "; ".join(", ".join(map(str, group)) for group in groups.values() if len(group) > 1)
    return (
        f"these labels give the same value, whatever the outputs: {listed}. Is a label cast or cut "
        "on the way?"
    )


def labels_as_numbers(probe: Probe) -> str | None:
    """The label is a number and does not choose a logit, as in mean((z - y)^2).

    The value stays the same when the logits change places.
    """
    indifferent = probe.head.name == "logits" and _same(probe.turned, probe.values[probe.some])
    if not indifferent or labels_ignored(probe):
        return None
    return (
        "it does not matter which logit belongs to the true class: the label is taken for a "
        "number, not for the place of a logit. Choose the logit of the class, or name the first "
        "parameter `prediction` for a network with one output"
    )


def no_gradient(probe: Probe) -> str | None:
    """The gradient is 0, as of the predicted class, of numpy's numbers or of a constant."""
    if probe.slopes.any():
        return None
    return "the gradient is 0 wherever it was tried: the network stays as it is"


def logit_unused(probe: Probe) -> str | None:
    """The gradient in one output is always 0, as after a slice that is too short."""
    unused = np.flatnonzero(~probe.slopes.any(axis=0))
    if not len(unused) or len(unused) == probe.head.outputs:
        return None
    return (
        f"of the {probe.head.outputs} logits it does not look at number "
        f"{', '.join(map(str, unused))}, whatever the label"
    )


def wrong_way(probe: Probe) -> str | None:
    """The sign is wrong: the loss never falls towards the label."""
    if probe.head.name == "logits":
        towards = np.take_along_axis(probe.slopes, probe.labels[:, None], axis=1)[:, 0]
    else:
        towards = probe.slopes[:, 0] * (probe.labels - probe.outputs[:, 0])
    if (towards < 0).any() or not (towards > 0).any():
        return None
    return "it grows as the network comes nearer to the label: is its sign wrong?"


CHECKS = (
    softmax_twice,
    labels_ignored,
    labels_as_numbers,
    no_gradient,
    logit_unused,
    wrong_way,
)


def _drawn(loss: Callable[..., paddle.Tensor], classes: int) -> tuple[Head, np.ndarray, np.ndarray]:
    """The loss's head, outputs [m K, outputs] and labels [m K]: m random outputs, all K labels."""
    head, count = head_of(loss, classes), max(10, classes)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(count, classes)) * np.geomspace(0.3, 10, count)[:, None]
    for row, largest in enumerate(drawn.argmax(axis=1)):  # each class is the predicted one once
        swapped = [row % classes, largest]
        drawn[row, swapped] = drawn[row, swapped[::-1]]
    if head.name == "prediction":
        drawn = rng.uniform(-2, classes + 1, (count, 1))
    outputs = drawn.astype(np.float32).repeat(classes, axis=0)
    return head, outputs, np.tile(np.arange(classes), count)


def probe_of(loss: Callable[..., paddle.Tensor], rows: int, classes: int) -> Probe | None:
    """`loss` tried on random outputs; None where it raises or is not finite."""
    head, outputs, labels = _drawn(loss, classes)
    order = np.random.default_rng(1).permutation(len(labels))  # neighbours in a batch are any two
    some = order[1:21]  # and other two
    right = np.array([3, 7]) % classes
    logits = head.name == "logits"
    surest = (np.eye(classes)[right] * 1e4 if logits else right[:, None]).astype(np.float32)
    try:
        values, slopes = (
            array[order.argsort()]
            for array in _tried(loss, head, outputs[order], labels[order], rows)
        )
        elsewhere, _ = _tried(loss, head, outputs[some], labels[some], rows)
        turned, _ = _tried(loss, head, np.roll(outputs[some], 1, axis=1), labels[some], rows)
        at_best, _ = _tried(loss, head, surest, right, rows)
    except Exception:  # a user's loss may raise anything; it will raise it in training, too
        return None
    if not all(np.isfinite(array).all() for array in (values, slopes, elsewhere, turned)):
        return None
    return Probe(head, outputs, labels, values, slopes, some, elsewhere, turned, at_best)


def _tried(
    loss: Callable[..., paddle.Tensor],
    head: Head,
    outputs: np.ndarray,
    labels: np.ndarray,
    rows: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Values [n] and slopes [n, outputs] of n examples, in full batches of `rows`."""
    import paddle

    values, slopes = [], []
    for first in range(0, len(labels), rows):
        batch = np.arange(first, first + rows) % len(labels)
        given = paddle.to_tensor(outputs[batch], stop_gradient=False)
        batch_values = loss(head.argument(given), paddle.to_tensor(labels[batch]))
        batch_values.sum().backward()
        values.append(batch_values.numpy())
        slopes.append(np.zeros_like(outputs[batch]) if given.grad is None else given.grad.numpy())
    return np.concatenate(values)[: len(labels)], np.concatenate(slopes)[: len(labels)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding."""
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max()))
