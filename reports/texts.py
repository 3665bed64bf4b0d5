"""Texts of a report: each is a macro of a template, printed on one line."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.contract import override
from experiments.terminal import duration
from reports.names import counted, full_name, plain
from reports.page import table

TEMPLATES = Path(__file__).resolve().parent / "page" / "templates"


def say(name: str, *values: Any, file: str = "texts.jinja") -> str:
    """A text of a file of macros on one line. It is not escaped."""
    return " ".join(str(getattr(_module(file), name)(*values)).split())


@functools.cache
def _module(file: str) -> Any:
    return environment(False).get_template(file).module


def environment(autoescape: bool, **options: Any) -> Environment:
    """An environment of the templates, with the filters for texts."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= FILTERS
    return environment


def upper_first(text: str) -> str:
    """The text with a capital first letter, and NLL still NLL."""
    return text[:1].upper() + text[1:]


def called(loss: object, tuned: str = "") -> str:
    """A loss with its own values that were tuned: focal (gamma=2)."""
    return f"{plain(loss, 48)} ({plain(tuned, 48)})" if tuned else plain(loss, 48)


def two_digits(value: float) -> str:
    """A size with two significant digits, a large one with all before the point: 0.25, 720."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def amount(value: float, unit: str) -> str:
    """A size in words: 1 point, 0.25 points, 0.03."""
    text = two_digits(value)
    return f"{text} {unit.removesuffix('s') if text == '1' else unit}".rstrip()


def listed(names: Sequence[str]) -> str:
    """A, b and c."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def numbers(seeds: Sequence[int]) -> str:
    """Seeds in words: 0 to 9, or 0, 2."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def p_text(p: float) -> str:
    """A p value with its sign of equality."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


FILTERS: dict[str, Any] = {
    "full_name": full_name,
    "plain": plain,
    "called": called,
    "one_line": lambda text: Markup(" ".join(text.split())),
    "upper_first": upper_first,
    "two_digits": two_digits,
    "amount": amount,
    "counted": counted,
    "duration": duration,
    "listed": listed,
    "numbers": numbers,
    "p": p_text,
    "seeds": lambda seeds: f"seed{'s' if len(seeds) != 1 else ''} {numbers(seeds)}",
    "signed": lambda value, digits=2: table.number(value, digits, signed=True).text,
    "decimal": lambda value, digits=2: table.number(value, digits).text,
    "general": lambda value: f"{value:.3g}",
    "thousands": lambda value: f"{value:,}",
    "override": lambda value, key: override(key, value),
}
