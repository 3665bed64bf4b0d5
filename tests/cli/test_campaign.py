"""Kills at random moments, until the same command has done everything."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import subprocess

import pytest
from helpers.commands import but
from helpers.dying import (
    SIX,
    Running,
)

pytestmark = pytest.mark.slow

KILLS = 15


def disturb(running: Running, dice: random.Random) -> str:
    """Kill something at some moment; what and when, empty when the command had ended before."""
    victim = dice.choice(["parent", "worker", "everything"])
    number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    if dice.random() < 0.3:
        delay = dice.uniform(0.5, 6)
    else:  # while something trains
        running.saw(r"\| epoch", times=dice.randint(1, 40))
        delay = dice.uniform(0, 0.7)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.process.wait(delay)
        return ""
    line = running.lines[-1].strip() if running.lines else "nothing said yet"
    running.send(number, victim)
    return f"{number.name} to {victim}, {delay:.2f} s after: {line}"


def test_the_campaign(tmp_path, begin, as_calm):
    """Kills at random moments, of random victims, by random signals.

    The same command again and again, then to its end.
    """
    dice = random.Random(0)
    sweep = but(SIX, "tracking.log_model=true")
    kills = 0
    for number in itertools.count():
        place = tmp_path / str(number)
        place.mkdir()
        running = begin(place, *sweep)
        while kills < KILLS and (what := disturb(running, dice)):
            kills += 1
            print(f"kill {kills}, store {number}: {what}")
            running.process.wait(300)
            running = begin(place, *sweep)
        as_calm(place, running, 6)
        if kills >= KILLS:
            break
