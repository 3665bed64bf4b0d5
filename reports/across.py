"""The losses over all data sets (or models) of a report: the answer, its words, its file.

Frames in, frames out. The statistics are those of `reports.stats.across`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.contract import override, value_of_param
from reports.analysis import Section
from reports.metrics import Metric, column, read_metric
from reports.names import counted, plain
from reports.question import Question, QuestionError
from reports.sensitivity import setting_text, setting_values
from reports.sentences import amount
from reports.setting_frames import countable
from reports.stats import across as statistics
from reports.stats.across import LEAST, Comparison

WORDS = {"data": "data set", "model": "model"}
_OF_THE_DATA = (
    "data.name",
    "data.train_size",
    "data.validation_size",
    "data.digest",
    "data_digest",
)
"""In these, data sets differ by nature."""


@dataclass(frozen=True)
class Across:
    """The losses over the data sets (or models) of a report.

    key: data or model. scores: from `reports.stats.across.scores`. comparison: what follows.
    """

    key: str
    question: Question
    reference: str
    scores: pd.DataFrame
    comparison: Comparison

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return read_metric(self.question.metric)

    @property
    def unit(self) -> str:
        """What is compared over, in words."""
        return WORDS[self.key]

    @property
    def units(self) -> int:
        """On how many every loss has a result."""
        return len(self.comparison.ranks)


def across(sections: Sequence[Section], key: str, question: Question) -> Across:
    """Compare the losses over the settings of a report.

    Args:
        sections: a section per setting.
        key: "data" or "model", in which alone the settings differ.
        question: what the report is asked for.

    Raises:
        QuestionError: there is one setting, or they differ in something else as well.
    """
    full = [section for section in sections if len(section.runs)]
    _check(full, key)
    diverged = {
        str(section.runs[key].iloc[0]): section.diverged_as
        for section in full
        if section.diverged_as is not None
    }
    summary = pd.concat([section.runs for section in full], ignore_index=True)
    reference = question.reference
    losses = sorted(set(summary["loss"].astype(str)))
    if reference not in losses:
        reference = losses[0]
    scores, comparison = _compare(summary, key, reference, question, diverged)
    return Across(key, question, reference, scores, comparison)


def _compare(
    summary: pd.DataFrame,
    key: str,
    reference: str,
    question: Question,
    diverged: Mapping[str, float],
) -> tuple[pd.DataFrame, Comparison]:
    metric = read_metric(question.metric)
    try:
        scores = statistics.scores(
            summary,
            unit=key,
            metric=metric.name,
            diverged=diverged,
            tuning_seeds=question.tuning_seeds,
        )
        return scores, statistics.compare(
            scores,
            reference=reference,
            metric=metric.name,
            margin=metric.margin(question.margin, None),
            all_pairs=question.all_pairs,
            seed=question.seed,
        )
    except ValueError as error:
        raise QuestionError(f"across={key}: {error}") from error


def _check(sections: Sequence[Section], key: str) -> None:
    """Refuse settings that differ in more than the key."""
    values = pd.DataFrame([setting_values(section.runs) for section in sections], dtype=object)
    texts = values.map(setting_text)
    if not len(texts) or texts[key].nunique() < 2:
        names = ", ".join(plain(name) for name in texts[key].unique()) if len(texts) else "none"
        raise QuestionError(
            f"across={key}: expected runs of several {WORDS[key]}s that differ in nothing else, "
            f"got {names}"
        )
    own, wrong = f"{key}.", []
    twice = texts[key].duplicated(keep=False)
    for name in texts.drop(columns=key):
        there = texts[name][texts[name] != ""] if name.startswith(own) else texts[name]
        natural = key == "data" and name in _OF_THE_DATA
        repeated = texts.loc[twice].groupby(key)[name].nunique().max() if twice.any() else 1
        if repeated > 1:
            there = texts[name]
        if repeated > 1 or (there.nunique() > 1 and not natural):
            wrong.append((str(name), sorted(there.unique())))
    if wrong or twice.any():
        raise QuestionError(_differ(sections, texts, key, wrong))


def _differ(
    sections: Sequence[Section],
    texts: pd.DataFrame,
    key: str,
    wrong: Sequence[tuple[str, Sequence[str]]],
) -> str:
    start = f"across={key}: expected settings that differ in {key} alone"
    params = [(name, values) for name, values in wrong if name != "data_digest"]
    if params:
        each = "; ".join(
            f"{name} ({', '.join(plain(value) or 'null' for value in values)})"
            for name, values in params
        )
        choices = " ".join(
            override(f"where.{name}", value_of_param(next(filter(None, values))))
            for name, values in params
        )
        return f"{start}, got settings that also differ in {each}. Choose one of each: {choices}"
    name = texts.loc[texts[key].duplicated(), key].iloc[0]
    same = [
        plain(section.title, 120)
        for section, own in zip(sections, texts[key], strict=True)
        if own == name
    ]
    return (
        f"{start}, got several settings of {plain(name)}: {'; '.join(same)}. Choose one sweep: "
        "sweep=NAME_OR_ID"
    )


# ---- words ---------------------------------------------------------------------------------------


def basis(result: Across) -> str:
    """What is compared, over how many units; and the test of all losses together."""
    epochs = sorted(result.scores["epochs"].unique())
    length = counted(epochs[0], "epoch")
    if len(epochs) > 1:
        length = f"{epochs[0]} to {epochs[-1]} epochs, the longest of each {result.unit}"
    text = (
        f"Losses are compared by {result.metric.words} after {length} over "
        f"{counted(result.units, result.unit)}: each loss at its own best learning rate on each "
        f"{result.unit}, mean over seeds."
    )
    test = result.comparison.friedman
    if test is not None:
        text += (
            f" Friedman's test that all losses have the same average rank: "
            f"F = {test.f:.2f}, p {p_text(test.p)}."
        )
    return text


def sentence(result: Across, row: Mapping[str, Any]) -> str:
    """One contrast as a sentence, which says no more than its verdict."""
    a, b = plain(row["a"], 48), plain(row["b"], 48)
    units = counted(row["n"], result.unit)
    size = f"estimated difference {_points(result, row['difference'])} of {result.metric.words}"
    counts = f"better on {row['won']}, worse on {row['lost']}"
    counts += f", equal on {row['tied']}" if row["tied"] else ""
    interval = (
        f"95 % interval {_signed(result, row['low'])} to {_signed(result, row['high'])}, {counts}"
    )
    p = f"Wilcoxon p {p_text(row['p'])}, Holm p {p_text(row['p_holm'])}"
    if row["verdict"] == "equivalent":
        start = f"{a} is equivalent to {b} within ±{_margin(result, row)} over {units}"
        p = f"two one-sided Wilcoxon tests, Holm p {p_text(row['p_equivalence_holm'])}"
    elif row["verdict"] == "undecided":
        start = f"{a} against {b} is undecided over {units}"
    else:
        start = f"{a} is {row['verdict']} than {b} over {units}"
    return f"{start}: {size} ({interval}; {p})."


def posterior(result: Across, row: Mapping[str, Any]) -> str:
    """The Bayesian signed-rank test of a contrast as a sentence."""
    shares = [
        f"{row[f'practically_{region}']:.2f} that it is {region}"
        for region in ("better", "equivalent", "worse")
    ]
    if math.isnan(row["margin"]):
        return f"Bayesian signed-rank test: probability {shares[0]}, {shares[2]}."
    return (
        f"Bayesian signed-rank test, within ±{_margin(result, row)} being equivalent: probability "
        f"{shares[0]}, {shares[1]}, {shares[2]}."
    )


def advice(result: Across) -> list[str]:
    """What keeps the test from saying more, and what to do: a sentence each."""
    comparison, texts = result.comparison, []
    for unit, losses in comparison.left_out.items():
        names = ", ".join(plain(loss) for loss in losses)
        texts.append(
            f"{plain(unit)} is left out for all losses, since it has no result of {names}."
        )
    if len(comparison.average_ranks) > 1 and not comparison.tested:
        more = f"run the losses on more {result.unit}s"
        if comparison.left_out:
            more = f"run what is missing, or leave losses out with where.loss=..., or {more}"
        texts.append(
            f"Nothing is tested: {counted(result.units, result.unit)} with a result of every loss "
            f"{'is' if result.units == 1 else 'are'} too few, at least {LEAST} are needed; {more}."
        )
    elif comparison.tested:
        family = len(comparison.contrasts)
        needed = statistics.fewest_units(family)
        if result.units < needed:
            texts.append(
                f"With {counted(result.units, result.unit)} and {counted(family, 'comparison')} no "
                f"difference, however large, can reach significance; {needed} {result.unit}s can."
            )
    if lost := int(result.scores["diverged"].sum()):
        texts.append(
            f"{counted(lost, 'run')} diverged; each counts with the accuracy of the best constant "
            "answer, or, where that is not known, puts its loss last."
        )
    return texts


def p_text(p: float) -> str:
    """A p value with its sign of equality."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _signed(result: Across, value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:+.{result.metric.digits}f}".replace("-", "−")


def _points(result: Across, value: float) -> str:
    return f"{_signed(result, value)} {result.metric.unit}".rstrip()


def _margin(result: Across, row: Mapping[str, Any]) -> str:
    return amount(row["margin"], result.metric.unit)


# ---- the file ------------------------------------------------------------------------------------


def document(result: Across) -> dict[str, Any]:
    """The entry "across" of verdicts.json."""
    comparison = result.comparison
    test = comparison.friedman
    return {
        "key": result.key,
        "metric": result.metric.typed,
        "reference": result.reference,
        "tested": comparison.tested,
        "values": [
            {result.key: row["unit"]}
            | {name: _json(row[name]) for name in result.scores if name != "unit"}
            for row in result.scores.to_dict("records")
        ],
        "left_out": comparison.left_out,
        "average_ranks": {
            str(loss): _json(rank) for loss, rank in comparison.average_ranks.items()
        },
        "friedman": None if test is None else {k: _json(v) for k, v in test._asdict().items()},
        "critical_difference": _json(comparison.critical_difference),
        "groups": comparison.groups,
        "contrasts": [
            {name: _json(value) for name, value in row.items()}
            | {"sentence": sentence(result, row)}
            for row in comparison.contrasts.to_dict("records")
        ],
    }


def check(content: Mapping[str, Any], summary: pd.DataFrame) -> list[str]:
    """What no longer follows from the runs of an earlier verdicts.json, a line each.

    Args:
        content: of the file, which has an entry "across".
        summary: the runs there are.
    """
    then, asked = content["across"], content["question"]
    label = {
        run_id: loss
        for setting in content["settings"]
        for loss, run_ids in setting["runs"].items()
        for run_id in run_ids
    }
    runs = summary[summary["run_id"].astype(str).isin(label)]
    runs = runs.assign(loss=[label[run_id] for run_id in runs["run_id"].astype(str)])
    usable, _ = countable(runs)
    unit = dict(zip(usable["run_id"].astype(str), usable[then["key"]].astype(str), strict=True))
    diverged = {
        unit[run_id]: setting["diverged_as"]
        for setting in content["settings"]
        if setting.get("diverged_as") is not None
        for run_ids in setting["runs"].values()
        for run_id in run_ids
        if run_id in unit
    }
    question = Question(
        reference=then["reference"],
        metric=column(then["metric"]),
        margin=asked.get("margin"),
        all_pairs=bool(asked.get("all_pairs")),
        tuning_seeds=tuple(asked["tuning_seeds"]) if asked.get("tuning_seeds") else None,
        seed=int(asked.get("seed", 0)),
    )
    try:
        made = _compare(usable, then["key"], question.reference, question, diverged)
    except QuestionError as error:
        return [str(error)]
    now = document(Across(then["key"], question, question.reference, *made))
    broken = []
    again = {(row["a"], row["b"]): row for row in now["contrasts"]}
    for row in then["contrasts"]:
        name = f"{plain(row['a'])} {row['verdict']} against {plain(row['b'])}, across {then['key']}"
        broken += _differences(name, row, again.get((row["a"], row["b"]), {}))
    rest = [name for name in now if name not in ("contrasts", "values")]
    broken += _differences(f"across {then['key']}", {name: then.get(name) for name in rest}, now)
    return broken


def _differences(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    wrong = [
        f"{key} was {plain(value, 60)}, is {plain(now.get(key), 60)}"
        for key, value in then.items()
        if key != "sentence" and not _equal(value, now.get(key))
    ]
    return [f"{name}: {'; '.join(wrong)}"] if wrong else []


def _equal(then: Any, now: Any) -> bool:
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() == now.keys() and all(_equal(then[key], now[key]) for key in then)
    if isinstance(then, float) and isinstance(now, float | int):
        return math.isclose(then, now, rel_tol=1e-9, abs_tol=1e-12)
    return bool(then == now)


def _json(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
