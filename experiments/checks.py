"""Training checks: classic mistakes in a loss, in labels, and in the outputs of a network.

Pure: losses and arrays in, sentences out; a mistake never stops a run. A check looks at numbers and
not at code, so that it works for users' losses too, and it warns only where it is sure. The warning
of `softmax_twice` has the name softmax-twice. Those of a loss are in `loss_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import loss_checks
from experiments.heads import Head

if TYPE_CHECKING:
    import paddle

_ENOUGH = 30  # examples: fewer show nothing about a network


@dataclass(frozen=True)
class TrainingWarning:
    """A classic mistake: its slug, and a sentence on what was seen and what to do."""

    name: str
    text: str


def of_loss(
    loss: Callable[..., paddle.Tensor],
    rows: int = 2,
    calls: int = loss_checks.CALLS,
    classes: int = 10,
    anywhere: bool = True,
) -> list[TrainingWarning]:
    """The mistakes in a loss, `(outputs, labels) -> [batch]`.

    None are found in a loss that raises or is not finite, and no others in one that keeps a state
    or mixes the examples of a batch.

    Args:
        loss: The loss with its own values.
        rows: The size of the batches with which it is tried.
        calls: How often it is called with the same arguments, within five seconds.
        classes: The number of classes, at least 2.
        anywhere: Whether an example has to have the same value at every place of a batch.
    """
    state = loss_checks.hidden_state(loss, rows, calls, classes)
    if state:
        return [TrainingWarning("hidden-state", state)]
    probe = loss_checks.probe_of(loss, rows, classes)
    if probe is None:
        return []
    if anywhere and (warnings := _warnings_of((loss_checks.broadcast,), probe)):
        return warnings
    return _warnings_of(loss_checks.CHECKS, probe)


def of_outputs(
    head: Head, outputs: np.ndarray, labels: np.ndarray, epoch: int
) -> list[TrainingWarning]:
    """The mistakes that show in raw outputs [n, outputs] on validation examples after an epoch."""
    if len(outputs) < _ENOUGH or not np.isfinite(outputs).all() or (labels == labels[0]).all():
        return []
    warnings = _warnings_of((softmax_in_the_network,), head, outputs)
    if epoch > 0:
        warnings += _warnings_of((dead_network,), head, outputs)
        warnings += _warnings_of((predicts_the_mean,), head, outputs, labels)
        warnings = warnings or _warnings_of((one_class,), head, outputs)
    return warnings


def of_labels(labels: np.ndarray, classes: int = 10) -> list[TrainingWarning]:
    """The mistakes that show in the labels of a data set."""
    return _warnings_of((label_type,), labels, classes)


def of_parameters(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[TrainingWarning]:
    """The mistake that shows in a loss's own parameters, by name, before and after training."""
    return _warnings_of((idle_parameters,), before, after)


def tags(warnings: Sequence[TrainingWarning]) -> dict[str, str]:
    """The tags of a run with these: `warnings`, their names, and `warnings.NAME`, the sentence."""
    texts = {warning.name: warning.text for warning in warnings}
    names = {"warnings": ",".join(texts)} if texts else {}
    return names | {f"warnings.{name}": text for name, text in texts.items()}


def label_type(labels: np.ndarray, classes: int) -> str | None:
    """The labels are no classes: Paddle's cross_entropy truncates floats without an error."""
    kind = f"{labels.dtype} {list(labels.shape)}"
    if labels.dtype != np.int64 or labels.ndim != 1:
        return (
            f"the labels are {kind}, expected int64 [n]: a loss that does not look cuts or "
            "broadcasts them in silence"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        return (
            f"the labels are {labels.min()} to {labels.max()}, expected classes 0 to {classes - 1}"
        )
    return None


def softmax_in_the_network(head: Head, outputs: np.ndarray) -> str | None:
    """The network ends with a softmax: its logits are never negative and have the sum 1.

    Outputs that hardly vary may be the best constant answer to a loss, as of a dead network.
    """
    if (
        head.name == "prediction"
        or _hardly_vary(outputs)
        or outputs.min() < 0
        or np.abs(outputs.sum(axis=1) - 1).max() > 1e-4
    ):
        return None
    return (
        "the network's outputs are probabilities already (none is negative, their sum is 1), and "
        "a loss of logits applies a second softmax: leave the network's out"
    )


def dead_network(head: Head, outputs: np.ndarray) -> str | None:
    """The outputs hardly depend on the input, as when all ReLUs are off.

    All inputs get one class, from outputs that vary by less than a hundredth of their size.
    """
    predicted = head.predict(outputs)
    if (predicted != predicted[0]).any() or not _hardly_vary(outputs):
        return None
    return (
        "the network is dead: its outputs hardly depend on the input, it predicts "
        f"{predicted[0]} for all of them. Too large a learning rate does that, and so do initial "
        "weights that are too large or 0"
    )


def _hardly_vary(outputs: np.ndarray) -> bool:
    """Whether raw outputs vary over the examples by a hundredth of their size at most."""
    spread = outputs.std(axis=0, dtype=np.float64).max()
    return bool(spread <= 0.01 * np.abs(outputs).max())


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
    """The network gives all inputs the same class: it has learned nothing yet."""
    predicted = head.predict(outputs)
    if (predicted != predicted[0]).any():
        return None
    return (
        f"it predicts {predicted[0]} for all {len(predicted):,} validation examples: the learning "
        "rate is too small or too large, or the loss misleads"
    )


def _warnings_of(
    checks: Sequence[Callable[..., str | None]], *arguments: Any
) -> list[TrainingWarning]:
    """What the checks say of what they see."""
    texts = [(check.__name__.replace("_", "-"), check(*arguments)) for check in checks]
    return [TrainingWarning(name, text) for name, text in texts if text]
