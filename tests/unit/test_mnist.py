"""MNIST's bytes: the files that are refused and why, the order of the sources, the cache.

Most tests use four small files of the right form, `tiny`, in place of the real ones. Those marked
`mnist` read the real images, and download them where the cache is empty.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from helpers.mnist import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, Tiny

from experiments.data import DataError, downloads, sources

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
    "short header": (TEST_LABELS, lambda content: content[:7], r"header of 8, got 0: is it trunca"),
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
        (lambda packed: packed[:200] + bytes(100) + packed[300:], r"not gzip or is dama|right for"),
    ],
)
def test_bad_gzip_is_refused(tiny: Tiny, tmp_path: Path, spoil, message: str) -> None:
    root = tiny.write(tmp_path / "root", packed=True)
    path = root / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        sources.load(tiny.dataset, root)
    assert str(caught.value).startswith(str(path))
