"""Runs that are finished, corrupted, diverged or crashed, and what Hydra offers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import LOSS_OPTIONS, SMALL
from helpers.stores import client, lasting, runs

from experiments.corruptions import CORRUPTIONS


def test_the_same_command_has_nothing_to_do_and_a_wider_one_runs_the_rest(sweep, run_command):
    directory, _ = sweep
    before = len(runs(directory))
    again = run_command(directory, "-m", "loss=mse,ce", "seed=0,1,0", *SMALL)  # seed 0 is one run
    assert again.returncode == 0, again.stderr
    assert "4 runs, 4 finished before, 0 to run" in again.stdout
    assert again.stdout.count(" ok ") == 4
    assert len(runs(directory)) == before
    assert len(runs(directory, "sweep")) == 1


@pytest.mark.slow
def test_a_finished_run_alone_is_not_run_again_unless_forced(tmp_path, run_command):
    words = ["data=digits", "model=softmax", "epochs=1"]
    _, again, forced = (run_command(tmp_path, *words, *more) for more in ([], [], ["force=true"]))
    assert (again.returncode, forced.returncode) == (0, 0)
    one, two = sorted(runs(tmp_path), key=lambda run: run.info.start_time)
    assert f"finished before as run {one.info.run_id}" in again.stdout
    assert "epoch" not in again.stdout.replace("epochs", "")
    assert lasting(one) == lasting(two)


@pytest.mark.slow
def test_corruptions_and_label_noise_when_asked_for(tmp_path, run_command):
    options = ["loss=mse", "data=digits", "model=softmax", "epochs=1", "tracking.log_model=false"]
    plain = run_command(tmp_path, *options)
    # another run: the first has not all its numbers
    done = run_command(tmp_path, *options, "corruptions=true")
    again = run_command(tmp_path, *options, "corruptions=true")
    noisy = run_command(tmp_path, *options, "data.label_noise=0.4")
    assert [each.returncode for each in (plain, done, again, noisy)] == [0, 0, 0, 0], done.stderr
    assert "finished before" not in done.stdout
    assert "finished before" in again.stdout
    without, robust, flipped = sorted(runs(tmp_path), key=lambda run: run.info.start_time)
    assert "corruptions" not in without.data.params
    assert robust.data.params["corruptions"] == "True"
    plain, new = lasting(without), lasting(robust)
    assert {name: new.pop(name) for name in plain} == plain
    each = {f"corrupted/accuracy_{name}" for name in CORRUPTIONS}
    assert set(new) == each | {"corrupted/accuracy"}
    assert len(each) >= 8
    assert new["corrupted/accuracy"] == pytest.approx(np.mean([new[name] for name in each]))
    shares = {f"train/accuracy_{name}" for name in ("flipped", "recovered", "untouched")}
    assert set(flipped.data.metrics) == set(without.data.metrics) | shares | {"data/flipped"}


@pytest.mark.slow
def test_serial_parallel_and_alone_give_the_same_bits(sweep, tmp_path, run_command):
    """The sweep ran in parallel; here are the same runs in one process, and one of them alone."""
    grid = ["-m", "loss=mse,ce", "seed=0,1", *SMALL, "hydra/launcher=basic"]
    serial = run_command(tmp_path, *grid, "experiment=serial")
    alone = run_command(tmp_path, "loss=mse", "seed=1", *SMALL, "experiment=alone")
    assert serial.returncode == 0, serial.stderr
    assert alone.returncode == 0, alone.stderr

    def numbers(trained):
        return {run.data.tags["identity"]: lasting(run) for run in trained}

    parallel = numbers(runs(sweep[0]))
    assert numbers(runs(tmp_path, experiment="serial")) == parallel
    for identity, values in numbers(runs(tmp_path, experiment="alone")).items():
        assert values == parallel[identity]


@pytest.mark.slow
def test_divergence_is_an_outcome_and_the_sweep_goes_on(tmp_path, run_command):
    words = ["-m", "loss=mse,ce", "data=digits", "model=mlp", "epochs=3", "lr=100000"]
    done = run_command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    ce, mse = runs(tmp_path)
    assert (mse.info.status, mse.data.tags["outcome"]) == ("FINISHED", "diverged")
    assert "became" in mse.data.tags["diverged"] or "not finite" in mse.data.tags["diverged"]
    assert not any(name.startswith("test/") for name in mse.data.metrics)
    assert ce.info.status == "FINISHED"
    assert all(np.isfinite(value) for run in (ce, mse) for value in run.data.metrics.values())
    assert "diverged" in done.stdout


@pytest.mark.slow
def test_a_loss_that_is_infinite_on_the_test_images_alone_is_divergence(run_command, tmp_path):
    option = tmp_path / "options" / "loss" / "late.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: late_loss.late\n_partial_: true\n")
    (tmp_path / "late_loss.py").write_text(
        "from experiments.losses import ce\n\n\n"
        "def late(logits, labels):\n"
        "    rows = len(labels)  # 200 of validation, 360 of test\n"
        "    return ce(logits, labels) * (float('inf') if rows == 360 else 1.0)\n"
    )
    small = ["data=digits", "model=softmax", "epochs=1", "lr=0.1", "data.validation_size=200"]
    done = run_command(tmp_path, "--config-dir", "options", "loss=late", *small, PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "DIVERGED: the loss on the test set is not finite after epoch 1" in said
    (late,) = runs(tmp_path)
    assert (late.info.status, late.data.tags["outcome"]) == ("FINISHED", "diverged")
    assert "test/accuracy" not in late.data.metrics and late.data.metrics["val/accuracy"] > 0


@pytest.mark.slow
def test_no_epochs(tmp_path, run_command):
    words = ["loss=mse", "data=digits", "model=softmax", "epochs=0", "tracking.log_model=false"]
    done = run_command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert "test/accuracy" in run.data.metrics
    assert "train/loss" not in run.data.metrics
    artifacts = client(tmp_path).list_artifacts(run.info.run_id)
    assert "model" not in {artifact.path for artifact in artifacts}


@pytest.mark.slow
def test_a_crashed_job_is_failed_with_its_traceback_and_the_others_run(tmp_path, run_command):
    (tmp_path / "mine.py").write_text(
        "from experiments.losses import ce\n"
        "def breaks(logits, labels):\n"
        "    if len(labels) == 360 and logits.abs().sum() > 0:  # in the check, they are 0\n"
        "        raise RuntimeError('broken on purpose')\n"
        "    return ce(logits, labels)\n"
    )
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "breaks.yaml").write_text("_target_: mine.breaks\n_partial_: true\n")
    words = ["--config-dir", ".", "-m", "loss=breaks,ce", "data=digits", "model=softmax"]
    done = run_command(tmp_path, *words, "epochs=1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    broken, ce = runs(tmp_path)
    assert (broken.info.status, broken.data.tags["outcome"]) == ("FAILED", "failed")
    assert (ce.info.status, ce.data.tags["outcome"]) == ("FINISHED", "ok")
    trace = client(tmp_path).download_artifacts(broken.info.run_id, "traceback.txt", str(tmp_path))
    assert "RuntimeError: broken on purpose" in Path(trace).read_text()
    assert "1 of 2 runs failed" in done.stderr
    assert "RuntimeError: broken on purpose" in done.stderr
    assert runs(tmp_path, "sweep")[0].info.status == "FAILED"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--info", "config"], ["--hydra-help"]]
)
def test_what_hydra_offers(tmp_path, run_command, arguments):
    done = run_command(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mlflow.db").exists()
    if arguments == ["--help"]:
        programs = ["python experiments/run.py -m loss=mse,ce", "mlflow ui", "generate report"]
        for words in ("Which loss function", *programs, *LOSS_OPTIONS):
            assert words in done.stdout


def test_tab_completion_offers_the_options(tmp_path, run_command):
    typed = {"COMP_LINE": "python run.py loss=ce_", "COMP_POINT": "21"}
    done = run_command(tmp_path, "-sc", "query=bash", **typed)
    assert done.returncode == 0, done.stderr
    assert "loss=ce_double_softmax" in done.stdout
