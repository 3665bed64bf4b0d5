"""A cell has one owner at a time, whatever happens."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace

import pytest

from experiments import owners, tracking
from experiments.tracking import Finished, Lost, Taken, claims


@pytest.fixture
def store(tmp_path):
    return tracking.open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", "mine")


@pytest.fixture
def become(monkeypatch):
    """`become(owner)`: from now on this process is that one."""
    return lambda owner: monkeypatch.setattr(owners, "me", lambda: owner)


def elsewhere(**values):
    return replace(owners.me(), place="elsewhere", token="other", **values)


def run(store, claim):
    tags = {"identity": claim.identity, "outcome": "ok"}
    return tracking.tracked_run(store, name="n", params={}, tags=tags, claim=claim)


def test_a_cell_is_claimed_and_finished_once(store):
    claim = tracking.claim(store, "a")
    assert (claim.attempt, claims.read(store).last("a"), claims.read(store).last("b")) == (1, 1, 0)
    with pytest.raises(Taken, match=f"process {owners.me().pid} on"):
        tracking.claim(store, "a")
    with run(store, claim):
        assert claims.read(store).runner("a") == owners.parse(claims.read(store).params["a/1"])
    assert claims.read(store).end("a/1") == "finished"
    assert claims.read(store).runner("a") is None
    with pytest.raises(Finished):
        tracking.claim(store, "a")
    assert tracking.claim(store, "a", again=True).attempt == 2


def test_a_failed_cell_can_be_claimed_anew(store):
    with pytest.raises(ZeroDivisionError), run(store, tracking.claim(store, "a")):
        print(1 / 0)
    assert claims.read(store).end("a/1") == "failed"
    assert tracking.claim(store, "a").attempt == 2


def test_what_someone_deleted_in_mlflow_can_be_run_again(store):
    with run(store, tracking.claim(store, "a")) as tracked:
        pass
    store.client.delete_run(tracked.run_id)
    assert tracking.claim(store, "a").attempt == 2


def test_the_cell_of_a_dead_process_is_taken_over(store, become):
    me = owners.me()
    become(replace(me, token="dead", started=me.started - 3600))
    tracking.claim(store, "a")
    become(me)
    assert claims.read(store).runner("a") is None
    assert tracking.claim(store, "a").attempt == 2
    assert claims.read(store).end("a/1") == "lost"


def test_a_process_elsewhere_keeps_its_cell_while_its_heart_beats(store, become):
    me = owners.me()
    become(elsewhere(said=time.time() - 300))
    tracking.claim(store, "a")
    become(me)
    store.client.set_tag(store.registry, "beat.other", f"{time.time() - 20:.0f}")
    with pytest.raises(Taken):
        tracking.claim(store, "a")
    store.client.set_tag(store.registry, "beat.other", f"{time.time() - 90:.0f}")
    assert tracking.claim(store, "a").attempt == 2


def test_a_sleeper_that_wakes_does_not_finish_a_cell_that_another_took(store, become, monkeypatch):
    me = owners.me()
    become(elsewhere(said=time.time() - 300))
    sleeper = tracking.claim(store, "a")
    with pytest.raises(Lost), run(store, sleeper) as asleep:
        asleep.log_metrics({"val/accuracy": 0.5}, step=1)
        become(me)
        assert [found.info.run_id for found in tracking.bury_the_dead(store)] == [asleep.run_id]
        with run(store, tracking.claim(store, "a")) as awake:
            become(elsewhere())
    statuses = [store.client.get_run(tracked.run_id).info.status for tracked in (asleep, awake)]
    assert statuses == ["KILLED", "FINISHED"]
    assert store.client.get_run(asleep.run_id).data.tags["outcome"] == "killed"


def test_a_sleeper_asks_before_it_writes(store, monkeypatch):
    claim = tracking.claim(store, "a")
    with pytest.raises(Lost), run(store, claim) as tracked:
        claim.end("lost")  # by someone else
        tracked.log_metrics({"val/accuracy": 0.5}, step=1)  # heard a moment ago: not asked
        monkeypatch.setattr(claims._heart(store), "heard", time.time() - 120)
        tracked.log_metrics({"val/accuracy": 0.7}, step=2)
    history = store.client.get_metric_history(tracked.run_id, "val/accuracy")
    assert [metric.step for metric in history] == [1]


def test_a_run_that_only_missed_its_status_is_finished(store, become):
    me = owners.me()
    become(replace(me, token="dead", started=me.started - 3600))
    claim = tracking.claim(store, "a")
    tags = {
        "kind": "run",
        "identity": "a",
        "attempt": claim.name,
        "owner": owners.me().text(),
        "outcome": "ok",
    }
    run_id = store.client.create_run(store.experiment_id, tags=tags).info.run_id
    claim.end("finished")
    become(me)
    tracking.bury_the_dead(store)
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_nobody_begins_anew_what_only_misses_its_status(store, monkeypatch):
    claim = tracking.claim(store, "a")
    with run(store, claim) as tracked:
        monkeypatch.setattr(store.client._client, "set_terminated", lambda *_: None)  # not yet
    with pytest.raises(Taken):
        tracking.claim(store, "a")
    monkeypatch.undo()
    tracking.bury_the_dead(store)
    assert store.client.get_run(tracked.run_id).info.status == "FINISHED"
    with pytest.raises(Finished):
        tracking.claim(store, "a")


def test_who_ended_well_while_someone_looked_is_not_buried(store, become, monkeypatch):
    """Found RUNNING, then it ended and its process, too: dead, but not in need of an end."""
    me = owners.me()
    become(replace(me, token="dead", started=me.started - 3600))
    parent = tracking.begin_sweep(store, name="s", identities=["a"], again=True)
    read = claims.read

    def meanwhile(store):
        store.client.set_terminated(parent, "FINISHED")
        return read(store)

    monkeypatch.setattr(claims, "read", meanwhile)
    become(me)
    assert tracking.bury_the_dead(store) == []
    assert store.client.get_run(parent).info.status == "FINISHED"


def _race(arguments):
    path, cells = arguments
    store = tracking.open_store(f"sqlite:///{path}", "mine")
    won = []
    for cell in cells:
        try:
            tracking.claim(store, cell)
            won.append(cell)
        except Taken:
            pass
    time.sleep(3)  # alive until the others have tried
    return won


@pytest.mark.slow
def test_of_those_who_race_for_a_cell_one_wins(tmp_path):
    cells = [f"cell{number}" for number in range(20)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.map(_race, [(tmp_path / "mlflow.db", cells)] * 4, chunksize=1)
    assert sorted(cell for some in won for cell in some) == sorted(cells)
