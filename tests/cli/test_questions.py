"""A question that is declared with a sweep, from the command line to the reader."""

from __future__ import annotations

import json

import pytest
from helpers.stores import runs

from reports.runs import load

TINY = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false", "loss=mse,ce"]


@pytest.mark.slow
def test_a_question_is_kept_with_its_sweep_before_anything_trains(tmp_path, run_command):
    arguments = ["-m", *TINY, "seed=0,1", "question.metric=test/macro_f1", "question.margin=0.5"]
    done = run_command(tmp_path, *arguments, "question.seeds=range(4)")
    assert done.returncode == 0, done.stderr
    (parent,) = runs(tmp_path, "sweep")
    assert parent.data.tags["seeds"] == "0-3"
    assert json.loads(parent.data.tags["question"]) == {
        "metric": "test/macro_f1", "margin": 0.5, "reference": "ce", "epochs": 1, "seeds": "0-3",
    }  # fmt: skip
    report = f"generate report sweep={parent.info.run_id} metric=test/macro_f1 margin=0.5"
    assert done.stdout.splitlines()[-1].endswith(report)
    assert len(runs(tmp_path)) == 4  # seeds of the question are not choices of the grid

    again = run_command(tmp_path, "-m", *TINY, "seed=0,1", "question.reference=mse")
    assert again.returncode == 0 and "4 finished before, 0 to run" in again.stdout
    assert again.stdout.splitlines()[-1].endswith(" reference=mse")
    alone = run_command(tmp_path, "-m", *TINY[:-1], "loss=ce", "seed=0,1", "question.reference=mse")
    assert " reference=" not in alone.stdout.splitlines()[-1]  # this sweep has no run of it

    later = run_command(tmp_path, "-m", *TINY, "seed=2,3,4")
    assert later.returncode == 0, later.stderr

    stored = load(f"sqlite:///{tmp_path}/mlflow.db")
    first, second, third = stored.declared
    assert first.sweep == parent.info.run_id
    assert first.time < stored.summary["started"].min()
    assert (first.metric, first.margin, first.seeds) == ("test/macro_f1", 0.5, (0, 1, 2, 3))
    assert (second.metric, second.reference, second.seeds) == ("test/accuracy", "mse", (0, 1))
    assert (third.reference, third.seeds) == ("mse", (0, 1))
    assert second.time > stored.summary.query("seed < 2")["started"].max()
    planned = stored.summary.groupby("seed")["planned"].all()
    assert planned.to_dict() == {0: True, 1: True, 2: True, 3: True, 4: False}
