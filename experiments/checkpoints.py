"""Where a run stands after an epoch, kept in one file so that it can go on from there.

The file is a digest and a pickle: written aside and renamed, so that it is whole or not there, and a damaged one is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def place(directory: Path, *cell: str) -> Path:
    """Where the checkpoint of a cell is, of a store in `directory`; `cell`: the store's key, the experiment's id, the identity."""
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
