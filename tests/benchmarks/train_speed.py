"""Images per second of training on one core: this project, Paddle's own operators and PyTorch.

    python tests/benchmarks/train_speed.py             # PyTorch needs pip install -e ".[bench]"
    python tests/benchmarks/train_speed.py --networks lenet5 --batch 32
    python tests/benchmarks/train_speed.py --networks convnet --jobs 2

Trains the shipped networks and one of a user's (cross-entropy, SGD 0.01), each in three ways, each
way in a process of its own. All are pinned to one core and take turns, a second or so each, for
several rounds, so that whatever else the machine does hits all alike: compare the ratios, which are
taken within a round. The batch is made beforehand: the steps alone are timed.

"ours" is what experiments run. "paddle" has Paddle's own operators, loss and optimizer for the same
layers. "torch" has the same layers in PyTorch, channels last.
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

NETWORKS = ("convnet", "lenet5", "cnn_bn", "mlp", "softmax", "resnet8", "own")
WAYS = ("paddle", "ours", "torch")


def batch(network: str, size: int) -> tuple[Any, Any]:
    """Random images [size, channels, height, width] in 0..1, float32, and labels [size]."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (3, 32, 32) if network == "resnet8" else (1, 28, 28)
    return rng.random((size, *shape), dtype=np.float32), rng.integers(0, 10, size)


def own(outputs: int) -> Any:
    """A user's network of six ordinary layers before its head."""
    from paddle import nn

    return nn.Sequential(
        *(nn.Conv2D(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2)),
        *(nn.Conv2D(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, outputs)),
    )


def paddle_step(network: str, way: str, size: int) -> tuple[Callable[[], Any], str]:
    """A function that trains for a step and returns the loss, and what computes the network."""
    if way == "ours":
        machine.load_paddle(int(os.environ["OMP_NUM_THREADS"]))
    else:
        os.environ["FAIRLOSS_KERNEL"] = "stock"
    import functools

    import paddle

    from experiments import losses, models, optimizers, schedulers, training
    from experiments.kernels import chain

    resnet8 = functools.partial(models.resnet, depth=8)
    model = {"own": own, "resnet8": resnet8}.get(network) or getattr(models, network)
    images, labels = batch(network, size)
    x, y = paddle.to_tensor(images), paddle.to_tensor(labels)
    functions = losses.ce, optimizers.sgd, schedulers.constant
    learner = training.build(model, *functions, lr=0.01, steps=1, shape=images.shape[1:])
    loss_of = paddle.nn.CrossEntropyLoss()
    optimizer = paddle.optimizer.SGD(0.01, parameters=learner.network.parameters())

    def step() -> Any:
        computed = training.forward(learner, x, y)
        training.step(learner, computed)
        return computed.values.sum() / size  # as the training loop sums it

    def plain_step() -> Any:
        loss = loss_of(learner.network(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return loss

    return (step if way == "ours" else plain_step), chain.kernel(learner.network)


def torch_network(network: str) -> Any:
    """The same layers in PyTorch, pools before activations where that is faster."""
    from torch import nn
    from torch.nn import functional as F

    class Residual(nn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.stride, self.more = stride, width - before
            self.convolutions = nn.Sequential(
                nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width),
                nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            )  # fmt: skip

        def forward(self, images: Any) -> Any:
            shortcut = images
            if self.more:
                kept = images[:, :, :: self.stride, :: self.stride]
                shortcut = F.pad(kept, [0, 0, 0, 0, 0, self.more])
            return F.relu(self.convolutions(images) + shortcut)

    def conv(before: int, width: int, size: int, padding: int = 0, **options: Any) -> Any:
        return nn.Conv2d(before, width, size, padding=padding, **options)

    layers = {
        "convnet": lambda: [
            conv(1, 20, 5, 2), nn.MaxPool2d(2), nn.ReLU(),
            conv(20, 20, 5, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(980, 10),
        ],
        "lenet5": lambda: [
            conv(1, 6, 5, 2), nn.Tanh(), nn.AvgPool2d(2),
            conv(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        ],
        "cnn_bn": lambda: [
            conv(1, 32, 3, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            conv(32, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(3136, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10),
        ],
        "mlp": lambda: [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)],
        "softmax": lambda: [nn.Flatten(), nn.Linear(784, 10)],
        "resnet8": lambda: [
            conv(3, 16, 3, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16, 16, 1),
            Residual(16, 32, 2), Residual(32, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(64, 10),
        ],
        "own": lambda: [
            conv(1, 16, 3, 1), nn.ReLU(), nn.MaxPool2d(2),
            conv(16, 32, 3, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 10),
        ],
    }  # fmt: skip
    return nn.Sequential(*layers[network]())


def torch_step(network: str, size: int) -> tuple[Callable[[], Any], str]:
    """The same as `paddle_step` in PyTorch."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch_network(network).to(memory_format=torch.channels_last)
    loss_of = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = (torch.from_numpy(part) for part in batch(network, size))
    images = images.to(memory_format=torch.channels_last)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step, "torch"


def work(way: str, network: str, size: int, core: int | None, clock: Callable[[], float]) -> None:
    """The body of a process.

    Warm up, then answer each number of seconds on stdin with images/s on stdout.
    """
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    made = torch_step(network, size) if way == "torch" else paddle_step(network, way, size)
    step, kernel = made
    for _ in range(10):
        float(step())
    print(json.dumps(kernel), flush=True)
    for line in sys.stdin:
        start, count = clock(), 0
        while clock() - start < float(line):
            for _ in range(5):
                loss = step()
                count += 1
        float(loss)
        print(json.dumps(size * count / (clock() - start)), flush=True)


class Worker:
    """A process that runs `work` on one core, or on any number of them with several threads."""

    def __init__(
        self, way: str, network: str, options: Any, core: int | None, threads: int = 1
    ) -> None:
        command = [sys.executable, "-W", "ignore", __file__, "--worker", way]
        command += ["--networks", network, "--batch", str(options.batch)]
        command += [] if core is None else ["--core", str(core)]
        command += ["--cpu-time"] if options.cpu_time else []
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        ours = {k: v for k, v in os.environ.items() if k != "MKL_DEBUG_CPU_TYPE"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ours | dict.fromkeys(names, str(threads)),
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
            command = " ".join(map(str, self.process.args))  # type: ignore[union-attr, arg-type]
            raise SystemExit(f"{command} ended early; run it by hand to see why")
        return json.loads(line)

    def rate(self, seconds: float) -> float:
        self.ask(seconds)
        return float(self.answer())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def spread(values: list[float], digits: int = 2) -> str:
    """'median (min to max)'."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def compare(network: str, ways: list[str], options: Any, core: int | None) -> None:
    """A row of the table."""
    workers = {way: Worker(way, network, options, core) for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(options.rounds + 1):  # the first round warms up
        for way, worker in workers.items():
            rate = worker.rate(options.seconds)
            if turn:
                rates[way].append(rate)
    for worker in workers.values():
        worker.close()
    cells = [f"{statistics.median(rates[way]):,.0f}" if way in ways else "-" for way in WAYS]
    for other in ("paddle", "torch"):
        both = zip(rates.get("ours", []), rates.get(other, []), strict=False)
        ratios = [a / b for a, b in both]
        cells.append(spread(ratios) if ratios else "-")
    kernel = workers["ours"].says if "ours" in workers else "-"
    print(f"| {network} | {options.batch} | {' | '.join(cells)} | {kernel} |", flush=True)


def scale(network: str, options: Any, cores: list[int | None]) -> None:
    """The total of several processes, each on its own core, and one with several threads."""
    count = max(options.jobs, options.threads)
    workers = [Worker("ours", network, options, cores[i % len(cores)]) for i in range(options.jobs)]
    threaded = Worker("ours", network, options, None, options.threads)
    jobs, threads = [], []
    for turn in range(options.rounds + 1):
        alone = workers[0].rate(options.seconds)
        for worker in workers:
            worker.ask(options.seconds)
        total = sum(worker.answer() for worker in workers)
        if turn:
            jobs.append(total / alone)
            threads.append(threaded.rate(options.seconds) / alone)
    for worker in [*workers, threaded]:
        worker.close()
    if count > 1:
        print(f"\n{network}, times one job with one thread:")
        print(f"{options.jobs} jobs at once {spread(jobs)}")
        print(f"{options.threads} threads {spread(threads)}")


def describe() -> str:
    """The machine and the versions."""
    modules = {"paddle": "paddlepaddle", "torch": "torch", "numpy": "numpy"}
    packages = [name for module, name in modules.items() if find_spec(module)]
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{machine.cpu_model()}, {os.cpu_count()} cores{load}; {platform.platform()}; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns that count (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default 1)")
    parser.add_argument("--batch", type=int, default=100, help="images per step (default 100)")
    parser.add_argument("--core", type=int, help="the core to pin to (default: the last one)")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processes' own time, for machines that are busy with other work",
    )
    parser.add_argument("--jobs", type=int, default=1, help="also this many processes at once")
    parser.add_argument("--threads", type=int, default=1, help="also one with this many threads")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="which (default all)")
    parser.add_argument("--ways", default=",".join(WAYS), help="which (default all)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        clock = time.process_time if options.cpu_time else time.perf_counter
        work(options.worker, options.networks, options.batch, options.core, clock)
        return
    networks, ways = options.networks.split(","), options.ways.split(",")
    if not (set(networks) <= set(NETWORKS) and set(ways) <= set(WAYS)):
        parser.error(f"expected --networks of {','.join(NETWORKS)} and --ways of {','.join(WAYS)}")
    if min(options.rounds, options.jobs, options.threads, options.batch, options.seconds) <= 0:
        parser.error("expected numbers above 0")
    cores: list[int | None] = (
        [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]
    )
    print(describe())
    if not find_spec("torch"):
        print('PyTorch is not installed: pip install -e ".[bench]" adds its columns')
        ways = [way for way in ways if way != "torch"]
    print("\n| network | batch | paddle | ours | torch | x paddle | x torch | kernel |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    core = cores[-1] if options.core is None else options.core
    for network in networks:
        compare(network, ways, options, core)
        if max(options.jobs, options.threads) > 1:
            scale(network, options, cores)


if __name__ == "__main__":
    main()
