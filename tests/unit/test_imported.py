"""Results from elsewhere: a CSV file gives the frames of a report, or an error with its place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from reports import analysis
from reports.analysis import Section
from reports.question import Question
from reports.runs import ReadError, Runs, csv_file, imported, predictions
from reports.stats import two_way

HEADER = "loss,lr,seed,epochs,test_accuracy"
ACCURACY = {"ce": [0.91, 0.92, 0.905, 0.915], "mse": [0.94, 0.935, 0.93, 0.945]}


def load(tmp_path: Path, *lines: str, metric: str = "test_accuracy", **where: object) -> Runs:
    path = tmp_path / "results.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return csv_file.load(path, metric, where)


def rows(form: str = "{loss},0.1,{seed},10,{value}", scale: float = 1) -> list[str]:
    return [
        form.format(loss=loss, seed=seed, value=round(scale * value, 6))
        for loss, values in ACCURACY.items()
        for seed, value in enumerate(values)
    ]


def sections(runs: Runs) -> list[Section]:
    return analysis.sections(
        runs.summary, runs.curves, Question(), lambda run_id: predictions(runs, run_id)
    )


def test_a_verdict_is_that_of_welchs_test(tmp_path: Path) -> None:
    (section,) = sections(load(tmp_path, HEADER, *rows()))
    (row,) = section.headline.to_dict("records")
    expected = ttest_ind(ACCURACY["mse"], ACCURACY["ce"], equal_var=False)
    interval = expected.confidence_interval()
    assert (row["a"], row["b"], row["verdict"], row["paired"]) == ("mse", "ce", "better", False)
    assert (row["n_a"], row["n_b"], row["lr_a"], row["epochs"]) == (4, 4, 0.1, 10)
    assert row["difference"] == pytest.approx(2.5)
    assert [row["low"], row["high"]] == pytest.approx([100 * interval.low, 100 * interval.high])
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["p_holm"] == pytest.approx(expected.pvalue / two_way.PLANNED)


@pytest.mark.parametrize(
    ("header", "form", "scale"),
    [
        ("loss,lr,seed,epochs,test/accuracy", "{loss},0.1,{seed},10,{value}", 1),
        ("loss,lr,seed,epochs,test_accuracy_percent", "{loss},0.1,{seed},10,{value}", 100),
        ("loss,lr,seed,epochs,test/accuracy_percent", "{loss},1e-1,{seed}.0,10, {value}", 100),
        ("\ufeff" + HEADER, "{loss},.1,{seed},10,{value}", 1),
    ],
)
def test_other_forms_of_the_same_file(tmp_path: Path, header: str, form: str, scale: int) -> None:
    summary = load(tmp_path, header, *rows(form, scale)).summary
    usual = load(tmp_path, HEADER, *rows()).summary
    assert list(summary["run_id"]) == list(usual["run_id"])
    assert summary["test_accuracy"].to_numpy() == pytest.approx(usual["test_accuracy"].to_numpy())


def test_of_a_curve_the_last_epoch_is_the_runs_result(tmp_path: Path) -> None:
    lines = [
        f"{loss},0.1,{seed},{epoch},{value - 0.1 / epoch},{1 / epoch},{value}"
        for loss, values in ACCURACY.items()
        for seed, value in enumerate(values)
        for epoch in (2, 1, 3)
        if (loss, seed, epoch) != ("mse", 3, 3)
    ]
    runs = load(tmp_path, "loss,lr,seed,epoch,val_accuracy,train_loss,test_accuracy", *lines)
    by_run = runs.summary.set_index(["loss", "seed"])
    assert set(by_run["epochs"]) == {3}
    assert by_run.loc[("ce", 0), "val_accuracy"] == pytest.approx(0.91 - 0.1 / 3)
    assert by_run.loc[("mse", 3), "last_epoch"] == 2
    curve = runs.curves[(runs.curves["loss"] == "ce") & (runs.curves["seed"] == 1)]
    assert list(curve["epoch"]) == [1, 2, 3]
    assert list(curve["train_loss"]) == pytest.approx([1, 1 / 2, 1 / 3])
    assert "1 run ended before the last epoch, with these values" in runs.notes
    assert any("no column epochs: it is shown as 3" in note for note in runs.notes)
    (section,) = sections(runs)
    assert section.headline["difference"].iloc[0] == pytest.approx(2.5)
    assert len(section.bands) == 6


def test_every_other_column_is_a_setting_or_a_value_of_the_loss(tmp_path: Path) -> None:
    lines = [
        f"{loss},{gamma},0.1,{seed},5,{data},{width},0.9"
        for data, width in (("mnist", 64), ("digits", 32))
        for loss, gamma in (("focal", 1), ("focal", 2), ("ce", ""))
        for seed in range(2)
    ]
    header = "loss,loss.gamma,lr,seed,epochs,data,width,test_accuracy"
    runs = load(tmp_path, header, *lines)
    assert set(runs.summary["setting_text"]) == {
        "data=mnist, width=64", "data=digits, width=32",
    }  # fmt: skip
    assert set(runs.summary["loss"]) == {"focal gamma=1", "focal gamma=2", "ce"}
    assert [section.title for section in sections(runs)] == [
        "data=digits, width=32", "data=mnist, width=64",
    ]  # fmt: skip
    only = load(tmp_path, header, *lines, data="mnist").summary
    assert set(only["width"]) == {64}


def test_what_is_not_in_the_file_is_said(tmp_path: Path) -> None:
    runs = load(tmp_path, "loss,seed,test_accuracy", *rows("{loss},{seed},{value}"))
    assert runs.imported and runs.warnings == ["imported from results.csv: pairing not proved"]
    assert runs.notes == [
        "all seeds of results.csv count as planned before the first result",
        "results.csv has no column lr: it is shown as 0",
        "results.csv has no column epochs: it is shown as 0",
    ]
    assert set(runs.summary["setting_text"]) == {imported.NOT_NAMED}
    assert len(runs.curves) == 0 and runs.summary["planned"].all()
    assert sections(runs)[0].headline["verdict"].tolist() == ["better"]


def test_the_rate_is_chosen_on_validation(tmp_path: Path) -> None:
    lines = [
        f"{loss},{lr},{seed},10,{0.5 + 0.1 * (lr == 0.3) + seed / 1000},{value}"
        for loss, values in ACCURACY.items()
        for lr in (0.1, 0.3)
        for seed, value in enumerate(values)
    ]
    runs = load(tmp_path, "loss,lr,seed,epochs,val_accuracy,test_accuracy", *lines)
    (section,) = sections(runs)
    assert set(section.headline["lr_a"]) == set(section.headline["lr_b"]) == {0.3}


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    runs = load(
        tmp_path, f"{HEADER},outcome", *(f"{row},ok" for row in rows()), "mse,0.1,4,10,,diverged"
    )
    last = runs.summary.set_index("seed").loc[4]
    assert last["outcome"] == "diverged" and math.isnan(last["test_accuracy"])
    (row,) = sections(runs)[0].headline.to_dict("records")
    assert (row["n_a"], row["diverged_a"], row["interval"]) == (5, 1, "ranks")


def test_another_metric_decides(tmp_path: Path) -> None:
    runs = load(tmp_path, "loss,lr,seed,epochs,test/nll", *rows(scale=3), metric="test_nll")
    assert np.allclose(runs.summary["test_nll"].max(), 2.835)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: expected the names of columns, and below a line for each run, got 'no run'"),
        ([HEADER], "line 1: expected the names of columns"),
        (["loss,lr,epochs,test_accuracy", "ce,0.1,1,0.9"], "line 1: expected columns seed, got"),
        (["a;b", "1;2"], "line 1: expected columns loss, seed, test_accuracy, got 'a;b'"),
        (
            ["loss,seed,test_nll,val_accuracy", "ce,1,0.3,0.9"],
            "expected columns test_accuracy, got 'loss, seed, test_nll, val_accuracy'; metric=NAME "
            "decides by another metric: test_nll",
        ),
        (["loss,loss,seed,test_accuracy", "a,b,1,1"], "line 1, column 2: expected a name of its"),
        ([f",{HEADER}", "0,ce,0.1,0,1,0.9"], "line 1, column 1: expected a name of its own"),
        ([HEADER, "ce,0.1,0,1"], "line 2: expected 5 values, got '4'"),
        ([HEADER, "ce,0.1,0,1,0.9", "", "ce,0.1,x,1,0.9"],
         "line 4, column seed: expected a whole number of at least 0, got 'x'"),
        ([HEADER, "ce,fast,0,1,0.9"],
         "line 2, column lr: expected a number of at least 0, got 'fast'"),
        ([HEADER, "ce,0.1,0.5,1,0.9"], "line 2, column seed: expected a whole number"),
        ([HEADER, "ce,0.1,0,-1,0.9"], "line 2, column epochs: expected a whole number"),
        ([HEADER, ",0.1,0,1,0.9"], "line 2, column loss: expected a name, got nothing"),
        ([HEADER, "ce,0.1,0,1,nan"],
         "line 2, column test_accuracy: expected a finite number, got 'nan'; a run that did not"),
        ([HEADER, "ce,0.1,0,1,"], "line 2, column test_accuracy: expected a number, got nothing"),
        ([HEADER, "ce,0.1,0,1,97.5"],
         "line 2, column test_accuracy: expected a number from 0 to 1, got '97.5'; in per cent it "
         "is called test_accuracy_percent"),
        ([f"{HEADER}_percent", "ce,0.1,0,1,101"],
         "line 2, column test_accuracy: expected a number from 0 to 100, got '101'"),
        ([f"{HEADER},outcome", "ce,0.1,0,1,0.9,done"],
         "line 2, column outcome: expected one of ok, diverged, failed, killed, running, got "
         "'done'"),
        ([HEADER, "ce,0.1,0,1,0.9", "ce,0.10,0,1,0.8"],
         "line 3: expected one line for each run, got 'the run of line 2 again'"),
        ([f"{HEADER},epoch", "ce,1,0,2,0.9,1", "ce,1,0,2,0.9,1"],
         "line 3: expected one line for each run and epoch, got 'the run of line 2 again'"),
        ([f"{HEADER},epoch", "ce,1,0,2,0.9,3"],
         "line 2, column epoch: expected at most its epochs 2, got '3'"),
        ([f"{HEADER},time", "ce,1,0,2,0.9,31", "mse,1,0,2,0.9,32"],
         "expected two losses in one setting, got none to compare. Every column that is no metric "
         "is a setting, here time"),
        ([HEADER, "ce,1,0,2,0.9", "ce,2,0,2,0.9"], "no column val_accuracy says which"),
        ([HEADER, 'ce,"1"2,0,2,0.9'], "line 2: expected a line of a CSV file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_line_and_column(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(ReadError) as error:
        load(tmp_path, *lines)
    assert message in str(error.value) and "results.csv" in str(error.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(ReadError, match=r"from: cannot read .*results\.csv: No such file"):
        csv_file.load(path, "test_accuracy", {})
    path.write_bytes(HEADER.encode() + b"\nce,0.1,0,1,0.9\n\xff\xfe,0.1,1,1,0.9\n")
    with pytest.raises(ReadError, match="line 3: expected text in UTF-8, got 'other bytes'"):
        csv_file.load(path, "test_accuracy", {})
