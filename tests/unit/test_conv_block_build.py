"""How the kernel of conv blocks is built, and where it is not."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from helpers.commands import ROOT
from helpers.conv_blocks import assert_same, run_block, run_stock, whole_numbers

from experiments.kernels import conv_block
from experiments.kernels.conv_block import ConvBlock, kernel


@pytest.fixture
def afresh(monkeypatch, tmp_path):
    """Choose the kernel again, with an empty cache, and again after the test."""
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FAIRLOSS_KERNEL", raising=False)
    conv_block._library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    conv_block._library.cache_clear()


def test_no_compiler_no_kernel(afresh, monkeypatch, tmp_path, caplog):
    """Without a compiler the stock operators run, and one line says so and what to do about it."""
    inputs = whole_numbers((3, 2, 8, 8, 4, 3, 1))
    expected = run_stock(*inputs)
    conv_block._library.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.INFO, logger=conv_block.__name__):
        assert_same(run_block(*inputs), expected)
        assert kernel() == "stock"
    (line,) = [each.getMessage() for each in caplog.records if each.name == conv_block.__name__]
    for words in ("Paddle's own operators", "compiler", "apt-get install g++"):
        assert words in line


def test_stock_by_choice(afresh, monkeypatch, caplog):
    monkeypatch.setenv("FAIRLOSS_KERNEL", "stock")
    with caplog.at_level(logging.INFO, logger=conv_block.__name__):
        assert kernel() == "stock"
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert not afresh.exists()


@pytest.mark.skipif(os.name != "posix", reason="writes a shell script")
@pytest.mark.parametrize(
    "body", ["echo 'x.cpp:1: error: no AVX2' >&2; exit 1", "exit 0", "kill -9 $$"]
)
def test_a_compiler_that_fails_stops_nothing(afresh, monkeypatch, tmp_path, caplog, body):
    compiler = tmp_path / "bin" / "c++"
    compiler.parent.mkdir()
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{body}\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent))
    assert kernel() == "stock"
    assert caplog.records[-1].levelno == logging.WARNING
    assert not list(afresh.glob("*.so"))


def test_a_cache_that_cannot_be_written_stops_nothing(afresh, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path / "file"))
    assert kernel() == "stock"
    assert caplog.records[-1].levelno == logging.WARNING
    assert "FAIRLOSS_CACHE=DIRECTORY chooses where" in caplog.records[-1].getMessage()


def test_a_cache_in_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FAIRLOSS_CACHE", "~/cache")
    assert conv_block._cache() == tmp_path / "cache" / "kernels"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="writes a shell script")
def test_where_one_compiler_fails_another_builds(fused, afresh, monkeypatch, tmp_path):
    real = next(filter(None, map(shutil.which, conv_block._COMPILERS)))
    for name, body in (("c++", "exit 1"), ("g++", f'exec {real} "$@"')):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {name} && exit 0\n{body}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert kernel() != "stock"
    assert len(list(afresh.glob("*.so"))) == 1


def test_a_processor_that_is_not_known_gets_no_kernel(fused, afresh, monkeypatch, caplog):
    """A file that was built for another one could kill the process."""
    monkeypatch.setattr(Path, "read_text", lambda self, **options: "model name : some")
    assert kernel() == "stock"
    assert "does not tell what the processor can do" in caplog.records[-1].getMessage()


def test_what_would_take_too_much_memory_is_left_to_the_stock_operators():
    image = paddle.zeros([1, 1, 512, 512])
    assert ConvBlock(1, 16, kernel_size=3, padding=1)._covers(image)
    assert not ConvBlock(1, 17, kernel_size=3, padding=1)._covers(image)  # 17 x 256 x 256 > 2^20
    assert not ConvBlock(1, 1, kernel_size=3, padding=1)._covers(paddle.zeros([1, 1, 1024, 1024]))


@pytest.mark.slow
def test_a_damaged_file_is_built_again(fused, afresh):
    path = conv_block._built()
    whole = path.read_bytes()
    half, changed = whole[: len(whole) // 2], whole[:5000] + b"?" + whole[5001:]
    for damaged in (b"", half, changed, whole + b"?"):
        path.write_bytes(damaged)
        assert not conv_block._intact(path)
    assert conv_block._built() == path
    assert conv_block._intact(path)
    assert kernel() != "stock"


@pytest.mark.slow
def test_another_source_is_another_file(fused, afresh, monkeypatch, tmp_path, caplog):
    """The source is part of the name, and the file is asked for its interface."""
    older = tmp_path / "conv_block.cpp"
    source = conv_block._SOURCE.read_text()
    older.write_text(source.replace("version() { return 1; }", "version() { return 0; }"))
    path = conv_block._built()
    monkeypatch.setattr(conv_block, "_SOURCE", older)
    assert conv_block._built() != path
    assert kernel() == "stock"
    assert "interface 0" in caplog.records[-1].getMessage()


@pytest.mark.slow
def test_a_kernel_that_computes_nonsense_is_refused(fused, afresh, monkeypatch, tmp_path, caplog):
    source = conv_block._SOURCE.read_text()
    broken = source.replace("best += bias[b];", "best -= bias[b];")
    assert broken != source
    (tmp_path / "conv_block.cpp").write_text(broken)
    monkeypatch.setattr(conv_block, "_SOURCE", tmp_path / "conv_block.cpp")
    assert kernel() == "stock"
    assert "does not compute" in caplog.records[-1].getMessage()


@pytest.mark.slow
def test_processes_that_build_at_once(fused, afresh):
    code = (
        "from experiments import machine; machine.prepare(); "
        "from experiments.kernels import conv_block; print(conv_block.kernel())"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **how) for _ in range(2)]
    said = [process.communicate(timeout=300)[0].strip() for process in running]
    assert said[0] == said[1] != "stock"
    assert len(list(afresh.glob("*.so"))) == 1
    assert {path.suffix for path in afresh.iterdir()} <= {".so", ".lock"}
