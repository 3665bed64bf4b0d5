"""Two runs: what counts as a difference, how it is printed, `generate compare` and `rerun=`."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers.commands import ROOT
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from omegaconf import OmegaConf

from experiments import comparison, config, execution, option_checks, rerun, tracking
from experiments.comparison import Record, changes, differences, text
from experiments.config import CommandError
from reports import generate, options
from reports.compare import compare
from reports.runs import ReadError

WEIGHTS = {"the initial weights": {0: "a" * 64}}
LOSS = {"val/loss": {0: 2.5, 1: 2.0, 2: 1.5}}
OUTPUTS = {"the network's outputs": {0: np.array([0.25, 0.5]), 1: np.array([0.75, 1.0])}}


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store):
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(empty_store, path)
    return tracking.open_store(f"sqlite:///{path}", "mine")


def recorded(**results) -> Record:
    return Record("id name, FINISHED", {}, results)


def made(store, *, lr="0.1", losses=(0.5, 0.25), code="0123456789ab", packages="numpy==2.1.0\n"):
    """The id of a run that never ran, with these values."""
    tags = {
        "kind": "run",
        "init_hash": "w" * 64,
        "outcome": "ok",
        "paddle_version": "3.3.1",
        "git_commit": "c" * 40,
        "git_dirty": "true",
        "code.parts": json.dumps({"loss": {"my_losses.py": code}}),
    }
    with tracking.tracked_run(store, name="n", params={"lr": lr}, tags=tags) as tracked:
        for epoch in reversed(range(len(losses))):
            tracked.log_metrics(
                {"val/loss": losses[epoch], "time/val_seconds": 1 / (epoch + 1)}, step=epoch
            )
        tracked.log_text("environment.txt", f"# Python\n# Linux-6.1\n# AMD EPYC\n{packages}")
        tracked.log_text("config.yaml", "threads: 2\ndevice: cpu\nlr: 0.1\n")
        tracked.log_dataset("digits", "d" * 64, (10, 28, 28))
        outputs = np.array([[0.25, 0.5], losses], np.float32)
        tracked.log_predictions(outputs, np.array([1, 1]), np.array([1, 0]))
    return tracked.run_id


def test_what_a_run_has_recorded(store):
    run = store.client.get_run(made(store))
    found = comparison.record(store.client, run, partial(comparison.read, store))
    arrays = {
        name: [np.asarray(row).tolist() for row in found.results.pop(name).values()]
        for name in ("the network's outputs", "the predicted classes", "the labels")
    }
    assert arrays == {
        "the network's outputs": [[0.25, 0.5], [0.5, 0.25]],
        "the predicted classes": [1, 1],
        "the labels": [1, 0],
    }
    assert found.results == {  # and no time
        "the initial weights": {0: "w" * 64},
        "the outcome": {0: "ok"},
        "val/loss": {0: 0.5, 1: 0.25},
    }
    assert found.facts == {
        "Settings": {"lr": "0.1", "device": "cpu", "threads": "2"},
        "Code": {
            "my_losses.py (loss)": "0123456789ab",
            "code of the metrics": "unknown",
            "commit": "cccccccccc",
            "uncommitted changes": "true",
        },
        "Data": {"digits": "dddddddddd"},
        "Versions": {"numpy": "2.1.0", "paddlepaddle": "3.3.1"},
        "Machine": {"system": "Linux-6.1", "processor": "AMD EPYC"},
    }
    with tracking.tracked_run(
        store, name="n", params={}, tags={"kind": "run", "outcome": "diverged"}
    ) as tracked:
        pass
    run = store.client.get_run(tracked.run_id)
    found = comparison.record(store.client, run, partial(comparison.read, store))
    assert found.results == {"the outcome": {0: "diverged"}}


# ---- differences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0 + 2**-52), (0.0, -0.0), (1.0, float("nan"))])
def test_one_bit_is_a_difference(a, b):
    for one, other in (({1: a, 2: 0.5}, {1: b, 2: 0.5}), ({0: np.array([a])}, {0: np.array([b])})):
        assert list(differences(recorded(m=one), recorded(m=other))) == ["m"]
        copied = {at: np.copy(value) for at, value in other.items()}
        assert differences(recorded(m=copied), recorded(m=copied)) == {}  # NaN is itself


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (
            LOSS["val/loss"],
            {0: 2.5, 1: 2.5, 2: 3.0},
            "1.5, 3.0 at the end; 2 of 3 epochs differ, first epoch 1: 2.0, 2.5",
        ),
        (
            LOSS["val/loss"],
            {0: 2.5, 1: 2.0},
            "1.5, 2.0 at the end; 1 of 3 epochs differ, first epoch 2: 1.5, none",
        ),
        (
            {0: 2.5, 1: 2.0},
            LOSS["val/loss"],
            "2.0, 1.5 at the end; 1 of 3 epochs differ, first epoch 2: none, 1.5",
        ),
        ({5: 0.5}, {20: 0.25}, "0.5, 0.25"),  # at the end, whatever the last epoch is
        ({5: 0.5}, None, "only in A"),
        (None, {5: 0.5}, "only in B"),
    ],
)
def test_how_a_metric_differs(a, b, difference):
    one, other = (recorded(**({} if each is None else {"m": each})) for each in (a, b))
    assert differences(one, other) == {"m": difference}


def test_what_differs_has_its_first_place():
    outputs = {"the network's outputs": {0: np.array([0.25, 0.5]), 1: np.array([0.75, 0.5])}}
    a, b = recorded(**OUTPUTS, **WEIGHTS), recorded(**outputs, **WEIGHTS)
    assert differences(a, b) == {
        "the network's outputs": "1 of 2 test examples differ, first test example 1"
    }
    b = recorded(**OUTPUTS, **{"the initial weights": {0: "b" * 64}})
    assert differences(a, b) == {"the initial weights": "aaaaaaaaaa, bbbbbbbbbb"}
    assert differences(recorded(m={5: 0.5}), recorded(m={20: 0.5})) == {}
    a = {"commit": "a", "numpy": "2.1.0", "old": "1", "same": "1"}
    assert changes(a, {"commit": "a", "numpy": "2.2.0", "new": "3", "same": "1"}) == {
        "numpy": "2.1.0, 2.2.0", "old": "1, none", "new": "none, 3",
    }  # fmt: skip


def test_agreement_in_words():
    a = replace(recorded(**WEIGHTS, **LOSS, **OUTPUTS), facts={"Versions": {"numpy": "1"}})
    equal = (
        "Every number is equal to the bit:\n  3 values of 1 metric\n  the initial weights\n"
        "  the network's outputs"
    )
    heads = "A: id name, FINISHED\nB: id name, FINISHED\n"
    assert text(a, a) == f"{heads}No difference in: versions\n{equal}"
    b = replace(a, facts={"Versions": {"numpy": "2"}})
    assert text(a, b) == f"{heads}Versions (A, B):\n  numpy: 1, 2\n{equal}"


# ---- generate compare ----------------------------------------------------------------------------


def test_two_runs_of_a_store(store, monkeypatch, capsys):
    a = made(store)
    b = made(store, lr="0.2", losses=(0.5, 0.125), code="ba9876543210", packages="numpy==2.2.0\n")
    words = ["compare", a[:12], b, "experiment=mine", f"tracking.uri={store.uri}"]
    monkeypatch.setattr(sys, "argv", ["generate", *words])
    generate.main()
    assert capsys.readouterr().out.splitlines() == [
        f"A: {a} n, FINISHED",
        f"B: {b} n, FINISHED",
        "Settings (A, B):",
        "  lr: 0.1, 0.2",
        "Code (A, B):",
        "  my_losses.py (loss): 0123456789ab, ba9876543210",
        "Versions (A, B):",
        "  numpy: 2.1.0, 2.2.0",
        "No difference in: data, machine",
        "Numbers that differ (A, B):",
        "  val/loss: 0.25, 0.125 at the end; 1 of 2 epochs differ, first epoch 1: 0.25, 0.125",
        "  the network's outputs: 1 of 2 test examples differ, first test example 1",
        "Equal to the bit:",
        "  the initial weights",
        "  the outcome",
        "  the predicted classes",
        "  the labels",
    ]
    printed = compare(store.uri, "mine", (a, made(store)))
    assert "No difference in: settings, code, data, versions, machine\n" in printed
    assert "Every number is equal to the bit:\n  2 values of 1 metric\n" in printed
    monkeypatch.setattr(sys, "argv", ["generate", "compare", a, "0" * 32, *words[3:]])
    with pytest.raises(SystemExit, match="there is no such run"):
        generate.main()


def test_which_runs_can_be_compared_and_run_again(store):
    a, client = made(store), store.client
    sweep = client.create_run(store.experiment_id, tags={"kind": "sweep"}, run_name="all")
    other = client.create_run(client.create_experiment("other"), run_name="theirs")
    ids = [client.create_run(store.experiment_id, tags={"kind": "run"}) for _ in range(17)]
    many = [run.info.run_id for run in ids]
    shared = next(sign for sign in "0123456789abcdef" if sum(i[0] == sign for i in many) > 1)
    refusals = [
        ("0" * 32, r"there is no such run in sqlite:.*tracking.uri="),
        (shared, rf"expected one run, .* several begin so: {shared}\w{{31}} .*, {shared}"),
        ("my run", "expected a run id or its beginning, .* got 'my run'"),
        ("", "expected a run id or its beginning, .* got ''"),
        ("%", "expected a run id or its beginning"),
        (other.info.run_id, "a run of experiments/run.py, got the run of another program 'theirs'"),
        (sweep.info.run_id, "expected a run of experiments/run.py, got the sweep 'all'"),
    ]
    for run_id, message in refusals:
        with pytest.raises(ReadError, match=f"generate compare: {run_id}: .*{message}"):
            compare(store.uri, None, (a, run_id))
        with pytest.raises(CommandError, match=f"rerun={run_id}: .*{message}"):
            rerun.find(store, run_id)
    with pytest.raises(CommandError, match="got one RUNNING"):
        rerun.find(store, many[0])
    with pytest.raises(CommandError, match=r"got the number 1200000.0; quote it: 'rerun=\"ID\"'"):
        rerun.find(store, 12e5)
    with pytest.raises(ReadError, match=f"{a}: there is no such run in .*, experiment 'other'"):
        compare(store.uri, "other", (a, a))
    with pytest.raises(ReadError, match=r"no experiment 'third'; expected one of .*'mine'"):
        compare(store.uri, "third", (a, a))
    elsewhere = made(tracking.open_store(store.uri, "third"))
    for run_id in (a, a[:20], elsewhere):
        assert rerun.find(store, run_id).info.run_id.startswith(run_id)


def test_comparing_creates_no_store(tmp_path):
    with pytest.raises(ReadError, match="there is no MLflow store"):
        compare(f"sqlite:///{tmp_path}/none.db", None, ("a", "b"))
    assert not list(tmp_path.iterdir())


def test_the_words_of_the_command():
    assert options.of_compare(["ab", "1e5"]) == ['compare=[ab,"1e5"]']
    assert options.of_compare(["ab", "cd", "experiment=x"]) == ["experiment=x", "compare=[ab,cd]"]
    assert options.of_compare(["--help"]) == ["--help"]
    for words in ([], ["ab"], ["ab", "cd", "ef"], ["ab", "cd", "lr=0.1"], ["ab", "reference=ce"]):
        with pytest.raises(options.OptionError, match="generate compare: expected RUN_A RUN_B"):
            options.of_compare(words)


# ---- rerun= --------------------------------------------------------------------------------------


def composed(*overrides: str):
    """The command's config, and the option chosen in each group."""
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    del cfg.__dict__["_content"]["hydra"]
    return cfg, choices


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
    found = config_of(store, then, "experiment=now")
    for name in (*config.GROUPS, "seed", "lr", "epochs", "batch_size", "threads", "device"):
        assert found[name] == then[name], name
    now, _ = composed("experiment=now")
    assert (found.experiment, found.tracking) == ("now", now.tracking)
    settings = config.read(found, choices)
    assert settings.identity("d") == config.read(then, choices).identity("d")
    assert settings.label == "loss=focal gamma=3 lr=0.25 epochs=4 seed=7"


def test_what_the_machine_asks_for_can_be_set_again(store):
    then, _ = composed("threads=2", "device=gpu", "data.root=/then", "data.train_size=500")
    found = config_of(store, then, "threads=1", "device=cpu", "data.root=/now")
    assert (found.threads, found.device) == (1, "cpu")
    assert (found.data.root, found.data.train_size) == ("/now", 500)
    assert config_of(store, then).data.root == "/then"


def test_options_that_are_new_have_their_defaults_and_old_ones_are_left_out(store):
    then, _ = composed("data=digits", "lr=0.5")
    old = OmegaConf.create({**OmegaConf.to_container(then), "bygone": 3})
    del old["batch_size"], old["checkpoint"]
    found = config_of(store, old)
    assert (found.lr, found.batch_size, found.checkpoint) == (0.5, 100, True)
    assert "bygone" not in found
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
    client = MlflowClient(f"sqlite:///{place[0]}/mlflow.db")
    then, now = client.get_run(place[1]), client.get_run(run_id)
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
    monkeypatch.setattr(
        option_checks, "data", lambda settings: replace(data(settings), digest="another")
    )
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
    assert "the data or the device changed since then" in caplog.text


@pytest.mark.parametrize(
    "word",
    ["lr=0.1", "loss=mse", "+loss.gamma=2", "data.label_noise=0.1", "plan=true", "seed=3"],
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
