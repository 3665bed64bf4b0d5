"""Commands in forks of a process that has already imported what they import.

A fork runs the program as its own interpreter would: `__main__`, arguments, directory, environment,
output, exit code and shutdown. Only the seconds of the imports are saved.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 600  # seconds, after which a fork is killed


class Forks:
    """Runs programs in forks of one process, which has loaded `level`.

    Level: 'light' for what every command imports, 'paddle' for Paddle as well, 'all' for MLflow,
    too.
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


def load(level: str) -> None:
    """Import what commands import."""
    for name in LIGHT:
        importlib.import_module(name)
    if level != "light":
        importlib.import_module("experiments.machine").load_paddle()
    for name in ALL if level == "all" else []:
        importlib.import_module(name)


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


if __name__ == "__main__":
    load(sys.argv[1])
    sys.argv = served()
    runpy.run_path(sys.argv[0], run_name="__main__")
