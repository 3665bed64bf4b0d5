"""The short form of `tests/benchmarks/inference.py`, with bounds wide enough never to flake.

Fixed seeds: a run of this file always says the same.
"""

from __future__ import annotations

import pytest
from benchmarks import simulations


@pytest.mark.parametrize("n", [3, 10, 40])
def test_intervals_of_normal_differences_hold_the_truth(n: int) -> None:
    cover, false, _ = simulations.coverage_of_seeds(simulations.normal, n, 2000)
    assert 0.93 <= cover <= 0.97 and false <= 0.055


def test_skewed_differences_are_where_the_intervals_fall_short() -> None:
    cover, *false = simulations.coverage_of_seeds(simulations.lognormal, 10, 2000)
    assert 0.80 <= cover <= 0.88
    assert false[1] <= 0.01 < 0.08 < false[0]  # right about the seeds that are not rare
    few, wrong, _ = simulations.coverage_of_seeds(simulations.one_in_five_dies, 20, 2000)
    assert 0.89 <= few <= 0.96 and wrong <= 0.03  # outlying seeds: mostly not to be trusted


@pytest.mark.parametrize(("of_seeds", "ceiling"), [(0.0, False), (0.4, False), (0.0, True)])
def test_two_way_intervals_hold_the_truth_for_new_seeds_and_images(
    of_seeds: float, ceiling: bool
) -> None:
    both, seeds = simulations.coverage_of_bits(10, 200, of_seeds=of_seeds, ceiling=ceiling)
    assert both >= 0.90
    if not of_seeds:
        assert seeds < 0.85 < both


@pytest.mark.parametrize("losses", [1, 5])
def test_families_of_equal_losses_have_few_false_verdicts(losses: int) -> None:
    assert simulations.families(10, losses, 1000) <= 0.065


def test_choosing_among_rates_makes_few_false_verdicts() -> None:
    for gap in (0.0, 1.0):
        assert simulations.after_rates(10, 1500, gap=gap, rates=(2, 2), guard=True) <= 0.07
    free = simulations.after_rates(10, 1500, gap=0.0, rates=(5, 1), guard=False)
    assert simulations.after_rates(10, 1500, gap=0.0, rates=(5, 1), guard=True) <= 0.06 < free


def test_looking_again_costs_no_more_than_is_said() -> None:
    ours, _, plain = simulations.watched(simulations.normal, 1000, range(6, 41))
    assert ours <= 0.07 < 0.15 < plain
    assert simulations.after_advice(simulations.normal, 150) <= 0.11


def test_the_power_at_the_declared_n_is_nearly_that_of_a_plain_test() -> None:
    for n in (8, 20):
        ours, plain = simulations.power(n, 1.0, 3000)
        assert ours >= 0.92 * plain


def test_equivalence_at_the_margin_is_rarely_found() -> None:
    assert simulations.equivalence(8, 1500, family=1, difference=3.0) <= 0.06
    assert simulations.equivalence(8, 200, family=22, difference=3.0) <= 0.10
    assert simulations.equivalence(8, 300, family=1, difference=3.0, looks=range(8, 31)) <= 0.09
    assert simulations.equivalence(8, 500, family=1, difference=0.0) >= 0.9
