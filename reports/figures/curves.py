"""Figures of training: accuracy over epochs and seconds, own losses, other measures of each epoch.

Computes no statistics, saves nothing: what is drawn is in the frames. Draw inside
`palette.style()`. `order` is the order of the losses, `looks` how each is drawn, `names` how each
is called on the figure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.drawing import (
    BEHIND,
    FLAT,
    SHARE,
    WIDTH,
    canvas,
    hide_unused,
    label_ends,
    legend_above,
    limits_from,
    log_values,
    others,
    panel_columns,
    say,
    thin_lines,
    within,
    within_per_cent,
)
from reports.figures.palette import MUTED, Look

X_LABELS = {"epoch": "epoch", "seconds": "training time of the run (s)"}
FAR = 5.0  # percentage points between lines that no one axis shows well
ENLARGED = 3  # epochs at least, for a second half that is a line
Ends = dict[str, tuple[float, float]]


def accuracy_curves(
    curves: pd.DataFrame,
    bands: pd.DataFrame,
    *,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    x: Sequence[str],
    behind: Collection[str] = (),
) -> Figure:
    """Draw the mean validation accuracy of each loss over training, its band, and each seed thinly.

    Where some lines end far above the others, the second half of theirs follows below, enlarged. Of
    the losses `behind` there are the means alone, all in the same grey.

    Args:
        curves: a row per run and epoch: run_id, loss, epoch, val_accuracy in [0, 1], and the
            columns named in `x`.
        bands: a row per loss and epoch: loss, epoch, mean, low, high (NaN: no band) and the columns
            named in `x`.
        order: the losses, in the order in which they are shown.
        looks: the colour, line and mark of each loss.
        names: by loss, the name that is shown.
        x: a panel for each of "epoch", "seconds".
        behind: the losses that are drawn in grey, behind the others.
    """
    bands = within(bands, SHARE)
    upper = enlarged(bands, behind)
    rows = 2 if upper else 1
    figure, axes = canvas(
        rows, len(x), WIDTH, 4.0 if rows == 1 else 6.4, sharey="row", squeeze=False
    )
    for axis, column in zip(axes[0], x, strict=True):
        ends = _lines(axis, curves, bands, column, order, looks, behind)
        if limits := limits_from(bands, curves, 0.2):
            axis.set_ylim(*limits)
        if column == "seconds":
            axis.set_xlim(left=0)
    labels = [(axes[0][-1], *_gathered(ends, upper, names, behind))]
    if behind:
        axes[0][-1].set_title(others(behind), loc="right", color=MUTED, fontsize=11)
    if upper:
        late, seeds = (
            frame[frame["loss"].isin(upper) & (frame["epoch"] >= bands["epoch"].max() / 2)]
            for frame in (bands, curves)
        )
        for axis, column in zip(axes[1], x, strict=True):
            shown = [loss for loss in order if loss in upper]
            ends = _lines(axis, seeds, late, column, shown, looks, behind)
            if limits := limits_from(late, seeds, 0):
                axis.set_ylim(*limits)
        labels.append((axes[1][-1], ends, dict(names)))
        which = names[upper[0]] if len(upper) == 1 else f"the upper {len(upper)}"
        axes[1][0].set_title(
            f"enlarged: {which}, second half of training", color=MUTED, fontsize=11
        )
    for axis, column in zip(axes[-1], x, strict=True):
        axis.set_xlabel(X_LABELS[column])
    for axis in axes[:, 0]:
        axis.set_ylabel("validation accuracy (%)")
    for axis, ends, called in labels:
        label_ends(axis, ends, called, looks, behind)
    return figure


def enlarged(bands: pd.DataFrame, behind: Collection[str] = ()) -> list[str]:
    """The losses whose lines are shown again below, from the highest.

    Those far above, or where many share a panel, those in front.

    None in trainings under `ENLARGED` epochs: their second half is a dot. bands: as in `far_above`;
    behind: the losses in grey, none where they are few.
    """
    if not len(bands) or bands["epoch"].max() < ENLARGED:
        return []
    upper = far_above(bands)
    last = (
        bands.dropna(subset=["mean"])
        .sort_values("epoch")
        .groupby("loss", observed=True)["mean"]
        .last()
    )
    front = last[~last.index.isin(list(behind))]
    if not len(behind) or not len(front):
        return upper
    top = last[last >= front.min()].sort_values(ascending=False, kind="stable")
    flat = last.max() - last.min() > FLAT * (top.max() - top.min())
    return (
        [str(loss) for loss in top.index]
        if flat and (not upper or len(top) < len(upper))
        else upper
    )


def far_above(bands: pd.DataFrame) -> list[str]:
    """The losses whose lines end close together and far above all others.

    None where one axis shows all well.

    bands: a row per loss and epoch: loss, epoch, mean in [0, 1].
    """
    last = (
        bands.dropna(subset=["mean"])
        .sort_values("epoch")
        .groupby("loss", observed=True)["mean"]
        .last()
    )
    ordered = (100 * last).sort_values(ascending=False, kind="stable")
    for count in range(len(ordered) - 1, 0, -1):
        gap = ordered.iloc[count - 1] - ordered.iloc[count]
        if gap > FAR and gap > 2 * (ordered.iloc[0] - ordered.iloc[count - 1]):
            return [str(loss) for loss in ordered.index[:count]]
    return []


def _lines(
    axis: Axes,
    curves: pd.DataFrame,
    bands: pd.DataFrame,
    column: str,
    order: Sequence[str],
    looks: Mapping[str, Look],
    behind: Collection[str],
) -> Ends:
    """Draw the losses' means, bands and seeds over one column; where each mean ends."""
    ends: Ends = {}
    for place, loss in enumerate(order):
        look, line = looks[loss], bands[bands["loss"] == loss].sort_values(column)
        shown = line.dropna(subset=["mean"])
        if len(shown):
            ends[loss] = (float(shown[column].iloc[-1]), 100 * float(shown["mean"].iloc[-1]))
        if loss in behind:
            axis.plot(line[column], 100 * line["mean"], **BEHIND)
            continue
        runs = curves[curves["loss"] == loss]
        if runs["run_id"].nunique() > 1:
            thin_lines(axis, runs, column, look.colour)
        if not len(line):
            continue
        axis.fill_between(
            line[column],
            100 * line["low"],
            100 * line["high"],
            color=look.colour,
            alpha=0.2,
            linewidth=0,
        )
        every = max(1, len(line) // 8)
        axis.plot(
            line[column],
            100 * line["mean"],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            markevery=((len(line) - 1) % every, every),
            markersize=4,
            gid=f"mean of {place}",
        )
    axis.margins(x=0.02)
    if column == "epoch":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return ends


def _gathered(
    ends: Ends, upper: Sequence[str], names: Mapping[str, str], behind: Collection[str]
) -> tuple[Ends, dict[str, str]]:
    """The ends to be labelled and their labels.

    Of the lines that are enlarged below the highest in colour speaks for all.
    """
    first = next((loss for loss in upper if loss not in behind), upper[0] if upper else "")
    kept = {loss: end for loss, end in ends.items() if loss == first or loss not in upper}
    more = {first: f"{names[first]} and {len(upper) - 1} more"} if len(upper) > 1 else {}
    return kept, {**names, **more}


def own_losses(
    bands: pd.DataFrame,
    *,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
) -> Figure:
    """Each loss's own value over epochs, training and validation.

    A panel and an axis for each loss.

    bands: a row per loss, part ("training", "validation") and epoch: loss, part, epoch, mean, low,
    high.
    """
    columns = panel_columns(len(order))
    rows = -(-len(order) // columns)
    figure, axes = canvas(rows, columns, WIDTH, 2.3 * rows + 0.3, squeeze=False)
    for axis, loss in zip(axes.flat, order, strict=False):
        for part, dash in (("training", "-"), ("validation", (0, (2, 1.4)))):
            line = (
                bands[(bands["loss"] == loss) & (bands["part"] == part)]
                .dropna(subset=["mean"])
                .sort_values("epoch")
            )
            if not len(line):
                continue
            colour = looks[loss].colour
            axis.fill_between(
                line["epoch"], line["low"], line["high"], color=colour, alpha=0.18, linewidth=0
            )
            axis.plot(
                line["epoch"], line["mean"], color=colour, linestyle=dash, linewidth=1.6, label=part
            )
        axis.set_title(names[loss])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axis.margins(x=0.02)
        axis.set_xlabel("epoch")
        if axis.lines:
            axis.legend(loc="best", fontsize=9.5, handlelength=1.9, borderaxespad=0.2)
        else:
            say(axis, "no values")
            axis.set(xticks=[], yticks=[])
    for axis in axes[:, 0]:
        axis.set_ylabel("own loss")
    hide_unused(axes, len(order))
    return figure


def by_epoch(
    bands: pd.DataFrame,
    panels: Mapping[str, tuple[str, float]],
    *,
    log: bool = False,
    order: Sequence[str],
    looks: Mapping[str, Look],
    names: Mapping[str, str],
    behind: Collection[str] = (),
) -> Figure:
    """Measures of each epoch, a panel for each, a line with its band per loss.

    Of the losses `behind` a grey line.

    Args:
        bands: a row per measure, loss and epoch: measure, loss, epoch, mean, low, high (NaN: no
            band).
        panels: by measure, what its panel is called, and what its values are multiplied by.
        log: whether the axes of the values are logarithmic, each panel's its own; else they are one
            axis in per cent.
        order: the losses, in the order in which they are shown.
        looks: the colour, line and mark of each loss.
        names: by loss, the name that is shown.
        behind: the losses that are drawn in grey, behind the others.
    """
    columns = min(2, len(panels)) if log else len(panels)
    figure, axes = canvas(1, columns, WIDTH, 3.3, sharey=not log, squeeze=False)
    for axis, (measure, (words, scale)) in zip(axes.flat, panels.items(), strict=True):
        own = bands[bands["measure"] == measure]
        if not log:
            own = within(own, SHARE)
        if log:
            log_values(axis, scale * own["mean"], scale * own["high"])
        floor = (
            axis.get_ylim()[0] if log else -math.inf
        )  # a band may reach below 0, where a log axis does not
        for place, loss in enumerate(order):
            line, look = own[own["loss"] == loss].sort_values("epoch"), looks[loss]
            if loss in behind:
                continue
            low, high = (scale * line[end].clip(lower=floor / scale) for end in ("low", "high"))
            axis.fill_between(line["epoch"], low, high, color=look.colour, alpha=0.2, linewidth=0)
            axis.plot(
                line["epoch"],
                scale * line["mean"],
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markevery=max(1, len(line) // 8),
                markersize=4,
                label=names[loss],
                gid=f"mean of {place}",
            )
        for place, loss in enumerate(loss for loss in order if loss in behind):
            line = own[own["loss"] == loss].sort_values("epoch")
            label = "_" if place else others(behind)
            axis.plot(line["epoch"], scale * line["mean"], label=label, **BEHIND)
        axis.set_title(words, fontsize=11)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.margins(x=0.03)
    if not log:
        within_per_cent(axes.flat[0])
    legend_above(figure, axes.flat[0])
    return figure
