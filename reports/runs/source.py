"""Where runs are: a store by its address, or the frames that were read from one."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd

from experiments import places
from reports.runs.baselines import Baselines
from reports.runs.plans import Declared
from reports.runs.records import ReadError
from reports.runs.wording import MAKE_RUNS

if TYPE_CHECKING:
    from reports.runs.store import Database, Server


@dataclass(frozen=True)
class Runs:
    """What a store holds about some experiments or sweeps.

    Texts are those of the store; the page escapes them.

    uri: of the store, an SQLite file's made absolute, a server's with the password that it may
    hold.
    experiments: their names; of imported runs the name of the file. sweeps: the names of those that
    were chosen, by run id.
    summary: one row per run that counts, oldest first. run_id, name, status, identity,
        configuration, parent_run_id, init_hash, head_hash, order_hash, git_commit,
        python_version, paddle_version, kernel, processor: text, missing where there is none;
        git_dirty: True, False or None.
        code: the digest of the code that computed the numbers, code_parts: the tag with its files,
        code_metrics: the digest of the code of the test metrics; missing where they were not
        recorded: the code is unknown.
        experiment: the name of the run's experiment, "" of a baseline or an imported run.
        baseline: whether the run is of a file of baselines, and its loss called "ce (baseline)".
        planned: whether the run's seed was declared before it and others were seen: by the first
        sweep of two seeds or more with a run of this setting, epochs, loss and code. Of baselines
        all are. declared_missing: how many declared seeds of the same loss have no result yet.
        loss: the loss's label, its option's name and those of its own values that differ between
        runs of that option ("focal gamma=3"), with versions "focal@1a2b3c4 gamma=3"; loss_option:
        the bare name. tuned: its own values that a sweep tuned, as "gamma=3"; "": none; they are
        not in the label. model, data, optimizer, scheduler: names of options.
        lr: float; epochs, batch_size, seed: int; every other param under its MLflow name
        ("data.label_noise"), a number where all of its values are.
        setting: everything that decides the numbers but loss, lr, epochs and seed, as a key that is
        the same in every report; setting_text: the same for people, with those values that differ
        between the settings here.
        data_digest: of the data set, "" where none was recorded.
        warnings: the names of the training warnings, with commas; warning_texts: a line on each;
        missing where there are none.
        outcome: ok, diverged, failed, killed or running.
        started: UTC; seconds: wall time of the run; last_epoch: the last one that was recorded.
        train_* and val_*: at the last epoch, with early stopping at the one whose weights were
        tested; test_* and corrupted_*: at the end; accuracies in [0, 1]; NaN where there is none.
        stop_tested_epoch, stop_trained_epochs: that epoch, and the last one that was trained; only
        where some run has early stopping.
        train_seconds: training alone, all epochs; epoch_seconds: the median of an epoch's.
    curves: one row per run and epoch, sorted by run_id and epoch; epoch 0 is the untrained network.
        train_seconds: of this epoch; elapsed_seconds: of all epochs up to this one; lr_now: at the
        epoch's end.
    missing: identities in the sweeps' grids that no run has (column identity); empty without a
    sweep.
    notes: what was left out or looks odd, a sentence each.
    warnings: what may make numbers wrong, a sentence each.
    baselines: the file of which some runs may be.
    declared: the questions that were declared with the sweeps of the experiments, oldest first.
    disagreement: why several sweeps or experiments have no common question, else "".
    store: where the files of the runs are read; without it, it is opened again for each file.
    imported: whether the runs are of another program: then they have no files, and no columns of
    versions and code.
    """

    uri: str
    experiments: tuple[str, ...]
    sweeps: dict[str, str]
    summary: pd.DataFrame
    curves: pd.DataFrame
    missing: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"identity": []}, dtype=object)
    )
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    baselines: Baselines | None = None
    declared: list[Declared] = field(default_factory=list)
    disagreement: str = ""
    store: Database | Server | None = field(default=None, repr=False, compare=False)
    imported: bool = False


Source: TypeAlias = "Runs | Database | Server | str | None"
"""Where runs are: what `load` returned, an open store, or a store's address."""


def store_address(uri: str | None, advice: str = "") -> str:
    """The address of the database or server at `uri`, or of the usual one.

    Args:
        uri: As typed.
        advice: What to do where the database does not exist; "": how to make one.

    Raises:
        ReadError: It is no address of a store, or the database does not exist.
    """
    try:
        address = places.store_uri(uri, Path.cwd())
    except places.AddressError as error:
        raise ReadError(str(error)) from error
    path = places.database(address)
    if path and not path.exists():
        advice = advice or (
            f"{MAKE_RUNS} in this directory, or name the store that has your runs: "
            "tracking.uri=sqlite:///path/to/mlflow.db or MLFLOW_TRACKING_URI"
        )
        raise ReadError(f"there is no MLflow store {path}. {advice}")
    return address


def open_store(uri: str | None) -> Database | Server:
    """Open the store at `uri`. A database that does not exist is refused before MLflow loads.

    Raises:
        ReadError: There is no store, or it cannot be read.
    """
    address = store_address(uri)
    path = places.database(address)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # Read when MLflow loads.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # Artifacts are small.
    from reports.runs.store import Database, Server, sqlite

    gc.freeze()  # MLflow's objects stay: the collector need not look at them again and again.
    return Database(address, sqlite(path)) if path else Server(address)
