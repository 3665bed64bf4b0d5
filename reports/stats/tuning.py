"""Which learning rate each loss is shown at: tuning seeds choose it, evaluation seeds are compared.

The rate is a nuisance, the loss is the question: every loss gets the same grid and the same number
of trials, and the choice looks at validation only. Where own values of a loss are tuned, they are
chosen together with its rate: a trial is one of each.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.names import counted
from reports.stats import two_way
from reports.stats.runs import (
    FINISHED,
    OUTCOMES,
    TRIAL,
    Trial,
    constant_accuracy,
    evaluation_only,
    newest_runs,
    trials,
    unfinished_runs,
)

INDISTINCT = 0.3
"""A rate may be the best where a paired test on validation accuracy has a p above this."""

CHOOSES = "val_accuracy"
"""What a rate is chosen by: a column, of which higher is better."""

_CHOSEN = [
    *("epochs", "loss", *TRIAL, CHOOSES, "scored", "tuning_seeds", "candidates", "rates", "trials"),
    *("edge", "tuned_edge", "budget", "diverged", "unfinished", "equal_budget"),
]
_DIGITS = 12  # mean accuracies that differ by less are equal: means of counts over counts


class SeedSplit(NamedTuple):
    """What the seeds of one value of epochs are for.

    tuning: seeds that choose the rate of a loss, on validation. evaluation: seeds that are
    compared, on test.
    shared: some seeds do both. two_stage: some seeds have runs at the chosen rates only, or the
    user named the tuning seeds; more seeds then need these rates only. reason: the same in words.
    """

    tuning: tuple[int, ...]
    evaluation: tuple[int, ...]
    shared: bool
    two_stage: bool
    reason: str


def split_seeds(summary: pd.DataFrame, tuning_seeds: Iterable[int] | None = None) -> SeedSplit:
    """What each seed of one value of epochs is for.

    Runs that are added later take no seed out of the evaluation.

    * `tuning_seeds` are given: they choose the rates, and all others are evaluated.
    * No loss has more than one rate: nothing is chosen, and all seeds are evaluated.
    * Otherwise all seeds are evaluated. The rate of a loss is chosen on the seeds of its largest
      complete grid of two rates or more (on all seeds where there is none). So seeds with runs at
      one rate only choose nothing, and a single run at a further rate changes nothing.

    The same seeds may choose and be evaluated because the choice looks at validation, the
    evaluation at test, and all losses have the same rates. Simulated false verdicts stay at the
    nominal level (see the tests).

    Args:
        summary: runs of one value of epochs.
        tuning_seeds: as given by the user.

    Raises:
        ValueError: `tuning_seeds` have no runs here, or leave none to evaluate.
    """
    kept = newest_runs(summary)
    seeds = [int(seed) for seed in sorted(kept["seed"].unique())]
    tuning = sorted(set().union(*_tuning_seeds(kept, tuning_seeds).values()))
    if tuning_seeds is not None:
        evaluation = tuple(seed for seed in seeds if seed not in tuning)
        return SeedSplit(tuple(tuning), evaluation, False, True, "tuning seeds as given")
    if not kept[["loss", *TRIAL]].drop_duplicates()["loss"].duplicated().any():
        reason = "one learning rate per loss: nothing to choose"
        return SeedSplit(tuple(seeds), tuple(seeds), False, False, reason)
    reason = "all seeds choose the learning rates on validation data and are evaluated on test data"
    if tuning != seeds:
        reason = (
            f"{counted(len(tuning), 'seed')} with runs at every rate choose the learning rates on "
            f"validation data; all {len(seeds)} are evaluated on test data"
        )
    two_stage = bool(evaluation_only(kept))
    return SeedSplit(tuple(tuning), tuple(seeds), True, two_stage, reason)


def _tuning_seeds(kept: pd.DataFrame, given: Iterable[int] | None) -> dict[str, tuple[int, ...]]:
    """The seeds that choose the rate of each loss, from the runs of one value of epochs."""
    losses = sorted({str(loss) for loss in kept["loss"]})
    seeds = tuple(int(seed) for seed in sorted(kept["seed"].unique()))
    if given is not None:
        return dict.fromkeys(losses, _as_given(seeds, set(given), kept))
    finished = kept[kept["outcome"].isin(FINISHED)]
    chosen: dict[str, tuple[int, ...]] = {}
    for loss, runs in finished.groupby("loss", observed=True):
        at_rates = [{int(seed) for seed in each["seed"]} for _, each in runs.groupby(TRIAL)]
        chosen[str(loss)] = tuple(sorted(_largest_block(at_rates)))
    return {loss: chosen.get(loss) or seeds for loss in losses}


def _largest_block(at_rates: list[set[int]]) -> set[int]:
    """The seeds of the largest grid of two rates or more that is complete; of the only rate.

    So a single run at a further rate leaves the choice among the others to all of their seeds.

    Args:
        at_rates: the seeds with results, of each rate.

    >>> _largest_block([{0, 1, 2}, {0, 1, 2}, {0}]), _largest_block([{0, 1}, {0, 1, 2, 3, 4}])
    ({0, 1, 2}, {0, 1})
    """
    ordered = sorted(at_rates, key=len, reverse=True)
    blocks = [set.intersection(*ordered[:count]) for count in range(1, len(ordered) + 1)]
    if len(blocks) == 1:
        return blocks[0]
    return max(
        enumerate(blocks[1:], start=2), key=lambda block: (block[0] * len(block[1]), block[0])
    )[1]


def _as_given(seeds: tuple[int, ...], given: set[int], kept: pd.DataFrame) -> tuple[int, ...]:
    tuning = tuple(seed for seed in seeds if seed in given)
    if not tuning or len(tuning) == len(seeds):
        problem = "have no runs" if not tuning else "leave none to evaluate"
        epochs = counted(int(kept["epochs"].iloc[0]), "epoch")
        raise ValueError(
            f"tuning_seeds {sorted(given)} {problem}: the runs of {epochs} have the seeds "
            f"{list(seeds)}"
        )
    return tuning


def rate_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean validation accuracy over seeds, for every loss at every learning rate.

    Runs that are not averaged are counted.

    Args:
        summary: runs of one setting.

    Returns:
        A row per epochs, loss and rate of the grid (the rates any loss has at these epochs; where
        own values are tuned, the trials of the loss): epochs, loss, lr, tuned,
        `val_accuracy` (mean over scored runs, NaN if none), `scored` (runs that are ok
        and have it), `ok`, `diverged`, `failed`, `killed`, `missing` (sum: the runs that there
        should be, see `expected_runs`), `seeds` (tuple: those of the scored runs).
    """
    kept = newest_runs(summary)
    seeds = {str(loss): set(kept["seed"]) for loss in kept["loss"].unique()}
    rows = [row for _, own in kept.groupby("epochs", sort=True) for row in _trials(own, seeds)]
    absent = unfinished_runs(kept).query("state == 'missing'")
    counts = absent.groupby(["epochs", "loss", *TRIAL]).size().to_dict()
    for row in rows:
        row["missing"] = counts.get(tuple(row[name] for name in ("epochs", "loss", *TRIAL)), 0)
    columns = ["epochs", "loss", *TRIAL, CHOOSES, "scored", *OUTCOMES, "missing", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _trials(family: pd.DataFrame, seeds: Mapping[str, Iterable[int]]) -> list[dict[str, Any]]:
    """The rows of `rate_table` for one value of epochs, by loss and trial.

    seeds: those that count, by loss.
    """
    scores = family[CHOOSES].to_numpy(dtype=float, na_value=math.nan).tolist()
    wanted = {loss: set(each) & set(family["seed"]) for loss, each in seeds.items()}
    runs: dict[tuple[str, Trial], list[tuple[str, float, int]]] = {}
    for loss, trial, seed, outcome, score in zip(
        family["loss"], trials(family), family["seed"], family["outcome"], scores, strict=True
    ):
        runs.setdefault((str(loss), trial), [])
        if seed in wanted[str(loss)]:
            runs[str(loss), trial].append((outcome, score, int(seed)))
    tuned = any(trial.tuned for _, trial in runs)
    constant, rows = constant_accuracy(family), []
    for loss, trial in itertools.product(
        sorted({loss for loss, _ in runs}),
        sorted({trial for _, trial in runs}, key=lambda each: each.place),
    ):
        if tuned and (loss, trial) not in runs:
            continue
        kept = runs.get((loss, trial), [])
        good = [(score, seed) for end, score, seed in kept if end == "ok" and math.isfinite(score)]
        scored = [score for score, _ in good]
        rows.append(
            {
                "epochs": int(family["epochs"].iloc[0]),
                "loss": loss,
                **trial._asdict(),
                CHOOSES: sum(scored) / len(scored) if scored else math.nan,
                "scored": len(scored),
                **{name: sum(outcome == name for outcome, *_ in kept) for name in OUTCOMES},
                "missing": len(wanted[loss]) - len(kept),
                "seeds": tuple(sorted(seed for _, seed in good)),
                "results": {seed: score for score, seed in good}
                | {seed: constant for end, _, seed in kept if end == "diverged"},
            }
        )
    return rows


def choose_rates(summary: pd.DataFrame, tuning_seeds: Iterable[int] | None = None) -> pd.DataFrame:
    """The trial each loss is shown at: the one with the best mean validation accuracy.

    A tuning seed at which a rate diverged is a result, as in a verdict: it counts with the accuracy
    of a constant answer, `constant_accuracy`. A seed that failed or is missing is no result, so
    rates are ranked by the number of tuning seeds with a result first: a mean over fewer seeds
    never beats one over more. Of equal rates the smaller wins, so a loss that diverged in all its
    trials is shown at the smallest of its rates; then of equal tuned values the first.

    Args:
        summary: runs of one setting.
        tuning_seeds: as in `split_seeds`; None: for each loss those of its largest complete
            grid.

    Returns:
        A row per epochs and loss: epochs, loss, `lr` (NaN when no trial finished), `tuned` (its
        tuned values; "": none), `val_accuracy` (mean at lr of the runs that ended well), `scored`
        (runs behind that mean), `tuning_seeds` (tuple), `candidates` (tuple of `Trial`: the chosen
        one, then those that validation cannot tell from it: with p > .3 in a paired t test on the
        tuning seeds),
        `rates` (tried, that is with a finished run), `trials` (tried), `edge` ("low", "high": lr
        is the smallest or largest rate tried; "none": it is not, or only one was), `tuned_edge`
        (the same of a tuned number, in words; "": it is not), `budget` (finished runs of trials,
        diverged ones included), `diverged`, `unfinished` (runs of the grid failed, killed or
        missing), `equal_budget` (every loss at these epochs finished as many runs at each rate;
        where own values are tuned, as many trials, with as many runs each).
    """
    kept = newest_runs(summary)
    fixed = None if tuning_seeds is None else tuple(tuning_seeds)
    rows = []
    for epochs, family in kept.groupby("epochs", sort=True):
        tuning = _tuning_seeds(family, fixed)
        table = _trials(family, tuning)
        equal = _equal_budget(table)
        for loss, group in itertools.groupby(table, key=lambda row: row["loss"]):
            own = list(group)
            tried = [_trial(row) for row in own if row["ok"] + row["diverged"]]
            first = tried[0] if tried else Trial(math.nan)
            best = min(
                (row for row in own if row["scored"] + row["diverged"]),
                key=_rank,
                default=first._asdict() | {CHOOSES: math.nan, "scored": 0},
            )
            chosen = _trial(best)
            rows.append(
                {
                    "epochs": int(epochs),
                    "loss": loss,
                    **{name: best[name] for name in (*TRIAL, CHOOSES, "scored")},
                    "tuning_seeds": tuning[loss],
                    "candidates": _candidates(chosen, own),
                    "rates": len({each.lr for each in tried}),
                    "trials": len(tried),
                    "edge": _edge(chosen.lr, [each.lr for each in tried]),
                    "tuned_edge": _tuned_edge(chosen.tuned, [each.tuned for each in tried]),
                    "budget": sum(row["ok"] + row["diverged"] for row in own),
                    "diverged": sum(row["diverged"] for row in own),
                    "unfinished": sum(
                        row["failed"] + row["killed"] + row["missing"] for row in own
                    ),
                    "equal_budget": equal,
                }
            )
    return pd.DataFrame(rows, columns=_CHOSEN)


def at_chosen(runs: pd.DataFrame, chosen: pd.DataFrame) -> np.ndarray:
    """Which runs are of the trial that was chosen for their loss, bool [runs].

    Args:
        runs: of one value of epochs.
        chosen: a row per loss, from `choose_rates`.
    """
    best = dict(zip(chosen["loss"].astype(str), trials(chosen), strict=True))
    each = zip(runs["loss"].astype(str), trials(runs), strict=True)
    return np.array([best.get(loss) == trial for loss, trial in each], dtype=bool)


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(row["lr"], row["tuned"])


def _equal_budget(table: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every loss has as many results as the others, see `choose_rates`."""
    tuned = any(row["tuned"] for row in table)
    finished: dict[Any, list[int]] = {}
    for row in table:
        key = row["loss"] if tuned else row["lr"]
        finished.setdefault(key, []).append(row["ok"] + row["diverged"])
    if tuned:
        return len({tuple(sorted(counts)) for counts in finished.values()}) < 2
    return all(len(set(counts)) == 1 for counts in finished.values())


def _rank(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Sorts the rows of `rate_table`, the best first."""
    results = row["results"].values()
    return -len(results), -round(sum(results) / len(results), _DIGITS), row["lr"]


def _candidates(best: Trial, rows: Sequence[Mapping[str, Any]]) -> tuple[Trial, ...]:
    """The trials that may be the best, the chosen one first; a diverged run counts as in `_rank`.

    A trial with results at fewer of the tuning seeds is none: it comes after the others anyway.
    """
    results = {_trial(row): row["results"] for row in rows if row["results"]}
    if best not in results:
        return () if math.isnan(best.lr) else (best,)
    candidates = [best]
    for other, its in results.items():
        if other == best or len(its) < len(results[best]):
            continue
        common = sorted(results[best].keys() & its.keys())
        d = np.array([results[best][seed] - its[seed] for seed in common])
        p = float(two_way.p_difference(two_way.estimate([d]))) if len(common) > 1 else 1.0
        if p > INDISTINCT:
            candidates.append(other)
    return tuple(candidates)


def _edge(lr: float, tried: list[float]) -> str:
    if len(tried) < 2 or math.isnan(lr):
        return "none"
    return "low" if lr == min(tried) else "high" if lr == max(tried) else "none"


def _tuned_edge(chosen: str, tried: Sequence[str]) -> str:
    """Which tuned numbers of a choice are the smallest or the largest that were tried, in words.

    >>> _tuned_edge("gamma=3", ["gamma=1", "gamma=2", "gamma=3"])
    'gamma=3, the highest of 3 values'
    """
    edges = []
    for name, text in _pairs(chosen):
        numbers = {float(each) for one in tried for own, each in _pairs(one) if own == name}
        if len(numbers) > 1 and float(text) in (min(numbers), max(numbers)):
            side = "lowest" if float(text) == min(numbers) else "highest"
            edges.append(f"{name}={text}, the {side} of {len(numbers)} values")
    return "; ".join(edges)


def _pairs(tuned: str) -> list[tuple[str, str]]:
    """Names and values of tuned numbers; other values are left out."""
    pairs = (each.partition("=")[::2] for each in tuned.split(" "))
    return [(name, text) for name, text in pairs if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text)]
