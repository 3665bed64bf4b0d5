"""Reports on MLflow experiments of other programs, by a mapping of their keys."""

from __future__ import annotations

import json
import math
import re
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.commands import ROOT, Report, mlflow_server
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from reports.runs import ReadError, Runs, foreign

TEST = {"CrossEntropyLoss": (0.91, 0.92, 0.905, 0.915), "MSELoss": (0.94, 0.935, 0.93, 0.945)}
MAPPING = {
    "loss": "params.criterion",
    "lr": "params.learning_rate",
    "seed": "tags.seed",
    "epochs": "params.n_epochs",
    "metric": "metrics.test_acc",
    "val_accuracy": "metrics.val_acc",
}


class Store:
    """A store that some other program wrote."""

    def __init__(self, path: Path) -> None:
        self.uri = f"sqlite:///{path}"
        self.client = MlflowClient(self.uri)
        self.made = 0

    def experiment(self, name: str) -> str:
        return str(self.client.create_experiment(name))

    def add(
        self,
        experiment: str,
        *,
        params: dict[str, Any],
        tags: dict[str, Any],
        curves: dict[str, dict[int, float]],
        metrics: dict[str, float],
        status: str = "FINISHED",
    ) -> str:
        self.made += 1
        start = 1_700_000_000_000 + 10_000 * self.made
        run_id = self.client.create_run(experiment, start_time=start).info.run_id
        values = [Metric(k, v, start, 0) for k, v in metrics.items()]
        values += [Metric(k, v, start, s) for k, own in curves.items() for s, v in own.items()]
        texts = [Param(k, str(v)) for k, v in params.items()]
        labels = [RunTag(k, str(v)) for k, v in tags.items()]
        self.client.log_batch(run_id, metrics=values, params=texts, tags=labels)
        self.client.set_terminated(run_id, status, start + 4_000)
        return str(run_id)

    def usual(self, experiment: str, loss: str, seed: int, value: float, **other: Any) -> str:
        """A run of 3 epochs as PyTorch users log it: steps from 0, the test at the end."""
        params = {"criterion": loss, "learning_rate": 0.1, "n_epochs": 3, "model": "resnet"}
        made = {
            "params": params | other.pop("params", {}),
            "tags": {"seed": seed},
            "curves": {"val_acc": {epoch: value - 0.1 / (epoch + 1) for epoch in range(3)}},
            "metrics": {"test_acc": value},
        }
        return self.add(experiment, **(made | other))


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copy(empty_store, tmp_path / "mlflow.db")))


def fill(store: Store, experiment: str, **other: Any) -> None:
    for loss, values in TEST.items():
        for seed, value in enumerate(values):
            store.usual(experiment, loss, seed, value, **other)


def filled(store: Store, **other: Any) -> str:
    experiment = store.experiment("resnet")
    fill(store, experiment, **other)
    return experiment


def load(store: Store, mapping: dict[str, Any] | None = None, **changes: Any) -> Runs:
    own = {"experiments": ["resnet"], "metric": "test_accuracy", "where": {}} | changes
    return foreign.load(store.uri, mapping=MAPPING | (mapping or {}), **own)


def test_params_metrics_and_tags_become_the_usual_frames(store: Store) -> None:
    experiment = filled(store)
    store.client.create_run(experiment)  # a parent run, or of something else
    runs = load(store)
    assert runs.imported and runs.experiments == ("resnet",)
    assert runs.notes == [
        "all seeds of MLflow experiment 'resnet' count as planned before the first result",
        "left out: 1 run without params.criterion or tags.seed",
    ]
    assert runs.warnings == ["imported from MLflow experiment 'resnet': pairing not proved"]
    by_run = runs.summary.set_index(["loss", "seed"])
    row = by_run.loc[("MSELoss", 2)]
    assert (row["lr"], row["epochs"], row["outcome"], row["seconds"]) == (0.1, 3, "ok", 4)
    assert row["test_accuracy"] == 0.93 and row["val_accuracy"] == pytest.approx(0.93 - 0.1 / 3)
    assert "paddle_version" not in runs.summary and "code" not in runs.summary
    assert set(runs.summary["setting_text"]) == {"data and network not named"}
    curve = runs.curves[runs.curves["run_id"] == row["run_id"]]
    assert list(curve["epoch"]) == [1, 2, 3]
    assert list(curve["val_accuracy"]) == pytest.approx([0.83, 0.88, 0.93 - 0.1 / 3])
    client_ids = {run.info.run_id for run in store.client.search_runs([experiment])}
    assert set(runs.summary["run_id"]) < client_ids
    one = load(store, run_ids=[row["run_id"]]).summary
    assert list(one["run_id"]) == [row["run_id"]]


def test_keys_of_the_projects_own_names_need_no_mapping(store: Store) -> None:
    experiment = store.experiment("own")
    for loss, values in TEST.items():
        for seed, value in enumerate(values):
            params = {"loss": loss, "seed": seed, "lr": 0.1, "epochs": 1}
            metrics = {"test/accuracy": value, "val_accuracy": value - 0.1}
            store.add(experiment, params=params, tags={}, curves={}, metrics=metrics)
    runs = foreign.load(store.uri, ["own"], {}, "test_accuracy", {})
    assert runs.summary["val_accuracy"].max() == pytest.approx(0.845)
    assert not len(runs.curves) and set(runs.summary["epochs"]) == {1}


def test_settings_and_values_of_the_loss_are_those_that_are_named(store: Store) -> None:
    filled(store, params={"gamma": 2, "width": 64})
    frame = load(store, {"settings": ["params.model", "tags.none", "params.width"][::2],
                         "loss_values": "params.gamma"}).summary  # fmt: skip
    assert set(frame["setting_text"]) == {"model=resnet, width=64"}
    assert set(frame["loss"]) == {"CrossEntropyLoss", "MSELoss"} and set(frame["loss.gamma"]) == {2}


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        *(((0, 1, 2), [1, 2, 3]), ((1, 2, 3), [1, 2, 3]), ((0, 1, 2, 3), [0, 1, 2, 3])),
        *(((469, 938, 1407), [1, 2, 3]), ((0, 1), [1, 2]), ((1, 3), [1, 3])),
        *(((100, 200), []), ((0,), [])),
    ],
)
def test_steps_are_counted_as_epochs(store: Store, steps: tuple[int, ...], epochs: list) -> None:
    filled(store, curves={"val_acc": {step: 0.5 + step / 1e4 for step in steps}})
    runs = load(store)
    one = runs.curves[runs.curves["run_id"] == runs.summary["run_id"].iloc[0]]
    assert list(one["epoch"]) == epochs
    left = "no curves are shown: the steps of the metrics are no epochs" in runs.notes
    assert left == (steps == (100, 200))
    last = 0.5 + steps[-1] / 1e4
    assert runs.summary["val_accuracy"].to_numpy() == pytest.approx(last)


def test_runs_that_did_not_end_well_or_ran_again(store: Store) -> None:
    experiment = filled(store)
    store.usual(experiment, "MSELoss", 4, 0.9, status="FAILED", metrics={})
    store.usual(experiment, "MSELoss", 5, 0.9, metrics={"test_acc": math.nan})
    store.usual(experiment, "MSELoss", 6, 0.9, metrics={})
    store.usual(experiment, "MSELoss", 0, 0.5)
    store.usual(experiment, "MSELoss", 0, 0.6, status="KILLED")
    runs = load(store)
    mse = runs.summary[runs.summary["loss"] == "MSELoss"].set_index("seed")
    assert mse["outcome"].to_dict() == {
        **dict.fromkeys(range(4), "ok"), 4: "failed", 5: "diverged", 6: "failed",
    }  # fmt: skip
    assert mse.loc[0, "test_accuracy"] == 0.5
    assert "1 FINISHED run without metrics.test_acc count as failed" in runs.notes
    left = "left out: 2 runs of configurations that ran more than once"
    assert f"{left}; the newest FINISHED run counts" in runs.notes


def test_runs_without_a_rate_or_epochs_are_left_out(store: Store) -> None:
    experiment = store.experiment("resnet")
    bare = {"curves": {}, "metrics": {"test_acc": 0.5}, "tags": {"seed": 4}}
    lost = store.add(experiment, params={"criterion": "MSELoss", "n_epochs": 3}, **bare)
    lone = {"curves": {}, "metrics": {}, "tags": {}}
    other = store.add(experiment, params={"learning_rate": 0.1, "n_epochs": 3}, **lone)
    message = (
        "from: expected a run of experiment 'resnet' with params.learning_rate (from.lr) and "
        f"params.n_epochs (from.epochs), got none: run {lost} ("
    )
    with pytest.raises(ReadError, match=re.escape(message)):
        load(store, {"val_accuracy": "metrics.test_acc"})
    fill(store, experiment)
    runs = load(store)
    assert len(runs.summary) == 8 and not set(runs.summary["run_id"]) & {lost, other}
    assert runs.notes[1:] == [
        "left out: 1 run without params.criterion or tags.seed",
        "left out: 1 run without params.learning_rate or params.n_epochs",
    ]


def test_a_few_runs_with_epochs_do_not_leave_out_the_others(store: Store) -> None:
    experiment = store.experiment("plain")
    for seed in range(4):
        params = {"loss": "ce", "seed": seed} | ({"epochs": 5} if seed == 3 else {})
        metrics = {"test_accuracy_3": 0.5 + seed / 10}
        store.add(experiment, params=params, metrics=metrics, curves={}, tags={})
    runs = foreign.load(store.uri, ["plain"], {"loss": "params.loss"}, "test_accuracy_3", {})
    assert runs.summary["test_accuracy_3"].tolist() == [0.5, 0.6, 0.7, 0.8]


@pytest.mark.slow
def test_an_experiment_on_a_server(store: Store, tmp_path: Path) -> None:
    filled(store)
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server", f"--backend-store-uri={store.uri}") as uri:
        there = foreign.load(uri, ["resnet"], MAPPING, "test_accuracy", {})
    here = load(store)
    pd.testing.assert_frame_equal(there.summary, here.summary)
    pd.testing.assert_frame_equal(there.curves, here.curves)
    assert there.notes == here.notes and there.uri == uri


def test_a_metric_in_per_cent_says_so(store: Store) -> None:
    filled(store, metrics={"test_acc": 93.5})
    with pytest.raises(ReadError, match=r"column test_accuracy: expected a number from 0 to 1, .*"):
        load(store)
    mapping = {key: value for key, value in MAPPING.items() if key != "metric"}
    mapping["metric_percent"] = "metrics.test_acc"
    runs = foreign.load(store.uri, ["resnet"], mapping, "test_accuracy", {})
    assert set(runs.summary["test_accuracy"]) == {0.935}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"loss": "params.criterium"},
         "no run of experiment 'resnet' has params.criterium (from.loss). Name the key that holds "
         "it, such as from.loss=params.criterion. The runs have\n  params: criterion, "
         "learning_rate, model, n_epochs\n  metrics: test_acc, val_acc\n  tags: seed"),
        ({"metric": "metrics.acc", "seed": "params.seed"},
         "has params.seed (from.seed) or metrics.acc (from.metric)"),
        ({"loss": "criterion"},
         "from.loss: expected params.NAME, metrics.NAME or tags.NAME, got 'criterion'"),
        ({"los": "params.criterion"}, "from.los: expected one of loss, seed, lr, epochs, outcome"),
        ({"lr": "params.model"}, "column lr: expected a number of at least 0, got 'resnet'"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_answered_with_the_keys_there_are(
    store: Store, mapping: dict[str, str], message: str
) -> None:
    filled(store)
    with pytest.raises(ReadError, match=re.escape(message)):
        load(store, mapping)


def test_wrong_stores_and_experiments(store: Store, tmp_path: Path) -> None:
    filled(store)
    with pytest.raises(ReadError, match="no experiment is named 'other'; expected one of: "):
        load(store, experiments=["other"])
    for uri in (f"sqlite:///{tmp_path}/none.db", str(tmp_path / "none")):
        with pytest.raises(ReadError, match="there is no MLflow store"):
            foreign.load(uri, ["a"], {}, "test_accuracy", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db"]


def test_a_file_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.create_experiment("files")
    for loss in ("a", "b"):
        for seed in (0, 1):
            run_id = client.create_run(experiment).info.run_id
            client.log_param(run_id, "loss", loss)
            client.log_param(run_id, "seed", seed)
            client.log_metric(run_id, "test_accuracy", 0.5 + seed / 10)
            client.set_terminated(run_id)
    runs = foreign.load(str(tmp_path / "mlruns"), ["files"], {}, "test_accuracy", {})
    assert runs.summary.groupby("loss")["test_accuracy"].sum().to_dict() == {"a": 1.1, "b": 1.1}


@pytest.mark.slow
def test_the_example_of_the_documentation(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    text = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    script = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                  if "log_param" in block)  # fmt: skip
    command = re.search(r"^generate report experiment=\S+ from\..*$", text, re.MULTILINE)
    assert command
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("train.py", run_name="__main__")
    words = shlex.split(command[0])[2:]
    done = report(tmp_path, *words, "formats=[svg]", "output=out")
    assert done.code == 0, done.text
    assert "MSELoss is better than CrossEntropyLoss: +3." in done.text
    assert "WARNING: imported from MLflow experiment 'resnet-losses'" in done.text
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert not re.search("unknown|Paddle|commit|experiments/run.py", page)
    check = re.search(r"^generate report (.*check=.*)$", page, re.MULTILINE)
    assert check and "imported from" in page.splitlines()[2]
    held = report(tmp_path, *shlex.split(check[1]))
    assert held.code == 0 and "verdicts of out/verdicts.json hold" in held.text
    source = json.loads((tmp_path / "out" / "verdicts.json").read_text())["source"]
    assert source["from"]["loss"] == "params.criterion"
