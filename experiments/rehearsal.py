"""A rehearsal of the options of a run, in a process of its own, to see whether they can train.

Each function is called as a run calls it, on blank inputs of the sizes of its batches, and the loss
is checked on random outputs. Before each part the process sends what it tries next, so that the
message about a crash can name it. The command imports this module, so Paddle is imported inside.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import context, contract, functions, machine
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.credentials import redacted
from experiments.errors import CommandError, place_of

if TYPE_CHECKING:
    import paddle

    from experiments.data import Splits
    from experiments.training import Learner

LIMIT_SECONDS = 60  # for each part of a check, and for each thousand rows of a batch
_EPOCHS_SECONDS = 2.0  # for all epochs of a loss that is searched for a state

# What to do about a loss that returns an array of 0 or 2 dimensions.
_SHAPE_ADVICE = {
    0: "; return the values without their mean, a function of Paddle with `reduction: none`",
    2: "; sum what belongs to one example, in a function of your own",
}

Send = Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """What others have to know of a data set.

    Attributes:
        digest: Of its content.
        train: How many examples; so `validation` and `test`.
        shape: That of an input.
        classes: How many there are.
        ordered: Whether labels are numbers.
        counts: How many training examples each class has with the first seed. Other seeds may leave
            other examples to training; `training.build` refuses their own where a class has none.
    """

    digest: str
    train: int
    validation: int
    test: int
    shape: tuple[int, ...] = (1, 28, 28)
    classes: int = 10
    ordered: bool = True
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What the check of a combination of options has shown.

    Attributes:
        warnings: Those about its loss.
        kernel: What to log of the network's kernel, each with its level.
        checkpoint: The size of a checkpoint, in bytes.
        start: The model, the seed, and the hash of the initial weights outside the head.
        failure: Why there is no result, where the process ended without one.
        one_length: Whether its loss makes a run differ from the beginning of a longer one.
    """

    warnings: tuple[TrainingWarning, ...] = ()
    kernel: tuple[tuple[int, str], ...] = ()
    checkpoint: int = 0
    start: tuple[str, str] = ("", "")
    failure: str = ""
    one_length: bool = False

    @property
    def can_extend(self) -> bool:
        """Whether a longer run can start from a checkpoint of this one."""
        stateful = any(warning.name == "hidden-state" for warning in self.warnings)
        return not (self.one_length or stateful)


def load(job: Settings) -> Splits:
    """The run's data, its `Splits`. Raises CommandError when it cannot be loaded."""
    from experiments.data import DataError

    machine.prepare(job.threads)  # a function of a user's may load Paddle
    try:
        return functions.function(job, "data")(seed=job.seed)
    except DataError as error:
        raise CommandError(f"data={job.choices['data']}: {error}") from error
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if not unknown or not functions.is_shipped(job, "data"):
            raise
        raise CommandError(
            f"data.{unknown[1]}: data={job.choices['data']} has no such value; leave it out"
        ) from error


def data_of(splits: Splits) -> Data:
    """`splits` as others have to know them."""
    return Data(
        splits.digest,
        train=len(splits.train),
        validation=len(splits.validation),
        test=len(splits.test),
        shape=splits.shape,
        classes=len(splits.classes),
        ordered=splits.ordered,
        counts=context.counts(splits.train.labels, len(splits.classes)),
    )


def describe(send: Send, job: Settings) -> Data:
    """The digest and the sizes of a run's data, which a function of a user's loads."""
    _load_paddle(job)
    _import(send, job, ("data",))
    send(f"data={job.choices['data']}")
    _limit()  # it may download much
    return data_of(load(job))


def check(send: Send, job: Settings, data: Data) -> Checked:
    """Check the options of a run on these data. Raises CommandError for what is wrong."""
    _load_paddle(job)
    logging.disable(logging.WARNING)  # the run logs the same again

    import numpy as np
    import paddle

    from experiments import checkpoints, checks, heads, loss_checks, training, weights
    from experiments.kernels import chain

    try:
        device = machine.device(job.device, job.threads)
    except ValueError as error:
        raise CommandError(str(error)) from error
    loss, model, _, optimizer, scheduler = _import(send, job, contract.GROUPS)
    loss_name = f"loss={job.choices['loss']}"
    groups = ("loss", "model", "optimizer", "scheduler")
    option_names = " ".join(f"{group}={job.choices[group]}" for group in groups)
    if heads.head_name(loss) == "prediction" and not data.ordered:
        raise CommandError(
            f"{loss_name}: expected data whose labels are numbers, since this loss trains one "
            f"number; the classes of data={job.choices['data']} have no order. Take a loss of "
            "logits, such as loss=ce; for data of your own whose labels are numbers, set "
            "data.ordered=true"
        )
    for name, is_set, fits, kind in (
        ("augment", job.augment != "none", len(data.shape) == 3, "images"),
        ("corruptions", job.corruptions, data.shape == (1, 28, 28), "grey images of 28 x 28"),
    ):
        if is_set and not fits:
            raise CommandError(
                f"{name}: expected data of {kind}, got data={job.choices['data']} with inputs of "
                f"the shape {list(data.shape)}; leave {name} out"
            )
    size = rows = min(job.batch_size, data.train)
    batches = [rows, data.train % rows] if data.train % rows else [rows]  # the last one is smaller
    steps = training.total_steps(data.train, epochs=job.epochs, batch_size=job.batch_size)
    sizes: Any = {"shape": data.shape, "classes": data.classes, "class_counts": data.counts}
    sizes |= {"lr": job.lr, "steps": steps, "epochs": job.epochs}
    try:
        with training.fresh(job.seed, device):
            send(loss_name)
            learner = training.build(model, loss, optimizer, scheduler, **sizes)
            if not isinstance(learner.optimizer, paddle.optimizer.Optimizer):
                raise CommandError(
                    f"optimizer={job.choices['optimizer']}: expected a function that returns a "
                    f"paddle.optimizer.Optimizer, got {type(learner.optimizer).__name__}"
                )
            announced = dataclasses.replace(
                learner, loss=_announced(learner.loss, send, loss_name, option_names)
            )
            learner.context.epoch = learner.context.step = 1
            start = weights.weight_hashes(learner.network)["init_hash"]
            _limit()  # a compiler may have to build the kernel
            kernel = chain.notices(learner.network)
            for size in batches:
                send(option_names)
                _limit(size)
                rehearse(announced, size)
            if one_length := context.is_whole(loss):
                learner.context.after(job.epochs)
                rehearse(announced, size)
            outputs = np.zeros((data.validation, learner.head.outputs), np.float32)
            state = training.state(learner)
            best = [*(state[part] for part in learner.layers), outputs] if job.patience else []
            checkpoint = len(checkpoints.packed([state, outputs, *best]))
            for size in {data.validation, data.test}:
                _limit(size)
                rehearse_loss(announced, size)
        send(loss_name)
        _limit(max(rows, 1000))
        size = rows
        learner.context.epoch = learner.context.step = 1
        warnings = checks.of_loss(
            _in_one_state(learner),
            rows=rows,
            calls=2 if functions.is_shipped(job, "loss") else loss_checks.CALLS,
            classes=data.classes,
            anywhere="index" not in learner.needs,
        )
    except Exception as error:
        text = redacted(str(error)).strip()
        if not isinstance(error, CommandError):
            text = f"{option_names}: {text or type(error).__name__}{place_of(error)}"
        raise CommandError(text + (f" (in a batch of {size})" if size != rows else "")) from error
    own = [f"{name}={value}" for name, value in job.params.items() if name.startswith("model.")]
    on = f"data={job.choices['data']}"
    network = " ".join([f"model={job.choices['model']}", *own, on, f"seed={job.seed}"])
    return Checked(tuple(warnings), kernel, checkpoint, (network, start), one_length=one_length)


def _limit(rows: int = 0) -> None:
    """End this process, by SIGALRM, unless it comes here again in time; 0 rows: no limit."""
    if hasattr(signal, "alarm"):
        signal.alarm(LIMIT_SECONDS * -(-rows // 1000))


def _load_paddle(job: Settings) -> None:
    """Load Paddle before a module of a user's does, which would not prepare for it."""
    machine.load_paddle(job.threads)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _import(send: Send, job: Settings, groups: Sequence[str]) -> list[functools.partial[Any]]:
    """The functions of the options; what is imported next is sent before."""
    bound = []
    for group in groups:
        send(f"{group}={job.choices[group]} (import of {job.options[group]['_target_']})")
        _limit(1)
        bound.append(functions.naming_function(job, group))
    return bound


def _announced(loss: Callable[..., Any], send: Send, loss_name: str, option_names: str) -> Any:
    """The loss; its name is sent before a call, and those of all options after it."""

    def announced(*arguments: Any, **keywords: Any) -> Any:
        send(loss_name)
        values = loss(*arguments, **keywords)
        send(option_names)
        return values

    return announced


def _in_one_state(learner: Learner) -> Callable[..., Any]:
    """The loss as a function of outputs and labels; each call begins in the present state.

    After the first call, a loss that names `epoch` or `step` goes through all epochs with other
    outputs, so that a state that it keeps elsewhere shows in the next calls.
    """
    import paddle

    loss, context, cosines = learner.loss, learner.context, learner.head.name == "cosines"
    layer = learner.layers.get("loss")
    state = {name: each.clone() for name, each in layer.state_dict().items()} if layer else {}
    epoch, step = context.epoch, context.step
    moves = not {"epoch", "step"}.isdisjoint(learner.needs)
    later = iter(range(1, context.epochs + 1) if moves else ())

    def call(outputs: Any, labels: Any) -> Any:
        context.index = paddle.arange(len(labels))
        if "features" in learner.needs:
            context.features = paddle.ones([len(labels), *context.features.shape[1:]])
        argument = learner.head.argument(outputs) if cosines else outputs
        return loss(argument, labels, **context.of(learner.needs))

    def plain(outputs: Any, labels: Any) -> Any:
        if layer:
            layer.set_state_dict(state)
        values = call(outputs, labels)
        end = time.monotonic() + _EPOCHS_SECONDS
        for other in later:
            context.after(other)
            call(outputs.roll(1, axis=0), labels)
            if time.monotonic() > end:
                break
        context.epoch, context.step = epoch, step
        return values

    plain.head = "logits" if cosines else learner.head.name  # type: ignore[attr-defined]
    return plain


def rehearse(learner: Learner, rows: int = 2) -> None:
    """One step on `rows` (>= 1) blank inputs, to see whether the options can train at all.

    Raises:
        ValueError: A shape or a dtype is wrong, or the network raises an error. That of a loss is
            raised as it is.
    """
    import paddle

    from experiments.steps import advance, backward

    shape = [rows, *learner.shape]
    try:
        outputs = learner.network(paddle.zeros(shape))
    except Exception as error:  # a user's network may raise anything
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"expected a network that takes inputs of the shape {shape}, got the error {message!r} "
            "of it; a parameter `shape` of the model gets the shape of an input"
        ) from error
    if outputs.shape != [rows, learner.head.outputs]:
        raise ValueError(
            f"expected outputs [batch, {learner.head.outputs}] from the model, got "
            f"{list(outputs.shape)} for a batch of {rows}"
        )
    needed = "cosines" if learner.head.name == "cosines" else "features"
    if needed in (*learner.needs, learner.head.name) and learner.context.features is None:
        raise ValueError(
            f"{needed}: expected a network that calls its head as a layer, got one that does not; "
            "write self.head(x) in its forward"
        )
    backward(_blank_losses(learner, outputs, paddle.arange(rows, dtype="int64")))
    advance(learner)


def rehearse_loss(learner: Learner, rows: int) -> None:
    """The loss alone, on as many rows as an evaluation has, after `rehearse`; raises as it does."""
    import paddle

    with paddle.no_grad():
        if "features" in learner.needs:
            width = learner.context.features.shape[1:]
            learner.context.features = paddle.zeros([rows, *width])
        try:
            _blank_losses(learner, paddle.zeros([rows, learner.head.outputs]))
        except Exception as error:  # a user's loss may raise anything
            if "index" not in learner.needs:
                raise
            text = f"where index is None, as for validation and test examples: {error}"
            raise ValueError(text) from error


def _blank_losses(
    learner: Learner, outputs: paddle.Tensor, index: paddle.Tensor | None = None
) -> paddle.Tensor:
    import paddle

    rows = len(outputs)
    labels = paddle.arange(rows, dtype="int64") % learner.head.classes
    values = learner.losses(outputs, labels, index)
    if not isinstance(values, paddle.Tensor):
        raise ValueError(
            f"expected a Paddle tensor [batch] from the loss, got {type(values).__name__}"
        )
    if values.shape != [rows]:
        raise ValueError(
            f"expected one value per example from the loss, [{rows}] for a batch of {rows}, got "
            f"{list(values.shape)}" + _SHAPE_ADVICE.get(len(values.shape), "")
        )
    if values.dtype != outputs.dtype:
        raise ValueError(
            f"expected {outputs.dtype} from the loss, like the outputs, got {values.dtype}"
        )
    return values
