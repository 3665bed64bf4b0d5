"""The project as a wheel: installed without its checkout, it has all that its commands need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, clean_environment

from experiments.kernels import conv_block

KERNEL = (
    "from experiments import machine; machine.load_paddle(); "
    "from experiments.kernels import conv_block as c; print(c.__file__, c.kernel())"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory with what the wheel installs."""
    made, place = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    source = made / "source"
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in files.splitlines():  # not in the checkout, where building leaves things behind
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(made), str(source))
    (wheel,) = made.glob("*.whl")
    pip("install", "--target", str(place), str(wheel))
    return place


def pip(command: str, *words: str) -> None:
    line = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        command,
        "--no-deps",
        *words,
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_trains_reports_and_has_the_fast_kernel(installed, tmp_path):
    environment = clean_environment() | {"PYTHONPATH": str(installed)}

    def does(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    ran = does(
        str(installed / "experiments" / "run.py"), "-m", "loss=mse,ce", "data=digits", "epochs=1"
    )
    assert ran.count(" ok ") == 2
    does(str(installed / "reports" / "generate.py"))
    (page,) = (tmp_path / "outputs" / "reports").glob("*/index.html")
    assert "<svg" in page.read_text(encoding="utf-8")
    place, kernel = does("-c", KERNEL).split()
    assert Path(place).parent == installed / "experiments" / "kernels"
    assert kernel == conv_block.kernel()  # the checkout's
