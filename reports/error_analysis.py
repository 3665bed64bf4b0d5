"""Errors by class and by image, from the networks' predictions on the test set.

Pure: arrays in, arrays and frames out. Test sets keep their file order, so the i-th prediction of
every run is of the same image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ErrorAnalysis:
    """Over the runs whose predictions were read.

    runs: how many, by loss. confusion: [K, K] by loss, mean number of images per run, label by
    prediction.
    classes: a frame with loss, class (its name), accuracy in [0, 1], images. images: a frame with a
    row per test example: image (place in file order), label (its name), wrong (share of runs,
    losses weighing the same), taken_for (the name of the most frequent wrong answer, empty: none),
    spread (largest minus smallest share of wrong runs between losses) and, for each loss,
    `wrong in LOSS`.
    labels: [n]. names: of the classes.
    """

    runs: dict[str, int]
    confusion: dict[str, np.ndarray]
    classes: pd.DataFrame
    images: pd.DataFrame
    labels: np.ndarray
    names: tuple[str, ...]


def class_names(runs: pd.DataFrame) -> list[str]:
    """The names of the classes that runs have recorded; none where they are digits."""
    recorded = runs["classes"].dropna().tolist()
    names = json.loads(recorded[0]) if recorded else []
    return names if isinstance(names, list) else []  # of very many classes the number alone


def size(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]], of_class: int | None = None
) -> int | None:
    """The number of test examples, of all or of one class; None without predictions."""
    labels = [run["label"] for runs in predictions.values() for run in runs]
    counted = labels if of_class is None else [each[each == of_class] for each in labels]
    sizes = [len(each) for each in counted if len(each)]
    return max(set(sizes), key=sizes.count) if sizes else None


def constant_answer(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> np.ndarray | None:
    """On which test examples the best constant answer is right: those of the most frequent label.

    Of equally frequent ones the smallest. It is None without predictions.

    >>> constant_answer({"ce": [{"label": np.array([3, 1, 3, 2])}]}).tolist()
    [True, False, True, False]
    """
    for run in (run for runs in predictions.values() for run in runs):
        classes, counts = np.unique(run["label"], return_counts=True)
        return np.asarray(run["label"] == classes[counts.argmax()])
    return None


def summarise(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str] = ()
) -> ErrorAnalysis | None:
    """Everything above from `{loss: [{"predicted": [n], "label": [n]}, ...]}`.

    It is None without predictions. Without the names of the classes they are their numbers.

    Runs whose labels are not those of the first run are of another test set, and are left out.
    """
    first = next((run for runs in predictions.values() for run in runs), None)
    if first is None:
        return None
    labels = first["label"]
    predicted: dict[str, np.ndarray] = {}
    for loss, runs in predictions.items():
        rows = [run["predicted"] for run in runs if np.array_equal(run["label"], labels)]
        if rows:
            predicted[loss] = np.stack(rows)
    count = int(max(labels.max(), *(rows.max() for rows in predicted.values()))) + 1
    names = tuple(names) if len(names) >= count else tuple(map(str, range(count)))
    return ErrorAnalysis(
        runs={loss: len(rows) for loss, rows in predicted.items()},
        confusion={loss: confusion(rows, labels, len(names)) for loss, rows in predicted.items()},
        classes=_class_accuracy(predicted, labels, names),
        images=_images(predicted, labels, names),
        labels=labels,
        names=names,
    )


def confusion(predicted: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean number of examples per run [K, K], label by prediction.

    Args:
        predicted: [runs, n].
        labels: [n].
        count: the number K of classes.

    >>> confusion(np.array([[1, 1], [0, 1]]), np.array([0, 1]), 2).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    counts = np.zeros((count, count))
    for row in predicted:
        np.add.at(counts, (labels, row), 1)
    return counts / len(predicted)


def _class_accuracy(
    predicted: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    rows = [
        {
            "loss": loss,
            "class": names[label],
            "accuracy": float(right[:, labels == label].mean()),
            "images": int((labels == label).sum()),
        }
        for loss, right in ((loss, rows == labels) for loss, rows in predicted.items())
        for label in np.unique(labels).tolist()
    ]
    return pd.DataFrame(rows)


def _images(
    predicted: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    wrong = {loss: (rows != labels).mean(axis=0) for loss, rows in predicted.items()}
    shares = np.stack(list(wrong.values()))
    answers = np.zeros((len(labels), len(names)))
    for rows in predicted.values():
        for row in rows:
            answers[np.arange(len(labels)), row] += 1 / len(rows)
    answers[np.arange(len(labels)), labels] = 0
    named = np.array(names)
    taken_for = np.where(answers.max(axis=1) > 0, named[answers.argmax(axis=1)], "")
    frame = {
        "image": np.arange(len(labels)),
        "label": named[labels],
        "wrong": shares.mean(axis=0),
        "taken_for": taken_for,
    }
    frame["spread"] = shares.max(axis=0) - shares.min(axis=0)
    return pd.DataFrame(frame | {f"wrong in {loss}": share for loss, share in wrong.items()})
