"""Runs from elsewhere: checked lines of a table in, the frames of a report out.

A line is a run, or with a column `epoch` an epoch of a run. Nothing proves that runs of one seed
share anything, so losses are compared without pairs. `csv_file` and `foreign` make the lines.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from experiments.contract import GROUPS
from reports import metrics
from reports.names import counted
from reports.runs import Runs
from reports.runs.frames import curves_frame, summary_frame, with_epochs
from reports.runs.naming import loss_values
from reports.runs.records import CURVES, ReadError, Run
from reports.runs.selection import where_params
from reports.runs.wording import number, quote, some

OUTCOMES = {"ok": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
OUTCOMES |= {"running": "RUNNING"}
CURVE_METRICS = {column: name for name, column in CURVES.items() if name != "lr"}
METRICS = {*metrics.OFFERED, *CURVE_METRICS, "test_loss"}  # but for those of one class
NOT_NAMED = "data and network not named"
WHOLE = ("seed", "epochs", "epoch")
_EMPTY = "a run that did not end well has an empty value, and says so in a column outcome"
_NOT_OURS = [
    *("git_commit", "git_dirty", "python_version", "paddle_version", "kernel", "processor"),
    *("code", "code_parts", "code_metrics"),
]


class Line(NamedTuple):
    """A line of the table: its place for messages, and its texts and metrics by column.

    run: an id that lines of one run share; "" where runs are known by their values alone. times:
    start and end of the run, milliseconds since 1970, where known.
    """

    place: str
    texts: dict[str, str]
    values: dict[str, float]
    run: str = ""
    times: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Table:
    """Lines from elsewhere, and what messages call their place.

    source: the file, or the store and the experiments. name: the same, shorter, for a page.
    experiments: as in `reports.runs.Runs`. settings, lacks and advice: how a message says what is a
    setting, that there is no column {name}, and what a column {name} would be. notes: what was
    left out.
    """

    source: str
    name: str
    uri: str
    experiments: tuple[str, ...]
    lines: list[Line]
    columns: set[str]
    settings: str
    lacks: str
    advice: str
    notes: list[str] = field(default_factory=list)

    def wrong(
        self, place: str, expected: str, value: object, column: object = "", advice: str = ""
    ) -> ReadError:
        """What is wrong at a place of the table."""
        return wrong(f"{self.source}, {place}", expected, value, column, advice)


def wrong(
    where: str, expected: str, value: object, column: object = "", advice: str = ""
) -> ReadError:
    """An error that names its place, and its column."""
    got = quote(str(value)) if value != "" else "nothing"
    at = f"from: {where}{f', column {column}' if column else ''}"
    return ReadError(f"{at}: expected {expected}, got {got}{f'; {advice}' if advice else ''}")


def frames(table: Table, metric: str, where: Mapping[str, Any]) -> Runs:
    """The runs of a table, in the frames of `reports.runs.load`.

    Args:
        table: with the columns loss, seed and `metric` at least.
        metric: the column that decides, which every run has that ended well.
        where: values that a run must have.

    Raises:
        ReadError: no report can be made of these runs; the message names the line and the column.
    """
    lines, names = table.lines, table.columns
    largest = max(int(line.texts.get("epoch", 0)) for line in lines)
    by_id: dict[str, dict[int, Line]] = {}
    for line in lines:
        texts = {"lr": "0.0", "epochs": str(largest), **line.texts}
        epoch, outcome = int(texts.pop("epoch", 0)), texts.pop("outcome", "ok")
        if epoch > int(texts["epochs"]):
            raise table.wrong(line.place, f"at most its epochs {texts['epochs']}", epoch, "epoch")
        key = json.dumps(texts, sort_keys=True)
        run_id = line.run or hashlib.sha256(key.encode()).hexdigest()[:32]
        epochs = by_id.setdefault(run_id, {})
        if epoch in epochs:
            each = f"one line for each run{' and epoch' if 'epoch' in names else ''}"
            raise table.wrong(line.place, each, f"the run of {epochs[epoch].place} again")
        epochs[epoch] = line._replace(texts=texts | {"outcome": outcome})
    every = [_run(table, run_id, each[max(each)], metric) for run_id, each in by_id.items()]
    runs = where_params(every, where)
    settings = [
        {name: run.params[name] for name in sorted(names) if _is_setting(name) and run.params[name]}
        for run in runs
    ]
    _check(table, runs, settings)
    notes = [f"all seeds of {table.name} count as planned before the first result", *table.notes]
    for name, shown in (("lr", 0), ("epochs", largest)):
        if name not in names:
            notes.append(f"{table.name} {table.lacks.format(name=name)}: it is shown as {shown}")
    short = [run for run in runs if max(by_id[run.run_id]) < int(run.params["epochs"])]
    if short and "epoch" in names:
        notes.append(f"{counted(len(short), 'run')} ended before the last epoch, with these values")
    summary = summary_frame(
        runs, notes, planned=dict.fromkeys((run.run_id for run in runs), 0)
    ).assign(
        setting=[json.dumps(each) for each in settings],
        setting_text=[", ".join(map("=".join, each.items())) or NOT_NAMED for each in settings],
    )
    histories = [
        [
            (run.run_id, CURVE_METRICS[name], epoch, 0, value)
            for epoch, line in by_id[run.run_id].items()
            for name, value in line.values.items()
            if name in CURVE_METRICS
        ]
        for run in runs
        if "epoch" in names
    ]
    curves = curves_frame([each for each in histories if each], summary, notes)
    summary = with_epochs(summary, curves)
    for name in names & CURVE_METRICS.keys() if "epoch" not in names else ():
        summary[name] = [by_id[run.run_id][0].values.get(name, math.nan) for run in runs]
    summary = summary.drop(columns=_NOT_OURS).assign(experiment="")
    return Runs(
        *(table.uri, table.experiments, {}, summary, curves),
        notes=notes,
        warnings=[f"imported from {table.name}: pairing not proved"],
        imported=True,
    )


def column_of(text: str) -> tuple[str, int]:
    """The name of a column, and what its values are divided by."""
    name = metrics.column(text)
    share = name.removesuffix("_percent")
    if share != name and is_metric(share) and _bounds(share)[1] == 1:
        return share, 100
    return (name if is_metric(name) else text), 1


def is_metric(name: str) -> bool:
    """Whether a column is a metric, such as test_nll or test_accuracy_3."""
    return name in METRICS or metrics.offered(name) is not None


def _bounds(name: str) -> tuple[float, float]:
    if (metric := metrics.offered(name)) is not None:
        return metric.bounds
    return (0.0, 1.0) if "accuracy" in name else (-math.inf, math.inf)


def line_of(
    source: str, place: str, cells: Sequence[str], columns: Sequence[tuple[str, int]]
) -> Line:
    """A line with its metrics as numbers, and lr, seed, epochs and epoch in one form.

    Raises:
        ReadError: a value is none of its column.
    """
    line = Line(place, {}, {})
    for text, (name, divisor) in zip(cells, columns, strict=True):
        value, expected, advice = number(text), "", ""
        if is_metric(name):
            low, high = (divisor * bound for bound in _bounds(name))
            if text and value is None:
                expected, advice = "a finite number", _EMPTY
            elif value is not None and not low <= value <= high:
                expected = f"a number from {low:g} to {high:g}"
                advice = f"in per cent it is called {name}_percent" if high == 1 else ""
            elif value is not None:
                line.values[name] = value / divisor
        elif name in WHOLE or name == "lr":
            whole = name in WHOLE
            if value is None or not 0 <= value < 2**63 or (whole and value != int(value)):
                expected = f"a {'whole ' if whole else ''}number of at least 0"
            else:
                line.texts[name] = str(int(value) if whole else float(value))
        else:
            line.texts[name] = text
            if name == "loss" and not text:
                expected = "a name"
            elif name == "outcome" and text not in OUTCOMES:
                expected = f"one of {', '.join(OUTCOMES)}"
        if expected:
            raise wrong(f"{source}, {place}", expected, text, name, advice)
    return line


def _run(table: Table, run_id: str, line: Line, metric: str) -> Run:
    """A run from the line of its last epoch."""
    params = {**dict.fromkeys(GROUPS, ""), "batch_size": "0", **line.texts}
    outcome = params.pop("outcome")
    if outcome == "ok" and metric not in line.values:
        raise table.wrong(line.place, "a number", "", metric, _EMPTY)
    at_end: dict[str, float | None] = {
        name.replace("_", "/", 1): line.values[name]
        for name in line.values.keys() - CURVE_METRICS.keys()
    }
    name, status = f"{params['loss']} seed={params['seed']}", OUTCOMES[outcome]
    start = (run_id, name, "", status, *line.times, False)
    return Run(*start, tags={"outcome": outcome}, params=params, metrics=at_end)


def _is_setting(name: str) -> bool:
    own = is_metric(name) or name in (*WHOLE, "loss", "lr", "outcome")
    return not own and not name.startswith("loss.")


def _check(table: Table, runs: list[Run], settings: list[dict[str, str]]) -> None:
    """Refuse runs of which none can be compared, and rates among which nothing can choose."""
    losses: dict[str, set[str]] = {}
    rates: dict[str, set[str]] = {}
    for run, values in zip(runs, settings, strict=True):
        setting = json.dumps([values, run.params["epochs"]])
        loss = json.dumps(loss_values(run))
        losses.setdefault(setting, set()).add(loss)
        rates.setdefault(setting + loss, set()).add(run.params["lr"])
    if len(set().union(*losses.values())) > 1 and max(map(len, losses.values())) == 1:
        names = some(sorted({name for each in settings for name in each}))
        raise ReadError(
            f"from: {table.source}: expected two losses in one setting, got none to compare. "
            f"{table.settings}, here {names or 'epochs'}: leave out what is none. "
            f"Metrics are {metrics.choices()}"
        )
    if "val_accuracy" not in table.columns and max(map(len, rates.values())) > 1:
        raise ReadError(
            f"from: {table.source}: a loss has several learning rates, and no column val_accuracy "
            f"says which is the best. Add {table.advice.format(name='val_accuracy')}, or keep one "
            "rate for each loss, chosen without the test set (where.lr=RATE takes one rate)"
        )
