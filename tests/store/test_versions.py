"""Versions of the code in a report.

Which runs count, what is said of the others, and what is computed again.
"""

from __future__ import annotations

import pytest
from helpers.commands import Report
from helpers.stores import TEST, Store
from helpers.versions import MADE, code, edited

from experiments import source_digest
from reports import source_code
from reports.request import newest_version
from reports.runs import ReadError, collect_baselines
from reports.runs.computed import metrics_code

SHOWN = (
    "the code of the newest finished run is shown, also where the files were changed back since; "
    "versions=true compares versions of the code, sweep=NAME_OR_ID shows the code of one sweep"
)

# ---- the newest code -----------------------------------------------------------------------------


def test_runs_of_different_code_are_not_pooled_and_the_newest_code_counts(store: Store) -> None:
    run_ids = edited(store)
    runs = store.load()
    assert runs.summary["run_id"].tolist() == run_ids["after"] + run_ids["ce"]
    assert runs.summary.query("loss == 'mine'")["test_accuracy"].tolist() == [0.5] * 4
    left = "left out: 2 runs of mine made by earlier code (aaaaaaa): my_losses.py changed"
    assert runs.notes == [f"{left}; {SHOWN}"]
    assert set(runs.curves["run_id"]) == set(run_ids["after"] + run_ids["ce"])


def test_versions_are_losses_of_their_own(store: Store) -> None:
    run_ids = edited(store)
    runs = store.load(versions=True)
    assert runs.notes == []
    assert runs.summary.groupby("loss")["run_id"].apply(list).to_dict() == {
        "ce": run_ids["ce"],
        "mine@aaaaaaa": run_ids["before"],
        "mine@bbbbbbb": run_ids["after"],
    }
    assert set(runs.summary["loss_option"]) == {"ce", "mine"}
    assert newest_version("mine", runs.summary) == "mine@bbbbbbb"
    assert newest_version("ce", runs.summary) == "ce"
    assert newest_version("focal", runs.summary) == "focal"


def test_a_version_keeps_the_values_that_tell_its_loss_apart(store: Store) -> None:
    for letter, gamma in (("a", 2), ("b", 2), ("b", 3)):
        store.add(tags=code(letter), loss="focal", own={"loss.gamma": gamma})
    labels = store.load(versions=True).summary["loss"].tolist()
    assert labels == ["focal@aaaaaaa gamma=2", "focal@bbbbbbb gamma=2", "focal gamma=3"]


def test_digests_that_begin_alike_are_told_apart(store: Store) -> None:
    for ending in "12":
        store.add(tags=code("a") | {"code": "abcdef0" + ending})
    runs = store.load(versions=True)
    assert runs.summary["loss"].tolist() == ["ce@abcdef01", "ce@abcdef02"]


def test_unknown_code_is_a_version_of_its_own(store: Store) -> None:
    old = [store.add(loss="mine", seed=seed) for seed in range(3)]
    assert store.load().summary["run_id"].tolist() == old  # pooled among themselves
    new = store.add(loss="mine", tags=code("b"), seed=0)
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [new]
    left = "left out: 3 runs of mine whose code is unknown, which are never pooled with runs of "
    assert runs.notes == [f"{left}known code; {SHOWN}"]
    labels = store.load(versions=True).summary["loss"].tolist()
    assert labels == ["mine@unknown"] * 3 + ["mine@bbbbbbb"]


def test_the_newest_finished_run_decides_which_code_is_the_newest(store: Store) -> None:
    old = store.add(tags=code("a"))
    running = store.add(tags=code("b"), status="RUNNING", outcome=None, seed=1)
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [old]
    left = "left out: 1 run of ce not finished, made by other code (bbbbbbb): my_losses.py changed"
    assert runs.notes == [f"{left}; {SHOWN}"]
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
    assert store.load(where={"lr": 0.3}).notes == []  # of this rate nothing was left out
    with pytest.raises(ReadError) as error:
        store.load(where={"lr": 0.1})
    assert str(error.value) == (
        "where: no run has lr=0.1; expected one of: 0.3\n"
        "left out: 1 run of ce made by earlier code (aaaaaaa): my_losses.py changed"
    )
    runs = store.load(where={"lr": [0.1, 0.3]})
    assert runs.summary["run_id"].tolist() == [newest] and len(runs.notes) == 1


# ---- sweeps --------------------------------------------------------------------------------------


def test_a_sweep_shows_the_runs_of_its_own_code(store: Store) -> None:
    """Also after an edit and its reversal, when its runs were finished before."""
    run_ids = edited(store)
    before = store.add_sweep("before", ["old0", "old1", "ce0", "ce1"])
    after = store.add_sweep("after", [f"new{seed}" for seed in range(4)])
    runs = store.load(sweep=before)
    assert runs.summary["run_id"].tolist() == run_ids["before"] + run_ids["ce"][:2]
    assert (runs.notes, runs.missing.empty) == ([], True)
    assert store.load(sweep=after).summary["run_id"].tolist() == run_ids["after"]
    mine = store.load().summary.query("loss == 'mine'")
    assert mine["run_id"].tolist() == run_ids["after"]  # the newest code, whatever sweep came last


def test_a_sweep_that_took_runs_whatever_their_code_says_so(store: Store) -> None:
    run_ids = edited(store)
    sweep = store.add_sweep("both", ["old0", "old1", "new2", "new3", "ce0"])
    runs = store.load(sweep=sweep)
    taken = run_ids["before"] + run_ids["after"][2:] + run_ids["ce"][:1]
    assert runs.summary["run_id"].tolist() == taken
    warning = (
        "Runs of mine made by different code are taken together (reuse=any): 2 by aaaaaaa, 2 by "
        "bbbbbbb; my_losses.py changed. "
        "versions=true compares the versions."
    )
    assert source_code.warnings(runs.summary) == [warning]
    apart = store.load(sweep=sweep, versions=True).summary
    assert set(apart["loss"]) == {"ce", "mine@aaaaaaa", "mine@bbbbbbb"}
    words = "expected one version of the code of each loss, got 2 of mine"
    with pytest.raises(ReadError, match=words):
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
    runs = store.load()
    assert runs.warnings == []
    assert runs.notes == [
        "left out: 1 run of configurations that ran more than once; the newest FINISHED run counts"
    ]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, "though processor, kernel, versions and code are equal: determinism is broken"),
        (
            {"processor": "another", "paddle_version": "3.4.0"},
            "made under other conditions (processor a processor, then another; PaddlePaddle "
            "3.3.1, then 3.4.0)",
        ),
        (
            {"code.metrics": "f" * 64},
            f"made under other conditions (code of the metrics {metrics_code()[:12]}, then "
            f"{'f' * 12})",
        ),
    ],
)
def test_numbers_that_disagree_raise_a_warning(store: Store, tags: dict, reason: str) -> None:
    first = store.add("same", tags=code("a"))
    newest = store.add("same", tags=code("a") | tags, test=TEST | {"test/accuracy": 0.76})
    runs = store.load()
    assert runs.summary["run_id"].tolist() == [newest]
    assert runs.warnings == [
        f"1 finished run disagrees with the newest finished run of the same identity, {reason}; a "
        "run: "
        f"test/accuracy 0.75, then 0.76, 1 metric in all (runs {first} and {newest})"
    ]


def test_numbers_that_disagree_where_the_code_is_unknown(store: Store) -> None:
    store.add("same", tags=MADE)
    store.add("same", tags=MADE, outcome="diverged", test={})
    (warning,) = store.load().warnings
    why = "whose code is unknown and may have changed in between"
    assert f"{why}; a run: outcome ok, then diverged" in warning


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_what_it_left_out_and_what_disagrees(store: Store, report: Report) -> None:
    edited(store)
    shared = code("c", "experiments/losses/true_class.py")
    store.add("ce0", tags=shared, test={"test/accuracy": 0.7})
    result = report(store.path.parent, "formats=[svg]")
    assert result.code == 0, result.text
    markdown = (store.path.parent / "outputs" / "reports" / "mine" / "report.md").read_text("utf-8")
    markdown = markdown.replace("\\", "")
    broken = "processor, kernel, versions and code are equal: determinism is broken"
    left = "left out: 2 runs of mine made by earlier code (aaaaaaa): my_losses.py changed"
    assert "WARNING: 1 finished run disagrees" in result.text and broken in result.text
    assert f"note: {left}" in result.text
    assert broken in markdown and left in markdown
    digests = "digests of the code that computed the numbers: ce ccccccc, mine bbbbbbb"
    assert f"{digests}; files of the user: my_losses.py" in markdown


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
