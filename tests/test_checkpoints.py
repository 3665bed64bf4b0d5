"""A checkpoint is whole or not there."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from experiments import checkpoints


def test_what_was_saved_is_loaded(tmp_path):
    place = tmp_path / "below" / "a.checkpoint"
    assert checkpoints.save(place, {"weights": np.arange(3.0), "epoch": 2})
    content = checkpoints.load(place)
    np.testing.assert_array_equal(content["weights"], [0.0, 1.0, 2.0])
    assert content["epoch"] == 2
    assert [path.name for path in place.parent.iterdir()] == ["a.checkpoint"]
    checkpoints.remove(place)
    assert checkpoints.load(place) is None
    checkpoints.remove(place)  # and where there is nothing, nothing happens


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"", lambda b: b[:-1] + b"!"]
)
def test_a_damaged_one_is_noticed(tmp_path, caplog, damage):
    place = tmp_path / "a.checkpoint"
    checkpoints.save(place, [1, 2, 3])
    place.write_bytes(damage(place.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load(place) is None
    assert "is damaged; the run starts over" in caplog.text


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert not checkpoints.save(tmp_path / "file" / "a.checkpoint", [])
    assert "no checkpoint: cannot write" in caplog.text
