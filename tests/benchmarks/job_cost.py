"""What a job of a sweep costs beyond its training, and how soon a finished sweep is known to be finished.

    python tests/benchmarks/job_cost.py --jobs 100

Runs `epochs=0` on digits, which trains nothing, for as many seeds as `--jobs`, in a temporary directory; then the same command once more,
which has nothing to do; then both figures without the logged model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    jobs = parser.parse_args().jobs

    from experiments import machine

    print(f"{machine.cpu_model()}, {machine.cores()} cores, {jobs} jobs of epochs=0 on digits")
    for more in ([], ["tracking.log_model=false"]):
        with tempfile.TemporaryDirectory() as directory:
            one, many, again = (seconds(directory, number, more) for number in (1, jobs, jobs))
        print(f"{' '.join(more) or 'all artifacts'}: one job {one:.1f} s, {jobs} jobs {many:.1f} s,", end=" ")
        print(
            f"{(many - one) / (jobs - 1):.3f} s for each further one; nothing to do {again:.1f} s", flush=True
        )


def seconds(directory: str, jobs: int, more: list[str]) -> float:
    """Seconds of the whole command, imports included."""
    command = [
        sys.executable,
        str(ROOT / "experiments" / "run.py"),
        "-m",
        f"seed=range({jobs})",
        "data=digits",
        "epochs=0",
        *more,
    ]
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
