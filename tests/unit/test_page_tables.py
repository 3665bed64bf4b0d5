"""Tables and captions of a page, and tables as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import captions, make_page
from helpers.synthetic_runs import HOSTILE, runs

from reports.figures import palette
from reports.gallery import Gallery
from reports.page import cross_setting
from reports.page import table as page_table
from reports.page.figure import band_words, losses_of
from reports.page.table import Cell, Column, Table
from reports.question import Question


def test_a_loss_without_probabilities_has_no_invented_number(usual: Any) -> None:
    _, report, _, _ = usual
    table = report.tables["losses"]
    (mse,) = [row for row in table.rows if row[0].text == "mse"]
    by_key = dict(zip(table.keys, mse, strict=True))
    for key in ("test_nll", "test_brier", "test_ece_percent", "test_ece_scaled_percent"):
        assert by_key[key] == Cell("n/a", None)
    assert by_key["test_mean_absolute_error"].value == pytest.approx(0.4)
    (ce,) = [row for row in table.rows if row[0].text == "ce"]
    assert dict(zip(table.keys, ce, strict=True))["test_mean_absolute_error"] == Cell("n/a", None)


def test_the_table_has_the_means_of_the_judged_runs(usual: Any) -> None:
    (section,), report, _, _ = usual
    table = report.tables["losses"]
    for row in table.rows:
        values = {key: cell.value for key, cell in zip(table.keys, row, strict=True)}
        judged = section.runs[
            (section.runs["loss"] == values["loss"])
            & (section.runs["lr"] == values["lr"])
            & section.runs["seed"].isin(section.split.evaluation)
        ]
        assert values["runs"] == len(judged) == 10
        assert values["test_accuracy_percent"] == pytest.approx(
            100 * judged["test_accuracy"].mean()
        )
        assert values["test_accuracy_percent_low"] < values["test_accuracy_percent"]


def test_lines_over_fewer_runs_are_told_of_only_where_these_are_fewer_at_the_end() -> None:
    def words(*rows: tuple[str, int, int, str]) -> str:
        bands = pd.DataFrame(rows, columns=["loss", "epoch", "n", "part"]).assign(low=0.0)
        return band_words(bands).removesuffix(", bands are pointwise 95 % intervals of the mean.")

    every = "Lines are means over 5 runs per loss"
    assert words(("ce", 0, 1, "t"), ("ce", 1, 5, "t")) == every
    assert words(("ce", 1, 5, "t"), ("ce", 1, 3, "v")) == every
    fewer = words(("ce", 1, 5, "t"), ("ce", 2, 4, "t"), ("ce", 3, 2, "t"), ("mse", 1, 5, "t"))
    assert fewer == f"{every} (from epoch 2 on over fewer, 2 runs at the end)"


def test_captions_say_over_how_many_runs_and_what_bands_mean(usual: Any) -> None:
    _, report, _, _ = usual
    captions_of_figures = captions(report)
    assert set(captions_of_figures) == set(report.figures)
    lines = "Lines are means over 10 runs per loss, bands are pointwise 95 % intervals of the mean."
    for name in ("accuracy", "accuracy-time", "own-losses"):
        assert lines in captions_of_figures[name]
    assert (
        "Ticks are runs, marks are means over 10 runs per loss. Bars are 95 %"
        in captions_of_figures["final"]
    )
    assert (
        "(n = 10 pairs of runs) and the verdicts. Bars are 95 %" in captions_of_figures["contrasts"]
    )
    choice = " The rate of each loss was chosen by the mean over seeds 0 to 9."
    assert (
        f"runs that ended well (10 runs per cell); framed: the chosen rate of each loss.{choice}"
        in captions_of_figures["heat-map"]
    )
    assert captions_of_figures["learning-rates"].endswith(f"chosen rate of each loss.{choice}")
    assert report.tables["rates"].caption == (
        f"Mean validation accuracy of the runs that ended well, loss by learning rate.{choice}"
    )
    for name, caption in captions_of_figures.items():
        assert re.search(r"\b(\d+|one) (pairs? of )?runs?\b", caption), name
    load = " Seconds are those of the machine that trained, and depend on its load."
    assert load in captions_of_figures["accuracy-time"]
    assert load in report.tables["losses"].caption
    assert report.tables["to-target"].caption.endswith(load)


@pytest.mark.slow
def test_captions_of_one_seed_and_of_two_stages() -> None:
    one = captions(make_page(*runs(seeds=[3]))[1])
    assert "Each line is one run, without a confidence band (n = 1)." in one["accuracy"]
    assert "(one pair of runs) and the verdicts" in one["contrasts"]
    assert "over 1 run per loss." in one["final"] and "95 %" not in one["final"]
    summary, curves = runs(("ce", "mse"))
    summary = summary[(summary["seed"] < 2) | (summary["lr"] == 0.03)]
    two = captions(make_page(summary, curves[curves["run_id"].isin(summary["run_id"])])[1])
    assert "the runs that ended well (2 to 10 runs per cell)" in two["heat-map"]
    assert "was chosen by the mean over seeds 0, 1. The color" in two["heat-map"]
    assert "means over 10 runs per loss" in two["accuracy"]
    unlike = summary[(summary["loss"] == "ce") | (summary["lr"] == 0.03) | (summary["seed"] > 0)]
    three = captions(make_page(unlike, curves[curves["run_id"].isin(unlike["run_id"])])[1])
    assert "the mean over its seeds with a run at every rate. The color" in three["heat-map"]


def test_a_caption_says_how_a_diverged_run_counted_in_the_choice() -> None:
    summary, curves = runs(("ce", "mse"), seeds=range(3))
    summary.loc[(summary["lr"] == 0.1) & (summary["seed"] == 1), "outcome"] = "diverged"
    report = make_page(summary, curves, Question(tuning_seeds=(0, 1)))[1]
    assert report.tables["rates"].caption.endswith(
        " The rate of each loss was chosen by the mean over seeds 0, 1, with an accuracy of 1/K (K "
        "classes) for a diverged run."
    )
    single = make_page(summary[summary["lr"] == 0.1], curves)[1].tables["rates"].caption
    assert single == "Mean validation accuracy of the runs that ended well, loss by learning rate."


def test_diverged_runs_are_counted_in_the_table_of_contrasts_that_has_some() -> None:
    summary, curves = runs(("ce", "focal"))
    lost = (summary["loss"] == "focal") & (summary["lr"] == 0.1) & (summary["seed"] < 2)
    measured = [name for name in summary if name.startswith(("test_", "val_"))]
    summary.loc[lost, "outcome"], summary.loc[lost, measured] = "diverged", np.nan
    _, report, _, _ = make_page(summary, curves)
    table = report.tables["contrasts-equal-rate"]
    place = table.for_people.headings.index("diverged (A, B)")
    texts = [(row[1].text, row[place].text) for row in table.for_people.rows]
    assert texts == [("0.01", "0, 0"), ("0.03", "0, 0"), ("0.1", "2, 0")]
    read_back = pd.read_csv(io.StringIO(page_table.to_csv(table)))
    assert read_back[["diverged_a", "diverged_b"]].to_numpy().tolist() == [[0, 0], [0, 0], [2, 0]]
    words = " A diverged run counts with the accuracy of the best constant answer."
    assert table.caption.endswith(words)
    best = report.tables["contrasts"]
    assert "diverged (A, B)" not in best.headings and "diverged" not in best.caption
    _, report, _, _ = make_page(summary, curves, Question(metric="test_nll"))
    words = " A diverged run counts as worse than every run that ended well."
    assert report.tables["contrasts-equal-rate"].caption.endswith(words)


def test_the_gallery_says_of_a_loss_of_directions_why_it_is_flat() -> None:
    p = np.array([0.01, 0.5, 0.99])
    weights = pd.DataFrame(
        {"loss": ["ce"] * 3 + ["logit_norm"] * 3, "p": [*p, *p], "weight": [1, 1, 1, 0, -1e-13, 0]}
    )
    margins = pd.DataFrame(
        {
            "loss": ["ce"] * 3 + ["logit_norm"] * 3,
            "margin": [-5, 0.1, 5] * 2,
            "value": [7, 2, 0.1, 27, 0, 0],
        }
    )
    errors = pd.DataFrame(columns=["loss", "error", "value"])
    shown = Gallery(weights.assign(when=""), margins.assign(when=""), errors)
    looks = palette.looks(["ce", "logit_norm"])
    with palette.style():
        pull, value = cross_setting.gallery_pictures(shown, losses_of([*looks], looks, [*looks]))
        (plain_pull, plain_value) = cross_setting.gallery_pictures(
            shown, losses_of(["ce"], looks, ["ce"])
        )
    why = "here: while the other logits are 0, the logits change in length but not in direction"
    assert f"logit_norm shows only a flat 0 {why}" in pull.caption
    assert f"logit_norm shows only a step {why}" in value.caption
    assert why not in plain_pull.caption + plain_value.caption


def test_contrasts_as_csv_have_both_names_and_every_interval(usual: Any) -> None:
    (section,), report, _, _ = usual
    read_back = pd.read_csv(io.StringIO(page_table.to_csv(report.tables["contrasts"])))
    assert list(read_back["a"]) == list(section.headline["a"]) and set(read_back["b"]) == {"ce"}
    for name in (
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "p_better",
        "p_better_low",
        "p_better_high",
    ):
        np.testing.assert_allclose(read_back[name], section.headline[name])
    assert (
        "contrast" not in read_back and "contrast" in report.tables["contrasts"].for_people.headings
    )


def table(*names: str) -> Table:
    frame = pd.DataFrame({"loss": names, "value": -1.5, "low": -2.0, "high": -1.0, "none": np.nan})
    value = Column("value", "value (%)", ends=("low", "high"))
    columns = [Column("loss", "loss", form=page_table.name_cell), value, Column("none", "d_z")]
    return page_table.tabulate("t", "caption", frame, columns)


def test_an_interval_reaches_no_further_than_values_can_be() -> None:
    frame = pd.DataFrame({"x": [0.8], "low": [0.4], "high": [1.2]})
    column = Column("x_percent", "x", "x", scale=100, ends=("low", "high"), bounds=(0, 1))
    cells = page_table.tabulate("t", "caption", frame, [column])
    assert cells.rows[0][0].text == "80.00 [40.00, 100.00]"
    assert page_table.to_csv(cells).splitlines() == ["x_percent,low,high", "80.0,40.0,120.0"]


def test_csv_is_for_programs_and_is_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(page_table.to_csv(table("=1+1", 'a "b", c', HOSTILE)))))
    assert rows[0] == ["loss", "value", "low", "high", "none"]
    assert rows[1] == ["'=1+1", "-1.5", "-2.0", "-1.0", ""]
    assert rows[2][0] == 'a "b", c' and rows[3][0] == HOSTILE


def test_latex_and_markdown_escape() -> None:
    latex = page_table.to_latex(table("a_b & 50% $x$ \\input{x} ~^#{}"))
    assert (
        r"a\_b \& 50\% \$x\$ \textbackslash{}input\{x\} \textasciitilde{}\textasciicircum{}\#\{\} "
        r"& " in latex
    )
    assert r"$-$1.50 [$-$2.00, $-$1.00] & n/a \\" in latex and r"\begin{tabular}{lrr}" in latex
    assert "$d_z$" in latex and r"\textwidth" in latex
    markdown = page_table.to_markdown(table("a|b <i> [x](y) `c` *d* http://x.y"))
    assert r"a\|b &lt;i&gt; \[x\](y) \`c\` \*d\*" in markdown and "| d_z |" in markdown
    assert page_table.markdown("_a_ __init__") == r"\_a\_ \_\_init\_\_"
    assert "http://" not in markdown
    assert markdown.splitlines()[1] == "| --- | ---: | ---: |"


def test_numbers_for_people() -> None:
    assert page_table.number(0.98765, scale=100).text == "98.77"
    assert page_table.number(-0.5, 1, signed=True) == Cell("−0.5", -0.5)
    assert page_table.number(math.inf).text == "∞"
    assert [page_table.probability(p).text for p in (0.0004, 0.0123, 1.0, math.nan)] == [
        "< 0.001",
        "0.012",
        "1.00",
        "n/a",
    ]
    assert page_table.with_interval(0.5, math.nan, math.nan).text == "0.50"


def test_a_number_is_rounded_alike_whatever_its_last_bit() -> None:
    texts = {page_table.number(value, 2, scale=100).text for value in (0.96575, 0.9657499999999999)}
    assert texts == {"96.58"}
