"""What everything around the training costs: a whole run against a bare loop of the same work.

    python tests/benchmarks/overhead.py --epochs 2 --rounds 5

The bare loop builds the same network, trains it on the same batches, validates before the first epoch and after each
and scores the test set once, with no Hydra, no MLflow, no checks and no metrics but the loss and the accuracy. The whole
run is `experiments/run.py` itself: it also checks the configuration, logs every epoch to a store that is there already,
fits the temperature, exports and logs the model. Both run in processes of their own, in turns; imports are left out of
both. `--epochs 0` shows what a run costs once, however long it trains.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bare(epochs: int, clock: Callable[[], float]) -> float:
    """Seconds of the bare loop."""
    from experiments import machine

    machine.load_paddle()
    import paddle

    from experiments import data, losses, models, training

    start = clock()
    splits = data.mnist(seed=0)
    paddle.seed(0)
    network = models.convnet(10)
    optimizer = paddle.optimizer.SGD(learning_rate=0.003, parameters=network.parameters())
    images = {
        name: training.pixels(part.images)
        for name, part in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
    }
    labels = paddle.to_tensor(splits.train.labels)

    def score(name: str, examples: data.Examples) -> tuple[float, float]:
        with paddle.no_grad():
            parts = [network(images[name][i : i + 250]) for i in range(0, len(examples), 250)]
            outputs = paddle.concat(parts)
            loss = float(losses.ce(outputs, paddle.to_tensor(examples.labels)).mean())
            return loss, float((outputs.numpy().argmax(axis=1) == examples.labels).mean())

    score("validation", splits.validation)
    for epoch in range(1, epochs + 1):
        order = data.epoch_order(len(splits.train), seed=0, epoch=epoch)
        for i in range(0, len(order), 100):
            index = paddle.to_tensor(order[i : i + 100])
            loss = losses.ce(
                network(paddle.index_select(images["train"], index)), paddle.index_select(labels, index)
            )
            loss.mean().backward()
            optimizer.step()
            optimizer.clear_grad()
        score("validation", splits.validation)
    score("test", splits.test)
    return clock() - start


def whole(epochs: int, clock: Callable[[], float]) -> float:
    """Seconds of the command in this process, its imports done before."""
    import runpy

    from experiments import machine

    machine.load_paddle()
    # What the run imports late counts as imports, too.
    import mlflow.paddle  # noqa: F401
    import pandas  # noqa: F401
    import scipy.optimize  # noqa: F401

    from experiments import cell, tracking  # noqa: F401

    with tempfile.TemporaryDirectory() as directory:
        sys.argv = [
            "run.py",
            f"epochs={epochs}",
            f"tracking.uri=sqlite:///{directory}/mlflow.db",
            f"hydra.run.dir={directory}/out",
        ]
        tracking.open_store(f"sqlite:///{directory}/mlflow.db", "mnist-losses")
        start = clock()
        try:
            runpy.run_path(str(ROOT / "experiments" / "run.py"), run_name="__main__")
        finally:
            sys.argv = sys.argv[:1]
        return clock() - start


def measure(kind: str, epochs: int, cpu_time: bool) -> float:
    command = [sys.executable, __file__, "--child", kind, "--epochs", str(epochs)]
    command += ["--cpu-time"] if cpu_time else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processes' own time, for machines that are busy or noisy",
    )
    parser.add_argument("--child", choices=["bare", "whole"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        clock = time.process_time if arguments.cpu_time else time.perf_counter
        print(json.dumps({"bare": bare, "whole": whole}[arguments.child](arguments.epochs, clock)))
        return

    from experiments import machine

    print(
        f"{machine.cpu_model()}, {machine.cores()} cores; {arguments.epochs} epochs, {arguments.rounds} rounds in turns"
    )
    ratios = []
    for number in range(1, arguments.rounds + 1):
        seconds = {kind: measure(kind, arguments.epochs, arguments.cpu_time) for kind in ("bare", "whole")}
        ratios.append(seconds["whole"] / seconds["bare"])
        print(
            f"round {number}: bare {seconds['bare']:.1f} s, whole {seconds['whole']:.1f} s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"whole / bare: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
