"""The Chinese README and docs/zh-CN/.

Links lead somewhere, commands parse, tables match the code.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers.commands import LOSS_OPTIONS, ROOT
from helpers.doc_tables import INNER_VALUES, METRICS, VALUES, VERDICT_KEYS, WARNINGS
from helpers.docs import FENCED
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import config
from experiments.heads import head_name
from reports import options

README = ROOT / "README.zh-CN.md"
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "zh-CN").glob("*.md")}
TEXTS = {README: README.read_text(encoding="utf-8"), **PAGES}
PROGRAMS = {
    "python experiments/run.py": config.RunConfig,
    "generate report": options.ReportConfig,
    "generate compare": options.ReportConfig,
}


def page(name: str) -> str:
    return PAGES[ROOT / "docs" / "zh-CN" / f"{name}.md"]


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    found = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found, heading
    return found


def rows(text: str) -> list[list[str]]:
    """The runs of every row of the tables in a text, without headings and rulers."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        for row in table.splitlines()[2:]:
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]])
    return found


def first_names(text: str) -> set[str]:
    """The code in the first column of the tables in a text."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}


def anchors(text: str) -> list[str]:
    titles = re.findall(r"^#+ (.+)", FENCED.sub("", text), flags=re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


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


# ---- links and commands -------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", TEXTS[path])):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


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
                assert there or name in (
                    "tempered",
                    "mine",
                    "deep",
                    "rings",
                    "NAME",
                    "submitit_local",
                ), name


def test_there_are_commands_to_test():
    found = commands()
    assert "pip install -e . && python experiments/run.py -m loss=mse,ce" in found
    for program in PROGRAMS:
        assert sum(program in command for command in found) >= 2


# ---- tables -------------------------------------------------------------------------------------


def test_the_table_of_losses_names_every_loss():
    table = rows(section(page("losses"), "全部损失函数"))
    assert sorted(row[0].strip("`") for row in table) == LOSS_OPTIONS


@pytest.mark.parametrize("option", LOSS_OPTIONS)
def test_the_table_of_losses_has_the_arguments_and_outputs_of_each(option):
    (row,) = [row for row in rows(page("losses")) if row[0] == f"`{option}`"]
    _, name, _, arguments, outputs = row
    values = OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml")
    own = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    del own["_partial_"]
    assert {key: float(n) for key, n in re.findall(r"`(\w+)` ([\d.]+)", arguments)} == own
    first = head_name(instantiate(values))
    assert (
        outputs == {"logits": "K 个 logits", "cosines": "K 个余弦", "prediction": "1 个数"}[first]
    )
    assert name


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "tracking", "preset"])
def test_the_table_of_groups_has_the_options_of_each(group):
    (row,) = [row for row in rows(section(page("options"), "选项组")) if row[0] == f"`{group}`"]
    there = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert set(re.findall(r"`([^`]+)`", row[1])) == there


def test_the_table_of_values_has_every_value_with_its_default():
    defaults = OmegaConf.load(ROOT / "conf" / "config.yaml")
    table = {row[0].strip("`"): row[1] for row in rows(section(page("options"), "普通取值"))}
    assert set(table) == VALUES | INNER_VALUES
    for name, shown in table.items():
        value = OmegaConf.select(defaults, name)
        typed = str(value).lower() if isinstance(value, bool) else str(value)
        assert shown == ("" if value is None else typed), name


def test_the_tables_of_presets_sweepers_and_launchers_are_complete():
    text = page("options")
    presets = {path.stem for path in (ROOT / "conf" / "preset").glob("*.yaml")}
    assert {row[0].strip("`") for row in rows(section(text, "预设问题"))} == presets
    for heading, group in (("扫描方式", "sweeper"), ("启动器", "launcher")):
        there = {path.stem for path in (ROOT / "conf" / "hydra" / group).glob("*.yaml")}
        assert first_names(section(text, heading)) - {"basic"} == there


def test_the_numbers_of_a_preset_are_those_of_its_file():
    for name, _, runs, result in rows(section(page("options"), "预设问题")):
        text = (ROOT / "conf" / "preset" / f"{name.strip('`')}.yaml").read_text(encoding="utf-8")
        assert runs in re.findall(r"\d+", text.partition("# Time:")[0]), name
        for number in re.findall(r"\d+\.\d+", result):
            assert number in text, f"{name} {number}"


def test_the_tables_of_a_report_are_complete():
    assert first_names(section(page("options"), "报告的选项")) == set(options.NAMES)
    report = page("reading-a-report")
    assert first_names(section(report, "verdicts.json")) == VERDICT_KEYS
    assert first_names(section(report, "指标")) == METRICS
    assert first_names(section(report, "训练检查")) == WARNINGS


def test_the_headings_of_the_page_are_its_own():
    written = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "reports" / "page").glob("*.py")
    )
    intro = page("reading-a-report").partition("\n## ")[0]
    titles = re.findall(r"^\* ([A-Z][A-Za-z ,]+)：", intro, flags=re.MULTILINE)
    assert len(titles) >= 10
    for title in titles:
        assert f'"{title}"' in written, title


def test_file_names_in_the_text_are_there():
    for path, text in TEXTS.items():
        for name in re.findall(r"`((?:conf|experiments|reports|tests)/[\w./-]+)`", text):
            if "NAME" not in name:
                assert Path(ROOT, name).exists(), f"{path.name}: {name}"
