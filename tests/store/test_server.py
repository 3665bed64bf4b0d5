"""Reading runs from a tracking server."""

from __future__ import annotations

import http.server
import socket
import threading
import time

import numpy as np
import pandas as pd
import pytest
import requests
from benchmarks import read_store
from helpers.commands import free_port
from helpers.read_runs import assert_same, good_predictions, npz

from reports.runs import ReadError, load, predictions, scores, sweeps
from reports.runs import store as stores


def test_a_server_that_is_not_there_is_said_at_once():
    start = time.monotonic()
    words = r"cannot read the tracking server http://\*\*\*@127"
    with pytest.raises(ReadError, match=words) as caught:
        load(f"http://me:secret@127.0.0.1:{free_port()}")
    assert time.monotonic() - start < 60
    assert "secret" not in str(caught.value)


@pytest.mark.server
def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    assert stores.REACH_SECONDS <= 10
    monkeypatch.setattr(stores, "REACH_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        words = "cannot read the tracking server .*timed out|Read timed out"
        with pytest.raises(ReadError, match=words):
            load(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 60


@pytest.mark.server
@pytest.mark.parametrize(
    ("code", "body"), [(404, b"not here"), (200, b"<html>log in</html>"), (503, b""), (401, b"{}")]
)
def test_a_server_that_is_none_of_mlflow_is_said(code, body):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(ReadError, match="cannot read the tracking server"):
            load(f"http://127.0.0.1:{other.server_port}")
        assert time.monotonic() - start < 60
        other.shutdown()


@pytest.mark.server
def test_a_server_gives_the_same_as_the_file_behind_it(served, tmp_path, monkeypatch):
    store, address = served
    monkeypatch.chdir(tmp_path)
    assert_same(load(address), store.load())
    assert len(load(address).summary) == 7
    filtered = {"where": {"loss": "focal", "seed": [1, 2]}}
    for arguments in ({"sweep": "a sweep"}, filtered, {"experiment": "mine"}):
        assert_same(load(address, **arguments), store.load(**arguments))
    wrongs = [{name: "x"} for name in ("experiment", "sweep")]
    for wrong in (*wrongs, {"sweep": "deleted"}, {"experiment": "second"}, {"where": {"x": 1}}):
        with pytest.raises(ReadError) as caught, monkeypatch.context():
            load(address, **wrong)
        with pytest.raises(ReadError) as expected:
            store.load(**wrong)
        assert str(caught.value).replace(address, store.uri) == str(expected.value)
    pd.testing.assert_frame_equal(sweeps(address), sweeps(store.uri))
    for run_id in store.load().summary["run_id"]:
        left, right = predictions(address, run_id), predictions(store.uri, run_id)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left["outputs"], right["outputs"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.server
def test_histories_longer_than_an_answer_are_read_whole(served, monkeypatch):
    store, address = served
    for limit in (25_000, 7, 1):  # 3 values a run and metric
        monkeypatch.setattr(stores, "BULK_VALUES", limit)
        assert_same(load(address), store.load())


@pytest.mark.server
def test_a_server_without_the_route_of_mlflows_pages_is_read(served, monkeypatch):
    store, address = served
    monkeypatch.setattr(stores, "_BULK", "/ajax-api/2.0/mlflow/metrics/no-such-route")
    assert_same(load(address), store.load())


@pytest.mark.server
def test_a_server_is_asked_once_for_a_hundred_runs_and_a_metric(empty_store, tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    read_store.build(path, 250, 3)
    urls = []
    send = requests.Session.request
    noted = lambda *a, **k: urls.append(a[2]) or send(*a, **k)  # noqa: E731
    monkeypatch.setattr(requests.Session, "request", noted)
    with read_store.server(path) as address:
        runs = load(address)
    assert len(runs.summary) == 250 and len(runs.curves) == 1000
    assert sum(url.endswith("bulk") for url in urls) == 3 * len(stores.CURVES)
    assert len(urls) <= 3 * len(stores.CURVES) + 6


@pytest.mark.server
def test_predictions_that_a_server_keeps(served, tmp_path):
    from mlflow.tracking import MlflowClient

    _, address = served
    client = MlflowClient(tracking_uri=address)
    run_id = client.create_run(client.create_experiment("kept by the server")).info.run_id
    assert predictions(address, run_id) is None
    npz(tmp_path / "predictions.npz", **good_predictions())
    client.log_artifact(run_id, str(tmp_path / "predictions.npz"))
    assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert predictions(address, run_id)["label"].tolist() == [0, 1, 2, 3]
    assert scores(address, run_id, "test_accuracy").tolist() == [0, 0, 0, 0]
    npz(tmp_path / "test_correct.npz", correct=np.array([True, False]))
    client.log_artifact(run_id, str(tmp_path / "test_correct.npz"))
    assert scores(address, run_id, "test_accuracy").tolist() == [1, 0]
