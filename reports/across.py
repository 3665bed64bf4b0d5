"""The losses over all data sets (or models) of a report: the answer, its words, its file.

Frames in, frames out. The statistics are those of `reports.stats.across`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from experiments.contract import override, value_of_param
from reports.analysis import Section
from reports.metrics import Metric, read_metric
from reports.names import plain
from reports.question import Question, QuestionError
from reports.sensitivity import setting_text, setting_values
from reports.setting_frames import ended_runs
from reports.stats import across as statistics
from reports.stats.across import LEAST, Comparison
from reports.texts import say
from reports.verdicts import as_json, differences, labelled, question_of

_say = partial(say, file="sentences.jinja")
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
    losses = sorted(set(summary["loss"]))
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
        texts_of_name = texts[name][texts[name] != ""] if name.startswith(own) else texts[name]
        natural = key == "data" and name in _OF_THE_DATA
        repeated = texts.loc[twice].groupby(key)[name].nunique().max() if twice.any() else 1
        if repeated > 1:
            texts_of_name = texts[name]
        if repeated > 1 or (texts_of_name.nunique() > 1 and not natural):
            wrong.append((str(name), sorted(texts_of_name.unique())))
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
    return _say("across_basis", result, result.metric, sorted(result.scores["epochs"].unique()))


def sentence(result: Across, row: Mapping[str, Any]) -> str:
    """One contrast as a sentence, which says no more than its verdict."""
    return _say("across_sentence", row, result.metric, result.unit)


def posterior(result: Across, row: Mapping[str, Any]) -> str:
    """The Bayesian signed-rank test of a contrast as a sentence."""
    return _say("across_posterior", row, result.metric)


def advice(result: Across) -> list[str]:
    """What keeps the test from saying more, and what to do: a sentence each."""
    comparison = result.comparison
    texts = [_say("across_left_out", *each) for each in comparison.left_out.items()]
    if len(comparison.average_ranks) > 1 and not comparison.tested:
        texts.append(_say("across_untested", result, LEAST))
    needed = statistics.fewest_units(len(comparison.contrasts))
    if comparison.tested and result.units < needed:
        texts.append(_say("across_too_few", result, needed))
    if lost := int(result.scores["diverged"].sum()):
        texts.append(_say("across_diverged", lost))
    return texts


# ---- the file ------------------------------------------------------------------------------------


def document(result: Across) -> dict[str, Any]:
    """The entry "across" of verdicts.json."""
    comparison = result.comparison
    entry = {
        "key": result.key,
        "metric": result.metric.typed,
        "reference": result.reference,
        "tested": comparison.tested,
        "values": result.scores.rename(columns={"unit": result.key}).to_dict("records"),
        "left_out": comparison.left_out,
        "average_ranks": comparison.average_ranks.to_dict(),
        "friedman": comparison.friedman and comparison.friedman._asdict(),
        "critical_difference": comparison.critical_difference,
        "groups": comparison.groups,
        "contrasts": [
            row | {"sentence": sentence(result, row)}
            for row in comparison.contrasts.to_dict("records")
        ],
    }
    return {name: as_json(value) for name, value in entry.items()}


def check(content: Mapping[str, Any], summary: pd.DataFrame) -> list[str]:
    """What no longer follows from the runs of an earlier verdicts.json, a line each.

    Args:
        content: of the file, which has an entry "across".
        summary: the runs there are.
    """
    then = content["across"]
    label: dict[str, str] = {}
    tuned: dict[str, str] = {}
    constants: dict[str, float] = {}
    for setting in content["settings"]:
        own = {run_id: loss for loss, run_ids in setting["runs"].items() for run_id in run_ids}
        label |= own
        tuned |= setting["tuned"]
        if setting["diverged_as"] is not None:
            constants |= dict.fromkeys(own, setting["diverged_as"])
    question = replace(question_of(content), reference=then["reference"])
    runs = ended_runs(labelled(summary, label, tuned), question.metric)
    units = dict(zip(runs["run_id"], runs[then["key"]], strict=True))
    diverged = {units[run_id]: value for run_id, value in constants.items() if run_id in units}
    try:
        compared = _compare(runs, then["key"], question.reference, question, diverged)
    except QuestionError as error:
        return [str(error)]
    now = document(Across(then["key"], question, question.reference, *compared))
    derived = {(row["a"], row["b"]): row for row in now.pop("contrasts")}
    lines = {
        f"{plain(row['a'])} {row['verdict']} against {plain(row['b'])}, across {then['key']}": (
            differences(row, derived.get((row["a"], row["b"])))
        )
        for row in then["contrasts"]
    }
    lines[f"across {then['key']}"] = differences(then, now)
    return [f"{name}: {wrong}" for name, wrong in lines.items() if wrong]
