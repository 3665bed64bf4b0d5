"""Files of data: what is read, and what is refused with its place."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers.images import COLOUR, GREY, LABELS, RNG
from PIL import Image

from experiments import data
from experiments.data import DataError, archives


def write_csv(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv_file_with_numbers_and_texts(tmp_path: Path) -> None:
    rows = [
        f"{number},{'red' if number % 2 else 'blue'},{'AB'[number % 3 == 0]}"
        for number in range(30)
    ]
    path = write_csv(tmp_path / "flowers.csv", "size,hue,kind\n" + "\n".join(rows) + "\n")
    splits = data.csv(path=path, label="kind", seed=0)
    assert (splits.name, splits.shape, splits.classes) == ("flowers", (3,), ("A", "B"))
    blue, red = splits.test.inputs[:, 1], splits.test.inputs[:, 2]
    np.testing.assert_array_equal(blue, splits.test.inputs[:, 0] % 2 == 0)
    np.testing.assert_array_equal(blue + red, 1)
    np.testing.assert_array_equal(splits.test.labels, splits.test.inputs[:, 0] % 3 == 0)


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        ("a,b\n1,x\n2,y\n", "c", r"has no column 'c'; expected one of a, b"),
        ("a,b\n1,x\n2\n", "b", r"line 3: expected 2 cells, as the header has, got 1"),
        ("a,b\n1,x\n,y\n", "b", r"line 3, column 'a': expected a value, got an empty cell"),
        ("a,b\n1,x\nNaN,y\n", "b", r"line 3, column 'a': expected a value, got 'NaN'"),
        ("a,b\n2,y\n" + "1,x\n" * 20, "b", r"f.csv: the .* set of seed 0 has no example of"),
        ("a,b\n", "b", r"got 2 columns and 0 rows"),
        ("a,a\n1,2\n", "a", r"got 'a' twice"),
    ],
)
def test_a_wrong_csv_file_is_refused_with_its_line(tmp_path: Path, text, label, message) -> None:
    with pytest.raises(DataError, match=message):
        data.csv(path=write_csv(tmp_path / "f.csv", text), label=label, seed=0)


def test_an_npz_file_with_the_channels_last(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, x=np.moveaxis(COLOUR, 1, 3), y=LABELS, x_test=COLOUR[:6], y_test=LABELS[:6])
    splits = data.npz(path=str(path), seed=0)
    assert (splits.shape, len(splits.test)) == ((3, 12, 9), 6)
    np.testing.assert_array_equal(splits.train.inputs, COLOUR[splits.train_positions])
    np.savez(path, x=COLOUR, z=LABELS)
    with pytest.raises(DataError, match=r"has no array 'y'; .* got x, z"):
        data.npz(path=str(path), seed=0)
    np.savez(path, x=np.array([[1.0, np.nan]] * 3), y=LABELS[:3])
    with pytest.raises(DataError, match=r"own.npz: inputs: expected finite numbers, got nan in r"):
        data.npz(path=str(path), seed=0)
    path.write_bytes(b"PK\3\4 and no more")
    with pytest.raises(DataError, match=r"expected an npz file of arrays .* cannot be read as one"):
        data.npz(path=str(path), seed=0)


def test_a_folder_of_images(tmp_path: Path) -> None:
    for number, (image, label) in enumerate(zip(GREY, LABELS, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / label / f"{number:02}.png")
    splits = data.folder(root=str(tmp_path), seed=0)
    assert (splits.shape, len(splits.test)) == ((1, 12, 9), 12)
    assert splits.classes == ("cat", "dog", "eel")
    by_class = GREY[np.argsort(LABELS, kind="stable")]
    tested = [int((by_class == each).all((1, 2)).argmax()) for each in splits.test.inputs]
    kept = np.delete(np.arange(60), tested)
    np.testing.assert_array_equal(splits.train.inputs, by_class[kept][splits.train_positions])
    Image.fromarray(GREY[0, :5]).save(tmp_path / "eel" / "small.png")
    with pytest.raises(DataError, match=r"small.png has 9 x 5 pixels, expected 9 x 12"):
        data.folder(root=str(tmp_path), seed=0)
    (tmp_path / "cat" / "00.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"00.png cannot be read as an image"):
        data.folder(root=str(tmp_path), seed=0)


def as_idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def test_idx_files_of_any_size(tmp_path: Path) -> None:
    numbers = np.tile(np.arange(1, 27, dtype=np.uint8), 10)[:60]
    images = tmp_path / "emnist-letters-train-images-idx3-ubyte.gz"
    images.write_bytes(gzip.compress(as_idx(GREY)))
    (tmp_path / "emnist-letters-train-labels-idx1-ubyte").write_bytes(as_idx(numbers % 4))
    splits = data.idx(root=str(tmp_path), seed=0)
    assert (splits.shape, splits.classes) == ((1, 12, 9), ("0", "1", "2", "3"))
    images.write_bytes(gzip.compress(as_idx(GREY)[:-7]))
    with pytest.raises(DataError, match=r"announces 60 x 12 x 9 bytes .* got 6,473: is it trunc"):
        data.idx(root=str(tmp_path), seed=0)
    images.unlink()
    with pytest.raises(DataError, match="lacks a file of images"):
        data.idx(root=str(tmp_path), seed=0)


def test_cifar_is_read_from_an_archive_of_its_form(tmp_path: Path, monkeypatch) -> None:
    rows = RNG.integers(0, 256, (60, 3072), dtype=np.uint8)
    labels = np.arange(60) % 10
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, part in {"data_batch_1": slice(0, 20), "data_batch_2": slice(20, 40),
                           "test_batch": slice(40, 60)}.items():  # fmt: skip
            content = pickle.dumps({"data": rows[part], "labels": labels[part].tolist()}, 3)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(DataError, match="expected MD5 c58f30108f718f92721af3b95e74349a, got"):
        data.cifar10(root=str(tmp_path), seed=0)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(archives._CIFAR, "cifar10", (path.name, md5))
    splits = data.cifar10(root=str(tmp_path), seed=0, validation_size=10)
    assert (splits.shape, splits.classes[3], len(splits.test)) == ((3, 32, 32), "cat", 20)
    np.testing.assert_array_equal(splits.test.inputs, rows[40:].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(splits.test.labels, labels[40:])


def test_scikit_learns_tables() -> None:
    from sklearn.datasets import load_wine

    bundle, splits = load_wine(), data.table(name="wine", seed=0)
    assert splits.classes == tuple(bundle.target_names) and splits.shape == (13,)
    together = np.concatenate([splits.train.inputs, splits.validation.inputs, splits.test.inputs])
    np.testing.assert_array_equal(
        np.sort(together, axis=0), np.sort(bundle.data.astype(np.float32), axis=0)
    )
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [115, 28, 35]
