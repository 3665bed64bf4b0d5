"""The metrics by which losses can be compared: column, words, unit and direction of each.

Everything that a report shows of a metric is defined here: options, axes, tables, sentences,
margins. The names are those of `experiments.metrics` and `experiments.corruptions`; the tests
compare them. Imports nothing heavy: the options need it first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.contract import CORRUPTIONS, class_number

MARGIN = 0.1
"""Default margin for accuracies, in points.

The binomial standard error of 10,000 test examples near 99 %.
"""

REFUSED = {
    "loss": "values of different losses are never compared, each has its own unit",
    "temperature": "no temperature is better than another",
}
"""What runs say of the test set that orders no losses, and why."""

_PER_CENT, _NATS = "%", "nats"
_LOGITS = "of losses of logits"
_NUMBER = "of losses of 1 number"
_MANY_CLASSES = "of losses of logits with more than 10 classes"
_IMBALANCED = "with data.imbalance"
_CORRUPTED = "with corruptions=true"
_FLIPPED = "where data.label_noise flips labels"


@dataclass(frozen=True)
class Metric:
    """A number of a run, and how it is read.

    name: its column in the frames of `reports.runs`, e.g. test_accuracy. words: for people, in a
    sentence; heading: over a column. value_unit: "%" (a share in [0, 1], shown in per cent), "nats"
    or "". digits: decimals shown, of values and of differences. accuracy: a share of examples
    answered right, which has a margin of equivalence by default. of_class: the class it is about.
    only_for: which runs alone have it, "" for all. least: below which no value is; shares lie in
    [0, 1] anyway.
    """

    name: str
    words: str
    heading: str
    higher_is_better: bool
    value_unit: str = ""
    digits: int = 4
    accuracy: bool = False
    of_class: int | None = None
    only_for: str = ""
    least: float = -math.inf

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value that can be recorded.

        No interval reaches beyond them.
        """
        return (0.0, 1.0) if self.in_points else (self.least, math.inf)

    @property
    def differences(self) -> tuple[float, float]:
        """The least and the largest difference of two values, in the unit of differences."""
        return (-100.0, 100.0) if self.in_points else (-math.inf, math.inf)

    @property
    def typed(self) -> str:
        """As users and MLflow call it: test/accuracy."""
        return self.name.replace("_", "/", 1)

    @property
    def in_points(self) -> bool:
        """Whether differences are in percentage points; all others are in the metric's own unit."""
        return self.value_unit == _PER_CENT

    @property
    def scale(self) -> float:
        """What values are multiplied by before they are compared and shown."""
        return 100.0 if self.in_points else 1.0

    @property
    def unit(self) -> str:
        """Of differences, in a sentence."""
        return "points" if self.in_points else ""

    @property
    def label(self) -> str:
        """Of an axis or a column of values, with the unit."""
        return self.words + self._in_brackets

    @property
    def column(self) -> str:
        """A short heading, with the unit."""
        return self.heading + self._in_brackets

    @property
    def key(self) -> str:
        """Of a column for programs that holds values as they are shown."""
        return f"{self.name}_percent" if self.in_points else self.name

    @property
    def _in_brackets(self) -> str:
        return f" ({self.value_unit})" if self.value_unit else ""

    def margin(self, margin: float | None, test_size: int | None) -> float:
        """The margin of equivalence in the unit of the differences; NaN if there is none.

        Args:
            margin: the margin; None means for accuracies `MARGIN` or two test examples, whichever
                is larger, and for other metrics that none was chosen.
            test_size: test examples that the metric counts; no accuracy on them is told apart by
                less than one.
        """
        if not self.accuracy:
            return math.nan if margin is None else margin
        example = self.one_example(test_size)
        return max(MARGIN, 2 * example) if margin is None else max(margin, example)

    @property
    def of_all_test_images(self) -> bool:
        """Whether it is an accuracy on all test examples.

        Then the value of the best constant answer is known.
        """
        return self.name == "test_accuracy" or self.name.startswith("corrupted_accuracy")

    def one_example(self, test_size: int | None) -> float:
        """The weight in points of one test example that the metric counts; 0 if it is unknown."""
        counted = self.accuracy and test_size is not None and not self.name.startswith("train_")
        return 100.0 / test_size if counted and test_size else 0.0


def _accuracy(
    name: str, words: str, heading: str, *, higher: bool = True, **options: Any
) -> Metric:
    return Metric(name, words, heading, higher, _PER_CENT, 2, accuracy=True, **options)


_SCORE: dict[str, Any] = {"only_for": _LOGITS, "least": 0.0}
_SHARE: dict[str, Any] = {"value_unit": _PER_CENT, "digits": 2}
_SCALED = "after temperature scaling"
_SHOTS = (("many", "over 100"), ("medium", "20 to 100"), ("few", "under 20"))

_ON_THE_TEST_SET = (
    _accuracy("test_accuracy", "test accuracy", "test"),
    Metric("test_nll", "test NLL", "NLL", False, _NATS, **_SCORE),
    Metric("test_brier", "test Brier score", "Brier", False, **_SCORE),
    Metric("test_ece", "test ECE", "ECE", False, only_for=_LOGITS, **_SHARE),
    Metric(
        *("test_ece_scaled", f"test ECE {_SCALED}", "ECE scaled", False), only_for=_LOGITS, **_SHARE
    ),
    Metric(
        *("test_mean_absolute_error", "test mean absolute error", "mean abs. error", False),
        only_for=_NUMBER,
        least=0.0,
    ),
    _accuracy("test_off_by_one", "test off-by-one accuracy", "off by one", only_for=_NUMBER),
    Metric("test_balanced_accuracy", "test balanced accuracy", "balanced", True, **_SHARE),
    Metric("test_macro_f1", "test macro F1", "macro F1", True, **_SHARE),
    _accuracy("test_top5_accuracy", "test top-5 accuracy", "top 5", only_for=_MANY_CLASSES),
    *(
        Metric(
            f"test_accuracy_{which}",
            f"test accuracy on classes with {words} training examples",
            f"{which}-shot classes",
            True,
            only_for=_IMBALANCED,
            **_SHARE,
        )
        for which, words in _SHOTS
    ),
    Metric("test_margin", "test probability margin", "margin", True, only_for=_LOGITS),
    Metric("test_aurc", "test AURC", "AURC", False, _PER_CENT, 3, only_for=_LOGITS),
    Metric("test_nll_scaled", f"test NLL {_SCALED}", "NLL scaled", False, _NATS, **_SCORE),
    Metric("test_brier_scaled", f"test Brier score {_SCALED}", "Brier scaled", False, **_SCORE),
)
_ON_CORRUPTED_IMAGES = (
    _accuracy(
        "corrupted_accuracy", "accuracy on corrupted test images", "corrupted", only_for=_CORRUPTED
    ),
    *(
        _accuracy(
            f"corrupted_accuracy_{kind}",
            f"test accuracy under the corruption {kind.replace('_', ' ')}",
            kind.replace("_", " "),
            only_for=_CORRUPTED,
        )
        for kind in CORRUPTIONS
    ),
)
_ON_FLIPPED_LABELS = (
    _accuracy(
        "train_accuracy_flipped",
        "memorization of flipped labels",
        "flipped, predicted as the wrong label",
        higher=False,
        only_for=_FLIPPED,
    ),
    _accuracy(
        "train_accuracy_recovered",
        "recovery of flipped labels",
        "flipped, predicted as the true label",
        only_for=_FLIPPED,
    ),
    _accuracy(
        "train_accuracy_untouched",
        "training accuracy on untouched labels",
        "not flipped, predicted right",
        only_for=_FLIPPED,
    ),
)

OFFERED = {
    metric.name: metric for metric in _ON_THE_TEST_SET + _ON_CORRUPTED_IMAGES + _ON_FLIPPED_LABELS
}
"""The metrics that `generate report metric=` takes, by column, but for those of one class.

None of them chose a rate, each orders losses, and each means the same for all losses.
"""

_OTHERS = {  # besides: what a rate is chosen by, and times, which are the machine's
    metric.name: metric
    for metric in (
        _accuracy("val_accuracy", "validation accuracy", "validation"),
        Metric("val_nll", "validation NLL", "validation NLL", False, _NATS),
        *(
            Metric(name, name.replace("_", " "), name.replace("_", " "), False)
            for name in ("seconds", "train_seconds", "val_seconds", "epoch_seconds")
        ),
    )
}


def offered(name: str) -> Metric | None:
    """The metric in a column that `metric=` takes, such as test_accuracy_3 of class 3, or None."""
    if (number := class_number(name.replace("_", "/", 1))) is None:
        return OFFERED.get(name)
    words = f"test accuracy on class {number}"
    return _accuracy(name, words, f"class {number}", of_class=number)


def read_metric(name: str) -> Metric:
    """The metric in a column such as `test_nll`.

    Raises:
        ValueError: there is no such metric; a run's own loss is none.
    """
    metric = offered(name) or _OTHERS.get(name)
    if metric is None:
        raise ValueError(f"{name}: expected one of {', '.join(OFFERED | _OTHERS)}")
    return metric


def column(name: str) -> str:
    """The column of a metric, from its name as users type it or as a column already.

    Test/accuracy is test_accuracy.
    """
    return name.replace("/", "_", 1)


def choices() -> str:
    """The names that `metric=` takes, those of a family in braces as in a shell."""
    return ", ".join(typed for typed, _, _ in _rows())


def described() -> str:
    """A line on each name that `metric=` takes, or on each family.

    Words and unit, direction, and which runs have it.
    """
    lines = []
    for typed, label, metric in _rows():
        better = "higher" if metric.higher_is_better else "lower"
        condition = f"; only {metric.only_for}" if metric.only_for else ""
        beside = f"\n{'':25}" if len(typed) > 25 else ""
        lines.append(f"{typed:25}{beside} {label}: {better} is better{condition}")
    return "\n".join(lines)


def _rows() -> Iterator[tuple[str, str, Metric]]:
    """Name, label and an example of every metric that is offered, a family as one."""
    kinds = ",".join(CORRUPTIONS)
    corrupted = f"corrupted/accuracy_{{{kinds}}}"
    for metric in OFFERED.values():
        if metric is _ON_CORRUPTED_IMAGES[0]:
            label = "test accuracy on one class (0, 1, ...) (%)"
            yield "test/accuracy_CLASS", label, read_metric("test_accuracy_0")
        if metric not in _ON_CORRUPTED_IMAGES[1:]:
            yield metric.typed, metric.label, metric
        elif metric is _ON_CORRUPTED_IMAGES[1]:
            yield corrupted, "test accuracy under one corruption (%)", metric
