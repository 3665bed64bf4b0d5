"""What a job of a sweep costs beyond its training.

How soon a finished sweep is known to be finished.

    python tests/benchmarks/job_cost.py --jobs 100

Runs `epochs=0` on digits, which trains nothing, in a temporary directory with a store that is there
already: one job; then as many as `--jobs`; then the same command once more, which has nothing to
do. Every round is another directory. Then the same without the logged model.
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    jobs, rounds = arguments.jobs, arguments.rounds
    if jobs < 2 or rounds < 1:
        parser.error("expected --jobs of at least 2 and --rounds of at least 1")

    from experiments import machine

    print(
        f"{machine.cpu_model()}, {machine.cores()} cores; {jobs} jobs of epochs=0 on digits, "
        f"{rounds} rounds"
    )
    for more in ([], ["tracking.log_model=false"]):
        times = [once(jobs, more) for _ in range(rounds)]
        parts = {
            "one job": [one for one, _, _ in times],
            f"{jobs} jobs": [many for _, many, _ in times],
            "each further one": [(many - one) / (jobs - 1) for one, many, _ in times],
            "nothing to do": [again for _, _, again in times],
        }
        print(" ".join(more) or "all artifacts")
        for name, values in parts.items():
            print(
                f"  {name:<16} {statistics.median(values):7.3f} s ({min(values):.3f} to "
                f"{max(values):.3f})",
                flush=True,
            )


def once(jobs: int, more: list[str]) -> list[float]:
    """Seconds of one job, of many, and of the same many again."""
    with tempfile.TemporaryDirectory() as directory:
        seconds(directory, "1000000", more)  # creates the store, and fills the caches
        return [seconds(directory, seeds, more) for seeds in ("0", *[f"range(1,{jobs + 1})"] * 2)]


def seconds(directory: str, seeds: str, more: list[str]) -> float:
    """Seconds of the whole command, imports included."""
    command = [
        sys.executable,
        str(ROOT / "experiments" / "run.py"),
        "-m",
        f"seed={seeds}",
        f"tracking.uri=sqlite:///{directory}/mlflow.db",
        "data=digits",
        "epochs=0",
        *more,
    ]
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
