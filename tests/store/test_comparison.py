"""Two runs: what counts as a difference, how it is printed, and `generate compare`."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from experiments import comparison, tracking
from experiments.comparison import Difference, Record, changes, differences, text
from reports import generate, options
from reports.compare import compare
from reports.runs import ReadError

WEIGHTS = {"the initial weights": "a" * 64}
LOSS = {"val/loss": {0: 2.5, 1: 2.0, 2: 1.5}}
OUTPUTS = {"the network's outputs": np.array([[0.25, 0.5], [0.75, 1.0]])}


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(empty_store, path)
    return tracking.open_store(f"sqlite:///{path}", "mine")


def recorded(**results) -> Record:
    return Record("id name, FINISHED", {}, results)


def made(store, *, lr="0.1", losses=(0.5, 0.25), code="0123456789ab", packages="numpy==2.1.0\n"):
    """The id of a run that never ran, with these values."""
    tags = {
        "kind": "run",
        "init_hash": "w" * 64,
        "outcome": "ok",
        "code.parts": json.dumps({"loss": {"my_losses.py": code}}),
    }
    with tracking.tracked_run(store, name="n", params={"lr": lr}, tags=tags) as tracked:
        for epoch, loss in enumerate(losses):
            tracked.log_metrics({"val/loss": loss, "time/val_seconds": epoch}, step=epoch)
        tracked.log_text("environment.txt", f"# Python\n# Linux-6.1\n# AMD EPYC\n{packages}")
        outputs = np.array([[0.25, 0.5], losses], np.float32)
        tracked.log_predictions(outputs, np.array([1, 1]), np.array([1, 0]))
    store.client.set_terminated(tracked.run_id, "FINISHED")
    return tracked.run_id


# ---- what a run has recorded ---------------------------------------------------------------------


def record_of(store, run_id):
    run = store.client.get_run(run_id)
    return comparison.record(store.client, run, partial(comparison.read, store))


def test_the_results_of_a_run_are_hashes_metrics_and_predictions_without_times(store):
    tags = {"init_hash": "w", "order_hash": "o", "outcome": "ok", "identity": "i"}
    with tracking.tracked_run(store, name="n", params={}, tags=tags) as tracked:
        for step in (2, 0, 1):
            tracked.log_metrics(
                {"val/loss": step + 0.5, "time/val_seconds": 3.0, "train/loss": 1.0}, step=step
            )
        tracked.log_metrics({"test/loss": 0.1}, step=2)
        tracked.log_predictions(
            np.array([[0.25, 0.5], [0.1, 1]], np.float32), np.array([1, 1]), np.array([1, 0])
        )
    results = record_of(store, tracked.run_id).results
    arrays = {name: results.pop(name).tolist() for name in comparison._ARRAYS.values()}
    assert results == {
        "the split, the labels and the order of examples": "o",
        "the initial weights": "w",
        "the outcome": "ok",
        "test/loss": {2: 0.1},
        "train/loss": {0: 1.0, 1: 1.0, 2: 1.0},
        "val/loss": {0: 0.5, 1: 1.5, 2: 2.5},
    }
    assert arrays == {
        "the network's outputs": [[0.25, 0.5], [float(np.float32(0.1)), 1.0]],
        "the predicted classes": [1, 1],
        "the labels": [1, 0],
    }


def test_a_run_without_predictions_has_none(store):
    with tracking.tracked_run(store, name="n", params={}, tags={"outcome": "diverged"}) as tracked:
        tracked.log_metrics({"val/loss": 1.0}, step=0)
    assert list(record_of(store, tracked.run_id).results) == ["the outcome", "val/loss"]


def test_the_facts_are_settings_code_data_versions_and_machine(store):
    tags = {
        "kernel": "stock",
        "paddle_version": "3.3.1",
        "git_commit": "c" * 40,
        "git_dirty": "true",
        "code": "abcdef" * 10 + "abcd",
        "code.parts": json.dumps({"loss": {"my_losses.py": "0123456789ab"}}),
    }
    with tracking.tracked_run(store, name="n", params={"lr": "0.1"}, tags=tags) as tracked:
        tracked.log_text(
            "environment.txt",
            "# Python 3.11.4\n# Linux-6.1\n# AMD EPYC\nnumpy==2.1.0\npaddlepaddle==3.3.1\n",
        )
        tracked.log_text("changes.diff", "+ one\n- two\n")
        tracked.log_text("config.yaml", "threads: 2\ndevice: cpu\nlr: 0.1\n")
        tracked.log_dataset("digits", "d" * 64, (10, 28, 28))
    facts = record_of(store, tracked.run_id).facts
    assert facts["Code"].pop("uncommitted changes").startswith("2 lines (")
    assert facts == {
        "Settings": {"lr": "0.1", "device": "cpu", "threads": "2"},
        "Code": {
            "my_losses.py (loss)": "0123456789ab",
            "code of the metrics": "unknown",
            "commit": "cccccccccc",
        },
        "Data": {"digits": "dddddddddd"},
        "Versions": {"numpy": "2.1.0", "paddlepaddle": "3.3.1"},
        "Machine": {"system": "Linux-6.1", "processor": "AMD EPYC", "kernel": "stock"},
    }


# ---- differences ---------------------------------------------------------------------------------


def test_equal_numbers_have_no_differences():
    a = recorded(**WEIGHTS, **LOSS, **OUTPUTS)
    copied = {name: value.copy() for name, value in OUTPUTS.items()}
    assert differences(a, recorded(**WEIGHTS, **LOSS, **copied)) == []


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0 + 2**-52), (0.0, -0.0), (1.0, float("nan"))])
def test_one_bit_is_a_difference(a, b):
    for one, other in (({1: a, 2: 0.5}, {1: b, 2: 0.5}), (np.array([a]), np.array([b]))):
        assert len(differences(recorded(m=one), recorded(m=other))) == 1
        assert differences(recorded(m=other), recorded(m=other)) == []  # NaN is itself


def test_a_metric_has_its_end_its_first_epoch_and_its_largest_difference():
    (found,) = differences(recorded(**LOSS), recorded(**{"val/loss": {0: 2.5, 1: 2.5, 2: 3.0}}))
    assert str(found) == (
        "val/loss: 1.5, 3.0 at the end; 2 of 3 epochs differ, first epoch 1: 2.0, 2.5 (largest "
        "relative difference 5.0e-01)"
    )


def test_curves_of_different_length_differ_where_one_has_ended():
    shorter = recorded(**{"val/loss": {0: 2.5, 1: 2.0}})
    (found,) = differences(recorded(**LOSS), shorter)
    assert found.text == "1.5, 2.0 at the end; 1 of 3 epochs differ, first epoch 2: 1.5, none"
    (found,) = differences(shorter, recorded(**LOSS))
    assert found.text == "2.0, 1.5 at the end; 1 of 3 epochs differ, first epoch 2: none, 1.5"


def test_a_metric_of_the_end_is_compared_whatever_the_last_epoch_is():
    a, b = recorded(**{"test/loss": {5: 0.5}}), recorded(**{"test/loss": {20: 0.5}})
    assert differences(a, b) == []
    (found,) = differences(a, recorded(**{"test/loss": {20: 0.25}}))
    assert found == Difference("test/loss", "0.5, 0.25")


def test_an_image_has_the_first_output_that_differs():
    name = "the network's outputs"
    other = np.array([[0.25, 0.5], [0.75, 0.5]])
    (found,) = differences(recorded(**OUTPUTS), recorded(**{name: other}))
    assert found == Difference(name, "1 of 2 test examples differ, the first is 1: 1.0, 0.5")
    (found,) = differences(recorded(**OUTPUTS), recorded(**{name: other[:, :1]}))
    assert found.text == "float64 [2, 2], float64 [2, 1]"


def test_what_only_one_run_has_is_a_difference():
    (found,) = differences(recorded(**LOSS, **WEIGHTS), recorded(**WEIGHTS))
    assert found == Difference("val/loss", "only in A")
    (found,) = differences(recorded(**WEIGHTS), recorded(**LOSS, **WEIGHTS))
    assert found == Difference("val/loss", "only in B", only_b=True)


def test_hashes_come_first_then_the_earliest_metric_then_images():
    a = recorded(**OUTPUTS, a={0: 1.0, 2: 1.0}, b={1: 1.0, 2: 1.0}, **WEIGHTS)
    b = recorded(
        **{"the network's outputs": np.zeros((2, 2)), "the initial weights": "b" * 64},
        a={0: 1.0, 2: 3.0},
        b={1: 3.0, 2: 1.0},
    )
    found = differences(a, b)
    assert [each.name for each in found] == [
        "the initial weights",
        "b",
        "a",
        "the network's outputs",
    ]
    assert str(found[0]) == "the initial weights: aaaaaaaaaa, bbbbbbbbbb"


def test_only_what_differs_has_changed():
    a = {"commit": "a", "numpy": "2.1.0", "old": "1"}
    assert changes(a, {"commit": "a", "numpy": "2.2.0", "new": "3"}) == {
        "numpy": "2.1.0, 2.2.0", "old": "1, none", "new": "none, 3",
    }  # fmt: skip
    assert changes(a, dict(a)) == {}


# ---- in words ------------------------------------------------------------------------------------


def test_agreement_in_words():
    a = replace(recorded(**WEIGHTS, **LOSS, **OUTPUTS), facts={"Versions": {"numpy": "1"}})
    equal = (
        "Every number is equal to the bit:\n  3 values of 1 metric\n  the initial weights\n"
        "  the network's outputs of 2 test examples"
    )
    heads = "A: id name, FINISHED\nB: id name, FINISHED\n"
    assert text(a, a) == f"{heads}No difference in: versions\n{equal}"
    b = replace(a, facts={"Versions": {"numpy": "2"}})
    assert text(a, b) == f"{heads}Versions (A, B):\n  numpy: 1, 2\n{equal}"


def test_disagreement_in_words():
    a = replace(
        recorded(**WEIGHTS, **LOSS, lr={1: 0.1}, **OUTPUTS),
        facts={"Settings": {"lr": "0.1"}, "Code": {"commit": "a1"}},
    )
    b = replace(
        a,
        facts={"Settings": {"lr": "0.1"}, "Code": {"commit": "b2"}},
        results=a.results | {"val/loss": LOSS["val/loss"] | {2: 3.0}},
    )
    assert text(a, b).splitlines()[2:] == [
        "Code (A, B):",
        "  commit: a1, b2",
        "  (git diff a1 b2 -- experiments conf)",
        "No difference in: settings",
        "Numbers that differ (A, B):",
        "  val/loss: 1.5, 3.0 at the end; 1 of 3 epochs differ, first epoch 2: 1.5, 3.0 (largest "
        "relative difference 5.0e-01)",
        "Equal to the bit:",
        "  1 value of 1 metric",
        "  the initial weights",
        "  the network's outputs of 2 test examples",
    ]


def test_a_difference_that_nothing_explains_says_what_to_do():
    a = replace(recorded(lr={1: 0.1}), facts={"Settings": {"lr": "0.1"}})
    printed = text(a, replace(a, results={}))
    assert printed.splitlines()[2:5] == [
        "No difference in: settings",
        "Numbers that differ (A, B):",
        "  lr: only in A",
    ]
    assert "No recorded difference explains this. Run it once more." in printed


# ---- generate compare ----------------------------------------------------------------------------


def test_two_runs_of_a_store(store):
    a = made(store)
    b = made(store, lr="0.2", losses=(0.5, 0.125), code="ba9876543210", packages="numpy==2.2.0\n")
    lines = compare(store.uri, None, (a, b)).splitlines()
    assert lines == [
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
        "  val/loss: 0.25, 0.125 at the end; 1 of 2 epochs differ, first epoch 1: 0.25, 0.125 "
        "(largest relative difference 5.0e-01)",
        "  the network's outputs: 1 of 2 test examples differ, the first is 1: 0.25, 0.125",
        "Equal to the bit:",
        "  the initial weights",
        "  the outcome",
        "  the predicted classes of 2 test examples",
        "  the labels of 2 test examples",
    ]


def test_equal_runs_are_equal_to_the_bit(store):
    printed = compare(store.uri, "mine", (made(store), made(store)))
    assert "No difference in: settings, code, data, versions, machine\n" in printed
    assert "Every number is equal to the bit:\n  2 values of 1 metric\n" in printed


def test_a_run_that_cannot_be_compared_is_refused(store):
    a = made(store)
    client = store.client
    sweep = client.create_run(store.experiment_id, tags={"kind": "sweep"}).info.run_id
    child = client.create_run(
        store.experiment_id,
        tags={"mlflow.parentRunId": sweep, "kind": "run"},
        run_name="loss=mse",
    )
    other = client.create_run(client.create_experiment("other"), run_name="theirs").info.run_id
    many = [client.create_run(store.experiment_id).info.run_id for _ in range(17)]
    shared = next(sign for sign in "0123456789abcdef" if sum(i[0] == sign for i in many) > 1)
    for run_id, message in (
        (
            "0" * 32,
            rf"generate compare: {'0' * 32}: there is no such run in sqlite:.*tracking.uri=",
        ),
        (
            shared,
            rf"{shared}: expected one run, .* several begin so: {shared}\w{{31}} .*, {shared}",
        ),
        ("my run", "my run: expected a run id or its beginning, .* got 'my run'"),
        ("%", "expected a run id or its beginning"),
        (other, "expected a run of experiments/run.py, got 'theirs' of another program"),
        (sweep, rf"got a sweep; choose one of its runs: {child.info.run_id} \(loss=mse\)"),
    ):
        with pytest.raises(ReadError, match=message):
            compare(store.uri, None, (a, run_id))
    with pytest.raises(ReadError, match=f"{a}: there is no such run in .*, experiment 'other'"):
        compare(store.uri, "other", (a, a))
    with pytest.raises(ReadError, match=r"no experiment 'third'; expected one of .*'mine'"):
        compare(store.uri, "third", (a, a))


def test_comparing_creates_no_store(tmp_path):
    with pytest.raises(ReadError, match="there is no MLflow store"):
        compare(f"sqlite:///{tmp_path}/none.db", None, ("a", "b"))
    assert not list(tmp_path.iterdir())


def test_the_command(store, monkeypatch, capsys):
    a, b = made(store), made(store, losses=(0.5, 0.125))
    words = ["compare", a[:12], b, "experiment=mine", f"tracking.uri={store.uri}"]
    monkeypatch.setattr(sys, "argv", ["generate", *words])
    generate.main()
    printed = capsys.readouterr().out
    assert printed == compare(store.uri, None, (a, b)) + "\n"
    monkeypatch.setattr(sys, "argv", ["generate", "compare", a, "0" * 32, *words[3:]])
    with pytest.raises(SystemExit, match="there is no such run"):
        generate.main()


def test_the_words_of_the_command():
    assert options.of_compare(["ab", "1e5"]) == ['compare=[ab,"1e5"]']
    assert options.of_compare(["ab", "cd", "experiment=x"]) == ["experiment=x", "compare=[ab,cd]"]
    assert options.of_compare(["--help"]) == ["--help"]
    for words in ([], ["ab"], ["ab", "cd", "ef"], ["ab", "cd", "lr=0.1"], ["ab", "reference=ce"]):
        with pytest.raises(options.OptionError, match="generate compare: expected RUN_A RUN_B"):
            options.of_compare(words)
