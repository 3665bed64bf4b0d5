"""The only writer of MLflow: the store, one run, and the parent run of a sweep.

What is written is the contract with `reports`: names of params, metrics, tags and artifacts are decided here and in
`metrics`. Nothing is ever deleted.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import importlib.metadata
import io
import json
import logging
import math
import os
import platform
import signal
import subprocess
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow loads

import mlflow
import numpy as np
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)
for _chatty in ("alembic", "mlflow.store.db.utils", "mlflow.models.model"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

DEFAULT_URI = "sqlite:///mlflow.db"  # where `mlflow ui` looks by itself
_PARAM_LENGTH = 6000
_PAGE = 1000
_REACH_SECONDS = 10


class StoreError(RuntimeError):
    """The store cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Store:
    """An experiment in a tracking store that was seen to work."""

    uri: str
    experiment: str
    experiment_id: str
    client: MlflowClient


# ---- the store ----------------------------------------------------------------------------------------------------


def resolve_uri(uri: str | None) -> str:
    """`uri`, else MLFLOW_TRACKING_URI, else mlflow.db here; a relative SQLite path is made absolute."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    path = _sqlite_path(uri)
    return f"sqlite:///{path}" if path else uri


def open_store(uri: str | None, experiment: str) -> Store:
    """The experiment in the store at `uri`, both created when they are not there.

    Raises StoreError when the store cannot be reached, read or written.
    """
    uri = resolve_uri(uri)
    path = _sqlite_path(uri)
    try:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists():
                    _create_database(path)
                return _experiment(uri, experiment, artifacts=path.parent / "mlartifacts")
        _reach(uri)
        return _experiment(uri, experiment, artifacts=None)
    except (OSError, MlflowException, SQLAlchemyError, urllib.error.URLError) as error:
        hint = f"cannot use the tracking store {_without_password(uri)}: {error}"
        if isinstance(error, urllib.error.URLError):
            hint += "\nStart a server there with `mlflow server --host 127.0.0.1`, or choose another store with tracking.uri=URI"
        if "out-of-date database schema" in str(error):
            hint += (
                f"\nIt was written by another version of MLflow than this one ({mlflow.__version__}). Install that version, or "
                "choose another store with tracking.uri=sqlite:///other.db"
            )
        raise StoreError(hint) from error


def _sqlite_path(uri: str) -> Path | None:
    """The absolute path of an SQLite database; None for any other store."""
    prefix = "sqlite:///"
    return Path(uri[len(prefix) :]).absolute() if uri.startswith(prefix) else None


def _without_password(uri: str) -> str:
    head, at, tail = uri.rpartition("@")
    return f"{head.partition('://')[0]}://***@{tail}" if at else uri


def _create_database(path: Path) -> None:
    """Create the schema aside and rename: to die in the middle leaves nothing half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = path.with_name(f"{path.name}.creating")
    aside.unlink(missing_ok=True)  # left by one that died; the lock says nobody else is at it
    store = SqlAlchemyStore(f"sqlite:///{aside}", (path.parent / "mlartifacts").as_uri())
    store.engine.dispose()
    aside.replace(path)


def _experiment(uri: str, name: str, artifacts: Path | None) -> Store:
    """The experiment `name`, created when it is not there; `artifacts` is where a new one keeps its files."""
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            created = client.create_experiment(
                name, artifact_location=artifacts.as_uri() if artifacts else None
            )
            return Store(uri, name, created, client)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        raise StoreError(
            f"the experiment {name!r} is deleted in this store; restore it with `mlflow experiments restore`, or choose "
            "another name with experiment=NAME"
        )
    return Store(uri, name, found.experiment_id, client)


def _reach(uri: str) -> None:
    """Ask a server whether it is there, once; MLflow itself would try for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    with contextlib.suppress(
        urllib.error.HTTPError
    ):  # it answered; what it thinks of us is for MLflow to find out
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_REACH_SECONDS).close()


# ---- one run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrackedRun:
    """A run that is under way in the store."""

    store: Store
    run_id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """One batch of writes; raises ValueError for a number that is not finite, which no store keeps as it is."""
        bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
        if bad:
            raise ValueError(f"metrics must be finite, came {bad}")
        now = int(time.time() * 1000)
        batch = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        with _whole(self.store):
            self.store.client.log_batch(self.run_id, metrics=batch)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        with _whole(self.store):
            self.store.client.log_batch(self.run_id, tags=_tags(tags))

    def log_text(self, name: str, text: str) -> None:
        self.store.client.log_text(self.run_id, text, name)

    def log_dataset(self, name: str, digest: str, shape: tuple[int, ...]) -> None:
        """The dataset as an MLflow input. MLflow keeps 36 characters of a digest at most."""
        dataset = Dataset(
            name=name,
            digest=digest[:32],
            source_type="local",
            source=json.dumps({"name": name, "sha256": digest}),
            profile=json.dumps({"train_shape": shape}),
        )
        tag = InputTag("mlflow.data.context", "training")
        self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [tag])])

    def log_predictions(self, outputs: np.ndarray, predicted: np.ndarray, label: np.ndarray) -> None:
        """predictions.npz: raw outputs [n, outputs] float32, classes [n] and labels [n] of the test set in file order."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "predictions.npz"
            np.savez_compressed(path, outputs=outputs, predicted=predicted, label=label)
            self.store.client.log_artifact(self.run_id, str(path))

    def log_model(self, network: Any, outputs: int) -> None:
        """The network as an MLflow model: images [n, 1, 28, 28] float32 in [0, 1] -> raw outputs [n, outputs] float32."""
        import mlflow.paddle
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec
        from paddle.static import InputSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1, 28, 28))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, outputs))]),
        )
        requirements = [
            f"{name}=={importlib.metadata.version(name)}" for name in ("paddlepaddle", "numpy", "setuptools")
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # Paddle's exporter prints
            mlflow.paddle.log_model(
                network,
                name="model",
                signature=signature,
                input_spec=[InputSpec([None, 1, 28, 28], "float32", "images")],
                pip_requirements=requirements,
            )


@contextlib.contextmanager
def tracked_run(
    store: Store, *, name: str, params: Mapping[str, Any], tags: Mapping[str, Any], parent: str | None = None
) -> Iterator[TrackedRun]:
    """A new run of `store`, FINISHED at the end of the block.

    An exception makes it FAILED (`outcome=failed`, its traceback in traceback.txt), an interruption KILLED
    (`outcome=killed`); both go on to the caller.
    """
    mlflow.set_tracking_uri(store.uri)  # log_model knows no other way
    status = RunStatus.KILLED
    with _whole(store):
        run = TrackedRun(store, _create_run(store, name, {"kind": "run"} | dict(tags), parent).info.run_id)
        mlflow.start_run(run_id=run.run_id)
        entries = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        store.client.log_batch(run.run_id, params=entries)
    try:
        _log_circumstances(run)
        yield run
        status = RunStatus.FINISHED
    except Exception:
        status = RunStatus.FAILED
        run.set_tags({"outcome": "failed"})
        run.log_text("traceback.txt", traceback.format_exc())
        raise
    finally:
        if status == RunStatus.KILLED:
            run.set_tags({"outcome": "killed"})
        with _whole(store):
            mlflow.end_run(RunStatus.to_string(status))


@contextlib.contextmanager
def _whole(store: Store) -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM to the end of the block: a write to SQLite that is cut in two leaves it locked.

    A server is written to without: it keeps its database in order itself, and waiting for it must end on Ctrl-C.
    """
    if not (_sqlite_path(store.uri) and hasattr(signal, "pthread_sigmask")):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _create_run(store: Store, name: str, tags: Mapping[str, Any], parent: str | None = None) -> MlflowRun:
    """A new RUNNING run with what MLflow's pages show: user, source, commit, parent."""
    shown = {"mlflow.source.name": "experiments/run.py", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(
        OSError, KeyError, ImportError
    ):  # a user without a name in the system, e.g. in a container
        shown["mlflow.user"] = getpass.getuser()
    if parent:
        shown["mlflow.parentRunId"] = parent
    commit, dirty = git_state()
    if commit:
        shown |= {"mlflow.source.git.commit": commit, "git_commit": commit, "git_dirty": str(dirty).lower()}
    merged = {key: str(value) for key, value in (shown | dict(tags)).items()}
    return store.client.create_run(store.experiment_id, run_name=name, tags=merged)


def _tags(tags: Mapping[str, Any]) -> list[RunTag]:
    return [RunTag(key, str(value)) for key, value in tags.items()]


# ---- circumstances ------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """The versions a number may depend on, as tags."""
    return {
        "python_version": platform.python_version(),
        "paddle_version": importlib.metadata.version("paddlepaddle"),
    }


@functools.cache  # asked for every skipped run; a process runs the code that it loaded, so once is right
def git_state() -> tuple[str, bool]:
    """The commit of the program's own checkout, and whether files differ from it; ("", False) outside a checkout."""
    commit = _git("rev-parse", "HEAD").strip()
    return commit, bool(commit and _git("status", "--porcelain").strip())


def _git(*arguments: str) -> str:
    """What git prints about the program's checkout; nothing where there is no git or no checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parent.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _log_circumstances(run: TrackedRun) -> None:
    from experiments.machine import cpu_model

    packages = sorted({f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}, key=str.lower)
    machine = [f"Python {platform.python_version()}", platform.platform(), cpu_model()]
    run.log_text("environment.txt", "\n".join([*(f"# {line}" for line in machine), *packages]) + "\n")
    if git_state()[1]:
        run.log_text("changes.diff", _git("diff", "HEAD"))


# ---- many runs ----------------------------------------------------------------------------------------------------


def runs_by_identity(store: Store, identities: Iterable[str]) -> dict[str, MlflowRun]:
    """For each identity its first FINISHED run, else its newest run; identities never run are absent."""
    wanted = set(identities)
    found: dict[str, MlflowRun] = {}
    for run in _search(store, "tags.kind = 'run'"):  # oldest first
        identity = run.data.tags.get("identity", "")
        finished = identity in found and found[identity].info.status == "FINISHED"
        if identity in wanted and not finished:
            found[identity] = run
    return found


def _search(store: Store, condition: str) -> Iterator[MlflowRun]:
    """All runs of the experiment that fulfil `condition`, oldest first, page after page."""
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment_id],
            condition,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def begin_sweep(store: Store, *, name: str, identities: Iterable[str], again: bool) -> str:
    """The id of the parent run of the grid with these identities, RUNNING.

    The newest parent of the same grid goes on, a FINISHED one only if not `again`; else there is a new one.
    """
    grid = sorted(set(identities))
    digest = hashlib.sha256(json.dumps(grid).encode()).hexdigest()
    known = list(_search(store, f"tags.kind = 'sweep' and tags.grid = '{digest}'"))
    if known and not (again and known[-1].info.status == "FINISHED"):
        run_id = known[-1].info.run_id
        store.client.update_run(run_id, status="RUNNING")
        return run_id
    run_id = _create_run(store, name, {"kind": "sweep", "grid": digest}).info.run_id
    store.client.log_text(run_id, json.dumps({"identities": grid}, indent=1), "grid.json")
    return run_id


def end_sweep(store: Store, parent: str, status: str) -> None:
    """Close the parent with FINISHED, FAILED or KILLED, and with it the children that died without a word."""
    end = "KILLED" if status == "KILLED" else "FAILED"
    for child in _search(store, f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"):
        store.client.set_tag(child.info.run_id, "outcome", end.lower())
        store.client.set_terminated(child.info.run_id, end)
    store.client.set_terminated(parent, status)
