"""The only reader of MLflow: a store in, tidy pandas frames out.

Belongs here: finding the store, the experiment and the sweep, reading their runs in bulk, deciding
which runs count, and naming what they are called in a report. Does not belong here: statistics,
figures, escaping for a page.

In a notebook, after

    python experiments/run.py -m loss=mse,ce model=softmax data=digits epochs=2 'seed=range(2)'

in the same directory (`help(Runs)` describes the frames):

    >>> from reports.runs import load
    >>> runs = load()  # or load("http://HOST:5000", experiment="mine", where={"lr": 0.003})
    >>> runs.summary.groupby("loss")["test_accuracy"].count().to_dict()
    {'ce': 2, 'mse': 2}
    >>> runs.curves.query("loss == 'ce' and seed == 0")["epoch"].tolist()
    [0, 1, 2]
    >>> runs.curves.pivot_table("val_accuracy", "epoch", "loss").shape  # mean over seeds
    (3, 2)

A database is read through MLflow's own models of its tables, a tracking server through MLflow's
client. Reading never creates or changes anything. MLflow takes two seconds to load, so only reading
loads it. docs/architecture.md has the map of the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import contract
from reports.error_analysis import constant_answer
from reports.metrics import column
from reports.names import counted
from reports.runs import per_image
from reports.runs.baselines import SHIPPED, Baselines, collect, joining
from reports.runs.baselines import read as read_baselines
from reports.runs.correct import Correct, correct
from reports.runs.frames import curves_frame, summary_frame, utc, with_epochs
from reports.runs.plans import Declared
from reports.runs.records import ReadError, age
from reports.runs.selection import Picked, active, choose, experiment_named, pick
from reports.runs.source import Runs, Source, open_store
from reports.runs.wording import quote, some

__all__ = [
    "SHIPPED",
    "Baselines",
    "Declared",
    "ReadError",
    "Runs",
    "collect_baselines",
    "configuration",
    "constant_scores",
    "load",
    "load_baselines",
    "open_store",
    "predictions",
    "scores",
    "sweeps",
]


def load(
    uri: str | None = None,
    experiment: str | Sequence[str] | None = None,
    sweep: str | Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    baselines: Path | None = None,
    *,
    versions: bool = False,
    run_ids: Collection[str] | None = None,
) -> Runs:
    """The runs of experiments, or of sweeps wherever in their experiment they ran.

    Several are taken together: a run of several of them counts once.

    Args:
        uri: sqlite:///FILE or http(s)://HOST; None: MLFLOW_TRACKING_URI, else mlflow.db in the
            current directory.
        experiment: its name, or several; None: the one with the newest run, or those of the sweeps.
        sweep: a parent run's id or its beginning, or its name (the newest of that name); or several
            of these.
        where: values of params that a run must have, e.g. {"model": "mlp", "lr": 0.003}; a list
            means any of them.
        baselines: a file of baselines. Those join whose loss none of these runs has; None: none.
        versions: whether all versions of a loss's code count, each as a loss of its own,
            `loss@digest`; else the newest code of each loss in each setting, which is that of its
            newest FINISHED run. A single sweep has the code it ran.
        run_ids: these runs and no others, whatever else was run since.

    Of several runs of one identity the newest FINISHED one counts, else the newest.

    Raises:
        ReadError: no store, experiment or sweep of that name, or no runs at all; baselines that
            cannot be read, or were made under another protocol. A sweep that has no runs yet is not
            an error, nor are runs that all failed.
    """
    store = open_store(uri)
    named = _names(experiment), _names(sweep)
    picked = pick(store, *named, where or {}, versions=versions, run_ids=run_ids)
    kept = None if baselines is None else read_baselines(baselines)
    joined = joining(kept, picked.runs) if kept else []

    notes = picked.notes
    if several := _several(picked):
        notes.insert(0, several)
    summary = summary_frame(
        *([*picked.runs, *joined], notes),
        versions=versions,
        planned=picked.planned,
        tuned=picked.tuned,
    )
    names = {each.id: each.name for each in picked.experiments}
    summary["experiment"] = [names.get(run.experiment, "") for run in (*picked.runs, *joined)]
    if still := int((summary["outcome"] == "running").sum()):
        notes.append(f"{counted(still, 'run')} in status RUNNING: under way, or orphaned")
    histories = store.histories([run.run_id for run in picked.runs])
    if kept:
        histories = itertools.chain(histories, [kept.histories(run.run_id for run in joined)])
    curves = curves_frame(histories, summary, notes)
    return Runs(
        uri=store.uri,
        experiments=tuple(each.name for each in picked.experiments),
        sweeps={run.run_id: run.name for run in picked.parents},
        summary=with_epochs(summary, curves),
        curves=curves,
        missing=pd.DataFrame({"identity": picked.missing}, dtype=object),
        notes=notes,
        warnings=picked.warnings,
        baselines=kept,
        declared=picked.declared,
        disagreement=picked.disagreement,
        store=store,
    )


def _names(named: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if named is None else (named,) if isinstance(named, str) else tuple(named)


def _several(picked: Picked) -> str:
    """A note on the sweeps or experiments that are taken together; "" for one."""
    named = [f"{quote(run.name)} ({run.run_id})" for run in picked.parents]
    kind = "sweeps" if named else "experiments"
    named = named or [quote(each.name) for each in picked.experiments]
    if len(named) < 2:
        return ""
    return f"the runs of {len(named)} {kind} together, each run once: {some(named)}"


def load_baselines(path: Path = SHIPPED) -> Runs:
    """The runs of a file of baselines alone, in the same frames.

    Raises:
        ReadError: the file cannot be read, is none, or is damaged.
    """
    kept, notes = read_baselines(path), list[str]()
    summary = summary_frame(kept.runs, notes)
    curves = curves_frame([kept.histories(run.run_id for run in kept.runs)], summary, notes)
    return Runs(
        uri=str(path),
        experiments=(),
        sweeps={},
        summary=with_epochs(summary, curves),
        curves=curves,
        notes=notes,
        baselines=kept,
    )


def collect_baselines(
    uri: str | None,
    experiment: str | Sequence[str] | None,
    sweep: str | Sequence[str] | None,
    where: Mapping[str, Any] | None,
    *,
    file: str,
) -> Baselines:
    """The finished runs that `load` would choose, as the content of a file of baselines.

    It will be called `file`.

    Raises:
        ReadError: as `load`; or there are none, or of more than one protocol.
    """
    store = open_store(uri)
    picked = pick(store, _names(experiment), _names(sweep), where or {})
    curves = curves_frame(
        store.histories([run.run_id for run in picked.runs]), summary_frame(picked.runs, []), []
    )
    finished = [run.run_id for run in picked.runs if run.status == "FINISHED"]
    one = next(iter(finished), "")
    every = {run_id: scores(store, run_id, "test_accuracy") for run_id in finished}
    of_images = {run_id: each for run_id, each in every.items() if each is not None}
    texts = {
        name: (store.artifact(one, name) or b"").decode("utf-8", errors="replace")
        for name in ("overrides.yaml", "environment.txt")
    }
    return collect(
        picked.runs,
        curves,
        sweep=", ".join(run.name for run in picked.parents),
        file=file,
        missing=len(picked.missing),
        overrides=[
            line.removeprefix("- ").strip("'\"") for line in texts["overrides.yaml"].splitlines()
        ],
        environment=texts["environment.txt"],
        correct=correct(of_images, constant_scores(store, of_images)),
    )


def sweeps(
    uri: str | None = None,
    experiment: str | Sequence[str] | None = None,
    sweep: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """The parent runs of experiments, or of all, newest first; of named sweeps alone, as in `load`.

    run_id, name, experiment, status, started, seconds.
    """
    store = open_store(uri)
    experiments = [experiment_named(store, name) for name in _names(experiment)] or active(store)
    names = {each.id: each.name for each in experiments}
    _, parents, _ = choose(store, _names(experiment), _names(sweep)) if sweep else ([], [], [])
    rows = [
        (run.run_id, run.name, names[run.experiment], run.status, run.started, run.seconds)
        for run in sorted(parents or store.runs("sweep", list(names)), key=age, reverse=True)
    ]
    frame = pd.DataFrame(
        rows, columns=["run_id", "name", "experiment", "status", "started", "seconds"]
    )
    return frame.assign(started=utc(frame["started"]), seconds=frame["seconds"].astype(float))


def predictions(source: Source, run_id: str) -> dict[str, np.ndarray] | None:
    """A run's answers on the test set, in file order.

    `outputs` [n, outputs], `predicted` [n] and `label` [n].

    None when the run has none, or they cannot be read.
    """
    arrays = per_image.arrays(
        _artifact(source, run_id, contract.PREDICTIONS), ("outputs", "predicted", "label")
    )
    shapes = [array.shape for array in arrays.values()] if arrays else [()]
    fits = len(shapes[0]) == 2 and shapes[1] == shapes[2] == shapes[0][:1]
    return arrays if fits else None


def scores(source: Source, run_id: str, metric: str) -> np.ndarray | None:
    """What a metric is the mean of: a value for each test example, in file order, float32 [n].

    Args:
        source: where the run is.
        run_id: its id. Its files are read when this is called.
        metric: its column, or as it is typed: test/accuracy (1 where the image was predicted
            right, else 0), test/nll or test/brier.

    Returns:
        The values; None where the run stored nothing for it, or the metric is no such mean.
    """
    metric = column(metric)
    if metric == "test_accuracy":
        kept = _correct_of_baselines(source)
        right = kept.of_run(run_id) if kept else None
        if right is None:
            right = per_image.correct(_artifact(source, run_id, contract.CORRECT))
        if right is not None:
            return right
    arrays = predictions(source, run_id)
    return None if arrays is None else per_image.of_predictions(arrays, metric)


def constant_scores(source: Source, run_ids: Iterable[str]) -> np.ndarray | None:
    """On which test examples the best constant answer is right, bool [n].

    Args:
        source: where the runs are.
        run_ids: runs with one test set. The first that knows the labels is read.

    Returns:
        True where the image's label is the most frequent one; None without predictions.
    """
    kept = _correct_of_baselines(source)
    for run_id in run_ids:
        if kept and run_id in kept.runs:
            return kept.of_constant()
        if (arrays := predictions(source, run_id)) is not None:
            return constant_answer({"": [arrays]})
    return None


def _correct_of_baselines(source: Source) -> Correct | None:
    return source.baselines.correct if isinstance(source, Runs) and source.baselines else None


def configuration(source: Source, run_id: str) -> dict[str, Any] | None:
    """What a run was asked, resolved, as its config.yaml says.

    None when it has none, or it cannot be read.
    """
    from omegaconf import OmegaConf

    data = _artifact(source, run_id, "config.yaml")
    if data is None:
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.create(data.decode("utf-8")))
    except Exception:  # there is no end to what damaged text raises
        return None
    return (
        {str(key): value for key, value in content.items()} if isinstance(content, dict) else None
    )


def _artifact(source: Source, run_id: str, name: str) -> bytes | None:
    """A file that a run stored; None when it cannot be had, as of a baseline or imported run."""
    if source is None or isinstance(source, str):
        return open_store(source).artifact(run_id, name)
    if not isinstance(source, Runs):
        return source.artifact(run_id, name)
    summary = source.summary
    if source.imported or bool(summary.loc[summary["run_id"] == run_id, "baseline"].any()):
        return None
    store = source.store or open_store(source.uri)
    return store.artifact(run_id, name)
