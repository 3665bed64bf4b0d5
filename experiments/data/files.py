"""A user's own data: IDX files, an npz file, a folder of images, a CSV file.

Each function passes its further arguments to `partition.splits`, and what it reads becomes part of
a run's identity by its content, wherever the files lie.
"""

from __future__ import annotations

import csv as comma_separated
import itertools
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.data.partition import Splits, splits
from experiments.data.sources import DataError, idx_array, read

_NO_VALUE = ("", "nan", "inf", "infinity")
_MOST_VALUES = 100  # of a column of texts that becomes features, one for each value
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def idx(*, root: str, **options: Any) -> Splits:
    """Files of the format of MNIST in a directory, of images of any size and any classes.

    Args:
        root: A directory with one file each whose name has "train" and "images", "train" and
            "labels", and, where there is a test set, "t10k" or "test" and the same; plain or .gz.
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: A file is missing, not of this format, or of another length than it says.
    """
    folder = _existing("data.root", root)
    arrays = {}
    for part, words in {"train": ("train",), "test": ("t10k", "test")}.items():
        for kind in ("images", "labels"):
            paths = sorted(
                path
                for path in folder.iterdir()
                if kind in path.name and any(word in path.name for word in words)
            )
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise DataError(f"data.root: {folder} has several files of {part} {kind}: {names}")
            if paths:
                arrays[part, kind] = idx_array(read(paths[0]), paths[0])
    missing = [kind for kind in ("images", "labels") if ("train", kind) not in arrays]
    missing += [f"test {kind}" for kind in ("images", "labels") if ("test", kind) not in arrays]
    if len(missing) not in (0, 2) or missing[:1] in (["images"], ["labels"]):
        raise DataError(
            f"data.root: {folder} lacks a file of {missing[0]}; expected files such as "
            "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz"
        )
    test = None if missing else (arrays["test", "images"], arrays["test", "labels"])
    return _splits(folder, arrays["train", "images"], arrays["train", "labels"], test, options)


def npz(*, path: str, **options: Any) -> Splits:
    """The arrays x and y of an npz file, with x_test and y_test where there is a test set.

    Args:
        path: The file. x is uint8 [n, height, width], [n, channels, height, width] or [n, height,
            width, channels] with 1, 3 or 4 channels, or features [n, features]; y is [n].
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: The file is not of this form.
    """
    file = _existing("data.path", path)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"data.path: expected an npz file of arrays of numbers or texts, which numpy.savez "
            f"writes; {file} cannot be read as one ({type(error).__name__})"
        ) from error
    tests = {"x_test", "y_test"} & arrays.keys()
    needed = ["x", "y", *(["x_test", "y_test"] if tests else [])]
    if missing := [name for name in needed if name not in arrays]:
        raise DataError(
            f"data.path: {file} has no array {missing[0]!r}; expected x and y, and x_test and "
            f"y_test for a test set, got {', '.join(arrays) or 'none'}"
        )
    x, y, *test = (
        _channels_first(arrays[name]) if name.startswith("x") else arrays[name] for name in needed
    )
    given = (test[0], test[1]) if test else None
    return _splits(file, x, y, given, options)


def folder(*, root: str, **options: Any) -> Splits:
    """Images in a directory for each class, which has the name of the class.

    Args:
        root: The directory of these; or one with such a directory "train" and one "test". Images
            that are all grey have one channel, others three.
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: There are no images, one cannot be read, or one has another size than the first.
    """
    base = _existing("data.root", root)
    parts = [base / "train", base / "test"] if (base / "train").is_dir() else [base]
    paths = [_images_by_class(part) for part in parts]
    first, images = paths[0][0][0], [[_open_image(path) for path, _ in part] for part in paths]
    size = images[0][0].size
    for path, image in zip(itertools.chain(*paths), itertools.chain(*images), strict=True):
        if image.size != size:
            raise DataError(
                f"data.root: {path[0]} has {image.width} x {image.height} pixels, expected "
                f"{size[0]} x {size[1]} as {first} has"
            )
    mode = "L" if all(image.mode == "L" for part in images for image in part) else "RGB"
    (inputs, labels), *test = (
        (
            _channels_first(np.stack([np.asarray(image.convert(mode)) for image in part])),
            [name for _, name in its_paths],
        )
        for part, its_paths in zip(images, paths, strict=True)
    )
    return _splits(base, inputs, labels, test[0] if test else None, options)


def csv(*, path: str, label: str, test_path: str | None = None, **options: Any) -> Splits:
    """A CSV file with a header: a column of labels, and features.

    A column of texts becomes a feature of 0 or 1 for each of its values.

    Args:
        path: The file, UTF-8, with commas.
        label: The name of the column of labels.
        test_path: A second file with the test set; None: a fifth of the first.
        options: Those of `experiments.data.splits`.

    Raises:
        DataError: The label's column is missing, or a cell is empty; the message names the line.
    """
    file = _existing("data.path", path)
    names, rows = _rows(file)
    if label not in names:
        raise DataError(
            f"data.label: {file} has no column {label!r}; expected one of {', '.join(names)}"
        )
    place = names.index(label)
    others: list[list[str]] = []
    if test_path is not None:
        more = _existing("data.test_path", test_path)
        theirs, others = _rows(more)
        if theirs != names:
            raise DataError(
                f"data.test_path: {more} has the columns {', '.join(theirs)}; expected "
                f"{', '.join(names)}, as in {file}"
            )
    columns = [name for name in names if name != label]
    inputs, labels, features = table_arrays([*rows, *others], place, columns)
    front = len(rows)
    test = (inputs[front:], labels[front:]) if others else None
    return _splits(file, inputs[:front], labels[:front], test, {"features": features} | options)


def _splits(
    place: Path,
    inputs: npt.ArrayLike,
    labels: npt.ArrayLike,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    options: Mapping[str, Any],
) -> Splits:
    """`splits`, named after a file or directory, which also begins what is wrong with arrays."""
    try:
        return splits(inputs, labels, test=test, **{"name": place.stem, **options})
    except DataError as error:
        where = "" if str(error).startswith("data.") else f"{place}: "
        raise DataError(f"{where}{error}") from error


def table_arrays(
    rows: Sequence[Sequence[str]], label: int, names: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], list[str]]:
    """Features float32 [n, features], labels [n] and names of the features of rows of texts.

    Args:
        rows: The cells, the label among them.
        label: The place of the label in a row.
        names: The names of the other columns.
    """
    cells = np.array([[*row[:label], *row[label + 1 :]] for row in rows])
    features: dict[str, npt.NDArray[np.float32]] = {}
    for name, column in zip(names, cells.T, strict=True):
        try:
            features[name] = column.astype(np.float32)
        except ValueError:
            values = np.unique(column)
            if len(values) > _MOST_VALUES:
                raise DataError(
                    f"column {name!r}: expected numbers, or at most {_MOST_VALUES} different "
                    f"texts, got {len(values):,}, such as {_no_number(column)!r}; correct it, or "
                    "leave the column out"
                ) from None
            features |= {
                f"{name}={value}": (column == value).astype(np.float32) for value in values
            }
    inputs, labels = np.stack([*features.values()], axis=1), np.array([row[label] for row in rows])
    try:
        numbers = labels.astype(np.float64)
    except ValueError:
        return inputs, labels, [*features]
    whole = np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()
    return inputs, numbers.astype(np.int64) if whole else labels, [*features]


def _no_number(texts: npt.NDArray[Any]) -> str:
    """The first text that is not a number."""
    for text in texts.tolist():
        try:
            float(text)
        except ValueError:
            return str(text)
    raise ValueError("all are numbers")


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, whose cells are stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = comma_separated.reader(stream)
            names = [name.strip() for name in next(lines, [])]
            rows = []
            for line in lines:
                if not line:
                    continue
                cells = [cell.strip() for cell in line]
                if len(cells) != len(names):
                    raise DataError(
                        f"{path}, line {lines.line_num}: expected {len(names)} cells, as the header"
                        f" has, got {len(cells)}"
                    )
                for name, cell in zip(names, cells, strict=True):
                    if cell.lower().lstrip("+-") in _NO_VALUE:
                        raise DataError(
                            f"{path}, line {lines.line_num}, column {name!r}: expected a value, got"
                            f" {repr(cell) if cell else 'an empty cell'}"
                        )
                rows.append(cells)
    except (OSError, UnicodeDecodeError, comma_separated.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}") from error
    if len(names) < 2 or not rows:
        raise DataError(
            f"{path}: expected a header, a column of labels and one of features at least, and "
            f"rows; got {len(names)} columns and {len(rows)} rows"
        )
    if double := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path}: expected different names of columns, got {min(double)!r} twice")
    return names, rows


def _images_by_class(base: Path) -> list[tuple[Path, str]]:
    """The images of each directory in `base`, with the directory's name, sorted."""
    if not base.is_dir():
        raise DataError(f"data.root: expected a directory {base} beside the other one")
    images = [
        (path, group.name)
        for group in sorted(base.iterdir())
        if group.is_dir() and not group.name.startswith(".")
        for path in sorted(group.iterdir())
        if path.suffix.lower() in _IMAGES
    ]
    if not images:
        raise DataError(
            f"data.root: {base} has no images; expected a directory for each class with images "
            f"({', '.join(_IMAGES)}) in it"
        )
    return images


def _open_image(path: Path) -> Any:
    """The image in a file, as an object of Pillow, grey ("L") or in colours ("RGB")."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except OSError as error:
        raise DataError(f"data.root: {path} cannot be read as an image: {error}") from error


def _channels_first(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Images [n, height, width, channels] as [n, channels, height, width], others as they are."""
    last = images.ndim == 4 and images.shape[3] in (1, 3, 4) and images.shape[1] not in (1, 3, 4)
    return np.ascontiguousarray(np.moveaxis(images, 3, 1)) if last else images


def _existing(name: str, value: object) -> Path:
    """The file, or for `data.root` the directory, that is the value `name`; it must exist."""
    what = "a directory" if name == "data.root" else "a file"
    if not isinstance(value, str) or not value:
        raise DataError(f"{name}: expected {what}, got {value!r}; set it with {name}=...")
    path = Path(value).expanduser()
    if not (path.is_dir() if name == "data.root" else path.is_file()):
        raise DataError(f"{name}: expected {what}, got {path}, which is not there")
    return path


def strings(lines: Iterable[str]) -> list[list[str]]:
    """The cells of lines with commas, stripped."""
    return [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]
