"""Fixtures of several files of tests of stores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import read_store
from helpers.baselines import HASHES, MACHINE
from helpers.read_runs import HOSTILE, good_predictions, npz
from helpers.stores import Store

from reports.runs import collect_baselines
from reports.runs.baselines import pack


@pytest.fixture
def baselines_store(empty_store: Path, tmp_path: Path) -> Store:
    """A store with the runs of two losses, one of them diverged, and one that failed."""
    (tmp_path / "theirs").mkdir()
    store = Store(shutil.copy(empty_store, tmp_path / "theirs" / "mlflow.db"))
    third = {"test/accuracy": 1 / 3, "test/loss": 0.123456789123}
    for loss, params in (("ce", {}), ("focal", {"loss.gamma": 2.0})):
        for seed in (0, 1):
            hashes = HASHES | {"order_hash": f"order{seed}", "init_hash": f"init{seed}"}
            store.add(
                tags=hashes | MACHINE, own=params | {"data.root": "somewhere"}, test=third,
                digest="d" * 32, loss=loss, seed=seed,
            )  # fmt: skip
    store.add(tags=HASHES | MACHINE, outcome="diverged", test={}, digest="d" * 32, lr=0.1)
    failed = {"status": "FAILED", "outcome": "failed", "test": {}, "lr": 0.3}
    store.add(tags=HASHES | MACHINE, digest="d" * 32, **failed)
    return store


@pytest.fixture
def baselines_file(baselines_store: Store) -> Path:
    """The file of baselines that `baselines_store` gives."""
    path = baselines_store.path.with_name("baselines.json.gz")
    path.write_bytes(pack(collect_baselines(baselines_store.uri, None, None, None, file=path.name)))
    return path


@pytest.fixture(scope="module")
def served(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, str]]:
    """A store with everything that can be in one, and the address of a server on it."""
    path = tmp_path_factory.mktemp("served") / "mlflow.db"
    store = Store(shutil.copy(empty_store, path))
    sweep = store.add_sweep("a sweep", ["id2", "id3", "never"])
    for seed in range(3):
        tags = {"mlflow.parentRunId": sweep, "git_dirty": "false", "init_hash": f"h{seed}"}
        params = {"loss.gamma": seed, "data.train_size": None}
        run_id = store.add(seed=seed, loss="focal", own=params, digest="d" * 32, tags=tags)
    store.add_predictions(run_id, npz(path.parent / "a.npz", **good_predictions()))
    store.add("dup", seed=7, status="FAILED")
    store.add("dup", seed=7)
    odd = {1: {"val/accuracy": math.nan, "val/loss": math.inf, "lr": 0.1}}
    store.add("odd", seed=8, history=odd, test={"test/loss": math.nan})
    store.add("under way", seed=9, status="RUNNING", outcome=None, test={})
    store.add(HOSTILE, seed=10, name=HOSTILE, model=HOSTILE)
    store.add(None, kind=None)
    store.client.delete_run(store.add("gone", seed=11))
    store.client.delete_run(store.add_sweep("deleted", ["a"]))
    store.add_experiment("second")
    with read_store.server(path) as address:
        yield store, address
