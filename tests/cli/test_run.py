"""The real command, as a user types it, and what it leaves in the store for the reports."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from helpers.commands import SMALL, but
from helpers.stores import client, lasting, runs

from experiments.heads import log_softmax
from experiments.metrics import nll

EPOCH_METRICS = {
    *("train/loss", "train/accuracy", "train/gradient_norm", "train/update_ratio"),
    *("val/loss", "val/accuracy", "time/train_seconds", "time/val_seconds", "lr"),
}
TEST_METRICS = {"test/loss", "test/accuracy", "test/balanced_accuracy", "test/macro_f1"}
NUMBER_METRICS = TEST_METRICS | {"test/mean_absolute_error", "test/off_by_one"}
LOGIT_METRICS = TEST_METRICS | {
    "val/nll", "test/nll", "test/brier", "test/ece", "test/margin", "test/aurc",
    "test/temperature", "test/nll_scaled", "test/brier_scaled", "test/ece_scaled",
}  # fmt: skip


@pytest.fixture(scope="module")
def ce(sweep):
    """The run of loss=ce, seed=0, its directory and client."""
    directory, _ = sweep
    return runs(directory)[0], client(directory), directory


def arrays_of(store, run, name):
    """Those of a file that a run has stored."""
    with np.load(store.download_artifacts(run.info.run_id, name)) as arrays:
        return dict(arrays)


def history(store, run, key):
    return {m.step: m.value for m in store.get_metric_history(run.info.run_id, key)}


@pytest.mark.slow
def test_a_sweep_over_epochs_trains_only_the_longest(sweep, tmp_path, run_command):
    words = ["loss=ce", "seed=0", *SMALL]
    done = run_command(tmp_path, "-m", *but(words, "epochs=4,2"), "verbose=true")
    assert done.returncode == 0, done.stderr
    assert "epochs=4 seed=0 data=digits model=mlp | starts from epoch 2 of run" in done.stdout
    assert [done.stdout.count(f"| epoch {epoch}/") for epoch in range(5)] == [1] * 5
    (tmp_path / "alone").mkdir()
    assert run_command(tmp_path / "alone", *but(words, "epochs=4")).returncode == 0
    by_epochs = {run.data.params["epochs"]: run for run in runs(tmp_path)}
    short = runs(sweep[0])[0]
    assert {"loss": "ce", "seed": "0"}.items() <= short.data.params.items()
    for expected in (short, *runs(tmp_path / "alone")):
        epochs = expected.data.params["epochs"]
        run = by_epochs.pop(epochs)
        assert run.data.tags["identity"] == expected.data.tags["identity"]
        assert lasting(run) == lasting(expected)
        kept, overrides = (
            Path(client(tmp_path).download_artifacts(run.info.run_id, name)).read_text()
            for name in ("config.yaml", "overrides.yaml")
        )
        assert f"\nepochs: {epochs}\n" in kept
        assert f"- epochs={epochs}\n" in overrides
    assert by_epochs == {}


def test_the_sweep_ends_with_its_table_and_the_next_commands(sweep):
    directory, printed = sweep
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if "outcome" in line)
    header, rows = lines[start], lines[start + 1 : start + 5]
    assert " ".join(header.split()) == ("loss lr epochs seed val acc test acc time outcome run id")
    by_id = {run.info.run_id[:8]: run for run in runs(directory)}
    assert len(rows) == len(by_id) == 4
    for row in rows:
        loss, lr, epochs, seed, val, test, _, outcome, run_id = row.split()
        run = by_id[run_id]
        params = {"loss": loss, "lr": lr, "epochs": epochs, "seed": seed}
        assert params.items() <= run.data.params.items()
        assert (lr, epochs, outcome) == ("0.003", "2", "ok")
        assert val == f"{100 * run.data.metrics['val/accuracy']:.2f}%"
        assert test == f"{100 * run.data.metrics['test/accuracy']:.2f}%"
    assert "mlflow ui\n" in printed
    assert "generate report" in printed


def test_a_log_has_a_line_for_each_run_and_the_file_of_each_job_its_epochs(sweep):
    directory, printed = sweep
    logged = [path.read_text() for path in directory.glob("outputs/*/*/*/run.log")]
    assert len(logged) == 4 and "| epoch" not in printed
    for loss in ("mse", "ce"):
        for seed in (0, 1):
            label = f"loss={loss} lr=0.003 epochs=2 seed={seed} {' '.join(SMALL[:2])} |"
            (shown,) = [line for line in printed.splitlines() if label in line]
            end = r"| val/accuracy \d+\.\d\d% | test/accuracy \d+\.\d\d% | took [\d.]+s"
            assert re.search(r" [1-4]/4 runs · 00:\d\d left ", shown)
            assert re.search(end.replace("|", r"\|"), shown)
            (text,) = [text for text in logged if label in text]
            lines = [line for line in text.splitlines() if "| epoch" in line]
            assert [re.search(r"epoch (\d)/2", line)[1] for line in lines] == ["0", "1", "2"]
            assert "train/loss" in lines[1]
            assert "val/accuracy" in lines[1]
            assert "left" in lines[1]


def test_parent_and_children(sweep):
    directory, _ = sweep
    (parent,) = runs(directory, "sweep")
    children = runs(directory)
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    path = client(directory).download_artifacts(parent.info.run_id, "grid.json", str(directory))
    identities = json.loads(Path(path).read_text())["identities"]
    assert sorted(identities) == sorted(run.data.tags["identity"] for run in children)
    assert len({run.data.tags["configuration"] for run in children}) == 2


@pytest.mark.slow
def test_a_sweep_over_several_data_sets_is_one_experiment(tmp_path, run_command):
    words = ["model=softmax", "epochs=1", "lr=0.1", "tracking.log_model=false"]
    done = run_command(tmp_path, "-m", "data=wine,iris", *words)
    assert done.returncode == 0, done.stderr
    trained = runs(tmp_path, experiment="datasets")
    assert {run.data.params["data"] for run in trained} == {"wine", "iris"}
    assert len(runs(tmp_path, "sweep", experiment="datasets")) == 1


def test_params(ce):
    run, _, _ = ce
    expected = {
        "loss": "ce", "model": "mlp", "data": "digits", "optimizer": "sgd", "scheduler": "constant",
        "lr": "0.003", "epochs": "2", "batch_size": "100", "seed": "0", "model.hidden": "128",
        "model.dropout": "0.0",
        "data.train_size": "None", "data.validation_size": "360", "data.label_noise": "0.0",
        "data.noise_kind": "symmetric", "data.noisy_labels": "None",
        "optimizer.weight_decay": "None", "optimizer.clip_norm": "None", "model.init_scale": "1.0",
    }  # fmt: skip
    assert run.data.params == expected


def test_metrics_by_head_and_step(sweep):
    directory, _ = sweep
    store = client(directory)
    for run in runs(directory):
        own = LOGIT_METRICS if run.data.params["loss"] == "ce" else NUMBER_METRICS
        assert set(run.data.metrics) == EPOCH_METRICS | own
        assert sorted(history(store, run, "train/loss")) == [1, 2]
        assert sorted(history(store, run, "val/accuracy")) == [0, 1, 2]
        assert list(history(store, run, "test/accuracy")) == [2]
        assert history(store, run, "lr") == {1: 0.003, 2: 0.003}
        assert 0 <= run.data.metrics["test/accuracy"] <= 1


def test_tags(sweep):
    directory, _ = sweep
    trained = runs(directory)
    for run in trained:
        assert run.info.status == "FINISHED"
        assert run.data.tags["outcome"] == "ok"
        assert {
            *("identity", "configuration", "settings", "code", "code.parts", "code.metrics"),
            *("init_hash", "head_hash", "order_hash", "paddle_version"),
        } <= set(run.data.tags)
    by = {(run.data.params["loss"], run.data.params["seed"]): run.data.tags for run in trained}
    ce, mse, other = by["ce", "0"], by["mse", "0"], by["ce", "1"]
    for name in ("init_hash", "order_hash"):
        assert ce[name] == mse[name] != other[name]
    assert ce["head_hash"] != mse["head_hash"]


def test_artifacts_and_the_test_accuracy_from_them(ce):
    run, store, _ = ce
    names = {artifact.path for artifact in store.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "overrides.yaml", "environment.txt", "predictions.npz"} <= names
    correct = arrays_of(store, run, "test_correct.npz")["correct"]
    arrays = arrays_of(store, run, "predictions.npz")
    outputs, predicted, label = arrays["outputs"], arrays["predicted"], arrays["label"]
    assert (outputs.shape, outputs.dtype) == ((360, 10), np.float32)
    from sklearn.datasets import load_digits

    np.testing.assert_array_equal(label, load_digits().target[-360:])
    np.testing.assert_array_equal(predicted, outputs.argmax(axis=1))
    np.testing.assert_array_equal(correct, predicted == label)
    assert correct.mean() == run.data.metrics["test/accuracy"]
    recomputed = nll(log_softmax(outputs), label)
    assert recomputed == pytest.approx(run.data.metrics["test/nll"], rel=1e-12)


def test_the_dataset_is_an_input_with_its_digest(ce):
    run, _, _ = ce
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.name == "digits"
    assert json.loads(entry.dataset.source)["sha256"].startswith(entry.dataset.digest)


# MLflow, of its own types
@pytest.mark.filterwarnings("ignore:.*type hint is inferred as AnyType:UserWarning")
def test_the_logged_model_predicts_what_the_run_predicted(ce):
    import paddle

    from experiments.data import digits

    run, store, directory = ce
    mlflow.set_tracking_uri(f"sqlite:///{directory / 'mlflow.db'}")
    uri = f"models:/{run.outputs.model_outputs[0].model_id}"
    images = (digits(seed=0).test.inputs / np.float32(255))[:, None]
    outputs = arrays_of(store, run, "predictions.npz")["outputs"]
    loaded = mlflow.paddle.load_model(uri)
    np.testing.assert_allclose(loaded(paddle.to_tensor(images)).numpy(), outputs, atol=1e-5)
    served = mlflow.pyfunc.load_model(uri)
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 1, 28, 28)
    np.testing.assert_allclose(np.asarray(served.predict(images)), outputs, atol=1e-5)
    needed = Path(mlflow.pyfunc.get_model_dependencies(uri)).read_text().split()
    names = ("mlflow", "paddlepaddle", "numpy", "setuptools")
    assert sorted(needed) == sorted(f"{name}=={importlib.metadata.version(name)}" for name in names)
