"""Label noise: drawn from the seed, or the noisy labels of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.data.arrays import checked_labels, places_of
from experiments.data.sources import DataError

Ints = npt.NDArray[np.int64]

NOISE_KINDS = ("symmetric", "asymmetric", "uniform")


def drawn(
    labels: Ints,
    generator: np.random.Generator,
    rate: float,
    kind: str,
    count: int,
    resembles: Sequence[int] | None,
) -> Ints:
    """`labels` with noise. The numbers drawn for a position depend on the generator only.

    Args:
        labels: In 0..count-1, [n].
        generator: That of the seed.
        rate: The probability, in [0, 1], that noise hits a label.
        kind: One of `NOISE_KINDS`.
        count: The number of classes.
        resembles: The class that each class is taken for; needed for asymmetric noise.
    """
    hit = generator.random(len(labels)) < rate
    if kind == "asymmetric":
        wrong = np.asarray(resembles)[labels]
    elif kind == "uniform":
        wrong = generator.integers(0, count, len(labels))
    else:  # steps of 1..K-1, so never the label itself
        wrong = (labels + generator.integers(1, count, len(labels))) % count
    return np.where(hit, wrong, labels).astype(np.int64, copy=False)


def from_file(file: str, count: int, classes: Sequence[str]) -> Ints:
    """The noisy labels of a file, as places in `classes`, [count].

    Args:
        file: An array [count] in a .npy file, or a text file with a label in each line. A label is
            the name of a class, or its place from 0 where no class has a number as its name.
        count: How many examples there are.
        classes: Their names.

    Raises:
        DataError: The file cannot be read, or has another number of labels or other labels.
    """
    path, name = Path(file).expanduser(), "data.noisy_labels"
    try:
        if path.suffix == ".npy":
            labels = np.load(path, allow_pickle=False)
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            labels = np.array([line.strip() for line in lines if line.strip()])
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{name}: expected a .npy file or a text file with a label in each line, {path} cannot "
            f"be read as one ({error})"
        ) from error
    numbered = not any(each.isdecimal() for each in classes)
    texts = labels.tolist() if labels.dtype.kind == "U" else []
    if texts and not {*texts} <= {*classes} and all(each.isdecimal() for each in texts):
        labels = labels.astype(np.int64)
    labels = checked_labels(labels, count, f"{name}: {path}")
    return places_of(labels, tuple(classes), classes if numbered else None, f"{name}: {path}: ")
