"""The drawings of a figure for the page and for files; those of a page use two processes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import processes
from reports.figures import palette

if TYPE_CHECKING:
    from reports.page.figure import PageFigure

LEAST = 4
"""So many figures take longer to draw than the processes to start."""


@dataclass(frozen=True)
class Drawings:
    """Of the page, wide and on a phone narrow, and the contents of files by their suffix."""

    wide: str
    narrow: str
    files: dict[str, str | bytes]


def drawings(figure: PageFigure, width: str = "page", formats: Sequence[str] = ()) -> Drawings:
    """Draw a figure. Call inside `palette.style()`.

    Args:
        figure: The figure.
        width: Of the files, a name in `palette.WIDTHS`.
        formats: Suffixes of the files: svg, png, pdf.
    """
    # It tells each step of embedding a font in a PDF, to the handler that Paddle installs.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    inline: dict[str, str] = {}
    files: dict[str, str | bytes] = {}
    for each, letter in (("page", "w"), ("column", "n")):
        with palette.style(width=each):
            canvas = figure.draw()
            drawing = palette.svg(canvas)
        inline[each] = palette.inline(drawing, f"f{figure.number}{letter}", canvas)
        if each == width:
            files = {"svg": drawing} if "svg" in formats else {}
            others = {"png": palette.png, "pdf": palette.pdf}
            files |= {kind: others[kind](canvas) for kind in formats if kind in others}
    return Drawings(inline["page"], inline["column"], files)


def draw(figures: Iterable[PageFigure], width: str, formats: Sequence[str]) -> None:
    """Draw all figures of a page, with their files. Call inside `palette.style()`."""
    figures = list(figures)
    one = functools.partial(drawings, width=width, formats=formats)
    with processes.forks(processes.CORES if len(figures) >= LEAST else 0) as pool:
        drawn = pool.map(one, figures) if pool else map(one, figures)
        for figure, each in zip(figures, drawn, strict=True):
            figure.drawn = each
