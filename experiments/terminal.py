"""What the programs print, in any encoding, and numbers in words. Imports nothing heavy."""

from __future__ import annotations

import sys
import unicodedata


def accept_any_character() -> None:
    r"""Let this process print every character, whatever encoding standard output and error have.

    A character that the encoding lacks is printed as an escape such as `\u4e2d`. Call it before the
    first output, in every process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not one that a notebook or a test put there
            stream.reconfigure(errors="backslashreplace")


def plural(count: int, noun: str) -> str:
    """'1 run', '2 runs'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Seconds for people: '8.1s', '3m05s', '1h12m'."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: '00:41', '1:12:05'."""
    minutes, rest = divmod(round(seconds), 60)
    hours = f"{minutes // 60}:" if minutes >= 60 else ""
    return f"{hours}{minutes % 60:02d}:{rest:02d}"


def fitted(text: str, columns: int) -> str:
    """The beginning of a text that fits into so many columns of a terminal."""
    widths = [2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text]
    while sum(widths) > columns:
        widths = [*widths[: len(text) - 2], 1]
        text = f"{text[: len(text) - 2]}…"
    return text


def size(count: float) -> str:
    """A number of bytes for people: '950.0 B', '3.2 MB', '40.0 GB'."""
    power = sum(count >= 1000**step for step in (1, 2, 3, 4))
    return f"{count / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
