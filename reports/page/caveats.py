"""The caveats of a section, each a term and its text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports import source_code
from reports.analysis import Section
from reports.names import counted, one_line, plain
from reports.sentences import upper_first
from reports.stats.runs import constant_accuracy
from reports.stats.significance import unseen_share


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
    found = [
        _runs(section),
        _seeds(section),
        _plan(section),
        _budget(section),
        _early_stopping(section),
        _choice(section),
        _edges(section),
    ]
    found += [
        _tuned_edges(section),
        _pairing(section),
        _detectable(section),
        _rare_seeds(section),
        _dropped(section),
        *_versions(section),
        _time(section),
    ]
    return [fact for fact in found if fact is not None]


def about_the_store(missing: int, notes: Sequence[str], warnings: Sequence[str] = ()) -> list[Fact]:
    """The caveats of all settings together.

    missing: combinations of the sweep's grid without a run; their setting is not known. notes and
    warnings: of the reader.
    """
    found = [Fact("Warning", warning, True, plain(warning, 60)) for warning in warnings]
    found += [Fact("Note", note) for note in notes]
    if missing:
        planned = "1 run" if missing == 1 else f"{missing:,} runs"
        text = f"{planned} of the sweep's own grid have never been run."
        found.insert(0, Fact("Sweep", text, True, f"{planned} never run"))
    return found


def training_checks(section: Section) -> list[Fact]:
    """The warnings of training checks: where, in how many runs, and what each means."""
    runs = section.runs
    found: dict[str, list[tuple[str, float, str]]] = {}
    for row in runs[runs["lint"].notna()].itertuples() if "lint" in runs else ():
        for name, text in zip(row.lint.split(","), row.lint_text.split("\n"), strict=True):
            found.setdefault(name, []).append((row.loss, row.lr, text))
    facts: list[Fact] = []
    for name, seen in found.items():
        where = []
        for loss in dict.fromkeys(loss for loss, _, _ in seen):
            rates = [lr for each, lr, _ in seen if each == loss]
            listed = ", ".join(f"{lr:g}" for lr in sorted(set(rates)))
            where.append(
                f"{plain(loss)} at {listed} ({len(rates):,} of {(runs['loss'] == loss).sum():,} "
                "runs)"
            )
        texts = {text for _, _, text in seen}
        one = "" if len(texts) == 1 else "of one of them: "
        sentence = one_line(seen[0][2]).rstrip(".")
        end = "" if sentence.endswith("?") else "."
        text = f"{', '.join(where)}: {one}{sentence}{end}"
        facts.append(
            Fact(plain(name, 60), text, True, f"{plain(name, 30)} in {counted(len(seen), 'run')}")
        )
    return facts


def _runs(section: Section) -> Fact:
    counts = section.denominators.drop(columns="loss").sum() if len(section.denominators) else {}
    lost = {name: int(counts.get(name, 0)) for name in ("diverged", "failed", "killed", "missing")}
    ok, expected = int(counts.get("ok", 0)), int(counts.get("expected", 0))
    parts = [f"{ok:,} of {expected:,} runs ended well"]
    parts += [f"{count} {name}" for name, count in lost.items()]
    each = section.denominators["ok"].unique() if len(section.denominators) else []
    if not any(lost.values()) and len(each) == 1 and ok:
        parts = [f"all {expected:,} runs ended well, {int(each[0])} of each loss"]
    if section.running:
        parts.append(f"{section.running} still running, not counted")
    bad = [f"{count} {name}" for name, count in lost.items() if count]
    bad += [f"{section.running} still running"] if section.running else []
    label = f"{' and '.join(bad)} of {expected:,} runs" if bad else ""
    return Fact("Runs", upper_first("; ".join(parts)) + ".", bool(bad), label)


def _seeds(section: Section) -> Fact:
    split = section.split
    if not split.evaluation:
        return Fact("Seeds", "none.", True, "no seed has a result")
    if len(split.evaluation) == 1:
        text = (
            f"one (seed {split.evaluation[0]}): it compares two networks, not two losses, so every "
            "verdict is undecided."
        )
        return Fact("Seeds", text, True, "only one seed")
    text = f"evaluation seeds {listed(split.evaluation)} ({len(split.evaluation)})"
    if split.tuning != split.evaluation:
        text += f"; tuning seeds {listed(split.tuning)}"
    return Fact("Seeds", f"{text}. {split.reason[:1].upper()}{split.reason[1:]}.")


def _plan(section: Section) -> Fact | None:
    """The declared seeds that have no result yet."""
    runs = section.runs[section.runs["epochs"] == section.epochs]
    if "declared_missing" not in runs:
        return None
    missing = runs.groupby(runs["loss"].astype(str))["declared_missing"].max()
    missing = missing[missing > 0]
    if not len(missing):
        return None
    each = ", ".join(f"{int(n)} of {plain(loss)}" for loss, n in missing.items())
    text = (
        f"declared seeds without a result so far: {each}. The test of the declared seeds is made "
        "once, when all have one. Until then it is not spent, and only an e-value decides."
    )
    return Fact("Declared seeds", text, True, "declared seeds are missing")


def _budget(section: Section) -> Fact | None:
    """The budget of the headline, and of other epochs where it is not equal."""
    of_epochs = dict(list(section.chosen.groupby("epochs")))
    if section.epochs not in of_epochs:
        return None
    found = _budget_at(of_epochs.pop(section.epochs))
    for epochs, chosen in of_epochs.items():
        other = _budget_at(chosen)
        if other.alarm:
            text = f"{found.text} After {counted(epochs, 'epoch')}: {other.text}"
            found = found._replace(text=text, alarm=True, label=other.label)
    return found


def _budget_at(chosen: pd.DataFrame) -> Fact:
    """The trials of each loss at one number of epochs."""
    if (chosen["tuned"] != "").any():
        each = "; ".join(
            f"{plain(row.loss)} {counted(row.trials, 'trial')} at "
            f"{counted(row.rates, 'learning rate')} ({counted(row.budget, 'finished run')})"
            for row in chosen.itertuples()
        )
        equal = bool(chosen["equal_budget"].all())
        text = f"{'equal' if equal else 'UNEQUAL'}, own values included: {each}."
        return Fact("Budget", text, not equal, "" if equal else "unequal tuning budgets")
    each = ", ".join(f"{plain(row.loss)} {row.budget}" for row in chosen.itertuples())
    if bool(chosen["equal_budget"].all()):
        count = int(chosen["budget"].iloc[0])
        trials = "one finished trial" if count == 1 else f"{count} finished trials"
        return Fact("Budget", f"equal: each loss had {trials} to choose its rate from.")
    if chosen["rates"].nunique() == 1 and not chosen["unfinished"].any():
        text = (
            "the same number of rates for each loss, with different numbers of seeds; finished "
            f"trials: {each}."
        )
        return Fact("Budget", text)
    text = f"UNEQUAL: finished trials to choose the rate from: {each}."
    return Fact("Budget", text, True, "unequal tuning budgets")


def _early_stopping(section: Section) -> Fact | None:
    """How many epochs were trained at each number of them, where runs may end early."""
    if not section.stops_early:
        return None
    each = [
        f"{plain(loss)} {own['last_epoch'].sum():,.0f} of {epochs * len(own):,}"
        for (epochs, loss), own in section.runs.groupby(["epochs", "loss"], sort=True)
    ]
    text = (
        "a run ends when its validation accuracy has stopped rising, and the weights of its best "
        f"epoch are tested. Epochs trained in all runs: {'; '.join(each)}."
    )
    return Fact("Early stopping", text)


def _choice(section: Section) -> Fact | None:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    short = chosen[(chosen["unfinished"] > 0) | (chosen["diverged"] > 0)]
    if not len(short):
        return None
    names = ", ".join(plain(loss) for loss in short["loss"])
    text = f"some trials for {names} diverged or have no result."
    if (short["diverged"] > 0).any():
        text += (
            " A diverged trial counts with a validation accuracy of "
            f"{100 * constant_accuracy(section.runs):.3g} %, that of a constant answer among "
            "equally frequent classes."
        )
    if (short["unfinished"] > 0).any():
        text += (
            " A rate at which fewer tuning seeds have a result ranks after each rate at which "
            "more have one, whatever its mean."
        )
    return Fact("Choice of rates", text)


def edge_rates(section: Section) -> pd.DataFrame:
    """The losses whose best rate is at the edge of the grid: loss, lr, edge ("low", "high")."""
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    return chosen[chosen["edge"] != "none"]


def _edges(section: Section) -> Fact:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    if (chosen["rates"] < 2).all():
        text = "each loss was run at one learning rate; another rate may rank them differently."
        return Fact("Edges", text, True, "one learning rate only")
    edge = edge_rates(section)
    if not len(edge):
        return Fact("Edges", "no best rate is at the edge of the grid.")
    where = ", ".join(
        f"{plain(row.loss)} at the {'lowest' if row.edge == 'low' else 'highest'} rate ({row.lr:g})"
        for row in edge.itertuples()
    )
    which = (
        "the same for every loss"
        if section.here == section.losses
        else "for the losses that were run here"
    )
    text = (
        f"the best learning rate is at the edge of the grid for {where}. A better one may lie "
        "beyond it, and the comparison is then unfair to these losses. Extend the grid, "
        f"{which}."
    )
    n = len(edge)
    label = f"{n} best rate{'s' if n > 1 else ''} at the edge of the grid"
    return Fact("Edges", text, True, label)


def _tuned_edges(section: Section) -> Fact | None:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    edge = [(plain(row.loss), row.tuned_edge) for row in chosen.itertuples() if row.tuned_edge]
    each = "; ".join(f"{loss} with {value}" for loss, value in edge)
    text = f"the best is at the edge of those tried: {each}. A better one may lie beyond."
    return Fact("Own values", text, True, "a best own value at the edge") if edge else None


def _pairing(section: Section) -> Fact | None:
    frame = section.headline
    if not len(frame):
        return None
    unpaired = frame[~frame["paired"] & (frame["n"] > 0)]
    if len(unpaired):
        each = "; ".join(
            f"{plain(row.a)} and {plain(row.b)}: {one_line(row.pairing)}"
            for row in unpaired.itertuples()
        )
        text = (
            f"NOT proved for {len(unpaired)} of {len(frame)} contrasts, analyzed as unpaired: "
            f"{each}."
        )
        label = f"{counted(len(unpaired), 'contrast')} not paired"
        return Fact("Pairing", text, True, label)
    if not (frame["n"] > 0).any():
        return Fact("Pairing", "nothing to pair.")
    text = (
        "proved by hashes: runs with the same seed share initial weights (outside the head), "
        "split, labels and order."
    )
    return Fact("Pairing", text)


def _detectable(section: Section) -> Fact | None:
    frame = section.headline
    frame = frame[frame["interval"] != "ranks"]  # of these no power is known
    most = section.metric.differences[1]
    values = [value for value in frame["detectable"] if value < most] if len(frame) else []
    unit = " points" if section.metric.in_points else ""
    if not len(frame):
        return None
    if not values:
        text = "no difference between losses can be shown with this number of seeds."
        label = "too few seeds to show any difference" if section.evaluated_seeds > 1 else ""
        return Fact("Detectable", text, True, label)
    span = (
        f"{min(values):.2g}"
        if len(values) == 1 or max(values) / max(min(values), 1e-12) < 1.05
        else f"{min(values):.2g} to {max(values):.2g}"
    )
    text = f"the smallest difference that these seeds show with 80 % power: {span}{unit}."
    return Fact("Detectable", text)


def _rare_seeds(section: Section) -> Fact | None:
    """Which seeds the verdicts are not about."""
    frame = section.headline
    if not len(frame) or not (frame["n"] > 1).any():
        return None
    n = int(frame.loc[frame["n"] > 1, "n"].min())
    text = (
        f"a result that none of {n} seeds showed, such as a failure to train, may still occur in "
        f"up to {100 * unseen_share(n):.0f} % of all seeds (95 % confidence). If it does, the "
        "verdicts are about the other seeds."
    )
    return Fact("Rare seeds", text)


def _dropped(section: Section) -> Fact | None:
    lost = (
        [drop for drops in section.headline["dropped"] for drop in drops]
        if len(section.headline)
        else []
    )
    # A seed at which a loss was run at no rate was added for other losses: nothing is lost.
    runs = section.runs[section.runs["epochs"] == section.epochs]
    there = set(zip(runs["loss"].astype(str), runs["seed"], strict=True))
    unique = sorted(
        {drop for drop in lost if drop.reason != "missing" or (drop.loss, drop.seed) in there}
    )
    if not unique:
        return None
    dropped_seeds: dict[tuple[str, float, str], list[int]] = {}
    for drop in unique:
        # NaN is unlike itself, so it is no key: infinity stands for a loss without a rate.
        lr = drop.lr if math.isfinite(drop.lr) else math.inf
        dropped_seeds.setdefault((drop.loss, lr, drop.reason), []).append(drop.seed)
    parts = [
        f"{plain(loss)}{f' at {lr:g}' if math.isfinite(lr) else ''} "
        f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)} ({reason})"
        for (loss, lr, reason), seeds in dropped_seeds.items()
    ]
    shown = ", ".join(parts[:12])
    more = f", and {len(parts) - 12} more" if len(parts) > 12 else ""
    text = f"from the main contrasts, with the other run of each pair: {shown}{more}."
    return Fact("Left out", text, True, f"{counted(len(unique), 'run')} left out of contrasts")


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
        text = "; ".join(f"{name} {', '.join(found)}" for name, found in machines.items() if found)
        several = any(len(found) > 1 for found in machines.values())
        text += (
            ": processors round float32 differently, so the last digits depend on the machine"
            if several
            else ""
        )
        yield Fact("Machine", f"{text}.", several, "several machines")


def _code(runs: pd.DataFrame) -> Iterable[Fact]:
    commits = [commit[:10] for commit in distinct(runs, "git_commit")]
    dirty = int((runs["git_dirty"].astype(str).str.lower() == "true").sum())
    text = f"commit {', '.join(commits)}" if commits else "commit unknown"
    if dirty:
        text += (
            f"; {dirty:,} of {len(runs):,} runs were made with changes that are not committed "
            "(tracked changes are in changes.diff)"
        )
    elif commits:
        text += ", nothing uncommitted"
    warnings = source_code.warnings(runs)
    text += f"; {source_code.described(runs)}"
    label = "commit unknown" if not commits else "losses of different code"
    label = "code of several commits" if len(commits) > 1 else label
    label = "uncommitted changes" if dirty else label
    yield Fact("Code", f"{text}.", len(commits) != 1 or dirty > 0 or bool(warnings), label)
    yield from (Fact("Warning", warning, True, plain(warning, 60)) for warning in warnings)


def _time(section: Section) -> Fact | None:
    seconds = section.runs["seconds"].astype(float) if "seconds" in section.runs else None
    if seconds is None or not np.isfinite(seconds).any():
        return None
    total = _duration(float(seconds[np.isfinite(seconds)].sum()))
    return Fact("Wall time", f"{total} over all runs of this setting.")


def distinct(runs: pd.DataFrame, column: str) -> list[str]:
    """The different texts of a column, sorted; none where there is no such column."""
    return (
        sorted({plain(value, 60) for value in runs[column].dropna() if str(value)})
        if column in runs
        else []
    )


def listed(seeds: Sequence[int]) -> str:
    """Seeds in words: 0 to 9, or 0, 2."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
