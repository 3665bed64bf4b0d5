"""The caveats of a section, each a term and a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from reports import source_code
from reports.analysis import Section
from reports.names import one_line, plain
from reports.stats.tuning import DIVERGED

Fact = tuple[str, str, bool]
"""Term, text, and whether it is an alarm."""


def facts(section: Section) -> list[Fact]:
    """What there is to know about one setting."""
    found = [_runs(section), _seeds(section), _budget(section), _choice(section), _edges(section)]
    found += [
        _pairing(section),
        _detectable(section),
        _failures(section),
        _dropped(section),
        *_versions(section),
        _time(section),
    ]
    return [fact for fact in found if fact is not None]


def about_the_store(missing: int, notes: Sequence[str], warnings: Sequence[str] = ()) -> list[Fact]:
    """What there is to know about all settings together.

    missing: combinations of the sweep's grid without a run: of which setting they would be is not
    known. notes and warnings: of the reader.
    """
    found: list[Fact] = [("Warning", warning, True) for warning in warnings]
    found += [("Note", note, False) for note in notes]
    if missing:
        planned = "1 run" if missing == 1 else f"{missing:,} runs"
        found.insert(0, ("Sweep", f"{planned} of the sweep's own grid have never been run.", True))
    return found


def classic_mistakes(section: Section) -> list[Fact]:
    """The warnings of training checks, and rates on the edge.

    Each says where it was found, in how many runs, and what it means.
    """
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
        facts.append((plain(name, 60), f"{', '.join(where)}: {one}{sentence}{end}", True))
    if edges := _on_edge(section):
        text = (
            f"{', '.join(edges)}: the best rate is the last that was tried, and a better one may "
            "lie beyond."
        )
        facts.append(("rate-edge", text, True))
    return facts


def _runs(section: Section) -> Fact:
    counts = section.denominators.drop(columns="loss").sum() if len(section.denominators) else {}
    lost = {name: int(counts.get(name, 0)) for name in ("diverged", "failed", "killed", "missing")}
    parts = [f"{int(counts.get('ok', 0)):,} of {int(counts.get('expected', 0)):,} runs ended well"]
    parts += [f"{count} {name}" for name, count in lost.items()]
    if section.running:
        parts.append(f"{section.running} still running, not counted")
    return "Runs", "; ".join(parts) + ".", any(lost.values()) or bool(section.running)


def _seeds(section: Section) -> Fact:
    split = section.split
    if not split.evaluation:
        return "Seeds", "none.", True
    if len(split.evaluation) == 1:
        return (
            "Seeds",
            f"one (seed {split.evaluation[0]}): it compares two networks, not two losses, so every "
            "verdict is undecided.",
            True,
        )
    text = f"evaluation seeds {listed(split.evaluation)} ({len(split.evaluation)})"
    if split.tuning != split.evaluation:
        text += f"; tuning seeds {listed(split.tuning)}"
    return "Seeds", f"{text}. {split.reason[:1].upper()}{split.reason[1:]}.", False


def _budget(section: Section) -> Fact | None:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    if not len(chosen):
        return None
    each = ", ".join(f"{plain(row.loss)} {row.budget}" for row in chosen.itertuples())
    if bool(chosen["equal_budget"].all()):
        return (
            "Budget",
            f"equal: every loss had {int(chosen['budget'].iloc[0])} finished trials to choose its "
            "rate from.",
            False,
        )
    if chosen["rates"].nunique() == 1 and not chosen["unfinished"].any():
        text = (
            "as many rates for every loss, with different numbers of seeds; finished trials: "
            f"{each}."
        )
        return "Budget", text, False
    return "Budget", f"UNEQUAL: finished trials to choose the rate from: {each}.", True


def _choice(section: Section) -> Fact | None:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    short = chosen[(chosen["unfinished"] > 0) | (chosen["diverged"] > 0)]
    if not len(short):
        return None
    names = ", ".join(plain(loss) for loss in short["loss"])
    text = f"some trials for {names} diverged or have no result."
    if (short["diverged"] > 0).any():
        text += (
            f" A diverged trial counts with a validation accuracy of {DIVERGED:.0%}, that of a "
            "constant answer."
        ).replace("%", " %")
    if (short["unfinished"] > 0).any():
        text += (
            " A rate at which fewer of the tuning seeds have a result comes after every rate at "
            "which more have, whatever its mean."
        )
    return "Choice of rates", text, False


def _edges(section: Section) -> Fact:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    if (chosen["rates"] < 2).all():
        return (
            "Edges",
            "one learning rate only: no loss had a choice, and another rate may rank them "
            "otherwise.",
            True,
        )
    if edges := _on_edge(section):
        return "Edges", f"the best rate is on the edge of the grid: {', '.join(edges)}.", True
    return "Edges", "no best rate is on the edge of the grid.", False


def _on_edge(section: Section) -> list[str]:
    chosen = section.chosen[section.chosen["epochs"] == section.epochs]
    return [
        f"{plain(row.loss)} at the {'lowest' if row.edge == 'low' else 'highest'} rate ({row.lr:g})"
        for row in chosen.itertuples()
        if row.edge != "none"
    ]


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
        return (
            "Pairing",
            f"NOT proved for {len(unpaired)} of {len(frame)} contrasts, analysed as unpaired: "
            f"{each}.",
            True,
        )
    if not (frame["n"] > 0).any():
        return "Pairing", "nothing to pair.", False
    return (
        "Pairing",
        "proved: runs of a seed share initial weights (outside the head), split, labels and "
        "order, by their hashes.",
        False,
    )


def _detectable(section: Section) -> Fact | None:
    frame = section.headline
    frame = frame[frame["interval"] != "ranks"]  # of these no power is known
    values = [value for value in frame["detectable"] if math.isfinite(value)] if len(frame) else []
    unit = " points" if section.metric.in_points else ""
    if not len(frame):
        return None
    if not values:
        return (
            "Detectable",
            "no difference between losses can be shown with this number of seeds.",
            True,
        )
    span = (
        f"{min(values):.2g}"
        if len(values) == 1 or max(values) / max(min(values), 1e-12) < 1.05
        else f"{min(values):.2g} to {max(values):.2g}"
    )
    return (
        "Detectable",
        f"the smallest difference that these seeds show with 80 % power: {span}{unit}, by "
        "contrast.",
        False,
    )


def _failures(section: Section) -> Fact | None:
    """Which rates of failure the seeds do not exclude (the rule of three, exactly)."""
    frame = section.headline
    clean = frame[(frame["n"] > 1) & (frame["diverged_a"] == 0) & (frame["diverged_b"] == 0)]
    if not len(clean):
        return None
    n = int(clean["n"].min())
    return (
        "Rare failures",
        f"none of {n} seeds diverged, which excludes only failure rates above "
        f"{100 * (1 - 0.05 ** (1 / n)):.0f} % (95 % confidence). The intervals know nothing of a "
        "failure that did not happen here.",
        False,
    )


def _dropped(section: Section) -> Fact | None:
    lost = (
        [drop for drops in section.headline["dropped"] for drop in drops]
        if len(section.headline)
        else []
    )
    # A seed at which a loss was run at no rate was added for other losses: nothing is lost there.
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
    return (
        "Left out",
        f"of the headline's contrasts, with their partners where paired: {shown}{more}.",
        True,
    )


def _versions(section: Section) -> Iterable[Fact]:
    runs = section.runs
    paddle = distinct(runs, "paddle_version")
    yield "Versions", f"PaddlePaddle {', '.join(paddle) or 'unknown'}.", len(paddle) > 1
    commits = [commit[:10] for commit in distinct(runs, "git_commit")]
    dirty = (
        int((runs["git_dirty"].astype(str).str.lower() == "true").sum())
        if "git_dirty" in runs
        else 0
    )
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
    yield "Code", f"{text}.", len(commits) != 1 or dirty > 0 or bool(warnings)
    yield from (("Warning", warning, True) for warning in warnings)
    machines = {name: distinct(runs, name) for name in ("processor", "kernel")}
    if any(machines.values()):
        text = "; ".join(f"{name} {', '.join(found)}" for name, found in machines.items() if found)
        several = any(len(found) > 1 for found in machines.values())
        text += (
            ": not all round float32 alike, so the last digits may be the machine's"
            if several
            else ""
        )
        yield "Machine", f"{text}.", several


def _time(section: Section) -> Fact | None:
    seconds = section.runs["seconds"].astype(float) if "seconds" in section.runs else None
    if seconds is None or not np.isfinite(seconds).any():
        return None
    return (
        "Wall time",
        f"{_duration(float(seconds[np.isfinite(seconds)].sum()))} over all runs of this setting.",
        False,
    )


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
