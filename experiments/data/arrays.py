"""Checks of arrays that become a data set; an error names the array, the position and the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.data.sources import DataError

Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


def checked_inputs(
    inputs: npt.ArrayLike, what: str
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """`inputs` as uint8 images or float32 features; DataError where they are neither."""
    array = np.asarray(inputs)
    if array.dtype == np.uint8 and array.ndim in (3, 4) and array.size:
        return array
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
        raise DataError(
            f"{what}: expected images uint8 [n, height, width] or [n, channels, height, width], or "
            f"features [n, features], got {array.dtype} {list(array.shape)}"
        )
    features = array.astype(np.float32)
    if not np.isfinite(features).all():
        row, column = (int(place[0]) for place in np.nonzero(~np.isfinite(features)))
        raise DataError(
            f"{what}: expected finite numbers, got {array[row, column]} in row {row}, column "
            f"{column} (both from 0)"
        )
    return features


def checked_labels(labels: npt.ArrayLike, count: int, what: str) -> npt.NDArray[Any]:
    """`labels` [count] as whole numbers or texts; DataError where they are neither."""
    array = np.asarray(labels)
    if array.dtype == object:
        array = array.astype(str)
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.shape != (count,) or array.dtype.kind not in "iuU":
        raise DataError(
            f"{what}: expected whole numbers or texts, one for each of {count:,} examples, got "
            f"{array.dtype} {list(array.shape)}"
        )
    return array


def class_names(
    labels: Sequence[npt.NDArray[Any]], classes: Sequence[str] | None
) -> tuple[str, ...]:
    """The names of the classes, at least two, all different."""
    if classes is None:
        classes = [str(label) for label in np.unique(np.concatenate(labels))]
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(f"classes: expected two at least, all different, got {list(classes)}")
    return tuple(map(str, classes))


def places_of(
    labels: npt.NDArray[Any],
    named: tuple[str, ...],
    classes: Sequence[str] | None,
    where: str = "",
) -> npt.NDArray[np.int64]:
    """The place of each label among the classes; `where` begins the message of an error."""
    if labels.dtype.kind in "iu" and classes is not None:
        wrong = (labels < 0) | (labels >= len(named))
        places = labels.astype(np.int64)
    else:
        texts = labels.astype(str)
        ranks = np.argsort(named)
        found = np.clip(np.searchsorted(np.asarray(named)[ranks], texts), 0, len(named) - 1)
        places = ranks[found].astype(np.int64)
        wrong = np.asarray(named)[places] != texts
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{where}label {first} is {labels[first]!s}, expected one of {len(named)} classes: "
            f"{', '.join(named[:20])}{' ...' if len(named) > 20 else ''}"
        )
    return places


def whole_number(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """`value` if it is a whole number in low..high; DataError otherwise."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high:,}"
        raise DataError(f"{name}: expected a whole number {span}{why}, got {value!r}")
    return int(value)
