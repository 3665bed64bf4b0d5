"""How many questions reading asks, and what the real command wrote."""

from __future__ import annotations

import contextlib
import doctest
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from benchmarks import read_store
from helpers.commands import ROOT, clean_environment
from helpers.read_runs import assert_same

from reports import runs as reader
from reports.runs import constant_scores, load, predictions, scores
from reports.runs import store as stores

# ---- speed ---------------------------------------------------------------------------------------


def test_no_query_goes_through_runs_that_were_not_asked_for(store):
    """Otherwise time would grow with the square of the runs."""
    for seed in range(3):
        store.add(seed=seed)
    statements = []
    record = lambda *arguments: statements.append(arguments[2:4])  # noqa: E731
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", record)
    try:
        store.load()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", record)
    named = re.compile(r"(run_uuid|destination_id) IN \(\?")
    by_run = [(sql, values) for sql, values in statements if named.search(sql)]
    assert len(by_run) == 3 * 4 + 1 - 4  # details of the newest run, of all, no sweeps; metrics
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        for sql, values in by_run:
            steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            plan = [str(step[-1]) for step in steps]
            assert not any(step.startswith("SCAN") for step in plan), (sql, plan)
            assert re.search(r"(run_uuid|destination_id)=\?", " ".join(plan)), (sql, plan)


def test_more_runs_than_are_read_at_once(store, monkeypatch):
    ids = [store.add(seed=seed) for seed in range(7)]
    whole = store.load()
    monkeypatch.setattr(stores, "RUNS_AT_ONCE", 3)
    assert_same(store.load(), whole)
    assert whole.summary["run_id"].tolist() == ids


@pytest.mark.server
def test_more_runs_than_are_on_a_page(served, monkeypatch):
    store, address = served
    monkeypatch.setattr(stores, "PAGE", 2)
    monkeypatch.setattr(stores, "BULK_RUNS", 3)
    assert_same(load(address), store.load())


@pytest.mark.slow
def test_a_thousand_runs_are_read(tmp_path):
    read_store.build(tmp_path / "mlflow.db", 1000, 20)
    runs = load(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(runs.summary) == 1000 and len(runs.curves) == 21_000


@pytest.mark.slow
def test_the_benchmark_prints_seconds(tmp_path):
    command = [sys.executable, str(ROOT / "tests/benchmarks/read_store.py")]
    command += ["--runs", "30", "--epochs", "2", "--no-server"]
    printed = subprocess.check_output(command, text=True, cwd=tmp_path, env=clean_environment())
    assert "sqlite      30 runs" in printed
    assert list(tmp_path.iterdir()) == []


# ---- the real command ----------------------------------------------------------------------------


def _examples(directory: Path, monkeypatch) -> doctest.TestResults:
    monkeypatch.chdir(directory)
    return doctest.testmod(reader)


def test_the_example_for_notebooks(store, tmp_path, monkeypatch):
    for loss in ("ce", "mse"):
        for seed in range(2):
            store.add(loss=loss, seed=seed, model="softmax")
    assert _examples(tmp_path, monkeypatch) == (0, 5)


@pytest.mark.slow
def test_the_example_for_notebooks_after_its_command(tmp_path, monkeypatch):
    (line,) = [line for line in reader.__doc__.splitlines() if "experiments/run.py" in line]
    program, script, *arguments = shlex.split(line)
    assert program == "python"
    command = [sys.executable, str(ROOT / script), *arguments]
    subprocess.check_output(command, cwd=tmp_path, env=clean_environment(), timeout=600)
    assert _examples(tmp_path, monkeypatch) == (0, 5)


def test_what_the_command_wrote_is_what_is_read(sweep):
    directory, printed = sweep
    runs = load(f"sqlite:///{directory}/mlflow.db")
    assert runs.notes == [] and runs.experiments == ("digits",)
    summary, curves = runs.summary, runs.curves
    pairs = sorted(zip(summary["loss"], summary["seed"], strict=True))
    assert pairs == [("ce", 0), ("ce", 1), ("mse", 0), ("mse", 1)]
    assert summary["setting"].nunique() == 1
    assert set(summary["setting_text"]) == {"digits, mlp, sgd, constant, batch size 100"}
    for run in summary.itertuples():
        (line,) = [line for line in printed.splitlines() if line.endswith(run.run_id[:8])]
        for share in (run.val_accuracy, run.test_accuracy):
            assert f" {100 * share:.2f}% " in line
        arrays = predictions(runs, run.run_id)
        assert np.mean(arrays["predicted"] == arrays["label"]) == pytest.approx(run.test_accuracy)
        assert arrays["outputs"].shape == (360, 10 if run.loss == "ce" else 1)
        assert scores(runs, run.run_id, "test_accuracy").mean() == pytest.approx(run.test_accuracy)
        for name in ("test_nll", "test_brier"):
            values = scores(runs, run.run_id, name)
            assert (values is None) == (run.loss == "mse")
            if values is not None:
                assert values.mean() == pytest.approx(getattr(run, name), rel=1e-6)
    assert constant_scores(runs, summary["run_id"]).sum() == np.bincount(arrays["label"]).max()
    assert summary["planned"].all()
    assert curves.groupby("run_id")["epoch"].apply(list).tolist() == [[0, 1, 2]] * 4
    assert summary["outcome"].eq("ok").all() and summary["data_digest"].str.len().eq(32).all()
    hashes = ["init_hash", "head_hash", "order_hash"]
    for name in ("identity", "configuration", *hashes, "parent_run_id", "paddle_version"):
        assert summary[name].str.len().gt(3).all(), name
    paired = summary.groupby("seed")[["init_hash", "order_hash"]].nunique()
    assert paired.eq(1).all(axis=None)
    probabilities = summary["loss"] == "ce"
    for name in ("test_nll", "val_nll"):
        assert summary[name].notna().equals(probabilities)
    assert summary["test_off_by_one"].notna().equals(~probabilities)
    last = curves[curves["epoch"] == 2].set_index("run_id").loc[summary["run_id"]]
    np.testing.assert_allclose(last["elapsed_seconds"], summary["train_seconds"])
    assert (summary["train_seconds"] < summary["seconds"]).all()
    assert load(runs.uri, sweep=summary["parent_run_id"].iloc[0]).missing.empty
