"""The gallery: weights and values in closed form, losses from anywhere.

Nothing called that is no loss.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from helpers.losses import LOSSES, ON_LOGITS
from helpers.pages import main
from helpers.synthetic_runs import HOSTILE, predictions, runs

from experiments import context
from reports import analysis, generate, making, processes
from reports.figures import gallery as drawings
from reports.figures import palette
from reports.gallery import Gallery, gallery
from reports.page import cross_setting, render
from reports.page import report as page_report
from reports.page.figure import losses_of
from reports.question import Question

pytestmark = pytest.mark.usefixtures("house_style")

A = -math.log(1e-4)
IN_CONTEXT = {option for option in LOSSES if context.needed(LOSSES[option])}
LOGITS = sorted({*ON_LOGITS} - IN_CONTEXT)


def of(*losses: str, config: Mapping[str, Any] | None = None, **params: Any) -> Gallery:
    """The gallery of these losses of the suite, or of what `config` says."""
    rows = [{"run_id": loss, "loss": loss, "loss_option": loss} | params for loss in losses]
    return gallery(pd.DataFrame(rows), lambda run_id: config)


def weights(curves: Gallery, loss: str) -> tuple[np.ndarray, np.ndarray]:
    of_loss = curves.weights[curves.weights["loss"] == loss]
    return of_loss["p"].to_numpy(), of_loss["weight"].to_numpy()


# dL/dz = w(p_y) (p - e)
@pytest.mark.parametrize(
    ("loss", "w"),
    [
        ("ce", lambda p: 1 + 0 * p),
        ("focal", lambda p: (1 - p) ** 2 - 2 * p * (1 - p) * np.log(p)),
        ("poly1", lambda p: 1 + p),
        ("taylor_ce", lambda p: 1 - (1 - p) ** 2),
        ("gce", lambda p: p**0.7),
        ("mae", lambda p: p),
        ("sce", lambda p: 0.1 + A * p),
        ("phuber_ce", lambda p: np.minimum(1, 10 * p)),
    ],
)
def test_weights_in_closed_form(loss: str, w: Callable[[np.ndarray], np.ndarray]) -> None:
    p, weight = weights(of(loss), loss)
    assert p.min() < 0.0011 and p.max() > 0.998 and len(p) > 100
    np.testing.assert_allclose(weight, w(p), rtol=1e-5, atol=1e-9)


def test_values_in_closed_form() -> None:
    shown = of("ce", "crammer_singer", "mse", "huber")
    assert shown.missing == {}
    by_loss = dict(list(shown.margins.groupby("loss")))
    assert set(by_loss) == {"ce", "crammer_singer"}
    margin = by_loss["ce"]["margin"]
    np.testing.assert_allclose(by_loss["ce"]["value"], np.log1p(9 * np.exp(-margin)), rtol=1e-5)
    np.testing.assert_allclose(
        by_loss["crammer_singer"]["value"], np.maximum(0, 1 - margin), rtol=1e-5
    )
    errors = dict(list(shown.errors.groupby("loss")))
    error = errors["mse"]["error"]
    np.testing.assert_allclose(errors["mse"]["value"], error**2, rtol=1e-5, atol=1e-12)
    bent = np.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5)
    np.testing.assert_allclose(errors["huber"]["value"], bent, rtol=1e-5, atol=1e-12)


def test_every_loss_of_the_suite_is_in_it_and_finite() -> None:
    shown = of(*LOGITS, *IN_CONTEXT, "mse", "mae_scalar", "huber")
    assert shown.missing == {}
    target = {"_target_": "experiments.losses.Elr", "_partial_": True}
    assert of("elr", config={"loss": target}).missing == {"elr": "its weight also depends on index"}
    every = {*LOGITS, *IN_CONTEXT}
    assert set(shown.weights["loss"]) == set(shown.margins["loss"]) == every
    for frame in (shown.weights, shown.margins, shown.errors):
        assert np.isfinite(frame.drop(columns=["loss", "when"]).to_numpy(dtype=float)).all()


def test_a_loss_is_drawn_at_both_ends_of_training_and_of_the_classes() -> None:
    shown = of("ce", "ldam", "class_balanced", epochs=5)
    counts = np.geomspace(5000, 50, 10).round()
    w = 1 / (1 - 0.999**counts)
    w *= 10 / w.sum()
    most, fewest = "frequent", "rare"
    both = dict(drawings.curves(shown.weights, "class_balanced"))
    assert [*both] == [most, fewest]
    np.testing.assert_allclose(both[most]["weight"], w[0], rtol=1e-4)
    np.testing.assert_allclose(both[fewest]["weight"], w[-1], rtol=1e-4)
    assert [words for words, _ in drawings.curves(shown.weights, "ce")] == [""]

    four = dict(drawings.curves(shown.weights, "ldam"))
    names = [f"{at}, {of}" for at in ("start", "end") for of in (most, fewest)]
    assert [*four] == names
    w = 1 / (1 - 0.9999**counts)
    w *= 10 / w.sum()
    for of_class, i in ((most, 0), (fewest, -1)):
        before, after = four[f"start, {of_class}"], four[f"end, {of_class}"]
        np.testing.assert_allclose(after["weight"], w[i] * before["weight"], rtol=1e-4)
        # Cross-entropy of logits from which 30 m_y is taken, by its weight (1 - q_y) / (1 - p_y)
        p, shift = before["p"], 30 * 0.5 * (50 / counts[i]) ** 0.25
        q = 1 / (1 + (1 - p) / p * np.exp(shift))
        np.testing.assert_allclose(before["weight"], (1 - q) / (1 - p), rtol=1e-4)

    order = ["ce", "ldam"]
    figure = drawings.weights(shown.weights, losses_of(order, palette.looks(order), order))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ce", *(f"ldam ({name})" for name in names)]
    lines = [line for line in figure.axes[0].lines if line.get_gid()]
    assert len({line.get_gid() for line in lines}) == 5


def test_own_values_come_from_the_params_or_the_configuration() -> None:
    def expected(p: np.ndarray, gamma: float) -> np.ndarray:
        return (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * np.log(p)

    p, weight = weights(of("focal", **{"loss.gamma": 3.0, "loss.q": math.nan}), "focal")
    np.testing.assert_allclose(weight, expected(p, 3), rtol=1e-5, atol=1e-9)
    node = {"_target_": "experiments.losses.focal", "_partial_": True, "gamma": 1}
    p, weight = weights(of("focal", config={"loss": node}, **{"loss.gamma": 3.0}), "focal")
    np.testing.assert_allclose(weight, expected(p, 1), rtol=1e-5, atol=1e-9)


OWN = """
import paddle
from experiments.losses import ce

called = []

def tempered(logits, labels, *, temperature=2.0):
    return ce(logits / temperature, labels)

def single(logits, labels):
    if logits.dtype != paddle.float32:
        raise TypeError("float32 alone")
    return ce(logits, labels)

def mean(logits, labels):
    return ce(logits, labels).mean()

def broken(logits, labels):
    raise RuntimeError("out of order")

def command(line, other=None):
    called.append(line)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gallery]]:
    """`own_module("name")` is the gallery of a function in a module of the user's."""
    (tmp_path / "gallery_losses.py").write_text(OWN)
    (tmp_path / "gallery_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda target, **values: of(
        "own", config={"loss": {"_target_": target, "_partial_": True, **values}}
    )
    sys.modules.pop("gallery_losses", None)


def test_a_loss_from_outside_the_suite_is_drawn_where_it_can_be_imported(own_module: Any) -> None:
    p, weight = weights(own_module("gallery_losses.tempered", temperature=4.0), "own")
    tempered = 1 / (1 + 9 * np.exp(-np.log(9 * p / (1 - p)) / 4))
    np.testing.assert_allclose(weight, (1 - tempered) / 4 / (1 - p), rtol=1e-5)
    p, weight = weights(own_module("gallery_losses.single"), "own")
    np.testing.assert_allclose(weight, 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere_at_all.loss", "nowhere_at_all.loss cannot be imported here"),
        ("gallery_losses.absent", "gallery_losses.absent cannot be imported here"),
        ("gallery_exits.loss", "gallery_exits.loss cannot be imported here"),
        (
            "gallery_losses.command",
            "the first parameter of gallery_losses.command is none of logits, cosines, prediction",
        ),
        ("gallery_losses.called", "is none of logits, cosines, prediction"),
        ("gallery_losses.broken", "it cannot be evaluated: RuntimeError: out of order"),
        ("gallery_losses.mean", "its values have shape [], not [200]"),
        (HOSTILE, "cannot be imported here"),
        ("", "cannot be imported here"),
    ],
)
def test_what_cannot_be_drawn_is_named_with_the_reason(
    own_module: Any, target: str, why: str
) -> None:
    curves = own_module(target)
    assert not len(curves.weights) and not len(curves.margins) and not len(curves.errors)
    assert why in curves.missing["own"]
    assert (
        "own (" in cross_setting.left_out(curves, ["own"])
        and cross_setting.left_out(curves, ["other"]) == ""
    )
    module = sys.modules.get("gallery_losses")
    assert (
        module is None or module.called == []
    )  # what a store names is not called unless it is a loss


def test_all_losses_share_a_panel_and_those_behind_are_grey() -> None:
    shown = of(*LOGITS)
    looks, behind = palette.looks(LOGITS), LOGITS[palette.TOGETHER :]
    losses = losses_of(LOGITS, looks, LOGITS[: palette.TOGETHER])
    figure = drawings.weights(shown.weights, losses)
    (axis,) = figure.axes
    kinds = {"weight": LOGITS[: palette.TOGETHER], "behind": behind}
    for kind, losses in kinds.items():
        for loss in losses:
            (line,) = [line for line in axis.lines if line.get_gid() == looks[loss].gid(kind)]
            of_loss = shown.weights[shown.weights["loss"] == loss]
            np.testing.assert_array_equal(line.get_xdata(), of_loss["p"])
            np.testing.assert_array_equal(line.get_ydata(), of_loss["weight"])
            assert (line.get_color() == palette.MUTED) == (kind == "behind")
    assert axis.get_ylim()[0] == drawings.LEAST  # label_smoothing and square go on below
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"{len(behind)} others, in grey" in labels


def test_values_of_different_losses_are_never_on_one_axis() -> None:
    shown = of("ce", "mae", "gce")
    order = ["ce", "mae", "gce"]
    figure = drawings.values(
        shown.margins, losses_of(order, palette.looks(order), order), x="margin", x_label="margin"
    )
    for axis, loss in zip(figure.axes, order, strict=True):
        (line,) = [line for line in axis.lines if str(line.get_gid()).startswith("value|")]
        np.testing.assert_array_equal(
            line.get_ydata(), shown.margins.loc[shown.margins["loss"] == loss, "value"]
        )
        others = [other for other in figure.axes if other is not axis]
        assert not any(axis.get_shared_y_axes().joined(axis, other) for other in others)


def page(curves: Gallery | None) -> tuple[page_report.Report, str]:
    sections = analysis.sections(
        *runs(("ce", "mse", "own"), seeds=range(2)), Question(), predictions
    )
    source = page_report.Source(["e"], [], None, (), 0, [])
    report = page_report.report(sections, source, lambda section: "none", gallery=curves)
    return report, render.to_html(report.page)


@pytest.mark.slow
def test_the_page_says_why_the_losses_differ_and_which_are_not_shown() -> None:
    shown = of("ce", "mse")
    report, html = page(
        Gallery(
            shown.weights, shown.margins, shown.errors, {"own": "x.own cannot be imported here"}
        )
    )
    assert {"loss-weights", "loss-margins", "loss-errors"} <= set(report.figures)
    assert (
        "Gradient weight of each loss" in main(html)
        and "Not shown: own (x.own cannot be imported here)." in html
    )
    assert "ce: 1 at 0.01, 1 at 0.1, 1 at 0.9" in html  # the words for those who do not see it
    assert main(html).index("Gradient weight of each loss") < main(html).index(
        "Reproduce this page"
    )


@pytest.mark.slow
def test_without_losses_to_show_there_is_no_gallery() -> None:
    for curves in (None, gallery(pd.DataFrame(columns=["loss", "run_id"]), lambda run_id: None)):
        report, html = page(curves)
        assert "Gradient weight of each loss" not in html and "loss-weights" not in report.figures


def test_a_fork_computes_the_same_curves() -> None:
    rows = pd.DataFrame([{"run_id": loss, "loss": loss} for loss in ("ce", "mse", "nothing")])
    configurations: dict[str, Any] = {}
    here = gallery(rows, configurations.get)
    with processes.forks(1) as fork:
        if fork is None:
            pytest.skip("one core, or no forks")
        there = fork.submit(gallery, rows, configurations.get).result()
        assert fork.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_DFL
    pd.testing.assert_frame_equal(here.weights, there.weights)
    pd.testing.assert_frame_equal(here.errors, there.errors)
    pd.testing.assert_frame_equal(here.margins, there.margins)
    assert len(there.weights) > 100 and [*there.missing] == ["nothing"]
    assert there.missing == here.missing


@pytest.mark.parametrize("before", [False, True])
def test_a_process_for_curves_that_ends_leaves_a_page_that_says_so(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "configuration", lambda runs, run_id: None)
    runs = mock.Mock(summary=pd.DataFrame([{"run_id": "a", "loss": "ce"}]))
    ended: Future[Gallery] = Future()
    ended.set_exception(BrokenProcessPool())
    submit = mock.Mock(side_effect=BrokenProcessPool) if before else lambda *arguments: ended
    result = making._gallery(runs, [], mock.Mock(submit=submit))()
    why = "the process that computes the curves ended, perhaps at one of the losses"
    assert result.missing == {"ce": why} and not len(result.weights)


@pytest.mark.parametrize(("csv", "mapping"), [("a.csv", None), (None, {"loss": "params.l"})])
def test_imported_runs_need_no_process_for_curves(
    csv: str | None, mapping: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "make", lambda request, fork: fork)
    assert generate.generate(mock.Mock(csv=csv, mapping=mapping)) is None
