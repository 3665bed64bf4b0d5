"""What is written as a command arrives as it was, through a shell and through Hydra."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from experiments.contract import command, numbers_in, override, ranges, value_of_param

ODD = [
    *("my exp", "it's", 'say "x"', "a/b: 50%", "x$HOME", "实验 1", "é", "`id`", "!1", "#x", "~x"),
    *("1e3", "true", "null", "0x10", "nan", "-inf", "1_000", "007", "1.", "-1", "12e5", "12e5ab"),
    *("", " ", " lead", "trail ", "a\tb", "a\nb", "\\", "a\\", "\\\\", '\\"', "'", '"', "*", "?"),
    *("a,b", "{a}", "{a:1}", "(b)", "range(3)", "[c]", "a=b", "a:b", "a|b", "a;b", "a&b", "<>"),
    *("${x}", "\\${x}", "\\\\${x}", "$", "${", "${oc.env:HOME}", "sqlite:////a b/m@x.db?y=1"),
]


def received(word: str) -> Any:
    """The value that a program gets which is given `word`, alone and as a job of a sweep."""
    parser = OverridesParser.create()
    ((job,),) = BasicSweeper.split_arguments([parser.parse_override(word)], None)[0]
    values = []
    for text in (word, job):
        config = OmegaConf.create({"key": None})
        OmegaConf.update(config, "key", parser.parse_override(text).value())
        values.append(OmegaConf.to_container(config, resolve=True)["key"])
    assert values[0] == values[1]
    return values[0]


def through_a_shell(line: str) -> list[str]:
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_every_string_arrives_through_a_shell_and_hydra():
    words = through_a_shell(command(r"printf '%s\0'", *(override("key", text) for text in ODD)))
    assert [received(word) for word in words] == ODD


@pytest.mark.slow
def test_strings_of_signs_that_mean_something_arrive():
    draw = random.Random(0)
    signs = "ab1e0.-+_:/%@\\\\\\'\"${} ,=()[]~\n\té实"
    for _ in range(400):
        text = "".join(draw.choice(signs) for _ in range(draw.randint(1, 6)))
        for value in (text, [text, "b"], {"key": text}):
            assert received(override("key", value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.1, "0.1"),
        (1e-05, "1e-05"),
        (2.0, "2.0"),
        (0.00123456789, "0.00123456789"),  # not to six digits
        ([1, 2.5, None, "true", "a b"], '[1,2.5,null,"true","a b"]'),
        ({"a": [1], "b c": "x"}, r"{a:[1],b\ c:x}"),
        ("ce", "ce"),
        ("06f1e2", "06f1e2"),
        ("1234e5", '"1234e5"'),
        ("my exp", '"my exp"'),
    ],
)
def test_what_a_value_looks_like(value, text):
    assert override("key", value) == f"key={text}"
    assert received(override("key", value)) == value


@pytest.mark.parametrize("value", [None, True, 3, 0.1, 1e-05, [0.1, 2], {"a": [1]}, "1e3", "a b"])
def test_a_param_is_read_as_the_value_that_it_was(value):
    assert value_of_param(str(value)) == value
    assert type(value_of_param(str(value))) is type(value)


@pytest.mark.parametrize("value", [[1, 2, 3], [[1], "a b", None], {"a": 1, "b": ["x", True]}, []])
def test_a_list_or_mapping_is_typed_again_as_its_param_has_it(value):
    text = override("", value)[1:]
    assert received(override("key", value_of_param(text))) == value


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        *(([], ""), ([0], "0"), (range(10), "0-9"), ([5, 3, 4, 3], "3-5")),
        *(([0, 2, 4], "0,2,4"), ([9, 10, 0, 1], "0-1,9-10"), ([2**32 - 1], "4294967295")),
    ],
)
def test_whole_numbers_as_a_short_text(numbers, text):
    assert ranges(numbers) == text
    assert numbers_in(text) == tuple(sorted(set(numbers)))


@pytest.mark.parametrize("text", ["a", "1-b", "1;2", "-", "0-99999999999", "0-600000,0-600000"])
def test_what_is_no_text_of_numbers_is_refused(text):
    with pytest.raises(ValueError):
        numbers_in(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_command_can_be_typed_on_any_terminal(encoding, monkeypatch):
    word = "it's 中\\é and $HOME"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    line = command("printf", "%s", word)
    assert subprocess.check_output(["bash", "-c", line.encode(encoding)]).decode() == word
