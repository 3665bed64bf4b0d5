"""Figures of each loss's gradient weight and value over how right the network is.

Computes nothing, saves nothing: what is drawn is in the frames of `reports.gallery`. Draw inside
`palette.style()`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.drawing import BEHIND, canvas, legend_above, number_ticks, small_panels
from reports.figures.palette import MUTED, Look, Losses

DASHES = ("-", "--", ":", "-.")  # of the curves of a loss that looks at the epoch or the class
LINEAR = 0.1  # weights smaller than this are on a linear scale, those beyond on a logarithmic one
LEAST = -1.0  # weights fall without end where a loss wants no more certainty
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def weights(frame: pd.DataFrame, losses: Losses) -> Figure:
    """Gradient weight of each loss over the probability of the true class.

    frame: a row per curve and probability: loss, when, p in (0, 1), weight.
    """
    figure, axes = canvas(1, 1, 2.9)
    axis = axes.flat[0]
    axis.axhline(0, color=MUTED, linewidth=0.6)
    grey = losses.grey
    for loss in [*grey, *losses.front]:
        look = losses.looks[loss]
        marks: Any = {"marker": look.marker, "markevery": (look.number % 12, 12), "markersize": 2.5}
        for i, (words, own) in enumerate(curves(frame, loss)):
            if loss in grey:
                label = losses.others if loss == grey[0] and i == 0 else "_"
                gid = look.gid("behind" if i == 0 else f"behind{i}")
                axis.plot(own["p"], own["weight"], label=label, gid=gid, **BEHIND)
                continue
            gid = look.gid("weight" if i == 0 else f"weight{i}")
            own_look: Any = {"color": look.color, "linestyle": _dash(words, i, look), "gid": gid}
            label = f"{losses.names[loss]} ({words})" if words else losses.names[loss]
            axis.plot(own["p"], own["weight"], label=label, **own_look, **marks)
    axis.set_xscale("logit")
    axis.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    number_ticks(axis, TICKS, len(TICKS))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlim(TICKS[0], TICKS[-1])
    low, high = frame["weight"].min(), frame["weight"].max()
    axis.set_ylim(LEAST if low < LEAST else min(low, 0) - 0.02, max(1.0, high) * 1.6)
    axis.set(xlabel="probability of the true class", ylabel="gradient weight w")
    legend_above(figure, axis)
    return figure


def curves(frame: pd.DataFrame, loss: str) -> list[tuple[str, pd.DataFrame]]:
    """The curves of a loss, each with the words on its epoch and its class."""
    own = frame[frame["loss"] == loss]
    return [(str(words), curve) for words, curve in own.groupby("when", sort=False)]


def _dash(words: str, i: int, look: Look) -> Any:
    return DASHES[i % len(DASHES)] if words else look.dash


def values(frame: pd.DataFrame, losses: Losses, *, x: str, x_label: str) -> Figure:
    """Each loss's value over the column `x`, a panel and an axis for each, for their units differ.

    frame: a row per curve and place: loss, when, `x`, value.
    """
    figure, axes = small_panels(len(losses.order), 1.2, 0.4, sharex=True)
    for axis, loss in zip(axes.flat, losses.order, strict=False):
        axis.axvline(0, color=MUTED, linewidth=0.8)
        for i, (_, own) in enumerate(curves(frame, loss)):
            gid = losses.looks[loss].gid("value" if i == 0 else f"value{i}")
            style: Any = {"color": losses.looks[loss].color, "linestyle": DASHES[i % len(DASHES)]}
            axis.plot(own[x], own["value"], gid=gid, **style)
        axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axis.margins(x=0)
        axis.set_title(losses.names[loss])
    figure.supxlabel(x_label, fontsize=8)
    figure.supylabel("value of the loss", fontsize=8)
    return figure
