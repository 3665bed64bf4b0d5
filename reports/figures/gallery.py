"""Figures of each loss's gradient weight and value over how right the network is.

Computes nothing, saves nothing: what is drawn is in the frames of `reports.gallery`. Draw inside
`palette.style()`. `order` is the order of the losses, `looks` how each is drawn, `names` how each
is called on the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reports.figures.drawing import WIDTH, canvas, hide_unused, legend_above, panel_columns
from reports.figures.palette import FAINT, MUTED, TOGETHER, Look

LINEAR = 0.1  # weights smaller than this are on a linear scale, those beyond on a logarithmic one
LEAST = (
    -1.0
)  # weights fall without end where a loss wants no more certainty: how far is of no interest
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def weights(
    frame: pd.DataFrame,
    *,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """How hard each loss pulls over the probability of the true class.

    Together, or of many losses a panel each.

    In a panel of one loss the others stand behind it in grey.

    frame: a row per loss and probability: loss, p in (0, 1), weight.
    """
    panels = [list(order)] if len(order) <= TOGETHER else [[loss] for loss in order]
    columns = panel_columns(len(panels))
    rows = -(-len(panels) // columns)
    height = 4.2 if len(panels) == 1 else 1.75 * rows + 0.4
    figure, axes = canvas(rows, columns, WIDTH, height, sharex=True, sharey=True, squeeze=False)
    lines = {loss: frame[frame["loss"] == loss] for loss in order}
    for axis, panel in zip(axes.flat, panels, strict=False):
        for loss in order:
            if loss not in panel:
                axis.plot(lines[loss]["p"], lines[loss]["weight"], color=FAINT, linewidth=0.6)
        for loss in panel:
            look = looks[loss]
            axis.plot(
                lines[loss]["p"],
                lines[loss]["weight"],
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markevery=(list(looks).index(loss) % 12, 12),
                markersize=3.5,
                label=names[loss],
                gid="weight",
            )
        axis.axhline(0, color=MUTED, linewidth=0.8)
        axis.set_xscale("logit")
        axis.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
        axis.xaxis.set_major_locator(FixedLocator(TICKS if len(panels) == 1 else TICKS[::2]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))
        )
        axis.set_xlim(TICKS[0], TICKS[-1])
        low, high = frame["weight"].min(), frame["weight"].max()
        axis.set_ylim(LEAST if low < LEAST else min(low, 0) - 0.02, max(1.0, high) * 1.6)
        if len(panels) > 1:
            axis.set_title(names[panel[0]], fontsize=11)
    if len(panels) == 1:
        legend_above(figure, axes.flat[0])
    figure.supxlabel("probability of the true class", fontsize=11.5)
    figure.supylabel("weight w", fontsize=11.5)
    hide_unused(axes, len(panels))
    return figure


def values(
    frame: pd.DataFrame,
    *,
    x: str,
    x_label: str,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """Each loss's value over the column `x`, a panel and an axis for each, for their units differ.

    frame: a row per loss and place: loss, `x`, value.
    """
    columns = panel_columns(len(order))
    rows = -(-len(order) // columns)
    figure, axes = canvas(rows, columns, WIDTH, 1.75 * rows + 0.4, sharex=True, squeeze=False)
    for axis, loss in zip(axes.flat, order, strict=False):
        own = frame[frame["loss"] == loss]
        axis.axvline(0, color=MUTED, linewidth=0.8)
        axis.plot(own[x], own["value"], color=looks[loss].colour, linewidth=1.6, gid="value")
        axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axis.margins(x=0)
        axis.set_title(names[loss], fontsize=11)
    figure.supxlabel(x_label, fontsize=11.5)
    figure.supylabel("own value", fontsize=11.5)
    hide_unused(axes, len(order))
    return figure
