"""Families of contrasts: each loss against the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.summaries import frame, generator, grid_of, only, run, runs
from helpers.synthetic_runs import tuned

from reports.question import Question
from reports.same_loss import same_loss
from reports.stats.contrasts import COLUMNS, contrasts
from reports.stats.runs import denominators
from reports.stats.tuning import choose_rates, rate_table


def test_a_family_by_hand() -> None:
    # mse minus ce, in points: -1, -2, -3 -> mean -2, interval -2 -+ 2.484; focal minus ce: 0, 0, 0
    table = frame(
        *runs("ce", [0.97, 0.98, 0.99]),
        *runs("mse", [0.96, 0.96, 0.96]),
        *runs("focal", [0.97, 0.98, 0.99]),
    )
    rows = contrasts(table, test_size=10_000)
    assert list(rows.columns) == COLUMNS
    focal, mse = rows.iloc[0], rows.iloc[1]
    kinds = mse[["a", "b", "n", "paired", "unit", "view"]].tolist()
    assert kinds == ["mse", "ce", 3, True, "points", "best"]
    interval = mse[["difference", "low", "high"]].tolist()
    assert interval == pytest.approx([-2, -4.484138, 0.484138], abs=1e-6)
    # the interval has the rounding of a pair added to nothing: sd 1 is far above it
    assert mse["p_equivalence"] == pytest.approx(scipy.stats.t.cdf(1.9 * math.sqrt(3), 2))
    p = scipy.stats.ttest_1samp([-1, -2, -3], 0).pvalue
    p_values = mse[["p", "p_seeds", "p_decides", "p_holm"]].tolist()
    assert p_values == pytest.approx([p, 0.25, p / 0.9, 2 * p / 0.9])
    assert mse[["d_z", "p_better", "family", "margin"]].tolist() == [-2, 0, 2, 0.1]
    assert mse[["median", "trimmed_mean"]].tolist() == [-2, -2] and mse["outliers"] == []
    assert (mse["verdict"], mse["reason"]) == ("undecided", "too few seeds")
    # 80 % power at .9 x .05 / 2: the noncentral t with 2 degrees of freedom
    t = scipy.stats.t.ppf(1 - 0.9 * 0.05 / 4, 2)
    assert scipy.stats.nct.sf(t, 2, mse["detectable"] * math.sqrt(3)) == pytest.approx(0.8)
    assert 3 < mse["seeds_needed_low"] < mse["seeds_needed"] < mse["seeds_needed_high"]
    assert mse["run_ids"] == [
        f"{loss}-0.01-10-{seed}" for loss in ("mse", "ce") for seed in (0, 1, 2)
    ]
    # the spread of rounding to one of 10,000 images
    half = 4.302653 * 0.01 / math.sqrt(6) / math.sqrt(3)
    assert focal["verdict"] == "undecided"  # three pairs
    assert focal[["difference", "low", "high"]].tolist() == pytest.approx([0, -half, half])
    assert (focal["p"], focal["p_seeds"], focal["p_holm"], focal["p_better"]) == (1, 1, 1, 0.5)
    assert math.isnan(focal["d_z"]) and focal["seeds_needed"] >= 5
    assert rows["dropped"].tolist() == [[], []] and not rows["shared_seeds"].any()


def test_ten_pairs_that_agree_make_a_loss_worse_or_better() -> None:
    base = [0.98 + 0.001 * i for i in range(10)]
    noise = [0.0001 * (-1) ** i for i in range(10)]
    lower = [x - 0.004 + e for x, e in zip(base, noise, strict=True)]
    table = frame(*runs("ce", base), *runs("mse", lower))
    row = only(contrasts(table))
    assert (row["verdict"], row["p_seeds"]) == ("worse", 2**-9)
    assert row["difference"] == pytest.approx(-0.4)
    assert row["low"] < -0.4 < row["high"] < 0
    row = only(contrasts(table, reference="mse"))
    assert (row["a"], row["verdict"], row["p_better"]) == ("ce", "better", 1)
    assert row["difference"] == pytest.approx(0.4)
    # the same numbers as an error, where lower is better
    table["test_nll"] = table["test_accuracy"]
    row = only(contrasts(table, metric="test_nll"))
    assert (row["verdict"], row["unit"], row["p_better"]) == ("better", "", 1)
    assert row["difference"] == pytest.approx(-0.004)
    assert math.isnan(row["margin"])
    assert only(contrasts(table, metric="test_nll", margin=0.01))["verdict"] == "equivalent"


def test_with_one_seed_there_is_a_difference_and_no_interval_and_no_verdict() -> None:
    row = only(contrasts(frame(run("ce", 0, 0.98), run("mse", 0, 0.5))))
    assert (row["n"], row["verdict"], row["interval"]) == (1, "undecided", "none")
    assert (row["reason"], row["p_holm"]) == ("one seed", 1)
    assert row["difference"] == pytest.approx(-48)
    ends = ["low", "high", "p_better_low", "p_better_high"]
    for name in (*ends, "d_z", "detectable", "seeds_needed"):
        assert math.isnan(row[name]), name


def test_whether_tuning_seeds_are_evaluated_is_said() -> None:
    accuracies = [0.97 + 0.001 * (seed % 4) for seed in range(12)]
    rates: dict[float, list[float | None]] = {0.01: [*accuracies]}
    rates[0.1] = [x - 0.1 for x in accuracies]
    table = grid_of({"ce": rates, "mse": rates})
    usual, explicit = only(contrasts(table)), only(contrasts(table, tuning_seeds=[0, 7]))
    assert usual["shared_seeds"] and usual["n"] == 12
    assert not explicit["shared_seeds"] and explicit["n"] == 10
    assert explicit["run_ids"][0] == "mse-0.01-10-1"


def test_each_loss_is_shown_at_its_own_rate_and_the_other_view_at_equal_rates() -> None:
    table = grid_of(
        {
            "ce": {0.01: [0.97, 0.98], 0.1: [0.98, 0.99]},
            "mse": {0.001: [0.8, 0.8], 0.01: [0.96, 0.97], 0.1: [0.5, 0.6]},
            "focal": {0.1: [0.98, 0.99]},
        }
    )
    best = contrasts(table)
    shown = best[["a", "lr_a", "lr_b"]].to_numpy().tolist()
    assert shown == [["focal", 0.1, 0.1], ["mse", 0.01, 0.1]]
    equal = contrasts(table, view="equal")
    assert equal[["a", "lr_a"]].to_numpy().tolist() == [["focal", 0.1], ["mse", 0.01], ["mse", 0.1]]
    assert (equal["lr_a"] == equal["lr_b"]).all() and (equal["family"] == 3).all()
    assert not equal["shared_seeds"].any()
    assert equal["difference"].tolist() == pytest.approx([0, -1, -43.5])


def test_every_value_of_epochs_is_a_family_of_its_own_with_its_own_rates() -> None:
    low = {0.01: [0.7] * 3}
    ten = grid_of({"ce": {0.01: [0.9] * 3, 0.1: [0.8] * 3}, "mse": low, "mae": low})
    five = grid_of({"ce": low | {0.1: [0.8] * 3}, "mse": low}, epochs=5)
    table = pd.concat([ten, five])
    rows = contrasts(table)
    assert rows["epochs"].tolist() == [10, 10, 5, 5]
    assert rows["lr_b"].tolist() == [0.01, 0.01, 0.1, 0.1]
    assert rows["family"].tolist() == [2, 2, 2, 2]
    assert rows["n"].tolist() == [3, 3, 0, 3]  # mae was never run for 5 epochs, but planned
    p = rows.set_index(["epochs", "a"])
    assert p.loc[(5, "mse"), "p_holm"] == 2 * p.loc[(5, "mse"), "p"]


def test_all_pairs_on_demand() -> None:
    table = frame(*(row for loss in ("a", "b", "ce") for row in runs(loss, [0.97, 0.98])))
    rows = contrasts(table, all_pairs=True)
    assert list(zip(rows["a"], rows["b"], strict=True)) == [("a", "ce"), ("b", "ce"), ("b", "a")]
    assert (rows["family"] == 3).all()
    assert len(contrasts(table, all_pairs=True, reference="none of them")) == 3
    words = r"no run has the loss 'nll'; there are \['a', 'b', 'ce'\]"
    with pytest.raises(ValueError, match=words):
        contrasts(table, reference="nll")


@pytest.mark.parametrize("rows", [[], runs("ce", [0.9, 0.9])])
def test_without_two_losses_there_are_no_contrasts_and_the_columns_are_the_same(
    rows: list[Any],
) -> None:
    table = pd.DataFrame(rows, columns=list(run("ce", 0, 0.9)))
    for view in ("best", "equal"):
        comparisons = contrasts(table, view=view)
        assert list(comparisons.columns) == COLUMNS and comparisons.empty
    assert choose_rates(table)["loss"].tolist() == (["ce"] if rows else [])
    assert len(denominators(table)) == len(rate_table(table)) == bool(rows)


def noisy(losses: int = 4, seeds: int = 24, rng_seed: int = 0) -> pd.DataFrame:
    rng = generator(rng_seed)
    return frame(
        *(
            row
            for loss in ["ce", *(f"loss {i}" for i in range(losses - 1))]
            for row in runs(loss, [float(x) for x in np.round(rng.normal(0.98, 0.002, seeds), 4)])
        )
    )


def test_nothing_depends_on_the_order_of_rows_or_on_the_other_losses() -> None:
    table = noisy()
    first = contrasts(table)
    pd.testing.assert_frame_equal(first, contrasts(table.sample(frac=1, random_state=0)))
    fewer = contrasts(table[table["loss"].isin(["ce", "loss 1"])])
    same = ["difference", "low", "high", "p", "p_better_low"]
    one, other = (each.set_index("a").loc["loss 1", same].tolist() for each in (first, fewer))
    assert one == other


def test_categories_and_numpy_types_make_no_difference() -> None:
    table = noisy(seeds=5)
    types = {"loss": "category", "seed": "int32", "epochs": "int16", "outcome": "category"}
    typed = table.astype(types)
    pd.testing.assert_frame_equal(contrasts(table), contrasts(typed))
    pd.testing.assert_frame_equal(denominators(table), denominators(typed), check_dtype=False)
    pd.testing.assert_frame_equal(choose_rates(table), choose_rates(typed))


def test_a_wide_alpha_narrows_the_interval() -> None:
    table = noisy(seeds=10)
    ninety, usual = contrasts(table, alpha=0.1), contrasts(table)
    assert (ninety["high"] - ninety["low"] < usual["high"] - usual["low"]).all()


def test_an_aa_comparison_is_one_loss_against_itself_on_other_seeds() -> None:
    table = noisy(losses=3, seeds=12).assign(setting="here", folds=None, classes=None)
    first, second = table[table["seed"] % 2 == 0], table[table["seed"] % 2 == 1]
    rows = same_loss(table, Question(), None, lambda run_id: None)
    assert list(rows.columns) == COLUMNS
    assert rows["a"].tolist() == rows["b"].tolist() == ["ce", "loss 0", "loss 1"]
    assert (rows["pairing"] == "no seed in common").all() and not rows["paired"].any()
    assert (rows["family"] == 1).all()
    assert (rows["n"] == 6).all() and (rows["interval"] == "welch").all()
    one, other = (each.query("loss == 'ce'")["test_accuracy"].mean() for each in (first, second))
    assert rows["difference"][0] == pytest.approx(100 * one - 100 * other)
    assert rows["verdict"].tolist() == ["undecided"] * 3


def test_an_aa_comparison_of_tuned_values_pairs_each_with_itself() -> None:
    summary, _ = tuned(seeds=range(4))
    rows = same_loss(summary, Question(), "focal", lambda run_id: None)
    assert len(rows) == 3 * 2  # values, rates
    other = summary["loss"].eq("ce") & summary["seed"].isin([1, 3])
    every = same_loss(summary[~other], Question(), None, lambda run_id: None)
    assert {"ce", "focal"} == set(every["a"])  # the seeds of each loss are halved
    assert (rows["family"] == 2).all() and (rows["tuned_a"] == rows["tuned_b"]).all()
