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
    """The runs with a test metric also where a finished one did not store it.

    Where the code of the metrics has changed since, all test metrics of a run are computed again,
    so that those beside the one asked for are of the same code. The functions are those that
    training calls. A run whose network has no such metric stays without, and so does a run without
    predictions. A note says how many were computed, a warning which numbers are still of other
    code.

    Args:
        runs: of a store.
        name: the metric's column, such as test_brier.
        predictions: those of a run, by its id; None where there are none.
    """
    summary, metric = runs.summary.copy(), read_metric(name)
    ended = (summary["outcome"] == "ok") & ~summary["baseline"].astype(bool)
    stale = ended & _by_other_code(summary)
    lacking = ended & ~stale & ~_of_the_other_head(summary, name) & name.startswith("test_")
    if name in summary:
        lacking &= summary[name].isna()
    first = again = 0
    for index, row in runs.summary[lacking | stale].iterrows():
        values = _computed(predictions(str(row["run_id"])), row)
        if stale[index]:
            again += bool(values)
            values = {
                each: values[each] for each in values if each == name or pd.notna(row.get(each))
            }
        else:
            values = {name: values[name]} if name in values else {}
            first += bool(values)
        for each, value in values.items():
            summary.loc[index, each] = value
    notes, warnings = list(runs.notes), list(runs.warnings)
    if first:
        notes.append(
            f"the {metric.words} of {counted(first, 'run')} was computed by this report from "
            "stored predictions"
        )
    if again:
        notes.append(
            f"the test metrics of {counted(again, 'run')} were computed again by this report from "
            "stored predictions, since the code of the metrics has changed"
        )
    if left := int(stale.sum()) - again:
        warnings.append(
            f"the test metrics of {counted(left, 'run')} were computed by other code of the "
            "metrics than there is now, and cannot be computed again without predictions"
        )
    corrupted = summary.get("corrupted_accuracy", pd.Series(math.nan, summary.index))
    if left := int(corrupted[stale].notna().sum()):
        warnings.append(
            f"the accuracy on corrupted test images of {counted(left, 'run')} was computed by "
            "other code of the metrics "
            "than there is now, and cannot be computed again from predictions"
        )
    return dataclasses.replace(runs, summary=summary, notes=notes, warnings=warnings)


def _by_other_code(summary: pd.DataFrame) -> pd.Series:
    """Which runs say that other code of the metrics computed theirs than there is now."""
    recorded = summary["code_metrics"]
    return recorded.notna() & (recorded != metrics_code() if recorded.notna().any() else False)


def metrics_code() -> str:
    """The digest of the code of the metrics as it is now.

    As runs have it in their tag `code.metrics`.
    """
    from experiments import source_digest

    return source_digest.of_options({}).metrics


def _of_the_other_head(summary: pd.DataFrame, name: str) -> pd.Series:
    """Which runs are known to have no such metric: the other head's own metrics are there."""
    either = ("test_accuracy", "test_balanced_accuracy", "test_macro_f1")
    others = () if name.startswith(either) else _LOGITS if name in _NUMBER else _NUMBER
    columns = [other for other in others if other in summary]
    return summary[columns].notna().any(axis=1)


def _computed(arrays: Mapping[str, np.ndarray] | None, row: pd.Series) -> dict[str, float]:
    """The metrics of one run that its predictions tell, by column; none without predictions."""
    from experiments import heads, metrics

    if arrays is None:
        return {}
    width = arrays["outputs"].shape[1]
    classes = int(max(arrays["label"].max(), arrays["predicted"].max())) + 1
    head = heads.logits_head(width) if width > 1 else heads.number_head(classes)
    stored = row.get("test_temperature", math.nan)
    temperature = float(stored) if pd.notna(stored) else None
    values = metrics.of_outputs(head, arrays["outputs"], arrays["label"], temperature)
    return {f"test_{name}": value for name, value in values.items() if math.isfinite(value)}
