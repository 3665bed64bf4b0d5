"""Tuning the losses' own values: the grids of a command, and what they refuse."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from helpers.settings import settings
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.config import CommandError
from experiments.trials import declared, grids, spread


def jobs(*words: str) -> dict[str, list[dict[str, str]]]:
    """The overrides of each run, by loss."""
    parser = OverridesParser.create()
    by_loss: dict[str, list[dict[str, str]]] = {}
    for grid in grids(parser.parse_overrides(list(words)), parser)[0]:
        for job in BasicSweeper.split_arguments(grid, None)[0]:
            values = dict(word.split("=", 1) for word in job)
            by_loss.setdefault(values.pop("loss"), []).append(values)
    return by_loss


def test_each_loss_gets_as_many_trials() -> None:
    by_loss = jobs("loss=ce,mse,focal", "tune.focal.gamma=1,2,3", "lr=0.01,0.1", "seed=range(2)")
    assert {loss: len(each) for loss, each in by_loss.items()} == {"ce": 12, "mse": 12, "focal": 12}
    focal = {(job["lr"], job["loss.gamma"]) for job in by_loss["focal"]}
    assert focal == {(lr, gamma) for lr in ("0.01", "0.1") for gamma in "123"}
    rates = sorted({float(job["lr"]) for job in by_loss["ce"]})
    assert rates == [0.01, 0.0158, 0.0251, 0.0398, 0.0631, 0.1]
    assert by_loss["mse"] == by_loss["ce"] and {job["seed"] for job in by_loss["ce"]} == {"0", "1"}


def test_losses_with_different_numbers_of_values_get_as_many_trials() -> None:
    words = "loss=ce,focal,gce", "tune.focal.gamma=1,2,3", "tune.gce.q=0.5,0.7", "lr=0.01,0.03,0.1"
    by_loss = jobs(*words)
    assert {loss: len(each) for loss, each in by_loss.items()} == {"ce": 12, "focal": 12, "gce": 12}
    for loss, count in (("ce", 12), ("focal", 4), ("gce", 6)):
        rates = {float(job["lr"]) for job in by_loss[loss]}
        assert len(rates) == count
        assert rates >= {0.01, 0.03, 0.1} and min(rates) == 0.01 and max(rates) == 0.1


def test_two_values_of_one_loss_are_tuned_together_at_the_default_rate() -> None:
    by_loss = jobs("loss=gce", "tune.gce.q=0.5,0.7", "tune.gce.k=range(3)")
    pairs = [(job["loss.q"], job["loss.k"]) for job in by_loss["gce"]]
    assert pairs == [(q, k) for q in ("0.5", "0.7") for k in ("0", "1", "2")]
    assert not any("lr" in job for job in by_loss["gce"])


def test_without_tuned_values_a_grid_stays_as_it_is() -> None:
    parser = OverridesParser.create()
    words = parser.parse_overrides(["loss=ce,mse", "lr=interval(0,1)"])
    assert grids(words, parser) == ([words], {})


@pytest.mark.parametrize(
    ("given", "count", "rates"),
    [
        ([0.1, 0.01], 2, [0.01, 0.1]),
        ([0.01, 0.03, 0.1], 2, [0.01, 0.03, 0.1]),  # none is left out
        ([0.01, 1], 5, [0.01, 0.0316, 0.1, 0.316, 1]),
        ([0.01, 0.02, 0.2], 4, [0.01, 0.02, 0.0632, 0.2]),  # the wider gap is filled first
        ([0.5], 1, [0.5]),
    ],
)
def test_new_rates_fill_the_gaps_on_a_logarithmic_scale(given, count, rates) -> None:
    assert spread(given, count) == rates


def test_the_denser_grid_is_even_where_the_given_one_is() -> None:
    rates = spread([0.001, 0.01, 0.1], 9)
    steps = [math.log10(high / low) for low, high in itertools.pairwise(rates)]
    assert len(rates) == 9 and max(steps) - min(steps) < 0.01


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss=ce,mse"], "tune.focal: expected a loss of the sweep, ce, mse, got focal"),
        (["loss=ce,focall"], "got focal; did you mean tune.focall?"),
        ([], "tune.focal: expected a loss of the sweep, loss=..., got focal"),
        (["tune.focal.gamma=2,2.0"], "expected two values or more, each given once, got 2,2.0"),
        (["tune.focal.gamma=2"], "tune.focal.gamma: expected two values or more"),
        (["tune.focal.gamma=interval(1,2)"], "expected choices such as 0.1,0.2"),
        (["tune.focal=1,2"], "expected tune.LOSS.VALUE=A,B such as tune.focal.gamma=1,2,3"),
        (["lr=0.1"], "lr: expected two learning rates or more"),
        (["lr=0,0.1"], "lr: expected finite numbers above 0, got 0, 0.1"),
        (["lr=0.1,0.10001"], "lr: expected a range with room for 6 learning rates"),
        (["loss.gamma=2"], "loss.gamma and tune.focal.gamma: expected one of the two"),
    ],
)
def test_what_cannot_be_tuned_is_refused(words: list[str], message: str) -> None:
    first = [] if not words else ["loss=ce,focal", "lr=0.01,0.1"]
    with pytest.raises(CommandError) as refused:
        jobs(*first, "tune.focal.gamma=1,2,3", *words)
    assert message in str(refused.value)


def test_more_values_than_a_tag_can_keep_are_refused() -> None:
    one = dataclasses.replace(settings("loss=focal"), tuned={"focal": ["loss.gamma"]})
    losses = [one.options["loss"] | {"gamma": value} for value in range(1000)]
    runs = [dataclasses.replace(one, options=one.options | {"loss": each}) for each in losses]
    assert declared(runs[:3]) == {"focal": {"loss.gamma": ["0", "1", "2"]}}
    with pytest.raises(CommandError, match=r"tune: expected at most 5,000 characters in all, got"):
        declared(runs)
