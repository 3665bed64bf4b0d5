"""What a loss costs: training until a target accuracy, and trials until a good learning rate.

Sources: Kaplan and Meier 1958, Journal of the American Statistical Association 53; Dodge,
Gururangan, Card, Schwartz and Smith 2019, EMNLP, "Show your work".
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import scipy

from reports.stats.runs import TRIAL, constant_accuracy, with_tuned

SHARE = 0.95
"""The usual target is this share of the reference's final validation accuracy."""

MEASURES = ("epochs", "seconds")

LEAST_RUNS = 6
"""With fewer the order statistics give no 95 % interval of a median."""


def usual_target(final: pd.Series) -> float:
    """The target by default: `SHARE` of the mean, rounded down to a tenth of a per cent.

    Args:
        final: the reference's validation accuracies after the last epoch; NaN if it has none.

    >>> usual_target(pd.Series([0.98, 0.982]))
    0.931
    """
    mean = float(final.astype(float).mean())
    return math.nan if math.isnan(mean) else math.floor(1000 * SHARE * mean + 1e-9) / 1000


def times_to_target(runs: pd.DataFrame, curves: pd.DataFrame, target: float) -> pd.DataFrame:
    """When each run first reached the target, or until when it did not.

    A run that diverged or was stopped early before is one that never reaches it: it counts as
    watched until the end of the longest run, so that it stays in the denominator.

    Args:
        runs: run_id, loss, outcome; with early stopping also epochs and stop_trained_epochs.
        curves: run_id, epoch, val_accuracy, seconds (of training up to the end of the epoch).
        target: an accuracy in [0, 1].

    Returns:
        A row per run that diverged or has a curve: loss, run_id, reached, epochs, seconds (NaN
        where not recorded).
    """
    rows = []
    for run_id, curve in curves.sort_values("epoch").groupby("run_id", sort=False):
        hit = curve[curve["val_accuracy"].astype(float) >= target]
        at = hit.iloc[0] if len(hit) else curve.iloc[-1]
        rows.append((run_id, len(hit) > 0, float(at["epoch"]), float(at["seconds"])))
    times = pd.DataFrame(rows, columns=["run_id", "reached", *MEASURES])
    ended = runs["outcome"] == "diverged"
    if "stop_trained_epochs" in runs:
        ended |= runs["stop_trained_epochs"] < runs["epochs"]
    times = (
        runs[["run_id", "loss", "outcome"]]
        .assign(ended=ended)
        .merge(times, on="run_id", how="left")
    )
    times["reached"] = times["reached"].eq(True)  # a run that diverged may have no curve
    times = times[(times["outcome"] == "diverged") | times["epochs"].notna()]
    lost = times["ended"] & ~times["reached"]
    for measure, column in (("epochs", "epoch"), ("seconds", "seconds")):
        end = curves[column].astype(float).max()
        times[measure] = times[measure].astype(float).mask(lost, end)
    return times[["loss", "run_id", "reached", *MEASURES]]


def reached(times: pd.DataFrame) -> pd.DataFrame:
    """The share of each loss's runs that have reached the target, by Kaplan and Meier.

    Returns:
        The corners of a step line per loss and measure: measure, loss, at, share. It begins at 0
        and ends at the longest time that a run was watched.
    """
    parts = []
    for measure in MEASURES:
        for loss, own in _measured(times, measure):
            ends, left = _kaplan_meier(own, measure)
            at, share = [0.0, *ends], [0.0, *(1 - left)]
            parts.append(pd.DataFrame({"measure": measure, "loss": loss, "at": at, "share": share}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_STEPS)


_STEPS = ["measure", "loss", "at", "share"]
_MEDIANS = ["measure", "loss", "n", "reached", "median", "low", "high"]


def median_times(times: pd.DataFrame) -> pd.DataFrame:
    """The median time to the target, by Kaplan and Meier, with its exact 95 % interval.

    The interval is that of the order statistics (Conover 1999); a run that never reached the target
    counts as later than all others. With fewer than six runs there is none.

    Returns:
        A row per measure and loss: measure, loss, `n`, `reached` (runs), `median`, `low`, `high`;
        infinite: not within the training that was given; NaN: no interval.
    """
    rows = []
    for measure in MEASURES:
        for loss, own in _measured(times, measure):
            ends, left = _kaplan_meier(own, measure)
            half = ends[left <= 0.5 + 1e-12]
            low = high = math.nan
            if len(own) >= LEAST_RUNS:
                ordered = own[measure].where(own["reached"], np.inf).to_numpy()
                low, high = scipy.stats.quantile_test(ordered, p=0.5).confidence_interval(0.95)
            median = float(half[0]) if len(half) else math.inf
            rows.append([measure, loss, len(own), int(own["reached"].sum()), median, low, high])
    return pd.DataFrame(rows, columns=_MEDIANS)


def _measured(times: pd.DataFrame, measure: str) -> list[tuple[str, pd.DataFrame]]:
    finite = times[times[measure].notna()]
    return [(str(loss), own) for loss, own in finite.groupby("loss", sort=True)]


def _kaplan_meier(own: pd.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """At each time of a run, the share that has not reached the target (Kaplan and Meier 1958)."""
    ends, reached = own[measure].to_numpy(), own["reached"].to_numpy(dtype=bool)
    times = np.unique(ends)
    here = ends[:, None] == times
    at_risk = (ends[:, None] >= times).sum(axis=0)
    return times, np.cumprod(1 - (here & reached[:, None]).sum(axis=0) / at_risk)


def expected_best(runs: pd.DataFrame) -> pd.DataFrame:
    """The best validation accuracy to expect after a number of trials, for each loss.

    A trial draws one of the learning rates that were tried (with tuned values, one of the pairs),
    each as likely as the others, and trains once: its result is that of one of the seeds there.
    With V_1 <= V_2 <= ... the results and F_i the probability of a result up to V_i, the mean of
    the best of n is the sum of V_i (F_i^n - F_{i-1}^n), in closed form. A run that diverged is a
    result, with `constant_accuracy`.

    Args:
        runs: finished runs of one length of training: loss, lr, outcome, val_accuracy.

    Returns:
        loss, trials (1 to the number of rates or pairs of the loss), mean and `n` (runs behind it);
        nothing of losses with one of them.
    """
    rows = []
    runs = with_tuned(runs)
    diverged = runs["outcome"] == "diverged"
    values = runs.assign(
        value=runs["val_accuracy"].astype(float).mask(diverged, constant_accuracy(runs))
    )
    for loss, own in values[np.isfinite(values["value"])].groupby("loss", sort=True):
        rates = len(own[TRIAL].drop_duplicates())
        weights = 1 / (rates * own.groupby(TRIAL)["value"].transform("size"))
        order = np.argsort(own["value"].to_numpy(), kind="stable")
        results = own["value"].to_numpy()[order]
        up_to = np.cumsum(weights.to_numpy()[order])
        before = np.concatenate([[0.0], up_to[:-1]])
        for trials in range(1, rates + 1 if rates > 1 else 1):
            mean = float(results @ (up_to**trials - before**trials))
            rows.append([str(loss), trials, mean, len(own)])
    return pd.DataFrame(rows, columns=["loss", "trials", "mean", "n"])
