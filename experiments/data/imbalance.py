"""Training sets with classes of unequal sizes, thinned from a whole one."""

from __future__ import annotations

import numpy as np

from experiments.data.noise import Ints
from experiments.data.sources import DataError

IMBALANCES = ("exponential", "step")


def check_imbalance(kind: str | None, ratio: float) -> None:
    """Raise DataError unless `kind` is None or one of `IMBALANCES`, and `ratio` in (0, 1]."""
    if kind is not None and kind not in IMBALANCES:
        known = ", ".join(IMBALANCES)
        raise DataError(f"data.imbalance: expected null or one of {known}, got {kind!r}")
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise DataError(
            f"data.imbalance_ratio: expected a number above 0 and at most 1, got {ratio!r}"
        )


def thinned(labels: Ints, kind: str, ratio: float, classes: int) -> Ints:
    """Which of the examples [n] are kept: positions in their order.

    Of class k the share ratio^(k / (K - 1)) is kept if `kind` is "exponential" (Cui et al., 2019),
    and if it is "step" 1 in the first half of the classes and `ratio` in the others (Buda, Maki and
    Mazurowski, 2018). The first examples of a class are kept, one at least.

    Args:
        labels: In 0..classes-1, [n].
        kind: One of `IMBALANCES`.
        ratio: The share of the last class, in (0, 1].
        classes: The number K >= 2 of classes.
    """
    place = np.arange(classes) / (classes - 1)
    shares = ratio ** (place if kind == "exponential" else place >= 0.5)
    kept = []
    for label, share in enumerate(shares):
        own = np.flatnonzero(labels == label)
        kept.append(own[: max(1, round(share * len(own)))])
    return np.sort(np.concatenate(kept)).astype(np.int64, copy=False)
