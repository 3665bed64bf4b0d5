"""The losses across data sets: ranks, tests and verdicts, against scipy and what was published."""

from __future__ import annotations

import copy
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks import across_data
from helpers.pages import source, text
from helpers.synthetic_runs import over, predictions
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports import across, analysis
from reports.across import Across
from reports.figures import palette
from reports.page import across as page_across
from reports.page import render
from reports.page import report as page_report
from reports.page import table as page_table
from reports.question import Question, QuestionError
from reports.stats import ranks as statistics
from reports.stats.across import Comparison, compare, scores

DATA = [f"data{i:02d}" for i in range(12)]


def frame(values: dict[str, Any], units: list[str] | None = None) -> pd.DataFrame:
    """The values of losses, in the form of `scores`; NaN for a loss without a result."""
    table = pd.DataFrame(values, index=units or DATA[: len(next(iter(values.values())))])
    long = table.rename_axis("unit").melt(var_name="loss", value_name="value", ignore_index=False)
    return long.dropna().reset_index().assign(epochs=1, lr=0.1, seeds=1, diverged=0)


def compared(values: dict[str, Any], **how: Any) -> Comparison:
    return compare(frame(values), **({"reference": "ce", "metric": "test_accuracy"} | how))


# ---- the statistics ------------------------------------------------------------------------------


def test_ranks_tests_and_verdicts_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    ce = rng.uniform(0.6, 0.9, 12)
    values = {
        "ce": ce,
        "worse": ce - np.abs(rng.normal(0.03, 0.01, 12)),
        "better": ce + np.abs(rng.normal(0.02, 0.01, 12)),
        "alike": ce + rng.normal(0, 0.01, 12),
    }
    found = compared(values)
    table = np.stack(list(values.values()), axis=1)
    ranks = stats.rankdata(-table, axis=1)
    assert found.average_ranks[list(values)].tolist() == pytest.approx(ranks.mean(axis=0))
    assert list(found.average_ranks) == sorted(found.average_ranks)

    chi2 = stats.friedmanchisquare(*table.T).statistic
    f = 11 * chi2 / (12 * 3 - chi2)
    assert found.friedman is not None
    assert found.friedman.chi2 == pytest.approx(chi2)
    assert found.friedman.f == pytest.approx(f)
    assert found.friedman.p == pytest.approx(stats.f.sf(f, 3, 33))

    expected = [
        stats.wilcoxon(values[loss] - ce, method="exact").pvalue for loss in found.contrasts["a"]
    ]
    assert found.contrasts["p"].tolist() == pytest.approx(expected)
    _, holm, _, _ = multipletests(expected, method="holm")
    assert found.contrasts["p_holm"].tolist() == pytest.approx(holm)
    verdicts = dict(zip(found.contrasts["a"], found.contrasts["verdict"], strict=True))
    assert verdicts == {"worse": "worse", "better": "better", "alike": "undecided"}
    assert set(found.contrasts["b"]) == {"ce"}


def test_the_example_of_demsar() -> None:
    """14 data sets, C4.5 without and with tuned m: T = 12; k = 4, N = 14: F = 3.69, CD = 1.25."""
    c45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000]
    c45 += [0.940, 0.619, 0.972, 0.957]
    tuned = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000]
    tuned += [0.962, 0.666, 0.981, 0.978]
    difference = np.round(np.array(tuned) - c45, 6)
    ranks = stats.rankdata(np.abs(difference))
    zeros = ranks[difference == 0].sum() / 2
    assert ranks[difference < 0].sum() + zeros == 12 and ranks[difference > 0].sum() + zeros == 93
    p, _ = statistics.signed_rank_p(difference)
    assert p < 0.05
    average = np.array([3.143, 2.000, 2.893, 1.964])
    chi2 = 12 * 14 / (4 * 5) * ((average**2).sum() - 4 * 5**2 / 4)
    assert chi2 == pytest.approx(9.28, abs=0.01)
    assert statistics.iman_davenport(chi2, 14, 4) == pytest.approx(3.69, abs=0.01)
    q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728}  # Table 5 (a)
    for losses, value in q.items():
        scale = math.sqrt(losses * (losses + 1) / (6 * 14))
        assert statistics.critical_difference(losses, 14) / scale == pytest.approx(value, abs=0.001)


@pytest.mark.parametrize(
    "difference", [[1, -1, 2, 2, 0, 3, 1], [0, 0, 1, 1, -1, 4], [-1, -2, -2, -3, 0.5, -4]]
)
def test_ties_and_zeros_are_exact(difference: list[float]) -> None:
    """SciPy's permutation of signs, of which there are so few that it takes all."""
    for side, ours in zip(
        ("two-sided", "greater"), statistics.signed_rank_p(difference), strict=True
    ):
        theirs = stats.wilcoxon(
            np.array(difference, dtype=float),
            zero_method="zsplit",
            alternative=side,
            method=stats.PermutationMethod(n_resamples=200),
        )
        assert ours == pytest.approx(theirs.pvalue)


def test_no_difference_at_all_has_p_1() -> None:
    assert statistics.signed_rank_p(np.zeros(8))[0] == 1
    found = compared({loss: [0.5, 0.6, 0.7, 0.8, 0.9, 0.4] for loss in ("ce", "a", "b")})
    assert found.friedman is not None and found.friedman.p == 1
    assert set(found.contrasts["verdict"]) == {"undecided"}
    assert found.average_ranks.tolist() == [2, 2, 2] and len(found.groups) == 1


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(n: int) -> None:
    difference = np.random.default_rng(n).normal(0.4, 1, n)
    middle, low, high = statistics.pseudomedian(difference)
    pairs = [(x + y) / 2 for i, x in enumerate(difference) for y in difference[i:]]
    assert middle == pytest.approx(np.median(pairs)) and low < middle < high
    for end, inside in ((low, 1e-6), (high, -1e-6)):
        assert statistics.signed_rank_p(difference - end - inside)[0] > 0.05
        assert statistics.signed_rank_p(difference - end + inside)[0] <= 0.05


def test_too_few_differences_have_no_interval() -> None:
    assert all(map(math.isnan, statistics.pseudomedian([1.0, 2.0, 3.0, 4.0, 5.0])[1:]))


def test_the_posterior_of_differences_that_are_all_large() -> None:
    """Better wins unless the imagined data set weighs so much that its square is over a half."""
    up, within, down = statistics.practical([10.0] * 6, 1.0, np.random.default_rng(0))
    expected = stats.beta.cdf(math.sqrt(0.5), 0.5, 6)
    assert up == pytest.approx(expected, abs=0.01)
    assert down == 0 and up + within == pytest.approx(1)
    assert statistics.practical([0.1, -0.2] * 4, 1.0, np.random.default_rng(0)) == (0, 1, 0)


def test_small_differences_are_equivalent_where_there_is_a_margin() -> None:
    rng = np.random.default_rng(0)
    ce = rng.uniform(0.6, 0.9, 10)
    values = {"ce": ce, "near": ce + rng.normal(0, 0.0005, 10), "above": ce + 0.0099}
    found = compared(values, margin=1.0)
    assert found.contrasts["verdict"].tolist() == ["equivalent", "equivalent"]
    assert compared(values).contrasts["verdict"].tolist() == ["better", "undecided"]
    assert compared(values, margin=0.5).contrasts["verdict"].tolist() == ["better", "equivalent"]


def test_where_lower_is_better_the_lower_loss_is() -> None:
    nll = np.linspace(0.1, 0.5, 8)
    found = compared({"ce": nll, "low": nll - 0.05}, metric="test_nll")
    (row,) = found.contrasts.to_dict("records")
    assert row["verdict"] == "better" and row["difference"] == pytest.approx(-0.05)
    assert (row["won"], row["lost"], row["tied"]) == (8, 0, 0)
    assert row["practically_better"] > 0.95
    assert found.average_ranks.to_dict() == {"low": 1, "ce": 2} and found.friedman is None


def test_a_mean_that_diverged_ranks_last_and_two_of_them_are_equal() -> None:
    nll = np.linspace(0.1, 0.5, 8)
    ce, bad = nll.copy(), nll - 0.05
    ce[0] = bad[0] = bad[1] = math.inf
    found = compared({"ce": ce, "bad": bad, "third": nll + 1}, metric="test_nll")
    assert found.ranks.loc["data00"].to_dict() == {"ce": 2.5, "bad": 2.5, "third": 1}
    assert found.ranks.loc["data01", "bad"] == 3
    row = found.contrasts.set_index("a").loc["bad"]
    assert (row["won"], row["tied"], row["lost"]) == (6, 1, 1)
    assert row["difference"] == pytest.approx(-0.05) and math.isinf(row["high"])


def test_data_sets_that_lack_a_loss_are_left_out_for_all_and_few_are_not_tested() -> None:
    a = [0.5, 0.6, 0.7, 0.8, 0.9, 0.4, math.nan]
    found = compared({"ce": np.linspace(0.5, 0.9, 7), "a": a})
    assert found.left_out == {"data06": ["a"]} and len(found.ranks) == 6 and found.tested
    assert list(found.values.index) == DATA[:7]
    few = compared({"ce": np.linspace(0.5, 0.9, 6), "a": a[1:]})
    assert not few.tested and len(few.contrasts) == 0 and math.isnan(few.critical_difference)
    assert few.friedman is None and few.groups == [] and len(few.ranks) == 5
    with pytest.raises(ValueError, match="no run has a result of 'mse'"):
        compared({"ce": [0.5] * 6}, reference="mse")


def test_all_pairs_are_one_family() -> None:
    rng = np.random.default_rng(2)
    found = compared({name: rng.uniform(0, 1, 8) for name in ("ce", "a", "b")}, all_pairs=True)
    pairs = list(zip(found.contrasts["a"], found.contrasts["b"], strict=True))
    assert pairs == [("a", "ce"), ("b", "ce"), ("b", "a")]
    assert set(found.contrasts["family"]) == {3}


# ---- from runs -----------------------------------------------------------------------------------


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
    found = scores(summary, metric="test_accuracy", **how).set_index(["unit", "loss"])
    assert found["value"].to_dict() == pytest.approx(
        {("x", "ce"): 0.7, ("x", "mse"): 0.5, ("x", "number"): 0.5, ("y", "ce"): 0.7}
    )
    assert found.loc[("x", "ce"), "lr"] == 0.1 and set(found["epochs"]) == {2}
    assert found.loc[("x", "mse"), ["seeds", "diverged"]].tolist() == [2, 1]
    nll = scores(summary, metric="test_nll", **(how | {"diverged": {}})).set_index(["unit", "loss"])
    assert nll["value"].to_dict() == {("x", "ce"): 1, ("x", "mse"): math.inf, ("y", "ce"): 1}
    here = summary[(summary["data"] == "x") & (summary["epochs"] == 2)]
    apart = scores(here, metric="test_accuracy", tuning_seeds=[0], **how).set_index("loss")
    assert apart["value"].to_dict() == {"ce": 0.6, "mse": 0.1}  # of seed 1 alone


def test_data_sets_without_a_length_in_common_have_their_own_longest() -> None:
    summary = pd.DataFrame(
        [one("x", "ce", 0), one("x", "ce", 0, epochs=4), one("y", "ce", 0, epochs=3)]
    )
    found = scores(summary, unit="data", metric="test_accuracy", diverged={})
    assert dict(zip(found["unit"], found["epochs"], strict=True)) == {"x": 4, "y": 3}


def over_data(**how: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    return over("data", DATA[:7], **({"rates": (0.1,), "seeds": range(2), "drop": 0.02} | how))


def light_sections(summary: pd.DataFrame) -> Any:
    """What the answer needs of sections, which take long to make."""
    return [
        SimpleNamespace(runs=own, title=f"the setting {place}", diverged_as=0.1)
        for place, (_, own) in enumerate(summary.groupby("setting"))
    ]


def answer(summary: pd.DataFrame, **asked: Any) -> Across:
    return across.across(light_sections(summary), "data", Question(**asked))


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
    found = across.across(light_sections(summary), "model", Question())
    assert found.units == 6 and "over 6 models" in across.basis(found)
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
    found = answer(summary)
    assert found.comparison.tested and across.advice(found) == []
    less = summary[(summary["data"] != "data02") | (summary["loss"] != "mse")]
    (first, second) = across.advice(answer(less))
    assert first == "data02 is left out for all losses, since it has no result of mse."
    assert second == (
        "With 6 data sets and 2 comparisons no difference, however large, can reach significance; "
        "7 data sets can."
    )
    fewer = less[less["data"] != "data03"]
    found = answer(fewer)
    assert not found.comparison.tested
    assert across.advice(found)[1].startswith(
        "Nothing is tested: 5 data sets with a result of every loss are too few, at least 6 are"
    )
    assert page_across.diagram(found, palette.looks(["ce", "focal gamma=3", "mse"])) is None


def test_sentences_say_no_more_than_the_verdict() -> None:
    found = answer(over_data()[0])
    rows = found.comparison.contrasts.to_dict("records")
    first = across.sentence(found, rows[0])
    assert first.startswith(
        "focal gamma=3 is better than ce over 7 data sets: estimated difference"
    )
    assert "better on 7, worse on 0; Wilcoxon p = 0.016, Holm p = 0.031)." in first
    undecided = across.sentence(found, rows[0] | {"verdict": "undecided"})
    assert undecided.startswith("focal gamma=3 against ce is undecided over 7 data sets")
    equal = across.sentence(found, rows[0] | {"verdict": "equivalent", "p_equivalence_holm": 0.01})
    assert "is equivalent to ce within ±0.1 points over 7 data sets" in equal
    assert across.posterior(found, rows[0]).endswith("0.00 that it is worse.")
    assert "F = " in across.basis(found) and "7 data sets" in across.basis(found)


def test_what_the_file_says_can_be_derived_again_and_a_changed_number_is_named() -> None:
    summary, _ = over_data(seeds=range(3))
    lost = (summary["data"] == "data04") & (summary["loss"] == "mse") & (summary["seed"] == 1)
    summary.loc[lost, ["outcome", "test_accuracy"]] = ["diverged", math.nan]
    found = answer(summary, margin=0.5)
    assert found.scores["diverged"].sum() == 1
    content = {
        "across": across.document(found),
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


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_begins_with_the_answer_and_has_each_data_set_folded() -> None:
    summary, curves = over_data(seeds=range(1))
    summary = summary[(summary["data"] != "data05") | (summary["loss"] != "mse")]
    sections = analysis.sections(
        summary, curves, Question(), lambda run_id: predictions(run_id[1:])
    )
    found = across.across(sections, "data", Question())
    with palette.style():
        whole = page_report.report(
            sections, source(overrides=("across=data",)), lambda _: "none", across=found
        )
        markdown = render.to_markdown(whole.page)
        words = text(render.to_html(whole.page))
    first, second, *_ = whole.page.parts
    assert (first.title, second.title) == ("Across data sets", "Each data set on its own")
    for row in found.comparison.contrasts.to_dict("records"):
        assert across.sentence(found, row) in words and across.posterior(found, row) in words
    assert {"across", "across-contrasts", "setting-7-losses"} <= set(whole.tables)
    leading = whole.page.top.values["table"]
    ranks = [(row[0].value, row[1].text, row[2].text) for row in leading.rows]
    assert [loss for loss, _, _ in ranks] == ["mse", "focal gamma=3", "ce"]
    assert [rank for _, rank, _ in ranks] == ["1.00", "2.00", "3.00"]
    verdicts = found.comparison.contrasts.set_index("a")["verdict"].to_dict()
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
    found = answer(over_data()[0])
    looks = palette.looks(["ce", "focal gamma=3", "mse"])
    with palette.style():
        made_figure = page_across.diagram(found, looks)
    assert made_figure is not None
    (axis,) = made_figure.figure.axes
    lines = {line.get_gid(): line for line in axis.lines if line.get_gid()}
    assert sum(str(line.get_gid()).startswith("mean|") for line in axis.lines) == 3
    assert sum(line.get_gid() == "group" for line in axis.lines) == len(found.comparison.groups)
    start, end = lines["difference"].get_xdata()
    assert end - start == pytest.approx(found.comparison.critical_difference)
    words = [text.get_text() for text in axis.texts]
    assert any("mse" in word and "1.00" in word for word in words)


# ---- simulated -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_false_verdicts_are_at_most_five_per_cent() -> None:
    """The same at length: tests/benchmarks/across_data.py. Three standard errors are allowed."""
    found = across_data.simulate(200, 0, data_sets=9, losses=4)
    assert found.decided <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert found.friedman <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    power = across_data.simulate(30, 0, data_sets=12, losses=2, shift=3.0)
    assert power.better > 0.9
