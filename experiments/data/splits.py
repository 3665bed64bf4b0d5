"""Training, validation and test set of a run, its label noise, and the order of its epochs.

All of it is drawn from the seed. Split, noise and order each have a numpy generator of their own,
derived from the seed, so that runs that differ in network or loss see the very same data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.data.sources import DataError

Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NOISE_KINDS = ("symmetric", "asymmetric")

# Asymmetric noise mistakes a digit for the one it resembles: 7->1, 2->7, 5<->6, 3->8; 0, 1, 4, 8
# and 9 stay. From Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017.
_RESEMBLES = np.array([0, 1, 7, 8, 4, 6, 5, 1, 8, 9])

# The streams of random numbers, one for each thing that is drawn.
_SPLIT, _NOISE, _ORDER = 1, 2, 3


@dataclass(frozen=True, eq=False)
class Examples:
    """Images uint8 [n, 28, 28], ink high, and their labels int64 [n] in 0..9."""

    images: Images
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as one run sees it."""

    name: str  # "mnist" or "digits"
    digest: str  # SHA-256 in hex of the source, before any split or noise
    train: Examples  # labels after noise
    validation: Examples  # labels as they are
    test: Examples  # labels as they are; file order
    clean_labels: Ints  # of train, before noise, [len(train)]
    train_positions: Ints  # in the source's training file, [len(train)]
    validation_positions: Ints  # in the source's training file, [len(validation)]

    @property
    def flipped(self) -> float:
        """The share of training labels that noise changed, in [0, 1]."""
        return float(np.mean(self.train.labels != self.clean_labels))


@dataclass(frozen=True)
class Draw:
    """What is drawn from `total` examples; the other fields are the arguments of `sets.mnist`.

    Raises:
        DataError: One is out of range.
    """

    total: int
    seed: int
    train_size: int | None
    validation_size: int
    label_noise: float
    noise_kind: str

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0)
        total, rate = self.total, self.label_noise
        held_out = _whole(
            "data.validation_size", self.validation_size, 1, total - 1, f" of {total:,}"
        )
        if self.train_size is not None:
            why = f" ({total:,} less {held_out:,} for validation), or null"
            _whole("data.train_size", self.train_size, 1, total - held_out, why)
        real = isinstance(rate, int | float | np.integer | np.floating)
        if not real or isinstance(rate, bool) or not 0 <= rate <= 1:  # NaN is refused, too
            raise DataError(f"data.label_noise: expected a number from 0 to 1, got {rate!r}")
        if self.noise_kind not in NOISE_KINDS:
            raise DataError(
                f"data.noise_kind: expected one of {', '.join(NOISE_KINDS)}, "
                f"got {self.noise_kind!r}"
            )

    def split(self, name: str, digest: str, pool: Examples, test: Examples) -> Splits:
        """Training from the front and validation from the end of one random order of `pool`."""
        order = _generator(self.seed, _SPLIT).permutation(len(pool)).astype(np.int64, copy=False)
        front = len(pool) - self.validation_size
        train, validation = order[:front][: self.train_size], order[front:]
        return Splits(
            name=name,
            digest=digest,
            train=Examples(pool.images[train], self._noisy(pool.labels)[train]),
            validation=Examples(pool.images[validation], pool.labels[validation]),
            test=test,
            clean_labels=pool.labels[train],
            train_positions=train,
            validation_positions=validation,
        )

    def _noisy(self, labels: Ints) -> Ints:
        """`labels` with noise. The numbers drawn for a position depend on the seed only."""
        generator = _generator(self.seed, _NOISE)
        hit = generator.random(len(labels)) < self.label_noise
        steps = generator.integers(1, 10, len(labels))  # 1..9, so never the label itself
        symmetric = self.noise_kind == "symmetric"
        wrong = (labels + steps) % 10 if symmetric else _RESEMBLES[labels]
        return np.where(hit, wrong, labels).astype(np.int64, copy=False)


def epoch_order(size: int, *, seed: int, epoch: int) -> Ints:
    """The order in which an epoch visits the training set: a permutation, int64 [size].

    It depends on nothing but its arguments, so an epoch can be entered without those before it.

    Raises:
        DataError: Epoch or size is below 1, or the seed below 0.
    """
    _whole("the size of an epoch", size, 1)
    _whole("epoch", epoch, 1)
    _whole("seed", seed, 0)
    return _generator(seed, _ORDER, epoch).permutation(size).astype(np.int64, copy=False)


def order_hash(splits: Splits, *, seed: int) -> str:
    """SHA-256 in hex of the split, the labels after noise, and the first epoch's order.

    Two runs with the same hash see the same examples under the same labels in the same order.
    """
    digest = hashlib.sha256()
    for array in (
        splits.train_positions,
        splits.validation_positions,
        splits.train.labels,
        epoch_order(len(splits.train), seed=seed, epoch=1),
    ):
        digest.update(len(array).to_bytes(8, "little") + little_endian(array))
    return digest.hexdigest()


def _generator(seed: int, *stream: int) -> np.random.Generator:
    """A generator for one purpose, independent of those for others."""
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=stream))


def _whole(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """`value` if it is a whole number in low..high; DataError otherwise."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high:,}"
        raise DataError(f"{name}: expected a whole number {span}{why}, got {value!r}")
    return int(value)


def little_endian(array: Ints) -> bytes:
    """The same bytes on every machine."""
    return array.astype("<i8", copy=False).tobytes()
