"""What tests of tracking share."""

from __future__ import annotations

import shutil
from pathlib import Path

from experiments import tracking


def open_copy(empty_store: Path, directory: Path) -> tracking.Store:
    """The experiment `mine` in a copy of the empty store, in this directory."""
    path = shutil.copy(empty_store, directory / "mlflow.db")
    return tracking.open_store(f"sqlite:///{path}", "mine")


def run(store, **more):
    return tracking.tracked_run(
        store, name="n", params={"loss": "ce", "lr": 0.1}, tags={"identity": "i"}, **more
    )
