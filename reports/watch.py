"""The page of a sweep under way: made again and again until the sweep has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from experiments.contract import override
from experiments.terminal import duration
from reports import analysis, files
from reports.figures import fonts, palette
from reports.names import one_line
from reports.options import Options
from reports.page import render
from reports.page.cross_setting import Source
from reports.page.report import report
from reports.page.section import Examples
from reports.page.under_way import Progress
from reports.question import QuestionError
from reports.runs import ReadError, Runs, sweeps

LEAST_SECONDS = 10.0
"""Between the beginnings of two pages, at least."""

SHARE = 0.2
"""Of one core's time, what making pages may take from the training."""


@dataclass(frozen=True)
class Steps:
    """What a page shares with the report at the end: functions of `reports.generate`."""

    load: Callable[[Options], Runs]
    sections: Callable[[Options, Runs], list[analysis.Section]]
    source: Callable[[Options, Runs, Path], Source]
    examples: Examples
    report: Callable[[Options], Path]


def watch(options: Options, steps: Steps) -> Path:
    """Write a page that reloads itself until the sweep has ended, then the report.

    A store that cannot be read, for example while it is locked, is read again at the next turn.

    Returns:
        The path of the page.

    Raises:
        ReadError: The sweep does not exist, or cannot be read at the first turn.
    """
    sweep = newest_sweep(options)
    chosen = replace(
        options,
        experiments=(str(sweep["experiment"]),),
        sweeps=(str(sweep["run_id"]),),
        overrides=(
            *(text for text in options.overrides if not text.startswith(("sweep=", "watch="))),
            override("sweep", str(sweep["run_id"])),
        ),
    )
    last = ""
    while sweep["status"] == "RUNNING":
        began = time.process_time()
        try:
            sweep = newest_sweep(chosen)
            message = page(chosen, steps)
        except (ReadError, QuestionError) as error:
            message = f"the store will be read again: {one_line(str(error))}"
        if message != last:
            print(message, flush=True)
            last = message
        if sweep["status"] == "RUNNING":
            time.sleep(max(LEAST_SECONDS, (time.process_time() - began) / SHARE))
    return steps.report(chosen)


def newest_sweep(options: Options) -> pd.Series:
    """The sweep that the options choose, else the newest: its run_id, experiment and status.

    Raises:
        ReadError: No such sweep exists.
    """
    parents = sweeps(options.uri, options.experiments)
    for name in options.sweeps:
        parents = parents[parents["run_id"].str.startswith(name) | (parents["name"] == name)]
    if not len(parents):
        raise ReadError(
            f"watch: expected {' '.join(['a sweep', *options.sweeps])}, got "
            "none; python experiments/run.py -m loss=mse,ce starts one"
        )
    return parents.iloc[0]


def page(options: Options, steps: Steps) -> str:
    """Write the page of the runs that exist now; what it shows, in a line."""
    runs = steps.load(options)
    name = files.report_name(runs, options.where, {})
    path = files.prepare(options.output, name) / "index.html"
    progress = Progress.of(runs)
    # Without declared seeds only e-values decide, and these hold however often one looks.
    looked_at = replace(runs, summary=runs.summary.assign(planned=False), missing=runs.missing[:0])
    sections = steps.sections(options, looked_at)
    families, _ = fonts.fallback(fonts.names(runs.summary, sections))
    with palette.style(families):
        made = report(
            sections,
            steps.source(options, looked_at, path.parent),
            steps.examples,
            progress=progress,
        )
    files.save(path, render.to_html(made.page).encode("utf-8", errors="replace"))
    left = "" if progress.seconds is None else f" · {duration(progress.seconds)} left"
    failed = f" · {progress.failed} failed" if progress.failed else ""
    return f"{progress.done}/{progress.planned} runs{failed}{left} · {path}"
