"""Shared by all tests.

Paddle is loaded the way the program loads it, and the real command is run by subprocess.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments import machine

machine.prepare(threads=1)

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["data=digits", "model=mlp", "epochs=2", "lr=0.003"]

Command = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment() -> dict[str, str]:
    """This process's environment without what MLflow's functions have put there."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}


@pytest.fixture
def fused() -> None:
    """Skips where conv blocks rightly run the stock operators.

    Elsewhere the fused kernel has to be there.
    """
    from experiments import conv_block

    if conv_block.kernel() != "stock":
        return
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    able = {"avx2", "fma"} <= set(flags) and any(map(shutil.which, conv_block._COMPILERS))
    assert not able or os.environ.get("FAIRLOSS_KERNEL"), (
        "no fused kernel, though it can be built here"
    )
    pytest.skip("no fused kernel on this machine; a warning in the log says why")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(
    directory: Path, *options: str, port: int = 0, **environment: str
) -> Iterator[str]:
    """The URI of an `mlflow server` with these options, started in `directory` on a loopback port.

    It ends with the block.
    """
    port = port or free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with (directory / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *options], cwd=directory, env=clean_environment() | environment,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, (directory / "server.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(uri + "/health", timeout=1).close()
                break
            time.sleep(0.5)
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's functions leave their store in the environment.

    Every test begins without, and leaves none.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def run_command() -> Command:
    """`run_command(directory, *arguments, **environment)` runs experiments/run.py there.

    Output and errors are kept as text.
    """

    def run(
        directory: Path, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
            cwd=directory,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, run_command: Command) -> tuple[Path, str]:
    """A directory in which a small sweep was run once (two losses, two seeds).

    What it printed.
    """
    directory = tmp_path_factory.mktemp("sweep")
    done = run_command(directory, "-m", "loss=mse,ce", "seed=0,1", *SMALL)
    assert done.returncode == 0, done.stderr
    return directory, done.stdout
