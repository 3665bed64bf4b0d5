"""Every way to die, by doing it to the real command.

And the same command then goes on as if nothing had been.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from helpers.commands import but
from helpers.dying import (
    FOUR,
    GRID,
    TINY,
    all_runs,
    jobs,
    numbers,
    resumed,
)

pytestmark = pytest.mark.slow


def own_loss(directory: Path, name: str, body: str) -> tuple[list[str], dict[str, str]]:
    """A user's loss, with `body` run when it validates.

    The arguments and the environment with which it is found.
    """
    lines = [
        "import os, signal, resource, pathlib",
        "import paddle",
        "from experiments.losses import ce",
    ]
    lines += [
        f"def {name}(logits, labels):",
        "    if len(labels) == 360 and logits.abs().sum() > 0:  # not in the check, where they "
        "are 0",
    ]
    lines += [
        *(f"        {line}" for line in body.splitlines()),
        "    return ce(logits, labels)",
        "",
    ]
    (directory / f"{name}_module.py").write_text("\n".join(lines))
    (directory / "loss").mkdir(exist_ok=True)
    (directory / "loss" / f"{name}.yaml").write_text(
        f"_target_: {name}_module.{name}\n_partial_: true\n"
    )
    return ["--config-dir", "."], {"PYTHONPATH": str(directory)}


def outcomes(directory: Path) -> Counter[tuple[str, str, str]]:
    """How often which loss ended how."""
    return Counter(
        (r.data.params["loss"], r.info.status, r.data.tags["outcome"]) for r in jobs(directory)
    )


# ---- killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["parent", "worker", "everything"])
def test_kill_9(tmp_path, begin, as_calm, victim):
    first = begin(tmp_path, *FOUR)
    first.reach(8, times=2)
    first.send(signal.SIGKILL, victim)
    if victim == "worker":
        assert first.end() == 1, first.output
        assert "the run's process was ended by SIGKILL" in first.output
    else:
        assert first.process.wait(300) == -signal.SIGKILL
    second = begin(tmp_path, *FOUR)  # beside what may be left of the first
    as_calm(tmp_path, second, 4)
    if victim == "everything":
        assert max(resumed(tmp_path)) >= 7, (
            second.output
        )  # killed between an epoch's line and its checkpoint


@pytest.mark.parametrize(
    ("number", "victim"),
    [(signal.SIGINT, "everything"), (signal.SIGTERM, "everything"), (signal.SIGTERM, "parent")],
    ids=["Ctrl-C", "shutdown", "kill"],
)
def test_an_interrupted_sweep_is_killed_in_the_store_and_continues(
    tmp_path, begin, as_calm, number, victim
):
    first = begin(tmp_path, *FOUR)
    first.reach(8)
    first.send(number, victim)
    assert first.end() == 130, first.output
    assert "the same command continues" in first.output
    statuses = {run.info.status for run in all_runs(tmp_path)[1]}
    assert "KILLED" in statuses <= {"KILLED", "FINISHED"}, first.output
    as_calm(tmp_path, begin(tmp_path, *FOUR), 4)
    assert len(resumed(tmp_path)) >= 1
    assert (
        sum(run.data.tags["kind"] == "sweep" for run in all_runs(tmp_path)[1]) == 1
    )  # the same parent


def test_a_worker_that_dies_takes_only_its_own_job(tmp_path, begin):
    where, environment = own_loss(tmp_path, "dies", "os.kill(os.getpid(), signal.SIGSEGV)")
    running = begin(tmp_path, *where, "-m", "loss=dies,ce,mse", "seed=0,1", *TINY, **environment)
    assert running.end() == 1, running.output
    assert running.output.count("FAILED loss=dies") == 2
    assert "the run's process was ended by SIGSEGV" in running.output
    assert re.search(r'File ".*dies_module.py", line \d+ in dies', running.output)
    assert running.output.index("FAILED loss=dies") < running.output.index("outcome")  # at once
    ends = {
        ("dies", "FAILED", "failed"): 2,
        ("ce", "FINISHED", "ok"): 2,
        ("mse", "FINISHED", "ok"): 2,
    }
    assert outcomes(tmp_path) == ends, running.output


def test_an_error_that_no_other_process_can_read(tmp_path, begin):
    body = (
        "class Odd(Exception):\n"
        "    def __init__(self, a, b): super().__init__(f'{a} and {b}')\n"
        "raise Odd(1, 2)"
    )
    where, environment = own_loss(tmp_path, "breaks", body)
    running = begin(tmp_path, *where, "-m", "loss=breaks,ce", *TINY, **environment)
    assert running.end() == 1, running.output
    assert "Odd: 1 and 2" in running.output
    ends = {("breaks", "FAILED", "failed"): 1, ("ce", "FINISHED", "ok"): 1}
    assert outcomes(tmp_path) == ends, running.output


def test_out_of_memory(tmp_path, begin):
    body = (
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * "
        "resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))\n"
        "kept = []\n"
        "while True: kept.append(paddle.ones([2**22]))"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("how much memory a process has is asked of Linux here")
    where, environment = own_loss(tmp_path, "hungry", body)
    sweep = [*where, "-m", "loss=hungry,ce", "seed=0,1", *TINY, "hydra.launcher.n_jobs=1"]
    running = begin(tmp_path, *sweep, **environment)
    assert running.end() == 1, running.output
    ends = {("hungry", "FAILED", "failed"): 2, ("ce", "FINISHED", "ok"): 2}
    assert outcomes(tmp_path) == ends, running.output
    client, _ = all_runs(tmp_path)
    for run in jobs(tmp_path):
        if run.info.status == "FAILED":
            trace = Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()
            assert "paddle.ones" in trace


def test_stop_begins_no_more_runs(tmp_path, begin):
    where, environment = own_loss(tmp_path, "breaks", "raise RuntimeError('on purpose')")
    sweep = [
        *where,
        "-m",
        "loss=breaks,ce",
        "seed=0,1",
        *TINY,
        "on_failure=stop",
        "hydra.launcher.n_jobs=1",
    ]
    running = begin(tmp_path, *sweep, **environment)
    assert running.end() == 1, running.output
    assert outcomes(tmp_path) == {("breaks", "FAILED", "failed"): 1}, running.output
    assert "3 were not begun" in running.output
    shorter = [word for word in sweep if "epochs" not in word] + ["epochs=1,2"]
    running = begin(tmp_path, *shorter, **environment)
    assert running.end() == 1, running.output
    assert outcomes(tmp_path) == {("breaks", "FAILED", "failed"): 2}, running.output


def test_a_run_that_fails_does_not_end_the_longer_ones_of_its_job(tmp_path, begin):
    once = (
        "mark = pathlib.Path(__file__).with_suffix('.mark')\n"
        "if not mark.exists(): mark.touch(); raise RuntimeError('the first time')"
    )
    where, environment = own_loss(tmp_path, "unsteady", once)
    running = begin(
        tmp_path, *where, "-m", *but(TINY, "epochs=1,2"), "loss=unsteady", **environment
    )
    assert running.end() == 1, running.output
    assert "1 of 2 runs failed" in running.output
    ends = {("unsteady", "FAILED", "failed"): 1, ("unsteady", "FINISHED", "ok"): 1}
    assert outcomes(tmp_path) == ends, running.output
    again = begin(tmp_path, *where, "-m", *but(TINY, "epochs=1,2"), "loss=unsteady", **environment)
    assert again.end() == 0, again.output
    assert "1 finished before, 1 to run" in again.output


def test_an_extended_run_that_is_killed_goes_on(tmp_path, begin):
    constant = [word for word in GRID if not word.startswith(("epochs=", "scheduler="))]
    (tmp_path / "one").mkdir()
    assert begin(tmp_path / "one", *constant, "epochs=30").end() == 0
    assert begin(tmp_path, *constant, "epochs=5").end() == 0
    killed = begin(tmp_path, *constant, "epochs=30")
    killed.reach(12)
    killed.send(signal.SIGKILL)
    killed.end()
    last = begin(tmp_path, *constant, "epochs=30")
    assert last.end() == 0, last.output
    assert resumed(tmp_path)[-1] == 5 and max(resumed(tmp_path)) >= 11
    (one,), (newest, *_) = jobs(tmp_path / "one"), jobs(tmp_path)
    there, here = all_runs(tmp_path / "one")[0], all_runs(tmp_path)[0]
    assert numbers(here, newest) == numbers(there, one)


def test_retry_tries_a_failed_run_once_more(tmp_path, begin):
    once = (
        "mark = pathlib.Path(__file__).with_suffix('.mark')\n"
        "if not mark.exists(): mark.touch(); raise RuntimeError('the first time')"
    )
    where, environment = own_loss(tmp_path, "unsteady", once)
    own_loss(tmp_path, "breaks", "raise RuntimeError('every time')")
    sweep = [*where, "-m", *TINY, "on_failure=retry"]
    running = begin(tmp_path, *sweep, "loss=unsteady,ce", **environment)
    assert running.end() == 0, running.output
    assert "1 failed run once more" in running.output
    ends = {
        ("unsteady", "FAILED", "failed"): 1,
        ("unsteady", "FINISHED", "ok"): 1,
        ("ce", "FINISHED", "ok"): 1,
    }
    assert outcomes(tmp_path) == ends, running.output
    running = begin(tmp_path, *sweep, "loss=breaks,ce", **environment)
    assert running.end() == 1, running.output
    assert outcomes(tmp_path) == ends | {("breaks", "FAILED", "failed"): 2}, running.output


def test_damaged_checkpoints_are_noticed_and_the_runs_start_over(tmp_path, begin, as_calm):
    first = begin(tmp_path, *FOUR)
    first.reach(8, times=2)
    first.send(signal.SIGKILL)
    first.end()
    kept = tmp_path.glob("outputs/checkpoints/*.checkpoint")
    damaged = [file for file in kept if not file.match("*-25-25.checkpoint")]  # of finished runs
    assert damaged, first.output
    for number, place in enumerate(damaged):
        content = bytearray(place.read_bytes())
        content[len(content) // 2] ^= 1
        place.write_bytes(content[:-100] if number else content)
    second = begin(tmp_path, *FOUR)
    as_calm(tmp_path, second, 4)
    said = "is damaged or in an old format, and not used"
    assert second.output.count(said) == len(damaged)
    assert resumed(tmp_path) == []
