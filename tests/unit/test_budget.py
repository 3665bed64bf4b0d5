"""Time to a target accuracy, and the best accuracy to expect of some trials, computed by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import make_page
from helpers.synthetic_runs import runs as synthetic

from reports import setting_frames
from reports.page import tables as page_tables
from reports.question import Question
from reports.stats import budget


def watched(**times: list[tuple[float, bool]]) -> pd.DataFrame:
    """Runs by loss: a time, and whether the target was reached then."""
    rows = [
        {"loss": loss, "run_id": f"{loss}{i}", "reached": hit, "epochs": at, "seconds": 2 * at}
        for loss, own in times.items()
        for i, (at, hit) in enumerate(own)
    ]
    return pd.DataFrame(rows)


def curve(run_id: str, *accuracies: float) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "epoch": epoch, "val_accuracy": value, "seconds": 3.0 * epoch}
        for epoch, value in enumerate(accuracies)
    ]


def test_a_run_reaches_the_target_at_its_first_epoch_there() -> None:
    curves = pd.DataFrame(
        curve("a", 0.1, 0.5, 0.9, 0.8)
        + curve("b", 0.1, 0.2, 0.3, 0.4)
        + curve("c", 0.1, 0.9)
        + curve("d", 0.1)
    )
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d", "e"],
            "loss": "ce",
            "outcome": ["ok", "ok", "diverged", "diverged", "diverged"],
        }
    )
    times = budget.times_to_target(runs, curves, 0.85).set_index("run_id")
    assert times["reached"].to_dict() == {"a": True, "b": False, "c": True, "d": False, "e": False}
    # d and e, which diverged at once, are watched as long as the longest run
    assert times["epochs"].to_dict() == {"a": 2, "b": 3, "c": 1, "d": 3, "e": 3}
    assert times["seconds"].to_dict() == {"a": 6, "b": 9, "c": 3, "d": 9, "e": 9}

    early = runs[:2].assign(run_id=["f", "g"], epochs=9, stop_trained_epochs=[2, 9])
    curves = pd.DataFrame(curve("f", 0.1, 0.2, 0.2) + curve("g", *[0.1] * 5))
    times = budget.times_to_target(early, curves, 0.85).set_index("run_id")
    # f, which was stopped early, never reaches it; g is watched until its last epoch with a value
    assert times["epochs"].to_dict() == {"f": 4, "g": 4}


def test_the_median_counts_runs_that_never_reach_it() -> None:
    """Of eight runs six reach it: one by 1, half of all by 3. Order statistics 1 and 8 are 95 %."""
    times = [(1, True), (2, True), (2, True), (3, True), (4, True), (4, True), (5, False)]
    medians = budget.median_times(watched(ce=[*times, (5, False)], none=[(5, False)] * 3))
    ce = medians[(medians["measure"] == "epochs") & (medians["loss"] == "ce")].iloc[0]
    assert (ce["n"], ce["reached"], ce["median"], ce["low"], ce["high"]) == (8, 6, 3, 1, math.inf)
    none = medians[(medians["measure"] == "seconds") & (medians["loss"] == "none")].iloc[0]
    assert (none["n"], none["reached"], none["median"]) == (3, 0, math.inf)
    assert math.isnan(none["low"]) and math.isnan(none["high"])


def test_the_shares_are_those_of_kaplan_and_meier() -> None:
    """Reached at 1 and 4, watched until 2 and 5: 1 - 3/4 at 1, and 1 - 3/4 x 1/2 at 4."""
    shares = budget.reached(watched(ce=[(1, True), (2, False), (4, True), (5, False)]))
    epochs = shares[shares["measure"] == "epochs"]
    assert epochs["at"].tolist() == [0, 1, 2, 4, 5]
    assert epochs["share"].tolist() == pytest.approx([0, 0.25, 0.25, 0.625, 0.625])


def test_times_that_are_not_recorded_are_in_no_row() -> None:
    times = watched(ce=[(1, True), (2, True)]).assign(seconds=np.nan)
    assert set(budget.median_times(times)["measure"]) == {"epochs"}
    assert set(budget.reached(times)["measure"]) == {"epochs"}
    assert len(budget.reached(times.iloc[:0])) == 0 == len(budget.median_times(times.iloc[:0]))


def test_the_best_of_some_trials_by_hand() -> None:
    """Three rates, one of which diverged: 0.1, 0.5 and 0.9, each with probability 1/3."""
    runs = pd.DataFrame(
        {
            "loss": ["ce"] * 4 + ["mse"],
            "lr": [1, 2, 3, 3, 1],
            "outcome": ["ok", "ok", "diverged", "diverged", "ok"],
            "val_accuracy": [0.5, 0.9, math.nan, math.nan, 0.7],
        }
    )
    best = budget.expected_best(runs)
    assert best["loss"].tolist() == ["ce"] * 3 and best["trials"].tolist() == [1, 2, 3]
    by_hand = [
        (0.1 + 0.5 + 0.9) / 3,
        (0.1 * 1 + 0.5 * (4 - 1) + 0.9 * (9 - 4)) / 9,
        (0.1 * 1 + 0.5 * (8 - 1) + 0.9 * (27 - 8)) / 27,
    ]
    assert best["mean"].tolist() == pytest.approx(by_hand)


def test_each_rate_is_as_likely_whatever_its_seeds() -> None:
    runs = pd.DataFrame(
        {"loss": "ce", "lr": [1, 2, 2, 2], "outcome": "ok", "val_accuracy": [0.2, 0.6, 0.7, 0.8]}
    )
    means = budget.expected_best(runs)["mean"].tolist()
    drawn = np.random.default_rng(0).choice(
        [0.2, 0.6, 0.7, 0.8], (200_000, 2), p=[1 / 2, 1 / 6, 1 / 6, 1 / 6]
    )
    assert means[0] == pytest.approx(0.2 / 2 + 0.7 / 2)
    assert means[1] == pytest.approx(drawn.max(axis=1).mean(), abs=0.003)


def test_the_page_tells_both_where_they_are_known() -> None:
    summary, curves = synthetic(seeds=range(6))
    summary.loc[summary["lr"] != 0.03, "val_accuracy"] -= 0.3  # so the rate stays the best
    lost = (summary["loss"] == "ce") & (summary["lr"] == 0.03) & (summary["seed"] == 5)
    summary.loc[lost, ["outcome", "val_accuracy", "test_accuracy"]] = ["diverged", np.nan, np.nan]
    curves = curves[~curves["run_id"].isin(summary.loc[lost, "run_id"]) | (curves["epoch"] == 0)]
    (section,), report, _, markdown = make_page(summary, curves, Question(target=0.8))
    times = section.to_target
    assert times.groupby("loss")["reached"].agg(["sum", "size"]).loc["ce"].tolist() == [5, 6]
    assert "Epochs and seconds to 80 % validation accuracy" in markdown
    (reached,) = set(re.findall(r"Reached it: ([^.]*)\.", markdown))
    assert sorted(reached.split(", ")) == ["ce 5 of 6", "focal gamma=3 6 of 6", "mse 6 of 6"]
    assert "Best validation accuracy to expect from a number of trials" in markdown
    table = report.tables["to-target"]
    assert table.keys[:4] == ["loss", "runs", "reached", "epochs_median"]
    medians = {row[0].text: row[3].text for row in table.rows}
    assert medians["ce"] == "2 [2, ∞]" and medians["focal gamma=3"] == "2 [2, 2]"
    trials = report.tables["trials"]
    assert trials.headings == ["loss", "1 trial", "2 trials", "3 trials"]
    assert trials.rows[1][1].value < trials.rows[1][3].value < 100


def test_the_seconds_of_a_curve_without_epoch_0_are_those_since_its_start() -> None:
    _, curves = synthetic(seeds=range(2), rates=(0.1,))
    curves = curves.assign(seconds=10.0 * curves["epoch"])
    later = curves[curves["epoch"] > 1]
    bands = setting_frames.accuracy_bands(later, 0)
    assert (bands["seconds"] == 10 * bands["epoch"]).all() and len(bands)


def test_without_a_target_it_is_a_share_of_the_reference() -> None:
    summary, curves = synthetic(seeds=range(2), rates=(0.1,))
    (section,), report, _, markdown = make_page(summary, curves)
    final = section.evaluated.loc[section.evaluated["loss"] == "ce", "val_accuracy"].mean()
    assert section.target == math.floor(950 * final) / 1000
    assert "to-target" in report.tables and "trials" not in report.tables  # one rate each
    assert f"to {100 * section.target:g} % validation accuracy" in markdown


def test_a_target_that_no_run_reaches_is_told_only_where_it_was_asked_for() -> None:
    summary, curves = synthetic(seeds=range(2), rates=(0.1,))
    (section,), report, *_ = make_page(summary, curves, Question(target=0.999))
    table = page_tables.to_target(section, section.shown)
    assert [row[3].text for row in table.rows] == ["∞", "∞", "∞"]
    assert "to-target" in report.tables and "to-target" not in report.figures
    summary["loss"] = summary["loss"].where(summary["loss"] != "ce", "brier")
    low = summary.assign(val_accuracy=summary["val_accuracy"] + 0.5)
    (_,), report, *_ = make_page(low, curves)
    assert "to-target" not in report.tables
