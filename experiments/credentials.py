"""What is never kept and never shown: passwords, tokens, keys.

They belong into the environment, from which `redacted` knows them; the address of a store must hold none. Imports nothing heavy.
"""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

_NAMES = re.compile(
    r"PASSWORD|PASSWD|_PWD|PASSPHRASE|TOKEN(?![A-Z])|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY",
    re.I,
)
_LEAST = 4  # characters of a credential; shorter values are found in every text
_SAFE = 8  # characters; a shorter one counts only where it stands alone, since "1234" is a part of many a hash
_WORDS = ("true", "false", "none", "null")
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^\s/'\"]*@")


def redacted(text: str) -> str:
    """`text` without credentials: the values of environment variables named like one, and names and passwords in addresses."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        alone = ("(?<![0-9A-Za-z])", "(?![0-9A-Za-z])") if len(secret) < _SAFE else ("", "")
        text = re.sub(re.escape(secret).join(alone), "***", text)
    return _USER_IN_ADDRESS.sub("***@", text)


def _secrets() -> set[str]:
    """Every line of every value, as Python, JSON, YAML and addresses write it."""
    lines = {
        line.strip()
        for name, value in os.environ.items()
        if _NAMES.search(name)
        for line in value.splitlines()
    }
    return {
        spelt
        for line in lines
        if len(line) >= _LEAST and line.lower() not in _WORDS
        for spelt in (
            line,
            repr(line)[1:-1],
            json.dumps(line)[1:-1],
            line.replace("'", "''"),
            quote(line, safe=""),
        )
    }


def refusal(uri: str | None) -> str:
    """Why the store at `uri`, else at MLFLOW_TRACKING_URI, must not be used: its address holds credentials. Empty when it holds none."""
    name, address = ("tracking.uri", uri) if uri else ("MLFLOW_TRACKING_URI", _exported())
    query = str(address).partition("?")[2]
    if str(address).startswith(("sqlite:", "file:")) or (
        "@" not in str(address) and not _NAMES.search(query)
    ):
        return ""
    return (
        f"{name}: expected an address without a user name or a password, came one with; it would be seen wherever the address is. "
        "Leave them out, and export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


def _exported() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def clean(directory: Path) -> None:
    """Take credentials out of the YAML files of `directory`: Hydra writes there what was typed, before anybody can look at it."""
    for path in directory.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if redacted(text) != text:
            path.write_text(redacted(text), encoding="utf-8")


class Formatter(logging.Formatter):
    """Log lines without credentials, in files and on the screen."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class Screen:
    """A stream that shows no credentials, for all that is not logged: tables, Hydra's tracebacks."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
