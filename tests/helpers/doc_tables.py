"""What tests of README.md and docs/ share."""

from __future__ import annotations

import dataclasses
import re

from experiments import checks, config, contract, loss_checks
from helpers.docs import PAGES, blocks
from reports import metrics, verdicts

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
