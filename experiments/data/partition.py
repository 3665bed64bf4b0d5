"""Training, validation and test set of a run, with its label noise.

All of it is drawn from the seed. Split, noise and order each have a numpy generator of their own,
derived from the seed, so that runs that differ in network or loss see the very same data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from experiments.data.arrays import (
    Inputs,
    checked_inputs,
    checked_labels,
    class_names,
    places_of,
    whole_number,
)
from experiments.data.imbalance import check_imbalance, thinned
from experiments.data.noise import NOISE_KINDS, Ints, drawn, from_file
from experiments.data.sources import DataError

DIGITS = tuple("0123456789")

# The streams of random numbers, one for each thing that is drawn.
_SPLIT, _NOISE, ORDER, _TEST, AUGMENT = 1, 2, 3, 4, 5


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
        digest: SHA-256 in hex of the source, before any split or noise, and of the file of noisy
            labels, if there is one; the same for every seed.
        train: Labels after noise.
        validation: Labels as they are.
        test: Labels as they are, in file order; of another fold at another seed where the data are
            cross-validated.
        clean_labels: Those of `train` before noise, [len(train)].
        train_positions: Where its examples are in the source's training file, [len(train)].
        validation_positions: The same of `validation`.
        classes: The names of the K classes, in the order of their labels.
        ordered: Whether the labels are numbers, so that a prediction of 4 for 5 is a small mistake.
        mean: What is subtracted from an input as the network gets it (images in [0, 1]), one number
            per channel or feature; None: nothing.
        std: What it is then divided by.
        folds: Of how many folds `test` is one; None: the test set is the same for every seed.
        features: The names of the features; empty: they have none, or inputs are images.
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
    folds: int | None = None
    features: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an input as the network gets it: (channels, height, width) or (features,)."""
        shape = self.train.inputs.shape[1:]
        return (1, *shape) if len(shape) == 2 else shape

    @property
    def flipped(self) -> float:
        """The share of training labels that noise changed, in [0, 1]."""
        return float(np.mean(self.train.labels != self.clean_labels))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What is drawn from `total` examples; the other fields are the arguments of `splits`.

    Raises:
        DataError: One is out of range.
    """

    total: int
    seed: int
    validation_size: int
    train_size: int | None = None
    label_noise: float = 0.0
    noise_kind: str = "symmetric"
    noisy_labels: str | None = None
    imbalance: str | None = None
    imbalance_ratio: float = 0.01
    classes: Sequence[str] = DIGITS
    ordered: bool = False
    resembles: Sequence[int] | None = None
    stratified: bool = True

    def __post_init__(self) -> None:
        whole_number("seed", self.seed, 0)
        check_imbalance(self.imbalance, self.imbalance_ratio)
        total, rate = self.total, self.label_noise
        held_out = whole_number(
            "data.validation_size", self.validation_size, 1, total - 1, f" of {total:,}"
        )
        if self.train_size is not None:
            why = f" ({total:,} less {held_out:,} for validation), or null"
            whole_number("data.train_size", self.train_size, 1, total - held_out, why)
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
        if self.noisy_labels is not None and self.label_noise:
            raise DataError(
                f"data.label_noise: expected 0 with the file data.noisy_labels, got {rate!r}; "
                "leave one of them out"
            )

    def split(
        self,
        name: str,
        digest: str,
        pool: Examples,
        test: Examples,
        *,
        held_out: Ints | None = None,
        normalize: bool = False,
    ) -> Splits:
        """Training from the front and validation from the end of one random order of `pool`.

        Args:
            name: As in `Splits`; so `digest` and `test`.
            digest: Of the source.
            pool: All examples but those of the test set.
            test: The test set.
            held_out: Where the examples of `test` are in the source; None: in a file of their own.
            normalize: Whether mean and standard deviation of the training set are recorded.
        """
        labels, purpose = pool.labels, stream(self.seed, _NOISE)
        if self.noisy_labels is None:
            count = len(self.classes)
            noisy = drawn(labels, purpose, self.label_noise, self.noise_kind, count, self.resembles)
        else:
            gone = np.empty(0, np.int64) if held_out is None else held_out
            noisy = from_file(self.noisy_labels, len(pool) + len(gone), self.classes)
            digest = hashlib.sha256(digest.encode() + little_endian(noisy)).hexdigest()
            noisy = np.delete(noisy, gone)
        order = stream(self.seed, _SPLIT).permutation(len(pool)).astype(np.int64, copy=False)
        if self.stratified:
            order = _interleaved(order, pool.labels)
        front = len(pool) - self.validation_size
        train, validation = order[:front][: self.train_size], order[front:]
        if self.imbalance is not None:
            own = pool.labels[train]
            kept = thinned(own, self.imbalance, self.imbalance_ratio, len(self.classes))
            train = train[kept]
        inputs = pool.inputs[train]
        mean, std = _moments(inputs) if normalize else (None, None)
        return Splits(
            name=name,
            digest=digest,
            train=Examples(inputs, noisy[train]),
            validation=Examples(pool.inputs[validation], pool.labels[validation]),
            test=test,
            clean_labels=pool.labels[train],
            train_positions=train,
            validation_positions=validation,
            classes=tuple(self.classes),
            ordered=self.ordered,
            mean=mean,
            std=std,
        )


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
    features: Sequence[str] = (),
    normalize: bool | None = None,
    train_size: int | None = None,
    validation_size: int | None = None,
    folds: int | None = None,
    label_noise: float = 0.0,
    noise_kind: str = "symmetric",
    noisy_labels: str | None = None,
    imbalance: str | None = None,
    imbalance_ratio: float = 0.01,
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
        features: The names of the features, for reports.
        normalize: Whether each channel or feature gets the mean 0 and the standard deviation 1 of
            the training set; None: features only.
        train_size: How many examples to train on; None: all but validation. A smaller set is a
            prefix of a larger one.
        validation_size: How many to validate on; None: a fifth of those that are not for the test.
        folds: For cross-validation of data without a test set, at least 2: seed s is tested on fold
            s mod `folds` of a partition that has the share of each class in each fold and is drawn
            again for each `folds` seeds. None: no cross-validation.
        label_noise: The probability, in [0, 1], that noise hits a training label. A rate's hits
            include those of every smaller rate.
        noise_kind: What a label that is hit becomes. "symmetric": one of the other classes;
            "uniform": one of all classes, its own included; "asymmetric": the one that it
            resembles.
        noisy_labels: A file with the labels to train on, one for each example of `inputs` in their
            order, instead of noise that is drawn: a .npy file, or a text file with a label in each
            line. Examples that are not trained on keep their labels.
        imbalance: How examples of the training set are left out, so that its classes have unequal
            sizes: "exponential": the sizes fall by the same factor from class to class; "step": the
            second half of the classes is small. None: none are.
        imbalance_ratio: The share of the last class that is kept, in (0, 1]; the first class is
            whole.

    Raises:
        DataError: Inputs, labels or an option are wrong; the message names array, position and
            value.
    """
    parts, named = _parts([(inputs, labels), *([] if test is None else [test])], classes)
    if ordered and classes is None and np.asarray(labels).dtype.kind in "UO":
        raise DataError(
            "data.ordered: expected labels that are whole numbers, got texts such as "
            f"{named[0]!r}; leave it out, or name the classes in their order (`classes` of "
            "experiments.data.splits)"
        )
    held: Ints | None = None
    if test is None:
        held, kept = _test_positions(parts[0].labels, seed, folds)
        whole, parts = parts, [_chosen(parts[0], each) for each in (kept, held)]
    elif folds is not None:
        raise DataError(
            f"data.folds: expected null, since these data have a test set of their own, got {folds}"
        )
    pool, tested = parts
    unknown = {*(resembles or {}), *(resembles or {}).values()} - {*named}
    if unknown:
        raise DataError(f"resembles: expected names of classes, got {', '.join(sorted(unknown))}")
    taken_for = [named.index((resembles or {}).get(each, each)) for each in named]
    draw = Draw(
        total=len(pool),
        seed=seed,
        train_size=train_size,
        validation_size=len(pool) // 5 if validation_size is None else validation_size,
        label_noise=label_noise,
        noise_kind=noise_kind,
        noisy_labels=noisy_labels,
        imbalance=imbalance,
        imbalance_ratio=imbalance_ratio,
        classes=named,
        ordered=ordered,
        resembles=None if resembles is None else taken_for,
    )
    digest = hashlib.sha256()
    for part in parts if folds is None else whole:
        digest.update(f"{part.inputs.dtype}{part.inputs.shape}".encode())
        digest.update(np.ascontiguousarray(part.inputs).tobytes() + little_endian(part.labels))
    normalize = pool.inputs.ndim == 2 if normalize is None else normalize
    made = draw.split(name, digest.hexdigest(), pool, tested, held_out=held, normalize=normalize)
    _refuse_empty_classes(made, seed)
    return replace(made, folds=folds, features=tuple(features))


def _parts(
    given: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], classes: Sequence[str] | None
) -> tuple[list[Examples], tuple[str, ...]]:
    """The examples, those of a test set second, and the names of their classes."""
    arrays, raw = [], []
    for what, (inputs, labels) in zip(("", "test "), given, strict=False):
        arrays.append(checked_inputs(inputs, f"{what}inputs"))
        raw.append(checked_labels(labels, len(arrays[-1]), f"{what}labels"))
    first, last = ((array.dtype, array.shape[1:]) for array in (arrays[0], arrays[-1]))
    if first != last:
        raise DataError(
            f"test inputs: expected {first[0]} of the shape {first[1]} each, as the other inputs, "
            f"got {last[0]} of {last[1]}"
        )
    named = class_names(raw, classes)
    places = [places_of(own, named, classes) for own in raw]
    return [Examples(*part) for part in zip(arrays, places, strict=True)], named


def _chosen(examples: Examples, positions: Ints) -> Examples:
    return Examples(examples.inputs[positions], examples.labels[positions])


def _refuse_empty_classes(made: Splits, seed: int) -> None:
    """Raise DataError where training, validation or test set lack a class."""
    labels = {
        "training": made.clean_labels,
        "validation": made.validation.labels,
        "test": made.test.labels,
    }
    counts = {part: np.bincount(own, minlength=len(made.classes)) for part, own in labels.items()}
    for part, its in counts.items():
        if not its.all():
            lacking = int(its.argmin())
            of_class = sum(int(each[lacking]) for each in counts.values())
            raise DataError(
                f"the {part} set of seed {seed} has no example of the class "
                f"{made.classes[lacking]!r}, which has {of_class} in all sets together; expected "
                f"one at least of each of {len(made.classes)} classes: choose other sizes, or "
                "leave the class out"
            )


def _interleaved(order: Ints, labels: Ints) -> Ints:
    """`order` changed so that each part of it has about the same share of every class."""
    share = np.empty(len(order))
    own = labels[order]
    for label in np.unique(own):
        mine = own == label
        share[mine] = (np.arange(mine.sum()) + 0.5) / mine.sum()
    return order[np.argsort(share, kind="stable")]


def _test_positions(labels: Ints, seed: int, folds: int | None) -> tuple[Ints, Ints]:
    """The positions of the test set of a seed, with the share of each class, and the others.

    Without folds it is a fifth, the same for every seed.
    """
    block = fold = 0
    if folds is not None:
        whole_number("data.folds", folds, 2, len(labels))
        block, fold = divmod(whole_number("seed", seed, 0), folds)
    order = stream(block, _TEST).permutation(len(labels)).astype(np.int64, copy=False)
    order = _interleaved(order, labels)
    front, end = len(order) - len(order) // 5, len(order)
    if folds is not None:
        front, end = fold * end // folds, (fold + 1) * end // folds
    return np.sort(order[front:end]), np.sort(np.delete(order, np.s_[front:end]))


def _moments(inputs: Inputs) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of each channel or feature; 1 for one that is constant."""
    axes = (0,) if inputs.ndim == 2 else (0, inputs.ndim - 2, inputs.ndim - 1)
    scale = 255 if inputs.dtype == np.uint8 else 1
    mean = inputs.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = inputs.std(axis=axes, keepdims=True, dtype=np.float64)
    mean, std = mean / scale, std / scale
    return mean.astype(np.float32)[0], np.where(std > 0, std, 1).astype(np.float32)[0]


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """A generator for one purpose, independent of those for others."""
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=purpose))


def little_endian(array: Ints) -> bytes:
    """The same bytes on every machine."""
    return array.astype("<i8", copy=False).tobytes()
