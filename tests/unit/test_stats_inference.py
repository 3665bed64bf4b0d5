"""Tests over seeds and images, at several looks and rates: by hand, by scipy, and as verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.summaries import NAN, generator, only

from reports import analysis, sentences
from reports.question import Question
from reports.stats import two_way
from reports.stats.contrast import Contrast, contrast, values
from reports.stats.contrasts import contrasts


def test_without_images_it_is_scipys_t_tests() -> None:
    a, b = generator().normal(1, 1, 7), generator(1).normal(0, 3, 9)
    pairs = two_way.estimate([a - b[:7]])
    theirs = scipy.stats.ttest_rel(a, b[:7])
    assert two_way.p_difference(pairs) == pytest.approx(theirs.pvalue)
    assert pairs.interval() == pytest.approx(theirs.confidence_interval())
    samples = two_way.estimate([a, b])
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert two_way.p_difference(samples) == pytest.approx(theirs.pvalue)
    assert samples.interval(0.9) == pytest.approx(theirs.confidence_interval(0.9))
    inside = [
        scipy.stats.ttest_rel(a, b[:7] + side * 2, alternative=way).pvalue
        for side, way in ((-1, "greater"), (1, "less"))
    ]
    assert two_way.p_equivalence(pairs, 2.0) == pytest.approx(max(inside))


def test_the_two_way_variance_by_hand() -> None:
    """2 seeds x 3 images: rows, columns and residual of an analysis of variance."""
    d = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    part = two_way.image_parts(d)
    assert part.columns.tolist() == [0.5, 0, 1]
    # residuals .5 - .5, ...: d - row - column + mean = [[0, -.5, .5], [0, .5, -.5]], of 1 x 2
    assert part.residual == pytest.approx(1.0 / 2 / 6)
    estimate = two_way.estimate([d.mean(axis=1)], [part])
    rows, columns, residual = 0.5 / 2, 0.25 / 3, 1 / 12
    assert estimate.variance == pytest.approx(rows)  # + columns - residual
    assert (estimate.difference, estimate.of_images) == (0.5, 0)
    parts = rows**2 / 1 + columns**2 / 2 + residual**2 / 2
    assert estimate.freedom == pytest.approx(rows**2 / parts)


def test_the_two_way_variance_is_unbiased_and_of_images_is_what_seeds_do_not_reduce() -> None:
    rng, n, m = generator(3), 6, 40
    shape = (4000, n, m)
    d = rng.normal(size=(4000, n, 1)) * 0.3 + rng.normal(size=(4000, 1, m)) + rng.normal(size=shape)
    estimate = two_way.estimate([d.mean(axis=-1)], [two_way.image_parts(d)])
    truth = 0.09 / n + 1 / m + 1 / (n * m)
    assert estimate.difference.var() == pytest.approx(truth, rel=0.06)
    assert estimate.variance.mean() == pytest.approx(truth, rel=0.06)
    assert estimate.of_images.mean() == pytest.approx(1 / m, rel=0.05)


def test_two_samples_have_their_rows_apart_and_the_columns_of_their_difference() -> None:
    rng = generator(4)
    a, b = rng.normal(size=(5, 30)), rng.normal(size=(8, 30))
    means, parts = [a.mean(axis=1), b.mean(axis=1)], [two_way.image_parts(each) for each in (a, b)]
    estimate = two_way.estimate(means, parts)
    rows = means[0].var(ddof=1) / 5 + means[1].var(ddof=1) / 8
    columns = (a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / 30
    residual = sum(float(part.residual) for part in parts)
    expected = max(rows, columns, rows + columns - residual)
    assert estimate.variance == pytest.approx(expected)


def test_one_seed_is_about_images_alone() -> None:
    rng = generator(5)
    a, b = (rng.random((1, 500)) < share for share in (0.9, 0.8))
    c = contrast(values(a.mean(axis=1), a.astype(float)), values(b.mean(axis=1), b.astype(float)))
    theirs = scipy.stats.ttest_1samp(a[0].astype(float) - b[0], 0)
    assert (c.interval, c.generalises) == ("images", "new examples, for these two networks")
    assert c.p == pytest.approx(theirs.pvalue) and c.p < 0.01
    assert (c.low, c.high) == pytest.approx(theirs.confidence_interval())
    assert c.p_decides == 1 and math.isnan(c.seeds_only_low)  # no verdict about the losses


def test_the_spread_over_seeds_is_at_least_that_of_rounding_to_one_image() -> None:
    step = 100 / 360
    b = 100 * (np.array([300, 310, 305, 320, 315]) / 360)
    half = scipy.stats.t.ppf(0.975, 4) * step / math.sqrt(6) / math.sqrt(5)
    c = contrast(values(b + step), values(b), step=step, margin=2 * step)
    assert (c.low, c.high) == pytest.approx((step - half, step + half))
    assert c.p_equivalence == pytest.approx(scipy.stats.t.sf(math.sqrt(6 * 5), 4))
    assert contrast(values(b + step), values(b)).low == pytest.approx(step)  # no rounding is known
    apart = contrast(values([b[0]] * 5), values([b[0] - step] * 5), paired=False, step=step)
    half = scipy.stats.t.ppf(0.975, 8) * step / math.sqrt(12) * math.sqrt(2 / 5)
    assert (apart.low, apart.high) == pytest.approx((step - half, step + half))


@pytest.mark.parametrize("paired", [True, False])
def test_the_error_over_images_is_at_least_that_of_one_image(paired: bool) -> None:
    """35 images, on which ten networks of a loss agree with those of the other."""
    same, other = np.ones((10, 35)), np.ones((10, 35))
    same[:, :2], other[:, :3] = 0, 0
    step = 100 / 35

    def compared(a: np.ndarray, b: np.ndarray, step: float) -> Contrast:
        sides = [values(100 * each.mean(axis=1), 100 * each) for each in (a, b)]
        return contrast(*sides, paired=paired, step=step, margin=2 * step)

    c = compared(same, same, step)
    of_seeds = step**2 / 6 / 10  # rounding: of a pair, and as much of two samples
    assert c.error == pytest.approx(math.sqrt(step**2 + of_seeds))
    squared = step**4 / 34 + of_seeds**2 / (9 if paired else 18)
    freedom = (step**2 + of_seeds) ** 2 / squared
    half = scipy.stats.t.ppf(0.975, freedom) * c.error
    assert (c.difference, c.low, c.high) == pytest.approx((0, -half, half))
    assert c.of_images == pytest.approx(step**2) and half > 2 * step  # the margin
    # at one image that all seeds answer otherwise it is what the images themselves show
    one = compared(same, other, step)
    assert one.of_images == pytest.approx(step**2)
    assert one.of_images == pytest.approx(compared(same, other, math.nan).of_images)
    assert compared(same, same, math.nan).error == 0  # values of which no step is known


def marginal(d: np.ndarray, one_sided: bool) -> float:
    """The e-value by numbers: prior N(0, 1) on mean / sd, and 1 / sd on the standard deviation."""
    sigma = np.geomspace(0.02, 50, 4001)[:, None]
    delta = np.linspace(0 if one_sided else -12, 12, 4801)[None, :]
    n, mean, squares = d.size, d.mean(), ((d - d.mean()) ** 2).sum()

    def likelihood(shift: Any) -> Any:
        return sigma**-n * np.exp(-(squares + n * (mean - shift * sigma) ** 2) / (2 * sigma**2))

    prior = (1 + one_sided) * np.exp(-(delta**2) / 2) / math.sqrt(2 * math.pi)
    over_delta = np.trapezoid(likelihood(delta) * prior, delta[0], axis=1)
    logs = np.log(sigma[:, 0])
    return float(np.trapezoid(over_delta, logs) / np.trapezoid(likelihood(0.0)[:, 0], logs))


@pytest.mark.slow
def test_e_values_are_the_bayes_factors_they_stand_for() -> None:
    d = np.array([0.3, 1.4, 0.2, 0.9, -0.1])
    estimate = two_way.estimate([d])
    assert two_way.e_difference([d], estimate) == pytest.approx(marginal(d, False), rel=1e-3)
    for least in (0.0, 0.5):
        e_value = two_way.one_sided_e([d], estimate, least)
        assert e_value == pytest.approx(marginal(d - least, True), rel=1e-3)
    expected = min(marginal(d + 2, True), marginal(2 - d, True))
    assert two_way.e_equivalence([d], estimate, 2.0) == pytest.approx(expected, rel=1e-3)
    with np.errstate(all="raise"):  # the most that four equal differences can say: 5^(4/2 - 1/2)
        equal = two_way.estimate([np.ones(4)])
        assert two_way.e_difference([np.ones(4)], equal) == pytest.approx(5**1.5)
        assert two_way.one_sided_e([-np.ones(4)], two_way.estimate([-np.ones(4)]), 0.0) == 0


def test_the_images_of_one_test_set_are_no_evidence_however_many_seeds_there_are() -> None:
    d = 0.3 + generator().normal(0, 0.01, 50)
    of_seeds = two_way.estimate([d])
    both = of_seeds._replace(variance=of_seeds.variance + 0.2**2)
    assert two_way.e_difference([d], of_seeds) > 1e20 and two_way.e_difference([d], both) < 1


def test_the_threshold_of_an_e_value_is_the_t_that_has_it() -> None:
    n = np.array([10.0, 40.0])
    t = two_way.e_threshold(n, n - 1, 100.0)
    for size, bound in zip((10, 40), t, strict=True):
        z = np.linspace(-1, 1, size)
        z = z / z.std(ddof=1) + bound / math.sqrt(size)
        assert two_way.e_difference([z], two_way.estimate([z])) == pytest.approx(100)
    assert two_way.e_threshold(np.array(4.0), np.array(3.0), 100.0) == math.inf


def test_one_look_costs_nine_tenths_of_alpha_and_later_looks_the_rest() -> None:
    def at(once: float, later: float, e: float) -> float:
        return float(two_way.at_looks(*(np.array(each) for each in (once, later, e))))

    assert at(0.044, NAN, NAN) < 0.05 < at(0.046, NAN, NAN)
    assert at(NAN, 0.001, 201.0) < 0.05 < at(NAN, 0.001, 199.0)
    assert at(NAN, 0.046, 1e9) > 0.05  # the two-way test has to agree
    assert at(NAN, NAN, 5.0) == at(0.95, NAN, NAN) == 1
    assert at(0.009, 0.9, 0.1) == pytest.approx(0.01)  # what was decided stays decided


IMAGES = 400


class RunsWithImages:
    """Runs with a bit per image."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.bits: dict[str, np.ndarray] = {}

    def add(self, loss: str, seed: int, right: np.ndarray | None, **changes: Any) -> None:
        run_id = f"{loss}-{changes.get('lr', 0.1)}-{seed}"
        accuracy = NAN if right is None else right.mean()
        self.rows.append(
            {
                **{"run_id": run_id, "loss": loss, "lr": 0.1, "epochs": 5, "seed": seed},
                **{"outcome": "diverged" if right is None else "ok"},
                **{"val_accuracy": accuracy, "test_accuracy": accuracy},
                **{"init_hash": f"i{seed}", "order_hash": f"o{seed}"},
            }
            | changes
        )
        if right is not None:
            self.bits[run_id] = right

    def contrasts(self, **how: Any) -> pd.DataFrame:
        how = {"scores": self.bits.get, "test_size": IMAGES} | how
        return contrasts(pd.DataFrame(self.rows), **how)


def answers(shift: float, seed: int, noise: float = 0.5) -> np.ndarray:
    """Images are hard or easy for all networks; a network's own noise is added."""
    hard = generator(99).normal(size=IMAGES)
    return np.asarray(hard + generator(seed).normal(0, noise, IMAGES) < 1.0 + shift)


def two_losses(seeds: int = 8, shift: float = 0.3, **changes: Any) -> RunsWithImages:
    runs = RunsWithImages()
    for seed in range(seeds):
        runs.add("ce", seed, answers(0.0, seed), **changes)
        runs.add("mse", seed, answers(-shift, 1000 + seed), **changes)
    return runs


def test_a_contrast_is_about_new_seeds_and_new_images() -> None:
    runs = two_losses()
    row = only(runs.contrasts())
    mse, ce = (np.array([runs.bits[f"{loss}-0.1-{s}"] for s in range(8)]) for loss in ("mse", "ce"))
    d = 100.0 * (mse * 1 - ce * 1)
    rounding = 100 / IMAGES / math.sqrt(6)
    by_hand = two_way.estimate([d.mean(axis=1)], [two_way.image_parts(d)], rounding=rounding)
    assert (row["interval"], row["test_images"]) == ("two-way", IMAGES)
    assert row["generalises"] == "new seeds and new examples"
    assert (row["low"], row["high"]) == pytest.approx([float(end) for end in by_hand.interval()])
    assert row["p"] == pytest.approx(float(two_way.p_difference(by_hand)))
    seeds = scipy.stats.ttest_1samp(d.mean(axis=1), 0).confidence_interval()
    assert (row["seeds_only_low"], row["seeds_only_high"]) == pytest.approx(seeds)
    assert row["high"] - row["low"] > row["seeds_only_high"] - row["seeds_only_low"]
    assert row["verdict"] == "worse" and row["reason"] == ""


@pytest.mark.parametrize("lost", ["missing", "of another size", "of another metric"])
def test_where_a_run_stored_no_values_of_images_the_verdict_is_on_this_test_set(lost: str) -> None:
    runs = two_losses()
    stored = dict(runs.bits)
    if lost == "missing":
        del runs.bits["mse-0.1-3"]
    else:
        bits = stored["mse-0.1-3"]
        runs.bits["mse-0.1-3"] = np.tile(bits, 2) if lost == "of another size" else ~bits
    row = only(runs.contrasts())
    assert (row["interval"], row["generalises"]) == ("t", "new seeds, on this test set")
    assert (row["low"], row["high"]) == (row["seeds_only_low"], row["seeds_only_high"])


def test_no_example_is_common_to_seeds_that_are_tested_on_folds() -> None:
    runs = two_losses()
    arguments = ("ce", Question(), IMAGES, None, None, runs.bits.get)
    rows = analysis.comparisons(pd.DataFrame(runs.rows).assign(folds="5"), *arguments)
    assert set(rows["interval"]) == {"t"} and set(rows["test_images"]) == {0}
    assert set(rows["generalises"]) == {"new seeds, each tested on a fold of these data"}
    whole = analysis.comparisons(pd.DataFrame(runs.rows).assign(folds=None), *arguments)
    assert set(whole["interval"]) == {"two-way"}
    one = pd.DataFrame(two_losses(seeds=1).rows).assign(folds="5")
    rows = analysis.comparisons(one, *arguments)
    assert set(rows["generalises"]) == {"new examples, for these two networks"}


def test_runs_that_are_not_paired_have_their_images_all_the_same() -> None:
    runs = two_losses()
    for row in runs.rows:
        row["init_hash"] = row["run_id"]
    row = only(runs.contrasts())
    assert (row["paired"], row["interval"], row["verdict"]) == (False, "two-way", "worse")


def test_one_seed_says_something_of_two_networks_and_nothing_of_the_losses() -> None:
    row = only(two_losses(seeds=1, shift=2.0).contrasts())
    assert row[["verdict", "reason", "n"]].tolist() == ["undecided", "one seed", 1]
    assert row["generalises"] == "new examples, for these two networks"
    assert row["high"] < -20 and row["p"] < 1e-9 and row["p_holm"] == 1
    assert math.isnan(row["detectable"]) and math.isnan(row["seeds_needed"])
    assert only(two_losses(seeds=2, shift=2.0).contrasts())["detectable"] == math.inf


def test_a_diverged_run_is_right_where_the_best_constant_answer_is() -> None:
    runs = two_losses()
    for row in runs.rows:
        if row["loss"] == "mse":
            row |= {"outcome": "diverged", "test_accuracy": NAN, "val_accuracy": NAN}
    constant = np.arange(IMAGES) < 40
    row = only(runs.contrasts(diverged=0.1, constant=constant))
    assert (row["verdict"], row["interval"], row["diverged_a"]) == ("worse", "two-way", 8)
    ce = np.mean([runs.bits[f"ce-0.1-{seed}"].mean() for seed in range(8)])
    assert row["difference"] == pytest.approx(10 - 100 * ce)
    on_this_test_set = only(runs.contrasts(diverged=0.1))
    assert on_this_test_set["generalises"] == "new seeds, on this test set"


def test_later_seeds_need_an_e_value_and_declared_ones_keep_their_verdict() -> None:
    rng, runs = generator(8), RunsWithImages()
    for seed in range(20):
        base = 0.9 + 0.001 * rng.normal()
        shift = 0.004 + 0.0035 * rng.normal() if seed < 8 else 0.0035 * rng.normal()
        for loss, accuracy in (("ce", base), ("mse", base - shift)):
            runs.add(loss, seed, np.zeros(1, bool), test_accuracy=accuracy, planned=seed < 8)
    runs.bits.clear()
    frame = pd.DataFrame(runs.rows)
    how: dict[str, Any] = {"margin": 0.0}
    declared = only(contrasts(frame[frame["seed"] < 8], **how))
    assert declared["verdict"] == "worse" and declared["planned_n"] == declared["n"] == 8
    every = only(contrasts(frame, **how))
    assert (every["n"], every["planned_n"]) == (20, 8)
    assert every["p_decides"] == pytest.approx(declared["p_decides"])
    none = only(contrasts(frame[frame["seed"] >= 8].assign(planned=False), **how))
    assert none["planned_n"] == 0
    expected = min(1.0, max(10 / none["e_value"], none["p"] / 0.9))
    assert none["p_decides"] == pytest.approx(expected)


def by_rate(flat: bool) -> RunsWithImages:
    """ce has two rates, equally good or not; at the other one it is no better than mse."""
    runs, rng = RunsWithImages(), generator(2)
    for seed in range(10):
        noise = rng.normal(0, 0.001, 3)
        for lr, accuracy in ((0.1, 0.95), (0.3, 0.93)):
            validation = 0.95 + (0.001 * (-1) ** seed + 0.0001) * (lr == 0.1) if flat else accuracy
            own = {"val_accuracy": validation + 0.001 * noise[0]}
            own |= {"lr": lr, "outcome": "ok", "test_accuracy": accuracy + noise[1]}
            runs.add("ce", seed, None, **own)
        own = {"outcome": "ok", "test_accuracy": 0.93 + noise[2], "val_accuracy": 0.9}
        runs.add("mse", seed, None, **own)
    return runs


def test_a_verdict_has_to_hold_at_every_rate_that_may_be_the_best() -> None:
    clear = only(by_rate(flat=False).contrasts())
    assert (clear["verdict"], clear["combinations"]) == ("worse", 1)
    flat = only(by_rate(flat=True).contrasts())
    assert (flat["verdict"], flat["reason"], flat["combinations"]) == ("undecided", "rates", 2)
    assert sorted(flat["weakest"]) == [0.1, 0.3] and flat["p"] < 1e-4 < 0.1 < flat["p_decides"]
    assert flat["at_best"] == "worse" and math.isnan(flat["seeds_needed"])
    two_stage = only(by_rate(flat=True).contrasts(tuning_seeds=[0, 1, 2]))
    assert two_stage["at_these_rates"] and two_stage["verdict"] != "undecided"


def test_equivalent_at_the_best_rates_alone_is_undecided_because_of_the_others() -> None:
    runs = by_rate(flat=True)
    for row in runs.rows:  # ce is at its best rate as good as mse, and at the other worse
        row["test_accuracy"] -= 0.02 * (row["loss"] == "ce")
    row = only(runs.contrasts(margin=1.0))
    assert (row["verdict"], row["reason"], row["at_best"]) == ("undecided", "rates", "equivalent")
    assert (
        row["combinations"] == 2 and row["p_equivalence"] < 1e-4 < 0.9 < row["p_equivalence_holm"]
    )
    assert math.isnan(row["seeds_needed"])
    assert sentences.needed(row).startswith(
        "It is equivalent at the best learning rates, but not with mse at 0.1 and ce at 0.3. On "
    )


def test_the_rates_of_the_other_direction_are_named() -> None:
    runs = by_rate(flat=True)
    for row in runs.rows:
        row["test_accuracy"] -= 0.01 * (row["loss"] == "ce")
    row = only(runs.contrasts())
    assert (row["at_best"], row["reason"], row["p_decides"]) == ("worse", "rates", 1)
    assert row["weakest"] == [0.1, 0.3]
    assert "Holm p = 1.000 with ce at 0.3)." in sentences.sentence(dict(row))


def test_outlying_seeds_are_named_and_can_leave_a_contrast_undecided() -> None:
    runs = RunsWithImages()
    for seed in range(9):
        base = 0.95 + 0.001 * seed
        runs.add("ce", seed, None, outcome="ok", test_accuracy=base)
        lower = 0.02 + 0.0003 * (seed % 3) if seed != 4 else -0.01
        runs.add("mse", seed, None, outcome="ok", test_accuracy=base - lower)
    row = only(runs.contrasts())
    assert row["p"] < 0.01 and row["high"] < 0
    assert (row["verdict"], row["reason"]) == ("undecided", "not to be trusted")
    assert row["outliers"] == ["seed 4 of mse (96.40 %)"]
    assert row["median"] == pytest.approx(-2.03) and row["trimmed_mean"] < row["difference"]


def test_more_seeds_cannot_decide_what_the_images_do_not_show() -> None:
    """The two losses err on different images, the same ones at every seed."""
    runs, hard, rng = RunsWithImages(), generator(1).permutation(IMAGES), generator(2)
    for seed in range(10):
        for loss, wrong in (("ce", hard[:20]), ("mse", hard[20:42])):
            right = ~np.isin(np.arange(IMAGES), wrong)
            right[rng.choice(hard[50:], 2)] = False
            runs.add(loss, seed, right)
    row = only(runs.contrasts(margin=0.0))
    assert row["p_seeds"] < 0.01 < 0.3 < row["p"]
    assert (row["verdict"], row["reason"]) == ("undecided", "too close to tell")
    assert row["seeds_needed"] == math.inf
