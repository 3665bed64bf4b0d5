"""The commands and the Python of README and docs/ really run, each as a small example."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from helpers.commands import ROOT
from helpers.doc_tables import COMMANDS
from helpers.docs import EVERYTHING, blocks, write_examples
from helpers.forked import generate

pytestmark = pytest.mark.slow

ELSEWHERE = {  # parts of commands whose tests are elsewhere
    "preset=": "docs/results has what they show; test_presets composes them",
    "tracking=server": "test_cluster",
    "hydra/sweeper=": "test_tuning",
    "rerun=": "test_run_again",
    "install=bash": "test_install",
}
SWEEPS = [
    command
    for command in COMMANDS
    if "experiments/run.py" in command and not any(part in command for part in ELSEWHERE)
]


def small(command: str) -> list[str]:
    """The overrides of a command, on the digits for one or two epochs, with two seeds."""
    words = shlex.split(command.partition("experiments/run.py ")[2])
    words = [re.sub(r"^((?:lr|tune\.[\w.]+)=[^,]+,[^,]+),.*", r"\1", word) for word in words]
    words = [re.sub(r"^epochs=\d+", "epochs=1", word) for word in words]
    words = [re.sub(r"^epochs=1,\d+", "epochs=1,2", word) for word in words]
    words = [re.sub(r"^seed=.*", "seed=0,1", word) for word in words if word != "data=fashion"]
    keys = {word.partition("=")[0] for word in words}
    smaller = {"data": "digits", "model": "softmax", "epochs": "1"}
    return words + [f"{key}={value}" for key, value in smaller.items() if key not in keys]


@pytest.mark.parametrize("command", SWEEPS)
def test_each_command_trains(command, run_command, tmp_path):
    write_examples(tmp_path)
    done = run_command(tmp_path, *small(command), PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    if "plan=true" in command:
        assert re.search(r"^\d+ runs: \d+ missing", done.stdout, flags=re.MULTILINE)
    else:
        assert re.search(r"\bok\b", done.stdout) and "generate report" in done.stdout


def test_there_are_commands_of_each_page():
    assert len(SWEEPS) >= 15
    assert all(any(part in command for command in COMMANDS) for part in ELSEWHERE)


def run_python(directory, containing: str) -> str:
    """What the block of a page that contains a text prints in a directory."""
    (code,) = {c for language, c in blocks(EVERYTHING) if language == "python" and containing in c}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=directory, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=True,
    )  # fmt: skip
    return done.stdout


def test_curves_go_to_a_file(sweep):
    directory, _ = sweep
    run_python(directory, 'curves.to_csv("curves.csv"')
    curves = pd.read_csv(directory / "curves.csv")
    assert sorted(curves["loss"].unique()) == ["ce", "mse"] and len(curves) >= 8


def test_the_frames_of_a_store_and_a_comparison_of_numbers(sweep):
    directory, _ = sweep
    assert run_python(directory, "runs.summary  #") == ""
    assert run_python(directory, "compare(ours, theirs)").split()[0] == "better"


def test_results_in_a_file_make_a_report(tmp_path):
    (text,) = {content for _, content in blocks(EVERYTHING) if content.startswith("loss,lr,seed")}
    (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    done = generate(tmp_path, "report", "from=results.csv")
    assert done.returncode == 0, done.stderr
    assert "focal" in done.stdout
