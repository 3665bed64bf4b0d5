"""How soon the command answers: help, configuration, a wrong option; and how soon it trains.

    python tests/benchmarks/startup.py --rounds 5

The first training step is taken right after the first line of progress, that of the untrained
network, of which the time is taken here; it is validated on 100 images. Before it the command loads
Paddle, to train, and MLflow, to ask the store whether the run is finished and to verdict it. The
bare imports of these are measured in turns with it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = str(ROOT / "experiments" / "run.py")
ANSWERS = {
    "--help": [RUN, "--help"],
    "--cfg job": [RUN, "--cfg", "job"],
    "a misspelt option": [RUN, "loss=cee"],
    "a misspelt key": [RUN, "epoch=3"],
    "a wrong value of a loss": [RUN, "loss=focal", "loss.gamma=-1"],
}
IMPORTS = {
    "import paddle": "import paddle",
    "import paddle, mlflow": "import paddle, mlflow",
    "Paddle and what asks the store": "import paddle, experiments.tracking",
}
SMALL = ["data.train_size=100", "data.validation_size=100", "epochs=1", "tracking.log_model=false"]


def answered(arguments: list[str], directory: str) -> float:
    """Seconds of a command from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, check=False)
    return time.perf_counter() - start


def first_step(directory: str, number: int) -> float:
    """Seconds from the start of a run to its first step; every `number` is another run."""
    start = time.perf_counter()
    store = f"tracking.uri=sqlite:///{directory}/mlflow.db"
    command = [sys.executable, RUN, *SMALL, store, f"seed={number}"]
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout
        for line in run.stdout:
            if "epoch 0/1" in line:
                seconds = time.perf_counter() - start
                run.stdout.read()
                return seconds
    raise SystemExit(f"{' '.join(command)} ended without a first epoch; run it by hand to see why")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    from experiments import machine

    print(f"{machine.cpu_model()}, {machine.cores()} cores; {rounds} rounds in turns\n")
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        first_step(directory, rounds)  # creates the store, and fills the caches
        for number in range(rounds):
            for name, arguments in ANSWERS.items():
                seconds.setdefault(name, []).append(answered(arguments, directory))
            for name, code in IMPORTS.items():
                seconds.setdefault(name, []).append(answered(["-c", code], directory))
            seconds.setdefault("to the first step", []).append(first_step(directory, number))
    for name, values in seconds.items():
        print(
            f"{name:32s} {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"
        )
    print()
    for name in IMPORTS:
        ratios = [a / b for a, b in zip(seconds["to the first step"], seconds[name], strict=True)]
        print(
            f"to the first step / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
