"""Intervals of means, and the bands of curves."""

from __future__ import annotations

import doctest
import functools
import importlib
import math
import pkgutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers.summaries import NAN, generator

import reports.stats
from reports.stats.bands import bands
from reports.stats.contrast import values
from reports.stats.intervals import RESAMPLES, mean_interval, mean_intervals, named_generator
from reports.stats.significance import effect_size_dz, sign_flip_p


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.iter_modules(reports.stats.__path__)]
)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"reports.stats.{name}"))
    assert result.failed == 0


def test_named_generators_depend_on_the_seed_and_the_name_alone() -> None:
    def first(seed: int, *names: object) -> int:
        return int(named_generator(seed, *names).integers(2**62))

    assert first(0, "a", 0.1) == first(0, "a", np.float64(0.1))
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab")]
    assert len({first(*each) for each in names}) == 5


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
    of_mean = functools.partial(mean_interval, rng=generator())
    for call in (of_mean, sign_flip_p, effect_size_dz, values):
        with pytest.raises(ValueError, match=r"1 of 2 are NaN or infinite"):
            call(bad)


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
    ours = mean_interval(normal, generator())
    theirs = scipy.stats.ttest_1samp(normal, 0).confidence_interval()
    allowed = 0.05 * (theirs.high - theirs.low)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=allowed)
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
    moved = mean_interval(10 * values + 3, generator(5))[:3]
    assert moved == pytest.approx((10 * mean + 3, 10 * low + 3, 10 * high + 3))
    assert mean_interval(-values, generator(5))[:3] == pytest.approx((-mean, -high, -low))


def test_columns_are_what_they_are_alone_however_many_there_are() -> None:
    # enough columns that the resamples are drawn in blocks
    values = generator(3).normal(size=(22, 900))
    values[:, 1] = 4.0
    many = mean_intervals(values, generator(5))
    for column in (0, 1, 899):
        alone = mean_interval(values[:, column], generator(5))
        expected = [each[column] for each in (many.estimate, many.low, many.high)]
        assert alone[:3] == pytest.approx(expected, rel=1e-9)


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


def curves_of(seeds: int, epochs: int = 3, loss: str = "ce", lr: float = 0.01) -> pd.DataFrame:
    rng = generator(seeds)
    rows = [
        {"run_id": f"{loss}{s}", "seed": s, "epoch": e}
        | {"val_accuracy": 0.9 + 0.01 * e + rng.normal(0, 0.01)}
        for s in range(seeds)
        for e in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows).assign(loss=loss, lr=lr, epochs=epochs)


@pytest.mark.parametrize("seeds", [2, 10, 24])
def test_bands_are_the_intervals_of_the_means_recomputed_with_pandas(seeds: int) -> None:
    curves = pd.concat([curves_of(seeds), curves_of(seeds + 1, loss="mse")])
    rows = []
    for (loss, epoch), group in curves.groupby(["loss", "epoch"]):
        values = group.sort_values("seed")["val_accuracy"]
        rng = named_generator(0, "band", "val_accuracy", loss)
        mean, low, high, _ = mean_interval(values, rng)
        assert mean == pytest.approx(values.mean())
        rows.append((loss, epoch, mean, low, high, len(values)))
    expected = pd.DataFrame(rows, columns=["loss", "epoch", "mean", "low", "high", "n"])
    pd.testing.assert_frame_equal(bands(curves, "val_accuracy"), expected, check_dtype=False)


def test_one_seed_has_a_curve_and_no_band() -> None:
    averages = bands(curves_of(1), "val_accuracy")
    assert averages["mean"].notna().all() and averages[["low", "high"]].isna().all(axis=None)


def test_equal_curves_have_a_band_of_zero_width() -> None:
    for seeds in (3, 25):
        averages = bands(curves_of(seeds).assign(val_accuracy=0.9), "val_accuracy")
        assert (averages[["mean", "low", "high"]] == 0.9).all(axis=None)


def test_bands_say_over_how_many_runs_they_average() -> None:
    curves = curves_of(4)
    # one run diverged after its first epoch
    curves = curves[~((curves["seed"] == 3) & (curves["epoch"] > 1))]
    curves.loc[(curves["seed"] == 0) & (curves["epoch"] == 3), "val_accuracy"] = NAN
    curves.loc[curves["seed"] == 1, "val_accuracy"] = math.inf
    averages = bands(curves, "val_accuracy")
    assert averages["n"].tolist() == [3, 2, 1]
    assert averages["low"].notna().tolist() == [True, True, False]
    survivors = curves[(curves["epoch"] == 2) & curves["seed"].isin([0, 2])]["val_accuracy"]
    assert averages["mean"][1] == pytest.approx(survivors.mean())


def test_bands_keep_their_seed_and_others_differ() -> None:
    curves = curves_of(22)
    first, again, other = (bands(curves, "val_accuracy", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] != other["low"]).all()
    alone = bands(pd.concat([curves, curves_of(5, loss="mse")]), "val_accuracy", seed=1)
    pd.testing.assert_frame_equal(first, alone[alone["loss"] == "ce"])


def test_bands_never_pool_what_differs_in_more_than_the_seed() -> None:
    with pytest.raises(ValueError, match="duplicate entries"):
        bands(pd.concat([curves_of(3), curves_of(3, lr=0.1)]), "val_accuracy")
    assert bands(curves_of(3).iloc[:0], "val_accuracy").empty
