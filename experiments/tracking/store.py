"""The store: where it is, opened or created whole, and asked with patience while it is away."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import requests
from filelock import FileLock
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.tracking import MlflowClient
from mlflow.utils import get_results_from_paginated_fn
from sqlalchemy import bindparam, create_engine, make_url, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from experiments import places
from experiments.config import CommandError, Settings
from experiments.contract import command, mlflow_for
from experiments.credentials import redacted, shown

log = logging.getLogger(__name__)
for _chatty in ("alembic", "mlflow.store.db.utils", "mlflow.models.model"):
    # Errors are logged by this project, together with what follows from them.
    logging.getLogger(_chatty).setLevel(logging.CRITICAL)

# MLflow would try each request seven times by itself, for minutes in which nothing else happens.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # our artifacts are small
# Of a server it would print two lines at the end of each run, and fail where nobody reads them any
# more.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

# What was written has to be in the store when a call returns, whatever the user's other programs
# prefer.
os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"
places.pass_proxies_by()

PATIENCE_SECONDS = 600.0
_PAGE = 1000
_REACH_SECONDS = 10

Result = TypeVar("Result")


class StoreError(CommandError):
    """The store cannot be used; the message says which, why, and what to do."""


class Away(StoreError):
    """The store did not answer within the patience of the caller."""


@dataclass(frozen=True)
class Store:
    """An experiment in a tracking store that was seen to work.

    Attributes:
        client: MLflow's own, but each call waits for a store that is away, and no signal cuts it
            in two.
        impatient: The same without waiting: it raises Away.
        directory: Where its files are: beside an SQLite database, or where the command started.
    """

    uri: str
    experiment: str
    experiment_id: str
    client: MlflowClient
    impatient: MlflowClient
    patience: float
    directory: Path

    @property
    def key(self) -> str:
        """What tells it from other stores in `directory`; it stays when that is moved."""
        path = places.database(self.uri)
        return path.name if path else self.uri

    def artifacts(self, run: MlflowRun) -> ArtifactRepository:
        """The files of a run, where they lie now."""
        path, recorded = places.database(self.uri), run.info.artifact_uri
        now = places.current(recorded, path) if path else recorded
        return get_artifact_repository(now, tracking_uri=self.uri)

    def patiently(self, call: Callable[[], Result]) -> Result:
        """What `call` returns, as `client` would do it."""
        return patiently(call, self.patience, places.database(self.uri) is not None)

    def hasty(self) -> Store:
        """The same without patience."""
        return replace(self, client=self.impatient, patience=0.0)

    def search(self, condition: str) -> list[MlflowRun]:
        """All runs of the experiment that fulfil `condition`, oldest first."""

        def page(size: int, token: str | None) -> Any:
            return self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=size,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )

        return get_results_from_paginated_fn(page, _PAGE)


# ---- patience ------------------------------------------------------------------------------------


def patiently(call: Callable[[], Result], patience: float, local: bool) -> Result:
    """Call, again for `patience` (>= 0) seconds while the store is away, locked or full.

    Args:
        call: What to do.
        patience: Seconds.
        local: Whether the store is a file, in which a write must not be cut in two.

    Raises:
        Away: The time is over.
    """
    begun, tries = time.monotonic(), 0
    while True:
        try:
            with without_signals() if local else contextlib.nullcontext():
                return call()
        except Exception as error:
            if not _passes(error):
                raise
            waited = time.monotonic() - begun
            if waited >= patience:
                raise Away(
                    f"writing to the tracking store timed out after {waited:.0f} s: "
                    f"{_first_line(error)}"
                ) from error
            tries += 1
            if tries == 3 or (tries > 3 and waited > 15 and tries % 10 == 0):
                log.warning(
                    "the tracking store does not answer (%s); waiting, %.0f s at most",
                    _first_line(error),
                    patience - waited,
                )
        time.sleep(max(0.0, min(2.0, 0.1 * 2**tries, patience - waited)))


def _passes(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, MlflowException):
        conflict = "IntegrityError" in str(error)  # another process wrote the same new thing
        return conflict or error.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR")
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(
        error, (requests.ConnectionError, requests.Timeout, urllib.error.URLError, OperationalError)
    )


def _first_line(error: Exception) -> str:
    return redacted(str(error).splitlines()[0])[:300]


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM in the block: a write that is cut in two leaves SQLite locked.

    A thread that starts in such a block never takes these signals; another thread would.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _PatientClient:
    """MLflow's client, every call through `patiently`."""

    def __init__(self, uri: str, patience: float):
        self._client = MlflowClient(tracking_uri=uri)
        self._patience = patience
        self._local = places.database(uri) is not None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: patiently(
            partial(method, *args, **kwargs), self._patience, self._local
        )


# ---- opening -------------------------------------------------------------------------------------


def open_store(
    uri: str | None,
    experiment: str,
    *,
    patience: float = PATIENCE_SECONDS,
    wait: bool = False,
    directory: Path | None = None,
) -> Store:
    """The experiment in the store at `uri`, both created when they are not there.

    Args:
        uri: The store's address.
        experiment: Its name.
        patience: Seconds that writes will wait for a store that is away.
        wait: Whether opening it waits, too.
        directory: Where the command started, or the current directory.

    Raises:
        StoreError: The store cannot be reached, read or written.
    """
    directory = directory or Path.cwd()
    opening = patience if wait else 0.0
    try:
        uri = places.store_uri(uri, directory)
        path = places.database(uri)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.exists():
                    _create_database(path)
                return _open(uri, experiment, patience, opening, path.parent)
        patiently(partial(_reach, uri), opening, local=False)
        return _open(uri, experiment, patience, opening, directory)
    except places.AddressError as error:
        raise StoreError(str(error)) from error
    except (Away, OSError, MlflowException, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, Away) else error
        hint = f"cannot use the tracking store {shown(str(uri))}: {redacted(str(cause))}"
        if isinstance(cause, urllib.error.URLError):
            hint += (
                "\nStart a server there with `mlflow server --host 127.0.0.1`, or choose another "
                "store with tracking.uri=URI"
            )
        if "out-of-date database schema" in str(cause):
            hint += (
                "\nIt was written by another version of MLflow than this one "
                f"({mlflow.__version__}). Install that version, or "
                "choose another store with tracking.uri=sqlite:///other.db"
            )
        raise StoreError(hint) from error


def open_for(settings: Settings, *, wait: bool = False) -> Store:
    """`open_store` with what the settings of a run say."""
    options = settings.tracking
    return open_store(
        options["uri"],
        settings.experiment,
        patience=options["patience"],
        wait=wait,
        directory=options["directory"] and Path(options["directory"]),
    )


def _create_database(path: Path) -> None:
    """Create the schema aside and rename: to die in the middle leaves nothing half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = path.with_name(f"{path.name}.creating")
    aside.unlink(missing_ok=True)  # of a killed process: others wait for the lock
    uri = places.sqlite_uri(aside)
    if make_url(uri).database != str(aside):
        raise StoreError(
            f"expected a path without % and ? for the database, got {path}: this version of "
            "SQLAlchemy cannot open it; `pip install -U sqlalchemy`, or start the command elsewhere"
        )
    store = SqlAlchemyStore(uri, places.artifacts(path).as_uri())
    store.engine.dispose()
    aside.replace(path)


def _open(uri: str, name: str, patience: float, opening: float, directory: Path) -> Store:
    """The store's experiment `name`."""
    client: Any = _PatientClient(uri, opening)
    path = places.database(uri)
    opened = client.get_experiment_by_name(name)
    if path:
        places.artifacts(path).mkdir(exist_ok=True)
        patiently(partial(_relocate, uri, path), opening, local=True)
    if opened is None:
        location = places.artifacts(path).as_uri() if path else None
        try:
            client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise  # else another process was faster
        opened = client.get_experiment_by_name(name)
    if opened is None or opened.lifecycle_stage != "active":
        program = f"{mlflow_for(uri)} experiments restore"
        restore = command(program, "--experiment-id", opened.experiment_id if opened else "ID")
        raise StoreError(
            f"the experiment {name!r} is deleted in this store; restore it with `{restore}`, or "
            "choose another name with experiment=NAME"
        )
    patient: Any = _PatientClient(uri, patience)
    hasty: Any = _PatientClient(uri, 0.0)
    return Store(uri, name, opened.experiment_id, patient, hasty, patience, directory)


def _relocate(uri: str, database: Path) -> None:
    """In a store that was moved, record where its artifacts are now, as MLflow needs it."""
    columns: Any = (
        SqlExperiment.artifact_location,
        SqlRun.artifact_uri,
        SqlLoggedModel.artifact_location,
    )
    beside = places.artifacts(database).as_uri()
    changed = 0
    with create_engine(make_url(uri), poolclass=NullPool).begin() as connection:
        for column in columns:
            (key,) = column.class_.__mapper__.primary_key
            outdated = select(key, column).where(~column.startswith(beside, autoescape=True))
            moved = [
                {"row": row, "now": now}
                for row, recorded in connection.execute(outdated)
                if recorded and (now := places.current(recorded, database)) != recorded
            ]
            if moved:
                change = update(column.class_).where(key == bindparam("row"))
                connection.execute(change.values({column.key: bindparam("now")}), moved)
            changed += len(moved)
    if changed:
        log.info("the store was moved to %s: its artifacts are found there", database.parent)


def _reach(uri: str) -> None:
    """Ask a server whether it is there, once; MLflow itself would try for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    with contextlib.suppress(urllib.error.HTTPError):  # it answered
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_REACH_SECONDS).close()
