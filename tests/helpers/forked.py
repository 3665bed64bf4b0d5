"""Commands in forks of a process that has already imported what they import.

A fork runs the program as its own interpreter would: `__main__`, arguments, directory, environment,
output, exit code and what it registered with `atexit`. Only the seconds of the imports are saved,
and those in which an interpreter takes its modules apart.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TIMEOUT = 1800  # seconds, after which a fork is killed


ROOT = Path(__file__).resolve().parents[2]


def train(
    directory: Path, *arguments: str, loaded: str = "all", **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python experiments/run.py ARGUMENTS` in this directory, in a fork with `loaded`."""
    return _run(loaded, "experiments/run.py", directory, arguments, environment)


def generate(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python reports/generate.py ARGUMENTS` in this directory, in a fork."""
    return _run("report", "reports/generate.py", directory, arguments, environment)


def _run(
    level: str, program: str, directory: Path, arguments: Sequence[str], more: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    from helpers.commands import clean_environment

    environment = clean_environment() | more
    return _forks(level).run(ROOT / program, list(arguments), directory, environment)


@functools.cache
def _forks(level: str) -> Forks:
    from helpers.commands import clean_environment

    forks = Forks(level, clean_environment())
    atexit.register(forks.close)
    return forks


class Forks:
    """Runs programs in forks of one process, which has loaded what `level` needs.

    Level: 'light' for what every command imports, 'paddle' for Paddle as well, 'all' for MLflow,
    too; 'report' for what a report imports.
    """

    def __init__(self, level: str, environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, level], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(
        self, program: Path, arguments: list[str], directory: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """The program with these arguments, as `subprocess.run` with its output as text."""
        assert self._server.stdin and self._server.stdout
        with tempfile.TemporaryDirectory() as kept:
            output, errors = Path(kept, "stdout"), Path(kept, "stderr")
            words = [str(program), *arguments]
            request = [words, str(directory), environment, str(output), str(errors)]
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(
                words, code, output.read_text("utf-8"), errors.read_text("utf-8")
            )

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


LIGHT = ["hydra.main", "experiments.composition", "experiments.config", "experiments.places"]
ALL = ["experiments.training", "experiments.tracking.worker_init", "sklearn.datasets"]
REPORT = ["reports.analysis", "reports.page.report", "experiments.losses"]


def without_syncing() -> None:
    """Let SQLite leave to the system when its files reach the disk.

    MLflow commits several times a run, and each time waits some 15 ms for the disk.
    """
    from sqlalchemy import Engine, event

    def relax(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            with contextlib.suppress(sqlite3.DatabaseError):  # a test's file that is no database
                connection.execute("PRAGMA synchronous=OFF").close()

    event.listen(Engine, "connect", relax)


def load(level: str) -> None:
    """Import what commands import."""
    for name in LIGHT:
        importlib.import_module(name)
    if level != "light":
        importlib.import_module("experiments.machine").load_paddle()
    for name in {"all": ALL, "report": REPORT}.get(level, []):
        importlib.import_module(name)
    if level in ("all", "report"):
        without_syncing()


def served() -> list[str]:
    """In a fork: the program and its arguments, once all is as they want it.

    The process itself forks once per request, answers with the exit code, and ends with its input.
    """
    for line in sys.stdin:
        words, directory, environment, output, errors = json.loads(line)
        process = os.fork()
        if process:
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
            continue
        signal.alarm(TIMEOUT)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        for number, path in enumerate((os.devnull, output, errors)):
            flags = os.O_RDWR | os.O_CREAT
            os.dup2(os.open(path, flags, 0o600), number)
        sys.path[:1] = [
            str(Path(words[0]).parent), *filter(None, environment.get("PYTHONPATH", "").split(":"))
        ]  # fmt: skip
        if environment.get("PYTHONPROFILEIMPORTTIME"):
            for name in list(sys.modules):
                _imported("import", (name,))
            sys.addaudithook(_imported)
        return words
    os._exit(0)


def _imported(event: str, arguments: tuple[object, ...]) -> None:
    """Print an import as PYTHONPROFILEIMPORTTIME=1 does, which is read at the start of Python."""
    if event == "import":
        sys.stderr.write(f"import time: | | {arguments[0]}\n")


def run(words: list[str]) -> None:
    """The program to its end, without the second that taking apart all modules would take."""
    code = 1

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # before the program registers anything, so that it comes last
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


if __name__ == "__main__":
    load(sys.argv[1])
    gc.freeze()  # what is shared is not copied to be looked through
    run(served())
