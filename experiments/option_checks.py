"""Checks of a command's options before anything trains, each combination in its own process.

So a crash, a hang, or a change of shared state in a user's code reaches neither the command nor a
run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import re
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import config, context, functions, machine, processes
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.credentials import redacted
from experiments.errors import CommandError, refuse

if TYPE_CHECKING:
    from experiments.data import Splits
    from experiments.training import Learner

log = logging.getLogger(__name__)

LIMIT_SECONDS = 60  # for each part of a check, and for each thousand rows of a batch

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
        whole: Whether its loss makes a run differ from the beginning of a longer one.
    """

    warnings: tuple[TrainingWarning, ...] = ()
    kernel: tuple[tuple[int, str], ...] = ()
    checkpoint: int = 0
    start: tuple[str, str] = ("", "")
    failure: str = ""
    whole: bool = False

    @property
    def alone(self) -> bool:
        """Whether a longer run cannot start from a checkpoint of this one."""
        return self.whole or any(each.name == "hidden-state" for each in self.warnings)


_data: dict[str, Data] = {}  # of the options that chose it: once per command
_results: dict[str, Checked] = {}  # by what was checked: each is checked once per command
_logged: set[str] = set()


def data(job: Settings) -> Data:
    """The digest and the sizes of a run's data; a user's function is called in a new process."""
    key = _data_key(job)
    if key not in _data:
        shipped = functions.is_shipped(job, "data")
        _data[key] = data_of(load(job)) if shipped else describe(job)
    return _data[key]


def splits(job: Settings) -> Splits | None:
    """The run's data; None where they come from a user's function, which is not called here."""
    if not functions.is_shipped(job, "data"):
        return None
    loaded = load(job)
    _data[_data_key(job)] = data_of(loaded)
    return loaded


def _data_key(job: Settings) -> str:
    return json.dumps(job.options["data"], sort_keys=True, default=str)


def check(jobs: Sequence[Settings]) -> list[Checked]:
    """What the checks of each run's options have shown; warnings are logged.

    Every option is bound to its function's signature, the loss is tried on random outputs, and
    every distinct combination takes training steps on blank inputs, with batches of the sizes that
    training has.

    Raises:
        CommandError: What is wrong with the options of all runs.
    """
    keys, tasks = [], {}
    for job, its in zip(jobs, map(data, jobs), strict=True):
        key = json.dumps(
            [
                job.options,
                job.choices,
                job.stop,
                job.device,
                job.threads,
                job.batch_size,
                vars(its),
            ],
            sort_keys=True,
            default=str,
        )
        keys.append(key)
        if key not in _results and key not in tasks:
            tasks[key] = _examine, (job, its)
    wrong = []
    slots = max(1, machine.cores() // jobs[0].threads)
    for key, result in _each(tasks, slots):
        if isinstance(result, CommandError):
            wrong.append(str(result))
        else:
            _results[key] = Checked(failure=result) if isinstance(result, str) else result
    if wrong:
        failures = [_results[key].failure for key in tasks if key in _results]
        refuse([*dict.fromkeys([*wrong, *filter(None, failures)])])
    _warn_of_starts([_results[key].start for key in dict.fromkeys(keys)])
    for job, checked in zip(jobs, (_results[key] for key in keys), strict=True):
        for warning in checked.warnings:
            _log_once(logging.WARNING, f"{job.loss_label}: {warning.name}: {warning.text}")
        if checked.failure:
            _log_once(logging.ERROR, f"FAILED {checked.failure}")
    return [_results[key] for key in keys]


def _log_once(level: int, message: str) -> None:
    if message not in _logged:
        _logged.add(message)
        log.log(level, "%s", message)


def _warn_of_starts(starts: Sequence[tuple[str, str]]) -> None:
    """Log which networks do not begin alike, so that their losses are compared unpaired."""
    hashes: dict[str, set[str]] = {}
    for network, init_hash in starts:
        hashes.setdefault(network, set()).add(init_hash)
    for network, different in hashes.items():
        message = (
            f"{network}: at the same seed, the losses begin from different weights outside the "
            "head, so their runs are compared as unpaired, which is less certain; define the head "
            "last, as the sublayer `head`"
        )
        if len(different) > 1:
            _log_once(logging.WARNING, message)


def check_one(job: Settings) -> Sequence[TrainingWarning]:
    """The warnings of a single run; a check that ended without a result is an error, too."""
    (checked,) = check([job])
    refuse([checked.failure] if checked.failure else [])
    return checked.warnings


def describe(job: Settings) -> Data:
    """`data`, found in a process of its own."""
    ((_, result),) = _each({"": (_describe, (job,))}, 1)
    if isinstance(result, str):
        refuse([result])
    if isinstance(result, CommandError):
        raise result
    return result


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


def _each(
    tasks: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]], slots: int
) -> Iterator[tuple[str, Any]]:
    """Key of each task, and its result, a CommandError, or why its process ended without one."""
    waiting = deque((key, *task) for key, task in tasks.items())
    with contextlib.closing(processes.each(waiting, slots)) as results:
        for key, result in results:
            if isinstance(result, processes.Died):
                yield key, _failure(result)
            elif isinstance(result, Exception) and not isinstance(result, CommandError):
                raise result
            else:
                yield key, result


def _failure(died: processes.Died) -> str:
    """A sentence on a process that ended without a result: what it did last."""
    if died.cause == "SIGALRM":
        return (
            f"{died.last}: expected the check to end within {LIMIT_SECONDS} s, it was still running"
        )
    return f"{died.last}: the check's process {died}"


# ---- in the process of a check -------------------------------------------------------------------


def _limit(rows: int = 0) -> None:
    """End this process, by SIGALRM, unless it comes here again in time; 0 rows: no limit."""
    if hasattr(signal, "alarm"):
        signal.alarm(LIMIT_SECONDS * -(-rows // 1000))


def _functions(send: Send, job: Settings, groups: Sequence[str]) -> list[functools.partial[Any]]:
    """The functions of the options; what is imported next is sent before."""
    bound = []
    for group in groups:
        send(f"{group}={job.choices[group]} (import of {job.options[group]['_target_']})")
        _limit(1)
        bound.append(functions.function(job, group))
    return bound


def _describe(send: Send, job: Settings) -> Data:
    _load_paddle(job)
    _functions(send, job, ("data",))
    send(f"data={job.choices['data']}")
    _limit()  # it may download much
    return data_of(load(job))


def _load_paddle(job: Settings) -> None:
    """Load Paddle before a module of a user's does, which would not prepare for it."""
    machine.load_paddle(job.threads)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _examine(send: Send, job: Settings, data: Data) -> Checked:
    _load_paddle(job)
    logging.disable(logging.WARNING)  # what is said here is said again in the run

    import numpy as np

    from experiments import checkpoints, checks, heads, loss_checks, rehearsal, training, weights
    from experiments.kernels import chain

    try:
        device = machine.device(job.device, job.threads)
    except ValueError as error:
        raise CommandError(str(error)) from error
    _functions(send, job, config.GROUPS)
    loss, model, optimizer, scheduler = (
        functions.naming_function(job, group)
        for group in ("loss", "model", "optimizer", "scheduler")
    )
    alone = f"loss={job.choices['loss']}"
    if heads.head_name(loss) == "prediction" and not data.ordered:
        raise CommandError(
            f"{alone}: expected data whose labels are numbers, since this loss trains one number; "
            f"the classes of data={job.choices['data']} have no order. Take a loss of logits, such "
            "as loss=ce; for data of your own whose labels are numbers, set data.ordered=true"
        )
    together = " ".join(
        f"{group}={job.choices[group]}" for group in ("loss", "model", "optimizer", "scheduler")
    )
    for name, is_set, right, wanted in (
        ("augment", job.augment != "none", len(data.shape) == 3, "images"),
        ("corruptions", job.corruptions, data.shape == (1, 28, 28), "grey images of 28 x 28"),
    ):
        if is_set and not right:
            raise CommandError(
                f"{name}: expected data of {wanted}, got data={job.choices['data']} with inputs of "
                f"the shape {list(data.shape)}; leave {name} out"
            )
    rows = min(job.batch_size, data.train)
    sizes = [rows, data.train % rows] if data.train % rows else [rows]  # the last batch is smaller
    size = rows

    steps = training.total_steps(data.train, epochs=job.epochs, batch_size=job.batch_size)
    try:
        with training.fresh(job.seed, device):
            send(alone)
            learner = training.build(
                model,
                loss,
                optimizer,
                scheduler,
                lr=job.lr,
                steps=steps,
                shape=data.shape,
                classes=data.classes,
                epochs=job.epochs,
                class_counts=data.counts,
            )
            announced = dataclasses.replace(
                learner, loss=_announced(learner.loss, send, alone, together)
            )
            learner.context.epoch = learner.context.step = 1
            start = weights.weight_hashes(learner.network)["init_hash"]
            _limit()  # a compiler may have to build the kernel
            kernel = chain.notices(learner.network)
            for size in sizes:
                send(together)
                _limit(size)
                rehearsal.rehearse(announced, size)
            if whole := context.is_whole(loss):
                learner.context.after(job.epochs)
                rehearsal.rehearse(announced, size)
            outputs = np.zeros((data.validation, learner.head.outputs), np.float32)
            state = training.state(learner)
            best = [*(state[part] for part in learner.layers), outputs] if job.patience else []
            checkpoint = len(checkpoints.packed([state, outputs, *best]))
            for size in {data.validation, data.test}:
                _limit(size)
                rehearsal.rehearse_loss(announced, size)
        send(alone)
        _limit(max(rows, 1000))
        size = rows
        calls = 2 if functions.is_shipped(job, "loss") else loss_checks.CALLS
        learner.context.epoch = learner.context.step = 1
        warnings = checks.of_loss(
            _alone(learner),
            rows=rows,
            calls=calls,
            classes=data.classes,
            anywhere="index" not in learner.needs,
        )
    except Exception as error:
        text = redacted(str(error)).strip()
        text = text if isinstance(error, CommandError) else f"{together}: {text}"
        raise CommandError(text + (f" (in a batch of {size})" if size != rows else "")) from error
    own = [f"{name}={value}" for name, value in job.params.items() if name.startswith("model.")]
    on = f"data={job.choices['data']}"
    network = " ".join([f"model={job.choices['model']}", *own, on, f"seed={job.seed}"])
    return Checked(tuple(warnings), kernel, checkpoint, (network, start), whole=whole)


def _announced(loss: Callable[..., Any], send: Send, alone: str, together: str) -> Any:
    """The loss; `send` says `alone` before a call and `together` after it."""

    def announced(*arguments: Any, **seen: Any) -> Any:
        send(alone)
        values = loss(*arguments, **seen)
        send(together)
        return values

    return announced


def _alone(learner: Learner) -> Callable[..., Any]:
    """The loss as a function of outputs and labels; every call begins in the present state."""
    import paddle

    loss, seen, cosines = learner.loss, learner.context, learner.head.name == "cosines"
    layer = learner.layers.get("loss")
    state = {name: each.clone() for name, each in layer.state_dict().items()} if layer else {}

    def plain(outputs: Any, labels: Any) -> Any:
        if layer:
            layer.set_state_dict(state)
        seen.index = paddle.arange(len(labels))
        if "features" in learner.needs:
            seen.features = paddle.ones([len(labels), *seen.features.shape[1:]])
        given = learner.head.argument(outputs) if cosines else outputs
        return loss(given, labels, **seen.of(learner.needs))

    plain.head = "logits" if cosines else learner.head.name  # type: ignore[attr-defined]
    return plain
