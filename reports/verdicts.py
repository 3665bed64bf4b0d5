"""Verdicts in words and as a file, and the check that an earlier file's verdicts still hold.

`verdicts.json` holds each verdict with its numbers and its run ids, and what it takes to derive
them
again: the question asked, and the runs of each setting that it was asked of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports import analysis, source_code
from reports.analysis import Question, Section
from reports.metrics import column, read_metric
from reports.names import plain

FORMAT = 1

COMPARISON = (
    *(
        "view",
        "epochs",
        "metric",
        "a",
        "b",
        "lr_a",
        "lr_b",
        "n",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
    ),
    *("d_z", "p_better", "paired", "family", "margin", "verdict", "run_ids"),
)
ADDED = (
    *("diverged_a", "diverged_b", "failed_a", "failed_b", "n_a", "n_b", "shared_seeds"),
    *("survivors_n", "survivors_difference", "survivors_low", "survivors_high"),
    *("p_equivalence", "p_equivalence_holm"),
)
"""Keys of a contrast that files of earlier versions do not have."""

_KEY = ("view", "epochs", "metric", "a", "b", "lr_a", "lr_b")


class CheckError(ValueError):
    """A file of verdicts that cannot be read; the message says why."""


def upper_first(text: str) -> str:
    """The text with a capital first letter, and NLL still NLL."""
    return text[:1].upper() + text[1:]


def sentence(row: Mapping[str, Any]) -> str:
    """One contrast as a sentence, which says no more than its verdict."""
    a, b = plain(row["a"], 48), plain(row["b"], 48)
    metric, unit = read_metric(row["metric"]), f" {row['unit']}" if row["unit"] else ""
    words, digits = metric.words, metric.digits
    if row["n"] == 0:
        why = f": {row['lacking']}" if row.get("lacking") else ""
        return f"{a} against {b}: undecided, for there is no {words} of both to compare{why}."
    size = f"{_signed(row['difference'], digits)}{unit} of {words}"
    basis = f"{_interval(row['low'], row['high'], digits)}, {_basis(row)}"
    if row["interval"] == "ranks":
        size = f"better {words} with probability {row['p_better']:.2f}"
        basis = f"by ranks, {_basis(row)}"
    ends = _ends(row, a, b, digits, unit)
    if row["verdict"] == "equivalent":
        return (
            f"{a} is equivalent to {b} within ±{row['margin']:.3g}{unit}: {size} ({basis}).{ends}"
        )
    # Of one pair p is 1 whatever the difference: no number to tell anyone.
    holm = f", Holm p {_p(row['p_holm'])}" if row["n"] > 1 and not math.isnan(row["p_holm"]) else ""
    if row["verdict"] in ("better", "worse"):
        return f"{a} is {row['verdict']} than {b}: {size} ({basis}{holm}).{ends}"
    return f"{a} against {b} is undecided: {size} ({basis}{holm}).{ends}"


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
            "worse than every other run"
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


def amount(value: float, unit: str) -> str:
    """A size in words: 1 point, 0.25 points, 0.03."""
    text = f"{value:.2g}"
    return f"{text} {unit.removesuffix('s') if text == '1' else unit}".rstrip()


def needed(row: Mapping[str, Any]) -> str:
    """What it would take to decide an undecided contrast; empty for another."""
    if row["verdict"] != "undecided":
        return ""
    if row["n"] == 0:
        return ""
    if row["n"] == 1:
        return "The variance cannot be estimated from one pair of runs: more seeds will tell."
    if row["interval"] == "ranks":
        return "By ranks, no number of seeds can be computed that would decide."
    shows = (
        f"With {row['n']} seeds no difference, however large, can reach significance in a family "
        f"of {row['family']}"
    )
    if math.isfinite(row["detectable"]):
        shows = (
            f"{row['n']} seeds can show a difference of {amount(row['detectable'], row['unit'])}"
        )
    if math.isinf(row["seeds_needed"]):
        return f"{shows}; more than 10,000 would be needed at the difference and spread observed."
    if math.isnan(row["seeds_needed"]):
        return f"{shows}."
    return (
        f"{shows}; about {int(row['seeds_needed'])} would decide, if the difference and spread "
        "observed are the true ones."
    )


def document(sections: Sequence[Section], source: Mapping[str, Any]) -> dict[str, Any]:
    """The content of verdicts.json, with metrics as users type them.

    Source: experiment, sweep, where and baselines of the runs.
    """
    contrasts = [
        {"setting": section.setting}
        | {key: _json(row[key]) for key in (*COMPARISON, *ADDED)}
        | {"metric": read_metric(row["metric"]).typed, "sentence": sentence(row)}
        for section in sections
        for row in section.contrasts.to_dict("records")
    ]
    return {
        "format": FORMAT,
        "source": dict(source),
        "question": {key: _json(value) for key, value in asdict(sections[0].question).items()}
        | {"metric": sections[0].metric.typed}
        if sections
        else {},
        "settings": [
            {
                "setting": section.setting,
                "reference": section.reference,
                "test_size": section.test_size,
                "code": source_code.codes(section.runs),
                "diverged_as": section.diverged_as,
                "runs": {
                    str(loss): sorted(runs["run_id"].astype(str))
                    for loss, runs in section.runs.groupby("loss", sort=True, observed=True)
                },
            }
            for section in sections
        ],
        "contrasts": contrasts,
    }


def write(content: Mapping[str, Any]) -> str:
    """The text of verdicts.json."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> dict[str, Any]:
    """An earlier verdicts.json.

    Raises:
        CheckError: there is no such file, or it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckError(f"check: cannot read {path}: {reason}") from error
    except json.JSONDecodeError as error:
        raise CheckError(f"check: {path} is not JSON: {error}") from error
    shape = {"contrasts": list, "settings": list, "question": dict, "source": dict}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) for key, kind in shape.items()
    ):
        raise CheckError(
            f"check: {path}: expected a verdicts.json of this program, with {', '.join(shape)}"
        )
    if content.get("format") != FORMAT:
        raise CheckError(
            f"check: {path} has format {content.get('format')!r}, this program reads {FORMAT}"
        )
    lacking = {
        key
        for comparison in content["contrasts"]
        for key in ("setting", *COMPARISON)
        if not isinstance(comparison, dict) or key not in comparison
    }
    if lacking:
        raise CheckError(f"check: {path}: verdicts lack {', '.join(sorted(lacking))}")
    return content


def runs_of(content: Mapping[str, Any]) -> set[str]:
    """The ids of the runs that an earlier file's verdicts are made of.

    Raises:
        CheckError: the file does not say.
    """
    try:
        return {
            str(run_id)
            for setting in content["settings"]
            for run_ids in setting["runs"].values()
            for run_id in run_ids
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckError(f"check: the file does not say which runs it is of: {error}") from error


def check(content: Mapping[str, Any], summary: pd.DataFrame) -> list[str]:
    """The verdicts of an earlier file that no longer follow from `summary`, a line each.

    Every verdict is derived again from the very runs it was made of. A number holds when it is
    equal to nine digits.

    Raises:
        CheckError: the file's question makes no sense.
    """
    broken = []
    try:
        asked = dict(content["question"])
        asked["tuning_seeds"] = (
            tuple(asked["tuning_seeds"]) if asked.get("tuning_seeds") is not None else None
        )
        if "metric" in asked:
            asked["metric"] = column(asked["metric"])  # earlier files have the column
        asked["subjects"] = tuple(asked.get("subjects") or ())
        question = Question(**asked)
        derived = {}
        for setting in content["settings"]:
            label = {
                run_id: loss for loss, run_ids in setting["runs"].items() for run_id in run_ids
            }
            runs = _labelled(summary, label)
            gone = sorted(label.keys() - set(runs["run_id"].astype(str)))
            derived[setting["setting"]] = (_derive(runs, setting, question), gone)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckError(
            f"check: the question in the file cannot be asked again: {error}"
        ) from error
    for typed in content["contrasts"]:
        comparison = typed | {"metric": column(str(typed["metric"]))}
        found, gone = derived.get(comparison["setting"], ({}, []))
        problem = _differences(comparison, found.get(_key(comparison)))
        if gone and problem:
            problem += f"; {len(gone)} of the runs are no longer in the store, the first {gone[0]}"
        if problem:
            broken.append(f"{_name(comparison)}: {problem}")
    return broken


def _labelled(summary: pd.DataFrame, label: Mapping[str, str]) -> pd.DataFrame:
    """The runs in `label`, each loss with its label in the earlier file.

    A label contains what differs between the runs that were reported.

    A run whose loss is another than its label says is left out.
    """
    runs = summary[summary["run_id"].astype(str).isin(label.keys())]
    runs = runs.assign(loss=[label[run_id] for run_id in runs["run_id"].astype(str)])
    if "loss_option" not in runs:
        return runs
    fits = [
        f"{row.loss} ".startswith((f"{row.loss_option} ", f"{row.loss_option}@"))
        for row in runs[["loss", "loss_option"]].itertuples()
    ]
    return runs[np.array(fits, dtype=bool)]


def _derive(
    runs: pd.DataFrame, setting: Mapping[str, Any], question: Question
) -> dict[tuple, dict[str, Any]]:
    usable, _ = analysis.countable(runs)
    if not len(usable) or setting["reference"] not in set(usable["loss"]):
        return {}
    if question.metric not in usable.columns:
        usable = usable.assign(**{question.metric: math.nan})
    found = analysis.comparisons(
        usable, setting["reference"], question, setting["test_size"], setting.get("diverged_as")
    )
    rows = [
        {key: _json(row[key]) for key in (*COMPARISON, *ADDED)} for row in found.to_dict("records")
    ]
    return {_key(row): row for row in rows}


def _differences(comparison: Mapping[str, Any], now: Mapping[str, Any] | None) -> str:
    if now is None:
        return "can no longer be derived from the runs"
    wrong = [
        f"{key} was {_shown(comparison[key])}, is {_shown(now[key])}"
        for key in (*COMPARISON, *(key for key in ADDED if key in comparison))
        if not _holds(comparison[key], now[key])
    ]
    return "; ".join(wrong)


def _holds(then: Any, now: Any) -> bool:
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in (then, now)
    )
    return math.isclose(then, now, rel_tol=1e-9, abs_tol=1e-12) if numbers else then == now


def _shown(value: Any) -> str:
    return f"{len(value)} runs" if isinstance(value, list) else plain(value, 60)


def _key(comparison: Mapping[str, Any]) -> tuple:
    return tuple(str(comparison[key]) for key in _KEY)


def _name(comparison: Mapping[str, Any]) -> str:
    rate = f" at lr {plain(comparison['lr_a'])}" if comparison["view"] == "equal" else ""
    view = "best rates" if comparison["view"] == "best" else "equal rates"
    return (
        f"{plain(comparison['a'])} {plain(comparison['verdict'])} against {plain(comparison['b'])} "
        f"({view}{rate}, {plain(comparison['epochs'])} epochs, {plain(comparison['setting'], 80)})"
    )


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def _basis(row: Mapping[str, Any]) -> str:
    if row["paired"]:
        return f"{row['n']} pairs of runs" if row["n"] != 1 else "one pair of runs"
    return f"unpaired, {row['n_a']} and {row['n_b']} runs"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
