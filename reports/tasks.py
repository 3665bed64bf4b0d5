"""The command's other tasks: check verdicts, keep baselines, compare a loss with itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from reports.names import counted
from reports.options import Options
from reports.printing import print_notes
from reports.request import baselines_file, imported, load, question, scores_of


def check(asked: Options) -> None:
    """Derive the verdicts of an earlier verdicts.json again.

    Where some no longer hold, the program names them and exits with 1.
    """
    import pandas as pd

    from reports import across, metrics, verdicts
    from reports.runs import ReadError, constant_scores, load_baselines, predictions
    from reports.runs import load as read
    from reports.runs.computed import with_metric

    assert asked.check is not None
    content = verdicts.read(Path(asked.check))
    experiments = asked.experiments or content["source"].get("experiments")
    made_of = verdicts.runs_of(content)
    metric = metrics.column(str(content["question"].get("metric", "test/accuracy")))
    source = asked.mapping or asked.csv or content["source"].get("from")
    if source:
        where = content["source"].get("where") or {}
        runs = imported(source, asked.uri, experiments, metric, where, made_of)
    else:
        stored = read(asked.uri, experiments, None, None, run_ids=made_of)
        runs = with_metric(stored, metric, lambda run: predictions(stored, run))
    summary = runs.summary
    if baselines := asked.baselines or content["source"].get("baselines"):
        of_file = load_baselines(baselines_file(str(baselines)))
        runs = replace(runs, baselines=of_file.baselines)  # with right or wrong of each test image
        theirs = of_file.summary
        summary = pd.concat([summary, theirs[~theirs["run_id"].isin(summary["run_id"])]])
    versions = bool(content["source"].get("versions"))
    declared = None
    try:
        sweeps = content["source"].get("sweeps")
        now = runs if source else read(asked.uri, experiments, sweeps, None, versions=versions)
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
        scores_of(runs),
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
                    f"{len(broken)} of {total} verdicts of {asked.check} no longer hold:",
                    *(f"  {line}" for line in broken),
                ]
            )
        )
    print(f"all {total} verdicts of {asked.check} hold")


def keep_baselines(asked: Options) -> None:
    """Write the finished runs of a sweep to a file of baselines."""
    from reports import files, source_code
    from reports.runs import SHIPPED, baselines, collect_baselines
    from reports.runs import load as read

    assert asked.baselines_to is not None
    path = Path(asked.baselines_to)
    shipped = path.resolve() == SHIPPED
    kept = collect_baselines(
        asked.uri,
        asked.experiments,
        asked.sweeps,
        asked.where,
        file=SHIPPED.relative_to(Path(__file__).parents[1]).as_posix() if shipped else path.name,
    )
    data = baselines.pack(kept)
    files.save(path, data)
    runs = read(asked.uri, asked.experiments, asked.sweeps, asked.where)
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


def compare_with_itself(asked: Options) -> None:
    """Compare a loss with itself on two halves of its seeds, at every rate.

    This shows which verdicts chance alone gives on this store.
    """
    from reports import analysis, sentences
    from reports.names import plain
    from reports.runs import predictions

    runs = load(asked)
    print_notes(runs)
    frame = analysis.same_loss(
        runs.summary,
        question(asked, runs, reference=False),
        None if asked.aa == "all" else asked.aa,
        lambda run_id: predictions(runs, run_id),
        scores_of(runs),
    )
    if not len(frame):
        raise analysis.QuestionError(
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
