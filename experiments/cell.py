"""One cell, from its settings to its run in MLflow.

Claimed, trained, recorded, continued after a kill.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import (
    checkpoints,
    config,
    contract,
    conv_block,
    corruptions,
    lint,
    machine,
    metrics,
    source_digest,
    tracking,
    training,
)
from experiments.config import Settings
from experiments.data import Examples, Splits, order_hash
from experiments.lint import Finding
from experiments.terminal import duration
from experiments.tracking import Claim, Planned, Store, TrackedRun
from experiments.training import Learner, Record

log = logging.getLogger(__name__)


def execute(
    settings: Settings,
    artifacts: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    splits: Splits | None = None,
    planned: Planned | None = None,
    warnings: Sequence[Finding] | None = None,
) -> str:
    """Train one network and record everything about it; the id of its run.

    artifacts: texts to keep, by file name. tags: more of them for the run. splits: the data, where
    they are loaded already.
    planned: what the command planned to run; None: what its sweep has written into the store.
    warnings: what the check of the loss found; in a sweep, `settings.tracking["warnings"]` has it.
    Where `settings.tracking["prefixes"]` lists smaller numbers of epochs, those runs, being the
    beginning of this one, are recorded on the way. Raises `tracking.Taken` when another process is
    at this cell, `tracking.Finished` when it is finished and not `settings.force`, `tracking.Lost`
    when this process was silent for so long that another took over, CommandError when the code has
    been edited since the run was planned.
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
        warnings = [Finding(name, text) for name, _, text in passed]
    in_labels = lint.of_labels(splits.train.labels)
    store = tracking.open_for(settings, wait=bool(settings.tracking["parent_run"]))
    with training.fresh(settings.seed, machine.device(settings.device)):
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
        # From here on the cell is this process's, and what goes wrong is told in its run.
        claim = tracking.claim(store, identity, again=settings.force)
        kept = {**artifacts, **tracking.sources(code)}
        book = _Book(store, splits, kept, constant, [*warnings, *in_labels])
        place = checkpoints.place(store.directory, store.key, store.experiment_id, claim.identity)
        records = (
            _continue(learner, place, made_by) if settings.checkpoint and not settings.force else []
        )
        if records:
            constant |= {"resumed_after": str(records[-1].epoch)}
            log.info("%s | goes on after epoch %d", settings.label, records[-1].epoch)
        shorter = sorted(settings.tracking["prefixes"] or [])
        told: set[str] = set()
        before: set[str] = set()  # what is seen once may be on its way
        _warn(settings, in_labels, told)

        with book.run(settings, claim) as tracked:
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
                before = {finding.name for finding in seen}
                for epochs in [
                    e
                    for e in shorter
                    if e == record.epoch or (record.diverged and e > record.epoch)
                ]:
                    book.prefix(
                        dataclasses.replace(settings, epochs=epochs),
                        learner,
                        records,
                        tracked.run_id,
                    )
                if settings.checkpoint and not record.diverged:  # from there, nothing goes on
                    past = [
                        vars(r) | {"validation_outputs": r.validation_outputs[:0]}
                        for r in records[:-1]
                    ]
                    content = {"made_by": made_by, "records": [*past, vars(record)]}
                    checkpoints.save(place, content | {"state": training.state(learner)})
            book.conclude(tracked, settings, learner, records[-1])
        checkpoints.remove(place)
        return tracked.run_id


@dataclasses.dataclass(frozen=True)
class _Book:
    """What runs of one training share: where they are recorded, and what is recorded of all alike.

    found: the classic mistakes in loss and labels.
    """

    store: Store
    splits: Splits
    artifacts: Mapping[str, str]
    tags: dict[str, Any]
    found: Sequence[Finding]

    def run(self, settings: Settings, claim: Claim, **tags: str) -> Any:
        """The new run of a cell, as `tracking.tracked_run`.

        With all that is known before training.
        """
        digest = self.splits.digest
        return tracking.tracked_run(
            self.store,
            name=settings.label,
            params=settings.params,
            tags=self.tags | lint.tags(self.found) | settings.identities(digest) | tags,
            claim=claim,
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

    def seen(self, learner: Learner, record: Record) -> list[Finding]:
        """The classic mistakes that show in the outputs after an epoch.

        Divergence is told as what it is.
        """
        if record.diverged:
            return []
        return lint.of_outputs(
            learner.head, record.validation_outputs, self.splits.validation.labels, record.epoch
        )

    def conclude(
        self, tracked: TrackedRun, settings: Settings, learner: Learner, last: Record
    ) -> None:
        """The test set, once; nothing of the kind for a run that diverged."""
        found = lint.tags([*self.found, *self.seen(learner, last)])
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

    def prefix(
        self, settings: Settings, learner: Learner, records: Sequence[Record], longer: str
    ) -> None:
        """The run that would have ended here, or diverged before.

        As the first epochs of the run `longer`.
        """
        try:
            claim = tracking.claim(
                self.store, settings.identity(self.splits.digest), again=settings.force
            )
        except (tracking.Taken, tracking.Finished):
            return
        text = re.sub(
            r"(?m)^epochs: \d+$", f"epochs: {settings.epochs}", self.artifacts["config.yaml"]
        )
        own = dataclasses.replace(self, artifacts={**self.artifacts, "config.yaml": text})
        with own.run(settings, claim, prefix_of=longer) as tracked:
            for record in records:
                own.log(tracked, record)
            own.conclude(tracked, settings, learner, records[-1])


def _warn(settings: Settings, findings: Sequence[Finding], told: set[str]) -> None:
    """Say each classic mistake once; `told` are those that were."""
    for finding in findings:
        if finding.name not in told:
            log.warning("%s | %s: %s", settings.label, finding.name, finding.text)
            told.add(finding.name)


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


def _continue(learner: Learner, place: Path, made_by: Mapping[str, str]) -> list[Record]:
    """The records of the cell's checkpoint, `learner` being put where it was then.

    None where there is no use in it.
    """
    content = checkpoints.load(place)
    if content is None:
        return []
    by = content["made_by"]
    if by != made_by:
        differ = [name for name in {**by, **made_by} if by.get(name) != made_by.get(name)]
        log.info("the checkpoint is of another %s; the run starts over", ", ".join(differ))
        return []
    training.restore(learner, content["state"])
    return [Record(**record) for record in content["records"]]


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
