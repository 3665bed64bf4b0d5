"""Classic mistakes in a loss, seen in its values and gradients on random outputs.

A check returns a sentence on what is wrong, or None.
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
        gradients: [m, outputs], of each value in its example's outputs.
        some: Indices [s] of examples that were tried in other ways.
        other_batch: Their values [s] beside other examples in a batch.
        rotated: Their values [s] with each output at the place of the next.
        best_case: Values [2] where the true class leads by 10,000, or the prediction is the label.
    """

    head: Head
    outputs: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    gradients: np.ndarray
    some: np.ndarray
    other_batch: np.ndarray
    rotated: np.ndarray
    best_case: np.ndarray

    @property
    def by_label(self) -> np.ndarray:
        """The values as [outputs tried, labels]."""
        return self.values.reshape(-1, self.head.classes)


def hidden_state(
    loss: Callable[..., paddle.Tensor], rows: int, calls: int, classes: int
) -> str | None:
    """The loss keeps a state, or draws random numbers: equal calls give different values."""
    import paddle

    head, outputs, labels = _random_outputs(loss, classes)
    some = np.arange(rows) % len(labels)
    end = time.monotonic() + _CALLS_SECONDS
    first = None
    for call in range(1, calls + 1):
        try:
            with paddle.no_grad():
                argument = head.argument(paddle.to_tensor(outputs[some]))
                values = loss(argument, paddle.to_tensor(labels[some])).numpy()
        except Exception:  # a user's loss may raise anything; it will raise it in training, too
            return None
        first = values if first is None else first
        if not np.array_equal(values, first, equal_nan=True):
            return (
                f"it depends on something besides its arguments: of {call} calls with the same "
                "ones, the last gave another value than the first. Such is a loss that draws "
                "random numbers, counts its calls, or keeps a state that is no buffer "
                "(register_buffer); a run that is resumed after a kill may then differ from one "
                "that was not"
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
    if not fall.any() or (steps > 1e-4 * fall).any() or probe.best_case[0] < 0.01:
        return None
    return (
        "softmax is applied twice: however sure and right the network is, this loss stays at "
        f"{probe.best_case[0]:.4f} (cross-entropy goes to 0), and its gradient is weak. A "
        "cross-entropy takes logits and has its own softmax: leave yours out"
    )


def broadcast(probe: Probe) -> str | None:
    """[batch, 1] broadcasts against [batch]: an example's value depends on others in its batch.

    The mean over a row has the right shape, and the network learns the mean label.
    """
    if _same(probe.other_batch, probe.values[probe.some]):
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
    indifferent = probe.head.name == "logits" and _same(probe.rotated, probe.values[probe.some])
    if not indifferent or labels_ignored(probe):
        return None
    return (
        "it does not matter which logit belongs to the true class: the label is taken for a "
        "number, not for the place of a logit. Choose the logit of the class, or name the first "
        "parameter `prediction` for a network with one output"
    )


def no_gradient(probe: Probe) -> str | None:
    """The gradient is 0, as of the predicted class, of numpy's numbers or of a constant."""
    if probe.gradients.any():
        return None
    return "the gradient is 0 wherever it was tried: the network stays as it is"


def logit_unused(probe: Probe) -> str | None:
    """The gradient in one output is always 0, as after a slice that is too short."""
    unused = np.flatnonzero(~probe.gradients.any(axis=0))
    if not len(unused) or len(unused) == probe.head.outputs:
        return None
    return (
        f"of the {probe.head.outputs} logits it does not look at number "
        f"{', '.join(map(str, unused))}, whatever the label"
    )


def wrong_way(probe: Probe) -> str | None:
    """The sign is wrong: the loss never falls towards the label."""
    if probe.head.name == "logits":
        towards = np.take_along_axis(probe.gradients, probe.labels[:, None], axis=1)[:, 0]
    else:
        towards = probe.gradients[:, 0] * (probe.labels - probe.outputs[:, 0])
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


def _random_outputs(
    loss: Callable[..., paddle.Tensor], classes: int
) -> tuple[Head, np.ndarray, np.ndarray]:
    """The loss's head, outputs [m K, outputs] and labels [m K]: m random outputs, all K labels."""
    head, count = head_of(loss, classes), max(10, classes)
    rng = np.random.default_rng(0)
    random = rng.normal(size=(count, classes)) * np.geomspace(0.3, 10, count)[:, None]
    for row, largest in enumerate(random.argmax(axis=1)):  # each class is the predicted one once
        swapped = [row % classes, largest]
        random[row, swapped] = random[row, swapped[::-1]]
    if head.name == "prediction":
        random = rng.uniform(-2, classes + 1, (count, 1))
    outputs = random.astype(np.float32).repeat(classes, axis=0)
    return head, outputs, np.tile(np.arange(classes), count)


def probe_of(loss: Callable[..., paddle.Tensor], rows: int, classes: int) -> Probe | None:
    """`loss` tried on random outputs; None where it raises or is not finite."""
    head, outputs, labels = _random_outputs(loss, classes)
    order = np.random.default_rng(1).permutation(len(labels))  # neighbours in a batch are any two
    some = order[1:21]  # and other two
    right = np.array([3, 7]) % classes
    logits = head.name == "logits"
    best_case = (np.eye(classes)[right] * 1e4 if logits else right[:, None]).astype(np.float32)
    try:
        values, gradients = (
            array[order.argsort()]
            for array in _evaluated(loss, head, outputs[order], labels[order], rows)
        )
        other_batch, _ = _evaluated(loss, head, outputs[some], labels[some], rows)
        rotated, _ = _evaluated(loss, head, np.roll(outputs[some], 1, axis=1), labels[some], rows)
        best_values, _ = _evaluated(loss, head, best_case, right, rows)
    except Exception:  # a user's loss may raise anything; it will raise it in training, too
        return None
    if not all(np.isfinite(array).all() for array in (values, gradients, other_batch, rotated)):
        return None
    return Probe(head, outputs, labels, values, gradients, some, other_batch, rotated, best_values)


def _evaluated(
    loss: Callable[..., paddle.Tensor],
    head: Head,
    outputs: np.ndarray,
    labels: np.ndarray,
    rows: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Values [n] and gradients [n, outputs] of n examples, in full batches of `rows`."""
    import paddle

    values, gradients = [], []
    for first in range(0, len(labels), rows):
        batch = np.arange(first, first + rows) % len(labels)
        tensor = paddle.to_tensor(outputs[batch], stop_gradient=False)
        batch_values = loss(head.argument(tensor), paddle.to_tensor(labels[batch]))
        batch_values.sum().backward()
        values.append(batch_values.numpy())
        gradient = tensor.grad
        gradients.append(np.zeros_like(outputs[batch]) if gradient is None else gradient.numpy())
    return np.concatenate(values)[: len(labels)], np.concatenate(gradients)[: len(labels)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding."""
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max()))
