"""What a user gets wrong.

A clear message, exit code not 0, nothing trained, nothing in the store.
"""

from __future__ import annotations

import http.server
import importlib.util
import subprocess
import threading
import time

import pytest
from helpers.commands import OF_A_STORE, RUN
from helpers.marks import with_slow
from helpers.stores import execute

LIGHT = [  # answered without Paddle or MLflow
    (
        [
            *("loss=focal", "loss.gamma=nan", "epochs=-1", "lr=0", "batch_size=0", "seed=-1"),
            *("threads=0", "device=tpu", "experiment=", "tracking.log_model=maybe"),
            *("tracking.patience=-1", "reuse=any", "force=true", "question.metric=test/nl"),
            *("question.margin=-1", "question.seeds=x"),
        ],
        [  # all that is wrong, at once
            "loss.gamma: expected a finite number, got nan",
            "epochs: expected a whole number at least 0, got -1",
            "lr: expected a finite number above 0, got 0.0",
            "batch_size: expected a whole number at least 1, got 0",
            "seed: expected a whole number at least 0 and below 4294967296, got -1",
            "threads: expected a whole number at least 1, got 0",
            "device: expected one of auto, cpu, gpu, got 'tpu'",
            "experiment: expected a name",
            "tracking.log_model: expected one of true, false, got 'maybe'",
            "tracking.patience: expected a finite number at least 0, got -1",
            "reuse=any takes finished runs and force=true runs them",
            "question.metric: expected one of those that `generate report --help` lists",
            "got 'test/nl'; did you mean test/nll?",
            "question.margin: expected a finite number at least 0, got -1.0",
            "question.seeds: expected whole numbers of at least 0, such as range(20) or [0,1,2]",
        ],
    ),
    (
        ["-m", "lr=0,-1,nan,inf,0.003", "threads=9999"],
        [
            *("threads: expected 1 to ", "Nothing was trained"),
            *(
                f"lr: expected a finite number above 0, got {lr}"
                for lr in (0.0, -1.0, "nan", "inf")
            ),
        ],
    ),
    (
        ["-m", "seed=0,1", "question.reference=cee", "question.epochs=3", "question.seeds=1,2"],
        [
            "question.reference: expected one of agce, arcface, asymmetric",
            "question.epochs: expected epochs of the sweep, one of 10, got 3",
            "question.seeds: expected all seeds of the sweep, and any others; without 0, got '1,2'",
        ],
    ),
    (
        ["device=gpu", "+loss.head=score"],
        [
            "device=gpu: expected a GPU and a Paddle for GPUs, got none; use device=cpu or ",
            "loss=ce: loss.head: expected one of logits, cosines, prediction, got 'score'",
        ],
    ),
    (["loss=ce", "loss=mse"], ["loss: expected one value, got ce and mse"]),
    (["loss=cee"], ["loss: there is no option 'cee'; did you mean ce?"]),
    (["los=ce"], ["los: there is no such value; did you mean loss? There are loss, model, data"]),
    (
        ["-m", "loss=ce,focal", "tune.focal.gama=1,2,3"],  # said before the rates that are lacking
        ["loss.gama: loss=focal has no value of this name; did you mean loss.gamma?"],
    ),
    (
        ["-m", "loss=ce,focal", "loss.gamma=3"],
        ["loss.gamma: loss=ce has no value of this name; ce has none", "Nothing was trained"],
    ),
    (
        ["loss=mse,ce", "tune.mse.scale=1,2"],
        ["loss=mse,ce: several values are several runs, which need -m: python ", " -m loss=mse,ce"],
    ),
    (["-m", "seed=range(0)"], ["expected at least one run, got none: a range or a glob"]),
    (["lr=fast"], ["lr: expected a number, got 'fast'"]),
    (
        ["loss._target_=my_own.loss"],
        ["loss=ce: cannot load my_own.loss", "export PYTHONPATH=ITS_DIRECTORY"],
    ),
    (["loss=[ce,mse]"], ["loss: expected the name of one option", "-m, loss=A,B means several"]),
    (
        ["data.label_noise=1.5"],
        ["data=mnist: data.label_noise: expected a number from 0 to 1, got 1.5"],
    ),
]
MORE_LIGHT = [
    (
        ["-m", "epoch=1,2"],
        ["epoch: there is no such value; did you mean epochs?", "batch_size, seed"],
    ),
    (["lr=null"], ["lr: expected a value, got null"]),
    (["corruptions=maybe"], ["corruptions: expected true or false, got 'maybe'"]),
    (["~lr"], ["lr: expected a value, got none"]),
    (
        ["loss=focal", "loss.gama=3"],
        ["loss.gama: loss=focal has no value of this name", "mean loss.gamma? focal has gamma"],
    ),
    (["loss=nope"], ["loss: there is no option 'nope'", "ce", "mse"]),
    (
        ["optimizer.momentum=0.9"],
        [
            "optimizer.momentum: optimizer=sgd has no value of this name",
            "sgd has weight_decay, clip_norm",
        ],
    ),
    (
        ["preset=noise_sgd", "seed=0", "lr=0.1", "optimizer.clip=3"],
        [
            "optimizer.clip: optimizer=momentum has no value of this name",
            "did you mean optimizer.clip_norm? momentum has momentum, nesterov, weight_decay",
        ],
    ),
    (["hydra/sweeper=tuning"], ["hydra/sweeper: this one takes a grid, got a single run; add -m"]),
    (
        ["-m", "question.seeds=range(1000000000)"],
        ["question.seeds: expected at most 5,000 seeds, fewer where they are not contiguous"],
    ),
    (
        ["-m", "question.metric=test/nll,test/ece"],
        ["question.metric: expected one value for the whole sweep, got test/nll,test/ece"],
    ),
    (["-m", "question.metrik=x"], ["question.metrik: there is no such value; did you mean metric"]),
    (
        ["question.metric=test/nll"],
        ["question: expected a sweep, which keeps it, got a single run"],
    ),
    (["preset=nope"], ["preset: there is no option 'nope'"]),
    (["epochs=1.5"], ["epochs: expected a whole number, got '1.5'"]),
    (["loss._partial_=false"], ["loss=ce: expected `_partial_: true` in the option"]),
    (["tracking.urii=x"], ["tracking.urii: there is no such value; did you mean uri?"]),
    (["hydra.sweeper.parms=x"], ["hydra.sweeper.parms: there is no such value; did you mean par"]),
    (["~loss"], ["loss: expected a value, got none"]),
    (
        ["loss=null"],
        ["loss: expected the name of one option, got null. There are agce, arcface, asymmetric"],
    ),
    (["loss.a.b=1"], ["loss.a: loss=ce has no value of this name; ce has none"]),
    (["model.init_scale=${nope}"], ["model.init_scale: Interpolation key 'nope' not found"]),
    (["model.init_scale=???"], ["model.init_scale: expected a value, got none; set it with model"]),
    (["-m", "lr=0.003,fast"], ["lr: expected a number, got 'fast'"]),
    (["+epoch=3"], ["epoch: there is no such value; did you mean epochs?"]),
    (
        ["data.noise_kind=odd"],
        ["data=mnist: data.noise_kind: expected one of symmetric, asymmetric, uniform, got 'odd'"],
    ),
    (
        ["data.train_size=0"],
        ["data=mnist: data.train_size: expected a whole number from 1 to 50,000"],
    ),
    (["-m", "preset=tutorial,losses"], ["preset: expected one preset at a time"]),
    (["-m", "loss=ce,nope"], ["loss: there is no option 'nope'"]),
    (["-m", "loss=ce", "epochs=1,2.5"], ["epochs: expected a whole number, got '2.5'"]),
]


if importlib.util.find_spec("submitit") is None:  # as it is without the extra
    MORE_LIGHT.append(
        (["-m", "hydra/launcher=slurm"], ['submitit is not installed; pip install -e ".[slurm]"'])
    )


def imported(stderr: str) -> set[str]:
    """The modules that a command imported, its processes included: PYTHONPROFILEIMPORTTIME=1."""
    lines = (line for line in stderr.splitlines() if line.startswith("import time:"))
    return {line.split("|")[-1].strip() for line in lines}


@pytest.mark.parametrize(
    ("arguments", "messages"), with_slow(LIGHT, MORE_LIGHT), ids=lambda value: " ".join(value)[:80]
)
def test_wrong_values_are_answered_before_anything_heavy_loads(
    tmp_path, run_command, arguments, messages
):
    done = run_command(tmp_path, *arguments, loaded="light", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode != 0
    for message in messages:
        assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr  # no refusal of Hydra's own
    loaded = imported(done.stderr)
    assert "hydra" in loaded
    assert not loaded & {"paddle", "mlflow", "pandas", "sklearn", "scipy", "matplotlib"}
    assert not (tmp_path / "mlflow.db").exists()


OPTIONS = [  # answered by the option's own function, before training
    (["+loss.gama=3"], ["loss=ce", "argument 'gama'", "its own arguments are none, got gama"]),
    (
        ["-m", "loss=focal", "loss.gamma=-1,null,[1,2],'0.1'"],
        [
            "loss=focal: loss.gamma: expected a finite number at least 0, got -1",
            "loss.gamma: expected a number, got None",
            "loss.gamma: expected a number, got [1, 2]",
            "loss.gamma: expected a number, got '0.1'",
        ],
    ),
    (["data=mnist", "data.root=nowhere"], ["data=mnist", "nowhere"]),
]
OF_MLP = "hidden, dropout, init_scale"
MORE_OPTIONS = [
    (
        ["-m", "loss=ce,mse", "optimizer=adam", "optimizer.beta1=0.9,2"],
        [
            "optimizer=adam: optimizer.beta1: expected a finite number at least 0",
            "below 1, got 2\nNo",
        ],
    ),
    (["-m", "data.label_noise=0,2"], ["data=digits", "label_noise", "2"]),
    (
        ["+model.widht=3", "model=mlp"],
        ["model=mlp", "'widht'", f"its own arguments are {OF_MLP}, got {OF_MLP}, widht"],
    ),
    (
        ["-m", "loss=gce", "loss.q=0.7,2"],
        ["loss.q: expected a finite number above 0 and at most 1, got 2"],
    ),
    (["model.init_scale=-1"], ["model.init_scale: expected a finite number above 0, got -1"]),
    (
        ["model=mlp", "model.hidden=0"],
        ["model.hidden: expected a whole number at least 1, got 0"],
    ),
    (
        ["-m", "optimizer=adam", "optimizer.weight_decay=-1,abc"],
        [
            "optimizer.weight_decay: expected a finite number at least 0, got -1",
            "weight_decay: expected a number, got 'abc'",
        ],
    ),
    (
        ["optimizer=momentum", "optimizer.nesterov=maybe"],
        ["nesterov: expected true or false, got 'maybe'"],
    ),
    (
        ["scheduler=exponential", "scheduler.end=2"],
        ["end: expected a finite number above 0 and below 1"],
    ),
    (["+loss.head=prediction"], ["loss=ce", "'logits', got `head: prediction`"]),
    (
        ["-m", "loss=ce,mse", "+loss.gamma=-1"],
        ["loss=ce: ", "got an unexpected keyword argument"],
    ),
    (
        ["loss._target_=experiments.losses.nope"],
        ["loss=ce: cannot load experiments.losses.nope: the module experiments.losses has no nope"],
    ),
    (["data.label_noise=-0.1"], ["data=digits", "label_noise", "-0.1"]),
    (["data.train_size=100000"], ["data=digits", "train_size", "100000"]),
]


@pytest.mark.parametrize(
    ("arguments", "messages"), with_slow(OPTIONS, MORE_OPTIONS), ids=lambda value: " ".join(value)
)
def test_wrong_options_are_refused_before_training(tmp_path, run_command, arguments, messages):
    # -m in the middle, too
    given = arguments if "data=mnist" in arguments else ["data=digits", *arguments]
    done = run_command(tmp_path, *given, loaded="paddle", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode != 0
    for message in messages:
        assert message in done.stderr
    assert "Traceback" not in done.stderr and "HYDRA_FULL_ERROR" not in done.stderr
    assert "mlflow" not in imported(done.stderr)  # which takes longer to load than the checks
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_of_another_mlflow_is_refused(tmp_path, run_command, sweep):
    path = tmp_path / "mlflow.db"
    path.write_bytes((sweep[0] / "mlflow.db").read_bytes())
    execute(path, "UPDATE alembic_version SET version_num = 'fffffffffff0'")
    before = path.read_bytes()
    done = run_command(tmp_path, "data=digits", "model=softmax", "epochs=1")
    assert done.returncode != 0
    assert "written by another version of MLflow" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path, run_command):
    (tmp_path / "mlflow.db").write_text("no database, but as long as the header of one" * 10)
    done = run_command(tmp_path, "data=digits", "model=softmax", "epochs=1")
    assert done.returncode != 0
    assert "cannot use the tracking store" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("by", OF_A_STORE)
def test_an_unreachable_server_is_refused_soon(tmp_path, run_command, by):
    uri = "http://127.0.0.1:9"  # the discard port: nobody listens
    words, environment = OF_A_STORE[by](uri)
    start = time.perf_counter()
    done = run_command(tmp_path, "data=digits", "model=softmax", "epochs=1", *words, **environment)
    assert done.returncode != 0
    assert f"cannot use the tracking store {uri}" in done.stderr
    assert "refused" in done.stderr
    assert "epoch 1/1" not in done.stdout
    assert time.perf_counter() - start < 60


def test_a_server_that_is_no_mlflow_is_refused(tmp_path, run_command):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    done = run_command(tmp_path, "data=digits", "model=softmax", "epochs=1", f"tracking.uri={uri}")
    server.shutdown()
    server.server_close()
    assert done.returncode != 0
    assert f"cannot use the tracking store {uri}" in done.stderr


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path):
    """`outputs` that is a file refuses everybody, root included, whom file modes do not stop."""
    (tmp_path / "outputs").write_text("a file where a directory is wanted")
    for arguments in (["data=digits"], ["-m", "data=digits", "loss=mse,ce"]):
        command = [*RUN, *arguments, "model=softmax", "epochs=0"]
        how = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(command, **how)
        assert done.returncode != 0
        assert "cannot write to" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "mlflow.db").exists()
