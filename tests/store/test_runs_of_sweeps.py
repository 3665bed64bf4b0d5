"""Runs by experiment and by sweep, and the seeds that a sweep planned."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd
import pytest
from helpers.stores import START, Store

from reports.runs import Declared, ReadError, Runs, sweeps


def test_the_default_is_the_experiment_of_the_newest_run_of_ours(store):
    second, third = store.add_experiment("second"), store.add_experiment("third")
    store.add("i", experiment=second)
    store.add("j")
    store.add(None, kind=None, experiment=third)  # newest, but foreign
    store.add_sweep("a sweep", [])
    store.client.delete_run(store.add("k", experiment=second))
    assert store.load().experiments == ("mine",)
    assert store.load(experiment="second").experiments == ("second",)
    store.add("l", experiment=second)
    assert store.load().experiments == ("second",)
    store.client.delete_experiment(second)
    assert store.load().experiments == ("mine",)


def test_an_unknown_experiment_is_answered_with_those_there_are(store):
    store.add_experiment("second")
    words = r"no experiment in .* is named 'mien'; expected one of: 'Default', 'mine', 'second'$"
    with pytest.raises(ReadError, match=words):
        store.load(experiment="mien")
    store.client.delete_experiment(store.experiment)
    words = r"'mine' was deleted; bring it back with `MLFLOW_TRACKING_URI=sqlite:////\S+ "
    words += f"mlflow experiments restore --experiment-id {store.experiment}`"
    with pytest.raises(ReadError, match=words):
        store.load(experiment="mine")


def test_nothing_at_all_is_an_error_that_says_how_to_make_runs(store):
    words = r"has no runs of this program. Run `python experiments/run.py"
    with pytest.raises(ReadError, match=words):
        store.load()
    for _ in range(2):
        with pytest.raises(ReadError, match=r"'mine' in .* has no runs. Run `"):
            store.load(experiment="mine")
        store.add(None, kind=None)


def test_a_sweep_is_the_runs_of_its_identities_wherever_they_ran(store):
    before = store.add("a", seed=0)  # finished before the sweep, so not its child
    sweep = store.add_sweep("first sweep", ["a", "b", "never"])
    child = store.add("b", seed=1, tags={"mlflow.parentRunId": sweep})
    store.add("c", seed=2)
    elsewhere = store.add_experiment("elsewhere")
    store.add("b", experiment=elsewhere)
    for name in (sweep, "first sweep"):
        runs = store.load(sweep=name)
        assert runs.summary["run_id"].tolist() == [before, child]
        assert (runs.experiments, runs.sweeps) == (("mine",), {sweep: "first sweep"})
        assert runs.missing["identity"].tolist() == ["never"] and runs.notes == []
    filtered = store.load(sweep=sweep, where={"seed": 1})
    assert filtered.summary["run_id"].tolist() == [child]
    assert filtered.missing["identity"].tolist() == ["never"]
    assert filtered.notes == [
        "1 combination without a run: which of them the filter would choose is not known"
    ]


def test_a_sweep_without_runs_is_not_an_error(store):
    store.add("other")
    runs = store.load(sweep=store.add_sweep("s", ["a", "b"]))
    full = store.load()
    assert runs.missing["identity"].tolist() == ["a", "b"]
    assert runs.summary.empty and runs.curves.empty
    assert set(runs.summary) <= set(full.summary) and set(runs.curves) == set(full.curves)
    for name in ("lr", "epochs", "seed", "test_accuracy", "started", "train_seconds"):
        assert runs.summary[name].dtype.kind == full.summary[name].dtype.kind, name
    assert runs.summary.groupby(["setting", "loss"]).size().empty


def test_of_sweeps_with_one_name_the_newest_is_taken_and_noted(store):
    store.add("a")
    first, second = store.add_sweep("twin", ["a"]), store.add_sweep("twin", ["a"])
    runs = store.load(sweep="twin")
    assert list(runs.sweeps) == [second]
    assert runs.notes == [f"2 sweeps are named 'twin': this is the newest; the others are {first}"]
    store.client.delete_run(second)
    assert list(store.load(sweep="twin").sweeps) == [first] and store.load(sweep="twin").notes == []


def test_an_unknown_sweep_is_answered_with_those_there_are(store):
    run_id, one = store.add("a"), store.add_sweep("one", ["a"])
    store.add_experiment("second")
    for wrong in ("tow", run_id):
        words = rf"has the run id or name '{wrong}'; expected one of: 'one' \({one}\)$"
        with pytest.raises(ReadError, match=words):
            store.load(sweep=wrong)
    assert store.load(sweep="one").experiments == ("mine",)
    words = "no sweep in the experiment 'second' .* expected one of: none there$"
    with pytest.raises(ReadError, match=words):
        store.load(experiment="second", sweep="one")


@pytest.mark.parametrize(
    "grid", [None, b"", b"{", b"[]", b'{"identities": 3}', b'{"identities": [3]}', b"\xff\xfe"]
)
def test_a_sweep_whose_grid_is_lost_is_its_children(store, grid):
    sweep = store.add_sweep("s", None)
    if grid is not None:
        store.add_predictions(sweep, grid, "grid.json")
    child = store.add("a", tags={"mlflow.parentRunId": sweep})
    store.add("b", seed=1)
    runs = store.load(sweep=sweep)
    assert runs.summary["run_id"].tolist() == [child] and runs.missing.empty
    lost = "the sweep's list of runs (its artifact grid.json) is missing or damaged"
    assert runs.notes[0].startswith(lost)


def _planned(runs: Runs) -> dict[tuple[str, int], bool]:
    """By loss and seed, whether it was planned."""
    rows = runs.summary[["loss", "seed", "planned"]].itertuples(index=False)
    return {(loss, seed): planned for loss, seed, planned in rows}


def _sweep(store: Store, losses: str, seeds: Iterable[int], tag: str | None) -> str:
    """A sweep that says its seeds are `tag`, and has started runs of these losses and seeds."""
    parent = store.add_sweep("a sweep", [], tags={} if tag is None else {"seeds": tag})
    for loss in losses.split():
        for seed in seeds:
            store.add(loss=loss, seed=seed, tags={"mlflow.parentRunId": parent})
    return parent


def test_seeds_of_the_first_sweep_are_planned_and_later_ones_are_not(store):
    _sweep(store, "ce mse", range(3), "0-2")
    _sweep(store, "ce mse", (3, 4), "0-4")  # more seeds, after the first were seen
    store.add(loss="ce", seed=5)
    _sweep(store, "focal", range(4), "0-3")  # another loss has a plan of its own
    store.add(loss="mse", seed=1, epochs=7)  # and so have other epochs: here, none
    runs = store.load()
    assert runs.summary["planned"].dtype == bool
    expected = {(loss, seed): seed < 3 for loss in ("ce", "mse") for seed in range(5)}
    expected |= {("ce", 5): False} | {("focal", seed): True for seed in range(4)}
    assert _planned(store.load(where={"epochs": 2})) == expected
    assert not runs.summary.query("epochs == 7")["planned"].any()


def test_a_sweep_that_shows_a_part_has_the_plan_of_the_whole(store):
    _sweep(store, "ce", range(2), "0-1")
    later = store.add_sweep("later", [f"s{seed}" for seed in range(4)], tags={"seeds": "0-3"})
    for seed in range(4):
        store.add(f"s{seed}", seed=seed, tags={"mlflow.parentRunId": later} if seed > 1 else {})
    assert _planned(store.load(sweep=later)) == {("ce", seed): seed < 2 for seed in range(4)}


def test_a_sweep_that_was_interrupted_has_planned_the_seeds_that_are_missing(store):
    _sweep(store, "ce", range(2), "0-9")
    _sweep(store, "ce", (2, 3, 10), "0-10")
    assert _planned(store.load()) == {("ce", seed): seed < 10 for seed in (0, 1, 2, 3, 10)}


def test_single_runs_plan_nothing_and_no_sweep_plans_them_afterwards(store):
    for seed in range(3):
        store.add(seed=seed)
    assert not store.load().summary["planned"].any()
    _sweep(store, "ce", (3, 4), "0-4")
    assert _planned(store.load()) == {("ce", seed): seed > 2 for seed in range(5)}


def test_one_seed_that_was_seen_before_belongs_to_the_plan_of_the_first_sweep_of_several(store):
    _sweep(store, "ce", (0,), "0")
    _sweep(store, "ce", (1, 2), "0-2")
    assert _planned(store.load()) == {("ce", seed): True for seed in range(3)}


@pytest.mark.parametrize("tag", [None, "a lot", "0-99999999999"])
def test_a_sweep_that_does_not_say_its_seeds_has_planned_those_of_its_runs(store, tag):
    _sweep(store, "ce", range(2), tag)
    _sweep(store, "ce", (2,), "0-2")
    assert _planned(store.load()) == {("ce", 0): True, ("ce", 1): True, ("ce", 2): False}


def test_a_plan_is_of_the_code_it_was_made_for(store):
    parent = store.add_sweep("old", [], tags={"seeds": "0-1"})
    for seed in range(2):
        store.add(seed=seed, tags={"mlflow.parentRunId": parent, "code": "1" * 64})
    new = store.add_sweep("new", [], tags={"seeds": "0-4"})
    for seed in range(5):
        store.add(seed=seed, tags={"mlflow.parentRunId": new, "code": "2" * 64})
    assert _planned(store.load()) == {("ce", seed): True for seed in range(5)}
    both = store.load(versions=True).summary.groupby("code")["planned"].sum()
    assert both.to_dict() == {"1" * 64: 2, "2" * 64: 5}


def test_a_plan_outlives_its_sweep_and_is_read_again_by_a_check(store):
    parent = _sweep(store, "ce", range(2), "0-1")
    _sweep(store, "ce", (2,), "0-2")
    store.client.delete_run(parent)
    runs = store.load()
    assert _planned(runs) == {("ce", 0): True, ("ce", 1): True, ("ce", 2): False}
    assert _planned(store.load(run_ids=list(runs.summary["run_id"]))) == _planned(runs)


def test_the_questions_that_were_declared(store):
    first = {"metric": "test/nll", "margin": 0.5, "reference": "mse", "epochs": 3, "seeds": "0-2"}
    second = first | {"margin": None, "seeds": ""}
    broken = [second | {"metric": "test/loss"}, second | {"epochs": "three"}, [second], "text", 5]
    broken += [second | {"seeds": "a"}, second | {"margin": []}, {"metric": "test/nll"}]
    ids = []
    for content in (second, *broken, first):
        tags = {"question": json.dumps(content)}
        ids.append(store.add_sweep("mine", ["i"], tags=tags))
    store.add_sweep("says nothing", ["i"])
    store.add_sweep("damaged", ["i"], tags={"question": "{"})
    store.client.delete_run(store.add_sweep("deleted", ["i"], tags={"question": json.dumps(first)}))
    run_id = store.add("i")
    at = [pd.Timestamp(START + 10_000 * place, unit="ms", tz="UTC") for place in (1, len(ids))]
    expected = [
        Declared(ids[0], "mine", at[0], "test/nll", None, "mse", 3, ()),
        Declared(ids[-1], "mine", at[1], "test/nll", 0.5, "mse", 3, (0, 1, 2)),
    ]
    for arguments in ({}, {"sweep": ids[0]}, {"run_ids": [run_id]}):
        assert store.load(**arguments).declared == expected


def test_the_list_of_sweeps(store):
    one = store.add_sweep("one", ["a"])
    two = store.add_sweep("two", ["a"], status="KILLED")
    store.client.delete_run(store.add_sweep("gone", []))
    store.add("a")
    expected = pd.DataFrame(
        {
            "run_id": [two, one],
            "name": ["two", "one"],
            "experiment": ["mine"] * 2,
            "status": ["KILLED", "FINISHED"],
            "started": pd.to_datetime([START + 20_000, START + 10_000], unit="ms", utc=True),
            "seconds": [5.0, 5.0],
        }
    )
    pd.testing.assert_frame_equal(sweeps(store.uri, "mine"), expected, check_dtype=False)
    pd.testing.assert_frame_equal(sweeps(store.uri), expected, check_dtype=False)
    store.add_experiment("second")
    assert sweeps(store.uri, "second").empty
    with pytest.raises(ReadError, match="no experiment"):
        sweeps(store.uri, "third")
