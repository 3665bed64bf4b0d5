"""Every way to die, by doing it to the real command.

And the same command then goes on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers.commands import ROOT, but, clean_environment, free_port, mlflow_server
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow

GRID = [
    "data=digits", "model=convnet", "optimizer=adam", "scheduler=cosine", "epochs=25",
    "hydra.launcher.n_jobs=2", "tracking.log_model=false", "verbose=true",
]  # fmt: skip
SIX = ["-m", "loss=mse,ce", "seed=0,1,2", *GRID]
FOUR = ["-m", "loss=mse,ce", "seed=0,1", *GRID]  # of the six
TINY = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false"]
KILLS = 15

Numbers = list[tuple[str, int, float]]


class Running:
    """The real command under way, in a group of processes of its own.

    Its output is read as it comes.
    """

    def __init__(
        self, directory: Path, *arguments: str, before: Sequence[str] = (), **environment: str
    ):
        self.process = subprocess.Popen(
            [*before, sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
            cwd=directory, env=clean_environment() | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def saw(self, pattern: str, times: int = 1, within: float = 900) -> bool:
        """Whether so many lines with `pattern` came before the end; waits for them."""
        deadline = time.monotonic() + within
        while True:
            over = self.process.poll() is not None or time.monotonic() > deadline
            if sum(bool(re.search(pattern, line)) for line in self.lines) >= times:
                return True
            if over:
                return False
            time.sleep(0.02)

    def reach(self, epoch: int, times: int = 1) -> None:
        """Wait until so many runs have that epoch behind them."""
        assert self.saw(rf"\| epoch {epoch}/", times), self.output

    def send(self, number: int, victim: str = "everything") -> None:
        """A signal to the parent, a worker or everything; nothing where that has ended."""
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if victim == "everything":
                os.killpg(self.process.pid, number)
                return
            parent = psutil.Process(self.process.pid)
            # Jobs are forked by a server that is the parent's child.
            workers = [worker for child in parent.children() for worker in child.children()]
            (workers[0] if victim == "worker" and workers else parent).send_signal(number)

    def end(self, within: float = 900) -> int:
        """The exit code, once all of the output has been read."""
        code = self.process.wait(within)
        self.reader.join(within)
        return code


Begin = Callable[..., Running]


@pytest.fixture(scope="module", autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C.

    All that this starts in turn.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """`begin(directory, *arguments, **environment)` starts the command there.

    What is left of it ends with the test.
    """
    begun: list[Running] = []

    def start(directory: Path, *arguments: str, **options: Any) -> Running:
        begun.append(Running(directory, *arguments, **options))
        return begun[-1]

    yield start
    for running in begun:
        running.send(signal.SIGKILL)
        running.end()


def all_runs(directory: Path) -> tuple[MlflowClient, list[Run]]:
    """Every run in the store there, newest first."""
    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    return client, client.search_runs(
        [found.experiment_id for found in client.search_experiments()]
    )


def jobs(directory: Path) -> list[Run]:
    return [run for run in all_runs(directory)[1] if run.data.tags.get("kind") == "run"]


def numbers(client: MlflowClient, run: Run) -> Numbers:
    """Every number of a run's history but its times, as often as it is there."""
    return sorted(
        (key, metric.step, metric.value)
        for key in run.data.metrics
        if not key.startswith("time/")
        for metric in client.get_metric_history(run.info.run_id, key)
    )


def finished(directory: Path, output: str, *, full_disk: bool = False) -> dict[str, Numbers]:
    """The numbers of each run, of a store that is as if nothing had happened.

    Nothing open, no run twice, of each run its last checkpoint and no leftovers. A disk that was
    full may lack one.
    """
    client, found = all_runs(directory)
    assert not [run for run in found if run.info.status == "RUNNING"], output
    mine = client.get_experiment_by_name("digits").experiment_id
    assert {run.info.experiment_id for run in found} == {mine}
    assert (
        next(run.info.status for run in found if run.data.tags["kind"] == "sweep") == "FINISHED"
    ), output
    ended = [
        run for run in found if run.info.status == "FINISHED" and run.data.tags["kind"] == "run"
    ]
    assert set(Counter(run.data.tags["identity"] for run in ended).values()) == {1}, output
    for run in ended:
        assert run.data.tags["outcome"] == "ok"
        (path,) = directory.glob(f"mlartifacts/**/{run.info.run_id}/artifacts/predictions.npz")
        with np.load(path) as arrays:
            assert (arrays["predicted"] == arrays["label"]).mean() == run.data.metrics[
                "test/accuracy"
            ]
    kept = list(directory.glob("outputs/checkpoints/*"))
    assert all(re.search(r"-(\d+)-\1\.checkpoint$", file.name) for file in kept), output
    here = not (directory / "server.log").exists()  # else where the command was started
    assert full_disk or len(kept) == (len(ended) if here else 0), output
    return {run.data.tags["identity"]: numbers(client, run) for run in ended}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Numbers]:
    """What an undisturbed sweep gives: the numbers of the six runs."""
    directory = tmp_path_factory.mktemp("calm")
    running = Running(directory, *SIX)
    assert running.end() == 0, running.output
    return finished(directory, running.output)


@pytest.fixture
def as_calm(calm: dict[str, Numbers]) -> Callable[[Path, Running, int], None]:
    """`as_calm(directory, running, count)`.

    The command went well, and left the same of so many runs as the calm sweep.
    """

    def check(directory: Path, running: Running, count: int, *, full_disk: bool = False) -> None:
        assert running.end() == 0, running.output
        found = finished(directory, running.output, full_disk=full_disk)
        same = [identity for identity in calm if found.get(identity) == calm[identity]]
        assert len(same) == running.output.count(" ok ") == count, running.output

    return check


def resumed(directory: Path) -> list[int]:
    """The epochs after which runs went on."""
    tags = [run.data.tags for run in jobs(directory)]
    return [int(found["resumed_after"]) for found in tags if "resumed_after" in found]


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


# ---- a store in trouble --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of its own with 32 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    if (
        not sys.platform.startswith("linux")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(ballast: Path) -> None:
    """Leave no byte free on the disk."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_a_full_disk(small_disk, begin, as_calm):
    first = begin(small_disk, *FOUR, "tracking.patience=5")
    first.reach(8)
    fill(small_disk / "ballast")
    assert first.end() == 1, first.output
    cause = "(database or disk is full|No space left on device)"  # of the database, or of a file
    assert re.search(f"did not take what there is to write, for .*{cause}", first.output)
    (small_disk / "ballast").unlink()
    second = begin(small_disk, *FOUR)
    as_calm(small_disk, second, 4)
    assert resumed(small_disk)


def test_a_disk_that_is_full_for_some_time(small_disk, begin, as_calm):
    running = begin(small_disk, *FOUR)
    running.reach(8)
    fill(small_disk / "ballast")
    time.sleep(5)
    (small_disk / "ballast").unlink()
    as_calm(small_disk, running, 4, full_disk=True)


@pytest.mark.parametrize("seconds", [5, 25])  # MLflow itself waits for 20
def test_a_store_that_another_program_locks(tmp_path, begin, as_calm, seconds):
    running = begin(tmp_path, *FOUR)
    running.reach(8)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        other.rollback()
    as_calm(tmp_path, running, 4)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int, list[str]]]:
    """The directory and the port of a server that is not there yet.

    The sweep that writes to it.
    """
    port = free_port()
    (tmp_path / "server").mkdir()
    return tmp_path / "server", port, [*FOUR, f"tracking.uri=http://127.0.0.1:{port}"]


def to_server(port: int, number: int) -> None:
    """A signal to all processes of the server that was started here on that port."""
    (leader,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    os.killpg(leader.pid, number)


@pytest.mark.server
def test_a_server_that_is_gone_for_some_time(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *sweep)
        running.reach(8)
        to_server(port, signal.SIGKILL)
    time.sleep(10)
    with mlflow_server(server, port=port):
        as_calm(server, running, 4)
    assert len(list(tmp_path.glob("outputs/checkpoints/*-25-25.checkpoint"))) == 4


@pytest.mark.server
def test_epochs_that_a_server_does_not_take_are_kept_and_sent_later(tmp_path, begin, served):
    """Runs that train for longer than it is from one sending to the next.

    Both meet the outage while they train.
    """
    server, port, sweep = served
    longer = but(sweep, "epochs=200", "seed=0")
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *longer)
        running.reach(8, times=2)
        to_server(port, signal.SIGKILL)
        assert running.saw("epochs are kept and sent later", times=2), running.output
    with mlflow_server(server, port=port):
        assert running.end() == 0, running.output
        found = finished(server, running.output)
    assert len(found) == 2
    for all_numbers in found.values():
        assert [step for key, step, _ in all_numbers if key == "val/accuracy"] == list(range(201))


@pytest.mark.server
def test_a_server_that_hangs_for_some_time(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        running = begin(tmp_path, *sweep, MLFLOW_HTTP_REQUEST_TIMEOUT="3")
        running.reach(8)
        to_server(port, signal.SIGSTOP)
        time.sleep(10)
        to_server(port, signal.SIGCONT)
        as_calm(server, running, 4)


@pytest.mark.server
def test_a_server_that_is_gone_for_good(tmp_path, begin, as_calm, served):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        first = begin(tmp_path, *sweep, "tracking.patience=5")
        first.reach(8)
        to_server(port, signal.SIGKILL)
    assert first.end() == 1, first.output
    assert "did not take what there is to write" in first.output
    assert "Traceback" not in first.output, first.output
    with mlflow_server(server, port=port):
        as_calm(server, begin(tmp_path, *sweep), 4)
    assert resumed(server)


@pytest.mark.server
def test_an_interruption_while_the_server_is_gone_ends_the_command(
    tmp_path, begin, as_calm, served
):
    server, port, sweep = served
    with mlflow_server(server, port=port):
        first = begin(tmp_path, *sweep)
        first.reach(8)
        to_server(port, signal.SIGKILL)
    first.send(signal.SIGINT)
    assert first.end() == 130, first.output
    with mlflow_server(server, port=port):
        as_calm(server, begin(tmp_path, *sweep), 4)


# ---- asleep, and in company ----------------------------------------------------------------------


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
        assert f"closed {left + 1} runs left RUNNING by dead processes" in again.output
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
    client, found = all_runs(server)
    assert {run.info.status for run in found} == {"FINISHED"}
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


# ---- the campaign --------------------------------------------------------------------------------


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
