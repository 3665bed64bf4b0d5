"""Which runs count, which are missing, and which learning rate is chosen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.summaries import NAN, frame, generator, grid_of, run, runs

from reports.stats.contrasts import contrasts
from reports.stats.runs import denominators, expected_runs, newest_runs, unfinished_runs
from reports.stats.tuning import choose_rates, rate_table, split_seeds


def test_one_run_counts_per_run_and_it_is_the_newest_finished_one() -> None:
    table = frame(
        run("ce", 1, 0.9, run_id="late seed"),
        run("ce", 0, None, outcome="failed", run_id="crashed"),
        run("ce", 0, 0.8, run_id="first"),
        run("ce", 0, 0.9, run_id="forced again"),
        run("mse", 0, None, outcome="killed", run_id="killed"),
        run("mse", 0, None, outcome="failed", run_id="failed"),
    )
    assert newest_runs(table)["run_id"].tolist() == ["forced again", "late seed", "failed"]


def test_denominators_count_every_run_that_should_be_there() -> None:
    table = frame(
        *runs("ce", [0.9, 0.9, 0.9]),
        run("ce", 0, 0.95),  # a repetition
        *runs("mse", [0.9, None]),
        run("focal", 0, None, outcome="failed"),
        run("focal", 1, None, outcome="killed"),
    )
    expected = pd.DataFrame(
        {
            "loss": ["ce", "focal", "mse"],
            "expected": [3, 3, 3],
            "ok": [3, 0, 1],
            "diverged": [0, 0, 1],
            "failed": [0, 1, 0],
            "killed": [0, 1, 0],
            "missing": [0, 1, 1],
        }
    )
    pd.testing.assert_frame_equal(denominators(table), expected, check_dtype=False)
    left = unfinished_runs(table)
    lines = left["loss"] + " " + left["seed"].astype(str) + " " + left["state"]
    assert lines.tolist() == [
        "focal 0 failed",
        "focal 1 killed",
        "focal 2 missing",
        "mse 2 missing",
    ]


def test_without_a_grid_every_loss_owes_what_any_loss_has() -> None:
    table = frame(run("ce", 0, 0.9), run("mse", 1, 0.9, lr=0.1))
    expected = expected_runs(table)
    assert set(expected["tuned"]) == {""}
    assert expected[["loss", "lr", "epochs", "seed"]].to_numpy().tolist() == [
        [loss, *each] for loss in ("ce", "mse") for each in ((0.01, 10, 0), (0.1, 10, 1))
    ]


def test_a_seed_that_only_judges_is_owed_at_the_rate_that_was_chosen() -> None:
    """Two seeds choose between two rates, a third judges; of mse the third is still to run."""
    tuning = [
        run(loss, seed, 0.9, lr=lr)
        for loss in ("ce", "mse")
        for seed in (0, 1)
        for lr in (0.01, 0.1)
    ]
    table = frame(*tuning, run("ce", 2, 0.9, lr=0.1), run("mse", 3, 0.9, lr=0.01))
    owed = expected_runs(table)
    assert len(owed) == 8 + 4 and not owed.duplicated().any()
    judged = owed[owed["seed"] > 1].sort_values(["loss", "seed"])[["loss", "lr", "seed"]]
    assert judged.to_numpy().tolist() == [
        [loss, lr, seed] for loss, lr in (("ce", 0.1), ("mse", 0.01)) for seed in (2, 3)
    ]
    # no rate of its own: a grid with holes
    grid = frame(*tuning, run("ce", 2, 0.9, lr=0.1), run("ce", 3, 0.9, lr=0.01))
    assert len(expected_runs(grid)) == 8 + 4
    assert len(expected_runs(grid).query("loss == 'mse' and seed > 1")) == 2


def chosen(table: pd.DataFrame, loss: str = "ce", **arguments: Any) -> pd.Series:
    return choose_rates(table, **arguments).set_index("loss").loc[loss]


def test_the_rate_with_the_best_mean_validation_accuracy_is_chosen_whatever_the_test_says() -> None:
    table = grid_of({"ce": {0.001: [0.7, 0.7], 0.01: [0.8, 0.9], 0.1: [0.9, 0.6]}})
    table["test_accuracy"] = 1 - table["test_accuracy"]
    best = chosen(table)
    names = ["lr", "edge", "rates", "budget", "scored"]
    assert best[names].tolist() == [0.01, "none", 3, 6, 2]
    assert best["val_accuracy"] == pytest.approx(0.85)
    assert best["tuning_seeds"] == (0, 1)
    assert best["equal_budget"]


def test_ties_go_to_the_smaller_rate_even_when_sums_round_apart() -> None:
    assert sum([0.1, 0.2, 0.3]) / 3 != sum([0.3, 0.2, 0.1]) / 3
    table = grid_of({"ce": {0.1: [0.1, 0.2, 0.3], 0.01: [0.3, 0.2, 0.1]}})
    assert chosen(table)["lr"] == 0.01


def test_a_best_rate_on_the_edge_is_flagged_and_one_rate_has_no_edge() -> None:
    rates = {0.001: [0.7], 0.01: [0.8], 0.1: [0.9]}
    assert chosen(grid_of({"ce": rates}))["edge"] == "high"
    turned = {lr: [1 - values[0]] for lr, values in rates.items()}
    assert chosen(grid_of({"ce": turned}))["edge"] == "low"
    assert chosen(grid_of({"ce": {0.01: [0.7]}}))["edge"] == "none"


def test_rates_that_diverged_bound_the_grid_and_rates_that_crashed_do_not() -> None:
    table = grid_of({"ce": {0.001: [0.7], 0.01: [0.8], 0.1: [None]}})
    assert chosen(table)["edge"] == "none"
    best = chosen(table.replace({"outcome": {"diverged": "failed"}}))
    assert (best["edge"], best["rates"], best["budget"], best["unfinished"]) == ("high", 2, 2, 1)


@pytest.mark.parametrize(
    ("scores", "lr"),
    [
        ({0.01: [0.2] * 10, 0.1: [0.95] * 9 + [None]}, 0.1),  # 0.865 as assigned
        ({0.01: [0.5, 0.5], 0.1: [0.88, None]}, 0.01),  # 0.49 as assigned
        ({0.01: [0.5, 0.5], 0.1: [0.92, None]}, 0.1),  # 0.51 as assigned
        ({0.01: [0.1, 0.1], 0.1: [None, None]}, 0.01),
        ({0.01: [0.05, 0.05], 0.1: [None, None]}, 0.1),  # worse than a constant answer
    ],
)
def test_a_run_that_diverged_counts_as_a_constant_answer_in_the_choice_of_a_rate(
    scores: dict[float, list[float | None]], lr: float
) -> None:
    assert chosen(grid_of({"ce": scores}))["lr"] == lr


def test_a_rate_at_which_a_seed_failed_comes_after_one_at_which_none_did() -> None:
    table = grid_of({"ce": {0.01: [0.5, 0.5, 0.5, 0.5], 0.1: [0.9, 0.9, None, 0.9]}})
    failed = table.replace({"outcome": {"diverged": "failed"}})
    assert chosen(table, tuning_seeds=(0, 1, 2))["lr"] == 0.1  # (0.9 + 0.9 + 0.1) / 3 = 0.63
    assert chosen(failed, tuning_seeds=(0, 1, 2))["lr"] == 0.01


def test_the_mean_at_the_chosen_rate_is_of_the_runs_that_ended_well() -> None:
    rates = {0.01: [0.8, 0.8, 0.8], 0.1: [0.99, None, 0.99], 1.0: [None, None, 0.999]}
    best = chosen(grid_of({"ce": rates}))
    assert (best["lr"], best["scored"], best["budget"], best["diverged"]) == (0.01, 3, 9, 3)
    # where every rate lost a seed, the mean decides again
    table = grid_of({"ce": {0.01: [0.8, None], 0.1: [None, 0.9]}})
    assert chosen(table)["lr"] == 0.1
    table = grid_of({"ce": {0.01: [None, None], 0.1: [None, None]}})
    best = chosen(table)  # shown at the smallest: a loss that always diverges is compared, too
    assert best["lr"] == 0.01 and math.isnan(best["val_accuracy"])
    assert (best["scored"], best["edge"], best["budget"]) == (0, "low", 4)
    best = chosen(table.replace({"outcome": {"diverged": "failed"}}))
    assert math.isnan(best["lr"]) and (best["edge"], best["budget"]) == ("none", 0)


def test_unequal_budgets_are_flagged_for_the_epochs_they_are_at() -> None:
    table = pd.concat(
        [
            grid_of({"ce": {0.01: [0.8], 0.1: [0.9]}, "mse": {0.01: [0.8], 0.1: [None]}}),
            grid_of({"ce": {0.01: [0.8], 0.1: [0.9]}, "mse": {0.01: [0.8]}}, epochs=5),
        ]
    )
    rates = choose_rates(table)
    assert rates["epochs"].tolist() == [5, 5, 10, 10]
    # diverged trials were trials
    assert rates["equal_budget"].tolist() == [False, False, True, True]
    assert rates["budget"].tolist() == [2, 1, 2, 2]


def test_the_rate_table_hides_nothing() -> None:
    table = grid_of({"ce": {0.01: [0.8, 0.9], 0.1: [None, 0.7]}, "mse": {0.01: [0.5, 0.6]}})
    table.loc[0, "val_accuracy"] = NAN  # ok, but its metric was lost
    rates = rate_table(table)
    expected = pd.DataFrame(
        {
            "epochs": 10,
            "loss": ["ce", "ce", "mse", "mse"],
            "lr": [0.01, 0.1, 0.01, 0.1],
            "tuned": "",
            "val_accuracy": [0.9, 0.7, 0.55, NAN],
            "scored": [1, 1, 2, 0],
            "ok": [2, 1, 2, 0],
            "diverged": [0, 1, 0, 0],
            "failed": 0,
            "killed": 0,
            "missing": [0, 0, 0, 2],
            "seeds": [(1,), (1,), (0, 1), ()],
        }
    )
    pd.testing.assert_frame_equal(rates, expected, check_dtype=False)


def test_a_run_that_no_sweep_wanted_is_not_missing_in_the_rate_table() -> None:
    """Seeds 0 and 1 have the whole grid, 2 to 4 the rate that was chosen; of mse one is to run."""
    table = grid_of(
        {"ce": {0.01: [0.8] * 2, 0.1: [0.9] * 5}, "mse": {0.01: [0.8] * 5, 0.1: [0.7] * 2}}
    )
    assert rate_table(table)["missing"].tolist() == [0, 0, 0, 0]
    table = table.drop(index=table.query("loss == 'mse' and lr == 0.01 and seed == 4").index)
    rates = rate_table(table)
    assert rates["missing"].tolist() == [0, 0, 1, 0]
    counts = denominators(table).set_index("loss")
    assert rates.groupby("loss")["missing"].sum().to_dict() == counts["missing"].to_dict()


@pytest.mark.parametrize("seeds", [1, 2, 5, 8, 9, 10, 12, 38])
def test_all_seeds_choose_and_all_are_evaluated(seeds: int) -> None:
    split = split_seeds(grid_of({"ce": {0.01: [0.8] * seeds, 0.1: [0.9] * seeds}}))
    assert split.tuning == split.evaluation == tuple(range(seeds))
    assert split.shared and not split.two_stage
    reason = "all seeds choose the learning rates on validation data and are evaluated on test data"
    assert split.reason == reason


def test_with_one_rate_nothing_is_chosen_and_all_seeds_are_evaluated() -> None:
    split = split_seeds(grid_of({"ce": {0.01: [0.8] * 12}, "mse": {0.003: [0.8] * 12}}))
    assert split.evaluation == tuple(range(12)) and not split.shared and not split.two_stage


def test_seeds_added_at_the_chosen_rate_alone_are_evaluated_and_do_not_choose() -> None:
    # seeds 0 to 2 ran the whole grid, 3 to 12 the best rate only: the rate with most runs must not
    # win by that
    table = grid_of({"ce": {0.01: [0.8] * 3, 0.1: [0.7] * 13}})
    split = split_seeds(table)
    assert split.tuning == (0, 1, 2) and split.evaluation == tuple(range(13))
    assert split.shared and split.two_stage
    assert split.reason == (
        "3 seeds with runs at every rate choose the learning rates on validation data; all 13 are "
        "evaluated on test data"
    )
    assert chosen(table)["lr"] == 0.01
    # each loss has its own: a run of one that failed takes no seed from the choice of another
    table = grid_of({loss: {0.01: [0.8] * 3, 0.1: [0.9] * 3} for loss in ("ce", "mse")})
    failed = table.query("loss == 'mse' and seed == 1 and lr == 0.1").index
    table.loc[failed, "outcome"] = "failed"
    rates = choose_rates(table).set_index("loss")["tuning_seeds"]
    assert rates.to_dict() == {"ce": (0, 1, 2), "mse": (0, 2)}


def test_a_single_run_at_a_further_rate_changes_nothing() -> None:
    grid = {
        "ce": {0.01: [0.8, 0.82, 0.81], 0.1: [0.9, 0.91, 0.93]},
        "mse": {0.01: [0.5, 0.52, 0.5], 0.1: [0.6, 0.63, 0.61]},
    }
    alone = grid_of(grid)
    grid["mse"][0.003] = [0.99]  # the best rate at seed 0, and run nowhere else
    more = grid_of(grid)
    assert split_seeds(more)[:2] == split_seeds(alone)[:2] == ((0, 1, 2), (0, 1, 2))
    before, after = (contrasts(table).iloc[0] for table in (alone, more))
    assert after["n"] == 3 and after["lr_a"] == 0.1 and after["combinations"] == 1
    pd.testing.assert_series_equal(before, after)


def test_adding_seeds_takes_none_out_of_the_evaluation() -> None:
    """Five losses, two close rates, 10 seeds, then 38.

    With the whole grid of some losses only, or of all.
    """
    rng = generator(3)
    losses, rates = ["ce", "brier", "focal", "gce", "mae"], (0.03, 0.1)
    bias = {"brier": -0.03}

    def table(seeds: dict[str, int]) -> pd.DataFrame:
        return frame(
            *(
                run(loss, seed, test + bias.get(loss, 0.0), lr=lr, val_accuracy=validation)
                for loss in losses
                for lr in rates
                for seed, (test, validation) in enumerate(noise[loss, lr][: seeds.get(loss, 10)])
            )
        )

    for _ in range(5):
        noise = {
            (loss, lr): np.round(0.95 + rng.normal(0, 0.004, (38, 2)) + 1e-3 * (lr > 0.05), 4)
            for loss in losses
            for lr in rates
        }
        before = contrasts(table({})).set_index("a")
        assert (before["n"] == 10).all() and before.loc["brier", "verdict"] == "worse"
        some = contrasts(table({"ce": 38, "focal": 38})).set_index("a")
        assert some["n"].to_dict() == {"brier": 10, "focal": 38, "gce": 10, "mae": 10}
        every = contrasts(table(dict.fromkeys(losses, 38))).set_index("a")
        assert (every["n"] == 38).all()
        assert some.loc["brier", "verdict"] == every.loc["brier", "verdict"] == "worse"
        assert not every["dropped"].map(len).any() and not some.loc["focal", "dropped"]


def test_tuning_seeds_can_be_chosen_by_hand() -> None:
    table = grid_of({"ce": {0.01: [0.9, 0.1, 0.1], 0.1: [0.1, 0.9, 0.9]}})
    assert split_seeds(table, [0])[:4] == ((0,), (1, 2), False, True)
    assert chosen(table, tuning_seeds=[0])["lr"] == 0.01
    assert chosen(table, tuning_seeds=[1])["lr"] == 0.1
    words = r"\[7\] have no runs: the runs of 10 epochs have the seeds \[0, 1, 2\]"
    with pytest.raises(ValueError, match=words):
        split_seeds(table, [7])
    with pytest.raises(ValueError, match="leave none to evaluate"):
        split_seeds(table, [0, 1, 2])
