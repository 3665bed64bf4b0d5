"""Two runs: what counts as a difference, how it is printed, `generate compare` and `rerun=`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers.tracked import open_copy

from experiments import comparison, rerun, tracking
from experiments.comparison import Record, changes, differences, text
from experiments.config import CommandError
from reports import generate, options
from reports.compare import compare
from reports.runs import ReadError

WEIGHTS = {"the initial weights": {0: "a" * 64}}
CURVE, OTHER, SHORT = {0: 2.5, 1: 2.0, 2: 1.5}, {0: 2.5, 1: 2.5, 2: 3.0}, {0: 2.5, 1: 2.0}
OUTPUTS = {"the network's outputs": {0: np.array([0.25, 0.5]), 1: np.array([0.75, 1.0])}}


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    return open_copy(empty_store, tmp_path_factory.mktemp("store"))


def recorded(**results) -> Record:
    return Record("id name, FINISHED", {}, results)


def made(store, *, lr="0.1", losses=(0.5, 0.25), code="0123456789ab", packages="numpy==2.1.0\n"):
    """The id of a run that never ran, with these values."""
    tags = {
        **{"kind": "run", "init_hash": "w" * 64, "outcome": "ok", "paddle_version": "3.3.1"},
        **{"git_commit": "c" * 40, "git_dirty": "true"},
        "code.parts": json.dumps({"loss": {"my_losses.py": code}}),
    }
    with tracking.tracked_run(store, name="n", params={"lr": lr}, tags=tags) as tracked:
        for epoch in reversed(range(len(losses))):
            metrics = {"val/loss": losses[epoch], "time/val_seconds": 1 / (epoch + 1)}
            tracked.log_metrics(metrics, step=epoch)
        tracked.log_text("environment.txt", f"# Python\n# Linux-6.1\n# AMD EPYC\n{packages}")
        tracked.log_text("config.yaml", "threads: 2\ndevice: cpu\nlr: 0.1\n")
        tracked.log_dataset("digits", "d" * 64, (10, 28, 28))
        outputs = np.array([[0.25, 0.5], losses], np.float32)
        tracked.log_predictions(outputs, np.array([1, 1]), np.array([1, 0]))
    return tracked.run_id


def test_what_a_run_has_recorded(store):
    run = store.client.get_run(made(store))
    record = comparison.record(store.client, run, partial(comparison.read, store))
    arrays = {
        name: [np.asarray(row).tolist() for row in record.results.pop(name).values()]
        for name in ("the network's outputs", "the predicted classes", "the labels")
    }
    assert arrays == {
        "the network's outputs": [[0.25, 0.5], [0.5, 0.25]],
        "the predicted classes": [1, 1],
        "the labels": [1, 0],
    }
    assert record.results == {  # and no time
        "the initial weights": {0: "w" * 64},
        "the outcome": {0: "ok"},
        "val/loss": {0: 0.5, 1: 0.25},
    }
    assert record.facts == {
        "Settings": {"lr": "0.1", "device": "cpu", "threads": "2"},
        "Code": {
            "my_losses.py (loss)": "0123456789ab",
            "code of the metrics": "unknown",
            "commit": "cccccccccc",
            "uncommitted changes": "true",
        },
        "Data": {"digits": "dddddddddd"},
        "Versions": {"numpy": "2.1.0", "paddlepaddle": "3.3.1"},
        "Machine": {"system": "Linux-6.1", "processor": "AMD EPYC"},
    }
    tags = {"kind": "run", "outcome": "diverged"}
    with tracking.tracked_run(store, name="n", params={}, tags=tags) as tracked:
        pass
    run = store.client.get_run(tracked.run_id)
    record = comparison.record(store.client, run, partial(comparison.read, store))
    assert record.results == {"the outcome": {0: "diverged"}}


# ---- differences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0 + 2**-52), (0.0, -0.0), (1.0, float("nan"))])
def test_one_bit_is_a_difference(a, b):
    for one, other in (({1: a, 2: 0.5}, {1: b, 2: 0.5}), ({0: np.array([a])}, {0: np.array([b])})):
        assert list(differences(recorded(m=one), recorded(m=other))) == ["m"]
        copied = {at: np.copy(value) for at, value in other.items()}
        assert differences(recorded(m=copied), recorded(m=copied)) == {}  # NaN is itself


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (CURVE, OTHER, "1.5, 3.0 at the end; 2 of 3 epochs differ, first epoch 1: 2.0, 2.5"),
        (CURVE, SHORT, "1.5, 2.0 at the end; 1 of 3 epochs differ, first epoch 2: 1.5, none"),
        (SHORT, CURVE, "2.0, 1.5 at the end; 1 of 3 epochs differ, first epoch 2: none, 1.5"),
        ({5: 0.5}, {20: 0.25}, "0.5, 0.25"),  # at the end, whatever the last epoch is
        ({5: 0.5}, None, "only in A"),
        (None, {5: 0.5}, "only in B"),
    ],
)
def test_how_a_metric_differs(a, b, difference):
    one, other = (recorded(**({} if each is None else {"m": each})) for each in (a, b))
    assert differences(one, other) == {"m": difference}


def test_what_differs_has_its_first_place():
    outputs = {"the network's outputs": {0: np.array([0.25, 0.5]), 1: np.array([0.75, 0.5])}}
    a, b = recorded(**OUTPUTS, **WEIGHTS), recorded(**outputs, **WEIGHTS)
    assert differences(a, b) == {
        "the network's outputs": "1 of 2 test examples differ, first test example 1"
    }
    b = recorded(**OUTPUTS, **{"the initial weights": {0: "b" * 64}})
    assert differences(a, b) == {"the initial weights": "aaaaaaaaaa, bbbbbbbbbb"}
    assert differences(recorded(m={5: 0.5}), recorded(m={20: 0.5})) == {}
    a = {"commit": "a", "numpy": "2.1.0", "old": "1", "same": "1"}
    assert changes(a, {"commit": "a", "numpy": "2.2.0", "new": "3", "same": "1"}) == {
        "numpy": "2.1.0, 2.2.0", "old": "1, none", "new": "none, 3",
    }  # fmt: skip


def test_agreement_in_words():
    numbers = {"val/loss": CURVE} | WEIGHTS | OUTPUTS
    a = replace(recorded(**numbers), facts={"Versions": {"numpy": "1"}})
    equal = (
        "Every number is equal to the bit:\n  3 values of 1 metric\n  the initial weights\n"
        "  the network's outputs"
    )
    heads = "A: id name, FINISHED\nB: id name, FINISHED\n"
    assert text(a, a) == f"{heads}No difference in: versions\n{equal}"
    b = replace(a, facts={"Versions": {"numpy": "2"}})
    assert text(a, b) == f"{heads}Versions (A, B):\n  numpy: 1, 2\n{equal}"


# ---- generate compare ----------------------------------------------------------------------------


def test_two_runs_of_a_store(store, monkeypatch, capsys):
    a = made(store)
    b = made(store, lr="0.2", losses=(0.5, 0.125), code="ba9876543210", packages="numpy==2.2.0\n")
    words = ["compare", a[:12], b, "experiment=mine", f"tracking.uri={store.uri}"]
    monkeypatch.setattr(sys, "argv", ["generate", *words])
    generate.main()
    assert capsys.readouterr().out.splitlines() == [
        f"A: {a} n, FINISHED",
        f"B: {b} n, FINISHED",
        "Settings (A, B):",
        "  lr: 0.1, 0.2",
        "Code (A, B):",
        "  my_losses.py (loss): 0123456789ab, ba9876543210",
        "Versions (A, B):",
        "  numpy: 2.1.0, 2.2.0",
        "No difference in: data, machine",
        "Numbers that differ (A, B):",
        "  val/loss: 0.25, 0.125 at the end; 1 of 2 epochs differ, first epoch 1: 0.25, 0.125",
        "  the network's outputs: 1 of 2 test examples differ, first test example 1",
        "Equal to the bit:",
        "  the initial weights",
        "  the outcome",
        "  the predicted classes",
        "  the labels",
    ]
    printed = compare(store.uri, "mine", (a, made(store)))
    assert "No difference in: settings, code, data, versions, machine\n" in printed
    assert "Every number is equal to the bit:\n  2 values of 1 metric\n" in printed
    monkeypatch.setattr(sys, "argv", ["generate", "compare", a, "0" * 32, *words[3:]])
    with pytest.raises(SystemExit, match="there is no such run"):
        generate.main()


def test_which_runs_can_be_compared_and_run_again(store):
    a, client = made(store), store.client
    sweep = client.create_run(store.experiment_id, tags={"kind": "sweep"}, run_name="all")
    other = client.create_run(client.create_experiment("other"), run_name="theirs")
    ids = [client.create_run(store.experiment_id, tags={"kind": "run"}) for _ in range(17)]
    many = [run.info.run_id for run in ids]
    shared = next(sign for sign in "0123456789abcdef" if sum(i[0] == sign for i in many) > 1)
    refusals = [
        ("0" * 32, r"there is no such run in sqlite:.*tracking.uri="),
        (shared, rf"expected one run, .* several begin so: {shared}\w{{31}} .*, {shared}"),
        ("my run", "expected a run id or its beginning, .* got 'my run'"),
        ("", "expected a run id or its beginning, .* got ''"),
        ("%", "expected a run id or its beginning"),
        (other.info.run_id, "a run of experiments/run.py, got the run of another program 'theirs'"),
        (sweep.info.run_id, "expected a run of experiments/run.py, got the sweep 'all'"),
    ]
    for run_id, message in refusals:
        with pytest.raises(ReadError, match=f"generate compare: {run_id}: .*{message}"):
            compare(store.uri, None, (a, run_id))
        with pytest.raises(CommandError, match=f"rerun={run_id}: .*{message}"):
            rerun.find(store, run_id)
    with pytest.raises(CommandError, match="got one RUNNING"):
        rerun.find(store, many[0])
    with pytest.raises(CommandError, match=r"got the number 1200000.0; quote it: 'rerun=\"ID\"'"):
        rerun.find(store, 12e5)
    with pytest.raises(ReadError, match=f"{a}: there is no such run in .*, experiment 'other'"):
        compare(store.uri, "other", (a, a))
    with pytest.raises(ReadError, match=r"no experiment 'third'; expected one of .*'mine'"):
        compare(store.uri, "third", (a, a))
    elsewhere = made(tracking.open_store(store.uri, "third"))
    for run_id in (a, a[:20], elsewhere):
        assert rerun.find(store, run_id).info.run_id.startswith(run_id)


def test_comparing_creates_no_store(tmp_path):
    with pytest.raises(ReadError, match="there is no MLflow store"):
        compare(f"sqlite:///{tmp_path}/none.db", None, ("a", "b"))
    assert not list(tmp_path.iterdir())


def test_the_words_of_the_command():
    assert options.of_compare(["ab", "1e5"]) == ['compare=[ab,"1e5"]']
    assert options.of_compare(["ab", "cd", "experiment=x"]) == ["experiment=x", "compare=[ab,cd]"]
    assert options.of_compare(["--help"]) == ["--help"]
    for words in ([], ["ab"], ["ab", "cd", "ef"], ["ab", "cd", "lr=0.1"], ["ab", "reference=ce"]):
        with pytest.raises(options.OptionError, match="generate compare: expected RUN_A RUN_B"):
            options.of_compare(words)
