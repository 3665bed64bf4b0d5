"""Pages of unusual runs: few, failed, diverged, of several settings or lengths."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.marks import with_slow
from helpers.pages import make_page, text
from helpers.synthetic_runs import over, predictions, runs
from matplotlib.text import Text

from reports import printing, sentences, verdicts
from reports.analysis import headline_epochs
from reports.page import table as page_table
from reports.question import Question, QuestionError


def test_one_seed_is_all_undecided_without_intervals() -> None:
    (section,), _, html, _ = make_page(*runs(seeds=[3]))
    assert set(section.headline["verdict"]) == {"undecided"}
    words = text(html)
    assert words.count("is undecided (one seed):") == 2 and "no interval" in words
    assert "it compares two networks, not two losses, so every verdict is undecided" in words
    assert "without a confidence band (n = 1)" in words
    assert not re.search(r"\d \[", words)  # no number has an interval in brackets
    assert "lr=0.01,0.03,0.1 epochs=3 'seed=range(3,13)'" in words  # ten, at every rate


def test_one_loss_has_nothing_to_be_compared_with() -> None:
    (section,), report, html, _ = make_page(*runs(["ce"]))
    assert not len(section.headline)
    assert "Only ce was run here: there is nothing to compare it with." in text(html)
    assert "contrasts" not in report.figures


def test_runs_that_all_failed_make_an_honest_page() -> None:
    summary, curves = runs()
    summary["outcome"] = "failed"
    metrics = [name for name in summary if name.startswith(("test_", "val_"))]
    summary[metrics] = np.nan
    (section,), report, html, _ = make_page(summary, curves.iloc[:0])
    words = text(html)
    assert "there is nothing to compare" in words
    assert "0 of 90 runs ended well; 0 diverged; 90 failed; 0 killed; 0 missing." in words
    assert report.figures == {}
    assert set(section.headline["verdict"]) == {"undecided"}


def test_a_loss_of_which_nothing_ended_well_says_why_it_is_undecided() -> None:
    summary, curves = runs(seeds=range(2), rates=(0.03,))
    gone = summary["loss"] == "mse"
    summary.loc[gone, "outcome"] = "failed"
    summary.loc[gone, ["val_accuracy", "test_accuracy"]] = np.nan
    (section,), _, html, _ = make_page(summary, curves)
    undecided = (
        "mse against ce is undecided: they cannot be compared, since one or both have no test "
        "accuracy (all 2 runs of mse failed)."
    )
    assert undecided in text(html)
    comparisons = verdicts.document([section], {})["contrasts"]
    at_rate = undecided.replace("of mse", "of mse at learning rate 0.03")
    assert [comparison["sentence"] for comparison in comparisons if comparison["a"] == "mse"] == [
        undecided,
        at_rate,
    ]
    (item,) = re.findall(
        r"<p><span[^>]*>undecided</span> mse against ce.*?</li>", html, flags=re.DOTALL
    )
    assert "loss=mse,ce lr=0.03 epochs=3" in item  # runs what failed again


@pytest.mark.parametrize(
    ("losses", "seeds", "outcome", "of", "kept", "metric"),
    with_slow(
        [
            (
                ("ce", "focal gamma=3", "mse"),
                range(10),
                "diverged",
                "loss == 'mse'",
                "",
                "test_accuracy",
            ),
            (("ce", "mse"), range(6), "ok", "", "(loss == 'ce') == (seed < 3)", "test_accuracy"),
        ],
        [
            (("ce", "mse"), range(10), "failed", "loss == 'mse'", "", "test_accuracy"),
            (("ce", "mse"), range(3), "diverged", "loss in ['ce', 'mse']", "", "test_accuracy"),
            (
                ("ce", "focal gamma=3"),
                range(5),
                "diverged",
                "loss == 'ce' and seed < 4",
                "",
                "test_nll",
            ),
            (("ce", "mse"), [0], "ok", "", "", "test_accuracy"),
            (("ce",), range(3), "ok", "", "", "test_accuracy"),
            (("ce", "mse"), range(2), "ok", "", "(loss == 'ce') == (seed < 1)", "test_nll"),
            (("ce", "mse"), range(4), "ok", "", "loss == 'ce' or lr < 0.02", "test_accuracy"),
        ],
    ),
)
def test_no_text_says_nan_inf_or_none(
    losses: tuple[str, ...],
    seeds: Any,
    outcome: str,
    of: str,
    kept: str,
    metric: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary, curves = runs(losses, seeds=seeds)
    if of:
        gone = summary.eval(of)
        summary.loc[gone, "outcome"] = outcome
        summary.loc[gone, [name for name in summary if name.startswith(("test_", "val_"))]] = np.nan
    summary = summary.query(kept).reset_index(drop=True) if kept else summary
    curves = curves[curves["run_id"].isin(summary["run_id"])]
    sections, report, html, markdown = make_page(summary, curves, Question(metric=metric))
    texts = [
        text(html),
        markdown,
        *(page_table.to_latex(table) for table in report.tables.values()),
    ]
    rows = sections[0].contrasts.to_dict("records")
    texts += [words for row in rows for words in (sentences.sentence(row), sentences.needed(row))]
    quick = report.figures.keys() & {"final", "contrasts", "epochs"}
    drawn = [report.figures[name].draw() for name in sorted(quick)]
    texts += [each.get_text() for figure in drawn for each in figure.findobj(Text)]
    printing.print_verdicts(sections)
    texts.append(capsys.readouterr().out)
    assert not [words for words in texts if re.search(r"\b(nan|NaN|inf|None)\b", words)]
    if outcome == "failed":
        assert "mse seeds 0 to 9 (no rate)" in text(html)
    elif of == "loss == 'mse'":
        assert "10 of 10 runs of mse diverged" in text(html)


def test_tuning_seeds_that_cannot_be_say_of_which_setting_and_length() -> None:
    with pytest.raises(QuestionError) as error:
        make_page(*runs(seeds=[0], setting="digits, lenet5"), Question(tuning_seeds=(0,)))
    assert str(error.value) == (
        "tuning_seeds [0] leave none to evaluate: the runs of 3 epochs have the seeds [0], in the "
        "setting digits, lenet5"
    )


@pytest.mark.slow
def test_without_a_second_rate_there_are_no_figures_of_rates_and_their_table_stays() -> None:
    one = make_page(*runs(seeds=range(2), rates=(0.03,)))[1]
    assert not {"learning-rates", "heat-map"} & one.figures.keys()
    assert [row[1].value for row in one.tables["rates"].rows] == [0.03] * 3
    summary, curves = runs(seeds=range(2))
    at_own_rate = summary["lr"] == summary["loss"].map(
        {"ce": 0.01, "focal gamma=3": 0.03, "mse": 0.1}
    )
    each = make_page(summary[at_own_rate], curves)  # each loss at a rate of its own
    assert not {"learning-rates", "heat-map"} & each[1].figures.keys()
    assert "Learning rates" in text(each[2]) and "rates" in each[1].tables
    assert {"learning-rates", "heat-map"} <= make_page(summary, curves)[1].figures.keys()


def test_settings_are_never_pooled() -> None:
    one, curves = runs(seeds=range(3))
    other, more = runs(seeds=range(3), setting="digits, convnet")
    other["run_id"] = "b" + other["run_id"]
    more["run_id"] = "b" + more["run_id"]
    both, every = (
        pd.concat([one, other], ignore_index=True),
        pd.concat([curves, more], ignore_index=True),
    )
    sections, report, html, _ = make_page(
        both, every, read_predictions=lambda run_id: predictions(run_id[-7:])
    )
    assert [len(section.runs) for section in sections] == [27, 27]
    words = text(html)
    assert "Setting 1 of 2: Digits, convnet" in words and "Setting 2 of 2: Digits, mlp" in words
    assert [part.folded for part in report.page.parts[:2]] == [False, True]
    assert {"setting-1-accuracy", "setting-2-accuracy"} <= set(report.figures)


def test_the_title_is_about_the_settings_that_compare_losses() -> None:
    one, curves = runs(seeds=range(3))
    other, more = runs(seeds=range(3), setting="digits, convnet")
    other, more = (frame[frame["loss"] == "mse"].copy() for frame in (other, more))
    other["run_id"], more["run_id"] = "b" + other["run_id"], "b" + more["run_id"]
    both, every = pd.concat([one, other], ignore_index=True), pd.concat([curves, more])
    html = make_page(both, every, read_predictions=lambda run_id: predictions(run_id[-7:]))[2]
    title = (
        "In 1 of 2 settings, compared with cross-entropy (ce) by test accuracy: focal gamma=3 is "
    )
    assert f"<h1>{title}" in html


def test_what_diverged_is_counted_over_all_settings() -> None:
    summary, curves = over("data.label_noise", [0, 0.2], losses=("ce", "mse"), rates=(0.03,))
    clean = summary["data.label_noise"] == 0
    lost = (summary["loss"] == "mse") & (summary["seed"] >= 4 * clean)
    summary.loc[lost, "outcome"] = "diverged"
    summary.loc[lost, ["val_accuracy", "test_accuracy"]] = np.nan
    summary["processor"], summary["kernel"] = "p", np.where(summary["loss"] == "ce", "a", "b")
    _, report, _, _ = make_page(summary, curves, read_predictions=lambda run_id: None)
    labels = [fact.label for fact in report.page.top.values["labels"]]
    assert labels == [
        "16 diverged of 40 runs",
        "one learning rate only (2 settings)",
        "several kernels (2 settings)",
    ]
    assert report.page.title == (
        "In 2 settings, compared with cross-entropy (ce) by test accuracy: mean squared error "
        "(mse) is worse in 1, undecided in 1."
    )
    rows = [[cell.text for cell in row] for row in report.tables["verdicts"].rows]
    assert [row[1:] for row in rows] == [
        ["undecided, 91.66", "reference, 91.40"],
        ["worse, diverged", "reference, 81.40"],
    ]


def test_losses_that_were_run_for_other_lengths_are_compared_there() -> None:
    summary, curves = runs(epochs=(2, 3), seeds=range(8))
    summary = summary[(summary["epochs"] == 2) | (summary["loss"] != "mse")]
    (section,), report, html, _ = make_page(
        summary,
        curves,
        overrides=["experiment=x"],
        sweeps=[("id1", "one\n$(sweep)"), ("id2", "other")],
    )
    assert section.shown == ["ce", "focal gamma=3"] and section.lengths == [3, 2]
    words = text(html)
    assert "Not run for 3 epochs, and so not compared there: mse." in words
    assert "generate report experiment=x where.epochs=2" in words
    assert [row[0].value for row in report.tables["losses"].rows] == ["focal gamma=3", "ce"]
    pairs = [(row[1].value, row[3].value) for row in report.tables["contrasts"].rows]
    assert pairs == [("focal gamma=3", 3), ("focal gamma=3", 2), ("mse", 2)]
    assert "mse is better than ce" in words
    assert "These runs are of 2 sweeps" in words
    assert "generate report experiment=x sweep=id1 # one $(sweep)" in words


def test_a_length_that_only_one_loss_has_is_not_the_headline() -> None:
    summary, curves = runs(("ce", "mse", "focal"), epochs=(2, 3), seeds=range(8))
    only = summary[(summary["epochs"] == 2) | (summary["loss"] == "mse")]
    (section,), _, html, _ = make_page(only, curves, overrides=["experiment=x"])
    assert section.epochs == 2 and section.lengths == [2, 3]
    assert section.headline["a"].tolist() == ["focal", "mse"]
    words = text(html)
    note = "After 3 epochs the question compares no two losses, so the answer is about 2 epochs."
    assert note in words
    # Without the reference, two losses at 3 epochs are compared only if all pairs are.
    without = summary[(summary["epochs"] == 2) | (summary["loss"] != "ce")]
    lengths = {
        question: headline_epochs(without, "ce", question)
        for question in (Question(), Question(all_pairs=True), Question(subjects=("mse",)))
    }
    assert list(lengths.values()) == [2, 3, 3]
    failed = summary.assign(outcome=np.where(summary["epochs"] == 3, "failed", "ok"))
    assert headline_epochs(failed, "ce", Question()) == 2
    alone = summary[summary["loss"] == "ce"]
    assert headline_epochs(alone, "ce", Question()) == 3
    assert headline_epochs(alone.iloc[:0], "ce", Question()) == 0


def test_a_metric_that_a_head_does_not_have() -> None:
    (section,), _, html, _ = make_page(*runs(), Question(metric="test_nll"))
    assert (
        "mse against ce is undecided: they cannot be compared, since one or both have no test NLL."
        in text(html)
    )
    assert section.headline.set_index("a").loc["focal gamma=3", "family"] == 1
    (mse,) = re.findall(
        r"<p><span[^>]*>undecided</span> mse against ce.*?</li>", html, flags=re.DOTALL
    )
    assert "<details>" not in mse  # no number of seeds would give it one
    assert "Test NLL after the last epoch" in text(html)


def test_a_loss_that_diverges_is_worse_and_the_page_says_how_often() -> None:
    summary, curves = runs(("ce", "focal", "mse"), rates=(0.03,), seeds=range(10))
    lost = (summary["loss"] == "mse") | ((summary["loss"] == "focal") & (summary["seed"] > 5))
    summary.loc[lost, "outcome"] = "diverged"
    summary.loc[lost, [name for name in summary if name.startswith(("test_", "val_"))]] = np.nan
    (section,), report, html, _ = make_page(summary, curves)
    answer = report.tables["answer"].for_people
    assert [[row[0].value, row[1].text[:9], row[-1].text] for row in answer.rows] == [
        ["focal", "91.69 [91", "6, 4 diverged"],
        ["ce", "91.40 [91", "10"],
        ["mse", "diverged", "0, 10 diverged"],
    ]
    assert report.figures["accuracy"].caption.endswith(" Without mse: no run ended well.")
    assert section.diverged_as == 0.1  # a tenth of the labels
    rows = section.headline.set_index("a")
    assert rows["n"].tolist() == [10, 10] and rows["diverged_a"].tolist() == [4, 10]
    assert rows.loc["mse", "verdict"] == "worse"
    assert rows.loc["focal", "reason"] == "not to be trusted"  # the exact test does not agree
    assert rows.loc["focal", "survivors_n"] == 6
    words = text(html)
    assert "10 of 10 runs of mse diverged and count with the accuracy of the best" in words
    assert "4 of 10 runs of focal diverged" in words and "Without them: +0.3" in words
    assert not re.search(r"\bnan\b", words)
    content = json.loads(verdicts.write(verdicts.document([section], {})))
    assert content["settings"][0]["diverged_as"] == 0.1
    counted = {comparison["a"]: comparison["diverged_a"] for comparison in content["contrasts"]}
    assert counted == {"focal": 4, "mse": 10}
    assert verdicts.check(content, summary) == []
    (section,), _, html, _ = make_page(summary, curves, Question(metric="test_nll"))
    rows = section.headline.set_index("a")
    assert rows["interval"].tolist() == ["ranks", "ranks"] and "by ranks" in text(html)
    assert rows.loc["mse", "verdict"] == "worse" and not re.search(r"\bnan\b", text(html))
