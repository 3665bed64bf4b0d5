"""Verdicts in words and as a file, and the check that an earlier file's verdicts still hold.

`verdicts.json` holds each verdict with its numbers and its run ids. To derive them again, it also
holds the question and the runs of each setting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports import analysis, source_code
from reports.analysis import Section
from reports.metrics import column, read_metric
from reports.names import counted, plain
from reports.question import Question, standing
from reports.sentences import sentence
from reports.setting_frames import ended_runs
from reports.stats.contrasts import COLUMNS
from reports.stats.runs import newest_runs
from reports.stats.significance import unseen_share
from reports.stats.two_way import PLANNED
from reports.stats.verdicts import RunScores
from reports.texts import called

if TYPE_CHECKING:
    from reports.runs import Declared

SCHEMA_VERSION = 3

_OF_THE_PAGE = {"unit", "dropped", "lacking", "pairing", "sd", "error", "freedom", "of_images"}
_OF_THE_PAGE |= {"trusted", "p_equivalence_decides", "at_best", "weakest_equivalence"}

COMPARISON = tuple(name for name in COLUMNS if name not in _OF_THE_PAGE)
"""Keys of a contrast."""

DERIVED = ("estimand", "population", "looks", "standing")
"""Further keys, which say what the numbers are about."""

ALPHA = 0.05

_KEY = ("view", "epochs", "metric", "a", "b", "lr_a", "lr_b", "tuned_a", "tuned_b")


class CheckError(ValueError):
    """A file of verdicts that cannot be read; the message says why."""


def document(sections: Sequence[Section], source: Mapping[str, Any]) -> dict[str, Any]:
    """The content of verdicts.json, with metrics as users type them.

    Source: experiment, sweep, where and baselines of the runs.
    """
    contrasts = [
        {"setting": section.setting}
        | _entry(row, section.runs)
        | {"metric": read_metric(row["metric"]).typed, "sentence": sentence(row)}
        | {"standing": _standing(section.exploratory, section.epochs, row)}
        | {"rare_seeds": round(unseen_share(row["n"]), 4) if row["n"] else None}
        for section in sections
        for row in section.contrasts.to_dict("records")
    ]
    question = asdict(sections[0].question) if sections else {}
    content = {
        "schema_version": SCHEMA_VERSION,
        "source": dict(source),
        "question": question | ({"metric": sections[0].metric.typed} if sections else {}),
        "settings": [
            {
                "setting": section.setting,
                "reference": section.reference,
                "test_size": section.test_size,
                "code": source_code.codes(section.runs),
                "diverged_as": section.diverged_as,
                "declared": _declared(section),
                "exploratory": section.exploratory,
                "trials": _trials(section),
                "tuned": {row.run_id: row.tuned for row in section.runs.itertuples() if row.tuned},
                "runs": {
                    loss: sorted(runs["run_id"])
                    for loss, runs in section.runs.groupby("loss", sort=True)
                },
            }
            for section in sections
        ],
        "contrasts": contrasts,
    }
    return {key: as_json(value) for key, value in content.items()}


def _entry(row: Mapping[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """A contrast as the file has it: its numbers, and what they are about.

    Args:
        row: of `reports.stats.contrasts`.
        runs: of its setting, all rates and epochs.
    """
    own = runs[(runs["epochs"] == row["epochs"]) & runs["run_id"].isin(row["run_ids"])]
    seeds = {
        side: sorted(own.loc[own["loss"] == row[side], "seed"].astype(int).tolist())
        for side in ("a", "b")
    }
    missing = own["declared_missing"].max() if len(own) else 0
    entry = {key: row[key] for key in COMPARISON} | {
        "estimand": _estimand(row),
        "population": {
            "seeds_a": seeds["a"], "seeds_b": seeds["b"], "images": row["test_images"],
        },
        "looks": {
            "declared": row["planned_n"],
            "declared_missing": int(missing),
            "later": row["n"] - row["planned_n"],
            "alpha_spent": round(ALPHA * PLANNED, 6) if row["planned_n"] else 0.0,
            "alpha_of_later": round(ALPHA * (1 - PLANNED), 6),
        },
    }  # fmt: skip
    return {key: as_json(value) for key, value in entry.items()}


def _estimand(row: Mapping[str, Any]) -> str:
    """What the difference estimates, in words."""
    metric = read_metric(row["metric"])
    a, b = (called(row[side], row[f"tuned_{side}"]) for side in ("a", "b"))
    unit = f", in {metric.unit}" if metric.unit else ""
    tuned = row["tuned_a"] or row["tuned_b"]
    rates = f"each {'in its best trial' if tuned else 'at its best learning rate'} by validation"
    if row["view"] != "best":
        rates = f"both at learning rate {row['lr_a']:g}"
    return (
        f"mean over seeds of {metric.words} of {a} minus that of {b}{unit}, after "
        f"{counted(row['epochs'], 'epoch')}, {rates}; runs that diverged count"
    )


def _trials(section: Section) -> dict[str, int]:
    """The number of trials of each loss that has one, at the headline's epochs."""
    chosen = section.at_end(section.chosen)
    return {str(row.loss): int(row.trials) for row in chosen.itertuples()}


def _standing(exploratory: str, epochs: int, row: Mapping[str, Any]) -> str:
    """Whether a contrast answers a question that was declared before the runs."""
    headline = row["view"] == "best" and row["epochs"] == epochs
    return "exploratory" if exploratory or not headline else "confirmatory"


def _declared(section: Section) -> dict[str, Any] | None:
    if section.declared is None:
        return None
    declared = asdict(section.declared)
    return declared | {"time": declared["time"].isoformat()}


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
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise CheckError(
            f"check: {path}: expected a verdicts.json of schema_version {SCHEMA_VERSION}, got "
            f"{version!r}; verdicts of other versions follow other rules: make the report again"
        )
    return content


def runs_of(content: Mapping[str, Any]) -> set[str]:
    """The ids of the runs from which an earlier file's verdicts were derived.

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
        raise CheckError(f"check: the file does not name its runs: {error}") from error


def check(
    content: Mapping[str, Any],
    summary: pd.DataFrame,
    scores: RunScores | None = None,
    constant: Callable[[Iterable[str]], np.ndarray | None] | None = None,
    declared: tuple[Sequence[Declared], str] | None = None,
) -> list[str]:
    """The verdicts of an earlier file that no longer follow from `summary`, a line each.

    Every verdict is derived again from the same runs. A number holds when it is equal to nine
    digits.

    Args:
        content: of the file.
        summary: the runs.
        scores: as in `analysis.sections`.
        constant: on which test examples the best constant answer is right, from the ids of runs.
        declared: the questions that were declared, and why they are not common; None: not known,
            and whether verdicts are confirmatory is not checked.

    Raises:
        CheckError: the file's question makes no sense.
    """
    broken = []
    try:
        question = question_of(content)
        derived = {}
        for setting in content["settings"]:
            label = {
                run_id: loss for loss, run_ids in setting["runs"].items() for run_id in run_ids
            }
            runs = labelled(summary, label, setting["tuned"])
            gone = sorted(label.keys() - set(runs["run_id"]))
            right = constant(label) if constant is not None else None
            rows = _derive(runs, setting, question, scores, right, declared)
            derived[setting["setting"]] = rows, gone
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckError(
            f"check: the question in the file cannot be asked again: {error}"
        ) from error
    for typed in content["contrasts"]:
        comparison = typed | {"metric": column(str(typed["metric"]))}
        computed, gone = derived.get(comparison["setting"], ({}, []))
        problem = differences(comparison, computed.get(_key(comparison)))
        if gone and problem:
            problem += f"; {len(gone)} of the runs are no longer in the store, the first {gone[0]}"
        if problem:
            broken.append(f"{_name(comparison)}: {problem}")
    return broken


def question_of(content: Mapping[str, Any]) -> Question:
    """The question of an earlier file."""
    question = content["question"]
    lists = {key: tuple(value) for key, value in question.items() if isinstance(value, list)}
    return Question(**question | lists | {"metric": column(question["metric"])})


def labelled(
    summary: pd.DataFrame, label: Mapping[str, str], tuned: Mapping[str, str]
) -> pd.DataFrame:
    """The runs in `label`, each with its loss's label and tuned values in the earlier file.

    A label contains what differs between the runs that were reported.

    A run whose loss is another than its label says is left out.
    """
    runs = summary[summary["run_id"].isin(label.keys())]
    run_ids = list(runs["run_id"])
    own = [tuned.get(run_id, "") for run_id in run_ids]
    runs = runs.assign(loss=[label[run_id] for run_id in run_ids], tuned=own)
    fits = [
        f"{row.loss} ".startswith((f"{row.loss_option} ", f"{row.loss_option}@"))
        for row in runs[["loss", "loss_option"]].itertuples()
    ]
    return runs[np.array(fits, dtype=bool)]


def _derive(
    runs: pd.DataFrame,
    setting: Mapping[str, Any],
    question: Question,
    scores: RunScores | None,
    constant: np.ndarray | None,
    declared: tuple[Sequence[Declared], str] | None,
) -> dict[tuple, dict[str, Any]]:
    ended = ended_runs(runs, question.metric)
    if setting["reference"] not in set(ended["loss"]):
        return {}
    contrasts = analysis.comparisons(
        ended,
        setting["reference"],
        question,
        setting["test_size"],
        setting["diverged_as"],
        None if setting["diverged_as"] is None else constant,
        scores,
    )
    kept = newest_runs(ended)
    epochs = analysis.headline_epochs(kept, setting["reference"], question)
    now = None
    if declared is not None:
        at_headline = kept[kept["epochs"] == epochs]
        now = standing(at_headline, question, setting["reference"], *declared)
    rows = [
        _entry(row, kept)
        | ({"standing": _standing(now["exploratory"], epochs, row)} if now is not None else {})
        for row in contrasts.to_dict("records")
    ]
    return {_key(row): row for row in rows}


def differences(then: Mapping[str, Any], now: Mapping[str, Any] | None) -> str:
    """What of an entry of an earlier file is another value now; "" if all holds."""
    if now is None:
        return "can no longer be derived from the runs"
    wrong = [
        f"{key} was {_shown(key, then[key])}, is {_shown(key, now[key])}"
        for key in now
        if not _holds(then[key], now[key])
    ]
    return "; ".join(wrong)


def _holds(then: Any, now: Any) -> bool:
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() == now.keys() and all(_holds(then[key], now[key]) for key in then)
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in (then, now)
    )
    return math.isclose(then, now, rel_tol=1e-9, abs_tol=1e-12) if numbers else then == now


def _shown(key: str, value: Any) -> str:
    return f"{len(value)} runs" if key == "run_ids" else plain(value, 60)


def _key(comparison: Mapping[str, Any]) -> tuple:
    return tuple(str(comparison[key]) for key in _KEY)


def _name(comparison: Mapping[str, Any]) -> str:
    rate = f" at lr {plain(comparison['lr_a'])}" if comparison["view"] == "equal" else ""
    view = "best rates" if comparison["view"] == "best" else "equal rates"
    return (
        f"{plain(comparison['a'])} {plain(comparison['verdict'])} against {plain(comparison['b'])} "
        f"({view}{rate}, {plain(comparison['epochs'])} epochs, {plain(comparison['setting'], 80)})"
    )


def as_json(value: Any) -> Any:
    """The value as JSON has it: null for NaN, "inf" for an infinite number."""
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
