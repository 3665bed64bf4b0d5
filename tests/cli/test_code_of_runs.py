"""The code is part of a run: what the commands do after an edit, seen as a user would."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, but, clean_environment, wait_for
from mlflow import MlflowClient

TINY = ["data=digits", "model=softmax", "epochs=1", "lr=0.1", "tracking.log_model=false"]

LOSS = """
import own_helper
from experiments.losses import ce


def mine(logits, labels):
    return ce(logits, labels) * own_helper.FACTOR
"""
NETWORK = """
import paddle
from experiments.models import with_head


def wide(outputs):
    body = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(784, 16), paddle.nn.ReLU())
    return with_head(body, 16, outputs)
"""
DATA = """
from experiments.data import digits


def few(*, seed):
    return digits(seed=seed, train_size=100)
"""


@pytest.fixture
def place(tmp_path, run_command):
    """A directory with options of a user's own; `place.run(...)` is the command there."""
    (tmp_path / "my_loss.py").write_text(LOSS)
    (tmp_path / "own_helper.py").write_text("FACTOR = 1.0\n")
    (tmp_path / "my_network.py").write_text(NETWORK)
    (tmp_path / "my_data.py").write_text(DATA)
    for group, option, target in [
        ("loss", "mine", "my_loss.mine"),
        ("model", "wide", "my_network.wide"),
        ("data", "few", "my_data.few"),
    ]:
        (tmp_path / "options" / group).mkdir(parents=True)
        (tmp_path / "options" / group / f"{option}.yaml").write_text(
            f"_target_: {target}\n_partial_: true\n"
        )

    class Place:
        path = tmp_path
        where = ("--config-dir", "options")

        def run(self, *arguments: str, code: int = 0) -> str:
            done = run_command(tmp_path, *self.where, *arguments, PYTHONPATH=str(tmp_path))
            assert done.returncode == code, done.stderr
            return done.stdout + done.stderr

        def runs(self) -> list:
            client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
            runs = client.search_runs(["1"], "tags.kind = 'run'")
            return sorted(runs, key=lambda run: run.info.start_time)

        def edit(self, name: str, old: str, new: str) -> None:
            text = (tmp_path / name).read_text()
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new))

    return Place()


@pytest.mark.slow
def test_an_edited_helper_runs_its_losses_again_and_no_others(place):
    grid = ["-m", "loss=mine,ce", *TINY, "seed=0,1"]
    assert "0 finished before, 4 to run" in place.run(*grid)
    place.edit("my_loss.py", "\n\ndef", "\n\n# a comment\ndef")
    assert "4 finished before, 0 to run" in place.run(*grid)
    old = {run.info.run_id for run in place.runs()}

    place.edit("own_helper.py", "1.0", "5.0")
    said = "2 finished runs of loss=mine, made before own_helper.py changed: run again (reuse=any"
    plan = place.run(*grid, "plan=true")
    assert "2 to run" in plan and said in plan
    reused = place.run(*grid, "reuse=any")
    assert "4 finished before, 0 to run" in reused
    said_of_reuse = (
        "2 finished runs of loss=mine, made before own_helper.py changed: used (reuse=any"
    )
    assert said_of_reuse in reused
    assert all(run_id[:8] in reused for run_id in old)
    again = place.run(*grid)
    assert "2 finished before, 2 to run" in again and said in again
    new = [run for run in place.runs() if run.info.run_id not in old]
    assert [run.data.params["loss"] for run in new] == ["mine", "mine"]
    assert all(run.info.run_id[:8] in again for run in new)

    # What ran is kept, and `rerun` names what changed since.
    client = MlflowClient(f"sqlite:///{place.path / 'mlflow.db'}")
    kept = client.download_artifacts(new[0].info.run_id, "code", str(place.path))
    assert (Path(kept) / "own_helper.py").read_text() == "FACTOR = 5.0\n"
    assert (Path(kept) / "my_loss.py").is_file()
    assert {"my_loss.py", "own_helper.py"} <= {path.name for path in Path(kept).iterdir()}
    first = next(run for run in place.runs() if run.data.params["loss"] == "mine")
    differs = place.run(f"rerun={first.info.run_id}", code=1)
    assert "own_helper.py changed since then" in differs
    changed = differs.split("Code (A, B):")[1]
    assert "own_helper.py (loss): " in changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "file", "old", "new"),
    [
        (["model=wide"], "my_network.py", "16", "256"),
        (["model=softmax", "data=few"], "my_data.py", "100", "200"),
    ],
)
def test_an_edited_network_or_dataset_runs_again(place, arguments, file, old, new):
    command = ["loss=ce", *but(TINY, *arguments)]
    place.run(*command)
    assert "finished before as run" in place.run(*command)
    place.edit(file, old, new)
    again = place.run(*command)
    assert f"1 finished run of loss=ce, made before {file} changed: run again" in again
    first, second = place.runs()
    assert first.data.tags["settings"] == second.data.tags["settings"]
    assert first.data.tags["identity"] != second.data.tags["identity"]


@pytest.mark.slow
def test_an_edit_of_the_suites_own_loss(tmp_path, run_command):
    """On a copy of the checkout: an edit of `ce` runs `ce` again, and not `mse`."""
    for name in ("experiments", "conf"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    command = [sys.executable, str(tmp_path / "copy" / "experiments" / "run.py")]
    command += ["-m", "loss=ce,mse", *TINY]
    environment = clean_environment() | {"PYTHONPATH": str(tmp_path / "copy")}

    def output() -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "2 to run" in output()
    file = tmp_path / "copy" / "experiments" / "losses" / "true_class.py"
    text = file.read_text()
    focal = "paddle.exp(softplus(m) * -gamma)"
    file.write_text(text.replace(focal, f"2 * {focal}"))
    assert "2 finished before, 0 to run" in output()
    ce = "return softplus(-log_odds(logits, labels))"
    assert ce in text
    file.write_text(text.replace(ce, "return 2 * softplus(-log_odds(logits, labels))"))
    again = output()
    assert "1 finished before, 1 to run" in again
    file = "experiments/losses/true_class.py"
    assert f"1 finished run of loss=ce, made before {file} changed: run again" in again


@pytest.mark.slow
def test_a_killed_run_whose_helper_is_edited_starts_over(place):
    command = ["loss=mine", *but(TINY, "epochs=3000")]
    words = [sys.executable, str(ROOT / "experiments" / "run.py"), *place.where, *command]
    environment = clean_environment() | {"PYTHONPATH": str(place.path)}
    with (place.path / "log").open("w") as log:
        process = subprocess.Popen(
            words, cwd=place.path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    wait_for(lambda: "epoch 3/3000" in (place.path / "log").read_text())
    process.kill()
    process.wait()
    place.edit("own_helper.py", "1.0", "2.0")
    with (place.path / "log2").open("w") as log:
        process = subprocess.Popen(
            words, cwd=place.path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    wait_for(lambda: "epoch 0/3000" in (place.path / "log2").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    text = (place.path / "log2").read_text()
    said = "1 unfinished run of loss=mine, made before own_helper.py changed: start over"
    assert said in text
    assert "starts from epoch" not in text


@pytest.mark.slow
def test_a_file_that_is_edited_while_its_sweep_runs(place):
    """The run that would mix old and new code is not made, and the message names the file."""
    words = [sys.executable, str(ROOT / "experiments" / "run.py"), *place.where, "-m", "loss=mine"]
    words += [*but(TINY, "epochs=1000"), "seed=0,1", "hydra.launcher.n_jobs=1", "verbose=true"]
    environment = clean_environment() | {"PYTHONPATH": str(place.path)}
    with (place.path / "log").open("w") as log:
        process = subprocess.Popen(
            words, cwd=place.path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        wait_for(lambda: "epoch 2/1000" in (place.path / "log").read_text())
        place.edit("own_helper.py", "1.0", "2.0")
        assert process.wait(300) == 1
    text = (place.path / "log").read_text()
    assert "own_helper.py changed after the command planned this run" in text
    (run,) = place.runs()
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "0")


@pytest.mark.slow
def test_force_counts_and_runs_that_disagree_raise_a_warning(place):
    (place.path / "own_helper.py").write_text(
        "import os\nFACTOR = 1 + int.from_bytes(os.urandom(1), 'little')\n"
    )
    place.run("loss=mine", *TINY)
    forced = place.run("-m", "loss=mine", *TINY, "force=true")
    first, second = place.runs()
    assert second.info.run_id[:8] in forced.split("disagree")[0]  # the table
    assert first.info.run_id[:8] not in forced.split("disagree")[0]
    assert re.search(
        rf"determinism is broken: test/accuracy [\d.]+, then [\d.]+, .*"
        rf"\(runs {first.info.run_id} and {second.info.run_id}\); the newest counts",
        forced,
    )
    again = place.run("loss=mine", *TINY)
    assert f"finished before as run {second.info.run_id}" in again


@pytest.mark.slow
def test_runs_of_before_the_code_was_recorded(place):
    place.run("loss=ce", *TINY)
    (run,) = place.runs()
    client = MlflowClient(f"sqlite:///{place.path / 'mlflow.db'}")
    client.set_tag(run.info.run_id, "identity", run.data.tags["settings"])
    for name in ("code", "code.parts", "code.metrics", "settings", "configuration"):
        client.delete_tag(run.info.run_id, name)
    plan = place.run("loss=ce", *TINY, "plan=true")
    said = "1 finished run of loss=ce, code unknown"
    assert f"{said}: run again (reuse=any uses them)" in plan
    reused = place.run("loss=ce", *TINY, "reuse=any")
    assert f"finished before as run {run.info.run_id}" in reused
    assert f"{said}: used (reuse=any)" in reused
