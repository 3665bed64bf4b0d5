"""Figures of learning rates: how sensitive each loss is to them, and the map of loss by rate.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator

from reports.figures.drawing import canvas, heat_cells, number_ticks, small_panels, width
from reports.figures.palette import ALARM, FAINT, INK, MUTED, TOGETHER, Losses, tint

EACH, AROUND = 4.6, 40.0  # points: a letter of a title, and what of a panel no title can have


def rate_sensitivity(
    trials: pd.DataFrame, rates: pd.DataFrame, chosen: pd.DataFrame, losses: Losses
) -> Figure:
    """Validation accuracy against learning rate.

    Every trial a dot, diverged ones on a strip below, the choice ringed.

    Args:
        trials: a row per run: loss, lr, seed, outcome, val_accuracy in [0, 1] (NaN where there is
            none).
        rates: a row per loss and trial: loss, lr, tuned (its tuned values; "": none), val_accuracy
            (mean), diverged (runs). Each choice of tuned values has a line.
        chosen: a row per loss: loss, lr (NaN: none), tuned, edge ("none", "low", "high").
        losses: those that are shown.
    """
    order = losses.order
    figure, axes = small_panels(len(order), 1.6 if len(order) <= TOGETHER else 1.35, 0.4)
    grid = sorted(trials["lr"].dropna().unique())
    scored = trials[(trials["outcome"] == "ok") & np.isfinite(trials["val_accuracy"].astype(float))]
    floor, ceiling = _span(100 * scored["val_accuracy"].astype(float))
    room = ceiling - floor
    strip = floor - 0.13 * room
    for axis, loss in zip(axes.flat, order, strict=False):
        look = losses.looks[loss]
        own, mean = scored[scored["loss"] == loss], rates[rates["loss"] == loss].sort_values("lr")
        axis.set_xscale("log")
        axis.axhspan(strip - 0.08 * room, strip + 0.08 * room, color=FAINT, alpha=0.55, linewidth=0)
        for tuned, line in mean.groupby("tuned", sort=False):
            means = 100 * line["val_accuracy"]
            axis.plot(line["lr"], means, color=look.color, linewidth=1, gid=look.gid("means"))
            end = (line["lr"].iloc[-1], means.iloc[-1])
            if tuned and np.isfinite(end[1]):
                axis.annotate(tuned, end, color=MUTED, gid="tuned", **_beside(4))
        dots: Any = {"color": look.color, "alpha": 0.55, "markersize": 3.2, "mew": 0}
        gid = look.gid("trials")
        axis.plot(own["lr"], 100 * own["val_accuracy"], look.marker, gid=gid, **dots)
        for lr, count in mean.groupby("lr")["diverged"].sum().items():
            if count:
                axis.plot([lr], [strip], "x", color=ALARM, markersize=4, mew=1.1, gid="diverged")
                axis.annotate(f"{count}", (lr, strip), color=ALARM, **_beside(5))
        best = chosen.loc[chosen["loss"] == loss, ["lr", "tuned", "edge"]].merge(
            mean[["lr", "tuned", "val_accuracy"]], on=["lr", "tuned"]
        )
        for _, row in best.iterrows():
            ring: Any = {"markersize": 8, "mfc": "none", "mec": INK, "mew": 1, "clip_on": False}
            axis.plot([row["lr"]], [100 * row["val_accuracy"]], "o", gid="chosen", **ring)
            if row["edge"] != "none":
                which = "lowest" if row["edge"] == "low" else "highest"
                axis.set_title(f"{which}: edge of the grid", loc="right", color=ALARM)
        place: Any = {"xy": (0, strip), "xycoords": ("axes fraction", "data")}
        axis.annotate("diverged", color=MUTED, **place, **_beside(3))
        ticks = MaxNLocator(5).tick_values(floor, ceiling)
        shown = [tick for tick in ticks if floor - 0.02 * room <= tick <= 100]
        axis.yaxis.set_major_locator(FixedLocator(shown))
        _name(axis, losses.names[loss], 72 * width() / axes.shape[1])
        axis.set_ylim(strip - 0.08 * room, ceiling + 0.06 * room)
        if grid:
            axis.set_xlim(grid[0] / 1.7, grid[-1] * 1.7)
            number_ticks(axis, grid, 5)
    figure.supxlabel("learning rate", fontsize=8)
    figure.supylabel("validation accuracy (%)", fontsize=8)
    return figure


def _span(values: pd.Series) -> tuple[float, float]:
    """Lowest and highest of the values, at least one unit apart."""
    if not len(values):
        return 0.0, 100.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 0.5 else (low - 0.5, high + 0.5)


def _beside(points: float) -> Any:
    """The options of a text so many points right of its place."""
    return {"xytext": (points, 0), "textcoords": "offset points", "va": "center"}


def _name(axis: Axes, name: str, room: float) -> None:
    """Call a panel by a loss's name.

    Above what is said at the right, where both do not fit into so many points.
    """
    beside = axis.get_title(loc="right")
    if not beside or EACH * (len(name) + len(beside)) + AROUND < room:
        axis.set_title(name)
        return
    above: Any = {"xycoords": "axes fraction", "xytext": (0, 15), "textcoords": "offset points"}
    axis.annotate(name, (0, 1), fontsize=mpl.rcParams["axes.titlesize"], gid="name", **above)


def heat_map(rates: pd.DataFrame, chosen: pd.DataFrame, losses: Losses) -> Figure:
    """Draw mean validation accuracy by loss and learning rate.

    The number of diverged runs stands in the cell, and the chosen rate is framed.

    Args:
        rates: a row per loss and trial: loss, lr, tuned, val_accuracy (mean, NaN: no run has one),
            diverged, missing. Each choice of tuned values has a row.
        chosen: a row per loss: loss, lr, tuned.
        losses: those that are shown.
    """
    tuned = {loss: list(own["tuned"].unique()) for loss, own in rates.groupby("loss")}
    rows = [(loss, each) for loss in losses.order for each in tuned.get(loss, [""])]
    table, lost = (
        rates.pivot(index=["loss", "tuned"], columns="lr", values=name).reindex(rows).astype(float)
        for name in ("val_accuracy", "diverged")
    )
    lost = lost.fillna(0)
    figure, axes = canvas(1, 1, 0.32 * len(rows) + 0.6)
    axis = axes.flat[0]
    finite = 100 * table.to_numpy()[np.isfinite(table.to_numpy())]
    # Colors over the better part: rates that collapse would take all of the scale and leave the
    # rest one shade.
    low = float(np.quantile(finite, 0.25)) if len(finite) else 0.0
    words = table.map(lambda value: "no result" if np.isnan(value) else f"{100 * value:.2f}")
    words += lost.map(lambda n: f"\n{n:.0f} diverged" if n else "")
    high = max(finite.max(initial=low), low + 0.5)
    size = min(8.0, 9.5 * width() / max(1, table.shape[1]))
    heat_cells(axis, 100 * table.to_numpy(), words.to_numpy(), tint("#0072b2"), (low, high), size)
    for loss, lr, own in chosen[["loss", "lr", "tuned"]].itertuples(index=False):
        if (loss, own) in rows and lr in table.columns:
            place = (table.columns.get_loc(lr) + 0.03, rows.index((loss, own)) + 0.05)
            axis.add_patch(Rectangle(place, 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1.6))
    called = [f"{lr:g}" for lr in table.columns]
    axis.set_xticks(np.arange(len(called)) + 0.5, called, rotation=0)
    called = [f"{losses.names[loss]} {own}".rstrip() for loss, own in rows]
    axis.set_yticks(np.arange(len(rows)) + 0.5, called, rotation=0)
    axis.set_xlabel("learning rate")
    return figure
