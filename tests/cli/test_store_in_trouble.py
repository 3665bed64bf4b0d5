"""A full disk, a locked database and a server that is gone: nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers.commands import but, mlflow_server
from helpers.dying import (
    FOUR,
    finished,
    resumed,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of its own with 32 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    if (
        not sys.platform.startswith("linux")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(ballast: Path) -> None:
    """Leave no byte free on the disk."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_full_disk(small_disk, begin, as_calm):
    first = begin(small_disk, *FOUR, "tracking.patience=5")
    first.reach(8)
    fill(small_disk / "ballast")
    assert first.end() == 1, first.output
    cause = "(database or disk is full|No space left on device)"  # of the database, or of a file
    assert re.search(f"writing to the tracking store timed out after .*{cause}", first.output)
    (small_disk / "ballast").unlink()
    second = begin(small_disk, *FOUR)
    as_calm(small_disk, second, 4)
    assert resumed(small_disk)


def test_a_disk_that_is_full_for_some_time(small_disk, begin, as_calm):
    running = begin(small_disk, *FOUR)
    running.reach(8)
    fill(small_disk / "ballast")
    time.sleep(5)
    (small_disk / "ballast").unlink()
    as_calm(small_disk, running, 4, full_disk=True)


@pytest.mark.parametrize("seconds", [5, 25])  # MLflow itself waits for 20
def test_a_store_that_another_program_locks(tmp_path, begin, as_calm, seconds):
    running = begin(tmp_path, *FOUR)
    running.reach(8)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        other.rollback()
    as_calm(tmp_path, running, 4)


def to_server(port: int, number: int) -> None:
    """A signal to all processes of the server that was started here on that port."""
    (leader,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    os.killpg(leader.pid, number)


@pytest.mark.server
def test_a_server_that_is_gone_for_some_time(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *sweep)
        running.reach(8)
        to_server(port, signal.SIGKILL)
    time.sleep(10)
    with mlflow_server(server, port=port):
        as_calm(server, running, 4)
    assert len(list(tmp_path.glob("outputs/checkpoints/*-25-25.checkpoint"))) == 4


@pytest.mark.server
def test_epochs_that_a_server_does_not_take_are_kept_and_sent_later(tmp_path, begin, served):
    """Runs that train for longer than it is from one sending to the next.

    Both meet the outage while they train.
    """
    server, port, sweep = served
    longer = but(sweep, "epochs=200", "seed=0")
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *longer)
        running.reach(8, times=2)
        to_server(port, signal.SIGKILL)
        assert running.saw("epochs are kept and sent later", times=2), running.output
    with mlflow_server(server, port=port):
        assert running.end() == 0, running.output
        by_identity = finished(server, running.output)
    assert len(by_identity) == 2
    for all_numbers in by_identity.values():
        assert [step for key, step, _ in all_numbers if key == "val/accuracy"] == list(range(201))


@pytest.mark.server
def test_a_server_that_hangs_for_some_time(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *sweep, MLFLOW_HTTP_REQUEST_TIMEOUT="3")
        running.reach(8)
        to_server(port, signal.SIGSTOP)
        time.sleep(10)
        to_server(port, signal.SIGCONT)
        as_calm(server, running, 4)


@pytest.mark.server
def test_a_server_that_is_gone_for_good(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        first = begin(tmp_path, *sweep, "tracking.patience=5")
        first.reach(8)
        to_server(port, signal.SIGKILL)
    assert first.end() == 1, first.output
    assert "writing to the tracking store timed out" in first.output
    assert "Traceback" not in first.output, first.output
    with mlflow_server(server, port=port):
        as_calm(server, begin(tmp_path, *sweep), 4)
    assert resumed(server)


@pytest.mark.server
def test_an_interruption_while_the_server_is_gone_ends_the_command(
    tmp_path, begin, as_calm, served
):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        first = begin(tmp_path, *sweep)
        first.reach(8)
        to_server(port, signal.SIGKILL)
    first.send(signal.SIGINT)
    assert first.end() == 130, first.output
    with mlflow_server(server, port=port):
        as_calm(server, begin(tmp_path, *sweep), 4)
