"""Summaries of runs, made from test accuracies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

NAN = math.nan


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def run(loss: str, seed: int, test: float | None, **changes: Any) -> dict[str, Any]:
    """One row of a summary; `test` is the test accuracy, None for a run that diverged."""
    row = {
        "run_id": f"{loss}-{changes.get('lr', 0.01)}-{changes.get('epochs', 10)}-{seed}",
        "loss": loss,
        "lr": 0.01,
        "epochs": 10,
        "seed": seed,
        "outcome": "diverged" if test is None else "ok",
        "val_accuracy": NAN if test is None else test,
        "test_accuracy": NAN if test is None else test,
        "init_hash": f"init {seed}",
        "order_hash": f"order {seed}",
    }
    return row | changes


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def runs(
    loss: str, accuracies: list[float | None], first_seed: int = 0, **changes: Any
) -> list[dict[str, Any]]:
    return [run(loss, first_seed + i, accuracy, **changes) for i, accuracy in enumerate(accuracies)]


def grid_of(scores: dict[str, dict[float, list[float | None]]], **changes: Any) -> pd.DataFrame:
    """A summary from {loss: {lr: accuracies by seed}}."""
    rows = [
        run(loss, seed, value, lr=lr, **changes)
        for loss, rates in scores.items()
        for lr, values in rates.items()
        for seed, value in enumerate(values)
    ]
    return frame(*rows)


def only(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]
