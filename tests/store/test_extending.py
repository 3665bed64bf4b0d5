"""Runs that start where another one of their trajectory was, equal to those trained in one go."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.settings import settings
from mlflow import MlflowClient
from mlflow.entities import Run

from experiments import execution, training
from experiments.checks import TrainingWarning

MODEL = """
from paddle import nn
from experiments.models import with_head

def dropout(outputs):
    body = [nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1D(16), nn.Dropout(0.5)]
    return with_head(nn.Sequential(*body), 16, outputs)
"""


LOSSES = """
import paddle
from experiments import losses

class Remembers(paddle.nn.Layer):
    def __init__(self, class_counts, classes):
        super().__init__()
        self.register_buffer("seen", paddle.zeros([int(class_counts.sum()), classes]))
        self.scale = self.create_parameter([1])

    def forward(self, logits, labels, index):
        values = losses.ce(logits * self.scale.exp(), labels)
        if index is None:
            return values
        before = self.seen[index]
        self.seen[index] = logits.detach()
        return values + (logits - before).square().mean(axis=1)

def scheduled(logits, labels, epoch, epochs):
    return losses.ce(logits, labels) * (1 - epoch / (epochs + 1))
"""


class Place:
    """A directory with a store, in which runs are made."""

    def __init__(self, directory: Path, empty_store: Path):
        self.directory = directory
        shutil.copy(empty_store, directory / "mlflow.db")
        self.client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")

    def run(self, epochs: int, *words: str, **values) -> Run:
        """A run of a network with dropout, batch normalisation and Adam."""
        base = settings("data=digits", "optimizer=adam", "lr=0.01", *words)
        model = {"_target_": "dropout_module.dropout", "_partial_": True}
        where = {"uri": f"sqlite:///{self.directory / 'mlflow.db'}", "log_model": False}
        where |= {"directory": str(self.directory)}
        warnings = values.pop("warnings", ())
        loss = base.options["loss"]
        if "loss" in values:
            loss = {"_target_": f"losses_module.{values.pop('loss')}", "_partial_": True}
        changed = dataclasses.replace(
            base,
            epochs=epochs,
            options=base.options | {"model": model, "loss": loss},
            tracking=base.tracking | where,
            **values,
        )
        return self.client.get_run(execution.execute(changed, {}, warnings=warnings))

    def killed(self, after: int, *arguments, **values) -> None:
        """A run that is interrupted after this epoch."""
        train = training.train

        def killed(*how, **options):
            for record in train(*how, **options):
                yield record
                if record.epoch == after:
                    raise KeyboardInterrupt

        with mock.patch.object(training, "train", killed), pytest.raises(KeyboardInterrupt):
            self.run(*arguments, **values)

    def forget(self) -> None:
        """Remove all checkpoints."""
        for file in (self.directory / "outputs" / "checkpoints").glob("*"):
            file.unlink()

    def numbers(self, run: Run) -> list:
        """All that a run has recorded, except times."""
        metrics = [
            (name, metric.step, metric.value)
            for name in sorted(run.data.metrics)
            if not name.startswith("time/")
            for metric in self.client.get_metric_history(run.info.run_id, name)
        ]
        with np.load(self.client.download_artifacts(run.info.run_id, "predictions.npz")) as arrays:
            return [metrics, *(arrays[name].tobytes() for name in arrays)]

    @property
    def kept(self) -> list[str]:
        """What the names of the checkpoints tell: epochs of the run, and its epoch."""
        files = (self.directory / "outputs" / "checkpoints").glob("*")
        return sorted(file.stem.partition("-")[2] for file in files)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Place:
    (tmp_path / "dropout_module.py").write_text(MODEL)
    (tmp_path / "losses_module.py").write_text(LOSSES)
    monkeypatch.syspath_prepend(tmp_path)
    return Place(tmp_path, empty_store)


@pytest.fixture
def one_go(place: Place, empty_store: Path) -> list:
    """The numbers of a run of four epochs that was trained in one go."""
    (place.directory / "one").mkdir()
    alone = Place(place.directory / "one", empty_store)
    return alone.numbers(alone.run(4))


def test_a_finished_run_is_extended_to_the_same_bits(place, one_go, caplog):
    caplog.set_level("INFO")
    short = place.run(2)
    long = place.run(4)
    assert f"starts from epoch 2 of run {short.info.run_id} (loss=ce" in caplog.text
    assert long.data.tags["resumed_after"] == "2"
    assert long.data.tags["resumed_from"] == short.info.run_id
    assert place.numbers(long) == one_go
    assert place.kept == ["2-2", "4-4"]
    between = place.run(3)
    assert between.data.tags["resumed_from"] == short.info.run_id
    assert "resumed_after" not in place.run(4, force=True).data.tags


def test_a_shorter_run_starts_from_a_killed_longer_one(place, one_go):
    place.killed(3, 9)
    assert place.kept == ["9-3"]
    shorter = place.run(4)
    assert shorter.data.tags["resumed_after"] == "3"
    assert place.numbers(shorter) == one_go


def test_a_loss_with_a_state_and_parameters_resumes_to_the_same_bits(place):
    whole = place.run(4, loss="Remembers", checkpoint="running")
    place.client.delete_run(whole.info.run_id)
    place.killed(3, 9, loss="Remembers")
    resumed = place.run(4, loss="Remembers")
    assert resumed.data.tags["resumed_after"] == "3"
    assert place.numbers(resumed) == place.numbers(whole)
    assert "warnings" not in resumed.data.tags


def test_a_loss_that_names_epochs_resumes_but_is_not_extended(place):
    place.run(2, loss="scheduled")
    whole = place.run(4, loss="scheduled", checkpoint="running")
    assert "resumed_after" not in whole.data.tags
    place.killed(3, 4, loss="scheduled", force=True)
    place.client.delete_run(whole.info.run_id)
    resumed = place.run(4, loss="scheduled")
    assert resumed.data.tags["resumed_after"] == "3"
    assert place.numbers(resumed) == place.numbers(whole)


def test_a_run_starts_at_epoch_0_without_a_checkpoint_that_it_may_use(place, caplog):
    caplog.set_level("INFO")
    short = place.run(1, "scheduler=cosine")
    fresh = [place.run(2, "scheduler=cosine"), place.run(1), place.run(2, checkpoint=False)]
    stateful = [TrainingWarning("hidden-state", "it counts its calls")]
    fresh.append(place.run(3, warnings=stateful))
    for run in (short, *fresh):
        assert "resumed_after" not in run.data.tags
    for run in fresh:
        place.client.delete_run(run.info.run_id)
    assert "resumed_after" not in place.run(2).data.tags
    assert "a checkpoint of a run that was deleted is not used" in caplog.text


def test_a_checkpoint_of_another_version_is_not_used(place, monkeypatch, caplog):
    caplog.set_level("INFO")
    place.run(1)
    monkeypatch.setattr("experiments.machine.cpu_model", lambda: "another")
    assert "resumed_after" not in place.run(2).data.tags
    assert "a checkpoint of another processor is not used" in caplog.text


def test_finished_runs_keep_none_where_only_running_ones_are_to(place):
    place.run(2, checkpoint="running")
    assert place.kept == []
    assert "resumed_after" not in place.run(3).data.tags


def test_a_diverged_run_keeps_none_and_a_longer_one_diverges_alike(place):
    ends = [place.run(epochs, "loss=mse", lr=1e20) for epochs in (1, 2)]
    assert [run.data.tags["outcome"] for run in ends] == ["diverged", "diverged"]
    assert ends[0].data.tags["diverged"] == ends[1].data.tags["diverged"]
    assert place.kept == []


def test_early_stopping_tests_the_best_epoch_and_resumes_to_the_same_bits(place):
    words = ("data.train_size=200", "stop.patience=2")
    run = place.run(30, *words)
    numbers, run_id = place.numbers(run), run.info.run_id
    curve = [m.value for m in place.client.get_metric_history(run_id, "val/accuracy")]
    trained, best = len(curve) - 1, curve.index(max(curve))
    assert trained == best + 2 < 30
    assert run.data.metrics["stop/trained_epochs"] == trained
    assert run.data.metrics["stop/tested_epoch"] == best
    assert run.data.metrics["stop/val_accuracy"] == max(curve)
    assert place.client.get_metric_history(run_id, "test/accuracy")[0].step == best

    plain = place.run(best, words[0])
    assert place.numbers(plain)[1:] == numbers[1:]  # the predictions on the test set
    assert plain.data.metrics["test/nll_scaled"] == run.data.metrics["test/nll_scaled"]

    longer = place.run(40, *words)
    assert longer.data.tags["resumed_after"] == str(trained)
    assert place.numbers(longer) == numbers
    place.forget()
    shorter = place.run(best - 1, *words)
    assert shorter.data.metrics["stop/trained_epochs"] == best - 1
    extended = place.run(20, *words)
    assert extended.data.tags["resumed_after"] == str(best - 1)
    assert place.numbers(extended) == numbers

    place.forget()
    place.killed(best + 1, 31, *words)
    resumed = place.run(31, *words)
    assert resumed.data.tags["resumed_after"] == str(best + 1)
    assert place.numbers(resumed) == numbers


def test_a_run_that_diverges_before_it_stops_is_not_tested(place):
    run = place.run(2, "loss=mse", "stop.patience=1", lr=1e20)
    assert run.data.tags["outcome"] == "diverged"
    assert not {"test/accuracy", "stop/tested_epoch"} & set(run.data.metrics)
