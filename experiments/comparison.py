"""Two runs in the store.

Which of their numbers differ, be it in one bit, and what differed around them.

Reads the store and writes nothing to it. Which run to compare with which is no concern of this
module.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from experiments.terminal import plural

if TYPE_CHECKING:
    from experiments.tracking import Store

_UNEXPLAINED = (
    "nothing that is recorded changed since then, so this should not be: run it once more. If it "
    "differs again, something decides "
    "the numbers that is not recorded: a file that the code reads, a library outside Python, the "
    "hardware"
)

# (kind, name) -> place -> values: an epoch's value of a metric, an image's outputs, a tag at place
# 0.
Numbers = dict[tuple[str, str], dict[int, tuple[Any, ...]]]

TAG, METRIC, IMAGE = (
    "tag",
    "epoch",
    "test image",
)  # kinds; the last two are also the unit of their places
_TAGS = {
    "order_hash": "the split, the labels and the order of examples",
    "init_hash": "the initial weights",
    "head_hash": "the initial weights of the last layer",
    "outcome": "the outcome",
}
_ARRAYS = {
    "outputs": "the network's outputs",
    "predicted": "the predicted digits",
    "label": "the labels",
}
_STAGES = (
    "data",
    "lr",
    "train",
    "val",
    "test",
)  # of one epoch, in the order in which they are computed


@dataclass(frozen=True)
class Difference:
    """Where one series of numbers differs between two runs.

    count, of: places that differ, and all. first: the first of them. then, now: one value there;
    None where there is none.
    relative: the largest difference of two numbers as a share of the larger, in [0, 2].
    """

    kind: str
    name: str
    count: int
    of: int
    first: int
    then: Any
    now: Any
    relative: float

    def __str__(self) -> str:
        values = f"{_shown(self.then)} then, {_shown(self.now)} now"
        if self.kind == TAG:
            return f"{self.name}: {values}"
        ratio = f" (largest relative difference {self.relative:.1e})" if self.relative else ""
        places = f"{self.count:,} of {plural(self.of, self.kind)}"
        return f"{self.name}: at {places}, first at {self.kind} {self.first}: {values}{ratio}"


def numbers(store: Store, run: Any) -> Numbers:
    """Every number of a run that its configuration decides, in the order of their making.

    Times are none of them.
    """
    found: Numbers = {
        (TAG, what): {0: (run.data.tags[tag],)}
        for tag, what in _TAGS.items()
        if tag in run.data.tags
    }
    for name in sorted(run.data.metrics, key=_stage):
        if not name.startswith("time/"):
            history = store.client.get_metric_history(
                run.info.run_id, name
            )  # in no order to rely on
            found[METRIC, name] = {
                point.step: (point.value,) for point in sorted(history, key=lambda p: p.step)
            }
    content = read(store, run, "predictions.npz")
    if content is not None:
        import numpy as np

        with np.load(io.BytesIO(content)) as arrays:
            for array, name in _ARRAYS.items():
                rows = arrays[array].reshape(len(arrays[array]), -1).tolist()
                found[IMAGE, name] = {image: tuple(row) for image, row in enumerate(rows)}
    return found


def compare(then: Numbers, now: Numbers) -> list[Difference]:
    """The series that differ in any bit, those that differ earliest first.

    A number of then that is missing now is a difference; a series that is new is of newer code, and
    not compared.
    """
    found = []
    for (kind, name), before in then.items():
        after = now.get((kind, name), {})
        unlike = [
            i for i in sorted({*before, *after}) if _bits(before.get(i)) != _bits(after.get(i))
        ]
        if unlike:
            pairs = [
                list(itertools.zip_longest(before.get(i, ()), after.get(i, ()))) for i in unlike
            ]
            a, b = next(pair for pair in pairs[0] if _bits(pair[:1]) != _bits(pair[1:]))
            relative = max(_relative(*pair) for pair in itertools.chain(*pairs))
            found.append(
                Difference(
                    kind, name, len(unlike), len({*before, *after}), unlike[0], a, b, relative
                )
            )
    kinds = (TAG, METRIC, IMAGE)
    return sorted(
        found, key=lambda each: (kinds.index(each.kind), each.kind == METRIC and each.first)
    )


def circumstances(store: Store, run: Any) -> dict[str, str]:
    """What is recorded of the code, the data, the machine and the versions behind a run.

    By names for people.
    """
    tags = run.data.tags
    parts = json.loads(tags.get("code.parts", "{}"))
    facts = {f"{file} ({part})": digest for part in parts for file, digest in parts[part].items()}
    facts["code"] = tags.get("code", "code unknown")[:12]
    facts["code of the metrics"] = tags.get("code.metrics", "code unknown")[:12]
    facts |= {"commit": tags.get("git_commit", "unknown")[:10], "uncommitted changes": "none"}
    diff = read(store, run, "changes.diff") or b""
    if tags.get("git_dirty") == "true":
        size, digest = len(diff.splitlines()), hashlib.sha256(diff).hexdigest()[:8]
        facts["uncommitted changes"] = (
            f"changes.diff of {size:,} lines ({digest})" if diff else "new files only"
        )
    facts |= {
        f"data {entry.dataset.name}": entry.dataset.digest[:10]
        for entry in run.inputs.dataset_inputs
    }
    kept: Any = OmegaConf.create((read(store, run, "config.yaml") or b"{}").decode())
    facts |= {name: str(kept[name]) for name in ("device", "threads") if name in kept}
    named = {"kernel": "kernel", "python_version": "Python", "paddle_version": "paddlepaddle"}
    facts |= {name: tags[tag] for tag, name in named.items() if tag in tags}
    lines = (read(store, run, "environment.txt") or b"").decode().splitlines()
    machine = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    facts |= dict(
        zip(("system", "processor"), machine[1:], strict=False)
    )  # the first is Python's version
    return facts | dict(line.split("==", 1) for line in lines if "==" in line)


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """The `circumstances` that are not the same."""
    pairs = [(name, then.get(name), now.get(name)) for name in {**then, **now}]
    return [Difference(TAG, name, 1, 1, 0, a, b, 0.0) for name, a, b in pairs if a != b]


def text(then: Numbers, found: Sequence[Difference], changed: Sequence[Difference]) -> str:
    """What `compare` has found in the numbers of then, and `changes` around them, in sentences."""
    unlike = {(each.kind, each.name) for each in found}
    same: dict[str, list[str]] = {TAG: [], METRIC: [], IMAGE: []}
    for kind, name in then.keys() - unlike:
        same[kind].append(name)
    agree = []
    if same[METRIC]:
        values = sum(len(then[METRIC, name]) for name in same[METRIC])
        agree.append(f"{plural(values, 'value')} of {plural(len(same[METRIC]), 'metric')}")
    agree += [
        f"{name} of {plural(len(then[IMAGE, name]), IMAGE)}"
        for name in _ARRAYS.values()
        if name in same[IMAGE]
    ]
    agree += [name for name in _TAGS.values() if name in same[TAG]]
    if not found:
        lines = ["every number agrees to the bit:", *_indented(agree)]
        lines.append(
            "although this changed since then:"
            if changed
            else "nothing that is recorded changed since then"
        )
    else:
        metrics = sum(kind == METRIC for kind, _ in then)
        lines = [
            f"not the same: {sum(each.kind == METRIC for each in found)} of "
            f"{plural(metrics, 'metric')} differ"
        ]
        lines += [*_indented(found), "the same to the bit:", *(_indented(agree) or ["  nothing"])]
        lines.append("what changed since then:" if changed else _UNEXPLAINED)
    commits = [
        f"{each.then} {each.now}"
        for each in changed
        if each.name == "commit" and each.then != "unknown"
    ]
    hint = [f"(git diff {both} -- experiments conf)" for both in commits]
    return "\n".join([*lines, *_indented([*changed, *hint])])


def read(store: Store, run: Any, name: str) -> bytes | None:
    """An artifact of a run; None when the run has none of this name."""
    files = store.artifacts(run)

    def fetch() -> bytes | None:
        if name not in {artifact.path for artifact in files.list_artifacts()}:
            return None
        with tempfile.TemporaryDirectory() as directory:
            return Path(files.download_artifacts(name, directory)).read_bytes()

    return store.patiently(fetch)


def _indented(lines: Sequence[object]) -> list[str]:
    return [f"  {line}" for line in lines]


def _stage(metric: str) -> int:
    name = metric.partition("/")[0]
    return _STAGES.index(name) if name in _STAGES else len(_STAGES)


def _bits(values: tuple[Any, ...] | None) -> Any:
    """What is equal only for values equal in every bit: 0.0 is not -0.0, and NaN is itself."""
    return values and [value.hex() if isinstance(value, float) else value for value in values]


def _relative(a: Any, b: Any) -> float:
    numbers = all(isinstance(value, (int, float)) for value in (a, b))
    return abs(a - b) / max(abs(a), abs(b)) if numbers and a != b else 0.0


def _shown(value: Any) -> str:
    """Floats in full; of a hash, which says only whether it is the same, the beginning."""
    if value is None:
        return "none"
    is_hash = isinstance(value, str) and len(value) == 64
    return value[:10] if is_hash else value if isinstance(value, str) else repr(value)
