"""Reports on runs of several versions of code, and metrics of predictions."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.commands import Report
from helpers.stores import TEST, Store
from helpers.versions import code, edited

from experiments import heads, metrics, source_digest
from reports import gallery, source_code, verdicts
from reports.page import caveats
from reports.runs import predictions
from reports.runs.computed import with_metric

# ---- what the caveats say ------------------------------------------------------------------------


def facts(runs: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """The facts on versions and code."""
    all_facts = caveats._versions(SimpleNamespace(runs=runs))
    return [fact[:3] for fact in all_facts if fact[0] in ("Code", "Warning")]


def test_one_code_shared_by_all_losses_is_no_warning(store: Store) -> None:
    edited(store)
    text = (
        "commit cccccccccc, nothing uncommitted; digests of the code that computed the numbers: "
        "ce ccccccc, mine bbbbbbb; "
        "files of the user: my_losses.py."
    )
    assert facts(store.load().summary) == [("Code", text, False)]


def test_shared_code_that_differs_is_a_warning_with_its_parts_and_files(store: Store) -> None:
    other = {"experiments/training.py": "1" * 12}
    store.add(tags=code("a", "experiments/losses/true_class.py"))
    store.add(tags=code("b", "experiments/losses/true_class.py"), loss="focal")
    store.add(tags=code("c", training=other, model={"nets.py": "2" * 12}), loss="mine")
    runs = store.load().summary
    assert source_code.warnings(runs) == [
        "Not only the losses differ between ce, focal and mine, but also the code of training "
        "(experiments/training.py); "
        "model (nets.py): part of a difference may be the code's."
    ]
    (_, text, alarm), warning = facts(runs)
    assert alarm and "files of the user: my_losses.py, nets.py" in text
    assert warning == ("Warning", source_code.warnings(runs)[0], True)


def test_unknown_code_is_said(store: Store) -> None:
    store.add()
    store.add(loss="mse")
    alone = store.load().summary
    assert source_code.warnings(alone) == [
        "Code unknown: these runs do not record the code that computed them, so runs from before "
        "and after an edit may be "
        "taken together."
    ]
    assert facts(alone)[0][1] == "commit unknown; code unknown: no run here records it."
    store.add(loss="mine", tags=code("a"))
    mixed = store.load().summary
    assert source_code.warnings(mixed) == [
        "Code unknown for ce, mse: whether they share the code of data, network and training with "
        "the other losses cannot be "
        "told, and part of a difference may be the code's."
    ]
    assert facts(mixed)[0][1].endswith(
        "mine aaaaaaa; files of the user: my_losses.py; code unknown: ce, mse."
    )


# ---- an earlier report is checked on its own runs ------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_verdicts_are_checked_on_the_runs_that_they_were_made_of(
    store: Store, report: Report
) -> None:
    run_ids = edited(store)
    for seed in range(4):
        store.add(f"old{seed}", tags=code("a"), loss="mine", seed=seed)
    first = report(store.path.parent, "formats=[svg]", "output=first", "where.seed=[0,1]")
    assert first.code == 0, first.text
    content = json.loads((store.path.parent / "first" / "verdicts.json").read_text("utf-8"))
    assert content["settings"][0]["code"] == {"ce": ["c" * 64], "mine": ["a" * 64]}
    assert not verdicts.runs_of(content) & set(run_ids["after"])
    store.add("later", tags=code("d"), loss="mine", seed=0, test={"test/accuracy": 0.1})
    shared = code("c", "experiments/losses/true_class.py")
    store.add("ce0", tags=shared, test={"test/accuracy": 0.1})
    checked = report(store.path.parent, "formats=[svg]", "check=first/verdicts.json")
    total = len(content["contrasts"])
    assert checked.code == 0, checked.text
    assert f"all {total} verdicts of first/verdicts.json hold" in checked.text
    assert "a new report would be of other runs: 3 of these runs no longer count" in checked.text


def test_curves_of_losses_are_not_drawn_from_other_code_than_that_of_the_runs(store: Store) -> None:
    node = {"_target_": "experiments.losses.ce", "_partial_": True}
    now = source_digest.of_options({"loss": node}).parts["loss"]
    file = next(iter(now))
    store.add(tags=code("a") | {"code.parts": json.dumps({"loss": now})})
    then = json.dumps({"loss": now | {file: "0" * 12}})
    store.add(tags=code("b") | {"code.parts": then}, seed=1)
    elsewhere = {"_target_": "not_here.mine"}
    gone = json.dumps({"loss": {"not_here.py": "0" * 12}})
    store.add(tags=code("c") | {"code.parts": gone}, seed=2)
    runs = store.load(versions=True).summary
    seeds = runs.set_index("run_id")["seed"]
    nodes = {run_id: elsewhere if seed == 2 else node for run_id, seed in seeds.items()}
    curves = gallery.gallery(runs, lambda run_id: {"loss": nodes[run_id]})
    assert set(curves.weights["loss"]) == {"ce@aaaaaaa"}
    assert curves.missing == {
        "ce@bbbbbbb": f"its code is not the code of its runs any more ({file} changed)",
        "ce@ccccccc": "its code is not found here (not_here.py): set PYTHONPATH as for its runs",
    }


# ---- two options that compute the same -----------------------------------------------------------


def the_same_twice(store: Store) -> None:
    same = code("a", "experiments/losses/true_class.py")
    for seed in range(2):
        store.add(tags=same, loss="focal", own={"loss.gamma": 3}, seed=seed)
        store.add(tags=same, loss="focal_g3", own={"loss.gamma": 3}, seed=seed)
        store.add(tags=same, loss="ce", seed=seed)
        store.add(tags=same, loss="my_ce", seed=seed)


def test_options_that_compute_the_same_are_both_shown(store: Store) -> None:
    the_same_twice(store)
    runs = store.load()
    assert runs.notes == []
    counts = runs.summary["loss"].value_counts().to_dict()
    assert counts == {"focal": 2, "focal_g3": 2, "ce": 2, "my_ce": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_report_compares_options_that_compute_the_same(store: Store, report: Report) -> None:
    the_same_twice(store)
    result = report(store.path.parent, "formats=[svg]", "reference=focal_g3")
    assert result.code == 0, result.text
    for loss in ("focal", "ce", "my_ce"):
        assert re.search(rf"^  {loss} .*focal_g3", result.text, re.MULTILINE)


# ---- metrics from predictions --------------------------------------------------------------------


def stored(rng: np.random.Generator, outputs: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """predictions.npz of 50 images, and what is in it."""
    labels = np.arange(50) % 10
    raw = (rng.normal(size=(50, outputs)) * 2).astype(np.float32)
    head = heads.logits_head(10) if outputs == 10 else heads.number_head(10)
    file = io.BytesIO()
    np.savez_compressed(file, outputs=raw, predicted=head.predict(raw), label=labels)
    return file.getvalue(), raw, labels


@pytest.mark.usefixtures("undrawn")
def test_metrics_that_runs_did_not_store_are_computed_from_their_predictions(
    store: Store, report: Report
) -> None:
    rng = np.random.default_rng(0)
    logits, number = stored(rng, 10), stored(rng, 1)
    lacking = {"test/accuracy": 0.5, "test/temperature": 2.0}
    first = store.add(tags=code("a"), test=lacking)
    store.add_predictions(first, logits[0])
    second = store.add(tags=code("a"), test=TEST | {"test/aurc": 0.25}, seed=1)
    without = store.add(tags=code("a"), test=lacking, seed=2)
    third = store.add(tags=code("m"), loss="mse", test={"test/accuracy": 0.5})
    store.add_predictions(third, number[0])
    runs = store.load()

    def computed(name: str) -> dict[str, float]:
        extended = with_metric(runs, name, lambda run_id: predictions(runs, run_id))
        values = extended.summary.set_index("run_id")[name]
        notes.append(extended.notes)
        return {run_id: float(value) for run_id, value in values.dropna().items()}

    notes: list[list[str]] = []
    log_p = heads.log_softmax(logits[1])
    assert computed("test_aurc") == {first: metrics.aurc(log_p, logits[2]), second: 0.25}
    (note,) = notes[0]
    assert note == "the test AURC of 1 run was computed by this report from stored predictions"
    assert computed("test_brier") == {first: metrics.brier(log_p, logits[2]), second: 0.4}
    assert computed("test_nll") == {first: metrics.nll(log_p, logits[2]), second: 0.95}
    assert computed("test_ece") == {first: metrics.ece(log_p, logits[2]), second: 0.2}
    scaled = heads.log_softmax(logits[1].astype(np.float64) / 2.0)
    assert computed("test_ece_scaled")[first] == metrics.ece(scaled, logits[2])
    error = float(np.mean(np.abs(number[1][:, 0].astype(np.float64) - number[2])))
    assert computed("test_mean_absolute_error") == {third: error}
    assert without not in computed("test_macro_f1") and len(notes[-1]) == 1
    result = report(store.path.parent, "formats=[svg]", "metric=test/aurc")
    assert result.code == 0, result.text
    assert "note: the test AURC of 1 run was computed by this report" in result.text


def test_metrics_by_other_code_are_computed_again_or_said(store: Store) -> None:
    file, raw, labels = stored(np.random.default_rng(0), 10)
    then = code("a") | {"code.metrics": "f" * 64}
    first = store.add(tags=then)
    store.add_predictions(first, file)
    second = store.add(tags=then, test=TEST | {"corrupted/accuracy": 0.5}, seed=1)
    third = store.add(tags=code("a"), seed=2)
    runs = store.load()
    extended = with_metric(runs, "test_brier", lambda run_id: predictions(runs, run_id))
    summary = extended.summary.set_index("run_id")
    log_p = heads.log_softmax(raw)
    assert summary["test_brier"].to_dict() == {
        **{first: metrics.brier(log_p, labels), second: 0.4, third: 0.4}
    }
    # the page shows others beside it, which are then of the same code; a run gets none that it did
    # not store
    assert summary["test_nll"].to_dict() == {
        **{first: metrics.nll(log_p, labels), second: 0.95, third: 0.95}
    }
    assert "test_aurc" not in summary
    assert extended.notes == [
        "the test metrics of 1 run were computed again by this report from stored predictions, "
        "since the code of the "
        "metrics has changed"
    ]
    than = "by other code of the metrics than there is now, and cannot be computed again"
    assert extended.warnings == [
        f"the test metrics of 1 run were computed {than} without predictions",
        f"the accuracy on corrupted test images of 1 run was computed {than} from predictions",
    ]
    aurc = with_metric(runs, "test_aurc", lambda run_id: predictions(runs, run_id)).summary
    assert aurc["test_aurc"].dropna().tolist() == [metrics.aurc(log_p, labels)]


def test_what_is_computed_is_what_training_computes() -> None:
    rng = np.random.default_rng(1)
    labels, losses = np.arange(50) % 10, np.ones(50)
    for head in (heads.logits_head(10), heads.number_head(10)):
        outputs, validation = rng.normal(size=(2, 50, head.outputs)).astype(np.float32)
        whole = metrics.test_metrics(head, outputs, labels, losses, validation, labels)
        alone = metrics.of_outputs(head, outputs, labels, whole.get("temperature"))
        assert whole == {"loss": 1.0} | alone
