"""Make the pictures of README.md and docs/: the page, the terminal and MLflow.

    python docs/pictures/make.py DIRECTORY

Runs a sweep on digits in DIRECTORY (30 runs, about a minute), makes its report and takes pictures
of both in Debian's chromium. What a directory already has is not made again.
"""

from __future__ import annotations

import argparse
import html
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(ROOT), str(ROOT / "tests")]

from helpers.browser import Browser, browser  # noqa: E402
from helpers.commands import mlflow_server  # noqa: E402

SWEEP = "-m loss=mse,ce,brier data=digits model=mlp epochs=10 lr=0.01,0.1 'seed=range(5)'"
LINES = 25
"""Of the terminal: its last ones."""

CHARTS = "document.querySelectorAll('.scatterlayer .trace .point').length"
CLOSE = "document.querySelectorAll('[role=alert] button[aria-label], button[aria-label=Close]')"

TERMINAL = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; background: {paper}; color: {ink}; }}
pre {{ font: 13px/1.42 "DejaVu Sans Mono", monospace; margin: 0; padding: 14px 18px;
  width: 100ch; white-space: pre-wrap; overflow-wrap: anywhere; }}
</style><pre>{text}</pre>"""
COLORS = {"light": ("#fffffe", "#1b1d22"), "dark": ("#16171a", "#e7e5df")}


def main() -> None:
    """Run what is missing, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the sweep runs, or ran")
    directory = parser.parse_args().directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    output = directory / "terminal.txt"
    if not output.exists():
        text = run(directory, "experiments/run.py", *shlex.split(SWEEP))
        output.write_text(text, encoding="utf-8")
    page = directory / "report" / "index.html"
    if not page.exists():
        run(directory, "reports/generate.py", "output=report")
    with browser() as chromium:
        for scheme in COLORS:
            chromium.open(page, 1180, 700, dark=scheme == "dark")
            shot(chromium, f"page-{scheme}.png")
        terminal(chromium, directory, output.read_text(encoding="utf-8"))
        mlflow(chromium, directory, output.read_text(encoding="utf-8"))


def run(directory: Path, program: str, *arguments: str) -> str:
    """What a program prints, in 100 columns."""
    done = subprocess.run(
        ["env", "COLUMNS=100", sys.executable, str(ROOT / program), *arguments],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def terminal(chromium: Browser, directory: Path, output: str) -> None:
    """The command and the end of its output."""
    lines = [f"$ python experiments/run.py {SWEEP}", "...", *output.splitlines()[-LINES:]]
    for scheme, (paper, ink) in COLORS.items():
        page = directory / f"terminal-{scheme}.html"
        text = html.escape("\n".join(lines))
        page.write_text(TERMINAL.format(text=text, paper=paper, ink=ink), encoding="utf-8")
        chromium.open(page, 830, 100)
        height = chromium.js("Math.ceil(document.querySelector('pre').scrollHeight)")
        chromium.open(page, 830, height)
        shot(chromium, f"terminal-{scheme}.png")


def mlflow(chromium: Browser, directory: Path, output: str) -> None:
    """The page of MLflow to which the command's link leads."""
    (link,) = set(re.findall(r"#/experiments/\S+", output))
    store = f"sqlite:///{directory / 'mlflow.db'}"
    with mlflow_server(directory, "--backend-store-uri", store) as uri:
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        chromium.call("Emulation.setDeviceMetricsOverride", **size)
        chromium.call("Page.navigate", url=f"{uri}/{link}")
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and not chromium.js(CHARTS):
            time.sleep(1)
        chromium.js(f"{CLOSE}.forEach(button => button.click())")
        time.sleep(5)  # until everything is drawn
        shot(chromium, "mlflow.png")


def shot(chromium: Browser, name: str) -> None:
    """Keep what is seen, in 256 colors."""
    chromium.shot(HERE / name)
    with Image.open(HERE / name) as picture:
        small = picture.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    small.save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
