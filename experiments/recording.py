"""What a run writes to MLflow: its params and tags, each epoch, its warnings, and how it ends."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import checks, context, metrics, progress, stopping, tracking, training
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.data import Examples, Splits
from experiments.tracking import Store, TrackedRun
from experiments.training import Learner, Record

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Recorder:
    """Records a run and its warnings.

    Attributes:
        warnings: Those about its loss and its labels.
        logged: The names of the warnings that were logged.
        previous: The names of the warnings after the last epoch.
    """

    store: Store
    splits: Splits
    artifacts: Mapping[str, str]
    tags: dict[str, Any]
    warnings: Sequence[TrainingWarning]
    logged: set[str] = dataclasses.field(default_factory=set)
    previous: set[str] = dataclasses.field(default_factory=set)

    def run(self, settings: Settings) -> Any:
        """A new run in the store, with all that it has before training."""
        digest = self.splits.digest
        return tracking.tracked_run(
            self.store,
            name=settings.label,
            params=settings.params,
            tags=self.tags | checks.tags(self.warnings) | settings.identities(digest),
            parent=settings.tracking["parent_run"],
            texts=dict(self.artifacts),
            dataset=(self.splits.name, digest, self.splits.train.inputs.shape),
        )

    def log(self, tracked: TrackedRun, record: Record) -> None:
        """The metrics of one epoch."""
        share = self.splits.flipped if record.epoch == 0 else 0.0
        flipped = {"data/flipped": share} if share else {}
        tracked.log_metrics(
            record.metrics | flipped, step=record.epoch, timestamp=int(record.time * 1000)
        )

    def mistakes(self, learner: Learner, record: Record, *, last: bool) -> list[TrainingWarning]:
        """The classic mistakes that show in the outputs after an epoch, or in the loss at last."""
        if record.diverged:
            return []
        labels = self.splits.validation.labels
        warnings = checks.of_outputs(learner.head, record.validation_outputs, labels, record.epoch)
        if last and record.epoch > 0:
            warnings += checks.of_parameters(learner.initial, learner.own_parameters())
        return warnings

    def warn(self, settings: Settings, learner: Learner, record: Record, *, last: bool) -> None:
        """Log each mistake once: after two consecutive epochs, or after the last one."""
        current = self.mistakes(learner, record, last=last)
        repeated = [warning for warning in current if warning.name in self.previous or last]
        of_labels = [w for w in self.warnings if w.name == "label-type"]
        for warning in [*of_labels, *repeated]:
            if warning.name not in self.logged:
                log.warning(
                    "%s | %s: %s",
                    *(settings.label, warning.name, warning.text),
                    extra=progress.once(warning.name),
                )
                self.logged.add(warning.name)
        self.previous = {warning.name for warning in current}

    def conclude(
        self,
        tracked: TrackedRun,
        settings: Settings,
        learner: Learner,
        records: Sequence[Record],
        best: dict[str, Any] | None,
    ) -> list[str]:
        """Evaluate the test set, once, unless the run diverged, and write how it ended.

        With early stopping the network gets the weights of the best epoch before, from `best`.

        Returns:
            The same for the line that a sweep shows.
        """
        last = records[-1]
        if best and not last.diverged:
            last = stopping.restore(learner, records, best)
        tags = checks.tags([*self.warnings, *self.mistakes(learner, last, last=True)])
        test, diverged = self.splits.test, last.diverged
        if not diverged:
            inputs = training.tensor(self.splits, test)
            outputs, losses = training.evaluate(learner, inputs, test.labels)
            if not (np.isfinite(outputs).all() and np.isfinite(losses).all()):
                diverged = f"the loss on the test set is not finite after epoch {last.epoch}"
                text = "%s | DIVERGED: %s"
                log.warning(text, settings.label, diverged, extra=progress.once("diverged"))
        if diverged:
            tracked.set_tags(tags | {"outcome": "diverged", "diverged": diverged})
            return [f"DIVERGED: {diverged}"]
        numbers = metrics.test_metrics(
            learner.head,
            outputs,
            test.labels,
            losses,
            last.validation_outputs,
            self.splits.validation.labels,
        )
        predicted = learner.head.predict(outputs)
        if settings.options["data"].get("imbalance"):
            counts = context.counts(self.splits.train.labels, len(self.splits.classes))
            numbers |= metrics.by_frequency(predicted, test.labels, counts)
        # A report computes the accuracy of each class from the predictions.
        logged = {n: value for n, value in numbers.items() if not re.fullmatch(r"accuracy_\d+", n)}
        tracked.log_metrics({f"test/{n}": value for n, value in logged.items()}, step=last.epoch)
        validation = last.metrics["val/accuracy"]
        end = [f"val/accuracy {validation:.2%}", f"test/accuracy {numbers['accuracy']:.2%}"]
        if best:
            trained = records[-1].epoch
            stop = {
                "tested_epoch": last.epoch,
                "trained_epochs": trained,
                "val_accuracy": validation,
            }
            tracked.log_metrics({f"stop/{n}": value for n, value in stop.items()}, step=last.epoch)
            end.append(f"weights of epoch {last.epoch} of {trained}")
        if settings.corruptions:
            tracked.log_metrics(_robustness(learner, self.splits), step=last.epoch)
        tracked.log_predictions(outputs, predicted, test.labels)
        if settings.tracking["log_model"]:
            tags |= _export(tracked, settings, learner)
        tracked.set_tags(tags | {"outcome": "ok"})
        return end


def _export(tracked: TrackedRun, settings: Settings, learner: Learner) -> dict[str, str]:
    """Log the network as a model; a tag with the reason where it cannot be exported."""
    try:
        tracked.log_model(learner.network, learner.shape, learner.head.outputs, settings.label)
    except tracking.ExportError as error:
        log.warning(
            "%s | the run has no model, it cannot be exported: %s",
            *(settings.label, error),
            extra=progress.once("export"),
        )
        return {"model_export": str(error)}
    return {}


def _robustness(learner: Learner, splits: Splits) -> dict[str, float]:
    """`corrupted/accuracy_NAME` on the test images under each corruption, and their mean."""
    from experiments import corruptions

    accuracies, test = {}, splits.test
    for name in corruptions.CORRUPTIONS:
        corrupted = Examples(
            corruptions.corrupt(name, test.inputs.reshape(-1, 28, 28)), test.labels
        )
        outputs, _ = training.evaluate(learner, training.tensor(splits, corrupted), test.labels)
        predicted = learner.head.predict(outputs)
        accuracies[f"corrupted/accuracy_{name}"] = metrics.accuracy(predicted, test.labels)
    return accuracies | {"corrupted/accuracy": sum(accuracies.values()) / len(accuracies)}
