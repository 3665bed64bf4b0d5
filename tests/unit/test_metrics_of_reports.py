"""Metrics that losses can be compared by, and how a report words each."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from helpers.pages import make_page, text
from helpers.synthetic_runs import measured, predictions, runs

from experiments import contract
from experiments import corruptions as corruption_module
from experiments import metrics as experiment_metrics
from experiments.heads import logits_head, number_head
from reports import analysis, metrics, secondary_metrics, verdicts
from reports.analysis import Section
from reports.metrics import OFFERED, REFUSED
from reports.page.methods import basis
from reports.page.table import Cell
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")


LOGITS, NUMBER = logits_head(10), number_head(10)


LABELS = np.arange(240) % 12


NOISE = np.random.default_rng(0).normal(0, 3, (240, 12)).astype(np.float32)


def what_is_said(head: object, outputs: np.ndarray) -> dict[str, float]:
    """What a run says of such outputs on a test set; validation is of the same kind."""
    losses = np.zeros(len(LABELS), dtype=np.float32)
    return experiment_metrics.test_metrics(head, outputs, LABELS, losses, outputs, LABELS)


def good_and_bad() -> tuple[dict[str, float], dict[str, float]]:
    """Everything that runs can say: of networks that are right, and of some that guess."""
    right = NOISE + 30 * np.eye(12, dtype=np.float32)[LABELS]
    rng = np.random.default_rng(1)
    near = (LABELS + rng.normal(0, 0.4, 240)).astype(np.float32)[:, None]
    far = rng.uniform(0, 11, (240, 1)).astype(np.float32)
    given = np.where(np.arange(240) % 3 == 0, (LABELS + 1) % 12, LABELS)
    values = []
    for logits, number, predicted in (
        (right, near, LABELS),
        (NOISE, far, np.where(given == LABELS, 0, given)),
    ):
        of_test = what_is_said(NUMBER, number) | what_is_said(LOGITS, logits)
        counts = np.repeat([200, 50, 5], 4)
        of_test |= experiment_metrics.by_frequency(logits.argmax(axis=1), LABELS, counts)
        noisy = experiment_metrics.memorisation(predicted, given, LABELS)
        share = of_test["accuracy"]
        values.append(
            {f"test_{name}": value for name, value in of_test.items()}
            | {f"train_{name}": value for name, value in noisy.items()}
            | {"corrupted_accuracy": share}
            | {f"corrupted_accuracy_{kind}": share for kind in corruption_module.CORRUPTIONS}
        )
    return values[0], values[1]


def test_every_metric_that_runs_write_is_offered_or_refused_with_a_reason() -> None:
    written, _ = good_and_bad()
    refused = {f"test_{name}" for name in REFUSED}
    of_class = {f"test_accuracy_{number}" for number in range(12)}
    assert set(OFFERED) | of_class == set(written) - refused and refused <= set(written)
    assert contract.is_metric("test/accuracy_31")
    for wrong in ("x", "03", "\N{ARABIC-INDIC DIGIT THREE}", "10000"):
        assert not contract.is_metric(f"test/accuracy_{wrong}")
        assert metrics.offered(f"test_accuracy_{wrong}") is None
    assert all(metrics.offered(name).of_class == int(name[14:]) for name in of_class)
    assert tuple(corruption_module.CORRUPTIONS) == contract.CORRUPTIONS
    assert sorted(contract.METRICS) == sorted(metric.typed for metric in OFFERED.values())


@pytest.mark.parametrize("name", list(OFFERED))
def test_a_network_that_is_right_is_better_by_every_metric_than_one_that_guesses(name: str) -> None:
    good, bad = (values[name] for values in good_and_bad())
    assert good != bad and (good > bad) == OFFERED[name].higher_is_better
    if OFFERED[name].in_points:
        assert all(0 <= value <= 1 for value in (good, bad))
    assert ("nll" in name) == (OFFERED[name].value_unit == "nats")


def test_what_is_told_of_a_metric() -> None:
    expected = {  # label, heading, decimals, and whether a margin is there by default
        "test_accuracy": ("test accuracy (%)", "test (%)", 2, 0.1),
        "test_accuracy_31": ("test accuracy on class 31 (%)", "class 31 (%)", 2, 0.1),
        "test_balanced_accuracy": ("test balanced accuracy (%)", "balanced (%)", 2, None),
        "test_top5_accuracy": ("test top-5 accuracy (%)", "top 5 (%)", 2, 0.1),
        "test_macro_f1": ("test macro F1 (%)", "macro F1 (%)", 2, None),
        "test_aurc": ("test AURC (%)", "AURC (%)", 3, None),
        "test_ece": ("test ECE (%)", "ECE (%)", 2, None),
        "test_margin": ("test probability margin", "margin", 4, None),
        "test_nll_scaled": ("test NLL after temperature scaling "
                            "(nats)", "NLL scaled (nats)", 4, None),
        "test_brier_scaled": ("test Brier score after temperature "
                              "scaling", "Brier scaled", 4, None),
        "corrupted_accuracy": ("accuracy on corrupted test images (%)", "corrupted (%)", 2, 0.1),
        "corrupted_accuracy_shot_noise": (
            "test accuracy under the corruption shot noise (%)", "shot noise (%)", 2, 0.1,
        ),
        "train_accuracy_flipped": (
            "memorization of flipped labels (%)", "flipped, predicted as the wrong label "
                                                  "(%)", 2, 0.1,
        ),
    }  # fmt: skip
    for name, (label, heading, digits, margin) in expected.items():
        metric = metrics.offered(name)
        assert (metric.label, metric.column, metric.digits) == (label, heading, digits)
        assert (
            metric.margin(None, 10_000) == margin
            if margin
            else math.isnan(metric.margin(None, 10_000))
        )
        assert metric.margin(0.5, None) == 0.5
    # one of 50 test examples, of which no training example is one
    assert metrics.offered("test_accuracy_3").margin(None, 50) == 4
    assert OFFERED["train_accuracy_flipped"].margin(None, 50) == 0.1


def test_the_tables_have_every_metric_but_those_of_one_class_and_corruptions() -> None:
    shown = {
        measure.name
        for measure in secondary_metrics.LIKELIHOOD
        + secondary_metrics.FURTHER
        + secondary_metrics.MEMORIZATION
    }
    families = {name for name in OFFERED if name.startswith("corrupted_accuracy_")}
    assert shown == set(OFFERED) - families - {"test_accuracy"}


def judged_by(name: str, values: dict[str, float | None]) -> tuple[Section, object, str]:
    """A page on runs whose metric is the loss's value and a little more with each seed."""
    summary, curves = measured(*runs(list(values), seeds=range(8), rates=(0.03,)))
    own = pd.to_numeric(summary["loss"].map(values))
    summary[name] = own + 1e-4 * summary["seed"] * (1 + summary["loss"].str.len() % 3)
    (section,), report, html, _ = make_page(summary, curves, Question(metric=name))
    return section, report, text(html)


QUICK = {"test_nll", "corrupted_accuracy"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in OFFERED],
)
def test_a_page_that_is_judged_by_any_metric_says_the_right_thing(name: str) -> None:
    metric = OFFERED[name]
    section, report, words = judged_by(name, {"ce": 0.4, "focal gamma=3": 0.3, "mse": None})
    comparisons = {row["a"]: row for row in section.headline.to_dict("records")}
    row = comparisons["focal gamma=3"]
    ce, focal = (
        section.evaluated.loc[section.evaluated["loss"] == loss, name].mean()
        for loss in ("ce", "focal gamma=3")
    )
    difference = (100 if metric.in_points else 1) * (focal - ce)
    assert row["difference"] == pytest.approx(difference) and row["verdict"] != "undecided"
    assert row["verdict"] == ("worse" if metric.higher_is_better else "better")
    gap = f"{difference:+.{metric.digits}f}".replace("-", "−")
    unit = " points" if metric.in_points else ""
    assert (
        f"focal gamma=3 is {row['verdict']} than ce: {gap}{unit} of {metric.words} (95 %" in words
    )
    assert "mse against ce is undecided: they cannot be compared, " in words
    assert f"since one or both have no {metric.words}." in words
    assert comparisons["mse"]["n"] == 0

    final = report.figures["final"].draw().axes[0]
    assert final.get_xlabel() == metric.label
    marks = [line for line in final.lines if str(line.get_gid()).startswith("mean|")]
    drawn = [float(line.get_xdata()[0]) for line in marks]
    best_first = sorted([ce, focal], reverse=metric.higher_is_better)
    np.testing.assert_allclose(drawn, [metric.scale * value for value in best_first])
    assert "Without mse, whose runs have none." in words
    unit = " (percentage points)" if metric.in_points else ""
    assert report.figures["contrasts"].draw().axes[0].get_xlabel() == f"difference{unit}"

    (entry,) = [
        comparison
        for comparison in verdicts.document([section], {})["contrasts"]
        if comparison["view"] == "best" and comparison["a"] == "focal gamma=3"
    ]
    assert entry["metric"] == metric.typed and entry["difference"] == pytest.approx(difference)
    if name != "test_accuracy":
        table = report.tables["metric"]
        by_loss = {row[0].value: dict(zip(table.keys, row, strict=True)) for row in table.rows}
        assert metric.label in table.headings
        assert by_loss["ce"][metric.key].value == pytest.approx(metric.scale * ce)
        assert by_loss["ce"][f"{metric.key}_low"].value < metric.scale * ce
        assert by_loss["mse"][metric.key] == Cell("n/a", None)
        assert ("higher" if metric.higher_is_better else "lower") + " is better." in table.caption


@pytest.mark.slow
def test_the_margin_of_a_class_is_two_of_its_examples() -> None:
    section, _, words = judged_by("test_accuracy_3", {"ce": 0.95, "focal gamma=3": 0.95})
    assert section.test_size == 50  # of 500
    assert set(section.headline["margin"]) == {4.0} and set(section.headline["verdict"]) == {
        "equivalent"
    }
    assert "within ±4 points, which is two test examples of 50 of this class." in words
    whole, _, _ = judged_by("test_accuracy", {"ce": 0.95, "focal gamma=3": 0.95})
    assert whole.test_size == 500 and set(whole.headline["margin"]) == {0.4}


def test_no_margin_that_happens_to_be_like_one_image_is_called_one() -> None:
    summary, curves = measured(*runs(seeds=range(3), rates=(0.03,)))
    summary["train_accuracy_flipped"] = 0.1
    question = Question(metric="train_accuracy_flipped", margin=0.2)  # one of 500 is 0.2 points
    (section,) = analysis.sections(summary, curves, question, predictions)
    assert set(section.headline["margin"]) == {0.2} and "one test example" not in basis(section)


def test_a_metric_that_no_run_has_is_said_aloud() -> None:
    summary, curves = runs(seeds=range(2))
    (section,), report, html, _ = make_page(summary, curves, Question(metric="corrupted_accuracy"))
    note = (
        "No run of this setting recorded its accuracy on corrupted test images, so nothing is "
        "decided here: only runs with corruptions=true have it."
    )
    assert section.notes == [note] and note in text(html)
    assert set(section.headline["verdict"]) == {"undecided"} and "final" not in report.figures


def test_every_choice_can_be_typed_and_the_list_names_them_all() -> None:
    listing = metrics.described()
    choices = metrics.choices()
    assert choices.startswith("test/accuracy, test/nll, ")
    kinds = "{" + ",".join(corruption_module.CORRUPTIONS) + "}"
    listed = [
        *re.sub(r", (corrupted/accuracy_{[^}]*}|test/accuracy_CLASS)", "", choices).split(", ")
    ]
    listed += [f"corrupted/accuracy_{kind}" for kind in corruption_module.CORRUPTIONS]
    assert "test/accuracy_CLASS" in choices and f"corrupted/accuracy_{kinds}" in choices
    assert sorted(listed) == sorted(metric.typed for metric in OFFERED.values())
    for metric in OFFERED.values():
        if f"{metric.typed} " in listing:
            direction = "higher" if metric.higher_is_better else "lower"
            assert f"{metric.label}: {direction} is better" in listing
    one_class = (
        "test/accuracy_CLASS       test accuracy on one class (0, 1, ...) (%): higher is better"
    )
    assert f"\n{one_class}\n" in listing  # of every run, with or without corruptions
    assert listing.count("is better") == len(choices.split(", "))
