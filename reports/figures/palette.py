"""How every figure looks.

Colors, markers and line styles of the losses, the type, and the SVG that a page can tint.

Decides nothing about numbers. Figures are drawn in the colors below; an SVG that goes into a page
has them replaced by CSS variables, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from reports.figures.fonts import USUAL

INK, MUTED, FAINT, PAPER, ALARM = "#1b1d22", "#5c6068", "#d9dade", "#fffffe", "#b3261e"

# Okabe and Ito's palette, safe for the color-blind. Grey and brown replace its yellow, which paper
# does not show, and its black, which is the ink.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a4a2b", "#7f7f80")
# Of texts in these colors: as dark as 4.5 to 1 on paper asks for.
_TEXTS = ("#0068a3", "#a84300", "#007355", "#a3437a", "#7d5c06", "#1c6f9e", "#7a4a2b", "#66666a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p", "d", "8")
_DASHES = (
    "-",
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.5, 1.4, 1.5)),
    (0, (8, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)

TOGETHER = len(_COLORS)
"""So many losses are told apart in one panel: each has a color of its own."""

CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--faint",
    PAPER: "--paper",
    ALARM: "--alarm",
    **{color: f"--series-{index}" for index, color in enumerate(_COLORS)},
    **{color: f"--label-{index}" for index, color in enumerate(_TEXTS) if color not in _COLORS},
}

MOST_READ = 50  # values of a line that a page can show

WIDTHS = {"page": 6.9, "column": 3.35}
"""Inches of a figure over a page, or over a column and a phone; the type has 8 points at both."""

STYLE: Any = {
    "font.family": list(USUAL),
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "xtick.minor.visible": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "fairloss",
    "path.simplify": True,
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Look:
    """How one loss is drawn in every figure: its color, marker and dash.

    text: the color of its name. number: its place among the losses of the page.
    """

    color: str
    marker: str
    dash: str | tuple
    text: str
    number: int

    def gid(self, kind: str) -> str:
        """The id of an artist of this loss, by which a page can highlight it."""
        return f"{kind}|{self.number}"


def looks(losses: Sequence[str]) -> dict[str, Look]:
    """A look for each loss, by its place in the list; no two of the first 56 are alike."""
    return {
        loss: Look(
            _COLORS[i % TOGETHER],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i % len(_DASHES)],
            _TEXTS[i % TOGETHER],
            i,
        )
        for i, loss in enumerate(losses)
    }


@dataclass(frozen=True)
class Losses:
    """The losses of a figure.

    order: in which they are shown. looks: how each is drawn. names: how each is called on the
    figure. behind: those that are drawn in grey, behind the others.
    """

    order: Sequence[str]
    looks: Mapping[str, Look]
    names: Mapping[str, str]
    behind: Collection[str] = ()

    def only(self, losses: Iterable[str]) -> Losses:
        """Those among `losses`, in the same order."""
        kept = set(losses)
        return replace(
            self,
            order=[loss for loss in self.order if loss in kept],
            behind=[loss for loss in self.behind if loss in kept],
        )

    @property
    def front(self) -> list[str]:
        """Those in color."""
        return [loss for loss in self.order if loss not in self.behind]

    @property
    def grey(self) -> list[str]:
        """Those in grey."""
        return [loss for loss in self.order if loss in self.behind]

    @property
    def others(self) -> str:
        """What the grey ones are called, together."""
        return f"{len(self.behind)} other{'' if len(self.behind) == 1 else 's'}, in grey"


def tint(color: str) -> LinearSegmentedColormap:
    """From nothing to a half of `color`: words stay legible on it, on light paper and on dark."""
    red, green, blue, _ = to_rgba(color)
    return LinearSegmentedColormap.from_list(
        "tint", [(red, green, blue, 0.0), (red, green, blue, 0.55)]
    )


@contextlib.contextmanager
def style(fallback: Sequence[str] = (), width: str | None = None) -> Iterator[None]:
    """A context with matplotlib's defaults and the project's style, whatever the user's settings.

    Args:
        fallback: Families for characters that the usual ones lack. A style inside keeps those of
            the style around it.
        width: A name in `WIDTHS`. A style inside keeps that of the style around it; without one it
            is that of a page.
    """
    current = mpl.rcParams["font.family"]
    inside = current[: len(USUAL)] == list(USUAL)
    kept = current[len(USUAL) :] if inside else []
    inches = WIDTHS[width] if width else mpl.rcParams["figure.figsize"][0]
    inches = inches if inches in WIDTHS.values() else WIDTHS["page"]
    own = {"font.family": [*USUAL, *kept, *fallback], "figure.figsize": (inches, 4.0)}
    with mpl.style.context(["default", STYLE, own]):
        yield


@style()
def svg(figure: Figure) -> str:
    """The figure as a file of SVG; the same bytes for the same figure.

    Other files of the figure keep this layout, which saves a third of their time.
    """
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    dpi = figure.dpi
    try:  # savefig would lay out and draw everything twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)
        figure.set_layout_engine("none")
    finally:
        figure.dpi = dpi
    drawing = re.sub(r"<!--.*?-->\s*", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r' id="([\w -]+)\|(\d+)"', r' class="\1" data-loss="\2"', drawing)


@style()
def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as PNG on white paper; the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


@style()
def pdf(figure: Figure) -> bytes:
    """The figure as PDF with its fonts inside; the same bytes for the same figure."""
    buffer = io.BytesIO()
    metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    figure.savefig(buffer, format="pdf", metadata=metadata)
    return buffer.getvalue()


def inline(drawing: str, name: str, figure: Figure | None = None) -> str:
    """An SVG file as an element for a page.

    Tinted by CSS variables, set in the page's type, its ids made its own by `name`. It carries
    neither title nor role: the page says those.

    Args:
        drawing: From `svg`.
        name: Letters, digits and hyphens.
        figure: What is drawn: the values of its marks go along, for whoever points at one.
    """
    body = drawing[drawing.index("<svg") :]
    head, rest = body.split(">", 1)
    # Places are in hundredths of a point; numbers in texts, which are in no tag, stay whole.
    rest = re.sub(r"<[^>]+>", lambda tag: _LONG.sub(r"\1", tag[0]), rest)
    box = re.search(r'viewBox="([\d. -]+)"', head)
    values = readings(figure) if figure is not None else []
    points = f' data-points="{escape(json.dumps(values, separators=(",", ":")))}"' if values else ""
    body = (
        f'<svg viewBox="{box.group(1) if box else "0 0 1 1"}" '
        f'preserveAspectRatio="xMidYMid meet"{points}>{rest}'
    )
    pointed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(
        r'\s\bid="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in pointed else "", body
    )
    body = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(
        r"(font: (?:[\w.]+ )*[\d.]+px |font-family: )[^;\"]+", r"\1var(--sans)", body
    )  # matplotlib writes the second since 3.10
    for color, variable in CSS_VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    return _SHOWS_NOTHING.sub("", body).strip()


_SHOWS_NOTHING = re.compile(
    r'<metadata>.*?</metadata>|<path [^>]*style="fill: none"/>|<g/>|(?<=>)\s+(?=<)'
    r'| transform="rotate\(-0 [^"]*"',
    flags=re.DOTALL,
)
_LONG = re.compile(r"(?<=[ L,M\n\"(-])(\d+\.\d\d)\d+")


def readings(figure: Figure) -> list[dict[str, Any]]:
    """Of each panel the names of its axes and its marks: loss, place in points, x and y or a text.

    The marks are those of lines whose id has the number of a loss.
    """
    panels = []
    height = figure.get_size_inches()[1] * 72
    for axis in figure.axes:
        marks = []
        for line in axis.lines if axis.get_visible() else ():
            gid = str(line.get_gid() or "")
            if "|" not in gid:
                continue
            values = np.asarray(line.get_xydata(), dtype=float)
            places = line.get_transform().transform(values) / figure.dpi * 72
            texts = getattr(line, "readings", [None] * len(values))
            every = max(1, -(-len(values) // MOST_READ))  # a line may be empty
            rows = list(zip(values, places, texts, strict=True))[::every]
            for (x, y), (left, low), text in rows:
                if np.isfinite([x, y, left, low]).all():
                    words = [text] if text else [float(f"{x:.6g}"), float(f"{y:.6g}")]
                    number = int(gid.partition("|")[2])
                    marks.append([number, round(left, 1), round(height - low, 1), *words])
        if marks:
            names = [_label(figure, axis, which) for which in ("x", "y")]
            panels.append({"axes": names, "marks": marks})
    return panels


def _label(figure: Figure, axis: Axes, which: str) -> str:
    """What the axis says, or the figure, or another panel for it."""
    above = getattr(figure, f"_sup{which}label", None)
    own, *others = (getattr(each, f"get_{which}label")() for each in (axis, *figure.axes))
    return own or (above.get_text() if above else "") or next(filter(None, others), "")
