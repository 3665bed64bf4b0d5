"""Training checks: classic mistakes in a loss, in labels, and in the outputs of a network.

Pure: losses and arrays in, sentences out; a mistake never stops a run. A check looks at numbers and
not at code, so that it works for users' losses too, and it warns only where it is sure. The warning
of `softmax_twice` has the name softmax-twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.heads import Head, head_of, log_softmax

if TYPE_CHECKING:
    import paddle

CALLS = 1000  # of a loss with the same arguments, in search of a state that it keeps
_CALLS_SECONDS = 5.0  # after which fewer calls have to do
_ENOUGH = 30  # images: fewer say nothing of a network


@dataclass(frozen=True)
class TrainingWarning:
    """A classic mistake: its slug, and a sentence on what was seen and what to do."""

    name: str
    text: str


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


def of_loss(
    loss: Callable[..., paddle.Tensor],
    rows: int = 2,
    calls: int = CALLS,
    classes: int = 10,
    anywhere: bool = True,
) -> list[TrainingWarning]:
    """The mistakes in a loss, `(logits or prediction, labels) -> [batch]`.

    None are found in a loss that raises or is not finite, and no others in one that keeps a state
    or mixes the examples of a batch.

    Args:
        loss: The loss with its own values.
        rows: The size of the batches with which it is tried.
        calls: How often it is called with the same arguments, within five seconds.
        classes: The number of classes, at least 2.
        anywhere: Whether an example has to have the same value at every place of a batch.
    """
    state = hidden_state(loss, rows, calls, classes)
    if state:
        return [TrainingWarning("hidden-state", state)]
    probe = _probe(loss, rows, classes)
    if probe is None:
        return []
    return _told((broadcast,) if anywhere else (), probe) or _told(_LOSS_CHECKS, probe)


def of_outputs(
    head: Head, outputs: np.ndarray, labels: np.ndarray, epoch: int
) -> list[TrainingWarning]:
    """The mistakes that show in raw outputs [n, outputs] on validation images after an epoch."""
    if len(outputs) < _ENOUGH or not np.isfinite(outputs).all() or (labels == labels[0]).all():
        return []
    found = _told((softmax_in_the_network,), head, outputs)
    if epoch > 0:
        found += _told((dead_network,), head, outputs) + _told(
            (predicts_the_mean,), head, outputs, labels
        )
        found += [] if found else _told((one_class,), head, outputs)
    return found


def of_labels(labels: np.ndarray, classes: int = 10) -> list[TrainingWarning]:
    """The mistakes that show in the labels of a data set."""
    return _told((label_type,), labels, classes)


def of_parameters(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[TrainingWarning]:
    """The mistake that shows in a loss's own parameters, by name, before and after training."""
    return _told((idle_parameters,), before, after)


def tags(warnings: Sequence[TrainingWarning]) -> dict[str, str]:
    """The tags of a run with these warnings: `lint`, their names, and `lint.NAME`, the sentence."""
    texts = {warning.name: warning.text for warning in warnings}
    names = {"lint": ",".join(texts)} if texts else {}
    return names | {f"lint.{name}": text for name, text in texts.items()}


# ---- in a loss -----------------------------------------------------------------------------------


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


_LOSS_CHECKS = (
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


def _probe(loss: Callable[..., paddle.Tensor], rows: int, classes: int) -> Probe | None:
    """`loss` tried on random outputs; None where it raises or is not finite."""
    head, outputs, labels = _drawn(loss, classes)
    order = np.random.default_rng(1).permutation(len(labels))  # neighbours in a batch are any two
    some = order[1:21]  # and other two
    right = np.array([3, 7]) % classes
    logits = head.name == "logits"
    surest = (np.eye(classes)[right] * 1e4 if logits else right[:, None]).astype(np.float32)
    try:
        values, slopes = (
            found[order.argsort()]
            for found in _tried(loss, head, outputs[order], labels[order], rows)
        )
        elsewhere, _ = _tried(loss, head, outputs[some], labels[some], rows)
        turned, _ = _tried(loss, head, np.roll(outputs[some], 1, axis=1), labels[some], rows)
        at_best, _ = _tried(loss, head, surest, right, rows)
    except Exception:  # a user's loss may raise anything; it will raise it in training, too
        return None
    if not all(np.isfinite(found).all() for found in (values, slopes, elsewhere, turned)):
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
        found = loss(head.argument(given), paddle.to_tensor(labels[batch]))
        found.sum().backward()
        values.append(found.numpy())
        slopes.append(np.zeros_like(outputs[batch]) if given.grad is None else given.grad.numpy())
    return np.concatenate(values)[: len(labels)], np.concatenate(slopes)[: len(labels)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding."""
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max()))


# ---- in labels and outputs -----------------------------------------------------------------------


def label_type(labels: np.ndarray, classes: int) -> str | None:
    """The labels are no classes: Paddle's cross_entropy truncates floats without an error."""
    found = f"{labels.dtype} {list(labels.shape)}"
    if labels.dtype != np.int64 or labels.ndim != 1:
        return (
            f"the labels are {found}, expected int64 [n]: a loss that does not look cuts or "
            "broadcasts them in silence"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        return (
            f"the labels are {labels.min()} to {labels.max()}, expected classes 0 to {classes - 1}"
        )
    return None


def softmax_in_the_network(head: Head, outputs: np.ndarray) -> str | None:
    """The network ends with a softmax: its logits are never negative and have the sum 1."""
    if head.name != "logits" or outputs.min() < 0 or np.abs(outputs.sum(axis=1) - 1).max() > 1e-4:
        return None
    return (
        "the network's outputs are probabilities already (none is negative, their sum is 1), and "
        "a loss of logits applies a second softmax: leave the network's out"
    )


def dead_network(head: Head, outputs: np.ndarray) -> str | None:
    """The outputs hardly depend on the image, as when all ReLUs are off.

    All images get one class, from outputs that vary by less than a hundredth of their size.
    """
    said = head.predict(outputs)
    if (said != said[0]).any() or outputs.std(axis=0, dtype=np.float64).max() > 0.01 * np.abs(
        outputs
    ).max():
        return None
    return (
        f"the network is dead: its outputs hardly depend on the input, it says {said[0]} to all "
        "of them. Too large a learning rate does "
        "that, and so do initial weights that are too large or 0"
    )


def predicts_the_mean(head: Head, outputs: np.ndarray, labels: np.ndarray) -> str | None:
    """A regression has learned the mean label only: a squared error of 8.35 on MNIST.

    The error is within 10 % of the labels' variance, and the predictions vary little and not with
    the labels, as those of a network that begins to learn do.
    """
    if head.name != "prediction":
        return None
    prediction, wanted = outputs[:, 0].astype(np.float64), labels.astype(np.float64)
    error, variance = float(np.mean((prediction - wanted) ** 2)), float(wanted.var())
    spread = prediction.std()
    together = np.mean((prediction - prediction.mean()) * (wanted - wanted.mean()))
    if (
        abs(error / variance - 1) > 0.1
        or spread > wanted.std() / 4
        or together > 0.2 * spread * wanted.std()
    ):
        return None
    return (
        f"it predicts about the mean of the labels ({prediction.mean():.2f}) for every input: its "
        f"squared error is {error:.2f}, their variance {variance:.2f}. Another learning rate may "
        "help; [batch, 1] against [batch] in a loss does the same"
    )


def idle_parameters(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> str | None:
    """Training has left parameters of the loss as they were: their gradient is 0, or none."""
    idle = [name for name, value in before.items() if np.array_equal(value, after[name])]
    if not idle:
        return None
    return (
        f"its parameters {', '.join(idle)} are after training what they were before: the loss has "
        "no gradient in them. Is a value detached, or computed outside `forward`? A state that is "
        "not trained is a buffer (register_buffer)"
    )


def one_class(head: Head, outputs: np.ndarray) -> str | None:
    """The network gives all images the same class: it has learned nothing yet."""
    said = head.predict(outputs)
    if (said != said[0]).any():
        return None
    return (
        f"it says {said[0]} to all {len(said):,} validation examples: the learning rate is too "
        "small or too large, or the loss misleads"
    )


def _told(checks: Sequence[Callable[..., str | None]], *seen: Any) -> list[TrainingWarning]:
    """What the checks say of what they see."""
    texts = [(check.__name__.replace("_", "-"), check(*seen)) for check in checks]
    return [TrainingWarning(name, text) for name, text in texts if text]
