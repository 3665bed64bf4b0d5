"""Figures of classes and of single images, from the frames of `reports.error_analysis`.

Computes no statistics, saves nothing. Draw inside `palette.style()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.figures.drawing import (
    BEHIND,
    canvas,
    heat_cells,
    label_rows,
    legend_above,
    narrow,
    small_panels,
    width,
)
from reports.figures.palette import ALARM, MUTED, PAPER, Losses, tint

_DARK = 64  # grey images with a darker background, such as digits, are drawn as ink on paper


def confusions(
    matrices: Mapping[str, np.ndarray], losses: Losses, *, classes: Sequence[str]
) -> Figure:
    """What was taken for what.

    A panel per loss, the mean number of test examples per run, the right ones left out.

    matrices: [K, K] by loss, label by prediction. classes: the names of the K classes.
    """
    shown = losses.only(matrices).order
    columns = 1 if narrow() else 3 if len(shown) > 4 else min(2, max(1, len(shown)))
    figure, axes = small_panels(len(shown), 2.3 if columns == 3 else 3.0, 0.2, columns)
    wrong = {
        loss: np.where(np.eye(len(matrices[loss]), dtype=bool), np.nan, matrices[loss])
        for loss in shown
    }
    top = max((float(np.nanmax(matrix)) for matrix in wrong.values()), default=1.0) or 1.0
    for axis, loss in zip(axes.flat, shown, strict=False):
        matrix = wrong[loss]
        words = np.array(
            [
                ["" if not v >= 0.05 else f"{v:.1f}" if v < 10 else f"{v:.0f}" for v in row]
                for row in matrix
            ]
        )
        heat_cells(axis, matrix, words, tint(ALARM), (0, top), 5.5 if columns == 3 else 7)
        axis.set_aspect("equal")
        turn = 90 if max(map(len, classes)) > 2 else 0
        axis.set_xticks(np.arange(len(matrix)) + 0.5, classes, rotation=turn)
        axis.set_yticks(np.arange(len(matrix)) + 0.5, classes, rotation=0)
        for place in range(len(matrix)):
            axis.add_patch(
                Rectangle((place, place), 1, 1, facecolor=MUTED, alpha=0.25, linewidth=0)
            )
        axis.set_title(losses.names[loss])
        axis.set_xlabel("predicted class")
        axis.set_ylabel("class")
    return figure


def class_accuracy(classes: pd.DataFrame, losses: Losses) -> Figure:
    """Draw the test accuracy of each loss on each class.

    Each class has a row, so that the losses can be compared on it.

    classes: a row per loss and class: loss, class, accuracy in [0, 1].
    """
    losses = losses.only(classes["loss"])
    labels = classes["class"].drop_duplicates().tolist()
    figure, axes = canvas(1, 1, 0.22 * len(labels) + 1.1)
    axis: Axes = axes.flat[0]
    low = classes.groupby("class")["accuracy"].min()
    high = classes.groupby("class")["accuracy"].max()
    for row, label in enumerate(labels):
        ends = [100 * low[label], 100 * high[label]]
        axis.plot(ends, [row, row], color=MUTED, linewidth=0.8, alpha=0.6)
    for loss in losses.front:
        own = classes[classes["loss"] == loss].set_index("class")["accuracy"].reindex(labels)
        look = losses.looks[loss]
        how: Any = {
            "color": look.color,
            "markersize": 4.5,
            "alpha": 0.9,
            "gid": look.gid("classes"),
        }
        axis.plot(
            100 * own.to_numpy(), range(len(labels)), look.marker, label=losses.names[loss], **how
        )
    if losses.behind:
        own = classes[classes["loss"].isin(losses.behind)]
        rows = own["class"].map(labels.index)
        axis.plot(100 * own["accuracy"], rows, "|", label=losses.others, markersize=5, **BEHIND)
    label_rows(axis, labels)
    axis.set_ylabel("class")
    axis.set_xlabel("test accuracy on the examples of this class (%)")
    legend_above(figure, axis)
    return figure


def most_wrong(images: np.ndarray, errors: pd.DataFrame) -> Figure:
    """Draw the test examples most often classified wrongly.

    Above each stand its label, the most frequent wrong answer, and the share of the runs.

    Args:
        images: uint8 [n, height, width] or [n, channels, height, width]: the whole test set.
        errors: the rows to show, in order: image, label, taken_for, wrong in [0, 1].
    """
    long = any(errors["label"].str.len() > 2)  # names of classes, and not digits
    columns, above = 4 if narrow() else 8, 0.36 if long else 0.24
    figure, axis, tiles = _tiles(images, errors, columns, 0.66, above, below=0.18)
    for (middle, top, bottom), row in zip(tiles, errors.itertuples(), strict=True):
        words = f"{row.label},{chr(10) if long else ' '}read as {row.taken_for}"
        size = 6.5 if long else None
        axis.text(middle, top - 0.04, words, ha="center", va="bottom", fontsize=size)
        share = f"{100 * row.wrong:.0f} % wrong"
        axis.text(middle, bottom + 0.03, share, ha="center", va="top", color=MUTED)
    return figure


def most_disagreed(images: np.ndarray, errors: pd.DataFrame, losses: Losses) -> Figure:
    """Draw the test examples on which the losses differ most.

    Under each stands the share of each loss's runs that classified it wrongly.

    errors: the rows to show, in order: image, label and `wrong in LOSS` for the losses. Of more
    than five losses the two least and the two most often wrong are named.
    """
    columns, lines = 2 if narrow() else 5, min(5, len(losses.order))
    figure, axis, tiles = _tiles(images, errors, columns, 0.87, 0.24, below=0.06 + 0.125 * lines)
    for (middle, top, bottom), (_, row) in zip(tiles, errors.iterrows(), strict=True):
        axis.text(middle, top - 0.04, str(row["label"]), ha="center", va="bottom")
        shares = {
            loss: float(row[f"wrong in {loss}"])
            for loss in losses.order
            if f"wrong in {loss}" in row.index
        }
        ranked = sorted(shares, key=lambda loss: (shares[loss], list(shares).index(loss)))
        named = ranked if len(ranked) <= 5 else ranked[:2] + ranked[-2:]
        for line, loss in enumerate(named):
            words = f"{losses.names[loss]}  {100 * shares[loss]:.0f} %"
            y = bottom + 0.04 + 0.125 * line
            axis.text(middle, y, words, ha="center", va="top", color=losses.looks[loss].text)
    return figure


def _tiles(
    images: np.ndarray,
    errors: pd.DataFrame,
    columns: int,
    side: float,
    above: float,
    below: float,
) -> tuple[Figure, Axes, list[tuple[float, float, float]]]:
    """Test images in rows, in one panel whose unit is an inch; a panel each would be slow.

    Args:
        images: the whole test set.
        errors: a row for each image that is shown, with its number in `image`.
        columns: images in a row.
        side: of an image in inches, smaller where the columns are narrower.
        above: inches over each image, for texts.
        below: inches under each image, for texts.

    Returns:
        The figure, its panel, and of each image the middle, the top and the bottom.
    """
    rows = max(1, -(-len(errors) // columns))
    room = width() / columns
    side = min(0.94 * room, side)
    height = above + side + below
    figure, axes = canvas(1, 1, height * rows + 0.1)
    axis: Axes = axes.flat[0]
    axis.axis("off")
    grey, tiles = "gray_r" if np.median(images) < _DARK else "gray", []
    for place, image in enumerate(errors["image"]):
        row, column = divmod(place, columns)
        pixels = _channels_last(images[int(image)])
        tall, wide = (side * length / max(pixels.shape[:2]) for length in pixels.shape[:2])
        left, bottom = (column + 0.5) * room - wide / 2, (row + 1) * height - below
        box = (left, left + wide, bottom, bottom - tall)
        axis.imshow(pixels, cmap=grey, vmin=0, vmax=255, extent=box,
                    interpolation="nearest")  # fmt: skip
        axis.add_patch(Rectangle((left, bottom), wide, -tall, fill=False, ec=MUTED, linewidth=0.6))
        tiles.append((left + wide / 2, bottom - tall, bottom))
    axis.set(xlim=(0, width()), ylim=(height * rows, 0))
    return figure, axis, tiles


def _channels_last(image: np.ndarray) -> np.ndarray:
    """An image [height, width] or [channels, height, width] as it is drawn."""
    if image.ndim == 2 or len(image) not in (3, 4):
        return np.asarray(image if image.ndim == 2 else image[0])
    return np.moveaxis(image, 0, 2)


def corruptions(table: pd.DataFrame, losses: Losses, *, clean: Mapping[str, float]) -> Figure:
    """Draw mean accuracy in per cent by loss and kind of corruption, the easiest kind first.

    Args:
        table: a row per loss and kind: loss, corruption, accuracy in [0, 1].
        losses: those that are shown.
        clean: each loss's accuracy on the images as they are, in [0, 1].
    """
    wide = table.pivot(index="loss", columns="corruption", values="accuracy")
    wide = wide.reindex(losses.only(wide.index).order)
    wide = wide[wide.mean().sort_values(ascending=False, kind="stable").index]
    wide.insert(0, "none", [clean.get(loss, np.nan) for loss in wide.index])
    figure, axes = canvas(1, 1, (0.24 if not narrow() else 0.19) * len(wide) + 1.1)
    axis: Axes = axes.flat[0]
    values = 100 * wide.to_numpy()
    words = np.array([[f"{v:.1f}" if np.isfinite(v) else "n/a" for v in row] for row in values])
    heat_cells(axis, values, words, tint("#0072b2"), (0, 100), 5 if narrow() else 8)
    kinds = [str(kind).replace("_", " ") for kind in wide.columns]
    axis.set_xticks(
        np.arange(wide.shape[1]) + 0.5, kinds, rotation=45, ha="right", rotation_mode="anchor"
    )
    axis.set_yticks(
        np.arange(len(wide)) + 0.5, [losses.names[loss] for loss in wide.index], rotation=0
    )
    axis.axvline(1, color=PAPER, linewidth=4)
    axis.set(xlabel="", ylabel="")
    return figure
