"""Errors that end a command with a message and no traceback, and what configs make of Hydra's."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.errors import CompactHydraException
from omegaconf.errors import OmegaConfBaseException

from experiments import credentials

_NOT_A_USERS = {  # directories of code
    Path(__file__).resolve().parent,
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")),
}


class CommandError(CompactHydraException):
    """What ends the command: Hydra prints its message without a traceback and exits with 1."""


def wrong_value(error: OmegaConfBaseException) -> str:
    """The message for a value of the wrong type."""
    message = str(error).splitlines()[0]
    kinds = {"Integer": "a whole number", "Float": "a number"}
    if match := re.match(r"Value (.+) of type .+ could not be converted to (\w+)$", message):
        message = f"expected {kinds.get(match[2], match[2])}, got {match[1]}"
    elif match := re.match(r"Value (.+) is not a valid bool", message):
        message = f"expected true or false, got {match[1]}"
    elif message.endswith("is not Optional"):
        message = "expected a value, got null"
    return f"{error.full_key}: {message}"


def no_such_value(key: str, names: Sequence[str]) -> CommandError:
    """The error for a dotted name of a config whose part has only these names."""
    hint = suggestion(key.rpartition(".")[2], names) or "."
    return CommandError(f"{key}: there is no such value{hint} There are {', '.join(names)}")


def place_of(error: BaseException) -> str:
    """The kind of an error and the line of a user's own code that raised it; "" where none did.

    For example " (TypeError in my_losses.py, line 7)".
    """
    raised: BaseException | None = error
    while raised is not None:
        for frame in reversed(traceback.extract_tb(raised.__traceback__)):
            path = Path(frame.filename).resolve()
            library = {"site-packages", "dist-packages"} & set(path.parts)
            if path.is_file() and not library and _NOT_A_USERS.isdisjoint(path.parents):
                return f" ({type(raised).__name__} in {path.name}, line {frame.lineno})"
        raised = raised.__cause__
    return ""


def suggestion(name: str, choices: Sequence[str], prefix: str = "") -> str:
    """Which of the choices a misspelt name may mean; empty where none is similar."""
    matches = difflib.get_close_matches(name, choices, n=1)
    return f"; did you mean {prefix}{matches[0]}?" if matches else ""


@contextlib.contextmanager
def ends_command() -> Iterator[None]:
    """End the command at a CommandError in the block, without Hydra's hint to see a traceback."""
    try:
        yield
    except CommandError as error:
        sys.exit(str(error))


@contextlib.contextmanager
def errors_without_credentials() -> Iterator[None]:
    """`ends_command`, also at an unexpected error, with its redacted traceback."""
    with ends_command(), redacted_errors():
        yield


@contextlib.contextmanager
def redacted_errors() -> Iterator[None]:
    """Make of an unexpected error in the block a CommandError with its redacted traceback."""
    try:
        yield
    except CompactHydraException:
        raise
    except Exception:
        trace = credentials.redacted(traceback.format_exc().rstrip())
        raise CommandError(trace) from None


def refuse(wrong: Sequence[str]) -> None:
    """Raise CommandError with these sentences, if there are any."""
    if wrong:
        raise CommandError("\n".join(wrong) + "\nNothing was trained.")
