"""Figures of the metric against what was set: the length of training, or any other number.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.drawing import (
    BEHIND,
    label_ends,
    legend_above,
    number_ticks,
    small_panels,
    within,
    within_per_cent,
)
from reports.figures.palette import MUTED, Losses
from reports.metrics import Metric

WIDE = 20.0  # the largest number is so many times the smallest: a logarithmic axis
MOST_TICKS = 8


def effect(means: pd.DataFrame, losses: Losses, metric: Metric, *, x: str, x_label: str) -> Figure:
    """The metric against the numbers in one column, a line with its intervals per loss.

    A panel for each in `panel`.

    Args:
        means: a row per loss and number: loss, the column `x`, mean, low, high (NaN: no interval),
            and where there are several panels, panel.
        losses: those that are shown.
        metric: what the means are of. Intervals are drawn no further than its bounds.
        x: the column of the numbers.
        x_label: of the axis of the numbers.
    """
    means, scale = within(means, metric.bounds), metric.scale
    panels = list(dict.fromkeys(means["panel"])) if "panel" in means else [""]
    height = 1.9 if len(panels) == 1 else 1.8
    figure, axes = small_panels(len(panels), height, 0.4, sharex=True, sharey=True)
    numbers = sorted(means[x].astype(float).unique())
    log = numbers[0] > 0 and numbers[-1] / numbers[0] >= WIDE
    ends = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        if log:
            axis.set_xscale("log")
        part = means[means["panel"] == panel] if "panel" in means else means
        ends = _lines(axis, part, losses, x, scale, log)
        number_ticks(axis, numbers, MOST_TICKS)
        axis.set_title(panel)
    if scale == 100:
        within_per_cent(axes.flat[0])  # and so of all, which share it
    if len(panels) == 1:
        axes.flat[0].set(xlabel=x_label, ylabel=metric.label)
        if losses.behind:
            axes.flat[0].set_title(losses.others, loc="right", color=MUTED)
        label_ends(axes.flat[0], ends, losses)
    else:
        figure.supxlabel(x_label, fontsize=8)
        figure.supylabel(metric.label, fontsize=8)
        legend_above(figure, axes.flat[0])
    return figure


def _lines(
    axis: Axes, means: pd.DataFrame, losses: Losses, x: str, scale: float, log: bool
) -> dict[str, tuple[float, float]]:
    """Draw a panel; where each line ends."""
    ends: dict[str, tuple[float, float]] = {}
    everywhere = np.log(means[x].astype(float)) if log else means[x].astype(float)
    front, grey = losses.front, losses.grey
    apart = min(0.012, 0.1 / len(losses.order)) * float(everywhere.max() - everywhere.min())
    for loss in [*front, *grey]:
        line = means[means["loss"] == loss].dropna(subset=["mean"]).sort_values(x)
        if not len(line):
            continue
        look = losses.looks[loss]
        if loss in grey:
            first = not any(other in grey for other in ends)
            label, gid = losses.others if first else "_", look.gid("behind")
            axis.plot(line[x], scale * line["mean"], label=label, gid=gid, **BEHIND)
            ends[loss] = (float(line[x].iloc[-1]), scale * float(line["mean"].iloc[-1]))
            continue
        beside = apart * (front.index(loss) - (len(front) - 1) / 2)  # intervals side by side
        at = line[x] * np.exp(beside) if log else line[x] + beside
        middle = scale * line["mean"]
        ends_of_bars = [(scale * line[end] - middle).abs() for end in ("low", "high")]
        how: Any = {"color": look.color, "marker": look.marker, "linestyle": look.dash}
        bars = axis.errorbar(
            at,
            middle,
            yerr=ends_of_bars,
            linewidth=1.2,
            elinewidth=1,
            label=losses.names[loss],
            **how,
        )
        bars.lines[0].set_gid(look.gid("mean"))
        bars.lines[2][0].set_gid(look.gid("interval"))
        ends[loss] = (float(at.iloc[-1]), float(middle.iloc[-1]))
    return ends
