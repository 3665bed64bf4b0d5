"""Predictions, and values for each test image, of stored runs."""

from __future__ import annotations

import shutil

import numpy as np
from helpers.read_runs import good_predictions, npz
from helpers.stores import execute

from reports.runs import configuration, constant_scores, predictions, scores


def test_predictions_are_the_arrays_that_the_run_stored(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, npz(tmp_path / "a.npz", **good_predictions()))
    for source in (store.load(), store.uri):
        arrays = predictions(source, run_id)
        assert list(arrays) == ["outputs", "predicted", "label"]
        for name, array in good_predictions().items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype


def test_predictions_move_with_the_store(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, npz(tmp_path / "a.npz", **good_predictions()))
    (tmp_path / "moved").mkdir()
    for name in ("mlflow.db", "mlartifacts"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    arrays = predictions(f"sqlite:///{tmp_path}/moved/mlflow.db", run_id)
    assert arrays["label"].tolist() == [0, 1, 2, 3]


def test_predictions_that_cannot_be_read_are_none(store, tmp_path):
    good = npz(tmp_path / "good.npz", **good_predictions())
    damaged = bytearray(good)
    damaged[len(good) // 3] ^= 0xFF
    ragged = good_predictions() | {"label": np.arange(3)}
    objects = good_predictions() | {"label": np.array([{}] * 4)}
    contents = [b"", b"no archive", good[: len(good) // 2], bytes(damaged)]
    contents += [npz(tmp_path / "b.npz", outputs=np.zeros((4, 10)))]
    contents += [npz(tmp_path / "c.npz", **ragged), npz(tmp_path / "d.npz", **objects)]
    run_id = store.add("i")
    assert predictions(store.uri, run_id) is None  # none there
    for content in contents:
        store.add_predictions(run_id, content)
        assert predictions(store.uri, run_id) is None
    assert predictions(store.uri, "no such run") is None


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
    store.add_predictions(run_id, npz(tmp_path / "a.npz", **_answers()))
    for source in (store.load(), store.uri):
        for metric, expected in values.items():
            for name in (metric, metric.replace("_", "/", 1)):
                by_image = scores(source, run_id, name)
                assert by_image.dtype == np.float32
                np.testing.assert_allclose(by_image, expected, rtol=1e-6)
        assert scores(source, run_id, "test_ece") is None  # the mean of no values of images


def test_right_and_wrong_are_read_without_the_predictions(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, b"damaged")
    bits = npz(tmp_path / "a.npz", correct=np.array([True, False, True]))
    store.add_predictions(run_id, bits, "test_correct.npz")
    assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1]
    assert scores(store.uri, run_id, "test_nll") is None


def test_a_damaged_file_of_right_and_wrong_is_made_up_for_by_the_predictions(store, tmp_path):
    run_id = store.add("i")
    store.add_predictions(run_id, npz(tmp_path / "a.npz", **_answers()))
    texts = np.array(["yes", "no", "yes", "no"])
    for content in (b"", b"no archive", npz(tmp_path / "b.npz", correct=texts)):
        store.add_predictions(run_id, content, "test_correct.npz")
        assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1, 0]


def test_a_network_with_one_output_has_no_likelihood_of_an_image(store, tmp_path):
    run_id = store.add("i")
    one = _answers() | {"outputs": np.array([[2.1], [0.4], [0.6], [3.8]], dtype=np.float32)}
    store.add_predictions(run_id, npz(tmp_path / "a.npz", **one))
    assert scores(store.uri, run_id, "test_accuracy").tolist() == [1, 0, 1, 0]
    assert scores(store.uri, run_id, "test_nll") is None
    assert scores(store.uri, run_id, "test_brier") is None


def test_the_best_constant_answer_is_that_of_the_first_run_with_predictions(store, tmp_path):
    diverged, finished = store.add("i", outcome="diverged", test={}), store.add("j", seed=1)
    runs = store.load()
    assert constant_scores(runs, [diverged, finished]) is None
    assert scores(runs, diverged, "test_accuracy") is None
    store.add_predictions(finished, npz(tmp_path / "a.npz", **_answers()))
    assert constant_scores(runs, [diverged, finished]).tolist() == [0, 1, 1, 1]


def test_only_the_files_of_the_run_that_is_asked_for_are_read(store, tmp_path, monkeypatch):
    first, second = store.add("i"), store.add("j", seed=1)
    for run_id in (first, second):
        bits = npz(tmp_path / "a.npz", correct=np.array([run_id == first]))
        store.add_predictions(run_id, bits, "test_correct.npz")
    runs, read = store.load(), []
    of_the_store = runs.store.artifact
    noted = lambda *which: read.append(which) or of_the_store(*which)  # noqa: E731
    monkeypatch.setattr(runs.store, "artifact", noted)
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
    execute(store.path, "UPDATE runs SET artifact_uri = 'mlflow-artifacts:/1/x/artifacts'")
    assert predictions(store.uri, run_id) is None
    assert list(empty.iterdir()) == []
