"""Which finished runs count for a command, and what it says of those of other code."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.settings import BASE

from experiments import reuse, source_digest

MINE = dataclasses.replace(BASE, choices=BASE.choices | {"loss": "mine"})
NOW = MINE.code
OLD = source_digest.Code(
    NOW.parts | {"loss": NOW.parts["loss"] | {"my_losses.py": "0" * 12}}, NOW.metrics, {}
)


def run(number: int, identity: str, status: str = "FINISHED", **more: Any) -> Any:
    tags = {"identity": identity, "settings": MINE.settings_digest("d"), "outcome": "ok"}
    tags |= {"processor": "p", "kernel": "stock", **NOW.tags} | more.get("tags", {})
    tags = {name: value for name, value in tags.items() if value is not None}
    return SimpleNamespace(
        info=SimpleNamespace(
            run_id=f"run{number}", run_name="name", status=status, start_time=number
        ),
        data=SimpleNamespace(
            tags=tags, params=MINE.choices | more.get("params", {}), metrics=more.get("metrics", {})
        ),
    )


def look_up(*runs: Any, job: Any = MINE) -> reuse.Earlier:
    by_identity: dict[str, list[Any]] = {}
    for each in runs:
        by_identity.setdefault(each.data.tags["identity"], []).append(each)
    return reuse.look_up(by_identity, [job], ["d"])


def test_the_newest_finished_run_counts():
    own = MINE.identity("d")
    earlier = look_up(run(1, own), run(2, own), run(3, own, "FAILED"))
    assert earlier.identities == [own]
    assert earlier.runs[own].info.run_id == "run2"
    assert earlier.notes == []
    earlier = look_up(run(1, own, "KILLED"), run(2, own, "FAILED"))
    assert earlier.runs[own].info.run_id == "run2"


@pytest.mark.parametrize(
    ("tags", "status", "note"),
    [
        (OLD.tags, "FINISHED",
         "1 finished run of loss=mine, made before my_losses.py changed: run again (reuse=any uses "
         "them)"),
        (OLD.tags, "KILLED", "1 unfinished run of loss=mine, made before my_losses.py changed: "
                             "start over"),
        ({"code": None, "code.parts": None, "settings": None}, "FINISHED",
         "1 finished run of loss=mine, code unknown: run again (reuse=any uses them)"),
    ],
)  # fmt: skip
def test_what_is_said_of_runs_of_other_code(tags, status, note):
    identity = MINE.settings_digest("d") if tags.get("settings", "") is None else "other"
    earlier = look_up(run(1, identity, status, tags=tags))
    assert earlier.identities == [MINE.identity("d")]
    assert earlier.runs == {}
    assert earlier.notes == [note]


def test_runs_that_differ_in_more_than_code_are_no_earlier_versions():
    copy = run(1, "other", tags=OLD.tags, params={"loss": "ce"})
    values = run(2, "another", tags=OLD.tags | {"settings": "else"})
    running = run(3, "third", "RUNNING", tags=OLD.tags)
    assert look_up(copy, values).notes == []
    assert look_up(running).notes == []


def test_reuse_any_takes_the_newest_finished_run_of_other_code():
    job = dataclasses.replace(MINE, reuse="any")
    runs = run(1, "a", tags=OLD.tags), run(2, "b", tags=OLD.tags), run(3, "c", "KILLED")
    earlier = look_up(*runs, job=job)
    assert earlier.identities == ["b"]
    assert earlier.runs["b"].info.run_id == "run2"
    assert earlier.notes == [
        "1 finished run of loss=mine, made before my_losses.py changed: used (reuse=any)"
    ]
    own = run(4, MINE.identity("d"))
    assert look_up(*runs, own, job=job).identities == [MINE.identity("d")]
    forced = dataclasses.replace(job, force=True)
    assert look_up(*runs, job=forced).identities == [MINE.identity("d")]


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({}, "though processor, kernel, versions and code are equal: determinism is broken"),
        ({"processor": "q"}, "made under other conditions (processor p, then q)"),
        (
            {"code.metrics": "0" * 64},
            f"(code of the metrics {NOW.metrics[:12]}, then 000000000000)",
        ),
        ({"code": None}, f"(code {NOW.digest[:12]}, then unknown)"),
    ],
)
def test_finished_runs_of_one_identity_that_disagree(tags, why):
    same = {"val/loss": 1.0, "time/train_seconds": 1.0}
    then = run(1, "a", metrics=same | {"test/accuracy": 0.5})
    now = run(2, "a", tags=tags, metrics=same | {"test/accuracy": 0.75, "time/train_seconds": 2.0})
    failed = run(3, "a", "FAILED", metrics={"val/loss": 7.0})
    (said,) = reuse.disagreements({"a": [then, now, failed]}, ["a"])
    assert said.startswith("two finished runs of name disagree, ")
    assert why in said
    differ = "test/accuracy 0.5, then 0.75, 1 metric in all (runs run1 and run2); the newest counts"
    assert said.endswith(differ)


def test_runs_of_unknown_code_that_disagree_do_not_say_that_determinism_is_broken():
    unknown = dict.fromkeys(NOW.tags)
    then, now = (run(n, "a", tags=unknown, metrics={"val/loss": float(n)}) for n in (1, 2))
    (said,) = reuse.disagreements({"a": [then, now]}, ["a"])
    assert "whose code is unknown and may have changed in between" in said


def test_finished_runs_that_agree_or_ended_otherwise():
    a = run(1, "a", metrics={"val/loss": 1.0, "time/train_seconds": 1.0})
    b = run(2, "a", metrics={"val/loss": 1.0, "time/train_seconds": 2.0, "test/new": 3.0})
    assert reuse.disagreements({"a": [a, b]}, ["a"]) == []
    c = run(3, "a", tags={"outcome": "diverged"}, metrics={"val/loss": 1.0})
    (said,) = reuse.disagreements({"a": [a, c]}, ["a"])
    assert "outcome ok, then diverged (runs run1 and run3)" in said
    assert reuse.disagreements({}, ["a"]) == []


def test_a_run_keeps_which_files_it_reached():
    assert reuse.changed_files(run(1, "a"), NOW) == []
    assert reuse.changed_files(run(1, "a", tags=OLD.tags), NOW) == ["my_losses.py"]
    assert json.loads(run(1, "a").data.tags["code.parts"]) == NOW.parts
