"""The tables of a section, from its frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reports.analysis import Section
from reports.metrics import Metric
from reports.names import counted
from reports.page.table import Cell, Table, count, name_cell, number, probability, with_interval
from reports.secondary_metrics import FURTHER, LIKELIHOOD, Measure
from reports.stats import budget
from reports.verdicts import upper_first

MOST_TRIALS = 8  # columns of the table; the last one is shown as well


def last_epoch(section: Section) -> Table:
    """Each loss's accuracy after the last epoch: what even one seed gives."""
    rows = [
        [
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            count(row.runs),
            with_interval(row.val_accuracy, row.val_accuracy_low, row.val_accuracy_high, scale=100),
            with_interval(
                row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high, scale=100
            ),
        ]
        for row in section.best[section.best["loss"].isin(section.shown)].itertuples()
    ]
    return Table(
        "accuracy",
        f"Accuracy after {counted(section.epochs, 'epoch')}, {section.at_rates}"
        + (
            ", with 95 % intervals of the mean."
            if section.evaluated_seeds > 1
            else "; one seed has no interval."
        ),
        ["loss", "learning rate", "runs", "validation accuracy (%)", "test accuracy (%)"],
        ["loss", "lr", "runs", "val_accuracy_percent", "test_accuracy_percent"],
        rows,
    )


def best(section: Section) -> Table:
    """Everything per loss at its own best rate."""
    frame = section.best[section.best["loss"].isin(section.shown)]
    measures = _measured(frame, LIKELIHOOD)
    headings = ["loss", "learning rate", "validation (%)", "test (%)"]
    keys = ["loss", "lr", "val_accuracy_percent", "test_accuracy_percent"]
    keys += ["test_accuracy_percent_low", "test_accuracy_percent_high"]
    rows = []
    for row in frame.to_dict("records"):
        edge = {"low": ", lowest", "high": ", highest"}.get(row["edge"], "")
        cells = [
            name_cell(row["loss"]),
            number(row["lr"], 0)._replace(text=rate(row["lr"]) + edge),
            _of(number(row["val_accuracy"], scale=100), row["val_accuracy_n"], row["runs"]),
            _of(
                with_interval(
                    *(row[f"test_accuracy{end}"] for end in ("", "_low", "_high")), scale=100
                ),
                row["test_accuracy_n"],
                row["runs"],
            ),
            number(row["test_accuracy_low"], scale=100),
            number(row["test_accuracy_high"], scale=100),
        ]
        cells += [
            *(_value(row, measure) for measure in measures),
            number(row["epoch_seconds"]),
            count(row["runs"]),
            count(row["diverged"]),
        ]
        rows.append(cells)
    headings += [
        "low",
        "high",
        *(measure.words for measure in measures),
        "s / epoch",
        "runs",
        "diverged",
    ]
    keys += [_key(measure) for measure in measures]
    keys += ["seconds_per_epoch", "runs", "diverged"]
    caption = (
        f"{upper_first(section.at_rates)}, means over its judged runs"
        + (" (test accuracy with its 95 % interval)" if section.evaluated_seeds > 1 else "")
        + ". ECE: 15 bins, before and after temperature scaling fitted on validation. n/a: this "
        "loss's head gives no "
        "probabilities, or its runs have no such number. Diverged runs are counted over all "
        "learning rates and lengths."
    )
    return Table("losses", caption, headings, keys, rows, only_csv=keys[4:6])


def judged(section: Section) -> Table | None:
    """The metric that decides, with its intervals.

    It is None for the test accuracy, which `best` has.
    """
    metric = section.metric
    if metric.name == "test_accuracy":
        return None
    means = section.means[section.means["epochs"] == section.epochs].set_index("loss")
    rows = [
        [
            name_cell(row.Index),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            *_mean(row, metric),
            count(row.n),
        ]
        for row in means.reindex(
            [loss for loss in section.shown if loss in means.index]
        ).itertuples()
    ]
    better = "higher" if metric.higher_is_better else "lower"
    caption = (
        f"What decides: {metric.words}, {section.at_rates}, mean over the judged runs; {better} "
        "is better."
        + (
            f" n/a: its runs have none; there is one only {metric.there}."
            if (means["n"] == 0).any() and metric.there
            else ""
        )
    )
    keys = ["loss", "lr", metric.key, f"{metric.key}_low", f"{metric.key}_high", "runs"]
    headings = ["loss", "learning rate", metric.label, "low", "high", "runs"]
    return Table("metric", caption, headings, keys, rows, only_csv=keys[3:5])


def further(section: Section) -> Table | None:
    """What else the judged runs say of each loss; None where no run says any of it."""
    frame = section.best[section.best["loss"].isin(section.shown)]
    measures = _measured(frame, FURTHER)
    if not measures:
        return None
    rows = [
        [name_cell(row["loss"]), *(_value(row, measure) for measure in measures)]
        for row in frame.to_dict("records")
    ]
    there = {measure.column for measure in measures}
    caption = f"Further measures of the same runs, {section.at_rates}, means." + "".join(
        f" {words}" for column, words in _EXPLAINED.items() if column in there
    )
    headings = ["loss", *(measure.words for measure in measures)]
    return Table("further", caption, headings, ["loss", *map(_key, measures)], rows)


def to_target(section: Section) -> Table:
    """When the evaluated runs of each loss reached the target."""
    frame = budget.median_times(section.to_target).set_index(["loss", "measure"])
    measures = [name for name in budget.MEASURES if name in set(frame.index.get_level_values(1))]
    rows = []
    for loss in [loss for loss in section.shown if (loss, "epochs") in frame.index]:
        whole = frame.loc[loss, "epochs"]
        cells = [name_cell(loss), count(whole["n"]), count(whole["reached"])]
        for measure in measures:
            known = (loss, measure) in frame.index
            median, low, high = (
                frame.loc[(loss, measure), end] if known else math.nan
                for end in ("median", "low", "high")
            )
            digits = 0 if measure == "epochs" else 1
            cells.append(with_interval(median, low, high, digits))
            cells += [number(end, digits) for end in (low, high)]
        rows.append(cells)
    heads, keys = ["loss", "runs", "reached it"], ["loss", "runs", "reached"]
    for measure in measures:
        heads += [f"{measure}, median", "low", "high"]
        keys += [f"{measure}_median", f"{measure}_low", f"{measure}_high"]
    caption = (
        f"Training until {100 * section.target:g} % validation accuracy, {section.at_rates}: "
        "Kaplan-Meier median over the evaluated runs, from six runs on with its 95 % interval. "
        "Runs that diverged or ended before count as not there yet; ∞: not within the training "
        "that was given."
    )
    only_csv = [key for key in keys if key.endswith(("_low", "_high"))]
    return Table("to-target", caption, heads, keys, rows, only_csv=only_csv)


def expected(section: Section) -> Table:
    """The best validation accuracy to expect from a number of trials of each loss."""
    table = section.expected.pivot(index="loss", columns="trials", values="mean")
    table = table.reindex([loss for loss in section.shown if loss in table.index])
    trials = [n for n in table if n <= MOST_TRIALS or n == max(table)]
    rows = [
        [name_cell(loss), *(number(row[n], scale=100) for n in trials)]
        for loss, row in table.iterrows()
    ]
    caption = (
        "Validation accuracy (%) to expect of the best of a number of trials, each with one of the "
        "learning rates that were tried and one seed."
    )
    headings = ["loss", *(counted(n, "trial") for n in trials)]
    return Table("trials", caption, headings, ["loss", *(f"trials_{n}" for n in trials)], rows)


def corruptions(section: Section) -> Table | None:
    """Accuracy on every kind of corrupted test images; None where no run was tried on any."""
    table = section.corruptions.pivot(index="loss", columns="corruption", values="accuracy")
    table = table.reindex([loss for loss in section.shown if loss in table.index])
    if not len(table):
        return None
    rows = [
        [name_cell(loss), *(number(value, 2, scale=100) for value in values)]
        for loss, values in zip(table.index, table.to_numpy(), strict=True)
    ]
    kinds = [str(kind) for kind in table.columns]
    return Table(
        "corruptions",
        "Accuracy (%) on the test images after each kind of corruption, mean over runs.",
        ["loss", *(kind.replace("_", " ") for kind in kinds)],
        ["loss", *(f"{kind}_percent" for kind in kinds)],
        rows,
    )


def contrasts(section: Section, frame: pd.DataFrame, name: str, caption: str) -> Table:
    """Contrasts with everything behind their verdicts."""
    unit = " (points)" if section.metric.in_points else ""
    digits = section.metric.digits
    many_epochs, equal = frame["epochs"].nunique() > 1, (frame["view"] == "equal").any()
    headings, keys = ["contrast", "A", "B"], ["contrast", "a", "b"]
    if many_epochs:
        headings, keys = [*headings, "epochs"], [*keys, "epochs"]
    if equal:
        headings, keys = [*headings, "learning rate"], [*keys, "lr"]
    headings += [
        f"difference{unit}",
        "low",
        "high",
        "n",
        *("seeds only, low", "seeds only, high", "median", "trimmed mean"),
        "p",
        "p of seeds",
        "Holm p",
        "d_z",
        "P(A beats B)",
        "from",
        "to",
        "verdict",
        "reason",
        "generalises to",
    ]
    keys += ["difference", "low", "high", "n", "seeds_only_low", "seeds_only_high", "median"]
    keys += ["trimmed_mean", "p", "p_seeds", "p_holm", "d_z"]
    keys += ["p_better", "p_better_low", "p_better_high", "verdict", "reason", "generalises"]
    rows = []
    for row in frame.to_dict("records"):
        cells = [name_cell(f"{row['a']} − {row['b']}"), name_cell(row["a"]), name_cell(row["b"])]
        cells += [count(row["epochs"])] if many_epochs else []
        cells += [number(row["lr_a"], 0)._replace(text=rate(row["lr_a"]))] if equal else []
        chance = with_interval(row["p_better"], row["p_better_low"], row["p_better_high"])
        cells += [
            with_interval(row["difference"], row["low"], row["high"], digits, signed=True),
            number(row["low"], digits, signed=True),
            number(row["high"], digits, signed=True),
            Cell(f"{row['n']}" if row["paired"] else f"{row['n_a']} / {row['n_b']}", int(row["n"])),
            *(
                number(row[name], digits, signed=True)
                for name in ("seeds_only_low", "seeds_only_high", "median", "trimmed_mean")
            ),
            *(probability(row[name]) for name in ("p", "p_seeds", "p_holm")),
            number(row["d_z"], signed=True),
            chance,
            number(row["p_better_low"]),
            number(row["p_better_high"]),
            Cell(row["verdict"], row["verdict"], strong=row["verdict"] != "undecided"),
            name_cell(row["reason"]),
            name_cell(row["generalises"]),
        ]
        rows.append(cells)
    only_csv = ["a", "b", "low", "high", "p_better_low", "p_better_high", "generalises"]
    only_csv += ["seeds_only_low", "seeds_only_high", "trimmed_mean"]
    return Table(name, caption, headings, keys, rows, only_csv=only_csv, only_people=["contrast"])


def denominators(section: Section) -> Table:
    """What became of every run."""
    keys = ["loss", "expected", "ok", "diverged", "failed", "killed", "missing", "extra"]
    by_loss = section.denominators.set_index("loss").reindex(section.losses).reset_index()
    rows = [
        [name_cell(row["loss"]), *(count(row[key]) for key in keys[1:])]
        for row in by_loss.to_dict("records")
    ]
    caption = (
        "What became of the runs (loss, learning rate, epochs, seed) that the grid has for each "
        "loss."
    )
    return Table("denominators", caption, keys, keys, rows)


def epochs(section: Section) -> Table:
    """The metric at each length of training."""
    metric = section.metric
    ordered = section.means.assign(
        place=section.means["loss"].map(section.losses.index)
    ).sort_values(["epochs", "place"])
    rows = [
        [
            count(row.epochs),
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            *_mean(row, metric),
            count(row.n),
        ]
        for row in ordered.itertuples()
    ]
    return Table(
        "epochs",
        f"{upper_first(metric.words)} by length of training, each loss at its best rate for that "
        "length.",
        ["epochs", "loss", "learning rate", metric.label, "low", "high", "runs"],
        ["epochs", "loss", "lr", metric.key, f"{metric.key}_low", f"{metric.key}_high", "runs"],
        rows,
        only_csv=[f"{metric.key}_low", f"{metric.key}_high"],
    )


def rates(section: Section) -> Table:
    """Mean validation accuracy of every loss at every rate, with what diverged."""
    frame = section.rates[section.rates["epochs"] == section.epochs]
    ordered = frame.assign(place=frame["loss"].map(section.losses.index)).sort_values(
        ["place", "lr"]
    )
    rows = [
        [
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            number(row.val_accuracy, scale=100),
            *(
                count(getattr(row, key))
                for key in ("ok", "diverged", "failed", "killed", "missing")
            ),
        ]
        for row in ordered.itertuples()
    ]
    keys = ["loss", "lr", "val_accuracy_percent", "ok", "diverged", "failed", "killed", "missing"]
    headings = ["loss", "learning rate", "validation accuracy (%)", *keys[3:]]
    return Table(
        "rates",
        "Mean validation accuracy over all seeds, loss by learning rate.",
        headings,
        keys,
        rows,
    )


def classes(section: Section) -> Table | None:
    """Test accuracy per digit and loss."""
    if section.mistakes is None:
        return None
    table = section.mistakes.classes.pivot(index="loss", columns="digit", values="accuracy")
    table = table.reindex([loss for loss in section.losses if loss in table.index])
    rows = [
        [name_cell(loss), *(number(v, 2, scale=100) for v in values)]
        for loss, values in zip(table.index, table.to_numpy(), strict=True)
    ]
    digits = [str(digit) for digit in table.columns]
    return Table(
        "classes",
        "Test accuracy (%) on each digit, mean over runs.",
        ["loss", *digits],
        ["loss", *(f"digit_{d}" for d in digits)],
        rows,
    )


def rate(value: Any) -> str:
    """A learning rate for people."""
    number = float(value)
    return "n/a" if math.isnan(number) else f"{number:g}"


_EXPLAINED = {
    "test_macro_f1": "Macro F1: mean over the digits.",
    "test_margin": "Margin: the label's probability less the largest other.",
    "test_aurc": "AURC: the share of errors where only the surest are answered, mean over how "
    "many are.",
    "test_nll_scaled": "Scaled: after the temperature fitted on validation.",
    "corrupted_accuracy": "Corrupted: accuracy on corrupted test images, mean over their kinds.",
}


def _mean(row: Any, metric: Metric) -> list[Cell]:
    """A mean with its interval for people; its ends for programs."""
    return [
        with_interval(row.mean, row.low, row.high, metric.digits, scale=metric.scale),
        *(number(end, metric.digits, scale=metric.scale) for end in (row.low, row.high)),
    ]


def _measured(frame: pd.DataFrame, measures: Sequence[Measure]) -> list[Measure]:
    """The measures that some loss has a value of."""
    return [measure for measure in measures if frame[measure.column].notna().any()]


def _key(measure: Measure) -> str:
    return measure.column + ("_percent" if measure.scale == 100 else "")


def _value(row: Mapping[Any, Any], measure: Measure) -> Cell:
    cell = number(row[measure.column], measure.digits, scale=measure.scale)
    return _of(cell, row[f"{measure.column}_n"], row["runs"])


def _of(cell: Cell, values: int, runs: int) -> Cell:
    """The cell, saying so where fewer runs have the number than were judged."""
    short = cell.value is not None and values < runs
    return cell._replace(text=f"{cell.text} ({values} of {runs} runs)") if short else cell
