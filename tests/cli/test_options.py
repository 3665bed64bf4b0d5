"""A user's own options and presets, through the real command.

What works, and how what does not is refused.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from helpers.commands import ROOT
from helpers.marks import first, with_slow
from helpers.stores import runs

SMALL = ["data=digits", "model=softmax", "epochs=1", "tracking.log_model=false"]
FOCAL = "_target_: experiments.losses.focal\n_partial_: true\ngamma: 3\n"


@pytest.fixture
def options(tmp_path):
    """`options(name, text)` writes options/NAME.yaml; the directory of the command."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "options" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path

    return write


def plan(run_command, directory, *words):
    done = run_command(directory, "--config-dir", "options", *words, *SMALL, "plan=true")
    assert "Traceback" not in done.stderr
    return done


OPTIONS = {
    "inherits": "defaults: [focal, _self_]\ngamma: 3\n",
    "inherits_all": "defaults: [focal, _self_]\n",
    "quoted": '"_target_": experiments.losses.focal\n"_partial_": true\n"gamma": 3\n',
    "flow": "{_target_: experiments.losses.focal, _partial_: true, gamma: 3}\n",
    "bom": "\ufeff" + FOCAL,
    "refers": FOCAL.replace("gamma: 3", "gamma: ${lr}"),
    "exponent": FOCAL.replace("gamma: 3", "gamma: 1e-3"),
    "anchor": "# @package loss\n---\n" + FOCAL.replace("true", "&t true"),
    "package": "# @package _global_\nloss:\n" + textwrap.indent(FOCAL, "  "),
}


QUICK = ("inherits", "package")  # of the options, those that the fast suite tries


def test_whatever_yaml_hydra_accepts_works(options, run_command):
    for name, text in OPTIONS.items():
        directory = options(f"loss/{name}", text)
    grid = f"loss={','.join(OPTIONS)},focal"
    done = plan(run_command, directory, "-m", grid, "loss.gamma=4")
    assert done.returncode == 0, done.stderr
    assert "gamma" not in done.stderr
    assert "10 runs: 10 missing" in done.stdout


@pytest.mark.parametrize("name", with_slow(QUICK, sorted(OPTIONS.keys() - {*QUICK})))
def test_a_value_that_such_an_option_does_not_have_is_refused(options, run_command, name):
    directory = options(f"loss/{name}", OPTIONS[name])
    wrong = plan(run_command, directory, f"loss={name}", "loss.gama=4")
    assert wrong.returncode != 0
    meant = f"loss={name} has no value of this name; did you mean loss.gamma? {name} has gamma"
    assert f"loss.gama: {meant}" in wrong.stderr


def test_an_option_in_a_folder_works(options, run_command):
    directory = options("loss/mine/steep", FOCAL)
    done = plan(run_command, directory, "loss=mine/steep", "loss.gamma=4")
    assert done.returncode == 0, done.stderr
    assert "mine/steep" in done.stdout


@pytest.mark.parametrize(
    "name",
    with_slow(
        ["loss/focal"],
        ["model/mlp", "data/digits", "optimizer/sgd", "scheduler/cosine", "tracking/local",
         "preset/tutorial", "hydra/launcher/processes", "config"],
    ),
)  # fmt: skip
def test_an_option_with_the_name_of_a_shipped_one_is_refused(options, run_command, name):
    shipped = ROOT / "conf" / f"{name}.yaml"
    directory = options(name, shipped.read_text() if shipped.exists() else "x: 1\n")
    done = plan(run_command, directory)
    assert done.returncode != 0
    group, _, option = name.rpartition("/")
    assert f"{name}: expected a name of its own for {directory}/options/{name}.yaml" in done.stderr
    assert f"rename the file, e.g. to {group and group + '/'}my_{option}.yaml" in done.stderr
    assert not (directory / "mlflow.db").exists()


@pytest.mark.parametrize(
    "how", with_slow(["two directories"], ["command line", "multirun", "own config"])
)
def test_it_is_refused_wherever_the_directory_is_named(options, run_command, how):
    directory = options("loss/focal", FOCAL)
    searchpath = f"hydra.searchpath=[file://{directory}/options]"
    words = [searchpath]
    if how == "multirun":
        words = ["-m", searchpath, "loss=focal,ce"]
    if how == "own config":
        (directory / "own").mkdir()
        (directory / "own" / "mine.yaml").write_text(
            f"defaults: [config, _self_]\nhydra: {{searchpath: ['file://{directory}/options']}}\n"
        )
        words = ["--config-dir", "own", "--config-name", "mine"]
    if how == "two directories":
        (directory / "options/loss/focal.yaml").rename(directory / "options/loss/mine.yaml")
        (directory / "more" / "loss").mkdir(parents=True)
        (directory / "more" / "loss" / "mine.yaml").write_text(FOCAL)
        words = ["--config-dir", "more", searchpath, "loss=mine"]
    done = run_command(directory, *words, *SMALL, "plan=true")
    assert done.returncode != 0
    name = "mine" if how == "two directories" else "focal"
    assert f"loss/{name}: expected a name of its own for {directory}/options/loss" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_projects_own_directory_is_no_other(tmp_path, run_command):
    done = run_command(tmp_path, "--config-dir", str(ROOT / "conf"), *SMALL, "plan=true")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gamma: 1\ngamma: 2\n", "duplicate key gamma"),
        ("gamma: 1\n beta: 2\n", "mapping values are not allowed here"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_by_name(options, run_command, text, words):
    directory = options("loss/mine", text)
    done = plan(run_command, directory, "loss=mine")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if "expected" in line]
    assert words in line
    assert f"{directory}/options/loss/mine.yaml" in line


MODULE = """
    import paddle
    from experiments.losses import ce

    def weighted(logits, labels, *, weights, table=None):
        assert type(weights) is list, type(weights)
        assert all(type(entry) in (int, list) for entry in weights), weights
        assert table is None or type(table) is dict, type(table)
        assert table is None or type(table["b"]) is list, table
        return ce(logits, labels) * weights[0]
"""


@pytest.mark.slow
def test_lists_and_mappings_are_plain_python_and_can_be_typed_again(options, run_command):
    option = "_target_: mine.weighted\n_partial_: true\nweights: [1, [2, 3]]\ntable: null\n"
    directory = options("loss/mine", option)
    (directory / "mine.py").write_text(textwrap.dedent(MODULE))
    words = ["--config-dir", "options", "loss=mine", *SMALL]
    table = "loss.table={a:1,b:[x,null,true,0.5]}"
    first = run_command(directory, *words, table, PYTHONPATH=".")
    assert first.returncode == 0, first.stderr
    (run,) = runs(directory)
    typed = [f"{name}={run.data.params[name]}" for name in ("loss.weights", "loss.table")]
    again = run_command(directory, *words, *typed, PYTHONPATH=".")
    assert again.returncode == 0, again.stderr
    assert "finished before as run" in again.stdout
    assert len(runs(directory)) == 1


def preset(options, body: str) -> Path:
    indented = textwrap.indent(textwrap.dedent(body), "      ")
    head = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
    return options("preset/mine", f"{head}{indented}\n")


@pytest.mark.parametrize(
    ("body", "runs"),
    first(
        1,
        [
            ("loss: [ce, mse]\nseed: range(3)", 6),
            ("lr: [0.1, 0.2]", 2),
            ("lr: 0.1,0.2", 2),
            ("lr: 0.1", 1),
            ("loss: focal\nloss.gamma: [1, 2e-3, 3]", 3),
            ("data.train_size: [null, 100]", 2),
            ("loss: glob(c*)", 6),
        ],
    ),
)
def test_a_list_in_a_preset_means_its_choices(options, run_command, body, runs):
    done = plan(run_command, preset(options, body), "preset=mine")
    assert done.returncode == 0, done.stderr
    assert f"{runs} run" in done.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    first(
        2,
        [
            ("lr: {a: 1}", "lr: expected a number, got '{'a': 1}'"),
            ("lr: []", "lr: expected a number, got ''"),
            ("lr: null", "lr: expected a value, got null"),
            ("lr: [0.1, fast]", "lr: expected a number, got 'fast'"),
            ("los: ce", "los: there is no such value; did you mean loss?"),
            ("loss: [ce, nope]", "loss: there is no option 'nope'"),
            (
                "loss: focal\nloss.gama: 1",
                "loss.gama: loss=focal has no value of this name; did you mean loss.gamma?",
            ),
            (
                "lr: 0.1,,",
                "hydra.sweeper.params.lr: expected choices such as `0.1,0.2` or `[0.1, 0.2]`, got",
            ),
            ("- lr", "hydra.sweeper.params: expected a mapping such as `lr: 0.1,0.2`, got ['lr']"),
        ],
    ),
)
def test_a_mistake_in_a_preset_is_one_sentence(options, run_command, body, words):
    done = plan(run_command, preset(options, body), "preset=mine")
    assert done.returncode != 0
    assert words in done.stderr
    assert not (options("x", "") / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    first(
        1,
        [
            ("epoch: 3\n", "epoch: there is no such value; did you mean epochs?"),
            ("hydra: {sweeper: {parms: {lr: 1}}}\n", "unexpected keyword argument 'parms'"),
            ("defaults: [override /loss: nope]\n", "loss: there is no option 'nope'"),
            (
                "hydra: {searchpath: [x]}\n",
                "hydra.searchpath is only supported from the primary config",
            ),
        ],
    ),
)
def test_an_unknown_name_in_a_preset_is_one_sentence(options, run_command, text, words):
    directory = options("preset/mine", f"# @package _global_\n{text}")
    done = plan(run_command, directory, "-m", "preset=mine")
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.slow
def test_a_loss_of_a_library_states_its_head_in_its_option(options, run_command):
    target = "_target_: paddle.nn.functional.cross_entropy\n_partial_: true\n"
    directory = options("loss/theirs", target + "head: logits\nreduction: none\n")
    done = run_command(directory, "--config-dir", "options", "-m", "loss=theirs,ce", *SMALL)
    assert done.returncode == 0, done.stderr
    by_loss = {run.data.params["loss"]: run.data.params for run in runs(directory)}
    assert by_loss["theirs"]["loss.head"] == "logits"
    assert "loss.head" not in by_loss["ce"]
    accuracies = [line.split()[4:6] for line in done.stdout.splitlines() if "ok" in line.split()]
    assert len(accuracies) == 2
    assert accuracies[0] == accuracies[1]  # the same loss, but for rounding


@pytest.mark.parametrize(
    ("option", "words"),
    first(
        2,
        [
            (
                "_target_: paddle.nn.functional.cross_entropy\nreduction: none",
                "expected 'logits' (one for each class), 'cosines' (the same) or 'prediction' "
                "(1 number), got 'input'; where a function of another library names it otherwise, "
                "put e.g. `head: logits` into the option",
            ),
            (
                "_target_: paddle.nn.functional.cross_entropy\nhead: logits",
                "one value per example from the loss, [100] for a batch of 100, got []; return the "
                "values without their mean, a function of Paddle with `reduction: none`",
            ),
            (
                "_target_: paddle.nn.CrossEntropyLoss\nhead: logits",
                "got []; return the values without their mean",
            ),
            (
                "_target_: mine.column",
                ", 1]; sum what belongs to one example, in a function of your own",
            ),
            (
                "_target_: mine.fails",
                "loss=mine: loss.k: expected 1, got 2 (ValueError in mine.py, line 4)",
            ),
            ("_target_: experiments.loses.ce", "cannot load experiments.loses.ce"),
            ("_target_: experiments.losses.ce\n_partial_: false", "expected `_partial_: true`"),
        ],
    ),
)
def test_a_loss_that_cannot_be_used_is_refused_with_advice(options, run_command, option, words):
    default = "" if "_partial_" in option else "_partial_: true\n"
    directory = options("loss/mine", f"{default}{option}\n")
    (directory / "mine.py").write_text(
        "def column(logits, labels):\n    return logits[:, :1]\n"
        "def fails(logits, labels, *, k=2):\n    raise ValueError(f'k: expected 1, got {k}')\n"
    )
    with (directory / "options/loss/mine.yaml").open("a") as file:
        file.write("k: 2\n" if "fails" in option else "")
    words_of = ["--config-dir", "options", "loss=mine", *SMALL]
    done = run_command(directory, *words_of, PYTHONPATH=".")
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (directory / "mlflow.db").exists()
