"""A small MNIST."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.data import DataError, downloads, sources

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in downloads.MNIST.files)
PADDLE, PACKAGE = downloads.MNIST.sources


def idx_images(images: np.ndarray) -> bytes:
    return struct.pack(">IIII", 0x803, *images.shape) + images.astype(np.uint8).tobytes()


def idx_labels(labels: np.ndarray) -> bytes:
    return struct.pack(">II", 0x801, len(labels)) + labels.astype(np.uint8).tobytes()


def fail(reason: str) -> Callable[[sources.DataSet], list[bytes]]:
    """A source that gives nothing, for this reason."""

    def source(dataset: sources.DataSet) -> list[bytes]:
        raise DataError(reason)

    return source


class Tiny:
    """60 + 20 random images in MNIST's form."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (80, 28, 28))
        self.labels = np.arange(80) % 10
        self.contents = [
            idx_images(self.images[:60]),
            idx_labels(self.labels[:60]),
            idx_images(self.images[60:]),
            idx_labels(self.labels[60:]),
        ]
        self.files = tuple(
            dataclasses.replace(
                file,
                shape=(60 if "train" in file.name else 20, *file.shape[1:]),
                sha256=hashlib.sha256(content).hexdigest(),
                md5=hashlib.md5(gzip.compress(content, mtime=0)).hexdigest(),
            )
            for file, content in zip(downloads.MNIST.files, self.contents, strict=True)
        )
        self.dataset = dataclasses.replace(downloads.MNIST, files=self.files)

    def served_by(self, *functions) -> sources.DataSet:
        """The data set with these functions for Paddle's download and for the package."""
        named = dict(zip((PADDLE, PACKAGE), functions, strict=False))
        return dataclasses.replace(self.dataset, sources=named)

    def write(self, folder: Path, *, packed: bool = False, dotted: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in zip(self.files, self.contents, strict=True):
            name = file.name.replace("-idx", ".idx") if dotted else file.name
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)
        return folder

    def check(self, arrays: tuple[np.ndarray, ...]) -> None:
        for array, expected in zip(
            arrays,
            (self.images[:60], self.labels[:60], self.images[60:], self.labels[60:]),
            strict=True,
        ):
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, expected)
