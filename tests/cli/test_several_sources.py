"""One report on several sweeps or experiments."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.commands import Report
from helpers.stores import Store

from reports import analysis, options, verdicts
from reports.page import caveats
from reports.question import Question
from reports.runs import ReadError, selection
from reports.runs.records import Run

QUESTION = {"metric": "test/accuracy", "margin": None, "reference": "ce", "epochs": 2}


def add_sweep(
    store: Store,
    name: str,
    losses: str,
    seeds: range,
    experiment: str | None = None,
    declared: str = "",
    **question,
) -> str:
    """A sweep of these losses and seeds, which declares its seeds and, if given, a question."""
    tags = {"seeds": declared or f"{seeds[0]}-{seeds[-1]}"}
    if question:
        tags["question"] = json.dumps(QUESTION | {"seeds": tags["seeds"]} | question)
    identities = [f"{loss} {seed}" for loss in losses.split() for seed in seeds]
    parent = store.add_sweep(name, identities, tags=tags, experiment=experiment)
    for loss in losses.split():
        for seed in seeds:
            tags = {"mlflow.parentRunId": parent, "init_hash": f"i{seed}", "order_hash": f"o{seed}"}
            test = {"test/accuracy": (0.75 if loss == "ce" else 0.77) + 0.001 * (seed % 4)}
            how = {"experiment": experiment, "loss": loss, "seed": seed}
            store.add(f"{loss} {seed}", test=test, tags=tags, **how)
    return parent


def run_ids(store: Store, **arguments) -> dict[tuple[str, int], str]:
    return store.load(**arguments).summary.set_index(["loss", "seed"])["run_id"].to_dict()


def test_runs_of_several_sweeps_are_taken_together_and_each_counts_once(store):
    one = add_sweep(store, "one", "ce mse", range(3))
    two = add_sweep(store, "two", "ce focal", range(2, 5))  # ce 2 again
    add_sweep(store, "three", "ce", range(9, 11))
    runs = store.load(sweep=[two[:9], "one"])
    assert runs.sweeps == {two: "two", one: "one"} and runs.experiments == ("mine",)
    counts = runs.summary.groupby("loss")["seed"].agg(list).to_dict()
    assert counts == {"ce": [0, 1, 2, 3, 4], "mse": [0, 1, 2], "focal": [2, 3, 4]}
    assert run_ids(store, sweep=["one", "two"])["ce", 2] == run_ids(store, sweep="two")["ce", 2]
    assert runs.notes == [
        f"the runs of 2 sweeps together, each run once: 'two' ({two}), 'one' ({one})",
        "left out: 1 run of configurations that ran more than once; the newest FINISHED run counts",
    ]
    assert store.load(sweep=["one", one]).sweeps == {one: "one"}
    with pytest.raises(ReadError, match=r"no sweep in .* has the run id or name 'four'"):
        store.load(sweep=["one", "four"])


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so() -> None:
    every = [Run(run_id, "s", "0", "FINISHED", 0, 0, False, {}) for run_id in ("ab1", "ab2", "b0")]
    store: Any = SimpleNamespace(uri="sqlite:///mlflow.db")
    assert selection._sweep_named(store, "b", every, "here", []).run_id == "b0"
    with pytest.raises(ReadError, match="the ids of several begin with 'ab': ab1, ab2"):
        selection._sweep_named(store, "ab", every, "here", [])


def test_runs_of_several_experiments_are_taken_together(store):
    other = store.add_experiment("other")
    add_sweep(store, "one", "ce", range(3))
    there = add_sweep(store, "two", "mse ce", range(3), experiment=other)
    runs = store.load(experiment=["mine", "other"])
    assert runs.experiments == ("mine", "other") and runs.sweeps == {}
    assert runs.summary.groupby("loss")["experiment"].agg(set).to_dict() == {
        "ce": {"other"}, "mse": {"other"},
    }  # fmt: skip
    assert len(runs.summary) == 6  # ce is in both
    both = store.load(sweep=["one", there])
    assert both.experiments == ("mine", "other") and len(both.summary) == 6
    store.add_experiment("empty")
    with pytest.raises(ReadError, match=r"the experiment 'empty' in .* has no runs"):
        store.load(experiment=["mine", "empty"])


def test_code_of_two_sweeps_is_never_pooled(store):
    old, new = (store.add_sweep(name, [name]) for name in ("old", "new"))
    for name, code in (("old", "1"), ("new", "2")):
        store.add(name, tags={"code": code * 64}, seed=code)
    assert len(store.load(sweep=old).summary) == 1
    runs = store.load(sweep=[old, new])
    assert runs.summary["code"].tolist() == ["2" * 64] and not len(runs.missing)
    assert any("left out: 1 run of ce made by earlier code" in note for note in runs.notes)
    assert len(store.load(sweep=[old, new], versions=True).summary) == 2


def test_seeds_of_a_sweep_that_saw_no_result_of_the_other_are_planned(store):
    first = add_sweep(store, "first", "ce", range(3))
    add_sweep(store, "later", "ce", range(3, 6))
    planned = store.load(sweep=["first", "later"]).summary.set_index("seed")["planned"]
    assert planned.to_dict() == {seed: seed < 3 for seed in range(6)}
    start = store.client.get_run(first).info.start_time
    tags = {"kind": "sweep", "seeds": "3-5"}
    side_by_side = store.client.create_run(store.experiment, start + 1, tags).info.run_id
    grid = json.dumps({"identities": [f"ce {n}" for n in range(6)]})
    store.client.log_text(side_by_side, grid, "grid.json")
    for run in store.client.search_runs([store.experiment], "tags.kind = 'run'"):
        if int(run.data.params["seed"]) > 2:
            store.client.set_tag(run.info.run_id, "mlflow.parentRunId", side_by_side)
    planned = store.load(sweep=["first", side_by_side]).summary["planned"]
    assert planned.tolist() == [True] * 6


def test_declared_seeds_without_a_result_leave_their_test_unspent(store):
    add_sweep(store, "one", "ce mse", range(6), declared="0-7")
    summary, curves = (store.load().summary, store.load().curves)
    assert set(summary["declared_missing"]) == {2} and summary["planned"].all()
    (section,) = analysis.sections(summary, curves, Question(), lambda run_id: None)
    (row,) = section.headline.to_dict("records")
    assert (row["n"], row["planned_n"]) == (6, 0)
    facts = {fact.term: fact for fact in caveats.facts(section)}
    lacking = "declared seeds without a result so far: 2 of ce, 2 of mse."
    assert facts["Declared seeds"].text.startswith(lacking)
    looks = verdicts.document([section], {})["contrasts"][0]["looks"]
    assert (looks["declared_missing"], looks["declared"], looks["later"]) == (2, 0, 6)
    assert (looks["alpha_spent"], looks["alpha_of_later"]) == (0, 0.005)
    for loss in ("ce", "mse"):
        for seed in (6, 7):
            hashes = {"init_hash": f"i{seed}", "order_hash": f"o{seed}"}
            test = {"test/accuracy": 0.75 if loss == "ce" else 0.77}
            store.add(f"{loss} {seed}", test=test, tags=hashes, **{"loss": loss, "seed": seed})
    whole = store.load()
    assert set(whole.summary["declared_missing"]) == {0}
    (section,) = analysis.sections(whole.summary, whole.curves, Question(), lambda run_id: None)
    content = verdicts.document([section], {})["contrasts"][0]
    assert content["looks"]["declared"] == 8 and content["looks"]["alpha_spent"] == 0.045
    assert content["population"] == {
        "seeds_a": list(range(8)), "seeds_b": list(range(8)), "images": 0,
    }  # fmt: skip
    assert content["rare_seeds"] == 0.3123  # 1 - 0.05 ** (1 / 8)
    estimand = "mean over seeds of test accuracy of mse minus that of ce"
    assert content["estimand"].startswith(estimand)
    terms = {fact.term: fact.text for fact in caveats.facts(section)}
    assert "Declared seeds" not in terms
    assert terms["Rare seeds"].startswith("a result that none of 8 seeds showed")
    assert "up to 31 % of all seeds" in terms["Rare seeds"]


def test_only_a_question_that_all_sweeps_declared_is_common(store):
    one = add_sweep(store, "one", "ce mse", range(2), margin=0.5)
    two = add_sweep(store, "two", "ce mse", range(2, 5), margin=0.5)
    three = add_sweep(store, "three", "focal", range(2), margin=0.1)
    four = add_sweep(store, "four", "nce", range(2))
    together = store.load(sweep=[one, two])
    assert [each.seeds for each in together.declared] == [(0, 1, 2, 3, 4)] * 2
    assert together.disagreement == ""
    different = store.load(sweep=[one, three]).disagreement
    assert different == "'one', 'three' declared different questions"
    runs = store.load(sweep=[one, two, four])
    assert runs.disagreement == "no question was declared with 'four'"
    other = store.add_experiment("other")
    add_sweep(store, "five", "ce", range(2), experiment=other, margin=0.1)
    assert store.load(experiment=["mine", "other"]).disagreement == ""
    assert {each.margin for each in store.load(experiment=["other", "mine"]).declared} == {0.1}


@pytest.mark.parametrize(
    ("typed", "read", "shown"),
    [
        ("sweep=a,b", "sweep=[a,b]", "sweep=a,b"),
        ("experiment='it,s',b", "experiment=['it,s',b]", "experiment='it,s',b"),
        ("sweep='a,b'", "sweep='a,b'", "sweep='a,b'"),
        ("sweep=[a,b]", "sweep=[a,b]", "sweep=a,b"),
        ("sweep=a", "sweep=a", "sweep=a"),
        ("sweep=a,'", "sweep=a,'", "sweep=a,'"),
        ("output=a,b", "output=a,b", "output=a,b"),
    ],
)
def test_several_names_are_a_list_for_hydra(typed: str, read: str, shown: str) -> None:
    assert options.lengthen([typed]) == [read]
    assert options.shorten([read]) == [shown]


@pytest.mark.slow
def test_a_report_on_two_sweeps_of_two_experiments(
    store: Store, tmp_path: Path, report: Report
) -> None:
    other = store.add_experiment("other")
    one = add_sweep(store, "one", "ce", range(3), margin=0.5)
    two = add_sweep(store, "two", "mse", range(3), experiment=other, margin=0.5)
    done = report(tmp_path, f"sweep={one},{two}", "margin=0.5", "formats=[svg]", "output=out")
    assert done.code == 0, done.text
    assert f"note: the runs of 2 sweeps together, each run once: 'one' ({one})" in done.text
    assert "Confirmatory: exactly this question was declared" in done.text
    assert "not stored in MLflow: these runs come from several commands" in done.text
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "2 sweeps: one, two" in page.splitlines()[2]
    printed = [
        re.sub(r"\s+# .*", "", line)
        for line in page.splitlines()
        if line.startswith(("generate report", "python experiments/run.py"))
    ]
    assert f"generate report sweep={one},{two} margin=0.5 'formats=[svg]' output=out" in printed
    assert f"generate report margin=0.5 'formats=[svg]' output=out sweep={one}" in printed
    runs = [shlex.split(line) for line in printed if line.startswith("python")]
    assert {tuple(w for w in line if w.startswith(("loss=", "experiment="))) for line in runs} == {
        ("loss=ce", "experiment=mine"), ("loss=mse", "experiment=other"),
    }  # fmt: skip
    check = next(line for line in printed if "check=" in line)
    held = report(tmp_path, *shlex.split(check)[2:])
    assert held.code == 0 and "verdicts of out/verdicts.json hold" in held.text
    source = json.loads((tmp_path / "out" / "verdicts.json").read_text())["source"]
    assert (source["experiments"], source["sweeps"]) == (["mine", "other"], [one, two])
