"""Figures of the last epoch's metric per loss, and of the differences with their verdicts.

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
    FLAT,
    canvas,
    difference_words,
    forest_limits,
    label_rows,
    narrow,
    with_readings,
    within,
    within_per_cent,
)
from reports.figures.palette import FAINT, INK, MUTED, PAPER, TOGETHER, Look, Losses
from reports.metrics import Metric


def final_accuracy(
    runs: pd.DataFrame, means: pd.DataFrame, losses: Losses, metric: Metric
) -> Figure:
    """The last epoch's metric per loss: every seed a mark, the mean and its interval beside them.

    Where some losses are grey, and one axis is too coarse for the others, a second panel holds only
    the range of these.

    Args:
        runs: a row per run: loss, value.
        means: a row per loss: loss, mean, low, high (NaN: no interval).
        losses: those that are shown.
        metric: what the values are of. Intervals are drawn no further than its bounds.
    """
    scale = metric.scale
    data = runs.assign(value=scale * runs["value"].astype(float), loss=runs["loss"].astype(object))
    order = losses.order
    means = within(means[means["loss"].isin(order)], metric.bounds)
    near = enlarged(runs, means, losses, scale)
    means = means.assign(
        **{end: scale * means[end].astype(float) for end in ("mean", "low", "high")}
    )
    panels = 2 if near else 1
    shape = (panels, 1) if narrow() else (1, panels)
    height = (_row(len(order)) * len(order) + 0.6) * shape[0]
    figure, axes = canvas(*shape, height, sharey=True)
    for axis in axes.flat:
        for row, loss in enumerate(order):
            own, mean = (frame[frame["loss"] == loss] for frame in (data, means))
            color = MUTED if loss in losses.behind else losses.looks[loss].color
            _marks(axis, row, own, mean, losses.looks[loss], color)
        label_rows(axis, [losses.names[loss] for loss in order])
        axis.set_xlabel(metric.label)
        axis.set_ylabel("")
        if scale == 100:
            within_per_cent(axis, "x")
    if near:
        axes.flat[1].set_xlim(*near)
        if scale == 100:
            within_per_cent(axes.flat[1], "x")
        axes.flat[1].set_title("enlarged: the best", color=MUTED)
    return figure


def _marks(
    axis: Axes, row: int, runs: pd.DataFrame, means: pd.DataFrame, look: Look, color: str
) -> None:
    """One loss in its row, in the axis' unit."""
    axis.plot(
        runs["value"], [row] * len(runs), "|", color=color, markersize=6, markeredgewidth=0.8,
        alpha=0.75, gid=look.gid("runs"),
    )  # fmt: skip
    at = row + 0.27
    for _, mean in means.iterrows():
        if np.isfinite(mean["low"]):
            axis.plot(
                [mean["low"], mean["high"]], [at, at], color=color, linewidth=1.8,
                solid_capstyle="butt", gid=look.gid("interval"),
            )  # fmt: skip
        axis.plot(
            [mean["mean"]], [at], look.marker, color=color, mec=PAPER, mew=0.5, markersize=4.5,
            gid=look.gid("mean"),
        )  # fmt: skip


def enlarged(
    runs: pd.DataFrame, means: pd.DataFrame, losses: Losses, scale: float
) -> tuple[float, float] | None:
    """Limits of a second panel that hold the means and intervals of the losses in color.

    None where no loss is grey, or one axis shows all well.
    """
    front = losses.front if losses.behind else []
    means = means[means["loss"].isin(losses.order)]
    ends = scale * means.loc[means["loss"].isin(front), ["mean", "low", "high"]].to_numpy(float)
    every = scale * np.append(
        runs["value"].to_numpy(float), means[["mean", "low", "high"]].to_numpy(float)
    )
    if not np.isfinite(ends).any():
        return None
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    if np.nanmax(every) - np.nanmin(every) <= FLAT * (high - low):
        return None
    room = 0.08 * max(high - low, 1e-9)
    return low - room, high + room


def _row(rows: int) -> float:
    """How high a row is, in inches."""
    return 0.28 if rows <= TOGETHER else 0.22


def forest(contrasts: pd.DataFrame, losses: Losses, metric: Metric, margin: float) -> Figure:
    """The contrasts: difference and interval of each, the margin of equivalence shaded.

    The verdict in words.

    Args:
        contrasts: a row each, top to bottom: a, b, difference, low, high (NaN: no interval),
            verdict.
        losses: how they look and are called; a contrast has the look of its a.
        metric: what the differences are of.
        margin: half the width of what counts as equivalent (NaN: none).
    """
    frame, names = contrasts.reset_index(drop=True), losses.names
    row_height = _row(len(frame)) * (1.7 if narrow() else 1)
    figure, axes = canvas(1, 1, row_height * max(1, len(frame)) + 0.75)
    axis = axes.flat[0]
    ends = frame[["low", "high", "difference"]].to_numpy(dtype=float)
    left, right = forest_limits(ends, margin)
    words = [difference_words(middle, low, high, metric.digits) for low, high, middle in ends]
    pairs = [f"{names[a]} − {names[b]}" for a, b in zip(frame["a"], frame["b"], strict=True)]
    beside = max(100.0, 14 + 4.7 * max(map(len, words), default=0))  # points a letter takes
    if np.isfinite(margin):
        axis.axvspan(-margin, margin, color=FAINT, alpha=0.6, linewidth=0)
    axis.axvline(0, color=MUTED, linewidth=0.7)
    for row, contrast in frame.iterrows():
        look, (low, high, middle) = losses.looks[contrast["a"]], ends[row]
        color = MUTED if contrast["a"] in losses.behind else look.color
        if np.isfinite(low) and high > left and low < right:
            axis.plot(
                [low, high], [row, row], color=color, linewidth=1.5, solid_capstyle="butt",
                gid=look.gid("interval"),
            )  # fmt: skip
        if left <= middle <= right:
            (mark,) = axis.plot(
                [middle], [row], look.marker, color=color, mec=PAPER, mew=0.5, markersize=5,
                gid=look.gid("difference"),
            )  # fmt: skip
            with_readings(mark, [f"{pairs[row]}: {words[row]}, {contrast['verdict']}"])
        for beyond, edge, arrow in (
            (np.fmin(low, middle) < left, left, "<"),  # fmin: NaN where there is no interval
            (np.fmax(high, middle) > right, right, ">"),
        ):
            if beyond:
                inside = edge - 0.02 * np.sign(edge) * (right - left)
                (mark,) = axis.plot(
                    [inside], [row], arrow, color=color, markersize=5,
                    gid=look.gid("off the axis"),
                )  # fmt: skip
                with_readings(mark, [f"{pairs[row]}: {words[row]}, {contrast['verdict']}"])
        strong = contrast["verdict"] != "undecided"
        style: Any = {"color": INK if strong else MUTED, "annotation_clip": False}
        texts = [(words[row], 6.0, 0.0, False), (contrast["verdict"], beside, 0.0, strong)]
        if narrow():  # above the interval, over the whole width
            texts = [(f"{pairs[row]}: {contrast['verdict']}  {words[row]}", 0.0, 7.0, False)]
        style |= {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        for text, across, up, bold in texts:
            weight, place = "bold" if bold else "normal", (0 if narrow() else 1, row)
            axis.annotate(text, place, xytext=(across, up), va="center", fontweight=weight, **style)
    label_rows(axis, [""] * len(pairs) if narrow() else pairs)
    if narrow():
        axis.set_ylim(len(pairs) - 0.4, -0.9)
    axis.set_xlim(left, right)
    axis.set_xlabel("difference (percentage points)" if metric.in_points else "difference")
    return figure
