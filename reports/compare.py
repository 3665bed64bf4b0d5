"""`generate compare A B`: what differs between two runs of a store, printed.

The comparison itself is `experiments.comparison`, which `rerun=` uses, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.names import one_line
from reports.runs import ReadError, open_store


def compare(uri: str | None, experiment: str | None, run_ids: Sequence[str]) -> str:
    """The differences of two runs, in lines.

    Args:
        uri: The store; None as in `reports.runs.load`.
        experiment: The experiment to search for the runs; None for all.
        run_ids: Two ids, or the beginnings of two.

    Raises:
        ReadError: There is no store, or no such run.
    """
    from mlflow import MlflowClient

    from experiments import comparison

    store = open_store(uri)  # refuses what is no store, before MLflow's client would create one
    client = MlflowClient(store.uri)

    def artifact(run: Any, name: str) -> bytes | None:
        return store.artifact(run.info.run_id, name)

    records = []
    for run_id in run_ids:
        try:
            run = comparison.find(client, run_id, store.uri, experiment)
        except comparison.RunError as error:
            raise ReadError(f"generate compare: {run_id}: {error}") from error
        records.append(comparison.record(client, run, artifact))
    lines = comparison.text(*records).splitlines()
    return "\n".join(line[: len(line) - len(line.lstrip())] + one_line(line) for line in lines)
