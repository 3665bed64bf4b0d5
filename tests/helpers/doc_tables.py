"""What tests of README.md and docs/ share."""

from __future__ import annotations

import re

from helpers.docs import PAGES, blocks

README, LOSSES_PAGE, OPTIONS, REPORT, ARCHITECTURE = (
    PAGES[name]
    for name in (
        "README.md",
        "docs/losses.md",
        "docs/options.md",
        "docs/reading-a-report.md",
        "docs/architecture.md",
    )
)
TESTED = ("experiments/run.py", "generate report", "generate compare", "reports/generate.py")


def lines_of_bash(text: str) -> list[str]:
    """Every line of every bash block, without its comment."""
    lines = [
        re.sub(r"\s{2,}#.*", "", line).strip()
        for language, content in blocks(text)
        if language == "bash"
        for line in content.splitlines()
    ]
    return [line for line in lines if line]


BASH = list(dict.fromkeys(line for text in PAGES.values() for line in lines_of_bash(text)))
COMMANDS = [line for line in BASH if any(program in line for program in TESTED)]
