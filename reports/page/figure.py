"""A figure of the page with its texts, and what all figures of a section share."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from reports import processes
from reports.analysis import Section
from reports.figures import palette
from reports.figures.palette import TOGETHER, Look, Losses
from reports.names import short_names
from reports.texts import say

_LINE = ["loss", "measure", "part"]
"""The columns that tell lines apart."""

PARALLEL_FROM = 4
"""So many figures take longer to draw than the processes to start."""


@dataclass(frozen=True)
class Drawings:
    """Of the page, wide and on a phone narrow, and the contents of files by their suffix."""

    wide: str
    narrow: str
    files: dict[str, str | bytes]


@dataclass
class PageFigure:
    """A figure that is ready to be drawn.

    alt: what it shows, in words and numbers. number: its place on the page.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    number: int = 0

    @functools.cached_property
    def drawn(self) -> Drawings:
        """What the page shows of it, and its files if they were drawn, too."""
        return drawings(self)


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


def draw_all(figures: Iterable[PageFigure], width: str, formats: Sequence[str]) -> None:
    """Draw all figures of a page, with their files. Call inside `palette.style()`."""
    figures = list(figures)
    one = functools.partial(drawings, width=width, formats=formats)
    with processes.forks(processes.CORES if len(figures) >= PARALLEL_FROM else 0) as pool:
        drawn = pool.map(one, figures) if pool else map(one, figures)
        for figure, each in zip(figures, drawn, strict=True):
            figure.drawn = each


def described(
    name: str, draw: Callable[[], Figure], alt: str = "", *, kind: str = "", text: str = "",
    **values: Any,
) -> PageFigure:  # fmt: skip
    """A figure with its caption.

    Args:
        name: of its file.
        draw: draws it at the width of the current style.
        alt: what follows the caption in the alternative text, the values.
        kind: of chart, which begins the alternative text.
        text: the macro of the caption in captions.jinja; empty: that of the figure's name.
        values: what the caption contains.
    """
    caption = say(text or name.replace("-", "_"), values, file="captions.jinja")
    return PageFigure(name, caption, " ".join(filter(None, (kind, caption, alt))), draw)


def losses_of(order: Sequence[str], looks: Mapping[str, Look], front: Sequence[str]) -> Losses:
    """The losses of figures, those in `front` in color."""
    return Losses(order, looks, short_names(order), [each for each in order if each not in front])


def in_front(sections: Sequence[Section]) -> list[str]:
    """The losses with a color of their own in every figure.

    They are the reference, the subjects and the best by the metric, or all losses if there are few.
    """
    losses = list(dict.fromkeys(loss for section in sections for loss in section.losses))
    if len(losses) <= TOGETHER:
        return losses
    ranks = pd.concat(
        [
            section.at_end(section.means)
            .set_index("loss")["mean"]
            .astype(float)
            .rank(ascending=not section.metric.higher_is_better)
            for section in sections
        ]
    )
    best = ranks.groupby(level=0).mean().sort_values(kind="stable").dropna().index
    first = [*(section.reference for section in sections), *sections[0].question.subjects]
    wanted = dict.fromkeys([*first, *map(str, best), *losses])
    return [loss for loss in wanted if loss in losses][:TOGETHER]


def span(counts: Iterable[int]) -> str:
    """The least and the most of the counts above 0: 3, or 2 to 10.

    >>> span([10, 2, 0, 3])
    '2 to 10'
    """
    distinct = sorted({int(count) for count in counts if count > 0}) or [0]
    return f"{distinct[0]}" if len(distinct) == 1 else f"{distinct[0]} to {distinct[-1]}"


def runs_behind(counts: Iterable[int]) -> str:
    """How many runs are behind each mean: 1 run, or 2 to 10 runs."""
    text = span(counts)
    return f"{text} run{'' if text == '1' else 's'}"


def band_words(bands: pd.DataFrame) -> str:
    """How many runs are behind the lines, and what the bands mean.

    bands: loss, epoch, low, n, and measure or part where there are several.
    """
    runs = runs_behind(bands.groupby("loss")["n"].max())
    text = f"Lines are means over {runs} per loss"
    lines = bands[bands["n"] > 0].groupby([*bands.columns.intersection(_LINE)])
    tails = [line[line["epoch"] > line.loc[line["n"] == line["n"].max(), "epoch"].max()]
             for _, line in lines]  # fmt: skip
    if tails := [tail.sort_values("epoch") for tail in tails if len(tail)]:
        first = min(int(tail["epoch"].iloc[0]) for tail in tails)
        at_end = runs_behind(tail["n"].iloc[-1] for tail in tails)
        text += f" (from epoch {first} on over fewer, {at_end} at the end)"
    if bands["low"].notna().any():
        return f"{text}, bands are pointwise 95 % intervals of the mean."
    text = "Each line is one run" if runs == "1 run" else text
    return f"{text}, without a confidence band (n = 1)."


def bar_words(means: pd.DataFrame) -> str:
    """What the bars mean; empty where there are none."""
    return " Bars are 95 % intervals of the mean." if means["low"].notna().any() else ""
