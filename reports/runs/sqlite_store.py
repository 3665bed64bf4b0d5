"""A store in a file: MLflow's tables, read straight, some hundred runs at a time.

Reading never creates or changes it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import places
from reports.runs.records import CURVES, LINT, TAGS, Experiment, ReadError, Run, chunks, finite
from reports.runs.server_store import download
from reports.runs.wording import MAKE_RUNS

SCHEMA = "dc11669786a5"  # the revision of MLflow 3.17's tables
_RUNS_AT_ONCE = 500  # short transactions: a sweep that is under way can write in between


class SqliteStore:
    """MLflow's tables in a file."""

    def __init__(self, path: Path) -> None:
        self.uri = places.sqlite_uri(path)
        self._path = path
        if not path.exists():
            raise ReadError(
                f"there is no MLflow store {path}. {MAKE_RUNS} in this directory, or name the "
                "store that "
                "has your runs: tracking.uri=sqlite:///path/to/mlflow.db or MLFLOW_TRACKING_URI"
            )
        tables = {name for (name,) in self._query("SELECT name FROM sqlite_master")}
        found = (
            [name for (name,) in self._query("SELECT version_num FROM alembic_version")]
            if "alembic_version" in tables
            else []
        )
        if found != [SCHEMA]:
            got = (
                f"tables of revision {', '.join(map(str, found))}"
                if found
                else "none of its tables"
            )
            raise ReadError(
                f"expected a store of MLflow 3.17 (tables of revision {SCHEMA}) in {path}, got "
                f"{got}. Choose another "
                "store with tracking.uri=sqlite:///path/to/mlflow.db; if this one was written by "
                "an older MLflow, take a "
                f"backup and run `mlflow db upgrade {self.uri}`"
            )

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones included."""
        found = self._query(
            "SELECT experiment_id, name, lifecycle_stage FROM experiments ORDER BY experiment_id"
        )
        return [Experiment(str(key), name, stage == "deleted") for key, name, stage in found]

    def newest_experiment(self) -> str | None:
        """The id of the experiment with the newest run; None where no run exists."""
        found = self._query(
            "SELECT runs.experiment_id FROM runs JOIN experiments USING (experiment_id) JOIN tags "
            "USING (run_uuid) "
            "WHERE tags.key = 'kind' AND tags.value = 'run' AND runs.lifecycle_stage = 'active' "
            "AND experiments.lifecycle_stage = 'active' ORDER BY start_time DESC, run_uuid LIMIT 1"
        )
        return str(found[0][0]) if found else None

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All runs of an experiment that are not deleted.

        Params and metrics of this program's alone.
        """
        found = self._query(
            "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active'",
            [int(experiment_id)],
        )
        for ids in chunks([run_id for (run_id,) in found], _RUNS_AT_ONCE):
            yield from self._details(ids)

    def sweeps(self, experiment_ids: Sequence[str]) -> list[Run]:
        """All parent runs of the experiments, deleted ones too."""
        found = self._query("SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'sweep'")
        wanted = set(experiment_ids)
        parts = chunks([run_id for (run_id,) in found], _RUNS_AT_ONCE)
        return [run for ids in parts for run in self._details(ids) if run.experiment in wanted]

    def histories(self, run_ids: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """(run id, metric, step, timestamp, value or None) of every value of the metrics in CURVES.

        Some runs at a time.
        """
        for ids in chunks(run_ids, _RUNS_AT_ONCE):
            # +key: SQLite is not to go through the index that starts with key, and so through all
            # runs there are
            yield self._query(
                "SELECT run_uuid, key, step, timestamp, CASE WHEN is_nan THEN NULL ELSE value END "
                "FROM metrics "
                f"WHERE run_uuid IN ({_marks(ids)}) AND +key IN ({_marks(CURVES)})",
                [*ids, *CURVES],
            )

    def artifact(self, run_id: str, name: str) -> bytes | None:
        """The content of a file that the run stored; None when it cannot be had."""
        found = self._query("SELECT artifact_uri FROM runs WHERE run_uuid = ?", [run_id])
        if not found:
            return None
        uri = places.current(str(found[0][0]), self._path)
        parts = urllib.parse.urlsplit(uri)
        if parts.scheme not in ("", "file"):
            return download(f"{uri}/{name}", None, "", self.uri)
        directory = Path(urllib.request.url2pathname(parts.path) if parts.scheme else uri)
        with contextlib.suppress(OSError):
            return (directory / name).read_bytes()
        return None

    def _details(self, ids: Sequence[str]) -> list[Run]:
        tags: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
        for run_id, key, value in self._query(
            f"SELECT run_uuid, key, value FROM tags WHERE run_uuid IN ({_marks(ids)}) "
            f"AND (+key IN ({_marks(TAGS)}) OR +key LIKE ?)",
            [*ids, *TAGS, f"{LINT}%"],
        ):
            tags[run_id][key] = value
        ours = [run_id for run_id in ids if tags[run_id].get("kind") == "run"]
        params: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
        for run_id, key, value in self._query(
            f"SELECT run_uuid, key, value FROM params WHERE run_uuid IN ({_marks(ours)})", ours
        ):
            params[run_id][key] = value
        metrics: dict[str, dict[str, float | None]] = {run_id: {} for run_id in ids}
        for run_id, key, value in self._query(
            "SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics "
            f"WHERE run_uuid IN ({_marks(ours)})",
            ours,
        ):
            metrics[run_id][key] = finite(value)
        digests = dict(
            self._query(
                "SELECT destination_id, digest FROM inputs JOIN datasets ON source_id = "
                "dataset_uuid WHERE +source_type = "
                f"'DATASET' AND destination_type = 'RUN' AND destination_id IN ({_marks(ours)}) "
                "ORDER BY digest",
                ours,
            )
        )
        found = self._query(
            "SELECT run_uuid, name, experiment_id, status, start_time, end_time, lifecycle_stage "
            "FROM runs "
            f"WHERE run_uuid IN ({_marks(ids)})",
            ids,
        )
        return [
            Run(
                *(run_id, name or "", str(experiment), status, started, ended, stage == "deleted"),
                *(tags[run_id], params[run_id], metrics[run_id], digests.get(run_id, "")),
            )
            for run_id, name, experiment, status, started, ended, stage in found
        ]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows at once, on a connection of their own: a lock is held no longer than that.

        Not `mode=ro`, which cannot read what a writer left that was killed amid a transaction; `rw`
        creates nothing either, is content with a file that cannot be written, and `query_only`
        refuses to write.
        """
        try:
            address = f"{self._path.as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=20)) as connection:
                connection.execute("PRAGMA query_only = ON")
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise ReadError(
                f"cannot read {self._path} as a store of MLflow 3.17: {error}. Choose another "
                "store with "
                "tracking.uri=sqlite:///path/to/mlflow.db"
            ) from error


def _marks(items: Collection[str]) -> str:
    return ", ".join("?" * len(items))
