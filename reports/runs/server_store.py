"""A store behind an MLflow tracking server, through its REST API.

A hundred runs and one metric at a time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import places
from experiments.credentials import redacted, shown
from reports.runs.records import CURVES, LINT, TAGS, Experiment, ReadError, Run, chunks, finite
from reports.runs.wording import cut

REACH_SECONDS = 10
_API = "/api/2.0/mlflow"
_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
BULK_RUNS, BULK_VALUES = 100, 25_000  # the server's limits for one request of _BULK


class ServerStore:
    """An MLflow tracking server, through its REST API.

    MLflow's own client would parse slowly, and retry for minutes.
    """

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow loads
        places.pass_proxies_by()
        self.uri = uri
        self._call(
            "GET",
            f"{_API}/experiments/search",
            {"max_results": 1},
            timeout=REACH_SECONDS,
            max_retries=0,
        )

    def experiments(self) -> list[Experiment]:
        """All experiments, deleted ones included."""
        found = self._pages("experiments", {"view_type": "ALL"})
        return [
            Experiment(each["experiment_id"], each["name"], each["lifecycle_stage"] == "deleted")
            for each in found
        ]

    def newest_experiment(self) -> str | None:
        """The id of the experiment with the newest run; None where no run exists."""
        ids = [each.id for each in self.experiments() if not each.deleted]
        order = ["attributes.start_time DESC"]
        asked = {
            "experiment_ids": ids,
            "filter": "tags.kind = 'run'",
            "order_by": order,
            "max_results": 1,
        }
        found = self._call("POST", f"{_API}/runs/search", asked).get("runs", []) if ids else []
        return found[0]["info"]["experiment_id"] if found else None

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """All runs of an experiment that are not deleted."""
        return map(_from_json, self._pages("runs", {"experiment_ids": [experiment_id]}))

    def sweeps(self, experiment_ids: Sequence[str]) -> list[Run]:
        """All parent runs of the experiments, deleted ones too."""
        asked = {
            "experiment_ids": list(experiment_ids),
            "filter": "tags.kind = 'sweep'",
            "run_view_type": "ALL",
        }
        return [_from_json(run) for run in self._pages("runs", asked)] if experiment_ids else []

    def histories(self, run_ids: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """(run id, metric, step, timestamp, value) of every value of the metrics in CURVES.

        Some runs at a time.
        """
        for ids in chunks(run_ids, BULK_RUNS):
            yield [row for metric in CURVES for row in self._history(ids, metric)]

    def artifact(self, run_id: str, name: str) -> bytes | None:
        """The content of a file that the run stored; None when it cannot be had."""
        return download(None, run_id, name, self.uri)

    def _history(self, ids: Sequence[str], metric: str) -> list[tuple[Any, ...]]:
        """One metric of some runs, by the route of MLflow's own pages.

        Its neighbour `-interval` leaves points out.
        """
        found = self._call("GET", _BULK, {"run_id": list(ids), "metric_key": metric}).get(
            "metrics", []
        )
        if len(found) < BULK_VALUES:
            return [
                (each["run_id"], metric, each["step"], each["timestamp"], float(each["value"]))
                for each in found
            ]
        if len(ids) > 1:  # cut off: ask for fewer runs at once
            half = len(ids) // 2
            return self._history(ids[:half], metric) + self._history(ids[half:], metric)
        found = self._call(
            "GET", f"{_API}/metrics/get-history", {"run_id": ids[0], "metric_key": metric}
        )
        return [
            (ids[0], metric, each.get("step", 0), each["timestamp"], float(each["value"]))
            for each in found.get("metrics", [])
        ]

    def _pages(self, what: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._call(
                "POST", f"{_API}/{what}/search", asked | {"max_results": 1000, "page_token": token}
            )
            yield from page.get(what, [])
            token = page.get("next_page_token")
            if not token:
                return

    def _call(
        self,
        method: str,
        route: str,
        asked: dict[str, Any],
        timeout: float = 120,
        max_retries: int = 2,
    ) -> Any:
        """What the server answers.

        Credentials are MLflow's: MLFLOW_TRACKING_USERNAME, _PASSWORD, _TOKEN and so on.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        sent = (
            {"params": asked}
            if method == "GET"
            else {"json": {key: each for key, each in asked.items() if each}}
        )
        try:
            answer = http_request(
                get_default_host_creds(self.uri),
                route,
                method,
                timeout=timeout,
                max_retries=max_retries,
                **sent,
            )
            return verify_rest_response(answer, route).json()
        except (
            MlflowException,
            OSError,
            ValueError,
        ) as error:  # what requests raises is an OSError
            raise ReadError(
                f"cannot read the tracking server {shown(self.uri)}: "
                f"{cut(redacted(str(error)), 500)}. "
                "Start it, or choose another store with tracking.uri=... or MLFLOW_TRACKING_URI"
            ) from error


def _from_json(run: Mapping[str, Any]) -> Run:
    """A run as the REST API writes it; fields that are empty are absent."""
    info, data = run["info"], run.get("data", {})
    tags = {each["key"]: each.get("value", "") for each in data.get("tags", [])}
    ours = tags.get("kind") == "run"
    digests = [
        each["dataset"]["digest"] for each in run.get("inputs", {}).get("dataset_inputs", [])
    ]
    return Run(
        *(info["run_id"], info.get("run_name", ""), info["experiment_id"], info["status"]),
        *(info.get("start_time"), info.get("end_time"), info["lifecycle_stage"] == "deleted"),
        tags={name: value for name, value in tags.items() if name in TAGS or name.startswith(LINT)},
        params={each["key"]: each.get("value", "") for each in data.get("params", [])}
        if ours
        else {},
        metrics={each["key"]: finite(float(each["value"])) for each in data.get("metrics", [])}
        if ours
        else {},
        digest=max(digests, default=""),
    )


def download(artifact_uri: str | None, run_id: str | None, name: str, uri: str) -> bytes | None:
    """An artifact that is not in a local directory, through MLflow; None when it cannot be had."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as directory:
        try:
            path = download_artifacts(
                artifact_uri=artifact_uri,
                run_id=run_id,
                artifact_path=name or None,
                dst_path=directory,
                tracking_uri=uri,
            )
            return Path(path).read_bytes()
        except Exception:  # whatever the libraries of the store in question raise
            return None
