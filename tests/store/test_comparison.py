"""Two runs, number by number: what counts as a difference, and how it is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments import comparison, tracking
from experiments.comparison import IMAGE, METRIC, TAG, Difference, changes, compare, text

WEIGHTS = {(TAG, "the initial weights"): {0: ("a" * 64,)}}
LOSS = {(METRIC, "val/loss"): {0: (2.5,), 1: (2.0,), 2: (1.5,)}}
OUTPUTS = {(IMAGE, "the network's outputs"): {0: (0.25, 0.5), 1: (0.75, 1.0)}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tracking.open_store(
        f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}", "mine"
    )


# ---- numbers -------------------------------------------------------------------------------------


def test_the_numbers_of_a_run_are_its_tags_metrics_and_predictions_without_times(store):
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
    found = comparison.numbers(store, store.client.get_run(tracked.run_id))
    assert list(found.items()) == [
        ((TAG, "the split, the labels and the order of examples"), {0: ("o",)}),
        ((TAG, "the initial weights"), {0: ("w",)}),
        ((TAG, "the outcome"), {0: ("ok",)}),
        ((METRIC, "train/loss"), {0: (1.0,), 1: (1.0,), 2: (1.0,)}),
        ((METRIC, "val/loss"), {0: (0.5,), 1: (1.5,), 2: (2.5,)}),
        ((METRIC, "test/loss"), {2: (0.1,)}),
        ((IMAGE, "the network's outputs"), {0: (0.25, 0.5), 1: (float(np.float32(0.1)), 1.0)}),
        ((IMAGE, "the predicted digits"), {0: (1,), 1: (1,)}),
        ((IMAGE, "the labels"), {0: (1,), 1: (0,)}),
    ]
    assert list(found[METRIC, "val/loss"]) == [0, 1, 2]


def test_a_run_without_predictions_has_none(store):
    with tracking.tracked_run(store, name="n", params={}, tags={"outcome": "diverged"}) as tracked:
        tracked.log_metrics({"val/loss": 1.0}, step=0)
    found = comparison.numbers(store, store.client.get_run(tracked.run_id))
    assert list(found) == [(TAG, "the outcome"), (METRIC, "val/loss")]


# ---- compare -------------------------------------------------------------------------------------


def test_equal_numbers_have_no_differences():
    everything = WEIGHTS | LOSS | OUTPUTS
    assert compare(everything, dict(everything)) == []


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0 + 2**-52), (0.0, -0.0), (1.0, float("nan"))])
def test_one_bit_is_a_difference(a, b):
    then, now = {(METRIC, "m"): {1: (a,)}}, {(METRIC, "m"): {1: (b,)}}
    assert len(compare(then, now)) == 1
    assert compare(now, dict(now)) == []  # NaN is itself


def test_a_metric_is_told_by_its_first_epoch_and_its_largest_difference():
    now = {(METRIC, "val/loss"): {0: (2.5,), 1: (2.5,), 2: (3.0,)}}
    (found,) = compare(LOSS, now)
    assert found == Difference(METRIC, "val/loss", 2, 3, 1, 2.0, 2.5, 0.5)
    assert str(found) == (
        "val/loss: at 2 of 3 epochs, first at epoch 1: 2.0 then, 2.5 now (largest relative "
        "difference 5.0e-01)"
    )


def test_an_image_is_told_by_the_first_output_that_differs():
    (found,) = compare(
        OUTPUTS, {(IMAGE, "the network's outputs"): {0: (0.25, 0.5), 1: (0.75, 0.5)}}
    )
    assert found == Difference(IMAGE, "the network's outputs", 1, 2, 1, 1.0, 0.5, 0.5)
    assert "at 1 of 2 test images, first at test image 1: 1.0 then, 0.5 now" in str(found)


def test_what_is_missing_now_differs_and_what_is_new_is_not_compared():
    (shorter,) = compare(LOSS, {(METRIC, "val/loss"): {0: (2.5,), 1: (2.0,)}})
    assert (shorter.count, shorter.first, shorter.then, shorter.now, shorter.relative) == (
        1,
        2,
        1.5,
        None,
        0.0,
    )
    assert str(shorter) == "val/loss: at 1 of 3 epochs, first at epoch 2: 1.5 then, none now"
    (longer,) = compare(LOSS, {(METRIC, "val/loss"): LOSS[METRIC, "val/loss"] | {3: (1.0,)}})
    assert (longer.first, longer.then, longer.now) == (3, None, 1.0)
    (gone,) = compare(LOSS | WEIGHTS, WEIGHTS)
    assert (gone.count, gone.of, gone.then, gone.now) == (3, 3, 2.5, None)
    assert compare(WEIGHTS, WEIGHTS | LOSS | OUTPUTS) == []


def test_the_earliest_comes_first():
    then = OUTPUTS | {(METRIC, "a"): {0: (1.0,), 2: (1.0,)}, (METRIC, "b"): {1: (1.0,)}} | WEIGHTS
    now = {
        (IMAGE, "the network's outputs"): {0: (0.0, 0.0), 1: (0.0, 0.0)},
        (METRIC, "a"): {0: (1.0,), 2: (3.0,)},
        (METRIC, "b"): {1: (3.0,)},
        (TAG, "the initial weights"): {0: ("b" * 64,)},
    }
    found = compare(then, now)
    assert [each.name for each in found] == [
        "the initial weights",
        "b",
        "a",
        "the network's outputs",
    ]
    assert str(found[0]) == "the initial weights: aaaaaaaaaa then, bbbbbbbbbb now"


# ---- circumstances -------------------------------------------------------------------------------


def test_the_circumstances_are_code_data_machine_and_versions(store):
    tags = {
        "kernel": "stock",
        "paddle_version": "3.3.1",
        "git_commit": "c" * 40,
        "git_dirty": "true",
        "code": "abcdef" * 10 + "abcd",
        "code.parts": json.dumps({"loss": {"my_losses.py": "0123456789ab"}}),
    }
    with tracking.tracked_run(store, name="n", params={}, tags=tags) as tracked:
        tracked.log_text(
            "environment.txt",
            "# Python 3.11.4\n# Linux-6.1\n# AMD EPYC\nnumpy==2.1.0\npaddlepaddle==3.3.1\n",
        )
        tracked.log_text("changes.diff", "+ one\n- two\n")
        tracked.log_text("config.yaml", "threads: 2\ndevice: cpu\nlr: 0.1\n")
        tracked.log_dataset("digits", "d" * 64, (10, 28, 28))
    found = comparison.circumstances(store, store.client.get_run(tracked.run_id))
    assert found.pop("uncommitted changes").startswith("changes.diff of 2 lines (")
    assert found == {
        "commit": "cccccccccc", "data digits": "dddddddddd", "device": "cpu", "threads": "2",
        "kernel": "stock", "paddlepaddle": "3.3.1", "system": "Linux-6.1", "processor": "AMD EPYC",
        "numpy": "2.1.0", "my_losses.py (loss)": "0123456789ab", "code": "abcdefabcdef",
        "code of the metrics": "code unknown",
    }  # fmt: skip


def test_only_what_differs_has_changed():
    then = {"commit": "a", "numpy": "2.1.0", "old": "1"}
    found = changes(then, {"commit": "a", "numpy": "2.2.0", "new": "3"})
    assert [str(each) for each in found] == [
        "numpy: 2.1.0 then, 2.2.0 now", "old: 1 then, none now", "new: none then, 3 now",
    ]  # fmt: skip
    assert changes(then, dict(then)) == []


# ---- in words ------------------------------------------------------------------------------------


def test_agreement_in_words():
    everything = WEIGHTS | LOSS | OUTPUTS
    agreed = (
        "every number agrees to the bit:\n  3 values of 1 metric\n  the network's outputs of 2 "
        "test images\n"
        "  the initial weights\n"
    )
    assert text(everything, [], []) == agreed + "nothing that is recorded changed since then"
    assert text(everything, [], changes({"numpy": "1"}, {"numpy": "2"})) == (
        agreed + "although this changed since then:\n  numpy: 1 then, 2 now"
    )


def test_disagreement_in_words():
    then = WEIGHTS | LOSS | {(METRIC, "lr"): {1: (0.1,)}} | OUTPUTS
    now = then | {(METRIC, "val/loss"): LOSS[METRIC, "val/loss"] | {2: (3.0,)}}
    lines = text(then, compare(then, now), changes({"commit": "a1"}, {"commit": "b2"})).splitlines()
    assert lines == [
        "not the same: 1 of 2 metrics differ",
        "  val/loss: at 1 of 3 epochs, first at epoch 2: 1.5 then, 3.0 now (largest relative "
        "difference 5.0e-01)",
        "the same to the bit:",
        "  1 value of 1 metric",
        "  the network's outputs of 2 test images",
        "  the initial weights",
        "what changed since then:",
        "  commit: a1 then, b2 now",
        "  (git diff a1 b2 -- experiments conf)",
    ]


def test_a_difference_that_nothing_explains_says_what_to_do():
    then = {(METRIC, "lr"): {1: (0.1,)}}
    said = text(then, compare(then, {}), [])
    assert said.startswith(
        "not the same: 1 of 1 metric differ\n  lr: at 1 of 1 epoch, first at epoch 1: 0.1 then, "
        "none now\n"
    )
    assert "the same to the bit:\n  nothing\nnothing that is recorded changed since then" in said
    assert "run it once more" in said
