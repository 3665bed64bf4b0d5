"""Which runs are read, and the names of their losses and settings."""

from __future__ import annotations

import re

import pytest
from helpers.read_runs import HOSTILE

from reports.runs import ReadError
from reports.runs.frames import CURVE_COLUMNS

# ---- labels and settings -------------------------------------------------------------------------


def test_a_label_names_what_differs_between_runs_of_one_option(store):
    labels = {
        "focal gamma=2": {"gamma": 2.0, "alpha": 0.25, "kind": "a"},
        "focal gamma=3": {"gamma": 3, "alpha": 0.25, "kind": "a"},
        "gce": {"q": 0.7},
        "ce": {},
        "huber delta=1 kind=x": {"delta": 1, "kind": "x"},
        "huber delta=2 kind=None": {"delta": 2, "kind": "None"},
        "huber delta=2": {"delta": 2},  # an older version, without kind
    }
    cases = {}
    for label, values in labels.items():
        own = {f"loss.{name}": value for name, value in values.items()}
        cases[store.add(own=own, loss=label.split()[0], seed=len(cases))] = label
    runs = store.load()
    assert dict(zip(runs.summary["run_id"], runs.summary["loss"], strict=True)) == cases
    assert set(runs.summary["loss_option"]) == {"focal", "gce", "ce", "huber"}
    assert set(runs.curves["loss"]) == set(cases.values())
    alone = store.load(where={"loss.gamma": 3})
    assert alone.summary["loss"].tolist() == ["focal"]


def test_settings_are_everything_but_loss_rate_epochs_and_seed(store):
    same = [store.add(lr=0.1, own={"loss.gamma": 0})]
    same.append(store.add(lr=0.2, seed=1, epochs=3, own={"loss.gamma": 1}))
    same.append(store.add(loss="mse", lr=0.1, own={"data.root": "/elsewhere"}))
    one = store.load().summary
    assert set(one["run_id"]) == set(same) and one["setting"].nunique() == 1
    values = {"batch_size": 10, "model": "cnn", "data": "mnist", "optimizer": "adam"}
    values |= {"scheduler": "cosine", "data.label_noise": 0.2, "model.hidden": 5}
    values |= {"depth": 3}  # a param that we know nothing about
    others = {name: store.add(own={name: value}) for name, value in values.items()}
    summary = store.load().summary.set_index("run_id")
    assert summary["setting"].nunique() == 1 + len(others)
    assert summary["setting_text"].nunique() == 1 + len(others)
    # whatever else there is
    assert summary.loc[same, "setting"].tolist() == one["setting"].tolist()
    texts = {name: summary.loc[run_id, "setting_text"] for name, run_id in others.items()}
    assert texts["model"] == "digits, cnn, sgd, constant, batch size 100"
    noisy = "digits, mlp, sgd, constant, batch size 100 data.label_noise=0.2"
    assert texts["data.label_noise"].startswith(noisy)


def test_runs_on_other_data_are_another_setting(store):
    with_data = [store.add(seed=seed, digest="d" * 32) for seed in range(2)]
    early = store.add(seed=2, status="KILLED")  # before it could record its data
    summary = store.load().summary.set_index("run_id")
    assert summary["setting"].nunique() == 1 and set(summary["data_digest"]) == {"d" * 32}
    other = store.add(seed=0, digest="e" * 32)
    summary = store.load().summary.set_index("run_id")
    assert summary.loc[with_data, "setting"].nunique() == 1 and summary["setting"].nunique() == 3
    text = "digits, mlp, sgd, constant, batch size 100"
    texts = [f"{text} data.digest={letter * 8}" for letter in "dde"]
    assert summary.loc[[*with_data, other], "setting_text"].tolist() == texts
    assert summary.loc[early, "data_digest"] == ""  # of two it could be either


def test_hostile_and_huge_names_come_through_as_they_are(store):
    loss, long = HOSTILE + "x" * 4000, "y" * 5000
    own = {"data." + "k" * 100: HOSTILE}
    store.add("i" + HOSTILE, loss=loss, model=long, name=HOSTILE, own=own)
    sweep = store.add_sweep(HOSTILE, ["i" + HOSTILE])
    for runs in (store.load(), store.load(sweep=HOSTILE), store.load(where={"loss": loss})):
        got = runs.summary.iloc[0]
        assert got["loss"] == loss and got["model"] == long and got["name"] == HOSTILE
        assert got["identity"] == "i" + HOSTILE and got["data." + "k" * 100] == HOSTILE
        assert long in got["setting"] and runs.curves["loss"].eq(loss).all()
    assert list(store.load(sweep=HOSTILE).sweeps) == [sweep]
    huge = HOSTILE * 100
    for call in ({"experiment": huge}, {"sweep": huge}, {"where": {huge: "1"}}):
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
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [ids[counts], other]
    assert set(runs.curves["run_id"]) == {ids[counts], other}
    left = "1 run" if len(ids) == 2 else "2 runs"
    more = "of configurations that ran more than once; the newest FINISHED run counts"
    assert f"left out: {left} {more}" in runs.notes


def test_equal_values_under_another_identity_are_one_run(store):
    store.add("a", own={"loss.gamma": 2})
    newest = store.add("b", own={"loss.gamma": 2.0})
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [newest]
    left = "left out: 1 run with the params of another run but another identity"
    assert runs.notes[0].startswith(left)


def test_runs_of_other_programs_are_ignored(store):
    ours = store.add("i")
    store.add(None, kind=None, own={"whatever": 1})
    store.add(None, kind="run")  # ours in name only
    store.add("j", kind="theirs")
    store.add_sweep("a sweep", ["i"])  # not foreign
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [ours]
    assert runs.notes == []


@pytest.mark.parametrize(
    "broken",
    [{"lr": "absent"}, {"seed": "x"}, {"epochs": "1.5"}, {"lr": "inf"}, {"loss": "absent"}],
)
def test_runs_without_readable_params_are_left_out_by_name(store, broken):
    store.add("i")
    bad = store.add("j", status="KILLED", **broken)
    runs = store.load()
    assert bad not in set(runs.summary["run_id"])
    assert runs.notes[0].startswith("left out: 1 run without readable params")
    assert bad in runs.notes[0]


def test_deleted_runs_are_not_there_and_a_deleted_parent_is_noted(store):
    parent = store.add_sweep("a sweep", ["i"])
    child = store.add("i", tags={"mlflow.parentRunId": parent})
    store.client.delete_run(store.add("j"))
    assert store.load().notes == []
    store.client.delete_run(parent)
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [child]
    (note,) = runs.notes
    assert note == "the parent runs of 1 sweep were deleted; the sweeps' runs count like all others"
    restore = f"`MLFLOW_TRACKING_URI={store.uri} mlflow runs restore --run-id {parent}`"
    with pytest.raises(ReadError, match=f"was deleted; bring it back with {re.escape(restore)}"):
        store.load(sweep=parent)


def test_only_failed_runs_are_rows_not_an_error(store):
    store.add("i", status="FAILED", outcome="failed", history={}, test={})
    runs = store.load()
    assert runs.summary["outcome"].tolist() == ["failed"]
    assert runs.curves.empty and runs.curves.columns.tolist() == CURVE_COLUMNS
    assert runs.summary[["val_accuracy", "test_accuracy", "train_seconds"]].isna().all(axis=None)


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
        runs = store.load(where=where)
        assert runs.summary["run_id"].tolist() == expected, where
        assert set(runs.curves["run_id"]) == set(expected)
    words = "no run has a param 'modle'; expected one of: batch_size, data, data.train_size"
    with pytest.raises(ReadError, match=words):
        store.load(where={"modle": "mlp"})
    with pytest.raises(ReadError, match=r"no run has lr=0.5; expected one of: 0.003, 0.01$"):
        store.load(where={"lr": 0.5})
    with pytest.raises(ReadError, match=r"no run has lr=0.01; expected one of: 0.003$"):
        store.load(where={"model": "mlp", "lr": "0.01"})
