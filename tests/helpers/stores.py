"""Stores: one that real commands wrote, or one in which runs are made up."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from reports.runs import Runs, load

START = 1_700_000_000_000  # milliseconds since 1970: 2023-11-14 22:13:20 UTC
BASE = {
    **{"loss": "ce", "model": "mlp", "data": "digits", "optimizer": "sgd", "scheduler": "constant"},
    **{"lr": "0.003", "epochs": "2", "batch_size": "100", "seed": "0"},
}


def _validated(loss: float, accuracy: float) -> dict[str, float]:
    values = {"val/loss": loss, "val/accuracy": accuracy, "val/nll": loss}
    return values | {"time/val_seconds": 0.1}


HISTORY = {  # step -> metrics, the network of BASE
    0: {**_validated(2.4, 0.1), "data/flipped": 0.0},
    1: {
        **{"train/loss": 1.5, "train/accuracy": 0.5, "time/train_seconds": 4.0, "lr": 0.003},
        **_validated(1.2, 0.6),
    },
    2: {
        **{"train/loss": 1.0, "train/accuracy": 0.7, "time/train_seconds": 6.0, "lr": 0.001},
        **_validated(0.9, 0.8),
    },
}
TEST = {
    **{"test/accuracy": 0.75, "test/loss": 0.95, "test/nll": 0.95, "test/brier": 0.4},
    **{"test/ece": 0.2, "test/ece_scaled": 0.1, "test/temperature": 1.5},
}


class Store:
    """A store in which runs are made up with MLflow's own client."""

    def __init__(self, path: Path, experiment: str = "mine") -> None:
        from mlflow.tracking import MlflowClient

        self.path = path
        self.uri = f"sqlite:///{path}"
        self.client = MlflowClient(tracking_uri=self.uri)
        self.experiment = self.add_experiment(experiment)
        self._made = 0

    def add_experiment(self, name: str) -> str:
        return self.client.create_experiment(
            name, artifact_location=(self.path.parent / "mlartifacts").as_uri()
        )

    def add(
        self,
        identity: str | None = "",
        *,
        status: str = "FINISHED",
        outcome: str | None = "ok",
        history: dict | None = None,
        test: dict | None = None,
        tags: dict | None = None,
        own: dict | None = None,
        kind: str | None = "run",
        experiment: str | None = None,
        digest: str = "",
        name: str = "a run",
        **params: object,
    ) -> str:
        """One run, 10 s after the one before and 5 s long.

        Identity: "" for one of its own, None for none.
        """
        from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

        self._made += 1
        start = START + 10_000 * self._made
        run_id = self.client.create_run(
            experiment or self.experiment, start_time=start, run_name=name
        ).info.run_id
        identity = f"id{self._made}" if identity == "" else identity
        all_tags = {"kind": kind, "outcome": outcome, "identity": identity} | (tags or {})
        given = (own or {}) | params
        texts = (BASE if kind == "run" else {}) | {key: str(each) for key, each in given.items()}
        values = [*(HISTORY if history is None else history).items()]
        values.append((2, TEST if test is None else test))
        self.client.log_batch(
            run_id,
            metrics=[
                Metric(key, value, start + step, step)
                for step, metrics in values
                for key, value in metrics.items()
            ],
            params=[Param(key, value) for key, value in texts.items() if value != "absent"],
            tags=[RunTag(key, str(value)) for key, value in all_tags.items() if value is not None],
        )
        if digest:
            self.client.log_inputs(run_id, [DatasetInput(Dataset("digits", digest, "local", "{}"))])
        if status != "RUNNING":
            self.client.set_terminated(run_id, status, start + 5_000)
        return run_id

    def add_sweep(
        self,
        name: str,
        identities: list[str] | None,
        status: str = "FINISHED",
        tags: dict | None = None,
        experiment: str | None = None,
        **content: object,
    ) -> str:
        own = {"kind": "sweep", "tags": tags, "name": name, "status": status}
        run_id = self.add(None, outcome=None, history={}, test={}, experiment=experiment, **own)
        if identities is not None:
            grid = json.dumps({"identities": identities} | content)
            self.client.log_text(run_id, grid, "grid.json")
        return run_id

    def add_predictions(self, run_id: str, data: bytes, name: str = "predictions.npz") -> None:
        place = self.path.parent / "upload"
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
        self.client.log_artifact(run_id, str(place / name))

    def load(self, **arguments) -> Runs:
        return load(self.uri, **arguments)


def add_data_sets(
    store: Store,
    accuracies: dict[str, dict[str, float]],
    *,
    seeds: int = 2,
    diverged: tuple[tuple[str, str], ...] = (),
    **params: object,
) -> None:
    """Runs of data sets that exist elsewhere, with the test accuracy of each loss on each.

    Args:
        store: to which they are added.
        accuracies: by data set and loss, the mean over the seeds.
        seeds: of each loss on each data set; their accuracies lie evenly about the mean.
        diverged: data set and loss of which the last seed diverged.
        params: of all runs.
    """
    for data, losses in accuracies.items():
        for loss, mean in losses.items():
            for seed in range(seeds):
                value = mean + 0.002 * (seed - (seeds - 1) / 2)
                lost = (data, loss) in diverged and seed == seeds - 1
                history = {
                    epoch: {"val/accuracy": value * share, "time/train_seconds": 2.0}
                    for epoch, share in enumerate((0.5, 0.9, 1.0))
                }
                store.add(
                    outcome="diverged" if lost else "ok",
                    history={0: history[0]} if lost else history,
                    test={} if lost else {"test/accuracy": value},
                    name=f"{data} {loss} {seed}",
                    own={"data": data, "loss": loss, "seed": seed} | params,
                    tags={"init_hash": f"init{seed}", "order_hash": f"order{seed}"},
                )


def execute(path: Path, *statements: str | tuple[str, tuple[object, ...]]) -> None:
    """Change a database behind MLflow's back, by statements of SQL with or without values."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for each in statements:
            connection.execute(*([each] if isinstance(each, str) else each))


def client(directory: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")


def lasting(run: Run) -> dict[str, float]:
    """The metrics of a run but its times."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("time/")}


def runs(directory: Path, kind: str = "run", experiment: str | None = None):
    """Those of an experiment, of the newest one without a name."""
    store = client(directory)
    experiments = [each for each in store.search_experiments() if experiment in (None, each.name)]
    return sorted(
        store.search_runs([experiments[0].experiment_id], f"tags.kind = '{kind}'"),
        key=lambda run: (run.data.params.get("loss", ""), run.data.params.get("seed", "")),
    )
