"""Guards: what they refuse, and that every function of ours has one for each of its values."""

from __future__ import annotations

import importlib
import inspect

import paddle
import pytest
import yaml
from helpers.commands import ROOT

from experiments import context, guards

OPTIONS = {
    (group, path.stem): yaml.safe_load(path.read_text())
    for group in ("loss", "model", "optimizer", "scheduler")
    for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
    # neither an option without a function of its own, nor one made of others (test_mixtures.py)
    if "_target_: ???" not in path.read_text() and path.read_text().count("_target_") == 1
}


def named(target: str):
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def call(group: str, function, values: dict) -> str:
    """What a function says of its own values, called as the program calls it; or nothing."""
    on_numbers = "prediction" in inspect.signature(function).parameters
    outputs = paddle.zeros([2] if on_numbers else [2, 10])
    of_run = context.Context(epoch=1, epochs=1, class_counts=paddle.ones([10]))
    seen = of_run.of(context.needed(function)) if group == "loss" else {}
    weights = [paddle.create_parameter([2, 2], "float32")]
    arguments, others = {
        "loss": ((outputs, paddle.to_tensor([0, 1])), seen),
        "model": ((10,), {}),
        "optimizer": ((), {"learning_rate": 0.1, "parameters": weights}),
        "scheduler": ((0.1,), {"steps": 10}),
    }[group]
    try:
        if context.class_of(function):
            of_run.features, of_run.classes, arguments, others = 4, 10, (), {}
            others = of_run.of(context.needed_to_build(function))
        function(*arguments, **others, **values)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("value", "bounds", "words"),
    [
        (-1, {"at_least": 0}, "finite number at least 0"),
        (0, {"above": 0}, "finite number above 0"),
        (1, {"at_least": 0, "below": 1}, "finite number at least 0 and below 1"),
        (1.5, {"above": 0, "at_most": 1}, "finite number above 0 and at most 1"),
        (1.5, {"at_least": 1, "whole": True}, "whole number at least 1"),
        (0.5, {"whole": True}, "whole number"),
        (float("nan"), {}, "finite number"),
        (float("inf"), {}, "finite number"),
    ],
)
def test_a_number_out_of_bounds_is_refused(value, bounds, words):
    with pytest.raises(ValueError) as error:
        guards.check_number("x", value, **bounds)
    assert str(error.value) == f"x: expected a {words}, got {value}"


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="x: expected a number, got"):
        guards.check_number("x", value)


def test_what_is_within_passes():
    guards.check_number("x", 0, at_least=0, below=1)
    guards.check_number("x", 1.0, above=0, at_most=1, whole=True)
    guards.check_number("x", None, at_least=0, optional=True)
    guards.check_flag("x", False)
    with pytest.raises(TypeError, match="x: expected true or false, got 0"):
        guards.check_flag("x", 0)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_a_function_refuses_wrong_values_by_name(group, option):
    """Every value of every option of ours, each replaced by what it cannot be."""
    values = OPTIONS[group, option]
    function = named(values["_target_"])
    own = {name: value for name, value in values.items() if not name.startswith("_")}
    assert call(group, function, own) == ""
    for name in own:
        for wrong in ("abc", [1], float("nan"), float("inf")):
            if (name, wrong) == ("hidden", [1]):
                continue  # the widths of several layers
            words = call(group, function, own | {name: wrong})
            assert words.startswith(f"{name}: expected ")
            assert words.endswith(f"got {wrong!r}")
