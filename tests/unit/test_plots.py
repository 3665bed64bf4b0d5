"""Figures: what is drawn is what the frames hold, every loss looks the same everywhere.

The bytes are stable.
"""

from __future__ import annotations

import html
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers.marks import with_slow
from helpers.synthetic_runs import HOSTILE, TEST_SIZE, predictions, runs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports import analysis, error_analysis, request
from reports.analysis import Section
from reports.figures import comparisons, curves, drawing, fonts, palette, pictures, rates
from reports.figures.palette import Losses
from reports.metrics import read_metric
from reports.names import plain, short_names
from reports.page import tables
from reports.page.answer import ranked
from reports.page.figure import in_front, losses_of
from reports.page.figures import FigureBuilder
from reports.question import Question
from reports.texts import TEMPLATES

pytestmark = pytest.mark.usefixtures("house_style")


@pytest.fixture(scope="module")
def section() -> Section:
    (found,) = analysis.sections(*runs(epochs=(2, 3)), Question(), predictions)
    return found


def with_gid(figure: Figure, gid: str) -> list[Any]:
    """The artists of a kind, whatever their loss."""
    return [
        artist
        for axis in figure.axes
        for artist in axis.get_children()
        if str(artist.get_gid()).partition("|")[0] == gid
    ]


def size_in_points(drawing: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
    assert found is not None
    return float(found[1]), float(found[2])


def losses_in(section: Section) -> Losses:
    return losses_of(section.losses, palette.looks(section.losses), section.losses)


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
    final = FigureBuilder(section, palette.looks(section.losses)).final()
    assert final is not None and with_gid(final.figure, "interval") == []
    assert len(with_gid(final.figure, "mean")) == len(section.losses)


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
    (found,) = analysis.sections(summary, history, Question(metric=metric), predictions)
    return found


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

    final = FigureBuilder(section, palette.looks(section.losses)).final()
    assert final is not None
    (axis,) = final.figure.axes
    left, right = axis.get_xlim()
    assert -2 <= left < 0 and 100 < right <= 102
    assert [tuple(line.get_xdata()) for line in with_gid(final.figure, "interval")] == [
        (0, 100)
    ] * 3

    effect = FigureBuilder(section, palette.looks(section.losses)).epochs_effect()
    assert effect is not None
    bars = [
        bar for made in effect.figure.axes[0].containers for bar in made.lines[2][0].get_segments()
    ]
    np.testing.assert_allclose(np.array(bars)[:, :, 1], [[0, 100]] * len(bars), atol=1e-9)


def test_intervals_of_other_metrics_are_drawn_no_further_than_values_can_be() -> None:
    for metric, least, most in (("test_nll", 0, math.inf), ("test_ece", 0, 100)):
        section = wide(metric)
        assert section.means["low"].min() < 0
        final = FigureBuilder(section, palette.looks(section.losses)).final()
        assert final is not None
        scale = section.metric.scale
        high = scale * section.means.loc[section.means["epochs"] == 4, "high"].dropna()
        found = [tuple(line.get_xdata()) for line in with_gid(final.figure, "interval")]
        np.testing.assert_allclose(found, [(least, min(end, most)) for end in high])


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
        own = section.own[section.own["loss"] == loss].dropna(subset=["mean"])
        for line, part in ((training, "training"), (validation, "validation")):
            np.testing.assert_allclose(line.get_ydata(), own.loc[own["part"] == part, "mean"])


def test_every_trial_is_a_mark_and_every_diverged_one_counted() -> None:
    summary, history = runs(seeds=range(3))
    gone = (summary["loss"] == "mse") & (summary["lr"] == 0.1) & (summary["seed"] > 0)
    summary.loc[gone, "outcome"] = "diverged"
    summary.loc[gone, ["val_accuracy", "test_accuracy"]] = np.nan
    (section,) = analysis.sections(summary, history, Question(), predictions)
    figure = FigureBuilder(section, palette.looks(section.losses)).rates().figure
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
    figure = FigureBuilder(section, palette.looks(section.losses)).rates().figure
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
    picture = FigureBuilder(wide, palette.looks(section.losses)).forest()
    assert {tuple(line.get_xdata()) for line in with_gid(picture.figure, "interval")} == {
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
    figure = FigureBuilder(section, palette.looks(section.losses)).heat_map().figure
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
    made = FigureBuilder(section, palette.looks(section.losses)).epochs_effect()
    assert made is not None
    lines = [container.lines[0] for container in made.figure.axes[0].containers]
    for line, loss in zip(lines, ranked(section), strict=True):
        own = section.means[section.means["loss"] == loss].sort_values("epochs")
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), 100 * own["mean"])


def test_confusions_leave_out_what_was_right() -> None:
    labels = np.array([0, 1, 1, 2])
    matrix = error_analysis.confusion(np.array([[0, 1, 2, 2], [0, 1, 1, 7]]), labels, 10)
    assert matrix[1, 2] == 0.5 and matrix[2, 7] == 0.5 and matrix[1, 1] == 1.5 and matrix.sum() == 4
    losses = losses_of(["ce"], palette.looks(["ce"]), ["ce"])
    figure = pictures.confusions({"ce": matrix}, losses, classes=list("0123456789"))
    assert sorted(text.get_text() for text in figure.axes[0].texts if text.get_text()) == [
        "0.5",
        "0.5",
    ]


def test_mistakes_of_images_by_hand() -> None:
    label = np.array([3, 4, 5])
    found = error_analysis.summarise(
        {
            "ce": [
                {"predicted": np.array([3, 4, 9]), "label": label},
                {"predicted": np.array([3, 1, 9]), "label": label},
            ],
            "mse": [{"predicted": np.array([3, 1, 5]), "label": label}],
            "odd": [{"predicted": np.array([1, 2]), "label": np.array([1, 2])}],
        }
    )
    assert found is not None
    assert found.runs == {"ce": 2, "mse": 1} and found.skipped == 1
    assert found.images["wrong"].tolist() == [0.0, 0.75, 0.5]  # losses weigh the same, not runs
    assert found.images["spread"].tolist() == [0.0, 0.5, 1.0]
    assert found.images["taken_for"].tolist() == ["", "1", "9"]
    accuracy = found.classes.set_index(["loss", "class"])["accuracy"]
    assert accuracy["ce", "4"] == 0.5 and accuracy["ce", "5"] == 0.0 and accuracy["mse", "5"] == 1.0
    assert error_analysis.summarise({}) is None


def test_mistakes_name_the_classes() -> None:
    runs = {"ce": [{"predicted": np.array([0, 2, 2]), "label": np.array([0, 1, 2])}]}
    found = error_analysis.summarise(runs, ["cat", "dog", "eel"])
    assert found is not None
    assert found.classes["class"].tolist() == ["cat", "dog", "eel"]
    assert found.images[["label", "taken_for"]].to_numpy().tolist() == [
        ["cat", ""], ["dog", "eel"], ["eel", ""],
    ]  # fmt: skip
    assert found.confusion["ce"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_pictures_show_the_images_that_are_asked_for(section: Section) -> None:
    images = np.arange(TEST_SIZE, dtype=np.uint8)[:, None, None] * np.ones(
        (1, 28, 28), dtype=np.uint8
    )
    draw = FigureBuilder(section, palette.looks(section.losses))
    wrong, disagreed = (
        make(section.mistakes, images) for make in (draw.most_wrong, draw.most_disagreed)
    )
    assert wrong is not None and disagreed is not None and section.mistakes is not None
    (panel,) = wrong.figure.axes
    assert (np.asarray(panel.images[0].get_array()) == 0).all()  # image 0 is got wrong by all
    assert [text.get_text() for text in panel.texts[:2]] == ["0, read as 6", "100 % wrong"]
    table = section.mistakes.images.sort_values(["spread", "image"], ascending=[False, True])
    expected = int(table["image"].iloc[0])
    assert (np.asarray(disagreed.figure.axes[0].images[0].get_array()) == expected % 256).all()


def test_pictures_show_colours_and_images_that_are_not_square(section: Section) -> None:
    images = np.zeros((TEST_SIZE, 3, 10, 20), dtype=np.uint8)
    images[:, 0] = 200
    made = FigureBuilder(section, palette.looks(section.losses)).most_wrong(
        section.mistakes, images
    )
    (panel,) = made.figure.axes
    pixels = np.asarray(panel.images[0].get_array())
    assert pixels.shape == (10, 20, 3) and pixels[0, 0].tolist() == [200, 0, 0]
    left, right, bottom, top = panel.images[0].get_extent()
    assert abs(right - left) == pytest.approx(2 * abs(bottom - top))


def test_the_test_set_of_a_section_is_loaded_from_what_its_runs_recorded(tmp_path) -> None:
    (tmp_path / "own.csv").write_text("a,b,4\n" + "1,red,x\n2,blue,y\n" * 10)
    own = {"data.path": str(tmp_path / "own.csv"), "data.label": 4.0}  # where all are numbers
    rows = [
        {"data": "digits"},
        {"data": "wine", "data.name": "wine"},
        {"data": "csv"} | own,
        {"data": "noise", "data.name": "m"},
        {"data": "digits", "data_digest": "other"},
    ]
    frame = pd.DataFrame(rows)
    digits, wine, table, *texts = (
        request.test_examples(SimpleNamespace(runs=frame.iloc[[place]].reset_index()))
        for place in range(5)
    )
    assert digits.shape == (360, 28, 28) and wine.shape == (35, 13)
    assert list(table) == ["a", "b=blue", "b=red"] and len(table) == 4
    assert texts == ["data=noise is an option of your own, which a report does not load",
                     "digits has changed since these runs"]  # fmt: skip


def test_examples_without_pixels_are_rows_of_features(section: Section) -> None:
    features = pd.DataFrame({"height": np.arange(TEST_SIZE) + 0.5, "colour=red": 1.0})
    table = tables.most_wrong(section.mistakes, features)
    assert [cell.text for cell in table.rows[0]] == [
        "0",
        "0",
        "6",
        "100",
        "height 0.5, colour=red 1",
    ]
    assert list(table.headings)[2:4] == ["read as", "wrong (% of runs)"]
    wide = pd.DataFrame(np.zeros((TEST_SIZE, 30)))
    assert tables.most_wrong(section.mistakes, wide).rows[0][-1].text.endswith("19 0, ...")


def test_a_loss_looks_the_same_in_every_figure_and_unlike_the_others() -> None:
    looks = palette.looks([f"loss {i}" for i in range(56)])
    assert len({(look.color, look.marker, str(look.dash)) for look in looks.values()}) == 56
    first = list(looks.values())[:8]
    assert len({look.color for look in first}) == len({look.marker for look in first}) == 8


def test_the_same_figure_gives_the_same_bytes(section: Section) -> None:
    draw = FigureBuilder(section, palette.looks(section.losses))
    one, other = draw.overview().figure, draw.overview().figure
    assert palette.svg(one) == palette.svg(other)
    assert palette.png(one) == palette.png(other)


@pytest.mark.slow
def test_figures_do_not_depend_on_the_settings_of_a_notebook(section: Section) -> None:
    def drawings() -> list[str | bytes]:
        draw = FigureBuilder(section, palette.looks(section.losses))
        with palette.style():
            figures = [made.figure for made in (draw.overview(), draw.rates(), draw.heat_map())]
        return [form(figure) for figure in figures for form in (palette.svg, palette.png)]

    expected = drawings()
    with mpl.rc_context():
        mpl.style.use("ggplot")
        mpl.rcParams.update({"savefig.bbox": "tight", "text.usetex": True, "legend.loc": "right"})
        mpl.rcParams.update({"axes.xmargin": 0.4, "svg.fonttype": "path", "savefig.dpi": 30})
        assert drawings() == expected


ARMENIAN = "Հայերեն"  # in DejaVu Sans, which comes with matplotlib, and not in STIX


def test_a_font_that_has_the_characters_draws_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fonts, palette):
        monkeypatch.setattr(module, "USUAL", ("STIXGeneral",))
    families, lacking = fonts.fallback(["ce", ARMENIAN])
    assert families and not lacking
    (section,) = analysis.sections(*runs(["ce", ARMENIAN], seeds=range(2)), Question(), predictions)

    def drawings(fallback: list[str]) -> tuple[str, bytes]:
        with mpl.rc_context({"font.family": ["serif"]}), palette.style(fallback):
            figure = FigureBuilder(section, palette.looks(section.losses)).heat_map().figure
            return palette.svg(figure), palette.png(figure)  # each begins from the house style

    with pytest.warns(UserWarning, match="missing from font"):
        boxes = drawings([])
    assert all(one != other for one, other in zip(boxes, drawings(families), strict=True))


def test_fonts_are_taken_by_the_characters_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"latin": "abc", "cyrillic": "д", "han": "交叉", "more han": "交叉熵"}
    pairs = [(family, [ord(c) for c in text]) for family, text in installed.items()]
    monkeypatch.setattr(fonts, "_installed", lambda: iter(pairs))
    assert fonts.fallback(["ce, λ=0.1", "é"]) == ([], [])  # the usual fonts have these
    assert fonts.fallback(["交叉"]) == (["han"], [])
    assert fonts.fallback(["交叉熵 한"]) == (["han", "more han"], ["한"])
    (section,) = analysis.sections(*(frames := runs(["ce", "甲"])), Question(), predictions)
    named = replace(section, mistakes=replace(section.mistakes, names=("猫", "狗")))
    assert fonts.names(frames[0], [named]) == {"ce", "甲", "digits, mlp", "猫", "狗"}
    assert "for example Noto Sans CJK" in fonts.note(["한"])
    assert "CJK" not in fonts.note(["\U00011103"])
    assert "U+4E09) and 2 more. The" in fonts.note([chr(0x4E00 + place) for place in range(12)])


def test_names_cannot_get_out_of_a_drawing() -> None:
    (section,) = analysis.sections(*runs(["ce", HOSTILE], seeds=range(2)), Question(), predictions)
    made = FigureBuilder(section, palette.looks(section.losses)).overview()
    drawing = palette.svg(made.figure)
    ElementTree.fromstring(drawing)
    inline = palette.inline(drawing, "f1")
    for text in (drawing, inline):
        assert "<script" not in text and "<!--" not in text and "&lt;/svg&gt;" in text
    assert len(plain(HOSTILE, 40)) == 40
    assert inline.count("</svg>") == 1 and inline.endswith("</svg>")


def test_numbers_of_an_inline_drawing_stay_whole() -> None:
    figure = Figure()
    axis = figure.add_subplot()
    axis.plot([0.0034], [0.12345], "o", gid="mean|0")
    axis.set_title("gamma 0.125")
    inline = palette.inline(palette.svg(figure), "f1", figure)
    assert "gamma 0.125" in inline and not re.search(r'd="[^"]*\d\.\d\d\d', inline)
    points = re.search(r'data-points="([^"]+)"', inline)
    assert points and json.loads(html.unescape(points[1]))[0]["marks"][0][3:] == [0.0034, 0.12345]


def test_an_inline_drawing_is_tinted_and_its_ids_are_its_own(section: Section) -> None:
    drawing = palette.svg(FigureBuilder(section, palette.looks(section.losses)).overview().figure)
    inline = palette.inline(drawing, "f7")
    assert "http" not in inline and "xlink" not in inline
    ids = re.findall(r'\bid="([^"]+)"', inline)
    assert len(ids) == len(set(ids)) and all(name.startswith("f7-") for name in ids)
    pointed = re.findall(r'(?:href="#|url\(#)([^")]+)', inline)
    assert pointed and set(pointed) <= set(ids)
    for color, variable in palette.CSS_VARIABLES.items():
        assert color not in inline
        assert (color in drawing) == (f"var({variable})" in inline)


def test_short_names_stay_different() -> None:
    long = ["x" * 100 + str(i) + "y" * 100 for i in range(3)]
    names = short_names(long)
    assert len(set(names.values())) == 3 and all(len(name) <= 26 for name in names.values())
    assert (
        plain("a\x1b[31m\nb\u202e") == "a\N{REPLACEMENT CHARACTER}[31m b\N{REPLACEMENT CHARACTER}"
    )


# ---- many losses ---------------------------------------------------------------------------------


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
    (found,) = analysis.sections(summary, history, Question(metric=metric), predictions)
    return found


def looks_of(section: Section) -> dict[str, palette.Look]:
    """As on a page: those in front first."""
    return palette.looks(list(dict.fromkeys([*in_front([section]), *section.losses])))


def boxes(figure: Figure, texts: list[Text]) -> list[Any]:
    """Where texts stand, in pixels, without their arrows."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [Text.get_window_extent(text, canvas.get_renderer()) for text in texts]


def assert_apart(found: list[Any]) -> None:
    for i, one in enumerate(found):
        for other in found[:i]:
            assert not one.overlaps(other), (one, other)


@pytest.mark.parametrize("count", with_slow([2], [8, 24]))
@pytest.mark.parametrize("ends", ["close", "apart"])
def test_labels_stay_beside_their_panel_and_do_not_overlap(count: int, ends: str) -> None:
    section = many(count, ends=ends)
    draw = FigureBuilder(section, looks_of(section))
    made = [draw.overview(), draw.over_epochs_and_seconds(), draw.epochs_effect()]
    for illustration in made:
        assert illustration is not None
        figure = illustration.figure
        said = set()
        for axis in figure.axes:
            labels = [text for text in axis.texts if str(text.get_gid()).startswith("label")]
            found = boxes(figure, labels)
            assert_apart(found)
            panel = axis.get_window_extent()
            for box in found:
                assert figure.bbox.contains(box.x0, box.y0) and figure.bbox.contains(box.x1, box.y1)
                assert panel.y0 - 2 < box.y0 and box.y1 < panel.y1 + 2 and box.x0 > panel.x1
            said |= {label.get_text() for label in labels}
        assert said >= set(in_front([section])), illustration.name


def test_of_many_losses_the_best_have_colors_of_their_own_and_the_others_are_grey() -> None:
    section = many(24)
    front = in_front([section])
    assert front == ["ce", *(f"loss_{i:02d}_of_the_suite" for i in range(23, 16, -1))]
    draw = FigureBuilder(section, looks_of(section))
    illustration = draw.overview()
    axis = illustration.figure.axes[0]
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
    assert "Of 24 losses, the reference and the best" in illustration.caption
    assert all(loss in illustration.alt for loss in section.losses)


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
    illustration = FigureBuilder(section, palette.looks(section.losses)).overview()
    assert [
        line
        for axis in illustration.figure.axes
        for line in axis.lines
        if str(line.get_gid()).startswith("behind")
    ] == []
    assert "in color" not in illustration.caption
    assert illustration.figure.axes[0].get_title(loc="right") == ""


@pytest.mark.slow
def test_the_last_numbers_of_many_losses_are_shown_again_enlarged() -> None:
    section = many(24, ends="apart")
    front = in_front([section])
    final = FigureBuilder(section, palette.looks(section.losses)).final()
    assert final is not None
    whole, near = final.figure.axes
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
    assert few is not None and len(few.figure.axes) == 1


@pytest.mark.parametrize("count", with_slow([2], [8, 24]))
def test_titles_legends_and_columns_of_other_figures_do_not_overlap(count: int) -> None:
    losses = ["ce", *(f"loss_{i:02d}_double (baseline)" for i in range(1, count))]
    summary, history = runs(losses, seeds=range(3), rates=(0.01, 0.03), advantage=-0.035)
    (section,) = analysis.sections(summary, history, Question(), predictions)
    draw = FigureBuilder(section, palette.looks(losses))
    rings = draw.rates().figure
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
    figure = forest.figure
    found = boxes(figure, list(figure.axes[0].texts))
    assert_apart(found)
    assert all(figure.bbox.contains(box.x1, box.y1) for box in found)
    classes = draw.class_accuracy(section.mistakes)
    assert classes is not None
    figure = classes.figure
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


def test_without_other_fonts_than_matplotlibs_own_a_character_is_called_lacking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its font "Last Resort High-Efficiency" has a box for each, and a hyphen in its name."""
    manager = fonts.font_manager.fontManager
    own = [font for font in manager.ttflist if font.fname.startswith(mpl.get_data_path())]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", list)
    assert fonts.fallback(["\u4e00 ce"]) == ([], ["\u4e00"])


# ---- what a page reads of a drawing --------------------------------------------------------------


def test_every_mark_of_a_mean_can_be_read_where_it_is_drawn(section: Section) -> None:
    figure = curves.accuracy_curves(section.curves, section.bands, losses_in(section), x=["epoch"])
    drawing = palette.svg(figure)
    width, height = size_in_points(drawing)
    panels = palette.readings(figure)
    assert panels[0]["axes"] == ["epoch", "validation accuracy (%)"]
    marks = [mark for panel in panels for mark in panel["marks"]]
    assert all(0 <= mark[1] <= width and 0 <= mark[2] <= height for mark in marks)
    for place, loss in enumerate(section.losses):
        band = section.bands[section.bands["loss"] == loss]
        own = [mark for mark in panels[0]["marks"] if mark[0] == place]
        np.testing.assert_allclose([mark[3] for mark in own], band["epoch"])
        np.testing.assert_allclose([mark[4] for mark in own], 100 * band["mean"], rtol=1e-5)
    # Of two marks of a line the later one is further right, and the better one higher up.
    first, last = (m for m in (panels[0]["marks"][0], panels[0]["marks"][3]))
    assert first[1] < last[1] and first[2] > last[2]


def test_a_line_without_values_has_no_marks() -> None:
    figure, axes = drawing.canvas(1, 1, 2)
    axes.flat[0].plot([], [], gid="trials|0")  # of a loss whose runs all diverged
    assert palette.readings(figure) == []


@pytest.mark.parametrize("width", ["page", "column"])
def test_type_has_8_points_at_the_width_of_a_paper(section: Section, width: str) -> None:
    with palette.style(width=width):
        draw = FigureBuilder(section, palette.looks(section.losses))
        for made in (draw.overview(), draw.final(), draw.forest(), draw.rates()):
            assert made is not None
            figure = made.figure
            drawing = palette.svg(figure)
            assert size_in_points(drawing)[0] == pytest.approx(72 * palette.WIDTHS[width])
            texts = [each for each in figure.findobj(Text) if each.get_text()]
            assert texts and all(each.get_fontsize() >= 8 for each in texts)
            assert "<text" in drawing  # which can be searched for


def luminance(color: str) -> float:
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
             for value in mpl.colors.to_rgb(color)]  # fmt: skip
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


def test_every_text_has_enough_contrast_in_light_in_the_dark_and_on_paper() -> None:
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    light, dark, paper = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    texts = ["--ink", "--muted", "--alarm", *dict.fromkeys(map(variable_of_text, range(8)))]
    for block in (light, dark, paper):
        values = dict(re.findall(r"(--[\w-]+): (#\w+)", block))
        for ground in ("--paper", "--wash"):
            for name in texts:
                one, other = (luminance(values[each]) for each in (name, ground))
                ratio = (max(one, other) + 0.05) / (min(one, other) + 0.05)
                assert ratio >= 4.5, (name, ground, ratio)


def variable_of_text(place: int) -> str:
    look = list(palette.looks([str(i) for i in range(8)]).values())[place]
    return palette.CSS_VARIABLES[look.text]
