"""Exact tests, effect sizes, power, and the rules of a verdict."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from helpers.summaries import NAN, generator

from reports.metrics import read_metric
from reports.stats import two_way
from reports.stats.contrast import contrast, rank_contrast, values
from reports.stats.power import detectable_difference, seeds_needed
from reports.stats.significance import (
    differences,
    effect_size_dz,
    holm,
    is_trusted,
    outlying,
    probability_of_improvement,
    sign_flip_p,
)
from reports.stats.verdicts import verdict


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
    turned = 1 - wins / n, 1 - theirs.high, 1 - theirs.low
    assert lower_wins[:3] == pytest.approx(turned, abs=1e-12)


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
        (0.02, 0.08, 0.001, "equivalent"),  # first of all: too small to matter, however sure
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
    for n, p in ((4, 0.04), (5, 0.05), (5, NAN)):
        assert verdict(-0.01, 0.01, 1.0, n=n, margin=0.1, p_equivalence=p) == "undecided"


def test_without_a_margin_nothing_is_equivalent() -> None:
    assert verdict(0.0, 0.0, 1.0, n=5) == "undecided"
    assert verdict(0.0, 0.0, 1.0, n=5, margin=0.0) == "equivalent"


def brute_sign_flips(images: list[int]) -> float:
    """The share of sign patterns whose sum is as large, counted with whole numbers."""
    total = abs(sum(images))
    sums = (
        sum(sign * d for sign, d in zip(signs, images, strict=True))
        for signs in itertools.product((1, -1), repeat=len(images))
    )
    return sum(abs(each) >= total for each in sums) / 2 ** len(images)


@pytest.mark.parametrize("size", [3, 36, 360, 10_000, 999_983])
def test_sign_flips_are_those_of_whole_numbers_for_every_size_of_the_test_set(size: int) -> None:
    rng = generator(size)
    for _ in range(40):
        n = int(rng.integers(1, 10))
        b = rng.integers(size // 2, size + 1, n)
        a = np.clip(b + rng.integers(-4, 5, n), 0, size)
        c = contrast(values(100 * (a / size)), values(100 * (b / size)), step=100 / size)
        assert c.p_seeds == pytest.approx(brute_sign_flips((a - b).tolist()), rel=1e-12)
    assert sign_flip_p([3, 2, -1]) == 0.5  # by hand: four of the eight sums reach 4
    assert sign_flip_p([0, 0, 0]) == 1 and math.isnan(sign_flip_p([]))
    assert sign_flip_p([1.0] * 40) == pytest.approx(2.0**-39, rel=1e-9)


@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_sign_flips_of_other_numbers_are_scipys(n: int) -> None:
    d = generator(n).normal(0.3, size=n)
    theirs = scipy.stats.permutation_test(
        (d,), np.mean, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert sign_flip_p(d) == pytest.approx(theirs.pvalue, abs=1e-3)


def test_sign_flips_of_many_seeds_with_large_differences_take_little_time() -> None:
    d = np.where(generator().random(1000) < 0.4, 90.0, 0.13)
    assert 0 <= sign_flip_p(d, 0.01) < 1e-9


def test_holm_counts_what_was_planned_and_could_not_be_tested() -> None:
    adjusted = holm([0.01, NAN, 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.06]) and math.isnan(adjusted[1])


def test_outlying_seeds_and_when_they_make_the_test_untrustworthy() -> None:
    dead = np.array([0.3, 0.2, 0.4, 0.3, 0.2, 0.3, 0.4, -80.0])
    assert outlying(dead).tolist() == [False] * 7 + [True]
    assert not outlying(dead[-3:]).any()  # three values have no outlier
    against = np.array([0.3, 0.2, 0.4, 0.3, 0.2, 0.3, 0.4, -0.9])
    assert not is_trusted(against, sign_flip_p(against))
    half = np.array([0.3] * 6 + [-80.0] * 4)  # p of t is .04, exact p .125
    assert not is_trusted(half + 0.01 * np.arange(10), 0.125)
    assert is_trusted(half + 0.01 * np.arange(10), 0.01)
    assert is_trusted(np.array([1.0, 1.1, 0.9, 1.0, 1.2, 30.0]), 0.03125)


def test_the_detectable_difference_is_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    theirs = TTestPower().solve_power(None, nobs=12, alpha=0.04, power=0.8)
    difference = detectable_difference(0.3 / math.sqrt(12), 11, alpha=0.04)
    assert difference == pytest.approx(0.3 * theirs, rel=1e-3)
    assert detectable_difference(0.0, 11) == 0 and math.isnan(detectable_difference(NAN, 11))


def test_seeds_needed_are_a_range_around_the_plan_at_the_observed_effect() -> None:
    many = seeds_needed(0.5, 1.0, 2000)  # effect and spread are known well
    assert many.low >= 2001
    low, middle, high = seeds_needed(0.5, 1.0, 20)
    t = two_way.e_threshold(np.array(middle), np.array(middle - 1), 200.0)
    assert scipy.stats.nct.sf(t, middle - 1, 0.5 * math.sqrt(middle)) == pytest.approx(0.8, abs=0.1)
    assert low < middle < high
    assert seeds_needed(1.0, 1.0, 5, alpha=0.005).middle > seeds_needed(1.0, 1.0, 5).middle


def test_seeds_needed_where_seeds_do_not_help() -> None:
    images = seeds_needed(0.1, 0.2, 10, of_images=0.1**2)  # one standard error of images
    assert images.middle == math.inf
    assert seeds_needed(0.0, 0.1, 10).middle > 300 > seeds_needed(0.1, 0.1, 10).middle
    assert 10 < seeds_needed(0.0, 0.05, 10, margin=0.1).middle < 60
    for nothing in (seeds_needed(NAN, 1.0, 5), seeds_needed(1.0, NAN, 5), seeds_needed(1, 1, 1)):
        assert math.isnan(nothing.middle)


def test_ranks_have_exact_tests_and_an_e_value_of_the_signs() -> None:
    a, b = values(np.arange(8.0)), values(np.arange(8.0)[::-1])._replace(scores=np.full(8, -np.inf))
    c = rank_contrast(a, b)
    assert (c.p, c.e_value) == (2**-7, pytest.approx(2**8 / 9))  # the mean of p^8 over p is 1 / 9
    theirs = scipy.stats.mannwhitneyu(a.scores, b.scores)
    assert rank_contrast(a, b, paired=False).p == theirs.pvalue
