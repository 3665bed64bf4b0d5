"""The figures and tables of a page, numbered across its settings.

A figure or a table becomes a file of its own name; those of a second setting begin with its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reports.figures import palette
from reports.page.caveats import Fact
from reports.page.figure import PageFigure
from reports.page.render import Page, Part, anchor
from reports.page.table import Table


@dataclass
class Report:
    """A page with its figures and tables, by the names of their files without suffix."""

    page: Page
    figures: dict[str, PageFigure] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    checklist: str = ""


class Collector:
    """Makes parts of figures and tables, and keeps these in `report`.

    looks: of each loss. front: the losses with a color of their own. prefix: of the names of files
    and anchors.
    """

    def __init__(self, looks: Mapping[str, palette.Look], front: Sequence[str]) -> None:
        self.looks, self.front = looks, front
        self.report = Report(Page("", "", Part("", "")))
        self.prefix = ""

    def picture(self, figure: PageFigure | None) -> PageFigure | None:
        """A figure with its name and number on the page."""
        if figure is None:
            return None
        number = len(self.report.figures) + 1
        figure = replace(figure, name=self.prefix + figure.name, number=number)
        self.report.figures[figure.name] = figure
        return figure

    def table(self, table: Table | None) -> Table | None:
        """A table of the page, with the name of its files."""
        if table is None:
            return None
        table = replace(table, name=self.prefix + table.name)
        self.report.tables[table.name] = table
        return table

    def part(
        self, title: str, template: str, values: Mapping[str, Any], *, folded: bool = False
    ) -> Part:
        """A part of the current setting."""
        return Part(title, template, values, folded=folded, anchor=f"{self.prefix}{title}")

    def figures(
        self,
        title: str,
        figures: Sequence[PageFigure | None],
        tables: Sequence[Table | None] = (),
        *,
        folded: bool = True,
    ) -> Part | None:
        """A part of figures with their numbers; None where there are none of either."""
        numbered = [self.picture(figure) for figure in figures if figure is not None]
        named = [self.table(each) for each in tables if each is not None]
        if not numbered and not named:
            return None
        values = {"figures": numbered, "tables": named, "kind": ""}
        return self.part(title, "figures.jinja", values, folded=folded)

    def facts(self, facts: Sequence[Fact], kind: str) -> list[Fact]:
        """The facts with an id each, to which labels link."""
        return [
            fact._replace(id=anchor(f"{self.prefix}{kind}-{fact.term}-{place}"))
            for place, fact in enumerate(facts)
        ]
