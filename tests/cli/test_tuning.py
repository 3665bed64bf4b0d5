"""Choosing learning rates: the ranking, the growing grid, and the command that then judges."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.commands import but
from helpers.stores import client, runs

from experiments import contract, tuning


def scores(trials: dict) -> dict:
    """The accuracies of runs among ten classes; None stands for a run that diverged."""
    return {
        rate: [tuning.Diverged(0.1) if each is None else each for each in its]
        for rate, its in trials.items()
    }


def test_a_diverged_run_counts_with_a_constant_answer_among_its_classes():
    three = json.dumps(["cat", "dog", "eel"])
    for classes, expected in ((None, 0.1), (three, 1 / 3), ("1000", 0.001)):
        tags = {"outcome": "diverged"} | ({"classes": classes} if classes else {})
        run = SimpleNamespace(data=SimpleNamespace(tags=tags, metrics={}))
        assert tuning.score(run) == expected and tuning.all_diverged({0.1: [tuning.score(run)]})
    from reports.stats.tuning import choose_rates

    runs = pd.DataFrame({
        "loss": "ce", "lr": [0.01, 0.1], "epochs": 1, "seed": 0, "run_id": ["a", "b"],
        "outcome": ["ok", "diverged"], "val_accuracy": [0.3, np.nan],
    })  # fmt: skip
    assert choose_rates(runs)["lr"].item() == 0.01
    assert choose_rates(runs.assign(classes=three))["lr"].item() == 0.1


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ({0.1: [0.5, 0.7], 0.3: [0.9, 0.2]}, 0.1),  # the mean counts
        ({0.1: [0.5, 0.5], 0.3: [0.88, None]}, 0.1),  # (0.88 + 0.1) / 2 = 0.49
        ({0.1: [0.5, 0.5], 0.3: [0.92, None]}, 0.3),  # (0.92 + 0.1) / 2 = 0.51
        ({0.1: [0.05], 0.3: [None]}, 0.3),  # worse than a constant answer
        ({0.1: [None, 0.4], 0.3: [0.9, None]}, 0.3),
        ({0.3: [0.5], 0.1: [0.5], 1.0: [0.5]}, 0.1),  # of equals the smaller
        ({0.1: [0.1 + 0.2], 0.3: [0.3]}, 0.1),  # equal but for the last digit
    ],
)
def test_the_best_rate(trials, best):
    assert tuning.choose(scores(trials)) == best


def test_where_everything_diverged_the_smallest_rate_is_chosen():
    assert tuning.choose(scores({1.0: [None], 0.1: [None, None]})) == 0.1


def test_the_reports_choose_the_same():
    from reports.stats.tuning import choose_rates

    random = np.random.default_rng(0)
    for _ in range(50):
        rates, seeds = [0.01, 0.03, 0.1], range(3)
        trials = {
            lr: [None if random.random() < 0.5 else random.integers(0, 4) / 4 for _ in seeds]
            for lr in rates
        }
        rows = [
            {"lr": lr, "seed": seed, "run_id": f"{lr}{seed}", "val_accuracy": score or 0.0}
            | {"outcome": "diverged" if score is None else "ok"}
            for lr in rates
            for seed, score in zip(seeds, trials[lr], strict=True)
        ]
        runs = pd.DataFrame(rows).assign(loss="ce", epochs=1)
        assert choose_rates(runs, None)["lr"].tolist() == [tuning.choose(scores(trials))]


@pytest.mark.parametrize(
    ("rates", "chosen", "wider"),
    [
        ([0.03, 0.01, 0.1], [0.03], [0.01, 0.03, 0.1]),
        ([0.01, 0.03, 0.1], [0.03, 0.1], [0.01, 0.03, 0.1, 0.3]),
        ([0.01, 0.03, 0.1], [0.01, 0.1], [0.003, 0.01, 0.03, 0.1, 0.3]),
        ([0.02, 0.2], [0.2], [0.02, 0.2, 1.0]),
    ],
)
def test_the_grid_grows_where_a_best_rate_lies_on_its_edge(rates, chosen, wider):
    assert tuning.extended(rates, chosen) == wider


def test_half_decades():
    rates = [contract.half_decade(0.1, steps) for steps in range(-3, 4)]
    assert rates == [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]


TINY = ["data=digits", "model=softmax", "epochs=2", "tracking.log_model=false"]
TUNE = ["-m", "preset=tuning", "loss=mse,ce", *TINY]


def test_what_cannot_be_tuned_is_refused(tmp_path, run_command):
    for arguments, message in (
        (["lr=0.1"], "lr: expected a grid of learning rates to choose from, got 0.1 alone"),
        (["seed=3"], "seed: tuning chooses the seeds itself"),
        (
            ["hydra.sweeper.tuning_seeds=0"],
            "tuning_seeds: expected a whole number at least 1, got 0",
        ),
        (["tune.mse.gamma=1,2"], "tune: expected hydra/sweeper=grid"),
        (["tune.ce.gamma=1"], "tune: expected a sweep, two values or more"),
    ):
        done = run_command(tmp_path, *TUNE, *arguments)
        assert done.returncode == 1
        assert message in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_the_plan_of_a_tuning_says_what_comes_after_it(tmp_path, run_command):
    words = ["lr=0.01,0.03", "hydra.sweeper.evaluation_seeds=3", "plan=true"]
    done = run_command(tmp_path, *TUNE, *words)
    assert done.returncode == 0, done.stderr
    assert "8 to run" in done.stdout
    assert "6 runs evaluate the chosen ones, and for each rate by which the" in done.stdout
    assert "for each rate by which the grid grows there are 4 more" in done.stdout


@pytest.mark.slow
def test_a_loss_that_diverges_at_every_rate_is_evaluated_at_the_smallest(tmp_path, run_command):
    few = ["hydra.sweeper.evaluation_seeds=2", "hydra.sweeper.extensions=0"]
    few += ["hydra.sweeper.tuning_seeds=1"]
    done = run_command(tmp_path, *TUNE, "lr=10,30", *few)
    assert done.returncode == 0, done.stderr
    assert "loss=mse: every trial diverged; the smallest rate is evaluated" in done.stdout
    seeds = {"ce": set(), "mse": set()}
    for run in runs(tmp_path):
        seeds[run.data.params["loss"]].add((run.data.params["lr"], run.data.params["seed"]))
    chosen = {loss: {lr for lr, seed in pairs if seed == "1"} for loss, pairs in seeds.items()}
    assert chosen["mse"] == {"10.0"} and len(chosen["ce"]) == 1
    for loss, pairs in seeds.items():
        rate = next(iter(chosen[loss]))
        assert pairs == {("10.0", "0"), ("30.0", "0"), (rate, "1"), (rate, "2")}
    # the report is told which seeds chose
    assert "'tuning_seeds=[0]'" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_one_command_chooses_extends_and_judges(tmp_path, run_command):
    arguments = [*TUNE, "lr=0.01,0.03", "hydra.sweeper.evaluation_seeds=2"]
    arguments += ["hydra.sweeper.extensions=1"]
    done = run_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "a best rate lies on the edge of the grid: it grows by" in done.stdout
    rates = {"ce": defaultdict(set), "mse": defaultdict(set)}
    for run in runs(tmp_path):
        params = run.data.params
        rates[params["loss"]][float(params["lr"])].add(int(params["seed"]))
    assert sorted(rates["ce"]) == sorted(rates["mse"])  # the same rates for all
    assert len(rates["ce"]) > 2
    for loss in ("ce", "mse"):
        judged = [lr for lr, seeds in rates[loss].items() if seeds == {0, 1, 2, 3}]
        assert len(judged) == 1
        assert all(seeds == {0, 1} for lr, seeds in rates[loss].items() if lr not in judged)
        assert f"loss={loss}: chosen lr={judged[0]:g}" in done.stdout
    # Whatever stage it is of, a sweep declares the seeds of them all.
    assert {parent.data.tags["seeds"] for parent in runs(tmp_path, "sweep")} == {"0-3"}
    last = max(runs(tmp_path, "sweep"), key=lambda parent: parent.info.start_time)
    path = client(tmp_path).download_artifacts(last.info.run_id, "grid.json", str(tmp_path))
    assert len(json.loads(Path(path).read_text())["identities"]) == len(runs(tmp_path))
    again, count = run_command(tmp_path, *arguments), len(runs(tmp_path))
    assert f"{count} runs, {count} finished before, 0 to run" in again.stdout


OPTUNA = ["-m", "hydra/sweeper=optuna", "loss=mae,ce", *TINY]


@pytest.mark.slow
def test_optuna_wants_an_interval(tmp_path, run_command):
    for rates in ("lr=0.1,0.3", "lr=0.1", "lr=interval(1,0.1)", "lr=interval(0,1)", "epochs=2"):
        done = run_command(tmp_path, *OPTUNA, rates)
        assert done.returncode == 1
        assert "expected lr=interval(low,high) with 0 < low < high" in done.stderr


@pytest.mark.slow
def test_optuna_asks_for_as_many_rates_for_each_loss_and_for_the_same_again(tmp_path, run_command):
    arguments = [*OPTUNA, "lr=interval(0.001,1)", "hydra.sweeper.trials=3"]
    arguments += ["hydra.sweeper.evaluation_seeds=1"]
    done = run_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    rates = {"ce": set(), "mae": set()}
    for run in runs(tmp_path):
        rates[run.data.params["loss"]].add(float(run.data.params["lr"]))
    assert [len(tried) for tried in rates.values()] == [3, 3]
    assert all(0.001 <= rate <= 1 for tried in rates.values() for rate in tried)
    count = len(runs(tmp_path))
    assert count == 2 * (3 * 2 + 1)
    again = run_command(tmp_path, *arguments)
    assert f"{count} runs, {count} finished before, 0 to run" in again.stdout
    assert len(runs(tmp_path)) == count


@pytest.mark.slow
def test_tuned_values_are_trials_of_one_loss(tmp_path, run_command):
    from reports.runs import load

    grid = ["loss=ce,focal", "lr=0.01,0.1", *but(TINY, "epochs=1")]
    done = run_command(tmp_path, "-m", "tune.focal.gamma=1,2", *grid)
    assert done.returncode == 0, done.stderr
    trials = "Trials of each loss: 4 (ce: 4 learning rates; focal: 2 learning rates x 2 values of"
    assert trials in done.stdout
    (parent,) = runs(tmp_path, "sweep")
    assert json.loads(parent.data.tags["tune"]) == {"focal": {"loss.gamma": ["1", "2"]}}

    # The runs are those of a grid over the value, which declares nothing.
    same = [word for word in grid if not word.startswith("loss=")]
    again = run_command(tmp_path, "-m", "loss=focal", "loss.gamma=1,2", *same)
    assert "4 runs, 4 finished before, 0 to run" in again.stdout
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sweeps = {run.data.tags.get("tune", ""): run.info.run_id for run in runs(tmp_path, "sweep")}
    of_grid = load(uri, sweep=sweeps[""]).summary
    assert sorted(of_grid["loss"].unique()) == ["focal gamma=1", "focal gamma=2"]
    for stored in (load(uri), load(uri, sweep=parent.info.run_id)):
        pairs = stored.summary.groupby("loss")["tuned"].value_counts().to_dict()
        assert pairs == {("ce", ""): 4, ("focal", "gamma=1"): 2, ("focal", "gamma=2"): 2}
