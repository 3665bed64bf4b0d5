"""The Chinese README and docs/zh-CN/: what tests of the English pages do not compare with them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers.commands import ROOT
from helpers.doc_tables import CHINESE
from helpers.docs import FENCED
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep

from experiments import config
from reports import options

README = ROOT / "README.zh-CN.md"
PAGES = {ROOT / "docs" / "zh-CN" / f"{name}.md": text for name, text in CHINESE.items()}
TEXTS = {README: README.read_text(encoding="utf-8"), **PAGES}
PROGRAMS = {
    "python experiments/run.py": config.RunConfig,
    "generate report": options.ReportConfig,
    "generate compare": options.ReportConfig,
}


EXAMPLES = {"tempered", "nesterov", "mine", "deep", "rings", "NAME", "submitit_local"}


def commands() -> list[str]:
    """Every command of this project, in blocks and within sentences, without its comment."""
    lines = []
    for text in TEXTS.values():
        blocks = [content for language, content in FENCED.findall(text) if language == "bash"]
        lines += [line for content in blocks for line in content.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", FENCED.sub("", text))
    bare = [re.sub(r"\s{2,}#.*", "", line).strip() for line in lines]
    ours = {line for line in bare if any(f"{name} " in line for name in PROGRAMS)}
    return sorted(line for line in ours if " -sc " not in line)  # which takes no values


def test_the_readme_is_short_and_links_every_page():
    assert len(TEXTS[README].splitlines()) <= 150
    for path in PAGES:
        assert f"](docs/zh-CN/{path.name}" in TEXTS[README]
        assert f"[English](../{path.name})\n" in PAGES[path][:400]


def test_the_readme_refers_to_an_english_page_only_where_no_chinese_one_is():
    linked = re.findall(r"\]\(docs/([\w-]+\.md)[^)]*\)(.{0,4})", TEXTS[README])
    assert all(after == "（英文）" for _, after in linked)
    assert not {name for name, _ in linked} & {path.name for path in PAGES}


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command):
    (program,) = [name for name in PROGRAMS if name in command]
    words = shlex.split(command.partition(program)[2])
    assert {word for word in words if word.startswith("-")} <= {"-m", "--help", "--config-dir"}
    words = [word for word in words if "=" in word]
    if PROGRAMS[program] is options.ReportConfig:
        options.check_names(words)
        words = options.lengthen(words)
    else:
        names = {word.partition("=")[0] for word in words} - {"preset"}
        config.check_names(name for name in names if name.isidentifier())
    for override in OverridesParser.create().parse_overrides(words):
        group = override.key_or_group
        if program == "python experiments/run.py" and (ROOT / "conf" / group).is_dir():
            chosen = override.value()
            names = list(chosen.list) if isinstance(chosen, ChoiceSweep) else [chosen]
            for name in names:
                there = (ROOT / "conf" / group / f"{name}.yaml").exists()
                assert there or name in EXAMPLES, name


def test_there_are_commands_to_test():
    all_commands = commands()
    assert "pip install -e . && python experiments/run.py -m loss=mse,ce" in all_commands
    for program in PROGRAMS:
        assert sum(program in command for command in all_commands) >= 2


def test_the_headings_of_the_page_are_its_own():
    written = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "reports" / "page").glob("*.py")
    )
    intro = CHINESE["reading-a-report"].partition("\n## ")[0]
    titles = re.findall(r"^\* ([A-Z][A-Za-z ,]+)：", intro, flags=re.MULTILINE)
    assert len(titles) >= 10
    for title in titles:
        assert re.search(rf'"{re.escape(title)}[",]', written), title


def test_file_names_in_the_text_are_there():
    for path, text in TEXTS.items():
        for name in re.findall(r"`((?:conf|experiments|reports|tests)/[\w./-]+)`", text):
            if "NAME" not in name:
                assert Path(ROOT, name).exists(), f"{path.name}: {name}"
