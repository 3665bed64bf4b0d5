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
    other = []  # where the p that decides is of other rates than those shown
    if row.get("combinations", 1) > 1:
        shown = [(row[f"lr_{side}"], row[f"tuned_{side}"]) for side in ("a", "b")]
        pairs = zip(_at(row, _weakest(row)), _weakest(row), shown, strict=True)
        other = [words for words, weakest, own in pairs if weakest != own]
    return _say("sentence", dict(row) | within, metric, a, b, other)


def needed(row: Mapping[str, Any]) -> str:
    """What it would take to decide an undecided contrast; empty for another."""
    pair: Sequence[tuple[float, str]] = ()
    if row["reason"] == "rates":
        pair = row["weakest_equivalence"] if row["at_best"] == "equivalent" else _weakest(row)
    tuned = any(own for _, own in pair)
    return _say("needed", row, read_metric(row["metric"]), _at(row, pair), tuned)


def _weakest(row: Mapping[str, Any]) -> list[tuple[float, str]]:
    """The rates and tuned values of a and b whose p of a difference decides."""
    return list(zip(row["weakest"], row["weakest_tuned"], strict=True))


def _at(row: Mapping[str, Any], pair: Sequence[tuple[float, str]]) -> list[str]:
    """The losses at these rates, with these tuned values."""
    return [
        f"{called(row[side], tuned)} at {lr:g}"
        for side, (lr, tuned) in zip(("a", "b"), pair, strict=False)
    ]


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many contrasts have which verdict: 2 better, 1 undecided."""
    counts = Counter(row["verdict"] for row in rows)
    each = ("better", "worse", "equivalent", "undecided")
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in each if counts[verdict])
