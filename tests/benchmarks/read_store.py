"""How long `reports.runs.load` takes, and how much memory, as a store grows.

    python tests/benchmarks/read_store.py --runs 1000 10000

Builds a synthetic store for each number of runs in a temporary directory and reads it from the file
and through a tracking server on the loopback interface, each in a process of its own. Seconds are
those of `load` alone, imports excepted; memory is the peak of the whole process, imports included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT), str(ROOT / "tests")]  # this is a program, too

from helpers.commands import mlflow_server  # noqa: E402

from experiments import machine  # noqa: E402

LOSSES = ("ce", "mse", "focal", "mae", "hinge")
RATES = ("0.001", "0.003", "0.01", "0.03", "0.1")
METRICS = (
    *("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/nll"),
    *("time/train_seconds", "time/val_seconds", "lr"),
)
TEST_METRICS = tuple(
    f"test/{name}"
    for name in ("accuracy", "loss", "nll", "brier", "ece", "ece_scaled", "temperature")
)
PARAMS = {
    "model": "convnet",
    "data": "mnist",
    "optimizer": "sgd",
    "scheduler": "constant",
    "batch_size": "100",
    "data.root": "None",
    "data.train_size": "None",
    "data.validation_size": "10000",
    "data.label_noise": "0.0",
    "data.noise_kind": "symmetric",
    "optimizer.weight_decay": "None",
}
TAGS = {
    "kind": "run",
    "outcome": "ok",
    "git_commit": "0" * 40,
    "git_dirty": "false",
    "paddle_version": "3.3.1",
    "python_version": "3.11.7",
}
DATASET = "d" * 32
START = 1_700_000_000_000  # milliseconds since 1970

_READ = """
import json, pathlib, re, sys, time
from reports.runs import load
import reports.runs.store

def peak():  # MB; 0 where the system does not say
    status = pathlib.Path("/proc/self/status")  # getrusage would report the parent's
    if not status.exists():
        return 0
    return int(re.search(r"VmHWM:\\s+([0-9]+)", status.read_text())[1]) // 1024

before = peak()
start, cpu = time.perf_counter(), time.process_time()
runs = load(sys.argv[1])
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([seconds, cpu, before, peak(), len(runs.summary), len(runs.curves)]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[250, 500, 1000], help="default: %(default)s"
    )
    parser.add_argument("--epochs", type=int, default=20, help="of each run, default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of each reading, default: %(default)s"
    )
    parser.add_argument("--no-server", action="store_true", help="read from the file alone")
    arguments = parser.parse_args()
    if min(*arguments.runs, arguments.epochs, arguments.rounds) < 1:
        parser.error("--runs, --epochs and --rounds: expected whole numbers of at least 1")

    print(
        f"{machine.cpu_model()}, {machine.cores()} cores; {arguments.epochs} epochs x "
        f"{len(METRICS)} metrics a run"
    )
    with tempfile.TemporaryDirectory() as directory:
        for runs in arguments.runs:
            path = Path(directory) / f"{runs}.db"
            build(path, runs, arguments.epochs)
            report("sqlite", f"sqlite:///{path}", runs, arguments.epochs, arguments.rounds)
            if not arguments.no_server:
                with server(path) as address:
                    report("http", address, runs, arguments.epochs, arguments.rounds)
            path.unlink()


def report(kind: str, uri: str, runs: int, epochs: int, rounds: int) -> None:
    """Read the store in new processes and print what it took."""
    took = []
    for _ in range(rounds):
        command = [sys.executable, "-c", _READ, uri]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        *numbers, rows, points = json.loads(out.splitlines()[-1])
        if (rows, points) != (runs, runs * (epochs + 1)):
            sys.exit(
                f"expected {runs} runs and {runs * (epochs + 1)} points, read {rows} and {points}"
            )
        took.append(numbers)
    seconds, cpu, before, after = (sorted(values) for values in zip(*took, strict=True))
    middle = statistics.median(seconds)
    print(
        f"{kind:6} {runs:7,} runs {middle:8.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}; "
        f"{statistics.median(cpu):.2f} of this processor)  {1000 * middle / runs:6.2f} ms a run  "
        f"peak {after[-1]:5,} MB, of which imports {before[-1]:,}",
        flush=True,
    )


def build(path: Path, runs: int, epochs: int) -> None:
    """A store with `runs` FINISHED runs of one grid, written to MLflow's own tables at once."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path}", path.with_suffix(".artifacts").as_uri())
    experiment = int(store.create_experiment("benchmark"))
    store.engine.dispose()
    draw = random.Random(0)
    ids = [f"{draw.getrandbits(128):032x}" for _ in range(runs)]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, user_id, source_type, status, start_time, "
            "end_time, lifecycle_stage, "
            "artifact_uri, experiment_id) VALUES (?, ?, 'nobody', 'LOCAL', 'FINISHED', ?, ?, "
            "'active', ?, ?)",
            (
                (
                    run_id,
                    f"run {n}",
                    START + 1000 * n,
                    START + 1000 * n + 900,
                    f"/nowhere/{run_id}",
                    experiment,
                )
                for n, run_id in enumerate(ids)
            ),
        )
        connection.execute(
            "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, "
            "dataset_source_type, dataset_source) "
            "VALUES (?, ?, 'mnist', ?, 'local', '{}')",
            (DATASET, experiment, DATASET),
        )
        connection.executemany(
            "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, "
            "destination_id) "
            f"VALUES (?, 'DATASET', '{DATASET}', 'RUN', ?)",
            ((f"{n:032x}", run_id) for n, run_id in enumerate(ids)),
        )
        connection.executemany(
            "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", _params(ids, epochs)
        )
        connection.executemany(
            "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", _tags(ids)
        )
        for table, rows in (
            ("metrics", _history(ids, epochs)),
            ("latest_metrics", _latest(ids, epochs)),
        ):
            connection.executemany(
                f"INSERT INTO {table} (run_uuid, key, step, timestamp, value, is_nan) VALUES (?, "
                "?, ?, ?, ?, 0)",
                rows,
            )


def _params(ids: list[str], epochs: int) -> Iterator[tuple[str, str, str]]:
    for n, run_id in enumerate(ids):
        yield from ((run_id, name, value) for name, value in PARAMS.items())
        yield run_id, "loss", LOSSES[n % 5]
        yield run_id, "lr", RATES[n // 5 % 5]
        yield run_id, "epochs", str(epochs)
        yield run_id, "seed", str(n // 25)


def _tags(ids: list[str]) -> Iterator[tuple[str, str, str]]:
    for n, run_id in enumerate(ids):
        yield from ((run_id, name, value) for name, value in TAGS.items())
        yield run_id, "identity", f"{n:064x}"
        yield run_id, "run", f"{n % 25:064x}"
        yield from (
            (run_id, name, f"{n // 25:064x}") for name in ("init_hash", "head_hash", "order_hash")
        )


def _history(ids: list[str], epochs: int) -> Iterator[tuple[str, str, int, int, float]]:
    """Epoch after epoch of all runs.

    Interleaved as they are when many runs write at the same time.
    """
    for epoch in range(epochs + 1):
        for n, run_id in enumerate(ids):
            for m, name in enumerate(METRICS):
                if epoch or name.startswith("val/"):
                    yield run_id, name, epoch, START + 1000 * n + epoch, 1 / (2 + m + n + epoch)


def _latest(ids: list[str], epochs: int) -> Iterator[tuple[str, str, int, int, float]]:
    for n, run_id in enumerate(ids):
        for name in (*METRICS, *TEST_METRICS):
            yield run_id, name, epochs, START + 1000 * n + epochs, 0.5


def server(path: Path) -> contextlib.AbstractContextManager[str]:
    """The address of a tracking server on the store at `path`, for as long as the block lasts."""
    return mlflow_server(
        path.parent, "--backend-store-uri", f"sqlite:///{path}",
        "--artifacts-destination", str(path.with_suffix(".artifacts")),
        MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )  # fmt: skip


if __name__ == "__main__":
    main()
