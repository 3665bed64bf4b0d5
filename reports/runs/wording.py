"""Texts: the numbers that params say, and the parts of messages and notes.

Escaping for a page is the page's work.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection

MAKE_RUNS = "Run `python experiments/run.py -m loss=mse,ce`"
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@functools.lru_cache(maxsize=2000)  # the params of all runs have few values
def number(text: str) -> float | int | None:
    """The finite number that a param's text says; None for any other text."""
    text = text.strip()
    if len(text) > 400 or not _DECIMAL.fullmatch(text):
        return None
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(text) if text.lstrip("+-").isdigit() else value


@functools.lru_cache(maxsize=2000)
def short(text: str) -> str:
    """A value in its shortest form, the same for 2, 2.0 and 2e0; other text as it is."""
    value = number(text)
    return text if value is None else repr(value).removesuffix(".0")


def some(texts: Collection[str], most: int = 20) -> str:
    """A list for a message; of many the first ones."""
    shown = ", ".join(cut(each) for each in list(texts)[:most])
    return shown + (f" and {len(texts) - most} more" if len(texts) > most else "")


def cut(text: str, most: int = 120) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def quote(name: str) -> str:
    """A name in quotes, harmless in a terminal."""
    return repr(cut(str(name)))
