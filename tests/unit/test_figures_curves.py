"""Curves: means, bands and intervals as the frames hold them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.figures import builder, losses_in, with_gid
from helpers.synthetic_runs import predictions, runs

from reports import analysis
from reports.analysis import Section
from reports.figures import curves, palette
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")


def test_curves_are_the_means_and_bands_of_the_frame(section: Section) -> None:
    figure = curves.accuracy_curves(
        section.curves, section.bands, losses_in(section), x=["epoch", "seconds"]
    )
    whole, enlarged = figure.axes[:2], figure.axes[2:]
    for axis, x in zip(whole, ("epoch", "seconds"), strict=True):
        assert axis.get_ylim()[0] < 100 * section.bands["mean"].min()  # where the curves start
        for place, loss in enumerate(section.losses):
            band = section.bands[section.bands["loss"] == loss]
            (line,) = [artist for artist in axis.lines if artist.get_gid() == f"mean|{place}"]
            np.testing.assert_array_equal(line.get_xdata(), band[x])
            np.testing.assert_allclose(line.get_ydata(), 100 * band["mean"])
        thin = [each for each in axis.collections if str(each.get_gid()).startswith("seeds")]
        seeds = section.curves.groupby("loss")["run_id"].nunique()
        assert [len(lines.get_segments()) for lines in thin] == [
            seeds[loss] for loss in section.losses
        ]
    assert [axis.get_xlabel() for axis in enlarged] == ["epoch", "training time of the run (s)"]
    assert figure.axes[0].get_ylabel() == "validation accuracy (%)"


@pytest.mark.parametrize("epochs", [1, 7, 8, 20])
def test_curves_of_any_length_are_marked_at_their_end(epochs: int) -> None:
    (section,) = analysis.sections(
        *runs(["ce"], seeds=[0], rates=[0.1], epochs=[epochs]), Question(), predictions
    )
    figure = curves.accuracy_curves(section.curves, section.bands, losses_in(section), x=["epoch"])
    palette.png(figure, dpi=20)
    (line,) = figure.axes[0].lines
    first, every = line.get_markevery()
    assert len(line.get_xdata()) == epochs + 1 and (epochs - first) % every == 0


def test_one_seed_has_no_band_and_no_thin_line() -> None:
    (section,) = analysis.sections(*runs(seeds=[4]), Question(), predictions)
    assert section.bands[["low", "high"]].isna().all(axis=None)
    figure = curves.accuracy_curves(section.curves, section.bands, losses_in(section), x=["epoch"])
    assert with_gid(figure, "seeds") == []
    for fill in figure.axes[0].collections:
        assert not any(
            np.isfinite(path.vertices).all() and len(path.vertices) for path in fill.get_paths()
        )
    final = builder(section).final()
    assert final is not None and with_gid(final.draw(), "interval") == []
    assert len(with_gid(final.draw(), "mean")) == len(section.losses)


def test_lines_far_above_the_others_are_enlarged_below() -> None:
    losses = ("ce", "focal gamma=3", "mse")
    (section,) = analysis.sections(*runs(losses, epochs=(10,)), Question(), predictions)
    assert curves.far_above(section.bands) == []
    bands, history = section.bands.copy(), section.curves.copy()
    for frame, columns in ((bands, ["mean", "low", "high"]), (history, ["val_accuracy"])):
        frame.loc[frame["loss"] == "mse", columns] -= 0.5
    assert curves.far_above(bands) == ["focal gamma=3", "ce"]
    figure = curves.accuracy_curves(history, bands, losses_in(section), x=["epoch", "seconds"])
    assert len(figure.axes) == 4
    for axis, column in zip(figure.axes[2:], ("epoch", "seconds"), strict=True):
        late = bands[(bands["loss"] == "ce") & (bands["epoch"] >= 5)]
        line = next(line for line in axis.lines if line.get_gid() == "mean|0")
        np.testing.assert_array_equal(line.get_xdata(), late[column])
        np.testing.assert_allclose(line.get_ydata(), 100 * late["mean"])
        assert len(axis.lines) == 2  # mse is not there
        low, high = axis.get_ylim()
        seeds = (
            100 * history.loc[(history["loss"] != "mse") & (history["epoch"] >= 5), "val_accuracy"]
        )
        assert low <= seeds.min() and seeds.max() <= high
    assert "focal gamma=3 and 1 more" in [text.get_text() for text in figure.axes[1].texts]


def test_a_label_speaks_for_lines_that_end_close_together_alone() -> None:
    losses = ("ce", "focal gamma=3", "brier", "mse")
    (section,) = analysis.sections(*runs(losses, epochs=(10,)), Question(), predictions)
    bands = section.bands.copy()
    for loss, lower in (("brier", 0.2), ("mse", 0.8)):
        bands.loc[bands["loss"] == loss, ["mean", "low", "high"]] -= lower
    assert curves.far_above(bands) == ["focal gamma=3", "ce", "brier"]
    figure = curves.accuracy_curves(section.curves[:0], bands, losses_in(section), x=["epoch"])
    labels = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert labels == [
        ["mse", "brier", "focal gamma=3 and 1 more"],
        ["brier", "ce", "focal gamma=3"],
    ]


@pytest.mark.parametrize(("epochs", "panels"), [(1, 1), (2, 1), (3, 2)])
def test_nothing_is_enlarged_whose_second_half_is_a_dot(epochs: int, panels: int) -> None:
    (section,) = analysis.sections(*runs(epochs=(epochs,)), Question(), predictions)
    bands = section.bands.copy()
    bands.loc[bands["loss"] == "mse", ["mean", "low", "high"]] -= 0.5
    assert curves.far_above(bands) == ["focal gamma=3", "ce"]
    figure = curves.accuracy_curves(section.curves, bands, losses_in(section), x=["epoch"])
    assert len(figure.axes) == panels and bool(curves.enlarged(bands)) == (panels == 2)
    alone = bands[bands["loss"] == "ce"]
    assert curves.enlarged(alone) == []  # one loss has a panel to itself already


def wide(metric: str = "test_accuracy") -> Section:
    """Two seeds so different that the intervals of their means reach far beyond 0 and 100 %."""
    summary, history = runs(seeds=range(2), rates=(0.03,), epochs=(3, 4))
    for frame, columns in (
        (summary, ["val_accuracy", "test_accuracy", "test_nll", "test_ece"]),
        (history, ["val_accuracy"]),
    ):
        frame.loc[frame["seed"] == 1, columns] *= 0.5
    (section,) = analysis.sections(summary, history, Question(metric=metric), predictions)
    return section


def test_intervals_of_shares_are_drawn_within_0_and_100_per_cent() -> None:
    section = wide()
    ends = section.means.set_index("loss").loc["ce"].iloc[-1]
    assert ends["low"] < -1 and ends["high"] > 2  # the numbers stay as they are computed
    assert section.bands["low"].min() < -1 and section.bands["high"].max() > 2
    figure = curves.accuracy_curves(section.curves, section.bands, losses_in(section), x=["epoch"])
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    assert -2 <= low < 0 and 100 < high <= 102
    fills = [each for each in axis.collections if not str(each.get_gid()).startswith("seeds")]
    heights = np.concatenate([path.vertices[:, 1] for fill in fills for path in fill.get_paths()])
    assert (heights.min(), heights.max()) == (0, 100)

    final = builder(section).final()
    assert final is not None
    (axis,) = final.draw().axes
    left, right = axis.get_xlim()
    assert -2 <= left < 0 and 100 < right <= 102
    assert [tuple(line.get_xdata()) for line in with_gid(final.draw(), "interval")] == [
        (0, 100)
    ] * 3

    effect = builder(section).epochs_effect()
    assert effect is not None
    bars = [
        bar
        for picture in effect.draw().axes[0].containers
        for bar in picture.lines[2][0].get_segments()
    ]
    np.testing.assert_allclose(np.array(bars)[:, :, 1], [[0, 100]] * len(bars), atol=1e-9)


def test_intervals_of_other_metrics_are_drawn_no_further_than_values_can_be() -> None:
    for metric, least, most in (("test_nll", 0, math.inf), ("test_ece", 0, 100)):
        section = wide(metric)
        assert section.means["low"].min() < 0
        final = builder(section).final()
        assert final is not None
        scale = section.metric.scale
        high = scale * section.means.loc[section.means["epochs"] == 4, "high"].dropna()
        intervals = [tuple(line.get_xdata()) for line in with_gid(final.draw(), "interval")]
        np.testing.assert_allclose(intervals, [(least, min(end, most)) for end in high])


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"a": 98.9, "b": 45.0}, ["a"]),
        ({"a": 98.9, "b": 94.5}, []),  # one axis shows both well enough
        ({"a": 98, "b": 97, "c": 90, "d": 20, "e": 19}, ["a", "b", "c"]),
        ({"a": 98, "b": 80, "c": 60, "d": 40}, ["a"]),
        ({"a": 98.0}, []),
        ({"a": 98.0, "b": math.nan}, []),
        ({}, []),
    ],
)
def test_which_lines_are_far_above(ends: dict[str, float], expected: list[str]) -> None:
    rows = [(loss, epoch, value / 100 * epoch) for loss, value in ends.items() for epoch in (0, 1)]
    assert curves.far_above(pd.DataFrame(rows, columns=["loss", "epoch", "mean"])) == expected


def test_own_losses_have_an_axis_each(section: Section) -> None:
    figure = curves.own_losses(section.own, losses_in(section))
    used = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in used] == section.losses
    for axis, loss in zip(used, section.losses, strict=True):
        shared = [
            other
            for other in used
            if other is not axis and axis.get_shared_y_axes().joined(axis, other)
        ]
        assert shared == []
        training, validation = axis.lines
        of_loss = section.own[section.own["loss"] == loss].dropna(subset=["mean"])
        for line, part in ((training, "training"), (validation, "validation")):
            np.testing.assert_allclose(
                line.get_ydata(), of_loss.loc[of_loss["part"] == part, "mean"]
            )
