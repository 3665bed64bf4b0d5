"""What is drawn in a figure."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.figure import Figure

from reports.analysis import Section
from reports.figures import palette
from reports.figures.palette import Losses
from reports.page.figure import losses_of
from reports.page.figures import FigureBuilder


def builder(section: Section) -> FigureBuilder:
    return FigureBuilder(section, palette.looks(section.losses))


def losses_in(section: Section) -> Losses:
    return losses_of(section.losses, palette.looks(section.losses), section.losses)


def with_gid(figure: Figure, gid: str) -> list[Any]:
    """The artists of a kind, whatever their loss."""
    return [
        artist
        for axis in figure.axes
        for artist in axis.get_children()
        if str(artist.get_gid()).partition("|")[0] == gid
    ]


def size_in_points(drawing: str) -> tuple[float, float]:
    """Width and height of an SVG drawing."""
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
    assert size is not None
    return float(size[1]), float(size[2])
