"""Runs from elsewhere: a CSV file in, the frames of a report out.

A line is a run, or with a column `epoch` an epoch of a run. Nothing proves that runs of one seed
share anything, so losses are compared without pairs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reports import metrics
from reports.runs import Runs
from reports.runs.frames import curves_frame, summary_frame, with_epochs
from reports.runs.naming import loss_values
from reports.runs.records import CURVES, GROUPS, ReadError, Run
from reports.runs.selection import where_params
from reports.runs.wording import count, number, quote, some

OUTCOMES = {"ok": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
_CURVES = {column: name for name, column in CURVES.items() if name != "lr"}
_METRICS = {*metrics.OFFERED, *_CURVES, "test_loss"}
NOT_NAMED = "data and network not named"
_WHOLE = ("seed", "epochs", "epoch")
_EMPTY = "a run that did not end well has an empty value, and says so in a column outcome"


class _Line(NamedTuple):
    """A line of the file: its number, and its texts and metrics by the column's name."""

    number: int
    texts: dict[str, str]
    values: dict[str, float]


def load(path: Path, metric: str, where: Mapping[str, Any]) -> Runs:
    """The runs of a CSV file, in the frames of `reports.runs.load`.

    Args:
        path: of the file.
        metric: the column that decides, which every run has that ended well.
        where: values that a run must have.

    Raises:
        ReadError: the file cannot be read, or no report can be made of it; the message names the
            line and the column.
    """
    lines, names = _read(path, metric)
    largest = max(int(line.texts.get("epoch", 0)) for line in lines)
    by_run: dict[str, dict[int, _Line]] = {}
    for line in lines:
        texts = {"lr": "0.0", "epochs": str(largest), **line.texts}
        epoch, outcome = int(texts.pop("epoch", 0)), texts.pop("outcome", "ok")
        if epoch > int(texts["epochs"]):
            raise _wrong(path, line.number, f"at most its epochs {texts['epochs']}", epoch, "epoch")
        epochs = by_run.setdefault(json.dumps(texts, sort_keys=True), {})
        if epoch in epochs:
            each = f"one line for each run{' and epoch' if 'epoch' in names else ''}"
            raise _wrong(path, line.number, each, f"the run of line {epochs[epoch].number} again")
        epochs[epoch] = line._replace(texts=texts | {"outcome": outcome})
    by_id = {hashlib.sha256(key.encode()).hexdigest()[:32]: each for key, each in by_run.items()}
    every = [_run(path, run_id, each[max(each)], metric) for run_id, each in by_id.items()]
    runs = where_params(every, where)
    settings = [
        {name: run.params[name] for name in sorted(names) if _is_setting(name) and run.params[name]}
        for run in runs
    ]
    _check(path, runs, settings, "val_accuracy" in names)
    notes = [f"all seeds of {path.name} count as planned before the first result"]
    for name, shown in (("lr", 0), ("epochs", largest)):
        if name not in names:
            notes.append(f"{path.name} has no column {name}: it is shown as {shown}")
    short = [run for run in runs if max(by_id[run.run_id]) < int(run.params["epochs"])]
    if short and "epoch" in names:
        notes.append(f"{count(len(short), 'run')} ended before the last epoch, with these values")
    summary = summary_frame(runs, notes, planned={run.run_id for run in runs}).assign(
        setting=[json.dumps(each) for each in settings],
        setting_text=[", ".join(map("=".join, each.items())) or NOT_NAMED for each in settings],
    )
    histories = [
        [
            (run.run_id, _CURVES[name], epoch, 0, value)
            for epoch, line in by_id[run.run_id].items()
            for name, value in line.values.items()
            if name in _CURVES
        ]
        for run in runs
        if "epoch" in names
    ]
    curves = curves_frame([each for each in histories if each], summary, notes)
    summary = with_epochs(summary, curves)
    for name in names & _CURVES.keys() if "epoch" not in names else ():
        summary[name] = [by_id[run.run_id][0].values.get(name, math.nan) for run in runs]
    return Runs(
        *(str(path), (path.name,), {}, summary.assign(experiment=""), curves),
        missing=pd.DataFrame({"identity": []}, dtype=object),
        notes=notes,
        warnings=[f"imported from {path.name}: pairing not proved"],
        imported=True,
    )


def _read(path: Path, metric: str) -> tuple[list[_Line], set[str]]:
    """The lines of a file and the names of its columns, each value checked on its own."""
    data = b""
    try:
        data = path.read_bytes()
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except OSError as error:
        raise ReadError(f"from: cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _wrong(path, line, "text in UTF-8", "other bytes") from error
    except csv.Error as error:
        raise _wrong(path, reader.line_num, "a line of a CSV file", str(error)) from error
    if len(rows) < 2:
        raise _wrong(path, 1, "the names of columns, and below a line for each run", "no run")
    columns = [_column(text) for text in rows[0][1]]
    names = [name for name, _ in columns]
    for at, name in enumerate(names):
        if not name or name in names[:at]:
            raise _wrong(path, 1, "a name of its own for each column", name, at + 1)
    if lacking := [name for name in ("loss", "seed", metric) if name not in names]:
        there = some([name for name in names if name in metrics.OFFERED]) or "none of this file"
        advice = f"metric=NAME decides by another metric: {there}"
        raise _wrong(path, 1, f"columns {', '.join(lacking)}", some(names), advice=advice)
    return [_line(path, place, cells, columns) for place, cells in rows[1:]], set(names)


def _column(text: str) -> tuple[str, int]:
    """The name of a column, and what its values are divided by."""
    name = metrics.column(text)
    share = name.removesuffix("_percent")
    if share != name and share in _METRICS and _bounds(share)[1] == 1:
        return share, 100
    return (name if name in _METRICS else text), 1


def _bounds(name: str) -> tuple[float, float]:
    if name in metrics.OFFERED:
        return metrics.OFFERED[name].bounds
    return (0.0, 1.0) if "accuracy" in name else (-math.inf, math.inf)


def _line(path: Path, place: int, cells: list[str], columns: list[tuple[str, int]]) -> _Line:
    """A line with its metrics as numbers, and lr, seed, epochs and epoch in one form."""
    if len(cells) != len(columns):
        raise _wrong(path, place, f"{len(columns)} values", len(cells))
    line = _Line(place, {}, {})
    for text, (name, divisor) in zip(cells, columns, strict=True):
        value, expected, advice = number(text), "", ""
        if name in _METRICS:
            low, high = (divisor * bound for bound in _bounds(name))
            if text and value is None:
                expected, advice = "a finite number", _EMPTY
            elif value is not None and not low <= value <= high:
                expected = f"a number from {low:g} to {high:g}"
                advice = f"in per cent it is called {name}_percent" if high == 1 else ""
            elif value is not None:
                line.values[name] = value / divisor
        elif name in _WHOLE or name == "lr":
            whole = name in _WHOLE
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
            raise _wrong(path, place, expected, text, name, advice)
    return line


def _wrong(
    path: Path, line: int, expected: str, value: object, column: object = "", advice: str = ""
) -> ReadError:
    where = f"from: {path}, line {line}{f', column {column}' if column else ''}"
    got = quote(str(value)) if value != "" else "nothing"
    return ReadError(f"{where}: expected {expected}, got {got}{f'; {advice}' if advice else ''}")


def _run(path: Path, run_id: str, line: _Line, metric: str) -> Run:
    """A run from the line of its last epoch."""
    params = {**dict.fromkeys(GROUPS, ""), "batch_size": "0", **line.texts}
    outcome = params.pop("outcome")
    if outcome == "ok" and metric not in line.values:
        raise _wrong(path, line.number, "a number", "", metric, _EMPTY)
    at_end: dict[str, float | None] = {
        name.replace("_", "/", 1): line.values[name] for name in line.values.keys() - _CURVES.keys()
    }
    name, status = f"{params['loss']} seed={params['seed']}", OUTCOMES[outcome]
    start = (run_id, name, "", status, None, None, False)
    return Run(*start, tags={"outcome": outcome}, params=params, metrics=at_end)


def _is_setting(name: str) -> bool:
    own = name in (*_METRICS, *_WHOLE, "loss", "lr", "outcome")
    return not own and not name.startswith("loss.")


def _check(path: Path, runs: list[Run], settings: list[dict[str, str]], validated: bool) -> None:
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
            f"from: {path}: expected two losses in one setting, got none to compare. Every column "
            f"that is no metric is a setting, here {names or 'epochs'}: leave out what is none. "
            f"Metrics are {metrics.choices()}"
        )
    if not validated and max(map(len, rates.values())) > 1:
        raise ReadError(
            f"from: {path}: a loss has several learning rates, and no column val_accuracy says "
            "which is the best. Add val_accuracy, or keep one rate for each loss, chosen without "
            "the test set (where.lr=RATE takes one rate of the file)"
        )
