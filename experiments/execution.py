"""One run, from its settings to its record in MLflow: locked, trained, recorded, resumed."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments import (
    checkpoints,
    checks,
    config,
    context,
    contract,
    functions,
    machine,
    progress,
    source_digest,
    stopping,
    tracking,
    training,
    weights,
)
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.data import DIGITS, Splits, order_hash
from experiments.kernels import chain, conv_block
from experiments.recording import Recorder
from experiments.terminal import duration, plural
from experiments.tracking import Planned, Store
from experiments.training import Learner, Record

log = logging.getLogger(__name__)

_MOST_NAMES = 5000  # characters of the names of classes: they are kept in a tag


def execute_alone(*arguments: Any, **keywords: Any) -> str:
    """`execute` for a command with one run, which ends where another process computes this run."""
    try:
        return execute(*arguments, **keywords)
    except tracking.Taken as taken:
        raise config.CommandError(
            f"{taken}; wait for it, or stop it and type the same command again"
        ) from taken


def execute(
    settings: Settings,
    artifacts: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    splits: Splits | None = None,
    planned: Planned | None = None,
    warnings: Sequence[TrainingWarning] | None = None,
) -> str:
    """Train one network and record everything about it; the id of its run.

    It starts from the longest usable checkpoint of its trajectory, unless `settings.force`.

    Args:
        settings: The run.
        artifacts: Texts to keep, by file name.
        tags: More of them for the run.
        splits: The data, where they are loaded already.
        planned: What the command planned to run; None: what its sweep has written to the store.
        warnings: Those of the check of the loss; None: those that the sweep has passed on.

    Raises:
        Taken: Another process computes this run.
        Finished: It is finished, and not `settings.force`.
        CommandError: The code has been edited since the run was planned.
    """
    machine.loaded()
    loss, model, _, optimizer, scheduler = (
        functions.function(settings, g) for g in contract.GROUPS
    )
    parent = settings.tracking["parent_run"]
    store = tracking.open_for(settings, wait=bool(parent))
    splits = splits or _load(settings, store)
    if warnings is None:
        passed = (text.partition(": ") for text in settings.tracking["warnings"] or [])
        warnings = [TrainingWarning(name, text) for name, _, text in passed]
    labels, classes = splits.train.labels, len(splits.classes)
    warnings = [*warnings, *checks.of_labels(labels, classes)]
    epochs = settings.epochs
    steps = training.total_steps(len(labels), epochs=epochs, batch_size=settings.batch_size)
    sizes: Any = {"lr": settings.lr, "steps": steps, "epochs": epochs, "shape": splits.shape}
    sizes |= {"classes": classes, "class_counts": context.counts(labels, classes)}
    device = machine.device(settings.device, settings.threads)
    with training.fresh(settings.seed, device), contextlib.ExitStack() as stack:
        learner = training.build(model, loss, optimizer, scheduler, **sizes)
        source_digest.refresh()  # all of it is loaded by now
        code, identity = settings.code, settings.identity(splits.digest)
        made_by = tracking.versions() | weights.weight_hashes(learner.network) | code.tags
        made_by |= {"kernel": chain.kernel(learner.network), "processor": machine.cpu_model()}
        made_by |= {"order_hash": order_hash(splits, seed=settings.seed)}
        constant = {**(tags or {}), **made_by, **_tags_of_data(splits)}
        made_by |= {"threads": str(settings.threads)}
        if not parent:  # a sweep has logged it
            logged = len(conv_block.notices(learner.network))  # by the kernel itself
            for level, text in chain.notices(learner.network)[logged:]:
                log.log(level, "%s", text)
        if planned := tracking.planned(store, parent) if parent else planned:
            _check_plan(planned, settings, identity)
        stack.enter_context(tracking.run_lock(store, identity, again=settings.force))
        texts = {**artifacts, **tracking.sources(code)}
        if splits.mean is not None and splits.std is not None:
            numbers = {"mean": splits.mean.ravel(), "std": splits.std.ravel()}
            texts["normalization.json"] = json.dumps({k: v.tolist() for k, v in numbers.items()})
        recorder = Recorder(store, splits, texts, constant, warnings)
        trajectory = settings.trajectory(splits.digest)
        prefix = checkpoints.prefix(store.directory, store.key, store.experiment_id, trajectory)
        records: list[Record] = []
        best: dict[str, Any] | None = None
        stateful = any(warning.name == "hidden-state" for warning in warnings)
        if settings.checkpoint and not settings.force and not stateful:
            one_length = context.is_whole(loss)
            records, resumed_from, best = _start(
                learner, store, prefix, settings, made_by, one_length
            )
            if records:
                constant |= {"resumed_after": str(records[-1].epoch), "resumed_from": resumed_from}

        with recorder.run(settings) as tracked:
            for record in records:
                recorder.log(tracked, record)
            started = time.perf_counter()
            content = {"run": tracked.run_id, "made_by": made_by}
            save = partial(_save, prefix, epochs, learner, content) if settings.checkpoint else None
            best = _train(tracked, recorder, settings, learner, records, best, save)
            end = recorder.conclude(tracked, settings, learner, records, best)
        if settings.checkpoint:
            newest = checkpoints.path(prefix, epochs, records[-1].epoch)
            checkpoints.remove(prefix, epochs, but=newest if settings.checkpoint is True else None)
        if parent:
            parts = [settings.label, *end, f"took {duration(time.perf_counter() - started)}"]
            parts += [f"warnings: {', '.join(sorted(recorder.logged))}"] if recorder.logged else []
            log.info("%s", " | ".join(parts), extra=progress.end())
        return tracked.run_id


def _train(
    tracked: tracking.TrackedRun,
    recorder: Recorder,
    settings: Settings,
    learner: Learner,
    records: list[Record],
    best: dict[str, Any] | None,
    save: Callable[[Sequence[Record], dict[str, Any] | None], None] | None,
) -> dict[str, Any] | None:
    """Train from the last of `records` on, and log, append and save each new record.

    Args:
        tracked: The run in the store.
        recorder: Writes to it.
        settings: The run.
        learner: What is trained.
        records: Those of the epochs that it has behind it.
        best: With early stopping the `stopping.state` of the best of them.
        save: Saves a checkpoint; None: there are none.

    Returns:
        `best` after the last epoch.
    """
    epochs, started = settings.epochs, time.perf_counter()
    done = records[-1].epoch if records else None
    stopped = stopping.is_over(records, settings.patience)
    for record in training.train(
        learner,
        recorder.splits,
        epochs=records[-1].epoch if stopped else epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        augment=settings.augment,
        done=done,
    ):
        records.append(record)
        recorder.log(tracked, record)
        stopped = stopping.is_over(records, settings.patience)
        line = _progress(settings, record, time.perf_counter() - started, done or 0, stopped)
        log.info("%s", line, extra=progress.epoch(record.epoch, epochs))
        recorder.warn(settings, learner, record, last=stopped or record.epoch == epochs)
        if record.diverged:  # from there, nothing goes on
            break
        if settings.patience and stopping.best(records) is record:
            best = stopping.state(learner, record)
        if save:
            save(records, best)
        if stopped:
            break
    return best


def _tags_of_data(splits: Splits) -> dict[str, str]:
    """The tags of a run about its data: classes that are not digits, and folds."""
    folds = {"folds": str(splits.folds)} if splits.folds else {}
    if splits.classes == DIGITS:
        return folds
    names = json.dumps(splits.classes)
    return folds | {"classes": names if len(names) <= _MOST_NAMES else str(len(splits.classes))}


def _load(settings: Settings, store: Store) -> Splits:
    """The run's data; a FAILED run records why they cannot be loaded again after the check."""
    digest = settings.tracking["data_digest"]
    try:
        return functions.function(settings, "data")(seed=settings.seed)
    except Exception:
        with tracking.tracked_run(
            store,
            name=settings.label,
            params=settings.params,
            tags=settings.code.tags | (settings.identities(digest) if digest else {}),
            parent=settings.tracking["parent_run"],
        ):
            raise


def _check_plan(planned: Planned, settings: Settings, identity: str) -> None:
    """Raise CommandError unless `identity` is one of those that the command planned."""
    identities, code = planned
    if identity in identities:
        return
    now = settings.code_by_option
    files = contract.changed_files({part: code.get(part, {}) for part in now}, now)
    changed = ", ".join(files) or "the data or the device"
    raise config.CommandError(
        f"{changed} changed after the command planned this run: expected what was planned, got "
        "another identity, so the run was not started. The same command runs it with the code as "
        "it is now"
    )


def _start(
    learner: Learner,
    store: Store,
    prefix: Path,
    settings: Settings,
    made_by: Mapping[str, str],
    one_length: bool,
) -> tuple[list[Record], str, dict[str, Any] | None]:
    """Restore `learner` from the longest usable checkpoint of its trajectory.

    one_length: Whether only a checkpoint of a run of as many epochs fits.

    Returns:
        The records of its epochs, the id of the run that saved it, and with early stopping the
        `stopping.state` of the best epoch; empty without a checkpoint.
    """
    for epoch, path in checkpoints.longest_first(prefix):
        fits = epoch <= settings.epochs
        if one_length:
            fits = path == checkpoints.path(prefix, settings.epochs, epoch)
        content = checkpoints.load(path) if fits else None
        if content is None:
            continue
        origin = content["made_by"]
        differ = [name for name in {**origin, **made_by} if origin.get(name) != made_by.get(name)]
        runs = store.search(f"attributes.run_id = '{content['run']}'")
        if differ or not runs:
            reason = f"of another {', '.join(differ)}" if differ else "of a run that was deleted"
            log.info("%s | a checkpoint %s is not used", settings.label, reason)
            continue
        training.restore(learner, content["state"])
        info = runs[0].info
        source = f"epoch {epoch} of run {info.run_id} ({info.run_name})"
        log.info("%s | starts from %s", settings.label, source)
        records = [Record(**record) for record in content["records"]]
        return records, info.run_id, content.get("best")
    return [], "", None


def _save(
    prefix: Path,
    epochs: int,
    learner: Learner,
    content: dict[str, Any],
    records: Sequence[Record],
    best: dict[str, Any] | None,
) -> None:
    """Replace the checkpoint of the run of `epochs` epochs by one of its present state."""
    *past, last = records
    empty = [vars(record) | {"validation_outputs": last.validation_outputs[:0]} for record in past]
    path = checkpoints.path(prefix, epochs, last.epoch)
    state = {"records": [*empty, vars(last)], "state": training.state(learner), "best": best}
    if checkpoints.save(path, content | state):
        checkpoints.remove(prefix, epochs, but=path)


def _progress(
    settings: Settings, record: Record, seconds: float, first_epoch: int, stopped: bool
) -> str:
    """The line that is logged after an epoch; `stopped`: training stops early here."""
    parts = [settings.label, f"epoch {record.epoch}/{settings.epochs}"]
    for name, form in (("train/loss", ".4g"), ("val/loss", ".4g"), ("val/accuracy", ".2%")):
        if name in record.metrics:
            parts.append(f"{name} {record.metrics[name]:{form}}")
    if record.diverged:
        parts.append(f"DIVERGED: {record.diverged}")
    elif stopped:
        epochs = plural(settings.patience or 0, "epoch")
        parts.append(f"stopped: {epochs} without a better validation accuracy")
    elif record.epoch:
        remaining = seconds / (record.epoch - first_epoch) * (settings.epochs - record.epoch)
        parts.append(f"{duration(remaining)} left" if remaining else f"took {duration(seconds)}")
    return " | ".join(parts)
