"""Tests by ranks over data sets, against scipy and what was published."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from benchmarks import across_data
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports.stats import ranks as statistics
from reports.stats.across import Comparison, compare

DATA = [f"data{i:02d}" for i in range(12)]


def frame(values: dict[str, Any], units: list[str] | None = None) -> pd.DataFrame:
    """The values of losses, in the form of `scores`; NaN for a loss without a result."""
    table = pd.DataFrame(values, index=units or DATA[: len(next(iter(values.values())))])
    long = table.rename_axis("unit").melt(var_name="loss", value_name="value", ignore_index=False)
    return long.dropna().reset_index().assign(epochs=1, lr=0.1, seeds=1, diverged=0)


def compared(values: dict[str, Any], **how: Any) -> Comparison:
    return compare(frame(values), **({"reference": "ce", "metric": "test_accuracy"} | how))


def test_ranks_tests_and_verdicts_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    ce = rng.uniform(0.6, 0.9, 12)
    values = {
        "ce": ce,
        "worse": ce - np.abs(rng.normal(0.03, 0.01, 12)),
        "better": ce + np.abs(rng.normal(0.02, 0.01, 12)),
        "alike": ce + rng.normal(0, 0.01, 12),
    }
    result = compared(values)
    table = np.stack(list(values.values()), axis=1)
    ranks = stats.rankdata(-table, axis=1)
    assert result.average_ranks[list(values)].tolist() == pytest.approx(ranks.mean(axis=0))
    assert list(result.average_ranks) == sorted(result.average_ranks)

    chi2 = stats.friedmanchisquare(*table.T).statistic
    f = 11 * chi2 / (12 * 3 - chi2)
    assert result.friedman is not None
    assert result.friedman.chi2 == pytest.approx(chi2)
    assert result.friedman.f == pytest.approx(f)
    assert result.friedman.p == pytest.approx(stats.f.sf(f, 3, 33))

    expected = [
        stats.wilcoxon(values[loss] - ce, method="exact").pvalue for loss in result.contrasts["a"]
    ]
    assert result.contrasts["p"].tolist() == pytest.approx(expected)
    _, holm, _, _ = multipletests(expected, method="holm")
    assert result.contrasts["p_holm"].tolist() == pytest.approx(holm)
    verdicts = dict(zip(result.contrasts["a"], result.contrasts["verdict"], strict=True))
    assert verdicts == {"worse": "worse", "better": "better", "alike": "undecided"}
    assert set(result.contrasts["b"]) == {"ce"}


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
    result = compared({loss: [0.5, 0.6, 0.7, 0.8, 0.9, 0.4] for loss in ("ce", "a", "b")})
    assert result.friedman is not None and result.friedman.p == 1
    assert set(result.contrasts["verdict"]) == {"undecided"}
    assert result.average_ranks.tolist() == [2, 2, 2] and len(result.groups) == 1


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
    result = compared(values, margin=1.0)
    assert result.contrasts["verdict"].tolist() == ["equivalent", "equivalent"]
    assert compared(values).contrasts["verdict"].tolist() == ["better", "undecided"]
    assert compared(values, margin=0.5).contrasts["verdict"].tolist() == ["better", "equivalent"]


def test_where_lower_is_better_the_lower_loss_is() -> None:
    nll = np.linspace(0.1, 0.5, 8)
    result = compared({"ce": nll, "low": nll - 0.05}, metric="test_nll")
    (row,) = result.contrasts.to_dict("records")
    assert row["verdict"] == "better" and row["difference"] == pytest.approx(-0.05)
    assert (row["won"], row["lost"], row["tied"]) == (8, 0, 0)
    assert row["practically_better"] > 0.95
    assert result.average_ranks.to_dict() == {"low": 1, "ce": 2} and result.friedman is None


def test_a_mean_that_diverged_ranks_last_and_two_of_them_are_equal() -> None:
    nll = np.linspace(0.1, 0.5, 8)
    ce, bad = nll.copy(), nll - 0.05
    ce[0] = bad[0] = bad[1] = math.inf
    result = compared({"ce": ce, "bad": bad, "third": nll + 1}, metric="test_nll")
    assert result.ranks.loc["data00"].to_dict() == {"ce": 2.5, "bad": 2.5, "third": 1}
    assert result.ranks.loc["data01", "bad"] == 3
    row = result.contrasts.set_index("a").loc["bad"]
    assert (row["won"], row["tied"], row["lost"]) == (6, 1, 1)
    assert row["difference"] == pytest.approx(-0.05) and math.isinf(row["high"])


def test_data_sets_that_lack_a_loss_are_left_out_for_all_and_few_are_not_tested() -> None:
    a = [0.5, 0.6, 0.7, 0.8, 0.9, 0.4, math.nan]
    result = compared({"ce": np.linspace(0.5, 0.9, 7), "a": a})
    assert result.left_out == {"data06": ["a"]} and len(result.ranks) == 6 and result.tested
    assert list(result.values.index) == DATA[:7]
    few = compared({"ce": np.linspace(0.5, 0.9, 6), "a": a[1:]})
    assert not few.tested and len(few.contrasts) == 0 and math.isnan(few.critical_difference)
    assert few.friedman is None and few.groups == [] and len(few.ranks) == 5
    with pytest.raises(ValueError, match="no run has a result of 'mse'"):
        compared({"ce": [0.5] * 6}, reference="mse")


def test_all_pairs_are_one_family() -> None:
    rng = np.random.default_rng(2)
    result = compared({name: rng.uniform(0, 1, 8) for name in ("ce", "a", "b")}, all_pairs=True)
    pairs = list(zip(result.contrasts["a"], result.contrasts["b"], strict=True))
    assert pairs == [("a", "ce"), ("b", "ce"), ("b", "a")]
    assert set(result.contrasts["family"]) == {3}


@pytest.mark.slow
def test_false_verdicts_are_at_most_five_per_cent() -> None:
    """The same at length: tests/benchmarks/across_data.py. Three standard errors are allowed."""
    rates = across_data.simulate(200, 0, data_sets=9, losses=4)
    assert rates.decided <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert rates.friedman <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    power = across_data.simulate(30, 0, data_sets=12, losses=2, shift=3.0)
    assert power.better > 0.9
