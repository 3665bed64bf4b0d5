"""Where a run stands after an epoch, kept in one file so that it can go on from there.

The file is a digest and a pickle: written aside and renamed, so that it is whole or not there, and a damaged one is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def place(directory: Path, *cell: str) -> Path:
    """Where the checkpoint of a cell is, of a store in `directory`; `cell`: the store's address, the experiment's id, the identity."""
    name = hashlib.sha256(" ".join(cell).encode()).hexdigest()[:32]
    return directory / "outputs" / "checkpoints" / f"{name}.checkpoint"


def save(path: Path, content: Any) -> bool:
    """Keep `content` at `path`; False, with a warning, where that cannot be done: the run itself goes on."""
    data = pickle.dumps(content)
    aside = path.with_name(f"{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(hashlib.sha256(data).digest() + data)
        aside.replace(path)
    except OSError as error:
        log.warning(
            "no checkpoint: cannot write %s: %s; the run goes on without", path, error.strerror
        )
        with contextlib.suppress(OSError):
            aside.unlink()  # on a full disk, the store needs the space
        return False
    return True


def load(path: Path) -> Any:
    """What was saved at `path`; None where there is nothing, or, with a warning, nothing that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        log.warning("the checkpoint %s is damaged; the run starts over", path)
        return None
    try:
        return pickle.loads(data)
    except Exception as error:  # written by code that was something else
        log.warning("the checkpoint %s cannot be read (%s); the run starts over", path, error)
        return None


def remove(path: Path) -> None:
    """Leave nothing at `path`."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.writing").unlink(missing_ok=True)


def made_by(functions: Iterable[Callable[..., Any]], circumstances: Iterable[str]) -> str:
    """Digest of the code that trains and of `circumstances`: a run must not begin under one and go on under another.

    The code is that of the program and of the files in which `functions`, a user's own loss perhaps, are written.
    """
    digest = hashlib.sha256("\n".join(circumstances).encode())
    files = set(Path(__file__).parent.rglob("*.py")) | set(Path(__file__).parent.glob("*.cpp"))
    for function in functions:
        if source := _source(function):
            files.add(Path(source))
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _source(function: Callable[..., Any]) -> str | None:
    """The file in which a function, a class or an object that can be called is written; None when it is not Python's."""
    written = inspect.unwrap(function)
    named = inspect.isroutine(written) or inspect.isclass(written)
    try:
        return inspect.getsourcefile(written if named else type(written))
    except TypeError:
        return None
