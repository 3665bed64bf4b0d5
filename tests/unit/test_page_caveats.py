"""Caveats of a page: what is missing, unequal, not proved or not declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import IMAGES, captions, make_page, text
from helpers.synthetic_runs import predictions, runs, tuned

from reports import analysis, verdicts
from reports.page import caveats
from reports.page.caveats import Fact
from reports.page.methods import basis, methods
from reports.question import Question
from reports.runs import Declared


@pytest.mark.slow
def test_a_seed_that_was_added_for_other_losses_is_not_called_left_out() -> None:
    summary, curves = runs()
    added = (summary["loss"] == "mse") & (summary["seed"] >= 8)  # two seeds of ce and focal alone
    lost = (summary["loss"] == "mse") & (summary["seed"] == 3) & (summary["lr"] == 0.03)
    (section,), *_ = make_page(summary[~added & ~lost], curves)
    facts = {term: text for term, text, *_ in caveats.facts(section)}
    assert facts["Left out"].endswith("of each pair: mse at 0.03 seed 3 (missing).")
    (section,), *_ = make_page(summary[~added], curves)
    assert section.headline.set_index("a").loc["mse", "n"] == 8
    assert "Left out" not in {term for term, *_ in caveats.facts(section)}


def test_what_is_missing_failed_or_diverged_is_counted_and_said() -> None:
    summary, curves = runs()
    chosen = summary[(summary["loss"] == "mse") & (summary["lr"] == 0.03)].index
    summary.loc[chosen[9], "outcome"] = "failed"
    lost = (summary["loss"] == "mse") & (summary["seed"] == 8)
    summary.loc[lost, "outcome"] = "diverged"
    summary.loc[summary.index[0], "outcome"] = "running"
    summary = summary.drop(index=chosen[7])
    (section,), _, html, _ = make_page(summary, curves, missing=2, notes=["a note of the reader"])
    words = text(html)
    assert (
        "84 of 90 runs ended well; 3 diverged; 1 failed; 0 killed; 2 missing; 1 still running, "
        "not counted." in words
    )
    assert "3 diverged and 1 failed and 2 missing of 90 runs, 1 still running" in words
    assert "mse at 0.03 seed 7 (missing)" in words and "mse at 0.03 seed 9 (failed)" in words
    assert "1 of 8 runs of mse diverged" in words
    assert "Without a result (failed or killed): 1 run of mse." in words
    assert "a note of the reader" in words
    assert words.count("2 runs of the sweep's own grid have never been run.") == 1
    assert section.headline.set_index("a").loc["mse", "n"] == 8  # the one that diverged counts


def test_methods_say_what_seeds_share_only_of_what_was_compared() -> None:
    (section,) = analysis.sections(*runs(("ce", "mse"), rates=(0.1,)), Question(), predictions)
    assert methods(section)["paired"] is True
    unknown = replace(section, contrasts=section.contrasts.assign(n=0))
    assert methods(unknown)["paired"] is None


def test_early_stopping_says_what_was_trained_and_over_how_many_runs_lines_are() -> None:
    setting = "digits, mlp, sgd, constant, batch size 100"
    summary, curves = runs(("ce", "mse"), rates=(0.03,), seeds=range(5), setting=setting)
    ended = (curves["seed"] > 0) & (curves["loss"] == "mse") & (curves["epoch"] > 2)
    curves = curves[~ended]
    last = summary["run_id"].map(curves.groupby("run_id")["epoch"].max())
    summary = summary.assign(
        **{"stop_trained_epochs": last, "stop_tested_epoch": 1.0, "stop.patience": 1, "epochs": 3}
    )
    summary["optimizer._target_"] = "paddle.optimizer.RMSProp"
    (section,), report, html, _ = make_page(summary, curves)
    assert "· RMSProp, constant learning rate ·" in text(html)
    facts = {term: text for term, text, *_ in caveats.facts(section)}
    assert facts["Early stopping"].endswith("that ended well: ce 15 of 15; mse 11 of 15.")
    short = summary["seed"] > 3
    several = summary.assign(
        epochs=summary["epochs"].mask(short, 4), outcome=summary["outcome"].mask(short, "failed")
    )
    several.loc[short & (several["loss"] == "ce"), "outcome"] = "ok"
    facts = dict(fact[:2] for fact in caveats.facts(replace(section, runs=several)))
    assert facts["Early stopping"].endswith(
        ": ce (at most 3 epochs) 12 of 12; mse (at most 3 epochs) 9 of 12; "
        "ce (at most 4 epochs) 3 of 4."
    )
    lines = "means over 5 runs per loss (from epoch 3 on over fewer, 1 run at the end), bands"
    assert lines in captions(report)["accuracy"]
    assert "Test accuracy after the best epoch" in captions(report)["final"]
    assert "early stopping (patience 1)" in text(html) and "for at most 3 epochs" in text(html)
    at_end = section.bands[section.bands["epoch"] == 3].set_index("loss")
    assert at_end["n"].to_dict() == {"ce": 5, "mse": 1}
    assert section.bands.groupby("loss")["seconds"].last().to_dict() == {"ce": 1.5, "mse": 1.5}


def test_hashes_that_differ_are_reported() -> None:
    summary, curves = runs()
    summary.loc[(summary["loss"] == "mse") & (summary["seed"] == 5), "init_hash"] = "other"
    _, _, html, _ = make_page(summary, curves)
    assert (
        "NOT proved for 1 of 2 contrasts, analyzed as unpaired: mse and ce: init_hash differs at "
        "seed 5" in text(html)
    )
    assert "not all comparisons are in pairs of runs with the same seed" in text(html)
    assert "a seed fixes the split" not in text(html)


@pytest.mark.slow
def test_what_is_missing_from_the_grid_of_a_sweep_is_said_once_for_all_settings() -> None:
    one, curves = runs(seeds=range(2))
    both = pd.concat(
        [one, one.assign(setting="other", run_id="b" + one["run_id"])], ignore_index=True
    )
    _, _, html, _ = make_page(
        both, curves, read_predictions=lambda run_id: None, missing=7, notes=["a note"]
    )
    words = text(html)
    assert words.count("7 runs of the sweep's own grid have never been run.") == 1
    assert words.count("a note") == 1
    assert "Caveats of all settings" in words


@pytest.mark.slow
def test_images_that_cannot_be_had_are_said_to_be_missing() -> None:
    _, _, html, _ = make_page(*runs(seeds=range(2)), images="no network")
    assert "The test examples cannot be shown: no network." in text(html)
    _, _, html, _ = make_page(*runs(seeds=range(2)), images=IMAGES[:9])
    assert "not the test set of these runs" in text(html)
    _, _, html, _ = make_page(*runs(seeds=range(2)), read_predictions=lambda run_id: None)
    assert "No run here stored its predictions" in text(html)


def test_the_page_says_whether_its_question_was_declared_before_the_runs() -> None:
    as_declared = Declared(
        "parent", "answer", pd.Timestamp("2026-01-02 03:04", tz="UTC"), "test/accuracy", None, "ce",
        3, (0, 1, 2),
    )  # fmt: skip
    summary, curves = runs(("ce", "mse"), seeds=range(4), rates=(0.03,))

    def basis_and_standing(*declared: Declared, **question: Any) -> tuple[str, set[str]]:
        sections = analysis.sections(
            summary, curves, Question(**question), predictions, declared=declared
        )
        content = verdicts.document(sections, {})
        return basis(sections[0]), {each["standing"] for each in content["contrasts"]}

    text, standing = basis_and_standing(as_declared)
    assert "Confirmatory: exactly this question was declared on 2026-01-02 03:04 UTC" in text
    assert standing == {"confirmatory", "exploratory"}  # the second view was not declared
    text, standing = basis_and_standing(replace(as_declared, seeds=(0, 9)))
    assert "Exploratory: 1 of the 2 declared seeds have no run. Declared on 2026-01-02" in text
    assert standing == {"exploratory"}
    for other in (
        basis_and_standing(replace(as_declared, metric="test/nll")),
        basis_and_standing(replace(as_declared, reference="mse")),
        basis_and_standing(as_declared, margin=0.3),
        basis_and_standing(as_declared, all_pairs=True),
    ):
        assert "another question was declared" in other[0] and other[1] == {"exploratory"}
    for none in (basis_and_standing(), basis_and_standing(replace(as_declared, sweep="another"))):
        assert "Exploratory: no question was declared" in none[0]


def test_the_caveats_raise_no_alarm_when_all_is_well() -> None:
    (section,) = analysis.sections(*runs(), Question(), predictions)
    facts = caveats.facts(section)
    assert caveats.about_the_store(0, []) == []
    assert [fact.term for fact in facts if fact.alarm] == []
    dirty = runs()[0].assign(git_dirty=True)
    (other,) = analysis.sections(dirty, runs()[1], Question(), predictions)
    assert dict(fact[:2] for fact in caveats.facts(other))["Code"] == (
        "commit 0123456789; 90 of 90 runs were made with changes that are not committed (tracked "
        "changes are in changes.diff); "
        "digests of the code that computed the numbers: ce 1111111, focal gamma=3 2222222, mse "
        "3333333; no files of the user."
    )
    by_term = {term: words for term, words, *_ in facts}
    assert by_term["Runs"] == "All 90 runs ended well, 30 of each loss."
    assert by_term["Budget"] == "equal: each loss had 3 learning rates with 30 finished runs."
    assert by_term["Pairing"].startswith("proved")
    assert by_term["Code"] == (
        "commit 0123456789, nothing uncommitted; digests of the code that computed the numbers: "
        "ce 1111111, focal gamma=3 2222222, mse 3333333; no files of the user."
    )
    in_all = "3m00s, the sum over all runs of this setting; runs may have been side by side."
    assert by_term["Run time"] == in_all


def test_seconds_that_differ_between_runs_of_one_configuration_are_told() -> None:
    summary, curves = runs(("ce", "mse"), rates=(0.03, 0.1), seeds=range(3))
    (section,) = analysis.sections(summary, curves, Question(), predictions)
    one = (summary["loss"] == "mse") & (summary["lr"] == 0.1)

    def run_time(seconds: float, **changes: Any) -> str:
        last = summary.index[one & (summary["seed"] == 2)]
        changed = summary.assign(seconds=summary["seconds"].where(~one, 8.2))
        changed.loc[last, ["seconds", *changes]] = [seconds, *changes.values()]
        return dict(fact[:2] for fact in caveats.facts(replace(section, runs=changed)))["Run time"]

    in_all = ", the sum over all runs of this setting; runs may have been side by side."
    assert run_time(574.0) == (
        f"10m08s{in_all} Runs of one configuration took 8.2 to 574 s: seconds depend on more than "
        "the configuration, such as the load of the machine."
    )
    assert run_time(16.4) == f"50.8s{in_all}"
    assert run_time(574.0, outcome="diverged") == f"10m08s{in_all}"


def test_the_checklist_has_a_box_for_each_answer_and_marks_those_with_a_caveat() -> None:
    summary, curves = runs(("ce", "mse"), rates=(0.03, 0.1), seeds=range(3))
    lost = (summary["loss"] == "mse") & (summary["seed"] == 2) & (summary["lr"] == 0.1)
    summary.loc[lost, ["outcome", "val_accuracy", "test_accuracy"]] = ["diverged", np.nan, np.nan]
    _, report, *_ = make_page(summary.drop(columns="paddle_version"), curves)
    lines = report.checklist.splitlines()
    assert (
        "- [x] Number of training runs, and what became of them (caveat): 11 of 12 runs ended "
        "well; 1 diverged; 0 failed; 0 killed; 0 missing." in lines
    )
    (rates,) = [line for line in lines if "How hyperparameters" in line]
    assert rates.startswith(
        "- [x] How hyperparameters were chosen, from which range, with how many trials (caveat): "
        "Learning rates 0.03, 0.1. Equal: each loss had 2 learning rates with 6 finished runs. "
        "The best learning rate is at the edge"
    )
    assert "- [ ] Versions of the dependencies: Not recorded." in lines
    assert "- [x] Seeds, and their use for tuning and evaluation: Evaluation seeds 0 to 2 (3)." in (
        report.checklist
    )


def test_the_rates_and_own_values_that_were_tried_are_told_by_loss() -> None:
    def words(summary: pd.DataFrame, curves: pd.DataFrame) -> str:
        (section,) = analysis.sections(summary, curves, Question(), predictions)
        return caveats.tried(section)[0].text

    summary, curves = runs(("ce", "mse"), rates=(0.03, 0.1), seeds=range(2))
    fewer = (summary["loss"] == "mse") & (summary["lr"] == 0.1)
    assert words(summary[~fewer], curves) == (
        "for ce learning rates 0.03, 0.1; for mse learning rate 0.03."
    )
    assert words(*tuned(gammas=(1, 2, 10), seeds=range(2))).endswith(
        "; for focal learning rates 0.01, 0.1; own values of focal: gamma=1, gamma=2, gamma=10."
    )


def test_labels_of_several_settings_are_counted_together() -> None:
    facts = [
        Fact("Edges", "a", True, "2 best rates at the edge of the grid", id="first"),
        Fact("Code", "b", False, "code of several commits"),
        Fact("one-class", "c", True, "one class in 1,000 runs"),
        Fact("Edges", "d", True, "1 best rate at the edge of the grid", id="second"),
        Fact("Edges", "e", True, "one learning rate only"),
        Fact("one-class", "f", True, "one class in 1 run"),
    ]
    together = caveats.over_settings(facts, "data set")
    assert [(fact.label, fact.id) for fact in together] == [
        ("3 best rates at the edge of the grid (2 data sets)", "first"),
        ("one class in 1,001 runs (2 data sets)", ""),
        ("one learning rate only (1 data set)", ""),
    ]


def test_an_unequal_budget_at_other_epochs_is_said() -> None:
    summary, curves = runs(("ce", "mse"), seeds=range(2), epochs=(3, 5))
    fewer = (summary["loss"] == "mse") & (summary["epochs"] == 3) & (summary["lr"] > 0.01)
    (section,) = analysis.sections(summary[~fewer], curves, Question(), predictions)
    (budget,) = [fact for fact in caveats.facts(section) if fact.term == "Budget"]
    assert budget.alarm and budget.text == (
        "equal: each loss had 3 learning rates with 6 finished runs. After 3 epochs: UNEQUAL: "
        "finished runs to choose the rate from: ce 6, mse 2."
    )
