"""Parts of the page that belong to no single setting.

They show where the runs come from, the losses over a setting that differs, and the losses
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.contract import override
from reports.figures import effects
from reports.figures import gallery as drawings
from reports.figures.palette import Look
from reports.gallery import Gallery
from reports.metrics import Metric
from reports.names import counted, one_line, plain, short_names
from reports.page import commands
from reports.page.blocks import Commands, Fold, Heading, Text, anchor
from reports.page.figures import PageFigure, bar_words, runs_behind
from reports.page.table import Table, count, name_cell, number, with_interval
from reports.page.tables import rate
from reports.sensitivity import Overview
from reports.verdicts import upper_first

if TYPE_CHECKING:
    from reports.runs import Baselines

WHY = (
    "Many losses pull a network the same way and differ in how hard: for a loss L of the logits "
    "z, with p their softmax and "
    "e the one-hot label, dL/dz = w (p − e). Cross-entropy has w = 1 everywhere. Where w falls "
    "towards 0 at small p, the "
    "loss gives up on what it gets badly wrong, wrong labels among it; where it falls at large p, "
    "it leaves alone what it "
    "knows; below 0 it pushes back. For plain SGD, twice the w is twice the learning rate."
)


MOST_SWEEPS = 12  # named on a page
NO_PULL = 1e-6  # a weight that is 0 but for rounding


@dataclass(frozen=True)
class Source:
    """Where the runs of a report come from, for the commands and the caveats."""

    experiment: str
    sweep: str | None
    uri: str | None  # as the user gave it
    overrides: Sequence[str]
    missing: int
    notes: Sequence[str]
    warnings: Sequence[str] = ()
    sweeps: Sequence[tuple[str, str]] = ()  # run id and name of each whose runs these are
    verdicts: str = "verdicts.json"  # where the file will be, from where the report was made
    baselines: Baselines | None = None  # of which some of the runs are


def overview_picture(
    overview: Overview,
    metric: Metric,
    order: Sequence[str],
    looks: Mapping[str, Look],
    front: Sequence[str] | None = None,
) -> PageFigure:
    """The metric over a setting, a line per loss; those not in `front` (None: all are) in grey."""
    means, words = overview.means, plain(overview.words)
    shown = [loss for loss in order if loss in set(means["loss"])]
    figure = effects.effect(
        means.assign(panel=[plain(panel, 60) for panel in means["panel"]]),
        x="value",
        x_label=words,
        label=metric.label,
        scale=metric.scale,
        bounds=metric.bounds,
        order=shown,
        looks=looks,
        names=short_names(shown),
        behind=[] if front is None else [loss for loss in shown if loss not in front],
    )
    lengths = sorted(means["epochs"].unique())
    after = f" after {counted(lengths[0], 'epoch')}" if len(lengths) == 1 else ""
    caption = (
        f"{upper_first(metric.words)} over {words}{after}, each loss at the learning rate that is "
        "best for it "
        "there; every point is from a setting of its own below, and all else is equal along a "
        "line. "
        f"Means over {runs_behind(means['n'])}.{bar_words(means)}"
    )
    if overview.elsewhere:
        caption += (
            f" Not shown: {counted(overview.elsewhere, 'setting')} that cannot be placed on this "
            "axis."
        )
    unit = " %" if metric.in_points else ""
    told = [
        f"{plain(panel, 60)} {plain(loss)}: ".lstrip()
        + ", ".join(
            f"{r.value:g} {number(r.mean, metric.digits, scale=metric.scale).text}{unit}"
            for r in own.itertuples()
        )
        for (panel, loss), own in means.groupby(["panel", "loss"], sort=False)
    ]
    return PageFigure(_name(overview), caption, f"Line chart. {caption} {'; '.join(told)}.", figure)


def overview_table(overview: Overview, metric: Metric, order: Sequence[str]) -> Table:
    """The numbers behind the picture, with their intervals."""
    means = overview.means.assign(place=overview.means["loss"].map(list(order).index))
    ordered = means.sort_values(["panel", "value", "place"], kind="stable")
    several, scale, digits = len(overview.panels) > 1, metric.scale, metric.digits
    rows = [
        [
            *([name_cell(row.panel)] if several else []),
            number(row.value, 0)._replace(text=f"{row.value:g}"),
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            count(row.epochs),
            with_interval(row.mean, row.low, row.high, digits, scale=scale),
            number(row.low, digits, scale=scale),
            number(row.high, digits, scale=scale),
            count(row.n),
        ]
        for row in ordered.itertuples()
    ]
    headings = [
        plain(overview.words),
        "loss",
        "learning rate",
        "epochs",
        metric.label,
        "low",
        "high",
        "runs",
    ]
    key = metric.key
    keys = [overview.setting, "loss", "lr", "epochs", key, f"{key}_low", f"{key}_high", "runs"]
    return Table(
        _name(overview),
        f"{upper_first(metric.words)} over {plain(overview.words)}, each loss at its best "
        "learning rate there.",
        ["all else", *headings] if several else headings,
        ["panel", *keys] if several else keys,
        rows,
        only_csv=[f"{key}_low", f"{key}_high"],
    )


def gallery_pictures(
    gallery: Gallery, order: Sequence[str], looks: Mapping[str, Look]
) -> list[PageFigure]:
    """The figures of the losses themselves, as far as there are losses of the kind."""
    return [
        made
        for made in (
            _weights(gallery, order, looks),
            _margins(gallery, order, looks),
            _errors(gallery, order, looks),
        )
        if made is not None
    ]


def left_out(gallery: Gallery, order: Sequence[str]) -> str:
    """Which of the losses are not in the gallery, and why; empty where all are."""
    why = [
        f"{plain(loss)} ({one_line(gallery.missing[loss])})"
        for loss in order
        if loss in gallery.missing
    ]
    return f"Not shown: {'; '.join(why)}." if why else ""


def sweeps(source: Source) -> list[Any]:
    """Of an experiment with several sweeps, the commands for a page on each."""
    if len(source.sweeps) < 2:
        return []
    again = [text for text in source.overrides if not text.startswith("sweep=")]
    lines = [
        f"{commands.report_command([*again, override('sweep', run_id)])}  # {plain(name, 60)}"
        for run_id, name in source.sweeps[:MOST_SWEEPS]
    ]
    count = len(source.sweeps)
    more = f", the newest {MOST_SWEEPS}" if count > MOST_SWEEPS else ""
    return [
        Fold(
            f"These runs are of {count} sweeps; the commands for a page on each{more}",
            [Commands(lines)],
        )
    ]


def reproduction(source: Source) -> list[Any]:
    """The commands that make the page again, and check it."""
    report = commands.report_command(source.overrides)
    store = [text for text in source.overrides if text.startswith("tracking.uri=")]
    lines = [report, commands.report_command([*store, override("check", source.verdicts)])]
    text = (
        "The first makes this page again from the store; the second derives every verdict of its "
        "verdicts.json again, and names those that no longer hold."
    )
    return [Heading("To make this page again"), Text(text), Commands(lines)]


def _weights(
    gallery: Gallery, order: Sequence[str], looks: Mapping[str, Look]
) -> PageFigure | None:
    frame, shown = _of(gallery.weights, order)
    if not shown:
        return None
    figure = drawings.weights(frame, order=shown, looks=looks, names=short_names(shown))
    caption = (
        "How hard each loss pulls, w = −(dL/dz of the true class) / (1 − p), over the probability "
        "p of the true class; the "
        "logits of the other classes are all 0. The scale is linear between −0.1 and 0.1 and "
        "logarithmic beyond"
    )
    caption += ", and ends at −1." if (frame["weight"] < drawings.LEAST).any() else "."
    caption += _flat_words(frame, shown, "a flat 0")
    told = [f"{plain(loss)}: {_at(frame, loss, 'p', (0.01, 0.1, 0.9), 'weight')}" for loss in shown]
    return PageFigure("loss-weights", caption, f"Line chart. {caption} {'; '.join(told)}.", figure)


def _margins(
    gallery: Gallery, order: Sequence[str], looks: Mapping[str, Look]
) -> PageFigure | None:
    frame, shown = _of(gallery.margins, order)
    if not shown:
        return None
    figure = drawings.values(
        frame, x="margin", x_label="margin: the true class's logit minus the largest other",
        order=shown, looks=looks, names=short_names(shown),
    )  # fmt: skip
    caption = (
        "The value of each loss over the margin, right of the line where the network is right; "
        "the logits of the other "
        "classes are all 0. Every panel has an axis of its own: these values cannot be compared "
        "between losses."
    )
    caption += _flat_words(gallery.weights, shown, "a step")
    told = [f"{plain(loss)}: {_at(frame, loss, 'margin', (-5, 0, 5), 'value')}" for loss in shown]
    return PageFigure("loss-margins", caption, f"Line charts. {caption} {'; '.join(told)}.", figure)


def _errors(gallery: Gallery, order: Sequence[str], looks: Mapping[str, Look]) -> PageFigure | None:
    frame, shown = _of(gallery.errors, order)
    if not shown:
        return None
    figure = drawings.values(
        frame, x="error", x_label="error: the network's number minus the label",
        order=shown, looks=looks, names=short_names(shown),
    )  # fmt: skip
    caption = (
        "The value of each loss of one number over its error. Every panel has an axis of its own."
    )
    told = [f"{plain(loss)}: {_at(frame, loss, 'error', (-2, 0, 2), 'value')}" for loss in shown]
    return PageFigure("loss-errors", caption, f"Line charts. {caption} {'; '.join(told)}.", figure)


def _flat_words(weights: pd.DataFrame, shown: Sequence[str], what: str) -> str:
    """A sentence on losses whose gradient is zero in this slice, such as logit_norm, or ""."""
    flat = [
        plain(loss)
        for loss in shown
        if weights.loc[weights["loss"] == loss, "weight"].abs().max() < NO_PULL
    ]
    if not flat:
        return ""
    return (
        f" Of {', '.join(flat)} there is only {what} here: while the other logits are 0, the "
        "logits change in length but not in "
        "direction, and a loss that divides their length out sees no change."
    )


def _of(frame: pd.DataFrame, order: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    shown = [loss for loss in order if loss in set(frame["loss"])]
    return frame[frame["loss"].isin(shown)], shown


def _at(frame: pd.DataFrame, loss: str, x: str, places: Sequence[float], y: str) -> str:
    """The values of a curve at some places, in words."""
    own = frame[frame["loss"] == loss]
    near = [own.iloc[(own[x] - place).abs().argmin()] for place in places]
    return ", ".join(f"{row[y]:.3g} at {place:g}" for row, place in zip(near, places, strict=True))


def _name(overview: Overview) -> str:
    return f"over-{anchor(overview.setting)}"
