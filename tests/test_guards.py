"""Guards: what they refuse, and that a function read for its guards refuses what the function itself does."""

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
    path.stem: yaml.safe_load(path.read_text())
    for group in ("loss", "model", "optimizer", "scheduler")
    for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
}


def named(target: str):
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def call(function, values: dict) -> str:
    """What a function says of its own values, called as the program calls it; empty where it says nothing."""
    module = function.__module__.removeprefix("experiments.")
    weights = [paddle.create_parameter([2, 2], "float32")]
    arguments, others = {
        "models": ((10,), {}),
        "optimizers": ((), {"learning_rate": 0.1, "parameters": weights}),
        "schedulers": ((0.1,), {"steps": 10}),
    }.get(module, ((paddle.zeros([2, 10]), paddle.to_tensor([0, 1])), {}))
    if next(iter(inspect.signature(function).parameters)) == "prediction":
        arguments = (paddle.zeros([2]), arguments[1])
    try:
        function(*arguments, **others, **values)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("value", "bounds", "words"),
    [
        (-1, {"at_least": 0}, "x: expected a finite number at least 0, came -1"),
        (0, {"above": 0}, "x: expected a finite number above 0, came 0"),
        (1, {"at_least": 0, "below": 1}, "x: expected a finite number at least 0 and below 1, came 1"),
        (1.5, {"above": 0, "at_most": 1}, "x: expected a finite number above 0 and at most 1, came 1.5"),
        (1.5, {"at_least": 1, "whole": True}, "x: expected a finite whole number at least 1, came 1.5"),
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


@pytest.mark.parametrize("option", OPTIONS)
def test_a_function_alone_takes_and_refuses_what_the_function_does(option):
    """Every value of every option of ours, each replaced by each of these: the same words, or none from both."""
    target = OPTIONS[option]["_target_"]
    function, alone = named(target), guards.alone(target)
    signature = inspect.signature(function)
    assert [(p.name, p.kind, p.default) for p in inspect.signature(alone).parameters.values()] == [
        (p.name, p.kind, p.default) for p in signature.parameters.values()
    ]
    own = {name: value for name, value in OPTIONS[option].items() if not name.startswith("_")}
    blank = [None for p in signature.parameters.values() if p.kind != p.KEYWORD_ONLY]
    passed = dict.fromkeys(
        p.name for p in signature.parameters.values() if p.kind == p.KEYWORD_ONLY and p.name not in own
    )
    said = []
    for name in own:
        for value in (-1.5, -1, 0, 0.5, 1, 1.5, 5, "abc", True, None, float("nan"), float("inf")):
            values = own | {name: value}
            words = call(function, values)
            try:
                alone(*blank, **passed, **values)
            except (TypeError, ValueError) as error:
                assert str(error) == words, (name, value)
                said.append(words)
            else:
                assert words == "", (name, value)
    assert len(said) >= 3 * len(own)  # "abc", nan and inf at least


def test_a_users_module_is_read_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "heavy.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "mine.py").write_text(
        "from heavy import *\n"
        "from parts import shared\n"
        "def own(logits: Tensor, labels: Tensor, *, a: float = -1, b: int = 2) -> Tensor:\n"
        "    'What it does.'\n"
        "    check_number('a', a, at_least=0)\n"
        "    check_number('b', b, at_least=a, at_most=LIMIT)\n"
        "    return open_the_gates(logits)\n"
        "@decorated\n"
        "def wrapped(logits, labels): ...\n"
        "def computed(logits, labels, *, a=LIMIT): ...\n"
        "other = own\n"
        "def twice(logits, labels): ...\n"
        "twice = partial(twice, 1)\n"
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text(
        "def shared(x, *, c=1):\n    check_number('c', c, above=0)\n"
    )
    (tmp_path / "parts" / "inner.py").write_text("def deep(x, *, d=1):\n    check_flag('d', d)\n")
    (tmp_path / "broken.py").write_text("def own(logits:\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = guards.alone("mine.own")
    own(None, None, a=0, b=99)  # the bound that hangs on a name of the module is not known
    with pytest.raises(ValueError, match="a: expected a finite number at least 0, came -1"):
        own(None, None)
    for target, words in (("mine.shared", "c: expected a number"), ("parts.shared", "c: expected a number")):
        with pytest.raises(TypeError, match=words):
            guards.alone(target)(0, c="x")
    with pytest.raises(TypeError, match="d: expected true or false"):
        guards.alone("parts.inner.deep")(0)
    for target in (
        "mine.wrapped",
        "mine.computed",
        "mine.other",
        "mine.twice",
        "mine.nope",
        "broken.own",
        "parts.no.f",
        "own",
    ):
        assert guards.alone(target) is None, target
    assert guards.alone("math.sqrt") is None
    assert guards.alone("__main__.f") is None
    with pytest.raises(ModuleNotFoundError, match="no module named 'absent'"):
        guards.alone("absent.f")
