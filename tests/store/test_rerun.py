"""`rerun=`: the same run once more, and whether its numbers are the same."""

from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import replace

import pytest
from helpers.settings import composed
from helpers.stores import client, runs
from helpers.tracked import open_copy
from mlflow import MlflowClient
from omegaconf import OmegaConf

from experiments import config, contract, execution, option_checks, rerun, tracking
from experiments.config import CommandError


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    return open_copy(empty_store, tmp_path_factory.mktemp("store"))


def config_of(store, then, *overrides):
    tags = {"kind": "run"}
    with tracking.tracked_run(store, name="loss=ce", params={"loss": "ce"}, tags=tags) as tracked:
        tracked.log_text("config.yaml", OmegaConf.to_yaml(then, resolve=True))
    run = store.client.get_run(tracked.run_id)
    return rerun.config_of(store, run, composed(*overrides)[0], overrides)


def test_what_decides_the_numbers_is_of_then_and_the_rest_of_now(store):
    then, choices = composed(
        "loss=focal", "loss.gamma=3", "data=digits", "data.label_noise=0.1", "model=mlp",
        "optimizer=adam", "seed=7", "lr=0.25", "epochs=4", "batch_size=32", "threads=2",
        "device=cpu", "experiment=then", "tracking.uri=sqlite:///then.db",
        "tracking.parent_run=0123", "tracking.log_model=false",
    )  # fmt: skip
    cfg = config_of(store, then, "experiment=now")
    for name in (*contract.GROUPS, *contract.SCALARS, "threads", "device"):
        assert cfg[name] == then[name], name
    now, _ = composed("experiment=now")
    assert (cfg.experiment, cfg.tracking) == ("now", now.tracking)
    settings = config.read(cfg, choices)
    assert settings.identity("d") == config.read(then, choices).identity("d")
    assert settings.label == "loss=focal gamma=3 lr=0.25 epochs=4 seed=7"


def test_what_the_machine_asks_for_can_be_set_again(store):
    then, _ = composed("threads=2", "device=gpu", "data.root=/then", "data.train_size=500")
    cfg = config_of(store, then, "threads=1", "device=cpu", "data.root=/now")
    assert (cfg.threads, cfg.device) == (1, "cpu")
    assert (cfg.data.root, cfg.data.train_size) == ("/now", 500)
    assert config_of(store, then).data.root == "/then"


def test_options_that_are_new_have_their_defaults_and_old_ones_are_left_out(store):
    then, _ = composed("data=digits", "lr=0.5")
    old = OmegaConf.create({**OmegaConf.to_container(then), "bygone": 3})
    del old["batch_size"], old["checkpoint"]
    cfg = config_of(store, old)
    assert (cfg.lr, cfg.batch_size, cfg.checkpoint) == (0.5, 100, True)
    assert "bygone" not in cfg
    run = store.client.create_run(store.experiment_id, tags={"kind": "run"})
    with pytest.raises(CommandError, match=r"has no config.yaml any more"):
        rerun.config_of(store, run, composed()[0], [])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a store in which one run is finished, and that run's id."""
    return finished(tmp_path_factory.mktemp("place"))


def finished(directory, *more):
    uri = f"tracking.uri=sqlite:///{directory}/mlflow.db"
    small = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false", *more]
    cfg, choices = composed(*small, uri, "experiment=mine")
    artifacts = {"config.yaml": OmegaConf.to_yaml(cfg, resolve=True)}
    return directory, execution.execute(config.read(cfg, choices), artifacts)


def again(place, *overrides):
    uri = f"tracking.uri=sqlite:///{place[0]}/mlflow.db"
    words = [f"rerun={place[1]}", uri, "tracking.log_model=false", *overrides]
    cfg, choices = composed(*words)
    return rerun.rerun(cfg, config.read(cfg, choices), words)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["elr", "truncated_gce", "centre", "arcface", "mixture"])
def test_a_loss_with_a_state_has_the_same_numbers_again(loss, tmp_path, capsys):
    again(finished(tmp_path, f"loss={loss}", "lr=0.1"))
    assert "Every number is equal to the bit" in capsys.readouterr().out


def test_the_same_numbers_again(place, capsys):
    run_id = again(place, "experiment=mine")
    assert run_id != place[1]
    then, now = (client(place[0]).get_run(each) for each in (place[1], run_id))
    assert now.data.tags["rerun_of"] == place[1]
    assert now.data.tags["identity"] == then.data.tags["identity"]
    assert (now.info.experiment_id, now.info.status) == (then.info.experiment_id, "FINISHED")
    printed = capsys.readouterr().out
    assert re.search(r"Every number is equal to the bit:\n  \d+ values of 21 metrics\n", printed)
    assert place[1] in printed
    assert run_id in printed


def test_one_other_bit_is_seen_and_the_new_run_stays(place, monkeypatch, capsys, caplog):
    execute, data = execution.execute, option_checks.data

    def one_bit_off(settings, artifacts, tags, **more):
        run_id = execute(settings, artifacts, tags, **more)
        client = MlflowClient(settings.tracking["uri"])
        value = client.get_run(run_id).data.metrics["test/loss"]
        client.log_metric(run_id, "test/loss", value * (1 + 2**-52), step=1)
        return run_id

    monkeypatch.setattr(execution, "execute", one_bit_off)
    other = lambda settings: replace(data(settings), digest="another")  # noqa: E731
    monkeypatch.setattr(option_checks, "data", other)
    words = r"Numbers that differ \(A, B\):\n  test/loss: 2\.\d+, 2\.\d+\nEqual to the bit:"
    with pytest.raises(CommandError, match=words):
        again(place, "experiment=kept")
    (kept,) = runs(place[0], experiment="kept")
    assert kept.data.tags["rerun_of"] == place[1]
    assert "Every number" not in capsys.readouterr().out
    assert "the data or the device changed since then" in caplog.text


@pytest.mark.parametrize(
    "word", ["lr=0.1", "loss=mse", "+loss.gamma=2", "data.label_noise=0.1", "plan=true", "seed=3"]
)
def test_what_the_run_decides_cannot_be_set_beside_it(word):
    settings = dataclasses.replace(config.read(*composed("data=digits")), rerun="abc")
    words = "rerun=abc takes what decides the numbers from that run"
    with pytest.raises(CommandError, match=f"{re.escape(word)}: {words}"):
        rerun.rerun(composed()[0], settings, ["rerun=abc", word])


def test_a_run_that_is_being_run_is_left_alone(place, monkeypatch):
    def taken(*_, **__):
        raise tracking.Taken("process 7 computes this run")

    monkeypatch.setattr(execution, "execute", taken)
    with pytest.raises(CommandError, match="process 7 computes this run; wait for it, or stop it"):
        again(place, "experiment=mine")


@pytest.mark.slow
def test_the_command(sweep, tmp_path, run_command):
    """A run of a sweep again, alone; and with two threads, which is said where it is why."""
    directory = tmp_path / "store"
    shutil.copytree(sweep[0], directory)
    rows = [line.split() for line in sweep[1].splitlines()]
    (run_id,) = [row[-1] for row in rows if row[:1] == ["ce"] and row[3] == "1"]
    uri = f"tracking.uri=sqlite:///{directory}/mlflow.db"
    done = run_command(tmp_path, f'rerun="{run_id}"', uri, "experiment=again")
    assert done.returncode == 0, done.stderr
    assert "Every number is equal to the bit:\n  32 values of 21 metrics\n" in done.stdout
    assert "\n  the network's outputs\n" in done.stdout
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
