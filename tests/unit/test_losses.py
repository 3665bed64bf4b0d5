"""Every loss of conf/loss/, by its option: the contract, the values, the gradients.

A new option is found by itself and is held to everything a loss of its head is held to. It fails
here until it has a value in GOLDEN and, where it lies in experiments/losses/, its formula in
`formula` and its hyperparameters in PERMITTED. What only some losses satisfy is listed by option.
What other libraries compute is compared in test_losses_elsewhere.py.
"""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import pkgutil
import re

import pytest
from helpers.losses import (
    ALL,
    CONFIGS,
    LAYERS,
    LOSSES,
    ON_NUMBERS,
    OURS,
    each_option,
    parameters,
)  # fmt: skip

from experiments import context, heads, losses

MODULES = [
    importlib.import_module(f"{losses.__name__}.{module.name}")
    for module in pkgutil.iter_modules(losses.__path__)
    if module.name not in {"numerics", "checks"}
]


# ---- Options: conf/loss/ and experiments/losses/ say the same ----


def test_every_public_function_of_the_modules_is_an_option_and_the_other_way_round():
    public = [
        name
        for module in MODULES
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert len(OURS) >= 35
    assert sorted(public) == sorted(OURS)
    layers = {
        name
        for module in MODULES
        for name, value in inspect.getmembers(module, inspect.isclass)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert layers == {CONFIGS[option]["_target_"].rpartition(".")[2] for option in LAYERS}
    for option in LAYERS:
        layer = context.class_of(ALL[option])
        assert layer.__name__.lower() == option.replace("_", "")
        assert re.search(r"Source: .* [12]\d{3}\b", layer.__doc__)
        defaults = inspect.signature(layer).parameters.values()
        own = {each.name: each.default for each in defaults if each.default is not each.empty}
        assert ALL[option].keywords == own


@pytest.mark.parametrize("option", OURS)
def test_an_option_names_the_function_it_is_called_after(option: str):
    assert CONFIGS[option]["_target_"] == f"experiments.losses.{option}"
    assert inspect.unwrap(LOSSES[option].func) is getattr(losses, option)


@each_option
def test_an_option_is_a_partial_function_and_states_every_hyperparameter_with_its_default(
    option: str,
):
    assert isinstance(LOSSES[option], functools.partial)
    first, second, *rest = parameters(option)
    assert first.name in heads.NAMES
    assert second.name == "labels"
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in rest)
    assert LOSSES[option].keywords == {parameter.name: parameter.default for parameter in rest}


@pytest.mark.parametrize("option", OURS)
def test_the_docstring_of_a_loss_of_ours_gives_shapes_and_source(option: str):
    text = LOSSES[option].func.__doc__
    name = parameters(option)[0].name
    head = "prediction [batch]" if option in ON_NUMBERS else f"{name} [batch, K]"
    in_words = f"    {head}, labels [batch] -> [batch]\n" in text
    name, shape = head.split(" ", 1)
    assert in_words or re.search(rf"Args:\n +{name}: .*{re.escape(shape)}\.\n", text)
    source = re.search(r"Source: .* [12]\d{3}\b", text, flags=re.DOTALL)
    assert source or option == "ce_double_softmax"


def test_the_examples_in_the_docstrings_print_what_they_say():
    results = [doctest.testmod(module) for module in MODULES]
    assert len(results) >= 4
    assert all(result.attempted > 2 and result.failed == 0 for result in results)
