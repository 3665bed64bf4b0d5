"""What a command would do, without doing it."""

from __future__ import annotations

import pytest
from helpers.commands import SMALL

from experiments import plan


@pytest.mark.parametrize(
    ("states", "seconds", "text"),
    [
        (["done", "done"], [], "2 cells: 2 done. Nothing to run."),
        (
            ["done", "missing", "failed", "diverged"],
            [30.0, 90.0],
            "4 cells: 1 diverged, 1 done, 1 failed, 1 missing. 2 to run, 2 jobs at a time: about "
            "1m30s.",
        ),
        (
            ["missing", "missing", "missing"],
            [10.0, None, 20.0],
            "3 cells: 3 missing. 3 to run, 2 jobs at a time: about 22.5s.",
        ),
        (
            ["missing"],
            [None],
            "1 cell: 1 missing. 1 to run, 1 job at a time; how long that takes is not known "
            "before one like them is finished.",
        ),
        (
            ["running (process 7 on host)"],
            [],
            "1 cell: 1 running. Nothing to run.",
        ),
    ],
)
def test_the_plan_in_a_sentence(states, seconds, text):
    assert plan.summary(states, seconds, slots=2) == text


def test_a_plan_creates_nothing(tmp_path, forked_command):
    done = forked_command(tmp_path, "-m", "loss=mse,ce", *SMALL, "plan=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("missing") == 3
    assert "how long that takes is not known" in done.stdout
    assert not (tmp_path / "mlflow.db").exists()


def test_a_plan_tells_what_is_done_and_how_long_the_rest_takes(sweep, forked_command):
    directory, _ = sweep
    done = forked_command(
        directory, "-m", "loss=mse,ce", "seed=0,1,2", *SMALL, "epochs=2,3", "plan=true"
    )
    assert done.returncode == 0, done.stderr
    assert "12 cells: 4 done, 8 missing. 8 to run" in done.stdout
    assert " at a time: about " in done.stdout
    assert done.stdout.count("about") == 9
    assert (
        "2 cells to run at a constant rate are the beginning of a longer one; prefixes=true"
        in done.stdout
    )


def test_a_plan_runs_finished_cells_again_where_that_is_forced(sweep, forked_command):
    done = forked_command(sweep[0], "loss=ce", "seed=0", *SMALL, "plan=true", "force=true")
    assert "1 cell: 1 forced. 1 to run" in done.stdout


@pytest.mark.slow
def test_shorter_runs_come_out_of_the_longest_with_the_same_numbers(
    sweep, tmp_path, forked_command
):
    from helpers.stores import runs

    arguments = ["-m", "loss=mse,ce", "seed=0", *SMALL, "epochs=2,4", "prefixes=true"]
    done = forked_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "epochs=2 seed=0 | epoch" not in done.stdout  # trained as the first epochs of the other
    found = {(run.data.params["loss"], run.data.params["epochs"]): run for run in runs(tmp_path)}
    assert len(found) == len(runs(tmp_path)) == 4
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for alone in runs(sweep[0]):
        if alone.data.params["seed"] == "0":
            taken = found[alone.data.params["loss"], "2"]
            assert taken.data.tags["prefix_of"] == found[alone.data.params["loss"], "4"].info.run_id
            assert taken.data.tags["identity"] == alone.data.tags["identity"]
            numbers = [
                {k: v for k, v in run.data.metrics.items() if not k.startswith("time/")}
                for run in (taken, alone)
            ]
            assert numbers[0] == numbers[1]
