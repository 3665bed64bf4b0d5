"""The learning rate over the steps of a run.

A scheduler is a function `(lr, *, steps) -> a number or paddle.optimizer.lr.LRScheduler`; `steps`
is the number of optimizer steps in the whole run, at least 1. What it returns goes to the optimizer
as its learning rate, and is stepped once per optimizer step.
"""

from __future__ import annotations

from paddle.optimizer.lr import (
    CosineAnnealingDecay,
    ExponentialDecay,
    LinearWarmup,
    LRScheduler,
    StepDecay,
)

from experiments.guards import check_number


def constant(lr: float, *, steps: int) -> float:
    """`lr` (> 0) at every step."""
    return lr


def step(lr: float, *, steps: int, every: int = 10_000, factor: float = 0.1) -> LRScheduler:
    """`lr` (> 0) times `factor`, in (0, 1), after each `every` (>= 1) optimizer steps."""
    check_number("every", every, at_least=1, whole=True)
    check_number("factor", factor, above=0, below=1)
    return StepDecay(lr, step_size=int(every), gamma=factor)


def warmup(lr: float, *, steps: int, share: float = 0.05) -> LRScheduler:
    """From 0 up to `lr` (> 0) in a straight line over a `share`, in (0, 1), of all steps."""
    check_number("share", share, above=0, below=1)
    return LinearWarmup(lr, warmup_steps=max(1, round(share * steps)), start_lr=0, end_lr=lr)


def cosine(lr: float, *, steps: int, warmup_share: float = 0.0) -> LRScheduler:
    """From `lr` (> 0) down to 0 along half a cosine, after a `warmup` of a share in [0, 1).

    Without a warmup, `lr (1 + cos(pi t / steps)) / 2` at step t = 0 .. steps - 1.

    Source: Loshchilov and Hutter, SGDR, 2017, without restarts.
    """
    check_number("warmup_share", warmup_share, at_least=0, below=1)
    first = round(warmup_share * steps)
    decay = CosineAnnealingDecay(lr, T_max=max(1, steps - first))
    return LinearWarmup(decay, warmup_steps=first, start_lr=0, end_lr=lr) if first else decay


def exponential(lr: float, *, steps: int, end: float = 0.01) -> LRScheduler:
    """From `lr` (> 0) by the same factor at every step: `lr end^(t / steps)` at step t.

    t is 0 .. steps - 1, and end in (0, 1); at 1 it would be `constant`.
    """
    check_number("end", end, above=0, below=1)
    return ExponentialDecay(lr, gamma=end ** (1 / steps))
