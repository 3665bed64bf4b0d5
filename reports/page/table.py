"""Tables as data, and their forms: CSV for programs, LaTeX and Markdown for papers.

HTML is the page's template.

A cell has a value, which CSV and sorting use, and a text, which people read. Names come from
outside: every form escapes them for its own language.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reports.names import one_line, plain

NOT_AVAILABLE = "n/a"


class Cell(NamedTuple):
    """What a cell says, and the value behind it (a number, a name, None: not available)."""

    text: str
    value: Any
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table: `name` of its files, headings with units, `keys` as CSV's columns, rows of cells.

    only_csv: the keys of columns that CSV alone has, as the others have them inside another
    column's text.
    only_people: the keys of columns that CSV does not have, being told by others of its own.
    """

    name: str
    caption: str
    headings: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    only_csv: Sequence[str] = ()
    only_people: Sequence[str] = ()

    @property
    def for_people(self) -> Table:
        """The table without the columns that CSV alone has."""
        return self._without(self.only_csv)

    @property
    def for_programs(self) -> Table:
        """The table as CSV has it."""
        return self._without(self.only_people)

    def _without(self, keys: Sequence[str]) -> Table:
        kept = [i for i, key in enumerate(self.keys) if key not in keys]
        headings, names = [self.headings[i] for i in kept], [self.keys[i] for i in kept]
        return Table(
            self.name, self.caption, headings, names, [[row[i] for i in kept] for row in self.rows]
        )

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, n/a aside."""
        values = [row[column].value for row in self.rows]
        return not any(isinstance(value, str) for value in values)


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
    return Cell(minus(f"{scale * value:{'+' if signed else ''}.{digits}f}"), scale * value)


def count(value: float) -> Cell:
    """A whole number."""
    return Cell(f"{int(value):,}", int(value))


def with_interval(
    value: float,
    low: float,
    high: float,
    digits: int = 2,
    *,
    scale: float = 1.0,
    signed: bool = False,
) -> Cell:
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


def minus(text: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


def to_csv(table: Table) -> str:
    """Comma-separated values at full precision; nothing in it is a formula to a spreadsheet."""
    table = table.for_programs
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.keys)
    writer.writerows([[_csv_value(cell.value) for cell in row] for row in table.rows])
    return buffer.getvalue()


def to_latex(table: Table) -> str:
    """A `tabular` with booktabs' rules, numbers to the right."""
    table = table.for_people
    columns = "".join("r" if table.numeric(i) else "l" for i in range(len(table.headings)))
    lines = [
        rf"% {_one_line(latex(table.caption))}",
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(latex(heading) for heading in table.headings) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
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
    special = {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "−": "$-$",
        "±": r"$\pm$",
        "∞": r"$\infty$",
        "–": "--",
        "…": r"\ldots{}",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
    }
    return "".join(special.get(character, character) for character in one_line(text))


def markdown(text: str) -> str:
    """Text for Markdown, none of whose characters is markup."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]()#|~!$])", r"\\\1", line)
    line = re.sub(r"^([-+]) ", r"\\\1 ", line)
    return re.sub(
        r"(?i)\b(https?|ftp|www)([:.])", r"\1&#8203;\2", line
    )  # no link of its own accord


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{latex(cell.text)}}}" if cell.strong else latex(cell.text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in "=+-@\t\r" else value
    return repr(float(value)) if isinstance(value, float) else value
