"""The parent run of a sweep: its grid, its seeds and its end."""

from __future__ import annotations

import json
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path

import mlflow
import pytest
from helpers.commands import mlflow_server
from helpers.reported import contents
from helpers.tracked import open_copy, run

from experiments import tracking
from experiments.tracking import locks


@pytest.fixture
def store(tmp_path, empty_store):
    return open_copy(empty_store, tmp_path)


def sweep(store, again=True, **declared):
    identities = ["b", "a", "b"]
    return tracking.tracked_sweep(store, name="s", identities=identities, again=again, **declared)


def status(store, run_id):
    return store.client.get_run(run_id).info.status


def test_a_parent_holds_its_grid_and_an_unfinished_one_goes_on(store, tmp_path):
    with sweep(store) as first:
        path = store.client.download_artifacts(first.run_id, "grid.json", str(tmp_path))
        assert json.loads(Path(path).read_text()) == {"identities": ["a", "b"], "code": {}}
        assert tracking.planned(store, first.run_id) == (["a", "b"], {})
        with run(store, parent=first.run_id) as child:
            pass
        assert status(store, first.run_id) == "RUNNING"
    tags = store.client.get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == first.run_id
    assert status(store, first.run_id) == "KILLED"  # as long as nobody says otherwise
    with sweep(store) as second:
        assert second.run_id == first.run_id
        assert status(store, first.run_id) == "RUNNING"
        second.status = "FINISHED"
    assert status(store, first.run_id) == "FINISHED"
    with sweep(store, again=False) as third:
        assert third.run_id == first.run_id  # nothing to run: the finished one stays
        third.status = "FINISHED"
    with sweep(store) as fourth:
        assert fourth.run_id != first.run_id


def test_a_parent_keeps_the_seeds_that_were_declared_first(store):
    with sweep(store, seeds=[2, 0, 1, 7]) as first:
        assert store.client.get_run(first.run_id).data.tags["seeds"] == "0-2,7"
    with sweep(store, seeds=range(9)) as second:
        assert second.run_id == first.run_id
        assert store.client.get_run(first.run_id).data.tags["seeds"] == "0-2,7"


def test_a_question_is_kept_and_another_one_is_of_a_parent_of_its_own(store):
    def question_of(parent):
        text = store.client.get_run(parent.run_id).data.tags.get("question")
        return None if text is None else json.loads(text)

    with sweep(store) as silent:
        assert question_of(silent) is None
    with sweep(store, question={"metric": "test/nll"}) as first:
        assert first.run_id != silent.run_id  # nobody can declare afterwards
        assert question_of(first) == {"metric": "test/nll"}
    with sweep(store, question={"metric": "test/ece"}) as second:
        assert second.run_id != first.run_id
    with sweep(store, question={"metric": "test/nll"}) as third:
        assert third.run_id == first.run_id
    with sweep(store) as fourth:  # the newest of this grid
        assert fourth.run_id == second.run_id
    assert [question_of(each) for each in (silent, first, second)] == [
        *(None, {"metric": "test/nll"}, {"metric": "test/ece"})
    ]


def test_seeds_that_no_tag_can_hold_are_left_to_the_runs(store):
    with sweep(store, seeds=range(0, 4000, 2)) as parent:
        assert "seeds" not in store.client.get_run(parent.run_id).data.tags


def test_an_exception_makes_a_parent_failed(store):
    with pytest.raises(ZeroDivisionError), sweep(store) as failed:
        print(1 / 0)
    assert status(store, failed.run_id) == "FAILED"
    with pytest.raises(KeyboardInterrupt), sweep(store) as killed:
        raise KeyboardInterrupt
    assert status(store, killed.run_id) == "KILLED"
    assert killed.run_id == failed.run_id


def test_two_sweeps_of_one_grid_at_once_have_a_parent_each(store):
    with sweep(store) as first:
        pass
    with sweep(store) as second, sweep(store) as third:
        assert second.run_id == first.run_id != third.run_id
        tracking.close_stale(store)  # neither ends the other, or itself
        assert status(store, second.run_id) == status(store, third.run_id) == "RUNNING"
    assert status(store, third.run_id) == "KILLED"


def test_a_parent_whose_process_died_before_it_had_its_grid_goes_on(store):
    with sweep(store) as first:
        pass
    shutil.rmtree(store.directory / "mlartifacts" / first.run_id)
    with sweep(store) as second:
        assert second.run_id == first.run_id
        assert tracking.planned(store, second.run_id) == (["a", "b"], {})


@pytest.mark.parametrize("end", ["KILLED", "FAILED"])
def test_a_child_whose_process_died_ends_with_its_parent(store, end):
    children = {}
    with locks.lock(store, "alive"), sweep(store) as parent:
        for name, host in {"dead": locks.HOST, "alive": locks.HOST, "lost": "elsewhere"}.items():
            tags = {"kind": "run", "mlflow.parentRunId": parent.run_id, "identity": name}
            created = store.client.create_run(store.experiment_id, tags=tags | {"host": host})
            children[name] = created.info.run_id
        parent.status = end
    for name in ("dead", "lost"):  # of another machine, this sweep knows that its job is over
        stored = store.client.get_run(children[name])
        assert (stored.info.status, stored.data.tags["outcome"]) == (end, end.lower())
    assert status(store, children["alive"]) == "RUNNING"
    assert status(store, parent.run_id) == end


def test_the_circumstances_are_kept(store, tmp_path):
    with run(store) as tracked:
        pass
    path = store.client.download_artifacts(tracked.run_id, "environment.txt", str(tmp_path))
    text = Path(path).read_text()
    assert f"mlflow=={mlflow.__version__}" in text
    assert "paddlepaddle==3.3.1" in text
    tags = store.client.get_run(tracked.run_id).data.tags
    commit, dirty = tracking.git_state()
    assert tags.get("git_commit", "") == commit
    names = {artifact.path for artifact in store.client.list_artifacts(tracked.run_id)}
    assert ("changes.diff" in names) == dirty


SMALL_SWEEP = ["-m", "loss=mse,ce", "data=digits", "model=softmax", "epochs=1"]


@pytest.mark.server
def test_a_tracking_server_works_like_a_file(tmp_path, run_command):
    place = tmp_path / "elsewhere"
    place.mkdir()
    with mlflow_server(tmp_path) as uri:
        done = run_command(place, *SMALL_SWEEP, f"tracking.uri={uri}")
        assert done.returncode == 0, done.stderr
        again = run_command(place, *SMALL_SWEEP, MLFLOW_TRACKING_URI=uri)
        assert "2 finished before, 0 to run" in again.stdout
        assert not (place / "mlflow.db").exists()
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("digits").experiment_id
        kinds = sorted(each.data.tags["kind"] for each in client.search_runs([experiment]))
        assert kinds == ["run", "run", "sweep"]


@pytest.mark.server
@pytest.mark.skipif(find_spec("flask_wtf") is None, reason='needs pip install -e ".[server]"')
def test_a_server_with_a_password_takes_it_from_the_environment_and_keeps_it_nowhere(
    tmp_path, run_command
):
    place, password = tmp_path / "elsewhere", secrets.token_hex()
    place.mkdir()
    with mlflow_server(
        tmp_path, "--app-name", "basic-auth",
        MLFLOW_AUTH_ADMIN_PASSWORD=password, MLFLOW_FLASK_SERVER_SECRET_KEY=secrets.token_hex(),
    ) as uri:  # fmt: skip
        refused = run_command(place, *SMALL_SWEEP, f"tracking.uri={uri}")
        assert refused.returncode == 1
        assert "401" in refused.stderr
        done = run_command(
            place, *SMALL_SWEEP, f"tracking.uri={uri}",
            MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=password,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(" ok ") == 2
    assert password not in done.stdout + done.stderr
    kept = [name for name, data in contents(tmp_path).items() if password.encode() in data]
    assert kept == []
