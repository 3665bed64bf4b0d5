"""How much memory a sweep takes, all its processes together.

    python tests/benchmarks/sweep_memory.py
    python tests/benchmarks/sweep_memory.py loss=ce,elr epochs=2

Runs a sweep with two jobs at once on all of MNIST, in a temporary directory; further arguments go
to it. Every half second the processes are asked for their share of the memory (PSS, of Linux: what
two processes share counts half for each), and the largest sum is printed with the number of
processes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def shares(process: psutil.Process) -> list[int]:
    """The bytes of a process and of all that it has started, of those that still run."""
    sizes = []
    for each in [process, *process.children(recursive=True)]:
        try:
            sizes.append(each.memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue
    return sizes


def main() -> None:
    words = ["loss=ce,mse", "epochs=1", "seed=0,1", "hydra.launcher.n_jobs=2", *sys.argv[1:]]
    largest: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(ROOT / "experiments" / "run.py"), "-m", *words]
        with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL) as sweep:
            while True:
                try:
                    largest = max(largest, shares(psutil.Process(sweep.pid)), key=sum)
                    sweep.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except psutil.NoSuchProcess:
                    break
    if sweep.returncode:
        sys.exit(f"the sweep ended with exit code {sweep.returncode}")
    print(f"{sum(largest) / 1e9:.2f} GB in {len(largest)} processes at most")


if __name__ == "__main__":
    main()
