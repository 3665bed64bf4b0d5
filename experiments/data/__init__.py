"""The images a run trains on and is evaluated on.

The map:

    sets.py     the functions that `data=` chooses, each from a seed to `Splits`
    splits.py   training, validation and test set; label noise; the order of an epoch
    sources.py  where files come from: the table of sources, the cache, the checks of a file

A function of a user's own draws its splits as `sets.py` does: `Draw(total, seed, ...)` checks the
options, `draw.split(name, digest, pool, test)` gives the `Splits`. Nothing here imports Paddle,
Hydra or MLflow.
"""

from experiments.data.sets import digits, mnist
from experiments.data.sources import DataError
from experiments.data.splits import (
    NOISE_KINDS,
    Draw,
    Examples,
    Splits,
    epoch_order,
    order_hash,
)

__all__ = [
    "NOISE_KINDS",
    "DataError",
    "Draw",
    "Examples",
    "Splits",
    "digits",
    "epoch_order",
    "mnist",
    "order_hash",
]
