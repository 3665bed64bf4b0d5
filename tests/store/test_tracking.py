"""The store: created once and whole, and what a run leaves in it however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from helpers.tracked import open_copy, run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from experiments import tracking
from experiments.tracking import StoreError


@pytest.fixture
def store(tmp_path, empty_store):
    return open_copy(empty_store, tmp_path)


@pytest.mark.slow
def test_mlflow_sends_no_telemetry():
    """It decides when it loads, so the variable has to be set before; tests and CI send none."""
    code = (
        "import experiments.worker_init; "
        "from mlflow.telemetry.client import get_telemetry_client as client; print(client())"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True, timeout=300) == "None\n"


def test_a_new_store_keeps_artifacts_beside_the_database_and_makes_no_mlruns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine")
    experiment = store.client.get_experiment_by_name("mine")
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()
    assert not (tmp_path / "mlruns").exists()
    assert not list(tmp_path.glob("*.creating"))
    assert tracking.open_store(store.uri, "mine").experiment_id == store.experiment_id


@pytest.mark.slow
def test_a_creation_that_died_half_way_is_begun_anew(tmp_path):
    (tmp_path / "mlflow.db.creating").write_bytes(b"half a database")
    assert tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine").experiment_id


def _open(path):
    return tracking.open_store(f"sqlite:///{path}", "mine").experiment_id


@pytest.mark.slow
def test_many_first_users_at_once_get_one_experiment(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        ids = pool.map(_open, [tmp_path / "mlflow.db"] * 8)
    assert len(set(ids)) == 1


def test_a_deleted_experiment_is_refused(store):
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(StoreError, match=r"'mine' is deleted .* experiment=NAME"):
        tracking.open_store(store.uri, "mine")


def test_a_password_is_not_shown():
    with pytest.raises(StoreError) as error:
        tracking.open_store("http://me:secret@127.0.0.1:9", "mine")
    assert "secret" not in str(error.value)
    assert "***@127.0.0.1:9" in str(error.value)


def test_a_finished_run(store):
    with run(store) as tracked:
        tracked.log_metrics({"val/accuracy": 0.5, "val/loss": 2.0}, step=3)
        tracked.set_tags({"outcome": "ok"})
    stored = store.client.get_run(tracked.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"loss": "ce", "lr": "0.1"}
    assert stored.data.metrics == {"val/accuracy": 0.5, "val/loss": 2.0}
    assert stored.data.tags["kind"] == "run"
    assert mlflow.active_run() is None
    (history,) = store.client.get_metric_history(tracked.run_id, "val/accuracy")
    assert (history.step, history.value) == (3, 0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nothing_that_is_not_finite_is_logged(store, bad):
    with run(store) as tracked, pytest.raises(ValueError, match="must be finite"):
        tracked.log_metrics({"val/loss": bad, "val/accuracy": 0.5}, step=0)
    assert store.client.get_run(tracked.run_id).data.metrics == {}


class Clock:
    """The time, by hand, and a store that is there or not."""

    def __init__(self, client):
        self.now, self.there, self.client, self.batches = 0.0, True, client, []

    def log_batch(self, run_id, metrics=(), **rest):
        if not self.there:
            raise tracking.Away("nobody answers")
        self.batches.append(sorted({metric.step for metric in metrics}))
        self.client.log_batch(run_id, metrics=metrics, **rest)

    def __getattr__(self, name):
        return getattr(self.client, name)


@pytest.fixture
def clock(store, monkeypatch):
    clock = Clock(store.impatient)
    monkeypatch.setattr("experiments.tracking.run.time.monotonic", lambda: clock.now)
    return clock


def history(store, run_id):
    return [metric.step for metric in store.client.get_metric_history(run_id, "val/loss")]


def test_metrics_are_sent_at_once_then_every_ten_seconds_and_at_the_end(store, clock):
    with tracking.tracked_run(replace(store, impatient=clock), name="a", params={}, tags={}) as run:
        for step in range(8):
            clock.now = 4.0 * step
            run.log_metrics({"val/loss": 0.5, "val/accuracy": 0.1}, step=step)
        assert clock.batches == [[0], [1, 2, 3], [4, 5, 6]]
        assert history(store, run.run_id) == [0, 1, 2, 3, 4, 5, 6]
    assert history(store, run.run_id) == list(range(8))


def test_no_batch_is_larger_than_a_server_takes(store, clock):
    with tracking.tracked_run(replace(store, impatient=clock), name="a", params={}, tags={}) as run:
        run.log_metrics({"val/loss": 0.5}, step=0)
        for step in range(1, 1502):
            clock.now = 10.0 * (step == 1501)
            run.log_metrics({"val/loss": 0.5}, step=step)
    assert list(map(len, clock.batches)) == [1, 1000, 501]


def test_what_a_store_that_is_away_does_not_take_is_kept_and_sent_later(store, clock, caplog):
    caplog.set_level("INFO")
    patient = replace(store, impatient=clock, patience=25.0)
    with tracking.tracked_run(patient, name="a", params={}, tags={}) as run:
        run.log_metrics({"val/loss": 0.5}, step=0)
        clock.there = False
        for step in (1, 2, 3):
            clock.now = 10.0 * step
            run.log_metrics({"val/loss": 0.5}, step=step)
        assert caplog.text.count("its epochs are kept and sent later") == 1
        clock.there, clock.now = True, 40.0
        run.log_metrics({"val/loss": 0.5}, step=4)
        assert "the tracking store is back" in caplog.text
        assert history(store, run.run_id) == [0, 1, 2, 3, 4]

        clock.there, clock.now = False, 50.0
        run.log_metrics({"val/loss": 0.5}, step=5)
        clock.now = 80.0  # beyond its patience
        with pytest.raises(tracking.Away):
            run.log_metrics({"val/loss": 0.5}, step=6)
        clock.there = True
    assert history(store, run.run_id) == [0, 1, 2, 3, 4, 5, 6]


def test_the_end_of_a_run_waits_for_the_store(store, monkeypatch):
    """Its last metrics meet a store that is locked, by the calls of MLflow itself."""
    calls = []
    log_batch = mlflow.MlflowClient.log_batch

    def locked(self, run_id, metrics=(), **rest):
        calls.append(len(metrics))
        if metrics and len(calls) < 5:
            raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)
        log_batch(self, run_id, metrics=metrics, **rest)

    with tracking.tracked_run(replace(store, patience=60.0), name="a", params={}, tags={}) as run:
        run.log_metrics({"val/loss": 0.5}, step=0)
        run.log_metrics({"val/loss": 0.5}, step=1)
        assert history(store, run.run_id) == [0]
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", locked)
    assert calls == [1] * 5
    assert history(store, run.run_id) == [0, 1]
    assert store.client.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_an_epoch_that_meets_a_locked_database_is_kept(tmp_path, store, clock, caplog):
    """For longer than the 20 seconds that MLflow waits by itself."""
    caplog.set_level("INFO")
    with tracking.tracked_run(store, name="a", params={}, tags={}) as run:
        run.log_metrics({"val/loss": 0.5}, step=0)
        clock.now = 10.0
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            run.log_metrics({"val/loss": 0.5}, step=1)
            other.rollback()
        assert "its epochs are kept and sent later" in caplog.text
        clock.now = 20.0
        run.log_metrics({"val/loss": 0.5}, step=2)
        assert "the tracking store is back" in caplog.text
        assert history(store, run.run_id) == [0, 1, 2]


def test_an_interrupted_run_has_all_its_epochs(store, clock):
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.tracked_run(replace(store, impatient=clock), name="a", params={}, tags={}) as run,
    ):
        run.log_metrics({"val/loss": 0.5}, step=0)
        run.log_metrics({"val/loss": 0.5}, step=1)
        raise KeyboardInterrupt
    assert history(store, run.run_id) == [0, 1]
    assert store.client.get_run(run.run_id).info.status == "KILLED"


def test_a_crash_is_failed_with_its_traceback(store, tmp_path):
    with pytest.raises(ZeroDivisionError), run(store) as tracked:
        print(1 / 0)
    stored = store.client.get_run(tracked.run_id)
    assert (stored.info.status, stored.data.tags["outcome"]) == ("FAILED", "failed")
    path = store.client.download_artifacts(tracked.run_id, "traceback.txt", str(tmp_path))
    assert "ZeroDivisionError" in Path(path).read_text()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_killed(store, interruption):
    with pytest.raises(interruption), run(store) as tracked:
        raise interruption
    stored = store.client.get_run(tracked.run_id)
    assert (stored.info.status, stored.data.tags["outcome"]) == ("KILLED", "killed")
    assert mlflow.active_run() is None


def test_more_runs_than_a_page(store, monkeypatch):
    monkeypatch.setattr("experiments.tracking.store._PAGE", 2)
    for number in range(5):
        store.client.create_run(store.experiment_id, tags={"kind": "run", "identity": str(number)})
    assert set(tracking.all_runs(store)) == set("01234")
