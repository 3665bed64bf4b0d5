"""Figures of the losses over data sets and over what was spent on them.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from reports.figures.drawing import BEHIND, canvas, legend_above, narrow
from reports.figures.palette import INK, MUTED, Losses

_STEP, _BAR, _ABOVE = 0.22, 0.12, 0.55  # inches: a name, a bar of a group, what is above the axis


def critical_difference(
    average_ranks: pd.Series, losses: Losses, *, difference: float, groups: Sequence[Sequence[str]]
) -> Figure:
    """Average ranks on a line, the best at the left; a bar joins losses that are not told apart.

    Args:
        average_ranks: by loss, the best first; 1 is the best rank there is.
        losses: how they look and are called.
        difference: the critical difference of two average ranks.
        groups: the losses that a bar joins.
    """
    count = len(average_ranks)
    left = -(-count // 2)
    height = _ABOVE + _BAR * (len(groups) + 1) + _STEP * left + 0.15
    figure, axes = canvas(1, 1, height)
    axis = axes.flat[0]
    room = (0.9 if narrow() else 0.42) * (count - 1)  # beside the line, for names
    axis.set(xlim=(1 - room, count + room), ylim=(height - _ABOVE, -_ABOVE))
    axis.axis("off")
    axis.plot([1, count], [0, 0], color=INK, linewidth=1)
    for rank in range(1, count + 1):
        axis.plot([rank, rank], [-0.06, 0], color=INK, linewidth=1)
        if count <= 12 or rank % 2:
            axis.text(rank, -0.1, f"{rank}", ha="center", va="bottom", color=INK)
    axis.plot([1, 1 + difference], [-0.5, -0.5], color=MUTED, linewidth=2, gid="difference")
    words = f"critical difference {difference:.2f}"
    axis.text(1 + difference, -0.5, f"  {words}", va="center", color=MUTED)
    for place, (loss, rank) in enumerate(average_ranks.items()):
        look, name, best = losses.looks[str(loss)], losses.names[str(loss)], place < left
        row = place if best else count - 1 - place
        y = _BAR * (len(groups) + 1) + _STEP * (row + 0.5)
        edge = 1 - 0.04 * room if best else count + 0.04 * room
        own: Any = {"color": look.color, "clip_on": False}
        axis.plot([rank, rank, edge], [0, y, y], linewidth=1.1, gid=look.gid("mean"), **own)
        axis.plot([rank], [0], look.marker, markersize=4.5, gid=look.gid("rank"), **own)
        text = f"{name}  {rank:.2f} " if best else f" {rank:.2f}  {name}"
        axis.text(edge, y, text, ha="right" if best else "left", va="center", color=INK)
    for place, group in enumerate(groups, start=1):
        ends = [float(average_ranks[loss]) for loss in (group[0], group[-1])]
        reach = 0.03 * (count - 1) / 2
        bar: Any = {"color": INK, "linewidth": 3.4, "solid_capstyle": "butt", "gid": "group"}
        axis.plot([ends[0] - reach, ends[1] + reach], [_BAR * place] * 2, **bar)
    return figure


def shares_reached(shares: pd.DataFrame, losses: Losses) -> Figure:
    """The share of runs that have reached a target over epochs, and over seconds if known.

    Args:
        shares: corners of step lines: measure (epochs or seconds), loss, at, share.
        losses: those that are shown.
    """
    measures = list(dict.fromkeys(shares["measure"]))
    shape = (len(measures), 1) if narrow() else (1, len(measures))
    figure, axes = canvas(*shape, 2.2 * shape[0] + 0.2, sharey=True)
    labels = {"epochs": "epochs", "seconds": "seconds of training"}
    for axis, measure in zip(axes.flat, measures, strict=True):
        lines = shares[shares["measure"] == measure]
        end = float(lines["at"].max()) or 1.0  # 0 where no run has trained yet
        for loss in [*losses.grey, *losses.front]:
            _steps(axis, lines[lines["loss"] == loss], end, loss, losses)
        axis.set(xlabel=labels[measure], ylim=(-3, 103), xlim=(-0.02 * end, 1.02 * end))
        if measure == "epochs" and end <= 12:
            axis.xaxis.set_major_locator(MultipleLocator(1))
    axes.flat[0].set_ylabel("runs that reached it (%)")
    legend_above(figure, axes.flat[0])
    return figure


def _steps(axis: Axes, line: pd.DataFrame, end: float, loss: str, losses: Losses) -> None:
    if not len(line):
        return
    at = np.append(line["at"].astype(float), end)
    share = 100 * np.append(line["share"].astype(float), float(line["share"].iloc[-1]))
    look = losses.looks[loss]
    if loss in losses.behind:
        axis.step(at, share, where="post", gid=look.gid("behind"), **BEHIND)
        return
    own: Any = {"color": look.color, "linestyle": look.dash, "alpha": 0.9, "gid": look.gid("mean")}
    axis.step(at, share, where="post", label=losses.names[loss], **own)
