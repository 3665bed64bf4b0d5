"""The real programs: run by subprocess, in an environment of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LOSS_OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
SMALL = ["data=digits", "model=mlp", "epochs=2", "lr=0.003"]


def but(words: list[str], *others: str) -> list[str]:
    """The words of a command, where `others` replace those with the same names."""
    names = {word.partition("=")[0] for word in others}
    return [*(word for word in words if word.partition("=")[0] not in names), *others]


Command = Callable[..., subprocess.CompletedProcess[str]]
RUN = [sys.executable, str(ROOT / "experiments" / "run.py")]
OF_A_STORE: dict[str, Callable[[str], tuple[list[str], dict[str, str]]]] = {
    "override": lambda uri: ([f"tracking.uri={uri}"], {}),
    "environment": lambda uri: ([], {"MLFLOW_TRACKING_URI": uri}),
}
"""The words and the environment by which a command is told of a store."""


def clean_environment() -> dict[str, str]:
    """This process's environment without what MLflow's functions have put there."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until `condition()` is true; fail after a time that only a fault takes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true after {seconds} s"
        time.sleep(0.1)


@contextlib.contextmanager
def mlflow_server(
    directory: Path, *options: str, port: int = 0, **environment: str
) -> Iterator[str]:
    """The URI of an `mlflow server` with these options, started in `directory` on a loopback port.

    It ends with the block.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    with (directory / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *options], cwd=directory, env=clean_environment() | environment,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, (directory / "server.log").read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(uri + "/health", timeout=10).close()
            return True
        return False

    try:
        wait_for(answers)
        yield uri
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, number)
                server.wait(60)


class Said(NamedTuple):
    """How a command ended, and what it printed (its last words included)."""

    code: int
    text: str


Report = Callable[..., Said]
