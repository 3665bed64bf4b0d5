"""The command, from a store that the real runs wrote to the files of a report.

And what it says when it cannot.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import pytest
from benchmarks import read_store
from helpers.commands import ROOT, Report, clean_environment
from helpers.forked import generate as generate_forked
from helpers.marks import with_slow
from helpers.synthetic_runs import HOSTILE, predictions
from helpers.synthetic_runs import runs as synthetic
from mlflow.tracking import MlflowClient

from reports import files, generate, metrics, options, request
from reports.figures import fonts
from reports.question import Question
from reports.runs import Runs, load, sweeps
from reports.same_loss import same_loss
from reports.stats.contrast import FOLDS

HEAVY = ("mlflow", "pandas", "matplotlib", "scipy", "paddle", "jinja2")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, sweep: tuple[Path, str]) -> Path:
    """A directory with a copy of the small sweep's store."""
    directory = tmp_path_factory.mktemp("store")
    shutil.copy(sweep[0] / "mlflow.db", directory)
    shutil.copytree(sweep[0] / "mlartifacts", directory / "mlartifacts")
    return directory


@pytest.fixture(scope="module")
def written(store: Path) -> tuple[Path, str]:
    """The directory of a report that the real command wrote, and what it printed."""
    done = generate_forked(store)
    assert done.returncode == 0, done.stderr
    return store / "outputs" / "reports" / "digits", done.stdout


def named(experiment: str, **fields: Any) -> Runs:
    """No runs of an experiment in the store of the current directory."""
    none = pd.DataFrame()
    fields = {"uri": f"sqlite:///{Path.cwd() / 'mlflow.db'}"} | fields
    empty = Runs("", (experiment,), {}, summary=none, curves=none, missing=none)
    return replace(empty, **fields)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


# ---- a report ------------------------------------------------------------------------------------


def test_the_command_writes_a_whole_report(written: tuple[Path, str], store: Path) -> None:
    directory, printed = written
    found = set(contents(directory))
    assert {"index.html", "report.md", "verdicts.json"} <= found
    figures = {Path(name).stem for name in found if name.startswith("figures/")}
    assert {
        "accuracy",
        "accuracy-time",
        "own-losses",
        "final",
        "contrasts",
    } <= figures
    assert not {"learning-rates", "heat-map"} & figures  # there is one rate
    assert {"confusions", "classes", "most-wrong", "most-disagreed"} <= figures
    assert {"loss-weights", "loss-margins", "loss-errors"} <= figures
    assert found >= {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")}
    tables = {Path(name).stem for name in found if name.startswith("tables/")}
    assert {"losses", "contrasts", "denominators", "rates", "classes"} <= tables
    assert found >= {f"tables/{name}.{kind}" for name in tables for kind in ("csv", "tex")}
    assert "report: outputs/reports/digits/index.html" in printed
    assert {path.name for path in store.iterdir()} <= {"mlflow.db", "mlartifacts", "outputs"}
    assert [path.name for path in (store / "outputs").iterdir()] == ["reports"]


def test_what_is_printed_is_in_the_files(written: tuple[Path, str]) -> None:
    directory, printed = written
    comparisons = json.loads((directory / "verdicts.json").read_text())["contrasts"]
    (best,) = [comparison for comparison in comparisons if comparison["view"] == "best"]
    assert (
        best["a"] == "mse"
        and best["b"] == "ce"
        and best["n"] == 2
        and best["verdict"] == "undecided"
    )
    assert best["sentence"] in printed
    assert best["sentence"] in (directory / "index.html").read_text()
    assert len(best["run_ids"]) == 4


def test_the_numbers_are_those_of_the_store(written: tuple[Path, str], store: Path) -> None:
    directory, _ = written
    runs = load(f"sqlite:///{store / 'mlflow.db'}").summary
    by_loss = runs.groupby("loss")["test_accuracy"].mean()
    comparison = json.loads((directory / "verdicts.json").read_text())["contrasts"][0]
    assert comparison["difference"] == pytest.approx(100 * (by_loss["mse"] - by_loss["ce"]))
    lines = (directory / "tables" / "losses.csv").read_text().splitlines()
    column = lines[0].split(",").index("test_accuracy_percent")
    assert float(lines[1].split(",")[column]) == pytest.approx(100 * by_loss["ce"])


def test_the_report_is_stored_with_the_sweep(
    written: tuple[Path, str], store: Path, sweep: tuple[Path, str]
) -> None:
    directory, printed = written
    parent = sweeps(f"sqlite:///{store / 'mlflow.db'}")["run_id"].iloc[0]
    assert f"stored with the sweep's run {parent} in MLflow" in printed
    # beside the copied database, although it still names the directory where the runs were made
    (page,) = store.glob(f"mlartifacts/**/{parent}/artifacts/report/index.html")
    assert contents(page.parent) == contents(directory)
    assert list(sweep[0].glob("mlartifacts/**/report")) == []
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    note = client.get_run(parent).data.tags["mlflow.note.content"]
    assert "| cross-entropy (ce) |" in note and "undecided" in note
    assert "`report/index.html`" in note and f"{directory.name}/index.html`" in note


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(
    written: tuple[Path, str], store: Path, report: Report
) -> None:
    directory, _ = written
    before = contents(directory)
    (directory / "figures" / "left-over.svg").write_text("of a report with other figures")
    assert report(store).code == 0
    assert contents(directory) == before


@pytest.mark.slow
def test_the_matplotlib_settings_of_the_user_change_no_figure(
    written: tuple[Path, str], store: Path, tmp_path: Path
) -> None:
    """Neither a backend that a notebook sets and that is not installed here, nor a matplotlibrc."""
    settings = "savefig.bbox: tight\nlegend.loc: lower right\ntext.usetex: True\nfont.size: 30\n"
    (tmp_path / "matplotlibrc").write_text(settings + "axes.prop_cycle: cycler('color', ['r'])\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "reports" / "generate.py"), "output=o",
         f"tracking.uri=sqlite:///{store / 'mlflow.db'}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=clean_environment() | {"MPLBACKEND": "module://no_such_package.backend_inline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = contents(tmp_path / "o" / "figures")
    assert figures == contents(written[0] / "figures")
    assert {Path(name).suffix for name in figures} == {".svg", ".png"}


def test_no_path_of_this_machine_is_in_the_report(written: tuple[Path, str], store: Path) -> None:
    for name, data in contents(written[0]).items():
        for secret in (str(store), str(ROOT), str(Path.home()) + "/"):
            assert secret.encode() not in data, name


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_a_filter_and_an_output(store: Path, report: Report, tmp_path: Path) -> None:
    parent = sweeps(f"sqlite:///{store / 'mlflow.db'}")["run_id"].iloc[0]
    arguments = [
        f"sweep={parent}",
        "where.seed=0",
        "where.model=mlp",
        "formats=[svg]",
        f"output={tmp_path / 'new'}",
    ]
    said = report(store, *arguments)
    assert said.code == 0, said.text
    assert said.text.count("undecided (one seed). These two networks") == 1
    assert re.search(
        r"on new examples: .\d+\.\d\d points of test accuracy \(95 % interval", said.text
    )
    assert "Whether the losses differ needs more seeds." in said.text
    names = contents(tmp_path / "new")
    assert not [name for name in names if name.endswith(".png")]
    assert json.loads(names["verdicts.json"])["contrasts"][0]["n"] == 1


@pytest.mark.usefixtures("undrawn")
def test_a_report_by_another_metric_than_accuracy(
    store: Path, tmp_path: Path, report: Report
) -> None:
    """From a store in which both losses have an AURC.

    That of ce being the smaller by 0.0125 and 0.0135.
    """
    run = "(SELECT run_uuid FROM params WHERE key = 'loss' AND value = ?)"
    seed = "(SELECT run_uuid FROM params WHERE key = 'seed' AND value = ?)"
    put = (
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
        "SELECT 'test/aurc', ?, 0, 0, 0, "
    )
    put += f"run_uuid FROM runs WHERE run_uuid IN {run} AND run_uuid IN {seed}"
    values = {("ce", "0"): 0.01, ("ce", "1"): 0.011, ("mse", "0"): 0.0225, ("mse", "1"): 0.0245}
    altered(
        store,
        tmp_path,
        ("DELETE FROM latest_metrics WHERE key = 'test/aurc'", ()),
        *((put, (value, *which)) for which, value in values.items()),
    )
    said = report(tmp_path, "metric=test/aurc", "margin=1.4", "formats=[svg]", "output=by-aurc")
    assert said.code == 0, said.text
    assert "by test AURC after 2 epochs, at learning rate 0.003. Intervals and tests" in said.text
    assert "are for new seeds on this test set, not for other test examples. Equiv" in said.text
    told = "mse against ce is undecided (too few seeds): +1.300 points of test AURC (95 % interval"
    assert told in said.text
    found = contents(tmp_path / "by-aurc")
    content = json.loads(found["verdicts.json"])
    assert content["question"]["metric"] == "test/aurc"
    assert {comparison["metric"] for comparison in content["contrasts"]} == {"test/aurc"}
    assert [comparison["difference"] for comparison in content["contrasts"]] == pytest.approx(
        [1.3, 1.3]
    )
    assert {comparison["margin"] for comparison in content["contrasts"]} == {1.4}
    lines = found["tables/metric.csv"].decode().splitlines()
    assert lines[0] == "loss,lr,test_aurc_percent,test_aurc_percent_low,test_aurc_percent_high,runs"
    means = {line.split(",")[0]: float(line.split(",")[2]) for line in lines[1:]}
    assert means == pytest.approx({"ce": 1.05, "mse": 2.35})
    html = found["index.html"].decode()
    assert "Test AURC after the last epoch" in html and "lower is better." in html
    assert report(tmp_path, "check=by-aurc/verdicts.json").code == 0

    said = report(tmp_path, "metric=corrupted/accuracy_fog", "formats=[svg]")
    assert said.code == 0 and "there is one only with corruptions=true." in said.text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_head_that_lacks_the_metric_is_told_so(
    store: Path, tmp_path: Path, report: Report
) -> None:
    said = report(altered(store, tmp_path), "metric=test/aurc", "formats=[svg]", "output=by-aurc")
    assert said.code == 0, said.text
    assert "mse against ce is undecided: there is no test AURC of both to compare." in said.text
    lines = (tmp_path / "by-aurc" / "tables" / "metric.csv").read_text().splitlines()
    (ce,) = [line.split(",") for line in lines if line.startswith("ce,")]
    (mse,) = [line.split(",") for line in lines if line.startswith("mse,")]
    runs = load(f"sqlite:///{store / 'mlflow.db'}").summary
    expected = 100 * runs.loc[runs["loss"] == "ce", "test_aurc"].mean()
    assert float(ce[2]) == pytest.approx(expected) and mse[2:5] == ["", "", ""] and mse[5] == "0"
    assert "n/a" in (tmp_path / "by-aurc" / "report.md").read_text()


def test_every_number_of_a_real_run_is_offered_or_refused(store: Path) -> None:
    summary = load(f"sqlite:///{store / 'mlflow.db'}").summary
    there = {
        name
        for name in summary
        if name.startswith(("test_", "corrupted_")) and summary[name].notna().any()
    }
    refused = {f"test_{name}" for name in metrics.REFUSED}
    assert (
        there >= refused and there - refused <= set(metrics.OFFERED) and len(there - refused) == 13
    )


def test_help_names_every_metric_with_its_direction(tmp_path: Path, report: Report) -> None:
    said = report(tmp_path, "--help")
    assert said.code == 0
    for line in metrics.described().splitlines():
        assert line.strip() in said.text
    assert (
        "test/aurc                 test AURC (%): lower is better; only of losses of logits"
        in said.text
    )


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_check_says_that_the_sweep_of_a_file_was_deleted_and_checks_its_claims(
    store: Path, tmp_path: Path, report: Report
) -> None:
    altered(store, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (parent,) = sweeps(uri)["run_id"]
    assert report(tmp_path, f"sweep={parent}", "formats=[svg]", "output=page").code == 0
    MlflowClient(uri).delete_run(parent)
    said = report(tmp_path, "check=page/verdicts.json")
    first, last = said.text.strip().splitlines()
    assert first.startswith(
        f"the same report cannot be made again: the sweep '{parent}' was deleted"
    )
    assert (said.code, last) == (0, "all 2 verdicts of page/verdicts.json hold")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_file_of_baselines_is_made_with_the_notes_and_warnings_of_a_report(
    store: Path, tmp_path: Path, report: Report
) -> None:
    altered(store, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    ours = client.search_runs(["1"], "tags.kind = 'run' and params.loss = 'ce'")
    earlier = {"identity": "another", "code": "e" * 64}
    for start, changes in ((None, {"outcome": "diverged"}), (1, earlier)):
        made = client.create_run("1", start_time=start).info.run_id
        for name, value in (ours[0].data.tags | changes).items():
            client.set_tag(made, name, value)
        for name, value in ours[0].data.params.items():
            client.log_param(made, name, value)
        client.set_terminated(made)
    said = [report(tmp_path, *each) for each in (["baselines_to=kept.json.gz"], ["formats=[svg]"])]
    assert [each.code for each in said] == [0, 0], said
    kept, page = (
        [line for line in each.text.splitlines() if line.startswith(("note: ", "WARNING: "))]
        for each in said
    )
    assert kept == page
    assert any("1 run of ce made by earlier code (eeeeeee)" in line for line in kept)
    assert any("1 finished run disagrees with the newest" in line for line in kept)
    assert "baselines: kept.json.gz, 4 runs (1 diverged), losses: 2" in said[0].text


def test_check_holds_and_names_what_no_longer_does(
    written: tuple[Path, str], store: Path, report: Report
) -> None:
    path = written[0] / "verdicts.json"
    said = report(store, f"check={path}")
    assert (
        said.code == 0
        and said.text.startswith("all 2 verdicts")
        and said.text.rstrip().endswith("hold")
    )

    content = json.loads(path.read_text())
    content["contrasts"][0]["difference"] += 0.01
    content["contrasts"][1]["verdict"] = "better"
    changed = path.parent.parent / "changed.json"
    changed.write_text(json.dumps(content))
    said = report(store, f"check={changed}")
    assert said.code == 1
    assert "2 of 2 verdicts" in said.text
    assert (
        "mse undecided against ce (best rates, 2 epochs" in said.text
        and "difference was" in said.text
    )
    assert (
        "mse better against ce (equal rates at lr 0.003" in said.text
        and "verdict was better, is undecided" in said.text
    )
    assert "Traceback" not in said.text


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_without_a_traceback(store: Path) -> None:
    command = [sys.executable, ROOT / "reports" / "generate.py", "aa=all"]
    process = subprocess.Popen(
        command,
        cwd=store,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    process.stdout.close()  # as in `generate report | head -1`
    assert process.stderr.read() == "reading the runs\n"
    assert process.wait() == 1
    process.stderr.close()


def test_a_loss_against_itself(store: Path, report: Report) -> None:
    said = report(store, "aa=all")
    assert said.code == 0
    assert "ce against ce is undecided" in said.text and "mse against mse is undecided" in said.text
    assert "A/A on ce, mse: 0 of 2 comparisons" in said.text
    assert (
        report(store, "aa=focal").text.strip()
        == "aa=focal: no run has this loss; there are ce, mse"
    )


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


# ---- what it says when it cannot -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["metric=val/loss"],
            "metric=val/loss: values of different losses are never compared, each has its own unit",
        ),
        (["metric=accuracy"], "expected one of test/accuracy, test/nll"),
        (["metric=val/accuracy"], "metric=val/accuracy: expected one of"),
        (["metric=test/accuracy_x"], "test/accuracy_CLASS"),
        (["metric=corrupted/accuracy_snow"], "corrupted/accuracy_{gaussian_noise,shot_noise,"),
        (
            ["metric=test/temperature"],
            "metric=test/temperature: no temperature is better than another; expected",
        ),
        (["margin=-0.1"], "margin=-0.1: expected a number of at least 0"),
        (["margin=wide"], "margin"),
        (["formats=[gif]"], "expected a list of some of svg, png"),
        (["tuning_seeds=[]"], "tuning_seeds=[]: expected some seeds"),
        (["tuning_seeds=[a]"], "tuning_seeds"),
        (["seed=-1"], "seed=-1: expected a whole number"),
        (["seed=1.5"], "seed"),
        (["check=a", "aa=ce"], "check and aa: expected one of them"),
        (["compare=[a]"], "compare=['a']: expected two run ids, compare=[A,B]"),
        (["compare=[a,b]", "aa=ce"], "aa and compare: expected one of them"),
        (
            ["referenc=ce"],
            "referenc: a report has no such option; did you mean reference? There are experiment, "
            "sweep",
        ),
        (["tracking=server"], "tracking: a report has no such option; did you mean tracking.uri?"),
        (["from=a.csv", "sweep=b"], "from and sweep: expected one of them, got both"),
        (["from=a.csv", "tracking.uri=sqlite:///b"], "from and tracking.uri: expected one"),
        (["from="], "from: expected a name, got nothing"),
        (["from=none.csv"], "from: cannot read none.csv: No such file"),
        (["word"], "word"),
        (["-m", "seed=1,2"], "one report at a time"),
        (["reprot"], "there is no 'reprot' to generate; expected: generate report"),
    ],
)
def test_wrong_options(tmp_path: Path, report: Report, arguments: list[str], message: str) -> None:
    said = report(tmp_path, *arguments)
    assert said.code != 0
    assert message in said.text and "Traceback" not in said.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", with_slow([["--help"]], [["nonsense=1"], ["metric=test/loss"]])
)
def test_help_and_wrong_options_load_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom reports.generate import main\n"
        f"sys.argv = ['generate', 'report', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.rstrip().endswith("loaded: []"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nowhere"], "no experiment"),
        (["sweep=nowhere"], "no sweep"),
        (["where.model=convnet"], "where: no run has model=convnet; expected one of: mlp"),
        (["reference=focal"], "reference=focal: no run has this loss; there are ce, mse"),
        (
            ["tuning_seeds=[7]"],
            "tuning_seeds [7] have no runs: the runs of 2 epochs have the seeds [0, 1], in the "
            "setting",
        ),
        (["check=none.json"], "check: cannot read none.json: No such file"),
        (["check=mlflow.db"], "check: cannot read mlflow.db"),
        (["tracking.uri=sqlite:///none.db"], "none.db"),
        (["output=mlflow.db"], "output: mlflow.db is a file"),
        (["output=mlartifacts"], "output: mlartifacts holds something that is not a report"),
        (["output=/proc/self/nowhere"], "output: cannot write to /proc/self/nowhere"),
    ],
)
def test_questions_that_cannot_be_answered(
    store: Path, report: Report, arguments: list[str], message: str
) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in store.rglob("*") if "outputs" not in path.parts
    }
    said = report(store, *arguments)
    assert said.code == 1
    assert message in said.text and "Traceback" not in said.text
    assert {
        path: path.stat().st_mtime_ns for path in store.rglob("*") if "outputs" not in path.parts
    } == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reference=cee"], "reference=cee: no run has this loss"),
        (["tuning_seeds=[0,1]"], "leave none to evaluate"),
    ],
)
def test_a_refused_report_leaves_an_earlier_one_and_the_directory_as_they_are(
    written: tuple[Path, str],
    store: Path,
    report: Report,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(written[0], earlier)
    before = {path: path.stat().st_mtime_ns for path in earlier.rglob("*") if path.is_file()}
    assert len([path for path in before if path.parent.name in ("figures", "tables")]) > 30
    said = report(store, f"output={earlier}", *arguments)
    assert said.code == 1 and message in said.text
    assert {
        path: path.stat().st_mtime_ns for path in earlier.rglob("*") if path.is_file()
    } == before
    assert report(store, f"output={tmp_path / 'new' / 'deep'}", *arguments).code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.usefixtures("undrawn")
def test_a_report_replaces_the_figures_and_tables_of_an_earlier_one_and_no_more(
    written: tuple[Path, str], store: Path, report: Report, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(written[0], earlier)
    (earlier / "figures" / "epochs.svg").write_text("of other runs")
    (earlier / "tables" / "notes.txt").write_text("someone's own")
    assert report(store, f"output={earlier}", "formats=[svg]", "where.seed=0").code == 0
    names = {str(path.relative_to(earlier)) for path in earlier.rglob("*") if path.is_file()}
    assert "figures/final.svg" in names and "tables/notes.txt" in names
    assert not [name for name in names if name.endswith((".png", "epochs.svg"))]


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_asks_otherwise_stands_beside_the_usual_one(
    written: tuple[Path, str], store: Path, report: Report
) -> None:
    directory, _ = written
    before = contents(directory)
    (page,) = store.glob("mlartifacts/**/artifacts/report/index.html")
    stored = page.read_bytes()
    said = report(store, "metric=test/macro_f1", "margin=1", "formats=[svg]")
    assert said.code == 0, said.text
    name = re.search(r"report: outputs/reports/(\S+)/index.html", said.text)
    assert name is not None
    assert re.fullmatch(r"digits-margin-1\.0-metric-test-macro_f1-[0-9a-f]{6}", name[1])
    assert contents(directory) == before
    assert said.text.rstrip().endswith(f"artifact path report-{name[1]}")
    (other,) = store.glob(f"mlartifacts/**/artifacts/report-{name[1]}/index.html")
    assert page.read_bytes() == stored != other.read_bytes()
    assert report(store, f"check={directory.parent / name[1] / 'verdicts.json'}").code == 0


def test_every_option_that_changes_a_report_changes_its_name_and_the_usual_values_do_not() -> None:
    def unusual(*overrides: str) -> dict[str, str]:
        with hydra.initialize_config_dir(str(generate.CONF), version_base="1.3"):
            typed = options.lengthen(list(overrides))
            cfg = hydra.compose("report", typed)
            return request.unusual(options.read(cfg, typed))

    assert (
        unusual() == unusual("metric=test/accuracy", "reference=ce", "margin=null", "seed=0") == {}
    )
    assert unusual("formats=[svg]", "output=x", "where.model=mlp", "sweep=y") == {}
    found = {
        "metric": ("metric=test/ece", "test/ece"),
        "reference": ("reference=mse", "mse"),
        "margin": ("margin=0.5", "0.5"),
        "all_pairs": ("all_pairs=true", "True"),
        "across": ("across=data", "data"),
        "target": ("target=0.90", "0.9"),
        "tuning_seeds": ("tuning_seeds=[1,0]", "0,1"),
        "seed": ("seed=3", "3"),
        "baselines": ("baselines=true", "true"),
    }
    for name, (typed, value) in found.items():
        assert unusual(typed) == {name: value}
    assert unusual("baselines=true", "reference=ce") == {"baselines": "true", "reference": "ce"}
    asked = [unusual(typed) for typed, _ in found.values()]
    runs = named("e")
    assert len({files.report_name(runs, {}, each) for each in [{}, *asked]}) == 10
    assert files.report_name(runs, {"seed": 3}, {}) != files.report_name(runs, {}, {"seed": 3})


def test_no_store(tmp_path: Path) -> None:
    done = generate_forked(tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "mlflow.db" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_stored_says_why(store: Path) -> None:
    runs = load(f"sqlite:///{store / 'mlflow.db'}")
    for parents in (["one", "one", "other", "other"], ["one", "one", "one", None]):
        runs.summary["parent_run_id"] = parents
        assert files.store_with_parent(store, runs).startswith(
            "not stored in MLflow: these runs are not of one sweep"
        )


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("digits", {}, r"digits"),
        ("../../etc/passwd", {}, r"etc-passwd-[0-9a-f]{6}"),
        ("a b", {}, r"a-b-[0-9a-f]{6}"),
        ("..", {}, r"report-[0-9a-f]{6}"),
        ("x" * 5000, {}, r"x{60}-[0-9a-f]{6}"),
        ("mnist", {"model": "mlp"}, r"mnist-model-mlp-[0-9a-f]{6}"),
    ],
)
def test_names_of_directories_are_safe(name: str, where: dict[str, str], expected: str) -> None:
    assert re.fullmatch(expected, files.report_name(named(name), where, {}))


def test_names_that_differ_have_directories_that_differ() -> None:
    names = ("a b", "a/b", "a?b", "a-b")
    assert len({files.report_name(named(name), {}, {}) for name in names}) == 4


def test_reports_of_different_sweeps_or_stores_have_directories_that_differ(tmp_path: Path) -> None:
    sweep = named("first", sweeps={"0123456789": "losses"})
    assert files.report_name(sweep, {}, {}) == "first-losses-01234567"
    others = [
        named("second", sweeps={"abcdef0123": "losses"}),
        named("first", sweeps={"abcdef0123": "losses"}),
        named("first", sweeps={"0123456789": "rates"}),
        named("first", sweeps={"0123456789": "losses", "abcdef0123": "losses"}),
        replace(named("first"), experiments=("first", "second")),
        replace(sweep, uri=f"sqlite:///{tmp_path / 'mlflow.db'}"),
        replace(sweep, uri="http://one:5000"),
        replace(sweep, uri="http://other:5000"),
        named("losses"),
        named("first"),
    ]
    assert len({files.report_name(each, {}, {}) for each in [sweep, *others]}) == 11


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_reports_of_sweeps_with_one_name_do_not_replace_each_other(
    report: Report, sweep: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copy(sweep[0] / "mlflow.db", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (parent,) = sweeps(client.tracking_uri)["run_id"]
    name = client.get_run(parent).info.run_name
    again = client.create_run(
        client.get_run(parent).info.experiment_id, tags={"kind": "sweep"}, run_name=name
    ).info.run_id
    for run in client.search_runs(["1"], "tags.kind = 'run'")[:2]:
        client.set_tag(run.info.run_id, "mlflow.parentRunId", again)
    client.set_terminated(again)
    said = [report(tmp_path, f"sweep={each}", "formats=[svg]") for each in (parent, again)]
    assert [each.code for each in said] == [0, 0], said
    pages = [re.search(r"report: (\S+)", each.text)[1] for each in said]  # type: ignore[index]
    for page, each in zip(pages, (parent, again), strict=True):
        assert re.fullmatch(
            rf"outputs/reports/digits-ce-mse-4-runs--{each[:8]}-\w{{6}}/index.html", page
        )
    assert len({(tmp_path / page).read_bytes() for page in pages}) == 2


def test_filters_need_no_plus() -> None:
    typed = ["where.model=mlp", "sweep=abc", "seed=1"]
    assert options.lengthen(typed) == ["++where.model=mlp", "sweep=abc", "seed=1"]
    assert options.shorten(options.lengthen(typed)) == typed


def test_the_configuration_says_what_every_option_is() -> None:
    lines = (generate.CONF / "report.yaml").read_text(encoding="utf-8").splitlines()
    for name in options.NAMES:
        start = f"  {name[9:]}:" if name.startswith("tracking.") else f"{name}:"
        (place,) = [i for i, line in enumerate(lines) if line.startswith(start)]
        assert "#" in lines[place] or lines[place - 1].startswith("# ")


@pytest.mark.slow
def test_a_report_on_a_file_from_elsewhere_needs_no_store(tmp_path: Path) -> None:
    values = {"ce": (91, 92, 90.5, 91.5), "mse": (94, 93.5, 93, 94.5)}
    lines = [
        f"{loss},{lr},{seed},10,{value - lr},{value}"
        for loss, each in values.items()
        for lr in (0.1, 0.2)
        for seed, value in enumerate(each[: 4 if lr == 0.1 else 3])
    ]
    header = "loss,lr,seed,epochs,val_accuracy_percent,test_accuracy_percent"
    file = tmp_path / "results.csv"
    file.write_text("\n".join([header, *lines]), encoding="utf-8")
    done = generate_forked(tmp_path, "from=results.csv", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert "mse is better than ce: +2.50 points" in done.stdout
    assert "WARNING: imported from results.csv: pairing not proved" in done.stdout
    assert "not stored in MLflow: the runs are imported from results.csv" in done.stdout
    assert not re.search(r"\| mlflow$", done.stderr, flags=re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "results.csv"]

    directory = tmp_path / "outputs" / "reports" / "results.csv"
    page = (directory / "report.md").read_text(encoding="utf-8")
    assert "imported from results.csv" in page.splitlines()[2]
    assert "experiments/run.py" not in page + (directory / "index.html").read_text("utf-8")
    commands = re.findall(r"^generate report (.*)$", page, flags=re.MULTILINE)
    assert commands == [
        "from=results.csv", "check=outputs/reports/results.csv/verdicts.json",
    ]  # fmt: skip
    held = generate_forked(tmp_path, commands[1])
    assert held.returncode == 0 and "verdicts of" in held.stdout and "hold" in held.stdout
    file.write_text(file.read_text("utf-8").replace(",94.5", ",93.5"), encoding="utf-8")
    broken = generate_forked(tmp_path, commands[1])
    assert broken.returncode == 1 and "no longer hold" in broken.stderr


@pytest.mark.server
def test_a_report_on_a_tracking_server(store: Path, tmp_path: Path, report: Report) -> None:
    """The same page as from the file behind the server, stored with the sweep on the server."""
    path = altered(store, tmp_path) / "mlflow.db"
    parent = sweeps(f"sqlite:///{path}")["run_id"].iloc[0]
    (tmp_path / "kept").mkdir()
    kept = (tmp_path / "kept").as_uri()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (kept, parent))
        database.commit()
    assert report(tmp_path, "output=from-file").code == 0
    with read_store.server(path) as address:
        done = generate_forked(tmp_path, f"tracking.uri={address}", "output=from-server")
        assert done.returncode == 0, done.stderr
        assert f"stored with the sweep's run {parent} in MLflow" in done.stdout
        check = report(tmp_path, f"tracking.uri={address}", "check=from-server/verdicts.json")
        assert check.code == 0 and "verdicts of from-server/verdicts.json hold" in check.text
    one, other = contents(tmp_path / "from-file"), contents(tmp_path / "from-server")
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} <= {
        "index.html",
        "report.md",
    }  # their commands
    assert contents(tmp_path / "kept" / "report") == other


# ---- stores that are odd -------------------------------------------------------------------------


def altered(store: Path, directory: Path, *statements: tuple[str, tuple[object, ...]]) -> Path:
    """A copy of the store's database, without its artifacts' files, after these SQL statements."""
    shutil.copy(store / "mlflow.db", directory)
    with contextlib.closing(sqlite3.connect(directory / "mlflow.db")) as database:
        database.execute("UPDATE runs SET artifact_uri = 'file:///nowhere/' || run_uuid")
        for statement, values in statements:
            database.execute(statement, values)
        database.commit()
    return directory


@pytest.mark.slow
def test_hostile_names_in_the_store(store: Path, tmp_path: Path, report: Report) -> None:
    altered(
        store,
        tmp_path,
        ("UPDATE params SET value = ? WHERE key = 'loss' AND value = 'mse'", (HOSTILE,)),
        ("UPDATE params SET value = ? WHERE key = 'optimizer'", (HOSTILE,)),
        ("UPDATE experiments SET name = ? WHERE name = 'digits'", (HOSTILE[:400],)),
        ("UPDATE runs SET name = ?", (HOSTILE[:200],)),
    )
    said = report(tmp_path, "formats=[svg]")
    assert said.code == 0, said.text
    assert "Traceback" not in said.text
    (directory,) = (tmp_path / "outputs" / "reports").iterdir()
    assert re.fullmatch(r"[\w.-]{1,67}", directory.name)
    html = (directory / "index.html").read_text(encoding="utf-8")
    assert (
        html.count("<script") == 1 and "<script>alert" not in html and "&lt;script&gt;alert" in html
    )
    assert all(re.fullmatch(r"[a-z0-9/.-]+", name) for name in contents(directory) if "/" in name)
    assert report(tmp_path, f"check={directory / 'verdicts.json'}").code == 0


@pytest.mark.slow
def test_characters_that_no_font_has_are_reported(
    store: Path, tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(
        store,
        tmp_path,
        ("UPDATE params SET value = '交叉熵' WHERE key = 'loss' AND value = 'mse'", ()),
    )
    monkeypatch.setattr(fonts, "_installed", lambda: iter(()))
    said = report(tmp_path, "formats=[svg]")
    assert said.code == 0, said.text
    expected = (
        "No installed font has these characters of names: 交 (U+4EA4), 叉 (U+53C9), 熵 (U+71B5). "
        "The figures show a box for each. Install a font that has them, for example Noto Sans CJK "
        "(Debian and Ubuntu: apt install fonts-noto-cjk), and make the report again."
    )
    assert said.text.count(expected) == 1
    assert "missing from" not in said.text  # matplotlib's warning for each character
    (directory,) = (tmp_path / "outputs" / "reports").iterdir()
    assert expected in (directory / "index.html").read_text(encoding="utf-8")


def test_predictions_and_metrics_that_are_gone(store: Path, tmp_path: Path, report: Report) -> None:
    mse = "(SELECT run_uuid FROM params WHERE key = 'loss' AND value = 'mse')"
    altered(
        store,
        tmp_path,
        (f"DELETE FROM latest_metrics WHERE key LIKE 'test/%' AND run_uuid IN {mse}", ()),
        (f"DELETE FROM metrics WHERE key = 'val/loss' AND run_uuid IN {mse}", ()),
        (
            "UPDATE latest_metrics SET value = 0, is_nan = 1 WHERE key = 'val/accuracy' AND "
            f"run_uuid IN {mse}",
            (),
        ),
    )
    said = report(tmp_path, "formats=[svg]")
    assert said.code == 0, said.text
    assert "mse against ce is undecided: there is no test accuracy of both to compare." in said.text
    html = (tmp_path / "outputs" / "reports" / "digits" / "index.html").read_text(encoding="utf-8")
    assert "No run here stored its predictions" in html
    assert "n/a" in html and not re.search(r">\s*nan\b", html)


def test_runs_that_all_failed(store: Path, tmp_path: Path, report: Report) -> None:
    altered(
        store,
        tmp_path,
        ("UPDATE tags SET value = 'failed' WHERE key = 'outcome'", ()),
        ("UPDATE runs SET status = 'FAILED'", ()),
        ("DELETE FROM latest_metrics", ()),
        ("DELETE FROM metrics", ()),
    )
    said = report(tmp_path, "formats=[svg]")
    assert said.code == 0, said.text
    html = (tmp_path / "outputs" / "reports" / "digits" / "index.html").read_text(encoding="utf-8")
    assert "there is nothing to compare" in html and "4 failed" in html
