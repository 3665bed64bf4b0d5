"""The only reader of MLflow: a store in, tidy pandas frames out.

Belongs here: finding the store, the experiment and the sweep, reading their runs in bulk, deciding which runs count,
and naming what they are called in a report. Does not belong here: statistics, figures, escaping for a page.

In a notebook, after

    python experiments/run.py -m loss=mse,ce model=softmax data=digits epochs=2 'seed=range(2)'

in the same directory (`help(Runs)` describes the frames):

    >>> from reports.runs import load
    >>> runs = load()  # or load("http://127.0.0.1:5000", experiment="mnist-losses", where={"lr": 0.003})
    >>> runs.summary.groupby("loss")["test_accuracy"].count().to_dict()
    {'ce': 2, 'mse': 2}
    >>> runs.curves.query("loss == 'ce' and seed == 0")["epoch"].tolist()
    [0, 1, 2]
    >>> runs.curves.pivot_table("val_accuracy", "epoch", "loss").shape  # mean over seeds
    (3, 2)

An SQLite store is read straight from the tables of MLflow 3.17 (experiments, runs, tags, params, latest_metrics,
metrics, inputs, datasets), some hundred runs at a time; a tracking server through its API, a hundred runs and one
metric at a time. Neither is ever created or changed by reading. The modules, each knowing only those above it:

    records.py       experiments and runs as a store has them
    wording.py       numbers in params, the parts of messages
    server_store.py  a tracking server
    sqlite_store.py  a file
    store.py         the one or the other, by its address
    naming.py        what a run's loss and setting are called
    selection.py     which experiment, which sweep, which runs count
    frames.py        the frames, from the runs that count
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from reports.runs.frames import curves_frame, summary_frame, utc, with_epochs
from reports.runs.naming import is_complete, with_digests
from reports.runs.records import NEEDED, ReadError, Run, age
from reports.runs.selection import active, choose, experiment_named, grid_of, one_per_cell, where_params
from reports.runs.store import open_store
from reports.runs.wording import MAKE_RUNS, count, quote, shown, some

__all__ = ["ReadError", "Runs", "load", "predictions", "sweeps"]


@dataclass(frozen=True)
class Runs:
    """What a store holds about one experiment or sweep. All text is as it came: to escape it is the page's work.

    uri: of the store, an SQLite file's made absolute, a server's with the password that it may hold.
    summary: one row per run that counts, oldest first.
        run_id, name, status, identity, cell, parent_run_id, init_hash, head_hash, order_hash, git_commit,
        paddle_version: text, missing where there is none; git_dirty: True, False or None.
        loss: the loss's label, its option's name and those of its own values that differ between runs of that option
        ("focal gamma=3"); loss_option: the bare name. model, data, optimizer, scheduler: names of options.
        lr: float; epochs, batch_size, seed: int; every other param under its MLflow name ("data.label_noise"), a
        number where all of its values are.
        setting: everything that decides the numbers but loss, lr, epochs and seed, as a key that is the same in every
        report; setting_text: the same for people, with those values that differ between the settings here.
        data_digest: of the data set, "" where none was recorded.
        outcome: ok, diverged, failed, killed or running.
        started: UTC; seconds: wall time of the run; last_epoch: the last one that was recorded.
        train_* and val_*: at the last epoch; test_*: at the end; accuracies in [0, 1]; NaN where there is none.
        train_seconds: training alone, all epochs; epoch_seconds: the median of an epoch's.
    curves: one row per run and epoch, sorted by run_id and epoch; epoch 0 is the untrained network.
        train_seconds: of this epoch; elapsed_seconds: of all epochs up to this one; lr_now: at the epoch's end.
    missing: identities in the sweep's grid that no run has (column identity); empty without a sweep.
    notes: what was left out or looks odd, a sentence each.
    """

    uri: str
    experiment: str
    sweep: str | None
    sweep_name: str | None
    summary: pd.DataFrame
    curves: pd.DataFrame
    missing: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def load(
    uri: str | None = None,
    experiment: str | None = None,
    sweep: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Runs:
    """The runs of an experiment, or of one sweep wherever in its experiment they ran.

    Args:
        uri: sqlite:///FILE or http(s)://HOST; None: MLFLOW_TRACKING_URI, else mlflow.db in the current directory.
        experiment: its name; None: the one with the newest run.
        sweep: a parent run's id, or its name; the newest of that name.
        where: values of params that a run must have, e.g. {"model": "mlp", "lr": 0.003}; a list means any of them.

    Of several runs of one cell the first FINISHED one counts, else the newest.

    Raises:
        ReadError: no store, experiment or sweep of that name, or no runs at all. A sweep that has no runs yet is
            not an error, nor are runs that all failed.
    """
    store = open_store(uri)
    chosen, parent, notes = choose(store, experiment, sweep)

    every: list[Run] = []
    parents: set[str] = set()
    foreign = 0
    for run in store.runs(chosen.id):
        kind = run.tags.get("kind")
        if kind == "run" and run.tags.get("identity"):
            every.append(run)
        elif kind == "sweep":
            parents.add(run.run_id)
        else:
            foreign += 1
    if foreign:
        notes.append(f"left out: {count(foreign, 'run')} of another program (no tags kind=run and identity)")
    if not every and not parent:
        others = f", only {count(foreign, 'run')} of another program" if foreign else ""
        raise ReadError(
            f"the experiment {quote(chosen.name)} in {shown(store.uri)} has no runs{others}. {MAKE_RUNS}"
        )

    begun = with_digests([run for run in every if is_complete(run)])
    if len(begun) < len(every):
        bad = [run.run_id for run in every if not is_complete(run)]
        notes.append(
            f"left out: {count(len(bad), 'run')} without readable params {', '.join(NEEDED)}, "
            f"which ended before they were written or were changed since: {some(bad)}"
        )
    grid = grid_of(store, parent, begun, notes) if parent else []
    if parent:
        wanted = set(grid)
        begun = [run for run in begun if run.tags["identity"] in wanted]
    there = {run.tags["identity"] for run in begun}
    missing = pd.DataFrame({"identity": [name for name in grid if name not in there]}, dtype=object)

    filtered = where_params(begun, where or {})
    if where and len(missing):
        notes.append(
            f"{count(len(missing), 'cell')} without a run: which of them the filter would choose is not known"
        )
    deleted = {run.tags.get("mlflow.parentRunId", "") for run in filtered} - parents - {""}
    if deleted:
        notes.append(
            f"the parent runs of {count(len(deleted), 'sweep')} were deleted; the sweeps' runs count like all others"
        )

    summary = summary_frame(one_per_cell(filtered, notes), notes)
    if still := int((summary["outcome"] == "running").sum()):
        notes.append(f"{count(still, 'run')} in status RUNNING: under way, or killed without a word")
    curves = curves_frame(store, summary, notes)
    return Runs(
        uri=store.uri,
        experiment=chosen.name,
        sweep=parent.run_id if parent else None,
        sweep_name=parent.name if parent else None,
        summary=with_epochs(summary, curves),
        curves=curves,
        missing=missing,
        notes=notes,
    )


def sweeps(uri: str | None = None, experiment: str | None = None) -> pd.DataFrame:
    """The parent runs of an experiment, or of all, newest first: run_id, name, experiment, status, started, seconds."""
    store = open_store(uri)
    experiments = [experiment_named(store, experiment)] if experiment is not None else active(store)
    names = {each.id: each.name for each in experiments}
    rows = [
        (run.run_id, run.name, names[run.experiment], run.status, run.started, run.seconds)
        for run in sorted(store.sweeps(list(names)), key=age, reverse=True)
        if not run.deleted
    ]
    frame = pd.DataFrame(rows, columns=["run_id", "name", "experiment", "status", "started", "seconds"])
    return frame.assign(started=utc(frame["started"]), seconds=frame["seconds"].astype(float))


def predictions(runs_or_uri: Runs | str | None, run_id: str) -> dict[str, np.ndarray] | None:
    """A run's answers on the test set, in file order: `outputs` [n, outputs], `predicted` [n] and `label` [n].

    None when the run has none, or they cannot be read.
    """
    store = open_store(runs_or_uri.uri if isinstance(runs_or_uri, Runs) else runs_or_uri)
    data = store.artifact(run_id, "predictions.npz")
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("outputs", "predicted", "label")}
    except Exception:  # there is no end to what damaged bytes raise
        return None
    shapes = [array.shape for array in arrays.values()]
    fits = len(shapes[0]) == 2 and shapes[1] == shapes[2] == shapes[0][:1]
    return arrays if fits else None
