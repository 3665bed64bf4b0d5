"""The page as blocks, and its two forms: one HTML file, and Markdown with separate figures.

What the blocks say is decided in `reports.page.report`. Every text that comes from outside is
escaped here: Jinja2 with autoescape writes the HTML, `reports.page.table` escapes Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.page import table as page_table
from reports.page.table import Table

TEMPLATES = Path(__file__).resolve().parent / "templates"

MISSING_SEEDS = "The command that runs the missing seeds"


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2
    kind: str = "heading"


@dataclass(frozen=True)
class Text:
    """A paragraph; `alarm`: one that must not be overlooked."""

    text: str
    alarm: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Verdict:
    """A verdict in a sentence, what it would take to decide it, and the commands for that."""

    verdict: str
    sentence: str
    more: str = ""
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a section."""

    items: Sequence[Verdict]
    kind: str = "verdicts"


@dataclass(frozen=True)
class Picture:
    """A figure: its file name without suffix, its texts, and its SVG for the page."""

    number: int
    name: str
    caption: str
    alt: str
    drawing: str  # from `palette.inline`
    width: float  # points
    kind: str = "picture"


@dataclass(frozen=True)
class Listing:
    """A table and the name of its files, without suffix."""

    number: int
    table: Table
    name: str  # of its files, without suffix
    kind: str = "listing"


@dataclass(frozen=True)
class Facts:
    """Terms with what is to be said about each; alarming ones stand out."""

    items: Sequence[tuple[str, str, bool]]
    kind: str = "facts"


@dataclass(frozen=True)
class Commands:
    """Command lines to copy."""

    lines: Sequence[str]
    kind: str = "commands"


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens."""

    summary: str
    blocks: Sequence[Any]
    kind: str = "fold"


@dataclass(frozen=True)
class Page:
    """title: plain text. blocks: from top to bottom.

    figure_format: of the files that the Markdown shows.
    """

    title: str
    subtitle: str
    blocks: Sequence[Any] = field(default_factory=list)
    figure_format: str = "svg"


def to_html(page: Page) -> str:
    """One file: style, script and drawings inside, nothing from the network."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    parts = {
        name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
        for name in ("page.css", "page.js")
    }
    html = environment.get_template("page.html").render(
        page=page,
        css=parts["page.css"],
        js=parts["page.js"],
        safe=Markup,
        anchor=anchor,
        missing_seeds=MISSING_SEEDS,
    )
    return re.sub(r"\n\s*\n+", "\n", html)


def to_markdown(page: Page) -> str:
    """Markdown that shows the figures in figures/ and links to the tables in tables/."""
    parts = [f"# {page_table.markdown(page.title)}", page_table.markdown(page.subtitle)]
    for block in page.blocks:
        parts += _markdown(block, page.figure_format)
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def anchor(text: str) -> str:
    """A heading's id: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "section"


def _markdown(block: Any, figure_format: str) -> Iterator[str]:
    escape = page_table.markdown
    if isinstance(block, Heading):
        yield f"{'#' * block.level} {escape(block.text)}"
    elif isinstance(block, Text):
        yield f"**{escape(block.text)}**" if block.alarm else escape(block.text)
    elif isinstance(block, Verdicts):
        for item in block.items:
            line = f"- **{item.verdict}.** {escape(item.sentence)} {escape(item.more)}".rstrip()
            yield f"{line} {escape(MISSING_SEEDS)}:" if item.commands else line
            if item.commands:
                yield _fenced(item.commands)
    elif isinstance(block, Picture):
        yield f"![{escape(block.alt)}](figures/{block.name}.{figure_format})"
        yield f"*Figure {block.number}.* {escape(block.caption)}"
    elif isinstance(block, Listing):
        files = f"[CSV](tables/{block.name}.csv), [LaTeX](tables/{block.name}.tex)"
        yield f"*Table {block.number}.* {escape(block.table.caption)} ({files})"
        yield page_table.to_markdown(block.table)
    elif isinstance(block, Facts):
        yield "\n".join(f"- **{escape(term)}:** {escape(text)}" for term, text, _ in block.items)
    elif isinstance(block, Commands):
        yield _fenced(block.lines)
    elif isinstance(block, Fold):
        yield f"**{escape(block.summary)}**"
        for inner in block.blocks:
            yield from _markdown(inner, figure_format)
    else:
        raise TypeError(f"no such block: {block!r}")


def _fenced(lines: Sequence[str]) -> str:
    """A block of code; the fence is longer than any in it."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"
