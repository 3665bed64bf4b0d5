"""The loop: a generator that trains a network and yields one record per epoch.

Knows neither Hydra nor MLflow: `for record in train(...)` is the whole interface, and a test calls
`list(train(...))`. Paddle's global state (its random stream, its automatic names) is set in `fresh`
alone.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import paddle

from experiments import context
from experiments.context import Context
from experiments.data import Examples, Splits, augmentation, augmented, epoch_order
from experiments.heads import Head, head_of
from experiments.kernels import chain
from experiments.metrics import accuracy, epoch_metrics, memorisation
from experiments.steps import forward, means, measured_step, step
from experiments.weights import give_cosines, head_layer

EVALUATION_BATCH = 250  # examples at once when nothing is learned; small enough for the cache
MEASURED_STEPS = 10  # of an epoch: those whose gradient and change of the weights are measured


@dataclass(frozen=True)
class Record:
    """What one epoch gave.

    Attributes:
        epoch: 0 for the untrained network, then 1, 2, ...
        metrics: By MLflow's name, all finite; times in seconds.
        validation_outputs: Raw outputs on the validation examples, [n, outputs] float32.
        diverged: Why training ended early; empty as long as everything is finite.
        time: When it was made, in seconds since 1970.
    """

    epoch: int
    metrics: dict[str, float]
    validation_outputs: np.ndarray
    diverged: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Learner:
    """A network with its loss and its optimizer.

    Attributes:
        loss: A function, or a layer.
        shape: That of an input, (channels, height, width) or (features,).
        needs: What the loss gets of `context`.
        initial: The parameters of a loss that has some, before training, by name.
    """

    network: paddle.nn.Layer
    head: Head
    loss: Callable[..., paddle.Tensor]
    optimizer: paddle.optimizer.Optimizer
    shape: tuple[int, ...] = (1, 28, 28)
    needs: tuple[str, ...] = ()
    context: Context = field(default_factory=Context)
    initial: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def layers(self) -> dict[str, paddle.nn.Layer]:
        """What has weights or a state: the network, and the loss where it is a layer."""
        own = {"loss": self.loss} if isinstance(self.loss, paddle.nn.Layer) else {}
        return {"network": self.network, **own}

    def own_parameters(self) -> dict[str, np.ndarray]:
        """A copy of the trainable parameters of a loss, by name; none of a function."""
        if not isinstance(self.loss, paddle.nn.Layer):
            return {}
        named = self.loss.named_parameters()
        return {name: own.numpy().copy() for name, own in named if not own.stop_gradient}

    @property
    def part_values(self) -> dict[str, np.ndarray]:
        """The values of the parts of a mixture at its last call, by their names in metrics."""
        parts = getattr(self.loss, "part_values", {})
        return {f"loss_{name}": values.numpy() for name, values in parts.items()}

    def losses(
        self, outputs: paddle.Tensor, labels: paddle.Tensor, index: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """The loss of every example: raw outputs [n, outputs], labels [n] int64 -> [n].

        index: [n], where the examples are in the training set; None: they are not in it.
        """
        self.context.index = index
        return self.loss(self.head.argument(outputs), labels, **self.context.of(self.needs))


@contextlib.contextmanager
def fresh(seed: int, device: str = "cpu") -> Iterator[None]:
    """Paddle as in a new process: random streams from `seed`, automatic names from zero.

    Build and train inside. The streams of numpy and of Python are for users' code alone.
    """
    paddle.set_device(device)
    paddle.seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    with paddle.utils.unique_name.guard():
        yield


def build(
    model: Callable[..., paddle.nn.Layer],
    loss: Callable[..., paddle.Tensor],
    optimizer: Callable[..., paddle.optimizer.Optimizer],
    scheduler: Callable[..., Any],
    *,
    lr: float,
    steps: int,
    shape: tuple[int, ...] = (1, 28, 28),
    classes: int = 10,
    epochs: int = 0,
    class_counts: Sequence[int] | None = None,
) -> Learner:
    """The network for inputs of `shape` and `loss`'s head of `classes` classes.

    It comes with its optimizer over `steps` (>= 1) steps in `epochs` epochs, which also trains the
    parameters of a loss that has some. A loss that is a class is built here.

    Args:
        model: Makes the network.
        loss: The loss.
        optimizer: Makes the optimizer.
        scheduler: Makes the learning rate.
        lr: What the scheduler gets.
        steps: How many steps the run has.
        shape: That of an input.
        classes: How many classes there are.
        epochs: How many epochs the run has.
        class_counts: How many training examples each class has, for a loss that needs them.

    Raises:
        ValueError: What the loss needs cannot be had.
    """
    head = head_of(loss, classes)
    takes = inspect.signature(model).parameters
    network = model(head.outputs, **({"shape": shape} if "shape" in takes else {}))
    chain.install(network)
    seen = Context(epochs=epochs, steps=steps, classes=classes)
    named = {*context.needed(loss), *context.needed_to_build(loss)}
    if "class_counts" in named:
        counts = context.checked_counts(class_counts)
        seen.class_counts = paddle.to_tensor(counts, dtype="float32")
    if head.scale is not None or "features" in named:
        layer = head_layer(network, head.outputs, "features" if head.scale is None else "cosines")
        seen.watch(layer)
        seen.features = layer.weight.shape[0]
    if head.scale is not None:
        give_cosines(layer, head.scale)
    built: Any = loss
    if context.class_of(loss):
        built = loss(**seen.of(context.needed_to_build(loss)))
    seen.features = None
    learner = Learner(network, head, built, None, shape, context.needed(loss), seen)
    parameters = [own for layer in learner.layers.values() for own in layer.parameters()]
    teacher = optimizer(learning_rate=scheduler(lr, steps=steps), parameters=parameters)
    return replace(learner, optimizer=teacher, initial=learner.own_parameters())


def total_steps(examples: int, *, epochs: int, batch_size: int) -> int:
    """The optimizer's steps in a whole run, at least 1: what a scheduler counts with."""
    return max(1, epochs * -(-examples // batch_size))


def train(
    learner: Learner,
    splits: Splits,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    augment: str = "none",
    done: int | None = None,
) -> Iterator[Record]:
    """Train for `epochs` (>= 0) epochs and yield a record of each, the untrained network's first.

    Every example is seen once per epoch, in an order that (seed, epoch) decides; the last batch may
    be smaller. `train/*` are means over the epoch while the weights move; `val/*` are of the
    weights at its end. A loss or a weight that is not finite ends the training with a record that
    says so. `train/gradient_norm`, the L2 norm of the gradient of a batch's mean loss with respect
    to all weights, before any clipping, and `train/update_ratio`, the norm of a step's change of
    the weights over that of the weights, are means over `MEASURED_STEPS` steps, evenly spaced, or
    all if there are fewer. Where noise changed labels, `metrics.memorisation` is in `train/*` too.

    Args:
        learner: What is trained.
        splits: The data.
        epochs: How many epochs.
        batch_size: How many examples a step has.
        seed: Decides the order of the examples, and what `augment` draws.
        augment: What changes the training images, see `data.augmented`; "none": nothing.
        done: The epochs that `learner`, restored from a `state`, has behind it; their records are
            not yielded again.
    """
    inputs = tensor(splits, splits.train)
    labels = splits.train.labels
    labels_tensor = paddle.to_tensor(labels)
    validation = tensor(splits, splits.validation)

    learner.context.after(done or 0)
    if done is None:
        yield _validated(learner, splits.validation, validation, 0, {}, "")
    for epoch in range((done or 0) + 1, epochs + 1):
        start = time.perf_counter()
        order = epoch_order(len(labels), seed=seed, epoch=epoch)
        drawn = augmentation(seed=seed, epoch=epoch)
        positions = paddle.to_tensor(order)  # once per epoch: for each batch it would take longer
        firsts = range(0, len(order), batch_size)
        measured = {
            firsts[step] for step in np.linspace(0, len(firsts) - 1, MEASURED_STEPS, dtype=int)
        }
        learner.context.epoch, learner.context.step = epoch, (epoch - 1) * len(firsts)
        raw = np.empty((len(order), learner.head.outputs), np.float32)  # in this order
        losses = np.empty(len(order))
        seen, sizes, diverged = 0, [], ""
        sums: Counter[str] = Counter()  # of the parts of a mixture
        for first in firsts:
            batch = slice(first, first + batch_size)
            index = positions[batch]
            given = paddle.index_select(inputs, index)
            if augment != "none":
                given = paddle.to_tensor(augmented(given.numpy(), augment, drawn))
            learner.context.step += 1
            computed = forward(learner, given, paddle.index_select(labels_tensor, index), index)
            raw[batch], losses[batch] = computed.outputs, computed.values
            batch_sum = float(losses[batch].sum())
            if not math.isfinite(batch_sum):
                diverged = (
                    f"the training loss became {batch_sum} in epoch {epoch}, step "
                    f"{first // batch_size + 1}"
                )
                break
            seen = min(batch.stop, len(order))
            sums.update({name: float(each.sum()) for name, each in learner.part_values.items()})
            lr = learner.optimizer.get_lr()
            if first in measured:
                sizes.append(measured_step(learner, computed))
            else:
                step(learner, computed)
        metrics = {"time/train_seconds": time.perf_counter() - start}
        if seen:
            met, predicted = order[:seen], learner.head.predict(raw[:seen])
            metrics |= {"train/loss": float(losses[:seen].mean()), "lr": lr} | means(sizes)
            metrics |= {f"train/{name}": total / seen for name, total in sums.items()}
            metrics["train/accuracy"] = accuracy(predicted, labels[met])
            learned = memorisation(predicted, labels[met], splits.clean_labels[met])
            metrics |= {f"train/{name}": value for name, value in learned.items()}
        diverged = diverged or _not_finite(learner, epoch)
        record = _validated(learner, splits.validation, validation, epoch, metrics, diverged)
        yield record
        if record.diverged:
            return


def state(learner: Learner) -> dict[str, Any]:
    """Weights, buffers, those of the loss, optimizer with its schedule, and random streams.

    The tensors are the learner's own, so save them before the next step.
    """
    return {
        **{name: layer.state_dict() for name, layer in learner.layers.items()},
        "optimizer": learner.optimizer.state_dict(),
        "paddle": [generator.__getstate__() for generator in paddle.get_rng_state()],
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def restore(learner: Learner, kept: dict[str, Any]) -> None:
    """Put a newly built learner where `state` was taken, all under one `fresh`."""
    for name, layer in learner.layers.items():
        layer.set_state_dict(kept[name])
    learner.optimizer.set_state_dict(kept["optimizer"])
    # As unpickling does it: an object of `get_rng_state` would keep its stream.
    generator = paddle.framework.core.GeneratorState
    generators = [generator.__new__(generator) for _ in kept["paddle"]]
    for new, values in zip(generators, kept["paddle"], strict=True):
        new.__setstate__(values)
    paddle.set_rng_state(generators)
    np.random.set_state(kept["numpy"])
    random.setstate(kept["python"])


def evaluate(
    learner: Learner, inputs: paddle.Tensor, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Raw outputs [n, outputs] float32 and the loss of every example [n], without learning.

    inputs: [n, ...] from `tensor`; labels: [n] int64.
    """
    for layer in learner.layers.values():
        layer.eval()
    parts, features = [], []
    with paddle.no_grad():
        for first in range(0, len(labels), EVALUATION_BATCH):
            parts.append(learner.network(inputs[first : first + EVALUATION_BATCH]).numpy())
            features.append(learner.context.features)
        outputs = np.concatenate(parts)
        if "features" in learner.needs:
            learner.context.features = paddle.concat(features)
        losses = learner.losses(paddle.to_tensor(outputs), paddle.to_tensor(labels)).numpy()
    for layer in learner.layers.values():
        layer.train()
    return outputs, losses


def tensor(splits: Splits, examples: Examples) -> paddle.Tensor:
    """The inputs of `examples` as one float32 tensor [n, *splits.shape], as the network gets them.

    Images are in [0, 1]; inputs are normalized where `splits` says so.
    """
    inputs = examples.inputs
    if inputs.dtype == np.uint8:
        inputs = np.divide(inputs, np.float32(255), dtype=np.float32)
    if splits.mean is not None and splits.std is not None:
        inputs = (inputs - splits.mean) / splits.std
    # By `reshape`, not `[:, None]`: that gives the new axis a stride of 0, and Paddle would copy
    # all images at each step.
    shaped = inputs.reshape(-1, *splits.shape)
    return paddle.from_dlpack(shaped).to(paddle.get_device())  # a CPU makes no copy


def _validated(
    learner: Learner,
    examples: Examples,
    inputs: paddle.Tensor,
    epoch: int,
    metrics: dict[str, float],
    diverged: str,
) -> Record:
    """The record of an epoch, with the metrics of validation, which must be finite, too."""
    start = time.perf_counter()
    outputs, losses = evaluate(learner, inputs, examples.labels)
    if np.isfinite(outputs).all():
        numbers = epoch_metrics(learner.head, outputs, examples.labels, losses)
        numbers |= {name: float(each.mean()) for name, each in learner.part_values.items()}
        metrics = metrics | {f"val/{name}": value for name, value in numbers.items()}
    else:
        diverged = (
            diverged or f"the outputs on the validation set are not finite after epoch {epoch}"
        )
    metrics = metrics | {"time/val_seconds": time.perf_counter() - start}
    for name, value in metrics.items():
        if not np.isfinite(value):
            diverged = diverged or f"{name} became {value} in epoch {epoch}"
    return Record(epoch, {k: v for k, v in metrics.items() if np.isfinite(v)}, outputs, diverged)


def _not_finite(learner: Learner, epoch: int) -> str:
    """Which weight is not finite after `epoch`; empty when all are."""
    for layer in learner.layers.values():
        for name, value in layer.state_dict().items():
            if not np.isfinite(value.numpy()).all():
                return f"the weights {name} are not finite after epoch {epoch}"
    return ""
