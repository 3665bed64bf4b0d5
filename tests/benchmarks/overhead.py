"""What everything around the training costs: a whole run against a bare loop of the same work.

    python tests/benchmarks/overhead.py

The bare loop builds the same network, trains it on the same batches, validates before the first
epoch and after each and scores the test set once, with no Hydra, no MLflow, no checks and no
metrics but the loss and the accuracy, which it takes of training, too, batch by batch. The whole
run is `experiments/run.py` itself: it also checks the configuration, logs every epoch to a store
that is there already, keeps checkpoints, fits the temperature, exports and logs the model. Imports
are left out of both.

A machine's speed wavers by more than what is measured, so each part is measured where it wavers
least. What a run costs
once: runs of no epoch, bare and whole, in processes of their own, in turns. What an epoch costs
more: both in one process, in turns, a training step of the one after each of the other; what slows
one down for some hundredths of a second slows the other down, too, so that the difference of an
epoch varies far less than that of two epochs in turns. The sum of both is what a run of `--epochs`
costs more. It takes means, since not every epoch writes to the store.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def bare(epochs: int) -> Iterator[None]:
    """The bare loop, with a pause after each step.

    Wherever the whole run has recorded an epoch.
    """
    import paddle

    from experiments import data, losses, models, training
    from experiments.kernels import chain

    splits = data.mnist(seed=0)
    paddle.seed(0)
    network = models.convnet(10)
    chain.install(network)
    optimizer = paddle.optimizer.SGD(learning_rate=0.003, parameters=network.parameters())
    images = {
        name: training.tensor(splits, part)
        for name, part in (
            ("train", splits.train),
            ("validation", splits.validation),
            ("test", splits.test),
        )
    }
    labels = paddle.to_tensor(splits.train.labels)

    def score(name: str, examples: data.Examples) -> tuple[float, float]:
        with paddle.no_grad():
            parts = [network(images[name][i : i + 250]) for i in range(0, len(examples), 250)]
            outputs = paddle.concat(parts)
            loss = float(losses.ce(outputs, paddle.to_tensor(examples.labels)).mean())
            return loss, float((outputs.numpy().argmax(axis=1) == examples.labels).mean())

    score("validation", splits.validation)
    yield
    for epoch in range(1, epochs + 1):
        order = data.epoch_order(len(splits.train), seed=0, epoch=epoch)
        positions = paddle.to_tensor(order)
        total, right = 0.0, 0
        for i in range(0, len(order), 100):
            index = positions[i : i + 100]
            outputs = network(paddle.index_select(images["train"], index))
            loss = losses.ce(outputs, paddle.index_select(labels, index))
            loss.mean().backward()
            optimizer.step()
            optimizer.clear_grad()
            total += float(loss.numpy().sum())
            right += int(
                (outputs.numpy().argmax(axis=1) == splits.train.labels[order[i : i + 100]]).sum()
            )
            yield
        score("validation", splits.validation)
        yield
    score("test", splits.test)


def late_imports() -> None:
    """What the run imports late counts as imports, too."""
    from experiments import machine

    machine.load_paddle()
    import mlflow.paddle
    import mlflow.pyfunc  # noqa: F401
    import pandas  # noqa: F401
    import scipy.optimize  # noqa: F401

    from experiments import execution, tracking  # noqa: F401


def whole(epochs: int) -> float:
    """Seconds of the command, in this process."""
    import runpy

    from experiments import tracking

    with tempfile.TemporaryDirectory() as directory:
        uri = f"sqlite:///{directory}/mlflow.db"
        tracking.open_store(uri, "mnist")
        sys.argv = [
            "run.py",
            f"epochs={epochs}",
            f"tracking.uri={uri}",
            f"hydra.run.dir={directory}/out",
        ]
        start = time.perf_counter()
        runpy.run_path(str(ROOT / "experiments" / "run.py"), run_name="__main__")
        return time.perf_counter() - start


def in_turns(epochs: int) -> list[tuple[float, float]]:
    """Seconds of every epoch, bare and whole."""
    from experiments import processes, steps, training
    from experiments.tracking import run

    train, advance, loop = training.train, steps.advance, bare(epochs)
    turns: list[tuple[float, float]] = []  # of the bare loop: from when to when
    records: list[int] = []  # which of them came after a record
    waited = 0.0

    def turn() -> None:
        nonlocal waited
        start = time.perf_counter()
        next(loop)
        turns.append((start, time.perf_counter()))
        waited += turns[-1][1] - start

    def advance_and_wait(learner: training.Learner, *learned: Any) -> None:
        advance(learner, *learned)
        turn()

    def train_and_wait(*arguments, **options) -> Iterator[training.Record]:
        steps.advance = advance_and_wait
        for record in train(*arguments, **options):
            records.append(len(turns))
            turn()
            yield record

    training.train = train_and_wait
    processes.in_fork = lambda function, *arguments: function(*arguments)  # not in a fork
    # It writes to the store every ten seconds of its own.
    run.time = types.SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() - waited)
    whole(epochs)
    pairs = [
        (end - start, start - before) for (_, before), (start, end) in itertools.pairwise(turns)
    ]
    of_epochs = [pairs[first:last] for first, last in itertools.pairwise(records)]
    return [
        (sum(bare for bare, _ in epoch), sum(whole for _, whole in epoch)) for epoch in of_epochs
    ]


def alone(epochs: int) -> float:
    """Seconds of the bare loop."""
    start = time.perf_counter()
    list(bare(epochs))
    return time.perf_counter() - start


def measure(kind: str, epochs: int = 0) -> Any:
    """What the function gives, in a process of its own."""
    command = [sys.executable, __file__, "--child", kind, "--epochs", str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="as many as a run has by default")
    parser.add_argument("--rounds", type=int, default=9, help="of runs of no epoch")
    parser.add_argument("--processes", type=int, default=3, help="of all the epochs in turns")
    parser.add_argument("--child", choices=["alone", "whole", "in_turns"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.processes) < 1 or not (arguments.epochs or arguments.child):
        parser.error("--epochs, --rounds and --processes: expected whole numbers of at least 1")
    if arguments.child:
        late_imports()
        print(json.dumps(globals()[arguments.child](arguments.epochs)))
        return

    from experiments import machine

    print(f"{machine.cpu_model()}, {machine.cores()} cores; seconds, means (least to most)")
    once = [(measure("alone"), measure("whole")) for _ in range(arguments.rounds)]
    epochs = [
        pair for _ in range(arguments.processes) for pair in measure("in_turns", arguments.epochs)
    ]
    for name, pairs in (("once", once), ("an epoch", epochs)):
        print(f"{name:>8}:", ", ".join(map(spread, ("bare", "whole", "more"), numbers(pairs))))
    drawn = np.random.default_rng(0)
    again = [
        ratio(drawn.choice(once, len(once)), drawn.choice(epochs, len(epochs)), arguments.epochs)
        for _ in range(2000)
    ]
    low, high = np.percentile(again, [2.5, 97.5])
    print(
        f"a run of {arguments.epochs} epochs: {ratio(once, epochs, arguments.epochs):.3f} x the "
        "bare loop"
        f" (95 % interval of the bootstrap: {low:.3f} to {high:.3f})"
    )


def ratio(once: Any, epochs: Any, count: int) -> float:
    """Whole over bare for a run of `count` epochs, from pairs of seconds (bare, whole)."""
    (bare_once, _, more_once), (bare_epoch, _, more_epoch) = (
        map(statistics.mean, numbers(pairs)) for pairs in (once, epochs)
    )
    return 1 + (more_once + count * more_epoch) / (bare_once + count * bare_epoch)


def numbers(pairs: Sequence[tuple[float, float]]) -> list[list[float]]:
    """What is bare, what is whole, and the difference of each pair."""
    return [[b for b, _ in pairs], [w for _, w in pairs], [w - b for b, w in pairs]]


def spread(name: str, values: Sequence[float]) -> str:
    return f"{name} {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
