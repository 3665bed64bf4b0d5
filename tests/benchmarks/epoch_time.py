"""Where an epoch's time goes: training, validation, tracking, the rest.

And what a run costs besides.

    python tests/benchmarks/epoch_time.py --epochs 3 loss=ce

Further arguments go to `experiments/run.py`, which is run in this process with a store in a
temporary directory. Training and validation are what the run itself logs; tracking is the time
inside the functions that write to MLflow.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import runpy
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    arguments, overrides = parser.parse_known_args()
    if arguments.epochs < 1:
        parser.error("--epochs: expected a whole number of at least 1")

    from experiments import machine, tracking, training, worker_init  # noqa: F401

    inside: dict[str, list[float]] = defaultdict(list)
    records: list[dict[str, float]] = []
    arrived: list[float] = []

    def timed(name: str) -> Callable[..., Any]:
        function = getattr(tracking.TrackedRun, name)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            inside[name].append(time.perf_counter() - start)
            if name == "log_metrics" and "val/loss" in args[1]:
                records.append(dict(args[1]))
                arrived.append(time.perf_counter())
            return result

        return wrapper

    names = (
        "log_metrics",
        "set_tags",
        "log_text",
        "log_dataset",
        "log_predictions",
        "log_model",
        "flush",
    )
    for name in names:
        setattr(tracking.TrackedRun, name, timed(name))
    with tempfile.TemporaryDirectory() as directory:
        sys.argv = [
            "run.py",
            *overrides,
            f"epochs={arguments.epochs}",
            f"tracking.uri=sqlite:///{directory}/mlflow.db",
        ]
        sys.argv.append(f"hydra.run.dir={directory}/out")
        start = time.perf_counter()
        runpy.run_path(str(ROOT / "experiments" / "run.py"), run_name="__main__")
        whole = time.perf_counter() - start

    print(
        f"\n{machine.cpu_model()}, {machine.cores()} cores; {arguments.epochs} epochs, in seconds"
    )
    print("the mean, its share, the least and the most")
    epochs = records[1:]
    walls = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    parts = {
        "training": [record["time/train_seconds"] for record in epochs],
        "validation": [record["time/val_seconds"] for record in epochs],
        "tracking": inside["log_metrics"][1 : 1 + len(epochs)],
    }
    rest = [wall - sum(phases) for wall, *phases in zip(walls, *parts.values(), strict=True)]
    for part, seconds in (parts | {"rest": rest, "epoch": walls}).items():
        middle = statistics.mean(seconds)
        share = middle / statistics.mean(walls)
        print(
            f"  {part:<12} {middle:8.3f}  {share:6.1%}  ({min(seconds):.3f} to {max(seconds):.3f})"
        )
    print("once per run, in seconds")
    for name in names[1:]:
        print(f"  {name:<16} {sum(inside[name]):8.3f}  in {len(inside[name])} calls")
    print(f"  {'whole run':<16} {whole:8.3f}  imports aside")


if __name__ == "__main__":
    main()
