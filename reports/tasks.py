"""The command's other tasks: check verdicts, keep baselines, compare a loss with itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports import across, files, metrics, sentences, source_code, verdicts
from reports.names import counted, plain
from reports.options import Options
from reports.printing import print_notes
from reports.question import QuestionError
from reports.request import baselines_file, imported, load, question, scores_of
from reports.runs import (
    SHIPPED,
    ReadError,
    baselines,
    collect_baselines,
    constant_scores,
    load_baselines,
    predictions,
)
from reports.runs import load as read
from reports.runs.computed import with_metric
from reports.same_loss import same_loss


def perform(request: Options) -> None:
    """Perform the task that the options name."""
    if request.check is not None:
        check(request)
    elif request.baselines_to is not None:
        keep_baselines(request)
    else:
        compare_with_itself(request)


def check(request: Options) -> None:
    """Derive the verdicts of an earlier verdicts.json again.

    Where some no longer hold, the program names them and exits with 1.
    """
    assert request.check is not None
    content = verdicts.read(Path(request.check))
    experiments = request.experiments or content["source"].get("experiments")
    made_of = verdicts.runs_of(content)
    metric = metrics.column(str(content["question"].get("metric", "test/accuracy")))
    source = request.mapping or request.csv or content["source"].get("from")
    if source:
        where = content["source"].get("where") or {}
        runs = imported(source, request.uri, experiments, metric, where, made_of)
    else:
        stored = read(request.uri, experiments, None, None, run_ids=made_of)
        runs = with_metric(stored, metric, lambda run: predictions(stored, run))
    summary = runs.summary
    if baselines := request.baselines or content["source"].get("baselines"):
        of_file = load_baselines(baselines_file(str(baselines)))
        runs = replace(
            runs, baselines=of_file.baselines
        )  # with right or wrong of each test example
        summary = pd.concat([summary, of_file.summary]).drop_duplicates("run_id")
    versions = bool(content["source"].get("versions"))
    declared = None
    try:
        sweeps = content["source"].get("sweeps")
        now = runs if source else read(request.uri, experiments, sweeps, None, versions=versions)
    except ReadError as error:
        print(f"the same report cannot be made again: {error}")
    else:
        declared = now.declared, now.disagreement
        if later := len(set(runs.summary["run_id"]) - set(now.summary["run_id"])):
            print(
                f"a new report would be of other runs: {later} of these runs no longer count, "
                "since newer code or a newer run of the same identity is there"
            )
    broken = verdicts.check(
        content,
        summary,
        scores_of(runs, metric),
        lambda run_ids: constant_scores(runs, run_ids),
        declared,
    )
    total = len(content["contrasts"])
    if "across" in content:
        broken += across.check(content, summary)
        total += len(content["across"]["contrasts"])
    if broken:
        sys.exit(
            "\n".join(
                [
                    f"{len(broken)} of {total} verdicts of {request.check} no longer hold:",
                    *(f"  {line}" for line in broken),
                ]
            )
        )
    print(f"all {total} verdicts of {request.check} hold")


def keep_baselines(request: Options) -> None:
    """Write the finished runs of a sweep to a file of baselines."""
    assert request.baselines_to is not None
    path = Path(request.baselines_to)
    shipped = path.resolve() == SHIPPED
    kept = collect_baselines(
        request.uri,
        request.experiments,
        request.sweeps,
        request.where,
        file=SHIPPED.relative_to(Path(__file__).parents[1]).as_posix() if shipped else path.name,
    )
    data = baselines.pack(kept)
    files.save(path, data)
    runs = read(request.uri, request.experiments, request.sweeps, request.where)
    print_notes(runs)
    for warning in source_code.warnings(runs.summary[runs.summary["status"] == "FINISHED"]):
        print(f"WARNING: {warning}")
    diverged = int((runs.summary["outcome"] == "diverged").sum())
    left_out = kept.origin.unfinished
    print(
        f"baselines: {path}, {counted(kept.origin.runs, 'run')}"
        + (f" ({diverged:,} diverged)" if diverged else "")
        + f", losses: {kept.origin.losses}, {len(data) / 1000:,.0f} kB"
        + (f"; LEFT OUT: {counted(left_out, 'run')} without a finished run" if left_out else "")
    )


def compare_with_itself(request: Options) -> None:
    """Compare a loss with itself on two halves of its seeds, at every rate.

    This shows which verdicts chance alone gives on this store.
    """
    runs = load(request)
    print_notes(runs)
    frame = same_loss(
        runs.summary,
        question(request, runs, reference=False),
        None if request.aa == "all" else request.aa,
        lambda run_id: predictions(runs, run_id),
        scores_of(runs, request.metric),
    )
    if not len(frame):
        raise QuestionError(
            "aa: no loss has two seeds with results at one learning rate, so there are no two "
            "halves to compare"
        )
    for row in frame.to_dict("records"):
        print(f"lr={row['lr_a']:g} epochs={row['epochs']}: {sentences.sentence(row)}")
    false = int(frame["verdict"].isin(["better", "worse"]).sum())
    names = ", ".join(plain(name) for name in sorted(set(frame["a"])))
    print(
        f"\nA/A on {names}: {false} of {len(frame)} comparisons of a loss with itself found a "
        "difference that is not there"
    )
