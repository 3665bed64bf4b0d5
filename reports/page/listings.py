"""The tables of a section, from its frames."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from reports.findings import TABLE_METRICS, Section
from reports.names import counted
from reports.page.tables import Cell, Table, count, name_cell, number, probability, with_interval
from reports.verdicts import metric_words, upper_first


def last_epoch(section: Section) -> Table:
    """Each loss's accuracy after the last epoch: what even one seed gives."""
    rows = [
        [
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            count(row.runs),
            with_interval(row.val_accuracy, row.val_accuracy_low, row.val_accuracy_high, scale=100),
            with_interval(row.test_accuracy, row.test_accuracy_low, row.test_accuracy_high, scale=100),
        ]
        for row in section.best[section.best["loss"].isin(section.shown)].itertuples()
    ]
    return Table(
        "accuracy",
        f"Accuracy after {counted(section.epochs, 'epoch')}, {section.at_rates}"
        + (
            ", with 95 % intervals of the mean."
            if section.judged_seeds > 1
            else "; one seed has no interval."
        ),
        ["loss", "learning rate", "runs", "validation accuracy (%)", "test accuracy (%)"],
        ["loss", "lr", "runs", "val_accuracy_percent", "test_accuracy_percent"],
        rows,
    )


def best(section: Section) -> Table:
    """Everything per loss at its own best rate."""
    frame = section.best[section.best["loss"].isin(section.shown)]
    scalar = any(frame[f"test_{name}"].notna().any() for name in TABLE_METRICS[4:])
    metrics = TABLE_METRICS if scalar else TABLE_METRICS[:4]
    headings = ["loss", "learning rate", "validation (%)", "test (%)"]
    keys = ["loss", "lr", "val_accuracy_percent", "test_accuracy_percent"]
    keys += ["test_accuracy_percent_low", "test_accuracy_percent_high"]
    shown: dict[str, tuple[str, float, int]] = {
        "nll": ("NLL (nats)", 1, 4),
        "brier": ("Brier", 1, 4),
        "ece": ("ECE (%)", 100, 2),
        "ece_scaled": ("ECE scaled (%)", 100, 2),
        "mean_absolute_error": ("mean abs. error", 1, 3),
        "off_by_one": ("off by one (%)", 100, 2),
    }
    rows = []
    for row in frame.to_dict("records"):
        edge = {"low": ", lowest", "high": ", highest"}.get(row["edge"], "")
        cells = [
            name_cell(row["loss"]),
            number(row["lr"], 0)._replace(text=rate(row["lr"]) + edge),
            _of(number(row["val_accuracy"], scale=100), row["val_accuracy_n"], row["runs"]),
            _of(
                with_interval(*(row[f"test_accuracy{end}"] for end in ("", "_low", "_high")), scale=100),
                row["test_accuracy_n"],
                row["runs"],
            ),
            number(row["test_accuracy_low"], scale=100),
            number(row["test_accuracy_high"], scale=100),
        ]
        for name in metrics:
            _, scale, digits = shown[name]
            cells.append(
                _of(number(row[f"test_{name}"], digits, scale=scale), row[f"test_{name}_n"], row["runs"])
            )
        cells += [
            number(row["epoch_seconds"]),
            count(row["runs"]),
            count(row["diverged"]),
        ]
        rows.append(cells)
    headings += [
        "low",
        "high",
        *(shown[name][0] for name in metrics),
        "s / epoch",
        "runs",
        "diverged",
    ]
    keys += [f"test_{name}" + ("_percent" if shown[name][1] == 100 else "") for name in metrics]
    keys += ["seconds_per_epoch", "runs", "diverged"]
    caption = (
        f"{upper_first(section.at_rates)}, means over its judged runs"
        + (" (test accuracy with its 95 % interval)" if section.judged_seeds > 1 else "")
        + ". ECE: 15 bins, before and after temperature scaling fitted on validation. n/a: this loss's head gives no "
        "probabilities, or its runs have no such number. Diverged runs are counted over all learning rates and lengths."
    )
    return Table("losses", caption, headings, keys, rows, only_csv=keys[4:6])


def contrasts(section: Section, frame: pd.DataFrame, name: str, caption: str) -> Table:
    """Contrasts with everything behind their verdicts."""
    in_points = section.metric.in_points
    unit = " (points)" if in_points else ""
    digits = 2 if in_points else 4
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
        "p",
        "Holm p",
        "d_z",
        "P(A > B)",
        "from",
        "to",
        "verdict",
    ]
    keys += ["difference", "low", "high", "n", "p", "p_holm", "d_z"]
    keys += ["p_better", "p_better_low", "p_better_high", "verdict"]
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
            probability(row["p"]),
            probability(row["p_holm"]),
            number(row["d_z"], signed=True),
            chance,
            number(row["p_better_low"]),
            number(row["p_better_high"]),
            Cell(row["verdict"], row["verdict"], strong=row["verdict"] != "undecided"),
        ]
        rows.append(cells)
    only_csv = ["a", "b", "low", "high", "p_better_low", "p_better_high"]
    return Table(name, caption, headings, keys, rows, only_csv=only_csv, only_people=["contrast"])


def denominators(section: Section) -> Table:
    """What became of every cell."""
    keys = ["loss", "expected", "ok", "diverged", "failed", "killed", "missing", "extra"]
    by_loss = section.denominators.set_index("loss").reindex(section.losses).reset_index()
    rows = [
        [name_cell(row["loss"]), *(count(row[key]) for key in keys[1:])] for row in by_loss.to_dict("records")
    ]
    caption = "What became of the cells (loss, learning rate, epochs, seed) that the grid has for each loss."
    return Table("denominators", caption, keys, keys, rows)


def epochs(section: Section) -> Table:
    """The metric at each length of training."""
    scale = section.metric.scale
    unit = " (%)" if section.metric.in_points else ""
    digits = 2 if section.metric.in_points else 4
    ordered = section.means.assign(place=section.means["loss"].map(section.losses.index)).sort_values(
        ["epochs", "place"]
    )
    rows = [
        [
            count(row.epochs),
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            with_interval(row.mean, row.low, row.high, digits, scale=scale),
            count(row.n),
        ]
        for row in ordered.itertuples()
    ]
    words = metric_words(section.metric.name)
    return Table(
        "epochs",
        f"{upper_first(words)} by length of training, each loss at its best rate for that length.",
        ["epochs", "loss", "learning rate", words + unit, "runs"],
        ["epochs", "loss", "lr", section.metric.name, "runs"],
        rows,
    )


def rates(section: Section) -> Table:
    """Mean validation accuracy of every loss at every rate, with what diverged."""
    frame = section.rates[section.rates["epochs"] == section.epochs]
    ordered = frame.assign(place=frame["loss"].map(section.losses.index)).sort_values(["place", "lr"])
    rows = [
        [
            name_cell(row.loss),
            number(row.lr, 0)._replace(text=rate(row.lr)),
            number(row.val_accuracy, scale=100),
            *(count(getattr(row, key)) for key in ("ok", "diverged", "failed", "killed", "missing")),
        ]
        for row in ordered.itertuples()
    ]
    keys = ["loss", "lr", "val_accuracy_percent", "ok", "diverged", "failed", "killed", "missing"]
    headings = ["loss", "learning rate", "validation accuracy (%)", *keys[3:]]
    return Table(
        "rates", "Mean validation accuracy over all seeds, loss by learning rate.", headings, keys, rows
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


def _of(cell: Cell, values: int, runs: int) -> Cell:
    """The cell, saying so where fewer runs have the number than were judged."""
    short = cell.value is not None and values < runs
    return cell._replace(text=f"{cell.text} ({values} of {runs} runs)") if short else cell
