"""Which test examples runs predicted right, as few bytes."""

from __future__ import annotations

import base64
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Correct:
    """Which test examples the runs predicted right.

    bits: a row of bits for each image, one for each of the runs, compressed, in base64. Images
    differ more than runs do, so a row is nearly constant: smaller than a row for each run.
    constant: of the best constant answer, a row for all images.
    """

    runs: list[str]
    images: int
    bits: str
    constant: str

    @cached_property
    def _by_run(self) -> dict[str, np.ndarray]:
        rows = _decompressed(self.bits).reshape(self.images, -1)
        matrix = np.unpackbits(rows, axis=1, count=len(self.runs)).T
        return dict(zip(self.runs, matrix, strict=True))

    def of_run(self, run_id: str) -> np.ndarray | None:
        """Right (1) or wrong (0) of each image, float32; None of a run that is not among these."""
        bits = self._by_run.get(run_id)
        return None if bits is None else bits.astype(np.float32)

    def of_constant(self) -> np.ndarray:
        """On which images the best constant answer is right, bool."""
        return np.unpackbits(_decompressed(self.constant), count=self.images).astype(bool)


def correct(scores: Mapping[str, np.ndarray], constant: np.ndarray | None) -> Correct | None:
    """The content of a file from right (1) or wrong (0) of each image, by run; None without any.

    Args:
        scores: by run id, all of one test set.
        constant: on which images the best constant answer is right, bool.
    """
    if not scores or constant is None:
        return None
    matrix = np.stack([each > 0 for each in scores.values()], axis=1)
    bits, row = (_compressed(np.packbits(each, axis=-1)) for each in (matrix, constant))
    return Correct(list(scores), len(constant), bits, row)


def _compressed(array: np.ndarray) -> str:
    return base64.b64encode(lzma.compress(array.tobytes())).decode()


def _decompressed(text: str) -> np.ndarray:
    return np.frombuffer(lzma.decompress(base64.b64decode(text)), np.uint8)
