"""The only writer of MLflow.

What is written is the contract with `reports`: names of params, metrics, tags and artifacts are
decided here and in `metrics`. Nothing is ever deleted.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow loads

from mlflow.exceptions import MlflowException

from experiments.tracking.locks import Taken
from experiments.tracking.pages import describe, link
from experiments.tracking.provenance import git_state, sources, versions
from experiments.tracking.run import ExportError, TrackedRun, tracked_run
from experiments.tracking.runs import Finished, all_runs, close_stale, run_lock, runners
from experiments.tracking.store import Away, Store, StoreError, open_for, open_store
from experiments.tracking.sweep import Planned, planned, tracked_sweep
