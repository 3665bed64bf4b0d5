"""Files that are stores, that are none, and that someone else uses."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from helpers.reported import contents
from helpers.stores import execute

from experiments import places
from reports.runs import ReadError, load, predictions, sweeps


def test_where_the_store_is(store, tmp_path, monkeypatch):
    store.add("i")
    monkeypatch.chdir(tmp_path)
    assert load().uri == store.uri
    assert load("sqlite:///mlflow.db").uri == store.uri
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///../mlflow.db")
    assert len(load().summary) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
    with pytest.raises(ReadError):
        load()
    assert len(load(store.uri).summary) == 1


@pytest.mark.parametrize("name", ["mlflow.db", "with space %20 ? # ü.db"])
def test_a_store_that_is_not_there_is_named_and_not_created(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for call in (load, sweeps, lambda uri: predictions(uri, "x")):
        with pytest.raises(ReadError) as caught:
            call(places.sqlite_uri(tmp_path / name))
        words = f"there is no MLflow store {tmp_path / name}. Run `python experiments"
        assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_odd_file_names_are_read(store, tmp_path):
    store.add("i")
    odd = tmp_path / "with space %20 ? # ü.db"
    shutil.copy(store.path, odd)
    assert len(load(places.sqlite_uri(odd)).summary) == 1


@pytest.mark.parametrize(
    "uri",
    [
        *("mlflow.db", "./mlruns", "file:mlruns", "databricks", "sqlite://"),
        "postgresql://me:secret@host/db",
    ],
)
def test_other_stores_are_refused_and_none_is_created(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    words = r"expected a store at sqlite:///FILE or http\(s\)://HOST, got "
    with pytest.raises(ReadError, match=words) as caught:
        load(uri)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_store_are_refused_and_left_as_they_are(tmp_path):
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database, but longer than the header of one would " * 20)
    (tmp_path / "directory.db").mkdir()
    execute(tmp_path / "other.db", "CREATE TABLE experiments (x)")
    before, paths = contents(tmp_path), sorted(tmp_path.iterdir())
    assert len(paths) == 4
    words = r"MLflow 3\.17.*[Cc]hoose another store|MLflow 3\.17.*file is not a database"
    for path in paths:
        with pytest.raises(ReadError, match=rf"{words}|directory\.db is a directory"):
            load(f"sqlite:///{path}")
    assert (contents(tmp_path), sorted(tmp_path.iterdir())) == (before, paths)


@pytest.mark.parametrize("missing_table", [False, True])
def test_a_store_of_another_mlflow_is_refused_and_not_migrated(store, missing_table):
    store.add("i")
    execute(store.path, "UPDATE alembic_version SET version_num = '0123456789ab'")
    if missing_table:  # MLflow's client would create it, and migrate the others
        execute(store.path, "DROP TABLE logged_models")
    before = store.path.read_bytes()
    words = r"expected a store of MLflow 3\.17\.\d+ \(tables of revision \w+\) in .*, "
    words += r"got tables of revision 0123456789ab\..*`mlflow db upgrade sqlite:///"
    with pytest.raises(ReadError, match=words):
        store.load()
    assert store.path.read_bytes() == before


def test_a_damaged_store_is_an_answer_not_a_traceback(store):
    store.add("i")
    execute(store.path, "DROP TABLE latest_metrics")
    with pytest.raises(ReadError, match="no such table: latest_metrics"):
        store.load()


def test_reading_changes_nothing(store, tmp_path):
    store.add_predictions(store.add("i"), b"x")
    store.add_sweep("s", ["i"])
    before = contents(tmp_path)
    store.load()
    store.load(sweep="s")
    sweeps(store.uri)
    assert contents(tmp_path) == before


def test_a_store_whose_writer_was_killed_amid_a_transaction_is_read(store):
    run_id = store.add("i")
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("UPDATE metrics SET value = 7")
for n in range(2000):
    values = (f"k{n}", "v" * 1000, sys.argv[2])
    connection.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", values)
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script, str(store.path), run_id], check=False)
    assert store.path.with_name("mlflow.db-journal").stat().st_size > 1000
    assert store.load().curves["val_accuracy"].tolist() == [0.1, 0.6, 0.8]


def test_a_store_that_someone_writes_to_is_read(store):
    store.add("i")
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE metrics SET value = 7")
    try:
        assert store.load().curves["val_accuracy"].tolist() == [0.1, 0.6, 0.8]
    finally:
        writer.close()


def test_a_store_that_is_locked_for_a_moment_is_waited_for(store):
    store.add("i")
    writer = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN EXCLUSIVE")
    end = threading.Timer(1, lambda: writer.execute("COMMIT"))
    start = time.monotonic()
    end.start()
    try:
        assert len(store.load().summary) == 1
        assert time.monotonic() - start > 0.5
    finally:
        end.join()
        writer.close()


def test_a_store_that_cannot_be_written_is_read(store, tmp_path):
    store.add_predictions(store.add("i"), b"x")
    store.path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(store.load().summary) == 1
    finally:
        tmp_path.chmod(0o755)


def test_a_store_without_the_default_experiment_is_read_and_gets_none(store):
    """MLflow's client would create it."""
    store.add("i")
    execute(store.path, "DELETE FROM experiments WHERE experiment_id = 0")
    before = store.path.read_bytes()
    assert len(store.load().summary) == 1
    assert store.path.read_bytes() == before
