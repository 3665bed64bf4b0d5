"""Figures of the last epoch's metric per loss, and of the differences with their verdicts.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`. `order` is the order of the losses, `looks` how each is drawn, `names` how each
is called on the figure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.drawing import (
    FLAT,
    WIDTH,
    canvas,
    difference_words,
    forest_limits,
    label_rows,
    within,
    within_per_cent,
)
from reports.figures.fonts import USUAL
from reports.figures.palette import FAINT, INK, MUTED, PAPER, TOGETHER, Look


def final_accuracy(
    runs: pd.DataFrame,
    means: pd.DataFrame,
    *,
    label: str,
    scale: float,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    behind: Collection[str] = (),
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Figure:
    """The last epoch's metric per loss: every seed a mark, the mean and its interval beside them.

    Where some losses stand `behind`, and one axis is too coarse for the others, a second panel
    holds only the range of these.

    Args:
        runs: a row per run: loss, value.
        means: a row per loss: loss, mean, low, high (NaN: no interval).
        label: of the axis, with its unit.
        scale: what values are multiplied by.
        order: the losses, in the order in which they are shown.
        looks: the colour, line and mark of each loss.
        names: by loss, the name that is shown.
        behind: the losses that are drawn in grey, behind the others.
        bounds: between which the metric is, before `scale`: intervals are drawn no further.
    """
    data = runs.assign(value=scale * runs["value"].astype(float), loss=runs["loss"].astype(object))
    ends = ["mean", "low", "high"]
    means = within(means[means["loss"].isin(order)], bounds)
    means = means.assign(**{end: scale * means[end].astype(float) for end in ends})
    near = _near(data, means, [loss for loss in order if loss not in behind]) if behind else None
    panels = 2 if near else 1
    figure, axes = canvas(1, panels, WIDTH, _row(len(order)) * len(order) + 0.9, sharey=True)
    for axis in axes.flat:
        for row, loss in enumerate(order):
            _marks(axis, row, data[data["loss"] == loss], means[means["loss"] == loss], looks[loss])
        label_rows(axis, [names[loss] for loss in order])
        axis.set_xlabel(label)
        axis.set_ylabel("")
        if scale == 100:
            within_per_cent(axis, "x")
    if near:
        axes.flat[1].set_xlim(*near)
        if scale == 100:
            within_per_cent(axes.flat[1], "x")
        axes.flat[1].set_title("enlarged: the best", color=MUTED, fontsize=11)
    return figure


def _marks(axis: Axes, row: int, runs: pd.DataFrame, means: pd.DataFrame, look: Look) -> None:
    """One loss in its row, in the axis' unit."""
    sns.stripplot(
        x=runs["value"],
        y=np.full(len(runs), row),
        orient="h",
        native_scale=True,
        jitter=False,
        ax=axis,
        color=look.colour,
        marker="|",
        size=9,
        linewidth=1.1,
        alpha=0.75,
    )
    at = row + 0.27
    for _, mean in means.iterrows():
        if np.isfinite(mean["low"]):
            axis.plot(
                [mean["low"], mean["high"]],
                [at, at],
                color=look.colour,
                linewidth=2.6,
                solid_capstyle="butt",
                gid="interval",
            )
        axis.plot(
            [mean["mean"]],
            [at],
            look.marker,
            color=look.colour,
            mec=PAPER,
            mew=0.8,
            markersize=7,
            gid="mean",
        )


def _near(
    runs: pd.DataFrame, means: pd.DataFrame, front: Sequence[str]
) -> tuple[float, float] | None:
    """Limits that hold the means and intervals of the losses in front.

    None where one axis shows all well.
    """
    ends = means.loc[means["loss"].isin(front), ["mean", "low", "high"]].to_numpy(dtype=float)
    every = np.append(
        runs["value"].to_numpy(dtype=float), means[["mean", "low", "high"]].to_numpy(dtype=float)
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
    return 0.42 if rows <= TOGETHER else 0.34


def forest(
    contrasts: pd.DataFrame,
    *,
    margin: float,
    unit: str,
    digits: int = 2,
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """The contrasts: difference and interval of each, the margin of equivalence shaded.

    The verdict in words.

    Args:
        contrasts: a row each, top to bottom: a, b, difference, low, high (NaN: no interval),
            verdict.
        margin: half the width of what counts as equivalent (NaN: none).
        unit: of the margin and of the differences.
        digits: how many decimals of a difference are shown.
        looks: the colour, line and mark of each loss.
        names: by loss, the name that is shown.
    """
    frame = contrasts.reset_index(drop=True)
    figure, axes = canvas(1, 1, WIDTH, _row(len(frame)) * max(1, len(frame)) + 1.05)
    axis = axes.flat[0]
    ends = frame[["low", "high", "difference"]].to_numpy(dtype=float)
    left, right = forest_limits(ends, margin)
    words = [difference_words(middle, low, high, digits) for low, high, middle in ends]
    beside = max(
        152.0, 20 + 5.25 * max(map(len, words), default=0)
    )  # points: a letter takes some 5.25
    if np.isfinite(margin):
        axis.axvspan(-margin, margin, color=FAINT, alpha=0.6, linewidth=0)
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for row, contrast in frame.iterrows():
        look, (low, high, middle) = looks[contrast["a"]], ends[row]
        if np.isfinite(low) and high > left and low < right:
            axis.plot(
                [low, high],
                [row, row],
                color=look.colour,
                linewidth=2,
                solid_capstyle="butt",
                gid="interval",
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
                axis.plot(
                    [inside], [row], arrow, color=look.colour, markersize=8, gid="off the axis"
                )
        strong = contrast["verdict"] != "undecided"
        for text, across, bold in ((words[row], 8, False), (contrast["verdict"], beside, strong)):
            axis.annotate(
                text,
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(across, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold" if bold else "normal",
                fontfamily=list(USUAL),  # others may have no bold
                color=INK if strong else MUTED,
                annotation_clip=False,
            )
    label_rows(
        axis, [f"{names[a]} − {names[b]}" for a, b in zip(frame["a"], frame["b"], strict=True)]
    )
    axis.set_xlim(left, right)
    axis.set_xlabel(f"difference ({unit})" if unit else "difference")
    return figure
