"""What MLflow's own pages show, and what MLflow's environment must not disturb."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import time
from pathlib import Path
from unittest import mock

import pytest
from helpers.browser import CHROMIUM, Browser
from helpers.commands import RUN, SMALL, clean_environment, mlflow_server, wait_for
from helpers.stores import client, lasting
from mlflow.entities import Run

LINK = re.compile(r"^ +(http://127\.0\.0\.1:5000/#/experiments/1/runs\?\S+)$", re.MULTILINE)


def of_kind(directory: Path, kind: str) -> list[Run]:
    return list(client(directory).search_runs(["1"], f"tags.kind = '{kind}'"))


def test_the_run_of_a_sweep_shows_its_table_and_the_mean_of_each_loss(
    sweep: tuple[Path, str],
) -> None:
    directory, printed = sweep
    (parent,) = of_kind(directory, "sweep")[-1:]
    runs = of_kind(directory, "run")
    for loss in ("mse", "ce"):
        own = [r.data.metrics["test/accuracy"] for r in runs if r.data.params["loss"] == loss]
        assert parent.data.metrics[f"mean_test_accuracy/{loss}"] == pytest.approx(sum(own) / 2)
    note = parent.data.tags["mlflow.note.content"]
    table = printed[printed.index("loss    lr") :].partition("\n\n")[0]
    noted, shown = ([line.strip() for line in each.splitlines()] for each in (note, table))
    assert noted == shown
    assert LINK.search(printed)


def test_a_run_logs_few_metrics_and_its_model_has_its_name(sweep: tuple[Path, str]) -> None:
    directory, _ = sweep
    for run in of_kind(directory, "run"):
        assert "data/flipped" not in run.data.metrics
        assert not [name for name in run.data.metrics if re.search(r"accuracy_\d", name)]
        (output,) = run.outputs.model_outputs
        name = client(directory).get_logged_model(output.model_id).name
        assert name == run.info.run_name.replace(".", "_").replace("/", "_")


def test_a_view_that_cannot_be_saved_costs_nothing_but_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from experiments import tracking

    store = tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "e")
    assert tracking.link(store).startswith("http://127.0.0.1:5000/#/experiments/1/runs?")
    before = store.client.get_experiment("1").tags["mlflow.sharedViewState.losses"]
    address = tracking.link(store)  # the view is there already, and stays as it is
    tags = store.client.get_experiment("1").tags
    assert tags["mlflow.sharedViewState.losses"] == before
    view = address.removeprefix(tracking.pages.LOCAL)[1:]
    assert tags["mlflow.note.content"].endswith(f"]({view})")
    store.client.set_experiment_tag("1", "mlflow.note.content", "mine")
    assert tracking.link(store)
    assert store.client.get_experiment("1").tags["mlflow.note.content"] == "mine"

    broken = mock.Mock()
    broken.get_experiment.side_effect = RuntimeError("no view today")
    broken.log_batch.side_effect = RuntimeError("no batch today")
    store = dataclasses.replace(store, client=broken)
    assert tracking.link(store) == ""
    tracking.describe(store, "run", "text", {"ce": 0.5})
    assert [text for text in caplog.messages if "today" in text] == [
        "MLflow's pages have no view of the losses: no view today",
        "the sweep's run has no description: no batch today",
    ]


@pytest.mark.slow
def test_variables_of_mlflow_disturb_no_run(sweep: tuple[Path, str], tmp_path: Path) -> None:
    """Autologging, the id of another run and system metrics: the numbers and names stay."""
    variables = {
        "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
    }
    # Python imports it when it starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import mlflow\nmlflow.autolog()\nopen('autologs', 'w').close()\n"
    )
    environment = clean_environment() | variables | {"PYTHONPATH": str(tmp_path)}
    command = [*RUN, "loss=ce", "seed=0", *SMALL]
    subprocess.check_output(command, cwd=tmp_path, env=environment, timeout=300)
    assert (tmp_path / "autologs").exists()
    (run,) = of_kind(tmp_path, "run")
    by_identity = {each.data.tags["identity"]: each for each in of_kind(sweep[0], "run")}
    same = by_identity[run.data.tags["identity"]]
    assert run.info.run_id != variables["MLFLOW_RUN_ID"]
    assert lasting(run) == lasting(same)
    assert run.data.params == same.data.params
    assert len(client(tmp_path).search_runs(["0", "1"])) == 1  # none of another program


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_the_printed_link_opens_curves_of_validation_accuracy_by_loss(
    sweep: tuple[Path, str], chromium: Browser, tmp_path: Path
) -> None:
    directory, printed = sweep
    (link,) = LINK.findall(printed)
    with mlflow_server(directory, "--backend-store-uri", "sqlite:///mlflow.db") as uri:
        chromium.open_url(link.replace("http://127.0.0.1:5000", uri), 1280, 900)
        drawn = """[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.data
          .filter(trace => trace.mode === 'lines+markers')
          .map(trace => Array.from(trace.y)))"""
        wait_for(lambda: [len(curves) for curves in chromium.js(drawn)][:1] == [2])
        time.sleep(2)  # until everything is drawn
        chromium.shot(tmp_path / "mlflow.png")
        shown, plots = chromium.js("document.body.innerText"), chromium.js(drawn)
    store = client(directory)
    for loss in ("ce", "mse"):
        runs = [r for r in of_kind(directory, "run") if r.data.params["loss"] == loss]
        histories = [
            {m.step: m.value for m in store.get_metric_history(r.info.run_id, "val/accuracy")}
            for r in runs
        ]
        means = [sum(values[step] for values in histories) / 2 for step in range(3)]
        assert f"{loss} (val/accuracy)" in shown  # the key below the curves
        assert any(curve == pytest.approx(means) for curve in plots[0])
    assert len(plots[0]) == 2
