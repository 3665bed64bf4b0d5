"""The only writer of MLflow.

    store.py          where the store is, opened or created whole, and asked with patience
    claims.py         who owns a cell: one owner at a time, whatever happens
    run.py            one run, from its first param to its end
    sweep.py          many runs: those of a grid, its parent, and those that died without a word
    circumstances.py  versions, code, machine
    preload.py        what a run needs of MLflow, for processes that are forked

What is written is the contract with `reports`: names of params, metrics, tags and artifacts are
decided here and in `metrics`. Nothing is ever deleted.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow loads

from mlflow.exceptions import MlflowException

from experiments.tracking.circumstances import git_state, sources, versions
from experiments.tracking.claims import Claim, Finished, Lost, Taken, claim
from experiments.tracking.run import ExportError, TrackedRun, tracked_run
from experiments.tracking.store import Away, Store, StoreError, open_for, open_store, resolve_uri
from experiments.tracking.sweep import (
    Planned,
    all_runs,
    begin_sweep,
    bury,
    bury_the_dead,
    correct,
    end_sweep,
    planned,
    runs_by_identity,
    the_dead,
)

__all__ = [
    "Away",
    "Claim",
    "ExportError",
    "Finished",
    "Lost",
    "MlflowException",
    "Planned",
    "Store",
    "StoreError",
    "Taken",
    "TrackedRun",
    "all_runs",
    "begin_sweep",
    "bury",
    "bury_the_dead",
    "claim",
    "correct",
    "end_sweep",
    "git_state",
    "open_for",
    "open_store",
    "planned",
    "resolve_uri",
    "runs_by_identity",
    "sources",
    "the_dead",
    "tracked_run",
    "versions",
]
