"""The page, its Markdown, tables, verdicts and commands.

Every verdict is there, nothing invented, nothing gets out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from dataclasses import replace
from functools import partial
from html import unescape
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.marks import first, with_slow
from helpers.pages import IMAGES, made, main, read, source, text
from helpers.synthetic_runs import HOSTILE, measured, predictions, runs
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.text import Text

from experiments import tuning
from experiments.contract import LOSS_NAMES
from reports import analysis, generate, printing, sentences, texts, verdicts
from reports.analysis import Section
from reports.figures import palette
from reports.gallery import Gallery, gallery
from reports.page import caveats, commands, cross_setting, drawings, render
from reports.page import report as page_report
from reports.page import table as page_table
from reports.page.figure import band_words, losses_of
from reports.page.methods import basis, methods
from reports.page.more_runs import MoreRuns
from reports.page.table import Cell, Column, Table
from reports.question import Question, QuestionError
from reports.runs import Declared
from reports.stats.contrast import IMAGES as ONE_SEED
from reports.stats.tuning import choose_rates
from reports.texts import say

FILES_ALONE = {"curves", "denominators"}
"""Tables that the page does not show: too long, or said in a sentence."""


@pytest.fixture(scope="module")
def usual() -> tuple[list[Section], page_report.Report, str, str]:
    return made(*runs(), drawn=True)


# ---- the page ------------------------------------------------------------------------------------


def test_figures_and_tables_are_numbered_in_the_order_of_the_page(usual: Any) -> None:
    _, _, html, markdown = usual
    for kind in ("Figure", "Table"):
        numbers = list(map(int, re.findall(rf"<b>{kind} (\d+)\.</b>", html)))
        assert len(numbers) > 4 and numbers == list(range(1, len(numbers) + 1))
        assert list(map(int, re.findall(rf"(?m)^\*{kind} (\d+)\.\*", markdown))) == numbers


def test_the_page_has_every_verdict_and_every_number_of_its_tables(usual: Any) -> None:
    (section,), report, html, markdown = usual
    words = text(html)
    assert len(section.headline) == 2
    for row in section.headline.to_dict("records"):
        assert sentences.sentence(row) in words
        assert page_table.markdown(sentences.sentence(row)) in markdown
    for table in [table for name, table in report.tables.items() if name not in FILES_ALONE]:
        for cells in table.for_people.rows:
            for cell in cells:
                assert cell.text in words


def test_the_markdown_introduces_a_command_with_a_sentence() -> None:
    summary, curves = runs(("ce", "mse"), seeds=range(2), rates=(0.03,))
    markdown = made(summary, curves)[3]
    (command,) = re.findall(
        r"The command that runs the missing seeds:\n\n```sh\n(.*)\n```", markdown
    )
    assert command.startswith("python experiments/run.py -m loss=mse,ce ")


def prose_and_code(markdown: str) -> str:
    """The words that Markdown shows.

    No markup and no escapes in prose, blocks of code as they are.
    """
    parts = re.split(r"(?ms)^(`{3,})sh\n(.*?)\n\1$", markdown)
    for i in range(0, len(parts), 3):
        parts[i] = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", parts[i]).replace("&#8203;", "")
    return " ".join(unescape(" ".join(parts[:1] + parts[2::3] + parts[3::3])).split())


def test_the_markdown_has_every_sentence_of_the_page_whole() -> None:
    """Alarms, folds, facts, commands, tables, captions, verdicts with advice."""
    summary, curves = measured(*runs(seeds=range(4)))
    remark = "the gradient is zero where the network is wrong, and so it never learns from it; " * 9
    summary = summary.assign(
        lint=np.where(summary["loss"] == "mse", "dead-gradient", None),
        lint_text=np.where(summary["loss"] == "mse", f"{remark}is that meant?", None),
        order_hash=np.where(summary["loss"] == "mse", "", summary["order_hash"]),
    )
    reason = f"its value is not finite at some logits, which it must be everywhere: {remark}end."
    _, report, html, markdown = made(
        summary,
        curves,
        losses_drawn=replace(gallery(summary, lambda run_id: None), missing={"mse": reason}),
        notes=[f"A note. {remark}It ends here."],
        missing=3,
        sweeps=[("1" * 32, "a|b"), ("2" * 32, "c")],
    )
    titles = [part.title for part in render.every_part(report.page.parts)]
    assert all(title in html for title in titles) and len(titles) > 12
    whole = prose_and_code(markdown)
    sentences = [
        sentence
        for node in read(main(html)).text
        for sentence in re.split(r"(?<=[.:?]) ", node.strip())
    ]
    assert len(sentences) > 500 and all(part in " ".join(sentences) for part in (reason, remark))
    assert [each for each in sentences if " ".join(each.split()) not in whole] == []


def test_the_answer_comes_first_and_only_what_it_rests_on_is_open(usual: Any) -> None:
    _, report, html, _ = usual
    opened = [part.title for part in report.page.parts if not part.folded]
    assert opened == [
        "Verdicts",
        "Curves",
        "Differences and their intervals",
        "Caveats",
        "Reproduce this page",
    ]
    folded = [part.title for part in report.page.parts if part.folded]
    assert folded == [
        "Training time, and each seed",
        "Training and validation loss",
        "Learning rates",
        "All metrics, each loss at its best learning rate",
        "Epochs and seconds to 87.2 % validation accuracy",
        "Best validation accuracy to expect from a number of trials",
        "Errors by class and example",
        "All runs",
        "Methods",
    ]
    assert html.index("<h1>") < html.index('id="table-1"') < html.index('id="verdicts"')
    linked = re.findall(r'<a href="#([^"]+)">', html)
    ids = {attributes["id"] for _, attributes in read(html).tags if attributes.get("id")}
    assert {part.id for part in report.page.parts} <= set(linked) <= ids


def test_the_title_answers(usual: Any) -> None:
    _, report, html, _ = usual
    title = (
        "Compared with cross-entropy (ce), focal loss (focal gamma=3) and mean squared error (mse) "
        "are better."
    )
    assert f"<title>{title}</title>" in html and report.page.title == title
    assert text(html).count(title) == 2  # in the title and in the heading
    table = report.tables["answer"]
    assert [row[0].value for row in table.rows] == ["mse", "focal gamma=3", "ce"]  # the best first
    verdicts_of = {row[0].text: row[table.keys.index("verdict")].text for row in table.rows}
    assert verdicts_of == {
        "mean squared error (mse)": "better",
        "focal loss (focal gamma=3)": "better",
        "cross-entropy (ce)": "reference",
    }


@pytest.mark.parametrize(
    ("losses", "seeds", "expected"),
    first(
        1,
        [
            (
                ["ce", "brier", "focal", "gce", "mae", "mse"],
                range(10),
                "5 losses compared with cross-entropy (ce): 5 better.",
            ),
            (["ce"], range(2), "Cross-entropy (ce) is the only loss here: test accuracy 91."),
            (
                ["ce", "mse"],
                range(10),
                "Mean squared error (mse) is better than cross-entropy (ce): +",
            ),
            (["ce", "mse"], [0], "against cross-entropy (ce) is undecided (one seed): +"),
        ],
    ),
)
def test_the_title_of_few_and_of_many_losses(losses: Any, seeds: Any, expected: str) -> None:
    assert expected in made(*runs(losses, seeds=seeds))[1].page.title


def test_every_loss_has_a_name_that_people_know() -> None:
    options = {path.stem for path in (generate.CONF / "loss").glob("*.yaml")}
    assert set(LOSS_NAMES) == options
    documented = (generate.CONF.parent / "docs" / "losses.md").read_text(encoding="utf-8")
    for option, name in LOSS_NAMES.items():
        (row,) = re.findall(rf"^\| `{option}` \| ([^|]+) \|", documented, flags=re.MULTILINE)
        words = set(re.findall(r"\w+", name.lower())) - {"of", "and", "the"}
        assert words <= set(re.findall(r"\w+", row.lower())), (name, row)


def test_the_page_needs_nothing_from_the_network(usual: Any) -> None:
    html = usual[2]
    assert not re.search(
        r"https?:|//[a-z]", re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    )
    for tag, attributes in read(html).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "default-src 'none'" in html


def test_every_figure_has_a_text_for_those_who_do_not_see_it(usual: Any) -> None:
    _, report, html, markdown = usual
    images = [attributes for _, attributes in read(html).tags if attributes.get("role") == "img"]
    assert len(images) == len(report.figures) == 13
    assert all(len(image["aria-label"] or "") > 60 for image in images)
    for name in report.figures:
        assert f"](figures/{name}.svg)" in markdown
    for name in report.tables.keys() - FILES_ALONE:
        assert f"(tables/{name}.csv)" in markdown


def test_figures_drawn_in_two_processes_are_those_of_one(
    usual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "LEAST", 2)
    figures = [replace(each) for each in list(usual[1].figures.values())[:2]]
    formats = ("png", "svg")
    with palette.style():
        drawings.draw(figures, "column", formats)
        for each in figures:
            one = drawings.drawings(each.draw, each.number, "column", formats)
            assert each.drawn == one and one.files.keys() == set(formats)
            assert f"#f{each.number}w-" in one.wide and f"#f{each.number}n-" in one.narrow
        figures[1] = replace(figures[1], draw=partial(int, "no figure"))
        with pytest.raises(ValueError, match="no figure"):
            drawings.draw(figures, "page", formats)


def test_drawings_share_their_styles_and_have_the_type_of_the_page(usual: Any) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", usual[2], flags=re.DOTALL))
    head = usual[2].partition("</style>")[0]
    classes = set(re.findall(r' class="(d\d+)"', drawn))
    assert len(classes) > 20 and " style=" not in drawn
    assert all(f"\n.{name} {{ " in head for name in classes)
    assert "font-family: var(--sans)" in head and "'DejaVu" not in head + drawn


def test_no_id_is_used_twice(usual: Any) -> None:
    ids = [attributes["id"] for _, attributes in read(usual[2]).tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20


def test_tables_can_be_sorted_by_value(usual: Any) -> None:
    reader = read(usual[2])
    cells = [attributes for tag, attributes in reader.tags if tag == "td"]
    assert cells and all("data-value" in attributes for attributes in cells)
    headings = [tag for tag, _ in reader.tags if tag == "th"]
    assert len([tag for tag, _ in reader.tags if tag == "button"]) == len(headings) > 0
    numbers = [
        attributes["data-value"] for attributes in cells if attributes.get("class") == "number"
    ]
    assert all(value == "" or math.isfinite(float(value or "nan")) for value in numbers)


def test_light_dark_and_paper(usual: Any) -> None:
    html = usual[2]
    for wanted in ("prefers-color-scheme: dark", "@media print", "size: A4", "break-inside: avoid"):
        assert wanted in html
    css = (render.TEMPLATES / "page.css").read_text(encoding="utf-8")
    for variable in palette.CSS_VARIABLES.values():
        assert css.count(f"{variable}:") == 3, variable  # light, dark, paper
    light = css.split("@media")[0]
    for color, variable in palette.CSS_VARIABLES.items():
        assert f"{variable}: {color};" in light


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


def test_one_seed_is_all_undecided_without_intervals() -> None:
    (section,), _, html, _ = made(*runs(seeds=[3]))
    assert set(section.headline["verdict"]) == {"undecided"}
    words = text(html)
    assert words.count("is undecided (one seed):") == 2 and "no interval" in words
    assert "it compares two networks, not two losses, so every verdict is undecided" in words
    assert "without a confidence band (n = 1)" in words
    assert not re.search(r"\d \[", words)  # no number has an interval in brackets
    assert "lr=0.01,0.03,0.1 epochs=3 'seed=range(3,13)'" in words  # ten, at every rate


def test_one_loss_has_nothing_to_be_compared_with() -> None:
    (section,), report, html, _ = made(*runs(["ce"]))
    assert not len(section.headline)
    assert "Only ce was run here: there is nothing to compare it with." in text(html)
    assert "contrasts" not in report.figures


def test_runs_that_all_failed_make_an_honest_page() -> None:
    summary, curves = runs()
    summary["outcome"] = "failed"
    metrics = [name for name in summary if name.startswith(("test_", "val_"))]
    summary[metrics] = np.nan
    (section,), report, html, _ = made(summary, curves.iloc[:0])
    words = text(html)
    assert "there is nothing to compare" in words
    assert "0 of 90 runs ended well; 0 diverged; 90 failed; 0 killed; 0 missing." in words
    assert report.figures == {}
    assert set(section.headline["verdict"]) == {"undecided"}


@pytest.mark.slow
def test_a_seed_that_was_added_for_other_losses_is_not_called_left_out() -> None:
    summary, curves = runs()
    added = (summary["loss"] == "mse") & (summary["seed"] >= 8)  # two seeds of ce and focal alone
    lost = (summary["loss"] == "mse") & (summary["seed"] == 3) & (summary["lr"] == 0.03)
    (section,), *_ = made(summary[~added & ~lost], curves)
    facts = {term: text for term, text, *_ in caveats.facts(section)}
    assert facts["Left out"].endswith("of each pair: mse at 0.03 seed 3 (missing).")
    (section,), *_ = made(summary[~added], curves)
    assert section.headline.set_index("a").loc["mse", "n"] == 8
    assert "Left out" not in {term for term, *_ in caveats.facts(section)}


def test_what_is_missing_failed_or_diverged_is_counted_and_said() -> None:
    summary, curves = runs()
    chosen = summary[(summary["loss"] == "mse") & (summary["lr"] == 0.03)].index
    summary.loc[chosen[9], "outcome"] = "failed"
    lost = (summary["loss"] == "mse") & (summary["seed"] == 8)
    summary.loc[lost, "outcome"] = "diverged"
    summary.loc[summary.index[0], "outcome"] = "running"
    summary = summary.drop(index=chosen[7])
    (section,), _, html, _ = made(summary, curves, missing=2, notes=["a note of the reader"])
    words = text(html)
    assert (
        "84 of 90 runs ended well; 3 diverged; 1 failed; 0 killed; 2 missing; 1 still running, "
        "not counted." in words
    )
    assert "mse at 0.03 seed 7 (missing)" in words and "mse at 0.03 seed 9 (failed)" in words
    assert "1 of 8 runs of mse diverged" in words
    assert "Without a result (failed or killed): 1 run of mse." in words
    assert "a note of the reader" in words
    assert words.count("2 runs of the sweep's own grid have never been run.") == 1
    assert section.headline.set_index("a").loc["mse", "n"] == 8  # the one that diverged counts


def test_lines_over_fewer_runs_are_told_of_only_where_these_are_fewer_at_the_end() -> None:
    def words(*rows: tuple[str, int, int, str]) -> str:
        bands = pd.DataFrame(rows, columns=["loss", "epoch", "n", "part"]).assign(low=0.0)
        return band_words(bands).removesuffix(", bands are pointwise 95 % intervals of the mean.")

    every = "Lines are means over 5 runs per loss"
    assert words(("ce", 0, 1, "t"), ("ce", 1, 5, "t")) == every
    assert words(("ce", 1, 5, "t"), ("ce", 1, 3, "v")) == every
    fewer = words(("ce", 1, 5, "t"), ("ce", 2, 4, "t"), ("ce", 3, 2, "t"), ("mse", 1, 5, "t"))
    assert fewer == f"{every} (from epoch 2 on over fewer, 2 runs at the end)"


def test_methods_say_what_seeds_share_only_of_what_was_compared() -> None:
    (section,) = analysis.sections(*runs(("ce", "mse"), rates=(0.1,)), Question(), predictions)
    assert methods(section)["paired"] is True
    unknown = replace(section, contrasts=section.contrasts.assign(n=0))
    assert methods(unknown)["paired"] is None


def test_verdicts_are_not_called_the_others_where_none_stands_above() -> None:
    losses = ("ce", "mse", *(f"focal gamma={gamma}" for gamma in range(8)))
    (section,), _, html, _ = made(*runs(losses, rates=(0.1,), seeds=range(5)))
    undecided = (section.headline["verdict"] == "undecided").sum()
    assert (undecided, len(section.headline)) == (0, 9)
    assert "The 9 verdicts one by one" in text(html)


def test_free_text_keeps_its_punctuation() -> None:
    sentence = "expected a , b ; c .5, got d"
    where = [{"loss": "mine", "rates": ["0.1"], "n": 1, "of": 1}]
    values = {"where": where, "texts": 1, "sentence": sentence}
    assert say("check", values, file="facts.jinja").endswith(f": {sentence}.")


def test_the_answer_of_several_settings_counts_the_verdicts_of_each_loss() -> None:
    def answer(*rows: tuple[str, str]) -> SimpleNamespace:
        return SimpleNamespace(
            rows=[{"a": a, "verdict": verdict} for a, verdict in rows], reference="ce"
        )

    few = [answer(("mse", "better"), ("x", "worse")), answer(("mse", "undecided"), ("x", "worse"))]
    assert say("answer", few).endswith(" is better in 1, undecided in 1; x is worse in 2.")
    many = [answer(*((loss, "better" if loss < "c" else "worse") for loss in "abcd"))] * 2
    assert say("answer", many).endswith(" (ce): 4 better, 4 worse.")


def test_early_stopping_says_what_was_trained_and_over_how_many_runs_lines_are() -> None:
    setting = "digits, mlp, sgd, constant, batch size 100"
    summary, curves = runs(("ce", "mse"), rates=(0.03,), seeds=range(5), setting=setting)
    ended = (curves["seed"] > 0) & (curves["loss"] == "mse") & (curves["epoch"] > 2)
    curves = curves[~ended]
    last = summary["run_id"].map(curves.groupby("run_id")["epoch"].max())
    summary = summary.assign(
        **{"stop_trained_epochs": last, "stop_tested_epoch": 1.0, "stop.patience": 1, "epochs": 3}
    )
    summary["optimizer._target_"] = "paddle.optimizer.RMSProp"
    (section,), report, html, _ = made(summary, curves)
    assert "· RMSProp, constant learning rate ·" in text(html)
    facts = {term: text for term, text, *_ in caveats.facts(section)}
    assert facts["Early stopping"].endswith("that ended well: ce 15 of 15; mse 11 of 15.")
    short = summary["seed"] > 3
    several = summary.assign(
        epochs=summary["epochs"].mask(short, 4), outcome=summary["outcome"].mask(short, "failed")
    )
    several.loc[short & (several["loss"] == "ce"), "outcome"] = "ok"
    facts = dict(fact[:2] for fact in caveats.facts(replace(section, runs=several)))
    assert facts["Early stopping"].endswith(
        ": ce (at most 3 epochs) 12 of 12; mse (at most 3 epochs) 9 of 12; "
        "ce (at most 4 epochs) 3 of 4."
    )
    lines = "means over 5 runs per loss (from epoch 3 on over fewer, 1 run at the end), bands"
    assert lines in captions(report)["accuracy"]
    assert "Test accuracy after the best epoch" in captions(report)["final"]
    assert "early stopping (patience 1)" in text(html) and "for at most 3 epochs" in text(html)
    at_end = section.bands[section.bands["epoch"] == 3].set_index("loss")
    assert at_end["n"].to_dict() == {"ce": 5, "mse": 1}
    assert section.bands.groupby("loss")["seconds"].last().to_dict() == {"ce": 1.5, "mse": 1.5}


def test_a_loss_of_which_nothing_ended_well_says_why_it_is_undecided() -> None:
    summary, curves = runs(seeds=range(2), rates=(0.03,))
    gone = summary["loss"] == "mse"
    summary.loc[gone, "outcome"] = "failed"
    summary.loc[gone, ["val_accuracy", "test_accuracy"]] = np.nan
    (section,), _, html, _ = made(summary, curves)
    told = (
        "mse against ce is undecided: there is no test accuracy of both to compare (all 2 runs "
        "of mse failed)."
    )
    assert told in text(html)
    comparisons = verdicts.document([section], {})["contrasts"]
    at_rate = told.replace("of mse", "of mse at learning rate 0.03")
    assert [comparison["sentence"] for comparison in comparisons if comparison["a"] == "mse"] == [
        told,
        at_rate,
    ]
    (item,) = re.findall(
        r"<p><span[^>]*>undecided</span> mse against ce.*?</li>", html, flags=re.DOTALL
    )
    assert "loss=mse,ce lr=0.03 epochs=3" in item  # runs what failed again


@pytest.mark.parametrize(
    ("losses", "seeds", "outcome", "of", "kept", "metric"),
    with_slow(
        [
            (
                ("ce", "focal gamma=3", "mse"),
                range(10),
                "diverged",
                "loss == 'mse'",
                "",
                "test_accuracy",
            ),
            (("ce", "mse"), range(6), "ok", "", "(loss == 'ce') == (seed < 3)", "test_accuracy"),
        ],
        [
            (("ce", "mse"), range(10), "failed", "loss == 'mse'", "", "test_accuracy"),
            (("ce", "mse"), range(3), "diverged", "loss in ['ce', 'mse']", "", "test_accuracy"),
            (
                ("ce", "focal gamma=3"),
                range(5),
                "diverged",
                "loss == 'ce' and seed < 4",
                "",
                "test_nll",
            ),
            (("ce", "mse"), [0], "ok", "", "", "test_accuracy"),
            (("ce",), range(3), "ok", "", "", "test_accuracy"),
            (("ce", "mse"), range(2), "ok", "", "(loss == 'ce') == (seed < 1)", "test_nll"),
            (("ce", "mse"), range(4), "ok", "", "loss == 'ce' or lr < 0.02", "test_accuracy"),
        ],
    ),
)
def test_no_text_says_nan_inf_or_none(
    losses: tuple[str, ...],
    seeds: Any,
    outcome: str,
    of: str,
    kept: str,
    metric: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary, curves = runs(losses, seeds=seeds)
    if of:
        gone = summary.eval(of)
        summary.loc[gone, "outcome"] = outcome
        summary.loc[gone, [name for name in summary if name.startswith(("test_", "val_"))]] = np.nan
    summary = summary.query(kept).reset_index(drop=True) if kept else summary
    curves = curves[curves["run_id"].isin(summary["run_id"])]
    sections, report, html, markdown = made(summary, curves, Question(metric=metric))
    said = [text(html), markdown, *(page_table.to_latex(table) for table in report.tables.values())]
    rows = sections[0].contrasts.to_dict("records")
    said += [words for row in rows for words in (sentences.sentence(row), sentences.needed(row))]
    quick = report.figures.keys() & {"final", "contrasts", "epochs"}
    drawn = [report.figures[name].figure for name in sorted(quick)]
    said += [each.get_text() for figure in drawn for each in figure.findobj(Text)]
    printing.print_verdicts(sections)
    said.append(capsys.readouterr().out)
    assert not [words for words in said if re.search(r"\b(nan|NaN|inf|None)\b", words)]
    if outcome == "failed":
        assert "mse seeds 0 to 9 (no rate)" in text(html)
    elif of == "loss == 'mse'":
        assert "10 of 10 runs of mse diverged" in text(html)


def captions(report: page_report.Report) -> dict[str, str]:
    found = {}
    for part in render.every_part(report.page.parts):
        values = [part.values.get("figure"), *part.values.get("figures", [])]
        found |= {each.name: each.caption for each in values if each}
    return found


def test_captions_say_over_how_many_runs_and_what_bands_mean(usual: Any) -> None:
    _, report, _, _ = usual
    said = captions(report)
    assert set(said) == set(report.figures)
    lines = "Lines are means over 10 runs per loss, bands are pointwise 95 % intervals of the mean."
    for name in ("accuracy", "accuracy-time", "own-losses"):
        assert lines in said[name]
    assert "Ticks are runs, marks are means over 10 runs per loss. Bars are 95 %" in said["final"]
    assert "(n = 10 pairs of runs) and the verdicts. Bars are 95 %" in said["contrasts"]
    assert "over 10 runs per cell; framed" in said["heat-map"]
    assert "that its tuning seeds (0 to 9) chose" in said["heat-map"]
    for name, caption in said.items():
        assert re.search(r"\b(\d+|one) (pairs? of )?runs?\b", caption), name


@pytest.mark.slow
def test_captions_of_one_seed_and_of_two_stages() -> None:
    one = captions(made(*runs(seeds=[3]))[1])
    assert "Each line is one run, without a confidence band (n = 1)." in one["accuracy"]
    assert "(one pair of runs) and the verdicts" in one["contrasts"]
    assert "over 1 run per loss." in one["final"] and "95 %" not in one["final"]
    summary, curves = runs(("ce", "mse"))
    summary = summary[(summary["seed"] < 2) | (summary["lr"] == 0.03)]
    two = captions(made(summary, curves[curves["run_id"].isin(summary["run_id"])])[1])
    assert "over 2 to 10 runs per cell" in two["heat-map"]
    assert "that its tuning seeds (0, 1) chose" in two["heat-map"]
    assert "means over 10 runs per loss" in two["accuracy"]
    unlike = summary[(summary["loss"] == "ce") | (summary["lr"] == 0.03) | (summary["seed"] > 0)]
    three = captions(made(unlike, curves[curves["run_id"].isin(unlike["run_id"])])[1])
    assert "tuning seeds (those with a run at every rate) chose" in three["heat-map"]


def test_tuning_seeds_that_cannot_be_say_of_which_setting_and_length() -> None:
    with pytest.raises(QuestionError) as error:
        made(*runs(seeds=[0], setting="digits, lenet5"), Question(tuning_seeds=(0,)))
    assert str(error.value) == (
        "tuning_seeds [0] leave none to evaluate: the runs of 3 epochs have the seeds [0], in the "
        "setting digits, lenet5"
    )


@pytest.mark.slow
def test_without_a_second_rate_there_are_no_figures_of_rates_and_their_table_stays() -> None:
    one = made(*runs(seeds=range(2), rates=(0.03,)))[1]
    assert not {"learning-rates", "heat-map"} & one.figures.keys()
    assert [row[1].value for row in one.tables["rates"].rows] == [0.03] * 3
    summary, curves = runs(seeds=range(2))
    own = summary["lr"] == summary["loss"].map({"ce": 0.01, "focal gamma=3": 0.03, "mse": 0.1})
    each = made(summary[own], curves)  # each loss at a rate of its own
    assert not {"learning-rates", "heat-map"} & each[1].figures.keys()
    assert "Learning rates" in text(each[2]) and "rates" in each[1].tables
    assert {"learning-rates", "heat-map"} <= made(summary, curves)[1].figures.keys()


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


def test_hashes_that_differ_are_reported() -> None:
    summary, curves = runs()
    summary.loc[(summary["loss"] == "mse") & (summary["seed"] == 5), "init_hash"] = "other"
    _, _, html, _ = made(summary, curves)
    assert (
        "NOT proved for 1 of 2 contrasts, analyzed as unpaired: mse and ce: init_hash differs at "
        "seed 5" in text(html)
    )
    assert "not all comparisons are in pairs of runs with the same seed" in text(html)
    assert "a seed fixes the split" not in text(html)


def test_settings_are_never_pooled() -> None:
    one, curves = runs(seeds=range(3))
    other, more = runs(seeds=range(3), setting="digits, convnet")
    other["run_id"] = "b" + other["run_id"]
    more["run_id"] = "b" + more["run_id"]
    both, every = (
        pd.concat([one, other], ignore_index=True),
        pd.concat([curves, more], ignore_index=True),
    )
    sections, report, html, _ = made(
        both, every, read_predictions=lambda run_id: predictions(run_id[-7:])
    )
    assert [len(section.runs) for section in sections] == [27, 27]
    words = text(html)
    assert "Setting 1 of 2: Digits, convnet" in words and "Setting 2 of 2: Digits, mlp" in words
    assert [part.folded for part in report.page.parts[:2]] == [False, True]
    assert {"setting-1-accuracy", "setting-2-accuracy"} <= set(report.figures)


@pytest.mark.slow
def test_what_is_missing_from_the_grid_of_a_sweep_is_said_once_for_all_settings() -> None:
    one, curves = runs(seeds=range(2))
    both = pd.concat(
        [one, one.assign(setting="other", run_id="b" + one["run_id"])], ignore_index=True
    )
    _, _, html, _ = made(
        both, curves, read_predictions=lambda run_id: None, missing=7, notes=["a note"]
    )
    words = text(html)
    assert words.count("7 runs of the sweep's own grid have never been run.") == 1
    assert words.count("a note") == 1
    assert "Caveats of all settings" in words


def test_losses_that_were_run_for_other_lengths_are_compared_there() -> None:
    summary, curves = runs(epochs=(2, 3), seeds=range(8))
    summary = summary[(summary["epochs"] == 2) | (summary["loss"] != "mse")]
    (section,), report, html, _ = made(
        summary,
        curves,
        overrides=["experiment=x"],
        sweeps=[("id1", "one\n$(sweep)"), ("id2", "other")],
    )
    assert section.shown == ["ce", "focal gamma=3"] and section.lengths == [3, 2]
    words = text(html)
    assert "Not run for 3 epochs, and so not compared there: mse." in words
    assert "generate report experiment=x where.epochs=2" in words
    assert [row[0].value for row in report.tables["losses"].rows] == ["focal gamma=3", "ce"]
    pairs = [(row[1].value, row[3].value) for row in report.tables["contrasts"].rows]
    assert pairs == [("focal gamma=3", 3), ("focal gamma=3", 2), ("mse", 2)]
    assert "mse is better than ce" in words
    assert "These runs are of 2 sweeps" in words
    assert "generate report experiment=x sweep=id1 # one $(sweep)" in words


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


def test_an_edge_is_said_with_the_command_that_extends_the_grid() -> None:
    _, _, html, _ = made(*runs(rates=(0.01, 0.03)))
    words = text(html)
    assert (
        "the best learning rate is at the edge of the grid for ce at the highest rate (0.03)"
        in words
    )
    assert "loss=ce,mse lr=0.1 epochs=3 'seed=range(10)' model=mlp data=digits" in words
    assert "loss=focal loss.gamma=3.0 lr=0.1 " in words


@pytest.mark.slow
def test_images_that_cannot_be_had_are_said_to_be_missing() -> None:
    _, _, html, _ = made(*runs(seeds=range(2)), images="no network")
    assert "The test examples cannot be shown: no network." in text(html)
    _, _, html, _ = made(*runs(seeds=range(2)), images=IMAGES[:9])
    assert "not the test set of these runs" in text(html)
    _, _, html, _ = made(*runs(seeds=range(2)), read_predictions=lambda run_id: None)
    assert "No run here stored its predictions" in text(html)


def test_a_metric_that_a_head_does_not_have() -> None:
    (section,), _, html, _ = made(*runs(), Question(metric="test_nll"))
    assert "mse against ce is undecided: there is no test NLL of both to compare." in text(html)
    assert section.headline.set_index("a").loc["focal gamma=3", "family"] == 1
    (mse,) = re.findall(
        r"<p><span[^>]*>undecided</span> mse against ce.*?</li>", html, flags=re.DOTALL
    )
    assert "<details>" not in mse  # no number of seeds would give it one
    assert "Test NLL after the last epoch" in text(html)


@pytest.mark.parametrize("place", with_slow(["loss"], ["setting", "note", "experiment"]))
def test_hostile_names_stay_text(place: str) -> None:
    losses = ["ce", HOSTILE] if place == "loss" else ["ce", "mse"]
    summary, curves = runs(losses, seeds=range(2))
    if place == "setting":
        summary = summary.assign(
            setting=HOSTILE, setting_text=HOSTILE, data=HOSTILE, git_commit=HOSTILE
        )
    changes: dict[str, Any] = {
        "note": {"notes": [HOSTILE]},
        "experiment": {"experiments": [HOSTILE]},
    }.get(place, {})
    _, report, html, markdown = made(summary, curves, **changes)
    tags = [tag for tag, _ in read(html).tags]
    assert tags.count("script") == 1 and tags.count("svg") == 2 * len(report.figures)
    assert not any(
        name.startswith("on") for _, attributes in read(html).tags for name in attributes
    )
    prose = re.sub(r"(?ms)^(`{3,})sh\n.*?^\1$", "", markdown)
    assert "<script" not in prose and not re.search(r"(?<!\\)\]\(javascript", prose)
    for name, table in report.tables.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert r"\frac" not in page_table.to_latex(table)


# ---- tables --------------------------------------------------------------------------------------


def table(*names: str) -> Table:
    frame = pd.DataFrame({"loss": names, "value": -1.5, "low": -2.0, "high": -1.0, "none": np.nan})
    value = Column("value", "value (%)", ends=("low", "high"))
    columns = [Column("loss", "loss", form=page_table.name_cell), value, Column("none", "d_z")]
    return page_table.tabulate("t", "caption", frame, columns)


def test_an_interval_reaches_no_further_than_values_can_be() -> None:
    frame = pd.DataFrame({"x": [0.8], "low": [0.4], "high": [1.2]})
    column = Column("x_percent", "x", "x", scale=100, ends=("low", "high"), bounds=(0, 1))
    found = page_table.tabulate("t", "caption", frame, [column])
    assert found.rows[0][0].text == "80.00 [40.00, 100.00]"
    assert page_table.to_csv(found).splitlines() == ["x_percent,low,high", "80.0,40.0,120.0"]


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


# ---- verdicts ------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    **{"a": "focal", "b": "ce", "metric": "test_accuracy", "unit": "points"},
    **{"n": 10, "n_a": 10, "n_b": 10, "planned_n": 10, "paired": True, "interval": "two-way"},
    **{"difference": 0.21, "low": 0.05, "high": 0.37, "p_holm": 0.012, "margin": 0.1, "family": 3},
    **{"generalises": "new seeds and new examples", "at_these_rates": False, "outliers": []},
    **{"detectable": 0.3, "seeds_needed": math.nan, "reason": "too few seeds", "p_better": 0.8},
    **{"diverged_a": 0, "diverged_b": 0, "failed_a": 0, "failed_b": 0, "survivors_n": 0},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"verdict": "better"},
            "focal is better than ce: +0.21 points of test accuracy (95 % interval +0.05 to "
            "+0.37, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {
                **{"verdict": "better", "generalises": "new seeds, on this test set"},
                **{"at_these_rates": True},
            },
            "focal is better than ce at these learning rates: +0.21 points of test accuracy (95 % "
            "interval +0.05 to +0.37 on this test set, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "equivalent", "difference": 0.0, "low": -0.02, "high": 0.02},
            "focal is equivalent to ce within ±0.1 points: +0.00 points of test accuracy (95 % "
            "interval −0.02 to +0.02, 10 pairs of runs).",
        ),
        (
            {"verdict": "undecided", "low": -143.2, "high": 143.6},
            "focal against ce is undecided (too few seeds): +0.21 points of test accuracy (95 % "
            "interval −100.00 to +100.00, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "undecided", "paired": False, "n_b": 9},
            "focal against ce is undecided (too few seeds): +0.21 points of test accuracy (95 % "
            "interval +0.05 to +0.37, unpaired, 10 and 9 runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "undecided", "n": 0},
            "focal against ce is undecided: there is no test accuracy of both to compare.",
        ),
        (
            {
                **{"verdict": "undecided", "n": 1, "generalises": ONE_SEED},
                **{"difference": -45.1, "low": -46.1, "high": -44.0},
            },
            "focal against ce is undecided (one seed). These two networks differ on new examples: "
            "−45.10 points of test accuracy (95 % interval −46.10 to −44.00). Whether the losses "
            "differ needs more seeds.",
        ),
        (
            {"verdict": "undecided", "n": 1, "generalises": ONE_SEED, "low": -0.1},
            "focal against ce is undecided (one seed). These two networks do not clearly differ on "
            "new examples: +0.21 points of test accuracy (95 % interval −0.10 to +0.37). Whether "
            "the losses differ needs more seeds.",
        ),
        (
            {
                **{"verdict": "undecided", "outliers": ["seed 4 of focal (11.00 %)"]},
                **{"reason": "not to be trusted", "median": 0.3, "trimmed_mean": 0.25},
            },
            "focal against ce is undecided (not to be trusted): +0.21 points of test accuracy (95 "
            "% interval +0.05 to +0.37, 10 pairs of runs, Holm p = 0.012). Outlying: seed 4 of "
            "focal (11.00 %). Robust measures: median +0.30 points, trimmed mean +0.25 "
            "points.",
        ),
        (
            {
                **{"verdict": "worse", "diverged_a": 4, "failed_b": 1, "survivors_n": 6},
                **{"survivors_difference": 0.5, "survivors_low": 0.1, "survivors_high": 0.9},
            },
            "focal is worse than ce: +0.21 points of test accuracy (95 % interval +0.05 to +0.37, "
            "10 pairs of runs, "
            "Holm p = 0.012). 4 of 10 runs of focal diverged and count with the accuracy of the "
            "best constant answer. "
            "Without them: +0.50 points (95 % interval +0.10 to +0.90, 6 pairs). "
            "Without a result (failed or killed): 1 run of ce.",
        ),
        (
            {
                **{
                    "verdict": "worse",
                    "interval": "ranks",
                    "generalises": "new seeds, on this test set",
                    "difference": math.nan,
                    "p_better": 0.0,
                },
                **{"diverged_a": 10},
            },
            "focal is worse than ce: better test accuracy with probability 0.00 (by ranks on this "
            "test set, 10 pairs of runs, Holm p = 0.012). 10 of 10 runs of focal diverged and "
            "count as worse than every run that ended well.",
        ),
    ],
)
def test_a_verdict_in_words(changes: dict[str, Any], words: str) -> None:
    assert sentences.sentence(ROW | changes) == words


def test_what_it_would_take_in_words() -> None:
    undecided = ROW | {"verdict": "undecided"}
    assert sentences.needed(ROW | {"verdict": "better"}) == ""
    assert sentences.needed(undecided | {"n": 1, "generalises": ONE_SEED}) == ""
    seeds = {"seeds_needed_low": 21.0, "seeds_needed": 34.0, "seeds_needed_high": 75.0}
    assert sentences.needed(undecided | seeds) == (
        "10 seeds show a difference of 0.3 points with 80 % power. 21 to 75 seeds would decide "
        "with 80 % power: half of the differences and spreads that fit these runs need a number in "
        "this range."
    )
    assert " 21 or more seeds " in sentences.needed(
        undecided | seeds | {"seeds_needed_high": math.inf}
    )
    assert "up to 10,000" in sentences.needed(undecided | {"seeds_needed": math.inf})
    assert [texts.amount(value, "points") for value in (99.4, 99.6, 720, 1)] == [
        *("99 points", "100 points", "720 points", "1 point")
    ]
    assert sentences.needed(undecided | {"detectable": 720.0}) == (
        "10 seeds show no difference at all with 80 % power."
    )
    rates = undecided | {"reason": "rates", "weakest": [0.03, 0.1]}
    assert "with focal at 0.03 and ce at 0.1. Validation does not" in sentences.needed(rates)
    assert "not to be trusted" in sentences.needed(undecided | {"reason": "not to be trusted"})


def test_verdicts_can_be_derived_again_and_a_changed_number_is_named() -> None:
    summary, curves = runs()
    sections = analysis.sections(summary, curves, Question(), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {"experiment": "e"})))
    design = {
        "view",
        "epochs",
        "metric",
        "a",
        "b",
        "n",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "verdict",
        "run_ids",
    }
    assert all(design <= set(comparison) for comparison in content["contrasts"])
    assert {comparison["view"] for comparison in content["contrasts"]} == {"best", "equal"}
    assert verdicts.check(content, summary) == []

    more = pd.concat(
        [summary, summary.assign(run_id="x" + summary["run_id"], seed=summary["seed"] + 100)]
    )
    assert verdicts.check(content, more) == []  # runs that came later change no earlier verdict

    changed = json.loads(json.dumps(content))
    changed["contrasts"][0]["difference"] += 1e-3
    changed["contrasts"][1]["verdict"] = "worse"
    broken = verdicts.check(changed, summary)
    assert len(broken) == 2
    assert (
        broken[0].startswith("focal gamma=3 better against ce (best rates, 3 epochs")
        and "difference was" in broken[0]
    )
    assert "verdict was worse, is better" in broken[1]

    moved = summary.copy()
    moved.loc[moved["loss"] == "mse", "test_accuracy"] += 0.001 * moved["seed"]
    broken = verdicts.check(content, moved)  # of the family, so Holm's p moves, too
    assert broken and all("mse" in line or "p_holm was" in line for line in broken)

    renamed = summary.assign(loss=summary["loss"].where(summary["loss"] != "ce", "ce weight=1"))
    assert (
        verdicts.check(content, renamed) == []
    )  # other runs in the store may lengthen a label, and change no verdict
    swapped = summary.assign(loss_option=summary["loss_option"].replace("mse", "brier"))
    assert any(
        "mse" in line and "can no longer be derived" in line
        for line in verdicts.check(content, swapped)
    )

    gone = verdicts.check(content, summary[summary["loss"] != "mse"])
    assert gone and any(
        "can no longer be derived" in line and "no longer in the store" in line for line in gone
    )


def test_metrics_in_the_file_are_as_typed_and_earlier_files_with_columns_still_hold() -> None:
    summary, curves = runs(seeds=range(3))
    sections = analysis.sections(summary, curves, Question(metric="test_ece_scaled"), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    assert content["question"]["metric"] == "test/ece_scaled"
    assert {comparison["metric"] for comparison in content["contrasts"]} == {"test/ece_scaled"}
    earlier = json.loads(json.dumps(content).replace("test/ece_scaled", "test_ece_scaled"))
    assert earlier["question"]["metric"] == "test_ece_scaled"
    assert verdicts.check(content, summary) == verdicts.check(earlier, summary) == []
    summary["test_ece_scaled"] += 0.001 * summary["seed"] * (summary["loss"] == "ce")
    assert (
        len(verdicts.check(content, summary))
        == len(verdicts.check(earlier, summary))
        == sum(comparison["n"] > 0 for comparison in content["contrasts"])
    )


def test_what_has_no_number_is_null_in_the_file() -> None:
    sections = analysis.sections(*runs(seeds=[0]), Question(), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    assert (
        content["contrasts"][0]["low"] is None and content["contrasts"][0]["verdict"] == "undecided"
    )
    assert verdicts.check(content, runs(seeds=[0])[0]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected a verdicts.json"),
        ('{"contrasts": []}', "expected a verdicts.json"),
    ],
)
def test_a_file_that_is_no_verdicts(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(text)
    with pytest.raises(verdicts.CheckError, match=message):
        verdicts.read(path)
    with pytest.raises(verdicts.CheckError, match="cannot read"):
        verdicts.read(tmp_path / "none.json")


# ---- commands ------------------------------------------------------------------------------------


def test_commands_name_what_differs_from_the_defaults_and_hydra_reads_them() -> None:
    summary, _ = runs()
    summary = summary.assign(
        batch_size=50,
        optimizer="momentum",
        **{"data.label_noise": 0.2, "data.validation_size": 360, "stop.patience": 3.0},
    )
    summary["data.root"] = "/somewhere"
    lines = commands.run_command(
        ["ce", "focal gamma=3"],
        [0.03],
        range(12),
        summary,
        epochs=3,
        experiment="it's",
        uri="http://h:1",
    )
    assert lines == [
        "python experiments/run.py -m loss=ce lr=0.03 epochs=3 'seed=range(12)' model=mlp "
        "data=digits optimizer=momentum "
        "batch_size=50 data.label_noise=0.2 stop.patience=3 'experiment=\"it'\"'\"'s\"' "
        "tracking.uri=http://h:1",
        "python experiments/run.py -m loss=focal loss.gamma=3.0 lr=0.03 epochs=3 'seed=range(12)' "
        "model=mlp data=digits "
        "optimizer=momentum batch_size=50 data.label_noise=0.2 stop.patience=3 "
        "'experiment=\"it'\"'\"'s\"' tracking.uri=http://h:1",
    ]
    overrides = OverridesParser.create().parse_overrides(shlex.split(lines[0])[3:])
    values = {override.key_or_group: override.value() for override in overrides}
    assert values["experiment"] == "it's" and values["data.label_noise"] == 0.2


@pytest.mark.parametrize(
    ("evaluation", "needed", "tuning", "expected"),
    [
        (range(10), 20, [], list(range(20))),
        (range(2, 10), 12, [0, 1], list(range(2, 14))),
        (range(2), 4, [7], [0, 1, 8, 9]),
        ([0, 5], 4, [], [0, 5, 6, 7]),
        ([], 2, [0, 1], [2, 3]),
        (range(10), 4, [], list(range(10))),
    ],
)
def test_seeds_to_reach(
    evaluation: Any, needed: float, tuning: list[int], expected: list[int]
) -> None:
    assert commands.seeds_to_reach(evaluation, needed, tuning) == expected


@pytest.mark.parametrize(
    ("grid", "edge", "expected"),
    [
        ([0.003, 0.01, 0.03], "high", [0.1]),
        ([0.003, 0.01, 0.03, 0.1], "high", [0.3]),
        ([0.01, 0.1], "high", [0.3]),
        ([0.01, 0.1], "low", [0.003]),
        ([0.015, 0.03], "high", [0.1]),
        ([0.0003, 0.001], "low", [0.0001]),
        ([0.5, 2.0], "high", [10.0]),
    ],
)
def test_a_grid_is_extended_by_half_a_decade_as_the_program_extends_it(
    grid: list[float], edge: str, expected: list[float]
) -> None:
    assert commands.wider_rates(grid, edge) == expected
    best = max(grid) if edge == "high" else min(grid)
    assert sorted([*grid, *expected]) == tuning.extended(grid, [best])


def test_a_command_for_a_loss_of_ones_own_says_what_it_lacks() -> None:
    summary, _ = runs(("ce", "focal gamma=3", "mine"))
    lines = commands.run_command(
        ["ce", "focal gamma=3", "mine"], [0.03], range(2), summary, epochs=3
    )
    assert lines == [
        "python experiments/run.py -m loss=ce,mine lr=0.03 epochs=3 'seed=range(2)' model=mlp "
        "data=digits  "
        "# uses options of your own: add --config-dir and PYTHONPATH as for the first run",
        "python experiments/run.py -m loss=focal loss.gamma=3.0 lr=0.03 epochs=3 'seed=range(2)' "
        "model=mlp data=digits",
    ]
    assert shlex.split(lines[0], comments=True)[-1] == "data=digits"
    (line,) = commands.run_command(["ce"], [0.03], [0], summary.assign(model="tiny"), epochs=3)
    assert line.endswith(
        "model=tiny data=digits  # uses options of your own: add --config-dir and PYTHONPATH as "
        "for the first run"
    )


def test_a_command_for_versions_of_a_loss_says_which_code_it_runs() -> None:
    summary, _ = runs(("ce", "ce@1a2b3c4", "ce@5d6e7f8", "mse"))
    summary["loss_option"] = summary["loss"].str.partition("@")[0]
    now = "  # runs the code as it is now, which adds runs to no other version"
    (line,) = commands.run_command(
        ["ce@1a2b3c4", "ce@5d6e7f8", "mse"], [0.03], range(2), summary, epochs=3
    )
    assert "loss=ce,mse " in line and line.endswith(now)
    (line,) = commands.run_command(["ce", "mse"], [0.03], range(2), summary, epochs=3)
    assert "loss=ce,mse " in line and "#" not in line


def test_the_page_says_whether_its_question_was_declared_before_the_runs() -> None:
    asked = Declared(
        "parent", "answer", pd.Timestamp("2026-01-02 03:04", tz="UTC"), "test/accuracy", None, "ce",
        3, (0, 1, 2),
    )  # fmt: skip
    summary, curves = runs(("ce", "mse"), seeds=range(4), rates=(0.03,))

    def told(*declared: Declared, **question: Any) -> tuple[str, set[str]]:
        sections = analysis.sections(
            summary, curves, Question(**question), predictions, declared=declared
        )
        content = verdicts.document(sections, {})
        return basis(sections[0]), {each["standing"] for each in content["contrasts"]}

    text, standing = told(asked)
    assert "Confirmatory: exactly this question was declared on 2026-01-02 03:04 UTC" in text
    assert standing == {"confirmatory", "exploratory"}  # the second view was not declared
    text, standing = told(replace(asked, seeds=(0, 9)))
    assert "Exploratory: 1 of the 2 declared seeds have no run. Declared on 2026-01-02" in text
    assert standing == {"exploratory"}
    for other in (
        told(replace(asked, metric="test/nll")),
        told(replace(asked, reference="mse")),
        told(asked, margin=0.3),
        told(asked, all_pairs=True),
    ):
        assert "another question was declared" in other[0] and other[1] == {"exploratory"}
    for none in (told(), told(replace(asked, sweep="another"))):
        assert "Exploratory: no question was declared" in none[0]


def test_the_deciding_command_is_on_the_page() -> None:
    summary, curves = runs(seeds=range(2), rates=(0.03,))
    (section,), _, html, _ = made(summary, curves)  # two pairs say nothing of how many it takes
    assert section.headline["reason"].tolist() == ["too few seeds"] * 2
    assert "epochs=3 'seed=range(10)' model=mlp data=digits" in text(html)
    summary, curves = runs(seeds=range(3), rates=(0.03,))
    ce = summary.loc[summary["loss"] == "ce", "test_accuracy"].to_numpy()
    summary.loc[summary["loss"] == "focal gamma=3", "test_accuracy"] = ce + np.array(
        [0.03, 0.05, -0.01]
    )
    (section,), _, html, _ = made(summary, curves)
    row = section.headline.iloc[0]
    assert (row["verdict"], row["reason"]) == ("undecided", "too few seeds")
    assert (
        "Losses are compared by test accuracy after 3 epochs, at learning rate 0.03. Intervals"
        in text(html)
    )
    assert (
        f"loss=focal loss.gamma=3.0 lr=0.03 epochs=3 'seed=range({row['seeds_needed']:.0f})' "
        "model=mlp data=digits" in text(html)
    )


def test_the_caveats_raise_no_alarm_when_all_is_well() -> None:
    (section,) = analysis.sections(*runs(), Question(), predictions)
    facts = caveats.facts(section)
    assert caveats.about_the_store(0, []) == []
    assert [fact.term for fact in facts if fact.alarm] == []
    dirty = runs()[0].assign(git_dirty=True)
    (other,) = analysis.sections(dirty, runs()[1], Question(), predictions)
    assert dict(fact[:2] for fact in caveats.facts(other))["Code"] == (
        "commit 0123456789; 90 of 90 runs were made with changes that are not committed (tracked "
        "changes are in changes.diff); "
        "digests of the code that computed the numbers: ce 1111111, focal gamma=3 2222222, mse "
        "3333333; no files of the user."
    )
    by_term = {term: words for term, words, *_ in facts}
    assert by_term["Runs"] == "All 90 runs ended well, 30 of each loss."
    assert by_term["Budget"] == "equal: each loss had 30 finished trials to choose its rate from."
    assert by_term["Pairing"].startswith("proved")
    assert by_term["Code"] == (
        "commit 0123456789, nothing uncommitted; digests of the code that computed the numbers: "
        "ce 1111111, focal gamma=3 2222222, mse 3333333; no files of the user."
    )
    assert by_term["Wall time"] == "3 min over all runs of this setting."


def test_an_unequal_budget_at_other_epochs_is_said() -> None:
    summary, curves = runs(("ce", "mse"), seeds=range(2), epochs=(3, 5))
    fewer = (summary["loss"] == "mse") & (summary["epochs"] == 3) & (summary["lr"] > 0.01)
    (section,) = analysis.sections(summary[~fewer], curves, Question(), predictions)
    (budget,) = [fact for fact in caveats.facts(section) if fact.term == "Budget"]
    assert budget.alarm and budget.text == (
        "equal: each loss had 6 finished trials to choose its rate from. After 3 epochs: UNEQUAL: "
        "finished trials to choose the rate from: ce 6, mse 2."
    )


# ---- more seeds ----------------------------------------------------------------------------------

FIVE = ("ce", "brier", "focal", "gce", "mae")


def close_rates(seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Five losses at two rates that are nearly as good.

    Brier is worse, the others are hardly apart.
    """
    summary, curves = runs(FIVE, rates=(0.03, 0.1), seeds=range(seeds))
    rng = np.random.default_rng(6)
    noise = {
        (loss, lr, seed): rng.normal(0, 0.004, 2)
        for seed in range(seeds)
        for loss in FIVE
        for lr in (0.03, 0.1)
    }
    bias = summary["loss"].map({"brier": -0.03, "focal": 0.002}).fillna(0.0)
    keys = list(zip(summary["loss"], summary["lr"], summary["seed"], strict=True))
    for place, name in enumerate(("val_accuracy", "test_accuracy")):
        own = np.array([noise[key][place] for key in keys])
        summary[name] = (500 * (0.95 + bias + own)).round() / 500
    return summary, curves


Asked = set[tuple[str, float, int]]


def asked_for(section: Section) -> Asked:
    """The runs that the commands beside undecided verdicts ask for."""
    more_runs = MoreRuns(section, source())
    asked: Asked = set()
    for row in section.headline.to_dict("records"):
        for line in more_runs.deciding(row):
            words = shlex.split(line, comments=True)[3:]
            values = {
                each.key_or_group: list(each.sweep_iterator())
                if each.is_sweep_override()
                else [each.value()]
                for each in OverridesParser.create().parse_overrides(words)
            }
            asked |= {
                (str(loss), float(lr), int(seed))
                for loss in values["loss"]
                for lr in values["lr"]
                for seed in values["seed"]
            }
    return asked


def those(frame: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    keys = zip(frame["loss"], frame["lr"], frame["seed"], strict=True)
    return frame[[key in asked for key in keys]]


def test_more_seeds_as_the_page_asks_lose_no_pair_and_no_verdict() -> None:
    """Five losses, two close rates, 10 seeds.

    Brier is worse, and the page asks for more seeds of others.
    """
    summary, curves = close_rates(120)
    there = {(loss, lr, seed) for loss in FIVE for lr in (0.03, 0.1) for seed in range(10)}
    (before,) = analysis.sections(those(summary, there), curves, Question(), predictions)
    first = before.headline.set_index("a")
    assert (first["n"] == 10).all() and first.loc["brier", "verdict"] == "worse"
    assert before.split.tuning == before.split.evaluation == tuple(range(10))
    asked = asked_for(before)
    undecided = set(first.index[first["verdict"] == "undecided"])
    assert undecided and {loss for loss, _, _ in asked} == {"ce", *undecided}
    assert {lr for _, lr, _ in asked} == {0.03, 0.1}  # every new seed chooses, too
    assert asked > {key for key in there if key[0] in undecided}

    (after,) = analysis.sections(those(summary, there | asked), curves, Question(), predictions)
    second = after.headline.set_index("a")
    assert second.loc["brier", "verdict"] == "worse" and second.loc["brier", "n"] == 10
    for loss in undecided:
        seeds = {seed for name, _, seed in asked if name == loss and seed < 120}
        assert second.loc[loss, "n"] == len(seeds) >= min(first.loc[loss, "seeds_needed"], 120)
        tuned = after.chosen.set_index("loss").loc[loss, "tuning_seeds"]
        assert set(tuned) == seeds  # all of them chose
    lost = {tuple(each)[:3] for drops in second["dropped"] for each in drops}
    assert not lost & asked
    evaluated = after.evaluated[after.evaluated["loss"] == "brier"]
    assert set(evaluated["seed"]) == set(range(10))


@pytest.mark.slow
def test_more_seeds_of_a_two_stage_sweep_run_at_the_chosen_rates_alone() -> None:
    summary, curves = close_rates(60)
    tuned = {(loss, lr, seed) for loss in FIVE for lr in (0.03, 0.1) for seed in range(2)}
    question = Question(tuning_seeds=(0, 1))
    rates = dict(choose_rates(those(summary, tuned))[["loss", "lr"]].itertuples(index=False))
    there = tuned | {(loss, lr, seed) for loss, lr in rates.items() for seed in range(2, 10)}
    for asks in (question, Question()):  # also where the report is not told which seeds chose
        (before,) = analysis.sections(those(summary, there), curves, asks, predictions)
        assert before.split.two_stage and set(before.chosen["tuning_seeds"]) == {(0, 1)}
        asked = asked_for(before)
        assert asked and {(loss, lr) for loss, lr, _ in asked} <= set(rates.items())
        (after,) = analysis.sections(those(summary, there | asked), curves, asks, predictions)
        assert after.chosen["lr"].tolist() == before.chosen["lr"].tolist()
        n = before.headline.set_index("a")["n"]
        assert (n == (8 if asks is question else 10)).all()
        assert (after.headline.set_index("a")["n"] >= n).all()
        assert after.split.evaluation[: len(before.split.evaluation)] == before.split.evaluation


def test_a_loss_that_diverges_is_worse_and_the_page_says_how_often() -> None:
    summary, curves = runs(("ce", "focal", "mse"), rates=(0.03,), seeds=range(10))
    lost = (summary["loss"] == "mse") | ((summary["loss"] == "focal") & (summary["seed"] > 5))
    summary.loc[lost, "outcome"] = "diverged"
    summary.loc[lost, [name for name in summary if name.startswith(("test_", "val_"))]] = np.nan
    (section,), _, html, _ = made(summary, curves)
    assert section.diverged_as == 0.1  # a tenth of the labels
    rows = section.headline.set_index("a")
    assert rows["n"].tolist() == [10, 10] and rows["diverged_a"].tolist() == [4, 10]
    assert rows.loc["mse", "verdict"] == "worse"
    assert rows.loc["focal", "reason"] == "not to be trusted"  # the exact test does not agree
    assert rows.loc["focal", "survivors_n"] == 6
    words = text(html)
    assert "10 of 10 runs of mse diverged and count with the accuracy of the best" in words
    assert "4 of 10 runs of focal diverged" in words and "Without them: +0.3" in words
    assert not re.search(r"\bnan\b", words)
    content = json.loads(verdicts.write(verdicts.document([section], {})))
    assert content["settings"][0]["diverged_as"] == 0.1
    counted = {comparison["a"]: comparison["diverged_a"] for comparison in content["contrasts"]}
    assert counted == {"focal": 4, "mse": 10}
    assert verdicts.check(content, summary) == []
    (section,), _, html, _ = made(summary, curves, Question(metric="test_nll"))
    rows = section.headline.set_index("a")
    assert rows["interval"].tolist() == ["ranks", "ranks"] and "by ranks" in text(html)
    assert rows.loc["mse", "verdict"] == "worse" and not re.search(r"\bnan\b", text(html))
