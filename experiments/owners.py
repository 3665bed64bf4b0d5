"""Who runs something, and whether they still live.

An owner is a process. On one machine its id, its start and the machine's boot tell at once whether
it lives; of a process on another machine only what it says of itself is known, so there it counts
as dead after a minute of silence.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

SILENCE_SECONDS = 60.0  # after which a process elsewhere counts as dead
_CLOCK_SECONDS = 5.0  # what a process's start may shift by when the system's clock is set


@dataclass(frozen=True)
class Owner:
    """A process: where and which it is, `started` and `said` in seconds since 1970.

    `token` is its own among all processes.
    """

    host: str
    place: str
    pid: int
    started: float
    said: float
    token: str

    def lives(self, heard: float = 0.0) -> bool:
        """Whether the process lives; `heard` is when it last said so, in seconds since 1970."""
        if self.place == _place():
            try:
                process = psutil.Process(self.pid)
                same = abs(process.create_time() - self.started) < _CLOCK_SECONDS
                return same and process.status() != psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                return False
        return time.time() - max(self.said, heard) < SILENCE_SECONDS

    def text(self) -> str:
        """What `parse` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def parse(text: str) -> Owner:
    """The owner that wrote `text`."""
    return Owner(**json.loads(text))


def me() -> Owner:
    """This process, as of now."""
    pid = os.getpid()
    return Owner(
        socket.gethostname(),
        _place(),
        pid,
        psutil.Process(pid).create_time(),
        time.time(),
        _token(pid),
    )


@functools.cache
def _token(pid: int) -> str:  # by process: a fork must not go on with its parent's
    return uuid.uuid4().hex


@functools.cache
def _place() -> str:
    """What processes that can see each other have in common.

    Host, boot, and on Linux the namespace of process ids.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return " ".join(
            [
                socket.gethostname(),
                boot.read_text().strip(),
                str(Path("/proc/self/ns/pid").readlink()),
            ]
        )
    except OSError:  # not Linux: processes of before the boot are known by their start
        return socket.gethostname()
