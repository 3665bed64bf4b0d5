"""The command, from a store that the real runs wrote to the files of a report.

And what it says when it cannot.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, Report, clean_environment
from helpers.forked import generate as generate_forked
from helpers.marks import with_slow
from helpers.reported import contents, written_at
from helpers.synthetic_runs import predictions
from helpers.synthetic_runs import runs as synthetic
from mlflow.tracking import MlflowClient

from reports.question import Question
from reports.runs import load, sweeps
from reports.same_loss import same_loss
from reports.stats.contrast import FOLDS


@pytest.fixture(scope="module")
def written(sweep_store: Path) -> tuple[Path, str]:
    """The directory of a report that the real command wrote, and what it printed."""
    done = generate_forked(sweep_store)
    assert done.returncode == 0, done.stderr
    return sweep_store / "outputs" / "reports" / "digits", done.stdout


# ---- a report ------------------------------------------------------------------------------------


def test_the_command_writes_a_whole_report(written: tuple[Path, str], sweep_store: Path) -> None:
    directory, printed = written
    names = set(contents(directory))
    assert {"index.html", "report.md", "verdicts.json"} <= names
    figures = {Path(name).stem for name in names if name.startswith("figures/")}
    assert {"accuracy", "accuracy-time", "own-losses", "final", "contrasts"} <= figures
    assert not {"learning-rates", "heat-map"} & figures  # there is one rate
    assert {"confusions", "classes", "most-wrong", "most-disagreed"} <= figures
    assert {"loss-weights", "loss-margins", "loss-errors"} <= figures
    assert names >= {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")}
    tables = {Path(name).stem for name in names if name.startswith("tables/")}
    assert {"losses", "contrasts", "denominators", "rates", "classes"} <= tables
    assert names >= {f"tables/{name}.{kind}" for name in tables for kind in ("csv", "tex")}
    assert "report: outputs/reports/digits/index.html" in printed
    assert {path.name for path in sweep_store.iterdir()} <= {"mlflow.db", "mlartifacts", "outputs"}
    assert [path.name for path in (sweep_store / "outputs").iterdir()] == ["reports"]


def test_what_is_printed_is_in_the_files(written: tuple[Path, str]) -> None:
    directory, printed = written
    comparisons = json.loads((directory / "verdicts.json").read_text())["contrasts"]
    (best,) = [comparison for comparison in comparisons if comparison["view"] == "best"]
    assert [best[key] for key in ("a", "b", "n", "verdict")] == ["mse", "ce", 2, "undecided"]
    assert best["sentence"] in printed
    assert best["sentence"] in (directory / "index.html").read_text()
    assert len(best["run_ids"]) == 4
    assert best["generalises"] == "new seeds and new examples"
    page = (directory / "report.md").read_text()
    assert "intervals of differences are for new seeds and new test examples" in page
    assert "the interval of one loss alone is for new seeds on this test set" in page
    assert "Test accuracy of each loss, with its 95 % interval over seeds" in page


def test_the_numbers_are_those_of_the_store(written: tuple[Path, str], sweep_store: Path) -> None:
    directory, _ = written
    runs = load(f"sqlite:///{sweep_store / 'mlflow.db'}").summary
    by_loss = runs.groupby("loss")["test_accuracy"].mean()
    comparison = json.loads((directory / "verdicts.json").read_text())["contrasts"][0]
    assert comparison["difference"] == pytest.approx(100 * (by_loss["mse"] - by_loss["ce"]))
    lines = (directory / "tables" / "losses.csv").read_text().splitlines()
    column = lines[0].split(",").index("test_accuracy_percent")
    assert float(lines[1].split(",")[column]) == pytest.approx(100 * by_loss["ce"])


def test_the_report_is_stored_with_the_sweep(
    written: tuple[Path, str], sweep_store: Path, sweep: tuple[Path, str]
) -> None:
    directory, printed = written
    parent = sweeps(f"sqlite:///{sweep_store / 'mlflow.db'}")["run_id"].iloc[0]
    assert f"stored with the sweep's run {parent} in MLflow" in printed
    # beside the copied database, although it still names the directory where the runs were made
    (page,) = sweep_store.glob(f"mlartifacts/**/{parent}/artifacts/report/index.html")
    assert contents(page.parent) == contents(directory)
    assert list(sweep[0].glob("mlartifacts/**/report")) == []
    client = MlflowClient(f"sqlite:///{sweep_store / 'mlflow.db'}")
    note = client.get_run(parent).data.tags["mlflow.note.content"]
    assert "| cross-entropy (ce) |" in note and "undecided" in note
    assert "`report/index.html`" in note and f"{directory.name}/index.html`" in note


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(
    written: tuple[Path, str], sweep_store: Path, report: Report
) -> None:
    directory, _ = written
    before = contents(directory)
    (directory / "figures" / "left-over.svg").write_text("of a report with other figures")
    assert report(sweep_store).code == 0
    assert contents(directory) == before


@pytest.mark.slow
def test_the_matplotlib_settings_of_the_user_change_no_figure(
    written: tuple[Path, str], sweep_store: Path, tmp_path: Path
) -> None:
    """Neither a backend that a notebook sets and that is not installed here, nor a matplotlibrc."""
    settings = "savefig.bbox: tight\nlegend.loc: lower right\ntext.usetex: True\nfont.size: 30\n"
    (tmp_path / "matplotlibrc").write_text(settings + "axes.prop_cycle: cycler('color', ['r'])\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "reports" / "generate.py"), "output=o",
         f"tracking.uri=sqlite:///{sweep_store / 'mlflow.db'}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=clean_environment() | {"MPLBACKEND": "module://no_such_package.backend_inline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = contents(tmp_path / "o" / "figures")
    assert figures == contents(written[0] / "figures")
    assert {Path(name).suffix for name in figures} == {".svg", ".png"}


def test_no_path_of_this_machine_is_in_the_report(
    written: tuple[Path, str], sweep_store: Path
) -> None:
    for name, data in contents(written[0]).items():
        for secret in (str(sweep_store), str(ROOT), str(Path.home()) + "/"):
            assert secret.encode() not in data, name


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_a_filter_and_an_output(sweep_store: Path, report: Report, tmp_path: Path) -> None:
    parent = sweeps(f"sqlite:///{sweep_store / 'mlflow.db'}")["run_id"].iloc[0]
    arguments = [f"sweep={parent}", "where.seed=0", "where.model=mlp", "formats=[svg]"]
    result = report(sweep_store, *arguments, f"output={tmp_path / 'new'}")
    assert result.code == 0, result.text
    assert result.text.count("undecided (one seed). These two networks") == 1
    words = r"on new examples: .\d+\.\d\d points of test accuracy \(95 % interval"
    assert re.search(words, result.text)
    assert "Whether the losses differ needs more seeds." in result.text
    names = contents(tmp_path / "new")
    assert not [name for name in names if name.endswith(".png")]
    assert json.loads(names["verdicts.json"])["contrasts"][0]["n"] == 1


def test_check_holds_and_names_what_no_longer_does(
    written: tuple[Path, str], sweep_store: Path, report: Report
) -> None:
    path = written[0] / "verdicts.json"
    result = report(sweep_store, f"check={path}")
    assert result.code == 0 and re.match(r"all 2 verdicts .*hold\s*$", result.text, re.DOTALL)

    content = json.loads(path.read_text())
    content["contrasts"][0]["difference"] += 0.01
    content["contrasts"][1]["verdict"] = "better"
    changed = path.parent.parent / "changed.json"
    changed.write_text(json.dumps(content))
    result = report(sweep_store, f"check={changed}")
    assert result.code == 1
    for words in (
        *("2 of 2 verdicts", "mse undecided against ce (best rates, 2 epochs", "difference was"),
        *("mse better against ce (equal rates at lr 0.003", "verdict was better, is undecided"),
    ):
        assert words in result.text
    assert "Traceback" not in result.text


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_without_a_traceback(sweep_store: Path) -> None:
    command = [sys.executable, ROOT / "reports" / "generate.py", "aa=all"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=sweep_store, env=clean_environment(), **pipes)
    assert process.stdout and process.stderr
    process.stdout.close()  # as in `generate report | head -1`
    assert process.stderr.read() == "reading the runs\n"
    assert process.wait() == 1
    process.stderr.close()


@pytest.mark.parametrize(
    ("module", "errors"), with_slow([("pandas", "reading the runs\n")], [("hydra", "")])
)
def test_ctrl_c_during_the_imports_ends_it_without_a_traceback(
    tmp_path: Path, module: str, errors: str
) -> None:
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, ROOT / "reports" / "generate.py"],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", errors)


def test_a_loss_against_itself(sweep_store: Path, report: Report) -> None:
    result = report(sweep_store, "aa=all")
    assert result.code == 0
    for words in (
        *("ce against ce is undecided", "mse against mse is undecided"),
        "A/A on ce, mse: 0 of 2 comparisons",
    ):
        assert words in result.text
    refused = report(sweep_store, "aa=focal").text.strip()
    assert refused == "aa=focal: no run has this loss; there are ce, mse"


def test_halves_of_the_seeds_are_compared_by_the_rules_of_a_report() -> None:
    summary, _ = synthetic(("ce",), rates=(0.01,))
    summary["test_accuracy"] = 0.95
    (row,) = same_loss(summary, Question(), None, predictions).to_dict("records")
    assert row["margin"] == pytest.approx(0.4)  # two of 500 images
    assert row["verdict"] == "equivalent"
    half = 2.306 * 0.2 / math.sqrt(12) * math.sqrt(2 / 5)  # t(8), and rounding to one image
    assert row["low"] == pytest.approx(-half, rel=1e-3)
    (row,) = same_loss(summary.assign(folds="5"), Question(), None, predictions).to_dict("records")
    assert row["generalises"] == FOLDS
    summary.loc[summary["seed"] == 1, "outcome"] = "diverged"
    (row,) = same_loss(summary, Question(), None, predictions).to_dict("records")
    assert (row["diverged_a"], row["diverged_b"], row["interval"]) == (0, 1, "welch")
    assert row["difference"] == pytest.approx((95 - 10) / 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reference=cee"], "reference=cee: no run has this loss"),
        (["tuning_seeds=[0,1]"], "leave none to evaluate"),
    ],
)
def test_a_refused_report_leaves_an_earlier_one_and_the_directory_as_they_are(
    written: tuple[Path, str],
    sweep_store: Path,
    report: Report,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(written[0], earlier)
    before = written_at(earlier)
    assert len([path for path in before if path.parent.name in ("figures", "tables")]) > 30
    result = report(sweep_store, f"output={earlier}", *arguments)
    assert result.code == 1 and message in result.text
    assert written_at(earlier) == before
    assert report(sweep_store, f"output={tmp_path / 'new' / 'deep'}", *arguments).code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.usefixtures("undrawn")
def test_a_report_replaces_the_figures_and_tables_of_an_earlier_one_and_no_more(
    written: tuple[Path, str], sweep_store: Path, report: Report, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(written[0], earlier)
    (earlier / "figures" / "epochs.svg").write_text("of other runs")
    (earlier / "tables" / "notes.txt").write_text("someone's own")
    assert report(sweep_store, f"output={earlier}", "formats=[svg]", "where.seed=0").code == 0
    names = contents(earlier).keys()
    assert "figures/final.svg" in names and "tables/notes.txt" in names
    assert not [name for name in names if name.endswith((".png", "epochs.svg"))]


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_asks_otherwise_stands_beside_the_usual_one(
    written: tuple[Path, str], sweep_store: Path, report: Report
) -> None:
    directory, _ = written
    before = contents(directory)
    (page,) = sweep_store.glob("mlartifacts/**/artifacts/report/index.html")
    stored = page.read_bytes()
    result = report(sweep_store, "metric=test/macro_f1", "margin=1", "formats=[svg]")
    assert result.code == 0, result.text
    name = re.search(r"report: outputs/reports/(\S+)/index.html", result.text)
    assert name is not None
    assert re.fullmatch(r"digits-margin-1\.0-metric-test-macro_f1-[0-9a-f]{6}", name[1])
    assert contents(directory) == before
    assert result.text.rstrip().endswith(f"artifact path report-{name[1]}")
    (other,) = sweep_store.glob(f"mlartifacts/**/artifacts/report-{name[1]}/index.html")
    assert page.read_bytes() == stored != other.read_bytes()
    assert report(sweep_store, f"check={directory.parent / name[1] / 'verdicts.json'}").code == 0
