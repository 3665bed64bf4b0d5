"""The README tells the truth: its commands run, its tables name every option, its example works."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT
from hydra.utils import get_object
from omegaconf import OmegaConf

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
BLOCKS = FENCED.findall(README)
COMMANDS = [
    line.split("   #")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if "experiments/run.py" in line
]
LOSS_TABLE = README.partition("## The losses")[2].partition("### Add a loss")[0]
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))


def block(opening: str) -> str:
    """The one code block that begins with `opening`."""
    (found,) = [text for _, text in BLOCKS if text.startswith(opening)]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, run_command, tmp_path):
    """Each is run with `--cfg job` added, which composes everything and trains nothing."""
    words = shlex.split(command.partition("&& ")[2] or command)
    arguments = words[words.index("experiments/run.py") + 1 :]
    if "--config-dir" in arguments:
        write_example(tmp_path)
    arguments = [re.sub(r",.*|range\((\d+)\)", r"\1", word) for word in arguments if word != "-m"]
    done = run_command(tmp_path, *arguments, *([] if "--help" in arguments else ["--cfg", "job"]))
    assert done.returncode == 0, done.stderr


def test_there_are_commands_to_test():
    assert "pip install -e . && python experiments/run.py -m loss=mse,ce" in COMMANDS
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("option", LOSSES)
def test_the_table_of_losses_names_every_loss_and_its_arguments(option):
    (line,) = [line for line in LOSS_TABLE.splitlines() if line.startswith(f"| `{option}` |")]
    values = OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml")
    arguments = re.findall(r"`(\w+)` ([\d.]+)", line.split(" | ")[-2])
    own = {name: float(value) for name, value in values.items() if not name.startswith("_")}
    assert {name: float(value) for name, value in arguments} == own
    first = next(iter(get_object(values["_target_"]).__code__.co_varnames))
    assert line.rstrip(" |").endswith({"logits": "10 logits", "prediction": "1 number"}[first])


def test_the_tables_name_no_loss_that_is_not_there():
    assert sorted(re.findall(r"^\| `(\w+)` \|", LOSS_TABLE, flags=re.MULTILINE)) == LOSSES


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "tracking", "sweep"])
def test_the_table_of_groups_names_every_option(group):
    (line,) = [line for line in README.splitlines() if line.startswith(f"| `{group}` |")]
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        assert f"`{path.stem}`" in line


def test_the_file_map_names_every_module():
    tree = block("experiments/            one run")
    for place in ("experiments", "reports"):
        for path in (ROOT / place).glob("*.py"):
            assert path.name in tree or path.name == "__init__.py", path.name
    for name in re.findall(r"^  (\w+\.py)", tree, flags=re.MULTILINE):
        assert (ROOT / "experiments" / name).exists() or (ROOT / "reports" / name).exists(), name


def write_example(directory: Path) -> None:
    """The files of the section on adding a loss."""
    (directory / "my_losses.py").write_text(block("# my_losses.py"))
    (directory / "options" / "loss").mkdir(parents=True)
    (directory / "options" / "loss" / "tempered.yaml").write_text(
        block("# options/loss/tempered.yaml")
    )


def test_the_example_of_a_loss_of_ones_own_runs(tmp_path, run_command):
    write_example(tmp_path)
    (line,) = [command for command in COMMANDS if command.endswith("loss=tempered,ce")]
    words = shlex.split(line)
    assert words[0] == "PYTHONPATH=."
    done = run_command(
        tmp_path, *words[words.index("experiments/run.py") + 1 :], "data=digits", "model=softmax", "epochs=1",
        PYTHONPATH=".",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[:1] for line in done.stdout.splitlines() if " ok " in line] == [
        ["tempered"],
        ["ce"],
    ]


def what_no_translation_changes(text: str) -> dict[str, object]:
    """By the place where it stands: code without comments, the shape, code and numbers of tables, headings, links."""
    found: dict[str, object] = {}
    for number, (language, code) in enumerate(FENCED.findall(text), 1):
        found[f"the language of code block {number}"] = language
        lines = [re.sub(r"(^\s*|\s{2,})#.*", "", line).rstrip() for line in code.splitlines()]
        for at, line in enumerate(filter(None, lines), 1):
            found[f"code block {number}, line {at} without comments"] = line
    prose = FENCED.sub("", text)
    for number, table in enumerate(re.findall(r"(?:^\|.*\n)+", prose, flags=re.MULTILINE), 1):
        for at, row in enumerate(table.splitlines(), 1):
            place = f"table {number}, row {at}"
            found[f"{place}, columns"] = len(re.findall(r"(?<!\\)\|", row)) - 1
            found[f"{place}, code"] = sorted(re.findall(r"`[^`]+`", row))
            found[f"{place}, numbers"] = sorted(re.findall(r"-?\d+(?:[.,]\d+)*", row))
    anchors = {}
    for number, (level, title) in enumerate(
        re.findall(r"^(#+) (.+)", prose, flags=re.MULTILINE), 1
    ):
        found[f"heading {number}"] = level
        anchors["#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")] = f"heading {number}"
    targets = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", prose)
    links = Counter(
        f"{'images' if image else 'links'} of {anchors.get(to, to)}" for image, to in targets
    )
    return {**found, **links}


def test_the_chinese_readme_has_the_same_commands_and_tables():
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    to_chinese, to_english = "[简体中文](README.zh-CN.md)\n", "[English](README.md)\n"
    assert to_chinese in README.partition("**")[0]
    assert to_english in chinese.partition("**")[0]
    ours = what_no_translation_changes(README.replace(to_chinese, "", 1))
    theirs = what_no_translation_changes(chinese.replace(to_english, "", 1))
    for place in {**ours, **theirs}:
        ours_here, theirs_here = ours.get(place, "nothing"), theirs.get(place, "nothing")
        assert theirs_here == ours_here, (
            f"{place}: README.md {ours_here!r}, README.zh-CN.md {theirs_here!r}"
        )
