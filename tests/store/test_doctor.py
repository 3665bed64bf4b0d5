"""The doctor: everything it knows of, made on purpose, found, mended where it says so.

And nothing is ever deleted.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import ROOT, clean_environment

from experiments import doctor, owners, tracking
from experiments.tracking import claims


def dead() -> str:
    """A process that was here and is no more."""
    return replace(owners.me(), token="d", pid=4, started=owners.me().started - 3600).text()


def alive() -> str:
    """A process elsewhere that has just said that it lives."""
    return replace(owners.me(), token="e", pid=5, place="elsewhere").text()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(directory, request):
    """An experiment of its own for each test, in one store."""
    return tracking.open_store(f"sqlite:///{directory / 'mlflow.db'}", request.node.name)


def finished(store, identity, *, again=False, without=(), **tags):
    """The id of a FINISHED run of a cell, with all that such a run has, but for some."""
    texts = {} if "config.yaml" in without else {"config.yaml": "lr: 0.1"}
    with tracking.tracked_run(
        store, name=f"cell {identity}", params={}, tags={"identity": identity} | tags, texts=texts,
        claim=tracking.claim(store, identity, again=again),
    ) as tracked:  # fmt: skip
        if "test/accuracy" not in without:
            tracked.log_metrics({"test/accuracy": 0.5}, step=1)
        if "predictions.npz" not in without:
            tracked.log_predictions(np.zeros((2, 10), np.float32), np.zeros(2), np.zeros(2))
        if "outcome" not in tags:
            tracked.set_tags({"outcome": "ok"})
    return tracked.run_id


def begun(store, status="RUNNING", **tags):
    """The id of a run that only began, and was given a status."""
    names = {"parent": "mlflow.parentRunId"}
    tags = {names.get(key, key): value for key, value in tags.items()}
    run_id = store.client.create_run(store.experiment_id, run_name="begun", tags=tags).info.run_id
    if status != "RUNNING":
        store.client.set_terminated(run_id, status)
    return run_id


def sweep(store, *identities, status):
    """The id of a parent with this grid; it goes on where `status` is None."""
    parent = tracking.begin_sweep(store, name="sweep", identities=identities, again=True)
    if status:
        tracking.end_sweep(store, parent, status)
    return parent


def status(store, run_id):
    return store.client.get_run(run_id).info.status


def everything(store) -> set[str]:
    """Every run with its tags and params, and every file beside the database."""
    found = {str(path) for path in store.directory.rglob("*") if "mlflow.db" not in path.name}
    for run in store.search(""):
        found |= {run.info.run_id} | {
            f"{run.info.run_id} {name}" for name in [*run.data.tags, *run.data.params]
        }
    return found


def state(store) -> list[str]:
    return sorted(str(run.to_dictionary()) for run in store.search(""))


@pytest.fixture
def examine(store, capsys):
    """`examine()` looks and `examine(mend=True)` mends.

    How many findings are left, and what was printed.
    """

    def run(**how):
        before = state(store), everything(store)
        left = doctor.examine(store, mend=how.get("mend", False))
        if not how:
            assert state(store) == before[0]
        assert everything(store) >= before[1]
        return left, capsys.readouterr().out

    return run


def test_a_healthy_store(store, examine):
    finished(store, "a")
    finished(store, "b", without=("test/accuracy", "predictions.npz"), outcome="diverged")
    sweep(store, "a", "b", status="FINISHED")
    sweep(store, "a", "c", status="KILLED")
    begun(store, kind="run", owner=alive())
    begun(store, kind="run", status="FAILED")
    assert examine() == (0, "nothing to mend\n")
    assert examine(mend=True) == (0, "nothing to mend\n")


def test_runs_and_sweeps_of_the_dead_are_ended(store, examine):
    runs = [begun(store, kind="run", owner=dead()), sweep(store, "a", status=None)]
    store.client.set_tag(runs[1], "owner", dead())
    left, printed = examine()
    assert left == 2
    for run_id, name in zip(runs, ("begun", "sweep"), strict=True):
        assert f"  {run_id} {name}: process 4 on {owners.me().host} is dead\n" in printed
    assert "2 findings, 2 of them can be mended: the same command with mend=true" in printed
    assert examine(mend=True)[0] == 0
    assert [status(store, run_id) for run_id in runs] == ["KILLED", "KILLED"]
    assert store.client.get_run(runs[0]).data.tags["outcome"] == "killed"


def test_a_run_that_does_not_say_whose_it_is_is_ended_unless_it_is_another_programs(store, examine):
    ours, theirs = begun(store, kind="run"), begun(store)
    left, printed = examine()
    assert left == 1
    assert f"  {ours} begun: it does not say whose it is" in printed
    left, printed = examine(mend=True)
    assert left == 0
    assert "2 findings, 1 of them mended" in printed
    assert (status(store, ours), status(store, theirs)) == ("KILLED", "RUNNING")


def test_a_dead_sweep_whose_cells_others_finished_becomes_finished(store, examine):
    finished(store, "a")
    parent = sweep(store, "a", status=None)
    store.client.set_tag(parent, "owner", dead())
    assert examine()[0] == 1
    left, printed = examine(mend=True)
    assert (left, status(store, parent)) == (0, "FINISHED")
    assert "2 findings, 2 of them mended" in printed


def test_a_claim_of_the_dead_is_ended_as_lost(store, examine, monkeypatch):
    owner = owners.parse(dead())
    with monkeypatch.context() as patch:
        patch.setattr(owners, "me", lambda: owner)
        tracking.claim(store, "a")
    left, printed = examine()
    assert left == 1
    assert f"  attempt 1 at a: process 4 on {owners.me().host} is dead" in printed
    assert examine(mend=True)[0] == 0
    assert claims.read(store).end("a/1") == "lost"
    assert examine()[1] == "nothing to mend\n"


def test_a_run_of_the_dead_that_was_finished_but_for_its_status(store, examine):
    run_id = finished(store, "a")
    store.client.update_run(run_id, status="RUNNING")
    store.client.set_tag(run_id, "owner", dead())
    assert examine()[0] == 1
    assert examine(mend=True)[0] == 0
    assert status(store, run_id) == "FINISHED"


@pytest.mark.parametrize("was", ["KILLED", "FAILED"])
def test_a_sweep_all_of_whose_cells_are_finished_becomes_finished(store, examine, was):
    finished(store, "a")
    parent = sweep(store, "a", status=was)
    ended = store.client.get_run(parent).info.end_time
    left, printed = examine()
    assert left == 1
    assert f"  {parent} sweep: {was}, 0 of 1 cell not finished\n" in printed
    assert examine(mend=True)[0] == 0
    assert status(store, parent) == "FINISHED"
    assert store.client.get_run(parent).info.end_time == ended


def test_a_finished_sweep_with_a_missing_cell_becomes_failed_and_goes_on(store, examine):
    run_id = finished(store, "a")
    finished(store, "b")
    parent = sweep(store, "a", "b", status="FINISHED")
    store.client.delete_run(run_id)
    left, printed = examine()
    assert left == 1
    assert f"  {parent} sweep: FINISHED, 1 of 2 cells not finished\n" in printed
    assert examine(mend=True)[0] == 0
    assert status(store, parent) == "FAILED"
    assert tracking.begin_sweep(store, name="sweep", identities=["a", "b"], again=True) == parent


def test_a_sweep_that_was_taken_up_since_it_was_read_is_left_alone(store):
    finished(store, "a")
    run = store.client.get_run(sweep(store, "a", status="KILLED"))
    tracking.begin_sweep(store, name="sweep", identities=["a"], again=True)
    tracking.correct(store, run, "FINISHED")
    assert status(store, run.info.run_id) == "RUNNING"


@pytest.mark.parametrize("missing", ["config.yaml", "predictions.npz", "test/accuracy"])
def test_what_a_finished_run_lacks_is_for_the_user(store, examine, missing):
    run_id = finished(store, "a", without=(missing,))
    for mend in ({}, {"mend": True}):
        left, printed = examine(**mend)
        assert left == 1
        assert f"  {run_id} cell a: no {missing}\n" in printed
        assert "mlflow runs delete --run-id ID" in printed
        assert "1 finding; nothing to mend" in printed
    store.client.delete_run(run_id)  # as it says
    finished(store, "a")
    assert examine()[0] == 0


def test_a_sweep_without_its_grid_is_for_the_user(store, examine):
    parent = begun(store, kind="sweep", status="FINISHED")
    left, printed = examine(mend=True)
    assert left == 1
    assert f"  {parent} begun: no grid.json\n" in printed


HARMLESS = "harmless: "


def test_a_living_run_of_a_sweep_that_has_ended_is_left_alone(store, examine):
    parent = sweep(store, "a", status="KILLED")
    child = begun(store, kind="run", parent=parent, owner=alive())
    left, printed = examine(mend=True)
    assert (left, status(store, child)) == (0, "RUNNING")
    assert (
        f"  {child} begun: process 5 on {owners.me().host} runs it; the sweep is KILLED\n"
        in printed
    )


def test_orphans_are_told_and_a_restored_sweep_has_them_again(store, examine):
    parent = sweep(store, "a", status="KILLED")
    child = begun(store, kind="run", parent=parent, status="KILLED")
    store.client.delete_run(parent)
    left, printed = examine(mend=True)
    assert left == 0
    assert f"  {child} begun: of {parent}\n" in printed
    assert HARMLESS in printed
    store.client.restore_run(parent)
    assert examine() == (0, "nothing to mend\n")


def test_duplicates_are_told_with_why_and_which_counts(store, examine):
    first = finished(store, "a")
    forced = finished(store, "a", again=True)
    again = finished(store, "a", again=True, rerun_of=first)
    left, printed = examine(mend=True)
    assert left == 0
    assert f"  {first} cell a; again {forced} by force=true, {again} by rerun\n" in printed
    assert "the newest run counts" in printed
    assert tracking.runs_by_identity(store, ["a"])["a"].info.run_id == again


def test_foreign_runs_are_told(store, examine):
    run_id = begun(store, status="FINISHED")
    left, printed = examine(mend=True)
    assert left == 0
    assert f"  {run_id} begun\n" in printed


def test_files_that_nothing_needs_are_told(tmp_path, store, capsys):
    half = tmp_path / "mlflow.db.creating"
    half.write_bytes(b"half")
    assert doctor.examine(replace(store, directory=tmp_path), mend=True) == 0
    assert f"  {half}: a store whose creation was cut short\n" in capsys.readouterr().out
    assert half.exists()


# ---- the command ---------------------------------------------------------------------------------


def command(directory: Path, *arguments: str, **environment: str):
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "doctor.py"), *arguments],
        cwd=directory, env=clean_environment() | environment,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_the_command_looks_and_mends(store):
    run_id = begun(store, kind="run", owner=dead())
    begun(store)
    files = sorted(store.directory.iterdir())
    mine = f"experiment={store.experiment}"
    looked = command(store.directory, mine)
    assert looked.returncode == 1, looked.stderr
    assert status(store, run_id) == "RUNNING"
    assert "1 of them can be mended: the same command with mend=true" in looked.stdout
    mended = command(store.directory, mine, "mend=true")
    assert mended.returncode == 0, mended.stderr
    assert "is dead -> mended\n" in mended.stdout
    assert status(store, run_id) == "KILLED"
    again = command(store.directory, mine, f"tracking.uri={store.uri}")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "1 finding; nothing to mend")
    assert sorted(store.directory.iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--help"], ""),
        (["mend=perhaps"], "Value 'perhaps' is not a valid bool"),
        (["mand=true"], "mand: there is no such value; did you mean mend?"),
        (["-m", "mend=true,false"], "the doctor looks at one experiment at a time"),
        (
            ["tracking.uri=http://me:secret@host"],
            "expected an address without a user name or a password",
        ),
    ],
    ids=str,
)
def test_nothing_heavy_loads_before_the_arguments_are_known_to_be_right(
    tmp_path, arguments, message
):
    done = command(tmp_path, *arguments, PYTHONPROFILEIMPORTTIME="1")
    assert (done.returncode == 0) == (arguments == ["--help"])
    assert message in done.stderr
    assert "import time:" in done.stderr
    loaded = {
        line.split("|")[-1].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert not loaded & {"paddle", "mlflow", "numpy", "pandas"}
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_said_and_not_created(store, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command(empty, "mend=true")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        f"there is no store at {empty}/mlflow.db; start the command where mlflow.db is"
        in done.stderr
    )
    assert not list(empty.iterdir())
    done = command(tmp_path, f"tracking.uri={store.uri}", "experiment=nowhere", "mend=true")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no experiment 'nowhere'" in done.stderr
    assert (
        f"'{store.experiment}'"
        in done.stderr.partition("expected experiment= one of 'Default', ")[2]
    )
    assert store.client.get_experiment_by_name("nowhere") is None


def test_looking_at_an_experiment_of_another_program_leaves_it_as_it_was(store, capsys):
    theirs = store.client.create_experiment("theirs")
    store.client.create_run(theirs, run_name="foreign")
    found = tracking.open_store(store.uri, "theirs", create=False)
    assert found.registry == ""
    assert doctor.examine(found, mend=False) == 0
    assert "1 finding; nothing to mend" in capsys.readouterr().out
    assert [run.info.run_name for run in found.search("")] == ["foreign"]


def test_a_store_of_another_mlflow_is_refused_in_a_sentence(store, tmp_path):
    (tmp_path / "mlflow.db").write_bytes((store.directory / "mlflow.db").read_bytes())
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
    done = command(tmp_path, "mend=true")
    assert done.returncode == 1
    assert "It was written by another version of MLflow than this one" in done.stderr
    assert "Traceback" not in done.stderr
