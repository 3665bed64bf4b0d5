"""A checkpoint is whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle

import numpy as np
import paddle
import pytest

from experiments import checkpoints


def test_what_was_saved_is_loaded(tmp_path):
    place = tmp_path / "below" / "a.checkpoint"
    assert checkpoints.save(place, {"weights": np.arange(3.0), "epoch": 2})
    content = checkpoints.load(place)
    np.testing.assert_array_equal(content["weights"], [0.0, 1.0, 2.0])
    assert content["epoch"] == 2
    assert [path.name for path in place.parent.iterdir()] == ["a.checkpoint"]
    assert checkpoints.load(place.with_name("b")) is None


def test_a_run_has_one_file_and_its_trajectory_one_for_each_run(tmp_path):
    place = checkpoints.prefix(tmp_path, "mlflow.db", "1", "trajectory")
    other = checkpoints.prefix(tmp_path, "mlflow.db", "2", "trajectory")
    for where, epochs, epoch in [(place, 2, 2), (place, 20, 7), (place, 20, 8), (other, 2, 1)]:
        assert checkpoints.save(checkpoints.path(where, epochs, epoch), epoch)
    (tmp_path / "outputs" / "checkpoints" / f"{place.name}-20-9.checkpoint.1.writing").touch()
    newest = checkpoints.path(place, 20, 8)
    assert [epoch for epoch, _ in checkpoints.longest_first(place)] == [8, 7, 2]
    checkpoints.remove(place, 20, but=newest)
    assert [checkpoints.load(path) for _, path in checkpoints.longest_first(place)] == [8, 2]
    checkpoints.remove(place, 2)
    assert checkpoints.longest_first(place) == [(8, newest)]
    assert len(list(newest.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "array",
    [
        np.array(5, np.int32),
        np.zeros((0, 3), np.int64),
        np.array([[0.1, -0.0], [np.nan, np.inf]]),
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        np.array([True, False]),
        np.float32(1.1),
        np.float64(0.1),
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype}-{array.ndim}",
)
def test_arrays_come_back_to_the_bit(tmp_path, array):
    checkpoints.save(tmp_path / "a", [array])
    (loaded,) = checkpoints.load(tmp_path / "a")
    assert type(loaded) is type(array)
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "bool"])
@pytest.mark.parametrize("shape", [[], [0, 3], [2, 2]], ids=str)
def test_tensors_come_back_as_tensors_to_the_bit(tmp_path, dtype, shape):
    tensor = paddle.full(shape, 1.1).astype(dtype)
    checkpoints.save(tmp_path / "a", {"weights": tensor})
    loaded = checkpoints.load(tmp_path / "a")["weights"]
    assert isinstance(loaded, paddle.Tensor)
    assert (loaded.dtype, loaded.shape) == (tensor.dtype, tensor.shape)
    assert loaded.numpy().tobytes() == tensor.numpy().tobytes()


def test_everything_else_comes_back_as_it_was(tmp_path):
    content = {
        "": {"array": {"tensor": []}, "json": ["list", "tuple", ["array", 0]]},
        "nested": (3, (2**80, -1), [None, True, ()], {1: {}, (2, None): []}),
        "numbers": [0.1, 5e-324, 1e308, float("inf"), -0.0],
        "text": "\u00e9\n",
    }
    checkpoints.save(tmp_path / "a", content)
    assert repr(checkpoints.load(tmp_path / "a")) == repr(content)


@pytest.mark.parametrize(
    "content", [{"a": object()}, [np.array([object()])]], ids=["object", "array"]
)
def test_what_would_not_come_back_is_not_saved(tmp_path, caplog, content):
    assert not checkpoints.save(tmp_path / "a", content)
    assert "no checkpoint: cannot write" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_an_archive_that_numpy_reads_without_pickle(tmp_path):
    checkpoints.save(tmp_path / "a", {"weights": np.arange(3), "epoch": 2})
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        assert archive["0"].tolist() == [0, 1, 2]
        content = ["dict", ["tuple", "weights", ["array", 0]], ["tuple", "epoch", 2]]
        assert json.loads(archive["content.json"]) == content


def test_a_pickle_is_not_read(tmp_path, caplog):
    """A checkpoint of older versions: a digest and a pickle."""

    class Touch:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    data = pickle.dumps(Touch())
    (tmp_path / "a").write_bytes(hashlib.sha256(data).digest() + data)
    assert checkpoints.load(tmp_path / "a") is None
    assert "in an old format, and not used" in caplog.text
    pickle.loads(data)
    assert (tmp_path / "ran").exists()  # which reading it would have done


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"", lambda b: b[:-1] + b"!"]
)
def test_a_damaged_one_is_noticed(tmp_path, caplog, damage):
    place = tmp_path / "a.checkpoint"
    checkpoints.save(place, [1, 2, 3])
    place.write_bytes(damage(place.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load(place) is None
    assert "is damaged or in an old format, and not used" in caplog.text


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert not checkpoints.save(tmp_path / "file" / "a.checkpoint", [])
    assert "no checkpoint: cannot write" in caplog.text
