"""How often a comparison across data sets errs, and what it finds: simulated.

    python tests/benchmarks/across_data.py

Every simulated experiment goes through the functions that a report calls. On each data set every
loss has runs with several seeds at several learning rates; a loss differs from the others on a data
set by its own effect, so that no loss is equal to another on any data set, though on average all
are. Prints the table that docs/statistics.md shows.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.stats.across import compare, scores

MARGIN = 1.0  # points


class Rates(NamedTuple):
    """Shares of the experiments.

    decided: some loss is called better or worse. friedman: Friedman's test rejects. better and
    equivalent: what the last loss is called.
    """

    decided: float
    friedman: float
    better: float
    equivalent: float


def values(
    generator: np.random.Generator,
    data_sets: int,
    losses: int,
    *,
    shift: float = 0.0,
    spread: float = 1.0,
    skewed: bool = False,
) -> pd.DataFrame:
    """The values of losses on data sets, in the form of `scores`; accuracies in [0, 1].

    Args:
        generator: of everything.
        data_sets: how many.
        losses: how many; the first is the reference.
        shift: of the last loss on every data set, in points.
        spread: of the effects of a loss on a data set, in points.
        skewed: whether effects are lognormal, centred on their median as is true under the null of
            a symmetric difference of two losses.
    """
    effects = generator.normal(0, 1, (data_sets, losses))
    if skewed:
        effects = np.exp(effects)
    table = generator.uniform(60, 95, (data_sets, 1)) + spread * effects
    table[:, -1] += shift
    names = itertools.product(
        (f"data{i:02d}" for i in range(data_sets)), (f"loss{j}" for j in range(losses))
    )
    frame = pd.DataFrame(names, columns=["unit", "loss"])
    return frame.assign(epochs=1, lr=0.1, value=table.ravel() / 100, seeds=1, diverged=0)


def through_runs(
    generator: np.random.Generator, data_sets: int, losses: int, seeds: int = 3, rates: int = 3
) -> pd.DataFrame:
    """The same from runs: the rate of each loss on each data set is chosen on validation."""
    effects = generator.normal(0, 0.01, (data_sets, losses, 1, 1))
    base = generator.uniform(0.6, 0.95, (data_sets, 1, 1, 1))
    true = base + effects + generator.normal(0, 0.005, (data_sets, losses, rates, 1))
    shape = (data_sets, losses, rates, seeds)
    noise = [generator.normal(0, 0.005, shape) for _ in range(2)]
    grid = itertools.product(*map(range, shape))
    frame = pd.DataFrame(grid, columns=["data", "loss", "lr", "seed"]).assign(
        data=lambda runs: [f"data{i:02d}" for i in runs["data"]],
        loss=lambda runs: [f"loss{i}" for i in runs["loss"]],
        lr=lambda runs: runs["lr"] + 1.0,
        epochs=1,
        outcome="ok",
        run_id=[f"run{i}" for i in range(int(np.prod(shape)))],
        val_accuracy=(true + noise[0]).ravel(),
        test_accuracy=(true + noise[1]).ravel(),
    )
    return scores(frame, unit="data", metric="test_accuracy", diverged={})


def simulate(experiments: int, seed: int, make: Any = values, **how: Any) -> Rates:
    """Simulate experiments and count.

    Args:
        experiments: how many.
        seed: of everything.
        make: the values of one experiment, `values` or `through_runs`.
        how: arguments of `make`.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros(4)
    for _ in range(experiments):
        comparison = compare(
            make(generator, **how),
            reference="loss0",
            metric="test_accuracy",
            margin=MARGIN,
            samples=100,
        )
        verdicts, test = comparison.contrasts["verdict"], comparison.friedman
        counts += [
            verdicts.isin(["better", "worse"]).any(),
            test is not None and test.p < 0.05,
            verdicts.iloc[-1] == "better",
            verdicts.iloc[-1] == "equivalent",
        ]
    return Rates(*(counts / experiments).tolist())


def main() -> None:
    """Print the table."""
    sizes = ((6, 2), (8, 4), (12, 4), (12, 8), (20, 8))
    rows: list[tuple[str, int, dict[str, Any]]] = [
        (f"no difference on average, {words} effects", 1000, how | {"data_sets": n, "losses": k})
        for words, how in (("normal", {}), ("lognormal", {"skewed": True}))
        for n, k in sizes
    ]
    rows += [
        (
            "the same from runs, rates chosen on 3 seeds",
            100,
            {"data_sets": n, "losses": 3, "make": through_runs},
        )
        for n in (8, 12)
    ]
    rows += [
        (
            "the last loss better by 1 sd of a difference",
            250,
            {"data_sets": n, "losses": 4, "shift": 2**0.5},
        )
        for n in (8, 12, 20, 30)
    ]
    rows += [
        (words, 250, {"data_sets": n, "losses": 2, "shift": shift, "spread": 0.5})
        for words, shift in (
            ("no difference, effects of half the margin", 0.0),
            ("a difference on the margin, the same effects", MARGIN),
        )
        for n in (8, 12, 20)
    ]
    print(
        "| simulated | data sets | losses | some better or worse | Friedman rejects | last better |"
        " last equivalent |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for seed, (words, experiments, how) in enumerate(rows):
        shares = " | ".join(f"{share:.3f}" for share in simulate(experiments, seed, **how))
        print(f"| {words} | {how['data_sets']} | {how['losses']} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
