"""What both halves of the project use: names, commands to type, and how two runs differ.

Imports nothing heavy.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

GROUPS = ("loss", "model", "data", "optimizer", "scheduler")
"""The groups of options that decide a run's numbers; each is a param of the run."""

SCALARS = ("lr", "epochs", "batch_size", "seed")
"""The other params that every run has; they decide its numbers, too."""

Parts = Mapping[str, Mapping[str, str]]
"""By part (loss, model, data, optimizer, scheduler, training) the digest of each file."""

PREDICTIONS = "predictions.npz"
"""The artifact with a run's answers on the test set."""

CORRECT = "test_correct.npz"
"""The artifact that has, for each test example, whether a run predicted it right."""

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "motion_blur", "shear"),
    *("scale", "rotate", "translate", "brightness", "stripe", "fog"),
)
"""The corruptions of test images, by name."""

METRICS = (
    *("test/accuracy", "test/nll", "test/brier", "test/ece", "test/ece_scaled"),
    *("test/mean_absolute_error", "test/off_by_one", "test/balanced_accuracy", "test/macro_f1"),
    *(f"test/accuracy_{which}" for which in ("many", "medium", "few")),
    *("test/top5_accuracy", "test/margin", "test/aurc", "test/nll_scaled", "test/brier_scaled"),
    *("corrupted/accuracy", *(f"corrupted/accuracy_{kind}" for kind in CORRUPTIONS)),
    *(f"train/accuracy_{which}" for which in ("flipped", "recovered", "untouched")),
)
"""The metrics by which losses can be compared, as users type them, but for those of one class."""


def is_metric(name: str) -> bool:
    """Whether losses can be compared by a metric: one of `METRICS`, or test/accuracy_CLASS."""
    return name in METRICS or class_number(name) is not None


def class_number(name: str) -> int | None:
    """The class of test/accuracy_CLASS, from 0 to 9999; None of every other name.

    >>> class_number("test/accuracy_3"), class_number("test/accuracy_03")
    (3, None)
    """
    match = re.fullmatch("test/accuracy_(0|[1-9][0-9]{0,3})", name)
    return None if match is None else int(match[1])


DATA_PLACES = ("data.root", "data.path", "data.test_path", "data.noisy_labels")
"""Where data lie; what lies there is in the digest of the data."""


def constant_accuracy(classes: object) -> float:
    """The validation accuracy with which a diverged run counts when a learning rate is chosen.

    It is 1/K, that of a constant answer among K equally frequent classes.

    Args:
        classes: A run's tag `classes`: the names of its classes, or their number, as JSON. A run
            without a text there has ten digits.

    >>> constant_accuracy('["cat", "dog"]'), constant_accuracy("1000"), constant_accuracy(None)
    (0.5, 0.001, 0.1)
    """
    content = json.loads(classes) if isinstance(classes, str) else 10
    return 1 / (content if isinstance(content, int) else len(content))


def half_decade(rate: float, steps: int) -> float:
    """The rate `steps` half decades from `rate` (> 0), of the form 1 or 3 times a power of ten.

    >>> half_decade(0.1, 1), half_decade(0.1, -1)
    (0.3, 0.03)
    """
    number = round(2 * math.log10(rate)) + steps
    return float(f"{(1, 3)[number % 2]}e{number // 2}")


METRIC, REFERENCE = "test/accuracy", "ce"
"""What a report compares, and with which loss, unless it is asked for something else."""

_REPEATS = ("test/", "val/", "train/", "corrupted/", "data/", "stop/")  # begin metrics that repeat
_MAKERS = {  # tags on which numbers may depend, in words
    "code": "code",
    "code.metrics": "code of the metrics",
    "processor": "processor",
    "kernel": "kernel",
    "paddle_version": "PaddlePaddle",
    "python_version": "Python",
}

LOSS_NAMES = {
    "agce": "asymmetric generalized cross-entropy",
    "arcface": "additive angular margin loss",
    "asymmetric": "asymmetric loss for one label",
    "aul": "asymmetric unhinged loss",
    "balanced_softmax": "balanced softmax cross-entropy",
    "bitempered": "bi-tempered logistic loss",
    "brier": "Brier score",
    "ce": "cross-entropy",
    "ce_double_softmax": "cross-entropy with a second softmax",
    "centre": "cross-entropy plus centre loss",
    "class_balanced": "class-balanced cross-entropy",
    "class_balanced_focal": "class-balanced focal loss",
    "crammer_singer": "multiclass hinge loss of Crammer and Singer",
    "elr": "early-learning regularization",
    "focal": "focal loss",
    "gce": "generalized cross-entropy",
    "hinge": "multiclass hinge loss of Weston and Watkins",
    "huber": "Huber loss",
    "js": "Jensen-Shannon loss",
    "label_smoothing": "label smoothing",
    "ldam": "label-distribution-aware margin loss",
    "logit_adjusted": "logit-adjusted cross-entropy",
    "logit_norm": "logit normalization",
    "mae": "mean absolute error of the probabilities",
    "mae_scalar": "mean absolute error",
    "mixture": "weighted sum of losses",
    "mse": "mean squared error",
    "nce_mae": "normalized cross-entropy plus mean absolute error",
    "nce_rce": "normalized plus reverse cross-entropy",
    "nfl_mae": "normalized focal loss plus mean absolute error",
    "nfl_rce": "normalized focal loss plus reverse cross-entropy",
    "ovr_bce": "one-versus-rest binary cross-entropy",
    "phuber_ce": "partially Huberised cross-entropy",
    "poly1": "PolyLoss with one term",
    "sce": "symmetric cross-entropy",
    "spherical": "spherical score",
    "square": "square loss of the logits",
    "squentropy": "square loss plus cross-entropy",
    "taylor_ce": "Taylor cross-entropy",
    "truncated_gce": "truncated generalized cross-entropy",
}
"""The name that people know, by the option in conf/loss/."""

# A string that Hydra reads as this string without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+")
# What Hydra may read as something else than a string, though it has only such characters.
_NO_STRING = re.compile(
    r"true|false|null|[+-]?(?:inf|nan)|[+-]?[\d._]+(?:e[+-]?[\d_]+)?", re.IGNORECASE
)

_MEANS_SOMETHING = re.compile(r"[][(){}:=, \t\\]")  # outside quotes, to Hydra
_BACKSLASHED = r"\\\g<0>"


class Typed(str):
    """A value as it is typed on the command line, in Hydra's grammar."""


def override(key: str, *values: Any) -> str:
    """One Hydra override, `key=value`, that sets exactly this value, or `key=one,two` for a sweep.

    A string stays a string, whatever is in it: `experiment="1e3"`. The result is not yet quoted
    for a shell; `command` does that.

    Args:
        key: As typed, e.g. `lr`, `where.loss.gamma` or `+loss.note`.
        values: Each is None, a bool, a number, a string, or a list or mapping of such values. The
            keys of a mapping are names or whole numbers, since Hydra's grammar has no quoted keys.
    """
    return f"{key}={','.join(map(_element, values))}"


def command(program: str, *words: str) -> str:
    """A line that can be pasted into a POSIX shell.

    Args:
        program: The words that need no quotes, e.g. `generate report`.
        words: The arguments as the program is to receive them.
    """
    return " ".join([program, *map(_quoted, words)])


def _quoted(word: str) -> str:
    """A word for a shell, with escapes where the terminal cannot show all of its characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    shown = word.encode(encoding, "replace").decode(encoding)
    if word.isascii() or shown == word:
        return shlex.quote(word)
    escaped = word.replace("\\", r"\\").replace("'", r"\'")
    octal = ("".join(f"\\{byte:03o}" for byte in each.encode()) for each in escaped)
    pairs = zip(escaped, octal, strict=True)
    return f"$'{''.join(each if each.isascii() else code for each, code in pairs)}'"


def is_default(uri: str | None) -> bool:
    """Whether a command finds the store at `uri` here by itself, without an address."""
    default = ("sqlite:///mlflow.db", f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    return "MLFLOW_TRACKING_URI" not in os.environ and (uri is None or uri in default)


def mlflow_for(uri: str | None) -> str:
    """MLflow's own program, as a command for the store at `uri` begins: `mlflow` and its store.

    Args:
        uri: The store's address; None for `mlflow.db` in the current directory.
    """
    if is_default(uri) and not Path("mlruns").exists():
        return "mlflow"
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri or 'sqlite:///mlflow.db')} mlflow"


def value_of_param(text: str) -> Any:
    """The value that MLflow keeps as the param `text`.

    None, a bool or a number whose `str` it is. A list or a mapping, which a run keeps as it is
    typed, as `Typed`, or as the value whose `str` it is in older runs. Else the text itself.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if str(value) == text and not isinstance(value, (str, bytes)):
        return value
    return Typed(text) if re.fullmatch(r"\[.*\]|\{\s*\}|\{.*:.*\}", text, re.DOTALL) else text


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers of at least 0 as a short text, which `numbers_in` reads.

    >>> ranges([3, 0, 1, 2, 7])
    '0-3,7'
    """
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def numbers_in(text: str) -> tuple[int, ...]:
    """The numbers of a text of `ranges`, ascending.

    Raises:
        ValueError: It is no such text, or of more than a million numbers.

    >>> numbers_in("0-3,7")
    (0, 1, 2, 3, 7)
    """
    ends = [part.partition("-") for part in text.split(",") if text]
    spans = [range(int(low), int(high or low) + 1) for low, _, high in ends]
    if sum(map(len, spans)) > 1_000_000:
        raise ValueError(f"expected a million numbers at most, got {text}")
    return tuple(number for span in spans for number in span)


class Recorded(Protocol):
    """What a run in a store has recorded."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags by name."""

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The last value of each metric by name; None if it is not a number."""


def validation_accuracy(metrics: Mapping[str, float]) -> float | None:
    """That of the weights of a run that were tested, which chooses rates; None without one."""
    return metrics.get("stop/val_accuracy", metrics.get("val/accuracy"))


def counting(runs: Sequence[Any]) -> Any:
    """Of runs of one identity, oldest first, the newest FINISHED one, else the newest."""
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return (finished or runs)[-1]


def changed(one: Parts, other: Parts) -> dict[str, list[str]]:
    """By part the files that differ between two versions, those that only one of them has included.

    >>> changed({"loss": {"a.py": "1", "b.py": "2"}}, {"loss": {"a.py": "3", "b.py": "2"}})
    {'loss': ['a.py']}
    """
    differ = {}
    for part in dict.fromkeys([*one, *other]):
        then, now = one.get(part, {}), other.get(part, {})
        differ[part] = sorted(f for f in {*then, *now} if then.get(f) != now.get(f))
    return {part: files for part, files in differ.items() if files}


def changed_files(one: Parts, other: Parts) -> list[str]:
    """The files that differ between two versions, whatever their part."""
    return sorted({file for files in changed(one, other).values() for file in files})


def numbers_differ(then: Recorded, now: Recorded) -> str:
    """How two finished runs differ in outcome and in metrics without times; empty where equal."""
    ends = then.tags.get("outcome", ""), now.tags.get("outcome", "")
    if all(ends) and ends[0] != ends[1]:
        return f"outcome {ends[0]}, then {ends[1]}"
    differ = []
    for name in sorted(then.metrics.keys() & now.metrics.keys()):
        old, new = then.metrics[name], now.metrics[name]
        if name.startswith(_REPEATS) and old != new and old is not None and new is not None:
            differ.append(f"{name} {old:.6g}, then {new:.6g}")
    # An accuracy says more to a reader than a loss of some unit.
    first = next((text for text in differ if text.startswith("test/accuracy ")), "")
    count = f"{len(differ)} metric{'' if len(differ) == 1 else 's'} in all"
    return f"{first or differ[0]}, {count}" if differ else ""


def why_numbers_differ(then: Recorded, now: Recorded) -> str:
    """Why two runs of one identity may have other numbers: what else differs between them."""
    differ = []
    for tag, words in _MAKERS.items():
        old, new = (_brief(each.tags.get(tag, "")) for each in (then, now))
        if old != new:
            differ.append(f"{words} {old}, then {new}")
    if differ:
        return f"made under other conditions ({'; '.join(differ)})"
    if not now.tags.get("code"):
        return "whose code is unknown and may have changed in between"
    return "though processor, kernel, versions and code are equal: determinism is broken"


def _brief(value: str) -> str:
    """A tag's value; of a digest the beginning."""
    return value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value or "unknown"


def _element(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Typed):
        return value
    if hasattr(value, "item"):  # a scalar of numpy's
        value = value.item()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (
            f"{_MEANS_SOMETHING.sub(_BACKSLASHED, str(key))}:{_element(entry)}"
            for key, entry in value.items()
        )
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_element, value))}]"
    return _string(str(value))


def _string(text: str) -> str:
    """A string in Hydra's grammar, with quotes where it needs them.

    Double quotes, since the shell's are single ones. Backslashes mean something to Hydra only
    before a quote, and to OmegaConf only before `${`, which would be an interpolation.
    """
    if _PLAIN.fullmatch(text) and not _NO_STRING.fullmatch(text):
        return text
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    # The closing quote counts as one, too.
    return '"' + re.sub(r'(\\*)"', r'\1\1\\"', literal + '"')[:-2] + '"'
