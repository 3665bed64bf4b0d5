"""One run, from its settings to its record in MLflow.

Locked, trained, recorded, continued after a kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import (
    checkpoints,
    checks,
    config,
    contract,
    corruptions,
    machine,
    metrics,
    source_digest,
    tracking,
    training,
)
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.data import Examples, Splits, order_hash
from experiments.kernels import conv_block
from experiments.terminal import duration
from experiments.tracking import Planned, Store, TrackedRun
from experiments.training import Learner, Record

log = logging.getLogger(__name__)


def execute(
    settings: Settings,
    artifacts: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    splits: Splits | None = None,
    planned: Planned | None = None,
    warnings: Sequence[TrainingWarning] | None = None,
) -> str:
    """Train one network and record everything about it; the id of its run.

    artifacts: texts to keep, by file name. tags: more of them for the run. splits: the data, where
    they are loaded already.
    planned: what the command planned to run; None: what its sweep has written into the store.
    warnings: what the check of the loss found; in a sweep, `settings.tracking["warnings"]` has it.
    It starts from the longest usable checkpoint of its trajectory, unless `settings.force`. Raises
    `tracking.Taken` when another process computes this run, `tracking.Finished` when it is finished
    and not `settings.force`, CommandError when the code has been edited since the run was planned.
    """
    machine.loaded()
    functions = [config.function(settings, group) for group in config.GROUPS]
    loss, model, data, optimizer, scheduler = functions
    splits = splits or data(seed=settings.seed)
    steps = training.total_steps(
        len(splits.train), epochs=settings.epochs, batch_size=settings.batch_size
    )
    if warnings is None:
        passed = (text.partition(": ") for text in settings.tracking["warnings"] or [])
        warnings = [TrainingWarning(name, text) for name, _, text in passed]
    in_labels = checks.of_labels(splits.train.labels)
    store = tracking.open_for(settings, wait=bool(settings.tracking["parent_run"]))
    device = machine.device(settings.device)
    with training.fresh(settings.seed, device), contextlib.ExitStack() as locked:
        learner = training.build(model, loss, optimizer, scheduler, lr=settings.lr, steps=steps)
        constant = dict(tags or {}) | tracking.versions()
        constant |= {"kernel": conv_block.kernel(learner.network), "processor": machine.cpu_model()}
        constant |= training.weight_hashes(learner.network)
        constant |= {"order_hash": order_hash(splits, seed=settings.seed)}
        source_digest.refresh()  # all of it is loaded by now
        code, identity = settings.code, settings.identity(splits.digest)
        if parent := settings.tracking["parent_run"]:
            planned = tracking.planned(store, parent)
        if planned:
            _check_plan(planned, settings, identity)
        constant |= code.tags
        made_by = {name: str(value) for name, value in constant.items() if name not in (tags or {})}
        made_by |= {"threads": str(settings.threads)}
        locked.enter_context(tracking.run_lock(store, identity, again=settings.force))
        kept = {**artifacts, **tracking.sources(code)}
        book = _Book(store, splits, kept, constant, [*warnings, *in_labels])
        trajectory = settings.trajectory(splits.digest)
        place = checkpoints.place(store.directory, store.key, store.experiment_id, trajectory)
        records: list[Record] = []
        stateful = any(warning.name == "hidden-state" for warning in warnings)
        if settings.checkpoint and not settings.force and not stateful:
            records, begun_by = _start(learner, store, place, settings, made_by)
            if records:
                constant |= {"resumed_after": str(records[-1].epoch), "resumed_from": begun_by}
        told: set[str] = set()
        before: set[str] = set()  # what is seen once may be on its way
        _warn(settings, in_labels, told)

        with book.run(settings) as tracked:
            for record in records:
                book.log(tracked, record)
            begun, done = time.perf_counter(), records[-1].epoch if records else None
            for record in training.train(
                learner,
                splits,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                seed=settings.seed,
                done=done,
            ):
                records.append(record)
                book.log(tracked, record)
                log.info("%s", _progress(settings, record, time.perf_counter() - begun, done or 0))
                seen = book.seen(learner, record)
                stays = [
                    each for each in seen if each.name in before or record.epoch == settings.epochs
                ]
                _warn(settings, stays, told)
                before = {warning.name for warning in seen}
                if settings.checkpoint and not record.diverged:  # from there, nothing goes on
                    content = {"run": tracked.run_id, "made_by": made_by}
                    _save(place, settings.epochs, records, content, learner)
            book.conclude(tracked, settings, learner, records[-1])
        if settings.checkpoint:
            last = checkpoints.path(place, settings.epochs, records[-1].epoch)
            checkpoints.remove(
                place, settings.epochs, but=last if settings.checkpoint is True else None
            )
        return tracked.run_id


@dataclasses.dataclass(frozen=True)
class _Book:
    """Where a run is recorded, and what is known of it before it trains.

    found: the classic mistakes in loss and labels.
    """

    store: Store
    splits: Splits
    artifacts: Mapping[str, str]
    tags: dict[str, Any]
    found: Sequence[TrainingWarning]

    def run(self, settings: Settings) -> Any:
        """A new run, as `tracking.tracked_run`.

        With all that is known before training.
        """
        digest = self.splits.digest
        return tracking.tracked_run(
            self.store,
            name=settings.label,
            params=settings.params,
            tags=self.tags | checks.tags(self.found) | settings.identities(digest),
            parent=settings.tracking["parent_run"],
            texts=dict(self.artifacts),
            dataset=(self.splits.name, digest, self.splits.train.images.shape),
        )

    def log(self, tracked: TrackedRun, record: Record) -> None:
        """The metrics of one epoch."""
        flipped = {"data/flipped": self.splits.flipped} if record.epoch == 0 else {}
        tracked.log_metrics(
            record.metrics | flipped, step=record.epoch, timestamp=int(record.time * 1000)
        )

    def seen(self, learner: Learner, record: Record) -> list[TrainingWarning]:
        """The classic mistakes that show in the outputs after an epoch.

        Divergence is told as what it is.
        """
        if record.diverged:
            return []
        return checks.of_outputs(
            learner.head, record.validation_outputs, self.splits.validation.labels, record.epoch
        )

    def conclude(
        self, tracked: TrackedRun, settings: Settings, learner: Learner, last: Record
    ) -> None:
        """The test set, once; nothing of the kind for a run that diverged."""
        found = checks.tags([*self.found, *self.seen(learner, last)])
        if last.diverged:
            tracked.set_tags(found | {"outcome": "diverged", "diverged": last.diverged})
            return
        test = self.splits.test
        outputs, losses = training.evaluate(learner, training.pixels(test.images), test.labels)
        if not (np.isfinite(outputs).all() and np.isfinite(losses).all()):
            diverged = f"the loss on the test images is not finite after epoch {last.epoch}"
            log.warning("%s | DIVERGED: %s", settings.label, diverged)
            tracked.set_tags(found | {"outcome": "diverged", "diverged": diverged})
            return
        numbers = metrics.test_metrics(
            learner.head,
            outputs,
            test.labels,
            losses,
            last.validation_outputs,
            self.splits.validation.labels,
        )
        tracked.log_metrics(
            {f"test/{name}": value for name, value in numbers.items()}, step=last.epoch
        )
        if settings.corruptions:
            tracked.log_metrics(_robustness(learner, test), step=last.epoch)
        tracked.log_predictions(outputs, learner.head.predict(outputs), test.labels)
        if settings.tracking["log_model"]:
            try:
                tracked.log_model(learner.network, learner.head.outputs)
            except tracking.ExportError as error:
                log.warning(
                    "%s | the run has no model, it cannot be exported: %s", settings.label, error
                )
                found |= {"model_export": str(error)}
        tracked.set_tags(found | {"outcome": "ok"})


def _warn(settings: Settings, warnings: Sequence[TrainingWarning], told: set[str]) -> None:
    """Say each classic mistake once; `told` are those that were."""
    for warning in warnings:
        if warning.name not in told:
            log.warning("%s | %s: %s", settings.label, warning.name, warning.text)
            told.add(warning.name)


def _robustness(learner: Learner, test: Examples) -> dict[str, float]:
    """`corrupted/accuracy_NAME` on the test images under each corruption.

    `corrupted/accuracy`, their mean.
    """
    found = {}
    for name in corruptions.CORRUPTIONS:
        images = training.pixels(corruptions.corrupt(name, test.images))
        outputs, _ = training.evaluate(learner, images, test.labels)
        found[f"corrupted/accuracy_{name}"] = metrics.accuracy(
            learner.head.predict(outputs), test.labels
        )
    return found | {"corrupted/accuracy": sum(found.values()) / len(found)}


def _check_plan(planned: Planned, settings: Settings, identity: str) -> None:
    """Raise CommandError unless `identity` is one of those that the command planned."""
    identities, code = planned
    if identity in identities:
        return
    now = settings.code_by_option
    files = contract.changed_files({part: code.get(part, {}) for part in now}, now)
    what = ", ".join(files) or "the data or the device"
    raise config.CommandError(
        f"{what} changed after the command planned this run: expected what was planned, got "
        "another "
        "identity, so the run was not started. The same command runs it with the code as it is now"
    )


def _start(
    learner: Learner, store: Store, place: Path, settings: Settings, made_by: Mapping[str, str]
) -> tuple[list[Record], str]:
    """Put `learner` where the longest usable checkpoint of its trajectory was.

    Its records, and the id of the run that saved it; none where there is no such checkpoint.
    """
    for epoch, path in checkpoints.longest_first(place):
        content = checkpoints.load(path) if epoch <= settings.epochs else None
        if content is None:
            continue
        by = content["made_by"]
        differ = [name for name in {**by, **made_by} if by.get(name) != made_by.get(name)]
        run = next(store.search(f"attributes.run_id = '{content['run']}'"), None)
        if differ or run is None:
            why = f"of another {', '.join(differ)}" if differ else "of a run that was deleted"
            log.info("%s | a checkpoint %s is not used", settings.label, why)
            continue
        training.restore(learner, content["state"])
        log.info(
            "%s | starts from epoch %d of run %s (%s)",
            settings.label,
            epoch,
            run.info.run_id,
            run.info.run_name,
        )
        return [Record(**record) for record in content["records"]], run.info.run_id
    return [], ""


def _save(
    place: Path, epochs: int, records: Sequence[Record], content: dict[str, Any], learner: Learner
) -> None:
    """Keep where a run of so many epochs is, instead of where it was."""
    *past, last = records
    empty = [vars(record) | {"validation_outputs": last.validation_outputs[:0]} for record in past]
    path = checkpoints.path(place, epochs, last.epoch)
    state = {"records": [*empty, vars(last)], "state": training.state(learner)}
    if checkpoints.save(path, content | state):
        checkpoints.remove(place, epochs, but=path)


def _progress(settings: Settings, record: Record, seconds: float, done: int) -> str:
    """One line per epoch: which job, where it stands, how it does, how long it will take."""
    parts = [settings.label, f"epoch {record.epoch}/{settings.epochs}"]
    for name, form in (("train/loss", ".4g"), ("val/loss", ".4g"), ("val/accuracy", ".2%")):
        if name in record.metrics:
            parts.append(f"{name} {record.metrics[name]:{form}}")
    if record.diverged:
        parts.append(f"DIVERGED: {record.diverged}")
    elif record.epoch:
        left = seconds / (record.epoch - done) * (settings.epochs - record.epoch)
        parts.append(f"{duration(left)} left" if left else f"took {duration(seconds)}")
    return " | ".join(parts)
