"""What tests of README.md and docs/ share."""

from __future__ import annotations

import dataclasses
import re

from experiments import checks, config, contract, loss_checks
from helpers.commands import ROOT
from helpers.docs import PAGES, blocks
from reports import metrics, verdicts

README, OPTIONS = PAGES["README.md"], PAGES["docs/options.md"]
CHINESE = {
    path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "zh-CN").glob("*.md")
}
VALUES = {each.name for each in dataclasses.fields(config.RunConfig)} - {
    *contract.GROUPS, "tracking", "question", "stop",
}  # fmt: skip
"""The scalars of a run's configuration."""
INNER_VALUES = {
    f"{name}.{each.name}"
    for name, kind in {"question": config.Question, "stop": config.Stop}.items()
    for each in dataclasses.fields(kind)
}
VERDICT_KEYS = {*verdicts.COMPARISON, *verdicts.DERIVED, "setting", "sentence", "rare_seeds"}
METRICS = set(re.split(r", (?![^{]*\})", metrics.choices()))
WARNINGS = {
    function.__name__.replace("_", "-")
    for function in (vars(checks) | vars(loss_checks)).values()
    if getattr(function, "__annotations__", {}).get("return") == "str | None"
} | {"rate-edge"}  # of `tuning`, which looks at a grid
TESTED = ("experiments/run.py", "generate report", "generate compare", "reports/generate.py")


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    body = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert body, heading
    return body


def rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables in a text, without headings and rulers."""
    cells = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        for row in table.splitlines()[2:]:
            cells.append([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]])
    return cells


def first_names(text: str) -> set[str]:
    """The code in the first column of the tables in a text."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}


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
