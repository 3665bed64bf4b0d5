"""Test metrics that finished runs did not store, from the predictions that they did store."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reports.metrics import read_metric
from reports.names import counted

if TYPE_CHECKING:
    from reports.runs import Runs

_LOGITS = ("test_nll", "test_brier", "test_ece")
_NUMBER = ("test_mean_absolute_error", "test_off_by_one")


def with_metric(
    runs: Runs, name: str, predictions: Callable[[str], Mapping[str, np.ndarray] | None]
) -> Runs:
    """The runs with a test metric also where a finished one did not store it, or other code did.

    It is computed by the function that training calls. A run whose network has no such metric stays
    without, and so does a run without predictions. A note says how many were computed.

    Args:
        runs: of a store.
        name: the metric's column, such as test_brier.
        predictions: those of a run, by its id; None where there are none.
    """
    summary = runs.summary
    nothing = pd.Series(math.nan, summary.index)
    values = summary[name].astype(float) if name in summary else nothing
    ended = (summary["outcome"] == "ok") & ~summary["baseline"].astype(bool)
    lacking = ended & values.isna() & ~_of_the_other_head(summary, name)
    stale = ended & values.notna() & _by_other_code(summary)
    asked = summary[lacking | stale] if name.startswith("test_") else summary.iloc[:0]
    found = {}
    for index, row in asked.iterrows():
        arrays = predictions(str(row["run_id"]))
        value = None if arrays is None else _computed(arrays, row, name)
        if value is not None:
            found[index] = value
    again = stale[stale].index.intersection(list(found))
    words, first = read_metric(name, higher_is_better=True).words, len(found) - len(again)
    notes, warnings = list(runs.notes), list(runs.warnings)
    if first:
        notes.append(
            f"the {words} of {counted(first, 'run')} was computed by this report from stored predictions"
        )
    if len(again):
        notes.append(
            f"the {words} of {counted(len(again), 'run')} was computed again by this report from stored predictions, since the "
            "code of the metrics has changed"
        )
    if left := int(stale.sum()) - len(again):
        warnings.append(
            f"the {words} of {counted(left, 'run')} was computed by other code of the metrics than there is now, and cannot be "
            "computed again without predictions"
        )
    values = values.copy()
    values.loc[list(found)] = list(found.values())
    if found:
        summary = summary.assign(**{name: values})
    return dataclasses.replace(runs, summary=summary, notes=notes, warnings=warnings)


def _by_other_code(summary: pd.DataFrame) -> pd.Series:
    """Which runs say that other code of the metrics computed theirs than there is now."""
    said = summary["code_metrics"]
    return said.notna() & (said != metrics_code() if said.notna().any() else False)


def metrics_code() -> str:
    """The digest of the code of the metrics as it is now, as runs have it in their tag `code.metrics`."""
    from experiments import source_digest

    return source_digest.of_options({}).metrics


def _of_the_other_head(summary: pd.DataFrame, name: str) -> pd.Series:
    """Which runs are known to have no such metric: the other head's own metrics are there."""
    either = {"test_accuracy", "test_macro_f1"} | {f"test_accuracy_{digit}" for digit in range(10)}
    others = () if name in either else _LOGITS if name in _NUMBER else _NUMBER
    there = [other for other in others if other in summary]
    return summary[there].notna().any(axis=1)


def _computed(arrays: Mapping[str, np.ndarray], row: pd.Series, name: str) -> float | None:
    """The metric of one run; None where its network has none."""
    from experiments import heads, metrics

    by_outputs = {head.outputs: head for head in (heads.LOGITS, heads.NUMBER)}
    head = by_outputs.get(arrays["outputs"].shape[1])
    if head is None:
        return None
    stored = row.get("test_temperature", math.nan)
    temperature = float(stored) if pd.notna(stored) else None
    found = metrics.of_outputs(head, arrays["outputs"], arrays["label"], temperature)
    value = found.get(name.removeprefix("test_"))
    return value if value is not None and math.isfinite(value) else None
