"""Batches for tests of the losses."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.losses import (
    LOSSES,
    ON_NUMBERS,
    random_batches,
)

each_option = pytest.mark.parametrize("option", list(LOSSES))
each_on_numbers = pytest.mark.parametrize("option", ON_NUMBERS)


def random_batch(option: str) -> tuple[np.ndarray, np.ndarray]:
    return random_batches(option)[-1]
