"""What tests of reading runs share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reports.runs import (
    Runs,
)

HOSTILE = (
    "</script><script>alert('x')</script> & \"q\" $\\frac{a}{b}$ {{ 7 * 7 }} %s ☃ "
    "\N{RIGHT-TO-LEFT OVERRIDE}'; DROP TABLE runs; --"
)


def npz(path: Path, **arrays) -> bytes:
    np.savez_compressed(path, **arrays)
    return path.read_bytes()


def good_predictions(n: int = 4) -> dict:
    outputs = np.arange(10 * n, dtype=np.float32).reshape(n, 10)
    return {"outputs": outputs, "predicted": np.full(n, 9), "label": np.arange(n)}


def assert_same(left: Runs, right: Runs) -> None:
    pd.testing.assert_frame_equal(left.summary, right.summary)
    pd.testing.assert_frame_equal(left.curves, right.curves)
    pd.testing.assert_frame_equal(left.missing, right.missing)
    assert left.notes == right.notes
    assert (left.experiments, left.sweeps) == (right.experiments, right.sweeps)
