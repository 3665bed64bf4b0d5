"""Runs of several versions of code."""

from __future__ import annotations

import json

from helpers.stores import Store
from reports.runs.computed import metrics_code

MADE = {
    **{"processor": "a processor", "kernel": "stock", "paddle_version": "3.3.1"},
    **{"python_version": "3.11.7", "git_commit": "c" * 40, "git_dirty": "false"},
}
TRAINING = {"training": {"experiments/training.py": "0" * 12}}


def code(letter: str, file: str = "my_losses.py", **parts: dict[str, str]) -> dict[str, str]:
    """The tags of a run of this version of a loss's file, the rest being the same unless told."""
    files = {"loss": {file: letter * 12}} | TRAINING | parts
    return MADE | {
        "code": letter * 64,
        "code.parts": json.dumps(files),
        "code.metrics": metrics_code(),
    }


def edited(store: Store) -> dict[str, list[str]]:
    """The first input of the fault.

    `mine` at seeds 0 and 1, its file edited, the same with seeds 0 to 3.
    """
    before = [
        store.add(f"old{seed}", tags=code("a"), loss="mine", seed=seed, test={"test/accuracy": 0.9})
        for seed in range(2)
    ]
    after = [
        store.add(f"new{seed}", tags=code("b"), loss="mine", seed=seed, test={"test/accuracy": 0.5})
        for seed in range(4)
    ]
    other = [
        store.add(f"ce{seed}", tags=code("c", "experiments/losses/true_class.py"), seed=seed)
        for seed in range(4)
    ]
    return {"before": before, "after": after, "ce": other}
