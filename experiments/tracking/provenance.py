"""What a number may depend on besides its configuration: versions, code, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path

from experiments import source_digest
from experiments.credentials import redacted
from experiments.machine import cpu_model, paddle_package

_TEXTS = (".py", ".cpp")  # files of code that can be read


def versions() -> dict[str, str]:
    """The versions a number may depend on, as tags."""
    return {
        "python_version": platform.python_version(),
        "paddle_version": paddle_package().version,
    }


# asked for every skipped run; a process runs the code that it loaded, so once is right
@functools.cache
def git_state() -> tuple[str, bool]:
    """The commit of the program's own checkout, or "", and whether tracked files differ from it."""
    commit = _git("rev-parse", "HEAD").strip()
    return commit, bool(commit and _git("status", "--porcelain", "--untracked-files=no").strip())


def _git(*arguments: str) -> str:
    """What git prints about the program's checkout; nothing where there is none."""
    command = ["git", "-C", str(Path(__file__).resolve().parent.parent), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@functools.cache  # of a process, which keeps the packages that it began with
def environment() -> str:
    """The machine, commented, then every package with its version, a line each."""
    packages = set()
    for package in importlib.metadata.distributions():
        # Its `.metadata` would parse the description, too, and take ten times as long.
        text = package.read_text("METADATA") or ""
        first = dict(reversed(re.findall(r"(?m)^(Name|Version): *(.+)$", text)))
        about = first if len(first) == 2 else package.metadata
        packages.add(f"{about['Name']}=={about['Version']}")
    machine = [f"Python {platform.python_version()}", platform.platform(), cpu_model()]
    return "\n".join([*(f"# {line}" for line in machine), *sorted(packages, key=str.lower)]) + "\n"


def changes() -> str:
    """What differs from the commit, as a diff; empty when nothing does."""
    return _git("diff", "HEAD") if git_state()[1] else ""


def sources(code: source_digest.Code) -> dict[str, str]:
    """The source files of a run that no commit has, by the name of their artifact.

    These are the user's own, and those of this program that git does not track.
    """
    texts = {}
    for name, path in code.files.items():
        tracked = source_digest.in_package(path) and name in _tracked()
        if not tracked and path.suffix in _TEXTS and path.is_file():
            source = path.read_text(encoding="utf-8", errors="replace")
            texts[f"code/{name}"] = redacted(source)
    return texts


@functools.cache  # like `git_state`
def _tracked() -> frozenset[str]:
    """The files of this package that git tracks, named as `source_digest` names them."""
    return frozenset(f"experiments/{name}" for name in _git("ls-files", "-z").split("\0"))
