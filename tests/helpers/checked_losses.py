"""What tests of checks share: a loss with a mistake, and the names of warnings."""

from __future__ import annotations

import paddle

from experiments.checks import TrainingWarning


def broadcast_over_rows(prediction, labels):
    """The squared error of every prediction with every label, a classic mistake."""
    return paddle.square(prediction.unsqueeze(1) - labels.astype("float32")).mean(axis=1)


def names(warnings: list[TrainingWarning]) -> list[str]:
    return [warning.name for warning in warnings]
