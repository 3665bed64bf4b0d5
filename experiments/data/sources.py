"""Data sets of four IDX files: the checks of the files, and the cache.

A data set is one entry of a table: its files with their SHA-256 digests, and the sources to try in
order. Only bytes with these digests are ever returned. They are kept in the per-user cache, so that
the next run only reads them. No file of the user's is deleted or changed.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_log = logging.getLogger(__name__)


class DataError(RuntimeError):
    """Data that cannot be read or is wrong, or an option out of range.

    The message is for the user: what was expected, what it got, what to do.
    """


@dataclass(frozen=True)
class File:
    """An IDX file of unsigned bytes: images [n, height, width] or labels [n]."""

    name: str  # without .gz
    shape: tuple[int, ...]
    sha256: str  # of the file, decompressed
    md5: str  # of the file that Paddle's server has, compressed

    @property
    def count(self) -> int:
        """How many images or labels it holds."""
        return self.shape[0]

    @property
    def header(self) -> bytes:
        """Its first bytes: the type (8: unsigned bytes), the number of dimensions, the shape."""
        return struct.pack(f">{1 + len(self.shape)}I", 0x800 + len(self.shape), *self.shape)


@dataclass(frozen=True)
class DataSet:
    """One entry of the table.

    Attributes:
        name: the directory in the cache, the option of `data=`.
        title: the name in messages.
        files: images and labels for training, images and labels for the test.
        sources: by a description for messages, functions that return the files' bytes, in the order
            to try. They raise DataError, OSError or ValueError.
    """

    name: str
    title: str
    files: tuple[File, ...]
    sources: Mapping[str, Callable[[DataSet], list[bytes]]]

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the digests of all files."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()


# --- reading and checking ---


def load(
    dataset: DataSet, root: str | os.PathLike[str] | None = None
) -> tuple[npt.NDArray[np.uint8], ...]:
    """The arrays of a data set's files, uint8, verified against their SHA-256 digests.

    They come from `root`, a directory with the files (plain or .gz), or else from the per-user
    cache, which is filled first.

    Raises:
        DataError: A file is missing, damaged or another one; no source could be reached; the cache
            cannot be written.
    """
    contents = _from_cache(dataset) if root is None else _from_root(dataset, root)
    return tuple(
        np.frombuffer(content, np.uint8, offset=len(file.header)).reshape(file.shape)
        for file, content in zip(dataset.files, contents, strict=True)
    )


def cache_directory(name: str) -> Path:
    """Where a data set's files are kept: in FAIRLOSS_CACHE or the user's cache directory."""
    from platformdirs import user_cache_dir

    base = os.environ.get("FAIRLOSS_CACHE") or user_cache_dir("fairloss", appauthor=False)
    return Path(base).expanduser() / name


def _from_root(dataset: DataSet, root: object) -> list[bytes]:
    """The bytes of the user's own files, each under one of the names in circulation."""
    expected = f"expected a directory with {dataset.title}'s IDX files"
    if not isinstance(root, str | os.PathLike) or not os.fspath(root):
        raise DataError(f"data.root: {expected}, or null; got {root!r}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a directory" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {what}; {expected}")
    paths: dict[File, Path] = {}
    for file in dataset.files:
        dotted = file.name.replace("-idx", ".idx")
        for name in (f"{dotted}.gz", dotted, f"{file.name}.gz", file.name):  # the last one wins
            if (folder / name).is_file():
                paths[file] = folder / name
    if missing := [file.name for file in dataset.files if file not in paths]:
        raise DataError(
            f"data.root: {folder} lacks {', '.join(missing)}; expected all {len(dataset.files)} "
            f"files of {dataset.title}, each plain or with .gz after its name"
        )
    contents = []
    for file, path in paths.items():
        content = read(path)
        shape = idx_array(content, path).shape
        if shape != file.shape:
            raise DataError(
                f"{path} has the shape {list(shape)}, expected {list(file.shape)} as {file.name} "
                f"of {dataset.title} has: is it another file?"
            )
        if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
            raise DataError(
                f"{path} has the right form, but its content is not {dataset.title}'s (several data"
                f" sets use the same names): expected SHA-256 {file.sha256}, got {digest}"
            )
        contents.append(content)
    return contents


def read(path: Path) -> bytes:
    """The bytes of a file, decompressed if its name ends in .gz; DataError where it is damaged."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read()
    except EOFError as error:
        raise DataError(f"{path} is truncated: its gzip stream ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} ends in .gz, but is not gzip or is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def idx_array(content: bytes, path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes; `path` is for the message of a DataError."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        packed = "; it is compressed: add .gz to its name" if content[:2] == b"\x1f\x8b" else ""
        raise DataError(
            f"{path} is not an IDX file of unsigned bytes: expected 00 00 08 and the number of "
            f"dimensions at its beginning, got {content[:4].hex(' ') or 'an empty file'}{packed}"
        )
    size = 4 + 4 * content[3]
    shape = struct.unpack_from(f">{content[3]}I", content.ljust(size, b"\0"), 4)
    if len(content) != size + math.prod(shape):
        raise DataError(
            f"{path} announces {' x '.join(f'{length:,}' for length in shape)} bytes after its "
            f"header of {size}, got {max(0, len(content) - size):,}: is it truncated?"
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(shape)


# --- the cache ---


def _from_cache(dataset: DataSet) -> list[bytes]:
    """The bytes of the cached files, after the cache has been filled where it must be."""
    folder = cache_directory(dataset.name)
    try:
        return [_verified(folder, file) for file in dataset.files]
    except DataError as fault:
        _fill(folder, dataset, fault)
    return [_verified(folder, file) for file in dataset.files]


def _verified(folder: Path, file: File) -> bytes:
    """The bytes of a cached file; DataError where it is missing or damaged."""
    path = folder / file.name
    content = read(path)
    if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise DataError(f"{path} is damaged: expected SHA-256 {file.sha256}, got {digest}")
    return content


def _fill(folder: Path, dataset: DataSet, fault: DataError) -> None:
    """Download a data set into the cache. Of several processes, one does and the others wait."""
    from filelock import FileLock, Timeout

    title = dataset.title
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "fetch.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("another process is downloading %s to %s: waiting for it", title, folder)
            lock.acquire()
        try:
            for file in dataset.files:
                _verified(folder, file)  # another process may have been faster
        except DataError:
            for file, content in zip(dataset.files, _download(folder, dataset, fault), strict=True):
                aside = folder / f".{file.name}.partial"  # overwrites that of a killed process
                aside.write_bytes(content)
                aside.replace(folder / file.name)
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(
            f"the cache directory {folder} of {title} cannot be written: {error}; set the "
            "environment variable FAIRLOSS_CACHE to a directory that can, or pass "
            f"data.root=DIRECTORY with {title}'s IDX files"
        ) from error


def _download(folder: Path, dataset: DataSet, fault: DataError) -> list[bytes]:
    """The bytes of all files, verified, from the first source that has them."""
    title = dataset.title
    _log.info("%s is not complete in %s: downloading it, this once", title, folder)
    reasons = [f"the cache: {fault}"]
    for name, source in dataset.sources.items():
        _log.info("%s: trying %s", title, name)
        try:
            contents = source(dataset)
            for file, content in zip(dataset.files, contents, strict=True):
                digest = hashlib.sha256(content).hexdigest()
                if digest != file.sha256:
                    raise DataError(f"{file.name}: expected SHA-256 {file.sha256}, got {digest}")
        except (DataError, OSError, ValueError) as error:  # pooch raises the last two
            _log.info("%s: %s failed: %s", title, name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("%s: downloaded and verified", title)
            return contents
    raise DataError(
        f"{title} could not be downloaded. Tried:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + "Without a network use data=digits (1,797 smaller images that come with scikit-learn), "
        f"or data.root=DIRECTORY with the files {', '.join(file.name for file in dataset.files)}, "
        "each plain or .gz"
    )
