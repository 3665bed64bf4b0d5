"""Locks: one process at a time computes a run, and dead processes leave nothing RUNNING."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import ROOT, clean_environment

from experiments import tracking
from experiments.tracking import Finished, StoreError, Taken, locks

HOLDS = """
import filelock, os, pathlib, sys
with filelock.FileLock(sys.argv[1]):
    pathlib.Path(sys.argv[1]).write_text(f"process {os.getpid()} on here")
    print(flush=True)
    input()
"""
FORKS = """
import os, subprocess, sys, time
from experiments import tracking
store = tracking.open_store(*sys.argv[1:])
with tracking.run_lock(store, "a"):
    if os.fork() == 0:
        sys.exit()  # leaves the block
    os.wait()
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory, empty_store):
    directory = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, directory / "mlflow.db")
    return directory


@pytest.fixture
def store(directory, request):
    """An experiment of its own for each test, in one store."""
    return tracking.open_store(f"sqlite:///{directory / 'mlflow.db'}", request.node.name)


@pytest.fixture
def hold(store):
    """`hold(name)`: a process that holds a lock of the store, until the end of the test."""
    processes = []

    def start(name):
        path = locks.path(store, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", HOLDS, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def close_stale(caplog):
    """`close_stale(store, **how)`: what it said."""
    caplog.set_level("INFO", "experiments")

    def close(store, **how):
        caplog.clear()
        tracking.close_stale(store, **how)
        return [record.getMessage() for record in caplog.records]

    return close


def run(store, identity, **tags):
    return tracking.tracked_run(store, name="n", params={}, tags={"identity": identity} | tags)


def left(store, **tags):
    """The id of a run that a process has left RUNNING."""
    tags = {"kind": "run", "identity": "a", "host": locks.HOST} | tags
    tags = {name: value for name, value in tags.items() if value}
    return store.client.create_run(store.experiment_id, tags=tags).info.run_id


def ended(store, run_id):
    stored = store.client.get_run(run_id)
    return stored.info.status, stored.data.tags.get("outcome")


def test_a_run_is_computed_once(store, directory):
    with tracking.run_lock(store, "a"), run(store, "a") as tracked:
        (file,) = (directory / "mlflow.db.locks" / store.experiment_id).iterdir()
        assert file.name == "a.lock"
        tracked.set_tags({"outcome": "ok"})
    assert not file.exists()
    with pytest.raises(Finished), tracking.run_lock(store, "a"):
        pass
    with tracking.run_lock(store, "a", again=True), tracking.run_lock(store, "b"):
        pass


def test_who_finds_a_lock_taken_is_told_by_whom(store, hold, monkeypatch):
    monkeypatch.setattr(locks, "PROBE_SECONDS", 300)
    process = hold("a")
    begun = time.monotonic()
    with (
        pytest.raises(Taken, match=rf"^process {process.pid} on here computes this run$"),
        tracking.run_lock(store, "a"),
    ):
        pass
    assert time.monotonic() - begun < 100  # it does not wait
    assert tracking.runners(store, ["a", "b"]) == {"a": f"process {process.pid} on here"}
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert tracking.runners(store, ["a", "b"]) == {}
    with tracking.run_lock(store, "a"):
        pass


def test_who_only_looks_whether_a_lock_is_free_is_waited_for(store, hold):
    process = hold("a")
    with pytest.raises(Taken), locks.lock(store, "a"):
        pass
    locks.path(store, "a").write_text("")  # as of a process that only looks
    process.stdin.close()  # it frees the lock and ends
    with tracking.run_lock(store, "a"):
        pass


def test_what_failed_or_was_deleted_in_mlflow_can_be_computed_again(store):
    with pytest.raises(ZeroDivisionError), tracking.run_lock(store, "a"), run(store, "a"):
        print(1 / 0)
    with tracking.run_lock(store, "a"), run(store, "a") as tracked:
        pass
    store.client.delete_run(tracked.run_id)
    with tracking.run_lock(store, "a"):
        pass


@pytest.mark.slow
def test_neither_a_forked_child_nor_a_program_keeps_the_lock_of_a_dead_process(store):
    """And a child that ends well does not free it while its parent lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, store.uri, store.experiment],
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline()
        with pytest.raises(Taken, match=f"process {process.pid} on "), locks.lock(store, "a"):
            pass
        process.kill()
        process.wait()
        with locks.lock(store, "a"):
            os.killpg(process.pid, 0)  # raises unless its children are there
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# ---- what dead processes left -------------------------------------------------------------------


def test_what_dead_processes_left_is_closed(store, hold, close_stale):
    dead = left(store), left(store, host=""), left(store, kind="sweep", identity="")
    alive = left(store, identity="b")
    hold("b")
    assert close_stale(store) == ["closed 3 runs in status RUNNING whose process has ended"]
    assert [ended(store, run_id)[0] for run_id in dead] == ["KILLED"] * 3
    assert [ended(store, run_id)[1] for run_id in dead] == ["killed", "killed", None]
    assert ended(store, alive) == ("RUNNING", None)
    assert close_stale(store) == []


def test_runs_of_other_programs_are_left_alone(store, close_stale):
    ids = left(store, kind=""), left(store, kind="registry")
    assert close_stale(store, other_hosts=True) == []
    assert [ended(store, run_id)[0] for run_id in ids] == ["RUNNING"] * 2


def test_who_locks_a_run_closes_what_a_dead_process_left_of_it(store):
    run_id, other = left(store), left(store, identity="b")
    with tracking.run_lock(store, "a"):
        assert ended(store, run_id) == ("KILLED", "killed")
        assert ended(store, other)[0] == "RUNNING"


@pytest.mark.parametrize("outcome", ["ok", "diverged"])
def test_a_run_that_only_missed_its_status_is_finished(store, outcome):
    run_id = left(store, outcome=outcome)
    with pytest.raises(Finished), tracking.run_lock(store, "a"):
        pass
    assert ended(store, run_id) == ("FINISHED", outcome)
    run_id = left(store, identity="b", outcome=outcome)
    tracking.close_stale(store)
    assert ended(store, run_id) == ("FINISHED", outcome)


def test_an_interruption_of_a_complete_run_leaves_it_finished(store):
    with pytest.raises(KeyboardInterrupt), run(store, "a") as tracked:
        tracked.log_metrics({"test/accuracy": 0.5}, step=1)
        tracked.log_metrics({"test/accuracy": 0.6}, step=2)  # kept, to be sent later
        tracked.set_tags({"outcome": "ok"})
        assert store.client.get_run(tracked.run_id).data.metrics == {"test/accuracy": 0.6}
        raise KeyboardInterrupt
    assert ended(store, tracked.run_id) == ("FINISHED", "ok")


def test_who_ended_well_while_someone_looked_is_not_closed(store, monkeypatch, close_stale):
    """Found RUNNING, then it ended and its process, too: dead, but not in need of an end."""
    run_id = left(store, kind="sweep")
    lock = locks.lock

    def meanwhile(*arguments, **options):
        store.client.set_terminated(run_id, "FINISHED")
        return lock(*arguments, **options)

    monkeypatch.setattr(locks, "lock", meanwhile)
    assert close_stale(store) == []
    assert ended(store, run_id)[0] == "FINISHED"


def test_a_single_run_whose_process_died_has_failed(store):
    run_id, other = left(store), left(store, identity="b")
    elsewhere = left(store, host="elsewhere")
    tracking.close_stale(store, identity="a", outcome="failed")
    assert ended(store, run_id) == ("FAILED", "failed")
    assert ended(store, other) == ("KILLED", "killed")
    assert ended(store, elsewhere) == ("RUNNING", None)


# ---- other machines -----------------------------------------------------------------------------


def hours_ago(hours):
    return int((time.time() - 3600 * hours) * 1000)


def test_runs_of_another_machine_are_closed_only_when_stale_and_asked(store, close_stale):
    tags = {"kind": "run", "host": "elsewhere"}
    ids = {}
    for identity, begun, written in [("new", 0.5, 0), ("old", 9, 2), ("writes", 9, 0.5)]:
        own = tags | {"identity": identity}
        created = store.client.create_run(store.experiment_id, hours_ago(begun), own)
        ids[identity] = created.info.run_id
        if written:
            store.client.log_metric(ids[identity], "val/loss", 1.0, hours_ago(written))
    (said,) = close_stale(store)
    assert said == (
        "1 run RUNNING on other machines without a new metric for an hour: "
        f"{ids['old']} on elsewhere; close_stale=true marks such runs as killed"
    )
    elsewhere = "a process on elsewhere"
    assert tracking.runners(store, [*ids, "b"]) == {"new": elsewhere, "writes": elsewhere}
    assert close_stale(store, other_hosts=True) == [
        "closed 1 run in status RUNNING whose process has ended"
    ]
    after = {identity: ended(store, run_id)[0] for identity, run_id in ids.items()}
    assert after == {"new": "RUNNING", "old": "KILLED", "writes": "RUNNING"}


def test_a_sweep_elsewhere_is_stale_when_all_its_runs_are(store, close_stale):
    tags = {"kind": "sweep", "host": "elsewhere"}
    create = store.client.create_run
    parent = create(store.experiment_id, hours_ago(9), tags).info.run_id
    of_parent = {"kind": "run", "host": "elsewhere", "mlflow.parentRunId": parent}
    create(store.experiment_id, hours_ago(8), of_parent)
    assert close_stale(store)[0].startswith("2 runs RUNNING on other machines")
    store.client.set_terminated(create(store.experiment_id, hours_ago(3), of_parent).info.run_id)
    assert close_stale(store)[0].startswith("1 run RUNNING")  # one has ended just now


def test_runs_that_name_no_host_are_local_in_a_database_and_not_on_a_server(store):
    stored = store.client.get_run(left(store, host=""))
    assert tracking.runs.is_local(store, stored)
    assert not tracking.runs.is_local(replace(store, uri="http://127.0.0.1:9"), stored)


def test_locks_of_a_server_are_in_the_users_cache_by_host_address_and_experiment(
    store, monkeypatch, tmp_path
):
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path / "cache"))
    stores = [replace(store, uri=f"http://127.0.0.1:{port}") for port in (1, 2)]
    stores.append(replace(stores[0], experiment_id="7"))
    paths = [locks.path(server, "a") for server in stores]
    assert len(set(paths)) == 3
    assert all(path.is_relative_to(tmp_path / "cache" / "locks" / locks.HOST) for path in paths)
    monkeypatch.delenv("FAIRLOSS_CACHE")
    assert locks.path(stores[0], "a").relative_to(Path.home())


# ---- disks --------------------------------------------------------------------------------------


def test_a_full_disk_is_waited_for(store, monkeypatch):
    write, tries = Path.write_text, []

    def full_at_first(path, *arguments, **options):
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full_at_first)
    with tracking.run_lock(store, "a"):
        assert locks.path(store, "a").read_text() == f"process {os.getpid()} on {locks.HOST}"
    with tracking.run_lock(store, "a"):  # it was freed, though acquired three times
        pass


def test_a_lock_that_cannot_be_written_is_refused_in_a_sentence(store, directory):
    (directory / "mlflow.db.locks").mkdir(exist_ok=True)
    (directory / "mlflow.db.locks" / store.experiment_id).write_text("")
    message = r"cannot lock a run: expected to write to .*mlflow\.db\.locks/.*\.lock, got: "
    with pytest.raises(StoreError, match=message), tracking.run_lock(store, "a"):
        pass
    assert tracking.runners(store, ["a"]) == {}


def _race(arguments):
    path, names = arguments
    store = tracking.open_store(f"sqlite:///{path}", "mine")

    def meet(where):
        (path.parent / f"{where} {os.getpid()}").touch()
        while len(list(path.parent.glob(f"{where} *"))) < 4:
            time.sleep(0.01)

    won = []
    with contextlib.ExitStack() as held:
        meet("begin")
        for name in names:
            with contextlib.suppress(Taken):
                held.enter_context(locks.lock(store, name))
                won.append(name)
        meet("end")
    return won


@pytest.mark.slow
def test_of_those_who_race_for_a_lock_one_wins(tmp_path):
    names = [f"run{number}" for number in range(50)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.map(_race, [(tmp_path / "mlflow.db", names)] * 4, chunksize=1)
    assert sorted(name for some in won for name in some) == sorted(names)
