"""The drawings of a figure for the page and for files; those of a page are made in two processes.

The processes are forks, which cost little and have all that the figures are made from.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from reports.figures import palette

if TYPE_CHECKING:
    from reports.page.figure import PageFigure

PROCESSES = 2
LEAST = 4
"""So many figures take longer to draw than the processes to start."""


@dataclass(frozen=True)
class Drawings:
    """Of the page, wide and on a phone narrow, and the contents of files by their suffix."""

    wide: str
    narrow: str
    files: dict[str, str | bytes]


def drawings(
    draw: Callable[[], Figure], number: int, width: str = "page", formats: Sequence[str] = ()
) -> Drawings:
    """Draw a figure. Call inside `palette.style()`.

    Args:
        draw: Draws it at the width of the current style.
        number: Its place on the page.
        width: Of the files, a name in `palette.WIDTHS`.
        formats: Suffixes of the files: svg, png, pdf.
    """
    inline: dict[str, str] = {}
    files: dict[str, str | bytes] = {}
    for each, letter in (("page", "w"), ("column", "n")):
        with palette.style(width=each):
            figure = draw()
            drawing = palette.svg(figure)
        inline[each] = palette.inline(drawing, f"f{number}{letter}", figure)
        if each == width:
            files = {"svg": drawing} if "svg" in formats else {}
            others = {"png": palette.png, "pdf": palette.pdf}
            files |= {kind: others[kind](figure) for kind in formats if kind in others}
    return Drawings(inline["page"], inline["column"], files)


def draw(figures: Iterable[PageFigure], width: str, formats: Sequence[str]) -> None:
    """Draw all figures of a page, with their files. Call inside `palette.style()`."""
    figures = list(figures)
    one = functools.partial(_drawn, width=width, formats=formats)
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < PROCESSES or len(figures) < LEAST:
        for figure in figures:  # elsewhere a fork may not use the system's libraries
            figure.drawn = one(figure)
        return
    with (
        warnings.catch_warnings(),
        ProcessPoolExecutor(
            PROCESSES,
            multiprocessing.get_context("fork"),
            signal.signal,
            (signal.SIGINT, signal.SIG_IGN),  # Ctrl-C ends this process, which ends its forks
        ) as pool,
    ):
        # Of forks beside threads, from Python 3.12 on: the forks use nothing that threads lock.
        warnings.filterwarnings("ignore", r".*multi-threaded, use of fork", DeprecationWarning)
        for figure, drawn in zip(figures, pool.map(one, figures), strict=True):
            figure.drawn = drawn


def _drawn(figure: PageFigure, width: str, formats: Sequence[str]) -> Drawings:
    return drawings(figure.draw, figure.number, width, formats)
