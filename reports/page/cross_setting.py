"""Parts of the page that belong to no single setting.

They show the losses over a setting that differs, and the losses themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from reports.figures import effects
from reports.figures import gallery as drawings
from reports.figures.palette import Losses
from reports.gallery import Gallery
from reports.metrics import Metric
from reports.names import one_line, plain
from reports.page import tables
from reports.page.figure import PageFigure, bar_words, described, runs_behind
from reports.page.render import anchor
from reports.page.table import Column, Table, count, name_cell, number, rate
from reports.page.tables import LOSS, RATE, RUNS, metric_means
from reports.sensitivity import Sensitivity

MOST_SWEEPS = 12  # named on a page
_MARGIN = "margin", "margin: the true class's logit minus the largest other", (-5, 0, 5)
_ERROR = "error", "error: the network's number minus the label", (-2, 0, 2)
NO_WEIGHT = 1e-6  # a weight that is 0 but for rounding


def sensitivity_picture(sensitivity: Sensitivity, metric: Metric, losses: Losses) -> PageFigure:
    """The metric over a setting, a line per loss."""
    means, words = sensitivity.means, plain(sensitivity.words)
    draw = partial(
        effects.effect,
        means.assign(panel=[plain(panel, 60) for panel in means["panel"]]),
        losses.only(means["loss"]),
        metric,
        x="value",
        x_label=words,
    )
    unit = " %" if metric.in_points else ""
    values = [
        f"{plain(panel, 60)} {plain(loss)}: ".lstrip()
        + ", ".join(
            f"{r.value:g} {number(r.mean, metric.digits, scale=metric.scale).text}{unit}"
            for r in own.itertuples()
        )
        for (panel, loss), own in means.groupby(["panel", "loss"], sort=False)
    ]
    return described(
        _name(sensitivity),
        draw,
        f"{'; '.join(values)}.",
        kind="Line chart.",
        text="sensitivity",
        metric=metric,
        words=words,
        at_rates=sensitivity.at_rates,
        lengths=sorted(means["epochs"].unique()),
        runs=runs_behind(means["n"]),
        bars=bar_words(means),
        elsewhere=sensitivity.elsewhere,
        absent=[plain(loss) for loss in losses.order if loss not in set(means["loss"])],
    )


def sensitivity_table(sensitivity: Sensitivity, metric: Metric, order: Sequence[str]) -> Table:
    """The numbers behind the picture, with their intervals."""
    means, column = metric_means(sensitivity.means, metric)
    means = means.assign(place=means["loss"].map(list(order).index))
    means = means.sort_values(["panel", "value", "place"], kind="stable")
    columns = [
        *([Column("panel", "all else", form=name_cell)] if len(sensitivity.panels) > 1 else []),
        Column(sensitivity.setting, plain(sensitivity.words), "value", form=rate),
        LOSS,
        RATE,
        Column("epochs", "epochs", form=count),
        column,
        RUNS,
    ]
    values = {"words": plain(sensitivity.words), "at_rates": sensitivity.at_rates}
    return tables.described(
        _name(sensitivity), means, columns, "sensitivity", metric=metric, **values
    )


def gallery_pictures(gallery: Gallery, losses: Losses) -> list[PageFigure]:
    """The figures of the losses themselves, as far as there are losses of the kind."""
    figures = (
        _weights(gallery, losses),
        _values("margins", gallery.margins, *_MARGIN, losses, gallery.weights),
        _values("errors", gallery.errors, *_ERROR, losses, gallery.weights),
    )
    return [each for each in figures if each is not None]


def left_out(gallery: Gallery, order: Sequence[str]) -> str:
    """Which of the losses are not in the gallery, and why; empty where all are."""
    why = [
        f"{plain(loss)} ({one_line(gallery.missing[loss])})"
        for loss in order
        if loss in gallery.missing
    ]
    return f"Not shown: {'; '.join(why)}." if why else ""


def _weights(gallery: Gallery, losses: Losses) -> PageFigure | None:
    frame, losses = _of(gallery.weights, losses)
    shown = losses.order
    if not shown:
        return None
    draw = partial(drawings.weights, frame, losses)
    flat, ends = _flat(frame, shown), bool((frame["weight"] < drawings.LEAST).any())
    alt = _words(frame, shown, "p", (0.01, 0.1, 0.9), "weight")
    return described("loss-weights", draw, alt, kind="Line chart.", flat=flat, ends=ends)


def _values(
    kind: str, frame: pd.DataFrame, x: str, x_label: str, places: Sequence[float],
    losses: Losses, weights: pd.DataFrame,
) -> PageFigure | None:  # fmt: skip
    """The value of each loss over the margin or the error."""
    frame, losses = _of(frame, losses)
    shown = losses.order
    if not shown:
        return None
    draw = partial(drawings.values, frame, losses, x=x, x_label=x_label)
    alt, flat = _words(frame, shown, x, places, "value"), _flat(weights, shown)
    return described(f"loss-{kind}", draw, alt, kind="Line charts.", flat=flat)


def _flat(weights: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """The losses whose gradient is zero in this slice, such as logit_norm."""
    largest = weights["weight"].abs().groupby(weights["loss"]).max()
    return [plain(loss) for loss in shown if largest.get(loss, np.inf) < NO_WEIGHT]


def _of(frame: pd.DataFrame, losses: Losses) -> tuple[pd.DataFrame, Losses]:
    shown = losses.only(frame["loss"])
    return frame[frame["loss"].isin(shown.order)], shown


def _words(
    frame: pd.DataFrame, shown: Sequence[str], x: str, places: Sequence[float], y: str
) -> str:
    """The values of the curves at some places, in words."""
    return (
        "; ".join(
            f"{plain(loss)}{f' ({when})' if when else ''}: {_at(curve, x, places, y)}"
            for loss in shown
            for when, curve in drawings.curves(frame, loss)
        )
        + "."
    )


def _at(own: pd.DataFrame, x: str, places: Sequence[float], y: str) -> str:
    """The values of a curve at some places, in words."""
    near = [own.iloc[(own[x] - place).abs().argmin()] for place in places]
    return ", ".join(f"{row[y]:.3g} at {place:g}" for row, place in zip(near, places, strict=True))


def _name(sensitivity: Sensitivity) -> str:
    return f"over-{anchor(sensitivity.setting)}"
