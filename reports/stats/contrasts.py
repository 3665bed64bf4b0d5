"""Families of contrasts of the losses with the reference, from runs to verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.metrics import Metric, read_metric
from reports.names import plain
from reports.stats import two_way
from reports.stats.power import DECIDED_FROM, Seeds, detectable_difference, seeds_needed
from reports.stats.runs import FINISHED, Trial, check_columns, ended_badly, newest_runs, trials
from reports.stats.significance import holm
from reports.stats.tuning import choose_rates, split_seeds
from reports.stats.verdicts import (
    Contrast,
    Values,
    contrast,
    evidence,
    rank_contrast,
    rank_verdict,
    verdict,
)

Scores = Callable[[str], np.ndarray | None]
"""The metric of a run, by its id, for each test image; None where it is not stored."""

VIEWS = ("best", "equal")

CONTRAST = tuple(
    field.name for field in fields(Contrast) if field.name not in ("outliers", "p_decides")
)

COLUMNS = [
    *("view", "epochs", "metric", "unit", "a", "b", "lr_a", "lr_b", "tuned_a", "tuned_b"),
    *CONTRAST,
    *("pairing", "shared_seeds", "dropped", "lacking"),
    *("diverged_a", "diverged_b", "failed_a", "failed_b"),
    *("survivors_n", "survivors_difference", "survivors_low", "survivors_high"),
    *("combinations", "weakest", "weakest_tuned", "at_these_rates"),
    *("p_decides", "p_holm", "family", "p_equivalence_holm", "margin", "verdict", "reason"),
    *("detectable", "seeds_needed", "seeds_needed_low", "seeds_needed_high"),
    *("outliers", "run_ids"),
]


class Dropped(NamedTuple):
    """A run a contrast lacks.

    `reason`: missing, failed, killed, no value (of the metric), or no rate (none could be chosen,
    since no tuning seed has a finished run).
    """

    loss: str
    lr: float
    seed: int
    reason: str


@dataclass(frozen=True)
class _Rules:
    """What holds for every contrast of a call."""

    metric: Metric
    margin: float
    step: float
    diverged: float
    constant: np.ndarray | None
    alpha: float
    power: float
    scores: Scores


_Runs = dict[int, Any]  # the runs of one loss in one trial, by seed


class _Side(NamedTuple):
    """A loss in one trial. has: whether its head has the metric."""

    loss: str
    trial: Trial
    runs: _Runs
    has: bool

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return self.trial.lr


def contrasts(
    summary: pd.DataFrame,
    *,
    reference: str = "ce",
    metric: str = "test_accuracy",
    view: str = "best",
    all_pairs: bool = False,
    subjects: Sequence[str] = (),
    tuning_seeds: Iterable[int] | None = None,
    margin: float | None = None,
    test_size: int | None = None,
    scores: Scores | None = None,
    diverged: float = math.nan,
    constant: np.ndarray | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Compare losses over the seeds they share, and over the test images.

    View "best": each loss in the trial `choose_rates` gives it (a rate, and tuned values where it
    has some), on the evaluation seeds of `split_seeds`. A verdict has to hold in every trial that
    validation cannot tell from the best.
    View "equal": each loss against the reference at every rate both have, on all seeds, since
    nothing is chosen. All contrasts of one view at one value of epochs are one family for Holm.

    A pair counts when both runs finished, have the metric, and carry equal `init_hash` and
    `order_hash`. Where hashes differ or are not recorded, or no seed is common to both sides, the
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
        metric: a column; shares are compared in percentage points, others in their own unit.
        view: "best" or "equal", as above.
        all_pairs: whether every two losses are compared, the reference still as b.
        subjects: losses each of which is compared, as a, with every other loss, whatever the
            baseline.
        tuning_seeds: as in `split_seeds`, at each value of epochs; for the view "best".
        margin: margin of equivalence in the unit of the difference; None: for accuracies 0.1 points
            or two test examples, whichever is larger, else no margin.
        test_size: test examples that the metric counts: the margin of an accuracy is at least one
            of them, and the spread of runs is at least that of rounding to one.
        scores: the metric of a run for each test image. Where a run of a contrast has none, or one
            whose mean is not its metric, the contrast is about these test images only.
        diverged: what a diverged run counts with: the accuracy, in [0, 1], of the best constant
            answer; NaN where that is not known or the metric has none.
        constant: the same for each test image.
        alpha: of Holm's p; intervals have level 1 - alpha.
        power: for `detectable` and `seeds_needed`.
        higher_is_better: for metrics that `read_metric` does not know.

    Returns:
        A row per contrast, the largest epochs first, with the columns `COLUMNS`:

        * view, epochs, metric, `unit` ("points" or ""), a, b, `lr_a`, `lr_b` (NaN: none could be
          chosen), `tuned_a`, `tuned_b` (own values that were tuned, as "gamma=2"; "": none);
        * the fields of `Contrast` but for `outliers`, which is a list of texts that name the runs;
        * `pairing` (why, or why not), `shared_seeds` (some tuning seeds are evaluated, too),
          `dropped` (list of `Dropped`), `lacking` (where n = 0: which runs ended how, in words; ""
          where they ended well and have no value);
        * `diverged_a`, `diverged_b` (of the n_a and n_b runs; where no run of either loss ended
          well, n_a and n_b are 0, and these count all that diverged), `failed_a`, `failed_b`
          (failed or killed, not counted), `survivors_n`, `survivors_difference`, `survivors_low`,
          `survivors_high` (the same contrast of the runs that did not diverge; NaN and 0 where none
          diverged);
        * `combinations` (pairs of trials in which the verdict has to hold), `weakest` (the rates of
          the pair with the largest p), `weakest_tuned` (its tuned values), `at_these_rates` (other
          trials may be the best, and the evaluation seeds did not run them);
        * `p_decides` (the largest over the combinations of that of all looks), `p_holm` (its
          correction for the family), `family` (contrasts Holm adjusts for), `p_equivalence_holm`;
        * `margin` (NaN: none), `verdict` (speaks of a), `reason` (of undecided contrasts: nothing
          to compare, one seed, rates, not to be trusted, too few seeds, too close to tell),
          `detectable` (in `unit`, at `PLANNED` alpha / family), `seeds_needed` with its quartiles
          (of undecided contrasts, else NaN; infinite above 10,000, NaN where the spread is not
          known);
        * `run_ids` (list: runs of a, then of b).

        A metric that the head of a loss does not have (ok runs, none with a value) leaves a row
        with n = 0, which is no member of the family.

    Raises:
        ValueError: columns are missing; `reference`, `view`, `metric` or a number is not one that
            can be; see also `split_seeds`.
    """
    if view not in VIEWS:
        raise ValueError(f"view: expected one of {VIEWS}, got {view!r}")
    rules = _rules(
        metric, higher_is_better, margin, test_size, scores, diverged, constant, alpha, power
    )
    kept = _checked(summary, metric)
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
        shared, has = False, _has(runs, metric)
        if view == "best":
            split = split_seeds(runs, fixed)
            best = choose_rates(runs, fixed).set_index("loss")["candidates"]
            chosen = {loss: best.get(loss, ()) or (Trial(math.nan),) for loss in losses}
            sides, shared = _sides(runs[runs["seed"].isin(split.evaluation)], has), split.shared
            plan = [(a, chosen[a], b, chosen[b], split.two_stage) for a, b in pairs]
        else:
            sides = _sides(runs, has)
            own: dict[str, list[Trial]] = {loss: [] for loss in losses}
            for loss, trial in sorted(sides, key=lambda side: side[1].place):
                own[loss].append(trial)
            plan = [
                (a, (one,), b, (other,), False)
                for a, b in pairs
                for one in own[a]
                for other in own[b]
                if one.lr == other.lr
            ]
        family = []
        for a, trials_a, b, trials_b, two_stage in plan:
            sides_a, sides_b = (
                [sides.get((loss, one), _Side(loss, one, {}, has.get(loss, True))) for one in each]
                for loss, each in ((a, trials_a), (b, trials_b))
            )
            family.append(_row(sides_a, sides_b, view, epochs, two_stage, rules, runs))
        rows += _decided(family, shared, rules)
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(losses: list[str], subjects: list[str], all_pairs: bool) -> list[tuple[str, str]]:
    """(a, b) of every contrast; the reference is the first loss."""
    if subjects:
        others = [loss for loss in losses if loss not in subjects]
        return [(a, b) for i, a in enumerate(subjects) for b in [*others, *subjects[i + 1 :]]]
    return [
        (a, b) for i, b in enumerate(losses if all_pairs else losses[:1]) for a in losses[i + 1 :]
    ]


def same_loss_contrasts(
    summary_a: pd.DataFrame,
    summary_b: pd.DataFrame,
    *,
    metric: str = "test_accuracy",
    margin: float | None = None,
    test_size: int | None = None,
    scores: Scores | None = None,
    diverged: float = math.nan,
    constant: np.ndarray | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """An A/A comparison of each loss with itself on other seeds.

    Every "better" or "worse" there is false.

    One contrast per loss, rate and epochs that both frames have; seeds differ, so they are
    unpaired. Arguments, columns (`view` is "aa", a and b are the same name) and families as in
    `contrasts`.

    Raises:
        ValueError: the two frames have a seed in common.
    """
    rules = _rules(
        metric, higher_is_better, margin, test_size, scores, diverged, constant, alpha, power
    )
    runs_a, runs_b = _checked(summary_a, metric), _checked(summary_b, metric)
    common = sorted(set(runs_a["seed"]) & set(runs_b["seed"]))
    if common:
        raise ValueError(f"an A/A comparison needs two disjoint sets of seeds; both have {common}")
    rows: list[dict[str, Any]] = []
    for epochs in sorted(set(runs_a["epochs"]) & set(runs_b["epochs"]), reverse=True):
        kept = pd.concat([runs_a, runs_b])
        runs = kept[kept["epochs"] == epochs]
        has = _has(runs, metric)
        sides_a, sides_b = (
            _sides(each[each["epochs"] == epochs], has) for each in (runs_a, runs_b)
        )
        family = [
            _row([sides_a[key]], [sides_b[key]], "aa", epochs, False, rules, runs)
            for key in sorted(sides_a.keys() & sides_b.keys())
        ]
        rows += _decided(family, False, rules)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rules(
    metric: str,
    higher_is_better: bool | None,
    margin: float | None,
    test_size: int | None,
    scores: Scores | None,
    diverged: float,
    constant: np.ndarray | None,
    alpha: float,
    power: float,
) -> _Rules:
    for name, share in (("alpha", alpha), ("power", power)):
        if not 0 < share < 1:
            raise ValueError(f"{name}: expected a number between 0 and 1, got {share!r}")
    read = read_metric(metric, higher_is_better)
    step = read.one_example(test_size) or math.nan
    return _Rules(
        *(read, read.margin(margin, test_size), step, diverged, constant, alpha, power),
        scores or (lambda run_id: None),
    )


def _checked(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    check_columns(summary, [metric, "init_hash", "order_hash"])
    kept = newest_runs(summary)
    planned = kept["planned"].fillna(True).astype(bool) if "planned" in kept else True
    if "declared_missing" in kept:  # the declared seeds are tested once, when all are there
        planned &= kept["declared_missing"].fillna(0) == 0
    numbers = kept[metric].to_numpy(dtype=float, na_value=math.nan)
    return kept.assign(**{metric: numbers, "planned": planned})


def _has(runs: pd.DataFrame, metric: str) -> dict[str, bool]:
    """Whether the head of each loss has the metric.

    It has not when runs are ok and none of them has a value.
    """
    ok = runs[runs["outcome"] == "ok"]
    valued = set(ok.loc[ok[metric].abs() < math.inf, "loss"].astype(str))
    return {loss: loss in valued for loss in set(ok["loss"].astype(str))}


def _sides(kept: pd.DataFrame, has: Mapping[str, bool]) -> dict[tuple[str, Trial], _Side]:
    sides: dict[tuple[str, Trial], _Side] = {}
    for run, trial in zip(kept.to_dict("records"), trials(kept), strict=True):
        key = str(run["loss"]), trial
        side = sides.setdefault(key, _Side(*key, {}, has.get(key[0], True)))
        side.runs[int(run["seed"])] = run
    return sides


class _Usable(NamedTuple):
    """The runs of two sides that count, in the same order of seeds where they are paired."""

    a: _Runs
    b: _Runs
    pairing: str
    paired: bool
    trained: bool


def _usable(a: _Side, b: _Side, disjoint: bool, metric: str) -> _Usable:
    runs_a, runs_b = (
        {seed: run for seed, run in sorted(side.runs.items()) if not _lacking(side, seed, metric)}
        for side in (a, b)
    )
    trained = any(_ended_well(run) for side in (runs_a, runs_b) for run in side.values())
    if not trained:
        runs_a, runs_b = {}, {}  # there is nothing to compare
    pairing = "seeds are disjoint" if disjoint else _pairing(runs_a, runs_b)
    paired = pairing in (_PROVED, _NOTHING)
    if paired:
        common = sorted(runs_a.keys() & runs_b.keys())
        runs_a, runs_b = ({seed: side[seed] for seed in common} for side in (runs_a, runs_b))
    return _Usable(runs_a, runs_b, pairing, paired, trained)


def _row(
    sides_a: Sequence[_Side],
    sides_b: Sequence[_Side],
    view: str,
    epochs: int,
    two_stage: bool,
    rules: _Rules,
    runs: pd.DataFrame,
) -> dict[str, Any]:
    """One contrast without what depends on the others of its family.

    Args:
        sides_a: a in the trial it is shown in, then in the others that may be its best.
        sides_b: the same of b.
        view: as in `contrasts`.
        epochs: of all runs.
        two_stage: whether the evaluation seeds have runs at the chosen rates only.
        rules: of the call.
        runs: all of these epochs, those of tuning seeds too.
    """
    name = rules.metric.name
    disjoint = view == "aa"
    a, b = sides_a[0], sides_b[0]
    lost = [
        [
            Dropped(side.loss, side.lr, seed, reason)
            for seed in sorted(side.runs.keys() if disjoint else a.runs.keys() | b.runs.keys())
            if (reason := _lacking(side, seed, name))
        ]
        for side in (a, b)
    ]
    usable = _usable(a, b, disjoint, name)
    result = _compared(usable.a, usable.b, usable.paired, rules)
    counted: Sequence[_Runs] = (usable.a, usable.b)
    if not usable.trained:
        counted = [
            {seed: run for seed, run in side.runs.items() if not _lacking(side, seed, name)}
            for side in (a, b)
        ]
    diverged = [sum(not _ended_well(run) for run in side.values()) for side in counted]
    survivors = None
    if usable.trained and any(diverged):
        alive_a, alive_b = (
            {seed: run for seed, run in side.items() if _ended_well(run)} for side in counted
        )
        if usable.paired:
            both = alive_a.keys() & alive_b.keys()
            alive_a, alive_b = (
                {seed: run for seed, run in side.items() if seed in both}
                for side in (alive_a, alive_b)
            )
        survivors = _compared(alive_a, alive_b, usable.paired, rules)
    failed = [sum(drop.reason in ("failed", "killed") for drop in drops) for drops in lost]
    several = len(sides_a) * len(sides_b) > 1
    at_rates = {(a.trial, b.trial): (_side_of_zero(result), result.p_decides)}
    equivalence = [result.p_equivalence_decides]
    if several and not two_stage and result.n:
        for side_a in sides_a:
            for side_b in sides_b:
                if (side_a.trial, side_b.trial) not in at_rates:
                    direction, p, p_equivalence = _at_rates(side_a, side_b, disjoint, rules)
                    at_rates[side_a.trial, side_b.trial] = direction, p
                    equivalence.append(p_equivalence)
    weakest = max(at_rates, key=lambda rates: at_rates[rates][1] if result.n else 0.0)
    p_decides = at_rates[weakest][1]
    if len({direction for direction, _ in at_rates.values()}) > 1:
        p_decides = 1.0  # better at some rates, worse at others
    return {
        **{"view": view, "epochs": int(epochs), "metric": name, "unit": rules.metric.unit},
        **{"a": a.loss, "b": b.loss, "lr_a": a.lr, "lr_b": b.lr},
        **{"tuned_a": a.trial.tuned, "tuned_b": b.trial.tuned},
        **vars(result),
        **{"pairing": usable.pairing, "dropped": [*lost[0], *lost[1]], "margin": rules.margin},
        **{"diverged_a": diverged[0], "diverged_b": diverged[1]},
        **{"failed_a": failed[0], "failed_b": failed[1]},
        "survivors_n": survivors.n if survivors else 0,
        "survivors_difference": survivors.difference if survivors else math.nan,
        "survivors_low": survivors.low if survivors else math.nan,
        "survivors_high": survivors.high if survivors else math.nan,
        **{"combinations": len(at_rates), "weakest": [trial.lr for trial in weakest]},
        "weakest_tuned": [trial.tuned for trial in weakest],
        **{"at_these_rates": several and two_stage, "p_decides": p_decides},
        "p_equivalence_decides": max(equivalence),
        "lacking": "" if result.n else _why_nothing((a, b), view, runs),
        "outliers": _named(result, usable, a.loss, b.loss, rules.metric),
        "run_ids": [str(run["run_id"]) for side in usable[:2] for run in side.values()],
        "applies": a.has and b.has,
        "p_at_best": result.p_decides,
    }


def _ended_well(run: Mapping[str, Any]) -> bool:
    return run["outcome"] == "ok"


def _values(runs: Iterable[Any], rules: _Rules) -> Values:
    """The runs of a side; diverged ones count as `_Rules.diverged` says."""
    metric = rules.metric
    worst = -math.inf if metric.higher_is_better else math.inf
    for_diverged = worst if math.isnan(rules.diverged) else rules.diverged * metric.scale
    scores, images = [], []
    for run in runs:
        score, each = for_diverged, rules.constant
        if _ended_well(run):
            score, each = run[metric.name] * metric.scale, rules.scores(str(run["run_id"]))
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


def _both(a: _Runs, b: _Runs, rules: _Rules) -> tuple[Values, Values, bool]:
    """The values of both sides, and whether only their order can be compared."""
    x, y = _values(a.values(), rules), _values(b.values(), rules)
    if x.images is None or y.images is None or x.images.shape[1] != y.images.shape[1]:
        x, y = x._replace(images=None), y._replace(images=None)
    return x, y, bool(np.isinf(np.concatenate([x.scores, y.scores])).any())


def _compared(a: _Runs, b: _Runs, paired: bool, rules: _Rules) -> Contrast:
    """The contrast of the runs of two sides, paired by their order."""
    x, y, by_rank = _both(a, b, rules)
    how: Any = {"paired": paired, "higher_is_better": rules.metric.higher_is_better}
    how |= {"level": 1 - rules.alpha}
    if by_rank:
        return rank_contrast(x, y, **how)
    return contrast(x, y, **how, step=rules.step, margin=rules.margin)


def _side_of_zero(result: Contrast) -> float:
    """The direction of a contrast: 1, 0 or -1."""
    return float(
        np.sign(result.p_better - 0.5 if result.interval == "ranks" else result.difference)
    )


def _at_rates(a: _Side, b: _Side, disjoint: bool, rules: _Rules) -> tuple[float, float, float]:
    """Direction, p that decides, and the same of equivalence at another pair of rates."""
    usable = _usable(a, b, disjoint, rules.metric.name)
    if not usable.a or not usable.b:
        return 0.0, 1.0, 1.0
    x, y, by_rank = _both(usable.a, usable.b, rules)
    if by_rank:
        ranked = rank_contrast(
            x, y, paired=usable.paired, higher_is_better=rules.metric.higher_is_better
        )
        return _side_of_zero(ranked), ranked.p_decides, 1.0
    found = evidence(x, y, paired=usable.paired, step=rules.step, margin=rules.margin)
    direction = float(np.sign(found.found.difference))
    return direction, found.p_decides, found.p_equivalence_decides


def _named(result: Contrast, usable: _Usable, a: str, b: str, metric: Metric) -> list[str]:
    """The runs behind outlying seeds, in words: of a pair the one that is farther from its own."""
    sides = []
    for loss, runs in ((a, usable.a), (b, usable.b)):
        scores = np.array(
            [run[metric.name] if _ended_well(run) else math.nan for run in runs.values()]
        )
        middle = np.nanmedian(scores) if np.isfinite(scores).any() else math.nan
        sides.append(
            [
                (loss, seed, each, abs(each - middle))
                for seed, each in zip(runs, scores, strict=True)
            ]
        )
    texts = []
    for place in result.outliers:
        pool = [side[place] for side in sides] if result.paired else [[*sides[0], *sides[1]][place]]
        loss, seed, score, _ = max(pool, key=lambda run: math.inf if math.isnan(run[2]) else run[3])
        if not math.isnan(score):  # runs that diverged are counted anyway
            unit = " %" if metric.in_points else ""
            value = f"{score * metric.scale:.{metric.digits}f}{unit}"
            texts.append(f"seed {seed} of {plain(loss, 48)} ({value})")
    return texts


def _decided(family: list[dict[str, Any]], shared: bool, rules: _Rules) -> Iterator[dict[str, Any]]:
    """Complete the rows of one family: Holm's p, the verdict and what it would take."""
    tested = [row for row in family if row["applies"]]
    for name, adjusted in (
        ("p_decides", "p_holm"),
        ("p_at_best", "p_holm_at_best"),
        ("p_equivalence_decides", "p_equivalence_holm"),
    ):
        for row, p in zip(tested, holm([row[name] for row in tested]), strict=True):
            row[adjusted] = float(p)
    alpha = rules.alpha / max(len(tested), 1)
    for row in family:
        row |= {"family": len(tested), "shared_seeds": shared}
        for name in ("p_holm", "p_holm_at_best", "p_equivalence_holm"):
            row.setdefault(name, math.nan)
        at_best = _verdict(row, row["p_holm_at_best"], rules)
        row["verdict"] = _verdict(row, row["p_holm"], rules)
        distrusted = row["verdict"] in ("better", "worse") and not row["trusted"]
        if distrusted:
            row["verdict"] = "undecided"
        row["detectable"] = math.nan
        seeds = Seeds(math.nan, math.nan, math.nan)
        if row["n"] > 1:
            row["detectable"] = detectable_difference(
                row["error"], row["freedom"], alpha=two_way.PLANNED * alpha, power=rules.power
            )
            if row["verdict"] == "undecided" and row["n"] >= DECIDED_FROM:
                samples = 1 if row["paired"] else 2
                step = 0.0 if math.isnan(rules.step) else rules.step
                seeds = seeds_needed(
                    row["difference"],
                    max(row["sd"], step / math.sqrt(6 * samples)),
                    row["n"],
                    of_images=row["of_images"],
                    margin=rules.margin,
                    alpha=alpha,
                    power=rules.power,
                    samples=samples,
                )
        row["seeds_needed_low"], row["seeds_needed"], row["seeds_needed_high"] = seeds
        row["reason"] = ""
        if row["verdict"] == "undecided":
            row["reason"] = _reason(row, at_best, distrusted)
        yield row


def _verdict(row: Mapping[str, Any], p_holm: float, rules: _Rules) -> str:
    if row["interval"] == "ranks":
        return rank_verdict(p_holm, row["p_better"], alpha=rules.alpha)
    return verdict(
        row["low"],
        row["high"],
        p_holm,
        n=row["n"],
        p_equivalence=row["p_equivalence_holm"],
        margin=rules.margin,
        alpha=rules.alpha,
        higher_is_better=rules.metric.higher_is_better,
    )


def _reason(row: Mapping[str, Any], at_best: str, distrusted: bool) -> str:
    """Why a contrast is undecided."""
    if row["n"] < 2:
        return "one seed" if row["n"] else "nothing to compare"
    if distrusted:
        return "not to be trusted"
    if at_best in ("better", "worse") and row["trusted"]:
        return "rates"
    return "too close to tell" if math.isinf(row["seeds_needed"]) else "too few seeds"


_PROVED = "hashes equal"
_NOTHING = "nothing to pair"


def _pairing(usable_a: _Runs, usable_b: _Runs) -> str:
    """Why the runs of two sides are pairs, or are not."""
    if not (usable_a and usable_b):
        return _NOTHING
    common = sorted(usable_a.keys() & usable_b.keys())
    if not common:
        return "no seed in common"
    differ: dict[str, list[int]] = {}
    for seed in common:
        for name in ("init_hash", "order_hash"):
            one, other = usable_a[seed][name], usable_b[seed][name]
            if not (isinstance(one, str) and one and isinstance(other, str) and other):
                differ.setdefault(f"{name} not recorded", []).append(seed)
            elif one != other:
                differ.setdefault(f"{name} differs", []).append(seed)
    if not differ:
        return _PROVED
    return "; ".join(
        f"{what} at seed {', '.join(map(str, seeds))}" for what, seeds in differ.items()
    )


def _lacking(side: _Side, seed: int, metric: str) -> str:
    """Why a side has nothing to count at a seed, or nothing."""
    if math.isnan(side.lr):
        return "no rate"
    run = side.runs.get(seed)
    if run is None:
        return "missing"
    if run["outcome"] not in FINISHED:
        return str(run["outcome"])
    valued = side.has and (run["outcome"] == "diverged" or math.isfinite(run[metric]))
    return "" if valued else "no value"


def _why_nothing(sides: Iterable[_Side], view: str, runs: pd.DataFrame) -> str:
    """How the runs of each side ended that has no run that ended well.

    For example "all 2 runs of mse diverged".
    """
    texts = []
    for side in sides:
        name, tried = plain(side.loss, 48), runs[runs["loss"].astype(str) == side.loss]
        if view != "best":  # at its other rates the loss may have done well
            name = f"{name} at learning rate {side.lr:g}"
            tried = tried[(tried["lr"] == side.lr) & (tried["tuned"] == side.trial.tuned)]
        texts.append(_ended(side, name, [str(outcome) for outcome in tried["outcome"]]))
    return " and ".join(dict.fromkeys(text for text in texts if text))


def _ended(side: _Side, name: str, outcomes: list[str]) -> str:
    """How a side's runs ended; "" when some that count ended well.

    outcomes: those of all runs of its loss.
    """
    at_rate = [str(run["outcome"]) for run in side.runs.values()]
    if "ok" in at_rate:
        return ""
    if not outcomes:
        return f"there are no runs of {name}"
    if "ok" not in outcomes:
        return ended_badly(outcomes, f"of {name}")
    if math.isnan(side.lr):
        return f"no run of {name} on tuning seeds finished, so it has no learning rate"
    if not at_rate:
        return f"no evaluation seed has a run of {name} at its learning rate {side.lr:g}"
    return ended_badly(at_rate, f"of {name} on evaluation seeds at its learning rate {side.lr:g}")
