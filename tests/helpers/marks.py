"""Cases of which only some run in the fast suite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def with_slow(fast: Iterable[Any], slow: Iterable[Any]) -> list[Any]:
    """The cases of `pytest.mark.parametrize`, those of `slow` marked as slow."""
    marked = (
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in slow
    )
    return [*fast, *marked]


def first(count: int, cases: list[Any]) -> list[Any]:
    """`with_slow`, where the first `count` cases are fast."""
    return with_slow(cases[:count], cases[count:])
