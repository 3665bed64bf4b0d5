"""Which runs exist: one for each loss, lr, epochs and seed, and how many are missing.

A `summary` here and in the modules beside this one is a frame with one row per run of one setting
(data, model, optimizer and all else equal): `run_id` str, `loss` str, `lr` float, `epochs` int,
`seed` int, `outcome` one of `OUTCOMES`, `init_hash` and `order_hash` (str or None), and metrics as
columns: `val_accuracy`, `test_accuracy` in [0, 1], `test_nll` and so on, NaN where a run has none.
A trial of a loss is a learning rate, with the loss's own values that were tuned (`tuned`, such as
"gamma=2"). Without the column `tuned` none were, as for the losses whose `tuned` is "".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import contract
from reports.names import natural

OUTCOMES = ("ok", "diverged", "failed", "killed")
FINISHED = ("ok", "diverged")
"""Outcomes that are results: a diverged run is one, a crashed or killed run has none."""

TRIAL = ["lr", "tuned"]
KEY = ["loss", *TRIAL, "epochs", "seed"]


class Trial(NamedTuple):
    """What is chosen for a loss by validation; NaN: nothing could be."""

    lr: float
    tuned: str = ""

    @property
    def place(self) -> tuple[float, list[tuple[float, str]]]:
        """What orders trials: the rate, then the tuned values."""
        return self.lr, natural(self.tuned)


def with_tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the column `tuned`."""
    return frame if "tuned" in frame else frame.assign(tuned="")


def trials(runs: pd.DataFrame) -> list[Trial]:
    """The trial of each run."""
    return [Trial(float(lr), str(tuned)) for lr, tuned in runs[TRIAL].itertuples(index=False)]


def constant_accuracy(runs: pd.DataFrame) -> float:
    """What a diverged run of one setting counts with, as `experiments.contract` says."""
    recorded = runs["classes"].dropna().tolist() if "classes" in runs else []
    return contract.constant_accuracy(recorded[0] if recorded else None)


def newest_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """The run that counts for each (loss, trial, epochs, seed): the last finished one.

    Rows are ordered from the oldest to the newest.

    Where none finished, the last that failed or was killed stands for it. Sorted by these, so that
    nothing depends on the order in which runs ended.
    """
    summary = with_tuned(summary)
    finished = summary["outcome"].isin(FINISHED)
    order = np.argsort(finished.to_numpy(), kind="stable")
    return summary.iloc[order].drop_duplicates(KEY, keep="last").sort_values(KEY, ignore_index=True)


def ended_badly(outcomes: Sequence[str], of: str) -> str:
    """Runs of which none is ok, counted by how they ended.

    >>> ended_badly(["diverged", "diverged", "killed"], "of mse")
    'of the 3 runs of mse 2 diverged and 1 was killed'
    """
    ways = {"diverged": "diverged", "failed": "failed", "killed": "were killed"}
    ended = [
        (outcomes.count(outcome), words) for outcome, words in ways.items() if outcome in outcomes
    ]
    if len(ended) == 1 and len(outcomes) > 1:
        return f"all {len(outcomes):,} runs {of} {ended[0][1]}"
    each = [words.replace("were", "was") if count == 1 else words for count, words in ended]
    if len(outcomes) == 1:
        return f"the only run {of} {each[0]}"
    counts = [f"{count:,} {words}" for (count, _), words in zip(ended, each, strict=True)]
    return f"of the {len(outcomes):,} runs {of} {', '.join(counts[:-1])} and {counts[-1]}"


def expected_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """The runs of a fair comparison: for every loss, each (lr, epochs, seed) that any loss has.

    Evaluation seeds of a two-stage sweep, with runs at the one rate that was chosen for each loss,
    are expected at that rate alone.

    Where own values are tuned, each loss is expected at all of its own trials.

    Returns:
        The columns `KEY`.
    """
    summary = with_tuned(summary)
    losses = pd.DataFrame({"loss": sorted(summary["loss"].unique())})
    parts = [losses.iloc[:0].merge(summary[[*TRIAL, "epochs", "seed"]], how="cross")]
    for _, family in summary.groupby("epochs", sort=True):
        at_one_rate = family["seed"].isin(evaluation_only(family))
        evaluated = family[at_one_rate]
        each = ["loss", *TRIAL], ["epochs", "seed"]
        chosen, seeds = (evaluated[names].drop_duplicates() for names in each)
        rest = family[~at_one_rate]
        grid = losses.merge(rest[[*TRIAL, "epochs", "seed"]].drop_duplicates(), how="cross")
        if (family["tuned"] != "").any():
            own, every = (rest[names].drop_duplicates() for names in each)
            grid = own.merge(every, how="cross")
        parts += [grid, chosen.merge(seeds, how="cross")]
    return pd.concat(
        [part[KEY] for part in parts if len(part)] or [parts[0][KEY]], ignore_index=True
    )


def evaluation_only(family: pd.DataFrame) -> list[int]:
    """The seeds at which each loss has one and the same trial, where other seeds have several.

    The list is empty if there are no such seeds.
    """
    each = family.drop_duplicates(["seed", "loss", *TRIAL])
    most = each.groupby(["seed", "loss"], observed=True).size().groupby(level="seed").max()
    alone = list(most.index[most == 1])
    trials_alone = family[family["seed"].isin(alone)].drop_duplicates(["loss", *TRIAL])
    return alone if len(alone) < len(most) and not trials_alone["loss"].duplicated().any() else []


def denominators(summary: pd.DataFrame) -> pd.DataFrame:
    """Behind every mean: how many runs each loss should have, and what became of them.

    Args:
        summary: all runs of one setting.

    Returns:
        A row per loss, sorted: loss, `expected` (runs, see `expected_runs`), `ok`, `diverged`,
        `failed`, `killed`, `missing` (these five sum to `expected`).
    """
    merged = _with_expected(summary)
    counts = pd.crosstab(merged["loss"], merged["state"])
    counts = counts.reindex(columns=[*OUTCOMES, "missing"], fill_value=0)
    counts.insert(0, "expected", counts.sum(axis=1))
    counts.columns.name = None
    return counts.reset_index()


def unfinished_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """What is still to run: the columns `KEY` and `state` (missing, failed or killed)."""
    merged = _with_expected(summary)
    open_runs = merged[merged["state"].isin(["missing", "failed", "killed"])]
    return open_runs[[*KEY, "state"]].sort_values(KEY, ignore_index=True)


def _with_expected(summary: pd.DataFrame) -> pd.DataFrame:
    """The expected runs with `state`: the outcome, or missing."""
    # Plain objects: a categorical or another string type on one side must not keep equal names
    # apart.
    grid, kept = (
        frame.astype({"loss": object, "lr": float, "epochs": int, "seed": int})
        for frame in (expected_runs(summary), newest_runs(summary)[[*KEY, "outcome"]])
    )
    merged = grid.drop_duplicates().merge(kept, on=KEY, how="left")
    return merged.assign(state=merged["outcome"].astype(object).fillna("missing"))
