"""Where the store, its database and its artifacts are, for both halves. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

DEFAULT_URI = "sqlite:///mlflow.db"  # where `mlflow ui` looks by itself
ARTIFACTS = "mlartifacts"  # beside the database

_EXPECTED = "expected a store at sqlite:///FILE or http(s)://HOST, got"
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<file>[^?]*)(?P<query>\?.*)?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")


class AddressError(ValueError):
    """No store has such an address; the message says what was expected, and what to do."""


def store_uri(uri: str | None, directory: str | os.PathLike[str]) -> str:
    """The address of the store at `uri`, or at MLFLOW_TRACKING_URI, or of mlflow.db.

    A relative path starts from `directory`, and links are followed, so that a store has one
    address however it is reached.

    Raises:
        AddressError: no store can be there.
    """
    name, address = "tracking.uri", (uri or "").strip()
    if not address:
        name, address = "MLFLOW_TRACKING_URI", os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    try:
        return _address(address or DEFAULT_URI, Path(directory))
    except AddressError as error:
        raise AddressError(f"{name}: {error}") from None


def _address(typed: str, directory: Path) -> str:
    uri = _SCHEME.sub(lambda scheme: scheme[0].lower(), typed, count=1)
    if parts := _SQLITE.fullmatch(uri):
        if parts["query"]:
            raise AddressError(
                f"expected sqlite:///FILE with nothing after it, got {typed}; leave "
                f"{parts['query']} out (tracking.patience=SECONDS says how long to wait for a "
                "store that is locked), or write %3F where the file's name has a question mark"
            )
        file = unquote(parts["file"])
        if file in ("", ":memory:"):
            raise AddressError(
                f"{_EXPECTED} {typed}; a database in memory would be gone when the command ends, "
                "choose a file"
            )
        path = Path(os.path.realpath(directory / file))
        if file.endswith("/") or path.is_dir():
            raise AddressError(f"{_EXPECTED} {typed}; {path} is a directory, choose a file")
        return sqlite_uri(path)
    if re.match("https?://[^/?#]", uri):
        if "?" in uri or "#" in uri:
            raise AddressError(f"{_EXPECTED} an address with something after ? or #; leave it out")
        return uri.rstrip("/")
    kind = _SCHEME.match(uri)
    shown = f"{kind[0]}:..." if kind and kind[0] not in ("sqlite", "file") else repr(typed)
    raise AddressError(
        f"{_EXPECTED} {shown}; put a tracking server (`mlflow server`) before any other, and "
        "choose with tracking.uri=... or MLFLOW_TRACKING_URI"
    )


def sqlite_uri(path: Path) -> str:
    """The address of an SQLite database, for this project, for MLflow and for SQLAlchemy.

    A percent sign or a question mark has to be encoded. MLflow would then create the directory that
    the encoded path names, unless the address also names the driver.
    """
    if "%" not in str(path) and "?" not in str(path):
        return f"sqlite:///{path}"
    encoded = str(path).replace("%", "%25").replace("?", "%3F")
    return f"sqlite+pysqlite:///{encoded}"


def database(uri: str) -> Path | None:
    """The SQLite database at an address of `store_uri`; None for a server."""
    parts = _SQLITE.fullmatch(uri)
    return Path(unquote(parts["file"])) if parts else None


def exists(uri: str) -> bool:
    """Whether an address of `store_uri` has a store: a database that exists, or any server."""
    path = database(uri)
    return path is None or path.exists()


def probe(directory: Path) -> None:
    """Create a directory, and write to it. Raises OSError where that is not possible."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / ".writable"
    file.touch()
    file.unlink()


def artifacts(database: Path) -> Path:
    """The directory of all artifacts of the store with this SQLite database."""
    return database.parent / ARTIFACTS


def current(recorded: str, database: Path) -> str:
    """The present directory of artifacts whose address was `recorded` when the store was made.

    A store that was moved or copied still has its artifacts beside the database.
    """
    parts = urlsplit(recorded)
    old = Path(url2pathname(parts.path) if parts.scheme else recorded)
    if parts.scheme not in ("", "file") or not old.is_absolute() or ARTIFACTS not in old.parts:
        return recorded
    inside = old.parts[len(old.parts) - old.parts[::-1].index(ARTIFACTS) :]
    new = artifacts(database).joinpath(*inside)
    return new.as_uri() if new != old and (new.exists() or not old.exists()) else recorded


def pass_proxies_by() -> None:
    """Reach servers on this machine directly, whatever proxy the environment names."""
    kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in kept.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in _LOOPBACK if host not in hosts]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


def keep_cache() -> None:
    """Make FAIRLOSS_CACHE absolute, for processes that will work in other directories."""
    if cache := os.environ.get("FAIRLOSS_CACHE"):
        os.environ["FAIRLOSS_CACHE"] = str(Path(cache).expanduser().absolute())
