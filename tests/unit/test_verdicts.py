"""Verdicts in words, and in verdicts.json, from which they can be derived again."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from helpers.pages import make_page, text
from helpers.synthetic_runs import predictions, runs

from reports import analysis, sentences, texts, verdicts
from reports.metrics import read_metric
from reports.question import Question
from reports.stats.contrast import IMAGES as ONE_SEED
from reports.texts import say


def test_verdicts_are_not_called_the_others_where_none_stands_above() -> None:
    losses = ("ce", "mse", *(f"focal gamma={gamma}" for gamma in range(8)))
    (section,), _, html, _ = make_page(*runs(losses, rates=(0.1,), seeds=range(5)))
    undecided = (section.headline["verdict"] == "undecided").sum()
    assert (undecided, len(section.headline)) == (0, 9)
    assert "The 9 verdicts one by one" in text(html)


def test_the_answer_of_several_settings_counts_the_verdicts_of_each_loss() -> None:
    def answer(*rows: tuple[str, str]) -> SimpleNamespace:
        return SimpleNamespace(
            rows=[{"a": a, "verdict": verdict} for a, verdict in rows],
            reference="ce",
            metric=read_metric("test_accuracy"),
        )

    few = [answer(("mse", "better"), ("x", "worse")), answer(("mse", "undecided"), ("x", "worse"))]
    assert say("answer", few).endswith(" is better in 1, undecided in 1; x is worse in 2.")
    many = [answer(*((loss, "better" if loss < "c" else "worse") for loss in "abcd"))] * 2
    assert say("answer", many).endswith(" (ce) by test accuracy: 4 better, 4 worse.")


ROW: dict[str, Any] = {
    **{"a": "focal", "b": "ce", "metric": "test_accuracy", "unit": "points"},
    **{"n": 10, "n_a": 10, "n_b": 10, "planned_n": 10, "paired": True, "interval": "two-way"},
    **{"difference": 0.21, "low": 0.05, "high": 0.37, "p_holm": 0.012, "margin": 0.1, "family": 3},
    **{"generalises": "new seeds and new examples", "at_these_rates": False, "outliers": []},
    **{"detectable": 0.3, "seeds_needed": math.nan, "reason": "too few seeds", "p_better": 0.8},
    **{"diverged_a": 0, "diverged_b": 0, "failed_a": 0, "failed_b": 0, "survivors_n": 0},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"verdict": "better"},
            "focal is better than ce: +0.21 points of test accuracy (95 % interval +0.05 to "
            "+0.37, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "better", "generalises": "new seeds, on this test set"}
            | {"at_these_rates": True},
            "focal is better than ce at these learning rates: +0.21 points of test accuracy (95 % "
            "interval +0.05 to +0.37 on this test set, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "equivalent", "difference": 0.0, "low": -0.02, "high": 0.02},
            "focal is equivalent to ce within ±0.1 points: +0.00 points of test accuracy (95 % "
            "interval −0.02 to +0.02, 10 pairs of runs).",
        ),
        (
            {"verdict": "undecided", "low": -143.2, "high": 143.6},
            "focal against ce is undecided (too few seeds): +0.21 points of test accuracy (95 % "
            "interval −100.00 to +100.00, 10 pairs of runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "undecided", "paired": False, "n_b": 9},
            "focal against ce is undecided (too few seeds): +0.21 points of test accuracy (95 % "
            "interval +0.05 to +0.37, unpaired, 10 and 9 runs, Holm p = 0.012).",
        ),
        (
            {"verdict": "undecided", "n": 0},
            "focal against ce is undecided: they cannot be compared, since one or both have no "
            "test accuracy.",
        ),
        (
            {"verdict": "undecided", "n": 1, "generalises": ONE_SEED}
            | {"difference": -45.1, "low": -46.1, "high": -44.0},
            "focal against ce is undecided (one seed). These two networks differ on new examples: "
            "−45.10 points of test accuracy (95 % interval −46.10 to −44.00). Whether the losses "
            "differ needs more seeds.",
        ),
        (
            {"verdict": "undecided", "n": 1, "generalises": ONE_SEED, "low": -0.1},
            "focal against ce is undecided (one seed). These two networks do not clearly differ on "
            "new examples: +0.21 points of test accuracy (95 % interval −0.10 to +0.37). Whether "
            "the losses differ needs more seeds.",
        ),
        (
            {"verdict": "undecided", "outliers": ["seed 4 of focal (11.00 %)"]}
            | {"reason": "not to be trusted", "median": 0.3, "trimmed_mean": 0.25},
            "focal against ce is undecided (not to be trusted): +0.21 points of test accuracy (95 "
            "% interval +0.05 to +0.37, 10 pairs of runs, Holm p = 0.012). Outlying: seed 4 of "
            "focal (11.00 %). Robust measures: median +0.30 points, trimmed mean +0.25 points.",
        ),
        (
            {"verdict": "worse", "diverged_a": 4, "failed_b": 1, "survivors_n": 6}
            | {"survivors_difference": 0.5, "survivors_low": 0.1, "survivors_high": 0.9},
            "focal is worse than ce: +0.21 points of test accuracy (95 % interval +0.05 to +0.37, "
            "10 pairs of runs, Holm p = 0.012). 4 of 10 runs of focal diverged and count with the "
            "accuracy of the best constant answer. Without them: +0.50 points (95 % interval "
            "+0.10 to +0.90, 6 pairs). Without a result (failed or killed): 1 run of ce.",
        ),
        (
            {"verdict": "worse", "interval": "ranks", "difference": math.nan, "p_better": 0.0}
            | {"generalises": "new seeds, on this test set", "diverged_a": 10},
            "focal is worse than ce: better test accuracy with probability 0.00 (by ranks on this "
            "test set, 10 pairs of runs, Holm p = 0.012). 10 of 10 runs of focal diverged and "
            "count as worse than every run that ended well.",
        ),
    ],
)
def test_a_verdict_in_words(changes: dict[str, Any], words: str) -> None:
    assert sentences.sentence(ROW | changes) == words


def test_a_p_of_other_rates_than_the_shown_ones_says_so() -> None:
    shown = {"verdict": "undecided", "combinations": 6, "tuned_a": "gamma=2", "tuned_b": ""}
    row = ROW | shown | {"lr_a": 0.1, "lr_b": 0.3, "p_holm": 0.864}
    for weakest, tuned, words in (
        ([0.1, 0.3], ["gamma=2", ""], "0.864)."),
        ([0.1, 1.0], ["gamma=2", ""], "0.864 with ce at 1)."),
        ([0.1, 0.3], ["gamma=3", ""], "0.864 with focal (gamma=3) at 0.1)."),
        ([0.03, 1.0], ["gamma=2", ""], "0.864 with focal (gamma=2) at 0.03 and ce at 1)."),
    ):
        at = {"weakest": weakest, "weakest_tuned": tuned}
        assert sentences.sentence(row | at).endswith(f"10 pairs of runs, Holm p = {words}")


def test_what_it_would_take_in_words() -> None:
    undecided = ROW | {"verdict": "undecided"}
    assert sentences.needed(ROW | {"verdict": "better"}) == ""
    assert sentences.needed(undecided | {"n": 1, "generalises": ONE_SEED}) == ""
    seeds = {"seeds_needed_low": 21.0, "seeds_needed": 34.0, "seeds_needed_high": 75.0}
    assert sentences.needed(undecided | seeds) == (
        "10 seeds can show a difference of 0.3 points or more with 80 % power. About 34 seeds "
        "(quartiles 21 to 75) would decide with 80 % power, by the differences and spreads "
        "that fit these runs."
    )
    assert "About 34 seeds (quartiles 21 to more than 10,000) would" in sentences.needed(
        undecided | seeds | {"seeds_needed_high": math.inf}
    )
    assert "About 34 seeds would" in sentences.needed(undecided | dict.fromkeys(seeds, 34.0))
    assert "up to 10,000" in sentences.needed(undecided | {"seeds_needed": math.inf})
    assert [texts.amount(value, "points") for value in (99.4, 99.6, 720, 1)] == [
        *("99 points", "100 points", "720 points", "1 point")
    ]
    assert sentences.needed(undecided | {"detectable": 720.0}) == (
        "10 seeds can show no difference at all with 80 % power."
    )
    rates = undecided | {"reason": "rates", "weakest": [0.03, 0.1], "weakest_tuned": ["", ""]}
    rates |= {"at_best": "better", "weakest_equivalence": [(0.3, ""), (1.0, "")]}
    assert sentences.needed(rates) == (
        "It is clear at the best learning rates, but not with focal at 0.03 and ce at 0.1. On "
        "validation data these rates do not differ significantly (p > 0.3) from the best."
    )
    assert sentences.needed(rates | {"at_best": "equivalent"}).startswith(
        "It is equivalent at the best learning rates, but not with focal at 0.3 and ce at 1. On "
    )
    assert "not to be trusted" in sentences.needed(undecided | {"reason": "not to be trusted"})


def test_verdicts_can_be_derived_again_and_a_changed_number_is_named() -> None:
    summary, curves = runs()
    sections = analysis.sections(summary, curves, Question(), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {"experiment": "e"})))
    design = {
        *("view", "epochs", "metric", "a", "b", "n", "difference", "low", "high"),
        *("p", "p_holm", "verdict", "run_ids"),
    }
    assert all(design <= set(comparison) for comparison in content["contrasts"])
    assert {comparison["view"] for comparison in content["contrasts"]} == {"best", "equal"}
    assert verdicts.check(content, summary) == []

    more = pd.concat(
        [summary, summary.assign(run_id="x" + summary["run_id"], seed=summary["seed"] + 100)]
    )
    assert verdicts.check(content, more) == []  # runs that came later change no earlier verdict

    changed = json.loads(json.dumps(content))
    changed["contrasts"][0]["difference"] += 1e-3
    changed["contrasts"][1]["verdict"] = "worse"
    broken = verdicts.check(changed, summary)
    assert len(broken) == 2
    assert broken[0].startswith("focal gamma=3 better against ce (best rates, 3 epochs")
    assert "difference was" in broken[0]
    assert "verdict was worse, is better" in broken[1]

    moved = summary.copy()
    moved.loc[moved["loss"] == "mse", "test_accuracy"] += 0.001 * moved["seed"]
    broken = verdicts.check(content, moved)  # of the family, so Holm's p moves, too
    assert broken and all("mse" in line or "p_holm was" in line for line in broken)

    renamed = summary.assign(loss=summary["loss"].where(summary["loss"] != "ce", "ce weight=1"))
    # Other runs in the store may lengthen a label, and change no verdict.
    assert verdicts.check(content, renamed) == []
    swapped = summary.assign(loss_option=summary["loss_option"].replace("mse", "brier"))
    assert any(
        "mse" in line and "can no longer be derived" in line
        for line in verdicts.check(content, swapped)
    )

    gone = verdicts.check(content, summary[summary["loss"] != "mse"])
    assert gone and any(
        "can no longer be derived" in line and "no longer in the store" in line for line in gone
    )


def test_metrics_in_the_file_are_as_typed_and_earlier_files_with_columns_still_hold() -> None:
    summary, curves = runs(seeds=range(3))
    sections = analysis.sections(summary, curves, Question(metric="test_ece_scaled"), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    assert content["question"]["metric"] == "test/ece_scaled"
    assert {comparison["metric"] for comparison in content["contrasts"]} == {"test/ece_scaled"}
    earlier = json.loads(json.dumps(content).replace("test/ece_scaled", "test_ece_scaled"))
    assert earlier["question"]["metric"] == "test_ece_scaled"
    assert verdicts.check(content, summary) == verdicts.check(earlier, summary) == []
    summary["test_ece_scaled"] += 0.001 * summary["seed"] * (summary["loss"] == "ce")
    compared = sum(comparison["n"] > 0 for comparison in content["contrasts"])
    for each in (content, earlier):
        assert len(verdicts.check(each, summary)) == compared


def test_what_has_no_number_is_null_in_the_file() -> None:
    sections = analysis.sections(*runs(seeds=[0]), Question(), predictions)
    content = json.loads(verdicts.write(verdicts.document(sections, {})))
    first = content["contrasts"][0]
    assert first["low"] is None and first["verdict"] == "undecided"
    assert verdicts.check(content, runs(seeds=[0])[0]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected a verdicts.json"),
        ('{"contrasts": []}', "expected a verdicts.json"),
    ],
)
def test_a_file_that_is_no_verdicts(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(text)
    with pytest.raises(verdicts.CheckError, match=message):
        verdicts.read(path)
    with pytest.raises(verdicts.CheckError, match="cannot read"):
        verdicts.read(tmp_path / "none.json")
