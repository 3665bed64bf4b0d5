"""The frames `summary` and `curves`, from runs that were chosen and named.

Computes nothing that needs a statistician.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.contract import GROUPS, SCALARS
from reports.names import counted
from reports.runs.naming import (
    Tuned,
    loss_labels,
    scalars,
    setting_key,
    setting_texts,
    tuned_values,
)
from reports.runs.records import (
    AT_END,
    CURVES,
    HUGE,
    NEEDED,
    TAG_COLUMNS,
    WARNING,
    Run,
)
from reports.runs.versions import version_marks
from reports.runs.wording import number

_LAST_EPOCH = [column for column in CURVES.values() if column not in ("train_seconds", "lr_now")]
_TEST = [
    *("test_accuracy", "test_loss", "test_nll", "test_brier", "test_ece", "test_ece_scaled"),
    *("test_temperature", "test_mean_absolute_error", "test_off_by_one"),
]
CURVE_COLUMNS = [
    *("run_id", "loss", "lr", "epochs", "seed", "setting", "epoch"),
    *_LAST_EPOCH,
    *("train_seconds", "elapsed_seconds", "lr_now"),
]
# Gives a frame without rows its columns and their types.
_NOBODY = Run(
    *("", "", "", "FINISHED", 0, 0, False, {"outcome": "ok"}),
    params=dict.fromkeys(NEEDED, "") | dict.fromkeys(SCALARS, "1"),
)


def summary_frame(
    runs: Sequence[Run],
    notes: list[str],
    *,
    versions: bool = False,
    planned: Mapping[str, int] | None = None,
    tuned: Sequence[Tuned] = (),
) -> pd.DataFrame:
    """One row per run, all but what comes from the histories.

    Args:
        runs: those that count.
        notes: to which what was left empty is added.
        versions: whether each version of a loss's code is a loss of its own, `loss@digest`.
        planned: the ids of runs whose seeds were declared, and how many declared seeds have no
            result; those of baselines were declared, anyway.
        tuned: the own values of losses that were tuned: a run is then a trial of its loss.
    """
    planned = planned or {}
    if not runs:
        return summary_frame([_NOBODY], []).iloc[:0]
    own = [tuned_values(run, tuned) for run in runs]
    labels = loss_labels(runs, version_marks(runs) if versions else None, own)
    texts = setting_texts(runs)
    rows, params, without_outcome, dropped = [], [], 0, 0
    for run, label, text, trial in zip(runs, labels, texts, own, strict=True):
        outcome, sure = _outcome(run)
        without_outcome += not sure
        at_end = {
            name.replace("/", "_"): value
            for name, value in run.metrics.items()
            if name.startswith(AT_END)
        }
        dropped += sum(value is None for value in at_end.values())
        tags = dict.fromkeys(TAG_COLUMNS) | run.tags
        rows.append(
            {"run_id": run.run_id, "name": run.name, "loss": label, "baseline": run.baseline}
            | {"planned": run.baseline or run.run_id in planned}
            | {"declared_missing": planned.get(run.run_id, 0)}
            | {"loss_option": run.params["loss"], "outcome": outcome, "status": run.status}
            | {"tuned": " ".join(f"{k.removeprefix('loss.')}={v}" for k, v in trial.items())}
            | {name: run.params[name] for name in GROUPS[1:]}
            | scalars(run)
            | {"setting": setting_key(run), "setting_text": text, "data_digest": run.digest}
            | {column: tags[tag] for tag, column in TAG_COLUMNS.items()}
            | {"git_dirty": {"true": True, "false": False}.get(run.tags.get("git_dirty", ""))}
            | _warnings(run)
            | {"started": run.started, "seconds": run.seconds}
            | dict.fromkeys(_TEST, math.nan)
            | {name: math.nan if value is None else value for name, value in at_end.items()}
        )
        params.append({name: value for name, value in run.params.items() if name not in NEEDED})
    if without_outcome:
        notes.append(
            f"{counted(without_outcome, 'FINISHED run')} without a tag that says how it ended; "
            "those without a test accuracy count as failed"
        )
    if dropped:
        notes.append(f"{counted(dropped, 'test value')} not finite: left empty")
    frame = pd.DataFrame(rows)
    further = pd.DataFrame(params, index=frame.index)
    taken = {name: f"param {name}" for name in further if name in frame}
    further = further.rename(columns=taken).apply(_numeric)
    frame["git_dirty"] = frame["git_dirty"].astype(object)
    return pd.concat([frame.assign(started=utc(frame["started"])), further], axis=1)


def _warnings(run: Run) -> dict[str, str | None]:
    """The training warnings of a run, and a line on each."""
    names = run.tags.get("warnings")
    if not names:
        return {"warnings": None, "warning_texts": None}
    lines = (" ".join(run.tags.get(WARNING + name, "").split()) for name in names.split(","))
    return {"warnings": names, "warning_texts": "\n".join(lines)}


def _outcome(run: Run) -> tuple[str, bool]:
    """How a run ended, and whether the store says so plainly."""
    if run.status in ("RUNNING", "SCHEDULED"):
        return "running", True
    if run.status in ("FAILED", "KILLED"):
        return run.status.lower(), True
    tag = run.tags.get("outcome")
    if tag in ("ok", "diverged"):
        return tag, True
    return ("ok" if run.metrics.get("test/accuracy") is not None else "failed"), False


def _numeric(column: pd.Series) -> pd.Series:
    """A column of params as numbers if all are, NaN where there is none or it is None.

    Else as text.
    """
    values = [None if not isinstance(each, str) or each == "None" else each for each in column]
    numbers = [None if each is None else number(each) for each in values]
    texts = [each for each in values if each is not None]
    if texts and sum(each is not None for each in numbers) == len(texts):
        whole = all(isinstance(each, int) and abs(each) < 2**63 for each in numbers)
        return pd.Series(numbers, index=column.index, dtype="int64" if whole else "float64")
    return pd.Series(values, index=column.index, dtype=object)


def curves_frame(
    histories: Iterable[list[tuple[Any, ...]]], summary: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """One row per run and epoch, from the `histories` of a store."""
    parts, dropped = [], 0
    for rows in histories:
        part = pd.DataFrame(rows, columns=["run_id", "metric", "epoch", "timestamp", "value"])
        part["value"] = part["value"].astype(float)
        part.loc[~(part["value"].abs() < HUGE), "value"] = math.nan
        # of one step written twice the last counts, as in MLflow's own latest values
        part = part.sort_values(["timestamp", "value"], kind="stable", na_position="first")
        part = part.drop_duplicates(["run_id", "epoch", "metric"], keep="last")
        dropped += int(part["value"].isna().sum())
        parts.append(
            part.pivot(index=["run_id", "epoch"], columns="metric", values="value").reindex(
                columns=list(CURVES)
            )
        )
    if dropped:
        notes.append(f"{counted(dropped, 'value')} of the curves not finite: left empty")
    curves = pd.concat(parts) if parts else pd.DataFrame(columns=list(CURVES), dtype=float)
    if not parts:
        curves.index = pd.MultiIndex.from_arrays(
            [np.array([], dtype=object), np.array([], dtype=int)]
        )
    curves = curves.rename(columns=CURVES).rename_axis(index=["run_id", "epoch"], columns=None)
    curves = curves.sort_index().reset_index()
    by_id = summary.set_index("run_id")
    for name in ("loss", "lr", "epochs", "seed", "setting"):
        curves[name] = by_id[name].reindex(curves["run_id"]).array
    curves["elapsed_seconds"] = _elapsed(curves)
    return curves[CURVE_COLUMNS]


def _elapsed(curves: pd.DataFrame) -> pd.Series:
    """Training seconds up to the end of each epoch; NaN from where an epoch's are not known."""
    trained = curves["train_seconds"].where(curves["epoch"] > 0)
    by_run = curves["run_id"]
    epochs_with_time = trained.notna().groupby(by_run).cumsum()
    return trained.fillna(0.0).groupby(by_run).cumsum().where(epochs_with_time == curves["epoch"])


def with_epochs(summary: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The summary with what the last epoch says, and the time of all.

    With early stopping it is the epoch whose weights were tested.
    """
    last = curves.drop_duplicates("run_id", keep="last").set_index("run_id")
    tested = last
    if "stop_tested_epoch" in summary:
        ends = summary.set_index("run_id")["stop_tested_epoch"].fillna(math.inf)
        until = curves[curves["epoch"] <= curves["run_id"].map(ends)]
        tested = until.drop_duplicates("run_id", keep="last").set_index("run_id")
    trained = curves[curves["epoch"] > 0].groupby("run_id")["train_seconds"]
    tested_values = tested[_LAST_EPOCH].assign(
        last_epoch=last["epoch"].astype(float),
        train_seconds=last["elapsed_seconds"],
        epoch_seconds=trained.median(),
    )
    tested_values = tested_values.reindex(summary["run_id"]).set_index(summary.index).astype(float)
    test = summary.columns.get_loc("test_accuracy")
    assert isinstance(test, int)
    return pd.concat([summary.iloc[:, :test], tested_values, summary.iloc[:, test:]], axis=1)


def utc(milliseconds: pd.Series) -> pd.Series:
    """Points in time from MLflow's milliseconds since 1970."""
    return pd.to_datetime(milliseconds, unit="ms", utc=True)
