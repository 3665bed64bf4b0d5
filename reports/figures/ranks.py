"""Figures of the losses over data sets and over what was spent on them.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from reports.figures.drawing import BEHIND, canvas, legend_above, narrow
from reports.figures.palette import INK, MUTED, Look

_STEP, _BAR, _ABOVE = 0.22, 0.12, 0.55  # inches: a name, a bar of a group, what is above the axis


def critical_difference(
    average_ranks: pd.Series,
    *,
    difference: float,
    groups: Sequence[Sequence[str]],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """Average ranks on a line, the best at the left; a bar joins losses that are not told apart.

    Args:
        average_ranks: by loss, the best first; 1 is the best rank there is.
        difference: the critical difference of two average ranks.
        groups: the losses that a bar joins.
        looks: the color, line and mark of each loss.
        names: by loss, the name that is shown.
    """
    losses = len(average_ranks)
    left = -(-losses // 2)
    height = _ABOVE + _BAR * (len(groups) + 1) + _STEP * left + 0.15
    figure, axes = canvas(1, 1, height)
    axis = axes.flat[0]
    room = (0.9 if narrow() else 0.42) * (losses - 1)  # beside the line, for names
    axis.set(xlim=(1 - room, losses + room), ylim=(height - _ABOVE, -_ABOVE))
    axis.axis("off")
    axis.plot([1, losses], [0, 0], color=INK, linewidth=1)
    for rank in range(1, losses + 1):
        axis.plot([rank, rank], [-0.06, 0], color=INK, linewidth=1)
        if losses <= 12 or rank % 2:
            axis.text(rank, -0.1, f"{rank}", ha="center", va="bottom", color=INK)
    axis.plot([1, 1 + difference], [-0.5, -0.5], color=MUTED, linewidth=2, gid="difference")
    words = f"critical difference {difference:.2f}"
    axis.text(1 + difference, -0.5, f"  {words}", va="center", color=MUTED)
    for place, (loss, rank) in enumerate(average_ranks.items()):
        look, best = looks[str(loss)], place < left
        row = place if best else losses - 1 - place
        y = _BAR * (len(groups) + 1) + _STEP * (row + 0.5)
        edge = 1 - 0.04 * room if best else losses + 0.04 * room
        own: Any = {"color": look.color, "clip_on": False}
        axis.plot([rank, rank, edge], [0, y, y], linewidth=1.1, gid=look.gid("mean"), **own)
        axis.plot([rank], [0], look.marker, markersize=4.5, gid=look.gid("rank"), **own)
        text = f"{names[str(loss)]}  {rank:.2f} " if best else f" {rank:.2f}  {names[str(loss)]}"
        axis.text(edge, y, text, ha="right" if best else "left", va="center", color=INK)
    for place, group in enumerate(groups, start=1):
        ends = [float(average_ranks[loss]) for loss in (group[0], group[-1])]
        reach = 0.03 * (losses - 1) / 2
        bar: Any = {"color": INK, "linewidth": 3.4, "solid_capstyle": "butt", "gid": "group"}
        axis.plot([ends[0] - reach, ends[1] + reach], [_BAR * place] * 2, **bar)
    return figure


def shares_reached(
    shares: pd.DataFrame,
    *,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    behind: Collection[str] = (),
) -> Figure:
    """The share of runs that have reached a target over epochs, and over seconds if known.

    Args:
        shares: corners of step lines: measure (epochs or seconds), loss, at, share.
        order: the losses, in the order in which they are shown.
        looks: the color, line and mark of each loss.
        names: by loss, the name that is shown.
        behind: the losses that are drawn in grey, behind the others.
    """
    measures = list(dict.fromkeys(shares["measure"]))
    shape = (len(measures), 1) if narrow() else (1, len(measures))
    figure, axes = canvas(*shape, 2.2 * shape[0] + 0.2, sharey=True)
    labels = {"epochs": "epochs", "seconds": "seconds of training"}
    for axis, measure in zip(axes.flat, measures, strict=True):
        lines = shares[shares["measure"] == measure]
        end = float(lines["at"].max()) or 1.0  # 0 where no run has trained yet
        for loss in [*behind, *(loss for loss in order if loss not in behind)]:
            _steps(axis, lines[lines["loss"] == loss], end, loss, looks, names, loss in behind)
        axis.set(xlabel=labels[measure], ylim=(-3, 103), xlim=(-0.02 * end, 1.02 * end))
        if measure == "epochs" and end <= 12:
            axis.xaxis.set_major_locator(MultipleLocator(1))
    axes.flat[0].set_ylabel("runs that reached it (%)")
    legend_above(figure, axes.flat[0])
    return figure


def _steps(
    axis: Axes,
    line: pd.DataFrame,
    end: float,
    loss: str,
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    grey: bool,
) -> None:
    if not len(line):
        return
    at = np.append(line["at"].astype(float), end)
    share = 100 * np.append(line["share"].astype(float), float(line["share"].iloc[-1]))
    if grey:
        axis.step(at, share, where="post", gid=looks[loss].gid("behind"), **BEHIND)
        return
    look = looks[loss]
    own: Any = {"color": look.color, "linestyle": look.dash, "alpha": 0.9, "gid": look.gid("mean")}
    axis.step(at, share, where="post", label=names[loss], **own)
