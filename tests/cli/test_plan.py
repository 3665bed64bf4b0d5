"""What a command would do, without doing it."""

from __future__ import annotations

import re

import pytest
from helpers.commands import SMALL, but

from experiments import plan

NOT_KNOWN = "how long that takes is not known before one like them is finished."


@pytest.mark.parametrize(
    ("states", "jobs", "text"),
    [
        (["done", "done"], [], "2 runs: 2 done. Nothing to run."),
        (["running (process 7 on host)"], [], "1 run: 1 running. Nothing to run."),
        (
            ["done", "missing", "failed", "diverged"],
            [[30.0], [90.0]],
            "4 runs: 1 diverged, 1 done, 1 failed, 1 missing. "
            "2 to run, 2 jobs at a time: about 1m30s.",
        ),
        (
            ["missing", "missing", "missing"],
            [[10.0], [None], [20.0]],
            "3 runs: 3 missing. 3 to run, 2 jobs at a time: about 22.5s.",
        ),
        (["missing"], [[None]], f"1 run: 1 missing. 1 to run, 1 job at a time; {NOT_KNOWN}"),
        (
            ["missing", "missing"],
            [[10.0, 20.0]],
            "2 runs: 2 missing. 2 to run, 1 job at a time: about 30.0s.",
        ),
    ],
)
def test_the_plan_in_a_sentence(states, jobs, text):
    assert plan.summary(states, jobs, slots=2) == text


def test_a_plan_creates_nothing(tmp_path, run_command):
    done = run_command(tmp_path, "-m", "loss=mse,ce", *SMALL, "plan=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("missing") == 3
    assert "how long that takes is not known" in done.stdout
    assert not (tmp_path / "mlflow.db").exists()


def test_a_plan_tells_what_is_done_and_how_long_the_rest_takes(sweep, run_command):
    directory, _ = sweep
    grid = ["-m", "loss=mse,ce", "seed=0,1,2", *but(SMALL, "epochs=2,3")]
    done = run_command(directory, *grid, "plan=true")
    assert done.returncode == 0, done.stderr
    assert "12 runs: 4 done, 8 missing. 8 to run" in done.stdout
    assert " at a time: about " in done.stdout
    assert done.stdout.count("about") == 10
    assert "6 start from a checkpoint" in done.stdout


def test_a_plan_runs_finished_runs_again_where_that_is_forced(sweep, run_command):
    done = run_command(sweep[0], "loss=ce", "seed=0", *SMALL, "plan=true", "force=true")
    assert "1 run: 1 forced. 1 to run" in done.stdout


@pytest.mark.slow
def test_a_plan_tells_what_checkpoints_will_take_on_disk(tmp_path, run_command):
    words = ["-m", "seed=0,1", "data=digits", "model=mlp", "optimizer=adam", "epochs=1"]
    done = run_command(tmp_path, *words, "plan=true")
    assert done.returncode == 0, done.stderr
    megabytes = float(
        re.search(r"will take about ([\d.]+) MB in outputs/checkpoints", done.stdout)[1]
    )
    none = run_command(tmp_path, *words, "plan=true", "checkpoint=running")
    assert "outputs/checkpoints" not in none.stdout
    assert run_command(tmp_path, *words, "tracking.log_model=false").returncode == 0
    files = list(tmp_path.glob("outputs/checkpoints/*"))
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) / 1e6 == pytest.approx(megabytes, rel=0.05)


def test_runs_that_are_no_beginning_of_a_longer_one_start_at_epoch_0(tmp_path, run_command):
    done = run_command(tmp_path, "-m", "loss=ldam,ce", *but(SMALL, "epochs=2,3"), "plan=true")
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 missing. 4 to run" in done.stdout
    assert "Of these, 1 start from a checkpoint" in done.stdout  # the longer one of ce
