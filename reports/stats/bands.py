"""Curves over epochs: the mean over seeds and its band, computed for the figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports.stats.intervals import RESAMPLES, mean_intervals, named_generator


def bands(
    curves: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str] = ("loss", "lr", "epochs"),
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """The mean of a metric over seeds and its interval, for every group and epoch.

    A band is pointwise: it holds 95 % at each epoch, not over the whole curve. One seed has a mean
    and no band (NaN). Resamples depend on `seed`, the metric and the group alone, and are shared by
    the epochs of a group, so a band is as smooth as its curves.

    Args:
        curves: tidy, a row per run and epoch: the columns of `by`, `seed`, `epoch` and `metric`,
            whose unit is kept.
        metric: a column; a value that is NaN or infinite counts as missing.
        by: columns that tell the groups apart; a seed may occur once per group and epoch.
        seed: of the resamples.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        A row per group and epoch, sorted: the columns of `by`, epoch, `mean`, `low`, `high`, `n`
        (values averaged), `runs` (seeds of the group: n < runs where runs stopped early or miss the
        value), `interval` (none, t, bootstrap).
    """
    names = list(by)
    columns = [*names, "epoch", "mean", "low", "high", "n", "runs", "interval"]
    parts = []
    for key, group in curves.groupby(names, sort=True, observed=True, dropna=False):
        values = group.pivot(index="seed", columns="epoch", values=metric)
        table = values.to_numpy(dtype=np.float64, na_value=np.nan)
        present = np.isfinite(table)
        part = pd.DataFrame(
            {"epoch": values.columns.to_numpy(), "n": present.sum(axis=0), "runs": len(table)}
        )
        estimates = np.full((3, table.shape[1]), np.nan)
        method = np.full(table.shape[1], "none", dtype=object)
        patterns, which = np.unique(present, axis=1, return_inverse=True)
        for index in range(patterns.shape[1]):
            epochs = np.flatnonzero(which.ravel() == index)
            rng = named_generator(seed, "band", metric, *key)
            intervals = mean_intervals(
                table[np.ix_(patterns[:, index], epochs)], rng, level=level, resamples=resamples
            )
            estimates[:, epochs], method[epochs] = intervals[:3], intervals.method
        part["mean"], part["low"], part["high"] = estimates
        parts.append(part.assign(interval=method, **dict(zip(names, key, strict=True))))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
