"""Figures of training: accuracy over epochs and seconds, own losses, other measures of each epoch.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.drawing import (
    BEHIND,
    FLAT,
    SHARE,
    canvas,
    label_ends,
    legend_above,
    limits_from,
    line_with_band,
    log_values,
    narrow,
    say,
    small_panels,
    thin_lines,
    within,
    within_per_cent,
)
from reports.figures.palette import MUTED, Losses

X_LABELS = {"epoch": "epoch", "seconds": "training time of the run (s)"}
FAR = 5.0  # percentage points between lines that no one axis shows well
ENLARGED = 3  # epochs at least, for a second half that is a line
PARTS: dict[str, Any] = {"training": "-", "validation": (0, (2, 1.4))}
Ends = dict[str, tuple[float, float]]


def accuracy_curves(
    curves: pd.DataFrame, bands: pd.DataFrame, losses: Losses, *, x: Sequence[str]
) -> Figure:
    """Draw the mean validation accuracy of each loss over training, its band, and each seed thinly.

    Where some lines end far above the others, the second half of theirs follows below, enlarged. Of
    the losses in grey there are the means alone.

    Args:
        curves: a row per run and epoch: run_id, loss, epoch, val_accuracy in [0, 1], and the
            columns named in `x`.
        bands: a row per loss and epoch: loss, epoch, mean, low, high (NaN: no band) and the columns
            named in `x`.
        losses: those that are shown.
        x: a panel for each of "epoch", "seconds".
    """
    bands = within(bands, SHARE)
    upper = enlarged(bands, losses.behind)
    rows = 2 if upper else 1
    if narrow():
        figure, axes = canvas(rows * len(x), 1, 2.1 * rows * len(x), squeeze=False)
        axes = axes.reshape(rows, len(x))
    else:
        figure, axes = canvas(rows, len(x), 2.5 if rows == 1 else 4.3, sharey="row", squeeze=False)
    for axis, column in zip(axes[0], x, strict=True):
        ends = _lines(axis, curves, bands, column, losses)
        if limits := limits_from(bands, curves):
            axis.set_ylim(*limits)
        if column == "seconds":
            axis.set_xlim(left=0)
    labels = [(axes[0][-1], *_gathered(ends, upper, losses))]
    if losses.behind:
        axes[0][-1].set_title(losses.others, loc="right", color=MUTED)
    if upper:
        late, seeds = (
            frame[frame["loss"].isin(upper) & (frame["epoch"] >= bands["epoch"].max() / 2)]
            for frame in (bands, curves)
        )
        for axis, column in zip(axes[1], x, strict=True):
            ends = _lines(axis, seeds, late, column, losses.only(upper))
            if limits := limits_from(late, seeds):
                axis.set_ylim(*limits)
        labels.append((axes[1][-1], ends, dict(losses.names)))
        which = "" if len(upper) == len(losses.order) else f"the best {len(upper)}, "
        axes[1][0].set_title(f"enlarged: {which}second half of training", color=MUTED)
    for axis, column in zip(axes.T.flat, [name for name in x for _ in range(rows)], strict=True):
        if narrow() or axis in axes[-1]:
            axis.set_xlabel(X_LABELS[column])
    for axis in axes.flat if narrow() else axes[:, 0]:
        axis.set_ylabel("validation accuracy (%)")
    for axis, ends, names in labels:
        label_ends(axis, ends, losses, names)
    return figure


def enlarged(bands: pd.DataFrame, behind: Collection[str] = ()) -> list[str]:
    """The losses whose second half of training is shown again, enlarged, from the highest.

    Those far above the others, or of many losses those in front; at least two. None where one axis
    shows them well, and none in trainings under `ENLARGED` epochs, whose second half is a dot.

    Args:
        bands: as in `far_above`.
        behind: the losses in grey, none where they are few.
    """
    drawn = bands.dropna(subset=["mean"])
    if not len(drawn) or bands["epoch"].max() < ENLARGED:
        return []
    last = drawn.sort_values("epoch").groupby("loss", observed=True)["mean"].last()
    last = last.sort_values(ascending=False, kind="stable")
    front = last[~last.index.isin(list(behind))]
    top = [str(loss) for loss in (last[last >= front.min()] if len(front) else last).index]
    upper = far_above(bands)
    top = upper if upper and (not behind or len(upper) < len(top)) else top
    late = drawn[drawn["loss"].isin(top) & (drawn["epoch"] >= bands["epoch"].max() / 2)]["mean"]
    flat = drawn["mean"].max() - drawn["mean"].min() > FLAT * (late.max() - late.min())
    return top if len(top) > 1 and (flat or top == upper) else []


def far_above(bands: pd.DataFrame) -> list[str]:
    """The losses whose lines end close together and far above all others.

    None where one axis shows all well.

    bands: a row per loss and epoch: loss, epoch, mean in [0, 1].
    """
    drawn = bands.dropna(subset=["mean"]).sort_values("epoch")
    last = drawn.groupby("loss", observed=True)["mean"].last()
    ordered = (100 * last).sort_values(ascending=False, kind="stable")
    for count in range(len(ordered) - 1, 0, -1):
        gap = ordered.iloc[count - 1] - ordered.iloc[count]
        if gap > FAR and gap > 2 * (ordered.iloc[0] - ordered.iloc[count - 1]):
            return [str(loss) for loss in ordered.index[:count]]
    return []


def _lines(
    axis: Axes, curves: pd.DataFrame, bands: pd.DataFrame, column: str, losses: Losses
) -> Ends:
    """Draw the losses' means, bands and seeds over one column; where each mean ends."""
    ends: Ends = {}
    for loss in losses.order:
        look, line = losses.looks[loss], bands[bands["loss"] == loss].sort_values(column)
        shown = line.dropna(subset=["mean"])
        if len(shown):
            ends[loss] = (float(shown[column].iloc[-1]), 100 * float(shown["mean"].iloc[-1]))
        if loss in losses.behind:
            axis.plot(line[column], 100 * line["mean"], gid=look.gid("behind"), **BEHIND)
            continue
        runs = curves[curves["loss"] == loss]
        if runs["run_id"].nunique() > 1:
            thin_lines(axis, runs, column, look)
        if not len(line):
            continue
        every = max(1, len(line) // 8)
        marked = ((len(line) - 1) % every, every)
        line_with_band(axis, look, line, column, markevery=marked)
    axis.margins(x=0.02)
    if column == "epoch":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return ends


def _gathered(ends: Ends, upper: Sequence[str], losses: Losses) -> tuple[Ends, dict[str, str]]:
    """The ends to be labelled and their labels.

    Of the lines that are enlarged below, and end close together, the highest in color speaks for
    all.
    """
    first = next((loss for loss in upper if loss not in losses.behind), upper[0] if upper else "")
    near = [loss for loss in upper if abs(ends[loss][1] - ends[first][1]) <= FAR]
    kept = {loss: end for loss, end in ends.items() if loss == first or loss not in near}
    more = {first: f"{losses.names[first]} and {len(near) - 1} more"} if len(near) > 1 else {}
    return kept, {**losses.names, **more}


def own_losses(bands: pd.DataFrame, losses: Losses) -> Figure:
    """Each loss's own value over epochs, training and validation.

    A panel and an axis for each loss.

    bands: a row per loss, part ("training", "validation") and epoch: loss, part, epoch, mean, low,
    high.
    """
    figure, axes = small_panels(len(losses.order), 1.55, 0.3)
    for axis, loss in zip(axes.flat, losses.order, strict=False):
        for part, dash in PARTS.items():
            line = bands[(bands["loss"] == loss) & (bands["part"] == part)]
            line = line.dropna(subset=["mean"]).sort_values("epoch")
            if not len(line):
                continue
            how: Any = {"linestyle": dash, "marker": None, "linewidth": 1.2}
            line_with_band(axis, losses.looks[loss], line, "epoch", 1, label=part, **how)
        axis.set_title(losses.names[loss])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axis.margins(x=0.02)
        axis.set_xlabel("epoch")
        if not axis.lines:
            say(axis, "no values")
            axis.set(xticks=[], yticks=[])
    for axis in axes[:, 0]:
        axis.set_ylabel("value of the loss")
    parts = [Line2D([], [], color=MUTED, linestyle=d, label=name) for name, d in PARTS.items()]
    figure.legend(handles=parts, loc="outside upper left", ncols=2)
    return figure


def by_epoch(
    bands: pd.DataFrame,
    panels: Mapping[str, tuple[str, float]],
    losses: Losses,
    *,
    log: bool = False,
) -> Figure:
    """Measures of each epoch, a panel for each, a line with its band per loss.

    Args:
        bands: a row per measure, loss and epoch: measure, loss, epoch, mean, low, high (NaN: no
            band).
        panels: by measure, what its panel is called, and what its values are multiplied by.
        losses: those that are shown.
        log: whether the axes of the values are logarithmic, each panel's its own; else they are one
            axis in per cent.
    """
    columns = 1 if narrow() else len(panels)
    rows = len(panels) // columns
    figure, axes = canvas(rows, columns, 2.1 * rows + 0.3, sharey=not log, squeeze=False)
    for axis, (measure, (words, scale)) in zip(axes.flat, panels.items(), strict=True):
        own = bands[bands["measure"] == measure]
        if not log:
            own = within(own, SHARE)
        if log:
            log_values(axis, scale * own["mean"], scale * own["high"])
        # A band may reach below 0, where a logarithmic axis does not.
        floor = axis.get_ylim()[0] if log else -math.inf
        for loss in losses.front:
            line, look = own[own["loss"] == loss].sort_values("epoch"), losses.looks[loss]
            line = line.assign(
                **{end: line[end].clip(lower=floor / scale) for end in ("low", "high")}
            )
            every = max(1, len(line) // 8)
            line_with_band(
                axis, look, line, "epoch", scale, label=losses.names[loss], markevery=every
            )
        for place, loss in enumerate(losses.grey):
            line = own[own["loss"] == loss].sort_values("epoch")
            label = "_" if place else losses.others
            gid = losses.looks[loss].gid("behind")
            axis.plot(line["epoch"], scale * line["mean"], label=label, gid=gid, **BEHIND)
        axis.set_title(words)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.margins(x=0.03)
    if not log:
        within_per_cent(axes.flat[0])
    legend_above(figure, axes.flat[0])
    return figure
