"""`generate report across=data` on results of twelve data sets with a known answer."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Report
from helpers.stores import Store, add_data_sets
from scipy import stats
from statsmodels.stats.multitest import multipletests

DATA = ("mnist", "fashion", "kmnist", "emnist", "usps", "svhn", "cifar", "stl", "digits")
DATA += ("semeion", "qmnist", "pendigits")
STEP = 0.001 * np.arange(1, 13)
SIGNS = np.array([1, -1, -1, 1] * 3)
DIFFERENCES = {"mse": -10 * STEP, "focal": SIGNS * STEP}  # to ce


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("across")
    ce = np.linspace(0.7, 0.95, 12)
    add_data_sets(
        Store(shutil.copy(empty_store, directory / "mlflow.db")),
        {
            data: {"ce": ce[i]} | {loss: ce[i] + by[i] for loss, by in DIFFERENCES.items()}
            for i, data in enumerate(DATA)
        },
    )
    return directory


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_answer_is_that_of_scipy_on_the_page_in_the_file_and_in_the_terminal(
    store: Path, report: Report
) -> None:
    code, text = report(store, "across=data", "formats=[svg]", "output=out")
    assert code == 0, text
    content = json.loads((store / "out" / "verdicts.json").read_text())["across"]
    contrasts = {row["a"]: row for row in content["contrasts"]}
    expected = {loss: stats.wilcoxon(by, method="exact").pvalue for loss, by in DIFFERENCES.items()}
    _, holm, _, _ = multipletests(list(expected.values()), method="holm")
    for (loss, p), p_holm in zip(expected.items(), holm, strict=True):
        assert contrasts[loss]["p"] == pytest.approx(p) and contrasts[loss]["b"] == "ce"
        assert contrasts[loss]["p_holm"] == pytest.approx(p_holm)
        assert contrasts[loss]["n"] == 12 and contrasts[loss]["sentence"] in text
    assert contrasts["mse"]["verdict"] == "worse" and contrasts["focal"]["verdict"] == "undecided"
    assert contrasts["mse"]["difference"] == pytest.approx(-6.5)
    assert content["average_ranks"] == {"ce": 1.5, "focal": 1.5, "mse": 3}
    assert content["tested"] and content["left_out"] == {}
    assert "Average ranks: ce 1.50, focal 1.50, mse 3.00" in text
    assert "On svhn alone: 2 undecided" in text
    page = (store / "out" / "index.html").read_text()
    markdown = (store / "out" / "report.md").read_text()
    assert page.index("Across data sets") < page.index("Each data set on its own")
    assert "## Across data sets" in markdown and "(figures/across-ranks.svg)" in markdown
    with (store / "out" / "tables" / "across.csv").open() as file:
        rows = {row["data"]: row for row in csv.DictReader(file)}
    assert set(rows) == {*DATA, "average rank"}
    assert float(rows["mnist"]["mse"]) == pytest.approx(100 * (0.7 - 0.01))

    code, text = report(store, "check=out/verdicts.json")
    assert code == 0 and text.endswith("all 50 verdicts of out/verdicts.json hold\n")  # 2 x 24 + 2
    path = store / "out" / "verdicts.json"
    path.write_text(path.read_text().replace('"tied": 0', '"tied": 1', 1))
    code, text = report(store, "check=out/verdicts.json")
    assert code == 1 and "1 of 50 verdicts" in text and "tied was 1, is 0" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_few_data_sets_are_shown_and_not_tested(store: Path, report: Report) -> None:
    code, text = report(store, "across=data", "where.data=[mnist,svhn,usps]", "output=few")
    assert code == 0
    assert "Nothing is tested: 3 data sets with a result of every loss are too few" in text
    content = json.loads((store / "few" / "verdicts.json").read_text())["across"]
    assert not content["tested"] and content["contrasts"] == []
    assert (store / "few" / "tables" / "across.csv").exists()
    assert not (store / "few" / "figures" / "across-ranks.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["across=optimizer"], "across=optimizer: expected one of data, model, or null"),
        (["across=data", "aa=ce"], "across and aa: expected one of them, got both"),
        (["across=data", "baselines=true"], "across and baselines: expected one of them"),
        (["target=95"], "target=95.0: expected a validation accuracy between 0 and 1"),
        pytest.param(
            ["across=model"],
            "across=model: expected runs of several models that differ in nothing",
            marks=pytest.mark.slow,
        ),
        (["across=data", "where.data=svhn"], "expected runs of several data sets"),
    ],
)
def test_what_cannot_be_answered(
    store: Path, report: Report, arguments: list[str], message: str
) -> None:
    code, text = report(store, *arguments)
    assert code == 1 and message in text and "Traceback" not in text
