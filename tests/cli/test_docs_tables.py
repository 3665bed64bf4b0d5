"""Tables and lists of the pages of docs/ agree with the code."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable

import pytest
from helpers.commands import LOSS_OPTIONS, ROOT
from helpers.doc_tables import (
    ARCHITECTURE,
    COMMANDS,
    INNER_VALUES,
    LOSSES_PAGE,
    METRICS,
    OPTIONS,
    README,
    REPORT,
    VALUES,
    VERDICT_KEYS,
    WARNINGS,
)
from helpers.docs import EVERYTHING, FENCED, PAGES, blocks, write_examples
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import config
from experiments.heads import head_name
from reports import options as report_options

LOSS_TABLE = LOSSES_PAGE.partition("## The losses")[2].partition("## Add a loss")[0]


def block(opening: str) -> str:
    """The one code block that begins with `opening`, wherever it is repeated."""
    (found,) = {content for _, content in blocks(EVERYTHING) if content.startswith(opening)}
    return found


@pytest.mark.parametrize("option", LOSS_OPTIONS)
def test_the_table_of_losses_names_every_loss_and_its_arguments(option):
    (line,) = [line for line in LOSS_TABLE.splitlines() if line.startswith(f"| `{option}` |")]
    values = OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml")
    arguments = re.findall(r"`(\w+)` ([\d.]+)", line.split(" | ")[-2])
    own = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    del own["_partial_"]
    assert {name: float(value) for name, value in arguments} == own
    first = head_name(instantiate(values))
    assert line.rstrip(" |").endswith(
        {"logits": "K logits", "cosines": "K cosines", "prediction": "1 number"}[first]
    )
    name = line.split(" | ")[1].strip()
    assert len(name) > 4 and name not in (option, f"`{option}`")  # what people call it


def test_the_tables_name_no_loss_that_is_not_there():
    assert sorted(re.findall(r"^\| `(\w+)` \|", LOSS_TABLE, flags=re.MULTILINE)) == LOSS_OPTIONS


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "tracking", "preset"])
def test_the_table_of_groups_names_every_option(group):
    table = OPTIONS.partition("## Groups")[2].partition("\n## ")[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{group}` |")]
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        assert f"`{path.stem}`" in line


OWN_VALUES = sorted(
    {
        f"{group}.{name}"
        for group in ("model", "data", "optimizer", "scheduler", "tracking", "hydra/sweeper")
        for path in (ROOT / "conf" / group).glob("*.yaml")
        for name in OmegaConf.load(path)
        if not name.startswith("_") and name != "defaults"
    }
    # what a command sets for its own jobs
    - {
        f"tracking.{name}"
        for name in ("parent_run", "epochs", "directory", "warnings", "data_digest")
    }
)


@pytest.mark.parametrize("name", OWN_VALUES)
def test_options_names_every_value_of_an_option(name):
    assert f"`{name.replace('/', '.')}`" in OPTIONS


@pytest.mark.parametrize("group", ["sweeper", "launcher"])
def test_options_names_every_sweeper_and_launcher(group):
    table = OPTIONS.partition(f"| `hydra/{group}=` |")[2].partition("\n\n")[0]
    for path in (ROOT / "conf" / "hydra" / group).glob("*.yaml"):
        assert f"| `{path.stem}` |" in table


def rows(text: str, heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return {
        name
        for job in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", job)
    }


def test_the_tables_of_values_are_complete():
    assert rows(OPTIONS, "Values") == VALUES | INNER_VALUES
    assert rows(OPTIONS, "Options of a report") == set(report_options.NAMES)
    defaults = OmegaConf.load(ROOT / "conf" / "config.yaml")
    for name in sorted(name for name in VALUES if defaults[name] is not None):
        shown = re.search(rf"^\| `{name}` \| ([^|]*) \|", OPTIONS, flags=re.MULTILINE)
        assert shown and shown[1] == str(defaults[name]).replace("True", "true").replace(
            "False", "false"
        )


def test_every_preset_has_a_row():
    presets = {path.stem for path in (ROOT / "conf" / "preset").glob("*.yaml")}
    assert rows(OPTIONS, "Presets") == presets | {"preset="}


def roots(spans: Iterable[str]) -> set[str]:
    """The first names of those code spans that set a value."""
    found = (re.match(r"(?:-m )?'?\+*([A-Za-z_/]+)(?:\.[\w.]+)?=", span) for span in spans)
    return {match[1] for match in found if match}


def test_every_option_that_the_text_sets_is_there():
    spans = {name: re.findall(r"`([^`\n]+)`", FENCED.sub("", text)) for name, text in PAGES.items()}
    known = {each.name for each in dataclasses.fields(config.RunConfig)}
    known |= {*report_options.NAMES, "hydra", "hydra/launcher", "hydra/sweeper", "preset", "tune"}
    known |= {"kind", "outcome"}  # tags of runs
    known |= {"FAIRLOSS_CACHE", "FAIRLOSS_KERNEL"}  # environment variables
    for name, found in spans.items():
        assert roots(found) <= known, name
    inline = [span for found in spans.values() for span in found]
    for span in inline:
        if span.startswith("generate report"):
            report_options.check_names(shlex.split(span)[2:])
        elif span.startswith("python experiments/run.py"):
            names = roots(shlex.split(span)[2:]) - {"preset"}
            config.check_names(name for name in names if not name.startswith("hydra"))
    assert (
        sum(span.startswith(("generate report", "python experiments/run.py")) for span in inline)
        >= 5
    )


def tree() -> dict[str, str]:
    """Path and comment of every file in the map of the files."""
    found: dict[str, str] = {}
    parents: list[str] = []
    for line in block("experiments/            one run").splitlines():
        spaces, name, comment = re.fullmatch(r"( *)(\S+)\s+(\S.*)", line).groups()
        parents = [*parents[: len(spaces) // 2], name]
        found["".join(parents)] = comment
    return found


def test_the_file_map_names_every_module():
    known = set(tree())
    modules = {
        path.relative_to(ROOT).as_posix()
        for place in ("experiments", "reports")
        for path in (ROOT / place).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {name for name in known if name.endswith(".py")} == modules
    for name in known:
        assert (ROOT / name).exists(), name


def test_long_mechanisms_have_a_reason():
    """Modules of more than 100 lines that are neither training, statistics nor report."""
    training = {
        "training",
        "models",
        "optimizers",
        "corruptions",
        "metrics",
        "partition",
        "sets",
        "tuning",
    }
    training |= {
        "run",
        "regression",
        "true_class",
        "probabilities",
        "scores",
        "imbalanced",
        "layers",
    }  # the losses; the command
    table = ARCHITECTURE.partition("## Mechanisms written by hand")[2]
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        long = len(path.read_text(encoding="utf-8").splitlines()) > 100
        if long and path.stem not in training:
            name = path.relative_to(ROOT / "experiments").as_posix()
            assert f"`{name}`" in table, name


def test_the_page_on_reports_names_every_key_metric_and_warning():
    assert rows(REPORT, "verdicts.json") == VERDICT_KEYS
    assert rows(REPORT, "Metrics") == METRICS
    assert rows(REPORT, "Training warnings") == WARNINGS


def test_the_glossary_has_ten_terms():
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", PAGES["docs/glossary.md"], flags=re.MULTILINE)
    assert len(terms) == 10


def test_the_readme_is_short_and_links_every_page():
    assert len(README.splitlines()) <= 150
    for name in PAGES:
        assert name == "README.md" or f"]({name}" in README, name


@pytest.mark.slow
def test_the_example_of_a_loss_of_ones_own_runs(tmp_path, run_command):
    write_examples(tmp_path)
    (line,) = [command for command in COMMANDS if command.endswith("loss=tempered,ce")]
    words = shlex.split(line)
    assert words[0] == "PYTHONPATH=."
    done = run_command(
        tmp_path, *words[words.index("experiments/run.py") + 1 :], "data=digits", "model=softmax",
        "epochs=1", PYTHONPATH=".",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[:1] for line in done.stdout.splitlines() if " ok " in line] == [
        ["tempered"],
        ["ce"],
    ]
