"""The same run once more: which run is meant, which config it gets, and the whole command."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
from helpers.commands import ROOT
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from omegaconf import OmegaConf

from experiments import config, execution, option_checks, rerun, tracking
from experiments.config import CommandError


def composed(*overrides: str):
    """The command's config, and the option chosen in each group."""
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    del cfg.__dict__["_content"]["hydra"]
    return cfg, choices


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(empty_store, path)
    return tracking.open_store(f"sqlite:///{path}", "mine")


def made(store, cfg=None, kind="run", status="FINISHED", **texts):
    """The id of a run that never ran, with this config."""
    with tracking.tracked_run(
        store, name="loss=ce", params={"loss": "ce"}, tags={"kind": kind}
    ) as tracked:
        if cfg is not None:
            tracked.log_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        for name, text in texts.items():
            tracked.log_text(f"{name}.yaml", text)
    store.client.set_terminated(tracked.run_id, status)
    return tracked.run_id


# ---- which run -----------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_and_by_what_only_its_id_begins_with(store):
    wanted, other = made(store), made(store)
    length = next(n for n in range(1, 33) if wanted[:n] != other[:n])
    others = [run.info.run_id for run in store.search("attributes.status = 'FINISHED'")]
    length = next(
        n for n in range(length, 33) if sum(o.startswith(wanted[:n]) for o in others) == 1
    )
    assert rerun.find(store, wanted).info.run_id == wanted
    assert rerun.find(store, wanted[:length]).info.run_id == wanted


def test_a_run_is_found_in_any_experiment_of_the_store(store):
    elsewhere = tracking.open_store(store.uri, "other")
    run_id = made(elsewhere)
    assert rerun.find(store, run_id).info.run_id == run_id


def test_a_beginning_that_several_share_is_refused_with_the_runs(store):
    ids = [store.client.create_run(store.experiment_id).info.run_id for _ in range(17)]
    shared = next(
        sign for sign in "0123456789abcdef" if sum(run_id[0] == sign for run_id in ids) > 1
    )
    with pytest.raises(
        CommandError,
        match=rf"rerun={shared}: expected one run, .* begin so: {shared}\w{{31}} .*, {shared}",
    ):
        rerun.find(store, shared)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("0" * 32, r"there is no such run in sqlite:.*tracking.uri=URI"),
        ("my run", r"expected a run id or its beginning, .* got 'my run'"),
        ("", r"expected a run id or its beginning, .* got ''"),
        ("%", r"expected a run id or its beginning"),
        (12e5, r"got the number 1200000.0; quote it: 'rerun=\"ID\"'"),
    ],
)
def test_what_is_no_id_is_refused(store, asked, message):
    with pytest.raises(CommandError, match=message):
        rerun.find(store, asked)


def test_a_sweep_is_refused_with_its_runs(store):
    parent = made(store, kind="sweep")
    child = store.client.create_run(
        store.experiment_id, tags={"mlflow.parentRunId": parent, "kind": "run"}, run_name="loss=mse"
    )
    with pytest.raises(
        CommandError,
        match=rf"got a sweep; choose one of its runs: {child.info.run_id} \(loss=mse\)",
    ):
        rerun.find(store, parent)
    with pytest.raises(CommandError, match="of kind 'registry'"):
        rerun.find(store, made(store, kind="registry"))


def test_a_run_that_is_not_finished_is_refused_with_the_command_that_finishes_it(store):
    words = (
        "['loss=ce', 'lr=0.1', 'experiment=my own', tracking.parent_run=0123, "
        "'tracking.epochs=[1]']"
    )
    run_id = made(store, status="KILLED", overrides=words)
    with pytest.raises(CommandError) as error:
        rerun.find(store, run_id)
    assert str(error.value).endswith(
        "this one is KILLED; to finish what it began: python experiments/run.py loss=ce lr=0.1 "
        f"'experiment=my own' tracking.uri={store.uri}"
    )
    with pytest.raises(CommandError, match="this one is RUNNING; wait until it is over"):
        rerun.find(
            store, store.client.create_run(store.experiment_id, tags={"kind": "run"}).info.run_id
        )


# ---- which config --------------------------------------------------------------------------------


def config_of(store, then, *overrides):
    run = store.client.get_run(made(store, then))
    return rerun.config_of(store, run, composed(*overrides)[0], overrides)


def test_what_decides_the_numbers_is_of_then_and_the_rest_of_now(store):
    then, _ = composed(
        "loss=focal", "loss.gamma=3", "data=digits", "data.label_noise=0.1", "model=mlp",
        "optimizer=adam", "seed=7", "lr=0.25", "epochs=4", "batch_size=32", "threads=2",
        "device=cpu", "experiment=then", "tracking.uri=sqlite:///then.db",
        "tracking.parent_run=0123", "tracking.log_model=false",
    )  # fmt: skip
    found = config_of(store, then, "experiment=now")
    for name in (*config.GROUPS, "seed", "lr", "epochs", "batch_size", "threads", "device"):
        assert found[name] == then[name], name
    now, _ = composed("experiment=now")
    assert (found.experiment, found.tracking) == ("now", now.tracking)


def test_the_settings_have_the_identity_of_then(store):
    then, choices = composed(
        "loss=focal", "loss.gamma=3", "data=digits", "model=mlp", "lr=0.1", "seed=2"
    )
    found = config.read(config_of(store, then), choices)
    assert found.identity("d") == config.read(then, choices).identity("d")
    assert found.label == "loss=focal gamma=3 lr=0.1 epochs=10 seed=2"


def test_what_the_machine_asks_for_can_be_set_anew(store):
    then, _ = composed("threads=2", "device=gpu", "data.root=/then", "data.train_size=500")
    found = config_of(store, then, "threads=1", "device=cpu", "data.root=/now")
    assert (found.threads, found.device, found.data.root, found.data.train_size) == (
        1,
        "cpu",
        "/now",
        500,
    )
    assert config_of(store, then).data.root == "/then"


def test_keys_that_came_since_have_their_defaults_and_those_that_went_are_named(store, caplog):
    then, _ = composed("data=digits", "lr=0.5")
    old = OmegaConf.create({**OmegaConf.to_container(then), "bygone": 3})
    del old["batch_size"], old["checkpoint"]
    found = config_of(store, old)
    assert (found.lr, found.batch_size, found.checkpoint) == (0.5, 100, True)
    assert "bygone" not in found
    assert "bygone=3 was set then, and means nothing any more; left out" in caplog.text


def test_a_run_without_its_config_is_refused(store):
    run = store.client.get_run(made(store))
    with pytest.raises(CommandError, match=r"has no config.yaml any more"):
        rerun.config_of(store, run, composed()[0], [])


# ---- the whole -----------------------------------------------------------------------------------

ONE_EPOCH = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a store in which one run is finished, and that run's id."""
    directory = tmp_path_factory.mktemp("place")
    cfg, choices = composed(
        *ONE_EPOCH, f"tracking.uri=sqlite:///{directory}/mlflow.db", "experiment=mine"
    )
    settings = config.read(cfg, choices)
    return directory, execution.execute(
        settings, {"config.yaml": OmegaConf.to_yaml(cfg, resolve=True)}
    )


def again(place, *overrides):
    words = [
        f"rerun={place[1]}",
        f"tracking.uri=sqlite:///{place[0]}/mlflow.db",
        "tracking.log_model=false",
        *overrides,
    ]
    cfg, choices = composed(*words)
    return rerun.rerun(cfg, config.read(cfg, choices), words)


def test_the_same_numbers_again(place, capsys):
    run_id = again(place, "experiment=mine")
    assert run_id != place[1]
    client = MlflowClient(f"sqlite:///{place[0]}/mlflow.db")
    then, now = client.get_run(place[1]), client.get_run(run_id)
    assert now.data.tags["rerun_of"] == place[1]
    assert now.data.tags["identity"] == then.data.tags["identity"]
    assert (now.info.experiment_id, now.info.status) == (then.info.experiment_id, "FINISHED")
    printed = capsys.readouterr().out
    assert re.search(r"Every number is equal to the bit:\n  \d+ values of 20 metrics\n", printed)
    assert place[1] in printed
    assert run_id in printed


def test_one_other_bit_is_seen_and_the_new_run_stays(place, monkeypatch, capsys):
    execute = execution.execute

    def one_bit_off(settings, artifacts, tags, **more):
        run_id = execute(settings, artifacts, tags, **more)
        client = MlflowClient(settings.tracking["uri"])
        value = client.get_run(run_id).data.metrics["test/loss"]
        client.log_metric(run_id, "test/loss", value * (1 + 2**-52), step=1)
        return run_id

    monkeypatch.setattr(execution, "execute", one_bit_off)
    with pytest.raises(
        CommandError,
        match=r"Numbers that differ \(A, B\):\n  test/loss: 2\.\d+, 2\.\d+\nEqual to the bit:",
    ):
        again(place, "experiment=kept")
    client = MlflowClient(f"sqlite:///{place[0]}/mlflow.db")
    (kept,) = client.search_runs(
        [client.get_experiment_by_name("kept").experiment_id], "tags.kind = 'run'"
    )
    assert kept.data.tags["rerun_of"] == place[1]
    assert "Every number" not in capsys.readouterr().out


def test_other_data_than_then_is_said_before_anything_trains(place, monkeypatch, caplog):
    data = option_checks.data
    monkeypatch.setattr(
        option_checks,
        "data",
        lambda execution: dataclasses.replace(data(execution), digest="another"),
    )
    again(place, "experiment=mine")
    assert "the data or the device changed since then" in caplog.text


@pytest.mark.parametrize(
    "word",
    [
        "lr=0.1",
        "loss=mse",
        "+loss.gamma=2",
        "data.label_noise=0.1",
        "plan=true",
        "seed=3",
        "corruptions=true",
    ],
)
def test_what_the_run_decides_cannot_be_set_beside_it(word):
    settings = dataclasses.replace(config.read(*composed("data=digits")), rerun="abc")
    with pytest.raises(
        CommandError,
        match=rf"{re.escape(word)}: rerun=abc takes what decides the numbers from that run",
    ):
        rerun.rerun(composed()[0], settings, ["rerun=abc", word])


def test_a_run_that_is_being_run_is_left_alone(place, monkeypatch):
    def taken(*_, **__):
        raise tracking.Taken("process 7 computes this run")

    monkeypatch.setattr(execution, "execute", taken)
    with pytest.raises(CommandError, match="process 7 computes this run; wait for it, or stop it"):
        again(place, "experiment=mine")


@pytest.mark.slow
def test_the_command(sweep, tmp_path, run_command):
    """A run of a sweep again, alone.

    Then with two threads, which may round otherwise, and is then said to be why.
    """
    directory = tmp_path / "store"
    shutil.copytree(sweep[0], directory)
    (run_id,) = [
        line.split()[-1]
        for line in sweep[1].splitlines()
        if line.split()[:1] == ["ce"] and line.split()[3] == "1"
    ]
    uri = f"tracking.uri=sqlite:///{directory}/mlflow.db"
    done = run_command(tmp_path, f'rerun="{run_id}"', uri, "experiment=again")
    assert done.returncode == 0, done.stderr
    assert "Every number is equal to the bit:\n  31 values of 20 metrics\n" in done.stdout
    assert "the network's outputs of 360 test examples" in done.stdout
    threads = run_command(tmp_path, f'rerun="{run_id}"', uri, "experiment=again", "threads=2")
    assert threads.returncode in (0, 1)
    assert "threads: 1, 2" in threads.stdout + threads.stderr
    assert ("Numbers that differ" in threads.stderr) == (threads.returncode == 1)
    lost = run_command(tmp_path, "rerun=00000000000000000000000000000000", uri)
    assert lost.returncode == 1
    assert "there is no such run" in lost.stderr
    assert not (tmp_path / "mlflow.db").exists()


def test_where_there_is_no_store_none_is_made(tmp_path, run_command):
    done = run_command(tmp_path, "rerun=abcd")
    assert done.returncode == 1
    assert f"rerun=abcd: there is no store sqlite:///{tmp_path}/mlflow.db" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()
