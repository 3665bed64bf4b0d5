"""Guards: what they refuse, and that what is read of a function is what the function itself takes and refuses."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import paddle
import pytest
import yaml

from experiments import guards

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {
    (group, path.stem): yaml.safe_load(path.read_text())
    for group in ("loss", "model", "optimizer", "scheduler")
    for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
}


def named(target: str):
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def call(group: str, function, values: dict) -> str:
    """What a function says of its own values, called as the program calls it; empty where it says nothing."""
    outputs = paddle.zeros(
        [2] if "prediction" in inspect.signature(function).parameters else [2, 10]
    )
    weights = [paddle.create_parameter([2, 2], "float32")]
    arguments, others = {
        "loss": ((outputs, paddle.to_tensor([0, 1])), {}),
        "model": ((10,), {}),
        "optimizer": ((), {"learning_rate": 0.1, "parameters": weights}),
        "scheduler": ((0.1,), {"steps": 10}),
    }[group]
    try:
        function(*arguments, **others, **values)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def said(declared: guards.Declared, values: dict) -> str:
    """What the guards say of these values, the first that says something."""
    for name, check in declared.guards:
        try:
            if name in values:
                check(values[name])
        except (TypeError, ValueError) as error:
            return str(error)
    return ""


@pytest.mark.parametrize(
    ("value", "bounds", "words"),
    [
        (-1, {"at_least": 0}, "x: expected a finite number at least 0, came -1"),
        (0, {"above": 0}, "x: expected a finite number above 0, came 0"),
        (
            1,
            {"at_least": 0, "below": 1},
            "x: expected a finite number at least 0 and below 1, came 1",
        ),
        (
            1.5,
            {"above": 0, "at_most": 1},
            "x: expected a finite number above 0 and at most 1, came 1.5",
        ),
        (
            1.5,
            {"at_least": 1, "whole": True},
            "x: expected a finite whole number at least 1, came 1.5",
        ),
        (float("nan"), {}, "came nan"),
        (float("inf"), {}, "came inf"),
    ],
)
def test_a_number_out_of_bounds_is_refused(value, bounds, words):
    with pytest.raises(ValueError) as error:
        guards.check_number("x", value, **bounds)
    assert words in str(error.value)


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="x: expected a number, came"):
        guards.check_number("x", value)


def test_what_is_within_passes():
    guards.check_number("x", 0, at_least=0, below=1)
    guards.check_number("x", 1.0, above=0, at_most=1, whole=True)
    guards.check_number("x", None, at_least=0, optional=True)
    guards.check_flag("x", False)
    with pytest.raises(TypeError, match="x: expected true or false, came 0"):
        guards.check_flag("x", 0)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_what_is_declared_is_what_the_function_takes_and_refuses(group, option):
    """Every value of every option of ours, each replaced by each of these: the same words, or none from both."""
    values = OPTIONS[group, option]
    function, declared = named(values["_target_"]), guards.declared(values["_target_"])
    assert declared is not None
    taken = inspect.signature(function).parameters.values()
    assert [
        (p.name, p.kind, p.default is p.empty) for p in declared.signature.parameters.values()
    ] == [(p.name, p.kind, p.default is p.empty) for p in taken]
    own = {name: value for name, value in values.items() if not name.startswith("_")}
    refused = 0
    for name in own:
        for value in (-1.5, -1, 0, 0.5, 1, 1.5, 5, "abc", True, None, float("nan"), float("inf")):
            words = call(group, function, own | {name: value})
            assert said(declared, own | {name: value}) == words, (name, value)
            refused += bool(words)
    assert refused >= 3 * len(own)  # "abc", nan and inf at least


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A package in which anything can be written, taken for this one."""
    monkeypatch.setattr(guards, "__file__", str(tmp_path / "guards.py"))
    guards.declared.cache_clear()
    yield lambda name, text: (tmp_path / name).write_text(text)
    guards.declared.cache_clear()


def test_a_guard_counts_where_its_bounds_are_constants_and_nothing_else_came_before(written):
    written(
        "mine.py",
        "raise SystemExit('imported')\n"
        "def own(logits: Tensor, labels: Tensor, *, a: float = LIMIT, b, c: int = 2, d=1) -> Tensor:\n"
        "    'What it does.'\n"
        "    check_logits(logits, labels)\n"
        "    check_number('a', a, at_least=-2, below=1e3)\n"
        "    check_number('b', b, at_most=LIMIT)\n"
        "    check_number(a, 0)\n"
        "    other.check_flag('c', c)\n"
        "    check_flag('c', c)\n"
        "    if d is None:\n"
        "        d = 0\n"
        "    check_number('d', d)\n",
    )
    found = guards.declared("experiments.mine.own")
    assert [name for name, _ in found.guards] == ["a", "c"]
    assert (
        said(found, {"a": -3, "c": True, "d": "x"})
        == "a: expected a finite number at least -2 and below 1000.0, came -3"
    )
    assert said(found, {"a": -2, "b": 99, "c": 0}) == "c: expected true or false, came 0"
    assert said(found, {"a": -2, "c": False, "d": None}) == ""
    found.signature.bind(1, 2, b=3)
    with pytest.raises(TypeError, match=r"missing a required .*'b'"):
        found.signature.bind(1, 2)


def test_what_is_not_surely_one_plain_function_is_left_to_the_import(written, tmp_path):
    written(
        "mine.py",
        "@wrapped\ndef f(x): ...\ndef g(x): ...\ndef g(y): ...\ndef h(*x): ...\nk = f\nclass C: ...\n",
    )
    written("broken.py", "def f(x:\n")
    (tmp_path / "parts").mkdir()
    written("parts/a.py", "def once(x): ...\ndef both(x): ...\n")
    written("parts/b.py", "def both(y): ...\n")
    for name in (
        "mine.f",
        "mine.g",
        "mine.h",
        "mine.k",
        "mine.C",
        "mine.nope",
        "broken.f",
        "none.f",
        "parts.both",
        "f",
    ):
        assert guards.declared(f"experiments.{name}") is None, name
    assert list(guards.declared("experiments.parts.once").signature.parameters) == ["x"]


@pytest.mark.parametrize(
    "target",
    ["paddle.optimizer.SGD", "math.sqrt", "conftest.mnist_server", "__main__.f", "experiments", ""],
)
def test_of_others_modules_nothing_is_said(target):
    assert guards.declared(target) is None


def test_a_package_that_is_not_there_is_told():
    with pytest.raises(ModuleNotFoundError, match="no module named 'absent'"):
        guards.declared("absent.module.f")
