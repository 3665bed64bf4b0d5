"""The real command under way, ended from outside, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from helpers.commands import ROOT, clean_environment, free_port

GRID = [
    "data=digits", "model=convnet", "optimizer=adam", "scheduler=cosine", "epochs=25",
    "hydra.launcher.n_jobs=2", "tracking.log_model=false", "verbose=true",
]  # fmt: skip
SIX = ["-m", "loss=mse,ce", "seed=0,1,2", *GRID]
FOUR = ["-m", "loss=mse,ce", "seed=0,1", *GRID]  # of the six
TINY = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false"]
Numbers = list[tuple[str, int, float]]


class Running:
    """The real command under way, in a group of processes of its own.

    Its output is read as it comes.
    """

    def __init__(
        self, directory: Path, *arguments: str, before: Sequence[str] = (), **environment: str
    ):
        self.process = subprocess.Popen(
            [*before, sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
            cwd=directory, env=clean_environment() | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def saw(self, pattern: str, times: int = 1, within: float = 900) -> bool:
        """Whether so many lines with `pattern` came before the end; waits for them."""
        deadline = time.monotonic() + within
        while True:
            over = self.process.poll() is not None or time.monotonic() > deadline
            if sum(bool(re.search(pattern, line)) for line in self.lines) >= times:
                return True
            if over:
                return False
            time.sleep(0.02)

    def reach(self, epoch: int, times: int = 1) -> None:
        """Wait until so many runs have that epoch behind them."""
        assert self.saw(rf"\| epoch {epoch}/", times), self.output

    def send(self, number: int, victim: str = "everything") -> None:
        """A signal to the parent, a worker or everything; nothing where that has ended."""
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if victim == "everything":
                os.killpg(self.process.pid, number)
                return
            parent = psutil.Process(self.process.pid)
            # Jobs are forked by a server that is the parent's child. Without the compiler, which
            # the server asks for its version, the jobs would rightly run another kernel.
            below = [worker for child in parent.children() for worker in child.children()]
            workers = [worker for worker in below if worker.exe() == parent.exe()]
            (workers[0] if victim == "worker" and workers else parent).send_signal(number)

    def end(self, within: float = 900) -> int:
        """The exit code, once all of the output has been read."""
        code = self.process.wait(within)
        self.reader.join(within)
        return code


Begin = Callable[..., Running]


@pytest.fixture(scope="session")
def interruptible() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C.

    All that this starts in turn.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def begin(interruptible: None) -> Iterator[Begin]:
    """`begin(directory, *arguments, **environment)` starts the command there.

    What is left of it ends with the test.
    """
    begun: list[Running] = []

    def start(directory: Path, *arguments: str, **options: Any) -> Running:
        begun.append(Running(directory, *arguments, **options))
        return begun[-1]

    yield start
    for running in begun:
        running.send(signal.SIGKILL)
        running.end()


def all_runs(directory: Path) -> tuple[MlflowClient, list[Run]]:
    """Every run in the store there, newest first."""
    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    return client, client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )


def jobs(directory: Path) -> list[Run]:
    return [run for run in all_runs(directory)[1] if run.data.tags.get("kind") == "run"]


def numbers(client: MlflowClient, run: Run) -> Numbers:
    """Every number of a run's history but its times, as often as it is there."""
    return sorted(
        (key, metric.step, metric.value)
        for key in run.data.metrics
        if not key.startswith("time/")
        for metric in client.get_metric_history(run.info.run_id, key)
    )


def finished(directory: Path, output: str, *, full_disk: bool = False) -> dict[str, Numbers]:
    """The numbers of each run, of a store that is as if nothing had happened.

    Nothing open, no run twice, of each run its last checkpoint and no leftovers. A disk that was
    full may lack one.
    """
    client, runs = all_runs(directory)
    assert not [run for run in runs if run.info.status == "RUNNING"], output
    mine = client.get_experiment_by_name("digits").experiment_id
    assert {run.info.experiment_id for run in runs} == {mine}
    assert (
        next(run.info.status for run in runs if run.data.tags["kind"] == "sweep") == "FINISHED"
    ), output
    ended = [
        run for run in runs if run.info.status == "FINISHED" and run.data.tags["kind"] == "run"
    ]
    assert set(Counter(run.data.tags["identity"] for run in ended).values()) == {1}, output
    for run in ended:
        assert run.data.tags["outcome"] == "ok"
        (path,) = directory.glob(f"mlartifacts/**/{run.info.run_id}/artifacts/predictions.npz")
        with np.load(path) as arrays:
            assert (arrays["predicted"] == arrays["label"]).mean() == run.data.metrics[
                "test/accuracy"
            ]
    kept = list(directory.glob("outputs/checkpoints/*"))
    assert all(re.search(r"-(\d+)-\1\.checkpoint$", file.name) for file in kept), output
    here = not (directory / "server.log").exists()  # else where the command was started
    assert full_disk or len(kept) == (len(ended) if here else 0), output
    return {run.data.tags["identity"]: numbers(client, run) for run in ended}


@pytest.fixture(scope="session")
def calm(interruptible: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Numbers]:
    """What an undisturbed sweep gives: the numbers of the six runs."""
    directory = tmp_path_factory.mktemp("calm")
    running = Running(directory, *SIX)
    assert running.end() == 0, running.output
    return finished(directory, running.output)


@pytest.fixture
def as_calm(calm: dict[str, Numbers]) -> Callable[[Path, Running, int], None]:
    """`as_calm(directory, running, count)`.

    The command went well, and left the same of so many runs as the calm sweep.
    """

    def check(directory: Path, running: Running, count: int, *, full_disk: bool = False) -> None:
        assert running.end() == 0, running.output
        by_identity = finished(directory, running.output, full_disk=full_disk)
        for identity in calm.keys() & by_identity.keys():  # one by one: the first number tells most
            assert by_identity[identity] == calm[identity], running.output
        same = [identity for identity in calm if by_identity.get(identity) == calm[identity]]
        assert len(same) == running.output.count(" ok ") == count, running.output

    return check


def resumed(directory: Path) -> list[int]:
    """The epochs after which runs went on."""
    tags = [run.data.tags for run in jobs(directory)]
    return [int(each["resumed_after"]) for each in tags if "resumed_after" in each]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int, list[str]]]:
    """The directory and the port of a server that is not there yet.

    The sweep that writes to it.
    """
    port = free_port()
    (tmp_path / "server").mkdir()
    return tmp_path / "server", port, [*FOUR, f"tracking.uri=http://127.0.0.1:{port}"]
