"""The learning rate over the steps of a run.

A scheduler is a function `(lr, *, steps) -> a number or paddle.optimizer.lr.LRScheduler`; `steps`
is the number of optimizer steps in the whole run, at least 1. What it returns goes to the optimizer
as its learning rate, and is stepped once per optimizer step.
"""

from __future__ import annotations

from paddle.optimizer.lr import CosineAnnealingDecay, ExponentialDecay, LRScheduler

from experiments.guards import check_number


def constant(lr: float, *, steps: int) -> float:
    """`lr` (> 0) at every step."""
    return lr


def cosine(lr: float, *, steps: int) -> LRScheduler:
    """From `lr` (> 0) down to 0 along half a cosine.

    `lr (1 + cos(pi t / steps)) / 2` at step t = 0 .. steps - 1.

    Source: Loshchilov and Hutter, SGDR, 2017, without restarts.
    """
    return CosineAnnealingDecay(lr, T_max=steps)


def exponential(lr: float, *, steps: int, end: float = 0.01) -> LRScheduler:
    """From `lr` (> 0) by the same factor at every step: `lr end^(t / steps)` at step t.

    t is 0 .. steps - 1, and end in (0, 1); at 1 it would be `constant`.
    """
    check_number("end", end, above=0, below=1)
    return ExponentialDecay(lr, gamma=end ** (1 / steps))
