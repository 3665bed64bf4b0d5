"""Figures of the comparison: the last epoch's metric per loss, and the differences with their verdicts.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside `palette.style()`. `order` is the order of the
losses, `looks` how each is drawn, `names` how each is called on the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reports.figures.drawing import WIDTH, canvas, difference_words, forest_limits, label_rows
from reports.figures.palette import FAINT, INK, MUTED, PAPER, Look


def final_accuracy(
    runs: pd.DataFrame,
    means: pd.DataFrame,
    *,
    label: str,
    scale: float,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """The last epoch's metric per loss: every seed a mark, the mean and its interval beside them.

    Args:
        runs: a row per run: loss, value (times `scale` is drawn).
        means: a row per loss: loss, mean, low, high (NaN: no interval).
        label: of the axis, with its unit.
    """
    figure, axes = canvas(1, 1, WIDTH, 0.42 * len(order) + 0.9)
    axis = axes.flat[0]
    data = runs.assign(value=scale * runs["value"].astype(float), loss=runs["loss"].astype(object))
    for row, loss in enumerate(order):
        own = data[data["loss"] == loss]
        sns.stripplot(
            x=own["value"],
            y=np.full(len(own), row),
            orient="h",
            native_scale=True,
            jitter=False,
            ax=axis,
            color=looks[loss].colour,
            marker="|",
            size=9,
            linewidth=1.1,
            alpha=0.75,
        )
        for _, mean in means[means["loss"] == loss].iterrows():
            at = row + 0.27
            if np.isfinite(mean["low"]):
                axis.plot(
                    [scale * mean["low"], scale * mean["high"]],
                    [at, at],
                    color=looks[loss].colour,
                    linewidth=2.6,
                    solid_capstyle="butt",
                    gid="interval",
                )
            axis.plot(
                [scale * mean["mean"]],
                [at],
                looks[loss].marker,
                color=looks[loss].colour,
                mec=PAPER,
                mew=0.8,
                markersize=7,
                gid="mean",
            )
    label_rows(axis, [names[loss] for loss in order])
    axis.set_xlabel(label)
    axis.set_ylabel("")
    return figure


def forest(
    contrasts: pd.DataFrame, *, margin: float, unit: str, looks: Mapping[str, Look], names: Mapping[str, str]
) -> Figure:
    """The contrasts: difference and interval of each, the margin of equivalence shaded, the verdict in words.

    Args:
        contrasts: a row each, top to bottom: a, b, difference, low, high (NaN: no interval), verdict.
        margin: half the width of what counts as equivalent (NaN: none); `unit`: of it and of the differences.
    """
    frame = contrasts.reset_index(drop=True)
    figure, axes = canvas(1, 1, WIDTH, 0.42 * max(1, len(frame)) + 1.05)
    axis = axes.flat[0]
    ends = frame[["low", "high", "difference"]].to_numpy(dtype=float)
    left, right = forest_limits(ends, margin)
    if np.isfinite(margin):
        axis.axvspan(-margin, margin, color=FAINT, alpha=0.6, linewidth=0)
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for row, contrast in frame.iterrows():
        look, (low, high, middle) = looks[contrast["a"]], ends[row]
        if np.isfinite(low) and high > left and low < right:
            axis.plot(
                [low, high], [row, row], color=look.colour, linewidth=2, solid_capstyle="butt", gid="interval"
            )
        if left <= middle <= right:
            axis.plot(
                [middle],
                [row],
                look.marker,
                color=look.colour,
                mec=PAPER,
                mew=0.7,
                markersize=7.5,
                gid="difference",
            )
        for beyond, edge, arrow in (
            (np.fmin(low, middle) < left, left, "<"),  # fmin: NaN where there is no interval
            (np.fmax(high, middle) > right, right, ">"),
        ):
            if beyond:
                inside = edge - 0.02 * np.sign(edge) * (right - left)
                axis.plot([inside], [row], arrow, color=look.colour, markersize=8, gid="off the axis")
        strong = contrast["verdict"] != "undecided"
        for text, across, bold in (
            (difference_words(middle, low, high, 2 if unit else 4), 8, False),
            (contrast["verdict"], 152, strong),
        ):
            axis.annotate(
                text,
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(across, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold" if bold else "normal",
                color=INK if strong else MUTED,
                annotation_clip=False,
            )
    label_rows(axis, [f"{names[a]} − {names[b]}" for a, b in zip(frame["a"], frame["b"], strict=True)])
    axis.set_xlim(left, right)
    axis.set_xlabel(f"difference ({unit})" if unit else "difference")
    return figure
