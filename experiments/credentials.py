"""Keeps passwords, tokens and keys out of the store, the files and the screen.

`redacted` knows them from environment variables and is for free text: log lines, tracebacks and
messages of other code, diffs, lists of packages, source files. Values, names, numbers, paths and
commands are never changed; a value that is a credential is refused. Imports nothing heavy.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|_PWD|(?:^|_)PASS$|PASSPHRASE|TOKEN(?![A-Z])|SECRET|CREDENTIAL|AUTHORIZATION"
    r"|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY",
    re.IGNORECASE,
)
# Names of numbers, of files and of times, e.g. MAX_TOKEN_LEN.
_OTHER_NAME = re.compile(
    r"(?:^|_)(?:MAX|MIN|NUM|N)_|_(?:LEN|LENGTH|COUNT|LIMIT|SIZE|TTL|TIMEOUT|FILE|PATH|DIR)$",
    re.IGNORECASE,
)
_SHORTEST = 6  # characters of a credential
_SHORTEST_WORD = 8  # the same for a word or a number, such as test or 1234, which any text may hold
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^\s/'\"]*@")
_QUERY_IN_ADDRESS = re.compile(r"(?<=[?&])([^\s=&?'\"]+)=([^\s&'\"]+)")


def redacted(text: str) -> str:
    """Free text without credentials, each replaced by `***`.

    Credentials are the values of environment variables named like one, with at least 6 characters
    (words and numbers: 8, and only where they stand alone), and what `shown` hides in addresses.
    """
    for secret in sorted(_secrets(), key=len, reverse=True):
        for form in sorted(_forms(secret), key=len, reverse=True):
            pattern = re.escape(form)
            if _is_word(secret):
                pattern = f"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"
            text = re.sub(pattern, "***", text)
    return shown(text)


def shown(text: str) -> str:
    """An address, or a text with some, without users, passwords and tokens in addresses."""
    text = _USER_IN_ADDRESS.sub("***@", text)
    return _QUERY_IN_ADDRESS.sub(
        lambda match: f"{match[1]}=***" if _names_a_secret(match[1]) else match[0], text
    )


def refusal(uri: str | None) -> str:
    """Why the address of the store, `uri` or MLFLOW_TRACKING_URI, is refused; empty if it is not.

    It must not hold credentials. Paths of SQLite may have any characters.
    """
    name = "tracking.uri" if uri else "MLFLOW_TRACKING_URI"
    address = str(uri or os.environ.get(name, ""))
    query = parse_qsl(address.partition("?")[2], keep_blank_values=True)
    if address.startswith(("sqlite:", "file:")) or (
        "@" not in address and not any(_names_a_secret(key) for key, _ in query)
    ):
        return ""
    return (
        f"{name}: expected an address without a user name or a password, got one with; everyone "
        "who sees the address would see them. Leave them out, and export MLFLOW_TRACKING_USERNAME "
        "and MLFLOW_TRACKING_PASSWORD"
    )


def refused_values(values: Mapping[str, Any]) -> list[str]:
    """For each value that holds a credential, why it is refused; words and numbers are not.

    Args:
        values: By the name under which the user set them, e.g. `loss.note`.
    """
    return [
        f"{name}: expected a value that everyone may see, since runs keep it, got that of the "
        f"environment variable {variable}; read it where it is used, with os.environ[{variable!r}]"
        for name, value in values.items()
        for secret, variable in _secrets().items()
        if not _is_word(secret) and secret in str(value)
    ]


class Formatter(logging.Formatter):
    """Log lines without credentials, in files and on the screen; warnings name their level."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname}: {record.message}"
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`, without credentials."""
        return redacted(super().format(record))


def _names_a_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _OTHER_NAME.search(name)


def _secrets() -> dict[str, str]:
    """The credentials in the environment, each line one, and the variable that holds it."""
    names: dict[str, str] = {}
    for name, value in os.environ.items():
        is_path = value.startswith("/") and os.access(value, os.F_OK)
        if is_path or not _names_a_secret(name):
            continue
        for line in map(str.strip, value.splitlines()):
            if len(line) >= (_SHORTEST_WORD if _is_word(line) else _SHORTEST):
                names.setdefault(line, name)
    return names


def _is_word(text: str) -> bool:
    """Whether it is a word or a number."""
    try:
        float(text)
    except ValueError:
        return text.isalpha()
    return True


def _forms(secret: str) -> set[str]:
    """A credential as Python, JSON, YAML and addresses write it."""
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        secret.replace("'", "''"),
        quote(secret, safe=""),
    }
