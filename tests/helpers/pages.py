"""Pages of reports: made from frames, and read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from helpers.synthetic_runs import TEST_SIZE, predictions
from reports import analysis
from reports.analysis import Section
from reports.figures import palette
from reports.gallery import Gallery
from reports.page import render
from reports.page import report as page_report
from reports.page.figure import Drawings, PageFigure
from reports.question import Question

IMAGES = np.zeros((TEST_SIZE, 28, 28), dtype=np.uint8)
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects tags with attributes and the text, and checks that what opens also closes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def text(html: str) -> str:
    return " ".join(" ".join(read(html).text).split())


def main(html: str) -> str:
    """The page without its list of contents."""
    return html[html.index("<main>") : html.index("</main>") + len("</main>")]


def source(**changes: Any) -> page_report.Source:
    values: dict[str, Any] = {
        "experiments": ["digits"],
        "chosen": [],
        "uri": None,
        "overrides": (),
        "missing": 0,
        "notes": [],
    }
    return page_report.Source(**(values | changes))


EMPTY = '<svg viewBox="0 0 1 1"></svg>'
NOT_DRAWN = Drawings(EMPTY, EMPTY, {})
"""An empty drawing, which takes no time; the texts of a figure are checked all the same."""


def make_page(
    summary: pd.DataFrame,
    curves: pd.DataFrame,
    question: Question | None = None,
    read_predictions: Callable[[str], Any] = predictions,
    images: Any = IMAGES,
    *,
    drawn: bool = False,
    losses_drawn: Gallery | None = None,
    **changes: Any,
) -> tuple[list[Section], page_report.Report, str, str]:
    """Sections, report, HTML and Markdown.

    Unless `drawn`, with empty drawings, which take no time.
    """
    sections = analysis.sections(summary, curves, question or Question(), read_predictions)
    with palette.style(), contextlib.ExitStack() as patches:
        if not drawn:
            patches.enter_context(mock.patch.object(PageFigure, "drawn", NOT_DRAWN))
        report = page_report.report(
            sections, source(**changes), lambda section: images, gallery=losses_drawn
        )
        return sections, report, render.to_html(report.page), render.to_markdown(report.page)


def every_part(parts: Sequence[render.Part]) -> Iterator[render.Part]:
    """The parts and all that are in them."""
    for part in parts:
        yield part
        yield from every_part(part.parts)


def captions(report: page_report.Report) -> dict[str, str]:
    """The caption of each figure on the page."""
    texts = {}
    for part in every_part(report.page.parts):
        figures = [part.values.get("figure"), *part.values.get("figures", [])]
        texts |= {figure.name: figure.caption for figure in figures if figure}
    return texts
