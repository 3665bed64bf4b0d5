"""What `generate report` says when it cannot, and the names of its directories."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import pytest
from helpers.commands import Report
from helpers.forked import generate as generate_forked
from helpers.marks import with_slow
from helpers.reported import written_at
from mlflow.tracking import MlflowClient

from reports import files, generate, options, request
from reports.runs import Runs, load, sweeps

HEAVY = ("mlflow", "pandas", "matplotlib", "scipy", "paddle", "jinja2")


def named(experiment: str, **fields: Any) -> Runs:
    """No runs of an experiment in the store of the current directory."""
    none = pd.DataFrame()
    fields = {"uri": f"sqlite:///{Path.cwd() / 'mlflow.db'}"} | fields
    empty = Runs("", (experiment,), {}, summary=none, curves=none, missing=none)
    return replace(empty, **fields)


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
    result = report(tmp_path, *arguments)
    assert result.code != 0
    assert message in result.text and "Traceback" not in result.text
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
    command = [sys.executable, "-c", code]
    printed = subprocess.check_output(command, cwd=tmp_path, text=True, timeout=300)
    assert printed.rstrip().endswith("loaded: []"), printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nowhere"], "no experiment"),
        (["sweep=nowhere"], "no sweep"),
        (["where.model=convnet"], "where: no run has model=convnet; expected one of: mlp"),
        (["reference=focal"], "reference=focal: no run has this loss; there are ce, mse"),
        (
            ["tuning_seeds=[7]"],
            "tuning_seeds [7] have no runs: the runs of 2 epochs have the seeds [0, 1], in the",
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
    sweep_store: Path, report: Report, arguments: list[str], message: str
) -> None:
    parts = sweep_store / "mlflow.db", sweep_store / "mlartifacts"
    before = [parts[0].stat().st_mtime_ns, written_at(parts[1])]
    result = report(sweep_store, *arguments)
    assert result.code == 1
    assert message in result.text and "Traceback" not in result.text
    assert [parts[0].stat().st_mtime_ns, written_at(parts[1])] == before
    assert {path.name for path in sweep_store.iterdir()} <= {"mlflow.db", "mlartifacts", "outputs"}


def test_every_option_that_changes_a_report_changes_its_name_and_the_usual_values_do_not() -> None:
    def unusual(*overrides: str) -> dict[str, str]:
        with hydra.initialize_config_dir(str(generate.CONF), version_base="1.3"):
            typed = options.lengthen(list(overrides))
            cfg = hydra.compose("report", typed)
            return request.unusual(options.read(cfg, typed))

    assert unusual() == {}
    assert unusual("metric=test/accuracy", "reference=ce", "margin=null", "seed=0") == {}
    assert unusual("formats=[svg]", "output=x", "where.model=mlp", "sweep=y") == {}
    cases = {
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
    for name, (typed, value) in cases.items():
        assert unusual(typed) == {name: value}
    assert unusual("baselines=true", "reference=ce") == {"baselines": "true", "reference": "ce"}
    variants = [unusual(typed) for typed, _ in cases.values()]
    runs = named("e")
    assert len({files.report_name(runs, {}, each) for each in [{}, *variants]}) == 10
    assert files.report_name(runs, {"seed": 3}, {}) != files.report_name(runs, {}, {"seed": 3})


def test_no_store(tmp_path: Path) -> None:
    done = generate_forked(tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "mlflow.db" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_stored_says_why(sweep_store: Path) -> None:
    runs = load(f"sqlite:///{sweep_store / 'mlflow.db'}")
    for parents in (["one", "one", "other", "other"], ["one", "one", "one", None]):
        runs.summary["parent_run_id"] = parents
        said = files.store_with_parent(sweep_store, runs)
        assert said.startswith("not stored in MLflow: these runs come from several commands")


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
    shutil.copytree(sweep[0] / "mlartifacts", tmp_path / "mlartifacts")  # `sweep` is shared
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (parent,) = sweeps(client.tracking_uri)["run_id"]
    name = client.get_run(parent).info.run_name
    again = client.create_run("1", tags={"kind": "sweep"}, run_name=name).info.run_id
    for run in client.search_runs(["1"], "tags.kind = 'run'")[:2]:
        client.set_tag(run.info.run_id, "mlflow.parentRunId", again)
    client.set_terminated(again)
    said = [report(tmp_path, f"sweep={each}", "formats=[svg]") for each in (parent, again)]
    assert [each.code for each in said] == [0, 0], said
    pages = [re.search(r"report: (\S+)", each.text)[1] for each in said]  # type: ignore[index]
    for page, each in zip(pages, (parent, again), strict=True):
        name = rf"digits-ce-mse-4-runs--{each[:8]}-\w{{6}}"
        assert re.fullmatch(f"outputs/reports/{name}/index.html", page)
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
