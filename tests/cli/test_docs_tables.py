"""Tables and lists of the pages of docs/ agree with the code."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable

import pytest
from helpers import doc_tables
from helpers.commands import LOSS_OPTIONS, ROOT
from helpers.doc_tables import (
    CHINESE,
    INNER_VALUES,
    OPTIONS,
    README,
    VALUES,
    first_names,
    rows,
    section,
)
from helpers.docs import EVERYTHING, FENCED, PAGES, blocks
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import config
from experiments.heads import head_name
from reports import options as report_options

BOTH = {  # of each page the English text and the Chinese one
    name: (PAGES[f"docs/{name}.md"], CHINESE[name])
    for name in ("losses", "options", "reading-a-report")
}
LOSS_TABLES = [
    section(text, heading)
    for text, heading in zip(BOTH["losses"], ("The losses", "全部损失函数"), strict=True)
]


def block(opening: str) -> str:
    """The one code block that begins with `opening`, wherever it is repeated."""
    (code,) = {content for _, content in blocks(EVERYTHING) if content.startswith(opening)}
    return code


def there(folder: str) -> set[str]:
    """The options of a folder of conf/."""
    return {path.stem for path in (ROOT / "conf" / folder).glob("*.yaml")}


OUTPUTS = {
    "logits": ("K logits", "K 个 logits"),
    "cosines": ("K cosines", "K 个余弦"),
    "prediction": ("1 number", "1 个数"),
}


@pytest.mark.parametrize("option", LOSS_OPTIONS)
def test_the_table_of_losses_names_every_loss_and_its_arguments(option):
    values = OmegaConf.load(ROOT / "conf" / "loss" / f"{option}.yaml")
    own = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    del own["_partial_"]
    for table, outputs in zip(LOSS_TABLES, OUTPUTS[head_name(instantiate(values))], strict=True):
        ((_, name, _, arguments, cell),) = [row for row in rows(table) if row[0] == f"`{option}`"]
        defaults = re.findall(r"`(\w+)` ([\d.]+)", arguments)
        assert {argument: float(value) for argument, value in defaults} == own
        assert cell == outputs
        assert name not in ("", option, f"`{option}`")  # what people call it


def test_the_tables_name_no_loss_that_is_not_there():
    for table in LOSS_TABLES:
        assert sorted(row[0].strip("`") for row in rows(table)) == LOSS_OPTIONS


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "tracking", "preset"])
def test_the_table_of_groups_names_every_option(group):
    for text, heading in zip(BOTH["options"], ("Groups", "选项组"), strict=True):
        (row,) = [row for row in rows(section(text, heading)) if row[0] == f"`{group}`"]
        assert set(re.findall(r"`([^`]+)`", row[1])) == there(group)
    assert len(there(group)) >= 2


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


@pytest.mark.parametrize(
    ("page", "headings", "expected"),
    [
        ("options", ("Options of a report", "报告的选项"), set(report_options.NAMES)),
        ("options", ("Presets", "预设问题"), there("preset")),
        ("options", ("Sweepers", "扫描方式"), there("hydra/sweeper")),
        ("options", ("Launchers", "启动器"), there("hydra/launcher") | {"basic"}),
        ("options", ("Values", "普通取值"), VALUES | INNER_VALUES),
        ("reading-a-report", ("verdicts.json",) * 2, doc_tables.VERDICT_KEYS),
        ("reading-a-report", ("Metrics", "指标"), doc_tables.METRICS),
        ("reading-a-report", ("Training warnings", "训练检查"), doc_tables.WARNINGS),
    ],
)
def test_a_table_names_all_that_there_is(page, headings, expected):
    for text, heading in zip(BOTH[page], headings, strict=True):
        assert first_names(section(text, heading)) == expected


def test_the_tables_of_values_have_their_defaults():
    defaults = OmegaConf.load(ROOT / "conf" / "config.yaml")
    for text, heading in zip(BOTH["options"], ("Values", "普通取值"), strict=True):
        for name, shown, *_ in rows(section(text, heading)):
            value = OmegaConf.select(defaults, name.strip("`"))
            typed = str(value).lower() if isinstance(value, bool) else str(value)
            assert shown == ("" if value is None else typed), name


def roots(spans: Iterable[str]) -> set[str]:
    """The first names of those code spans that set a value."""
    matches = (re.match(r"(?:-m )?'?\+*([A-Za-z_/]+)(?:\.[\w.]+)?=", span) for span in spans)
    return {match[1] for match in matches if match}


def test_every_option_that_the_text_sets_is_there():
    spans = {name: re.findall(r"`([^`\n]+)`", FENCED.sub("", text)) for name, text in PAGES.items()}
    allowed = {each.name for each in dataclasses.fields(config.RunConfig)}
    allowed |= {*report_options.NAMES, "hydra", "hydra/launcher", "hydra/sweeper", "preset", "tune"}
    allowed |= {"kind", "outcome"}  # tags of runs
    allowed |= {"FAIRLOSS_CACHE", "FAIRLOSS_KERNEL"}  # environment variables
    for name, of_page in spans.items():
        assert roots(of_page) <= allowed, name
    inline = [span for of_page in spans.values() for span in of_page]
    for span in inline:
        if span.startswith("generate report"):
            report_options.check_names(shlex.split(span)[2:])
        elif span.startswith("python experiments/run.py"):
            names = roots(shlex.split(span)[2:]) - {"preset"}
            config.check_names(name for name in names if not name.startswith("hydra"))
    programs = "generate report", "python experiments/run.py"
    assert sum(span.startswith(programs) for span in inline) >= 5


def tree() -> dict[str, str]:
    """Path and comment of every file in the map of the files."""
    comments: dict[str, str] = {}
    parents: list[str] = []
    for line in block("experiments/            one run").splitlines():
        spaces, name, comment = re.fullmatch(r"( *)(\S+)\s+(\S.*)", line).groups()
        parents = [*parents[: len(spaces) // 2], name]
        comments["".join(parents)] = comment
    return comments


def test_the_file_map_names_every_module():
    paths = set(tree())
    modules = {
        path.relative_to(ROOT).as_posix()
        for place in ("experiments", "reports")
        for path in (ROOT / place).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {name for name in paths if name.endswith(".py")} == modules
    for name in paths:
        assert (ROOT / name).exists(), name


def test_long_mechanisms_have_a_reason():
    """Modules of more than 100 lines that are neither training, statistics nor report."""
    training = {"training", "models", "optimizers", "corruptions", "metrics", "partition", "sets"}
    training |= {"tuning", "run"}
    training |= {"regression", "true_class", "probabilities", "scores", "imbalanced", "layers"}
    table = PAGES["docs/architecture.md"].partition("## Mechanisms written by hand")[2]
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        long = len(path.read_text(encoding="utf-8").splitlines()) > 100
        if long and path.stem not in training:
            name = path.relative_to(ROOT / "experiments").as_posix()
            assert f"`{name}`" in table, name


def test_the_glossary_has_ten_terms():
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", PAGES["docs/glossary.md"], flags=re.MULTILINE)
    assert len(terms) == 10


def test_the_readme_is_short_and_links_every_page():
    assert len(README.splitlines()) <= 150
    for name in PAGES:
        assert name == "README.md" or f"]({name}" in README, name
