"""Results from elsewhere in a CSV file: a line per run, or per run and epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import metrics
from reports.runs import Runs
from reports.runs.imported import Line, Table, column_of, frames, line_of, wrong
from reports.runs.records import ReadError
from reports.runs.wording import some


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
    lines, columns = _read(path, metric)
    table = Table(
        *(str(path), path.name, str(path), (path.name,), lines, columns),
        settings="Every column that is no metric is a setting",
        lacks="has no column {name}",
        advice="{name}",
    )
    return frames(table, metric, where)


def _read(path: Path, metric: str) -> tuple[list[Line], set[str]]:
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
        raise wrong(f"{path}, line {line}", "text in UTF-8", "other bytes") from error
    except csv.Error as error:
        where = f"{path}, line {reader.line_num}"
        raise wrong(where, "a line of a CSV file", str(error)) from error
    first = f"{path}, line 1"
    if len(rows) < 2:
        raise wrong(first, "the names of columns, and below a line for each run", "no run")
    columns = [column_of(text) for text in rows[0][1]]
    names = [name for name, _ in columns]
    for at, name in enumerate(names):
        if not name or name in names[:at]:
            raise wrong(first, "a name of its own for each column", name, at + 1)
    if lacking := [name for name in ("loss", "seed", metric) if name not in names]:
        choices = some([name for name in names if metrics.offered(name)]) or "none of this file"
        advice = f"metric=NAME decides by another metric: {choices}"
        raise wrong(first, f"columns {', '.join(lacking)}", some(names), advice=advice)
    for number, cells in rows[1:]:
        if len(cells) != len(columns):
            raise wrong(f"{path}, line {number}", f"{len(columns)} values", len(cells))
    return [
        line_of(str(path), f"line {number}", cells, columns) for number, cells in rows[1:]
    ], set(names)
