"""Figures and tables of what runs measure besides accuracy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from helpers.figures import builder
from helpers.pages import make_page, text
from helpers.synthetic_runs import measured, predictions, runs

from experiments.heads import logits_head, number_head
from reports import analysis, secondary_metrics
from reports.analysis import Section
from reports.page import tables as page_tables
from reports.page.answer import ranked
from reports.page.table import Cell
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")


TITLES = ("Memorized label noise", "Gradient norm and update size", "Corrupted test images")


LOGITS, NUMBER = logits_head(10), number_head(10)


NAMES = {"memorization", "steps", "corruptions"}


@pytest.fixture(scope="module")
def section() -> Section:
    (section,) = analysis.sections(*measured(*runs()), Question(), predictions)
    return section


def test_the_measures_of_an_epoch_are_means_over_the_judged_seeds(section: Section) -> None:
    frame = section.by_epoch.set_index(["measure", "loss", "epoch"])
    seeds = np.mean(section.split.evaluation)
    for epoch in (1, 2, 3):
        row = frame.loc[("train_accuracy_flipped", "ce", epoch)]
        assert row["mean"] == pytest.approx(0.1 * epoch + 0.001 * seeds) and row["n"] == 10
        assert row["low"] < row["mean"] < row["high"]
        assert frame.loc[("train_gradient_norm", "ce", epoch), "mean"] == pytest.approx(2 / epoch)
    assert 0 not in set(section.by_epoch["epoch"])  # nothing is measured of the untrained network


def test_memorization_has_a_panel_each_and_a_line_per_loss(section: Section) -> None:
    shown = builder(section).memorization()
    assert shown is not None
    axes = shown.draw().axes
    assert [axis.get_title(loc="left") for axis in axes] == [
        metric.heading for metric in secondary_metrics.MEMORIZATION
    ]
    for axis, measure in zip(axes, secondary_metrics.MEMORIZATION, strict=True):
        assert [line.get_label() for line in axis.lines] == ranked(section)
        for line, loss in zip(axis.lines, ranked(section), strict=True):
            frame = section.by_epoch
            of_loss = frame[(frame["measure"] == measure.name) & (frame["loss"] == loss)]
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_allclose(
                np.asarray(line.get_ydata(), dtype=float), 100 * of_loss["mean"]
            )
    assert axes[0].get_shared_y_axes().joined(axes[0], axes[2])
    assert "ce 60.00 %" in shown.alt  # recovered after the third epoch


def test_steps_have_logarithmic_axes_of_their_own(section: Section) -> None:
    shown = builder(section).steps()
    assert shown is not None
    axes = shown.draw().axes
    assert [axis.get_yscale() for axis in axes] == ["log", "log"]
    assert not axes[0].get_shared_y_axes().joined(axes[0], axes[1])
    np.testing.assert_allclose(np.asarray(axes[0].lines[0].get_ydata(), dtype=float), [2, 1, 2 / 3])
    np.testing.assert_allclose(
        np.asarray(axes[1].lines[0].get_ydata(), dtype=float), [0.01, 0.005, 0.01 / 3]
    )
    every = "mse {0}, focal gamma=3 {0}, ce {0}."
    assert shown.alt.endswith(
        f"At the end: norm of the gradient: {every.format(0.667)} "
        f"norm of an update / norm of the weights: {every.format(0.00333)}"
    )


def test_a_small_step_is_not_shown_as_none() -> None:
    summary, curves = measured(*runs(("ce",), seeds=range(2)))
    curves["train_update_ratio"] /= 1e5
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    shown = builder(section).steps()
    assert shown is not None and shown.alt.endswith("weights: ce 3.33e−08.")


def test_a_band_below_zero_stops_at_the_edge_of_a_logarithmic_axis() -> None:
    summary, curves = measured(*runs(["ce"], seeds=range(3)))
    curves["train_gradient_norm"] = np.where(curves["seed"] == 0, 1.0, 0.01)
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    assert (section.by_epoch["low"] < 0).any()
    shown = builder(section).steps()
    assert shown is not None
    axis = shown.draw().axes[0]
    low, high = axis.get_ylim()
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == pytest.approx(low) and low < 0.34 < corners.max() <= high


def test_only_the_losses_and_measures_that_there_are_are_drawn() -> None:
    summary, curves = measured(*runs())
    curves.loc[curves["loss"] == "mse", "train_update_ratio"] = math.nan
    curves = curves.drop(columns="train_gradient_norm")
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    shown = builder(section).steps()
    assert shown is not None
    (axis,) = shown.draw().axes
    assert [line.get_label() for line in axis.lines] == ["focal gamma=3", "ce"]


def test_the_map_of_corruptions_writes_every_mean_the_easiest_first(section: Section) -> None:
    shown = builder(section).corruptions()
    assert shown is not None
    (axis,) = shown.draw().axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["none", "shot noise", "fog"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ranked(section)
    clean = section.best.set_index("loss")["test_accuracy"]
    expected = []
    for loss in ranked(section):
        place = section.losses.index(loss)
        expected += [f"{100 * clean[loss]:.1f}", f"{70 - 10 * place:.1f}", f"{50 - 10 * place:.1f}"]
    assert [words.get_text() for words in axis.texts] == expected
    assert "mse: least on fog, 30.0 %" in shown.alt
    table = page_tables.corruptions(section, section.losses)
    assert table is not None and list(table.keys) == ["loss", "fog_percent", "shot_noise_percent"]
    assert [cell.value for cell in table.rows[0][1:]] == pytest.approx([50, 70])


def test_the_table_of_further_measures_has_means_and_invents_nothing(section: Section) -> None:
    table = page_tables.further(section, section.losses)
    assert table is not None
    by_loss = {row[0].value: dict(zip(table.keys, row, strict=True)) for row in table.rows}
    judged = section.evaluated[section.evaluated["loss"] == "ce"]
    assert by_loss["ce"]["test_macro_f1_percent"].value == pytest.approx(
        100 * judged["test_macro_f1"].mean()
    )
    assert by_loss["ce"]["corrupted_accuracy_percent"].text == "60.00"
    for key in ("test_margin", "test_aurc_percent", "test_nll_scaled", "test_brier_scaled"):
        assert by_loss["mse"][key] == Cell("n/a", None)
        assert by_loss["ce"][key].value > 0
    assert "Corrupted: accuracy" in table.caption


def test_a_measure_that_no_loss_has_has_no_column() -> None:
    summary, curves = runs(["mse"])
    summary["test_macro_f1"] = 0.5
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    table = page_tables.further(section, section.losses)
    assert table is not None and list(table.keys) == ["loss", "test_macro_f1_percent"]
    assert "AURC" not in table.caption
    assert "test_nll" not in page_tables.best(section, section.losses).keys


def test_the_page_shows_what_was_measured() -> None:
    _, report, html, markdown = make_page(*measured(*runs(seeds=range(2))))
    words = text(html)
    assert all(title in words and title in markdown for title in TITLES)
    assert set(report.figures) >= NAMES
    assert {"further", "corruptions"} <= set(report.tables)


def test_the_page_is_silent_about_what_was_not_measured() -> None:
    _, report, html, _ = make_page(*runs(seeds=range(2)))
    words = text(html)
    assert not any(title in words for title in TITLES)
    assert not NAMES & set(report.figures) and not {"further", "corruptions"} & set(report.tables)
    empty = secondary_metrics.by_epoch(pd.DataFrame({"loss": ["ce"], "seed": [0], "epoch": [1]}), 0)
    assert not len(empty) and "measure" in empty
    assert not len(secondary_metrics.corruptions(pd.DataFrame({"loss": ["ce"]})))
