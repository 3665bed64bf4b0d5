"""Checks of an option's own values where they are used.

The function of a loss, a network, an optimizer or a schedule begins with its checks:

    check_number("gamma", gamma, at_least=0)

A bound is written only there. Before anything trains, the command calls each function once with its
values.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any


def check_number(
    name: str,
    value: float | None,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raise unless `value` is a finite number within the bounds.

    NaN and bools are refused; None is accepted where the value is `optional`.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not (at_least <= value <= at_most and above < value < below) or (whole and value % 1):
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        permitted = " and ".join(
            f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound)
        )
        kind = "whole number" if whole else "finite number"
        raise ValueError(f"{name}: expected a {kind} {permitted}".rstrip() + f", got {value}")


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected true or false, got {value!r}")
