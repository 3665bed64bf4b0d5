"""Which learning rate each loss is shown at, and on which seeds it may be chosen and judged.

The rate is a nuisance, the loss is the question: every loss gets the same grid and the same number of trials,
and the choice looks at validation only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from reports.names import counted
from reports.stats.cells import FINISHED, OUTCOMES, check_columns, one_run_per_cell

JUDGING_SEEDS = 8
"""Seeds that must remain for judging before any are set aside for choosing rates."""

_DIGITS = 12  # mean accuracies that differ by less are equal: means of counts over counts


class SeedSplit(NamedTuple):
    """Seeds that choose rates and seeds that judge losses; `shared` when a choice was made on both."""

    tuning: tuple[int, ...]
    judging: tuple[int, ...]
    shared: bool
    reason: str


def split_seeds(
    summary: pd.DataFrame,
    tuning_seeds: Iterable[int] | None = None,
    *,
    judging_at_least: int = JUDGING_SEEDS,
) -> SeedSplit:
    """Divide the seeds of one value of epochs: choosing and judging on the same seeds flatters the winner.

    Rates are chosen on complete seeds, those at which every loss has finished all its rates, and on any when
    none is complete. So seeds added later at the chosen rates alone only judge.

    * No loss has more than one rate: nothing is chosen, all seeds judge.
    * More than `judging_at_least` seeds: a quarter of them choose, at least one and no more than can be
      spared, the smallest first; the others judge.
    * Else all judge, those that choose included: `shared`.

    Args:
        summary: runs of one value of epochs.
        tuning_seeds: chosen by the user: these tune and all others judge, however many remain.

    Raises:
        ValueError: several values of epochs; `tuning_seeds` have no runs here, or leave none to judge.
    """
    cells = one_run_per_cell(summary)
    if cells["epochs"].nunique() > 1:
        raise ValueError(
            f"expected runs of one value of epochs, got {sorted(set(cells['epochs']))}"
        )
    return _split(cells, tuning_seeds, judging_at_least)


def _split(
    cells: pd.DataFrame, tuning_seeds: Iterable[int] | None, judging_at_least: int
) -> SeedSplit:
    seeds = [int(seed) for seed in sorted(cells["seed"].unique())]
    if tuning_seeds is not None:
        return _as_asked(seeds, {int(seed) for seed in tuning_seeds}, int(cells["epochs"].iloc[0]))
    everything = tuple(seeds)
    grid = cells[["loss", "lr"]].drop_duplicates()
    if not grid["loss"].duplicated().any():
        return SeedSplit(
            everything, everything, False, "one learning rate per loss: nothing to choose"
        )
    finished = cells[cells["outcome"].isin(FINISHED)]["seed"].value_counts()
    able = tuple(seed for seed in seeds if finished.get(seed, 0) == len(grid)) or everything
    spare = len(seeds) - judging_at_least
    if spare < 1:
        reason = f"{counted(len(seeds), 'seed')}, and {judging_at_least} have to remain for judging"
        return SeedSplit(able, everything, True, reason)
    tuning = able[: max(1, min(spare, len(seeds) // 4))]
    judging = tuple(seed for seed in seeds if seed not in tuning)
    choose = f"{counted(len(tuning), 'seed')} choose{'s' if len(tuning) == 1 else ''}"
    judge = f"{counted(len(judging), 'other')} judge{'s' if len(judging) == 1 else ''}"
    return SeedSplit(tuning, judging, False, f"{choose}, {judge}")


def _as_asked(seeds: list[int], asked: set[int], epochs: int) -> SeedSplit:
    tuning = tuple(seed for seed in seeds if seed in asked)
    judging = tuple(seed for seed in seeds if seed not in asked)
    if not tuning or not judging:
        problem = "have no runs" if not tuning else "leave none to judge on"
        raise ValueError(
            f"tuning_seeds {sorted(asked)} {problem}: the runs of {counted(epochs, 'epoch')} have the seeds {seeds}"
        )
    return SeedSplit(tuning, judging, False, "tuning seeds as asked")


def rate_table(
    summary: pd.DataFrame,
    tuning_seeds: Iterable[int] | None = None,
    *,
    metric: str = "val_accuracy",
) -> pd.DataFrame:
    """Every loss at every learning rate: the mean of a metric over seeds, with all that it does not average.

    Args:
        summary: runs of one setting.
        tuning_seeds: count these seeds alone; None counts all.
        metric: a column, finite for runs that have it.

    Returns:
        A row per epochs, loss and rate of the grid (the rates any loss has at these epochs): epochs, loss,
        lr, `metric` (mean over scored runs, NaN if none), `scored` (runs that are ok and have the metric),
        `ok`, `diverged`, `failed`, `killed`, `missing` (cells of the seeds counted; sum: their number).
    """
    cells = one_run_per_cell(summary)
    check_columns(cells, [metric])
    seeds = set(cells["seed"]) if tuning_seeds is None else set(tuning_seeds)
    rows = [
        row
        for _, family in cells.groupby("epochs", sort=True)
        for row in _trials(family, seeds, metric)
    ]
    return pd.DataFrame(
        rows, columns=["epochs", "loss", "lr", metric, "scored", *OUTCOMES, "missing"]
    )


def _trials(family: pd.DataFrame, seeds: set[int], metric: str) -> list[dict[str, Any]]:
    """The rows of `rate_table` for one value of epochs, by loss and rate."""
    scores = family[metric].to_numpy(dtype=float, na_value=math.nan).tolist()
    runs: dict[tuple[str, float], list[tuple[str, float]]] = {}
    for loss, lr, seed, outcome, score in zip(
        *(family[name] for name in ("loss", "lr", "seed", "outcome")), scores, strict=True
    ):
        runs.setdefault((str(loss), float(lr)), [])
        if seed in seeds:
            runs[str(loss), float(lr)].append((outcome, score))
    each = len(seeds & set(family["seed"]))
    rows = []
    for loss, lr in itertools.product(
        sorted({loss for loss, _ in runs}), sorted({lr for _, lr in runs})
    ):
        cells = runs.get((loss, lr), [])
        scored = [score for outcome, score in cells if outcome == "ok" and math.isfinite(score)]
        rows.append(
            {
                "epochs": int(family["epochs"].iloc[0]),
                "loss": loss,
                "lr": lr,
                metric: sum(scored) / len(scored) if scored else math.nan,
                "scored": len(scored),
                **{name: sum(outcome == name for outcome, _ in cells) for name in OUTCOMES},
                "missing": each - len(cells),
            }
        )
    return rows


def choose_rates(
    summary: pd.DataFrame,
    tuning_seeds: Iterable[int] | None = None,
    *,
    metric: str = "val_accuracy",
) -> pd.DataFrame:
    """The learning rate each loss is shown at: highest mean validation accuracy over the tuning seeds.

    Rates are ranked by the number of tuning seeds that gave a score, then by the mean score, then the smaller
    rate wins. So a rate at which a seed diverged (or is missing) comes after every rate at which fewer did: a
    mean over the runs that happened to survive never beats one over all.

    Args:
        summary: runs of one setting.
        tuning_seeds: as in `split_seeds`, which chooses them for each value of epochs when they are None.
        metric: higher is better.

    Returns:
        A row per epochs and loss: epochs, loss, `lr` (NaN when no trial gave a score), `metric` (mean at lr),
        `scored` (runs behind that mean), `tuning_seeds` (tuple), `rates` (tried, that is with a finished
        run), `edge` ("low", "high": lr is the smallest or largest rate tried; "none": it is not, or only one
        was), `budget` (finished trials, diverged ones included), `diverged`, `unfinished` (cells of the grid
        failed, killed or missing), `equal_budget` (every loss at these epochs finished as many trials at each
        rate).
    """
    cells = one_run_per_cell(summary)
    check_columns(cells, [metric])
    fixed = None if tuning_seeds is None else tuple(tuning_seeds)
    rows = []
    for epochs, family in cells.groupby("epochs", sort=True):
        tuning = _split(family, fixed, JUDGING_SEEDS).tuning
        table = _trials(family, set(tuning), metric)
        finished: dict[float, set[int]] = {}
        for row in table:
            finished.setdefault(row["lr"], set()).add(row["ok"] + row["diverged"])
        equal = all(len(counts) == 1 for counts in finished.values())
        for loss, group in itertools.groupby(table, key=lambda row: row["loss"]):
            trials = list(group)
            tried = [row["lr"] for row in trials if row["ok"] + row["diverged"]]
            scored = [row for row in trials if row["scored"]]
            best = min(
                scored,
                key=lambda row: (-row["scored"], -round(row[metric], _DIGITS), row["lr"]),
                default={"lr": math.nan, metric: math.nan, "scored": 0},
            )
            rows.append(
                {
                    "epochs": int(epochs),
                    "loss": loss,
                    **{name: best[name] for name in ("lr", metric, "scored")},
                    "tuning_seeds": tuning,
                    "rates": len(tried),
                    "edge": _edge(best["lr"], tried),
                    "budget": sum(row["ok"] + row["diverged"] for row in trials),
                    "diverged": sum(row["diverged"] for row in trials),
                    "unfinished": sum(
                        row["failed"] + row["killed"] + row["missing"] for row in trials
                    ),
                    "equal_budget": equal,
                }
            )
    columns = [
        "epochs",
        "loss",
        "lr",
        metric,
        "scored",
        "tuning_seeds",
        "rates",
        "edge",
        "budget",
        "diverged",
    ]
    return pd.DataFrame(rows, columns=[*columns, "unfinished", "equal_budget"])


def _edge(lr: float, tried: list[float]) -> str:
    if len(tried) < 2 or math.isnan(lr):
        return "none"
    return "low" if lr == min(tried) else "high" if lr == max(tried) else "none"
