"""Training, validation and test set of a run, its label noise, and the order of its epochs.

All of it is drawn from the seed. Split, noise and order each have a numpy generator of their own,
derived from the seed, so that runs that differ in network or loss see the very same data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.data.arrays import (
    Inputs,
    checked_inputs,
    checked_labels,
    class_names,
    places_of,
)
from experiments.data.sources import DataError

Ints = npt.NDArray[np.int64]

NOISE_KINDS = ("symmetric", "asymmetric", "uniform")

DIGITS = tuple("0123456789")

# The streams of random numbers, one for each thing that is drawn.
_SPLIT, _NOISE, _ORDER, _TEST, _AUGMENT = 1, 2, 3, 4, 5


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and their labels.

    Attributes:
        inputs: Images uint8 [n, height, width] or [n, channels, height, width], or features float32
            [n, features].
        labels: int64 [n] in 0..K-1 for K classes.
    """

    inputs: Inputs
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as one run sees it.

    Attributes:
        name: As it is named in MLflow, e.g. "mnist".
        digest: SHA-256 in hex of the source, before any split or noise.
        train: Labels after noise.
        validation: Labels as they are.
        test: Labels as they are, in file order.
        clean_labels: Those of `train` before noise, [len(train)].
        train_positions: Where its examples are in the source's training file, [len(train)].
        validation_positions: The same of `validation`.
        classes: The names of the K classes, in the order of their labels.
        ordered: Whether the labels are numbers, so that a prediction of 4 for 5 is a small mistake.
        mean: What is subtracted from an input as the network gets it (images in [0, 1]), one number
            per channel or feature; None: nothing.
        std: What it is then divided by.
    """

    name: str
    digest: str
    train: Examples
    validation: Examples
    test: Examples
    clean_labels: Ints
    train_positions: Ints
    validation_positions: Ints
    classes: tuple[str, ...] = DIGITS
    ordered: bool = True
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an input as the network gets it: (channels, height, width) or (features,)."""
        shape = self.train.inputs.shape[1:]
        return (1, *shape) if len(shape) == 2 else shape

    @property
    def flipped(self) -> float:
        """The share of training labels that noise changed, in [0, 1]."""
        return float(np.mean(self.train.labels != self.clean_labels))


@dataclass(frozen=True)
class Draw:
    """What is drawn from `total` examples; the other fields are the arguments of `splits`.

    Raises:
        DataError: One is out of range.
    """

    total: int
    seed: int
    train_size: int | None
    validation_size: int
    label_noise: float
    noise_kind: str
    classes: Sequence[str] = DIGITS
    ordered: bool = False
    resembles: Sequence[int] | None = None
    stratified: bool = True

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
        if self.noise_kind == "asymmetric" and self.resembles is None:
            raise DataError(
                "data.noise_kind: expected symmetric or uniform, got asymmetric; these data do not "
                "say which class resembles which (`resembles` of experiments.data.splits)"
            )

    def split(
        self, name: str, digest: str, pool: Examples, test: Examples, normalize: bool = False
    ) -> Splits:
        """Training from the front and validation from the end of one random order of `pool`."""
        order = _generator(self.seed, _SPLIT).permutation(len(pool)).astype(np.int64, copy=False)
        if self.stratified:
            order = _interleaved(order, pool.labels)
        front = len(pool) - self.validation_size
        train, validation = order[:front][: self.train_size], order[front:]
        inputs = pool.inputs[train]
        return Splits(
            name=name,
            digest=digest,
            train=Examples(inputs, self._noisy(pool.labels)[train]),
            validation=Examples(pool.inputs[validation], pool.labels[validation]),
            test=test,
            clean_labels=pool.labels[train],
            train_positions=train,
            validation_positions=validation,
            classes=tuple(self.classes),
            ordered=self.ordered,
            **(_moments(inputs) if normalize else {}),
        )

    def _noisy(self, labels: Ints) -> Ints:
        """`labels` with noise. The numbers drawn for a position depend on the seed only."""
        generator, count = _generator(self.seed, _NOISE), len(self.classes)
        hit = generator.random(len(labels)) < self.label_noise
        if self.noise_kind == "asymmetric":
            wrong = np.asarray(self.resembles)[labels]
        elif self.noise_kind == "uniform":
            wrong = generator.integers(0, count, len(labels))
        else:  # steps of 1..K-1, so never the label itself
            wrong = (labels + generator.integers(1, count, len(labels))) % count
        return np.where(hit, wrong, labels).astype(np.int64, copy=False)


def splits(
    inputs: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    seed: int,
    name: str,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    resembles: Mapping[str, str] | None = None,
    normalize: bool | None = None,
    train_size: int | None = None,
    validation_size: int | None = None,
    label_noise: float = 0.0,
    noise_kind: str = "symmetric",
) -> Splits:
    """Training, validation and test set of any data, with label noise, as `seed` decides.

    Args:
        inputs: Images uint8 [n, height, width] or [n, channels, height, width] with values 0..255,
            or features [n, features] of finite numbers.
        labels: [n]; whole numbers or texts. They become 0..K-1 in the order of `classes`.
        seed: At least 0; decides split and noise.
        name: The data set's name in MLflow.
        test: Inputs and labels of a test set; None: a fifth of the examples, the same for every
            seed, with the same share of each class.
        classes: The names of the K >= 2 classes, in order. Whole numbers as labels are then places
            in it, from 0. None: the labels that occur, sorted.
        ordered: Whether the classes are numbers in their order, so that losses of one number can
            be used.
        resembles: For asymmetric noise, the class that is taken for a class, by name; classes that
            are not in it stay.
        normalize: Whether each channel or feature gets the mean 0 and the standard deviation 1 of
            the training set; None: features only.
        train_size: How many examples to train on; None: all but validation. A smaller set is a
            prefix of a larger one.
        validation_size: How many to validate on; None: a fifth of those that are not for the test.
        label_noise: The probability, in [0, 1], that noise hits a training label. A rate's hits
            include those of every smaller rate.
        noise_kind: What a label that is hit becomes. "symmetric": one of the other classes;
            "uniform": one of all classes, its own included; "asymmetric": the one that it
            resembles.

    Raises:
        DataError: Inputs, labels or an option are wrong; the message names array, position and
            value.
    """
    arrays = [checked_inputs(inputs, "inputs")]
    raw = [checked_labels(labels, len(arrays[0]), "labels")]
    if test is not None:
        arrays.append(checked_inputs(test[0], "test inputs"))
        raw.append(checked_labels(test[1], len(arrays[1]), "test labels"))
        expected, got = ((array.dtype, array.shape[1:]) for array in arrays)
        if expected != got:
            raise DataError(
                f"test inputs: expected {expected[0]} of the shape {expected[1]} each, as the "
                f"other inputs, got {got[0]} of {got[1]}"
            )
    named = class_names(raw, classes)
    pool, *others = (
        Examples(array, places_of(own, named, classes))
        for array, own in zip(arrays, raw, strict=True)
    )
    if others:
        held_out = others[0]
    else:
        held, kept = _test_positions(pool.labels)
        held_out = Examples(pool.inputs[held], pool.labels[held])
        pool = Examples(pool.inputs[kept], pool.labels[kept])
    unknown = {*(resembles or {}), *(resembles or {}).values()} - {*named}
    if unknown:
        raise DataError(f"resembles: expected names of classes, got {', '.join(sorted(unknown))}")
    taken_for = [named.index((resembles or {}).get(each, each)) for each in named]
    draw = Draw(
        len(pool),
        seed,
        train_size,
        len(pool) // 5 if validation_size is None else validation_size,
        label_noise,
        noise_kind,
        classes=named,
        ordered=ordered,
        resembles=None if resembles is None else taken_for,
    )
    digest = hashlib.sha256()
    for part in (pool, held_out):
        digest.update(f"{part.inputs.dtype}{part.inputs.shape}".encode())
        digest.update(np.ascontiguousarray(part.inputs).tobytes() + little_endian(part.labels))
    features = pool.inputs.ndim == 2
    found = draw.split(
        name, digest.hexdigest(), pool, held_out, features if normalize is None else normalize
    )
    for where, own in (("training", found.clean_labels), ("validation", found.validation.labels)):
        counts = np.bincount(own, minlength=len(named))
        if not counts.all():
            raise DataError(
                f"the {where} set of seed {seed} has no example of the class "
                f"{named[int(counts.argmin())]!r}; expected one at least of each of "
                f"{len(named)} classes: choose other sizes, or leave the class out"
            )
    return found


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


def augmented(
    images: npt.NDArray[np.float32], kind: str, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Images [batch, channels, height, width] as an augmentation changes them.

    Args:
        images: The images of one batch.
        kind: "shift": by up to 2 pixels in each direction; "crop_flip": by up to 4 pixels, and
            each mirrored with probability 0.5, as He et al. (2016) train on CIFAR.
        generator: That of the epoch, of `augmentation`.
    """
    margin = {"shift": 2, "crop_flip": 4}[kind]
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = generator.integers(0, 2 * margin + 1, (2, count))
    cut = windows[np.arange(count), :, down, right]
    if kind == "crop_flip":
        turned = generator.random(count) < 0.5
        cut[turned] = cut[turned, :, :, ::-1]
    return np.ascontiguousarray(cut)


def augmentation(*, seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's augmentation, which nothing else draws from."""
    return _generator(seed, _AUGMENT, epoch)


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


def _interleaved(order: Ints, labels: Ints) -> Ints:
    """`order` changed so that each part of it has about the same share of every class."""
    share = np.empty(len(order))
    own = labels[order]
    for label in np.unique(own):
        mine = own == label
        share[mine] = (np.arange(mine.sum()) + 0.5) / mine.sum()
    return order[np.argsort(share, kind="stable")]


def _test_positions(labels: Ints) -> tuple[Ints, Ints]:
    """The positions of a stratified fifth, the same for every seed, and those of the others."""
    order = _generator(0, _TEST).permutation(len(labels)).astype(np.int64, copy=False)
    order = _interleaved(order, labels)
    front = len(order) - len(order) // 5
    return np.sort(order[front:]), np.sort(order[:front])


def _moments(inputs: Inputs) -> dict[str, npt.NDArray[np.float32]]:
    """Mean and standard deviation of each channel or feature; 1 for one that is constant."""
    axes = (0,) if inputs.ndim == 2 else (0, inputs.ndim - 2, inputs.ndim - 1)
    scale = 255 if inputs.dtype == np.uint8 else 1
    mean = inputs.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = inputs.std(axis=axes, keepdims=True, dtype=np.float64)
    mean, std = mean / scale, std / scale
    return {
        "mean": mean.astype(np.float32)[0],
        "std": np.where(std > 0, std, 1).astype(np.float32)[0],
    }


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
