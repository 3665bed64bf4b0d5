"""Contrasts of runs that diverged, failed, are missing or are not paired."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.summaries import NAN, frame, only, run, runs

from reports.stats.contrasts import contrasts
from reports.stats.significance import sign_flip_p


def test_unequal_seeds_are_paired_where_they_meet_and_the_others_are_named() -> None:
    table = frame(
        *runs("ce", [0.97, 0.98, 0.99, 0.98]),
        run("mse", 0, 0.96),
        run("mse", 1, None),
        run("mse", 2, None, outcome="failed"),
        run("mse", 5, 0.96),
    )
    row = only(contrasts(table, diverged=0.1))
    assert (row["n"], row["n_a"], row["n_b"], row["paired"]) == (2, 2, 2, True)
    assert row["difference"] == pytest.approx((96 - 97 + 10 - 98) / 2)
    assert (row["diverged_a"], row["diverged_b"]) == (1, 0)
    assert (row["failed_a"], row["failed_b"]) == (1, 0)
    assert (row["survivors_n"], row["survivors_difference"]) == (1, pytest.approx(-1))
    assert [tuple(cell) for cell in row["dropped"]] == [
        ("mse", 0.01, 2, "failed"),
        ("mse", 0.01, 3, "missing"),
        ("ce", 0.01, 5, "missing"),
    ]
    assert row["run_ids"] == ["mse-0.01-10-0", "mse-0.01-10-1", "ce-0.01-10-0", "ce-0.01-10-1"]


def test_a_loss_that_always_diverges_is_worse() -> None:
    ce = [0.97 + 0.001 * seed for seed in range(8)]
    table = frame(*runs("ce", ce), *runs("mse", [None] * 8), *runs("focal", ce[::-1]))
    rows = contrasts(table, diverged=0.1).set_index("a")
    mse = rows.loc["mse"]
    assert (mse["n"], mse["verdict"], mse["diverged_a"], mse["lr_a"]) == (8, "worse", 8, 0.01)
    assert mse["difference"] == pytest.approx(10 - 100 * np.mean(ce))
    assert mse["p_seeds"] == 2**-7
    assert (mse["survivors_n"], mse["dropped"], mse["lacking"]) == (0, [], "")
    assert math.isnan(mse["survivors_difference"])
    assert rows["family"].tolist() == [2, 2]
    equal = contrasts(table, view="equal", diverged=0.1).set_index("a").loc["mse"]
    assert (equal["n"], equal["verdict"]) == (8, "worse")
    # what the best constant answer reaches is not known: the order decides, and no mean is given
    ranked = contrasts(table).set_index("a").loc["mse"]
    assert (ranked["n"], ranked["verdict"], ranked["interval"]) == (8, "worse", "ranks")
    assert (ranked["p"], ranked["p_better"]) == (2**-7, 0)
    for name in ("difference", "low", "high", "sd", "d_z", "detectable", "seeds_needed"):
        assert math.isnan(ranked[name]), name
    assert contrasts(table, reference="mse").set_index("a").loc["ce", "verdict"] == "better"


def test_runs_that_diverged_count_as_assigned_and_the_survivors_stand_beside() -> None:
    """4 of 10 runs diverge: the 6 that are left must not make the loss better."""
    ce = [0.97 + 0.001 * (seed % 3) for seed in range(10)]
    test = [None if seed % 5 > 2 else x + 0.005 + 0.0001 * seed for seed, x in enumerate(ce)]
    table = frame(*runs("ce", ce), *runs("odd", test))
    table["test_nll"] = 1 - table["test_accuracy"]
    row = only(contrasts(table, diverged=0.1))
    as_assigned = [100 * ((0.1 if x is None else x) - y) for x, y in zip(test, ce, strict=True)]
    assert (row["n"], row["diverged_a"], row["diverged_b"]) == (10, 4, 0)
    assert row["difference"] == pytest.approx(np.mean(as_assigned))
    assert row["p_seeds"] == sign_flip_p(as_assigned)
    assert (row["verdict"], row["reason"]) == ("undecided", "not to be trusted")
    assert row["p"] < 0.04 < 0.1 < row["p_seeds"] and len(row["run_ids"]) == 20
    alive = [d for d, x in zip(as_assigned, test, strict=True) if x is not None]
    low, high = scipy.stats.t.interval(0.95, 5, np.mean(alive), scipy.stats.sem(alive))
    names = ["survivors_n", "survivors_difference", "survivors_low", "survivors_high"]
    assert row[names].tolist() == pytest.approx([6, np.mean(alive), low, high])
    # as an error without a worst value: 6 pairs better, 4 worse, which is the sign test
    row = only(contrasts(table, metric="test_nll", diverged=NAN))
    assert (row["n"], row["interval"], row["verdict"]) == (10, "ranks", "undecided")
    assert row["p"] == pytest.approx(scipy.stats.binomtest(6, 10).pvalue)
    assert row["p_better"] == 0.6
    assert row["survivors_difference"] == pytest.approx(-np.mean(alive) / 100)
    # not paired: the ranks of all, those that diverged last
    table.loc[table["loss"] == "odd", "init_hash"] = "another"
    row = only(contrasts(table, metric="test_nll"))
    scores = [[1 - x if x is not None else 9 for x in each] for each in (test, ce)]
    ranks = scipy.stats.rankdata(np.concatenate(scores))
    assert not row["paired"]
    assert row["p"] == scipy.stats.mannwhitneyu(ranks[:10], ranks[10:]).pvalue


def test_losses_of_which_no_run_ended_well_are_not_compared() -> None:
    table = frame(*runs("ce", [None] * 6), *runs("mse", [None] * 6))
    row = only(contrasts(table, diverged=0.1))
    assert (row["n"], row["verdict"]) == (0, "undecided")
    assert row["lacking"] == "all 6 runs of mse diverged and all 6 runs of ce diverged"
    assert (row["diverged_a"], row["diverged_b"], row["survivors_n"]) == (6, 6, 0)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (["killed"], "the only run of mse was killed"),
        (["failed", "failed", "failed"], "all 3 runs of mse failed"),
        (["failed", "killed", "failed"], "of the 3 runs of mse 2 failed and 1 was killed"),
    ],
)
def test_why_there_is_nothing_to_compare(outcomes: list[str], words: str) -> None:
    mse = [run("mse", seed, None, outcome=outcome) for seed, outcome in enumerate(outcomes)]
    table = frame(*runs("ce", [0.97] * len(outcomes)), *mse)
    row = only(contrasts(table))
    assert (row["lacking"], row["failed_a"]) == (words, 0)  # without a rate no run is of it
    at_rate = words.replace("of mse", "of mse at learning rate 0.01")
    equal = only(contrasts(table, view="equal"))
    assert (equal["lacking"], equal["failed_a"]) == (at_rate, len(outcomes))


def test_a_loss_that_failed_only_where_it_is_evaluated_says_so() -> None:
    table = frame(*runs("ce", [0.9, 0.9, 0.9]), *runs("mse", [0.9, None, None]))
    table["outcome"] = table["outcome"].replace("diverged", "failed")
    for seed, words in (
        (0, "all 2 runs of mse on evaluation seeds at its learning rate 0.01 failed"),
        (1, "no run of mse on tuning seeds finished, so it has no learning rate"),
    ):
        assert only(contrasts(table, tuning_seeds=[seed]))["lacking"] == words


def test_a_metric_the_head_does_not_have_is_no_contrast() -> None:
    table = frame(*runs("ce", [0.9, 0.9]), *runs("mse", [0.9, 0.9]), *runs("focal", [0.9, 0.9]))
    table["test_nll"] = [0.1, 0.2, None, None, 0.2, 0.4]
    rows = contrasts(table, metric="test_nll").set_index("a")
    assert rows.loc["mse", "n"] == 0 and math.isnan(rows.loc["mse", "difference"])
    assert rows.loc["mse", "verdict"] == "undecided"
    assert {cell.reason for cell in rows.loc["mse", "dropped"]} == {"no value"}
    assert rows.loc["focal", "family"] == 1
    assert rows.loc["focal", "p_holm"] == pytest.approx(rows.loc["focal", "p"] / 0.9)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"init_hash": "another"}, "init_hash differs at seed 1"),
        ({"order_hash": "another"}, "order_hash differs at seed 1"),
        ({"order_hash": None}, "order_hash not recorded at seed 1"),
        (
            {"init_hash": NAN, "order_hash": ""},
            "init_hash not recorded at seed 1; order_hash not recorded at seed 1",
        ),
    ],
)
def test_pairs_that_are_not_proved_are_analysed_as_unpaired(
    changes: dict[str, Any], why: str
) -> None:
    accuracies_a, accuracies_b = [0.96, 0.97, 0.99, 0.95], [0.97, 0.98, 0.99]
    table = frame(*runs("ce", accuracies_b), *runs("mse", accuracies_a))
    for name, value in changes.items():
        table.loc[(table["loss"] == "mse") & (table["seed"] == 1), name] = value
    row = only(contrasts(table))
    names = ["paired", "pairing", "interval", "n", "n_a"]
    assert row[names].tolist() == [False, why, "welch", 3, 4]
    test = scipy.stats.ttest_ind(accuracies_a, accuracies_b, equal_var=False)
    theirs = test.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((100 * theirs.low, 100 * theirs.high))
    assert row["p"] == row["p_seeds"] == pytest.approx(test.pvalue)
    assert math.isnan(row["d_z"])
    assert len(row["run_ids"]) == 7


def test_hashes_of_runs_that_do_not_count_do_not_matter() -> None:
    table = frame(*runs("ce", [0.97, 0.98, 0.99]), *runs("mse", [0.96, 0.97, None]))
    table["outcome"] = table["outcome"].replace("diverged", "failed")
    table.loc[table["outcome"] == "failed", "init_hash"] = None
    assert only(contrasts(table))["pairing"] == "hashes equal"


def test_losses_without_a_common_seed_are_compared_unpaired() -> None:
    table = frame(*runs("ce", [0.97, 0.98]), *runs("mse", [0.96, 0.95], first_seed=5))
    row = only(contrasts(table))
    assert (row["paired"], row["pairing"], row["n"]) == (False, "no seed in common", 2)
