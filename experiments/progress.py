"""What a sweep shows while it runs: the progress of each job and of the whole. Imports little.

A job tells the launching process of its epochs and ends by records of `logging` that carry an
`Event`. In a terminal the launching process shows a line for each worker and one for the whole, in
a log or a pipe a line for each run that ends. The file run.log of each job keeps every record.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from experiments.terminal import clock, fitted

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 0.1  # from one drawing to the next
_EPOCHS = re.compile(r"tracking\.epochs=\[([\d,]+)\]")

_send: Callable[[Event], None] | None = None  # of a process whose launching process shows progress


class Event(NamedTuple):
    """What a record means for the progress of a sweep.

    Attributes:
        kind: `epoch`, `end` of a run, or `line` for any other record.
        epoch: The epochs that are done.
        epochs: Those of the run.
        once: Of a warning, what it is about. A sweep shows only the first one about this.
        text: The record's text.
        level: The record's level.
    """

    kind: str
    epoch: int = 0
    epochs: int = 0
    once: str = ""
    text: str = ""
    level: int = logging.INFO


_LINE = Event("line")


def epoch(done: int, epochs: int) -> dict[str, Event]:
    """The `extra` of a record about an epoch."""
    return {"event": Event("epoch", done, epochs)}


def end() -> dict[str, Event]:
    """The `extra` of a record about the end of a run."""
    return {"event": Event("end")}


def once(what: str) -> dict[str, Event]:
    """The `extra` of a warning that a sweep shows once for all its runs."""
    return {"event": Event("line", once=what)}


# ---- in a job ------------------------------------------------------------------------------------


def send_events(send: Callable[[Any], None], *, all_output: bool) -> None:
    """Let the records of this process's jobs go to the launching process.

    Args:
        send: Passes a value to it.
        all_output: Whether what is printed goes there, too: it would spoil the lines of a terminal.
    """
    global _send
    _send = send
    if all_output:
        sys.stdout = sys.stderr = _Lines()


class _Lines(io.TextIOBase):
    """A stream whose lines go to the launching process."""

    rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            _forward(_LINE._replace(text=line, level=logging.NOTSET))
        return len(text)


class _ToLauncher(logging.Handler):
    """Sends records to the launching process as events."""

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", _LINE)
        _forward(event._replace(text=self.format(record), level=record.levelno))


def _forward(event: Event) -> None:
    with contextlib.suppress(ConnectionError):  # the launching process was killed; the job goes on
        if _send:
            _send(event)


@contextlib.contextmanager
def in_job(*, verbose: bool) -> Iterator[None]:
    """In the block, show only warnings and the ends of runs on the screen, unless `verbose`.

    Hydra has set logging up for the job. Its file run.log keeps every record.
    """
    root = logging.getLogger()
    for screen in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        if _send:
            root.removeHandler(screen)
            root.addHandler(_ToLauncher())
        elif not verbose:
            screen.addFilter(_is_shown)
    try:
        yield
    finally:
        for handler in root.handlers:  # other launchers use the process again
            handler.removeFilter(_is_shown)
        if isinstance(sys.stdout, _Lines) and sys.stdout.rest:
            sys.stdout.write("\n")  # what was printed last had none


def _is_shown(record: logging.LogRecord) -> bool:
    event = getattr(record, "event", _LINE)
    return event.kind == "end" or (event.kind == "line" and record.levelno >= logging.WARNING)


# ---- in the launching process --------------------------------------------------------------------


class Progress:
    """The progress of jobs, shown from the beginning of a `with` block to its end.

    Args:
        jobs: The overrides of each.
        verbose: Whether every record of the jobs is shown.
        remote: Whether the jobs show their records themselves.
    """

    def __init__(
        self, jobs: Sequence[Sequence[str]], *, verbose: bool = False, remote: bool = False
    ):
        self.epochs = [_epochs(words) for words in jobs]
        self.left = [max(1, len(epochs)) for epochs in self.epochs]  # runs of each job
        self.total = sum(self.left)
        # Jupyter gives the commands of its cells a terminal, but shows each frame below the last.
        cannot_redraw = os.environ.get("TERM") == "dumb" or "JPY_PARENT_PID" in os.environ
        terminal = sys.stdout.isatty() and not cannot_redraw
        self.in_terminal = terminal and not remote
        self.verbose, self.remote = verbose, remote
        self.shares = [0.0] * len(jobs)  # how much of each is done
        self.failed = 0
        self.working: dict[int, str] = {}  # the line of each job that runs
        self.warned: set[str] = set()
        self.begun = self.drawn = time.monotonic()
        self.height = 0  # lines on the screen

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(self, *exception: object) -> None:
        self._clear()

    def __str__(self) -> str:
        parts = [f"{self.total - sum(self.left)}/{self.total} runs"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if done := sum(self.shares):
            rest = (time.monotonic() - self.begun) * (len(self.shares) - done) / done
            parts.append(f"{clock(rest)} left")
        return " · ".join(parts)

    def handle(self, job: int | None, event: Any) -> None:
        """Show an event of a job; without a job, that time has passed."""
        if job is not None and isinstance(event, Event):
            if event.kind == "epoch":
                self.shares[job] = event.epoch / max(1, event.epochs, *self.epochs[job])
                label, *parts = event.text.split(" | ")
                columns = ("epoch", "val/accuracy", "DIVERGED")
                parts_shown = [part for part in parts if part.startswith(columns)]
                self.working[job] = " | ".join([*parts_shown, label])
            if event.kind == "end":
                self.left[job] -= 1
                if not self.left[job]:
                    self.shares[job] = 1.0
            self._print(event)
        if time.monotonic() - self.drawn > _REFRESH_SECONDS:
            self._draw()

    def finish(self, job: int, *, failed: bool) -> None:
        """A job has ended; what is left of its runs has failed, or ended without an event."""
        self.failed += self.left[job] if failed else 0
        self.left[job], self.shares[job] = 0, 1.0
        self.working.pop(job, None)
        if self.remote:
            log.info("%s", self)
        self._draw()

    @contextlib.contextmanager
    def print_above(self) -> Iterator[None]:
        """What is printed in the block stays, above the lines that change."""
        self._clear()
        yield
        self._draw()

    def _print(self, event: Event) -> None:
        """Print the text of an event, where it is to be seen."""
        text, is_repeated = event.text, event.once in self.warned
        self.warned |= {event.once} - {""}
        if event.kind == "end" and not self.in_terminal:
            text = f"{self} | {text}"
        elif not self.verbose and (
            event.kind != "line" or is_repeated or logging.NOTSET < event.level < logging.WARNING
        ):
            return
        with self.print_above():
            if event.level == logging.NOTSET:
                print(text, flush=True)
            else:
                log.log(event.level, "%s", text)

    def _clear(self) -> None:
        if self.height:
            print(f"\x1b[{self.height}F\x1b[J", end="", flush=True)  # up, and erase to the end
        self.height = 0

    def _draw(self) -> None:
        if not self.in_terminal:
            return
        self._clear()
        self.drawn = time.monotonic()
        columns, rows = shutil.get_terminal_size()
        lines = [*list(self.working.values())[: max(0, rows - 3)], str(self)]
        print("\n".join(fitted(line, columns - 1) for line in lines), flush=True)
        self.height = len(lines)


def _epochs(words: Sequence[str]) -> list[int]:
    """The epochs of each run of a job of several; empty for one run."""
    match = next(filter(None, map(_EPOCHS.fullmatch, words)), None)
    return [int(text) for text in match[1].split(",")] if match else []
