"""The statistics of the reports.

Tiny cases worked out by hand, other people's code, and properties.
"""

from __future__ import annotations

import doctest
import importlib
import itertools
import math
import pkgutil
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import reports.stats
from reports.metrics import read_metric
from reports.stats.bands import bands
from reports.stats.contrast import values
from reports.stats.contrasts import COLUMNS, contrasts, same_loss_contrasts
from reports.stats.intervals import RESAMPLES, mean_interval, mean_intervals, named_generator
from reports.stats.runs import denominators, expected_runs, newest_runs, unfinished_runs
from reports.stats.significance import (
    differences,
    effect_size_dz,
    holm,
    probability_of_improvement,
    sign_flip_p,
)
from reports.stats.tuning import choose_rates, rate_table, split_seeds
from reports.stats.verdicts import verdict

NAN = math.nan


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def run(loss: str, seed: int, test: float | None, **changes: Any) -> dict[str, Any]:
    """One row of a summary; `test` is the test accuracy, None for a run that diverged."""
    row = {
        "run_id": f"{loss}-{changes.get('lr', 0.01)}-{changes.get('epochs', 10)}-{seed}",
        "loss": loss,
        "lr": 0.01,
        "epochs": 10,
        "seed": seed,
        "outcome": "diverged" if test is None else "ok",
        "val_accuracy": NAN if test is None else test,
        "test_accuracy": NAN if test is None else test,
        "init_hash": f"init {seed}",
        "order_hash": f"order {seed}",
    }
    return row | changes


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def runs(
    loss: str, accuracies: list[float | None], first_seed: int = 0, **changes: Any
) -> list[dict[str, Any]]:
    return [run(loss, first_seed + i, accuracy, **changes) for i, accuracy in enumerate(accuracies)]


def only(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]


# --- the modules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [found.name for found in pkgutil.iter_modules(reports.stats.__path__)]
)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"reports.stats.{name}"))
    assert result.failed == 0


def test_importing_the_statistics_loads_nothing_heavy() -> None:
    heavy = ["mlflow", "paddle", "seaborn", "matplotlib", "sklearn", "experiments.training"]
    code = f"import sys, reports.stats; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_named_generators_depend_on_the_seed_and_the_name_alone() -> None:
    def first(seed: int, *names: object) -> int:
        return int(named_generator(seed, *names).integers(2**62))

    assert first(0, "a", 0.1) == first(0, "a", np.float64(0.1))
    assert (
        len({first(0, "a"), first(1, "a"), first(0, "b"), first(0, "a", "b"), first(0, "ab")}) == 5
    )


# --- intervals of means ---------------------------------------------------------------------------


def test_student_interval_by_hand() -> None:
    # mean 2, s = 1, n = 3, t(.975, 2) = 4.302653: 2 -+ 4.302653 / sqrt(3) = 2 -+ 2.484138
    estimate, low, high, method = mean_interval([1, 2, 3], generator())
    assert (estimate, method) == (2.0, "t")
    assert low == pytest.approx(-0.484138, abs=1e-6)
    assert high == pytest.approx(4.484138, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 19])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_below_twenty_values_it_is_scipys_t_interval(n: int, level: float) -> None:
    values = generator(n).normal(size=n)
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
    ours = mean_interval(values, generator(), level=level)
    assert ours.method == "t"
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 19, 20, 50])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e-7, 98.76])
def test_equal_values_have_an_interval_of_zero_width(n: int, value: float) -> None:
    assert mean_interval([value] * n, generator())[:3] == (value, value, value)


def test_one_value_has_a_mean_and_no_interval_and_none_has_neither() -> None:
    assert mean_interval([0.5], generator())[0] == 0.5
    for few in ([0.5], []):
        _, low, high, method = mean_interval(few, generator())
        assert math.isnan(low) and math.isnan(high) and method == "none"
    assert math.isnan(mean_interval([], generator()).estimate)


@pytest.mark.parametrize("bad", [[1.0, NAN], [1.0, math.inf]])
def test_values_that_are_not_finite_are_refused_not_skipped(bad: list[float]) -> None:
    for call in (
        lambda: mean_interval(bad, generator()),
        lambda: sign_flip_p(bad),
        lambda: effect_size_dz(bad),
        lambda: values(bad),
    ):
        with pytest.raises(ValueError, match=r"1 of 2 are NaN or infinite"):
            call()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 1 dimension"):
        mean_interval([[1.0, 2.0]], generator())  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"expected 2 dimension"):
        mean_intervals([1.0, 2.0], generator())


def test_the_bootstrap_is_the_textbooks_computed_the_slow_way() -> None:
    values = generator(1).gamma(4, size=20)
    drawn = generator(7).integers(0, 20, size=(RESAMPLES, 20))
    resampled = values[drawn]
    t = (resampled.mean(axis=1) - values.mean()) / (resampled.std(axis=1, ddof=1) / math.sqrt(20))
    t.sort()
    error = values.std(ddof=1) / math.sqrt(20)
    # the 250th and the 9,750th of 9,999 order statistics
    expected = values.mean() - t[9749] * error, values.mean() - t[249] * error
    ours = mean_interval(values, generator(7))
    assert ours.method == "bootstrap"
    assert (ours.low, ours.high) == pytest.approx(expected, rel=1e-9)


def test_the_bootstrap_agrees_with_t_on_many_normal_values_and_leans_with_skewed_ones() -> None:
    normal = generator(0).normal(size=400)
    ours, theirs = (
        mean_interval(normal, generator()),
        scipy.stats.ttest_1samp(normal, 0).confidence_interval(),
    )
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low)
    )
    mean, low, high, _ = mean_interval(generator(0).exponential(size=30), generator())
    assert high - mean > mean - low  # a long right tail: the mean is likelier to be too small


def test_the_bootstrap_keeps_its_seed_and_others_differ() -> None:
    values = generator(3).normal(size=25)
    first, again, other = (mean_interval(values, generator(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first.low != other.low and first.high != other.high
    assert first.low == pytest.approx(other.low, abs=0.1)


def test_the_bootstrap_moves_scales_and_mirrors_with_its_values() -> None:
    values = generator(3).gamma(2, size=25)
    mean, low, high, _ = mean_interval(values, generator(5))
    assert mean_interval(10 * values + 3, generator(5))[:3] == pytest.approx(
        (10 * mean + 3, 10 * low + 3, 10 * high + 3)
    )
    assert mean_interval(-values, generator(5))[:3] == pytest.approx((-mean, -high, -low))


def test_columns_are_what_they_are_alone_however_many_there_are() -> None:
    values = generator(3).normal(
        size=(22, 900)
    )  # enough columns that the resamples are drawn in blocks
    values[:, 1] = 4.0
    many = mean_intervals(values, generator(5))
    for column in (0, 1, 899):
        alone = mean_interval(values[:, column], generator(5))
        assert alone[:3] == pytest.approx(
            [many.estimate[column], many.low[column], many.high[column]], rel=1e-9
        )


def test_where_resamples_have_no_spread_student_steps_in_and_says_so() -> None:
    # 19 zeros and a one: 36 % of the resamples are all zeros, so the bootstrap's upper end would be
    # infinite.
    values = [0.0] * 19 + [1.0]
    _, low, high, method = mean_interval(values, generator())
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert method == "t"
    assert (low, high) == pytest.approx((theirs.low, theirs.high))


def test_resamples_without_spread_at_the_mean_itself_lean_to_neither_side() -> None:
    _, low, high, method = mean_interval([-1.0, 1.0] + [0.0] * 18, generator())
    assert method == "bootstrap"
    assert -low == pytest.approx(high, abs=0.03)


# --- tests and effect sizes -----------------------------------------------------------------------


def test_differences_of_counts_that_are_equal_are_equal() -> None:
    a = np.arange(9000, 9900) / 10_000
    b = np.arange(8990, 9890) / 10_000  # ten examples fewer
    for scale in (1, 100):
        assert np.ptp(scale * a - scale * b) > 0  # binary fractions
        assert set(differences(scale * a, scale * b).tolist()) == {0.001 * scale}
    small = np.array([1.5e-9, 2.5e-9])
    assert differences(small, small / 2).tolist() == pytest.approx([0.75e-9, 1.25e-9], rel=1e-9)
    assert differences([0.0], [0.0]).tolist() == [0.0]
    assert differences([], []).tolist() == []


def test_holm_by_hand_and_by_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, never falling: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    for seed, size in itertools.product(range(5), (1, 2, 7, 30)):
        p = np.round(generator(seed).beta(0.3, 1, size=size), 2)  # two digits: ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_effect_size_and_its_edges() -> None:
    assert effect_size_dz([2, 4, 6]) == 2  # mean 4, standard deviation 2
    assert effect_size_dz([0.1] * 3) == math.inf
    assert effect_size_dz([-0.1] * 3) == -math.inf
    for nothing in ([0.0] * 3, [1.0], []):
        assert math.isnan(effect_size_dz(nothing))


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 5), (5, 5), (7, 10), (33, 40)])
def test_probability_of_improvement_has_wilsons_interval(wins: int, n: int) -> None:
    a = [1.0] * wins + [-1.0] * (n - wins)
    theirs = scipy.stats.binomtest(wins, n).proportion_ci(method="wilson")
    ours = probability_of_improvement(a, [0.0] * n)
    assert ours[:3] == pytest.approx((wins / n, theirs.low, theirs.high), abs=1e-12)
    lower_wins = probability_of_improvement(a, [0.0] * n, higher_is_better=False)
    assert lower_wins[:3] == pytest.approx(
        (1 - wins / n, 1 - theirs.high, 1 - theirs.low), abs=1e-12
    )


def test_probability_of_improvement_ties_and_edges() -> None:
    assert probability_of_improvement([1, 2, 3], [1, 2, 3]).estimate == 0.5
    # equal counts of examples, though not equal in binary once multiplied
    assert probability_of_improvement([0.1 * 3], [0.3]).estimate == 0.5
    one = probability_of_improvement([2.0], [1.0])
    assert one.estimate == 1 and math.isnan(one.low) and one.method == "none"
    assert math.isnan(probability_of_improvement([], []).estimate)
    with pytest.raises(ValueError, match="come in twos: got 2 of a and 1 of b"):
        probability_of_improvement([1.0, 2.0], [1.0])


def test_unpaired_probability_of_improvement_is_mann_whitneys() -> None:
    a, b = np.round(generator(0).normal(0.5, size=7), 1), np.round(generator(1).normal(size=9), 1)
    ours = probability_of_improvement(a, b, paired=False)
    assert ours.estimate == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / 63)
    assert 0 < ours.low < ours.estimate < ours.high < 1


# --- power ----------------------------------------------------------------------------------------


# --- metrics, one contrast, verdicts --------------------------------------------------------------


def test_metrics_know_their_direction_and_their_unit() -> None:
    for name in ("test_accuracy", "val_accuracy", "test_off_by_one"):
        assert read_metric(name).higher_is_better and read_metric(name).unit == "points"
    for name in ("test_nll", "val_nll", "test_brier", "test_mean_absolute_error", "train_seconds"):
        assert not read_metric(name).higher_is_better and read_metric(name).scale == 1
    for name in ("test_ece", "test_ece_scaled", "test_aurc"):  # shares, as the tables show them
        assert not read_metric(name).higher_is_better and read_metric(name).unit == "points"
        assert math.isnan(read_metric(name).margin(None, 10_000))
    for name in ("test_f1", "test_loss"):
        with pytest.raises(ValueError, match=f"{name}: expected one of test_accuracy, test_nll"):
            read_metric(name)


def test_margins() -> None:
    accuracy, nll = read_metric("test_accuracy"), read_metric("test_nll")
    assert accuracy.margin(None, None) == 0.1
    assert accuracy.margin(None, 10_000) == 0.1
    assert accuracy.margin(0.0, 10_000) == 0.01  # one example of 10,000
    assert accuracy.margin(None, 360) == pytest.approx(0.5556, abs=1e-4)  # two of digits' 360
    assert accuracy.margin(0.1, 360) == pytest.approx(0.2778, abs=1e-4)  # asked for less than one
    assert math.isnan(nll.margin(None, 10_000))
    assert nll.margin(0.02, 10_000) == 0.02


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.05, 0.05, 0.9, "equivalent"),
        (
            0.02,
            0.08,
            0.001,
            "equivalent",
        ),  # first of all: a difference too small to matter, however sure
        (-0.1, 0.1, 0.9, "equivalent"),  # the ends belong to the margin
        (0.05, 0.3, 0.01, "better"),
        (-0.3, -0.05, 0.01, "worse"),
        (0.05, 0.3, 0.05, "undecided"),  # p has to be below
        (-0.01, 0.3, 0.01, "undecided"),  # the interval has to agree
        (0.0, 0.3, 0.01, "undecided"),
        (-0.3, 0.3, 0.9, "undecided"),
        (NAN, NAN, NAN, "undecided"),
        (0.2, 0.3, NAN, "undecided"),
    ],
)
def test_verdicts_in_their_order(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(low, high, p, n=5, margin=0.1) == expected
    turned = {"better": "worse", "worse": "better"}.get(expected, expected)
    assert verdict(low, high, p, n=5, margin=0.1, higher_is_better=False) == turned


def test_better_and_worse_need_three_pairs() -> None:
    assert [verdict(0.1, 0.3, 0.01, n=n) for n in (2, 3)] == ["undecided", "better"]


def test_equivalence_needs_five_pairs_and_holms_p() -> None:
    assert verdict(-0.01, 0.01, 1.0, n=5, margin=0.1, p_equivalence=0.04) == "equivalent"
    assert verdict(-0.01, 0.01, 1.0, n=4, margin=0.1, p_equivalence=0.04) == "undecided"
    assert verdict(-0.01, 0.01, 1.0, n=5, margin=0.1, p_equivalence=0.05) == "undecided"
    assert verdict(-0.01, 0.01, 1.0, n=5, margin=0.1, p_equivalence=NAN) == "undecided"


def test_without_a_margin_nothing_is_equivalent() -> None:
    assert verdict(0.0, 0.0, 1.0, n=5) == "undecided"
    assert verdict(0.0, 0.0, 1.0, n=5, margin=0.0) == "equivalent"


# --- runs and denominators -----------------------------------------------------------------------


def test_one_run_counts_per_run_and_it_is_the_newest_finished_one() -> None:
    table = frame(
        run("ce", 1, 0.9, run_id="late seed"),
        run("ce", 0, None, outcome="failed", run_id="crashed"),
        run("ce", 0, 0.8, run_id="first"),
        run("ce", 0, 0.9, run_id="forced again"),
        run("mse", 0, None, outcome="killed", run_id="killed"),
        run("mse", 0, None, outcome="failed", run_id="failed"),
    )
    assert newest_runs(table)["run_id"].tolist() == [
        "forced again",
        "late seed",
        "failed",
    ]


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
    assert list(zip(left["loss"], left["seed"], left["state"], strict=True)) == [
        ("focal", 0, "failed"),
        ("focal", 1, "killed"),
        ("focal", 2, "missing"),
        ("mse", 2, "missing"),
    ]


def test_without_a_grid_every_loss_owes_what_any_loss_has() -> None:
    table = frame(run("ce", 0, 0.9), run("mse", 1, 0.9, lr=0.1))
    expected = expected_runs(table)
    assert set(expected["tuned"]) == {""}
    assert expected[["loss", "lr", "epochs", "seed"]].to_numpy().tolist() == [
        ["ce", 0.01, 10, 0],
        ["ce", 0.1, 10, 1],
        ["mse", 0.01, 10, 0],
        ["mse", 0.1, 10, 1],
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
        ["ce", 0.1, 2],
        ["ce", 0.1, 3],
        ["mse", 0.01, 2],
        ["mse", 0.01, 3],
    ]
    grid = frame(
        *tuning, run("ce", 2, 0.9, lr=0.1), run("ce", 3, 0.9, lr=0.01)
    )  # no rate of its own: a grid with holes
    assert (
        len(expected_runs(grid)) == 8 + 4
        and len(expected_runs(grid).query("loss == 'mse' and seed > 1")) == 2
    )


# --- learning rates -------------------------------------------------------------------------------


def grid_of(scores: dict[str, dict[float, list[float | None]]], **changes: Any) -> pd.DataFrame:
    """A summary from {loss: {lr: accuracies by seed}}."""
    rows = [
        run(loss, seed, value, lr=lr, **changes)
        for loss, rates in scores.items()
        for lr, values in rates.items()
        for seed, value in enumerate(values)
    ]
    return frame(*rows)


def chosen(table: pd.DataFrame, loss: str = "ce", **arguments: Any) -> pd.Series:
    return choose_rates(table, **arguments).set_index("loss").loc[loss]


def test_the_rate_with_the_best_mean_validation_accuracy_is_chosen_whatever_the_test_says() -> None:
    table = grid_of({"ce": {0.001: [0.7, 0.7], 0.01: [0.8, 0.9], 0.1: [0.9, 0.6]}})
    table["test_accuracy"] = 1 - table["test_accuracy"]
    best = chosen(table)
    assert (best["lr"], best["edge"], best["rates"], best["budget"], best["scored"]) == (
        0.01,
        "none",
        3,
        6,
        2,
    )
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
    assert (
        chosen(grid_of({"ce": {lr: [1 - values[0]] for lr, values in rates.items()}}))["edge"]
        == "low"
    )
    assert chosen(grid_of({"ce": {0.01: [0.7]}}))["edge"] == "none"


def test_rates_that_diverged_bound_the_grid_and_rates_that_crashed_do_not() -> None:
    assert chosen(grid_of({"ce": {0.001: [0.7], 0.01: [0.8], 0.1: [None]}}))["edge"] == "none"
    table = grid_of({"ce": {0.001: [0.7], 0.01: [0.8], 0.1: [None]}}).replace(
        {"outcome": {"diverged": "failed"}}
    )
    best = chosen(table)
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
    table = grid_of(
        {"ce": {0.01: [0.8, 0.8, 0.8], 0.1: [0.99, None, 0.99], 1.0: [None, None, 0.999]}}
    )
    best = chosen(table)
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
    found = choose_rates(table)
    assert found["epochs"].tolist() == [5, 5, 10, 10]
    assert found["equal_budget"].tolist() == [
        False,
        False,
        True,
        True,
    ]  # diverged trials were trials
    assert found["budget"].tolist() == [2, 1, 2, 2]


def test_the_rate_table_hides_nothing() -> None:
    table = grid_of({"ce": {0.01: [0.8, 0.9], 0.1: [None, 0.7]}, "mse": {0.01: [0.5, 0.6]}})
    table.loc[0, "val_accuracy"] = NAN  # ok, but its metric was lost
    found = rate_table(table)
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
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


@pytest.mark.parametrize("seeds", [1, 2, 5, 8, 9, 10, 12, 38])
def test_all_seeds_choose_and_all_are_evaluated(seeds: int) -> None:
    split = split_seeds(grid_of({"ce": {0.01: [0.8] * seeds, 0.1: [0.9] * seeds}}))
    assert split.tuning == split.evaluation == tuple(range(seeds))
    assert split.shared and not split.two_stage
    assert split.reason == (
        "all seeds choose the learning rates on validation and are evaluated on test"
    )


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
        "3 seeds with runs at every rate choose the learning rates on validation; all 13 are "
        "evaluated on test"
    )
    assert chosen(table)["lr"] == 0.01
    # each loss has its own: a run of one that failed takes no seed from the choice of another
    table = grid_of(
        {"ce": {0.01: [0.8] * 3, 0.1: [0.9] * 3}, "mse": {0.01: [0.8] * 3, 0.1: [0.9] * 3}}
    )
    table.loc[(table["loss"] == "mse") & (table["seed"] == 1) & (table["lr"] == 0.1), "outcome"] = (
        "failed"
    )
    found = choose_rates(table).set_index("loss")["tuning_seeds"]
    assert found.to_dict() == {"ce": (0, 1, 2), "mse": (0, 2)}


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
    with pytest.raises(
        ValueError, match=r"\[7\] have no runs: the runs of 10 epochs have the seeds \[0, 1, 2\]"
    ):
        split_seeds(table, [7])
    with pytest.raises(ValueError, match="leave none to evaluate"):
        split_seeds(table, [0, 1, 2])


# --- families of contrasts ------------------------------------------------------------------------


def test_a_family_by_hand() -> None:
    # mse minus ce, in points: -1, -2, -3 -> mean -2, interval -2 -+ 2.484; focal minus ce: 0, 0, 0
    table = frame(
        *runs("ce", [0.97, 0.98, 0.99]),
        *runs("mse", [0.96, 0.96, 0.96]),
        *runs("focal", [0.97, 0.98, 0.99]),
    )
    found = contrasts(table, test_size=10_000)
    assert list(found.columns) == COLUMNS
    focal, mse = found.iloc[0], found.iloc[1]
    assert (mse["a"], mse["b"], mse["n"], mse["paired"], mse["unit"], mse["view"]) == (
        "mse",
        "ce",
        3,
        True,
        "points",
        "best",
    )
    assert mse[["difference", "low", "high"]].tolist() == pytest.approx(
        [-2, -4.484138, 0.484138], abs=1e-6
    )
    # the interval has the rounding of a pair added to nothing: sd 1 is far above it
    assert mse["p_equivalence"] == pytest.approx(scipy.stats.t.cdf(1.9 * math.sqrt(3), 2))
    p = scipy.stats.ttest_1samp([-1, -2, -3], 0).pvalue
    assert mse[["p", "p_seeds", "p_decides", "p_holm"]].tolist() == pytest.approx(
        [p, 0.25, p / 0.9, 2 * p / 0.9]
    )
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
    half = (
        4.302653 * 0.01 / math.sqrt(6) / math.sqrt(3)
    )  # the spread of rounding to one of 10,000 images
    assert focal["verdict"] == "undecided"  # three pairs
    assert focal[["difference", "low", "high"]].tolist() == pytest.approx([0, -half, half])
    assert (focal["p"], focal["p_seeds"], focal["p_holm"], focal["p_better"]) == (1, 1, 1, 0.5)
    assert math.isnan(focal["d_z"]) and focal["seeds_needed"] >= 5
    assert found["dropped"].tolist() == [[], []] and not found["shared_seeds"].any()


def test_ten_pairs_that_agree_make_a_loss_worse_or_better() -> None:
    base = [0.98 + 0.001 * i for i in range(10)]
    noise = [0.0001 * (-1) ** i for i in range(10)]
    table = frame(
        *runs("ce", base), *runs("mse", [x - 0.004 + e for x, e in zip(base, noise, strict=True)])
    )
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
    for name in (
        "low",
        "high",
        "d_z",
        "p_better_low",
        "p_better_high",
        "detectable",
        "seeds_needed",
    ):
        assert math.isnan(row[name]), name


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
    found = contrasts(table, diverged=0.1).set_index("a")
    mse = found.loc["mse"]
    assert (mse["n"], mse["verdict"], mse["diverged_a"], mse["lr_a"]) == (8, "worse", 8, 0.01)
    assert mse["difference"] == pytest.approx(10 - 100 * np.mean(ce))
    assert mse["p_seeds"] == 2**-7
    assert (mse["survivors_n"], mse["dropped"], mse["lacking"]) == (0, [], "")
    assert math.isnan(mse["survivors_difference"])
    assert found["family"].tolist() == [2, 2]
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
    found = only(contrasts(table))
    assert (found["lacking"], found["failed_a"]) == (words, 0)  # without a rate no run is of it
    at_rate = words.replace("of mse", "of mse at learning rate 0.01")
    equal = only(contrasts(table, view="equal"))
    assert (equal["lacking"], equal["failed_a"]) == (at_rate, len(outcomes))


def test_a_loss_that_failed_only_where_it_is_evaluated_says_so() -> None:
    table = frame(*runs("ce", [0.9, 0.9, 0.9]), *runs("mse", [0.9, None, None]))
    table["outcome"] = table["outcome"].replace("diverged", "failed")
    assert (
        only(contrasts(table, tuning_seeds=[0]))["lacking"]
        == "all 2 runs of mse on evaluation seeds at its learning rate 0.01 failed"
    )
    assert only(contrasts(table, tuning_seeds=[1]))["lacking"] == (
        "no run of mse on tuning seeds finished, so it has no learning rate"
    )


def test_a_metric_the_head_does_not_have_is_no_contrast() -> None:
    table = frame(*runs("ce", [0.9, 0.9]), *runs("mse", [0.9, 0.9]), *runs("focal", [0.9, 0.9]))
    table["test_nll"] = [0.1, 0.2, None, None, 0.2, 0.4]
    found = contrasts(table, metric="test_nll").set_index("a")
    assert found.loc["mse", "n"] == 0 and math.isnan(found.loc["mse", "difference"])
    assert found.loc["mse", "verdict"] == "undecided"
    assert {cell.reason for cell in found.loc["mse", "dropped"]} == {"no value"}
    assert found.loc["focal", "family"] == 1
    assert found.loc["focal", "p_holm"] == pytest.approx(found.loc["focal", "p"] / 0.9)


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
    assert (row["paired"], row["pairing"], row["interval"], row["n"], row["n_a"]) == (
        False,
        why,
        "welch",
        3,
        4,
    )
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
    row = only(
        contrasts(frame(*runs("ce", [0.97, 0.98]), *runs("mse", [0.96, 0.95], first_seed=5)))
    )
    assert (row["paired"], row["pairing"], row["n"]) == (False, "no seed in common", 2)


def test_whether_tuning_seeds_are_evaluated_is_said() -> None:
    accuracies = [0.97 + 0.001 * (seed % 4) for seed in range(12)]
    rates: dict[float, list[float | None]] = {
        0.01: [*accuracies],
        0.1: [x - 0.1 for x in accuracies],
    }
    table = grid_of({"ce": rates, "mse": rates})
    usual, asked = only(contrasts(table)), only(contrasts(table, tuning_seeds=[0, 7]))
    assert usual["shared_seeds"] and usual["n"] == 12
    assert not asked["shared_seeds"] and asked["n"] == 10
    assert asked["run_ids"][0] == "mse-0.01-10-1"


def test_each_loss_is_shown_at_its_own_rate_and_the_other_view_at_equal_rates() -> None:
    table = grid_of(
        {
            "ce": {0.01: [0.97, 0.98], 0.1: [0.98, 0.99]},
            "mse": {0.001: [0.8, 0.8], 0.01: [0.96, 0.97], 0.1: [0.5, 0.6]},
            "focal": {0.1: [0.98, 0.99]},
        }
    )
    best = contrasts(table)
    assert best[["a", "lr_a", "lr_b"]].to_numpy().tolist() == [
        ["focal", 0.1, 0.1],
        ["mse", 0.01, 0.1],
    ]
    equal = contrasts(table, view="equal")
    assert equal[["a", "lr_a"]].to_numpy().tolist() == [["focal", 0.1], ["mse", 0.01], ["mse", 0.1]]
    assert (equal["lr_a"] == equal["lr_b"]).all() and (equal["family"] == 3).all()
    assert not equal["shared_seeds"].any()
    assert equal["difference"].tolist() == pytest.approx([0, -1, -43.5])


def test_every_value_of_epochs_is_a_family_of_its_own_with_its_own_rates() -> None:
    table = pd.concat(
        [
            grid_of(
                {
                    "ce": {0.01: [0.9] * 3, 0.1: [0.8] * 3},
                    "mse": {0.01: [0.7] * 3},
                    "mae": {0.01: [0.7] * 3},
                }
            ),
            grid_of({"ce": {0.01: [0.7] * 3, 0.1: [0.8] * 3}, "mse": {0.01: [0.7] * 3}}, epochs=5),
        ]
    )
    found = contrasts(table)
    assert found["epochs"].tolist() == [10, 10, 5, 5]
    assert found["lr_b"].tolist() == [0.01, 0.01, 0.1, 0.1]
    assert found["family"].tolist() == [2, 2, 2, 2]
    assert found["n"].tolist() == [
        3,
        3,
        0,
        3,
    ]  # mae was never run for 5 epochs: planned all the same
    p = found.set_index(["epochs", "a"])
    assert p.loc[(5, "mse"), "p_holm"] == 2 * p.loc[(5, "mse"), "p"]


def test_all_pairs_on_demand() -> None:
    table = frame(*(row for loss in ("a", "b", "ce") for row in runs(loss, [0.97, 0.98])))
    found = contrasts(table, all_pairs=True)
    assert list(zip(found["a"], found["b"], strict=True)) == [("a", "ce"), ("b", "ce"), ("b", "a")]
    assert (found["family"] == 3).all()
    assert len(contrasts(table, all_pairs=True, reference="none of them")) == 3
    with pytest.raises(
        ValueError, match=r"no run has the loss 'nll'; there are \['a', 'b', 'ce'\]"
    ):
        contrasts(table, reference="nll")


@pytest.mark.parametrize("rows", [[], runs("ce", [0.9, 0.9])])
def test_without_two_losses_there_are_no_contrasts_and_the_columns_are_the_same(
    rows: list[Any],
) -> None:
    table = pd.DataFrame(rows, columns=list(run("ce", 0, 0.9)))
    for view in ("best", "equal"):
        found = contrasts(table, view=view)
        assert list(found.columns) == COLUMNS and found.empty
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
    assert (
        first.set_index("a").loc["loss 1", same].tolist()
        == fewer.set_index("a").loc["loss 1", same].tolist()
    )


def test_categories_and_numpy_types_make_no_difference() -> None:
    table = noisy(seeds=5)
    typed = table.astype(
        {"loss": "category", "seed": "int32", "epochs": "int16", "outcome": "category"}
    )
    pd.testing.assert_frame_equal(contrasts(table), contrasts(typed))
    pd.testing.assert_frame_equal(denominators(table), denominators(typed), check_dtype=False)
    pd.testing.assert_frame_equal(choose_rates(table), choose_rates(typed))


def test_a_wide_alpha_narrows_the_interval() -> None:
    table = noisy(seeds=10)
    ninety, usual = contrasts(table, alpha=0.1), contrasts(table)
    assert (ninety["high"] - ninety["low"] < usual["high"] - usual["low"]).all()


def test_an_aa_comparison_is_one_loss_against_itself_on_other_seeds() -> None:
    table = noisy(losses=3, seeds=12)
    first, second = table[table["seed"] < 6], table[table["seed"] >= 6]
    found = same_loss_contrasts(first, second)
    assert list(found.columns) == COLUMNS
    assert found["a"].tolist() == found["b"].tolist() == ["ce", "loss 0", "loss 1"]
    assert (
        (found["view"] == "aa").all() and not found["paired"].any() and (found["family"] == 3).all()
    )
    assert (found["n"] == 6).all() and (found["interval"] == "welch").all()
    assert found["difference"][0] == pytest.approx(
        100 * first.query("loss == 'ce'")["test_accuracy"].mean()
        - 100 * second.query("loss == 'ce'")["test_accuracy"].mean()
    )
    assert found["dropped"].tolist() == [[], [], []]


# --- bands ----------------------------------------------------------------------------------------


def curves_of(seeds: int, epochs: int = 3, loss: str = "ce", lr: float = 0.01) -> pd.DataFrame:
    rng = generator(seeds)
    return pd.DataFrame(
        [
            {
                "run_id": f"{loss}{s}",
                "loss": loss,
                "lr": lr,
                "epochs": epochs,
                "seed": s,
                "epoch": e,
            }
            | {"val_accuracy": 0.9 + 0.01 * e + rng.normal(0, 0.01)}
            for s in range(seeds)
            for e in range(1, epochs + 1)
        ]
    )


@pytest.mark.parametrize("seeds", [2, 10, 24])
def test_bands_are_the_intervals_of_the_means_recomputed_with_pandas(seeds: int) -> None:
    curves = pd.concat([curves_of(seeds), curves_of(seeds + 1, loss="mse")])
    rows = []
    for (loss, lr, epochs, epoch), group in curves.groupby(["loss", "lr", "epochs", "epoch"]):
        values = group.sort_values("seed")["val_accuracy"]
        rng = named_generator(0, "band", "val_accuracy", loss, lr, epochs)
        mean, low, high, method = mean_interval(values, rng)
        assert mean == pytest.approx(values.mean())
        rows.append((loss, lr, epochs, epoch, mean, low, high, len(values), len(values), method))
    columns = ["loss", "lr", "epochs", "epoch", "mean", "low", "high", "n", "runs", "interval"]
    pd.testing.assert_frame_equal(
        bands(curves, "val_accuracy"), pd.DataFrame(rows, columns=columns), check_dtype=False
    )


def test_one_seed_has_a_curve_and_no_band() -> None:
    found = bands(curves_of(1), "val_accuracy")
    assert found["mean"].notna().all() and found["low"].isna().all() and found["high"].isna().all()
    assert (found["interval"] == "none").all()


def test_equal_curves_have_a_band_of_zero_width() -> None:
    for seeds in (3, 25):
        found = bands(curves_of(seeds).assign(val_accuracy=0.9), "val_accuracy")
        assert (found[["mean", "low", "high"]] == 0.9).all(axis=None)


def test_bands_say_over_how_many_of_how_many_runs_they_average() -> None:
    curves = curves_of(4)
    curves = curves[
        ~((curves["seed"] == 3) & (curves["epoch"] > 1))
    ]  # one run diverged after its first epoch
    curves.loc[(curves["seed"] == 0) & (curves["epoch"] == 3), "val_accuracy"] = NAN
    curves.loc[curves["seed"] == 1, "val_accuracy"] = math.inf
    found = bands(curves, "val_accuracy")
    assert found["n"].tolist() == [3, 2, 1] and found["runs"].tolist() == [4, 4, 4]
    assert found["interval"].tolist() == ["t", "t", "none"]
    survivors = curves[(curves["epoch"] == 2) & curves["seed"].isin([0, 2])]["val_accuracy"]
    assert found["mean"][1] == pytest.approx(survivors.mean())


def test_bands_keep_their_seed_and_others_differ() -> None:
    curves = curves_of(22)
    first, again, other = (bands(curves, "val_accuracy", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] != other["low"]).all()
    alone = bands(pd.concat([curves, curves_of(5, loss="mse")]), "val_accuracy", seed=1)
    pd.testing.assert_frame_equal(first, alone[alone["loss"] == "ce"])


def test_bands_never_pool_what_differs_in_more_than_the_seed() -> None:
    curves = pd.concat([curves_of(3), curves_of(3, lr=0.1)])
    assert len(bands(curves, "val_accuracy")) == 6
    assert len(bands(curves[curves["lr"] == 0.1], "val_accuracy", by=["loss"])) == 3
    assert bands(curves.iloc[:0], "val_accuracy").empty
