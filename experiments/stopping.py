"""Early stopping: when training ends before its last epoch, and whose weights are then tested.

Prechelt, 1998, "Early stopping - but when?". The best epoch is the one with the highest validation
accuracy, of equal ones the earliest. The untrained network counts only where nothing was trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.training import Learner, Record


def best(records: Sequence[Record]) -> Record:
    """The best epoch of a run, from the records of all its epochs so far."""
    return max(records[1:] or records, key=lambda record: record.metrics["val/accuracy"])


def is_over(records: Sequence[Record], patience: int | None) -> bool:
    """Whether `patience` (>= 1) epochs in a row were not better than the best before; None: no."""
    if patience is None or not records or records[-1].diverged:
        return False
    return records[-1].epoch - best(records).epoch >= patience


def state(learner: Learner, record: Record) -> dict[str, Any]:
    """A copy of the weights and buffers after an epoch, with its validation outputs."""
    weights = {
        part: {name: value.detach().clone() for name, value in layer.state_dict().items()}
        for part, layer in learner.layers.items()
    }
    return {**weights, "validation_outputs": record.validation_outputs}


def restore(learner: Learner, records: Sequence[Record], kept: dict[str, Any]) -> Record:
    """Put the `state` of the best epoch back into network and loss; the record of this epoch."""
    for part, layer in learner.layers.items():
        layer.set_state_dict(kept[part])
    record = best(records)
    learner.context.after(record.epoch)
    return dataclasses.replace(record, validation_outputs=kept["validation_outputs"])
