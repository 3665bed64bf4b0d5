"""Fixtures of several files of tests of commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import Browser, browser
from helpers.dying import as_calm, begin, calm, interruptible, served  # noqa: F401


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A page of a real browser."""
    with browser() as page:
        yield page


@pytest.fixture(scope="module")
def sweep_store(tmp_path_factory: pytest.TempPathFactory, sweep: tuple[Path, str]) -> Path:
    """A directory with a copy of the small sweep's store."""
    directory = tmp_path_factory.mktemp("store")
    shutil.copy(sweep[0] / "mlflow.db", directory)
    shutil.copytree(sweep[0] / "mlartifacts", directory / "mlartifacts")
    return directory
