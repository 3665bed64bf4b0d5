"""Two kinds of store: a database, read through MLflow's models of its tables, and a server.

Reading a store never creates or changes anything. MLflow's client is not used for a database: it
would migrate an older one, and it takes five times as long.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlflow
from alembic.migration import MigrationContext
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlInput,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.tracking import MlflowClient
from mlflow.utils import get_results_from_paginated_fn
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.rest_utils import http_request, verify_rest_response
from mlflow.utils.uri import is_local_uri
from sqlalchemy import Engine, case, create_engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from experiments import places
from experiments.credentials import redacted, shown
from reports.runs.records import CURVES, Experiment, ReadError, Run, chunks, finite, tags_of
from reports.runs.wording import cut

REACH_SECONDS = 10
PAGE = 1000
RUNS_AT_ONCE = 500  # Short queries: a sweep that is under way can write between them.
BULK_RUNS, BULK_VALUES = 100, 25_000  # A server's limits for one request of _BULK.
_VALUE = case((SqlMetric.is_nan, None), else_=SqlMetric.value)
_LATEST = case((SqlLatestMetric.is_nan, None), else_=SqlLatestMetric.value)
_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"

Rows = list[tuple[Any, ...]]


@contextlib.contextmanager
def _reading(store: str, advice: str) -> Iterator[None]:
    """Turn what SQLAlchemy, MLflow and requests (an OSError) raise into a ReadError."""
    try:
        yield
    except (SQLAlchemyError, MlflowException, OSError, ValueError, KeyError) as error:
        text = cut(redacted(str(getattr(error, "orig", error))), 500)
        raise ReadError(f"cannot read {store}: {text}. {advice}") from error


def _artifact(directory: str, name: str, uri: str) -> bytes | None:
    if is_local_uri(directory):
        try:
            return Path(local_file_uri_to_path(directory), name).read_bytes()
        except OSError:
            return None
    with tempfile.TemporaryDirectory() as copies:
        try:
            files = get_artifact_repository(directory, tracking_uri=uri)
            return Path(files.download_artifacts(name, copies)).read_bytes()
        except Exception:  # Each kind of artifact store raises errors of its own.
            return None


def every(search: Callable[..., Any], most: int | None = None) -> list[Any]:
    """What a search of MLflow's client returns on all its pages together, at most so many."""
    return get_results_from_paginated_fn(
        lambda size, token: search(max_results=size, page_token=token), PAGE, most
    )


_latest_revision = cache(_get_latest_schema_revision)  # of the scripts of migration

# ---- a database ----------------------------------------------------------------------------------


def sqlite(path: Path) -> Engine:
    """An engine that can only read the database.

    Not `mode=ro`, which cannot read what a writer left that was killed amid a transaction. `rw`
    creates nothing either and accepts a file that cannot be written, and `query_only` refuses to
    write.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=20)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


class Database:
    """A database that has the tables of the MLflow that is installed."""

    def __init__(self, uri: str, engine: Engine):
        self.uri, self._engine, self._path = uri, engine, places.database(uri)
        self._reading = partial(
            _reading,
            f"{self._path or shown(uri)} as a store of MLflow {mlflow.__version__}",
            "Choose another store with tracking.uri=sqlite:///path/to/mlflow.db",
        )
        with self._reading(), engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        if revision != (expected := _latest_revision()):
            got = f"tables of revision {revision}" if revision else "none of its tables"
            raise ReadError(
                f"expected a store of MLflow {mlflow.__version__} (tables of revision {expected}) "
                f"in {self._path or shown(uri)}, got {got}. Choose another store with "
                "tracking.uri=sqlite:///path/to/mlflow.db; if this one was written by an older "
                f"MLflow, take a backup and run `mlflow db upgrade {shown(uri)}`"
            )

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones included."""
        columns: Any = (SqlExperiment.experiment_id, SqlExperiment.name)
        return [
            Experiment(str(key), name, stage == "deleted")
            for key, name, stage in self._rows(select(*columns, SqlExperiment.lifecycle_stage))
        ]

    def runs(
        self, kind: str, experiments: Sequence[str], *, deleted: bool = False, newest: bool = False
    ) -> Iterator[Run]:
        """Runs of the experiments with these ids that have the tag `kind`: "run" or "sweep".

        Args:
            kind: The tag's value. Runs of other programs have no such tag.
            experiments: The ids of the experiments.
            deleted: Whether deleted runs are included.
            newest: Whether to return only the newest run.
        """
        stages = ("active", "deleted") if deleted else ("active",)
        query: Any = select(SqlRun).join(SqlTag, SqlTag.run_uuid == SqlRun.run_uuid)
        query = query.where(SqlTag.key == "kind", SqlTag.value == kind)
        query = query.where(SqlRun.experiment_id.in_(map(int, experiments)))
        query = query.where(SqlRun.lifecycle_stage.in_(stages)).with_only_columns(
            *(SqlRun.run_uuid, SqlRun.name, SqlRun.experiment_id, SqlRun.status),
            *(SqlRun.start_time, SqlRun.end_time, SqlRun.lifecycle_stage),
        )
        if newest:
            query = query.order_by(SqlRun.start_time.desc(), SqlRun.run_uuid).limit(1)
        used: Any = select(SqlInput.destination_id, SqlDataset.digest)
        used = used.join(SqlDataset, SqlInput.source_id == SqlDataset.dataset_uuid)
        used = used.where(SqlInput.destination_type == "RUN")
        for rows in chunks(self._rows(query), RUNS_AT_ONCE):
            ids = [row[0] for row in rows]
            tags, params = self._entries(SqlTag, ids), self._entries(SqlParam, ids)
            metrics = self._entries(SqlLatestMetric, ids)
            digests = dict(sorted(self._rows(used.where(SqlInput.destination_id.in_(ids)))))
            for run_id, name, experiment, status, started, ended, stage in rows:
                yield Run(
                    *(run_id, name or "", str(experiment), status, started, ended),
                    deleted=stage == "deleted",
                    tags=tags_of(tags[run_id]),
                    params=params[run_id],
                    metrics={key: finite(value) for key, value in metrics[run_id].items()},
                    digest=digests.get(run_id, ""),
                )

    def histories(self, run_ids: Sequence[str]) -> Iterator[Rows]:
        """Every value of the metrics in CURVES, some runs at a time.

        Yields:
            Run id, metric, step, timestamp and value; None for a value that is not a number.
        """
        query = select(
            SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, _VALUE
        )
        for ids in chunks(run_ids, RUNS_AT_ONCE):
            # If the query named the metrics, SQLite would read those of all runs.
            rows = self._rows(query.where(SqlMetric.run_uuid.in_(ids)))
            yield [row for row in rows if row[1] in CURVES]

    def artifact(self, run_id: str, name: str) -> bytes | None:
        """The content of a file that the run stored; None when it cannot be read."""
        rows = self._rows(select(SqlRun.artifact_uri).where(SqlRun.run_uuid == run_id))
        for (recorded,) in rows:
            now = places.current(recorded, self._path) if self._path else recorded
            return _artifact(now, name, self.uri)
        return None

    def _entries(self, table: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By run the tags, params or last metrics."""
        entries: dict[str, dict[str, Any]] = {run_id: {} for run_id in ids}
        value = _LATEST if table is SqlLatestMetric else table.value
        query = select(table.run_uuid, table.key, value).where(table.run_uuid.in_(ids))
        for run_id, key, each in self._rows(query):
            entries[run_id][key] = each
        return entries

    def _rows(self, query: Any) -> Rows:
        """All rows at once, on a connection of their own: a lock is held no longer than that."""
        with self._reading(), self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]  # Half of the time of all().


# ---- a server ------------------------------------------------------------------------------------


class Server:
    """A tracking server that answers.

    Credentials are MLflow's: MLFLOW_TRACKING_USERNAME, _PASSWORD, _TOKEN and so on.
    """

    def __init__(self, uri: str):
        places.pass_proxies_by()
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's 7 take minutes.
        self.uri, self._client = uri, MlflowClient(tracking_uri=uri)
        self._reading = partial(
            _reading,
            f"the tracking server {shown(uri)}",
            "Start it, or choose another store with tracking.uri=... or MLFLOW_TRACKING_URI",
        )
        route, limits = "/api/2.0/mlflow/experiments/search", {"max_results": 1}
        with self._reading():
            answer = self._get(route, limits, timeout=REACH_SECONDS, max_retries=0)
            verify_rest_response(answer, route).json()

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones included."""
        with self._reading():
            experiments = every(partial(self._client.search_experiments, view_type=ViewType.ALL))
        return [
            Experiment(each.experiment_id, each.name, each.lifecycle_stage == "deleted")
            for each in experiments
        ]

    def runs(
        self, kind: str, experiments: Sequence[str], *, deleted: bool = False, newest: bool = False
    ) -> Iterator[Run]:
        """The same as of a database."""
        search = partial(
            self._client.search_runs,
            list(experiments),
            f"tags.kind = '{kind}'",
            ViewType.ALL if deleted else ViewType.ACTIVE_ONLY,
            # Oldest first: a new run does not move others to the next page.
            order_by=[f"attributes.start_time {'DESC' if newest else 'ASC'}"],
        )
        with self._reading():
            runs = every(search, 1 if newest else None) if experiments else []
        return map(_from_entity, runs)

    def histories(self, run_ids: Sequence[str]) -> Iterator[Rows]:
        """Every value of the metrics in CURVES, some runs at a time."""
        for ids in chunks(run_ids, BULK_RUNS):
            with self._reading():
                yield [row for metric in CURVES for row in self._history(ids, metric)]

    def _history(self, ids: Sequence[str], metric: str) -> Rows:
        """One metric of some runs: by the route of MLflow's own pages, else by the client.

        The client asks for one run at a time, which takes five times as long. The neighbour
        `get-history-bulk-interval` of this route leaves points out.
        """
        answer = self._get(_BULK, {"run_id": list(ids), "metric_key": metric})
        values = answer.json()["metrics"] if answer.status_code == 200 else None
        if values is None or len(values) >= BULK_VALUES:  # No such route, or cut off.
            return [
                (run_id, metric, each.step, each.timestamp, each.value)
                for run_id in ids
                for each in self._client.get_metric_history(run_id, metric)
            ]
        return [
            (each["run_id"], metric, each["step"], each["timestamp"], float(each["value"]))
            for each in values
        ]

    def artifact(self, run_id: str, name: str) -> bytes | None:
        """The content of a file that the run stored; None when it cannot be read."""
        try:
            directory = self._client.get_run(run_id).info.artifact_uri
        except MlflowException:
            return None
        return _artifact(directory, name, self.uri)

    def _get(self, route: str, params: dict[str, Any], **limits: Any) -> Any:
        return http_request(get_default_host_creds(self.uri), route, "GET", params=params, **limits)


def _from_entity(run: MlflowRun) -> Run:
    info, data = run.info, run.data
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return Run(
        *(info.run_id, info.run_name or "", info.experiment_id, info.status),
        *(info.start_time, info.end_time),
        deleted=info.lifecycle_stage == "deleted",
        tags=tags_of(data.tags),
        params=data.params,
        metrics={key: finite(value) for key, value in data.metrics.items()},
        digest=max((each.dataset.digest for each in inputs), default=""),
    )
