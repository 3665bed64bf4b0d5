"""Fresh processes: each runs one function, once, untouched by other runs and checks.

A sweep forks them from a server that has loaded Paddle and MLflow but no module of a user's
(`initialize_workers`); other commands fork them from themselves, before they load such a module.
Hydra imports this file at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from experiments import machine

GRACE_SECONDS = 20  # for a process that is stopped, to write that to the store

_PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent dies

Result = TypeVar("Result")

_server = False  # whether this process has started one


class Died(Exception):
    """A process ended without a result.

    Attributes:
        cause: A signal's name, or 'exit code 3'.
        last: The last value that it sent.
    """

    def __init__(self, cause: str, last: Any):
        super().__init__(cause, last)
        self.cause, self.last = cause, last

    def __str__(self) -> str:
        return f"{'was ended by' if self.cause.startswith('SIG') else 'ended with'} {self.cause}"


class Process:
    """A fresh process that calls `function(send, *arguments)`, which can all be pickled.

    `send` passes a value on at once, before the result.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        context = _context()
        self.connection, child_end = context.Pipe(duplex=False)
        # No daemon: that may not have processes of its own, which a user's data may need.
        call = child_end, function, arguments
        self.process = context.Process(target=_call, args=call)
        self.process.start()
        child_end.close()
        self.last: Any = None

    def receive(self) -> tuple[bool, Any]:
        """Whether the process is over, and a value, its result, its exception, or Died."""
        try:
            over, value = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return True, Died(_cause(self.process.exitcode), self.last)
        if not over:
            self.last = value
        return over, value

    def stop(self) -> None:
        """Ask the process to end, as Ctrl-C would."""
        if self.process.exitcode is None:
            self.process.terminate()

    def join(self, on_value: Callable[[Any], None] | None = None) -> None:
        """Wait for the end, which comes after `GRACE_SECONDS` at the latest.

        `on_value` gets what the process sends until then.
        """
        end = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(EOFError, OSError):
            while on_value and self.connection.poll(max(0.0, end - time.monotonic())):
                over, value = self.connection.recv()
                if not over:
                    on_value(value)
        self.process.join(max(0.0, end - time.monotonic()))
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.connection.close()


Task = tuple[Any, Callable[..., Any], tuple[Any, ...]]  # its key, the function, its arguments


def results(
    tasks: deque[Task], slots: int, on_value: Callable[[Any, Any], None] = lambda key, value: None
) -> Generator[tuple[Any, Any], None, None]:
    """Key and result, or exception, of each task as it ends: a process each, `slots` at once.

    Tasks that are taken out of `tasks` meanwhile are not begun. Close the iterator to stop those
    that run.

    Args:
        tasks: The tasks.
        slots: How many run at once.
        on_value: Gets the key of a task and what its process sends before its result;
            None, None after a second in which no process sends anything.
    """
    running: dict[Connection, tuple[Any, Process]] = {}
    try:
        while tasks or running:
            while tasks and len(running) < slots:
                key, function, arguments = tasks.popleft()
                process = Process(function, *arguments)
                running[process.connection] = key, process
            ready = multiprocessing.connection.wait(list(running), timeout=1.0)
            if not ready:
                on_value(None, None)
            for connection in ready:
                assert isinstance(connection, Connection)
                key, process = running[connection]
                over, result = process.receive()
                if over:
                    del running[connection]
                    process.join()
                    yield key, result
                else:
                    on_value(key, result)
    finally:
        for _, process in running.values():
            process.stop()
        for key, process in running.values():
            process.join(functools.partial(on_value, key))


def in_fork(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call the function in a fork of this process, or in this process where forking is not safe.

    The fork shares the standard input, and Ctrl-C and SIGTERM end it, too.

    Raises:
        Exception: What the function raises; Died where the process ended without a result.
    """
    if not machine.may_fork():
        return function(*arguments)
    process = Process(_with_input, os.getpid(), function, arguments)
    try:
        over = False
        while not over:
            over, result = process.receive()
    except BaseException:
        process.stop()
        raise
    finally:
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _with_input(
    send: Callable[[Any], None], parent: int, function: Callable[..., Any], arguments: Any
) -> Any:
    """In the fork of `in_fork`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os.kill(os.getpid(), signal.SIGKILL)
    with contextlib.suppress(OSError):  # it may be closed
        sys.stdin = os.fdopen(0, closefd=False)  # for a debugger; `multiprocessing` closes it
    machine.take_signals()
    return function(*arguments)


def initialize_workers(threads: int) -> None:
    """Start, once, the server from which processes are forked; it loads in the background."""
    global _server
    machine.prepare(threads)
    if machine.may_fork() and not _server:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(["experiments.worker_init"])
        multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]
        _server = True


def _context() -> Any:
    if not machine.may_fork():
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver" if _server else "fork")


def _call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """In the process: call the function, and pass on what comes of it."""
    # Ctrl-C reaches all processes of the group; the first one decides, and sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which the server ignores
    machine.show_crashes()
    lock = threading.RLock()

    def send(value: Any, over: bool = False) -> None:
        with lock:  # a user's thread may print
            connection.send((over, value))

    with contextlib.suppress(ConnectionError, KeyboardInterrupt):  # the parent process has ended
        try:
            result = function(send, *arguments)
        except Exception as error:
            result = picklable(error)
        send(result, over=True)


def picklable(error: Any) -> Any:
    """`error`, or a RuntimeError with its text where other processes cannot unpickle it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"
