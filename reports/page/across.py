"""The first part of a report across data sets (or models): the answer, its figure and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from reports.across import Across, advice, basis, posterior, sentence
from reports.figures import ranks
from reports.figures.palette import Look, Losses
from reports.names import counted, full_name, plain, short_names
from reports.page.figure import PageFigure, described
from reports.page.table import Cell, Column, Table, as_it_is, count, name_cell, number
from reports.page.tables import P_VALUES, PAIR, VERDICT, difference, pairs
from reports.page.tables import described as described_table
from reports.texts import say

HOW = (
    "Each data set counts once, whatever its number of seeds and test examples. A comparison is "
    "decided by the exact Wilcoxon signed-rank test of the differences on each data set, corrected "
    "by Holm's method; the estimated difference is that of Hodges and Lehmann."
)


def words(result: Across) -> dict[str, Any]:
    """What decides, and the verdicts in sentences."""
    return {
        "basis": basis(result),
        "items": [
            {
                "verdict": row["verdict"],
                "sentence": sentence(result, row),
                "more": posterior(result, row),
                "commands": (),
            }
            for row in result.comparison.contrasts.to_dict("records")
        ],
        "advice": advice(result),
        "how": HOW.replace("data set", result.unit),
    }


def answer(result: Across) -> Table | None:
    """The losses by average rank, each with its verdict; None where none is compared."""
    frame = result.comparison.contrasts
    versus = frame[frame["b"] == result.reference].set_index("a").to_dict("index")
    if not versus or not result.comparison.tested:
        return None
    rows = []
    for loss, rank in result.comparison.average_ranks.items():
        row = versus.get(loss, {"verdict": "reference" if loss == result.reference else ""})
        marked = Cell(row["verdict"], row["verdict"], row["verdict"] not in ("undecided", ""))
        named = Cell(full_name(loss), str(loss))
        on = ", ".join(str(row[key]) for key in _COUNTS if key in row)
        rows.append(row | {"loss": named, "rank": rank, "verdict": marked, "on": Cell(on, on)})
    columns = [
        Column("loss", "loss", form=as_it_is),
        Column("rank", "average rank"),
        Column("verdict", f"against {plain(result.reference, 20)}", form=as_it_is),
        difference(result.metric, none=""),
        Column("on", ", ".join(_COUNTS.values()), form=as_it_is),
    ]
    return described_table("across-answer", pd.DataFrame(rows), columns, a=result)


def values(result: Across) -> Table:
    """The value and the rank of each loss on each unit, and the average ranks."""
    comparison, metric = result.comparison, result.metric
    losses = list(comparison.values)
    lost = result.scores.set_index(["unit", "loss"])["diverged"]
    rows = []
    for unit, row in comparison.values.iterrows():
        cells = [name_cell(unit)]
        for loss in losses:
            cell = number(row[loss], metric.digits, scale=metric.scale)
            if math.isinf(row[loss]):
                cell = Cell(f"no mean, {counted(int(lost[unit, loss]), 'run')} diverged", None)
            if unit in comparison.ranks.index:
                cell = cell._replace(text=f"{cell.text} ({comparison.ranks.loc[unit, loss]:g})")
            cells.append(cell)
        rows.append(cells)
    if len(comparison.ranks):
        average = [number(comparison.average_ranks[loss]) for loss in losses]
        rows.append([Cell("average rank", "average rank"), *average])
    seeds = result.scores["seeds"]
    values = {"a": result, "fewest": seeds.min(), "most": seeds.max()}
    caption = say("table_across", values, file="captions.jinja")
    return Table("across", caption, [result.unit, *map(plain, losses)], [result.key, *losses], rows)


def contrasts(result: Across) -> Table:
    """Everything behind the verdicts."""
    metric = result.metric
    frame = result.comparison.contrasts
    columns = [
        *PAIR,
        difference(metric),
        *(Column(key, heading, form=count) for key, heading in _COUNTS.items()),
        *P_VALUES,
        *(Column(f"practically_{name}", f"P({name})") for name in _REGIONS),
        VERDICT,
    ]
    return described_table("across-contrasts", pairs(frame), columns, a=result)


_REGIONS = ("better", "equivalent", "worse")
_COUNTS = {"won": "better", "tied": "equal", "lost": "worse"}


def diagram(result: Across, looks: Mapping[str, Look]) -> PageFigure | None:
    """The critical-difference diagram; None where nothing is tested."""
    comparison = result.comparison
    if not comparison.tested:
        return None
    average = comparison.average_ranks
    order = list(map(str, average.index))
    draw = partial(
        ranks.critical_difference,
        average,
        Losses(order, looks, short_names(order, 18)),
        difference=comparison.critical_difference,
        groups=comparison.groups,
    )
    ranked = ", ".join(f"{plain(loss)} {rank:.2f}" for loss, rank in average.items())
    joined = "; ".join(", ".join(map(plain, group)) for group in comparison.groups) or "none"
    alt = (
        f"Average ranks: {ranked}. Critical difference: {comparison.critical_difference:.2f}. "
        f"Joined: {joined}."
    )
    return described(
        "across-ranks", draw, alt, kind="Critical-difference diagram.",
        words=result.metric.words, units=counted(result.units, result.unit),
    )  # fmt: skip
