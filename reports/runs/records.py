"""What a store holds, before anything is decided.

Experiments and runs as they are, and the names in them that count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from experiments.contract import GROUPS, SCALARS

NEEDED = (*GROUPS, *SCALARS)
CURVES = {  # metrics with a history, and their columns in `curves`
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "val/loss": "val_loss",
    "val/accuracy": "val_accuracy",
    "val/nll": "val_nll",
    "train/accuracy_flipped": "train_accuracy_flipped",
    "train/accuracy_recovered": "train_accuracy_recovered",
    "train/accuracy_untouched": "train_accuracy_untouched",
    "train/gradient_norm": "train_gradient_norm",
    "train/update_ratio": "train_update_ratio",
    "time/train_seconds": "train_seconds",
    "lr": "lr_now",
}
_SAME_NAMES = (
    *("identity", "configuration", "init_hash", "head_hash", "order_hash"),
    *("code", "code.parts", "code.metrics", "classes", "folds", "git_commit", "git_dirty"),
    *("python_version", "paddle_version", "kernel", "processor"),
)
TAG_COLUMNS = {tag: tag.replace(".", "_") for tag in _SAME_NAMES}  # tags, columns in `summary`
TAG_COLUMNS["mlflow.parentRunId"] = "parent_run_id"
TAGS = {*TAG_COLUMNS, "kind", "outcome", "warnings", "seeds", "question", "tune"}
_OLD_TAGS = {"cell": "configuration", "lint": "warnings"}  # as earlier versions called them
AT_END = ("test/", "data/", "corrupted/", "stop/")  # begin the metrics without a history
WARNING = "warnings."  # begins the tags with the sentence of each warning that `warnings` names
HUGE = 1.7976931348623157e308  # how MLflow stores an infinity

Item = TypeVar("Item")


class ReadError(RuntimeError):
    """The runs cannot be read.

    The message is for the user: what was expected, what got, what to do.
    """


def tags_of(stored: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run that a report uses, by their present names."""
    tags = {}
    for name, value in stored.items():
        first, dot, rest = name.partition(".")
        now = _OLD_TAGS.get(first, first) + dot + rest
        if (now in TAGS or now.startswith(WARNING)) and (now == name or now not in stored):
            tags[now] = value
    return tags


@dataclass(frozen=True)
class Experiment:
    """An experiment as the store has it."""

    id: str
    name: str
    deleted: bool


@dataclass(frozen=True)
class Run:
    """A run as the store has it; times in milliseconds since 1970.

    Metrics: the last value of each, None if not a number.

    baseline: not of the store, but of a file of baselines.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    started: int | None
    ended: int | None
    deleted: bool
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    digest: str = ""
    baseline: bool = False

    @property
    def seconds(self) -> float:
        """The duration of the run; NaN where it has no start or no end."""
        return (
            math.nan
            if self.started is None or self.ended is None
            else (self.ended - self.started) / 1000
        )


def age(run: Run) -> tuple[int, str]:
    """Sorts runs, the oldest first."""
    return run.started or 0, run.run_id


def finite(value: float | None) -> float | None:
    """The value; None for one that is no finite number."""
    return value if value is not None and abs(value) < HUGE else None


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, at most `size` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
