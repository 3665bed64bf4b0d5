"""The state of a run after an epoch, kept in one file from which the run can resume.

The file is a NumPy archive (.npz): an array per member, and `content.json` for everything else.
Reading it cannot run code. It is written aside and renamed, so that it is complete or absent; a
digest at its end shows damage.

A checkpoint belongs to a trajectory: runs that are alike in all but the number of their epochs. The
file `NAME-20-7.checkpoint` of the trajectory NAME is of its run of 20 epochs, after epoch 7. A run
may start from every file of its trajectory that has no more epochs than itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def _kinds() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """What JSON has as a list that starts with the kind: its type, and what restores it.

    It is restored from the list's items or from an array; of bfloat16 from uint16.
    """
    import numpy as np  # not at the top, as below: commands that remove checkpoints need neither
    import paddle

    return {
        "dict": (dict, dict),
        "list": (list, list),
        "tuple": (tuple, tuple),
        "tensor": (paddle.Tensor, paddle.to_tensor),
        "array": (np.ndarray, np.asarray),
        "scalar": (np.generic, lambda array: array[()]),
    }


def prefix(directory: Path, *trajectory: str) -> Path:
    """How the paths of a trajectory's checkpoints begin; see `Store.key` and `Store.directory`."""
    name = hashlib.sha256(" ".join(trajectory).encode()).hexdigest()[:32]
    return directory / "outputs" / "checkpoints" / name


def path(prefix: Path, epochs: int, epoch: int) -> Path:
    """Where the run of `epochs` epochs keeps its state after `epoch`."""
    return prefix.with_name(f"{prefix.name}-{epochs}-{epoch}.checkpoint")


def longest_first(prefix: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a trajectory, each with its epoch."""
    files = prefix.parent.glob(f"{prefix.name}-*.checkpoint")
    return sorted(((int(file.stem.rpartition("-")[2]), file) for file in files), reverse=True)


def remove(prefix: Path, epochs: int, *, but: Path | None = None) -> None:
    """Remove the checkpoints of the run of `epochs` epochs, except one."""
    for file in prefix.parent.glob(f"{prefix.name}-{epochs}-*"):
        if file != but:
            file.unlink(missing_ok=True)


def packed(content: Any) -> bytes:
    """The file for dicts, lists and tuples of arrays, tensors, NumPy scalars and what JSON has."""
    import numpy as np

    arrays: list[Any] = []
    file = io.BytesIO()
    text = json.dumps(_encode(content, arrays))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("content.json", text)
        for number, array in enumerate(arrays):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                np.save(member, array, allow_pickle=False)
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


def save(path: Path, content: Any) -> bool:
    """Save `content`, as for `packed`; False, with a warning, if that is not possible."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(packed(content))
        aside.replace(path)
    except (OSError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        log.warning("no checkpoint: cannot write %s: %s; the run goes on without", path, reason)
        with contextlib.suppress(OSError):
            aside.unlink()  # on a full disk, the store needs the space
        return False
    return True


def load(path: Path) -> Any:
    """What was saved at `path`; None if there is no file, or, with a warning, if it is damaged."""
    import numpy as np

    try:
        content = path.read_bytes()
    except OSError:
        return None
    data, digest = content[:-32], content[-32:]
    if hashlib.sha256(data).digest() != digest:
        log.warning("the checkpoint %s is damaged or in an old format, and not used", path)
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return _decode(json.loads(archive["content.json"]), archive)


def _encode(value: Any, arrays: list[Any]) -> Any:
    """`value` as JSON has it; arrays go into `arrays`, and JSON has their positions."""
    for kind, (base, _) in _kinds().items():
        if isinstance(value, base):
            if kind in ("tensor", "array", "scalar"):
                arrays.append(value)
                return [kind, len(arrays) - 1]
            items = value.items() if kind == "dict" else value
            return [kind, *(_encode(item, arrays) for item in items)]
    return value


def _decode(value: Any, archive: Any) -> Any:
    """What `_encode` was given."""
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind in ("tensor", "array", "scalar"):
        return _kinds()[kind][1](archive[str(items[0])])
    return _kinds()[kind][1](_decode(item, archive) for item in items)
