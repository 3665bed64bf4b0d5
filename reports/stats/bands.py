"""Curves over epochs: the mean over seeds and its band, computed for the figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.stats.intervals import mean_intervals, named_generator


def bands(curves: pd.DataFrame, metric: str, *, seed: int = 0) -> pd.DataFrame:
    """The mean of a metric over seeds and its 95 % interval, for every loss and epoch.

    A band is pointwise: it holds 95 % at each epoch, not over the whole curve. One seed has a mean
    and no band (NaN). Resamples depend on `seed`, the metric and the loss alone, and are shared by
    the epochs of a loss, so a band is as smooth as its curves.

    Args:
        curves: tidy, a row per run and epoch: loss, `seed`, `epoch` and `metric`, whose unit is
            kept; one run per loss and seed.
        metric: a column; a value that is NaN or infinite counts as missing.
        seed: of the resamples.

    Returns:
        A row per loss and epoch, sorted: loss, epoch, `mean`, `low`, `high`, `n` (values averaged:
        fewer where runs stopped early or miss the value).
    """
    parts = [pd.DataFrame(columns=["loss", "epoch", "mean", "low", "high", "n"])]
    for loss, group in curves.groupby("loss", sort=True, observed=True, dropna=False):
        values = group.pivot(index="seed", columns="epoch", values=metric)
        table = values.to_numpy(dtype=np.float64, na_value=np.nan)
        present = np.isfinite(table)
        estimates = np.full((3, table.shape[1]), np.nan)
        patterns, which = np.unique(present, axis=1, return_inverse=True)
        for index in range(patterns.shape[1]):
            epochs = np.flatnonzero(which.ravel() == index)
            rng = named_generator(seed, "band", metric, loss)
            averaged = table[np.ix_(patterns[:, index], epochs)]
            estimates[:, epochs] = mean_intervals(averaged, rng)[:3]
        mean, low, high = estimates
        ends = {"mean": mean, "low": low, "high": high}
        n = present.sum(axis=0)
        parts.append(pd.DataFrame({"loss": loss, "epoch": values.columns, **ends, "n": n}))
    return pd.concat(parts[1:] or parts, ignore_index=True)
