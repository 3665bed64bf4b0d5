"""`generate report watch=true`: the page of a sweep under way, and the report at its end."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import ROOT, SMALL, Report, clean_environment
from helpers.pages import NOT_DRAWN
from helpers.stores import HISTORY, Store

from reports import watch
from reports.page.figure import PageFigure
from reports.runs import ReadError

GRID = [f"{loss}{seed}" for loss in ("ce", "mse") for seed in range(3)]


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A sweep of six runs, of which one goes on."""
    monkeypatch.setattr(PageFigure, "drawn", NOT_DRAWN)
    store = Store(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    store.parent = store.add_sweep("ce mse (6 runs)", GRID, status="RUNNING")
    add(store, "ce", 0, status="RUNNING", outcome=None, history={0: HISTORY[0]}, test={})
    return store


def add(store: Store, loss: str, seed: int, accuracy: float = 0.5, **values: object) -> str:
    return store.add(
        f"{loss}{seed}",
        own={"loss": loss, "seed": seed},
        tags={"mlflow.parentRunId": store.parent, "init_hash": seed, "order_hash": seed},
        **{"test": {"test/accuracy": accuracy}} | values,
    )


def test_the_page_follows_a_sweep_and_the_report_ends_it(
    store: Store, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    load = watch.sweeps

    def turn(seconds: float) -> None:
        assert seconds >= watch.LEAST_SECONDS
        (path,) = (store.path.parent / "outputs" / "reports").glob("*/index.html")
        pages.append(path.read_text(encoding="utf-8"))
        monkeypatch.setattr(watch, "sweeps", load)
        if len(pages) == 1:
            for seed in range(3):
                add(store, "ce", seed, 0.5 + 0.001 * seed)
            for seed in range(2):
                add(store, "mse", seed, 0.9 + 0.001 * seed)
        elif len(pages) == 2:
            monkeypatch.setattr(watch, "sweeps", locked)
        elif len(pages) == 3:
            add(store, "mse", 2, 0.902)
            store.client.set_terminated(store.parent, "FINISHED")

    def locked(*arguments: object) -> None:
        raise ReadError("the database is locked")

    monkeypatch.setattr(watch.time, "sleep", turn)
    code, text = report(store.path.parent, "watch=true", "formats=[svg]")
    assert code == 0, text
    first, second, third = pages
    assert '<meta http-equiv="refresh" content="10">' in first
    assert '<progress max="6" value="0"' in first
    assert "0 of 6 runs are done, 1 is under way" in text_of(first)
    assert "ce, 0.003, seed 0: 10.00 %" in first and "No run has finished" in first
    words = text_of(second)
    assert "5 of 6 runs are done, 0 are under way, about 5.0s left" in words
    assert words.startswith("So far: ")
    assert "mean squared error (mse) against cross-entropy (ce) is undecided" in words.lower()
    assert second == third and "the store will be read again: the database is locked" in text
    (path,) = (store.path.parent / "outputs" / "reports").glob("*/index.html")
    last = path.read_text(encoding="utf-8")
    for gone in ('http-equiv="refresh"', "<progress", "Runs under way"):
        assert gone not in last
    assert "Mean squared error (mse) is better" in last
    assert (path.parent / "verdicts.json").exists() and f"sweep={store.parent}" in last


def test_ctrl_c_leaves_the_last_page(
    store: Store, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    code, text = report(store.path.parent, "watch=true")
    assert code == 130 and text.endswith("stopped; the last page stays\n")
    (path,) = (store.path.parent / "outputs" / "reports").glob("*/index.html")
    assert "0 of 6 runs are done" in path.read_text(encoding="utf-8")


def test_without_a_sweep_there_is_nothing_to_watch(
    empty_store: Path, tmp_path: Path, report: Report
) -> None:
    Store(shutil.copy(empty_store, tmp_path / "mlflow.db")).add()
    code, text = report(tmp_path, "watch=true")
    assert code == 1 and "watch: expected a sweep, got none" in text
    code, text = report(tmp_path, "watch=true", "aa=ce")
    assert code == 1 and "aa and watch: expected one of them, got both" in text


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.mark.slow
def test_a_real_sweep_is_followed_to_its_end(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LEAST_SECONDS", 1.0)
    program = [sys.executable, str(ROOT / "experiments" / "run.py")]
    options = ["-m", "loss=mse,ce", *SMALL, "seed=range(6)"]
    with (tmp_path / "sweep.log").open("w") as log:
        sweep = subprocess.Popen(
            [*program, *options], cwd=tmp_path, env=clean_environment(), stdout=log, stderr=log
        )
    try:
        while sweep.poll() is None and not begun(f"sqlite:///{tmp_path / 'mlflow.db'}"):
            time.sleep(0.2)
        code, text = report(tmp_path, "watch=true", "formats=[svg]")
    finally:
        assert sweep.wait(timeout=300) == 0
    assert code == 0 and re.search(r"^\d+/12 runs", text, re.MULTILINE), text
    (path,) = (tmp_path / "outputs" / "reports").glob("*/index.html")
    page = path.read_text(encoding="utf-8")
    assert "12 runs" in page and 'http-equiv="refresh"' not in page


def begun(uri: str) -> bool:
    """Whether a store has a sweep; False while it is being created."""
    try:
        return len(watch.sweeps(uri)) > 0
    except ReadError:
        return False
