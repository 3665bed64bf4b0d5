"""The parts that figures share: the canvas, labels, limits and ticks.

The module computes no statistics and reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from reports.figures.palette import MUTED, Look, Losses

LINE = 10.0  # points from one label to the next
NARROW = 5.0  # inches: a figure that is narrower has fewer panels beside each other
CLEAR = 0.3  # of that, between the ends of grey lines that are named
SHARE = (0.0, 1.0)  # between which shares are
FLAT = 3.0  # an axis so many times as long as what is best on it is too coarse for that


def width() -> float:
    """Inches of a figure, from the current style."""
    return float(mpl.rcParams["figure.figsize"][0])


def narrow() -> bool:
    """Whether figures are for a column or a phone."""
    return width() < NARROW


def canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of so many panels and inches, whose labels keep out of each other's way."""
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=(width(), height), layout=layout)
    axes = figure.subplots(rows, columns, **options)
    return figure, np.atleast_1d(np.asarray(axes, dtype=object))


def small_panels(
    count: int, height: float, more: float, columns: int = 0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of small panels, in three columns, or in two where that leaves no hole.

    Args:
        count: of the panels; the places after the last one are hidden.
        height: of a row in inches.
        more: inches besides the rows.
        columns: another number of them.
        options: of `Figure.subplots`.
    """
    columns = columns or (1 if count < 2 else 2 if count in (2, 4) or narrow() else 3)
    rows = -(-count // columns)
    figure, axes = canvas(rows, columns, height * rows + more, squeeze=False, **options)
    for place, axis in list(enumerate(axes.flat))[count:]:
        axis.set_visible(False)
        if place >= columns:  # the panel above becomes the lowest of its column
            axes.flat[place - columns].xaxis.set_tick_params(labelbottom=True)
    return figure, axes


def with_readings(artist: Any, texts: Sequence[str]) -> None:
    """Give each mark of a line the text that a page shows where a reader points at it."""
    artist.readings = list(texts)


def line_with_band(
    axis: Axes, look: Look, line: pd.DataFrame, x: str, scale: float = 100, **options: Any
) -> None:
    """A line of means and its band.

    line: the column `x`, mean, low, high. options: of the line, in place of the loss's own.
    """
    ends = (scale * line[end] for end in ("low", "high"))
    color = look.color
    axis.fill_between(line[x], *ends, color=color, alpha=0.2, linewidth=0, gid=look.gid("band"))
    own = {"linestyle": look.dash, "marker": look.marker, "markersize": 3}
    axis.plot(line[x], scale * line["mean"], color=color, gid=look.gid("mean"), **own | options)


def thin_lines(axis: Axes, runs: pd.DataFrame, x: str, look: Look) -> None:
    """Every run as a thin line."""
    lines = [
        np.column_stack(
            [run[x].to_numpy(dtype=float), 100 * run["val_accuracy"].to_numpy(dtype=float)]
        )
        for _, run in runs.sort_values(x).groupby("run_id", sort=True, observed=True)
    ]
    axis.add_collection(
        LineCollection(lines, colors=look.color, linewidths=0.5, alpha=0.35, gid=look.gid("seeds"))
    )


def limits_from(bands: pd.DataFrame, curves: pd.DataFrame) -> tuple[float, float] | None:
    """Limits in per cent that hold all means, bands and runs."""
    drawn = within(bands.dropna(subset=["mean"]), SHARE)
    if not len(drawn):
        return None
    low = 100 * float(drawn["low"].fillna(drawn["mean"]).min())
    high = 100 * float(drawn["high"].fillna(drawn["mean"]).max())
    seeds = 100 * curves["val_accuracy"].astype(float)
    if seeds.notna().any():
        low, high = min(low, float(seeds.min())), max(high, float(seeds.max()))
    room = max(high - low, 0.05)
    return max(low - 0.08 * room, -2), min(high + 0.08 * room, 100 + min(0.04 * room, 2))


def label_ends(
    axis: Axes,
    ends: Mapping[str, tuple[float, float]],
    losses: Losses,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write the losses' names at the ends of their lines.

    Names are moved apart where lines end close to each other.

    All stay beside the panel: where there are too many for its height, the last of `ends` have
    none. Of the losses in grey, whose lines are alike, those are named that end away from every
    other, while there is room. Call when all else is drawn: labels take their places from the
    height that the layout leaves. `names` replace those of the losses.
    """
    names = names or losses.names
    low, high = axis.get_ylim()
    step = (high - low) * LINE / _height(axis)
    shown = [loss for loss in ends if loss not in losses.behind]
    clear = {loss: _clearance(loss, ends) for loss in ends if loss in losses.behind}
    shown += [
        loss for loss in sorted(clear, key=lambda loss: -clear[loss]) if clear[loss] >= CLEAR * step
    ]
    shown = shown[: max(1, int((high - low) / step))]
    wanted = sorted(shown, key=lambda loss: (ends[loss][1], loss))
    places = spread([ends[loss][1] for loss in wanted], step, low + step / 2, high - step / 2)
    left, right = axis.get_xlim()
    for loss, y in zip(wanted, places, strict=True):
        look = losses.looks[loss]
        color = MUTED if loss in losses.behind else look.text
        label = axis.annotate(
            names[loss],
            ends[loss],
            xytext=(right + 0.02 * (right - left), y),
            textcoords="data",
            va="center",
            ha="left",
            color=color,
            annotation_clip=False,
            gid=look.gid("label"),
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "alpha": 0.6,
                "relpos": (0, 0.5),  # to where the name begins, not through it
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )
        if label.arrow_patch is not None:
            label.arrow_patch.set_gid(look.gid("leader"))


def _height(axis: Axes) -> float:
    """Of a panel in points, as the layout leaves it."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    return float(axis.get_position().height * figure.get_size_inches()[1] * 72)


def _clearance(loss: str, ends: Mapping[str, tuple[float, float]]) -> float:
    """How far the end of a line is from the nearest other."""
    return min(
        (abs(ends[loss][1] - y) for other, (_, y) in ends.items() if other != loss), default=np.inf
    )


def spread(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Places at least `step` apart, as near the ascending `values` as can be, within low..high.

    Too many stand out below.
    """
    if not len(values):
        return []
    before = step * np.arange(len(values))  # what the steps before each place take
    firsts = values - before
    if (np.diff(firsts) < 0).any():
        from scipy.optimize import isotonic_regression  # here, since it takes a sixth of a second

        firsts = isotonic_regression(firsts).x
    return list(np.minimum(np.maximum(firsts, low), high - before[-1]) + before)


def within(frame: pd.DataFrame, bounds: tuple[float, float]) -> pd.DataFrame:
    """The ends of intervals, in `low` and `high`, where values can be.

    Those of few seeds may reach beyond.

    bounds: least and greatest value, in the frame's own unit, infinite where there is none.
    """
    return frame.assign(**{end: frame[end].astype(float).clip(*bounds) for end in ("low", "high")})


def within_per_cent(axis: Axes, which: str = "y") -> None:
    """Limits no wider than per cent are, with room for marks at the ends; which: "x" or "y"."""
    low, high = axis.get_ylim() if which == "y" else axis.get_xlim()
    limit = axis.set_ylim if which == "y" else axis.set_xlim
    limit(max(low, -2), min(high, 102))


def log_values(axis: Axes, middles: pd.Series, tops: pd.Series) -> None:
    """A logarithmic axis of values that holds all `middles` above 0, and the `tops` (NaN.

    None) of their bands.
    """
    positive = middles[middles > 0]
    low, high = (
        (positive.min(), np.fmax(positive.max(), tops.max())) if len(positive) else (1.0, 10.0)
    )
    axis.set_yscale("log")
    axis.set_ylim(low / 1.5, high * 1.3)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def number_ticks(axis: Axes, numbers: Sequence[float], most: int) -> None:
    """The numbers as ticks below, every second or third where there are more than `most`."""
    axis.xaxis.set_major_locator(FixedLocator(list(numbers[:: -(-len(numbers) // most)])))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")


BEHIND: dict[str, Any] = {"color": MUTED, "alpha": 0.4, "linewidth": 0.7, "zorder": 1.5}
"""How lines are drawn that are too many to be told apart."""


def legend_above(figure: Figure, axis: Axes) -> None:
    """The losses of a panel, named once above all panels."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=min(2 if narrow() else 4, len(labels)),
            handletextpad=0.4,
            columnspacing=1.4,
        )


def label_rows(axis: Axes, labels: Sequence[str]) -> None:
    """Rows from top to bottom, named at the left."""
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)


def say(axis: Axes, text: str) -> None:
    """Words in the middle of an empty panel."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=MUTED)


def heat_cells(
    axis: Axes,
    values: np.ndarray,
    words: np.ndarray,
    colors: Colormap,
    limits: tuple[float, float],
    size: float,
) -> None:
    """Cells [rows, columns] from the top, in the color of their value, with words in each."""
    import seaborn as sns  # here, since it takes half a second

    low, high = limits
    sns.heatmap(
        np.asarray(values, dtype=float), ax=axis, cmap=colors, vmin=low, vmax=high, cbar=False,
        xticklabels=False, yticklabels=False,
    )  # fmt: skip
    for (row, column), text in np.ndenumerate(words):  # heatmap's own leave out empty cells
        if text:
            place = (column + 0.5, row + 0.5)
            cell = axis.text(*place, text, ha="center", va="center", fontsize=size)
            cell.set_in_layout(False)  # it is inside its cell
    axis.tick_params(length=0)
    axis.grid(visible=False)


def forest_limits(ends: np.ndarray, margin: float) -> tuple[float, float]:
    """The axis: all ends, unless a few far away would shrink the margin and the rest to a dot.

    Those get an arrow.
    """
    least = 1.6 * margin if np.isfinite(margin) and margin > 0 else 1e-6
    sizes = np.nanmax(np.abs(ends), axis=1, initial=0, where=np.isfinite(ends))
    typical = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    reach = max(12 * least, 3 * typical)
    finite = ends[np.isfinite(ends)]
    left = float(np.clip(-finite.min(initial=0), least, reach))
    right = float(np.clip(finite.max(initial=0), least, reach))
    room = 0.05 * (left + right)
    return -left - room, right + room


def difference_words(middle: float, low: float, high: float, digits: int) -> str:
    """A difference with its interval in brackets."""
    if not np.isfinite(middle):
        return "n/a"
    text = f"{middle:+.{digits}f}"
    text += f"  [{low:+.{digits}f}, {high:+.{digits}f}]" if np.isfinite(low) else "  no interval"
    return text.replace("-", "−")
