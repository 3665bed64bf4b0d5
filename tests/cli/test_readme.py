"""The README and docs/ tell the truth.

Commands run, tables name every option, links lead somewhere.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from helpers.commands import ROOT
from helpers.docs import EVERYTHING, FENCED, PAGES, blocks, write_examples
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments import checks, config, loss_checks
from experiments.heads import head_name
from reports import metrics, verdicts
from reports import options as report_options

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
OTHER_PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "docs/results/README.md")
}
TRANSLATIONS = {
    "README.md": "README.zh-CN.md",
    "docs/results/README.md": "docs/results/README.zh-CN.md",
    **{
        f"docs/{path.name}": path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs" / "zh-CN").glob("*.md"))
    },
}
TESTED = ("experiments/run.py", "generate report", "generate compare", "reports/generate.py")
# Lines of bash that are not run here, since they need a network, a server, a cluster or a terminal.
NOT_RUN = """\
pip install -e ".[test]" && pytest
pip install -e ".[ray,server]"
pip install -e ".[slurm]"
mlflow ui
python tests/benchmarks/train_speed.py --cpu-time --rounds 5 --seconds .5
python tests/benchmarks/train_speed.py --cpu-time --rounds 5 --seconds .5 \
--networks lenet5 --batch 32
mlflow server --host 127.0.0.1
mlflow server --host 127.0.0.1 --backend-store-uri postgresql+psycopg2://USER@HOST/DATABASE \
--artifacts-destination DIRECTORY
mlflow server --app-name basic-auth --host 0.0.0.0 --allowed-hosts HEAD:5000
ssh -fN -L 5000:127.0.0.1:5000 MACHINE
ssh -fN -L 5000:127.0.0.1:5000 HEAD
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=SECRET
export MLFLOW_AUTH_ADMIN_PASSWORD=SECRET MLFLOW_FLASK_SERVER_SECRET_KEY=ANOTHER
export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=SECRET
ray start --head --port=6379
ray start --address=HEAD:6379
python tests/benchmarks/inference.py --trials 2000
""".splitlines()
# the one package that a command of a page needs besides
SLURM = "hydra_plugins.hydra_submitit_launcher"


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
LOSS_TABLE = LOSSES_PAGE.partition("## The losses")[2].partition("## Add a loss")[0]
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))


def block(opening: str) -> str:
    """The one code block that begins with `opening`, wherever it is repeated."""
    (found,) = {content for _, content in blocks(EVERYTHING) if content.startswith(opening)}
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, run_command, tmp_path):
    """Each is run with `--cfg job` added, which composes everything and trains nothing.

    A report's options are read.
    """
    if "hydra/launcher=slurm" in command:
        pytest.importorskip(SLURM)
    words = shlex.split(
        re.sub(r"^eval \"\$\((.*)\)\"$", r"\1", command.partition("&& ")[2] or command)
    )
    write_examples(tmp_path)
    if "compare" in words:
        words = ["report", *report_options.of_compare(words[words.index("compare") + 1 :])]
    if "experiments/run.py" not in words:
        program = "report" if "report" in words else "reports/generate.py"
        arguments = words[words.index(program) + 1 :]
        report_options.register()
        report_options.check_names(arguments)
        overrides = report_options.lengthen(arguments)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("report", overrides)
        report_options.read(cfg, overrides)  # raises for a wrong value
        return
    arguments = words[words.index("experiments/run.py") + 1 :]
    arguments = [re.sub(r",.*|range\((\d+)\)", r"\1", word) for word in arguments if word != "-m"]
    # what a sweep alone has
    arguments = [word for word in arguments if not word.startswith("tune.")]
    alone = {"--help", "-sc"} & set(arguments)
    done = run_command(
        tmp_path, *arguments, *([] if alone else ["--cfg", "job"]), loaded="light", PYTHONPATH="."
    )
    assert done.returncode == 0, done.stderr


def test_there_are_commands_to_test():
    assert "pip install -e . && python experiments/run.py -m loss=mse,ce" in lines_of_bash(README)
    assert 'pip install -e ".[test]" && pytest' in lines_of_bash(README)
    assert len(COMMANDS) >= 25


def test_what_is_not_run_is_listed():
    assert sorted(set(BASH) - set(COMMANDS)) == sorted(NOT_RUN)


def test_extras_that_are_installed_are_there():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    there = re.findall(
        r"^(\w+) = \[$", project.partition("[project.optional-dependencies]")[2], re.M
    )
    asked = {
        name for names in re.findall(r'"\.\[([\w,]+)\]"', EVERYTHING) for name in names.split(",")
    }
    assert asked <= set(there) and {"test", "ray", "slurm", "server", "optuna"} <= asked


def test_other_code_blocks_can_be_read():
    found = Counter()
    for language, content in blocks(EVERYTHING):
        found[language] += 1
        if language == "python":
            ast.parse(content)
        elif language == "yaml":
            assert OmegaConf.create(content)
    assert set(found) == {"bash", "python", "yaml", ""}
    assert found["python"] >= 3 and found["yaml"] >= 3


@pytest.mark.parametrize("option", LOSSES)
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
    assert sorted(re.findall(r"^\| `(\w+)` \|", LOSS_TABLE, flags=re.MULTILINE)) == LOSSES


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
    scalars = {each.name for each in dataclasses.fields(config.RunConfig)}
    groups = {"question": config.Question, "stop": config.Stop}
    inner = {f"{name}.{f.name}" for name, kind in groups.items() for f in dataclasses.fields(kind)}
    of_run = scalars - {*config.GROUPS, "tracking", *groups}
    assert rows(OPTIONS, "Values") == of_run | inner
    assert rows(OPTIONS, "Options of a report") == set(report_options.NAMES)
    defaults = OmegaConf.load(ROOT / "conf" / "config.yaml")
    for name in sorted(name for name in of_run if defaults[name] is not None):
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
    keys = {*verdicts.COMPARISON, *verdicts.DERIVED, "setting", "sentence", "rare_seeds"}
    assert rows(REPORT, "verdicts.json") == keys
    offered = set(re.split(r", (?![^{]*\})", metrics.choices()))
    assert rows(REPORT, "Metrics") == offered
    warnings = {
        function.__name__.replace("_", "-")
        for function in (vars(checks) | vars(loss_checks)).values()
        if getattr(function, "__annotations__", {}).get("return") == "str | None"
    } | {"rate-edge"}  # of `tuning`, which looks at a grid
    assert rows(REPORT, "Training warnings") == warnings


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


# ---- links and translations ----------------------------------------------------------------------


def headings(text: str) -> list[tuple[str, str]]:
    """(level, anchor) of every heading."""
    found = re.findall(r"^(#+) (.+)", FENCED.sub("", text), flags=re.MULTILINE)
    return [
        (level, re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")) for level, title in found
    ]


def links(name: str, text: str) -> list[tuple[str, str, str]]:
    """("!" or "", path from the root or address, anchor) of every link of the page `name`."""
    found = []
    for image, target in re.findall(r"(!?)\[[^]]*\]\(([^)\s]+)\)", FENCED.sub("", text)):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            path = os.path.normpath((Path(name).parent / path).as_posix()) if path else name
        found.append((image, path, anchor))
    return found


@pytest.mark.slow
def test_the_examples_of_data_and_of_a_network_of_ones_own_run(tmp_path, run_command):
    write_examples(tmp_path)
    options = ["--config-dir", "options", "loss=ce", "data=rings", "model=deep"]
    done = run_command(tmp_path, *options, "epochs=30", "lr=0.1", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"\bce +0\.1 +30 +0 +([\d.]+)%", done.stdout)
    assert accuracy and float(accuracy[1]) > 60, done.stdout  # of three classes


@pytest.mark.parametrize("name", [*PAGES, *OTHER_PAGES])
def test_links_lead_somewhere(name):
    text = (PAGES | OTHER_PAGES)[name]
    for _, path, anchor in links(name, text):
        if "://" in path:
            continue
        assert (ROOT / path).exists(), f"{name}: {path}"
        if anchor:
            there = [each for _, each in headings((ROOT / path).read_text(encoding="utf-8"))]
            assert anchor in there, f"{name}: {path}#{anchor}"


def of_original(path: str, anchor: str) -> str:
    """A link's target without what a translation changes.

    Its language, and the words of a heading.
    """
    number = ""
    if anchor:
        there = [each for _, each in headings((ROOT / path).read_text(encoding="utf-8"))]
        number = f", heading {there.index(anchor) + 1 if anchor in there else anchor}"
    originals = {translation: name for name, translation in TRANSLATIONS.items()}
    return originals.get(path, path.replace(".zh-CN.ipynb", ".ipynb")) + number


def what_no_translation_changes(name: str, text: str) -> dict[str, object]:
    """By the place where it stands.

    Code without comments, the shape, code and numbers of tables, headings, links.
    """
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
            plain = re.sub(r"\]\([^)]+\)", "]", row)
            found[f"{place}, numbers"] = sorted(re.findall(r"-?\d+(?:[.,]\d+)*", plain))
    for number, (level, _) in enumerate(headings(text), 1):
        found[f"heading {number}"] = level
    targets = Counter(
        f"{'images' if image else 'links'} of {of_original(path, anchor)}"
        for image, path, anchor in links(name, text)
    )
    return {**found, **targets}


@pytest.mark.parametrize(("english", "chinese"), TRANSLATIONS.items())
def test_a_translation_has_the_same_commands_and_tables(english, chinese):
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in (english, chinese)}
    to_english = f"[English]({os.path.relpath(english, Path(chinese).parent.as_posix())})\n"
    assert to_english in texts[chinese][:400]
    texts[chinese] = texts[chinese].replace(to_english, "", 1)
    to_chinese = f"[简体中文]({os.path.relpath(chinese, Path(english).parent.as_posix())})\n"
    if english == "README.md":
        assert to_chinese in README.partition("**")[0]
    texts[english] = texts[english].replace(to_chinese, "", 1)
    ours, theirs = (what_no_translation_changes(name, text) for name, text in texts.items())
    for place in {**ours, **theirs}:
        ours_here, theirs_here = ours.get(place, "nothing"), theirs.get(place, "nothing")
        assert theirs_here == ours_here, (
            f"{place}: {english} {ours_here!r}, {chinese} {theirs_here!r}"
        )
