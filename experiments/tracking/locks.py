"""Locks: on one machine, one process at a time computes a run or leads a sweep.

A lock is a file that the operating system locks for a process. It frees the lock when the process
ends, in whatever way. The files of a database lie beside it, those of a server in the user's cache
directory, by host. A file exists only while its lock is held, or after a process was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from experiments import places
from experiments.tracking.store import Store, StoreError

HOST = socket.gethostname()
PROBE_SECONDS = 2.0  # how long a process may hold a lock only to see whether it is free
_WRITE_SECONDS = 0.05  # how long it may take until the file of a lock says who holds it


class Taken(Exception):
    """Another process holds the lock."""


def path(store: Store, name: str) -> Path:
    """The file of a lock; `name` is a run's identity or the id of a sweep's run."""
    database = places.database(store.uri)
    if database:
        directory = database.with_name(f"{database.name}.locks")
    else:
        cache = os.environ.get("FAIRLOSS_CACHE") or platformdirs.user_cache_dir("fairloss")
        server = hashlib.sha256(store.uri.encode()).hexdigest()[:16]
        directory = Path(cache, "locks", HOST, server)  # a home may be shared by several hosts
    return directory / store.experiment_id / f"{name}.lock"


@contextlib.contextmanager
def lock(store: Store, name: str, *, wait: bool = False, probe: bool = False) -> Iterator[None]:
    """Hold a lock until the end of the block.

    Args:
        store: The store to which it belongs. A full disk is waited for, as with other writes.
        name: As for `path`.
        wait: Whether to wait for a process that only looks whether it is free.
        probe: Whether this process only looks, and closes what a dead one has left.

    Raises:
        Taken: Another process holds it.
        StoreError: Its file cannot be written.
    """
    file, process = path(store, name), os.getpid()
    held = FileLock(file)

    def acquire() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=_WRITE_SECONDS if wait else 0)
        except Timeout:
            if not wait or _read_holder(file):
                raise
            held.acquire(timeout=PROBE_SECONDS)
        text = "" if probe else f"process {process} on {HOST}"
        file.write_text(text, encoding="utf-8")

    try:
        store.patiently(acquire)
    except Timeout:
        raise Taken(f"{_read_holder(file) or 'another process'} computes this run") from None
    except OSError as error:
        raise StoreError(
            f"cannot lock a run: expected to write to {file}, got: {error.strerror}; the file "
            "belongs beside the database, or for a server in the user's cache directory, which "
            "FAIRLOSS_CACHE=DIRECTORY chooses"
        ) from error
    try:
        yield
    finally:
        if os.getpid() == process:  # not in a forked child, which does not hold it
            with contextlib.suppress(OSError):  # read-only by now: an unlocked file does no harm
                file.unlink()
            held.release(force=True)


def holder(store: Store, name: str) -> str:
    """The process that holds a lock, in words; empty if none does. Creates nothing."""
    file = path(store, name)
    if file.exists():
        try:
            with lock(store, name, probe=True):
                pass
        except Taken:
            return _read_holder(file) or "another process"
    return ""


def _read_holder(file: Path) -> str:
    """The process that computes a run, in words; empty where one only looks, or has just ended."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""
