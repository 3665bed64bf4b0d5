"""The losses across data sets: from runs to the answer, its file and its page."""

from __future__ import annotations

import copy
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.pages import source, text
from helpers.synthetic_runs import over, predictions

from reports import across, analysis
from reports.across import Across
from reports.figures import palette
from reports.page import across as page_across
from reports.page import render
from reports.page import report as page_report
from reports.page import table as page_table
from reports.question import Question, QuestionError
from reports.stats.across import scores

DATA = [f"data{i:02d}" for i in range(12)]


def one(data: str, loss: str, seed: int, lr: float = 0.1, **changes: Any) -> dict[str, Any]:
    usual = {"data": data, "loss": loss, "seed": seed, "lr": lr, "epochs": 2, "outcome": "ok"}
    usual |= {"val_accuracy": 0.5, "test_accuracy": 0.5, "test_nll": 1.0}
    return usual | {"run_id": f"{data}{loss}{seed}{lr}"} | changes


def test_the_value_of_a_loss_is_its_mean_at_its_best_rate_with_diverged_runs_as_assigned() -> None:
    summary = pd.DataFrame(
        [
            one("x", "ce", 0, val_accuracy=0.9, test_accuracy=0.8),
            one("x", "ce", 1, val_accuracy=0.9, test_accuracy=0.6),
            one("x", "ce", 0, 0.3, val_accuracy=0.8, test_accuracy=1.0),
            one("x", "ce", 1, 0.3, val_accuracy=0.8, test_accuracy=1.0),
            one("x", "mse", 0, test_accuracy=0.9),
            one("x", "mse", 1, outcome="diverged", test_accuracy=math.nan, test_nll=math.nan),
            one("x", "dead", 0, outcome="failed"),
            one("x", "number", 0, test_nll=math.nan),
            one("x", "ce", 0, epochs=5, test_accuracy=1.0),
            one("y", "ce", 0, test_accuracy=0.7),
        ]
    )
    how: dict[str, Any] = {"unit": "data", "diverged": {"x": 0.1}}
    values = scores(summary, metric="test_accuracy", **how).set_index(["unit", "loss"])
    assert values["value"].to_dict() == pytest.approx(
        {("x", "ce"): 0.7, ("x", "mse"): 0.5, ("x", "number"): 0.5, ("y", "ce"): 0.7}
    )
    assert values.loc[("x", "ce"), "lr"] == 0.1 and set(values["epochs"]) == {2}
    assert values.loc[("x", "mse"), ["seeds", "diverged"]].tolist() == [2, 1]
    nll = scores(summary, metric="test_nll", **(how | {"diverged": {}})).set_index(["unit", "loss"])
    assert nll["value"].to_dict() == {("x", "ce"): 1, ("x", "mse"): math.inf, ("y", "ce"): 1}
    here = summary[(summary["data"] == "x") & (summary["epochs"] == 2)]
    apart = scores(here, metric="test_accuracy", tuning_seeds=[0], **how).set_index("loss")
    assert apart["value"].to_dict() == {"ce": 0.6, "mse": 0.1}  # of seed 1 alone


def test_data_sets_without_a_length_in_common_have_their_own_longest() -> None:
    summary = pd.DataFrame(
        [one("x", "ce", 0), one("x", "ce", 0, epochs=4), one("y", "ce", 0, epochs=3)]
    )
    values = scores(summary, unit="data", metric="test_accuracy", diverged={})
    assert dict(zip(values["unit"], values["epochs"], strict=True)) == {"x": 4, "y": 3}


def over_data(**how: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    return over("data", DATA[:7], **({"rates": (0.1,), "seeds": range(2), "drop": 0.02} | how))


def light_sections(summary: pd.DataFrame) -> Any:
    """What the answer needs of sections, which take long to make."""
    return [
        SimpleNamespace(runs=own, title=f"the setting {place}", diverged_as=0.1)
        for place, (_, own) in enumerate(summary.groupby("setting"))
    ]


def answer(summary: pd.DataFrame, **options: Any) -> Across:
    return across.across(light_sections(summary), "data", Question(**options))


def test_settings_that_differ_in_something_else_are_refused_by_name() -> None:
    summary, _ = over_data()
    assert answer(summary).units == 7
    other = summary.assign(batch_size=np.where(summary["data"] == "data01", 50, 100))
    with pytest.raises(QuestionError, match=r"differ in batch_size \(100, 50\).*where.batch_size="):
        answer(other)
    noisy = summary.assign(**{"data.label_noise": np.where(summary["data"] == "data01", 0.2, 0)})
    with pytest.raises(QuestionError, match=r"data.label_noise \(0, 0.2\).*where.data.label_noise"):
        answer(noisy)
    sizes = summary.assign(**{"data.validation_size": summary["data"].map(DATA.index)})
    assert answer(sizes).units == 7
    with pytest.raises(QuestionError, match=r"expected runs of several data sets.*got data03"):
        answer(summary[summary["data"] == "data03"])


def test_models_may_differ_in_values_that_only_some_have() -> None:
    summary, _ = over("model", DATA[:6], rates=(0.1,), seeds=range(1), drop=0.02)
    some = summary["model"].isin(DATA[:2])
    summary["model.hidden"] = np.where(some, 64, np.nan)
    result = across.across(light_sections(summary), "model", Question())
    assert result.units == 6 and "over 6 models" in across.basis(result)
    summary.loc[summary["model"] == DATA[1], "model.hidden"] = 128
    with pytest.raises(QuestionError, match=r"model.hidden \(128, 64\).*where.model.hidden=128"):
        across.across(light_sections(summary), "model", Question())


def test_two_settings_of_one_data_set_are_refused_by_name() -> None:
    summary, _ = over_data()
    twice = summary.copy()
    twice.loc[twice["data"] == "data01", ["data", "data_digest"]] = ["data00", "b"]
    with pytest.raises(QuestionError, match=r"several settings of data00: .*sweep=NAME_OR_ID"):
        answer(twice.fillna({"data_digest": "a"}))
    twice["data.train_size"] = twice.pop("data_digest").map({"b": 500})
    with pytest.raises(
        QuestionError, match=r"data.train_size \(null, 500\).*where.data.train_size=500"
    ):
        answer(twice)


def test_advice_names_what_is_left_out_and_how_many_are_needed() -> None:
    summary, _ = over_data()
    result = answer(summary)
    assert result.comparison.tested and across.advice(result) == []
    less = summary[(summary["data"] != "data02") | (summary["loss"] != "mse")]
    (first, second) = across.advice(answer(less))
    assert first == "data02 is left out for all losses, since it has no result of mse."
    assert second == (
        "With 6 data sets and 2 comparisons no difference, however large, can reach significance; "
        "7 data sets can."
    )
    fewer = less[less["data"] != "data03"]
    result = answer(fewer)
    assert not result.comparison.tested
    assert across.advice(result)[1].startswith(
        "Nothing is tested: 5 data sets with a result of every loss are too few, at least 6 are"
    )
    assert page_across.diagram(result, palette.looks(["ce", "focal gamma=3", "mse"])) is None


def test_sentences_say_no_more_than_the_verdict() -> None:
    result = answer(over_data()[0])
    rows = result.comparison.contrasts.to_dict("records")
    first = across.sentence(result, rows[0])
    assert first.startswith(
        "focal gamma=3 is better than ce over 7 data sets: estimated difference"
    )
    assert "better on 7, worse on 0; Wilcoxon p = 0.016, Holm p = 0.031)." in first
    undecided = across.sentence(result, rows[0] | {"verdict": "undecided"})
    assert undecided.startswith("focal gamma=3 against ce is undecided over 7 data sets")
    equal = across.sentence(result, rows[0] | {"verdict": "equivalent", "p_equivalence_holm": 0.01})
    assert "is equivalent to ce within ±0.1 points over 7 data sets" in equal
    assert across.posterior(result, rows[0]).endswith("0.00 that it is worse.")
    assert "F = " in across.basis(result) and "7 data sets" in across.basis(result)


def test_what_the_file_says_can_be_derived_again_and_a_changed_number_is_named() -> None:
    summary, _ = over_data(seeds=range(3))
    lost = (summary["data"] == "data04") & (summary["loss"] == "mse") & (summary["seed"] == 1)
    summary.loc[lost, ["outcome", "test_accuracy"]] = ["diverged", math.nan]
    result = answer(summary, margin=0.5)
    assert result.scores["diverged"].sum() == 1
    content = {
        "across": across.document(result),
        "question": {"metric": "test/accuracy", "margin": 0.5, "tuning_seeds": None, "seed": 0},
        "settings": [
            {
                "diverged_as": section.diverged_as,
                "tuned": {},
                "runs": {loss: list(own["run_id"]) for loss, own in section.runs.groupby("loss")},
            }
            for section in light_sections(summary)
        ],
    }
    content = json.loads(json.dumps(content, allow_nan=False))
    assert across.check(content, summary) == []
    changed = copy.deepcopy(content)
    changed["across"]["contrasts"][0]["p"] = 0.5
    (line,) = across.check(changed, summary)
    assert "focal gamma=3" in line and "p was 0.5, is 0.0" in line
    changed = copy.deepcopy(content)
    changed["across"]["average_ranks"]["ce"] = 1.0
    (line,) = across.check(changed, summary)
    assert line.startswith("across data: average_ranks was")
    (line,) = across.check(content, summary[summary["loss"] != "ce"])
    assert "no run has a result of 'ce'" in line


def test_the_page_begins_with_the_answer_and_has_each_data_set_folded() -> None:
    summary, curves = over_data(seeds=range(1))
    summary = summary[(summary["data"] != "data05") | (summary["loss"] != "mse")]
    summary.loc[summary["data"].isin(DATA[:2]) & (summary["loss"] == "ce"), "outcome"] = "diverged"
    some = summary["data"].isin(DATA[1:4]) & (summary["loss"] != "mse")
    warnings = {"warnings": "one-class", "warning_texts": "it predicts 3"}
    summary.loc[some, list(warnings)] = list(warnings.values())
    sections = analysis.sections(
        summary, curves, Question(), lambda run_id: predictions(run_id[1:])
    )
    result = across.across(sections, "data", Question())
    with palette.style():
        whole = page_report.report(
            sections, source(overrides=("across=data",)), lambda _: "none", across=result
        )
        markdown = render.to_markdown(whole.page)
        words = text(render.to_html(whole.page))
    first, second, *_ = whole.page.parts
    assert (first.title, second.title) == ("Across data sets", "Each data set on its own")
    labels = {fact.label: fact.id for fact in whole.page.top.values["labels"]}
    assert labels["2 diverged of 20 runs"] == "setting-1-caveat-runs-0"
    assert labels["one class in 6 runs (3 data sets)"] == "setting-2-check-one-class-0"
    assert labels["only one seed (7 data sets)"] == "setting-1-caveat-seeds-1"
    assert words.count("Margin of equivalence: ±0.4 points (two test examples of 500).") == 7
    for row in result.comparison.contrasts.to_dict("records"):
        assert across.sentence(result, row) in words and across.posterior(result, row) in words
    assert {"across", "across-contrasts", "setting-7-losses"} <= set(whole.tables)
    leading = whole.page.top.values["table"]
    ranks = [(row[0].value, row[1].text, row[2].text) for row in leading.rows]
    assert [loss for loss, _, _ in ranks] == ["mse", "focal gamma=3", "ce"]
    assert [rank for _, rank, _ in ranks] == ["1.00", "2.00", "3.00"]
    verdicts = result.comparison.contrasts.set_index("a")["verdict"].to_dict()
    assert {loss: verdict for loss, _, verdict in ranks} == verdicts | {"ce": "reference"}
    assert set(whole.figures) == {"across-ranks"}
    assert "The commands that run what is missing" in words
    assert all(part.folded for part in second.parts)
    assert [part.title.split(":")[0] for part in second.parts] == DATA[:7]
    assert "generate report where.data=data03" in markdown
    assert "data05 is left out for all losses, since it has no result of mse." in words
    assert "run.py -m loss=mse lr=0.1" in markdown
    picture = first.values["figure"]
    assert "Average ranks: mse 1.00, focal gamma=3 2.00, ce 3.00." in picture.alt
    assert (
        "Critical difference: 1.35. Joined: mse, focal gamma=3; focal gamma=3, ce." in picture.alt
    )
    csv = page_table.to_csv(whole.tables["across"]).splitlines()
    assert csv[0] == "data,ce,focal gamma=3,mse" and len(csv) == 1 + 7 + 1
    assert r"\begin{tabular}" in page_table.to_latex(whole.tables["across-contrasts"])


def test_the_diagram_shows_every_rank_the_difference_and_the_groups() -> None:
    result = answer(over_data()[0])
    looks = palette.looks(["ce", "focal gamma=3", "mse"])
    with palette.style():
        made_figure = page_across.diagram(result, looks)
    assert made_figure is not None
    (axis,) = made_figure.draw().axes
    lines = {line.get_gid(): line for line in axis.lines if line.get_gid()}
    assert sum(str(line.get_gid()).startswith("mean|") for line in axis.lines) == 3
    assert sum(line.get_gid() == "group" for line in axis.lines) == len(result.comparison.groups)
    start, end = lines["difference"].get_xdata()
    assert end - start == pytest.approx(result.comparison.critical_difference)
    words = [text.get_text() for text in axis.texts]
    assert any("mse" in word and "1.00" in word for word in words)
