"""Fixtures of several files of unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.mnist import Tiny

if TYPE_CHECKING:
    from reports.analysis import Section
    from reports.page.report import Report

from experiments import data
from experiments.data import sources


@pytest.fixture
def house_style() -> Iterator[None]:
    """Figures are drawn in the style of a report."""
    from reports.figures import palette

    with palette.style():
        yield


@pytest.fixture(scope="session")
def section() -> Section:
    """Runs of three losses, of 2 and of 3 epochs."""
    from helpers.synthetic_runs import predictions, runs

    from reports import analysis
    from reports.question import Question

    (section,) = analysis.sections(*runs(epochs=(2, 3)), Question(), predictions)
    return section


@pytest.fixture(scope="session")
def usual() -> tuple[list[Section], Report, str, str]:
    """Sections, report, HTML and Markdown of ten seeds of three losses, with all drawings."""
    from helpers.pages import make_page
    from helpers.synthetic_runs import runs

    return make_page(*runs(), drawn=True)


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
