"""What a run sees in an epoch: the order of the examples, and the changes of the images.

Both are drawn from the seed and the epoch alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from experiments.data.arrays import whole_number
from experiments.data.partition import AUGMENT, ORDER, Ints, Splits, little_endian, stream


def epoch_order(size: int, *, seed: int, epoch: int) -> Ints:
    """The order in which an epoch visits the training set: a permutation, int64 [size].

    It depends on nothing but its arguments, so an epoch can be entered without those before it.

    Raises:
        DataError: Epoch or size is below 1, or the seed below 0.
    """
    whole_number("the size of an epoch", size, 1)
    whole_number("epoch", epoch, 1)
    whole_number("seed", seed, 0)
    return stream(seed, ORDER, epoch).permutation(size).astype(np.int64, copy=False)


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
    return stream(seed, AUGMENT, epoch)


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
