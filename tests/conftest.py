"""Shared by all tests.

Paddle is loaded the way the program loads it, and the real command is run by subprocess.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from helpers.commands import SMALL, Command, Report, Said, clean_environment
from helpers.forked import train, without_syncing

from experiments import machine

if TYPE_CHECKING:
    from helpers.stores import Store

machine.prepare(threads=1)
without_syncing()


def pytest_collection_finish() -> None:
    """Let Python's collector skip all that the imports created: none of it is garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fused() -> None:
    """Skip where this machine cannot build the fused kernel; fail where it should have."""
    from experiments.kernels import conv_block

    if conv_block.kernel() != "stock":
        return
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    able = {"avx2", "fma"} <= set(flags) and any(map(shutil.which, conv_block._COMPILERS))
    assert not able or os.environ.get("FAIRLOSS_KERNEL"), (
        "no fused kernel, though it can be built here"
    )
    pytest.skip("no fused kernel on this machine; a warning in the log says why")


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take MLflow's store out of the environment, before and after each test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def run_command() -> Command:
    """`run_command(directory, *arguments, **environment)` runs experiments/run.py there.

    Output and errors are kept as text. It runs in a fork, see `helpers.forked`.
    """
    return train


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace drawings by empty ones, which take no time, where a test is not about them."""
    from reports.page import figure

    def empty(each: object, width: str, formats: Sequence[str]) -> figure.Drawings:
        blank = '<svg viewBox="0 0 1 1"></svg>'
        return figure.Drawings(blank, blank, dict.fromkeys(formats, blank))

    monkeypatch.setattr(figure, "drawings", empty)
    monkeypatch.setattr(figure, "PARALLEL_FROM", 1000)  # in this process


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this session, which all processes of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def sweep(shared_directory: Path, run_command: Command) -> tuple[Path, str]:
    """The directory of a small sweep (two losses, two seeds), and what the command printed."""
    directory, printed = shared_directory / "sweep", shared_directory / "sweep.txt"
    with FileLock(shared_directory / "sweep.lock"):
        if not printed.exists():
            directory.mkdir(exist_ok=True)
            done = run_command(directory, "-m", "loss=mse,ce", "seed=0,1", *SMALL)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    return directory, printed.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def empty_store(shared_directory: Path) -> Path:
    """A database with MLflow's tables; to create them takes seconds, so it is done once."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = shared_directory / "empty" / "mlflow.db"
    with FileLock(shared_directory / "empty.lock"):
        if not path.exists():
            path.parent.mkdir()
            nowhere = (path.parent / "nowhere").as_uri()
            SqlAlchemyStore(f"sqlite:///{path}", nowhere).engine.dispose()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """An empty store in `mlflow.db` of the test's directory, in which runs are made up."""
    from helpers.stores import Store

    return Store(shutil.copy(empty_store, tmp_path / "mlflow.db"))


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """`report(directory, *arguments)` is `generate report ...` there, in this process."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)

    def run(directory: Path, *arguments: str) -> Said:
        monkeypatch.chdir(directory)
        from reports import generate

        monkeypatch.setattr(sys, "argv", ["generate", "report", *arguments])
        code: int | str | None = 0
        try:
            generate.main()
        except SystemExit as end:
            code = end.code
        words = capsys.readouterr()
        errors = words.err.removeprefix("reading the runs\n")  # which the report begins with
        text = words.out + errors + (code if isinstance(code, str) else "")
        return Said(code if isinstance(code, int) else 1, text)

    return run
