"""README.md and docs/: their text, and the files that they show."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.commands import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
EVERYTHING = "\n".join(PAGES.values())
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of every code block."""
    return FENCED.findall(text)


def write_examples(directory: Path) -> None:
    """Every file that a page shows: a comment in its first lines names it."""
    for _, content in blocks(EVERYTHING):
        if name := re.match(r"(?:# @package _global_\n)?# ([\w./-]+\.(?:py|yaml))\n", content):
            path = directory / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
