"""Runs as data frames: every value that a store has of them."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reports.runs import Runs


def row(runs: Runs, run_id: str) -> pd.Series:
    return runs.summary.set_index("run_id").loc[run_id]


# ---- the frames ----------------------------------------------------------------------------------


def test_every_value_of_a_run_in_the_summary(store):
    same = {  # tags that are columns of the same name
        **{"configuration": "c1", "code": "e" * 64, "python_version": "3.11.7", "kernel": "stock"},
        **{"init_hash": "i1", "head_hash": "h1", "order_hash": "o1", "git_commit": "abc"},
        **{"paddle_version": "3.3.1", "processor": "a processor", "warnings": "one,two"},
    }
    tags = same | {"mlflow.parentRunId": "p1", "git_dirty": "true", "code.parts": '{"loss": {}}'}
    tags |= {"warnings.one": "first", "warnings.two": "second", "code.metrics": "f" * 64}
    own = {"data.label_noise": 0.2, "data.noise_kind": "symmetric", "model.hidden": 128}
    own |= {"data.train_size": None}
    run_id = store.add("i", tags=tags, own=own, digest="d" * 32, seed=4294967295)
    runs = store.load()
    assert len(runs.summary) == 1
    assert runs.uri == store.uri and runs.experiments == ("mine",) and runs.sweeps == {}
    got = runs.summary.iloc[0].to_dict()
    setting = got.pop("setting")
    assert setting.startswith("digits mlp sgd constant 100 ")
    assert got.pop("data.train_size") is None
    assert got.pop("git_dirty") is True
    nothing = [name for name, each in got.items() if isinstance(each, float) and math.isnan(each)]
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
        **{"outcome": "ok", "status": "FINISHED", "identity": "i", "parent_run_id": "p1"},
        **{
            "code_parts": '{"loss": {}}',
            "code_metrics": "f" * 64,
            "warning_texts": "first\nsecond",
        },
        **{"baseline": False, "planned": False},
        **{"experiment": "mine", "declared_missing": 0, "classes": None, "folds": None},
        **{"started": pd.Timestamp("2023-11-14 22:13:30", tz="UTC"), "seconds": 5.0},
        **{"train_loss": 1.0, "train_accuracy": 0.7, "val_loss": 0.9, "val_accuracy": 0.8},
        **{"val_nll": 0.9, "last_epoch": 2.0, "train_seconds": 10.0, "epoch_seconds": 5.0},
        **{"data_flipped": 0.0, "test_accuracy": 0.75, "test_loss": 0.95, "test_nll": 0.95},
        **{"test_brier": 0.4, "test_ece": 0.2, "test_ece_scaled": 0.1, "test_temperature": 1.5},
        **{"data.label_noise": 0.2, "data.noise_kind": "symmetric", "model.hidden": 128},
        **same,
    }
    assert runs.summary[["epochs", "batch_size", "seed", "model.hidden"]].dtypes.eq("int64").all()
    assert runs.missing.columns.tolist() == ["identity"] and runs.missing.empty


def test_every_value_of_a_run_in_the_curves(store):
    run_id = store.add("i")
    runs = store.load()
    n = math.nan
    expected = pd.DataFrame(
        {
            **{"run_id": run_id, "loss": "ce", "lr": 0.003, "epochs": 2, "seed": 0},
            "setting": list(runs.summary["setting"]) * 3,
            "epoch": [0, 1, 2],
            "train_loss": [n, 1.5, 1.0],
            "train_accuracy": [n, 0.5, 0.7],
            "val_loss": [2.4, 1.2, 0.9],
            "val_accuracy": [0.1, 0.6, 0.8],
            "val_nll": [2.4, 1.2, 0.9],
            **{"train_accuracy_flipped": n, "train_accuracy_recovered": n},
            **{"train_accuracy_untouched": n, "train_gradient_norm": n, "train_update_ratio": n},
            "train_seconds": [n, 4.0, 6.0],
            "elapsed_seconds": [0.0, 4.0, 10.0],
            "lr_now": [n, 0.003, 0.001],
        }
    )
    pd.testing.assert_frame_equal(runs.curves, expected)
    assert runs.notes == []


def test_history_is_sorted_by_epoch_and_of_a_step_written_twice_the_last_counts(store):
    from mlflow.entities import Metric

    run_id = store.add("i", epochs=3, history={}, test={})
    # step, timestamp, value
    steps = [(3, 30, 0.3), (1, 40, 0.1), (2, 50, 0.2), (3, 60, 0.9), (1, 20, 0.7)]
    for step, stamp, value in steps:
        store.client.log_batch(run_id, metrics=[Metric("val/accuracy", value, stamp, step)])
    runs = store.load()
    curve = runs.curves[["epoch", "val_accuracy"]].to_numpy().tolist()
    assert curve == [[1, 0.1], [2, 0.2], [3, 0.9]]
    assert row(runs, run_id)["val_accuracy"] == 0.9
    assert runs.curves["elapsed_seconds"].isna().all()  # not known, so not guessed


def test_tags_of_earlier_versions_are_read(store):
    store.add("i", tags={"cell": "c1", "lint": "one", "warnings.one": "first"})
    (run,) = store.load().summary.itertuples()
    assert (run.configuration, run.warnings, run.warning_texts) == ("c1", "one", "first")


def test_runs_are_oldest_first_and_curves_sorted_by_run_and_epoch(store):
    ids = [store.add(seed=seed) for seed in range(4)]
    runs = store.load()
    assert runs.summary["run_id"].tolist() == ids
    assert runs.curves["run_id"].tolist() == sorted(ids * 3)
    assert runs.curves["epoch"].tolist() == [0, 1, 2] * 4


def test_values_that_are_not_finite_are_left_empty_and_counted(store):
    bad = {1: {"val/accuracy": math.inf, "val/loss": math.nan, "time/train_seconds": 3.0}}
    bad |= {2: {"val/accuracy": 0.5, "val/loss": -math.inf, "time/train_seconds": math.nan}}
    test = {"test/accuracy": math.nan, "test/loss": math.inf, "test/nll": 1.0}
    run_id = store.add("i", history=bad, test=test)
    runs = store.load()
    assert runs.curves["val_accuracy"].fillna(-1).tolist() == [-1, 0.5]
    assert runs.curves["val_loss"].isna().all()
    # never a sum over what is left
    assert runs.curves["elapsed_seconds"].fillna(-1).tolist() == [3.0, -1]
    got = row(runs, run_id)
    assert got[["test_accuracy", "test_loss"]].isna().all() and got["test_nll"] == 1.0
    assert math.isnan(got["train_seconds"]) and got["epoch_seconds"] == 3.0
    assert "2 test values not finite: left empty" in runs.notes
    assert "4 values of the curves not finite: left empty" in runs.notes


def test_measures_of_noise_steps_and_corruptions(store):
    names = [f"accuracy_{kind}" for kind in ("flipped", "recovered", "untouched")]
    names += ["gradient_norm", "update_ratio"]
    history = {epoch: {f"train/{name}": 0.1 * epoch for name in names} for epoch in (1, 2)}
    test = {"test/accuracy": 0.75, "corrupted/accuracy": 0.5, "corrupted/accuracy_fog": 0.25}
    run_id = store.add("i", history=history, test=test)
    runs = store.load()
    got = row(runs, run_id)
    assert got["corrupted_accuracy"] == 0.5 and got["corrupted_accuracy_fog"] == 0.25
    for name in names:
        assert runs.curves[f"train_{name}"].tolist() == [0.1, 0.2] and got[f"train_{name}"] == 0.2


def test_with_early_stopping_the_numbers_are_of_the_epoch_that_was_tested(store):
    history = {
        epoch: {"val/accuracy": value, "time/train_seconds": 5.0}
        for epoch, value in ((1, 0.8), (2, 0.7))
    }
    stop = {"stop/tested_epoch": 1, "stop/trained_epochs": 2, "stop/val_accuracy": 0.8}
    early = store.add("i", history=history, test={"test/accuracy": 0.75} | stop)
    other = store.add("j", seed=1, history=history, test={"test/accuracy": 0.75})
    runs = store.load()
    assert (row(runs, early)["val_accuracy"], row(runs, other)["val_accuracy"]) == (0.8, 0.7)
    for run_id in (early, other):
        assert row(runs, run_id)["train_seconds"] == 10 and row(runs, run_id)["last_epoch"] == 2


def test_metrics_that_are_missing_are_nan(store):
    begun = {0: {"val/accuracy": 0.1}}
    run_id = store.add("i", history=begun, test={}, outcome="diverged", epochs=5)
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
    runs = store.load()
    assert row(runs, run_id)["outcome"] == outcome and row(runs, run_id)["status"] == status
    noted = "1 run in status RUNNING: under way, or orphaned"
    assert runs.notes == [noted] * (outcome == "running")
    assert math.isnan(row(runs, run_id)["seconds"]) == (outcome == "running")


def test_a_finished_run_without_outcome_is_judged_by_its_test_and_noted(store):
    good, bad = store.add("a", outcome=None), store.add("b", outcome=None, test={}, seed=1)
    runs = store.load()
    assert (row(runs, good)["outcome"], row(runs, bad)["outcome"]) == ("ok", "failed")
    assert runs.notes[0].startswith("2 FINISHED runs without a tag that says how it ended")


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
    column = store.load().summary["data.x"]
    assert column.dtype == dtype
    pd.testing.assert_series_equal(column, pd.Series(values, name="data.x", dtype=dtype))


def test_a_param_named_like_a_column_does_not_replace_it(store):
    run_id = store.add("i", own={"outcome": "perfect", "test_accuracy": 1})
    got = row(store.load(), run_id)
    assert got["outcome"] == "ok" and got["test_accuracy"] == 0.75
    assert got["param outcome"] == "perfect" and got["param test_accuracy"] == 1
