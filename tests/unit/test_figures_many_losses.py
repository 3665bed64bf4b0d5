"""Figures of many losses: which stand in front, and nothing overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.figures import builder
from helpers.marks import with_slow
from helpers.synthetic_runs import predictions, runs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports import analysis
from reports.analysis import Section
from reports.figures import drawing, palette
from reports.page.answer import ranked
from reports.page.figure import in_front
from reports.page.figures import FigureBuilder
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")


def many(count: int, *, metric: str = "test_accuracy", ends: str = "close") -> Section:
    """So many losses; the first is the reference.

    Ends: of their lines, "close" together, or "apart": the last third fail.
    """
    losses = ["ce", *(f"loss_{i:02d}_of_the_suite" for i in range(1, count))]
    summary, history = runs(losses, seeds=range(2), rates=(0.03,), epochs=(2, 4), advantage=0.002)
    if ends == "apart":
        for place, loss in enumerate(losses[len(losses) // 3 * 2 :]):
            for frame in (summary, history):
                columns = [name for name in ("val_accuracy", "test_accuracy") if name in frame]
                frame.loc[frame["loss"] == loss, columns] *= 0.1 + 0.05 * place
    (section,) = analysis.sections(summary, history, Question(metric=metric), predictions)
    return section


def looks_of(section: Section) -> dict[str, palette.Look]:
    """As on a page: those in front first."""
    return palette.looks(list(dict.fromkeys([*in_front([section]), *section.losses])))


def boxes(figure: Figure, texts: list[Text]) -> list[Any]:
    """Where texts stand, in pixels, without their arrows."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [Text.get_window_extent(text, canvas.get_renderer()) for text in texts]


def assert_apart(extents: list[Any]) -> None:
    for i, one in enumerate(extents):
        for other in extents[:i]:
            assert not one.overlaps(other), (one, other)


@pytest.mark.parametrize("count", with_slow([2], [8, 24]))
@pytest.mark.parametrize("ends", ["close", "apart"])
def test_labels_stay_beside_their_panel_and_do_not_overlap(count: int, ends: str) -> None:
    section = many(count, ends=ends)
    draw = FigureBuilder(section, looks_of(section))
    picture = [draw.overview(), draw.over_epochs_and_seconds(), draw.epochs_effect()]
    for shown in picture:
        assert shown is not None
        figure = shown.draw()
        said = set()
        for axis in figure.axes:
            labels = [text for text in axis.texts if str(text.get_gid()).startswith("label")]
            extents = boxes(figure, labels)
            assert_apart(extents)
            panel = axis.get_window_extent()
            for box in extents:
                assert figure.bbox.contains(box.x0, box.y0) and figure.bbox.contains(box.x1, box.y1)
                assert panel.y0 - 2 < box.y0 and box.y1 < panel.y1 + 2 and box.x0 > panel.x1
            said |= {label.get_text() for label in labels}
        assert said >= set(in_front([section])), shown.name


def test_of_many_losses_the_best_have_colors_of_their_own_and_the_others_are_grey() -> None:
    section = many(24)
    front = in_front([section])
    assert front == ["ce", *(f"loss_{i:02d}_of_the_suite" for i in range(23, 16, -1))]
    draw = FigureBuilder(section, looks_of(section))
    shown = draw.overview()
    axis = shown.draw().axes[0]
    colored = [line for line in axis.lines if (line.get_gid() or "").startswith("mean|")]
    assert (
        len({line.get_color() for line in colored})
        == len({line.get_marker() for line in colored})
        == 8
    )
    grey = [line for line in axis.lines if str(line.get_gid()).startswith("behind")]
    assert len(grey) == 16 and {line.get_color() for line in grey} == {palette.MUTED}
    for line, loss in zip(
        grey, (loss for loss in ranked(section) if loss not in front), strict=True
    ):
        band = section.bands[section.bands["loss"] == loss]
        np.testing.assert_allclose(line.get_ydata(), 100 * band["mean"])
    assert axis.get_title(loc="right") == "16 others, in grey"
    assert "Of 24 losses, the reference and the best" in shown.caption
    assert all(loss in shown.alt for loss in section.losses)


def test_the_best_are_those_with_the_least_where_less_is_better() -> None:
    summary, history = runs([f"l{i:02d}" for i in range(10)], seeds=range(2), rates=(0.03,))
    summary["test_aurc"] = 0.01 * summary["loss"].str[1:].astype(int)
    question = Question(reference="l09", metric="test_aurc", subjects=("l05",))
    (section,) = analysis.sections(summary, history, question, predictions)
    assert in_front([section]) == ["l09", "l05", "l00", "l01", "l02", "l03", "l04", "l06"]
    (few,) = analysis.sections(
        summary[summary["loss"] < "l08"], history, Question(reference="l00"), predictions
    )
    assert in_front([few]) == few.losses


def test_few_losses_have_no_grey() -> None:
    section = many(8)
    shown = builder(section).overview()
    assert [
        line
        for axis in shown.draw().axes
        for line in axis.lines
        if str(line.get_gid()).startswith("behind")
    ] == []
    assert "in color" not in shown.caption
    assert shown.draw().axes[0].get_title(loc="right") == ""


@pytest.mark.slow
def test_the_last_numbers_of_many_losses_are_shown_again_enlarged() -> None:
    section = many(24, ends="apart")
    front = in_front([section])
    final = builder(section).final()
    assert final is not None
    whole, near = final.draw().axes
    means = section.means[section.means["epochs"] == section.epochs].set_index("loss")["mean"]
    assert whole.get_xlim()[0] < 100 * means.min() and whole.get_xlim()[1] > 100 * means.max()
    low, high = near.get_xlim()
    assert low < 100 * means[front].min() and 100 * means[front].max() < high and high - low < 30
    for axis in (whole, near):
        marks = [line for line in axis.lines if str(line.get_gid()).startswith("mean|")]
        drawn_means = [float(line.get_xdata()[0]) for line in marks]
        np.testing.assert_allclose(drawn_means, 100 * means[ranked(section)])
    assert "Second panel: the best" in final.caption
    few = FigureBuilder(many(8, ends="apart"), palette.looks(many(8).losses)).final()
    assert few is not None and len(few.draw().axes) == 1


@pytest.mark.parametrize("count", with_slow([2], [8, 24]))
def test_titles_legends_and_columns_of_other_figures_do_not_overlap(count: int) -> None:
    losses = ["ce", *(f"loss_{i:02d}_double (baseline)" for i in range(1, count))]
    summary, history = runs(losses, seeds=range(3), rates=(0.01, 0.03), advantage=-0.035)
    (section,) = analysis.sections(summary, history, Question(), predictions)
    draw = FigureBuilder(section, palette.looks(losses))
    rings = draw.rates().draw()
    titles = [
        text
        for axis in rings.axes
        if axis.get_visible()
        for text in (axis._left_title, axis._right_title, *axis.texts)
        if text.get_text() and text.get_text() != "diverged"
    ]
    assert_apart(boxes(rings, titles))
    forest = draw.forest()
    assert forest is not None
    figure = forest.draw()
    extents = boxes(figure, list(figure.axes[0].texts))
    assert_apart(extents)
    assert all(figure.bbox.contains(box.x1, box.y1) for box in extents)
    classes = draw.class_accuracy(section.errors)
    assert classes is not None
    figure = classes.draw()
    legend = list(figure.legends[0].get_texts())
    assert len(legend) == min(count, 9)
    assert_apart(boxes(figure, legend))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([50.0], [50.0]),
        ([10.0, 50.0], [10.0, 50.0]),  # apart already
        ([50.0, 50.0], [45.0, 55.0]),
        ([50.0, 50.0, 80.0], [45.0, 55.0, 80.0]),
        ([98.0, 99.0, 99.0], [80.0, 90.0, 100.0]),  # the highest stays within
        ([0.0, 0.0, 40.0], [0.0, 10.0, 40.0]),
        ([0.0, 1.0, 2.0, 20.0], [0.0, 10.0, 20.0, 30.0]),  # pushed by those that are pushed
        ([100.0] * 12, [-10.0 + 10 * i for i in range(12)]),  # more than have room
        ([], []),
    ],
)
def test_places_are_apart_and_near(values: list[float], expected: list[float]) -> None:
    assert drawing.spread(values, 10.0, 0.0, 100.0) == pytest.approx(expected)
