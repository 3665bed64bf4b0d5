"""Names for people.

Users name losses, runs and settings, in any characters and at any length.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from experiments.contract import LOSS_NAMES

BASELINE = " (baseline)"
"""Ends the name of a loss whose runs come from a file of baselines."""

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # in emoji, and in Persian or Hindi


def plain(text: object, length: int = 40) -> str:
    """A name as one line of at most `length` printable characters.

    The middle of a longer name is left out.
    """
    line = one_line(text)
    if len(line) <= length:
        return line
    head = (length - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (length - 1 - head) :]}"


def full_name(loss: object) -> str:
    """The name that people know, and the option in brackets: the loss itself if it has no other.

    >>> full_name("ce"), full_name("focal gamma=3 (baseline)"), full_name("mine")
    ('cross-entropy (ce)', 'focal loss (focal gamma=3, baseline)', 'mine')
    """
    text = str(loss)
    own = text.removesuffix(BASELINE)
    known_as = LOSS_NAMES.get(own.split(" ")[0].partition("@")[0]) if own else None
    if known_as is None:
        return plain(text)
    return f"{known_as} ({plain(own)}{', baseline' if own != text else ''})"


def one_line(text: object) -> str:
    """The whole text on one line.

    A replacement character stands for each that cannot be printed.
    """
    return "".join(
        c if c in _JOINERS or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for c in " ".join(str(text).split())
    )


def natural(text: str) -> list[tuple[float, str]]:
    """What orders texts by their words, and by the size of the numbers in them."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [
        (float(part), "") if place % 2 else (-math.inf, part) for place, part in enumerate(parts)
    ]


def counted(count: int, noun: str) -> str:
    """'1 epoch', '2,000 epochs'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def short_names(names: Sequence[str], length: int = 22) -> dict[str, str]:
    """Each name shortened, and still different from the others.

    A number follows where two became equal.

    The mark of a baseline stays whole, and does not count.
    """
    shortened: dict[str, str] = {}
    for name in names:
        own = name.removesuffix(BASELINE)
        mark = name[len(own) :]
        short, count = plain(own, length) + mark, 1
        while short in shortened.values():
            count += 1
            short = f"{plain(own, length - 4)} ({count}){mark}"
        shortened[name] = short
    return shortened
