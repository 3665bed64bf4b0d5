"""Tables and figures in a LaTeX document."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.pages import make_page
from helpers.synthetic_runs import measured, predictions, runs

from reports.figures import palette
from reports.page import table as page_table

LOSSES = ("ce", "focal gamma=3", "mse", 'my_loss "50%" & $x$ #{}~^\\|<>')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("pdflatex") is None,
        reason="needs pdflatex: apt-get install texlive-latex-recommended",
    ),
]


def compiled(directory: Path, width: str, lines: list[str]) -> tuple[list[float], int]:
    """How far boxes stick out of the text, in points, and the number of pages."""
    head = [
        r"\documentclass{article}",
        rf"\usepackage[textwidth={width}in,textheight=9in]{{geometry}}",
        r"\usepackage{booktabs,graphicx}",
        r"\begin{document}",
    ]
    text = "\n".join([*head, *lines, r"\end{document}"])
    (directory / "paper.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (directory / "paper.log").read_text(errors="replace").replace("\n", " ")
    pages = re.search(r"Output written on paper.pdf \((\d+) pages?", log)
    assert pages
    return [float(each) for each in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)], int(pages[1])


@pytest.mark.parametrize("width", ["page", "column"])
def test_every_table_and_figure_fits_the_width_of_a_text(tmp_path: Path, width: str) -> None:
    summary, curves = measured(*runs(LOSSES, seeds=range(3), epochs=(2, 3)))
    report = make_page(summary, curves, read_predictions=predictions)[1]
    assert len(report.tables) >= 10 and len(report.figures) >= 12
    lines = []
    for name, table in report.tables.items():
        (tmp_path / f"{name}.tex").write_text(page_table.to_latex(table), encoding="utf-8")
        lines.append(rf"\noindent\input{{{name}.tex}}\par\medskip")
    with palette.style(width=width):
        for name, figure in report.figures.items():
            (tmp_path / f"{name}.pdf").write_bytes(palette.pdf(figure.draw()))
            lines.append(rf"\noindent\includegraphics{{{name}.pdf}}\par\medskip")
    wide, pages = compiled(tmp_path, f"{palette.WIDTHS[width]}", lines)
    assert max(wide, default=0) <= 1 and pages > 2
