"""What the options of a report ask for: its runs, its question, its sections, its images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.contract import is_default, override
from reports import analysis
from reports.analysis import Section
from reports.metrics import read_metric
from reports.names import BASELINE, plain
from reports.options import Options
from reports.page.commands import Source
from reports.question import Question, QuestionError
from reports.runs import SHIPPED, ReadError, Runs, csv_file, predictions, scores, sweeps
from reports.runs import load as read
from reports.runs.computed import with_metric
from reports.stats.verdicts import RunScores


def load(request: Options) -> Runs:
    """The runs that the options choose, with the metric wherever it can be computed."""
    if source := request.mapping or request.csv:
        return imported(source, request.uri, request.experiments, request.metric, request.where)
    baselines = None if request.baselines is None else baselines_file(request.baselines)
    loaded = read(
        *(request.uri, request.experiments, request.sweeps, request.where, baselines),
        versions=request.versions,
    )
    if not len(loaded.summary):
        why = (
            f" with {', '.join(f'{key}={value}' for key, value in request.where.items())}"
            if request.where
            else ""
        )
        names = " and ".join(map(repr, loaded.experiments))
        raise ReadError(f"the experiment {names} has no runs{why} to report on")
    return with_metric(loaded, request.metric, lambda run_id: predictions(loaded, run_id))


def imported(
    source: str | Mapping[str, Any],
    uri: str | None,
    experiments: Sequence[str],
    metric: str,
    where: Mapping[str, Any],
    run_ids: Collection[str] | None = None,
) -> Runs:
    """The runs of a CSV file, or by a mapping those of MLflow experiments of other programs."""
    if isinstance(source, str):
        return csv_file.load(Path(source), metric, where)
    from reports.runs import foreign

    return foreign.load(uri, experiments, source, metric, where, run_ids=run_ids)


def baselines_file(baselines: str) -> Path:
    """The file of baselines that was asked for."""
    return SHIPPED if baselines == "true" else Path(baselines)


def question(request: Options, runs: Runs, *, reference: bool = True) -> Question:
    """What the sections are asked; a baseline that the user named must be there.

    Unless one was named, losses that are run here are compared with every other one where baselines
    have joined them, and imported ones that have no ce with the first of them.
    """
    losses = sorted(set(runs.summary["loss"]))
    request = replace(request, reference=newest_version(request.reference, runs.summary))
    own_losses = tuple(
        sorted(set(runs.summary.loc[~runs.summary["baseline"].astype(bool), "loss"]))
    )
    compared_with, subjects = request.reference, ()
    if runs.imported and not request.reference_is_set and compared_with not in losses:
        compared_with = str(runs.summary["loss"].iloc[0])
    if len(own_losses) < len(losses):
        if not request.reference_is_set:
            compared_with, subjects = own_losses[0], own_losses
        elif (marked := request.reference + BASELINE) in losses:
            compared_with = marked
    if reference and request.reference_is_set and compared_with not in losses:
        raise QuestionError(
            f"reference={request.reference}: no run has this loss; there are "
            f"{', '.join(plain(loss) for loss in losses)}"
        )
    return Question(
        reference=compared_with,
        subjects=subjects,
        metric=request.metric,
        margin=request.margin,
        all_pairs=request.all_pairs,
        target=request.target,
        tuning_seeds=None if request.tuning_seeds is None else tuple(request.tuning_seeds),
        seed=request.seed,
    )


def newest_version(loss: str, summary: pd.DataFrame) -> str:
    """The label of the newest version of a loss's code, or `loss` itself if there is only one.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"loss": ["ce@1a2b3c4", "ce@5d6e7f8"], "status": "FINISHED"})
    >>> newest_version("ce", runs.assign(loss_option="ce", started=[2, 1]))
    'ce@1a2b3c4'
    """
    labels = summary["loss"]
    if loss in set(labels):
        return loss
    same = summary[labels.str.replace(r"@\w+", "", n=1, regex=True) == loss]
    if not len(same):
        return loss
    finished = same[same["status"] == "FINISHED"]
    return str((finished if len(finished) else same).sort_values("started")["loss"].iloc[-1])


def sections_of(request: Options, runs: Runs) -> list[Section]:
    """What the report says about each setting."""
    return analysis.sections(
        runs.summary,
        runs.curves,
        question(request, runs),
        lambda run_id: predictions(runs, run_id),
        scores_of(runs, request.metric),
        runs.declared,
        runs.disagreement,
    )


def source_of(request: Options, runs: Runs, directory: Path) -> Source:
    """Where the runs come from, for the page's commands and caveats."""
    return Source(
        experiments=runs.experiments,
        chosen=tuple(runs.sweeps.values()),
        uri=None if is_default(runs.uri) else runs.uri,
        imported=runs.imported,
        overrides=words_for(request, runs),
        missing=len(runs.missing),
        notes=runs.notes,
        warnings=runs.warnings,
        sweeps=() if runs.imported else sweeps_of(runs),
        verdicts=(directory / "verdicts.json").as_posix(),
        baselines=runs.baselines,
    )


def scores_of(runs: Runs, metric: str) -> RunScores:
    """The values of a metric's column for each test example of a run, read once for each run."""

    @cache
    def read(run_id: str) -> np.ndarray | None:
        values = scores(runs, run_id, metric)
        return values.astype(bool) if values is not None and metric == "test_accuracy" else values

    return read


def words_for(request: Options, runs: Runs) -> tuple[str, ...]:
    """The overrides that make this report again: as typed, and where its runs were found."""
    words = list(request.overrides)
    if request.csv is not None:
        return tuple(words)
    if request.uri is None and not is_default(runs.uri):
        words.append(override("tracking.uri", runs.uri))
    if not request.experiments and not request.sweeps:  # the newest, today
        words.append(override("experiment", *runs.experiments))
    return tuple(words)


def unusual(request: Options) -> dict[str, str]:
    """The options in which a report differs from the usual one on the same runs, as typed."""
    usual = Question()
    options = {
        name: str(getattr(request, name))
        for name in ("margin", "all_pairs", "seed")
        if getattr(request, name) != getattr(usual, name)
    }
    if request.metric != usual.metric:
        options["metric"] = read_metric(request.metric).typed
    if request.tuning_seeds is not None:
        options["tuning_seeds"] = ",".join(map(str, sorted(set(request.tuning_seeds))))
    if request.across is not None:
        options["across"] = request.across
    if request.target is not None:
        options["target"] = f"{request.target:g}"
    if request.versions:
        options["versions"] = "true"
    if request.baselines is not None:
        options["baselines"] = request.baselines
    # With baselines the losses that are run here are compared with all others unless one is named,
    # even the usual one.
    if request.reference != usual.reference or (
        request.baselines is not None and request.reference_is_set
    ):
        options["reference"] = request.reference
    return options


def sweeps_of(runs: Runs) -> list[tuple[str, str]]:
    """The sweeps that were chosen, else those that started the runs: run id and name."""
    if runs.sweeps:
        return list(runs.sweeps.items())
    parents = sweeps(runs.uri, runs.experiments)
    parents = parents[parents["run_id"].isin(set(runs.summary["parent_run_id"]))]
    return list(zip(parents["run_id"], parents["name"], strict=True))


_OF_TEST_SET = ("name", "label", "root", "path", "test_path", "noisy_labels")
_DATA_OPTIONS = Path(__file__).parents[1] / "conf" / "data"


def test_examples(section: Section) -> Any:
    """The test set of a section: uint8 images, or a frame with a column for each feature.

    Where it cannot be had, a text says why.
    """
    from experiments import data

    run = section.runs.iloc[0]
    name, values = str(run["data"]), run.to_dict()
    if not (_DATA_OPTIONS / f"{name}.yaml").exists():
        return f"data={name} is an option of your own, which a report does not load"
    table = isinstance(values.get("data.name"), str)  # empty where other data are in the frame
    function = getattr(data, "table" if table else name)
    recorded = {key: values.get(f"data.{key}") for key in _OF_TEST_SET}
    options = {
        key: f"{value:g}" if isinstance(value, float) else str(value)
        for key, value in recorded.items()
        if pd.notna(value) and str(value)
    }
    try:
        splits = function(seed=0, **options)
    except (data.DataError, OSError, TypeError) as error:
        return f"{name} cannot be read here ({error})"
    digest = values.get("data_digest")  # as MLflow shortens it
    if isinstance(digest, str) and not splits.digest.startswith(digest):
        return f"{name} has changed since these runs"
    test = splits.test.inputs
    names = splits.features or [f"feature {place}" for place in range(1, test.shape[1] + 1)]
    return pd.DataFrame(test, columns=names) if test.ndim == 2 else test
