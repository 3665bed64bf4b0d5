"""What both halves of the project use: commands that can be typed. Imports nothing heavy."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A string that Hydra reads as this string without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+")
# What Hydra may read as something else than a string, though it has only such characters.
_NO_STRING = re.compile(
    r"true|false|null|[+-]?(?:inf|nan)|[+-]?[\d._]+(?:e[+-]?[\d_]+)?", re.IGNORECASE
)

_MEANS_SOMETHING = re.compile(r"[][(){}:=, \t\\]")  # outside quotes, to Hydra
_BACKSLASHED = r"\\\g<0>"


class Typed(str):
    """A value as it is typed on the command line, in Hydra's grammar."""


def override(key: str, *values: Any) -> str:
    """One Hydra override, `key=value`, that sets exactly this value, or `key=one,two` for a sweep.

    A string stays a string, whatever is in it: `experiment="1e3"`. The result is not yet quoted
    for a shell; `command` does that.

    Args:
        key: As typed, e.g. `lr`, `where.loss.gamma` or `+loss.note`.
        values: Each is None, a bool, a number, a string, or a list or mapping of such values. The
            keys of a mapping are names or whole numbers, since Hydra's grammar has no quoted keys.
    """
    return f"{key}={','.join(map(_element, values))}"


def command(program: str, *words: str) -> str:
    """A line that can be pasted into a POSIX shell.

    Args:
        program: The words that need no quotes, e.g. `generate report`.
        words: The arguments as the program is to receive them.
    """
    return " ".join([program, *map(shlex.quote, words)])


def is_default(uri: str | None) -> bool:
    """Whether a command finds the store at `uri` here by itself, without being told its address."""
    default = ("sqlite:///mlflow.db", f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    return "MLFLOW_TRACKING_URI" not in os.environ and (uri is None or uri in default)


def mlflow_for(uri: str | None) -> str:
    """MLflow's own program, as a command for the store at `uri` begins: `mlflow` and its store.

    Args:
        uri: The store's address; None for `mlflow.db` in the current directory.
    """
    if is_default(uri) and not Path("mlruns").exists():
        return "mlflow"
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri or 'sqlite:///mlflow.db')} mlflow"


def value_of_param(text: str) -> Any:
    """The value that MLflow keeps as the param `text`.

    None, a bool or a number whose `str` it is. A list or a mapping, which a run keeps as it is
    typed, as `Typed`, or as the value whose `str` it is in older runs. Else the text itself.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if str(value) == text and not isinstance(value, (str, bytes)):
        return value
    return Typed(text) if re.fullmatch(r"\[.*\]|\{.*\}", text, re.DOTALL) else text


def _element(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Typed):
        return value
    if hasattr(value, "item"):  # a scalar of numpy's
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (
            f"{_MEANS_SOMETHING.sub(_BACKSLASHED, str(key))}:{_element(entry)}"
            for key, entry in value.items()
        )
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_element, value))}]"
    return _string(str(value))


def _string(text: str) -> str:
    """A string in Hydra's grammar, with quotes where it needs them.

    Double quotes, since the shell's are single ones. Backslashes mean something to Hydra only before
    a quote, and to OmegaConf only before `${`, which would be an interpolation.
    """
    if _PLAIN.fullmatch(text) and not _NO_STRING.fullmatch(text):
        return text
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    # The closing quote counts as one, too.
    return '"' + re.sub(r'(\\*)"', r'\1\1\\"', literal + '"')[:-2] + '"'
