"""A laptop that sleeps, two machines, and two sweeps at once."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest
from helpers.commands import mlflow_server
from helpers.dying import (
    FOUR,
    SIX,
    TINY,
    all_runs,
    finished,
    jobs,
    numbers,
    resumed,
)

pytestmark = pytest.mark.slow


def test_a_laptop_that_sleeps(tmp_path, begin, as_calm):
    running = begin(tmp_path, *FOUR)
    running.reach(8)
    running.send(signal.SIGSTOP)
    time.sleep(5)
    running.send(signal.SIGCONT)
    as_calm(tmp_path, running, 4)
    assert resumed(tmp_path) == []


@pytest.fixture
def elsewhere() -> list[str]:
    """What to type before a command so that it runs on a machine of another name."""
    before = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*before, "true"], capture_output=True).returncode
    ):
        pytest.skip("needs the right to give a process another host name")
    return before


@pytest.mark.server
def test_a_machine_that_died_leaves_its_runs_to_its_own_next_command(
    tmp_path, begin, as_calm, served, elsewhere
):
    """A command on another machine computes them, and cannot know that nobody does."""
    server, port, sweep = served
    (tmp_path / "elsewhere").mkdir()
    with mlflow_server(server, port=port):
        dead = begin(tmp_path / "elsewhere", *sweep, before=elsewhere)
        dead.reach(8, times=2)
        dead.send(signal.SIGKILL)
        dead.end()
        here = begin(tmp_path, *sweep)
        assert here.end() == 0, here.output
        statuses = Counter(run.info.status for run in jobs(server))
        left = statuses["RUNNING"]  # 2, but where one of two ended while the other was waited for
        assert left in (1, 2) and statuses["FINISHED"] == 4 == sum(statuses.values()) - left
        again = begin(tmp_path / "elsewhere", *sweep, before=elsewhere)
        as_calm(server, again, 4)
        assert f"closed {left + 1} runs in status RUNNING whose process has ended" in again.output
    assert Counter(run.info.status for run in jobs(server)) == {"FINISHED": 4, "KILLED": left}


@pytest.mark.server
def test_two_machines_may_compute_a_run_twice_and_agree(tmp_path, begin, calm, served, elsewhere):
    server, port, sweep = served
    (tmp_path / "elsewhere").mkdir()
    with mlflow_server(server, port=port):
        sleeper = begin(tmp_path / "elsewhere", *sweep, before=elsewhere)
        sleeper.reach(8, times=2)
        sleeper.send(signal.SIGSTOP)
        awake = begin(tmp_path, *sweep)
        assert awake.end() == 0, awake.output
        asleep = sum(run.info.status == "RUNNING" for run in jobs(server))
        assert asleep in (1, 2)  # 1 where one of two ended while the other was waited for
        sleeper.send(signal.SIGCONT)
        assert sleeper.end() == 0, sleeper.output
    assert "disagree" not in sleeper.output + awake.output
    client, runs = all_runs(server)
    assert {run.info.status for run in runs} == {"FINISHED"}
    times = Counter(run.data.tags["identity"] for run in jobs(server))
    assert sorted(times.values()) == [1] * (4 - asleep) + [2] * asleep
    for run in jobs(server):
        assert numbers(client, run) == calm[run.data.tags["identity"]]


@pytest.mark.parametrize("new", [True, False])
def test_two_sweeps_at_once_share_the_work(tmp_path, begin, as_calm, new):
    if not new:
        assert begin(tmp_path, "loss=ce", *TINY).end() == 0
    both = [begin(tmp_path, *SIX), begin(tmp_path, *SIX)]
    for running in both:
        assert running.end() == 0, running.output
    for running in both:
        as_calm(tmp_path, running, 6)
    parents = [run.info.status for run in all_runs(tmp_path)[1] if run.data.tags["kind"] == "sweep"]
    assert set(parents) == {"FINISHED"}, both[0].output + both[1].output
    assert re.search(
        "(left to|finished by) another sweep|[1-6] finished before", both[0].output + both[1].output
    )


def test_sixteen_jobs_at_once_on_a_new_store(tmp_path, begin):
    many = ["-m", "loss=mse,ce", "seed=range(8)", *TINY, "hydra.launcher.n_jobs=16"]
    running = begin(tmp_path, *many)
    assert running.end() == 0, running.output
    assert "locked" not in running.output
    assert len(finished(tmp_path, running.output)) == 16
