"""The images a run learns from and is judged by: splits, label noise, orders.

Belongs here: every data set behind the one form `Splits`, and what is drawn from the seed: which
examples validate, which labels noise changes, the order of an epoch. Each of these has a numpy
generator of its own, derived from the seed, so that runs that differ in network or loss see the
very same data. Does not belong
here: where MNIST's bytes come from (`experiments.mnist`), tensors and batches
(`experiments.training`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import experiments.mnist as source
from experiments.mnist import DataError

Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NOISE_KINDS = ("symmetric", "asymmetric")

# Asymmetric noise mistakes a digit for the one it resembles: 7->1, 2->7, 5<->6, 3->8; 0, 1, 4, 8
# and 9 stay. From Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017.
_RESEMBLES = np.array([0, 1, 7, 8, 4, 6, 5, 1, 8, 9])

# The streams of random numbers, one for each thing that is drawn.
_SPLIT, _NOISE, _ORDER = 1, 2, 3

_DIGITS = 1_797
_DIGITS_TEST = (
    360  # the last ones: file order seems to go by writer, so these are mostly other hands
)


@dataclass(frozen=True, eq=False)
class Examples:
    """Images uint8 [n, 28, 28] with values 0..255, ink high.

    Their labels int64 [n] with values 0..9.
    """

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


def mnist(
    *,
    seed: int,
    root: str | os.PathLike[str] | None = None,
    train_size: int | None = None,
    validation_size: int = 10_000,
    label_noise: float = 0.0,
    noise_kind: str = "symmetric",
) -> Splits:
    """MNIST: 60,000 images to train and validate on, 10,000 to test on.

    Args:
        seed: at least 0; decides split and noise.
        root: a directory with the IDX files, plain or .gz; None: the per-user cache, filled at
            first use.
        train_size: how many examples to train on; None: all but validation. A smaller set is a
            prefix of a larger one.
        validation_size: how many to validate on; which ones does not depend on `train_size`.
        label_noise: the probability, in [0, 1], that noise hits a training label. A rate's hits
            include those of every smaller rate, whatever the sizes.
        noise_kind: "symmetric": a label that is hit becomes one of the 9 others; "asymmetric": it
            becomes the digit it resembles (7->1, 2->7, 5<->6, 3->8), and the labels 0, 1, 4, 8, 9
            stay.

    Raises:
        DataError: an option out of range (before anything is read), or no right images.
    """
    total = source.FILES[0].count
    _check(total, seed, train_size, validation_size, label_noise, noise_kind)
    train_images, train_labels, test_images, test_labels = source.load(root)
    return _split(
        "mnist",
        source.DIGEST,
        Examples(train_images, train_labels.astype(np.int64)),
        Examples(test_images, test_labels.astype(np.int64)),
        seed=seed,
        train_size=train_size,
        validation_size=validation_size,
        label_noise=label_noise,
        noise_kind=noise_kind,
    )


def digits(
    *,
    seed: int,
    train_size: int | None = None,
    validation_size: int = 360,
    label_noise: float = 0.0,
    noise_kind: str = "symmetric",
) -> Splits:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    For tests and demos.

    Every pixel becomes 3 x 3 and a margin of 2 is added: 28 x 28. The values 0..16 become 0..255.
    The last 360 in file order are the test set. Arguments and errors are those of `mnist`.
    """
    total = _DIGITS - _DIGITS_TEST
    _check(total, seed, train_size, validation_size, label_noise, noise_kind)

    # What `load_digits` reads; to import it brings scipy.stats, too, and takes over a second.
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin, "scikit-learn is among the dependencies"
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, dtype=np.int64, delimiter=",")
    small = rows[:, :-1].reshape(-1, 8, 8)  # [1797, 8, 8]
    large = ((small * 255 + 8) // 16).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    labels = rows[:, -1].copy()
    return _split(
        "digits",
        hashlib.sha256(images.tobytes() + _bytes(labels)).hexdigest(),
        Examples(images[:total], labels[:total]),
        Examples(images[total:], labels[total:]),
        seed=seed,
        train_size=train_size,
        validation_size=validation_size,
        label_noise=label_noise,
        noise_kind=noise_kind,
    )


def epoch_order(size: int, *, seed: int, epoch: int) -> Ints:
    """The order in which an epoch visits the training set.

    A permutation of 0..size-1, int64 [size].

    It depends on nothing but its arguments, so an epoch can be entered again without those before
    it. Epoch and size are at least 1, the seed at least 0; DataError otherwise.
    """
    _whole("the size of an epoch", size, 1)
    _whole("epoch", epoch, 1)
    _whole("seed", seed, 0)
    return _generator(seed, _ORDER, epoch).permutation(size).astype(np.int64, copy=False)


def order_hash(splits: Splits, *, seed: int) -> str:
    """SHA-256 in hex of what decides which label is seen when.

    That is the split, the labels after noise and the first epoch's order: equal for two runs of one
    data set if they train on the same examples under the same labels in the same order and validate
    on the same ones; different otherwise.
    """
    digest = hashlib.sha256()
    for array in (
        splits.train_positions,
        splits.validation_positions,
        splits.train.labels,
        epoch_order(len(splits.train), seed=seed, epoch=1),
    ):
        digest.update(len(array).to_bytes(8, "little") + _bytes(array))
    return digest.hexdigest()


def _split(
    name: str,
    digest: str,
    pool: Examples,
    test: Examples,
    *,
    seed: int,
    train_size: int | None,
    validation_size: int,
    label_noise: float,
    noise_kind: str,
) -> Splits:
    """Draw from `pool` in one random order, training from its front and validation from its end."""
    order = _generator(seed, _SPLIT).permutation(len(pool)).astype(np.int64, copy=False)
    validation = order[len(pool) - validation_size :]
    train = order[: len(pool) - validation_size][:train_size]
    noisy = _noisy(pool.labels, _generator(seed, _NOISE), label_noise, noise_kind)
    return Splits(
        name=name,
        digest=digest,
        train=Examples(pool.images[train], noisy[train]),
        validation=Examples(pool.images[validation], pool.labels[validation]),
        test=test,
        clean_labels=pool.labels[train],
        train_positions=train,
        validation_positions=validation,
    )


def _noisy(labels: Ints, generator: np.random.Generator, rate: float, kind: str) -> Ints:
    """`labels` with noise, [n].

    What is drawn for a file position depends on no option but the seed.
    """
    hit = generator.random(len(labels)) < rate
    steps = generator.integers(1, 10, len(labels))  # 1..9, so never the label itself
    wrong = (labels + steps) % 10 if kind == "symmetric" else _RESEMBLES[labels]
    return np.where(hit, wrong, labels).astype(np.int64, copy=False)


def _generator(seed: int, *stream: int) -> np.random.Generator:
    """A generator for one purpose, independent of those for others."""
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=stream))


def _check(
    total: int,
    seed: Any,
    train_size: Any,
    validation_size: Any,
    label_noise: Any,
    noise_kind: Any,
) -> None:
    """Refuse options out of range.

    `total` being the examples there are for training and validation.
    """
    _whole("seed", seed, 0)
    held_out = _whole("data.validation_size", validation_size, 1, total - 1, f" of {total:,}")
    if train_size is not None:
        why = f" ({total:,} less {held_out:,} for validation), or null"
        _whole("data.train_size", train_size, 1, total - held_out, why)
    real = isinstance(label_noise, int | float | np.integer | np.floating) and not isinstance(
        label_noise, bool
    )
    if not real or not 0 <= label_noise <= 1:  # not a number (NaN) is not in there either
        raise DataError(f"data.label_noise: expected a number from 0 to 1, got {label_noise!r}")
    if noise_kind not in NOISE_KINDS:
        raise DataError(
            f"data.noise_kind: expected one of {', '.join(NOISE_KINDS)}, got {noise_kind!r}"
        )


def _whole(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """`value` if it is a whole number in low..high; DataError otherwise."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high:,}"
        raise DataError(f"{name}: expected a whole number {span}{why}, got {value!r}")
    return int(value)


def _bytes(array: Ints) -> bytes:
    """The same bytes on every machine."""
    return array.astype("<i8", copy=False).tobytes()
