"""The page as parts, and its two forms: one HTML file, and Markdown with separate figures.

A part has a template of its own, which is written once: it calls the macros of `ui`, and these are
html.jinja or markdown.jinja. Whatever a template prints is escaped for its form, so every text that
comes from outside stays text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markupsafe import Markup, escape

from reports import texts
from reports.page import table as page_table
from reports.texts import TEMPLATES, say

if TYPE_CHECKING:
    from reports.page.caveats import Fact
    from reports.page.under_way import Progress


@dataclass(frozen=True)
class Part:
    """A part of the page: a heading, what its template makes of the values, and smaller parts.

    folded: a reader opens it.
    """

    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    folded: bool = False
    anchor: str = ""

    @property
    def id(self) -> str:
        """What links to it point at."""
        return anchor(self.anchor or self.title)


@dataclass(frozen=True)
class Page:
    """title: the answer, plain text. losses: name, option and number of the look of each.

    figure_format: of the files that the Markdown shows. progress: of a sweep under way.
    """

    title: str
    subtitle: str
    top: Part
    parts: Sequence[Part] = ()
    losses: Sequence[Mapping[str, Any]] = ()
    figure_format: str = "svg"
    progress: Progress | None = None


def to_html(page: Page) -> str:
    """One file: style, script and drawings inside, nothing from the network."""
    environment = _environment("html")
    inside = {
        name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
        for name in ("page.css", "page.js")
    }
    body, styles = _styles_apart(_body(environment, page))
    html = environment.get_template("page.html").render(
        page=page,
        body=body,
        progress=say("progress", page.progress) if page.progress else "",
        css=inside["page.css"] + styles,
        js=inside["page.js"],
    )
    return re.sub(r"\n\s*\n+", "\n", html)


def _styles_apart(body: str) -> tuple[Markup, Markup]:
    """The body with a class in place of each style in a drawing, and the rules of these classes.

    Drawings have the same few styles thousands of times: half of a page.
    """
    names: dict[str, str] = {}

    def named(tag: re.Match[str]) -> str:
        return f'{tag[1]} class="{names.setdefault(tag[2], f"d{len(names)}")}"'

    style = re.compile(r'(<(?![^>]* class=)[^>]*) style="([^"]*)"')
    body = re.sub(r"<svg.*?</svg>", lambda svg: style.sub(named, svg[0]), body, flags=re.DOTALL)
    rules = "\n".join(f".{name} {{ {rule} }}" for rule, name in names.items())
    return Markup(body), Markup(rules)


def to_markdown(page: Page) -> str:
    """Markdown that shows the figures in figures/ and links to the tables in tables/."""
    environment = _environment("markdown", page.figure_format)
    body = _body(environment, page)
    head = f"# {page_table.markdown(page.title)}\n\n{page_table.markdown(page.subtitle)}\n\n"
    return re.sub(r"\n{3,}", "\n\n", head + body).strip("\n") + "\n"


def checklist(settings: Sequence[tuple[Sequence[Fact], Sequence[str]]]) -> str:
    """A file that answers the questions of checklists by the caveats and words of settings."""
    return _environment("markdown").get_template("checklist.jinja").render(settings=settings)


def anchor(text: str) -> str:
    """A heading's id: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "section"


def _body(environment: Environment, page: Page) -> Markup:
    numbers: dict[str, list[str]] = environment.globals["numbers"]  # type: ignore[assignment]
    numbers.clear()
    top = environment.get_template(page.top.template).render(**page.top.values)
    return Markup(top) + Markup("").join(_part(environment, each, 2) for each in page.parts)


def _part(environment: Environment, part: Part, level: int) -> Markup:
    inside = Markup(environment.get_template(part.template).render(**part.values))
    inside += Markup("").join(_part(environment, each, level + 1) for each in part.parts)
    ui: Any = environment.globals["ui"]
    return Markup(ui.part(part, inside, level))


@functools.cache
def _environment(form: str, figure_format: str = "svg") -> Environment:
    """Templates for "html" or "markdown"."""
    finalize = _escaped_for_markdown if form == "markdown" else None
    environment = texts.environment(True, finalize=finalize)
    environment.filters |= FILTERS
    numbers: dict[str, list[str]] = {}

    def place_of(kind: str, name: str) -> int:
        """The place of a figure or a table among those that the page shows."""
        names = numbers.setdefault(kind, [])
        if name not in names:
            names.append(name)
        return names.index(name) + 1

    environment.globals |= {"place_of": place_of, "numbers": numbers}
    environment.globals["figure_format"] = figure_format
    environment.globals["ui"] = environment.get_template(f"{form}.jinja").module
    return environment


def _escaped_for_markdown(value: Any) -> Any:
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    before, after = (" " if end.isspace() else "" for end in (text[:1], text[-1:]))
    return Markup(before + page_table.markdown(text) + after)


def _fenced(lines: Sequence[str]) -> Markup:
    """A block of code; the fence is longer than any in it."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}sh\n{text}\n{fence}")


def _interval_apart(text: str) -> Markup:
    """A cell whose interval stays on one line."""
    value, bracket, interval = text.partition(" [")
    return (
        Markup('{} <span class="ci">[{}</span>').format(value, interval)
        if bracket
        else escape(text)
    )


FILTERS: dict[str, Any] = {
    "raw": Markup,
    "anchor": anchor,
    "fenced": _fenced,
    "interval_apart": _interval_apart,
    "markdown_table": lambda table: Markup(page_table.to_markdown(table)),
}
