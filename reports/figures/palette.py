"""How every figure looks.

Colours, markers and line styles of the losses, the type, and the SVG that a page can tint.

Decides nothing about numbers. Figures are drawn in the colours below; an SVG that goes into a page
has them replaced by CSS variables, so that one drawing serves light, dark and paper.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.style
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from reports.figures.fonts import USUAL

INK, MUTED, FAINT, PAPER, ALARM = "#1b1d22", "#5c6068", "#d9dade", "#fffffe", "#b3261e"

# Okabe and Ito's palette, safe for the colour-blind, without its yellow, which paper does not show,
# and its black, which is the ink; the grey and the brown stand in for them.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a4a2b", "#7f7f80")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p", "d", "8")
_DASHES = (
    "-",
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.5, 1.4, 1.5)),
    (0, (8, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)

TOGETHER = len(_COLOURS)
"""So many losses are told apart in one panel: each has a colour of its own."""

CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--faint",
    PAPER: "--paper",
    ALARM: "--alarm",
    **{colour: f"--series-{index}" for index, colour in enumerate(_COLOURS)},
}

STYLE: Any = {
    "font.family": list(USUAL),
    "mathtext.fontset": "stix",
    "font.size": 11.5,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 11.5,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "xtick.minor.visible": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "fairloss",
    "path.simplify": True,
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Look:
    """How one loss is drawn in every figure: its colour, marker and dash."""

    colour: str
    marker: str
    dash: str | tuple


def looks(losses: Sequence[str]) -> dict[str, Look]:
    """A look for each loss, by its place in the list; no two of the first 56 are alike."""
    return {
        loss: Look(
            _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]
        )
        for i, loss in enumerate(losses)
    }


def tint(colour: str) -> LinearSegmentedColormap:
    """From nothing to a half of `colour`: words stay legible on it, on light paper and on dark."""
    red, green, blue, _ = to_rgba(colour)
    return LinearSegmentedColormap.from_list(
        "tint", [(red, green, blue, 0.0), (red, green, blue, 0.55)]
    )


@contextlib.contextmanager
def style(fallback: Sequence[str] = ()) -> Iterator[None]:
    """A context with matplotlib's defaults and the project's style, whatever the user's settings.

    Args:
        fallback: Families for characters that the usual ones lack. A style inside keeps those of
            the style around it.
    """
    current = mpl.rcParams["font.family"]
    kept = current[len(USUAL) :] if current[: len(USUAL)] == list(USUAL) else []
    with mpl.style.context(["default", STYLE, {"font.family": [*USUAL, *kept, *fallback]}]):
        yield


@style()
def svg(figure: Figure) -> str:
    """The figure as a file of SVG; the same bytes for the same figure."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    return re.sub(
        r"<!--.*?-->\s*", "", buffer.getvalue(), flags=re.DOTALL
    )  # what the glyphs spell, in comments


@style()
def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as PNG on white paper; the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def inline(drawing: str, name: str) -> str:
    """An SVG file as an element for a page.

    Tinted by CSS variables, its ids made its own by `name`.

    name: letters, digits and hyphens. The element carries neither title nor role: the page says
    those.
    """
    body = drawing[drawing.index("<svg") :]
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="([\d. -]+)"', head)
    body = (
        f'<svg viewBox="{box.group(1) if box else "0 0 1 1"}" '
        f'preserveAspectRatio="xMidYMid meet">{rest}'
    )
    pointed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(
        r'\s\bid="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in pointed else "", body
    )
    body = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("xlink:href", "href")
    for colour, variable in CSS_VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL).strip()


def size_in_points(drawing: str) -> tuple[float, float]:
    """Width and height that an SVG file states."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
    if not found:
        raise ValueError("an SVG without a viewBox that begins at 0 0")
    return float(found.group(1)), float(found.group(2))
