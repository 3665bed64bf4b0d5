"""Where things lie: one store however a directory is named, reached, left or moved."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from helpers.commands import mlflow_server
from helpers.forked import generate
from helpers.marks import first
from helpers.stores import execute
from omegaconf import OmegaConf

from experiments import config, places, tracking
from experiments.tracking import StoreError

SMALL = ["data=digits", "model=softmax", "epochs=1"]
ODD = ["q?x=1 100%20'中", "#hash", "per%20cent", "q?x=1", "sp ace", "中文", "a'b", "100%"]


def rows(directory: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(directory / "mlflow.db")) as connection:
        return connection.execute(sql).fetchall()


def content(directory: Path) -> list[str]:
    """All that a store's database holds, but the description that a report gives its sweep."""
    with contextlib.closing(sqlite3.connect(directory / "mlflow.db")) as connection:
        return [line for line in connection.iterdump() if "mlflow.note.content" not in line]


# ---- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, "sqlite:///{}/mlflow.db"),
        ("  sqlite:///a.db ", "sqlite:///{}/a.db"),
        ("SQLite:///a.db", "sqlite:///{}/a.db"),
        ("sqlite+pysqlite:///a.db", "sqlite:///{}/a.db"),
        ("sqlite:///x/../a.db", "sqlite:///{}/a.db"),
        ("sqlite:///100%25/a.db", "sqlite+pysqlite:///{}/100%25/a.db"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
        ("HTTP://127.0.0.1:5000/under/", "http://127.0.0.1:5000/under"),
    ],
)
def test_an_address_is_absolute_and_stays_the_same(tmp_path, given, address):
    uri = places.store_uri(given, tmp_path)
    assert uri == address.format(tmp_path)
    assert places.store_uri(uri, "/elsewhere") == uri


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:///m.db?timeout=60", "leave ?timeout=60 out"),
        ("sqlite:///:memory:", "a database in memory would be gone"),
        ("sqlite:///", "a database in memory would be gone"),
        ("sqlite://", "expected a store at sqlite:///FILE"),
        ("sqlite:///.", "is a directory, choose a file"),
        ("./mlruns", "expected a store at sqlite:///FILE"),
        ("file:mlruns", "expected a store at sqlite:///FILE"),
        ("http://", "expected a store at sqlite:///FILE"),
        ("http://host?a=secret", "leave it out"),
        ("postgresql://me:secret@host/db", "got postgresql:...; put a tracking server"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(tmp_path, monkeypatch, uri, reason):
    with pytest.raises(places.AddressError, match=r"^tracking\.uri: expected") as error:
        places.store_uri(uri, tmp_path)
    assert reason in str(error.value)
    assert "secret" not in str(error.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(places.AddressError, match=r"^MLFLOW_TRACKING_URI: expected"):
        places.store_uri(None, tmp_path)


@pytest.mark.slow
def test_both_halves_refuse_a_query_in_a_sentence(tmp_path, run_command):
    uri = {"MLFLOW_TRACKING_URI": "sqlite:///m.db?timeout=60"}
    for done in (run_command(tmp_path, "-m", *SMALL, **uri), generate(tmp_path, **uri)):
        assert done.returncode == 1
        assert "expected sqlite:///FILE with nothing after it" in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.db*"))


def test_a_store_reached_by_two_paths_is_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    (tmp_path / "other.db").symlink_to(real / "mlflow.db")
    address = places.store_uri(None, real)
    assert places.store_uri(None, link) == address
    assert places.store_uri("sqlite:///other.db", tmp_path) == address


@pytest.mark.parametrize("name", first(1, ODD))
def test_any_name_of_a_directory_works(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    store = tracking.open_store(None, "mine", directory=directory)
    with tracking.tracked_run(store, name="n", params={"loss": "ce"}, tags={}) as run:
        run.log_text("a.txt", "content")
    assert places.database(store.uri) == directory / "mlflow.db"
    kept = directory / "mlartifacts" / run.run_id / "artifacts" / "a.txt"
    assert kept.read_text() == "content"
    assert list(tmp_path.iterdir()) == [directory]
    from reports.runs import open_store

    assert open_store(store.uri).artifact(run.run_id, "a.txt") == b"content"


@pytest.mark.slow
def test_a_run_and_a_report_in_a_directory_of_an_odd_name(tmp_path, run_command):
    directory = tmp_path / "50%20?x=1#'中"
    directory.mkdir()
    done = run_command(directory, "-m", "loss=ce,mse", *SMALL)
    assert done.returncode == 0, done.stderr
    done = generate(directory, "formats=[svg]")
    assert done.returncode == 0, done.stderr
    assert "stored with the sweep's run" in done.stdout
    assert list(tmp_path.iterdir()) == [directory]


# ---- Hydra's directories ------------------------------------------------------------------------


def test_a_config_says_where_things_lie_before_hydra_changes_directory(tmp_path):
    tracking_group = {"uri": "sqlite:///rel.db", "directory": None}
    cfg = OmegaConf.create({"tracking": tracking_group, "data": {"root": "rel"}})
    config.anchor(cfg, str(tmp_path))
    assert cfg.tracking.uri == f"sqlite:///{tmp_path}/rel.db"
    assert cfg.tracking.directory == str(tmp_path)
    assert cfg.data.root == str(tmp_path / "rel")


@pytest.mark.slow
def test_a_job_in_a_directory_of_its_own_uses_the_same_store(tmp_path, run_command):
    command = ["-m", "loss=mse,ce", *SMALL, "hydra.job.chdir=true", "tracking.uri=sqlite:///rel.db"]
    done = run_command(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.db")) == [tmp_path / "rel.db"]
    assert "2 finished before, 0 to run" in run_command(tmp_path, *command).stdout
    single = [word for word in command if word != "-m" and not word.startswith("loss")]
    done = run_command(tmp_path, *single, "loss=ce", "hydra.run.dir=elsewhere")
    assert "finished before as run" in done.stdout
    assert list(tmp_path.rglob("*.db")) == [tmp_path / "rel.db"]
    words = ["tracking.uri=sqlite:///rel.db", "output=page", "formats=[svg]"]
    done = generate(tmp_path, *words, "hydra.job.chdir=true", "hydra.run.dir=aside")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "index.html").exists()


def test_the_data_are_looked_for_where_the_command_was_started(tmp_path, run_command):
    done = run_command(tmp_path, "data=mnist", "data.root=rel", "hydra.job.chdir=true")
    assert done.returncode == 1
    assert f"data.root: {tmp_path}/rel does not exist" in done.stderr


# ---- a store that was moved ---------------------------------------------------------------------


@pytest.fixture
def moved(tmp_path, sweep):
    """A copy of a store whose recorded place is taken by a file, so that nobody can write there."""
    directory = tmp_path / "b"
    shutil.copytree(sweep[0], directory)
    (tmp_path / "a").touch()
    columns = {"experiments": "artifact_location", "runs": "artifact_uri"}
    columns["logged_models"] = "artifact_location"
    for table, column in columns.items():
        change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
        places_of = sweep[0].as_uri(), (tmp_path / "a").as_uri()
        execute(directory / "mlflow.db", (change, places_of))
    return directory


@pytest.mark.slow
def test_a_moved_store_is_read_as_it_is(moved):
    before = content(moved)
    done = generate(moved, "formats=[svg]")
    assert done.returncode == 0, done.stderr
    assert "stored with the sweep's run" in done.stdout
    ((parent,),) = rows(moved, "SELECT run_uuid FROM tags WHERE key='kind' AND value='sweep'")
    assert (moved / "mlartifacts" / str(parent) / "artifacts" / "report" / "index.html").exists()
    assert content(moved) == before
    assert (moved.parent / "a").read_bytes() == b""


def test_a_moved_store_is_written_where_it_is_now(moved, run_command):
    ids = rows(moved, "SELECT run_uuid FROM tags WHERE key='kind' AND value='run'")
    done = run_command(moved, f"rerun={ids[0][0]}")
    assert done.returncode == 0, done.stderr
    assert "Every number is equal to the bit:" in done.stdout
    for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
        for (place,) in rows(moved, f"SELECT {column} FROM {table}"):
            assert str(place).startswith((moved / "mlartifacts").as_uri())
    assert (moved.parent / "a").read_bytes() == b""


@pytest.mark.slow
def test_a_run_whose_artifacts_cannot_be_written_has_failed_and_says_why(tmp_path):
    store = tracking.open_store(None, "mine", directory=tmp_path)
    shutil.rmtree(tmp_path / "mlartifacts")
    (tmp_path / "mlartifacts").touch()
    with (
        pytest.raises(OSError, match="mlartifacts"),
        tracking.tracked_run(store, name="n", params={}, tags={}),
    ):
        pass
    (run,) = store.search("tags.kind = 'run'")
    assert run.info.status == "FAILED"
    assert run.data.tags["outcome"] == "failed"
    assert "mlartifacts" in run.data.tags["mlflow.note.content"]
    with pytest.raises(StoreError, match="cannot use the tracking store"):
        tracking.open_store(None, "mine", directory=tmp_path)


# ---- surroundings -------------------------------------------------------------------------------


def test_loopback_is_added_to_what_the_user_has_reached_directly(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intern.example, 10.0.0.1")
    monkeypatch.delenv("no_proxy", raising=False)
    places.pass_proxies_by()
    places.pass_proxies_by()
    for name in ("no_proxy", "NO_PROXY"):
        assert os.environ[name] == "intern.example,10.0.0.1,localhost,127.0.0.1,::1,[::1]"
    monkeypatch.setenv("no_proxy", "*")
    places.pass_proxies_by()
    assert os.environ["no_proxy"] == "*"


@pytest.mark.server
def test_a_server_on_loopback_is_reached_past_a_proxy(tmp_path, run_command):
    dead = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    with mlflow_server(tmp_path) as uri:
        done = run_command(tmp_path, "-m", "loss=ce,mse", *SMALL, f"tracking.uri={uri}", **dead)
        assert done.returncode == 0, done.stderr
        done = generate(tmp_path, f"tracking.uri={uri}", "formats=[svg]", **dead)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "message",
    [
        "a trace\n\n    RuntimeError: no access\n    with s3cret-token\n",
        "a trace\n  RuntimeError: no access with s3cret-token\n  Revise suggestion: \n  1. a\n",
        "no access with s3cret-token",
    ],
)
def test_why_a_network_cannot_be_exported_is_told_without_credentials(monkeypatch, message):
    monkeypatch.setenv("A_TOKEN", "s3cret-token")

    with (
        pytest.raises(tracking.ExportError, match=r"^RuntimeError: no access with \*\*\*$"),
        tracking.run._export_errors(),
    ):
        raise RuntimeError(message)


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_a_warning(tmp_path, run_command):
    (tmp_path / "net.py").write_text(
        "import paddle\n"
        "class Net(paddle.nn.Layer):\n"
        "    def __init__(self, outputs):\n"
        "        super().__init__()\n"
        "        self.linear = paddle.nn.Linear(784, outputs)\n"
        "    def forward(self, x):\n"
        "        x = x.reshape([-1, 784])\n"
        "        if not paddle.in_dynamic_mode():\n"
        "            raise RuntimeError('this network has no graph')\n"
        "        return self.linear(x)\n"
    )
    option = tmp_path / "options" / "model" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: net.Net\n_partial_: true\n")
    words = ["--config-dir", "options", "data=digits", "model=mine", "epochs=1"]
    done = run_command(tmp_path, *words, PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if "it cannot be exported: " in line]
    assert len(warnings) == 1
    tags = dict(rows(tmp_path, "SELECT key, value FROM tags"))
    assert tags["outcome"] == "ok"
    assert warnings[0].endswith(str(tags["model_export"]))
    status = rows(tmp_path, "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE value='run'")
    assert status == [("FINISHED",)]
    assert rows(tmp_path, "SELECT count(*) FROM latest_metrics WHERE key='test/accuracy'") == [(1,)]
