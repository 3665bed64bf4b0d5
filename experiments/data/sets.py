"""The data sets that can be chosen, each as a function from a seed to `Splits`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from experiments.data import sources
from experiments.data.splits import Draw, Examples, Splits, little_endian

_DIGITS = 1_797
_DIGITS_TEST = 360  # the last ones: file order seems to go by writer, so these are mostly others


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
        DataError: an option is out of range (checked before anything is read), or the images cannot
            be read.
    """
    files = sources.MNIST.files
    draw = Draw(files[0].count, seed, train_size, validation_size, label_noise, noise_kind)
    images, labels, test_images, test_labels = sources.load(sources.MNIST, root)
    pool = Examples(images, labels.astype(np.int64))
    test = Examples(test_images, test_labels.astype(np.int64))
    return draw.split("mnist", sources.MNIST.digest, pool, test)


def digits(
    *,
    seed: int,
    train_size: int | None = None,
    validation_size: int = 360,
    label_noise: float = 0.0,
    noise_kind: str = "symmetric",
) -> Splits:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    For tests and demos. Every pixel becomes 3 x 3 and a margin of 2 is added: 28 x 28. The values
    0..16 become 0..255. The last 360 in file order are the test set. Arguments and errors are those
    of `mnist`.
    """
    total = _DIGITS - _DIGITS_TEST
    draw = Draw(total, seed, train_size, validation_size, label_noise, noise_kind)
    # The file that `load_digits` reads. To import that function takes over a second.
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin, "scikit-learn is among the dependencies"
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, dtype=np.int64, delimiter=",")
    small = rows[:, :-1].reshape(-1, 8, 8)  # [1797, 8, 8]
    large = ((small * 255 + 8) // 16).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    images = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    labels = rows[:, -1].copy()
    digest = hashlib.sha256(images.tobytes() + little_endian(labels)).hexdigest()
    pool, test = Examples(images[:total], labels[:total]), Examples(images[total:], labels[total:])
    return draw.split("digits", digest, pool, test)
