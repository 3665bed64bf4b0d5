"""What the layout promises.

Who imports whom, which names are free, what every option and file says.
"""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT

SOURCES = sorted(
    path for place in ("experiments", "reports") for path in (ROOT / place).rglob("*.py")
)
assert len(SOURCES) > 10


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of what a file imports; `from a import b` counts as a and a.b."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path, **how: bool) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, **how)}


def test_the_two_halves_meet_in_the_store():
    light = ("context", "contract", "credentials", "places", "terminal")
    heavy = ("comparison", "data", "losses", "heads", "metrics", "source_digest")
    all_may, later_may = (
        tuple(f"experiments.{name}" for name in names) for names in (light + heavy, heavy)
    )
    for path in SOURCES:
        if path.is_relative_to(ROOT / "experiments"):
            assert "reports" not in packages(path), path
        else:
            ours = {name for name in imports(path) if name.startswith("experiments.")}
            assert all(name.startswith(all_may) for name in ours), path
            at_once = imports(path, top_level_only=True)
            assert not any(name.startswith(later_may) for name in at_once), path


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("training", {"hydra", "omegaconf", "mlflow"}),
        ("losses", {"hydra", "omegaconf", "mlflow", "experiments"}),
        ("guards", {"hydra", "omegaconf", "mlflow", "paddle", "numpy", "experiments"}),
        ("contract", {"hydra", "omegaconf", "mlflow", "paddle", "numpy", "experiments"}),
        ("credentials", {"hydra", "omegaconf", "mlflow", "paddle", "numpy", "experiments"}),
        ("terminal", {"hydra", "omegaconf", "mlflow", "paddle", "numpy", "experiments"}),
        ("heads", {"hydra", "omegaconf", "mlflow", "paddle", "experiments"}),
        ("metrics", {"hydra", "omegaconf", "mlflow", "paddle"}),
        ("models", {"hydra", "omegaconf", "mlflow"}),
        ("data", {"hydra", "omegaconf", "mlflow", "paddle", "experiments"}),
        ("tracking", {"hydra", "omegaconf"}),
    ],
)
def test_what_a_module_does_not_know(name, forbidden):
    files = [
        path for path in SOURCES if path.with_suffix("").is_relative_to(ROOT / "experiments" / name)
    ]
    assert files
    known = set().union(*(packages(path) for path in files))
    inside = (
        {f"experiments.{name}"} if "experiments" in forbidden else set()
    )  # a package's own parts
    alone = {"losses": "experiments.guards", "heads": "experiments.context"}  # these know nothing
    inside |= {alone[name]} if name in alone else set()
    others = {
        dotted for path in files for dotted in imports(path) if dotted.startswith("experiments.")
    }
    if inside and all(dotted.startswith(tuple(inside)) for dotted in others):
        known -= {"experiments"}
    assert not known & forbidden


@pytest.mark.parametrize("name", ["execution", "training", "checkpoints", "tracking"])
def test_a_run_does_not_know_the_sweep_above_it(name):
    files = [
        path for path in SOURCES if path.with_suffix("").is_relative_to(ROOT / "experiments" / name)
    ]
    known = set().union(*map(imports, files))
    above = {"sweep", "table", "plan", "rerun", "run", "hydra_plugins"}
    assert files and not known & {f"experiments.{module}" for module in above}


def test_only_the_writer_writes_to_mlflow():
    experiments = ROOT / "experiments"
    knowing = {
        path.relative_to(experiments).parts[0].removesuffix(".py")
        for path in SOURCES
        if path.is_relative_to(experiments) and "mlflow" in packages(path)
    }
    types_for_annotations = {"sweep", "table", "plan", "rerun", "comparison", "reuse"}
    assert "tracking" in knowing
    assert knowing - types_for_annotations == {"tracking"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "experiments.data",
            "sklearn paddle platformdirs filelock pooch hydra mlflow pandas scipy",
        ),
        ("reports.stats", "mlflow paddle seaborn matplotlib sklearn experiments.training"),
        ("reports.runs", "mlflow sqlalchemy"),
        pytest.param("reports.gallery, reports.page.report", "paddle", marks=pytest.mark.slow),
    ],
)
def test_importing_a_module_loads_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print(set({heavy.split()}) & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_module_is_named_like_one_that_something_else_imports():
    """`python experiments/run.py` puts experiments/ first on the path.

    Where it would hide the real one.
    """
    taken = set(sys.stdlib_module_names)
    for distribution in importlib.metadata.distributions():
        if distribution.metadata["Name"] != "fairloss":
            taken |= set((distribution.read_text("top_level.txt") or "").split())
            taken |= {
                str(file).partition("/")[0].removesuffix(".py") for file in distribution.files or ()
            }
    for place in ("experiments", "reports"):
        paths = [path for path in (ROOT / place).iterdir() if path.suffix == ".py" or path.is_dir()]
        assert len(paths) > 3
        assert not ({path.stem for path in paths} & taken) - {
            "__init__", "__pycache__", "hydra_plugins",
        }, place  # fmt: skip


@pytest.mark.parametrize(
    "place",
    [
        "experiments/data",
        "experiments/losses",
        "reports/stats",
        "reports/figures",
    ],
)
def test_the_map_of_the_package_names_every_module(place):
    text = (ROOT / place / "__init__.py").read_text(encoding="utf-8")
    for path in (ROOT / place).glob("*.py"):
        assert path.name == "__init__.py" or f"    {path.name} " in text, path.name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf" / "preset").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_saved_question_opens_with_question_command_runs_and_answer(path):
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = "\n".join(head)
    for word in ("# Question: ", "# Command:  ", "# Runs:     ", "# Showed:   "):
        assert word in text
    assert f"python experiments/run.py preset={path.stem}" in text


def test_nothing_is_left_of_one_machine():
    made_here = {
        "outputs",
        "mlartifacts",
        "build",
        "dist",
    }  # by the README's commands, and not in git
    for path in ROOT.rglob("*"):
        top = path.relative_to(ROOT).parts[0]
        ours = top not in made_here and not top.startswith(".venv")
        if ours and path.suffix in {".py", ".md", ".toml", ".yaml", ".html", ".cpp"}:
            text = path.read_text(encoding="utf-8")
            for place in ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/"):
                assert place not in text, path
