"""What a sweep shows while it runs: in a terminal, and in a log."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, clean_environment

from experiments import progress, terminal
from experiments.progress import Event, Progress

LABEL = "loss=ce lr=0.003 epochs=4 seed=0 data=digits model=softmax"


class Terminal(io.StringIO):
    """What a terminal shows, as far as our own sequences go."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        lines = [""]
        for part in re.split(r"(\x1b\[\d*[FJ]|\n)", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part.endswith("F") and part.startswith("\x1b"):
                up = int(part[2:-1])
                lines = [*lines[: -up - 1], ""]
            elif part != "\x1b[J":
                lines[-1] += part
        return lines


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", -1.0)
    return screen


def line(done: int, epochs: int = 4) -> Event:
    text = f"{LABEL} | epoch {done}/{epochs} | val/loss 1 | val/accuracy 50.00% | 1s left"
    return Event("epoch", done, epochs, text=text)


def test_a_terminal_has_a_line_for_each_worker_and_one_for_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = terminal_of(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress([["a"], ["b"], ["c", "tracking.epochs=[2,4]"]]) as shown:
        assert screen.shown() == ["0/4 runs", ""]
        now[0] = 10.0
        shown.handle(1, line(2))
        shown.handle(0, line(1))
        first, second, whole, _ = screen.shown()
        assert first == "epoch 2/4 | val/accuracy 50.00% | loss=ce lr=0.003 epochs=…"
        assert second.startswith("epoch 1/4") and len(first) == len(second) == 59
        assert whole == "0/4 runs · 00:30 left"  # 3/4 of a job in 10 s, 9/4 are left
        shown.handle(0, Event("end", text=f"{LABEL} | ok"))
        shown.finish(0, failed=False)
        shown.finish(1, failed=True)
        shown.handle(2, line(2, epochs=2))
        shown.handle(2, Event("end"))
        assert screen.shown()[-2] == "3/4 runs · 1 failed · 00:02 left"
        assert screen.shown()[0].startswith("epoch 2/2")  # the only job that runs
        printed = Event("line", text="printed by a loss", level=logging.NOTSET)
        shown.handle(2, printed)
        assert screen.shown()[0] == "printed by a loss"
    assert screen.shown() == ["printed by a loss", ""]  # nothing is left of the rest


@pytest.mark.parametrize("name", ["TERM=dumb", "JPY_PARENT_PID=1"])  # the latter in Jupyter's cells
def test_a_terminal_that_cannot_redraw_lines_has_those_of_a_log(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    screen = terminal_of(monkeypatch)
    monkeypatch.setenv(*name.split("="))
    caplog.set_level(logging.INFO)
    with Progress([["x"]]) as shown:
        shown.handle(0, line(2))
        shown.handle(0, Event("end", text=f"{LABEL} | ok"))
    assert screen.getvalue() == ""
    assert caplog.messages == [f"1/1 runs · 00:00 left | {LABEL} | ok"]


def test_a_log_has_one_line_for_each_run_and_each_warning_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    with Progress([["x"]] * 320) as shown:
        for job in range(320):
            for done in range(11):
                shown.handle(job, line(done, 10))
            warning = f"{LABEL} | dead-network: says {job}"
            shown.handle(job, Event("line", once="dead", text=warning, level=logging.WARNING))
            shown.handle(job, Event("line", text="starts from epoch 3"))
            shown.handle(job, Event("end", text=f"{LABEL} | test/accuracy {job}"))
            shown.finish(job, failed=False)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 321 and capsys.readouterr().out == ""
    assert texts[0] == f"{LABEL} | dead-network: says 0"
    assert re.fullmatch(rf"17/320 runs · \d\d:\d\d left \| {LABEL} \| test/accuracy 16", texts[17])
    assert texts[-1].startswith("320/320 runs · 00:00 left")


def test_verbose_shows_all_that_a_job_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown = Progress([["x"]], verbose=True)
    for done in range(3):
        shown.handle(0, line(done))
    shown.handle(0, Event("line", text="starts from epoch 3"))
    assert [record.getMessage() for record in caplog.records] == [
        *(line(done).text for done in range(3)), "starts from epoch 3",
    ]  # fmt: skip


def test_a_job_tells_its_launcher_and_goes_on_when_that_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Event] = []
    root, job = logging.getLogger(), logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(root, "handlers", [job])
    monkeypatch.setattr(root, "level", logging.INFO)
    monkeypatch.setattr(progress, "_send", events.append)
    with progress.in_job(verbose=False):
        logging.info("%s | epoch 1/4", "x", extra=progress.epoch(1, 4))
        logging.warning("x | dead", extra=progress.once("dead"))

        def gone(event: Event) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(progress, "_send", gone)
        logging.info("said to nobody")
    assert events == [
        Event("epoch", 1, 4, text="x | epoch 1/4", level=logging.INFO),
        Event("line", once="dead", text="x | dead", level=logging.WARNING),
    ]


def test_what_a_job_prints_last_is_passed_on_without_a_newline_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Event] = []
    monkeypatch.setattr(progress, "_send", events.append)
    monkeypatch.setattr("sys.stdout", progress._Lines())
    with progress.in_job(verbose=False):
        print("one\ntwo", end="")
    assert [event.text for event in events] == ["one", "two"]


def test_without_a_listening_launcher_a_job_shows_ends_and_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(root, "level", logging.INFO)
    with progress.in_job(verbose=False):
        logging.info("an epoch", extra=progress.epoch(1, 4))
        logging.info("starts from epoch 3")
        logging.warning("a warning", extra=progress.once("dead"))
        logging.info("an end", extra=progress.end())
    logging.info("of the launching process")
    assert stream.getvalue() == "a warning\nan end\nof the launching process\n"


def test_a_line_fits_in_columns() -> None:
    assert terminal.fitted("abcdef", 6) == "abcdef"
    assert terminal.fitted("abcdefg", 6) == "abcde…"
    assert terminal.fitted("中文中文", 6) == "中文…"
    assert [terminal.clock(s) for s in (0.4, 41, 3725)] == ["00:00", "00:41", "1:02:05"]


@pytest.mark.slow
def test_a_sweep_in_a_real_terminal(tmp_path: Path) -> None:
    words = ["-m", "loss=ce,mse", "data=digits", "model=softmax", "epochs=2"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "run.py"), *words],
        cwd=tmp_path, env=clean_environment() | {"COLUMNS": "80", "TERM": "xterm"},
        stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the end of a terminal
        assert process.wait(300) == 0
    text = said.decode().replace("\r\n", "\n")
    assert "0/2 runs\n" in text and "2/2 runs · 00:00 left\n" in text
    assert re.search(r"(\n|\x1b\[J)epoch 2/2 \| val/accuracy \d+\.\d\d% \| loss=", text)
    assert "test/accuracy" not in text  # which only a log shows
    epochs = [path.read_text().count("| epoch ") for path in tmp_path.glob("outputs/*/*/*/run.log")]
    assert epochs == [3, 3]
    final = text.rpartition("\x1b[J")[2]
    assert "\x1b" not in final and re.search(r"^ +ce 0\.003 +2 +0 ", final, re.M)
