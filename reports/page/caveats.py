"""The caveats of a section, each a term and its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.terminal import duration
from reports import source_code
from reports.analysis import Section
from reports.names import counted, natural, one_line, plain
from reports.stats.runs import TRIAL, constant_accuracy, with_tuned
from reports.stats.significance import unseen_share
from reports.texts import say

_LOST = ("diverged", "failed", "killed", "missing")
_COUNT = re.compile(r"([\d,]+) (best rate|contrast|run)s?\b")  # the number in a label


class Fact(NamedTuple):
    """A term and its text; whether it is an alarm, and then a few words for the top of the page.

    commands: what changes it. id: what links to it point at.
    """

    term: str
    text: str
    alarm: bool = False
    label: str = ""
    commands: Sequence[str] = ()
    id: str = ""


def facts(section: Section) -> list[Fact]:
    """The caveats of one setting."""
    if not len(section.runs):  # all are under way
        return [_runs(section)]
    caveats = [make(section) for make in _IN_ORDER]
    caveats += [*_versions(section), _time(section)]
    return [fact for fact in caveats if fact is not None]


def tried(section: Section) -> list[Fact]:
    """The learning rates and own values that were tried, which a checklist asks for."""
    by_rates: dict[tuple[float, ...], list[str]] = {}
    for loss, own in section.runs.dropna(subset="lr").groupby("loss", sort=False):
        by_rates.setdefault(tuple(sorted(set(own["lr"]))), []).append(str(loss))
    if not by_rates:
        return []
    values = {
        loss: sorted(set(section.runs.loc[section.runs["loss"] == loss, "tuned"]), key=natural)
        for loss in section.tuned
    }
    return [_fact("Tried", "tried", rates=by_rates, own=values)]


def about_the_store(missing: int, notes: Sequence[str], warnings: Sequence[str] = ()) -> list[Fact]:
    """The caveats of all settings together.

    missing: combinations of the sweep's grid without a run; their setting is not known. notes and
    warnings: of the reader.
    """
    caveats = [Fact("Warning", warning, True, plain(warning, 60)) for warning in warnings]
    caveats += [Fact("Note", note) for note in notes]
    if missing:
        planned = "1 run" if missing == 1 else f"{missing:,} runs"
        text = f"{planned} of the sweep's own grid have never been run."
        caveats.insert(0, Fact("Sweep", text, True, f"{planned} never run"))
    return caveats


def over_settings(facts: Iterable[Fact], unit: str) -> list[Fact]:
    """An alarm of each kind among those of several settings: its total, and in how many it is.

    unit: what a setting is called. The label links to the first setting that has it.
    """
    kinds: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        if fact.alarm and fact.label:
            kinds.setdefault((fact.term, _COUNT.sub(r"\2", fact.label)), []).append(fact)
    together = []
    for first, *others in kinds.values():
        label, number = first.label, _COUNT.search(first.label)
        if number:
            numbers = [number, *(_COUNT.search(fact.label) for fact in others)]
            total = sum(int(each[1].replace(",", "")) for each in numbers if each)
            label = label.replace(number[0], counted(total, number[2]))
        label += f" ({counted(1 + len(others), unit)})"
        together.append(first._replace(label=label))
    return together


def training_checks(section: Section) -> list[Fact]:
    """The warnings of training checks: where, in how many runs, and what each means."""
    runs = section.runs
    by_check: dict[str, list[tuple[str, float, str]]] = {}
    for row in runs[runs["warnings"].notna()].itertuples():
        for name, text in zip(row.warnings.split(","), row.warning_texts.split("\n"), strict=True):
            by_check.setdefault(name, []).append((row.loss, row.lr, text))
    facts: list[Fact] = []
    for name, warnings in by_check.items():
        where = [
            {
                "loss": loss,
                "rates": [
                    f"{lr:g}" for lr in sorted({lr for each, lr, _ in warnings if each == loss})
                ],
                "n": sum(each == loss for each, _, _ in warnings),
                "of": (runs["loss"] == loss).sum(),
            }
            for loss in dict.fromkeys(loss for loss, _, _ in warnings)
        ]
        texts = len({text for _, _, text in warnings})
        sentence = one_line(warnings[0][2]).rstrip(".")
        label = f"{plain(name.replace('-', ' '), 30)} in {counted(len(warnings), 'run')}"
        term = plain(name, 60)
        facts.append(_fact(term, "check", label, where=where, texts=texts, sentence=sentence))
    return facts


def _fact(term: str, macro: str, label: str = "", alarm: bool | None = None, **values: Any) -> Fact:
    """A caveat with its text of facts.jinja; one with a label is an alarm, unless it says so."""
    text = say(macro, values, file="facts.jinja")
    return Fact(term, text, bool(label) if alarm is None else alarm, label)


def _runs(section: Section) -> Fact:
    counts = section.denominators.drop(columns="loss").sum() if len(section.denominators) else {}
    lost = {name: int(counts.get(name, 0)) for name in _LOST}
    ok, expected = int(counts.get("ok", 0)), int(counts.get("expected", 0))
    each = section.denominators["ok"].unique() if len(section.denominators) else []
    same = int(each[0]) if not any(lost.values()) and len(each) == 1 and ok else 0
    values: Any = {"same": same, "ok": ok, "expected": expected, "lost": lost}
    return _fact("Runs", "runs", lost_runs([section]), running=section.running, **values)


def lost_runs(sections: Sequence[Section]) -> str:
    """How many runs of these settings have no result: 3 diverged of 60 runs; or empty."""
    counts = pd.concat([section.denominators for section in sections]).drop(columns="loss").sum()
    running = sum(section.running for section in sections)
    bad = [f"{int(counts[name]):,} {name}" for name in _LOST if counts.get(name)]
    words = [f"{' and '.join(bad)} of {int(counts['expected']):,} runs"] if bad else []
    return ", ".join(words + [f"{running:,} still running"] * (running > 0))


def _seeds(section: Section) -> Fact:
    labels = {0: "no seed has a result", 1: "only one seed"}
    label = labels.get(len(section.split.evaluation), "")
    return _fact("Seeds", "seeds", label, split=section.split)


def _plan(section: Section) -> Fact | None:
    """The declared seeds that have no result yet."""
    runs = section.at_end(section.runs)
    missing = runs.groupby(runs["loss"])["declared_missing"].max()
    missing = missing[missing > 0]
    if not len(missing):
        return None
    label = "declared seeds are missing"
    return _fact("Declared seeds", "declared", label, missing=missing.to_dict())


def _budget(section: Section) -> Fact | None:
    """The budget of the headline, and of other epochs where it is not equal."""
    of_epochs = dict(list(section.chosen.groupby("epochs")))
    if section.epochs not in of_epochs:
        return None
    fact = _budget_at(of_epochs.pop(section.epochs))
    for epochs, chosen in of_epochs.items():
        other = _budget_at(chosen)
        if other.alarm:
            text = f"{fact.text} After {counted(epochs, 'epoch')}: {other.text}"
            fact = fact._replace(text=text, alarm=True, label=other.label)
    return fact


def _budget_at(chosen: pd.DataFrame) -> Fact:
    """The trials of each loss at one number of epochs."""
    tuned, equal = bool((chosen["tuned"] != "").any()), bool(chosen["equal_budget"].all())
    fine = not tuned and chosen["rates"].nunique() == 1 and not chosen["unfinished"].any()
    rows = list(chosen.itertuples())
    label = "" if equal or fine else "unequal tuning budgets"
    return _fact("Budget", "budget", label, rows=rows, tuned=tuned, equal=equal, fine=fine)


def _early_stopping(section: Section) -> Fact | None:
    """How many epochs the runs that ended well trained, where runs may end early."""
    if not section.stops_early:
        return None
    runs = section.runs[section.runs["outcome"] == "ok"].dropna(subset="stop_trained_epochs")
    lengths = {epochs: f" (at most {counted(epochs, 'epoch')})" for epochs in set(runs["epochs"])}
    each = [
        f"{plain(loss)}{lengths[epochs] if len(lengths) > 1 else ''} "
        f"{own['stop_trained_epochs'].sum():,.0f} of {epochs * len(own):,}"
        for (epochs, loss), own in runs.groupby(["epochs", "loss"], sort=True)
    ]
    return _fact("Early stopping", "early", each=each)


def _choice(section: Section) -> Fact | None:
    chosen = section.at_end(section.chosen)
    short = chosen[(chosen["unfinished"] > 0) | (chosen["diverged"] > 0)]
    if not len(short):
        return None
    return _fact(
        "Choice of rates",
        "choice",
        losses=list(short["loss"]),
        diverged=bool((short["diverged"] > 0).any()),
        unfinished=bool((short["unfinished"] > 0).any()),
        constant=100 * constant_accuracy(section.runs),
    )


def edge_rates(section: Section) -> pd.DataFrame:
    """The losses whose best rate is at the edge of the grid: loss, lr, edge ("low", "high")."""
    chosen = section.at_end(section.chosen)
    return chosen[chosen["edge"] != "none"]


def _edges(section: Section) -> Fact:
    chosen = section.at_end(section.chosen)
    single, rows = bool((chosen["rates"] < 2).all()), list(edge_rates(section).itertuples())
    n = len(rows)
    label = f"{n} best rate{'s' if n > 1 else ''} at the edge of the grid" if n else ""
    label = "one learning rate only" if single else label
    all_here = section.without_baselines == section.losses
    return _fact("Edges", "edges", label, single=single, rows=rows, all_here=all_here)


def _tuned_edges(section: Section) -> Fact | None:
    chosen = section.at_end(section.chosen)
    each = [
        f"{plain(row.loss)} with {row.tuned_edge}" for row in chosen.itertuples() if row.tuned_edge
    ]
    label = "a best own value at the edge"
    return _fact("Own values", "own_values", label, each=each) if each else None


def _pairing(section: Section) -> Fact | None:
    frame = section.headline
    if not len(frame):
        return None
    compared = frame["n"] > 0
    rows = list(frame[~frame["paired"] & compared].itertuples())
    label = f"{counted(len(rows), 'contrast')} not paired" if rows else ""
    some = bool(compared.any())
    return _fact("Pairing", "pairing", label, unpaired=rows, contrasts=len(frame), some=some)


def _detectable(section: Section) -> Fact | None:
    frame = section.headline
    frame = frame[frame["interval"] != "ranks"]  # of these no power is known
    most = section.metric.differences[1]
    if not len(frame):
        return None
    values = sorted(value for value in frame["detectable"] if value < most)
    several = section.evaluated_seeds > 1 and not values
    label = "too few seeds to show any difference" if several else ""
    points = section.metric.in_points
    rates = bool((frame["combinations"] > 1).any())
    return _fact(
        "Detectable", "detectable", label, not values, sizes=values, points=points, rates=rates
    )


def _rare_seeds(section: Section) -> Fact | None:
    """Which seeds the verdicts are not about."""
    frame = section.headline
    if not len(frame) or not (frame["n"] > 1).any():
        return None
    n = int(frame.loc[frame["n"] > 1, "n"].min())
    return _fact("Rare seeds", "rare_seeds", n=n, share=unseen_share(n))


def _dropped(section: Section) -> Fact | None:
    of_contrasts = section.headline["dropped"] if len(section.headline) else []
    lost = [drop for drops in of_contrasts for drop in drops]
    # A seed at which a loss was run at no rate was added for other losses: nothing is lost.
    runs = section.at_end(section.runs)
    with_runs = set(zip(runs["loss"], runs["seed"], strict=True))
    unique = sorted(
        {drop for drop in lost if drop.reason != "missing" or (drop.loss, drop.seed) in with_runs}
    )
    if not unique:
        return None
    dropped_seeds: dict[tuple[str, float, str], list[int]] = {}
    for drop in unique:
        # NaN is unlike itself, so it is no key: infinity stands for a loss without a rate.
        lr = drop.lr if math.isfinite(drop.lr) else math.inf
        dropped_seeds.setdefault((drop.loss, lr, drop.reason), []).append(drop.seed)
    label = f"{counted(len(unique), 'run')} left out of contrasts"
    return _fact("Left out", "left_out", label, drops=list(dropped_seeds.items()))


def _versions(section: Section) -> Iterable[Fact]:
    """Versions and machine; nothing of what imported runs cannot record, which has no column."""
    runs = section.runs
    if "paddle_version" in runs:
        paddle = distinct(runs, "paddle_version")
        text = f"PaddlePaddle {', '.join(paddle) or 'unknown'}."
        yield Fact("Versions", text, len(paddle) > 1, "several versions of PaddlePaddle")
    if "git_commit" in runs:
        yield from _code(runs)
    machines = {name: distinct(runs, name) for name in ("processor", "kernel")}
    if any(machines.values()):
        several = [name for name, values in machines.items() if len(values) > 1]
        label = "several kernels" if several else ""
        label = "several processors" if "processor" in several else label
        yield _fact("Machine", "machine", label, machines=machines, several=several)


def _code(runs: pd.DataFrame) -> Iterable[Fact]:
    commits = [commit[:10] for commit in distinct(runs, "git_commit")]
    dirty = int((runs["git_dirty"].astype(str).str.lower() == "true").sum())
    warnings = source_code.warnings(runs)
    label = "commit unknown" if not commits else "losses of different code"
    label = "code of several commits" if len(commits) > 1 else label
    label = "uncommitted changes" if dirty else label
    alarm = len(commits) != 1 or dirty > 0 or bool(warnings)
    values = {"commits": commits, "dirty": dirty, "runs": len(runs)}
    yield _fact("Code", "code", label, alarm, described=source_code.described(runs), **values)
    yield from (Fact("Warning", warning, True, plain(warning, 60)) for warning in warnings)


def _time(section: Section) -> Fact | None:
    seconds = section.runs["seconds"].astype(float) if "seconds" in section.runs else None
    if seconds is None or not np.isfinite(seconds).any():
        return None
    total = duration(float(seconds[np.isfinite(seconds)].sum()))
    return _fact("Run time", "run_time", total=total, unlike=_unlike_seconds(section.runs))


def _unlike_seconds(runs: pd.DataFrame) -> list[float]:
    """The least and most seconds of one configuration; none where they differ by 2 at most.

    Of runs that ended well and trained equally long. With several, those that differ most.
    """
    runs = with_tuned(runs[(runs["outcome"] == "ok") & (runs["seconds"] > 0)])
    names = ["loss", *TRIAL, "epochs"]
    names += [name for name in ("stop_trained_epochs",) if name in runs]
    ends = runs.groupby(names, dropna=False)["seconds"].agg(["min", "max"])
    ratios = ends["max"] / ends["min"]
    return ends.loc[ratios.idxmax()].tolist() if (ratios > 2).any() else []


def distinct(runs: pd.DataFrame, column: str) -> list[str]:
    """The different texts of a column, sorted; none where there is no such column."""
    return (
        sorted({plain(value, 60) for value in runs[column].dropna() if str(value)})
        if column in runs
        else []
    )


_IN_ORDER = (
    *(_runs, _seeds, _plan, _budget, _early_stopping, _choice, _edges, _tuned_edges, _pairing),
    *(_detectable, _rare_seeds, _dropped),
)
