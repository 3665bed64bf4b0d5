"""Versions of the code in a report.

Which runs count, what is said of the others, and what is computed again.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import Report
from helpers.stores import TEST, Store

from experiments import heads, metrics, source_digest
from reports import gallery, source_code, verdicts
from reports.page import caveats
from reports.request import newest_version
from reports.runs import ReadError, collect_baselines, predictions
from reports.runs.computed import metrics_code, with_metric

MADE = {
    **{"processor": "a processor", "kernel": "stock", "paddle_version": "3.3.1"},
    **{"python_version": "3.11.7", "git_commit": "c" * 40, "git_dirty": "false"},
}
TRAINING = {"training": {"experiments/training.py": "0" * 12}}


def code(letter: str, file: str = "my_losses.py", **parts: dict[str, str]) -> dict[str, str]:
    """The tags of a run of this version of a loss's file, the rest being the same unless told."""
    files = {"loss": {file: letter * 12}} | TRAINING | parts
    return MADE | {
        "code": letter * 64,
        "code.parts": json.dumps(files),
        "code.metrics": metrics_code(),
    }


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(shutil.copy(empty_store, tmp_path / "mlflow.db"))


def edited(store: Store) -> dict[str, list[str]]:
    """The first input of the fault.

    `mine` at seeds 0 and 1, its file edited, the same with seeds 0 to 3.
    """
    before = [
        store.add(f"old{seed}", tags=code("a"), loss="mine", seed=seed, test={"test/accuracy": 0.9})
        for seed in range(2)
    ]
    after = [
        store.add(f"new{seed}", tags=code("b"), loss="mine", seed=seed, test={"test/accuracy": 0.5})
        for seed in range(4)
    ]
    other = [
        store.add(f"ce{seed}", tags=code("c", "experiments/losses/true_class.py"), seed=seed)
        for seed in range(4)
    ]
    return {"before": before, "after": after, "ce": other}


# ---- the newest code -----------------------------------------------------------------------------


def test_runs_of_different_code_are_not_pooled_and_the_newest_code_counts(store: Store) -> None:
    made = edited(store)
    found = store.load()
    assert found.summary["run_id"].tolist() == made["after"] + made["ce"]
    assert found.summary.query("loss == 'mine'")["test_accuracy"].tolist() == [0.5] * 4
    assert found.notes == [
        "left out: 2 runs of mine made by earlier code (aaaaaaa): my_losses.py changed; "
        "the code of the newest finished run is shown, also where the files were changed back "
        "since; versions=true compares versions of the code, sweep=NAME_OR_ID shows the code of "
        "one sweep"
    ]
    assert set(found.curves["run_id"]) == set(made["after"] + made["ce"])


def test_versions_are_losses_of_their_own(store: Store) -> None:
    made = edited(store)
    found = store.load(versions=True)
    assert found.notes == []
    assert found.summary.groupby("loss")["run_id"].apply(list).to_dict() == {
        "ce": made["ce"],
        "mine@aaaaaaa": made["before"],
        "mine@bbbbbbb": made["after"],
    }
    assert set(found.summary["loss_option"]) == {"ce", "mine"}
    assert newest_version("mine", found.summary) == "mine@bbbbbbb"
    assert newest_version("ce", found.summary) == "ce"
    assert newest_version("focal", found.summary) == "focal"


def test_a_version_keeps_the_values_that_tell_its_loss_apart(store: Store) -> None:
    for letter, gamma in (("a", 2), ("b", 2), ("b", 3)):
        store.add(tags=code(letter), loss="focal", own={"loss.gamma": gamma})
    labels = store.load(versions=True).summary["loss"].tolist()
    assert labels == ["focal@aaaaaaa gamma=2", "focal@bbbbbbb gamma=2", "focal gamma=3"]


def test_digests_that_begin_alike_are_told_apart(store: Store) -> None:
    for ending in "12":
        store.add(tags=code("a") | {"code": "abcdef0" + ending})
    found = store.load(versions=True)
    assert found.summary["loss"].tolist() == ["ce@abcdef01", "ce@abcdef02"]


def test_unknown_code_is_a_version_of_its_own(store: Store) -> None:
    old = [store.add(loss="mine", seed=seed) for seed in range(3)]
    assert store.load().summary["run_id"].tolist() == old  # pooled among themselves
    new = store.add(loss="mine", tags=code("b"), seed=0)
    found = store.load()
    assert found.summary["run_id"].tolist() == [new]
    assert found.notes == [
        "left out: 3 runs of mine whose code is unknown, which are never pooled with runs of "
        "known code; "
        "the code of the newest finished run is shown, also where the files were changed back "
        "since; versions=true compares versions of the code, sweep=NAME_OR_ID shows the code of "
        "one sweep"
    ]
    labels = store.load(versions=True).summary["loss"].tolist()
    assert labels == ["mine@unknown"] * 3 + ["mine@bbbbbbb"]


def test_after_an_edit_and_its_reversal_the_note_says_how_to_see_the_code_that_is_back(
    store: Store,
) -> None:
    made = edited(store)
    back = store.add_sweep("back", ["old0", "old1"])  # all its runs were finished before
    (note,) = store.load().notes
    assert store.load().summary.query("loss == 'mine'")["run_id"].tolist() == made["after"]
    assert "is shown, also where the files were changed back since" in note
    assert note.endswith("sweep=NAME_OR_ID shows the code of one sweep")
    assert store.load(sweep=back).summary["run_id"].tolist() == made["before"]


def test_the_newest_finished_run_decides_which_code_is_the_newest(store: Store) -> None:
    old = store.add(tags=code("a"))
    running = store.add(tags=code("b"), status="RUNNING", outcome=None, seed=1)
    found = store.load()
    assert found.summary["run_id"].tolist() == [old]
    assert found.notes == [
        "left out: 1 run of ce not finished, made by other code (bbbbbbb): my_losses.py changed; "
        "the code of the newest finished run is shown, also where the files were changed back "
        "since; versions=true compares versions of the code, sweep=NAME_OR_ID shows the code of "
        "one sweep"
    ]
    store.client.set_terminated(running, "FINISHED")
    assert store.load().summary["run_id"].tolist() == [running]


def test_each_setting_has_a_newest_code_of_its_own(store: Store) -> None:
    only = store.add(tags=code("a"), model="mlp")
    store.add(tags=code("a"), model="softmax")
    newest = store.add(tags=code("b"), model="softmax")
    assert store.load().summary["run_id"].tolist() == [only, newest]
    marked = store.load(versions=True).summary
    assert marked["loss"].tolist() == ["ce@aaaaaaa", "ce@aaaaaaa", "ce@bbbbbbb"]


def test_a_filter_brings_no_earlier_code_back(store: Store) -> None:
    store.add(tags=code("a"), lr=0.1, epochs=5)
    newest = store.add(tags=code("b"), lr=0.3)
    assert (
        store.load(where={"lr": 0.3}).notes == []
    )  # of another rate, what was left out is nothing
    with pytest.raises(ReadError) as error:
        store.load(where={"lr": 0.1})
    assert str(error.value) == (
        "where: no run has lr=0.1; expected one of: 0.3\n"
        "left out: 1 run of ce made by earlier code (aaaaaaa): my_losses.py changed"
    )
    found = store.load(where={"lr": [0.1, 0.3]})
    assert found.summary["run_id"].tolist() == [newest] and len(found.notes) == 1


# ---- sweeps --------------------------------------------------------------------------------------


def test_a_sweep_shows_the_runs_of_its_own_code(store: Store) -> None:
    made = edited(store)
    before = store.add_sweep("before", ["old0", "old1", "ce0", "ce1"])
    after = store.add_sweep("after", [f"new{seed}" for seed in range(4)])
    found = store.load(sweep=before)
    assert found.summary["run_id"].tolist() == made["before"] + made["ce"][:2]
    assert (found.notes, found.missing.empty) == ([], True)
    assert store.load(sweep=after).summary["run_id"].tolist() == made["after"]


def test_a_sweep_that_took_runs_whatever_their_code_says_so(store: Store) -> None:
    made = edited(store)
    sweep = store.add_sweep("both", ["old0", "old1", "new2", "new3", "ce0"])
    found = store.load(sweep=sweep)
    assert found.summary["run_id"].tolist() == made["before"] + made["after"][2:] + made["ce"][:1]
    warning = (
        "Runs of mine made by different code are taken together (reuse=any): 2 by aaaaaaa, 2 by "
        "bbbbbbb; my_losses.py changed. "
        "versions=true compares the versions."
    )
    assert source_code.warnings(found.summary) == [warning]
    apart = store.load(sweep=sweep, versions=True).summary
    assert set(apart["loss"]) == {"ce", "mine@aaaaaaa", "mine@bbbbbbb"}
    with pytest.raises(
        ReadError, match="expected one version of the code of each loss, got 2 of mine"
    ):
        collect_baselines(store.uri, None, sweep, None, file="x")


def test_a_sweep_whose_runs_are_all_of_earlier_code_says_so(store: Store) -> None:
    training = {"experiments/training.py": "0" * 12}
    options = {
        "loss=mine": {"my_losses.py": "a" * 12},
        "model=mlp": {},
        **{"data=digits": {}, "optimizer=sgd": {}, "scheduler=constant": {}, "training": training},
    }
    parts = {name.partition("=")[0]: files for name, files in options.items()}
    then = source_digest.Code(parts, "", {}).digest
    for seed in range(2):
        store.add(f"old{seed}", tags=code("a") | {"code": then}, loss="mine", seed=seed)
    before = store.add_sweep("before", ["old0", "old1"], code=options)
    assert store.load(sweep=before).notes == []
    edited = options | {"loss=mine": {"my_losses.py": "b" * 12}}
    after = store.add_sweep("after", ["old0", "old1"], code=edited)
    assert store.load(sweep=after).notes == [
        f"2 runs of mine taken as they were, made by other code ({then[:7]}) than the sweep's "
        "command had: reuse=any"
    ]
    store.add("older", loss="mine", seed=3)  # records no code
    third = store.add_sweep("third", ["older"], code=edited)
    assert store.load(sweep=third).notes == [
        "1 run of mine taken as it was, made by other code (unknown) than the sweep's command "
        "had: reuse=any"
    ]


# ---- two runs of one identity --------------------------------------------------------------------


def test_equal_numbers_raise_no_warning(store: Store) -> None:
    store.add("same", tags=code("a"))
    store.add("same", tags=code("a"), test=TEST | {"test/aurc": 0.1})  # a metric of its own
    found = store.load()
    assert found.warnings == []
    assert found.notes == [
        "left out: 1 run of configurations that ran more than once; the newest FINISHED run counts"
    ]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (
            {},
            "though processor, kernel, versions and code are equal: determinism is broken",
        ),
        (
            {"processor": "another", "paddle_version": "3.4.0"},
            "made with other surroundings (processor a processor, then another; PaddlePaddle "
            "3.3.1, then 3.4.0)",
        ),
        (
            {"code.metrics": "f" * 64},
            f"made with other surroundings (code of the metrics {metrics_code()[:12]}, then "
            f"{'f' * 12})",
        ),
    ],
)
def test_numbers_that_disagree_raise_a_warning(store: Store, tags: dict, reason: str) -> None:
    first = store.add("same", tags=code("a"))
    newest = store.add("same", tags=code("a") | tags, test=TEST | {"test/accuracy": 0.76})
    found = store.load()
    assert found.summary["run_id"].tolist() == [newest]
    assert found.warnings == [
        f"1 finished run disagrees with the newest finished run of the same identity, {reason}; a "
        "run: "
        f"test/accuracy 0.75, then 0.76, 1 metric in all (runs {first} and {newest})"
    ]


def test_numbers_that_disagree_where_the_code_is_unknown(store: Store) -> None:
    store.add("same", tags=MADE)
    store.add("same", tags=MADE, outcome="diverged", test={})
    (warning,) = store.load().warnings
    assert (
        "whose code is unknown and may have changed in between; a run: outcome ok, then diverged"
        in warning
    )


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_what_it_left_out_and_what_disagrees(store: Store, report: Report) -> None:
    edited(store)
    store.add(
        "ce0", tags=code("c", "experiments/losses/true_class.py"), test={"test/accuracy": 0.7}
    )
    told = report(store.path.parent, "formats=[svg]")
    assert told.code == 0, told.text
    markdown = (store.path.parent / "outputs" / "reports" / "mine" / "report.md").read_text("utf-8")
    markdown = markdown.replace("\\", "")
    broken = "processor, kernel, versions and code are equal: determinism is broken"
    left = "left out: 2 runs of mine made by earlier code (aaaaaaa): my_losses.py changed"
    assert "WARNING: 1 finished run disagrees" in told.text and broken in told.text
    assert f"note: {left}" in told.text
    assert broken in markdown and left in markdown
    assert (
        "digests of the code that computed the numbers: ce ccccccc, mine bbbbbbb; "
        "files of the user: my_losses.py" in markdown
    )


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_report_compares_with_the_version_that_is_named_or_the_newest(
    store: Store, report: Report
) -> None:
    edited(store)
    named = report(store.path.parent, "formats=[svg]", "versions=true", "reference=mine@aaaaaaa")
    assert named.code == 0, named.text
    assert "mine@bbbbbbb against mine@aaaaaaa" in named.text or "than mine@aaaaaaa" in named.text
    newest = report(store.path.parent, "formats=[svg]", "versions=true", "reference=mine")
    assert "than mine@bbbbbbb" in newest.text or "against mine@bbbbbbb" in newest.text


# ---- what the caveats say ------------------------------------------------------------------------


def facts(runs: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """The facts on versions and code."""
    return [
        fact[:3]
        for fact in caveats._versions(type("Section", (), {"runs": runs})())
        if fact[0] in ("Code", "Warning")
    ]


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
    made = edited(store)
    for seed in range(4):
        store.add(f"old{seed}", tags=code("a"), loss="mine", seed=seed)
    first = report(store.path.parent, "formats=[svg]", "output=first", "where.seed=[0,1]")
    assert first.code == 0, first.text
    content = json.loads((store.path.parent / "first" / "verdicts.json").read_text("utf-8"))
    assert content["settings"][0]["code"] == {"ce": ["c" * 64], "mine": ["a" * 64]}
    assert not verdicts.runs_of(content) & set(made["after"])
    store.add("later", tags=code("d"), loss="mine", seed=0, test={"test/accuracy": 0.1})
    store.add(
        "ce0", tags=code("c", "experiments/losses/true_class.py"), test={"test/accuracy": 0.1}
    )
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
    found = gallery.gallery(
        runs, lambda run_id: {"loss": elsewhere if seeds[run_id] == 2 else node}
    )
    assert set(found.weights["loss"]) == {"ce@aaaaaaa"}
    assert found.missing == {
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
    found = store.load()
    assert found.notes == []
    assert found.summary["loss"].value_counts().to_dict() == dict.fromkeys(
        ("focal", "focal_g3", "ce", "my_ce"), 2
    )


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_report_compares_options_that_compute_the_same(store: Store, report: Report) -> None:
    the_same_twice(store)
    told = report(store.path.parent, "formats=[svg]", "reference=focal_g3")
    assert told.code == 0, told.text
    for loss in ("focal", "ce", "my_ce"):
        assert re.search(rf"^  {loss} .*focal_g3", told.text, re.MULTILINE)


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
        found = with_metric(runs, name, lambda run_id: predictions(runs, run_id))
        values = found.summary.set_index("run_id")[name]
        notes.append(found.notes)
        return {run_id: float(value) for run_id, value in values.dropna().items()}

    notes: list[list[str]] = []
    log_p = heads.log_softmax(logits[1])
    assert computed("test_aurc") == {first: metrics.aurc(log_p, logits[2]), second: 0.25}
    assert notes[0] == [
        "the test AURC of 1 run was computed by this report from stored predictions"
    ]
    assert computed("test_brier") == {first: metrics.brier(log_p, logits[2]), second: 0.4}
    assert computed("test_nll") == {first: metrics.nll(log_p, logits[2]), second: 0.95}
    assert computed("test_ece") == {first: metrics.ece(log_p, logits[2]), second: 0.2}
    scaled = heads.log_softmax(logits[1].astype(np.float64) / 2.0)
    assert computed("test_ece_scaled")[first] == metrics.ece(scaled, logits[2])
    error = float(np.mean(np.abs(number[1][:, 0].astype(np.float64) - number[2])))
    assert computed("test_mean_absolute_error") == {third: error}
    assert without not in computed("test_macro_f1") and len(notes[-1]) == 1
    told = report(store.path.parent, "formats=[svg]", "metric=test/aurc")
    assert told.code == 0, told.text
    assert "note: the test AURC of 1 run was computed by this report" in told.text


def test_metrics_by_other_code_are_computed_again_or_said(store: Store) -> None:
    file, raw, labels = stored(np.random.default_rng(0), 10)
    then = code("a") | {"code.metrics": "f" * 64}
    first = store.add(tags=then)
    store.add_predictions(first, file)
    second = store.add(tags=then, test=TEST | {"corrupted/accuracy": 0.5}, seed=1)
    third = store.add(tags=code("a"), seed=2)
    runs = store.load()
    found = with_metric(runs, "test_brier", lambda run_id: predictions(runs, run_id))
    summary = found.summary.set_index("run_id")
    log_p = heads.log_softmax(raw)
    assert summary["test_brier"].to_dict() == {
        **{first: metrics.brier(log_p, labels), second: 0.4, third: 0.4},
    }
    # the page shows others beside it, which are then of the same code; a run gets none that it did
    # not store
    assert summary["test_nll"].to_dict() == {
        **{first: metrics.nll(log_p, labels), second: 0.95, third: 0.95},
    }
    assert "test_aurc" not in summary
    assert found.notes == [
        "the test metrics of 1 run were computed again by this report from stored predictions, "
        "since the code of the "
        "metrics has changed"
    ]
    than = "by other code of the metrics than there is now, and cannot be computed again"
    assert found.warnings == [
        f"the test metrics of 1 run were computed {than} without predictions",
        f"the accuracy on corrupted test images of 1 run was computed {than} from predictions",
    ]
    aurc = with_metric(runs, "test_aurc", lambda run_id: predictions(runs, run_id)).summary
    assert aurc["test_aurc"].dropna().tolist() == [metrics.aurc(log_p, labels)]


def test_what_is_computed_is_what_training_computes() -> None:
    rng = np.random.default_rng(1)
    labels, losses = np.arange(50) % 10, np.ones(50)
    for head in (heads.logits_head(10), heads.number_head(10)):
        outputs, validation = (
            rng.normal(size=(50, head.outputs)).astype(np.float32) for _ in range(2)
        )
        whole = metrics.test_metrics(head, outputs, labels, losses, validation, labels)
        alone = metrics.of_outputs(head, outputs, labels, whole.get("temperature"))
        assert whole == {"loss": 1.0} | alone
