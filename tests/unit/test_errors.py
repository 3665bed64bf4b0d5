"""What a message says of the line of a user's own code that raised an error."""

from __future__ import annotations

import importlib.util

import pytest

from experiments.errors import place_of

SOURCE = """import json


def own():
    raise ValueError("no")


def chained():
    try:
        json.loads("{")
    except ValueError as error:
        raise RuntimeError("no JSON") from error


def in_a_library():
    json.loads("{")
"""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("own", " (ValueError in mine.py, line 5)"),
        ("chained", " (RuntimeError in mine.py, line 12)"),
        ("in_a_library", " (JSONDecodeError in mine.py, line 16)"),
    ],
)
def test_the_last_line_of_ones_own_code_is_named(tmp_path, name, place):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises((ValueError, RuntimeError)) as raised:
        getattr(module, name)()
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # without this test
    assert place_of(raised.value) == place
    wrapped = KeyError("what the program makes of it")
    wrapped.__cause__ = raised.value
    assert place_of(wrapped) == place
    assert place_of(KeyError("raised nowhere")) == ""
