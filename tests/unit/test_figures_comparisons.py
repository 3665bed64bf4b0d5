"""Figures of learning rates, contrasts and epochs, with the numbers of the frames."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.figures import builder, losses_in, with_gid
from helpers.synthetic_runs import predictions, runs

from reports import analysis
from reports.analysis import Section
from reports.figures import comparisons, palette, rates
from reports.metrics import read_metric
from reports.page.answer import ranked
from reports.page.figure import losses_of
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")


def test_every_trial_is_a_mark_and_every_diverged_one_counted() -> None:
    summary, history = runs(seeds=range(3))
    gone = (summary["loss"] == "mse") & (summary["lr"] == 0.1) & (summary["seed"] > 0)
    summary.loc[gone, "outcome"] = "diverged"
    summary.loc[gone, ["val_accuracy", "test_accuracy"]] = np.nan
    (section,) = analysis.sections(summary, history, Question(), predictions)
    figure = builder(section).rates().draw()
    trials = with_gid(figure, "trials")
    assert sum(len(line.get_xdata()) for line in trials) == len(summary) - 2
    (mark,) = with_gid(figure, "diverged")
    assert list(mark.get_xdata()) == [0.1]
    assert "2" in [text.get_text() for axis in figure.axes for text in axis.texts]
    rings = {
        line.axes.get_title(loc="left"): line.get_xdata()[0] for line in with_gid(figure, "chosen")
    }
    assert rings == dict(zip(section.chosen["loss"], section.chosen["lr"], strict=True))


def test_an_edge_of_the_grid_is_written_on_its_panel() -> None:
    (section,) = analysis.sections(*runs(rates=(0.01, 0.03)), Question(), predictions)
    figure = builder(section).rates().draw()
    words = [axis.get_title(loc="right") for axis in figure.axes if axis.get_visible()]
    assert words == ["highest: edge of the grid"] * 3


def test_the_forest_has_the_numbers_of_its_contrasts(section: Section) -> None:
    frame = section.headline
    figure = comparisons.forest(frame, losses_in(section), section.metric, 0.2)
    assert [line.get_xdata()[0] for line in with_gid(figure, "difference")] == list(
        frame["difference"]
    )
    ends = [list(line.get_xdata()) for line in with_gid(figure, "interval")]
    assert ends == frame[["low", "high"]].to_numpy().tolist()
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [word for word in words if word == "better"] == ["better", "better"]


def test_the_forest_ends_where_differences_can_be(section: Section) -> None:
    wide = section.headline.assign(low=-300.0, high=300.0)
    wide = replace(section, contrasts=wide)
    picture = builder(wide).forest()
    assert {tuple(line.get_xdata()) for line in with_gid(picture.draw(), "interval")} == {
        (-100.0, 100.0)
    }


def test_a_contrast_far_away_gets_an_arrow_and_leaves_the_others_legible() -> None:
    rows = [
        ("a", -60.0, -61.0, -59.0, "worse"),
        ("b", 0.01, -0.05, 0.07, "equivalent"),
        ("c", 0.1, math.nan, math.nan, "undecided"),
    ]
    frame = pd.DataFrame(rows, columns=["a", "difference", "low", "high", "verdict"]).assign(b="ce")
    names = ["a", "b", "c", "ce"]
    losses = losses_of(names, palette.looks(names), names)
    figure = comparisons.forest(frame, losses, read_metric("test_accuracy"), 0.1)
    low, high = figure.axes[0].get_xlim()
    assert -5 < low < -0.1 and 0.1 < high < 5
    assert len(with_gid(figure, "off the axis")) == 1
    assert len(with_gid(figure, "interval")) == 1  # of b; c has none
    alone = frame.assign(low=math.nan, high=math.nan)  # without intervals all the same
    figure_alone = comparisons.forest(alone, losses, read_metric("test_accuracy"), 0.1)
    assert len(with_gid(figure_alone, "off the axis")) == 1
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "−60.00  [−61.00, −59.00]" in words and "+0.10  no interval" in words


def test_the_heat_map_writes_the_means_and_frames_the_choice(section: Section) -> None:
    figure = builder(section).heat_map().draw()
    means = section.rates[section.rates["epochs"] == 3].set_index(["loss", "lr"])["val_accuracy"]
    expected = [
        f"{100 * means[loss, lr]:.2f}" for loss in ranked(section) for lr in (0.01, 0.03, 0.1)
    ]
    assert [text.get_text() for text in figure.axes[0].texts] == expected
    frames = [patch.get_x() for patch in figure.axes[0].patches]
    assert [int(x) for x in frames] == [1, 1, 1]


def test_a_rate_without_a_result_says_so() -> None:
    table = pd.DataFrame(
        {
            "loss": ["ce", "ce"],
            "lr": [0.1, 1.0],
            "tuned": ["", ""],
            "val_accuracy": [0.5, math.nan],
            "diverged": [0, 4],
        }
    )
    chosen = pd.DataFrame({"loss": ["ce"], "lr": [0.1], "tuned": [""]})
    figure = rates.heat_map(table, chosen, losses_of(["ce"], palette.looks(["ce"]), ["ce"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.00", "no result\n4 diverged"]


def test_the_effect_of_epochs_has_a_line_per_loss(section: Section) -> None:
    picture = builder(section).epochs_effect()
    assert picture is not None
    lines = [container.lines[0] for container in picture.draw().axes[0].containers]
    for line, loss in zip(lines, ranked(section), strict=True):
        of_loss = section.means[section.means["loss"] == loss].sort_values("epochs")
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), 100 * of_loss["mean"])
