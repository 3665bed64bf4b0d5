"""Figures of the metric against what was set: the length of training, or any other number.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`. `order` is the order of the losses, `looks` how each is drawn, `names` how each
is called on the figure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.figures.drawing import (
    BEHIND,
    canvas,
    hide_unused,
    label_ends,
    legend_above,
    others,
    panel_columns,
    within,
    within_per_cent,
)
from reports.figures.palette import MUTED, Look

WIDE = 20.0  # the largest number is so many times the smallest: a logarithmic axis
MOST_TICKS = 8


def effect(
    means: pd.DataFrame,
    *,
    x: str,
    x_label: str,
    label: str,
    scale: float,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    behind: Collection[str] = (),
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """The metric against the numbers in one column, a line with its intervals per loss.

    A panel for each in `panel`.

    Of the losses `behind` there is a grey line alone.

    Args:
        means: a row per loss and number: loss, the column `x`, mean, low, high (NaN: no interval),
            and where there are several panels, panel.
        x: the column of the numbers.
        x_label: of the axis of the numbers.
        label: of the metric's axis.
        scale: what the metric is multiplied by.
        order: the losses, in the order in which they are shown.
        looks: the color, line and mark of each loss.
        names: by loss, the name that is shown.
        behind: the losses that are drawn in grey, behind the others.
        bounds: between which the metric is, before `scale`: intervals are drawn no further.
    """
    means = within(means, bounds)
    panels = list(dict.fromkeys(means["panel"])) if "panel" in means else [""]
    columns = panel_columns(len(panels))
    rows = -(-len(panels) // columns)
    height = 2.3 if len(panels) == 1 else 1.8 * rows + 0.4
    figure, axes = canvas(rows, columns, height, sharex=True, sharey=True, squeeze=False)
    numbers = sorted(means[x].astype(float).unique())
    log = numbers[0] > 0 and numbers[-1] / numbers[0] >= WIDE
    ends = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        if log:
            axis.set_xscale("log")
        part = means[means["panel"] == panel] if "panel" in means else means
        ends = _lines(axis, part, x, scale, log, order, looks, names, behind)
        _ticks(axis, numbers)
        axis.set_title(panel)
    if scale == 100:
        within_per_cent(axes.flat[0])  # and so of all, which share it
    if len(panels) == 1:
        axes.flat[0].set(xlabel=x_label, ylabel=label)
        if behind:
            axes.flat[0].set_title(others(behind), loc="right", color=MUTED)
        label_ends(axes.flat[0], ends, names, looks, behind)
    else:
        figure.supxlabel(x_label, fontsize=8)
        figure.supylabel(label, fontsize=8)
        legend_above(figure, axes.flat[0])
    hide_unused(axes, len(panels))
    return figure


def _lines(
    axis: Axes,
    means: pd.DataFrame,
    x: str,
    scale: float,
    log: bool,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    behind: Collection[str],
) -> dict[str, tuple[float, float]]:
    """Draw a panel; where each line ends."""
    ends: dict[str, tuple[float, float]] = {}
    everywhere = np.log(means[x].astype(float)) if log else means[x].astype(float)
    front = [loss for loss in order if loss not in behind]
    apart = min(0.012, 0.1 / len(order)) * float(everywhere.max() - everywhere.min())
    for loss in [*front, *(loss for loss in order if loss in behind)]:
        line = means[means["loss"] == loss].dropna(subset=["mean"]).sort_values(x)
        if not len(line):
            continue
        if loss in behind:
            first = not any(other in behind for other in ends)
            label, gid = others(behind) if first else "_", looks[loss].gid("behind")
            axis.plot(line[x], scale * line["mean"], label=label, gid=gid, **BEHIND)
            ends[loss] = (float(line[x].iloc[-1]), scale * float(line["mean"].iloc[-1]))
            continue
        beside = apart * (front.index(loss) - (len(front) - 1) / 2)  # intervals side by side
        at = line[x] * np.exp(beside) if log else line[x] + beside
        middle = scale * line["mean"]
        look = looks[loss]
        ends_of_bars = [(scale * line[end] - middle).abs() for end in ("low", "high")]
        how: Any = {"color": look.color, "marker": look.marker, "linestyle": look.dash}
        bars = axis.errorbar(
            at, middle, yerr=ends_of_bars, linewidth=1.2, elinewidth=1, label=names[loss], **how
        )
        bars.lines[0].set_gid(looks[loss].gid("mean"))
        bars.lines[2][0].set_gid(looks[loss].gid("interval"))
        ends[loss] = (float(at.iloc[-1]), float(middle.iloc[-1]))
    return ends


def _ticks(axis: Axes, numbers: Sequence[float]) -> None:
    """The numbers themselves, where they are few."""
    axis.xaxis.set_major_locator(FixedLocator(numbers[:: -(-len(numbers) // MOST_TICKS)]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
