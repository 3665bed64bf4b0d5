"""Verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.metrics import read_metric
from reports.names import plain
from reports.stats.contrast import IMAGES, SEEDS


def upper_first(text: str) -> str:
    """The text with a capital first letter, and NLL still NLL."""
    return text[:1].upper() + text[1:]


def called(loss: object, tuned: str = "") -> str:
    """A loss with its own values that were tuned: focal (gamma=2)."""
    return f"{plain(loss, 48)} ({plain(tuned, 48)})" if tuned else plain(loss, 48)


def sentence(row: Mapping[str, Any]) -> str:
    """One contrast as a sentence, which says no more than its verdict."""
    a, b = (called(row[side], row.get(f"tuned_{side}", "")) for side in ("a", "b"))
    metric, unit = read_metric(row["metric"]), f" {row['unit']}" if row["unit"] else ""
    words, digits = metric.words, metric.digits
    if row["n"] == 0:
        why = f" ({row['lacking']})" if row.get("lacking") else ""
        return f"{a} against {b} is undecided: there is no {words} of both to compare{why}."
    least, most = metric.differences
    ends = [key for key in row if key.endswith(("low", "high")) and not key.startswith("seeds")]
    row = dict(row) | {key: min(max(row[key], least), most) for key in ends}
    size = f"{_signed(row['difference'], digits)}{unit} of {words}"
    interval = _interval(row["low"], row["high"], digits)
    if row["generalises"] == IMAGES:
        how = "differ" if row["low"] > 0 or row["high"] < 0 else "do not clearly differ"
        return (
            f"{a} against {b} is undecided (one seed). These two networks {how} on new examples: "
            f"{size} ({interval}). Whether the losses differ needs more seeds."
        )
    here = " on this test set" if row["generalises"] == SEEDS else ""
    basis = f"{interval}{here}, {_basis(row)}"
    if row["interval"] == "ranks":
        size = f"better {words} with probability {row['p_better']:.2f}"
        basis = f"by ranks{here}, {_basis(row)}"
    more = _ends(row, a, b, digits, unit) + _outliers(row, digits, unit)
    where = " at these learning rates" if row["at_these_rates"] else ""
    if row["verdict"] == "equivalent":
        return (
            f"{a} is equivalent to {b}{where} within ±{row['margin']:.3g}{unit}: {size} "
            f"({basis}).{more}"
        )
    holm = f", Holm p {_p(row['p_holm'])}" if row["n"] > 1 and not math.isnan(row["p_holm"]) else ""
    if row["verdict"] in ("better", "worse"):
        return f"{a} is {row['verdict']} than {b}{where}: {size} ({basis}{holm}).{more}"
    return f"{a} against {b} is undecided ({row['reason']}): {size} ({basis}{holm}).{more}"


def _outliers(row: Mapping[str, Any], digits: int, unit: str) -> str:
    """The seeds that lie far from the others, and what is robust against them; mostly ""."""
    if not row["outliers"]:
        return ""
    named = ", ".join(row["outliers"][:4]) + (" and others" if len(row["outliers"]) > 4 else "")
    return (
        f" Outlying: {named}. Robust measures: median {_signed(row['median'], digits)}{unit}, "
        f"trimmed mean {_signed(row['trimmed_mean'], digits)}{unit}."
    )


def _interval(low: float, high: float, digits: int) -> str:
    if math.isnan(low):
        return "no interval"
    return f"95 % interval {_signed(low, digits)} to {_signed(high, digits)}"


def _ends(row: Mapping[str, Any], a: str, b: str, digits: int, unit: str) -> str:
    """How many runs did not end well, and the difference of those that did; mostly ""."""
    texts = []
    diverged = [
        f"{row[f'diverged_{side}']} of {row[f'n_{side}']} runs of {name}"
        for side, name in (("a", a), ("b", b))
        if row[f"diverged_{side}"]
    ]
    if diverged:
        how = (
            "as worse than every run that ended well"
            if row["interval"] == "ranks"
            else "with the accuracy of the best constant answer"
        )
        texts.append(f"{upper_first(' and '.join(diverged))} diverged and count {how}.")
        runs = f"{row['survivors_n']} {'pairs' if row['paired'] else 'runs or more on each side'}"
        runs = "one pair" if row["paired"] and row["survivors_n"] == 1 else runs
        if row["survivors_n"]:
            alone = f"{_signed(row['survivors_difference'], digits)}{unit}"
            interval = _interval(row["survivors_low"], row["survivors_high"], digits)
            texts.append(f"Without them: {alone} ({interval}, {runs}).")
    failed = [
        f"{row[f'failed_{side}']} {'run' if row[f'failed_{side}'] == 1 else 'runs'} of {name}"
        for side, name in (("a", a), ("b", b))
        if row[f"failed_{side}"]
    ]
    if failed:
        texts.append(f"Without a result (failed or killed): {' and '.join(failed)}.")
    return "".join(f" {text}" for text in texts)


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many contrasts have which verdict: 2 better, 1 undecided."""
    found = [row["verdict"] for row in rows]
    each = (
        (verdict, found.count(verdict))
        for verdict in ("better", "worse", "equivalent", "undecided")
    )
    return ", ".join(f"{count} {verdict}" for verdict, count in each if count)


def two_digits(value: float) -> str:
    """A size with two significant digits, a large one with all before the point: 0.25, 720."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def amount(value: float, unit: str) -> str:
    """A size in words: 1 point, 0.25 points, 0.03."""
    text = two_digits(value)
    return f"{text} {unit.removesuffix('s') if text == '1' else unit}".rstrip()


def needed(row: Mapping[str, Any]) -> str:
    """What it would take to decide an undecided contrast; empty for another."""
    if row["verdict"] != "undecided" or row["n"] == 0 or row["generalises"] == IMAGES:
        return ""
    if row["n"] == 1:
        return "The variance cannot be estimated from one pair of runs: more seeds will tell."
    if row["reason"] == "rates":
        lr_a, lr_b = row["weakest"]
        tuned = row.get("weakest_tuned", ["", ""])
        a, b = (called(row[side], own) for side, own in zip(("a", "b"), tuned, strict=True))
        best, these = ("trials", "trials") if any(tuned) else ("learning rates", "rates")
        return (
            f"It is clear at the best {best}, but not with {a} at {lr_a:g} and {b} at {lr_b:g}. "
            f"Validation does not show that these {these} are worse."
        )
    if row["reason"] == "not to be trusted":
        return (
            "The test finds a difference, but outlying seeds cause it, or more seeds like them "
            "would reverse it. With so few seeds the test is not to be trusted."
        )
    if row["interval"] == "ranks":
        return "By ranks, no number of seeds can be computed that would decide."
    shows = f"{row['n']} seeds show a difference of {amount(row['detectable'], row['unit'])}"
    if row["detectable"] >= read_metric(row["metric"]).differences[1]:
        shows = f"{row['n']} seeds show no difference at all"
    shows += " with 80 % power"
    if math.isnan(row["seeds_needed"]):
        return f"{shows}."
    if math.isinf(row["seeds_needed"]):
        return (
            f"{shows}; probably no number of seeds up to 10,000 would decide on these test "
            "examples."
        )
    low, high = int(row["seeds_needed_low"]), row["seeds_needed_high"]
    span = f"{low:,} or more" if math.isinf(high) else f"{low:,} to {int(high):,}"
    if low == high:
        span = f"about {low:,}"
    return (
        f"{shows}. {upper_first(span)} seeds would decide with 80 % power: half of the differences "
        "and spreads that fit these runs need a number in this range."
    )


def _basis(row: Mapping[str, Any]) -> str:
    if row["paired"]:
        return f"{row['n']} pairs of runs" if row["n"] != 1 else "one pair of runs"
    return f"unpaired, {row['n_a']} and {row['n_b']} runs"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
