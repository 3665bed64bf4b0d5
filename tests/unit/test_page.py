"""What every page of a report has: its parts, titles, figures, links and styles."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial
from html import unescape
from typing import Any

import numpy as np
import pytest
from helpers.marks import first, with_slow
from helpers.pages import every_part, main, make_page, read, text
from helpers.synthetic_runs import HOSTILE, measured, runs

from experiments.contract import LOSS_NAMES
from reports import generate, sentences
from reports.figures import palette
from reports.gallery import gallery
from reports.page import figure, render
from reports.page import table as page_table
from reports.texts import say

FILES_ALONE = {"curves", "denominators"}
"""Tables that the page does not show: too long, or said in a sentence."""


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
    markdown = make_page(summary, curves)[3]
    (command,) = re.findall(
        r" with 80 % power\. The command for 10 seeds:\n\n```sh\n(.*)\n```", markdown
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
        warnings=np.where(summary["loss"] == "mse", "dead-gradient", None),
        warning_texts=np.where(summary["loss"] == "mse", f"{remark}is that meant?", None),
        order_hash=np.where(summary["loss"] == "mse", "", summary["order_hash"]),
    )
    reason = f"its value is not finite at some logits, which it must be everywhere: {remark}end."
    _, report, html, markdown = make_page(
        summary,
        curves,
        losses_drawn=replace(gallery(summary, lambda run_id: None), missing={"mse": reason}),
        notes=[f"A note. {remark}It ends here."],
        missing=3,
        sweeps=[("1" * 32, "a|b"), ("2" * 32, "c")],
    )
    titles = [part.title for part in every_part(report.page.parts)]
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
        "All metrics, each loss at its own best learning rate",
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
        "Compared with cross-entropy (ce) by test accuracy: focal loss (focal gamma=3) and mean "
        "squared error (mse) are better."
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
                "5 losses compared with cross-entropy (ce) by test accuracy: 5 better.",
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
    assert expected in make_page(*runs(losses, seeds=seeds))[1].page.title


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
    monkeypatch.setattr(figure, "PARALLEL_FROM", 2)
    figures = [replace(each) for each in list(usual[1].figures.values())[:2]]
    formats = ("png", "svg")
    with palette.style():
        figure.draw_all(figures, "column", formats)
        for each in figures:
            one = figure.drawings(each, "column", formats)
            assert each.drawn == one and one.files.keys() == set(formats)
            assert f"#f{each.number}w-" in one.wide and f"#f{each.number}n-" in one.narrow
        figures[1] = replace(figures[1], draw=partial(int, "no figure"))
        with pytest.raises(ValueError, match="no figure"):
            figure.draw_all(figures, "page", formats)


def test_a_figure_as_pdf_logs_nothing(usual: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    each = next(iter(usual[1].figures.values()))
    with palette.style():
        drawn = figure.drawings(each, formats=("pdf",))
    assert drawn.files["pdf"][:4] == b"%PDF" and caplog.messages == []


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


def test_free_text_keeps_its_punctuation() -> None:
    sentence = "expected a , b ; c .5, got d"
    where = [{"loss": "mine", "rates": ["0.1"], "n": 1, "of": 1}]
    values = {"where": where, "texts": 1, "sentence": sentence}
    assert say("check", values, file="facts.jinja").endswith(f": {sentence}.")


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
    _, report, html, markdown = make_page(summary, curves, **changes)
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
