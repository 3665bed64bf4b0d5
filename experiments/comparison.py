"""Two runs in a store: what differs, and whether the numbers are equal to the bit.

`rerun=` and `generate compare` use it. It reads the store and writes nothing to it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from experiments.credentials import shown
from experiments.terminal import plural

if TYPE_CHECKING:
    from experiments.tracking import Store

Artifact = Callable[[Any, str], bytes | None]
"""The content of a file of a run, by its name; None where the run has no such file."""

_HASHES = {
    "order_hash": "the split, the labels and the order of examples",
    "init_hash": "the initial weights",
    "head_hash": "the initial weights of the last layer",
}
_ARRAYS = {
    "outputs": "the network's outputs",
    "predicted": "the predicted classes",
    "label": "the labels",
}
_UNEXPLAINED = (
    "No recorded difference explains this. Run it once more. If the numbers differ again, something"
    " that is not recorded decides them: a file that the code reads, a library outside Python, or "
    "the hardware."
)


class RunError(ValueError):
    """There is no such run to compare. The message is for the user."""


@dataclass(frozen=True)
class Record:
    """What a run has recorded.

    Attributes:
        label: the run's id, name and status.
        facts: by section and name, what the numbers may depend on.
        results: by name, what the run computed: the value of each epoch of a metric, the array of a
            part of its predictions, a hash or the outcome. Times are left out.
    """

    label: str
    facts: dict[str, dict[str, str]]
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A result that two runs do not share; text: how it differs. only_b: whether A has none."""

    name: str
    text: str
    only_b: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def find(client: Any, run_id: str, uri: str, experiment: str | None = None) -> Any:
    """The run whose id is `run_id`, or the only one whose id begins so.

    Args:
        client: An MlflowClient.
        run_id: The id or its beginning.
        uri: The store's address, for messages.
        experiment: The experiment to search; None for all.

    Raises:
        RunError: There is no such run, or several, or it is no run of experiments/run.py.
    """
    if not re.fullmatch("[0-9a-f]{1,32}", run_id):
        raise RunError(
            f"expected a run id or its beginning, of the signs 0-9 and a-f, got {run_id!r}"
        )
    experiments = {each.name: each.experiment_id for each in client.search_experiments()}
    if experiment is not None and experiment not in experiments:
        names = ", ".join(map(repr, sorted(experiments)))
        raise RunError(f"there is no experiment {experiment!r}; expected one of {names}")
    ids = list(experiments.values()) if experiment is None else [experiments[experiment]]
    runs = client.search_runs(ids, f"attributes.run_id LIKE '{run_id}%'", max_results=5)
    if not runs:
        place = shown(uri) + (f", experiment {experiment!r}" if experiment is not None else "")
        raise RunError(
            f"there is no such run in {place}; expected an id from the table at the end of a sweep "
            "or from `mlflow ui`, or its beginning; tracking.uri=URI chooses another store"
        )
    if len(runs) > 1:
        raise RunError(f"expected one run, but the ids of several begin so: {_names(runs)}")
    run = client.get_run(runs[0].info.run_id)  # the search does not return the data set
    kind = run.data.tags.get("kind")
    if kind == "sweep":
        of_sweep = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        children = client.search_runs([run.info.experiment_id], of_sweep, max_results=5)
        raise RunError(f"expected one run, got a sweep; choose one of its runs: {_names(children)}")
    if kind != "run":
        raise RunError(
            f"expected a run of experiments/run.py, got {run.info.run_name!r} of "
            + ("another program" if kind is None else f"kind {kind!r}")
        )
    return run


def record(client: Any, run: Any, artifact: Artifact) -> Record:
    """What a run has recorded, read from the store."""
    tags = run.data.tags
    results: dict[str, Any] = {name: tags[tag] for tag, name in _HASHES.items() if tag in tags}
    if "outcome" in tags:
        results["the outcome"] = tags["outcome"]
    for name in sorted(run.data.metrics):
        if not name.startswith("time/"):
            history = client.get_metric_history(run.info.run_id, name)  # in no order to rely on
            results[name] = {point.step: point.value for point in sorted(history, key=_step)}
    if content := artifact(run, "predictions.npz"):
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            results |= {name: arrays[array] for array, name in _ARRAYS.items() if array in arrays}
    label = f"{run.info.run_id} {run.info.run_name}, {run.info.status}"
    return Record(label, _facts(run, artifact), results)


def _facts(run: Any, artifact: Artifact) -> dict[str, dict[str, str]]:
    """What the numbers of a run may depend on, by section."""
    tags = run.data.tags
    config: Any = OmegaConf.create((artifact(run, "config.yaml") or b"{}").decode())
    parts = json.loads(tags.get("code.parts", "{}"))
    code = {f"{file} ({part})": digest for part in parts for file, digest in parts[part].items()}
    code["code of the metrics"] = tags.get("code.metrics", "unknown")[:12]
    code["commit"] = tags.get("git_commit", "unknown")[:10]
    code["uncommitted changes"] = "none"
    if tags.get("git_dirty") == "true":
        diff = artifact(run, "changes.diff") or b""
        size, digest = plural(len(diff.splitlines()), "line"), hashlib.sha256(diff).hexdigest()[:8]
        code["uncommitted changes"] = f"{size} ({digest})" if diff else "new files only"
    lines = (artifact(run, "environment.txt") or b"").decode().splitlines()
    machine = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    named = {"python_version": "Python", "paddle_version": "paddlepaddle"}
    versions = {name: tags[tag] for tag, name in named.items() if tag in tags}
    return {
        "Settings": run.data.params
        | {name: str(config[name]) for name in ("device", "threads") if name in config},
        "Code": code,
        "Data": {each.dataset.name: each.dataset.digest[:10] for each in run.inputs.dataset_inputs},
        "Versions": versions | dict(line.split("==", 1) for line in lines if "==" in line),
        # the first of these lines is the version of Python
        "Machine": dict(zip(("system", "processor"), machine[1:], strict=False))
        | {name: tags[name] for name in ("kernel",) if name in tags},
    }


def changes(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    """The values that differ, as "A's, B's", by name."""
    return {
        name: f"{a.get(name, 'none')}, {b.get(name, 'none')}"
        for name in {**a, **b}
        if a.get(name) != b.get(name)
    }


def differences(a: Record, b: Record) -> list[Difference]:
    """The results that differ in any bit: hashes, then metrics by their first epoch, then images.

    A result that only one of the runs has is a difference, too.
    """
    found: list[tuple[int, int, Difference]] = []
    for name in {**a.results, **b.results}:
        one, other = a.results.get(name), b.results.get(name)
        if one is None or other is None:
            alone = Difference(name, f"only in {'B' if one is None else 'A'}", only_b=one is None)
            found.append((3, 0, alone))
        elif isinstance(one, dict):
            if len(one) == len(other) == 1:  # at the end, which may be another epoch
                other = dict(zip(one, other.values(), strict=True))
            epochs = sorted({*one, *other})
            unlike = [epoch for epoch in epochs if _bits(one.get(epoch)) != _bits(other.get(epoch))]
            if unlike:
                found.append((1, unlike[0], Difference(name, _of_metric(one, other, unlike))))
        elif isinstance(one, np.ndarray):
            text = _of_images(one, other)
            found += [(2, 0, Difference(name, text))] if text else []
        elif one != other:
            found.append((0, 0, Difference(name, f"{one[:10]}, {other[:10]}")))
    return [each for *_, each in sorted(found, key=lambda entry: entry[:2])]


def text(a: Record, b: Record) -> str:
    """What differs between two runs, and what is equal to the bit, in lines."""
    lines = [f"A: {a.label}", f"B: {b.label}"]
    same = []
    for section in a.facts:
        differ = changes(a.facts[section], b.facts[section])
        if not differ:
            same.append(section.lower())
            continue
        lines.append(f"{section} (A, B):")
        lines += [f"  {name}: {values}" for name, values in sorted(differ.items())]
        one, other = (each.facts[section].get("commit", "unknown") for each in (a, b))
        if "commit" in differ and "unknown" not in (one, other):
            lines.append(f"  (git diff {one} {other} -- experiments conf)")
    if same:
        lines.append(f"No difference in: {', '.join(same)}")

    unlike = differences(a, b)
    equal = _equal(a, {each.name for each in unlike})
    if not unlike:
        return "\n".join([*lines, "Every number is equal to the bit:", *equal])
    lines += ["Numbers that differ (A, B):", *(f"  {each}" for each in unlike)]
    if equal:
        lines += ["Equal to the bit:", *equal]
    return "\n".join([*lines, *([_UNEXPLAINED] if len(same) == len(a.facts) else [])])


def read(store: Store, run: Any, name: str) -> bytes | None:
    """A file of a run in a store that is open; None when the run has none of this name."""
    files = store.artifacts(run)

    def fetch() -> bytes | None:
        if name not in {artifact.path for artifact in files.list_artifacts()}:
            return None
        with tempfile.TemporaryDirectory() as directory:
            return Path(files.download_artifacts(name, directory)).read_bytes()

    return store.patiently(fetch)


def _equal(run: Record, unlike: set[str]) -> list[str]:
    """The results of a run without some, counted, a line for each kind."""
    same = {name: value for name, value in run.results.items() if name not in unlike}
    curves = [value for value in same.values() if isinstance(value, dict)]
    lines = []
    if curves:
        values = plural(sum(map(len, curves)), "value")
        lines.append(f"  {values} of {plural(len(curves), 'metric')}")
    for name, value in same.items():
        if isinstance(value, np.ndarray):
            lines.append(f"  {name} of {plural(len(value), 'test example')}")
        elif not isinstance(value, dict):
            lines.append(f"  {name}")
    return lines


def _of_metric(a: Mapping[int, float], b: Mapping[int, float], unlike: list[int]) -> str:
    """How a metric differs: its last values, and the first epoch with a difference."""
    last = f"{a[max(a)]!r}, {b[max(b)]!r}"
    if len(a) == len(b) == 1:
        return last
    first = ", ".join(repr(each[unlike[0]]) if unlike[0] in each else "none" for each in (a, b))
    count = f"{len(unlike)} of {plural(len({*a, *b}), 'epoch')} differ"
    pairs = [(a[epoch], b[epoch]) for epoch in unlike if epoch in a and epoch in b]
    largest = max((_relative(*pair) for pair in pairs), default=0.0)
    ratio = f" (largest relative difference {largest:.1e})" if largest else ""
    return f"{last} at the end; {count}, first epoch {unlike[0]}: {first}{ratio}"


def _of_images(a: np.ndarray, b: np.ndarray) -> str:
    """How the arrays of all test examples differ; empty where they are equal to the bit."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {list(a.shape)}, {b.dtype} {list(b.shape)}"
    one, other = (each.reshape(len(each), -1) for each in (a, b))
    bits = f"u{a.dtype.itemsize}"
    unlike = np.argwhere(one.view(bits) != other.view(bits))  # rows of image and output
    if not len(unlike):
        return ""
    image, output = unlike[0]
    return (
        f"{len(set(unlike[:, 0])):,} of {plural(len(a), 'test example')} differ, the first is "
        f"{image}: {one[image, output].item()!r}, {other[image, output].item()!r}"
    )


def _relative(a: float, b: float) -> float:
    """The difference as a share of the larger number, in [0, 2]; 0 for 0.0 and -0.0."""
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def _bits(value: float | None) -> str | None:
    """What is equal only for numbers equal in every bit: 0.0 is not -0.0, and NaN is itself."""
    return None if value is None else float(value).hex()


def _step(point: Any) -> int:
    return int(point.step)


def _names(runs: Any) -> str:
    return ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in runs)
