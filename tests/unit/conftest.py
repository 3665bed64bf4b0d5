"""Fixtures of several files of unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.mnist import Tiny

from experiments import data
from experiments.data import sources


@pytest.fixture
def house_style() -> Iterator[None]:
    """Figures are drawn in the style of a report."""
    from reports.figures import palette

    with palette.style():
        yield


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    """200 digits to train on and 50 to validate with."""
    return data.digits(seed=0, train_size=200, validation_size=50)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """Small files in place of MNIST, an empty cache, and sources that must not be used."""
    tiny = Tiny()
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path / "cache"))

    def unreachable(dataset: sources.DataSet) -> list[bytes]:
        raise AssertionError("nothing may be downloaded here")

    tiny.dataset = tiny.served_by(unreachable, unreachable)
    return tiny
