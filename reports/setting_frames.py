"""The frames of one setting: which runs are shown, their curves, and the means of each loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports import secondary_metrics
from reports.stats.bands import bands
from reports.stats.intervals import mean_interval, named_generator
from reports.stats.tuning import at_chosen, split_seeds

if TYPE_CHECKING:
    from reports.question import Question


def ended_runs(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs that have ended, with a column of the metric, which is empty where none has it."""
    ended = summary[summary["outcome"] != "running"]
    return ended if metric in ended else ended.assign(**{metric: math.nan})


def evaluated_runs(
    kept: pd.DataFrame,
    chosen: pd.DataFrame,
    seeds: Sequence[int],
    outcomes: Sequence[str] = ("ok",),
) -> pd.DataFrame:
    """The runs whose numbers are shown: ok, of their loss's trial, of the evaluation seeds."""
    ok = kept[kept["outcome"].isin(outcomes) & kept["seed"].isin(seeds)]
    return ok[at_chosen(ok, chosen)].sort_values(["loss", "seed"], ignore_index=True)


def own_curves_of(evaluated: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The curves of the runs that are shown, with the seconds since the start of training."""
    wanted = curves[curves["run_id"].isin(evaluated["run_id"])]
    seconds = wanted["elapsed_seconds"].mask(wanted["epoch"] == 0, 0.0).astype(float)
    wanted = wanted.assign(seconds=seconds)
    return wanted.sort_values(["loss", "seed", "epoch"], ignore_index=True)


def accuracy_bands(curves: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean and band of validation accuracy per loss and epoch, and the mean seconds up to it.

    These are sums of the epochs' means, so that runs that end early do not turn the time back.
    """
    accuracy = bands(curves, "val_accuracy", seed=seed)
    each = curves.groupby("run_id")["seconds"].diff()
    each = each.where(curves.duplicated("run_id"), curves["seconds"])  # up to a run's first epoch
    means = each.groupby([curves["loss"], curves["epoch"]]).mean()
    seconds = means.groupby(level="loss").cumsum().rename("seconds").reset_index()
    return accuracy.merge(seconds, on=["loss", "epoch"], how="left")


def own_bands(curves: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean and band of each loss's own value by epoch, in training and in validation."""
    parts = (("training", "train_loss"), ("validation", "val_loss"))
    return pd.concat(
        [bands(curves, column, seed=seed).assign(part=part) for part, column in parts],
        ignore_index=True,
    )


def best_table(
    kept: pd.DataFrame,
    evaluated: pd.DataFrame,
    chosen: pd.DataFrame,
    losses: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """A row per loss at its own best rate.

    It has the mean of every metric, the intervals of the accuracies, and the counts of runs.
    """
    rows = []
    for loss in losses:
        runs, picked = evaluated[evaluated["loss"] == loss], chosen[chosen["loss"] == loss]
        row: dict[str, Any] = {
            "loss": loss,
            "lr": float(picked["lr"].iloc[0]) if len(picked) else math.nan,
            "tuned": str(picked["tuned"].iloc[0]) if len(picked) else "",
            "edge": str(picked["edge"].iloc[0]) if len(picked) else "none",
        }
        for name in ("val_accuracy", "test_accuracy"):
            row[name], row[f"{name}_low"], row[f"{name}_high"], row[f"{name}_n"] = _column(
                runs, name, seed, loss
            )
        for metric in secondary_metrics.LIKELIHOOD + secondary_metrics.FURTHER:
            row[metric.name], *_, row[f"{metric.name}_n"] = _column(runs, metric.name, seed, loss)
        row["epoch_seconds"], *_ = _column(runs, "epoch_seconds", seed, loss)
        diverged = (kept["loss"] == loss) & (kept["outcome"] == "diverged")
        rows.append(row | {"runs": len(runs), "diverged": int(diverged.sum())})
    return pd.DataFrame(rows)


def means_by_epochs(kept: pd.DataFrame, chosen: pd.DataFrame, question: Question) -> pd.DataFrame:
    """The metric at each loss's best rate for every value of epochs.

    The columns are epochs, loss, lr, tuned, mean, low, high and n.
    """
    rows = []
    for epochs, family in kept.groupby("epochs", sort=True):
        picked = chosen[chosen["epochs"] == epochs]
        seeds = split_seeds(family, question.tuning_seeds).evaluation
        evaluated = evaluated_runs(family, picked, seeds)
        for _, choice in picked.iterrows():
            runs = evaluated[evaluated["loss"] == choice["loss"]]
            values = _column(runs, question.metric, question.seed, str(choice["loss"]))
            rows.append((int(epochs), choice["loss"], choice["lr"], choice["tuned"], *values))
    columns = ["epochs", "loss", "lr", "tuned", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _column(runs: pd.DataFrame, name: str, seed: int, loss: str) -> tuple[float, float, float, int]:
    """The mean of a column with its interval, and the number of values."""
    values = runs[name].astype(float) if name in runs else pd.Series(dtype=float)
    finite = values[np.isfinite(values)].to_numpy()
    if not len(finite):
        return math.nan, math.nan, math.nan, 0
    mean, low, high, _ = mean_interval(finite, named_generator(seed, "mean", name, loss))
    return mean, low, high, len(finite)
