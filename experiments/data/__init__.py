"""The data a run trains on and is evaluated on.

The map:

    sets.py       the data sets that `data=` chooses by name, each from a seed to `Splits`
    files.py      a user's own: IDX files, an npz file, a folder of images, a CSV file
    partition.py  training, validation and test set, with label noise
    noise.py      label noise, drawn or read from a file
    imbalance.py  classes of unequal sizes
    epochs.py     the order of an epoch, and augmentation
    arrays.py     checks of arrays that become a data set
    archives.py   data sets that come as one archive
    sources.py    data sets of four IDX files: their digests, the cache, the checks of a file
    downloads.py  where these files come from

A function of a user's own returns `splits(inputs, labels, seed=seed, name=...)`. Nothing here
imports Paddle, Hydra or MLflow.
"""

from experiments.data.epochs import augmentation, augmented, epoch_order, order_hash
from experiments.data.files import csv, folder, idx, npz
from experiments.data.noise import NOISE_KINDS
from experiments.data.partition import DIGITS, Draw, Examples, Splits, splits
from experiments.data.sets import cifar10, cifar100, digits, fashion, mnist, table
from experiments.data.sources import DataError

__all__ = [
    "DIGITS",
    "NOISE_KINDS",
    "DataError",
    "Draw",
    "Examples",
    "Splits",
    "augmentation",
    "augmented",
    "cifar10",
    "cifar100",
    "csv",
    "digits",
    "epoch_order",
    "fashion",
    "folder",
    "idx",
    "mnist",
    "npz",
    "order_hash",
    "splits",
    "table",
]
