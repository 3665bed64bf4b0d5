"""Which store: a file or a server, by its address."""

from __future__ import annotations

from pathlib import Path

from experiments import places
from reports.runs.records import ReadError
from reports.runs.server_store import ServerStore
from reports.runs.sqlite_store import SqliteStore

Store = SqliteStore | ServerStore


def open_store(uri: str | None) -> Store:
    """The store at `uri`, seen to be one; ReadError otherwise. Nothing is created."""
    try:
        uri = places.store_uri(uri, Path.cwd())
    except places.AddressError as error:
        raise ReadError(str(error)) from error
    path = places.database(uri)
    return SqliteStore(path) if path else ServerStore(uri)
