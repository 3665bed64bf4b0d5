"""What a page says of a sweep under way: its progress, and the curves of runs that go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reports.figures import curves
from reports.figures.palette import TOGETHER, Look, Losses
from reports.names import plain
from reports.page.figure import PageFigure, described

if TYPE_CHECKING:
    from reports.runs import Runs

RELOAD_SECONDS = 10
"""Between two reloads of the page in a browser."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    planned, done, failed, running: numbers of runs; diverged ones are done. seconds: what is left;
    None while no run is done. runs: those that go on, newest last. curves: theirs.
    """

    planned: int
    done: int
    failed: int
    running: int
    seconds: float | None
    runs: pd.DataFrame
    curves: pd.DataFrame
    reload: int = RELOAD_SECONDS

    @classmethod
    def of(cls, runs: Runs) -> Progress:
        """The progress of a sweep whose runs have been read."""
        outcome = runs.summary["outcome"]
        done, running = outcome.isin(["ok", "diverged"]), outcome == "running"
        planned = len(runs.missing) + len(runs.summary)
        failed = int((~done & ~running).sum())
        one = runs.summary.loc[done, "seconds"].median()
        left = one * (planned - done.sum() - failed) / max(running.sum(), 1)
        shown = runs.summary[running].tail(TOGETHER)
        return cls(
            planned=planned,
            done=int(done.sum()),
            failed=failed,
            running=int(running.sum()),
            seconds=float(left) if np.isfinite(left) else None,
            runs=shown,
            curves=runs.curves[runs.curves["run_id"].isin(shown["run_id"])],
        )


def figure(progress: Progress, looks: Mapping[str, Look]) -> PageFigure | None:
    """Validation accuracy of the runs that go on; None where none has any yet."""
    names = {
        row.run_id: f"{plain(row.loss, 20)}, {row.lr:g}, seed {row.seed:g}"
        for row in progress.runs.itertuples()
    }
    frame = progress.curves.dropna(subset=["val_accuracy"])
    order = [run_id for run_id in names if run_id in set(frame["run_id"])]
    if not order:
        return None
    bands = frame[["run_id", "epoch", "val_accuracy"]].set_axis(["loss", "epoch", "mean"], axis=1)
    losses = dict(zip(progress.runs["run_id"], progress.runs["loss"], strict=True))
    draw = partial(
        curves.accuracy_curves,
        progress.curves[:0],
        bands.assign(low=np.nan, high=np.nan, n=1),
        Losses(order, {run_id: looks[losses[run_id]] for run_id in order}, names),
        x=["epoch"],
    )
    last = bands.groupby("loss", sort=False).tail(1)
    words = "; ".join(f"{names[row.loss]}: {100 * row.mean:.2f} %" for row in last.itertuples())
    return described("under-way", draw, f"So far: {words}.", kind="Line chart.", runs=len(order))
