"""Reports on other metrics, files, servers and odd stores."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from benchmarks import read_store
from helpers.commands import Report
from helpers.forked import generate as generate_forked
from helpers.reported import contents
from helpers.stores import execute
from helpers.synthetic_runs import HOSTILE
from mlflow.tracking import MlflowClient

from reports import metrics
from reports.figures import fonts
from reports.runs import load, sweeps


@pytest.mark.usefixtures("undrawn")
def test_a_report_by_another_metric_than_accuracy(
    sweep_store: Path, tmp_path: Path, report: Report
) -> None:
    """From a store in which both losses have an AURC, ce's the smaller by 0.0125 and 0.0135."""
    run = "(SELECT run_uuid FROM params WHERE key = '{}' AND value = ?)"
    put = "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
    put += "SELECT 'test/aurc', ?, 0, 0, 0, run_uuid FROM runs "
    put += f"WHERE run_uuid IN {run.format('loss')} AND run_uuid IN {run.format('seed')}"
    values = {("ce", "0"): 0.01, ("ce", "1"): 0.011, ("mse", "0"): 0.0225, ("mse", "1"): 0.0245}
    statements = [(put, (value, *which)) for which, value in values.items()]
    gone = "DELETE FROM latest_metrics WHERE key = 'test/aurc'"
    altered(sweep_store, tmp_path, gone, *statements)
    result = report(tmp_path, "metric=test/aurc", "margin=1.4", "formats=[svg]", "output=by-aurc")
    assert result.code == 0, result.text
    assert "by test AURC after 2 epochs, at learning rate 0.003. Intervals and tests" in result.text
    assert "are for new seeds on this test set, not for other test examples. Equiv" in result.text
    sentence = (
        "mse against ce is undecided (too few seeds): +1.300 points of test AURC (95 % interval"
    )
    assert sentence in result.text
    files = contents(tmp_path / "by-aurc")
    content = json.loads(files["verdicts.json"])
    assert content["question"]["metric"] == "test/aurc"
    assert {comparison["metric"] for comparison in content["contrasts"]} == {"test/aurc"}
    differences = [comparison["difference"] for comparison in content["contrasts"]]
    assert differences == pytest.approx([1.3, 1.3])
    assert {comparison["margin"] for comparison in content["contrasts"]} == {1.4}
    lines = files["tables/metric.csv"].decode().splitlines()
    assert lines[0] == "loss,lr,test_aurc_percent,test_aurc_percent_low,test_aurc_percent_high,runs"
    means = {line.split(",")[0]: float(line.split(",")[2]) for line in lines[1:]}
    assert means == pytest.approx({"ce": 1.05, "mse": 2.35})
    html = files["index.html"].decode()
    assert "Test AURC after the last epoch" in html and "lower is better." in html
    assert report(tmp_path, "check=by-aurc/verdicts.json").code == 0

    result = report(tmp_path, "metric=corrupted/accuracy_fog", "formats=[svg]")
    assert result.code == 0 and "only runs with corruptions=true have it." in result.text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_head_that_lacks_the_metric_is_told_so(
    sweep_store: Path, tmp_path: Path, report: Report
) -> None:
    altered(sweep_store, tmp_path)
    result = report(tmp_path, "metric=test/aurc", "formats=[svg]", "output=by-aurc")
    assert result.code == 0, result.text
    assert (
        "mse against ce is undecided: they cannot be compared, since one or both have no test AURC."
        in result.text
    )
    lines = (tmp_path / "by-aurc" / "tables" / "metric.csv").read_text().splitlines()
    (ce,) = [line.split(",") for line in lines if line.startswith("ce,")]
    (mse,) = [line.split(",") for line in lines if line.startswith("mse,")]
    runs = load(f"sqlite:///{sweep_store / 'mlflow.db'}").summary
    expected = 100 * runs.loc[runs["loss"] == "ce", "test_aurc"].mean()
    assert float(ce[2]) == pytest.approx(expected) and mse[2:5] == ["", "", ""] and mse[5] == "0"
    assert "n/a" in (tmp_path / "by-aurc" / "report.md").read_text()


def test_every_number_of_a_real_run_is_offered_or_refused(sweep_store: Path) -> None:
    summary = load(f"sqlite:///{sweep_store / 'mlflow.db'}").summary
    there = {name for name in summary if name.startswith(("test_", "corrupted_"))}
    there = {name for name in there if summary[name].notna().any()}
    refused = {f"test_{name}" for name in metrics.REFUSED}
    assert refused <= there
    assert there - refused <= set(metrics.OFFERED) and len(there - refused) == 13


def test_help_names_every_metric_with_its_direction(tmp_path: Path, report: Report) -> None:
    result = report(tmp_path, "--help")
    assert result.code == 0
    for line in metrics.described().splitlines():
        assert line.strip() in result.text
    aurc = "test/aurc                 test AURC (%): lower is better; only of losses of logits"
    assert aurc in result.text


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_check_says_that_the_sweep_of_a_file_was_deleted_and_checks_its_claims(
    sweep_store: Path, tmp_path: Path, report: Report
) -> None:
    altered(sweep_store, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (parent,) = sweeps(uri)["run_id"]
    assert report(tmp_path, f"sweep={parent}", "formats=[svg]", "output=page").code == 0
    MlflowClient(uri).delete_run(parent)
    result = report(tmp_path, "check=page/verdicts.json")
    first, last = result.text.strip().splitlines()
    gone = f"the same report cannot be made again: the sweep '{parent}' was deleted"
    assert first.startswith(gone)
    assert (result.code, last) == (0, "all 2 verdicts of page/verdicts.json hold")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_file_of_baselines_is_made_with_the_notes_and_warnings_of_a_report(
    sweep_store: Path, tmp_path: Path, report: Report
) -> None:
    altered(sweep_store, tmp_path)
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
def test_a_report_on_a_tracking_server(sweep_store: Path, tmp_path: Path, report: Report) -> None:
    """The same page as from the file behind the server, stored with the sweep on the server."""
    path = altered(sweep_store, tmp_path) / "mlflow.db"
    parent = sweeps(f"sqlite:///{path}")["run_id"].iloc[0]
    (tmp_path / "kept").mkdir()
    kept = (tmp_path / "kept").as_uri()
    execute(path, ("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (kept, parent)))
    assert report(tmp_path, "output=from-file").code == 0
    with read_store.server(path) as address:
        done = generate_forked(tmp_path, f"tracking.uri={address}", "output=from-server")
        assert done.returncode == 0, done.stderr
        assert f"stored with the sweep's run {parent} in MLflow" in done.stdout
        check = report(tmp_path, f"tracking.uri={address}", "check=from-server/verdicts.json")
        assert check.code == 0 and "verdicts of from-server/verdicts.json hold" in check.text
    one, other = contents(tmp_path / "from-file"), contents(tmp_path / "from-server")
    assert one.keys() == other.keys()
    differ = {name for name in one if one[name] != other[name]}
    assert differ <= {"index.html", "report.md"}  # their commands
    assert contents(tmp_path / "kept" / "report") == other


# ---- stores that are odd -------------------------------------------------------------------------


def altered(
    sweep_store: Path, directory: Path, *statements: str | tuple[str, tuple[object, ...]]
) -> Path:
    """A copy of the store's database, without its artifacts' files, after these SQL statements."""
    path = Path(shutil.copy(sweep_store / "mlflow.db", directory))
    execute(path, "UPDATE runs SET artifact_uri = 'file:///nowhere/' || run_uuid", *statements)
    return directory


@pytest.mark.slow
def test_hostile_names_in_the_store(sweep_store: Path, tmp_path: Path, report: Report) -> None:
    altered(
        sweep_store,
        tmp_path,
        ("UPDATE params SET value = ? WHERE key = 'loss' AND value = 'mse'", (HOSTILE,)),
        ("UPDATE params SET value = ? WHERE key = 'optimizer'", (HOSTILE,)),
        ("UPDATE experiments SET name = ? WHERE name = 'digits'", (HOSTILE[:400],)),
        ("UPDATE runs SET name = ?", (HOSTILE[:200],)),
    )
    result = report(tmp_path, "formats=[svg]")
    assert result.code == 0, result.text
    assert "Traceback" not in result.text
    (directory,) = (tmp_path / "outputs" / "reports").iterdir()
    assert re.fullmatch(r"[\w.-]{1,67}", directory.name)
    html = (directory / "index.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1 and "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert all(re.fullmatch(r"[a-z0-9/.-]+", name) for name in contents(directory) if "/" in name)
    assert report(tmp_path, f"check={directory / 'verdicts.json'}").code == 0


@pytest.mark.slow
def test_characters_that_no_font_has_are_reported(
    sweep_store: Path, tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    mse = "WHERE key = 'loss' AND value = 'mse'"
    altered(sweep_store, tmp_path, f"UPDATE params SET value = '交叉熵' {mse}")
    monkeypatch.setattr(fonts, "_installed", lambda: iter(()))
    result = report(tmp_path, "formats=[svg]")
    assert result.code == 0, result.text
    expected = (
        "No installed font has these characters of names: 交 (U+4EA4), 叉 (U+53C9), 熵 (U+71B5). "
        "The figures show a box for each. Install a font that has them, for example Noto Sans CJK "
        "(Debian and Ubuntu: apt install fonts-noto-cjk), and make the report again."
    )
    assert result.text.count(expected) == 1
    assert "missing from" not in result.text  # matplotlib's warning for each character
    (directory,) = (tmp_path / "outputs" / "reports").iterdir()
    assert expected in (directory / "index.html").read_text(encoding="utf-8")


def test_predictions_and_metrics_that_are_gone(
    sweep_store: Path, tmp_path: Path, report: Report
) -> None:
    mse = "(SELECT run_uuid FROM params WHERE key = 'loss' AND value = 'mse')"
    statements = [
        "DELETE FROM latest_metrics WHERE key LIKE 'test/%'",
        "DELETE FROM metrics WHERE key = 'val/loss'",
        "UPDATE latest_metrics SET value = 0, is_nan = 1 WHERE key = 'val/accuracy'",
    ]
    altered(sweep_store, tmp_path, *(f"{each} AND run_uuid IN {mse}" for each in statements))
    result = report(tmp_path, "formats=[svg]")
    assert result.code == 0, result.text
    words = "undecided: they cannot be compared, since one or both have no test accuracy."
    assert words in result.text
    html = (tmp_path / "outputs" / "reports" / "digits" / "index.html").read_text(encoding="utf-8")
    assert "No run here stored its predictions" in html
    assert "n/a" in html and not re.search(r">\s*nan\b", html)


def test_runs_that_all_failed(sweep_store: Path, tmp_path: Path, report: Report) -> None:
    altered(
        sweep_store,
        tmp_path,
        *("DELETE FROM latest_metrics", "DELETE FROM metrics"),
        "UPDATE tags SET value = 'failed' WHERE key = 'outcome'",
        "UPDATE runs SET status = 'FAILED'",
    )
    result = report(tmp_path, "formats=[svg]")
    assert result.code == 0, result.text
    html = (tmp_path / "outputs" / "reports" / "digits" / "index.html").read_text(encoding="utf-8")
    assert "there is nothing to compare" in html and "4 failed" in html
