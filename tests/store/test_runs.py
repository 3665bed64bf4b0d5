"""The reader of MLflow.

Every value of its frames, what counts and what is left out, and what it says about bad stores.
"""

from __future__ import annotations

import doctest
import http.server
import json
import math
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import sqlalchemy
from benchmarks import read_store
from helpers.commands import ROOT, clean_environment
from helpers.stores import START, Store

from experiments import places
from reports import runs as reader
from reports.runs import (
    Declared,
    ReadError,
    Runs,
    configuration,
    constant_scores,
    load,
    predictions,
    scores,
    sweeps,
)
from reports.runs import store as stores
from reports.runs.frames import CURVE_COLUMNS

HOSTILE = (
    "</script><script>alert('x')</script> & \"q\" $\\frac{a}{b}$ {{ 7 * 7 }} %s ☃ "
    "\N{RIGHT-TO-LEFT OVERRIDE}'; DROP TABLE runs; --"
)


@pytest.fixture(autouse=True)
def _no_address(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(empty_store, tmp_path) -> Store:
    return Store(shutil.copy(empty_store, tmp_path / "mlflow.db"))


def row(runs: Runs, run_id: str) -> pd.Series:
    return runs.summary.set_index("run_id").loc[run_id]


# ---- the frames ----------------------------------------------------------------------------------


def test_every_value_of_a_run_in_the_summary(store):
    tags = {
        "configuration": "c1",
        "code": "e" * 64,
        "code.parts": '{"loss": {}}',
        "code.metrics": "f" * 64,
        "python_version": "3.11.7",
        "init_hash": "i1",
        "head_hash": "h1",
        "order_hash": "o1",
        "mlflow.parentRunId": "p1",
    }
    tags |= {"git_commit": "abc", "git_dirty": "true", "paddle_version": "3.3.1"}
    tags |= {"kernel": "stock", "processor": "a processor"}
    tags |= {"lint": "one,two", "lint.one": "first", "lint.two": "second"}
    own = {
        "data.label_noise": 0.2,
        "data.noise_kind": "symmetric",
        "data.train_size": None,
        "model.hidden": 128,
    }
    run_id = store.add("i", tags=tags, own=own, digest="d" * 32, seed=4294967295)
    found = store.load()
    assert len(found.summary) == 1
    assert found.uri == store.uri and found.experiments == ("mine",) and found.sweeps == {}
    got = found.summary.iloc[0].to_dict()
    setting = got.pop("setting")
    assert setting.startswith("digits mlp sgd constant 100 ")
    assert got.pop("data.train_size") is None
    assert got.pop("git_dirty") is True
    nothing = [
        name for name, value in got.items() if isinstance(value, float) and math.isnan(value)
    ]
    assert sorted(nothing) == [
        *("test_mean_absolute_error", "test_off_by_one"),
        *("train_accuracy_flipped", "train_accuracy_recovered", "train_accuracy_untouched"),
        *("train_gradient_norm", "train_update_ratio"),
    ]
    assert {name: value for name, value in got.items() if name not in nothing} == {
        **{"run_id": run_id, "name": "a run", "loss": "ce", "loss_option": "ce", "tuned": ""},
        **{"model": "mlp", "data": "digits", "optimizer": "sgd", "scheduler": "constant"},
        **{"lr": 0.003, "epochs": 2, "batch_size": 100, "seed": 4294967295},
        **{"setting_text": "digits, mlp, sgd, constant, batch size 100", "data_digest": "d" * 32},
        **{
            "outcome": "ok",
            "status": "FINISHED",
            "identity": "i",
            "configuration": "c1",
            "code": "e" * 64,
            "code_parts": '{"loss": {}}',
            "code_metrics": "f" * 64,
            "python_version": "3.11.7",
            "parent_run_id": "p1",
        },
        **{"lint": "one,two", "lint_text": "first\nsecond"},
        **{
            "init_hash": "i1",
            "head_hash": "h1",
            "order_hash": "o1",
            "git_commit": "abc",
            "paddle_version": "3.3.1",
        },
        **{"kernel": "stock", "processor": "a processor", "baseline": False, "planned": False},
        **{"experiment": "mine", "declared_missing": 0, "classes": None, "folds": None},
        **{"started": pd.Timestamp("2023-11-14 22:13:30", tz="UTC"), "seconds": 5.0},
        **{
            "train_loss": 1.0,
            "train_accuracy": 0.7,
            "val_loss": 0.9,
            "val_accuracy": 0.8,
            "val_nll": 0.9,
        },
        **{"last_epoch": 2.0, "train_seconds": 10.0, "epoch_seconds": 5.0, "data_flipped": 0.0},
        **{
            "test_accuracy": 0.75,
            "test_loss": 0.95,
            "test_nll": 0.95,
            "test_brier": 0.4,
            "test_ece": 0.2,
        },
        **{"test_ece_scaled": 0.1, "test_temperature": 1.5},
        **{"data.label_noise": 0.2, "data.noise_kind": "symmetric", "model.hidden": 128},
    }
    assert found.summary[["epochs", "batch_size", "seed", "model.hidden"]].dtypes.eq("int64").all()
    assert found.missing.columns.tolist() == ["identity"] and found.missing.empty


def test_every_value_of_a_run_in_the_curves(store):
    run_id = store.add("i")
    found = store.load()
    n = math.nan
    expected = pd.DataFrame(
        {
            "run_id": [run_id] * 3,
            "loss": ["ce"] * 3,
            "lr": [0.003] * 3,
            "epochs": [2] * 3,
            "seed": [0] * 3,
            "setting": list(found.summary["setting"]) * 3,
            "epoch": [0, 1, 2],
            "train_loss": [n, 1.5, 1.0],
            "train_accuracy": [n, 0.5, 0.7],
            "val_loss": [2.4, 1.2, 0.9],
            "val_accuracy": [0.1, 0.6, 0.8],
            "val_nll": [2.4, 1.2, 0.9],
            **{
                f"train_accuracy_{kind}": [n, n, n]
                for kind in ("flipped", "recovered", "untouched")
            },
            **{"train_gradient_norm": [n, n, n], "train_update_ratio": [n, n, n]},
            "train_seconds": [n, 4.0, 6.0],
            "elapsed_seconds": [0.0, 4.0, 10.0],
            "lr_now": [n, 0.003, 0.001],
        }
    )
    pd.testing.assert_frame_equal(found.curves, expected)
    assert found.notes == []


def test_history_is_sorted_by_epoch_and_of_a_step_written_twice_the_last_counts(store):
    from mlflow.entities import Metric

    run_id = store.add("i", epochs=3, history={}, test={})
    steps = [
        (3, 30, 0.3),
        (1, 40, 0.1),
        (2, 50, 0.2),
        (3, 60, 0.9),
        (1, 20, 0.7),
    ]  # step, timestamp, value
    for step, stamp, value in steps:
        store.client.log_batch(run_id, metrics=[Metric("val/accuracy", value, stamp, step)])
    found = store.load()
    assert found.curves[["epoch", "val_accuracy"]].to_numpy().tolist() == [
        [1, 0.1],
        [2, 0.2],
        [3, 0.9],
    ]
    assert row(found, run_id)["val_accuracy"] == 0.9
    assert found.curves["elapsed_seconds"].isna().all()  # not known, so not guessed


def test_runs_are_oldest_first_and_curves_sorted_by_run_and_epoch(store):
    ids = [store.add(seed=seed) for seed in range(4)]
    found = store.load()
    assert found.summary["run_id"].tolist() == ids
    assert found.curves["run_id"].tolist() == sorted(ids * 3)
    assert found.curves["epoch"].tolist() == [0, 1, 2] * 4


def test_values_that_are_not_finite_are_left_empty_and_counted(store):
    bad = {1: {"val/accuracy": math.inf, "val/loss": math.nan, "time/train_seconds": 3.0}}
    bad |= {2: {"val/accuracy": 0.5, "val/loss": -math.inf, "time/train_seconds": math.nan}}
    run_id = store.add(
        "i", history=bad, test={"test/accuracy": math.nan, "test/loss": math.inf, "test/nll": 1.0}
    )
    found = store.load()
    assert found.curves["val_accuracy"].fillna(-1).tolist() == [-1, 0.5]
    assert found.curves["val_loss"].isna().all()
    assert found.curves["elapsed_seconds"].fillna(-1).tolist() == [
        3.0,
        -1,
    ]  # never a sum over what is left
    got = row(found, run_id)
    assert (
        math.isnan(got["test_accuracy"]) and math.isnan(got["test_loss"]) and got["test_nll"] == 1.0
    )
    assert math.isnan(got["train_seconds"]) and got["epoch_seconds"] == 3.0
    assert "2 test values not finite: left empty" in found.notes
    assert "4 values of the curves not finite: left empty" in found.notes


def test_measures_of_noise_steps_and_corruptions(store):
    names = [
        "accuracy_flipped",
        "accuracy_recovered",
        "accuracy_untouched",
        "gradient_norm",
        "update_ratio",
    ]
    history = {epoch: {f"train/{name}": 0.1 * epoch for name in names} for epoch in (1, 2)}
    test = {"test/accuracy": 0.75, "corrupted/accuracy": 0.5, "corrupted/accuracy_fog": 0.25}
    run_id = store.add("i", history=history, test=test)
    found = store.load()
    got = row(found, run_id)
    assert got["corrupted_accuracy"] == 0.5 and got["corrupted_accuracy_fog"] == 0.25
    for name in names:
        assert found.curves[f"train_{name}"].tolist() == [0.1, 0.2] and got[f"train_{name}"] == 0.2


def test_with_early_stopping_the_numbers_are_of_the_epoch_that_was_tested(store):
    history = {
        epoch: {"val/accuracy": value, "time/train_seconds": 5.0}
        for epoch, value in ((1, 0.8), (2, 0.7))
    }
    stop = {"stop/tested_epoch": 1, "stop/trained_epochs": 2, "stop/val_accuracy": 0.8}
    early = store.add("i", history=history, test={"test/accuracy": 0.75} | stop)
    other = store.add("j", seed=1, history=history, test={"test/accuracy": 0.75})
    found = store.load()
    assert (row(found, early)["val_accuracy"], row(found, other)["val_accuracy"]) == (0.8, 0.7)
    for run_id in (early, other):
        assert row(found, run_id)["train_seconds"] == 10 and row(found, run_id)["last_epoch"] == 2


def test_metrics_that_are_missing_are_nan(store):
    run_id = store.add(
        "i", history={0: {"val/accuracy": 0.1}}, test={}, outcome="diverged", epochs=5
    )
    got = row(store.load(), run_id)
    assert got["val_accuracy"] == 0.1 and got["last_epoch"] == 0 and got["outcome"] == "diverged"
    assert got[["train_loss", "val_loss", "val_nll", "test_accuracy", "epoch_seconds"]].isna().all()
    assert got["train_seconds"] == 0.0


@pytest.mark.parametrize(
    ("status", "tag", "outcome"),
    [
        ("FINISHED", "ok", "ok"),
        ("FINISHED", "diverged", "diverged"),
        ("FAILED", "failed", "failed"),
        ("FAILED", None, "failed"),
        ("KILLED", "killed", "killed"),
        ("KILLED", "ok", "killed"),  # interrupted between the last tag and the end
        ("RUNNING", None, "running"),
        ("RUNNING", "ok", "running"),
    ],
)
def test_outcomes(store, status, tag, outcome):
    run_id = store.add("i", status=status, outcome=tag)
    found = store.load()
    assert row(found, run_id)["outcome"] == outcome and row(found, run_id)["status"] == status
    noted = (
        ["1 run in status RUNNING: under way, or killed without a word"]
        if outcome == "running"
        else []
    )
    assert found.notes == noted
    assert math.isnan(row(found, run_id)["seconds"]) == (outcome == "running")


def test_a_finished_run_without_outcome_is_judged_by_its_test_and_noted(store):
    good, bad = store.add("a", outcome=None), store.add("b", outcome=None, test={}, seed=1)
    found = store.load()
    assert (row(found, good)["outcome"], row(found, bad)["outcome"]) == ("ok", "failed")
    assert found.notes[0].startswith("2 FINISHED runs without a tag that says how it ended")


@pytest.mark.parametrize(
    ("tag", "value"), [("true", True), ("false", False), (None, None), ("maybe", None)]
)
def test_whether_the_tree_was_dirty(store, tag, value):
    store.add("i", tags={"git_dirty": tag})
    assert store.load().summary["git_dirty"].tolist() == [value]


@pytest.mark.parametrize(
    ("texts", "values", "dtype"),
    [
        (["1", "2"], [1, 2], "int64"),
        (["1", "2.5"], [1.0, 2.5], "float64"),
        (["1e-3", "None"], [0.001, math.nan], "float64"),
        (["3", "absent"], [3.0, math.nan], "float64"),
        (["3", "three"], ["3", "three"], object),
        (["1_000", "2"], ["1_000", "2"], object),
        (["nan", "inf"], ["nan", "inf"], object),
        (["True", "False"], ["True", "False"], object),
        (["None", "None"], [None, None], object),
        (["9" * 5000, "1"], ["9" * 5000, "1"], object),
        (["9" * 30, "1"], [1e30, 1.0], "float64"),
    ],
)
def test_params_are_numbers_where_all_are(store, texts, values, dtype):
    for seed, text in enumerate(texts):
        store.add(seed=seed, own={"data.x": text})
    found = store.load().summary["data.x"]
    assert found.dtype == dtype
    pd.testing.assert_series_equal(found, pd.Series(values, name="data.x", dtype=dtype))


def test_a_param_named_like_a_column_does_not_replace_it(store):
    run_id = store.add("i", own={"outcome": "perfect", "test_accuracy": 1})
    got = row(store.load(), run_id)
    assert got["outcome"] == "ok" and got["test_accuracy"] == 0.75
    assert got["param outcome"] == "perfect" and got["param test_accuracy"] == 1


# ---- labels and settings -------------------------------------------------------------------------


def test_a_label_names_what_differs_between_runs_of_one_option(store):
    cases = {
        store.add(
            own={"loss.gamma": 2.0, "loss.alpha": 0.25, "loss.kind": "a"}, loss="focal"
        ): "focal gamma=2",
        store.add(
            own={"loss.gamma": 3, "loss.alpha": 0.25, "loss.kind": "a"}, loss="focal"
        ): "focal gamma=3",
        store.add(own={"loss.q": 0.7}, loss="gce"): "gce",
        store.add(loss="ce"): "ce",
        store.add(own={"loss.delta": 1, "loss.kind": "x"}, loss="huber"): "huber delta=1 kind=x",
        store.add(
            own={"loss.delta": 2, "loss.kind": "None"}, loss="huber"
        ): "huber delta=2 kind=None",
        store.add(
            own={"loss.delta": 2}, loss="huber", seed=5
        ): "huber delta=2",  # an older version, without kind
    }
    found = store.load()
    assert dict(zip(found.summary["run_id"], found.summary["loss"], strict=True)) == cases
    assert set(found.summary["loss_option"]) == {"focal", "gce", "ce", "huber"}
    assert set(found.curves["loss"]) == set(cases.values())
    alone = store.load(where={"loss.gamma": 3})
    assert alone.summary["loss"].tolist() == ["focal"]


def test_settings_are_everything_but_loss_rate_epochs_and_seed(store):
    same = [
        store.add(lr=lr, seed=s, epochs=e, own={"loss.gamma": s})
        for lr, s, e in ((0.1, 0, 2), (0.2, 1, 3))
    ]
    same.append(store.add(loss="mse", lr=0.1, own={"data.root": "/elsewhere"}))
    one = store.load().summary
    assert set(one["run_id"]) == set(same) and one["setting"].nunique() == 1
    others = [
        store.add(batch_size=10),
        store.add(model="cnn"),
        store.add(data="mnist"),
        store.add(optimizer="adam"),
        store.add(scheduler="cosine"),
        store.add(own={"data.label_noise": 0.2}),
        store.add(own={"model.hidden": 5}),
        store.add(own={"depth": 3}),  # a param that we know nothing about
    ]
    found = store.load().summary.set_index("run_id")
    assert found["setting"].nunique() == 1 + len(others)
    assert found["setting_text"].nunique() == 1 + len(others)
    assert found.loc[same, "setting"].tolist() == one["setting"].tolist()  # whatever else there is
    assert found.loc[others[1], "setting_text"] == "digits, cnn, sgd, constant, batch size 100"
    assert found.loc[others[5], "setting_text"].startswith(
        "digits, mlp, sgd, constant, batch size 100 data.label_noise=0.2"
    )


def test_runs_on_other_data_are_another_setting(store):
    known = [store.add(seed=seed, digest="d" * 32) for seed in range(2)]
    early = store.add(seed=2, status="KILLED")  # before it could record its data
    found = store.load().summary.set_index("run_id")
    assert found["setting"].nunique() == 1 and set(found["data_digest"]) == {"d" * 32}
    other = store.add(seed=0, digest="e" * 32)
    found = store.load().summary.set_index("run_id")
    assert found.loc[known, "setting"].nunique() == 1 and found["setting"].nunique() == 3
    text = "digits, mlp, sgd, constant, batch size 100"
    assert found.loc[[*known, other], "setting_text"].tolist() == [
        f"{text} data.digest=dddddddd",
        f"{text} data.digest=dddddddd",
        f"{text} data.digest=eeeeeeee",
    ]
    assert found.loc[early, "data_digest"] == ""  # of two it could be either


def test_hostile_and_huge_names_come_through_as_they_are(store):
    loss, long = HOSTILE + "x" * 4000, "y" * 5000
    store.add(
        "i" + HOSTILE, loss=loss, model=long, name=HOSTILE, own={"data." + "k" * 100: HOSTILE}
    )
    sweep = store.add_sweep(HOSTILE, ["i" + HOSTILE])
    for found in (store.load(), store.load(sweep=HOSTILE), store.load(where={"loss": loss})):
        got = found.summary.iloc[0]
        assert got["loss"] == loss and got["model"] == long and got["name"] == HOSTILE
        assert got["identity"] == "i" + HOSTILE and got["data." + "k" * 100] == HOSTILE
        assert long in got["setting"] and found.curves["loss"].eq(loss).all()
    assert list(store.load(sweep=HOSTILE).sweeps) == [sweep]
    for call in (
        {"experiment": HOSTILE * 100},
        {"sweep": HOSTILE * 100},
        {"where": {HOSTILE * 100: "1"}},
    ):
        with pytest.raises(ReadError) as caught:
            store.load(**call)
        assert len(str(caught.value)) < 1500


# ---- which runs count ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        (["FINISHED", "FINISHED"], 1),
        (["FAILED", "FINISHED", "FINISHED"], 2),
        (["FINISHED", "FINISHED", "FAILED"], 1),
        (["KILLED", "FAILED"], 1),
        (["FINISHED", "RUNNING"], 0),
        (["FAILED", "RUNNING", "KILLED"], 2),
    ],
)
def test_of_one_identity_the_newest_finished_run_counts_else_the_newest(store, statuses, counts):
    ids = [store.add("same", status=status, outcome=None) for status in statuses]
    other = store.add("other", seed=1)
    found = store.load()
    assert found.summary["run_id"].tolist() == [ids[counts], other]
    assert set(found.curves["run_id"]) == {ids[counts], other}
    left = "1 run" if len(ids) == 2 else "2 runs"
    assert (
        f"left out: {left} of configurations that ran more than once; the newest FINISHED run "
        f"counts" in found.notes
    )


def test_equal_values_under_another_identity_are_one_run(store):
    store.add("a", own={"loss.gamma": 2})
    newest = store.add("b", own={"loss.gamma": 2.0})
    found = store.load()
    assert found.summary["run_id"].tolist() == [newest]
    assert found.notes[0].startswith(
        "left out: 1 run with the params of another run but another identity"
    )


def test_runs_of_other_programs_are_ignored(store):
    ours = store.add("i")
    store.add(None, kind=None, own={"whatever": 1})
    store.add(None, kind="run")  # ours in name only
    store.add("j", kind="theirs")
    store.add_sweep("a sweep", ["i"])  # not foreign
    found = store.load()
    assert found.summary["run_id"].tolist() == [ours]
    assert found.notes == []


@pytest.mark.parametrize(
    "broken",
    [{"lr": "absent"}, {"seed": "x"}, {"epochs": "1.5"}, {"lr": "inf"}, {"loss": "absent"}],
)
def test_runs_without_readable_params_are_left_out_by_name(store, broken):
    store.add("i")
    bad = store.add("j", status="KILLED", **broken)
    found = store.load()
    assert bad not in set(found.summary["run_id"])
    assert (
        found.notes[0].startswith("left out: 1 run without readable params")
        and bad in found.notes[0]
    )


def test_deleted_runs_are_not_there_and_a_deleted_parent_is_noted(store):
    parent = store.add_sweep("a sweep", ["i"])
    child = store.add("i", tags={"mlflow.parentRunId": parent})
    store.client.delete_run(store.add("j"))
    assert store.load().notes == []
    store.client.delete_run(parent)
    found = store.load()
    assert found.summary["run_id"].tolist() == [child]
    assert found.notes == [
        "the parent runs of 1 sweep were deleted; the sweeps' runs count like all others"
    ]
    restore = f"`MLFLOW_TRACKING_URI={store.uri} mlflow runs restore --run-id {parent}`"
    with pytest.raises(ReadError, match=f"was deleted; bring it back with {re.escape(restore)}"):
        store.load(sweep=parent)


def test_only_failed_runs_are_rows_not_an_error(store):
    store.add("i", status="FAILED", outcome="failed", history={}, test={})
    found = store.load()
    assert found.summary["outcome"].tolist() == ["failed"]
    assert found.curves.empty and found.curves.columns.tolist() == CURVE_COLUMNS
    assert found.summary[["val_accuracy", "test_accuracy", "train_seconds"]].isna().all(axis=None)


def test_where(store):
    a = store.add(model="mlp", lr="0.003", own={"data.train_size": None})
    b = store.add(model="softmax", lr="3e-3", own={"data.train_size": 100})
    c = store.add(model="softmax", lr="0.01")
    for where, expected in [
        ({"model": "softmax"}, [b, c]),
        ({"lr": "0.003"}, [a, b]),
        ({"lr": 0.003}, [a, b]),
        ({"lr": [0.01, "0.003"]}, [a, b, c]),
        ({"lr": 0.003, "model": "mlp"}, [a]),
        ({"data.train_size": None}, [a]),
        ({}, [a, b, c]),
    ]:
        found = store.load(where=where)
        assert found.summary["run_id"].tolist() == expected, where
        assert set(found.curves["run_id"]) == set(expected)
    with pytest.raises(
        ReadError,
        match=r"no run has a param 'modle'; expected one of: batch_size, data, data.train_size",
    ):
        store.load(where={"modle": "mlp"})
    with pytest.raises(ReadError, match=r"no run has lr=0.5; expected one of: 0.003, 0.01$"):
        store.load(where={"lr": 0.5})
    with pytest.raises(ReadError, match=r"no run has lr=0.01; expected one of: 0.003$"):
        store.load(where={"model": "mlp", "lr": "0.01"})


# ---- experiments and sweeps ----------------------------------------------------------------------


def test_the_default_is_the_experiment_of_the_newest_run_of_ours(store):
    second, third = store.add_experiment("second"), store.add_experiment("third")
    store.add("i", experiment=second)
    store.add("j")
    store.add(None, kind=None, experiment=third)  # newest, but foreign
    store.add_sweep("a sweep", [])
    store.client.delete_run(store.add("k", experiment=second))
    assert store.load().experiments == ("mine",)
    assert store.load(experiment="second").experiments == ("second",)
    store.add("l", experiment=second)
    assert store.load().experiments == ("second",)
    store.client.delete_experiment(second)
    assert store.load().experiments == ("mine",)


def test_an_unknown_experiment_is_answered_with_those_there_are(store):
    store.add_experiment("second")
    with pytest.raises(
        ReadError,
        match=r"no experiment in .* is named 'mien'; expected one of: 'Default', 'mine', 'second'$",
    ):
        store.load(experiment="mien")
    store.client.delete_experiment(store.experiment)
    with pytest.raises(
        ReadError,
        match=r"'mine' was deleted; bring it back with `MLFLOW_TRACKING_URI=sqlite:////\S+ "
        f"mlflow experiments restore --experiment-id {store.experiment}`",
    ):
        store.load(experiment="mine")


def test_nothing_at_all_is_an_error_that_says_how_to_make_runs(store):
    with pytest.raises(
        ReadError, match=r"has no runs of this program. Make some with `python experiments/run.py"
    ):
        store.load()
    with pytest.raises(ReadError, match=r"'mine' in .* has no runs. Make some with"):
        store.load(experiment="mine")
    store.add(None, kind=None)
    with pytest.raises(ReadError, match=r"'mine' in .* has no runs. Make some with"):
        store.load(experiment="mine")


def test_a_sweep_is_the_runs_of_its_identities_wherever_they_ran(store):
    before = store.add("a", seed=0)  # finished before the sweep, so not its child
    sweep = store.add_sweep("first sweep", ["a", "b", "never"])
    child = store.add("b", seed=1, tags={"mlflow.parentRunId": sweep})
    store.add("c", seed=2)
    elsewhere = store.add_experiment("elsewhere")
    store.add("b", experiment=elsewhere)
    for name in (sweep, "first sweep"):
        found = store.load(sweep=name)
        assert found.summary["run_id"].tolist() == [before, child]
        assert (found.experiments, found.sweeps) == (("mine",), {sweep: "first sweep"})
        assert found.missing["identity"].tolist() == ["never"] and found.notes == []
    filtered = store.load(sweep=sweep, where={"seed": 1})
    assert filtered.summary["run_id"].tolist() == [child]
    assert filtered.missing["identity"].tolist() == ["never"]
    assert filtered.notes == [
        "1 combination without a run: which of them the filter would choose is not known"
    ]


def test_a_sweep_without_runs_is_not_an_error(store):
    store.add("other")
    found = store.load(sweep=store.add_sweep("s", ["a", "b"]))
    full = store.load()
    assert found.missing["identity"].tolist() == ["a", "b"]
    assert found.summary.empty and found.curves.empty
    assert set(found.summary) <= set(full.summary) and set(found.curves) == set(full.curves)
    for name in ("lr", "epochs", "seed", "test_accuracy", "started", "train_seconds"):
        assert found.summary[name].dtype.kind == full.summary[name].dtype.kind, name
    assert found.summary.groupby(["setting", "loss"]).size().empty


def test_of_sweeps_with_one_name_the_newest_is_taken_and_noted(store):
    store.add("a")
    first, second = store.add_sweep("twin", ["a"]), store.add_sweep("twin", ["a"])
    found = store.load(sweep="twin")
    assert list(found.sweeps) == [second]
    assert found.notes == [f"2 sweeps are named 'twin': this is the newest; the others are {first}"]
    store.client.delete_run(second)
    assert list(store.load(sweep="twin").sweeps) == [first] and store.load(sweep="twin").notes == []


def test_an_unknown_sweep_is_answered_with_those_there_are(store):
    run_id, one = store.add("a"), store.add_sweep("one", ["a"])
    second = store.add_experiment("second")
    for wrong in ("tow", run_id):
        with pytest.raises(
            ReadError, match=rf"has the run id or name '{wrong}'; expected one of: 'one' \({one}\)$"
        ):
            store.load(sweep=wrong)
    assert store.load(sweep="one").experiments == ("mine",)
    with pytest.raises(
        ReadError, match=r"no sweep in the experiment 'second' .* expected one of: none there$"
    ):
        store.load(experiment="second", sweep="one")
    assert second


@pytest.mark.parametrize(
    "grid", [None, b"", b"{", b"[]", b'{"identities": 3}', b'{"identities": [3]}', b"\xff\xfe"]
)
def test_a_sweep_whose_grid_is_lost_is_its_children(store, grid):
    sweep = store.add_sweep("s", None)
    if grid is not None:
        store.add_predictions(sweep, grid, "grid.json")
    child = store.add("a", tags={"mlflow.parentRunId": sweep})
    store.add("b", seed=1)
    found = store.load(sweep=sweep)
    assert found.summary["run_id"].tolist() == [child] and found.missing.empty
    assert found.notes[0].startswith(
        "the sweep's list of runs (its artifact grid.json) is missing or damaged"
    )


def _planned(runs: Runs) -> dict[tuple[str, int], bool]:
    """By loss and seed, whether it was planned."""
    rows = runs.summary[["loss", "seed", "planned"]].itertuples(index=False)
    return {(loss, seed): planned for loss, seed, planned in rows}


def _sweep(store: Store, losses: str, seeds: Iterable[int], tag: str | None) -> str:
    """A sweep that says its seeds are `tag`, and has started runs of these losses and seeds."""
    parent = store.add_sweep("a sweep", [], tags={} if tag is None else {"seeds": tag})
    for loss in losses.split():
        for seed in seeds:
            store.add(loss=loss, seed=seed, tags={"mlflow.parentRunId": parent})
    return parent


def test_seeds_of_the_first_sweep_are_planned_and_later_ones_are_not(store):
    _sweep(store, "ce mse", range(3), "0-2")
    _sweep(store, "ce mse", (3, 4), "0-4")  # more seeds, after the first were seen
    store.add(loss="ce", seed=5)
    _sweep(store, "focal", range(4), "0-3")  # another loss has a plan of its own
    store.add(loss="mse", seed=1, epochs=7)  # and so have other epochs: here, none
    found = store.load()
    assert found.summary["planned"].dtype == bool
    assert _planned(store.load(where={"epochs": 2})) == {
        **{(loss, seed): seed < 3 for loss in ("ce", "mse") for seed in range(5)},
        **{("ce", 5): False},
        **{("focal", seed): True for seed in range(4)},
    }
    assert not found.summary.query("epochs == 7")["planned"].any()


def test_a_sweep_that_shows_a_part_has_the_plan_of_the_whole(store):
    _sweep(store, "ce", range(2), "0-1")
    later = store.add_sweep("later", [f"s{seed}" for seed in range(4)], tags={"seeds": "0-3"})
    for seed in range(4):
        store.add(f"s{seed}", seed=seed, tags={"mlflow.parentRunId": later} if seed > 1 else {})
    assert _planned(store.load(sweep=later)) == {("ce", seed): seed < 2 for seed in range(4)}


def test_a_sweep_that_was_interrupted_has_planned_the_seeds_that_are_missing(store):
    _sweep(store, "ce", range(2), "0-9")
    _sweep(store, "ce", (2, 3, 10), "0-10")
    assert _planned(store.load()) == {("ce", seed): seed < 10 for seed in (0, 1, 2, 3, 10)}


def test_single_runs_plan_nothing_and_no_sweep_plans_them_afterwards(store):
    for seed in range(3):
        store.add(seed=seed)
    assert not store.load().summary["planned"].any()
    _sweep(store, "ce", (3, 4), "0-4")
    assert _planned(store.load()) == {("ce", seed): seed > 2 for seed in range(5)}


def test_one_seed_that_was_seen_before_belongs_to_the_plan_of_the_first_sweep_of_several(store):
    _sweep(store, "ce", (0,), "0")
    _sweep(store, "ce", (1, 2), "0-2")
    assert _planned(store.load()) == {("ce", seed): True for seed in range(3)}


@pytest.mark.parametrize("tag", [None, "a lot", "0-99999999999"])
def test_a_sweep_that_does_not_say_its_seeds_has_planned_those_of_its_runs(store, tag):
    _sweep(store, "ce", range(2), tag)
    _sweep(store, "ce", (2,), "0-2")
    assert _planned(store.load()) == {("ce", 0): True, ("ce", 1): True, ("ce", 2): False}


def test_a_plan_is_of_the_code_it_was_made_for(store):
    parent = store.add_sweep("old", [], tags={"seeds": "0-1"})
    for seed in range(2):
        store.add(seed=seed, tags={"mlflow.parentRunId": parent, "code": "1" * 64})
    new = store.add_sweep("new", [], tags={"seeds": "0-4"})
    for seed in range(5):
        store.add(seed=seed, tags={"mlflow.parentRunId": new, "code": "2" * 64})
    assert _planned(store.load()) == {("ce", seed): True for seed in range(5)}
    both = store.load(versions=True).summary.groupby("code")["planned"].sum()
    assert both.to_dict() == {"1" * 64: 2, "2" * 64: 5}


def test_a_plan_outlives_its_sweep_and_is_read_again_by_a_check(store):
    parent = _sweep(store, "ce", range(2), "0-1")
    _sweep(store, "ce", (2,), "0-2")
    store.client.delete_run(parent)
    runs = store.load()
    assert _planned(runs) == {("ce", 0): True, ("ce", 1): True, ("ce", 2): False}
    assert _planned(store.load(run_ids=list(runs.summary["run_id"]))) == _planned(runs)


def test_the_questions_that_were_declared(store):
    first = {"metric": "test/nll", "margin": 0.5, "reference": "mse", "epochs": 3, "seeds": "0-2"}
    second = first | {"margin": None, "seeds": ""}
    broken = [second | {"metric": "test/loss"}, second | {"epochs": "three"}, [second], "text", 5]
    broken += [second | {"seeds": "a"}, second | {"margin": []}, {"metric": "test/nll"}]
    ids = []
    for content in (second, *broken, first):
        tags = {"question": json.dumps(content)}
        ids.append(store.add_sweep("mine", ["i"], tags=tags))
    store.add_sweep("says nothing", ["i"])
    store.add_sweep("damaged", ["i"], tags={"question": "{"})
    store.client.delete_run(store.add_sweep("deleted", ["i"], tags={"question": json.dumps(first)}))
    run_id = store.add("i")
    at = [pd.Timestamp(START + 10_000 * place, unit="ms", tz="UTC") for place in (1, len(ids))]
    expected = [
        Declared(ids[0], "mine", at[0], "test/nll", None, "mse", 3, ()),
        Declared(ids[-1], "mine", at[1], "test/nll", 0.5, "mse", 3, (0, 1, 2)),
    ]
    for arguments in ({}, {"sweep": ids[0]}, {"run_ids": [run_id]}):
        assert store.load(**arguments).declared == expected


def test_the_list_of_sweeps(store):
    one = store.add_sweep("one", ["a"])
    two = store.add_sweep("two", ["a"], status="KILLED")
    store.client.delete_run(store.add_sweep("gone", []))
    store.add("a")
    expected = pd.DataFrame(
        {
            "run_id": [two, one],
            "name": ["two", "one"],
            "experiment": ["mine"] * 2,
            "status": ["KILLED", "FINISHED"],
            "started": pd.to_datetime([START + 20_000, START + 10_000], unit="ms", utc=True),
            "seconds": [5.0, 5.0],
        }
    )
    pd.testing.assert_frame_equal(sweeps(store.uri, "mine"), expected, check_dtype=False)
    pd.testing.assert_frame_equal(sweeps(store.uri), expected, check_dtype=False)
    store.add_experiment("second")
    assert sweeps(store.uri, "second").empty
    with pytest.raises(ReadError, match="no experiment"):
        sweeps(store.uri, "third")


# ---- predictions ---------------------------------------------------------------------------------


def _npz(path: Path, **arrays) -> bytes:
    np.savez_compressed(path, **arrays)
    return path.read_bytes()


def _good(n: int = 4) -> dict:
    outputs = np.arange(10 * n, dtype=np.float32).reshape(n, 10)
    return {"outputs": outputs, "predicted": np.full(n, 9), "label": np.arange(n)}


def test_predictions_are_the_arrays_that_the_run_stored(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, _npz(tmp_path / "a.npz", **_good()))
    for source in (store.load(), store.uri):
        found = predictions(source, run_id)
        assert list(found) == ["outputs", "predicted", "label"]
        for name, array in _good().items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_predictions_move_with_the_store(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, _npz(tmp_path / "a.npz", **_good()))
    (tmp_path / "moved").mkdir()
    for name in ("mlflow.db", "mlartifacts"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    assert predictions(f"sqlite:///{tmp_path}/moved/mlflow.db", run_id)["label"].tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_predictions_that_cannot_be_read_are_none(store, tmp_path):
    good = _npz(tmp_path / "good.npz", **_good())
    damaged = bytearray(good)
    damaged[len(good) // 3] ^= 0xFF
    ragged = _good() | {"label": np.arange(3)}
    objects = _good() | {"label": np.array([{}] * 4)}
    contents = [b"", b"no archive", good[: len(good) // 2], bytes(damaged)]
    contents += [_npz(tmp_path / "b.npz", outputs=np.zeros((4, 10)))]
    contents += [_npz(tmp_path / "c.npz", **ragged), _npz(tmp_path / "d.npz", **objects)]
    run_id = store.add("i")
    assert predictions(store.uri, run_id) is None  # none there
    for content in contents:
        store.add_predictions(run_id, content)
        assert predictions(store.uri, run_id) is None
    assert predictions(store.uri, "no such run") is None


# ---- a value for each test image -----------------------------------------------------------------


def _answers() -> dict:
    """Four images: the first and the third are predicted right, with probability 0.5."""
    predicted, label = np.array([2, 0, 1, 4]), np.array([2, 1, 1, 1])
    outputs = np.full((4, 10), np.log(0.5 / 9), dtype=np.float32)
    outputs[np.arange(4), predicted] = np.log(0.5)
    return {"outputs": outputs, "predicted": predicted, "label": label}


def test_a_value_for_each_test_image(store, tmp_path):
    """By hand: the wrong ones have p = 1/18 of the label, 0.5 of one other, 1/18 of eight more."""
    wrong, right = (17 / 18) ** 2 + 0.25 + 8 / 18**2, 0.25 + 9 / 18**2
    values = {
        "test_accuracy": [1, 0, 1, 0],
        "test_nll": [np.log(2), np.log(18), np.log(2), np.log(18)],
        "test_brier": [right, wrong, right, wrong],
    }
    run_id = store.add("i")
    store.add_predictions(run_id, _npz(tmp_path / "a.npz", **_answers()))
    for source in (store.load(), store.uri):
        for metric, expected in values.items():
            for name in (metric, metric.replace("_", "/", 1)):
                found = scores(source, run_id, name)
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert scores(source, run_id, "test_ece") is None  # the mean of no values of images


def test_right_and_wrong_are_read_without_the_predictions(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, b"damaged")
    bits = _npz(tmp_path / "a.npz", correct=np.array([True, False, True]))
    store.add_predictions(run_id, bits, "test_correct.npz")
    assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1]
    assert scores(store.uri, run_id, "test_nll") is None


def test_a_damaged_file_of_right_and_wrong_is_made_up_for_by_the_predictions(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, _npz(tmp_path / "a.npz", **_answers()))
    texts = np.array(["yes", "no", "yes", "no"])
    for content in (b"", b"no archive", _npz(tmp_path / "b.npz", correct=texts)):
        store.add_predictions(run_id, content, "test_correct.npz")
        assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1, 0]


def test_a_network_with_one_output_has_no_likelihood_of_an_image(store, tmp_path):
    run_id = store.add("i")
    one = _answers() | {"outputs": np.array([[2.1], [0.4], [0.6], [3.8]], dtype=np.float32)}
    store.add_predictions(run_id, _npz(tmp_path / "a.npz", **one))
    assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1, 0]
    assert scores(store.uri, run_id, "test_nll") is None
    assert scores(store.uri, run_id, "test_brier") is None


def test_the_best_constant_answer_is_that_of_the_first_run_with_predictions(store, tmp_path):
    diverged, finished = store.add("i", outcome="diverged", test={}), store.add("j", seed=1)
    runs = store.load()
    assert constant_scores(runs, [diverged, finished]) is None
    assert scores(runs, diverged, "test_accuracy") is None
    store.add_predictions(finished, _npz(tmp_path / "a.npz", **_answers()))
    assert constant_scores(runs, [diverged, finished]).tolist() == [0, 1, 1, 1]


def test_only_the_files_of_the_run_that_is_asked_for_are_read(store, tmp_path, monkeypatch):
    first, second = store.add("i"), store.add("j", seed=1)
    for run_id in (first, second):
        bits = _npz(tmp_path / "a.npz", correct=np.array([run_id == first]))
        store.add_predictions(run_id, bits, "test_correct.npz")
    runs, read = store.load(), []
    of_the_store = runs.store.artifact
    monkeypatch.setattr(
        runs.store, "artifact", lambda *which: read.append(which) or of_the_store(*which)
    )
    assert scores(runs, second, "test_accuracy").tolist() == [0]
    assert read == [(second, "test_correct.npz")]


def test_what_a_run_was_asked_is_read_and_not_resolved(store):
    run_id = store.add("i")
    assert configuration(store.uri, run_id) is None  # none there
    text = "loss:\n  _target_: my.loss\n  t: 1e-3\n  n: 2\n  home: ${oc.env:HOME}\nlr: 0.1\n"
    store.add_predictions(run_id, text.encode(), "config.yaml")
    expected = {"_target_": "my.loss", "t": 0.001, "n": 2, "home": "${oc.env:HOME}"}
    for source in (store.load(), store.uri):
        assert configuration(source, run_id) == {"loss": expected, "lr": 0.1}
    for content in (b"\xff", b"a: [", b"[1, 2]", b"a: !!python/object/apply:os.getcwd []", b""):
        store.add_predictions(run_id, content, "config.yaml")
        assert not configuration(store.uri, run_id)


def test_an_artifact_in_a_place_that_cannot_be_reached_is_none_and_nothing_is_created(
    store, tmp_path, monkeypatch
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    run_id = store.add("i")
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET artifact_uri = 'mlflow-artifacts:/1/x/artifacts'")
    connection.close()
    assert predictions(store.uri, run_id) is None
    assert list(empty.iterdir()) == []


# ---- stores that are none ------------------------------------------------------------------------


def test_where_the_store_is(store, tmp_path, monkeypatch):
    store.add("i")
    monkeypatch.chdir(tmp_path)
    assert load().uri == store.uri
    assert load("sqlite:///mlflow.db").uri == store.uri
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///../mlflow.db")
    assert len(load().summary) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
    with pytest.raises(ReadError):
        load()
    assert len(load(store.uri).summary) == 1


@pytest.mark.parametrize("name", ["mlflow.db", "with space %20 ? # ü.db"])
def test_a_store_that_is_not_there_is_named_and_not_created(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for call in (load, sweeps, lambda uri: predictions(uri, "x")):
        with pytest.raises(ReadError) as caught:
            call(places.sqlite_uri(tmp_path / name))
        assert (
            f"there is no MLflow store {tmp_path / name}. Make some with `python experiments"
            in str(caught.value)
        )
    assert list(tmp_path.iterdir()) == []


def test_odd_file_names_are_read(store, tmp_path):
    store.add("i")
    odd = tmp_path / "with space %20 ? # ü.db"
    shutil.copy(store.path, odd)
    assert len(load(places.sqlite_uri(odd)).summary) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow.db",
        "./mlruns",
        "file:mlruns",
        "postgresql://me:secret@host/db",
        "databricks",
        "sqlite://",
    ],
)
def test_other_stores_are_refused_and_none_is_created(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ReadError, match=r"expected a store at sqlite:///FILE or http\(s\)://HOST, got "
    ) as caught:
        load(uri)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_store_are_refused_and_left_as_they_are(tmp_path):
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text(
        "not a database, but longer than the header of one would be " * 20
    )
    (tmp_path / "directory.db").mkdir()
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE experiments (x)")
    connection.close()
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    for path in before:
        with pytest.raises(
            ReadError,
            match=r"MLflow 3\.17.*[Cc]hoose another store|MLflow 3\.17.*file is not a "
            r"database|directory\.db is a directory",
        ):
            load(f"sqlite:///{path}")
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("missing_table", [False, True])
def test_a_store_of_another_mlflow_is_refused_and_not_migrated(store, missing_table):
    store.add("i")
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        if missing_table:  # MLflow's client would create it, and migrate the others
            connection.execute("DROP TABLE logged_models")
    connection.close()
    before = store.path.read_bytes()
    with pytest.raises(
        ReadError,
        match=r"expected a store of MLflow 3\.17\.\d+ \(tables of revision \w+\) in .*, "
        r"got tables of revision 0123456789ab\..*`mlflow db upgrade sqlite:///",
    ):
        store.load()
    assert store.path.read_bytes() == before


def test_a_damaged_store_is_an_answer_not_a_traceback(store):
    store.add("i")
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE latest_metrics")
    connection.close()
    with pytest.raises(ReadError, match="no such table: latest_metrics"):
        store.load()


def test_reading_changes_nothing(store, tmp_path):
    store.add_predictions(store.add("i"), b"x")
    store.add_sweep("s", ["i"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    store.load()
    store.load(sweep="s")
    sweeps(store.uri)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_store_whose_writer_was_killed_amid_a_transaction_is_read(store):
    run_id = store.add("i")
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("UPDATE metrics SET value = 7")
for n in range(2000):
    values = (f"k{n}", "v" * 1000, sys.argv[2])
    connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", values)
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script, str(store.path), run_id], check=False)
    assert store.path.with_name("mlflow.db-journal").stat().st_size > 1000
    assert store.load().curves["val_accuracy"].tolist() == [0.1, 0.6, 0.8]


def test_a_store_that_someone_writes_to_is_read(store):
    store.add("i")
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE metrics SET value = 7")
    try:
        assert store.load().curves["val_accuracy"].tolist() == [0.1, 0.6, 0.8]
    finally:
        writer.close()


def test_a_store_that_is_locked_for_a_moment_is_waited_for(store):
    store.add("i")
    writer = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN EXCLUSIVE")
    end = threading.Timer(1, lambda: writer.execute("COMMIT"))
    start = time.monotonic()
    end.start()
    try:
        assert len(store.load().summary) == 1
        assert time.monotonic() - start > 0.5
    finally:
        end.join()
        writer.close()


def test_a_store_that_cannot_be_written_is_read(store, tmp_path):
    store.add_predictions(store.add("i"), b"x")
    store.path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(store.load().summary) == 1
    finally:
        tmp_path.chmod(0o755)


def test_a_store_without_the_default_experiment_is_read_and_gets_none(store):
    """MLflow's client would create it."""
    store.add("i")
    with sqlite3.connect(store.path) as connection:
        connection.execute("DELETE FROM experiments WHERE experiment_id = 0")
    connection.close()
    before = store.path.read_bytes()
    assert len(store.load().summary) == 1
    assert store.path.read_bytes() == before


# ---- a tracking server ---------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(
        ReadError, match=r"cannot read the tracking server http://\*\*\*@127"
    ) as caught:
        load(f"http://me:secret@127.0.0.1:{port}")
    assert time.monotonic() - start < 60
    assert "secret" not in str(caught.value)


@pytest.mark.server
def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    assert stores.REACH_SECONDS <= 10
    monkeypatch.setattr(stores, "REACH_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(
            ReadError, match=r"cannot read the tracking server .*timed out|Read timed out"
        ):
            load(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 60


@pytest.mark.server
@pytest.mark.parametrize(
    ("code", "body"), [(404, b"not here"), (200, b"<html>log in</html>"), (503, b""), (401, b"{}")]
)
def test_a_server_that_is_none_of_mlflow_is_said(code, body):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(ReadError, match="cannot read the tracking server"):
            load(f"http://127.0.0.1:{other.server_port}")
        assert time.monotonic() - start < 60
        other.shutdown()


@pytest.fixture(scope="module")
def served(empty_store, tmp_path_factory) -> Iterator[tuple[Store, str]]:
    """A store with everything that can be in one, and the address of a server on it."""
    path = tmp_path_factory.mktemp("served") / "mlflow.db"
    store = Store(shutil.copy(empty_store, path))
    sweep = store.add_sweep("a sweep", ["id2", "id3", "never"])
    for seed in range(3):
        tags = {"mlflow.parentRunId": sweep, "git_dirty": "false", "init_hash": f"h{seed}"}
        own = {"loss.gamma": seed, "data.train_size": None}
        run_id = store.add(seed=seed, loss="focal", own=own, digest="d" * 32, tags=tags)
    store.add_predictions(run_id, _npz(path.parent / "a.npz", **_good()))
    store.add("dup", seed=7, status="FAILED")
    store.add("dup", seed=7)
    store.add(
        "odd",
        seed=8,
        history={1: {"val/accuracy": math.nan, "val/loss": math.inf, "lr": 0.1}},
        test={"test/loss": math.nan},
    )
    store.add("under way", seed=9, status="RUNNING", outcome=None, test={})
    store.add(HOSTILE, seed=10, name=HOSTILE, model=HOSTILE)
    store.add(None, kind=None)
    store.client.delete_run(store.add("gone", seed=11))
    store.client.delete_run(store.add_sweep("deleted", ["a"]))
    store.add_experiment("second")
    with read_store.server(path) as address:
        yield store, address


def _same(left: Runs, right: Runs) -> None:
    pd.testing.assert_frame_equal(left.summary, right.summary)
    pd.testing.assert_frame_equal(left.curves, right.curves)
    pd.testing.assert_frame_equal(left.missing, right.missing)
    assert left.notes == right.notes
    assert (left.experiments, left.sweeps) == (right.experiments, right.sweeps)


@pytest.mark.server
def test_a_server_gives_the_same_as_the_file_behind_it(served, tmp_path, monkeypatch):
    store, address = served
    monkeypatch.chdir(tmp_path)
    _same(load(address), store.load())
    assert len(load(address).summary) == 7
    for arguments in (
        {"sweep": "a sweep"},
        {"where": {"loss": "focal", "seed": [1, 2]}},
        {"experiment": "mine"},
    ):
        _same(load(address, **arguments), store.load(**arguments))
    for wrong in (
        {"experiment": "x"},
        {"sweep": "x"},
        {"sweep": "deleted"},
        {"experiment": "second"},
        {"where": {"x": 1}},
    ):
        with pytest.raises(ReadError) as caught, monkeypatch.context():
            load(address, **wrong)
        with pytest.raises(ReadError) as expected:
            store.load(**wrong)
        assert str(caught.value).replace(address, store.uri) == str(expected.value)
    pd.testing.assert_frame_equal(sweeps(address), sweeps(store.uri))
    for run_id in store.load().summary["run_id"]:
        left, right = predictions(address, run_id), predictions(store.uri, run_id)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left["outputs"], right["outputs"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.server
def test_histories_longer_than_an_answer_are_read_whole(served, monkeypatch):
    store, address = served
    for limit in (25_000, 7, 1):  # 3 values a run and metric
        monkeypatch.setattr(stores, "BULK_VALUES", limit)
        _same(load(address), store.load())


@pytest.mark.server
def test_a_server_without_the_route_of_mlflows_pages_is_read(served, monkeypatch):
    store, address = served
    monkeypatch.setattr(stores, "_BULK", "/ajax-api/2.0/mlflow/metrics/no-such-route")
    _same(load(address), store.load())


@pytest.mark.server
def test_a_server_is_asked_once_for_a_hundred_runs_and_a_metric(empty_store, tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    read_store.build(path, 250, 3)
    asked = []
    send = requests.Session.request
    monkeypatch.setattr(
        requests.Session, "request", lambda *a, **k: asked.append(a[2]) or send(*a, **k)
    )
    with read_store.server(path) as address:
        found = load(address)
    assert len(found.summary) == 250 and len(found.curves) == 1000
    assert sum(url.endswith("bulk") for url in asked) == 3 * len(stores.CURVES)
    assert len(asked) <= 3 * len(stores.CURVES) + 6


@pytest.mark.server
def test_predictions_that_a_server_keeps(served, tmp_path):
    from mlflow.tracking import MlflowClient

    _, address = served
    client = MlflowClient(tracking_uri=address)
    run_id = client.create_run(client.create_experiment("kept by the server")).info.run_id
    assert predictions(address, run_id) is None
    _npz(tmp_path / "predictions.npz", **_good())
    client.log_artifact(run_id, str(tmp_path / "predictions.npz"))
    assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert predictions(address, run_id)["label"].tolist() == [0, 1, 2, 3]
    assert scores(address, run_id, "test_accuracy").tolist() == [0, 0, 0, 0]
    _npz(tmp_path / "test_correct.npz", correct=np.array([True, False]))
    client.log_artifact(run_id, str(tmp_path / "test_correct.npz"))
    assert scores(address, run_id, "test_accuracy").tolist() == [1, 0]


# ---- speed ---------------------------------------------------------------------------------------


def test_importing_does_not_wait_for_mlflow():
    script = "import sys, reports.runs; print({'mlflow', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


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
    by_run = [
        (sql, values)
        for sql, values in statements
        if "run_uuid IN (?" in sql or "destination_id IN (?" in sql
    ]
    assert len(by_run) == 3 * 4 + 1 - 4  # details of the newest run, of all, no sweeps; metrics
    with sqlite3.connect(store.path) as connection:
        for sql, values in by_run:
            plan = [
                str(step[-1]) for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
            ]
            assert not any(step.startswith("SCAN") for step in plan), (sql, plan)
            assert any("run_uuid=?" in step or "destination_id=?" in step for step in plan), (
                sql,
                plan,
            )
    connection.close()


def test_more_runs_than_are_read_at_once(store, monkeypatch):
    ids = [store.add(seed=seed) for seed in range(7)]
    whole = store.load()
    monkeypatch.setattr(stores, "RUNS_AT_ONCE", 3)
    _same(store.load(), whole)
    assert whole.summary["run_id"].tolist() == ids


@pytest.mark.server
def test_more_runs_than_are_on_a_page(served, monkeypatch):
    store, address = served
    monkeypatch.setattr(stores, "PAGE", 2)
    monkeypatch.setattr(stores, "BULK_RUNS", 3)
    _same(load(address), store.load())


@pytest.mark.slow
def test_a_thousand_runs_are_read(tmp_path):
    read_store.build(tmp_path / "mlflow.db", 1000, 20)
    found = load(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(found.summary) == 1000 and len(found.curves) == 21_000


@pytest.mark.slow
def test_the_benchmark_prints_seconds(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "tests/benchmarks/read_store.py"),
        "--runs",
        "30",
        "--epochs",
        "2",
        "--no-server",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=clean_environment(), check=True
    )
    assert "sqlite      30 runs" in done.stdout
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
    subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True, timeout=600
    )
    assert _examples(tmp_path, monkeypatch) == (0, 5)


def test_what_the_command_wrote_is_what_is_read(sweep):
    directory, printed = sweep
    found = load(f"sqlite:///{directory}/mlflow.db")
    assert found.notes == [] and found.experiments == ("digits",)
    summary, curves = found.summary, found.curves
    assert sorted(zip(summary["loss"], summary["seed"], strict=True)) == [
        ("ce", 0),
        ("ce", 1),
        ("mse", 0),
        ("mse", 1),
    ]
    assert summary["setting"].nunique() == 1
    assert summary["setting_text"].unique().tolist() == [
        "digits, mlp, sgd, constant, batch size 100"
    ]
    for run in summary.itertuples():
        (line,) = [line for line in printed.splitlines() if line.endswith(run.run_id[:8])]
        assert (
            f" {100 * run.val_accuracy:.2f}% " in line
            and f" {100 * run.test_accuracy:.2f}% " in line
        )
        arrays = predictions(found, run.run_id)
        assert np.mean(arrays["predicted"] == arrays["label"]) == pytest.approx(run.test_accuracy)
        assert arrays["outputs"].shape == (360, 10 if run.loss == "ce" else 1)
        assert scores(found, run.run_id, "test_accuracy").mean() == pytest.approx(run.test_accuracy)
        for name in ("test_nll", "test_brier"):
            values = scores(found, run.run_id, name)
            assert (values is None) == (run.loss == "mse")
            if values is not None:
                assert values.mean() == pytest.approx(getattr(run, name), rel=1e-6)
    assert constant_scores(found, summary["run_id"]).sum() == np.bincount(arrays["label"]).max()
    assert summary["planned"].all()
    assert curves.groupby("run_id")["epoch"].apply(list).tolist() == [[0, 1, 2]] * 4
    assert summary["outcome"].eq("ok").all() and summary["data_digest"].str.len().eq(32).all()
    for name in (
        "identity",
        "configuration",
        "init_hash",
        "head_hash",
        "order_hash",
        "parent_run_id",
        "paddle_version",
    ):
        assert summary[name].str.len().gt(3).all(), name
    paired = summary.groupby("seed")[["init_hash", "order_hash"]].nunique()
    assert paired.eq(1).all(axis=None)
    probabilities = summary["loss"] == "ce"
    assert summary["test_nll"].notna().equals(probabilities) and summary["val_nll"].notna().equals(
        probabilities
    )
    assert summary["test_off_by_one"].notna().equals(~probabilities)
    last = curves[curves["epoch"] == 2].set_index("run_id").loc[summary["run_id"]]
    np.testing.assert_allclose(last["elapsed_seconds"], summary["train_seconds"])
    assert (summary["train_seconds"] < summary["seconds"]).all()
    assert load(found.uri, sweep=summary["parent_run_id"].iloc[0]).missing.empty
