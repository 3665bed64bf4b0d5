"""Forked worker processes, which already have what the command has read."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

CORES = 2
_PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent dies


@contextmanager
def forks(processes: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes to compute in, forked at the first task.

    None for no processes, with one core, and on systems where a fork may not use the libraries of
    the system.
    """
    if not processes or sys.platform != "linux" or len(os.sched_getaffinity(0)) < CORES:
        yield None
        return
    with (
        warnings.catch_warnings(),
        ProcessPoolExecutor(
            processes, multiprocessing.get_context("fork"), _end_with_parent
        ) as pool,
    ):
        # Of forks beside threads, from Python 3.12 on: the forks use nothing that threads lock.
        warnings.filterwarnings("ignore", r".*multi-threaded, use of fork", DeprecationWarning)
        yield pool


def _end_with_parent() -> None:
    """Let Ctrl-C and the death of the parent end this process at once, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
