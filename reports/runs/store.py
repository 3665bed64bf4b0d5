"""Which store: a file or a server, by its address."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.credentials import shown
from reports.runs.records import ReadError
from reports.runs.server_store import ServerStore
from reports.runs.sqlite_store import SqliteStore
from reports.runs.wording import quote

Store = SqliteStore | ServerStore

DEFAULT_URI = "sqlite:///mlflow.db"  # where the runs go, and `mlflow ui` looks, by themselves


def open_store(uri: str | None) -> Store:
    """The store at `uri`, seen to be one; ReadError otherwise. Nothing is created."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    prefix = "sqlite:///"
    if uri.startswith(prefix) and len(uri) > len(prefix):
        return SqliteStore(Path(uri[len(prefix) :]).absolute())
    if uri.startswith(("http://", "https://")):
        return ServerStore(uri)
    raise ReadError(
        f"expected a store at sqlite:///FILE or http(s)://HOST, came {quote(shown(uri))}; put a tracking server "
        "(`mlflow server`) before any other, and choose with tracking.uri=... or MLFLOW_TRACKING_URI"
    )
