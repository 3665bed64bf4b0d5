"""Baselines: the finished runs of one protocol in a file of their own.

For comparison with runs that were made elsewhere.

The file is gzipped JSON: what made the runs, the runs as the store had them, their curves, and
which test examples each predicted right. Files made before version 0.2.0 lack the last. Reading
checks a SHA-256 of it all. A protocol is every value that decides a run's numbers but its loss,
learning rate and seed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.contract import DATA_PLACES, command, override
from reports.names import natural
from reports.runs.correct import Correct
from reports.runs.naming import loss_values, scalars, setting_values
from reports.runs.records import AT_END, CURVES, ReadError, Run, tags_of
from reports.runs.versions import code_of
from reports.runs.wording import cut, quote, short, some

SHIPPED = Path(__file__).resolve().parents[1] / "baselines" / "mnist.json.gz"
"""The file that comes with the project."""

FORMAT = 1
DIGITS = 9  # tell any two float32 apart

_RUN = ("run_id", "name", "status", "started", "ended", "tags", "params", "metrics", "digest")
_PACKAGES = (
    "paddlepaddle==",
    "numpy==",
    "scipy==",
    "scikit-learn==",
)  # on which numbers may depend
_GRID = (
    "loss",
    "lr",
    "seed",
    *DATA_PLACES,
)  # overrides that differ from run to run, or from machine to machine
_HASHES = ("order_hash", "init_hash")  # equal where splits, labels, order and initial weights are


@dataclass(frozen=True)
class Origin:
    """What made the runs of a file.

    commands: those that make the file again. protocol: values by param, the data's digest and
    epochs among them. rates and
    seeds: of all runs, ascending. ended: when the last run did, UTC, as 2025-03-14 15:09. versions:
    of Python and packages.
    paddle, commits, processors, kernels: the distinct tags of the runs; uncommitted: runs made with
    changes that are in no commit. unfinished: runs of the sweep that have no finished run.
    """

    commands: list[str]
    sweep: str
    ended: str
    protocol: dict[str, str]
    rates: list[float]
    seeds: list[int]
    losses: int
    runs: int
    unfinished: int
    versions: list[str]
    paddle: list[str]
    commits: list[str]
    uncommitted: int
    processors: list[str]
    kernels: list[str]


@dataclass(frozen=True)
class Baselines:
    """A file of baselines.

    Curves: per run id and metric the values of epoch 0, 1, ...; None where there is none.
    """

    origin: Origin
    runs: list[Run]
    curves: dict[str, dict[str, list[float | None]]]
    correct: Correct | None = None
    sha256: str = ""

    def histories(self, run_ids: Iterable[str]) -> list[tuple[Any, ...]]:
        """(run id, metric, epoch, 0, value) of all values of these runs, as a store has them."""
        return [
            (run_id, metric, epoch, 0, value)
            for run_id in run_ids
            for metric, values in self.curves.get(run_id, {}).items()
            if metric in CURVES
            for epoch, value in enumerate(values)
            if value is not None
        ]


def collect(
    runs: Sequence[Run],
    curves: pd.DataFrame,
    *,
    sweep: str,
    file: str,
    missing: int = 0,
    overrides: Sequence[str] = (),
    environment: str = "",
    correct: Correct | None = None,
) -> Baselines:
    """The baselines in the runs of a sweep: those that are finished.

    curves: of the same runs, as in `reports.runs.Runs`. sweep: its name; file: that of the file to
    be. missing: combinations without a run. overrides and environment: as one of the runs has
    stored them. correct: of the finished runs.

    Raises:
        ReadError: there are none, they are of more than one protocol, or a loss of more than one
            version of its code.
    """
    finished = [run for run in runs if run.status == "FINISHED"]
    if not finished:
        raise ReadError("baselines_to: expected a sweep with finished runs, got one without")
    protocols = [protocol(run) for run in finished]
    if several := _several(protocols):
        raise ReadError(
            f"baselines_to: expected the runs of one protocol, got several: {'; '.join(several)}. "
            "Choose one with sweep=NAME_OR_ID or where.KEY=VALUE"
        )
    codes: dict[str, set[str]] = {}
    for run in finished:
        codes.setdefault(json.dumps(loss_values(run)), set()).add(code_of(run))
    for loss, digests in codes.items():
        if len(digests) > 1:
            raise ReadError(
                f"baselines_to: expected one version of the code of each loss, got "
                f"{len(digests)} of {json.loads(loss)['loss']}, as reuse=any leaves them. Run the "
                "sweep without reuse=any, and choose it with sweep=NAME_OR_ID"
            )
    ended = pd.to_datetime(max(run.ended or 0 for run in finished), unit="ms", utc=True)
    numbers = [scalars(run) for run in finished]
    origin = Origin(
        commands=[
            _command(finished, overrides),
            command("generate report", "sweep=ID", override("baselines_to", file)),
        ],
        sweep=sweep,
        ended=f"{ended:%Y-%m-%d %H:%M}",
        protocol=protocols[0],
        rates=sorted({float(each["lr"]) for each in numbers}),
        seeds=sorted({int(each["seed"]) for each in numbers}),
        losses=len({json.dumps(loss_values(run)) for run in finished}),
        runs=len(finished),
        unfinished=missing + len(runs) - len(finished),
        versions=[
            line.removeprefix("# ")
            for line in environment.splitlines()
            if line.startswith(("# Python", *_PACKAGES))
        ],
        paddle=_tags(finished, "paddle_version"),
        commits=_tags(finished, "git_commit"),
        uncommitted=sum(run.tags.get("git_dirty") == "true" for run in finished),
        processors=_tags(finished, "processor"),
        kernels=_tags(finished, "kernel"),
    )
    return Baselines(origin, [_kept(run) for run in finished], _curves(finished, curves), correct)


def pack(baselines: Baselines) -> bytes:
    """The file's bytes, the same for the same baselines."""
    content = {
        "origin": asdict(baselines.origin),
        "runs": [{name: getattr(run, name) for name in _RUN} for run in baselines.runs],
        "curves": baselines.curves,
    }
    if baselines.correct:
        content["correct"] = asdict(baselines.correct)
    whole = {"format": FORMAT, "sha256": _digest(content), "content": content}
    return gzip.compress(_text(whole).encode(), mtime=0)


def read(path: Path) -> Baselines:
    """The baselines in a file.

    Raises:
        ReadError: there is no such file, it is not one, or it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = (
            "; generate report sweep=NAME_OR_ID baselines_to=FILE makes such a file"
            if path != SHIPPED
            else ""
        )
        raise ReadError(
            f"baselines: cannot read {path}: {error.strerror or error}{hint}"
        ) from error
    try:
        whole = json.loads(gzip.decompress(data))
        form, digest, content = whole["format"], whole["sha256"], whole["content"]
        if form == FORMAT and _digest(content) != digest:
            raise ValueError("its content has not the SHA-256 that it names")
        if form == FORMAT:
            runs = [
                Run(
                    **run | {"tags": tags_of(run["tags"])},
                    experiment="",
                    deleted=False,
                    baseline=True,
                )
                for run in content["runs"]
            ]
            right = Correct(**content["correct"]) if "correct" in content else None
            return Baselines(Origin(**content["origin"]), runs, content["curves"], right, digest)
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise ReadError(
            f"baselines: {path} is damaged, or no file of baselines: {cut(str(error))}"
        ) from error
    raise ReadError(f"baselines: {path} has format {quote(form)}, this program reads {FORMAT}")


def protocol(run: Run) -> dict[str, str]:
    """Every value of a run that decides its numbers but its loss, learning rate and seed."""
    return setting_values(run) | {"epochs": short(run.params["epochs"]), "data.digest": run.digest}


def joining(baselines: Baselines, runs: Sequence[Run]) -> list[Run]:
    """The baselines of the losses that none of `runs` has.

    Raises:
        ReadError: the runs were made under another protocol; the message names what differs.
    """
    if not runs:
        return []
    if differ := _differences(baselines, runs):
        raise ReadError(
            "baselines: expected runs of the protocol that the baselines were made under, got "
            "others, which cannot be compared with them:\n"
            + "\n".join(f"  {line}" for line in differ)
            + f"\nRun your losses as they were run ({baselines.origin.commands[0]}, with "
            "loss=YOURS), or choose such runs with "
            "sweep=NAME_OR_ID or where.KEY=VALUE"
        )
    losses = [loss_values(run) for run in runs]
    return [run for run in baselines.runs if loss_values(run) not in losses]


def _differences(baselines: Baselines, runs: Sequence[Run]) -> list[str]:
    """What of the protocol is otherwise in some of the runs, a line each."""
    of_baselines = baselines.origin.protocol
    protocols = [protocol(run) for run in runs]
    lines = []
    for name in dict.fromkeys([*of_baselines, *(name for each in protocols for name in each)]):
        values_here = {each.get(name, "not set") for each in protocols}
        if name == "data.digest":
            values_here.discard("")  # of a run that ended before it was recorded
        if values_here - {of_file := of_baselines.get(name, "not set")}:
            values = some(
                [
                    value[:12] if name == "data.digest" else value
                    for value in sorted(values_here, key=natural)
                ]
            )
            baseline = cut(of_file, 12 if name == "data.digest" else 120)
            lines.append(f"{name}: {values} here, {baseline} in the baselines")
    return lines or [line for name in _HASHES for line in _unlike(name, baselines.runs, runs)]


def _unlike(name: str, baselines: Sequence[Run], runs: Sequence[Run]) -> Iterator[str]:
    """A line where runs of a seed have not the hash that the baselines of that seed have."""
    hashes: dict[int | float, set[str]] = {}
    for run in baselines:
        hashes.setdefault(scalars(run)["seed"], set()).add(run.tags.get(name, ""))
    seeds = {scalars(run)["seed"]: run.tags[name] for run in runs if run.tags.get(name)}
    differ = [
        str(seed)
        for seed, value in sorted(seeds.items())
        if seed in hashes and value not in hashes[seed]
    ]
    if differ:
        words = {
            "order_hash": "splits, labels or the order of examples",
            "init_hash": "initial weights",
        }[name]
        yield (
            f"{name}: not the baselines' at seed {some(differ)}: {words} differ though all values "
            "agree, so the code or a package that makes them is another"
        )


def _command(runs: Sequence[Run], overrides: Sequence[str]) -> str:
    """The command that made the runs, as far as they and the overrides of one of them tell."""
    own = [
        word
        for word in overrides
        if word.partition("=")[0] not in _GRID and not word.startswith("tracking.")
    ]
    grid: list[str] = []
    if not any(
        word.startswith(("preset=", "sweep=")) for word in own
    ):  # a preset has its grid in a file
        kept = [(run.params["loss"], scalars(run)["lr"], scalars(run)["seed"]) for run in runs]
        losses, rates, seeds = (sorted(set(values)) for values in zip(*kept, strict=True))
        tuned = len(set(kept)) < len(losses) * len(rates) * len(seeds)
        grid = ["-m", *(["hydra/sweeper=tuning"] if tuned else [])]
        grid += [override("loss", *losses), override("lr", *rates)]
        grid += [] if tuned else [override("seed", *seeds)]
    return command("python experiments/run.py", *grid, *own)


def _several(protocols: Sequence[Mapping[str, str]]) -> list[str]:
    """The names that have several values, with these."""
    names = dict.fromkeys(name for each in protocols for name in each)
    values = {
        name: sorted({each.get(name, "not set") for each in protocols}, key=natural)
        for name in names
    }
    return [f"{name} is {some(texts)}" for name, texts in values.items() if len(texts) > 1]


def _tags(runs: Sequence[Run], name: str) -> list[str]:
    return sorted({run.tags[name] for run in runs if run.tags.get(name)})


def _kept(run: Run) -> Run:
    """The run without what is of its store or its machine alone."""
    metrics = {name: value for name, value in run.metrics.items() if name.startswith(AT_END)}
    params = {name: value for name, value in run.params.items() if name not in DATA_PLACES}
    return replace(run, params=params, metrics=metrics, experiment="", deleted=False, baseline=True)


def _curves(runs: Sequence[Run], curves: pd.DataFrame) -> dict[str, dict[str, list[float | None]]]:
    kept: dict[str, dict[str, list[float | None]]] = {}
    wanted = {run.run_id for run in runs}
    for run_id, rows in curves[curves["run_id"].isin(wanted)].groupby("run_id", sort=True):
        by_epoch = rows.set_index("epoch").reindex(range(int(rows["epoch"].max()) + 1))
        kept[str(run_id)] = {
            metric: [_rounded(value, exact="accuracy" in metric) for value in by_epoch[column]]
            for metric, column in CURVES.items()
            if by_epoch[column].notna().any()
        }
    return kept


def _rounded(value: float, exact: bool) -> float | None:
    """The value of a curve, short.

    Exact where rates are chosen by it: what is equal must stay equal.
    """
    if not math.isfinite(value):
        return None
    return float(value) if exact else float(f"{value:.{DIGITS}g}")


def _digest(content: Any) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
