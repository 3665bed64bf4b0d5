"""What MLflow's own pages show of a sweep: a view with curves, a description, means.

The format of a saved view is MLflow's own, and may change with its version. Nothing depends on
it: an error is logged, and the command goes on.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import zlib
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric

from experiments.credentials import redacted
from experiments.tracking.store import Store

log = logging.getLogger(__name__)

LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` listens
VIEW = "losses"  # the key of the view in an experiment
_NOTE = "mlflow.note.content"  # a description
_LINKED = "Loss, learning rate and accuracy of all runs, and their curves"
_COLUMNS = ("loss", "lr", "epochs", "seed")
_METRICS = ("val/accuracy", "test/accuracy")


def link(store: Store) -> str:
    """The address of the view in MLflow's pages; empty where it cannot be saved.

    It shows curves of validation accuracy, the mean over the runs of each loss. The page of the
    experiment, which MLflow opens without the link, shows neither loss nor accuracy: its
    description links to the view, unless somebody has written another.
    """
    words = f"viewStateShareKey={VIEW}&compareRunsMode=CHART&workflowType=machine_learning"
    place = f"#/experiments/{store.experiment_id}/runs?{words}"
    try:
        value = json.dumps(_shared(_view()), sort_keys=True)
        tag = f"mlflow.sharedViewState.{VIEW}"
        tags = store.client.get_experiment(store.experiment_id).tags
        saved = json.loads(tags.get(tag, "{}"))
        if saved.get("state") != json.loads(value)["state"]:
            store.client.set_experiment_tag(store.experiment_id, tag, value)
        if _NOTE not in tags:
            store.client.set_experiment_tag(store.experiment_id, _NOTE, f"[{_LINKED}]({place})")
    except Exception as error:
        log.warning("MLflow's pages have no view of the losses: %s", redacted(str(error)))
        return ""
    address = store.uri.rstrip("/") if store.uri.startswith("http") else LOCAL
    return f"{address}/{place}"


def describe(store: Store, sweep: str, text: str, means: Mapping[str, float]) -> None:
    """Show a sweep's results on the page of its run.

    Args:
        store: The store.
        sweep: The id of the sweep's run.
        text: Its description, in Markdown.
        means: By loss, the metric `mean_test_accuracy/LOSS` that its charts show.
    """
    now = int(time.time() * 1000)
    metrics = [Metric(f"mean_test_accuracy/{loss}", value, now, 0) for loss, value in means.items()]
    try:
        store.client.log_batch(sweep, metrics=metrics)
        store.client.set_tag(sweep, _NOTE, text)
    except Exception as error:
        log.warning("the sweep's run has no description: %s", redacted(str(error)))


def _shared(state: Mapping[str, Any]) -> dict[str, Any]:
    """The value of the tag that holds a view."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    return {"name": VIEW, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}


def _view() -> dict[str, Any]:
    """Runs without sweeps, grouped by loss, the best first, with two charts."""
    charts: list[dict[str, Any]] = [
        {"type": "LINE", "xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear"}
        | {"lineSmoothness": 0, "useGlobalLineSmoothing": False},
        {"type": "BAR"},
    ]
    same: dict[str, Any] = {"metricSectionId": "accuracy", "deleted": False, "isGenerated": False}
    same |= {"runsCountToCompare": 100}
    return {
        "searchFilter": 'tags.kind = "run"',
        "orderByKey": "metrics.`test/accuracy`",
        "orderByAsc": False,
        "selectedColumns": [
            *(f"params.`{name}`" for name in _COLUMNS),
            *(f"metrics.`{name}`" for name in _METRICS),
        ],
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": "loss"}],
        },
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": "accuracy", "name": "accuracy", "display": True}
            | {"isReordered": False, "deleted": False, "isGenerated": False, "columns": 1}
        ],
        "compareRunCharts": [
            same
            | chart
            | {"uuid": metric, "metricKey": metric, "selectedMetricKeys": [metric]}
            | {"displayName": metric}
            for chart, metric in zip(charts, _METRICS, strict=True)
        ],
        "isAccordionReordered": True,
    }
