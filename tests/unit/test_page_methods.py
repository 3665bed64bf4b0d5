"""What a page says of the experiment and of its methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import captions, make_page, text
from helpers.synthetic_runs import TEST_SIZE, over, predictions, runs

from reports import analysis
from reports.page import answer, render
from reports.page.methods import methods
from reports.question import Question
from reports.sensitivity import sensitivities
from reports.stats.two_way import PLANNED
from reports.verdicts import ALPHA

SETTING = "digits, mlp, sgd, constant, batch size 100"
USUAL = ["digits", "mlp", "SGD, constant learning rate", "batch size 100"]


def test_the_setting_names_all_that_is_not_as_in_the_options() -> None:
    summary, curves = runs(("ce", "mse"), rates=(0.03,), setting=SETTING)
    usual = {"data.train_size": None, "data.imbalance": "None", "data.imbalance_ratio": 0.01}
    (section,), *_ = make_page(summary.assign(**usual, **{"model.hidden": 128}), curves)
    assert answer.words_of(section) == USUAL
    changed = {
        **{"data.imbalance": "exponential", "data.train_size": 2000.0, "data.root": "/x"},
        **{"optimizer.clip_norm": 5, "augment": "shift", "model.hidden": 64.0},
    }
    (section,), report, html, _ = make_page(summary.assign(**usual | changed), curves)
    own = ["hidden 64", "imbalance exponential", "train size 2000", "clip norm 5"]
    assert answer.words_of(section) == [*USUAL, *own, "augment shift"]
    assert report.page.subtitle.startswith(
        f"Test accuracy after 3 epochs · {' · '.join([*USUAL, *own])} · augment shift · 10 seeds"
    )
    assert f"The setting was {', '.join([*USUAL, *own])}, augment shift." in text(html)
    assert f"optimizer: {', '.join([*USUAL, *own])}, augment shift\n" in report.checklist


def test_what_tells_settings_apart_is_not_said_twice() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.4], losses=("ce", "mse"), rates=(0.03,))
    text = SETTING + summary["data.label_noise"].map(" data.label_noise={:g}".format)
    summary = summary.assign(setting_text=text, **{"data.train_size": 500})
    sections, *_ = make_page(summary, curves, read_predictions=lambda run: predictions(run[1:]))
    assert [answer.words_of(section) for section in sections] == [
        [*USUAL, "train size 500", "label noise 0 %"],
        [*USUAL, "label noise 40 %", "train size 500"],
    ]
    assert answer.titles(sections) == ["Label noise 0 %", "Label noise 40 %"]


CLUSTERED = (
    "paired t tests whose variance is clustered by seed and by test example (Owen 2007; Cameron, "
    "Gelbach and Miller 2011; Satterthwaite's degrees of freedom), on 500 test examples. "
)
LEVEL = (
    f"The declared seeds were tested at {PLANNED:g} of the level {ALPHA:g}; an e-value of all "
    "seeds used the rest. "
)


def scores(run_id: str) -> np.ndarray:
    """The score of each test example, of a run that ended well."""
    return np.arange(TEST_SIZE) < round(TEST_SIZE * SCORES[run_id])


SCORES: dict[str, float] = {}


def methods_of(summary: pd.DataFrame, curves: pd.DataFrame, **how: Any) -> str:
    """The paragraph on methods of a page of one setting."""
    (section,) = analysis.sections(summary, curves, Question(**how), predictions, scores)
    values = methods(section) | {"imported": ""}
    part = render.Part("Methods", "methods.jinja", values)
    page = render.Page("", "", render.Part("", "nothing.jinja"), [part])
    return " ".join(render.to_markdown(page).split())


def test_methods_name_the_tests_and_what_they_rest_on() -> None:
    summary, curves = runs(rates=(0.03,))
    SCORES.update(zip(summary["run_id"], summary["test_accuracy"], strict=True))
    summary["test_accuracy"] = [scores(each).mean() for each in summary["run_id"]]
    words = methods_of(summary, curves)
    assert f"Differences were tested by {CLUSTERED}{LEVEL}" in words
    assert "Comparisons: each loss against ce. Losses are compared by test accuracy" in words
    family = "The p values were adjusted by Holm's method over the 2 comparisons of this setting."
    assert family in words and "diverged" not in words
    shared = "the split, the initial weights outside the head and the order of examples"
    assert f"a seed fixes {shared} for all losses." in words
    noisy = methods_of(summary.assign(**{"data.label_noise": 0.2}), curves)
    assert "outside the head, the label noise and the order of examples for all losses." in noisy

    by_ece = methods_of(summary, curves, metric="test_ece")
    assert "Differences were tested by paired t tests over seeds. " + LEVEL in by_ece
    other = (summary["loss"] == "mse") & (summary["seed"] == 5)
    unpaired = methods_of(summary.assign(init_hash=summary["init_hash"].mask(other, "x")), curves)
    assert f"{CLUSTERED[:-2]} and Welch's{CLUSTERED[6:]}{LEVEL}" in unpaired
    one = methods_of(summary[summary["seed"] == 0], curves)
    assert "Intervals have a level of 95 %." in one and "tested by" not in one


def test_methods_say_how_a_diverged_run_counts_where_one_diverged() -> None:
    summary, curves = runs(("ce", "focal"), rates=(0.03,))
    summary.loc[summary["run_id"] == "run0012", "outcome"] = "diverged"
    constant = "A diverged run counted with the accuracy of the best constant answer."
    words = methods_of(summary, curves)
    assert constant in words and "Holm" not in words  # one comparison
    words = methods_of(summary, curves, metric="test_nll")
    assert constant not in words
    assert "Differences were tested by exact sign tests of the pairs. " + LEVEL in words
    assert "counted as worse than every run that ended well, and the order of runs was" in words


def test_the_table_over_settings_says_what_is_corrected() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.4], losses=("ce", "mse"), rates=(0.03,))
    _, report, *_ = make_page(summary, curves, read_predictions=lambda run: predictions(run[1:]))
    assert report.tables["verdicts"].caption == (
        "Verdict on each loss against the reference, and its mean test accuracy (%). Verdicts are "
        "corrected within each setting, not over settings."
    )


def test_the_title_says_by_which_metric_losses_are_better() -> None:
    summary, curves = runs(("ce", "brier", "focal"), rates=(0.03,))
    summary["test_ece"] = 0.02 + 0.01 * (summary["loss"] == "focal") + 0.0001 * summary["seed"]
    ece = Question(metric="test_ece")
    _, report, *_ = make_page(summary, curves, ece)
    assert report.page.title == (
        "Compared with cross-entropy (ce) by test ECE: focal loss (focal) is worse; Brier score "
        "(brier) is undecided."
    )
    summary.loc[(summary["loss"] == "focal"), "outcome"] = ["diverged"] + ["ok"] * 9
    _, report, *_ = make_page(summary[summary["loss"] != "brier"], curves, ece)
    assert report.page.title == "Focal loss (focal) is worse than cross-entropy (ce) by test ECE."


@pytest.mark.parametrize(
    ("rates", "here", "there", "title"),
    [
        ((0.03,), "at learning rate 0.03", "at learning rate 0.03", "one learning rate each; "),
        (
            (0.01, 0.03),
            "each loss at its own best learning rate",
            "each loss at its best learning rate there",
            "equal: each loss had 2 learning rates with 4 finished runs.",
        ),
    ],
)
def test_only_a_rate_that_was_chosen_is_called_the_best(
    rates: Any, here: str, there: str, title: str
) -> None:
    how = {"losses": ("ce", "mse"), "seeds": range(2), "epochs": (2, 3), "rates": rates}
    summary, curves = over("data.label_noise", [0.0, 0.4], **how)
    _, report, html, _ = make_page(
        summary, curves, read_predictions=lambda run: predictions(run[1:])
    )
    over_noise = "Test accuracy over label noise"
    assert captions(report)["over-data-label-noise"].startswith(
        f"{over_noise} after 3 epochs, {there}. Each point"
    )
    assert report.tables["over-data-label-noise"].caption == f"{over_noise}, {there}."
    words = text(html)
    assert f"All metrics, {here}" in words
    assert f"From the predictions of evaluated runs, {here} (ce 2, mse 2)." in words
    chosen = len(rates) > 1
    length = "each loss at its best learning rate for that length" if chosen else here
    assert f"After 2 epochs, {length}: 1 undecided" in words
    assert f"by length of training, {length}." in report.tables["setting-1-epochs"].caption
    assert f"the length of training; {length}. Means" in captions(report)["setting-1-epochs"]
    assert f"Budget {title}" in words
    assert chosen or "best" not in captions(report)["setting-1-final"]


def test_rates_of_their_own_are_not_called_the_best() -> None:
    summary, curves = over("data.label_noise", [0.0, 0.4], losses=("ce", "mse"), seeds=range(2))
    own = summary["lr"] == summary["loss"].map({"ce": 0.01, "mse": 0.1})
    section, other = analysis.sections(summary[own], curves, Question(), lambda run: None)
    (noise,) = sensitivities([section, other])
    assert noise.at_rates == "each loss at its learning rate there"
    assert section.at_rates == "each loss at its own learning rate"
    assert section.at_rates_by_length == "each loss at its learning rate for that length"
