"""The commands on a page: further runs, learning rates and seeds."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import make_page, source, text
from helpers.synthetic_runs import predictions, runs, tuned
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments import tuning
from reports import analysis
from reports.analysis import Section
from reports.page import caveats, commands
from reports.page.more_runs import MoreRuns
from reports.question import Question
from reports.stats.tuning import choose_rates


def test_an_edge_is_said_with_the_command_that_extends_the_grid() -> None:
    _, _, html, _ = make_page(*runs(rates=(0.01, 0.03)))
    words = text(html)
    edge = "the best learning rate is at the edge of the grid for ce at the highest rate (0.03)"
    assert edge in words
    assert "loss=ce,mse lr=0.1 epochs=3 'seed=range(10)' model=mlp data=digits" in words
    assert "loss=focal loss.gamma=3 lr=0.1 " in words


def test_what_differs_is_told_from_what_a_file_of_conf_builds_on() -> None:
    values = {"data.label_noise": "0.0", "data.noise_kind": "symmetric", "data.folds": "5"}
    row = pd.Series({"data": "iris", "data.normalize": "True"} | values)  # iris builds on wine
    assert commands.changed_values(row) == {"data.folds": 5}


def test_commands_name_what_differs_from_the_defaults_and_hydra_reads_them() -> None:
    summary, _ = runs()
    summary = summary.assign(
        batch_size=50,
        optimizer="momentum",
        # Where another setting has no such value, a whole number is a float.
        **{"data.label_noise": 0.2, "data.validation_size": 360, "stop.patience": 3.0},
        **{"data.train_size": 500.0, "model.hidden": 64.0},
    )
    summary["data.root"] = "/somewhere"
    lines = commands.run_command(
        ["ce", "focal gamma=3"], [0.03], range(12), summary,
        epochs=3, experiment="it's", uri="http://h:1",
    )  # fmt: skip
    assert lines == [
        f"python experiments/run.py -m {loss} lr=0.03 epochs=3 'seed=range(12)' model=mlp "
        "data=digits optimizer=momentum batch_size=50 model.hidden=64 data.label_noise=0.2 "
        "data.train_size=500 stop.patience=3 'experiment=\"it'\"'\"'s\"' tracking.uri=http://h:1"
        for loss in ("loss=ce", "loss=focal loss.gamma=3")
    ]
    overrides = OverridesParser.create().parse_overrides(shlex.split(lines[0])[3:])
    values = {override.key_or_group: override.value() for override in overrides}
    assert values["experiment"] == "it's" and values["data.label_noise"] == 0.2


@pytest.mark.parametrize(
    ("evaluation", "needed", "tuning", "expected"),
    [
        (range(10), 20, [], list(range(20))),
        (range(2, 10), 12, [0, 1], list(range(2, 14))),
        (range(2), 4, [7], [0, 1, 8, 9]),
        ([0, 5], 4, [], [0, 5, 6, 7]),
        ([], 2, [0, 1], [2, 3]),
        (range(10), 4, [], list(range(10))),
    ],
)
def test_seeds_to_reach(
    evaluation: Any, needed: float, tuning: list[int], expected: list[int]
) -> None:
    assert commands.seeds_to_reach(evaluation, needed, tuning) == expected


@pytest.mark.parametrize(
    ("grid", "edge", "expected"),
    [
        ([0.003, 0.01, 0.03], "high", [0.1]),
        ([0.003, 0.01, 0.03, 0.1], "high", [0.3]),
        ([0.01, 0.1], "high", [0.3]),
        ([0.01, 0.1], "low", [0.003]),
        ([0.015, 0.03], "high", [0.1]),
        ([0.0003, 0.001], "low", [0.0001]),
        ([0.5, 2.0], "high", [10.0]),
    ],
)
def test_a_grid_is_extended_by_half_a_decade_as_the_program_extends_it(
    grid: list[float], edge: str, expected: list[float]
) -> None:
    assert commands.wider_rates(grid, edge) == expected
    best = max(grid) if edge == "high" else min(grid)
    assert sorted([*grid, *expected]) == tuning.extended(grid, [best])


def test_a_command_for_a_loss_of_ones_own_says_what_it_lacks() -> None:
    summary, _ = runs(("ce", "focal gamma=3", "mine"))
    own = "  # uses options of your own: add --config-dir and PYTHONPATH as for the first run"
    losses = ["ce", "focal gamma=3", "mine"]
    lines = commands.run_command(losses, [0.03], range(2), summary, epochs=3)
    rest = "lr=0.03 epochs=3 'seed=range(2)' model=mlp data=digits"
    assert lines == [
        f"python experiments/run.py -m loss=ce,mine {rest}{own}",
        f"python experiments/run.py -m loss=focal loss.gamma=3 {rest}",
    ]
    assert shlex.split(lines[0], comments=True)[-1] == "data=digits"
    (line,) = commands.run_command(["ce"], [0.03], [0], summary.assign(model="tiny"), epochs=3)
    assert line.endswith(f"model=tiny data=digits{own}")


def test_a_command_for_versions_of_a_loss_says_which_code_it_runs() -> None:
    summary, _ = runs(("ce", "ce@1a2b3c4", "ce@5d6e7f8", "mse"))
    summary["loss_option"] = summary["loss"].str.partition("@")[0]
    now = "  # runs the code as it is now, which adds runs to no other version"
    (line,) = commands.run_command(
        ["ce@1a2b3c4", "ce@5d6e7f8", "mse"], [0.03], range(2), summary, epochs=3
    )
    assert "loss=ce,mse " in line and line.endswith(now)
    (line,) = commands.run_command(["ce", "mse"], [0.03], range(2), summary, epochs=3)
    assert "loss=ce,mse " in line and "#" not in line


def test_the_deciding_command_is_on_the_page() -> None:
    summary, curves = runs(seeds=range(2), rates=(0.03,))
    # two pairs say nothing of how many it takes
    (section,), _, html, _ = make_page(summary, curves)
    assert section.headline["reason"].tolist() == ["too few seeds"] * 2
    assert "epochs=3 'seed=range(10)' model=mlp data=digits" in text(html)
    summary, curves = runs(seeds=range(3), rates=(0.03,))
    ce = summary.loc[summary["loss"] == "ce", "test_accuracy"].to_numpy()
    focal = ce + np.array([0.03, 0.05, -0.01])
    summary.loc[summary["loss"] == "focal gamma=3", "test_accuracy"] = focal
    (section,), _, html, _ = make_page(summary, curves)
    row, words = section.headline.iloc[0], text(html)
    assert "these seeds show with 80 % power: " in words and "the best rates alone" not in words
    assert (row["verdict"], row["reason"]) == ("undecided", "too few seeds")
    compared = "Losses are compared by test accuracy after 3 epochs, at learning rate 0.03."
    assert f"{compared} Intervals" in words
    seeds = f"'seed=range({row['seeds_needed']:.0f})'"
    assert f"loss=focal loss.gamma=3 lr=0.03 epochs=3 {seeds} model=mlp data=digits" in words
    number = f"{row['seeds_needed']:,.0f} seeds"
    assert f"About {number} (quartiles " in words and f"The command for {number}" in words


FIVE_LOSSES = ("ce", "brier", "focal", "gce", "mae")


def close_rates(seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Five losses at two rates that are nearly as good.

    Brier is worse, the others are hardly apart.
    """
    summary, curves = runs(FIVE_LOSSES, rates=(0.03, 0.1), seeds=range(seeds))
    rng = np.random.default_rng(6)
    cells = itertools.product(range(seeds), FIVE_LOSSES, (0.03, 0.1))
    noise = {(loss, lr, seed): rng.normal(0, 0.004, 2) for seed, loss, lr in cells}
    bias = summary["loss"].map({"brier": -0.03, "focal": 0.002}).fillna(0.0)
    keys = list(zip(summary["loss"], summary["lr"], summary["seed"], strict=True))
    for place, name in enumerate(("val_accuracy", "test_accuracy")):
        offsets = np.array([noise[key][place] for key in keys])
        summary[name] = (500 * (0.95 + bias + offsets)).round() / 500
    return summary, curves


Runs = set[tuple[str, float, int]]


def runs_asked_for(section: Section) -> Runs:
    """The runs that the commands beside undecided verdicts ask for."""
    more_runs = MoreRuns(section, source())
    extra_runs: Runs = set()
    for row in section.headline.to_dict("records"):
        for line in more_runs.deciding(row)[0]:
            words = shlex.split(line, comments=True)[3:]
            values = {
                each.key_or_group: list(each.sweep_iterator())
                if each.is_sweep_override()
                else [each.value()]
                for each in OverridesParser.create().parse_overrides(words)
            }
            every = itertools.product(values["loss"], values["lr"], values["seed"])
            extra_runs |= {(str(loss), float(lr), int(seed)) for loss, lr, seed in every}
    return extra_runs


def those_of(frame: pd.DataFrame, selected: Runs) -> pd.DataFrame:
    keys = zip(frame["loss"], frame["lr"], frame["seed"], strict=True)
    return frame[[key in selected for key in keys]]


def test_more_seeds_as_the_page_asks_lose_no_pair_and_no_verdict() -> None:
    """Five losses, two close rates, 10 seeds.

    Brier is worse, and the page asks for more seeds of others.
    """
    summary, curves = close_rates(120)
    first_runs = set(itertools.product(FIVE_LOSSES, (0.03, 0.1), range(10)))
    (before,) = analysis.sections(those_of(summary, first_runs), curves, Question(), predictions)
    first = before.headline.set_index("a")
    assert (first["n"] == 10).all() and first.loc["brier", "verdict"] == "worse"
    assert before.split.tuning == before.split.evaluation == tuple(range(10))
    (fact,) = [fact for fact in caveats.facts(before) if fact.term == "Detectable"]
    assert (before.headline["combinations"] > 1).any() and fact.text.endswith(
        "points, at the best rates alone; a verdict also has to hold at the other rates that may "
        "be the best."
    )
    extra_runs = runs_asked_for(before)
    undecided = set(first.index[first["verdict"] == "undecided"])
    assert undecided and {loss for loss, _, _ in extra_runs} == {"ce", *undecided}
    assert {lr for _, lr, _ in extra_runs} == {0.03, 0.1}  # every new seed chooses, too
    assert extra_runs > {key for key in first_runs if key[0] in undecided}

    (after,) = analysis.sections(
        those_of(summary, first_runs | extra_runs), curves, Question(), predictions
    )
    second = after.headline.set_index("a")
    assert second.loc["brier", "verdict"] == "worse" and second.loc["brier", "n"] == 10
    for loss in undecided:
        seeds = {seed for name, _, seed in extra_runs if name == loss and seed < 120}
        assert second.loc[loss, "n"] == len(seeds) >= min(first.loc[loss, "seeds_needed"], 120)
        tuned = after.chosen.set_index("loss").loc[loss, "tuning_seeds"]
        assert set(tuned) == seeds  # all of them chose
    lost = {tuple(each)[:3] for drops in second["dropped"] for each in drops}
    assert not lost & extra_runs
    evaluated = after.evaluated[after.evaluated["loss"] == "brier"]
    assert set(evaluated["seed"]) == set(range(10))


def test_the_commands_that_run_all_again_run_what_was_run_and_nothing_else() -> None:
    summary, curves = runs(("ce", "focal gamma=3", "mse"), rates=(0.03, 0.1), seeds=range(5))
    evaluation = (summary["seed"] > 1) & (
        summary["lr"] != summary["loss"].map({"ce": 0.03, "mse": 0.03}).fillna(0.1)
    )
    lines = again(summary[~evaluation], curves)
    where = "model=mlp data=digits experiment=digits"
    assert lines == [
        f"python experiments/run.py -m loss=ce,mse lr=0.03,0.1 epochs=3 'seed=range(2)' {where}",
        "python experiments/run.py -m loss=focal loss.gamma=3 lr=0.03,0.1 epochs=3 "
        f"'seed=range(2)' {where}",
        f"python experiments/run.py -m loss=ce,mse lr=0.03 epochs=3 'seed=range(2,5)' {where}",
        "python experiments/run.py -m loss=focal loss.gamma=3 lr=0.1 epochs=3 "
        f"'seed=range(2,5)' {where}",
    ]
    assert len(again(summary, curves)) == 2


def test_the_commands_that_run_all_again_have_the_tuned_values_of_their_seeds() -> None:
    summary, curves = tuned(seeds=range(3))
    evaluation = (summary["seed"] == 2) & (
        (summary["lr"] != 0.1) | ~summary["tuned"].isin(["", "gamma=2"])
    )
    lines = again(summary[~evaluation], curves)
    assert [line.partition(" -m ")[2].partition(" epochs")[0] for line in lines] == [
        "loss=ce lr=0.01,0.0158,0.0251,0.0398,0.0631,0.1",
        "loss=focal loss.gamma=1,2,3 lr=0.01,0.1",
        "loss=ce lr=0.1",
        "loss=focal lr=0.1",
    ]


def again(summary: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    return MoreRuns(section, source()).again()


@pytest.mark.slow
def test_more_seeds_of_a_two_stage_sweep_run_at_the_chosen_rates_alone() -> None:
    summary, curves = close_rates(60)
    tuned = set(itertools.product(FIVE_LOSSES, (0.03, 0.1), range(2)))
    rates = dict(choose_rates(those_of(summary, tuned))[["loss", "lr"]].itertuples(index=False))
    first_runs = tuned | {(loss, lr, seed) for loss, lr in rates.items() for seed in range(2, 10)}
    # Also where the report is not told which seeds chose.
    for question, compared in ((Question(tuning_seeds=(0, 1)), 8), (Question(), 10)):
        (before,) = analysis.sections(those_of(summary, first_runs), curves, question, predictions)
        assert before.split.two_stage and set(before.chosen["tuning_seeds"]) == {(0, 1)}
        extra_runs = runs_asked_for(before)
        assert extra_runs and {(loss, lr) for loss, lr, _ in extra_runs} <= set(rates.items())
        (after,) = analysis.sections(
            those_of(summary, first_runs | extra_runs), curves, question, predictions
        )
        assert after.chosen["lr"].tolist() == before.chosen["lr"].tolist()
        n = before.headline.set_index("a")["n"]
        assert (n == compared).all()
        assert (after.headline.set_index("a")["n"] >= n).all()
        assert after.split.evaluation[: len(before.split.evaluation)] == before.split.evaluation
