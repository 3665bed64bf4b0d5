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
_LINE_SECONDS = 10.0  # from one line to the next about jobs on other machines
_EPOCHS = re.compile(r"tracking\.epochs=\[([\d,]+)\]")

_tell: Callable[[Event], None] | None = None  # of a process whose launching process shows progress


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


def tell(send: Callable[[Any], None], *, all_output: bool) -> None:
    """Let the records of this process's jobs go to the launching process.

    Args:
        send: Passes a value to it.
        all_output: Whether what is printed goes there, too: it would spoil the lines of a terminal.
    """
    global _tell
    _tell = send
    if all_output:
        sys.stdout = sys.stderr = _Lines()


class _Lines(io.TextIOBase):
    """A stream whose lines go to the launching process."""

    rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            _pass(_LINE._replace(text=line, level=logging.NOTSET))
        return len(text)


class _ToLauncher(logging.Handler):
    """Sends records to the launching process as events."""

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", _LINE)
        _pass(event._replace(text=self.format(record), level=record.levelno))


def _pass(event: Event) -> None:
    with contextlib.suppress(ConnectionError):  # the launching process was killed; the job goes on
        if _tell:
            _tell(event)


@contextlib.contextmanager
def in_job(*, verbose: bool) -> Iterator[None]:
    """In the block, show only warnings and the ends of runs on the screen, unless `verbose`.

    Hydra has set logging up for the job. Its file run.log keeps every record.
    """
    root = logging.getLogger()
    for screen in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        if _tell:
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
        self.total = sum(max(1, len(epochs)) for epochs in self.epochs)
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.in_terminal = terminal and not remote
        self.verbose, self.remote = verbose, remote
        self.ended = [0] * len(jobs)  # runs of each job
        self.shares = [0.0] * len(jobs)  # how much of each is done
        self.failed = 0
        self.workers: list[tuple[int, str] | None] = []  # what each does: the job, and its line
        self.warned: set[str] = set()
        self.begun = self.drawn = time.monotonic()
        self.end: float | None = None
        self.height = 0  # lines on the screen

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(self, *exception: object) -> None:
        self._clear()

    def __str__(self) -> str:
        parts = [f"{sum(self.ended)}/{self.total} runs"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.end is not None:
            parts.append(f"{clock(max(0.0, self.end - time.monotonic()))} left")
        return " · ".join(parts)

    def hear(self, job: int | None, event: Any) -> None:
        """Show an event of a job; without a job, that time has passed."""
        if job is not None and isinstance(event, Event):
            if event.kind == "epoch":
                epochs = max([event.epochs, *self.epochs[job]])
                self._advance(job, event.epoch / max(1, epochs))
                self._work(job, event.text)
            if event.kind == "end":
                self.ended[job] += 1
                if self.ended[job] >= max(1, len(self.epochs[job])):
                    self._advance(job, 1.0)
            self._say(event)
        if time.monotonic() - self.drawn > _REFRESH_SECONDS:
            self._draw()

    def over(self, job: int, *, failed: bool) -> None:
        """A job has ended; what is left of its runs has failed, or ended without an event."""
        left = max(1, len(self.epochs[job])) - self.ended[job]
        self.failed += left if failed else 0
        self.ended[job] += left
        self._advance(job, 1.0)
        self.workers = [None if w and w[0] == job else w for w in self.workers]
        self._draw()

    @contextlib.contextmanager
    def above(self) -> Iterator[None]:
        """What is printed in the block stays, above the lines that change."""
        self._clear()
        yield
        self._draw()

    def _advance(self, job: int, share: float) -> None:
        self.shares[job] = share
        done, now = sum(self.shares), time.monotonic()
        if done:
            self.end = now + (now - self.begun) * (len(self.shares) - done) / done

    def _work(self, job: int, text: str) -> None:
        """Put the line of an epoch where the job has its line; the epoch first, the label last."""
        label, *parts = text.split(" | ")
        shown = [part for part in parts if part.startswith(("epoch", "val/accuracy", "DIVERGED"))]
        line = job, " | ".join([*shown, label])
        held = [index for index, worker in enumerate(self.workers) if worker and worker[0] == job]
        free = [index for index, worker in enumerate(self.workers) if worker is None]
        for index in [*held, *free][:1]:
            self.workers[index] = line
        if not held and not free:
            self.workers.append(line)

    def _say(self, event: Event) -> None:
        """Print the text of an event, where it is to be seen."""
        text, known = event.text, event.once in self.warned
        self.warned |= {event.once} - {""}
        if event.kind == "end" and not self.in_terminal:
            text = f"{self} | {text}"
        elif not self.verbose and (
            event.kind != "line" or known or logging.NOTSET < event.level < logging.WARNING
        ):
            return
        with self.above():
            if event.level == logging.NOTSET:
                print(text, flush=True)
            else:
                log.log(event.level, "%s", text)

    def _clear(self) -> None:
        if self.height:
            sys.stdout.write(f"\x1b[{self.height}F\x1b[J")  # up, and erase to the end
            sys.stdout.flush()
        self.height = 0

    def _draw(self) -> None:
        now = time.monotonic()
        if self.remote and now - self.drawn > _LINE_SECONDS:
            self.drawn = now
            log.info("%s", self)
        if not self.in_terminal:
            return
        self.drawn = now
        columns, rows = shutil.get_terminal_size()
        working = [worker[1] if worker else "" for worker in self.workers]
        lines = [fitted(line, columns - 1) for line in [*working[: max(0, rows - 3)], str(self)]]
        up = f"\x1b[{self.height}F" if self.height else ""
        sys.stdout.write(f"{up}\x1b[J" + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self.height = len(lines)


def _epochs(words: Sequence[str]) -> list[int]:
    """The epochs of each run of a job of several; empty for one run."""
    found = next(filter(None, map(_EPOCHS.fullmatch, words)), None)
    return [int(text) for text in found[1].split(",")] if found else []
