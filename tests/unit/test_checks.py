"""Checks of networks, labels and grids, and where their warnings are shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers.checked_losses import broadcast_over_rows, names
from helpers.commands import SMALL
from helpers.pages import make_page, text
from helpers.stores import runs as stored_runs
from helpers.synthetic_runs import runs as synthetic
from mlflow.entities import Run, RunData, RunInfo, RunTag

from experiments import checks, data, losses, models, schedulers, training, tuning
from experiments.checks import TrainingWarning
from experiments.heads import logits_head, number_head
from reports import analysis
from reports.page import caveats
from reports.question import Question
from reports.runs import load
from reports.runs.store import _from_entity

LOGITS, NUMBER = logits_head(10), number_head(10)


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.digits(seed=0, validation_size=360)


def learned(
    splits: data.Splits,
    loss: Callable[..., paddle.Tensor],
    model: Callable[..., paddle.nn.Layer],
    lr: float,
) -> list[list[str]]:
    """What is found after each of three epochs, and before them."""
    with training.fresh(0):
        learner = training.build(
            model, loss, paddle.optimizer.SGD, schedulers.constant, lr=lr, steps=60
        )
        records = list(training.train(learner, splits, epochs=3, batch_size=100, seed=0))
    labels = splits.validation.labels
    by_epoch = [
        checks.of_outputs(learner.head, each.validation_outputs, labels, each.epoch)
        for each in records
    ]
    return [names(each) for each in by_epoch]


@pytest.mark.parametrize("loss", [losses.ce, losses.mse])
def test_a_network_that_learns_makes_no_mistake(splits, loss):
    assert learned(splits, loss, models.mlp, 0.01) == [[], [], [], []]


def test_a_rate_that_kills_the_network_is_seen_after_an_epoch(splits):
    first, *later = learned(splits, losses.mse, models.convnet, 0.03)
    assert first == []
    assert all("dead-network" in warning_names for warning_names in later)


def test_a_regression_that_broadcasts_ends_at_the_mean_of_the_labels(splits):
    assert learned(splits, broadcast_over_rows, models.softmax, 0.003)[-1] == ["predicts-the-mean"]


LABELS = np.arange(1000) % 10


def test_outputs_that_predict_the_mean_are_told_with_both_numbers():
    rng = np.random.default_rng(0)
    # half a digit off, and hardly moving
    mean = 4 + 0.1 * (-1.0) ** (np.arange(1000) // 10)[:, None]
    (warning,) = checks.of_outputs(NUMBER, mean, LABELS, 1)
    assert warning.name == "predicts-the-mean"
    assert (
        "about the mean of the labels (4.00) for every input: its squared error is 8.51, their "
        "variance 8.25." in warning.text
    )
    right = LABELS[:, None] + rng.normal(size=(1000, 1))
    chance = rng.normal(4.5, 2.9, size=(1000, 1))  # no better, and for another reason
    # an untrained network may predict the mean
    for outputs, epoch in ((right, 1), (chance, 1), (mean, 0)):
        assert checks.of_outputs(NUMBER, outputs, LABELS, epoch) == []


def test_outputs_of_a_dead_network_of_one_class_and_of_a_softmax():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1000, 10)).astype(np.float32)
    favourite = logits + 100 * np.eye(10, dtype=np.float32)[7]
    dead = np.tile(logits[:1], (1000, 1))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    def warning_names(outputs, epoch=1):
        return names(checks.of_outputs(LOGITS, outputs, LABELS, epoch))

    assert warning_names(logits) == warning_names(dead, epoch=0) == []
    assert warning_names(dead) == warning_names(np.zeros_like(logits)) == ["dead-network"]
    (warning,) = checks.of_outputs(LOGITS, dead, LABELS, 1)
    assert f"it predicts {dead[0].argmax()} for all" in warning.text
    assert warning_names(favourite - favourite.mean()) == ["one-class"]
    assert warning_names(shares, epoch=0) == ["softmax-in-the-network"]
    # the best constant answer of the square loss: the shares of the classes
    constant = np.tile(shares[:1], (1000, 1))
    constant[:, :2] += np.outer((-1.0) ** np.arange(1000), [1e-4, -1e-4])
    assert constant.min() >= 0 and np.abs(constant.sum(axis=1) - 1).max() < 1e-4
    assert warning_names(constant) == ["dead-network"] and warning_names(constant, epoch=0) == []


def test_of_outputs_that_say_nothing_nothing_is_said():
    few, zeros = np.zeros((29, 10), dtype=np.float32), np.zeros((99, 10))
    assert checks.of_outputs(LOGITS, few, np.arange(29) % 10, 1) == []
    assert checks.of_outputs(LOGITS, zeros, np.full(99, 3), 1) == []  # of one class indeed
    assert checks.of_outputs(LOGITS, zeros + np.nan, np.arange(99) % 10, 1) == []


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (np.array([1.0, 2.5]), r"float64 [2], expected int64 [n]"),
        (np.array([[1], [2]]), r"int64 [2, 1], expected int64 [n]"),
        (np.array([1, 10]), "1 to 10, expected classes 0 to 9"),
        (np.array([-1, 3]), "-1 to 3, expected classes 0 to 9"),
    ],
)
def test_labels_of_the_wrong_type(labels, got):
    (warning,) = checks.of_labels(labels)
    assert (warning.name, got in warning.text) == ("label-type", True)


def test_labels_of_the_right_type(splits):
    assert checks.of_labels(splits.train.labels) == []
    assert checks.of_labels(splits.train.labels[:0]) == []


def test_a_best_rate_on_the_edge_of_the_grid():
    rates = {0.01: [0.8, 0.9], 0.03: [0.9, 0.9], 0.1: [0.95, 0.95]}
    assert tuning.at_the_edge("loss=ce", rates) == (
        "rate-edge: the best learning rate of loss=ce is 0.1, the highest of the 3 tried: a better "
        "one may lie beyond. Add lr=0.3 for every loss"
    )
    diverged = tuning.Diverged(0.1)
    lowest = {0.01: [0.8], 0.03: [diverged]}
    assert "0.01, the lowest of the 2 tried" in tuning.at_the_edge("loss=ce", lowest)
    one_diverged = rates | {0.1: [0.99, diverged]}
    for rates in (one_diverged, {0.1: [0.9]}, {0.1: [diverged], 0.3: [diverged]}):
        assert tuning.at_the_edge("loss=ce", rates) == ""


def test_the_tags_of_a_run():
    a, b = TrainingWarning("a", "first"), TrainingWarning("b", "second")
    assert checks.tags([a, b, a]) == {
        "warnings": "a,b",
        "warnings.a": "first",
        "warnings.b": "second",
    }
    assert checks.tags([]) == {}


def test_a_server_s_runs_have_them_too():
    tags = {"kind": "run", "warnings": "a", "warnings.a": "first", "other": "x"}
    info = RunInfo("1", "1", "", "FINISHED", 1, 2, "active")
    run = _from_entity(Run(info, RunData(tags=[RunTag(*each) for each in tags.items()])))
    assert run.tags == {"kind": "run", "warnings": "a", "warnings.a": "first"}


def test_the_page_lists_them_by_loss_and_rate_and_counts_the_runs():
    summary, curves = synthetic(seeds=range(2), advantage=0)
    at = (summary["loss"] == "mse") & (summary["lr"] > 0.01)
    summary.loc[at, ["warnings", "warning_texts"]] = ["dead-network,one", "it is dead\nis it one?"]
    (section,), _, html, markdown = make_page(summary, curves)
    dead = ("dead-network", "mse at 0.03, 0.1 (4 of 6 runs): it is dead.", True)
    one = ("one", "mse at 0.03, 0.1 (4 of 6 runs): is it one?", True)
    assert [fact[:3] for fact in caveats.training_checks(section)] == [dead, one]
    for page in (text(html), markdown.replace("\\", "")):
        assert "Warnings of the training checks:" in page and dead[1] in page
    summary.loc[at & (summary["seed"] == 1), "warning_texts"] = "it is very dead\nis it one?"
    (section,), *_ = make_page(summary, curves)
    several = "mse at 0.03, 0.1 (4 of 6 runs): for example, in one run: it is dead."
    assert caveats.training_checks(section)[0][:2] == ("dead-network", several)


@pytest.mark.slow
def test_the_page_says_nothing_where_there_is_none_and_names_edges():
    (section,), _, html, _ = make_page(*synthetic(seeds=range(2), advantage=0))
    assert caveats.training_checks(section) == []
    assert "Warnings of the training checks" not in html
    (section,), _, _, _ = make_page(*synthetic(rates=(0.03, 0.1), seeds=range(2)))
    (words,) = [f.text for f in caveats.facts(section) if f.term == "Edges" and f.alarm]
    assert "ce at the highest rate (0.1), focal gamma=3 at the highest rate (0.1)" in words


MINE = """
import paddle.nn.functional as F


def softmaxed(logits, labels):
    return F.cross_entropy(F.softmax(logits, axis=1), labels, reduction="none")
"""


@pytest.mark.slow
def test_the_command_says_so_once_and_the_run_and_the_report_have_it(tmp_path: Path, run_command):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "softmaxed.yaml").write_text("_target_: mine.softmaxed\n_partial_: true\n")
    done: subprocess.CompletedProcess[str] = run_command(
        tmp_path, "--config-dir", ".", "-m", "loss=softmaxed,ce", "lr=0.03,3", *SMALL[:3],
        "tracking.log_model=false", PYTHONPATH=":".join([str(tmp_path), *sys.path[1:]]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("softmax is applied twice") == 1
    assert "loss=softmaxed: softmax-twice: softmax is applied twice" in done.stdout
    edge = "rate-edge: the best learning rate of loss=ce is 0.03, the lowest of the 2 tried"
    assert edge in done.stdout and "Add lr=0.01 for every loss\n" in done.stdout
    assert f"loss=ce lr=3 epochs=2 seed=0 {' '.join(SMALL[:2])} | dead-network: " in done.stdout

    tags = {
        (run.data.params["loss"], run.data.params["lr"]): {
            key: value for key, value in run.data.tags.items() if key.startswith("warnings")
        }
        for run in stored_runs(tmp_path)
    }
    assert tags["ce", "0.03"] == {}
    assert tags["ce", "3.0"]["warnings"] == "dead-network"
    assert tags["softmaxed", "0.03"]["warnings"] == "softmax-twice"
    assert "stays at 1.4612" in tags["softmaxed", "0.03"]["warnings.softmax-twice"]

    runs = load(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (section,) = analysis.sections(runs.summary, runs.curves, Question(), lambda run_id: None)
    texts = {term: words for term, words, *_ in caveats.training_checks(section)}
    assert {"softmax-twice", "dead-network"} <= set(texts)
    assert texts["softmax-twice"].startswith(
        "softmaxed at 0.03, 3 (2 of 2 runs): softmax is applied twice"
    )
    assert texts["dead-network"].startswith("ce at 3 (1 of 2 runs): the network is dead")
