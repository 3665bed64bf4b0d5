"""Errors by class and example: their frames, tables and pictures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.figures import builder
from helpers.synthetic_runs import TEST_SIZE

from reports import error_analysis, request
from reports.analysis import Section
from reports.figures import palette, pictures
from reports.page import tables
from reports.page.figure import losses_of

pytestmark = pytest.mark.usefixtures("house_style")


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


def test_errors_of_images_by_hand() -> None:
    label = np.array([3, 4, 5])
    errors = error_analysis.summarise(
        {
            "ce": [
                {"predicted": np.array([3, 4, 9]), "label": label},
                {"predicted": np.array([3, 1, 9]), "label": label},
            ],
            "mse": [{"predicted": np.array([3, 1, 5]), "label": label}],
            "odd": [{"predicted": np.array([1, 2]), "label": np.array([1, 2])}],
        }
    )
    assert errors is not None
    assert errors.runs == {"ce": 2, "mse": 1}
    assert errors.images["wrong"].tolist() == [0.0, 0.75, 0.5]  # losses weigh the same, not runs
    assert errors.images["spread"].tolist() == [0.0, 0.5, 1.0]
    assert errors.images["taken_for"].tolist() == ["", "1", "9"]
    accuracy = errors.classes.set_index(["loss", "class"])["accuracy"]
    assert accuracy["ce", "4"] == 0.5 and accuracy["ce", "5"] == 0.0 and accuracy["mse", "5"] == 1.0
    assert error_analysis.summarise({}) is None


def test_errors_name_the_classes() -> None:
    runs = {"ce": [{"predicted": np.array([0, 2, 2]), "label": np.array([0, 1, 2])}]}
    errors = error_analysis.summarise(runs, ["cat", "dog", "eel"])
    assert errors is not None
    assert errors.classes["class"].tolist() == ["cat", "dog", "eel"]
    assert errors.images[["label", "taken_for"]].to_numpy().tolist() == [
        ["cat", ""], ["dog", "eel"], ["eel", ""],
    ]  # fmt: skip
    assert errors.confusion["ce"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_pictures_show_the_images_that_are_asked_for(section: Section) -> None:
    images = np.arange(TEST_SIZE, dtype=np.uint8)[:, None, None] * np.ones(
        (1, 28, 28), dtype=np.uint8
    )
    draw = builder(section)
    wrong, disagreed = (
        make(section.errors, images) for make in (draw.most_wrong, draw.most_disagreed)
    )
    assert wrong is not None and disagreed is not None and section.errors is not None
    (panel,) = wrong.draw().axes
    assert (np.asarray(panel.images[0].get_array()) == 0).all()  # image 0 is got wrong by all
    assert [text.get_text() for text in panel.texts[:2]] == ["0, read as 6", "100 % wrong"]
    table = section.errors.images.sort_values(["spread", "image"], ascending=[False, True])
    expected = int(table["image"].iloc[0])
    assert (np.asarray(disagreed.draw().axes[0].images[0].get_array()) == expected % 256).all()


def test_pictures_show_colours_and_images_that_are_not_square(section: Section) -> None:
    images = np.zeros((TEST_SIZE, 3, 10, 20), dtype=np.uint8)
    images[:, 0] = 200
    picture = builder(section).most_wrong(section.errors, images)
    (panel,) = picture.draw().axes
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
    table = tables.most_wrong(section.errors, features)
    assert [cell.text for cell in table.rows[0]] == [
        "0",
        "0",
        "6",
        "100",
        "height 0.5, colour=red 1",
    ]
    assert list(table.headings)[2:4] == ["read as", "wrong (% of runs)"]
    wide = pd.DataFrame(np.zeros((TEST_SIZE, 30)))
    assert tables.most_wrong(section.errors, wide).rows[0][-1].text.endswith("19 0, ...")
