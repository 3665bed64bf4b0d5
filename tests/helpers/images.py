"""60 small images of three classes, in grey and in colour."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 12, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (60, 3, 12, 9), dtype=np.uint8)
LABELS = np.tile(["cat", "dog", "eel"], 20)
