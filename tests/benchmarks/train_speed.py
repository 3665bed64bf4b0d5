"""Images per second of training on one core.

Conv blocks against Paddle's own operators and PyTorch.

    python tests/benchmarks/train_speed.py           # PyTorch's row needs pip install -e ".[bench]"
    python tests/benchmarks/train_speed.py --jobs 2  # and the machine's total with two at once

Trains the tutorial's convnet (batches of 100 digits, cross-entropy, SGD 0.01) in four ways, each in
a process of its own. All are pinned to one core and take turns, a second or so each, for several
rounds, so that whatever else the machine does hits all alike: compare the ratios, which are taken
within a round. Batches are made beforehand: the steps alone are timed.

The share of sgemm is the work of a step that computes both gradients at all positions, over the
speed of the fastest matrix product of NumPy, Paddle and PyTorch. Conv blocks leave out half of that
work, and some of these libraries use only AVX2 where there is AVX-512, so it may exceed 100 %.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from experiments import machine

BATCH = 100
# multiplications and additions of one training step, dense, both convolutions' gradients
FLOP_PER_IMAGE = 13.4e6
VARIANTS = {
    "paddle": "Paddle as installed, conv, ReLU, pool",
    "reordered": "Paddle, bias and ReLU after the pool, MKL's fast path",
    "block": "conv blocks, as experiments run them",
    "torch": "PyTorch, channels-last, ReLU after the pool",
}
NEEDS = {"torch": "torch"}  # of a variant the package


def batches() -> tuple[Any, Any]:
    """Scikit-learn's digits.

    Images [17, 100, 1, 28, 28] in 0..1, float32, and labels [17, 100], int64.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    large = np.kron(digits.reshape(-1, 8, 8) / 16, np.ones((3, 3)))
    images = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype("float32")
    count = len(images) // BATCH
    return images[: count * BATCH].reshape(count, BATCH, 1, 28, 28), labels[
        : count * BATCH
    ].reshape(count, BATCH)


def paddle_step(variant: str) -> Callable[[int], Any]:
    """A function that trains on the batch of a number and returns its loss, in Paddle."""
    if variant != "paddle":
        machine.prepare(threads=1)
    if variant not in ("paddle", "reordered"):
        machine.keep_memory()
    if variant != "block":
        os.environ["FAIRLOSS_KERNEL"] = "stock"
    import paddle
    from paddle import nn

    from experiments.kernels.conv_block import ConvBlock, kernel

    paddle.seed(0)
    if variant == "paddle":
        first = [nn.Conv2D(1, 20, 5, padding=2), nn.ReLU(), nn.MaxPool2D(2)]
        second = [nn.Conv2D(20, 20, 5, padding=2), nn.ReLU(), nn.MaxPool2D(2)]
    else:
        first, second = [ConvBlock(1, 20, 5, padding=2)], [ConvBlock(20, 20, 5, padding=2)]
    network = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(980, 10))
    loss_of = nn.CrossEntropyLoss()
    optimizer = paddle.optimizer.SGD(0.01, parameters=network.parameters())
    images, labels = ([paddle.to_tensor(batch) for batch in part] for part in batches())

    def step(i: int) -> Any:
        loss = loss_of(network(images[i % len(images)]), labels[i % len(labels)])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return loss

    # what the worker says when it is ready
    step.kernel = kernel()  # type: ignore[attr-defined]
    return step


def torch_step() -> Callable[[int], Any]:
    """The same in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 20, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(20, 20, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(980, 10)),
    ).to(memory_format=torch.channels_last)
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    pictures, numbers = batches()
    images = [torch.from_numpy(batch).to(memory_format=torch.channels_last) for batch in pictures]
    labels = [torch.from_numpy(batch) for batch in numbers]

    def step(i: int) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network(images[i % len(images)]), labels[i % len(labels)])
        loss.backward()
        optimizer.step()
        return loss

    return step


def sgemm(clock: Callable[[], float]) -> float:
    """FLOP per second of the fastest matrix product, 1024 x 1024 in float32, of NumPy.

    Paddle and PyTorch.
    """
    import numpy as np

    machine.prepare(threads=1)
    matrix = np.random.default_rng(0).random((1024, 1024), dtype="float32")
    kinds: list[Any] = [matrix]
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        kinds.append(torch.from_numpy(matrix))
    import paddle

    kinds.append(paddle.to_tensor(matrix))
    best = 0.0
    for kind in kinds * 5:
        start = clock()
        for _ in range(4):
            kind @ kind
        best = max(best, 4 * 2 * 1024**3 / (clock() - start))
    return best


def work(variant: str, core: int | None, clock: Callable[[], float]) -> None:
    """The body of a process.

    Warm up, then answer each number of seconds on stdin with images/s on stdout.
    """
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    if variant == "sgemm":
        print(json.dumps(sgemm(clock)), flush=True)
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    step = torch_step() if variant == "torch" else paddle_step(variant)
    for i in range(10):
        float(step(i))
    print(json.dumps(getattr(step, "kernel", "")), flush=True)
    count = 10
    for line in sys.stdin:
        start = clock()
        first = count
        while clock() - start < float(line):
            for _ in range(5):
                loss = step(count)
                count += 1
        float(loss)
        print(json.dumps(BATCH * (count - first) / (clock() - start)), flush=True)


class Worker:
    """A process that runs `work` for one variant on one core."""

    def __init__(
        self, variant: str, core: int | None, *, cpu_time: bool = False, **variables: str
    ) -> None:
        command = [sys.executable, "-W", "ignore", __file__, "--worker", variant]
        command += [] if core is None else ["--core", str(core)]
        command += ["--cpu-time"] if cpu_time else []
        environment = {
            name: value for name, value in os.environ.items() if name != "MKL_DEBUG_CPU_TYPE"
        }
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | variables,
        )
        self.says = self.answer()

    def ask(self, seconds: float) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{' '.join(self.process.args)} ended early; run it by hand to see why"
            )  # type: ignore[arg-type]
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def spread(values: list[float], digits: int = 2) -> str:
    """'median (min..max)'."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def compare(
    variants: list[str], core: int | None, rounds: int, seconds: float, cpu_time: bool
) -> None:
    workers = {variant: Worker(variant, core, cpu_time=cpu_time) for variant in variants}
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    for turn in range(rounds + 1):  # the first round warms up
        for variant, worker in workers.items():
            worker.ask(seconds)
            rate = worker.answer()
            if turn:
                rates[variant].append(rate)
    for worker in workers.values():
        worker.close()
    limit = Worker("sgemm", core, cpu_time=cpu_time).says
    print(
        f"sgemm {limit / 1e9:.0f} GFLOP/s; a training step is {FLOP_PER_IMAGE / 1e6} MFLOP per "
        "image\n"
    )
    print(
        f"{'':54s}{'images/s of CPU time' if cpu_time else 'images/s':>24s}"
        f"{'x Paddle':>20s}{'x PyTorch':>20s}{'of sgemm':>10s}"
    )
    for variant in variants:
        cells = [spread(rates[variant], 0)]
        for other in ("paddle", "torch"):
            ratios = [a / b for a, b in zip(rates[variant], rates.get(other, []), strict=False)]
            cells.append(spread(ratios) if ratios else "-")
        share = statistics.median(rates[variant]) * FLOP_PER_IMAGE / limit
        print(f"{VARIANTS[variant]:54s}{cells[0]:>24s}{cells[1]:>20s}{cells[2]:>20s}{share:>9.0%}")
    if "block" in workers:
        print(f"\nconv blocks ran {workers['block'].says}")
    for name in sorted(set(NEEDS.values())):
        if not find_spec(name):
            print(f'{name} is not installed: pip install -e ".[bench]" adds its row')


def scale(jobs: int, cores: list[int | None], rounds: int, seconds: float, cpu_time: bool) -> None:
    """The total of several processes at once, each on its own core while there are cores.

    Against one.
    """
    workers = [Worker("block", cores[i % len(cores)], cpu_time=cpu_time) for i in range(jobs)]
    ratios, totals = [], []
    for turn in range(rounds + 1):
        workers[0].ask(seconds)
        alone = workers[0].answer()
        for worker in workers:
            worker.ask(seconds)
        total = sum(worker.answer() for worker in workers)
        if turn:
            ratios.append(total / alone)
            totals.append(total)
    for worker in workers:
        worker.close()
    print(f"\n{jobs} jobs at once: {spread(totals, 0)} images/s, {spread(ratios)} times one job")


def describe() -> str:
    versions = [
        f"{name} {metadata.version(name)}"
        for name in ("paddlepaddle", "torch", "numpy")
        if installed(name)
    ]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{machine.cpu_model()}, {os.cpu_count()} cores{load}; {platform.platform()}; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="turns that are counted of each variant (default 7)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default 1)")
    parser.add_argument(
        "--core", type=int, help="the core to pin to (default: the last this process may use)"
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processes' own time on their cores, for machines that are busy with other "
        "work",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="also the total of this many processes at once"
    )
    parser.add_argument(
        "--variants",
        default=",".join(VARIANTS),
        help=f"which to run, of {','.join(VARIANTS)} (default all; torch only where it "
        "is installed)",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(
            options.worker,
            options.core,
            time.process_time if options.cpu_time else time.perf_counter,
        )
        return
    variants = options.variants.split(",")
    if not set(variants) <= set(VARIANTS):
        parser.error(f"--variants: expected some of {','.join(VARIANTS)}, got {options.variants}")
    if options.rounds < 1 or options.jobs < 1 or options.seconds <= 0:
        parser.error("--rounds and --jobs must be at least 1, --seconds more than 0")
    cores: list[int | None] = (
        [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]
    )
    print(describe())
    core = cores[-1] if options.core is None else options.core
    variants = [name for name in variants if name not in NEEDS or find_spec(NEEDS[name])]
    compare(variants, core, options.rounds, options.seconds, options.cpu_time)
    if options.jobs > 1:
        scale(options.jobs, cores, options.rounds, options.seconds, options.cpu_time)


if __name__ == "__main__":
    main()
