"""The notebooks in docs/notebooks, in both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import ROOT, clean_environment

ENGLISH, CHINESE = (
    ROOT / "docs" / "notebooks" / f"compare-two-losses{language}.ipynb"
    for language in ("", ".zh-CN")
)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def test_both_languages_have_the_same_code_and_no_outputs() -> None:
    assert cells(ENGLISH, "code") == cells(CHINESE, "code")
    assert len(cells(ENGLISH, "markdown")) == len(cells(CHINESE, "markdown")) == 6
    assert not any(cell["outputs"] for cell in cells(ENGLISH, "code"))


@pytest.mark.slow
def test_the_notebook_trains_draws_and_reads_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = (pytest.importorskip(name) for name in ("nbclient", "nbformat"))
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a report in this process may have set it
    notebook = nbformat.read(ENGLISH, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=600, resources=where)
    client.execute(env=clean_environment())
    outputs = [cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"]
    trained, table, figure, report, verdict = (
        " ".join(f"{each.get('text', '')} {each.get('data', {})}" for each in output)
        for output in outputs[1:]
    )
    assert "12 runs" in trained and table.count("ok") >= 12 and "image/png" in figure
    assert "report/index.html" in report
    assert "mse is worse than ce" in verdict and (tmp_path / "report" / "index.html").exists()
