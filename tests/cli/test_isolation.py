"""Runs do not touch each other, and checks touch no run.

Users' modules that keep a state, crash, hang or change what all share.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import re
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from helpers import dying
from helpers.commands import Command, but
from helpers.settings import BASE
from helpers.stores import client, runs

from experiments import machine, option_checks, processes
from experiments.config import CommandError, Settings
from experiments.kernels import conv_block

TINY = ["data=digits", "model=softmax", "epochs=2", "lr=0.1", "tracking.log_model=false"]
HOW = "was ended by SIGSEGV"
ONE_BY_ONE = "hydra.launcher.n_jobs=1"

MINE = """
import os, signal, sys, time, warnings
import numpy as np
import paddle
from experiments import data
from experiments.losses import ce

calls = 0

def warm(logits, labels):
    global calls
    calls += 1
    return ce(logits, labels) * (0.1 if calls <= 15 else 1)

def noisy(logits, labels):
    return ce(logits, labels) * float(np.random.uniform(0.5, 1.5))

def dirty(logits, labels):
    # All that a module can leave behind in its process.
    paddle.nn.functional.softmax = paddle.nn.functional.log_softmax = lambda x, *a, **k: x * 0
    np.random.seed(calls)
    os.environ.update(FAIRLOSS_KERNEL="stock", MLFLOW_TRACKING_URI="nowhere://")
    warnings.simplefilter("ignore")
    sys.path.clear()
    os.chdir("/")
    return (logits * logits).sum(axis=1)

def dies(logits, labels):
    global calls
    calls += 1
    if calls == 51:
        os.kill(os.getpid(), signal.SIGSEGV)
    return ce(logits, labels)

def leaves(logits, labels):
    sys.exit(3)

def hangs(logits, labels):
    while True:
        time.sleep(1)

def largest(logits, labels):
    return paddle.topk(ce(logits, labels), 50)[0].mean().expand([len(labels)])

def digits(*, seed):
    return data.digits(seed=seed)

def once(*, seed):
    if os.path.exists("loaded"):
        raise OSError("the disk was removed")
    open("loaded", "w").close()
    return data.digits(seed=seed)

def no_digits(*, seed):
    os.kill(os.getpid(), signal.SIGSEGV)

def later(logits, labels):
    if len(labels) == 360 and logits.abs().sum() > 0:  # not in the check, where they are 0
        os.kill(os.getpid(), signal.SIGSEGV)
    return ce(logits, labels)
"""


@pytest.fixture
def mine(tmp_path: Path, run_command: Command):
    """`mine(name, *arguments)`: the command in a directory of that name, with the losses above."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "exits.py").write_text("import os\nos._exit(0)\n")
    targets = {
        f"loss/{name}": f"mine.{name}"
        for name in ("warm", "noisy", "dirty", "dies", "leaves", "hangs", "largest", "later")
    }
    targets |= {"loss/exits": "exits.loss", "data/mine": "mine.digits", "data/no": "mine.no_digits"}
    targets |= {"data/once": "mine.once"}
    for name, target in targets.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"_target_: {target}\n_partial_: true\n")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        where = ["--config-dir", str(tmp_path)]
        words = but(TINY, *arguments)
        return run_command(tmp_path / name, *where, *words, PYTHONPATH=str(tmp_path))

    return run


def numbers(directory: Path, loss: str, seed: int = 0) -> list[tuple[str, int, float]]:
    """Every number of the run of that loss and seed, but its times."""
    which = {"loss": loss, "seed": str(seed)}.items()
    (run,) = [run for run in runs(directory) if which <= run.data.params.items()]
    return dying.numbers(client(directory), run)


def outcomes(directory: Path) -> dict[str, tuple[str, str]]:
    return {
        run.data.params["loss"]: (run.info.status, run.data.tags["outcome"])
        for run in runs(directory)
    }


def assert_traceback(
    done: subprocess.CompletedProcess[str], directory: Path, function: str
) -> None:
    """Python's own traceback says where the process was."""
    assert re.search(rf'File "{directory}/mine.py", line \d+ in {function}$', done.stderr, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["warm", "noisy"])
def test_a_loss_with_a_state_gives_the_same_bits_alone_and_last(tmp_path, mine, loss):
    alone = mine("alone", f"loss={loss}")
    assert alone.returncode == 0, alone.stderr
    last = mine("last", "-m", f"loss=ce,{loss}", "seed=1,0", ONE_BY_ONE)
    assert last.returncode == 0, last.stderr
    expected = numbers(tmp_path / "alone", loss)
    assert len(expected) > 20
    assert numbers(tmp_path / "last", loss) == expected
    for done in (alone, last):
        assert done.stdout.count(f"loss={loss}: hidden-state: it depends on something besides") == 1
    for directory in ("alone", "last"):
        for run in runs(tmp_path / directory):
            is_it = run.data.params["loss"] == loss
            assert run.data.tags.get("warnings") == ("hidden-state" if is_it else None)
            text = run.data.tags.get("warnings.hidden-state", "")
            assert text.startswith("it depends on something besides its arguments: of ") == is_it


@pytest.mark.slow
def test_what_a_loss_leaves_behind_reaches_no_other_run(tmp_path, mine):
    done = mine("alone", "loss=ce")
    assert done.returncode == 0, done.stderr
    done = mine("last", "-m", "loss=dirty,ce", ONE_BY_ONE)
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "last", "ce") == numbers(tmp_path / "alone", "ce")
    assert "loss=ce: " not in done.stdout  # no warning either


@pytest.mark.slow
def test_a_loss_that_ends_its_process_ends_neither_the_command_nor_the_others(tmp_path, mine):
    done = mine("all", "-m", "loss=dies,leaves,exits,ce")
    assert done.returncode == 1
    assert "FAILED loss=dies: the check's process was ended by SIGSEGV" in done.stdout
    assert_traceback(done, tmp_path, "dies")
    assert "FAILED loss=leaves: the check's process ended with exit code 3" in done.stdout
    said = "loss=exits (import of exits.loss): the check's process ended with exit code 0"
    assert f"FAILED {said}" in done.stdout
    assert "3 of 4 runs failed" in done.stderr
    assert ": loss=dies: the check's process was ended by SIGSEGV" in done.stderr
    failed = ("FAILED", "failed")
    assert outcomes(tmp_path / "all") == {
        "ce": ("FINISHED", "ok"), "dies": failed, "leaves": failed, "exits": failed,
    }  # fmt: skip
    assert done.stdout.count(" failed ") == 3

    alone = mine("alone", "loss=leaves")
    assert alone.returncode == 1
    assert "loss=leaves: the check's process ended with exit code 3" in alone.stderr
    assert not (tmp_path / "alone" / "mlflow.db").exists()


@pytest.mark.slow
def test_a_loss_that_ends_a_single_run_while_it_trains(tmp_path, mine):
    done = mine("one", "loss=later")
    assert done.returncode == 1
    said = f"loss=later lr=0.1 epochs=2 seed=0 data=digits model=softmax: the run's process {HOW}"
    assert said in done.stderr
    assert_traceback(done, tmp_path, "later")
    assert "Traceback" not in done.stderr
    assert outcomes(tmp_path / "one") == {"later": ("FAILED", "failed")}

    sweep = mine("all", "-m", "loss=later,ce")
    assert sweep.returncode == 1
    assert f"RuntimeError: the run's process {HOW}" in sweep.stderr
    ends = {"later": ("FAILED", "failed"), "ce": ("FINISHED", "ok")}
    assert outcomes(tmp_path / "all") == ends


@pytest.mark.slow
def test_data_that_cannot_be_loaded_once_more_leave_a_failed_run(tmp_path, mine):
    done = mine("one", "loss=ce", "data=once")
    assert done.returncode == 1
    assert "OSError: the disk was removed" in done.stderr
    assert outcomes(tmp_path / "one") == {"ce": ("FAILED", "failed")}
    sweep = mine("all", "-m", "loss=ce", "data=once")
    assert re.search(r"^ *ce .* failed [0-9a-f]{8}$", sweep.stdout, flags=re.MULTILINE)
    assert outcomes(tmp_path / "all") == {"ce": ("FAILED", "failed")}


@pytest.mark.slow
def test_a_loss_that_hangs_is_ended_after_a_minute(tmp_path, mine):
    done = mine("all", "-m", "loss=hangs,ce")
    assert done.returncode == 1
    said = "loss=hangs: expected the check to end within 60 s, it was still running"
    assert f"FAILED {said}" in done.stdout
    assert_traceback(done, tmp_path, "hangs")
    assert outcomes(tmp_path / "all") == {"ce": ("FINISHED", "ok"), "hangs": ("FAILED", "failed")}


@pytest.mark.slow
def test_stop_begins_nothing_after_a_check_that_failed(tmp_path, mine):
    done = mine("all", "-m", "loss=leaves,ce", "on_failure=stop")
    assert done.returncode == 1
    assert "1 of 2 runs failed" in done.stderr and "1 were not begun" in done.stderr
    assert outcomes(tmp_path / "all") == {"leaves": ("FAILED", "failed")}


@pytest.mark.slow
def test_a_loss_over_the_batch_is_checked_with_batches_of_the_runs_size(tmp_path, mine):
    done = mine("all", "-m", "loss=largest,ce")
    assert done.returncode == 0, done.stderr
    assert outcomes(tmp_path / "all") == {"ce": ("FINISHED", "ok"), "largest": ("FINISHED", "ok")}
    assert "loss=largest: broadcast: " in done.stdout
    # Of 1,077 examples, batches of 70 leave 27.
    done = mine("small", "-m", "loss=largest,ce", "batch_size=70")
    assert done.returncode == 1
    assert "loss=largest: " in done.stderr and "(in a batch of 27)" in done.stderr
    assert "Nothing was trained" in done.stderr
    assert not (tmp_path / "small" / "mlflow.db").exists()


@pytest.mark.slow
def test_a_dataset_of_a_users_own(tmp_path, mine):
    done = mine("one", "loss=ce", "data=mine")
    assert done.returncode == 0, done.stderr
    done = mine("two", "-m", "loss=ce", "data=mine")
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "one", "ce") == numbers(tmp_path / "two", "ce")
    done = mine("three", "loss=ce", "data=no")
    assert done.returncode == 1
    assert "data=no: the check's process was ended by SIGSEGV" in done.stderr
    assert "ccache" not in done.stderr  # a warning of Paddle's, which `mine` imports


@pytest.mark.slow
def test_the_basic_launcher_says_that_its_runs_share_a_process(mine):
    done = mine("basic", "-m", "loss=ce", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hydra/launcher=basic: its runs share a process") == 1


# ---- checks and processes themselves -------------------------------------------------------------


@pytest.fixture
def option(tmp_path, monkeypatch):
    """`option(group, name)`: settings of a run whose option is the function of this name above."""
    import paddle  # noqa: F401  # once, and not in each process

    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)

    def settings(group: str, name: str) -> Settings:
        options = BASE.options | {group: {"_target_": f"mine.{name}", "_partial_": True}}
        return dataclasses.replace(BASE, choices=BASE.choices | {group: name}, options=options)

    yield settings
    assert "mine" not in sys.modules


@pytest.mark.skipif(not machine.may_fork(), reason="the module is found by forked processes only")
def test_checks_happen_in_processes_of_their_own(option):
    sizes = option_checks.data(option("data", "digits"))
    assert (sizes.train, sizes.validation, sizes.test) == (1077, 360, 360)
    with pytest.raises(CommandError, match=r"data=no_digits: .* by SIGSEGV"):
        option_checks.data(option("data", "no_digits"))

    losses = [option("loss", name) for name in ("warm", "leaves", "largest")]
    warm, leaves, largest = option_checks.check(losses)
    assert [warning.name for warning in warm.warnings] == ["hidden-state"]
    assert leaves.failure == "loss=leaves: the check's process ended with exit code 3"
    assert [warning.name for warning in largest.warnings] == ["broadcast"]
    few = dataclasses.replace(losses[2], batch_size=70)  # of 1,077 examples that leaves 27
    with pytest.raises(CommandError, match=r"(?s)loss=largest: .*\(in a batch of 27\)"):
        option_checks.check([few])


@pytest.mark.skipif(not machine.may_fork(), reason="forked processes have what is patched here")
def test_no_check_ends_while_a_compiler_builds_the_kernel(option, monkeypatch):
    """What is left of its time then: 0 where there is no limit."""
    monkeypatch.setattr(conv_block, "notices", lambda network: ((0, signal.alarm(0)),))
    (checked,) = option_checks.check([BASE])
    assert checked.kernel == ((0, 0),)


def _by_others(send, value):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, [value, -value]))


@pytest.mark.skipif(not machine.may_fork(), reason="forking is not safe here")
def test_a_process_may_have_processes_of_its_own():
    assert dict(processes.results(deque([("key", _by_others, (3,))]), 1)) == {"key": 6}


def _twice(send, value):
    send(f"about to double {value}")
    if value == 3:
        raise ValueError("not three")
    if value == 4:
        raise SystemExit(4)
    return 2 * value


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_gives_results_errors_and_deaths(monkeypatch, fork):
    if fork and not machine.may_fork():
        pytest.skip("forking is not safe here")
    monkeypatch.setattr(machine, "may_fork", lambda: fork)
    tasks = deque((value, _twice, (value,)) for value in (1, 2, 3, 4))
    results = dict(processes.results(tasks, 2))
    assert (results[1], results[2]) == (2, 4)
    assert repr(results[3]) == "ValueError('not three')"
    assert isinstance(results[4], processes.Died)
    assert (results[4].cause, results[4].last) == ("exit code 4", "about to double 4")
