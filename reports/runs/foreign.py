"""Results of other programs in MLflow: a mapping from their params, metrics and tags to columns.

Any store that MLflow knows is read by MLflow's own client, which loads here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # These are read when MLflow loads.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # It is only read here.

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from experiments import places
from experiments.contract import override
from experiments.credentials import redacted, shown
from reports.names import counted
from reports.runs import Runs
from reports.runs.imported import (
    CURVE_METRICS,
    METRICS,
    Line,
    Table,
    column_of,
    frames,
    is_metric,
    line_of,
)
from reports.runs.records import ReadError
from reports.runs.source import store_address
from reports.runs.store import every
from reports.runs.wording import cut, number, quote, some

KINDS = ("params", "metrics", "tags")
_OTHER_STORE = "Choose the one with the runs: tracking.uri=URI"
_TEXTS = ("loss", "seed", "lr", "epochs", "outcome")
_LISTS = ("settings", "loss_values")
_STATUS = {"FINISHED": "ok", "FAILED": "failed", "KILLED": "killed"}


class _Key(NamedTuple):
    """A param, metric or tag."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"

    def of(self, run: MlflowRun) -> Any:
        """The value of a run; None where it has none."""
        return getattr(run.data, self.kind).get(self.name)


def load(
    uri: str | None,
    experiments: Sequence[str],
    mapping: Mapping[str, Any],
    metric: str,
    where: Mapping[str, Any],
    *,
    run_ids: Collection[str] | None = None,
) -> Runs:
    """The runs of MLflow experiments of any program, in the frames of `reports.runs.load`.

    Args:
        uri: of the store, any that MLflow knows; None: as in `reports.runs.load`.
        experiments: their names.
        mapping: what each column is in these runs: params.NAME, metrics.NAME or tags.NAME, by the
            column's name (`metric` is the one that decides), and lists of them for `settings` and
            `loss_values`. Columns that are left out are the params and metrics of their name.
        metric: the column that decides.
        where: values that a run must have.
        run_ids: these runs and no others.

    Raises:
        ReadError: the store cannot be read, the mapping names what no run has, or no report can be
            made of these runs.
    """
    address = _address(uri)
    client = MlflowClient(tracking_uri=address)
    try:
        all_runs = _runs(client, experiments)
        runs = [run for run in all_runs if run_ids is None or run.info.run_id in run_ids]
        keys = _keys(mapping, metric, runs, experiments)
        histories = _histories(client, runs, keys)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        text = cut(redacted(str(error)), 500)
        raise ReadError(f"from: cannot read {shown(address)}: {text}") from error
    name = " and ".join(map(quote, experiments))
    notes: list[str] = []
    lines = list(_lines(_complete(runs, keys, name, notes), keys, histories, metric, name, notes))
    table = Table(
        *(f"experiment {name}", f"MLflow experiment {name}", address, tuple(experiments)),
        lines=lines,
        columns={name for line in lines for name in (*line.texts, *line.values)},
        settings="from.settings names what has to be equal",
        lacks="has no {name} (from.{name}=KEY)",
        advice="from.{name}=metrics.NAME",
        notes=notes,
    )
    return frames(table, metric, where)


def _address(uri: str | None) -> str:
    """The store's address; one that is not there is refused before MLflow would create it."""
    given = uri or os.environ.get("MLFLOW_TRACKING_URI", "").strip() or places.DEFAULT_URI
    if given.startswith(("sqlite:", "http:", "https:")):
        return store_address(given, _OTHER_STORE)
    parts = urlsplit(given)
    if parts.scheme not in ("", "file"):
        return given
    path = Path(url2pathname(parts.path)).resolve()
    if not path.exists():
        raise ReadError(f"there is no MLflow store {path}. {_OTHER_STORE}")
    return path.as_uri()


def _runs(client: MlflowClient, experiments: Sequence[str]) -> list[MlflowRun]:
    """All runs of the experiments, the oldest first."""
    ids_by_name = {each.name: each.experiment_id for each in every(client.search_experiments)}
    for name in experiments:
        if name not in ids_by_name:
            raise ReadError(
                f"no experiment is named {quote(name)}; expected one of: "
                f"{some(sorted(map(quote, ids_by_name)))}"
            )
    ids = [ids_by_name[name] for name in experiments]
    order = ["attributes.start_time ASC"]
    runs = every(partial(client.search_runs, ids, "", ViewType.ACTIVE_ONLY, order_by=order))
    if not runs:
        raise ReadError(f"from: the experiment {' and '.join(map(quote, experiments))} has no runs")
    return runs


def _keys(
    mapping: Mapping[str, Any], metric: str, runs: Sequence[MlflowRun], experiments: Sequence[str]
) -> dict[str, _Key]:
    """By column what it is in these runs: what was named, and else what has the column's name."""
    keys: dict[str, _Key] = {}
    for name, value in mapping.items():
        if name in _LISTS:
            texts = value if isinstance(value, list) else [value]
            prefix = "loss." if name == "loss_values" else ""
            keys |= {prefix + key.name: key for key in (_key(name, text) for text in texts)}
            continue
        column = f"{metric}{name.removeprefix('metric')}" if name.startswith("metric") else name
        if name not in _TEXTS and not is_metric(column_of(column)[0]):
            choices = [*_TEXTS, "metric", "metric_percent", *_LISTS, *sorted(CURVE_METRICS)]
            raise ReadError(
                f"from.{name}: expected one of {', '.join(choices)}, or a metric such as test_nll"
            )
        keys[column] = _key(name, value)
    lacking = {
        column: key for column, key in keys.items() if all(key.of(run) is None for run in runs)
    }
    named = {column_of(column)[0] for column in keys}
    for column in dict.fromkeys([*_TEXTS[:-1], *METRICS, metric]):
        kind = "params" if column in _TEXTS else "metrics"
        # A few runs of another kind do not decide that all need a rate and epochs.
        least = len(runs) / 2 if column in ("lr", "epochs") else 0
        spellings = dict.fromkeys((column, column.replace("_", "/", 1)))
        candidates = [_Key(kind, name) for name in spellings]
        often = [key for key in candidates if sum(key.of(run) is not None for run in runs) > least]
        if column not in named and often:
            keys[column] = often[0]
    have = {column_of(column)[0] for column in keys}
    lacking |= {name: _Key("params", name) for name in ("loss", "seed") if name not in have}
    lacking |= {name: _Key("metrics", name) for name in (metric,) if name not in have}
    if lacking:
        raise ReadError(_none_has(lacking, metric, runs, experiments))
    return keys


def _key(name: str, value: Any) -> _Key:
    kind, dot, rest = str(value).partition(".")
    if kind not in KINDS or not dot or not rest:
        raise ReadError(
            f"from.{name}: expected params.NAME, metrics.NAME or tags.NAME, got {quote(str(value))}"
        )
    return _Key(kind, rest)


def _none_has(
    lacking: Mapping[str, _Key], metric: str, runs: Sequence[MlflowRun], experiments: Sequence[str]
) -> str:
    """The message on columns that no run has."""
    names = [
        f"{key} (from.{'metric' if column == metric else column})"
        for column, key in lacking.items()
    ]
    lines = []
    for kind in KINDS:
        own = {name for run in runs for name in getattr(run.data, kind)}
        shown = sorted(name for name in own if not name.startswith("mlflow."))
        lines.append(f"{kind}: {some(shown, 40) or 'none'}")
    example = override("from.loss", "params.criterion")
    return (
        f"from: no run of experiment {' and '.join(map(quote, experiments))} has "
        f"{' or '.join(names)}. Name the key that holds it, such as {example}. "
        f"The runs have\n  " + "\n  ".join(lines)
    )


def _histories(
    client: MlflowClient, runs: Sequence[MlflowRun], keys: Mapping[str, _Key]
) -> dict[str, dict[str, dict[int, float]]]:
    """By run and column the values of metrics with a curve, by step."""
    curves = {
        column: key
        for column, key in keys.items()
        if key.kind == "metrics" and column_of(column)[0] in CURVE_METRICS
    }
    histories: dict[str, dict[str, dict[int, float]]] = {}
    for run in runs:
        own = histories.setdefault(run.info.run_id, {})
        for column, key in curves.items():
            if key.of(run) is not None:
                history = client.get_metric_history(run.info.run_id, key.name)
                ordered = sorted(history, key=lambda each: each.timestamp)
                own[column] = {each.step: each.value for each in ordered}
    return histories


def _complete(
    runs: Sequence[MlflowRun], keys: Mapping[str, _Key], name: str, notes: list[str]
) -> list[MlflowRun]:
    """The runs that have what tells runs apart, with a note on those that have not."""
    complete = list(runs)
    for columns in (("loss", "seed"), ("lr", "epochs")):
        needed = {column: keys[column] for column in columns if column in keys}
        lacking = [run for run in complete if any(key.of(run) is None for key in needed.values())]
        if lacking and len(lacking) == len(complete):
            words = " and ".join(f"{key} (from.{column})" for column, key in needed.items())
            raise ReadError(
                f"from: expected a run of experiment {name} with {words}, got none: "
                f"{_place(lacking[0])} is the first that lacks one. Name the keys that hold them"
            )
        if lacking:
            words = " or ".join(map(str, needed.values()))
            notes.append(f"left out: {counted(len(lacking), 'run')} without {words}")
            complete = [run for run in complete if run not in lacking]
    return complete


def _place(run: MlflowRun) -> str:
    return f"run {run.info.run_id} ({cut(run.info.run_name, 40)})"


def _lines(
    runs: Sequence[MlflowRun],
    keys: Mapping[str, _Key],
    histories: Mapping[str, Mapping[str, Mapping[int, float]]],
    metric: str,
    name: str,
    notes: list[str],
) -> Iterator[Line]:
    """The lines of the runs, with a note on those that ran more than once."""
    curves = {
        run.info.run_id: {
            column: values for column, values in histories[run.info.run_id].items() if values
        }
        for run in runs
    }
    lengths = {
        run.info.run_id: int(float(keys["epochs"].of(run)))
        for run in runs
        if "epochs" in keys and number(str(keys["epochs"].of(run))) is not None
    }
    numbered = _numbered(curves, lengths)
    if numbered is None and any(len(v) > 1 for own in curves.values() for v in own.values()):
        notes.append("no curves are shown: the steps of the metrics are no epochs")
    by_configuration: dict[str, list[Line]] = {}
    lost = again = 0
    for run in runs:
        cells = {column: _text(key.of(run)) for column, key in keys.items()}
        outcome = _STATUS.get(run.info.status, "running")
        deciding = next(key for column, key in keys.items() if column_of(column)[0] == metric)
        value = deciding.of(run)
        if outcome == "ok" and "outcome" not in keys and number(str(value)) is None:
            outcome = "failed" if value is None else "diverged"
            lost += value is None
        cells = {"outcome": outcome} | cells
        own = list(_of_run(run, cells, curves[run.info.run_id], numbered, name))
        texts = {k: v for k, v in own[-1].texts.items() if k not in ("epoch", "outcome")}
        key = json.dumps(texts, sort_keys=True)
        before = by_configuration.get(key)
        again += before is not None
        done = ("ok", "diverged")
        if before is None or outcome in done or before[-1].texts["outcome"] not in done:
            by_configuration[key] = own
    if lost:
        notes.append(f"{counted(lost, 'FINISHED run')} without {deciding} count as failed")
    if again:
        notes.append(
            f"left out: {counted(again, 'run')} of configurations that ran more than once; the "
            "newest FINISHED run counts"
        )
    for own in by_configuration.values():
        yield from own


def _of_run(
    run: MlflowRun,
    cells: Mapping[str, str],
    curves: Mapping[str, Mapping[int, float]],
    numbered: Mapping[str, Mapping[int, int]] | None,
    name: str,
) -> Iterator[Line]:
    """The lines of a run: one for each epoch where there are curves, the last with all values."""
    source, place = f"experiment {name}", _place(run)
    times = run.info.start_time, run.info.end_time
    epochs = numbered[run.info.run_id] if numbered is not None else {}
    last = max(epochs.values(), default=0)
    for step, epoch in sorted(epochs.items(), key=lambda each: each[1]) or [(0, 0)]:
        values = dict(cells)
        if numbered is not None:
            values["epoch"] = str(epoch)
        for column in curves if epochs else ():
            single = len(curves[column]) == 1
            value = curves[column].get(step, math.nan)
            if epoch != last or not single:
                values[column] = _text(value)
        if epoch != last:
            rest = [c for c in values if is_metric(column_of(c)[0]) and c not in curves]
            values |= dict.fromkeys(rest, "")
        line = line_of(source, place, list(values.values()), [column_of(c) for c in values])
        yield line._replace(run=run.info.run_id, times=times)


def _numbered(
    curves: Mapping[str, Mapping[str, Mapping[int, float]]], lengths: Mapping[str, int]
) -> dict[str, dict[int, int]] | None:
    """The epoch of each step, by run; None where no metric has a curve, or steps are no epochs.

    Steps may begin at 0 or at 1, or count batches: a run with as many steps as epochs has one
    after each. With one more, the first is of the untrained network.

    Args:
        curves: by run and column the values by step.
        lengths: the epochs of each run, where they are known.
    """
    steps = {run: sorted({s for v in own.values() for s in v}) for run, own in curves.items()}
    steps = {run: own for run, own in steps.items() if own}
    if not any(len(own) > 1 for own in steps.values()):
        return None
    more = {len(own) - lengths.get(run, len(own)) for run, own in steps.items()}
    if more <= {0} or more <= {1}:
        first = 1 - next(iter(more))
        epochs = {run: {s: at + first for at, s in enumerate(own)} for run, own in steps.items()}
    elif all(own[0] == 0 and own[-1] < lengths.get(run, math.inf) for run, own in steps.items()):
        epochs = {run: {s: s + 1 for s in own} for run, own in steps.items()}
    elif all(own[-1] <= lengths.get(run, math.inf) for run, own in steps.items()):
        epochs = {run: {s: s for s in own} for run, own in steps.items()}
    else:
        return None
    return {run: epochs.get(run, {}) for run in curves}


def _text(value: Any) -> str:
    """A value as a cell of a table; "" for none, and for what is no finite number."""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return "" if value is None else str(value)
