"""Families of contrasts of the losses with the reference, from runs to verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pandas as pd

from reports.metrics import Metric, read_metric
from reports.names import plain
from reports.stats.intervals import RESAMPLES, named_generator
from reports.stats.power import detectable_difference, seeds_needed
from reports.stats.runs import FINISHED, check_columns, ended_badly, newest_runs
from reports.stats.significance import holm
from reports.stats.tuning import choose_rates, split_seeds
from reports.stats.verdicts import Contrast, contrast, rank_contrast, rank_verdict, verdict

VIEWS = ("best", "equal")

COLUMNS = [
    *("view", "epochs", "metric", "unit", "a", "b", "lr_a", "lr_b"),
    *("n", "n_a", "n_b", "paired", "pairing", "shared_seeds", "dropped", "lacking"),
    *("diverged_a", "diverged_b", "failed_a", "failed_b"),
    *("survivors_n", "survivors_difference", "survivors_low", "survivors_high"),
    *("difference", "low", "high", "interval", "sd", "p", "p_holm", "family", "d_z"),
    *("p_better", "p_better_low", "p_better_high"),
    *(
        "p_equivalence",
        "p_equivalence_holm",
        "margin",
        "verdict",
        "detectable",
        "seeds_needed",
        "run_ids",
    ),
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
    alpha: float
    power: float
    seed: int
    resamples: int


_Runs = dict[int, Any]  # the runs of one loss at one rate, by seed


class _Side(NamedTuple):
    """A loss at one rate. has: whether its head has the metric."""

    loss: str
    lr: float
    runs: _Runs
    has: bool


def contrasts(
    summary: pd.DataFrame,
    *,
    reference: str = "ce",
    metric: str = "test_accuracy",
    view: str = "best",
    all_pairs: bool = False,
    subjects: Sequence[str] = (),
    tuning_seeds: Iterable[int] | None = None,
    rope: float | None = None,
    test_size: int | None = None,
    diverged: float = math.nan,
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare losses over the seeds they share.

    View "best": each loss at the rate `choose_rates` gives it, on the evaluation seeds of
    `split_seeds`. View "equal": each loss against the reference at every rate both have, on all
    seeds, since nothing is chosen. All contrasts of one view at one value of epochs are one family
    for Holm.

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
        summary: runs of one setting (see `reports.stats.runs`).
        reference: b of every contrast.
        metric: a column; shares are compared in percentage points, others in their own unit.
        view: "best" or "equal", as above.
        all_pairs: whether every two losses are compared, the reference still as b.
        subjects: losses each of which is compared, as a, with every other loss, whatever the
            baseline.
        tuning_seeds: as in `split_seeds`, at each value of epochs; for the view "best".
        rope: margin of equivalence in the unit of the difference; None: for accuracies 0.1 points
            or two test examples, whichever is larger, else no margin.
        test_size: test examples that the metric counts: the margin of an accuracy is at least one
            of them, and intervals are at least as wide as rounding to one makes them.
        diverged: what a diverged run counts with: the accuracy, in [0, 1], of the best constant
            answer; NaN where that is not known or the metric has none.
        alpha: of Holm's p; intervals have level 1 - alpha.
        power: for `detectable` and `seeds_needed`.
        higher_is_better: for metrics that `read_metric` does not know.
        seed: of resamples; each contrast has its own, which do not depend on what else is compared.
        resamples: at least; more are drawn for families so large that fewer could not reach alpha.

    Returns:
        A row per contrast, the largest epochs first, with the columns `COLUMNS`:

        * view, epochs, metric, `unit` ("points" or ""), a, b, `lr_a`, `lr_b` (NaN: none could be
          chosen);
        * `n` (pairs, or the smaller side), `n_a`, `n_b`, `paired`, `pairing` (why, or why not),
          `shared_seeds` (some tuning seeds are evaluated, too), `dropped` (list of `Dropped`),
          `lacking` (where n = 0: which runs ended how, in words; "" where they ended well and have
          no value);
        * `diverged_a`, `diverged_b` (of the n_a and n_b runs; where no run of either loss ended
          well, n_a and n_b are 0, and these count all that diverged), `failed_a`, `failed_b`
          (failed or killed, not counted), `survivors_n`, `survivors_difference`, `survivors_low`,
          `survivors_high` (the same contrast of the runs that did not diverge; NaN and 0 where none
          diverged);
        * `difference` (a minus b, in `unit`), `low`, `high`, `interval`, `sd`, `p`, `d_z`,
          `p_better` and its interval, as in `Contrast`; `p_holm`, `p_equivalence_holm`; `family`
          (contrasts Holm adjusts for);
        * `margin` (NaN: none), `verdict` (speaks of a), `detectable` (in `unit`, with the test at
          alpha / family; infinite where n is too small for any), `seeds_needed` (of undecided
          contrasts, else NaN; infinite above 10,000, NaN without a spread to go by), `run_ids`
          (list: runs of a, then of b).

        A metric that the head of a loss does not have (ok runs, none with a value) leaves a row
        with n = 0, which is no member of the family.

    Raises:
        ValueError: columns are missing; `reference`, `view`, `metric` or a number is not one that
            can be; see also `split_seeds`.
    """
    if view not in VIEWS:
        raise ValueError(f"view: expected one of {VIEWS}, got {view!r}")
    rules = _rules(
        metric, higher_is_better, rope, test_size, diverged, alpha, power, seed, resamples
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
            best = choose_rates(runs, fixed).set_index("loss")["lr"]
            rates = {loss: float(best.get(loss, math.nan)) for loss in losses}
            evaluated = runs[runs["seed"].isin(split.evaluation)]
            sides, shared = _sides(evaluated, has), split.shared
            plan = [(a, rates[a], b, rates[b]) for a, b in pairs]
        else:
            sides = _sides(runs, has)
            grid = sorted(set(runs["lr"]))
            plan = [
                (a, lr, b, lr)
                for a, b in pairs
                for lr in grid
                if (a, lr) in sides and (b, lr) in sides
            ]
        family = [
            _row(
                sides.get((a, lr_a), _Side(a, lr_a, {}, has.get(a, True))),
                sides.get((b, lr_b), _Side(b, lr_b, {}, has.get(b, True))),
                view,
                epochs,
                len(plan),
                rules,
                runs,
            )
            for a, lr_a, b, lr_b in plan
        ]
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
    rope: float | None = None,
    test_size: int | None = None,
    diverged: float = math.nan,
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
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
        metric, higher_is_better, rope, test_size, diverged, alpha, power, seed, resamples
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
        plan = sorted(sides_a.keys() & sides_b.keys())
        family = [
            _row(sides_a[key], sides_b[key], "aa", epochs, len(plan), rules, runs) for key in plan
        ]
        rows += _decided(family, False, rules)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rules(
    metric: str,
    higher_is_better: bool | None,
    rope: float | None,
    test_size: int | None,
    diverged: float,
    alpha: float,
    power: float,
    seed: int,
    resamples: int,
) -> _Rules:
    for name, share in (("alpha", alpha), ("power", power)):
        if not 0 < share < 1:
            raise ValueError(f"{name}: expected a number between 0 and 1, got {share!r}")
    if resamples < 99:
        raise ValueError(f"resamples: expected at least 99, got {resamples!r}")
    read = read_metric(metric, higher_is_better)
    step = read.one_example(test_size) or math.nan
    margin = read.margin(rope, test_size)
    return _Rules(read, margin, step, diverged, alpha, power, seed, resamples)


def _checked(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    check_columns(summary, [metric, "init_hash", "order_hash"])
    kept = newest_runs(summary)
    return kept.assign(**{metric: kept[metric].to_numpy(dtype=float, na_value=math.nan)})


def _has(runs: pd.DataFrame, metric: str) -> dict[str, bool]:
    """Whether the head of each loss has the metric.

    It has not when runs are ok and none of them has a value.
    """
    ok = runs[runs["outcome"] == "ok"]
    valued = set(ok.loc[ok[metric].abs() < math.inf, "loss"].astype(str))
    return {loss: loss in valued for loss in set(ok["loss"].astype(str))}


def _sides(kept: pd.DataFrame, has: Mapping[str, bool]) -> dict[tuple[str, float], _Side]:
    sides: dict[tuple[str, float], _Side] = {}
    for run in kept.to_dict("records"):
        key = str(run["loss"]), float(run["lr"])
        side = sides.setdefault(key, _Side(*key, {}, has.get(key[0], True)))
        side.runs[int(run["seed"])] = run
    return sides


def _row(
    a: _Side, b: _Side, view: str, epochs: int, family: int, rules: _Rules, runs: pd.DataFrame
) -> dict[str, Any]:
    """One contrast without what depends on the others of its family.

    `runs`: all of these epochs, those of tuning seeds too.
    """
    name = rules.metric.name
    disjoint = view == "aa"
    lost = [
        [
            Dropped(side.loss, side.lr, seed, reason)
            for seed in sorted(side.runs.keys() if disjoint else a.runs.keys() | b.runs.keys())
            if (reason := _lacking(side, seed, name))
        ]
        for side in (a, b)
    ]
    usable_a, usable_b = (
        {seed: run for seed, run in sorted(side.runs.items()) if not _lacking(side, seed, name)}
        for side in (a, b)
    )
    every = usable_a, usable_b
    trained = any(_ended_well(run) for side in every for run in side.values())
    if not trained:
        usable_a, usable_b = {}, {}  # there is nothing to compare
    pairing = "seeds are disjoint" if disjoint else _pairing(usable_a, usable_b)
    paired = pairing in (_PROVED, _NOTHING)
    if paired:
        common = sorted(usable_a.keys() & usable_b.keys())
        usable_a, usable_b = (
            {seed: side[seed] for seed in common} for side in (usable_a, usable_b)
        )
    # A sampled test cannot go below 1 / (resamples + 1), which has to be well below alpha / family.
    resamples = max(rules.resamples, math.ceil(10 * family / rules.alpha) - 1)
    names = (view, epochs, name, a.loss, a.lr, b.loss, b.lr)
    result = _compared(usable_a, usable_b, paired, rules, resamples, "contrast", *names)
    counted = (usable_a, usable_b) if trained else every
    diverged = [sum(not _ended_well(run) for run in side.values()) for side in counted]
    survivors = None
    if trained and any(diverged):
        alive_a, alive_b = (
            {seed: run for seed, run in side.items() if _ended_well(run)}
            for side in (usable_a, usable_b)
        )
        if paired:
            both = alive_a.keys() & alive_b.keys()
            alive_a, alive_b = (
                {seed: run for seed, run in side.items() if seed in both}
                for side in (alive_a, alive_b)
            )
        survivors = _compared(alive_a, alive_b, paired, rules, resamples, "survivors", *names)
    failed = [sum(drop.reason in ("failed", "killed") for drop in drops) for drops in lost]
    return {
        **{"view": view, "epochs": int(epochs), "metric": name, "unit": rules.metric.unit},
        **{"a": a.loss, "b": b.loss, "lr_a": a.lr, "lr_b": b.lr},
        **asdict(result),
        **{"pairing": pairing, "dropped": [*lost[0], *lost[1]], "margin": rules.margin},
        **{"diverged_a": diverged[0], "diverged_b": diverged[1]},
        **{"failed_a": failed[0], "failed_b": failed[1]},
        "survivors_n": survivors.n if survivors else 0,
        "survivors_difference": survivors.difference if survivors else math.nan,
        "survivors_low": survivors.low if survivors else math.nan,
        "survivors_high": survivors.high if survivors else math.nan,
        "lacking": "" if result.n else _why_nothing((a, b), view, runs),
        "run_ids": [str(run["run_id"]) for side in (usable_a, usable_b) for run in side.values()],
        "applies": a.has and b.has,
    }


def _ended_well(run: Mapping[str, Any]) -> bool:
    return run["outcome"] == "ok"


def _compared(
    a: _Runs, b: _Runs, paired: bool, rules: _Rules, resamples: int, *names: object
) -> Contrast:
    """The contrast of the runs of two sides, paired by their order.

    Diverged runs count as `_Rules.diverged` says.
    """
    metric, rng = rules.metric, named_generator(rules.seed, *names)
    worst = -math.inf if metric.higher_is_better else math.inf
    for_diverged = worst if math.isnan(rules.diverged) else rules.diverged * metric.scale
    x, y = (
        [run[metric.name] * metric.scale if _ended_well(run) else for_diverged for run in each]
        for each in (a.values(), b.values())
    )
    how: Any = {"paired": paired, "higher_is_better": metric.higher_is_better}
    how |= {"level": 1 - rules.alpha, "resamples": resamples}
    if math.inf in (abs(value) for value in x + y):
        return rank_contrast(x, y, rng, **how)
    return contrast(x, y, rng, **how, step=rules.step, margin=rules.margin)


def _decided(family: list[dict[str, Any]], shared: bool, rules: _Rules) -> Iterator[dict[str, Any]]:
    """Complete the rows of one family: Holm's p, the verdict and what it would take."""
    tested = [row for row in family if row["applies"]]
    adjusted = iter(holm([row["p"] for row in tested]))
    equivalent = iter(holm([row["p_equivalence"] for row in tested]))
    alpha = rules.alpha / max(len(tested), 1)
    for row in family:
        row["family"] = len(tested)
        row["shared_seeds"] = shared
        applies = row.pop("applies")
        row["p_holm"] = float(next(adjusted)) if applies else math.nan
        row["p_equivalence_holm"] = float(next(equivalent)) if applies else math.nan
        if row["interval"] == "ranks":
            row["verdict"] = rank_verdict(row["p_holm"], row["p_better"], alpha=rules.alpha)
        else:
            row["verdict"] = verdict(
                row["low"],
                row["high"],
                row["p_holm"],
                n=row["n"],
                p_equivalence=row["p_equivalence_holm"],
                margin=rules.margin,
                alpha=rules.alpha,
                higher_is_better=rules.metric.higher_is_better,
            )
        samples = 1 if row["paired"] else 2
        row["detectable"] = detectable_difference(
            row["n"], row["sd"], alpha=alpha, power=rules.power, samples=samples
        )
        row["seeds_needed"] = math.nan
        if row["verdict"] == "undecided":
            row["seeds_needed"] = seeds_needed(
                row["difference"],
                row["sd"],
                margin=rules.margin,
                alpha=alpha,
                level=1 - min(rules.alpha, 2 * alpha),
                power=rules.power,
                samples=samples,
                at_least=row["n"] + 1,
            )
        yield row


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
    """How the runs of the sides ended of which none ended well.

    For example "all 2 runs of mse diverged".
    """
    texts = []
    for side in sides:
        name, tried = plain(side.loss, 48), runs[runs["loss"].astype(str) == side.loss]
        if view != "best":  # at its other rates the loss may have done well
            name, tried = f"{name} at learning rate {side.lr:g}", tried[tried["lr"] == side.lr]
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
