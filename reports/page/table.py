"""Tables as data, and their forms: CSV for programs, LaTeX and Markdown for papers.

A table is a frame and a list of columns; HTML is the page's template. A cell has a value, which CSV
and sorting use, and a text, which people read. Names come from outside: every form escapes them for
its own language.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from reports.names import one_line, plain

NOT_AVAILABLE = "n/a"


class Cell(NamedTuple):
    """What a cell says, and the value behind it (a number, a name, None: not available)."""

    text: str
    value: Any
    strong: bool = False


def name_cell(text: object) -> Cell:
    """A name, shortened for people and whole for programs."""
    return Cell(plain(text, 48), str(text))


def number(value: float, digits: int = 2, *, scale: float = 1.0, signed: bool = False) -> Cell:
    """A number with so many decimals; n/a when there is none."""
    value = float(value)
    if math.isnan(value):
        return Cell(NOT_AVAILABLE, None)
    if math.isinf(value):
        return Cell("∞" if value > 0 else "−∞", value)
    shown = round(scale * value, 9)  # 96.575 may come as 96.57499999999999
    return Cell(minus(f"{shown:{'+' if signed else ''}.{digits}f}"), scale * value)


def count(value: float) -> Cell:
    """A whole number."""
    return Cell(f"{int(value):,}", int(value))


def rate(value: float) -> Cell:
    """A learning rate, or another number with as many digits as it needs."""
    return number(value, 0)._replace(
        text=NOT_AVAILABLE if math.isnan(float(value)) else f"{float(value):g}"
    )


def with_interval(
    value: float, low: float, high: float, digits: int = 2, *, scale: float = 1.0,
    signed: bool = False,
) -> Cell:  # fmt: skip
    """A number and its interval in brackets; the number alone when it has none."""
    cell = number(value, digits, scale=scale, signed=signed)
    if cell.value is None or math.isnan(low):
        return cell
    ends = (number(end, digits, scale=scale, signed=signed).text for end in (low, high))
    return cell._replace(text=f"{cell.text} [{', '.join(ends)}]")


def probability(p: float) -> Cell:
    """A p value: 0.012, or < 0.001."""
    if math.isnan(p):
        return Cell(NOT_AVAILABLE, None)
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else f"{p:.2f}", float(p))


def as_it_is(cell: Cell) -> Cell:
    """A cell that is made already."""
    return cell


def minus(text: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    key: its name in CSV, "" for people alone. heading: for people, "" for CSV alone. source: the
    frame's column, `key` unless it is given. form: makes a cell of a value; None means a number of
    so many `digits`, times `scale`. ends: the frame's columns of its interval, which CSV has as
    columns of their own; people see no more of it than lies within `bounds`. none: what a cell
    without a value says.
    """

    key: str
    heading: str = ""
    source: str = ""
    form: Callable[[Any], Cell] | None = None
    digits: int = 2
    scale: float = 1.0
    signed: bool = False
    ends: tuple[str, str] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    none: str = NOT_AVAILABLE

    def cell(self, row: Mapping[Any, Any]) -> Cell:
        """The cell of a row. It says so where fewer runs have the number than are in the row."""
        source = self.source or self.key
        value = row[source]
        if self.form is not None:
            return self.form(value)
        low, high = (row[end] for end in self.ends) if self.ends else (math.nan, math.nan)
        low, high = (float(min(max(end, self.bounds[0]), self.bounds[1])) for end in (low, high))
        cell = with_interval(value, low, high, self.digits, scale=self.scale, signed=self.signed)
        if cell.value is None:
            return Cell(self.none, None)
        values, runs = row.get(f"{source}_n"), row.get("runs")
        if values is not None and runs is not None and values < runs:
            return cell._replace(text=f"{cell.text} ({values} of {runs} runs)")
        return cell

    @property
    def limits(self) -> list[Column]:
        """The columns of the interval, which CSV alone has."""
        names = [end.replace(self.source or self.key, self.key) for end in self.ends or ()]
        return [
            replace(self, key=name, heading="", source=end, ends=None)
            for name, end in zip(names, self.ends or (), strict=True)
        ]


@dataclass(frozen=True)
class Table:
    """A table: `name` of its files, headings with units, `keys` as CSV's columns, rows of cells.

    An empty heading: the column is in CSV alone; an empty key: it is for people alone.
    """

    name: str
    caption: str
    headings: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def for_people(self) -> Table:
        """The table without the columns that CSV alone has."""
        return self._with([i for i, heading in enumerate(self.headings) if heading])

    @property
    def for_programs(self) -> Table:
        """The table as CSV has it."""
        return self._with([i for i, key in enumerate(self.keys) if key])

    def _with(self, kept: Sequence[int]) -> Table:
        return Table(
            self.name,
            self.caption,
            [self.headings[i] for i in kept],
            [self.keys[i] for i in kept],
            [[row[i] for i in kept] for row in self.rows],
        )

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, n/a aside."""
        return not any(isinstance(row[column].value, str) for row in self.rows)


def tabulate(name: str, caption: str, frame: pd.DataFrame, columns: Sequence[Column]) -> Table:
    """The table of a frame."""
    shown = [each for column in columns for each in (column, *column.limits)]
    rows = [[each.cell(row) for each in shown] for row in frame.to_dict("records")]
    return Table(name, caption, [each.heading for each in shown], [e.key for e in shown], rows)


def to_csv(table: Table) -> str:
    """Comma-separated values at full precision; nothing in it is a formula to a spreadsheet."""
    table = table.for_programs
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.keys)
    writer.writerows([[_csv_value(cell.value) for cell in row] for row in table.rows])
    return buffer.getvalue()


def to_latex(table: Table) -> str:
    r"""A `tabular` with booktabs' rules, numbers to the right, no wider than \textwidth."""
    table = table.for_people
    columns = "".join("r" if table.numeric(i) else "l" for i in range(len(table.headings)))
    lines = [
        rf"% {one_line(latex(table.caption))}",
        r"% \usepackage{booktabs,graphicx}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_HEADINGS.get(heading, latex(heading)) for heading in table.headings) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join(lines) + "\n"


def to_markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""
    table = table.for_people
    rule = ["---:" if table.numeric(i) else "---" for i in range(len(table.headings))]
    head = [markdown(heading) for heading in table.headings]
    body = [
        [f"**{markdown(c.text)}**" if c.strong else markdown(c.text) for c in row]
        for row in table.rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body]) + "\n"


def latex(text: str) -> str:
    """Text for LaTeX, none of whose characters is a command."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def markdown(text: str) -> str:
    """Text for Markdown, none of whose characters is markup."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)  # not in snake_case
    line = re.sub(r"^([-+]|#+) ", r"\\\1 ", line)
    return re.sub(
        r"(?i)\b(https?|ftp|www)([:.])", r"\1&#8203;\2", line
    )  # no link of its own accord


_HEADINGS = {"d_z": "$d_z$", "p": "$p$", "Holm p": "Holm $p$", "n": "$n$"}
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl is in no default encoding
    "−": "$-$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "–": "--",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{latex(cell.text)}}}" if cell.strong else latex(cell.text)


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in "=+-@\t\r" else value
    return repr(float(value)) if isinstance(value, float) else value
