"""The cache of MNIST: complete, damaged, half written, on a full disk."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.mnist import TEST_LABELS, TRAIN_IMAGES, Tiny, fail

from experiments.data import DataError, sources


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
    assert {path.name for path in folder.iterdir()} == {file.name for file in tiny.files}


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
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError) as caught:
        sources.load(tiny.served_by(fail("no route")))
    damaged = f"the cache: {path} is damaged: expected SHA-256 {tiny.files[3].sha256}, got {digest}"
    assert damaged in str(caught.value) and "no route" in str(caught.value)
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
from helpers.mnist import Tiny
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
    script = FETCHER.format(tests=str(Path(__file__).parents[1]), record=str(record))
    environment = {**os.environ, "FAIRLOSS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script]
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert record.read_text() == "fetched\n"
