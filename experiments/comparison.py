"""Two runs in a store: what differs, and whether the numbers are equal to the bit.

`rerun=` and `generate compare` use it. It reads the store and writes nothing to it.
"""

from __future__ import annotations

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

from experiments import contract
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
    "outcome": "the outcome",
}
_ARRAYS = {
    "outputs": "the network's outputs",
    "predicted": "the predicted classes",
    "label": "the labels",
}


class RunError(ValueError):
    """There is no such run to compare. The message is for the user."""


@dataclass(frozen=True)
class Record:
    """What a run has recorded.

    Attributes:
        label: The run's id, name and status.
        facts: By section and name, what the numbers may depend on.
        results: By name, what the run computed: the value of each epoch of a metric, a row for each
            test example, or one hash or outcome. Times are left out.
    """

    label: str
    facts: dict[str, dict[str, str]]
    results: dict[str, dict[int, Any]] = field(default_factory=dict)


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
        where = shown(uri) + (f", experiment {experiment!r}" if experiment is not None else "")
        raise RunError(
            f"there is no such run in {where}; expected an id from the table at the end of a sweep "
            "or from `mlflow ui`, or its beginning; tracking.uri=URI chooses another store"
        )
    if len(runs) > 1:
        names = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in runs)
        raise RunError(f"expected one run, but the ids of several begin so: {names}")
    run = client.get_run(runs[0].info.run_id)  # the search does not return the data set
    kind = run.data.tags.get("kind", "run of another program")
    if kind != "run":
        raise RunError(
            f"expected a run of experiments/run.py, got the {kind} {run.info.run_name!r}"
        )
    return run


def record(client: Any, run: Any, artifact: Artifact) -> Record:
    """What a run has recorded, read from the store."""
    tags = run.data.tags
    results = {name: {0: tags[tag]} for tag, name in _HASHES.items() if tag in tags}
    metrics = sorted(name for name in run.data.metrics if not name.startswith("time/"))
    for name in metrics:
        history = client.get_metric_history(run.info.run_id, name)
        results[name] = {point.step: point.value for point in history}
    if content := artifact(run, contract.PREDICTIONS):
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            results |= {_ARRAYS[each]: dict(enumerate(arrays[each])) for each in arrays}
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
    code["uncommitted changes"] = tags.get("git_dirty", "unknown")
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


def differences(a: Record, b: Record) -> dict[str, str]:
    """How the results differ that are not equal to the bit, by name.

    A result that only one of the runs has is a difference, too.
    """
    differ = {}
    for name in {**a.results, **b.results}:
        one, other = a.results.get(name), b.results.get(name)
        if one is None or other is None:
            differ[name] = f"only in {'B' if one is None else 'A'}"
        elif len(one) == len(other) == 1:  # at the end, which may be another epoch
            if _bits(*one.values()) != _bits(*other.values()):
                differ[name] = f"{_brief(*one.values())}, {_brief(*other.values())}"
        elif differing := [
            at for at in {**one, **other} if _bits(one.get(at)) != _bits(other.get(at))
        ]:
            unit, first = _unit(name), min(differing)
            count = plural(len({**one, **other}), unit)
            differ[name] = f"{len(differing)} of {count} differ, first {unit} {first}"
            if unit == "epoch":
                ends = f"{one[max(one)]}, {other[max(other)]} at the end"
                values = f"{one.get(first, 'none')}, {other.get(first, 'none')}"
                differ[name] = f"{ends}; {differ[name]}: {values}"
    return differ


def text(a: Record, b: Record) -> str:
    """What differs between two runs, and what is equal to the bit, in lines."""
    lines = [f"A: {a.label}", f"B: {b.label}"]
    same = []
    for section in a.facts:
        if differ := changes(a.facts[section], b.facts[section]):
            lines.append(f"{section} (A, B):")
            lines += [f"  {name}: {values}" for name, values in sorted(differ.items())]
        else:
            same.append(section.lower())
    if same:
        lines.append(f"No difference in: {', '.join(same)}")
    unlike = differences(a, b)
    if unlike:
        lines.append("Numbers that differ (A, B):")
        lines += [f"  {name}: {how}" for name, how in unlike.items()]
    equal = {name: values for name, values in a.results.items() if name not in unlike}
    if equal:
        lines.append("Equal to the bit:" if unlike else "Every number is equal to the bit:")
    metrics = [len(values) for name, values in equal.items() if _unit(name) == "epoch"]
    if metrics:
        lines.append(f"  {plural(sum(metrics), 'value')} of {plural(len(metrics), 'metric')}")
    lines += [f"  {name}" for name in equal if _unit(name) != "epoch"]
    return "\n".join(lines)


def read(store: Store, run: Any, name: str) -> bytes | None:
    """A file of a run in a store that is open; None when the run has none of this name."""
    files = store.artifacts(run)

    def fetch() -> bytes | None:
        if name not in {artifact.path for artifact in files.list_artifacts()}:
            return None
        with tempfile.TemporaryDirectory() as directory:
            return Path(files.download_artifacts(name, directory)).read_bytes()

    return store.patiently(fetch)


def _unit(name: str) -> str:
    """What the values of a result belong to; empty for a hash or the outcome."""
    if name in _HASHES.values():
        return ""
    return "test example" if name in _ARRAYS.values() else "epoch"


def _bits(value: Any) -> tuple[str, bytes]:
    """What is equal only for values equal in every bit: 0.0 is not -0.0, and NaN is itself."""
    array = np.asarray(value)
    return f"{array.dtype} {array.shape}", array.tobytes()


def _brief(value: Any) -> str:
    """A value in words: of a hash the beginning."""
    return value[:10] if isinstance(value, str) else str(value)
