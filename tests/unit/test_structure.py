"""What the layout promises: what an import loads, which names are free, what every file says.

Who imports whom stands in pyproject.toml, for import-linter.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest
from helpers.commands import ROOT

REPORTS = ", ".join(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "reports").rglob("*.py"))
)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "experiments.data",
            "sklearn paddle platformdirs filelock pooch hydra mlflow pandas scipy",
        ),
        ("reports.stats", "mlflow paddle seaborn matplotlib sklearn experiments.training"),
        ("reports.runs", "mlflow sqlalchemy"),
        (
            REPORTS,
            "experiments.comparison experiments.data experiments.losses experiments.heads "
            "experiments.metrics experiments.source_digest",
        ),
        pytest.param("reports.gallery, reports.page.report", "paddle", marks=pytest.mark.slow),
    ],
)
def test_importing_a_module_loads_nothing_heavy(module, heavy):
    code = f"import sys, {module}; print(set({heavy.split()}) & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"


def test_plugins_know_neither_mlflow_nor_reports():
    """Import-linter does not see them: Hydra finds them in a package without __init__.py."""
    plugins = list((ROOT / "experiments" / "hydra_plugins").rglob("*.py"))
    assert len(plugins) >= 4
    for path in plugins:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (mlflow|reports)\b", source, re.MULTILINE), path


def test_no_module_is_named_like_one_that_something_else_imports():
    """`python experiments/run.py` puts experiments/ first on the path, where it would hide it."""
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
    "place", ["experiments/data", "experiments/losses", "reports/stats", "reports/figures"]
)
def test_the_map_of_the_package_names_every_module(place):
    text = (ROOT / place / "__init__.py").read_text(encoding="utf-8")
    for path in (ROOT / place).glob("*.py"):
        assert path.name == "__init__.py" or f"    {path.name} " in text, path.name


def test_nothing_is_left_of_one_machine():
    # by the README's commands, and not in git
    made_here = {"outputs", "mlartifacts", "build", "dist"}
    for path in ROOT.rglob("*"):
        top = path.relative_to(ROOT).parts[0]
        ours = top not in made_here and not top.startswith(".venv")
        if ours and path.suffix in {".py", ".md", ".toml", ".yaml", ".html", ".cpp"}:
            text = path.read_text(encoding="utf-8")
            for place in ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/"):
                assert place not in text, path
