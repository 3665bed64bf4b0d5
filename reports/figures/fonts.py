"""Installed fonts for the characters of names that the usual fonts lack."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib import font_manager

from reports.names import one_line

if TYPE_CHECKING:
    from reports.analysis import Section

USUAL = ("DejaVu Sans",)
"""The font that comes with matplotlib, so a drawing is the same on every machine.

A page shows texts of figures in its own type, which is narrower.
"""

_PREFERRED = (  # the others follow by name
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "SimHei", "Heiti SC", "Arial Unicode MS", "Noto Sans"),
)
_BOXES = "Last Resort"  # comes with matplotlib, and draws a box for every character there is
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO")
_NAMED = 10  # characters in a note


def names(summary: pd.DataFrame, sections: Sequence[Section]) -> set[str]:
    """The names that figures show: of losses, settings and classes."""
    shown = set(summary[["loss", "setting_text"]].astype(str).to_numpy().ravel())
    shown |= {name for each in sections if each.errors for name in each.errors.names}
    return {one_line(name) for name in shown}


def fallback(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Find installed fonts for names.

    Returns:
        The families that draw what the usual fonts lack, and the characters that no font has.
    """
    usual = {code for family in USUAL for code in _characters(family)}
    lacking = {c for name in names for c in name if not c.isspace() and ord(c) not in usual}
    families: list[str] = []
    for family, codes in _installed() if lacking else ():
        if drawn := {c for c in lacking if ord(c) in codes}:
            families.append(family)
            lacking -= drawn
        if not lacking:
            break
    return families, sorted(lacking)


def note(lacking: Collection[str]) -> str:
    """What a reader should know of characters that no font has."""
    shown = ", ".join(f"{c} (U+{ord(c):04X})" for c in sorted(lacking)[:_NAMED])
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    cjk = any(unicodedata.name(c, "").startswith(_CJK) for c in lacking)
    example = "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"
    return (
        f"No installed font has these characters of names: {shown}{more}. The figures show a box "
        f"for each. Install a font that has them{f', for example {example},' if cjk else ''} and "
        "make the report again."
    )


def _installed() -> Iterator[tuple[str, Collection[int]]]:
    """Family and code points of each upright font that matplotlib can draw.

    Preferred fonts are first.
    """
    manager = font_manager.fontManager
    listed = {font.fname for font in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):  # newer than its cache
        try:
            manager.addfont(path)
        except (OSError, RuntimeError):
            continue  # matplotlib cannot draw it: a bitmap font, or a broken file
    places = {family: place for place, family in enumerate(_PREFERRED)}
    families = {font.name for font in manager.ttflist if font.style == "normal"}
    families -= {name for name in families if name.startswith(_BOXES)}
    for family in sorted(families, key=lambda name: (places.get(name, len(places)), name)):
        yield family, _characters(family)


def _characters(family: str) -> Collection[int]:
    properties = font_manager.FontProperties(family=[family])  # a text would be a pattern
    path = font_manager.findfont(properties, fallback_to_default=False)
    return font_manager.get_font(path).get_charmap().keys()
