"""The commands and the Python of README and docs/ really run, each as a small example."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import ROOT
from helpers.doc_tables import COMMANDS
from helpers.docs import EVERYTHING, blocks, write_examples
from helpers.forked import generate
from helpers.stores import Store

from reports.runs import load

pytestmark = pytest.mark.slow

ELSEWHERE = {  # parts of commands whose tests are elsewhere
    "preset=": "docs/results has what they show; test_presets composes them",
    "tracking=server": "test_cluster",
    "hydra/sweeper=": "test_tuning",
    "rerun=": "test_run_again",
    "install=bash": "test_install",
    "from.loss=": "test_foreign_experiments",
    "baselines=true": "test_baselines_compared",
}
HERE = [command for command in COMMANDS if not any(part in command for part in ELSEWHERE)]
SWEEPS = [command for command in HERE if "experiments/run.py" in command]
REPORTS = [command for command in HERE if command not in SWEEPS]


def small(command: str) -> list[str]:
    """The overrides of a command, on the digits for one or two epochs, with one seed."""
    words = shlex.split(command.partition("experiments/run.py ")[2])
    words = [re.sub(r"^((?:lr|tune\.[\w.]+)=[^,]+,[^,]+),.*", r"\1", word) for word in words]
    words = [re.sub(r"^epochs=\d+", "epochs=1", word) for word in words]
    words = [re.sub(r"^epochs=1,\d+", "epochs=1,2", word) for word in words]
    words = [re.sub(r"^seed=.*", "seed=0", word) for word in words if word != "data=fashion"]
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
    assert len(SWEEPS) >= 15 and len(REPORTS) >= 14
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


SWEEPS_OF = {  # experiments that the pages name, and their sweeps; the last one is the newest
    "mine": ("RUN_A", "RUN_B"),
    "NAME_1": ("one",),
    "NAME_2": ("two",),
    "NAME": ("NAME_OR_ID",),
    "newest": ("ID_1", "ID_2", "ID"),
}


@pytest.fixture(scope="module")
def documented(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the experiments, sweeps, versions and files that the pages name."""
    directory = tmp_path_factory.mktemp("documented")
    store = Store(shutil.copy(empty_store, directory / "mlflow.db"), "first")
    for experiment, sweeps in SWEEPS_OF.items():
        experiment_id = store.add_experiment(experiment)
        for number, sweep in enumerate(sweeps):
            add_sweep(store, experiment_id, sweep, range(2 * number, 2 * number + 2))
    (text,) = {content for _, content in blocks(EVERYTHING) if content.startswith("loss,lr,seed")}
    (directory / "results.csv").write_text(text, encoding="utf-8")
    shutil.copy(directory / "mlflow.db", directory / "elsewhere.db")
    return directory


def add_sweep(store: Store, experiment: str, name: str, seeds: range) -> None:
    """Runs of three losses, one of which has two versions, on two data sets with two models."""
    runs = list(product(("mnist", "fashion"), ("mlp", "lenet5"), ("ce", "mse", "mine"), seeds))
    identities = [" ".join(map(str, run)) for run in runs]
    parent = store.add_sweep(name, identities, experiment=experiment)
    means = {"ce": 0.75, "mse": 0.7, "mine": 0.76}
    for identity, (data, model, loss, seed) in zip(identities, runs, strict=True):
        hashes = {"init_hash": seed, "order_hash": seed}
        code = "1a2b3c4" if loss == "mine" and seed % 2 else "f" * 7
        store.add(
            identity,
            experiment=experiment,
            test={"test/accuracy": means[loss] + 0.001 * seed},
            tags=hashes | {"mlflow.parentRunId": parent, "code": code},
            own={"data": data, "model": model, "loss": loss, "seed": seed},
        )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("command", REPORTS)
def test_each_command_of_a_report_ends_well(command, documented, report):
    words = shlex.split(command.removeprefix("PYTHONPATH=. ").removeprefix("generate "))
    ids = dict(zip(("RUN_A", "RUN_B"), two_runs(documented), strict=True))
    words = [ids.get(word, word) for word in words]
    words += ["where.model=mlp"] * ("across=data" in words)
    if words[0] == "compare":
        done = generate(documented, *words)
        assert done.returncode == 0 and "seed: 0, 1" in done.stdout, done.stderr
        return
    if "check=" in command:
        report(documented, "experiment=NAME")
    code, text = report(documented, *words[1:])
    assert code == 0, text
    if "check=" in command:
        assert re.match(r"all [1-9]\d* verdicts of .+ hold", text)
    elif "aa=" in command:
        assert "0 of 4 comparisons of a loss with itself" in text
    else:
        (page,) = re.findall(r"^report: (.+)$", text, flags=re.MULTILINE)
        assert (documented / page).is_file()
        assert re.search(r"\b(better|worse|equivalent|undecided)\b|Average ranks: ce", text)


def two_runs(directory: Path) -> list[str]:
    """Runs that differ in their seed, of the experiment `mine`."""
    frame = load(f"sqlite:///{directory / 'mlflow.db'}", "mine", where={"loss": "ce"}).summary
    chosen = frame[(frame["data"] == "mnist") & (frame["model"] == "mlp")].sort_values("seed")
    return list(chosen["run_id"].head(2))
