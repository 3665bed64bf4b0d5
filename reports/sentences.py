"""Verdicts in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reports.metrics import read_metric
from reports.texts import called, say

_say = partial(say, file="sentences.jinja")


def sentence(row: Mapping[str, Any]) -> str:
    """One contrast as a sentence, which says no more than its verdict."""
    a, b = (called(row[side], row.get(f"tuned_{side}", "")) for side in ("a", "b"))
    metric = read_metric(row["metric"])
    least, most = metric.differences
    ends = [key for key in row if key.endswith(("low", "high")) and not key.startswith("seeds")]
    within = {key: min(max(row[key], least), most) for key in ends}
    return _say("sentence", dict(row) | within, metric, a, b)


def needed(row: Mapping[str, Any]) -> str:
    """What it would take to decide an undecided contrast; empty for another."""
    tuned = row.get("weakest_tuned", ["", ""])
    a, b = (called(row[side], own) for side, own in zip(("a", "b"), tuned, strict=True))
    return _say("needed", row, read_metric(row["metric"]), a, b, any(tuned))


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many contrasts have which verdict: 2 better, 1 undecided."""
    counts = Counter(row["verdict"] for row in rows)
    each = ("better", "worse", "equivalent", "undecided")
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in each if counts[verdict])
