"""What tests of tracking share."""

from __future__ import annotations

from experiments import tracking


def run(store, **more):
    return tracking.tracked_run(
        store, name="n", params={"loss": "ce", "lr": 0.1}, tags={"identity": "i"}, **more
    )
