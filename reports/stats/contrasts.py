"""Families of contrasts of the losses with the reference, from runs to verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from reports.metrics import Metric
from reports.names import plain
from reports.stats.contrast import Contrast, Values, contrast, evidence, rank_contrast
from reports.stats.pairing import (
    ComparedRuns,
    LossRuns,
    compared_runs,
    dropped,
    ended_well,
    runs_by_trial,
    why_nothing,
    with_metric,
)
from reports.stats.runs import Trial, newest_runs
from reports.stats.tuning import SeedSplit, choose_rates, split_seeds
from reports.stats.verdicts import Rules, decide

CONTRAST = tuple(
    field.name for field in fields(Contrast) if field.name not in ("outliers", "p_decides")
)

COLUMNS = [
    *("view", "epochs", "metric", "unit", "a", "b", "lr_a", "lr_b", "tuned_a", "tuned_b"),
    *CONTRAST,
    *("pairing", "shared_seeds", "dropped", "lacking"),
    *("diverged_a", "diverged_b", "failed_a", "failed_b"),
    *("survivors_n", "survivors_difference", "survivors_low", "survivors_high"),
    *("combinations", "weakest", "weakest_tuned", "weakest_equivalence", "at_these_rates"),
    *("p_decides", "p_holm", "family", "p_equivalence_holm", "margin"),
    *("verdict", "reason", "at_best"),
    *("detectable", "seeds_needed", "seeds_needed_low", "seeds_needed_high"),
    *("outliers", "run_ids"),
]

_Plan = Iterator[tuple[Sequence[LossRuns], Sequence[LossRuns], bool]]
"""Of each contrast the runs of both losses, each in the trial it is shown in and then in the others
that may be its best; and whether the evaluation seeds have runs at the chosen rates only."""


def contrasts(
    summary: pd.DataFrame,
    *,
    reference: str = "ce",
    view: str = "best",
    all_pairs: bool = False,
    subjects: Sequence[str] = (),
    tuning_seeds: Iterable[int] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Compare losses over the seeds they share, and over the test images.

    View "best": each loss in the trial `choose_rates` gives it (a rate, and tuned values where it
    has some), on the evaluation seeds of `split_seeds`. A verdict has to hold in every trial that
    validation cannot tell from the best.
    View "equal": each loss against the reference at every rate both have, on all seeds, since
    nothing is chosen. All contrasts of one view at one value of epochs are one family for Holm.

    A pair counts when both runs finished, have the metric, and carry equal `init_hash` and
    `order_hash`. Where hashes differ or are not recorded, or no seed is common to both losses, the
    whole contrast is analysed as unpaired, with all finished runs of either side; `pairing` says
    why. Runs that are lacking are listed in `dropped`.

    A run that diverged is a result, and counts as one (as assigned, not as survived): with the
    accuracy `diverged`, or, for metrics without such a value, as worse than every run that ended
    well. Then only the order of the runs is compared (`rank_contrast`), and no mean is given.
    Losses of which no run ended well are not compared. A run that failed or was killed is no result
    of its loss: it is missing, and counted.

    Args:
        summary: runs of one setting (see `reports.stats.runs`). A column `planned` says which runs
            were declared before they were run; without it all were. A column `declared_missing`
            says how many declared seeds of a loss have no result yet: until none is missing, only
            e-values decide.
        reference: b of every contrast.
        view: "best" or "equal", as above.
        all_pairs: whether every two losses are compared, the reference still as b.
        subjects: losses each of which is compared, as a, with every other loss, whatever the
            baseline.
        tuning_seeds: as in `split_seeds`, at each value of epochs; for the view "best".
        options: the fields of `Rules`.

    Returns:
        A row per contrast, the largest epochs first, with the columns `COLUMNS`. Most are keys of
        verdicts.json, which docs/reading-a-report.md describes, or fields of `Contrast`. The others
        are `unit` ("points" or ""), `pairing` (why, or why not), `shared_seeds` (some tuning seeds
        are evaluated, too), `dropped` (list of `Dropped`), `lacking` (where n = 0: which runs
        ended how, in words; "" where they ended well and have no value), `at_best` (the verdict if
        no other rates might be the best) and `weakest_equivalence` (the two `Trial`s with the
        largest p of equivalence).

        A metric that the head of a loss does not have (ok runs, none with a value) leaves a row
        with n = 0, which is no member of the family.

    Raises:
        ValueError: no run has the loss `reference`, or there is no such metric; see also
            `split_seeds`.
    """
    rules = Rules(**options)
    kept = _checked(summary, rules.read.name)
    losses = sorted(str(loss) for loss in kept["loss"].unique())
    if reference in losses:
        losses.remove(reference)
        losses.insert(0, reference)
    elif losses and not all_pairs and not subjects:
        raise ValueError(f"reference: no run has the loss {reference!r}; there are {losses}")
    pairs = _pairs(
        losses, [] if all_pairs else [loss for loss in subjects if loss in losses], all_pairs
    )
    fixed = None if tuning_seeds is None else tuple(tuning_seeds)
    rows: list[dict[str, Any]] = []
    for epochs, runs in sorted(kept.groupby("epochs"), reverse=True):
        if view == "best":
            split = split_seeds(runs, fixed)
            best = choose_rates(runs, fixed).set_index("loss")["candidates"]
            plan = _at_best_rates(runs, pairs, split, best, rules)
            rows += _family(plan, view, epochs, split.shared, rules, runs)
        else:
            rows += _family(_at_equal_rates(runs, pairs, rules), view, epochs, False, rules, runs)
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(losses: list[str], subjects: list[str], all_pairs: bool) -> list[tuple[str, str]]:
    """(a, b) of every contrast; the reference is the first loss."""
    if subjects:
        others = [loss for loss in losses if loss not in subjects]
        return [(a, b) for i, a in enumerate(subjects) for b in [*others, *subjects[i + 1 :]]]
    return [
        (a, b) for i, b in enumerate(losses if all_pairs else losses[:1]) for a in losses[i + 1 :]
    ]


def _at_best_rates(
    runs: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    split: SeedSplit,
    best: pd.Series,
    rules: Rules,
) -> _Plan:
    name = rules.read.name
    has = with_metric(runs, name)
    by_trial = runs_by_trial(runs[runs["seed"].isin(split.evaluation)], name, has)

    def of(loss: str) -> list[LossRuns]:
        return [
            by_trial.get((loss, trial), LossRuns(loss, trial, {}, name, has.get(loss, True)))
            for trial in best.get(loss, ()) or (Trial(math.nan),)
        ]

    for a, b in pairs:
        yield of(a), of(b), split.two_stage


def _at_equal_rates(runs: pd.DataFrame, pairs: Sequence[tuple[str, str]], rules: Rules) -> _Plan:
    name = rules.read.name
    by_trial = runs_by_trial(runs, name, with_metric(runs, name))
    own: dict[str, list[LossRuns]] = {}
    for side in sorted(by_trial.values(), key=lambda side: side.trial.place):
        own.setdefault(side.loss, []).append(side)
    for a, b in pairs:
        for one, other in itertools.product(own.get(a, []), own.get(b, [])):
            if one.lr == other.lr:
                yield [one], [other], False


def _checked(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    kept = newest_runs(summary)
    planned = kept["planned"].fillna(True).astype(bool) if "planned" in kept else True
    if "declared_missing" in kept:  # the declared seeds are tested once, when all are there
        planned &= kept["declared_missing"].fillna(0) == 0
    numbers = kept[metric].to_numpy(dtype=float, na_value=math.nan)
    return kept.assign(**{metric: numbers, "planned": planned})


def _family(
    plan: _Plan, view: str, epochs: int, shared: bool, rules: Rules, runs: pd.DataFrame
) -> list[dict[str, Any]]:
    """The rows of one family; runs: all of these epochs, those of tuning seeds too."""
    rows = []
    for trials_a, trials_b, two_stage in plan:
        row = _row(trials_a, trials_b, two_stage, rules)
        both = trials_a[0], trials_b[0]
        row["lacking"] = "" if row["n"] else why_nothing(both, view, runs)
        rows.append(row | {"view": view, "epochs": int(epochs), "shared_seeds": shared})
    decide(rows, rules)
    return rows


def _row(
    trials_a: Sequence[LossRuns], trials_b: Sequence[LossRuns], two_stage: bool, rules: Rules
) -> dict[str, Any]:
    """One contrast without what depends on the others of its family; the trials as in `_Plan`."""
    a, b = trials_a[0], trials_b[0]
    both = compared_runs(a, b)
    result = _compared(both, rules)
    lost = dropped(a, b)
    survivors = _compared(both.survivors(), rules) if any(both.diverged) else Contrast()
    several = len(trials_a) * len(trials_b) > 1
    tested = {
        (a.trial, b.trial): (result.direction, result.p_decides, result.p_equivalence_decides)
    }
    if several and not two_stage and result.n:
        for one, other in itertools.product(trials_a, trials_b):
            if (one.trial, other.trial) not in tested:
                tested[one.trial, other.trial] = _at_rates(one, other, rules)
    _, p, p_equivalence = zip(*tested.values(), strict=True)
    # Better at some rates and worse at others is no evidence.
    others = list(tested)[1:]
    contrary = [trials for trials in others if tested[trials][0] != result.direction]
    weakest = max(contrary or tested, key=lambda trials: tested[trials][1])
    return {
        **{"metric": rules.read.name, "unit": rules.read.unit, "margin": rules.half_width},
        **{"a": a.loss, "b": b.loss, "lr_a": a.lr, "lr_b": b.lr},
        **{"tuned_a": a.trial.tuned, "tuned_b": b.trial.tuned},
        **vars(result),
        **{"pairing": both.pairing, "dropped": [*lost[0], *lost[1]]},
        **dict(zip(("diverged_a", "diverged_b"), both.diverged, strict=True)),
        **{
            name: sum(drop.reason in ("failed", "killed") for drop in drops)
            for name, drops in zip(("failed_a", "failed_b"), lost, strict=True)
        },
        **{
            f"survivors_{name}": getattr(survivors, name)
            for name in ("n", "difference", "low", "high")
        },
        **{"combinations": len(tested), "weakest": [trial.lr for trial in weakest]},
        "weakest_tuned": [trial.tuned for trial in weakest],
        **{"at_these_rates": several and two_stage},
        "weakest_equivalence": list(max(tested.items(), key=lambda each: each[1][2])[0]),
        "p_decides": 1.0 if contrary else max(p),
        "p_equivalence_decides": max(p_equivalence),
        "outliers": _named(result, both, (a.loss, b.loss), rules.read),
        "run_ids": [str(run["run_id"]) for side in both[:2] for run in side.values()],
        "applies": a.has and b.has,
        **{"p_at_best": result.p_decides, "p_equivalence_at_best": result.p_equivalence_decides},
    }


def _values(runs: Iterable[Any], rules: Rules) -> Values:
    """The runs of a side; diverged ones count as `Rules.diverged` says."""
    metric, scores_of = rules.read, rules.scores or (lambda run_id: None)
    worst = -math.inf if metric.higher_is_better else math.inf
    for_diverged = worst if math.isnan(rules.diverged) else rules.diverged * metric.scale
    scores, images = [], []
    for run in runs:
        score, each = for_diverged, rules.constant
        if ended_well(run):
            score, each = run[metric.name] * metric.scale, scores_of(str(run["run_id"]))
        if each is not None and abs(each.mean() * metric.scale - score) > 1e-4 * max(1, abs(score)):
            each = None  # of other predictions than the metric
        scores.append(score)
        images.append(each)
    stored = [each for each in images if each is not None]
    same = len(stored) == len(images) and len({each.size for each in stored}) == 1
    return Values(
        np.array(scores, dtype=np.float64),
        np.array(stored, dtype=np.float64) * metric.scale if same and stored[0].size > 1 else None,
        np.array([run["planned"] for run in runs], dtype=bool),
    )


def _both(runs: ComparedRuns, rules: Rules) -> tuple[Values, Values, bool]:
    """The values of both losses, and whether only their order can be compared."""
    x, y = _values(runs.a.values(), rules), _values(runs.b.values(), rules)
    if x.images is None or y.images is None or x.images.shape[1] != y.images.shape[1]:
        x, y = x._replace(images=None), y._replace(images=None)
    return x, y, bool(np.isinf(np.concatenate([x.scores, y.scores])).any())


def _compared(runs: ComparedRuns, rules: Rules) -> Contrast:
    """The contrast of the runs of two losses."""
    x, y, by_rank = _both(runs, rules)
    how: Any = {"paired": runs.paired, "higher_is_better": rules.read.higher_is_better}
    how |= {"level": 1 - rules.alpha}
    if by_rank:
        return rank_contrast(x, y, **how)
    return contrast(x, y, **how, step=rules.step, margin=rules.half_width)


def _at_rates(a: LossRuns, b: LossRuns, rules: Rules) -> tuple[float, float, float]:
    """Direction, p that decides, and the same of equivalence at another pair of rates."""
    runs = compared_runs(a, b)
    if not runs.a or not runs.b:
        return 0.0, 1.0, 1.0
    x, y, by_rank = _both(runs, rules)
    if by_rank:
        ranked = _compared(runs, rules)
        return ranked.direction, ranked.p_decides, 1.0
    shown = evidence(x, y, paired=runs.paired, step=rules.step, margin=rules.half_width)
    direction = float(np.sign(shown.estimate.difference))
    return direction, shown.p_decides, shown.p_equivalence_decides


def _named(
    result: Contrast, runs: ComparedRuns, losses: tuple[str, str], metric: Metric
) -> list[str]:
    """The runs behind outlying seeds, in words: of a pair the one that is farther from its own."""
    both = []
    for loss, own in zip(losses, runs[:2], strict=True):
        scores = [run[metric.name] if ended_well(run) else math.nan for run in own.values()]
        middle = np.nanmedian(scores) if np.isfinite(scores).any() else math.nan
        both.append([(loss, seed, x, abs(x - middle)) for seed, x in zip(own, scores, strict=True)])
    texts = []
    for place in result.outliers:
        pool = [side[place] for side in both] if result.paired else [[*both[0], *both[1]][place]]
        loss, seed, score, _ = max(pool, key=lambda run: math.inf if math.isnan(run[2]) else run[3])
        if not math.isnan(score):  # runs that diverged are counted anyway
            unit = " %" if metric.in_points else ""
            value = f"{score * metric.scale:.{metric.digits}f}{unit}"
            texts.append(f"seed {seed} of {plain(loss, 48)} ({value})")
    return texts
