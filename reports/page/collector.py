"""The figures and tables of a page, numbered across its settings, with their files.

A figure or a table becomes a file of its own name; those of a second setting begin with its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from reports.figures import palette
from reports.page.caveats import Fact
from reports.page.figure import PageFigure
from reports.page.render import Listing, Page, Part, Picture, anchor
from reports.page.table import Table


@dataclass
class Report:
    """A page with its files: figures (file name without suffix -> Figure) and tables."""

    page: Page
    figures: dict[str, Figure] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    checklist: str = ""


class Collector:
    """Makes parts of figures and tables, and keeps their files in `report`.

    looks: of each loss. front: the losses with a color of their own. width: of the figures' files,
    a name in `palette.WIDTHS`. prefix: of the names of files and anchors.
    """

    def __init__(
        self, looks: Mapping[str, palette.Look], front: Sequence[str], width: str = "page"
    ) -> None:
        self.looks, self.front, self.width = looks, front, width
        self.report = Report(Page("", "", Part("", "")))
        self.prefix = ""

    def picture(self, made: PageFigure | None) -> Picture | None:
        """A figure of the page, with its file."""
        if made is None:
            return None
        name = self.prefix + made.name
        number = len(self.report.figures) + 1
        figure, drawing, inline = self._drawn(made, number)
        self.report.figures[name], self.report.drawings[name] = figure, drawing
        return Picture(name, made.caption, made.alt, **inline)

    def _drawn(self, made: PageFigure, number: int) -> tuple[Figure, str, dict[str, str]]:
        """The figure of the file, its SVG, and what the page shows: wide, and on a phone narrow."""
        drawn, inline = {}, {}
        for width, kind in (("page", "wide"), ("column", "narrow")):
            with palette.style(width=width):
                figure = made.draw()
                drawing = palette.svg(figure)
            inline[kind] = palette.inline(drawing, f"f{number}{kind[0]}", figure)
            drawn[width] = figure, drawing
        return *drawn[self.width], inline

    def table(self, table: Table | None) -> Listing | None:
        """A table of the page, with its files."""
        if table is None:
            return None
        name = self.prefix + table.name
        self.report.tables[name] = table
        return Listing(table, name)

    def part(
        self, title: str, template: str, values: Mapping[str, Any], *, folded: bool = False
    ) -> Part:
        """A part of the current setting."""
        return Part(title, template, values, folded=folded, anchor=f"{self.prefix}{title}")

    def figures(
        self,
        title: str,
        figures: Sequence[PageFigure | None],
        listings: Sequence[Table | None] = (),
        *,
        folded: bool = True,
    ) -> Part | None:
        """A part of figures with their numbers; None where there are none of either."""
        made = [self.picture(figure) for figure in figures if figure is not None]
        tabled = [self.table(each) for each in listings if each is not None]
        if not made and not tabled:
            return None
        values = {"figures": made, "tables": tabled, "kind": ""}
        return self.part(title, "figures.jinja", values, folded=folded)

    def facts(self, facts: Sequence[Fact], kind: str) -> list[Fact]:
        """The facts with an id each, to which labels link."""
        return [
            fact._replace(id=anchor(f"{self.prefix}{kind}-{fact.term}-{place}"))
            for place, fact in enumerate(facts)
        ]
