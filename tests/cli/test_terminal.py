"""The programs print every character, whatever the encoding of a terminal or a log file."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, RUN, clean_environment

from experiments import terminal

ENCODINGS = ["cp1252", "gbk", "ascii"]
NAME = "中文 − 😀"


def run_in(encoding: str, directory: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    """A command whose output has this encoding."""
    environment = clean_environment() | {"PYTHONIOENCODING": encoding}
    how = {"cwd": directory, "env": environment, "capture_output": True, "timeout": 300}
    return subprocess.run(command, **how)


def spelt(text: str, encoding: str) -> str:
    """The text as a stream of this encoding shows it."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-8"])
def test_no_character_is_lost(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    terminal.accept_any_character()
    text = "−57.78 ± 1… of 中文 😀 é \udc80"
    for stream in streams.values():
        print(text, end="", file=stream, flush=True)
        shown = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        assert shown == spelt(text, encoding)
    assert encoding != "ascii" or shown.endswith(r"of \u4e2d\u6587 \U0001f600 \xe9 \udc80")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_report_in_any_encoding(encoding: str, sweep: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copy(sweep[0] / "mlflow.db", tmp_path)
    chosen = sweep[1].split()[-1]  # "sweep=ID": other tests run more in the same directory
    command = [sys.executable, str(ROOT / "reports" / "generate.py"), chosen]
    done = run_in(encoding, tmp_path, *command, "formats=[svg]", "output=o")
    said = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr.decode(encoding)
    page = (tmp_path / "o" / "index.html").read_text(encoding="utf-8")
    (verdict,) = [line.strip() for line in said.splitlines() if line.startswith("  mse against ce")]
    assert verdict.split(" (")[0] in spelt(page, encoding)
    minus = re.escape(spelt("−", encoding))
    difference = rf"{minus}\d\.\d\d points of test accuracy"
    assert re.search(rf"undecided \(too few seeds\): {difference}", verdict)
    assert "report: o/index.html" in said


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_run_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    options = ["loss=ce", "data=digits", "model=softmax", "epochs=0", f"experiment='{NAME}'"]
    done = run_in(encoding, tmp_path, *RUN, *options)
    said = done.stdout.decode(encoding) + done.stderr.decode(encoding)
    assert done.returncode == 0, said
    assert "Traceback" not in said and "Logging" not in said
    (line,) = [line for line in done.stdout.splitlines() if b"generate report" in line]
    typed = subprocess.check_output(["bash", "-c", b'generate() { printf "%s\\n" "$@"; }\n' + line])
    assert f'experiment="{NAME}"' in typed.decode().splitlines()
