"""Every loss against the baseline: families of contrasts, from a frame of runs to a frame of verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pandas as pd

from reports.metrics import Metric, read_metric
from reports.names import plain
from reports.stats.cells import check_columns, ended_badly, one_run_per_cell
from reports.stats.intervals import RESAMPLES, named_generator
from reports.stats.power import detectable_difference, seeds_needed
from reports.stats.significance import holm
from reports.stats.tuning import choose_rates, split_seeds
from reports.stats.verdicts import contrast, verdict

VIEWS = ("best", "equal")

COLUMNS = [
    *("view", "epochs", "metric", "unit", "a", "b", "lr_a", "lr_b"),
    *("n", "n_a", "n_b", "paired", "pairing", "shared_seeds", "dropped", "lacking"),
    *("difference", "low", "high", "interval", "sd", "p", "p_holm", "family", "d_z"),
    *("p_better", "p_better_low", "p_better_high"),
    *("margin", "verdict", "detectable", "seeds_needed", "run_ids"),
]


class Dropped(NamedTuple):
    """A run a contrast lacks.

    `reason`: missing, diverged, failed, killed, no value (of the metric), or no rate (none could be chosen,
    since no tuning seed has a score).
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
    alpha: float
    power: float
    seed: int
    resamples: int


_Runs = dict[int, Any]  # the runs of one loss at one rate, by seed


class _Side(NamedTuple):
    loss: str
    lr: float
    runs: _Runs


def contrasts(
    summary: pd.DataFrame,
    *,
    baseline: str = "ce",
    metric: str = "test_accuracy",
    view: str = "best",
    all_pairs: bool = False,
    subjects: Sequence[str] = (),
    tuning_seeds: Iterable[int] | None = None,
    rope: float | None = None,
    test_size: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare losses over the seeds they share.

    View "best": each loss at the rate `choose_rates` gives it, judged on the seeds `split_seeds` leaves for
    that. View "equal": each loss against the baseline at every rate both have, on all seeds, since nothing is
    chosen. All contrasts of one view at one value of epochs are one family for Holm.

    A pair counts when both runs are ok, have the metric, and carry equal `init_hash` and `order_hash`. Where
    hashes differ or are not recorded, or no seed is common to both sides, the whole contrast is analysed as
    unpaired, with all ok runs of either side; `pairing` says why. Runs that are lacking are listed in
    `dropped`.

    Args:
        summary: runs of one setting (see `reports.stats.cells`).
        baseline: b of every contrast; with `all_pairs` every two losses are compared, the baseline still as
            b.
        subjects: losses each of which is compared, as a, with every other loss, whatever the baseline.
        metric: a column; shares are compared in percentage points, others in their own unit.
        tuning_seeds: as in `split_seeds`, at each value of epochs; for the view "best".
        rope: margin of equivalence in the unit of the difference; None: 0.1 points for accuracies, else no
            margin.
        test_size: test examples that the metric counts: the margin of an accuracy is at least one of them.
        alpha: of Holm's p; intervals have level 1 - alpha.
        power: for `detectable` and `seeds_needed`.
        higher_is_better: for metrics that `read_metric` does not know.
        seed: of resamples; each contrast has its own, which do not depend on what else is compared.
        resamples: at least; more are drawn for families so large that fewer could not reach alpha.

    Returns:
        A row per contrast, the largest epochs first, with the columns `COLUMNS`:

        * view, epochs, metric, `unit` ("points" or ""), a, b, `lr_a`, `lr_b` (NaN: none could be chosen);
        * `n` (pairs, or the smaller side), `n_a`, `n_b`, `paired`, `pairing` (why, or why not),
          `shared_seeds` (rates chosen and losses judged on the same), `dropped` (list of `Dropped`),
          `lacking` (where n = 0: which runs ended how, in words; "" where they ended well and have no value);
        * `difference` (a minus b, in `unit`), `low`, `high`, `interval`, `sd`, `p`, `d_z`, `p_better` and its
          interval, as in `Contrast`; `p_holm`; `family` (contrasts Holm adjusts for);
        * `margin` (NaN: none), `verdict` (speaks of a), `detectable` (in `unit`, with the test at alpha /
          family; infinite where n is too small for any), `seeds_needed` (of undecided contrasts, else NaN;
          infinite above 10,000, NaN without a spread to go by), `run_ids` (list: runs of a, then of b).

        A metric that the head of a loss does not have (ok runs, none with a value) leaves a row with n = 0,
        which is no member of the family.

    Raises:
        ValueError: columns are missing; `baseline`, `view`, `metric` or a number is not one that can be; see
            also `split_seeds`.
    """
    if view not in VIEWS:
        raise ValueError(f"view: expected one of {VIEWS}, got {view!r}")
    rules = _rules(metric, higher_is_better, rope, test_size, alpha, power, seed, resamples)
    cells = _checked(summary, metric)
    losses = sorted(str(loss) for loss in cells["loss"].unique())
    if baseline in losses:
        losses.remove(baseline)
        losses.insert(0, baseline)
    elif losses and not all_pairs and not subjects:
        raise ValueError(f"baseline: no run has the loss {baseline!r}; there are {losses}")
    pairs = _pairs(
        losses, [] if all_pairs else [loss for loss in subjects if loss in losses], all_pairs
    )
    fixed = None if tuning_seeds is None else tuple(tuning_seeds)
    rows: list[dict[str, Any]] = []
    for epochs, runs in sorted(cells.groupby("epochs"), reverse=True):
        shared = False
        if view == "best":
            split = split_seeds(runs, fixed)
            best = choose_rates(runs, fixed).set_index("loss")["lr"]
            rates = {loss: float(best.get(loss, math.nan)) for loss in losses}
            sides, shared = _sides(runs[runs["seed"].isin(split.judging)]), split.shared
            plan = [(a, rates[a], b, rates[b]) for a, b in pairs]
        else:
            sides = _sides(runs)
            grid = sorted(set(runs["lr"]))
            plan = [
                (a, lr, b, lr)
                for a, b in pairs
                for lr in grid
                if (a, lr) in sides and (b, lr) in sides
            ]
        family = [
            _row(_side(sides, a, lr_a), _side(sides, b, lr_b), view, epochs, len(plan), rules, runs)
            for a, lr_a, b, lr_b in plan
        ]
        rows += _judged(family, shared, rules)
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(losses: list[str], subjects: list[str], all_pairs: bool) -> list[tuple[str, str]]:
    """(a, b) of every contrast; the baseline is the first loss."""
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
    alpha: float = 0.05,
    power: float = 0.8,
    higher_is_better: bool | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """An A/A comparison: each loss against itself on other seeds, where every "better" or "worse" is false.

    One contrast per loss, rate and epochs that both frames have; seeds differ, so they are unpaired.
    Arguments, columns (`view` is "aa", a and b are the same name) and families as in `contrasts`.

    Raises:
        ValueError: the two frames have a seed in common.
    """
    rules = _rules(metric, higher_is_better, rope, test_size, alpha, power, seed, resamples)
    cells_a, cells_b = _checked(summary_a, metric), _checked(summary_b, metric)
    common = sorted(set(cells_a["seed"]) & set(cells_b["seed"]))
    if common:
        raise ValueError(f"an A/A comparison needs two disjoint sets of seeds; both have {common}")
    rows: list[dict[str, Any]] = []
    for epochs in sorted(set(cells_a["epochs"]) & set(cells_b["epochs"]), reverse=True):
        sides_a, sides_b = (
            _sides(cells[cells["epochs"] == epochs]) for cells in (cells_a, cells_b)
        )
        plan = sorted(sides_a.keys() & sides_b.keys())
        cells = pd.concat([cells_a, cells_b])
        runs = cells[cells["epochs"] == epochs]
        family = [
            _row(sides_a[key], sides_b[key], "aa", epochs, len(plan), rules, runs) for key in plan
        ]
        rows += _judged(family, False, rules)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rules(
    metric: str,
    higher_is_better: bool | None,
    rope: float | None,
    test_size: int | None,
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
    return _Rules(read, read.margin(rope, test_size), alpha, power, seed, resamples)


def _checked(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    check_columns(summary, [metric, "init_hash", "order_hash"])
    cells = one_run_per_cell(summary)
    return cells.assign(**{metric: cells[metric].to_numpy(dtype=float, na_value=math.nan)})


def _sides(cells: pd.DataFrame) -> dict[tuple[str, float], _Side]:
    sides: dict[tuple[str, float], _Side] = {}
    for run in cells.to_dict("records"):
        key = str(run["loss"]), float(run["lr"])
        sides.setdefault(key, _Side(*key, {})).runs[int(run["seed"])] = run
    return sides


def _side(sides: dict[tuple[str, float], _Side], loss: str, lr: float) -> _Side:
    return sides.get((loss, lr), _Side(loss, lr, {}))


def _row(
    a: _Side, b: _Side, view: str, epochs: int, family: int, rules: _Rules, runs: pd.DataFrame
) -> dict[str, Any]:
    """One contrast without what depends on the others of its family; `runs`: all of these epochs, those that choose too."""
    name = rules.metric.name
    disjoint = view == "aa"
    dropped = [
        Dropped(side.loss, side.lr, seed, reason)
        for side in (a, b)
        for seed in sorted(side.runs.keys() if disjoint else a.runs.keys() | b.runs.keys())
        if (reason := _lacking(side, seed, name))
    ]
    usable_a, usable_b = (
        {seed: run for seed, run in sorted(side.runs.items()) if not _lacking(side, seed, name)}
        for side in (a, b)
    )
    pairing = "seeds are disjoint" if disjoint else _pairing(usable_a, usable_b)
    paired = pairing in (_PROVED, _NOTHING)
    if paired:
        common = sorted(usable_a.keys() & usable_b.keys())
        usable_a, usable_b = (
            {seed: side[seed] for seed in common} for side in (usable_a, usable_b)
        )
    values_a, values_b = (
        [run[name] * rules.metric.scale for run in side.values()] for side in (usable_a, usable_b)
    )
    result = contrast(
        values_a,
        values_b,
        named_generator(rules.seed, "contrast", view, epochs, name, a.loss, a.lr, b.loss, b.lr),
        paired=paired,
        higher_is_better=rules.metric.higher_is_better,
        level=1 - rules.alpha,
        # A sampled test cannot go below 1 / (resamples + 1), which has to be well below alpha / family.
        resamples=max(rules.resamples, math.ceil(10 * family / rules.alpha) - 1),
    )
    return {
        **{"view": view, "epochs": int(epochs), "metric": name, "unit": rules.metric.unit},
        **{"a": a.loss, "b": b.loss, "lr_a": a.lr, "lr_b": b.lr},
        **asdict(result),
        **{"pairing": pairing, "dropped": dropped, "margin": rules.margin},
        "lacking": "" if result.n else _why_nothing((a, b), view, runs),
        "run_ids": [str(run["run_id"]) for side in (usable_a, usable_b) for run in side.values()],
        "applies": _applies(a, name) and _applies(b, name),
    }


def _judged(family: list[dict[str, Any]], shared: bool, rules: _Rules) -> Iterator[dict[str, Any]]:
    """Complete the rows of one family: Holm's p, the verdict and what it would take."""
    tested = [row for row in family if row["applies"]]
    adjusted = iter(holm([row["p"] for row in tested]))
    for row in family:
        row["family"] = len(tested)
        row["shared_seeds"] = shared
        row["p_holm"] = float(next(adjusted)) if row.pop("applies") else math.nan
        row["verdict"] = verdict(
            row["low"],
            row["high"],
            row["p_holm"],
            margin=rules.margin,
            alpha=rules.alpha,
            higher_is_better=rules.metric.higher_is_better,
        )
        alpha, samples = rules.alpha / max(len(tested), 1), 1 if row["paired"] else 2
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
                level=1 - rules.alpha,
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
    if run["outcome"] != "ok":
        return str(run["outcome"])
    return "" if math.isfinite(run[metric]) else "no value"


def _why_nothing(sides: Iterable[_Side], view: str, runs: pd.DataFrame) -> str:
    """Of the sides without a run that ended well, what became of theirs: all 2 runs of mse diverged."""
    texts = []
    for side in sides:
        name, tried = plain(side.loss, 48), runs[runs["loss"].astype(str) == side.loss]
        if view != "best":  # at its other rates the loss may have done well
            name, tried = f"{name} at learning rate {side.lr:g}", tried[tried["lr"] == side.lr]
        texts.append(_ended(side, name, [str(outcome) for outcome in tried["outcome"]]))
    return " and ".join(dict.fromkeys(text for text in texts if text))


def _ended(side: _Side, name: str, outcomes: list[str]) -> str:
    """What became of a side's runs, `outcomes` being those of all of its loss; "" when some that count ended well."""
    at_rate = [str(run["outcome"]) for run in side.runs.values()]
    if "ok" in at_rate:
        return ""
    if not outcomes:
        return f"there are no runs of {name}"
    if "ok" not in outcomes:
        return ended_badly(outcomes, f"of {name}")
    if math.isnan(side.lr):
        return (
            f"no run of {name} that chooses has a validation accuracy, so it has no learning rate"
        )
    if not at_rate:
        return f"no run of {name} at its learning rate {side.lr:g} judges"
    return ended_badly(at_rate, f"of {name} on judging seeds at its learning rate {side.lr:g}")


def _applies(side: _Side, metric: str) -> bool:
    """Whether the head has this metric: not when runs are ok and none of them has a value."""
    ok = [run for run in side.runs.values() if run["outcome"] == "ok"]
    return not ok or any(math.isfinite(run[metric]) for run in ok)
