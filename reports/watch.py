"""The page of a sweep under way: made again and again until the sweep has ended."""

from __future__ import annotations

import time
from dataclasses import replace

import pandas as pd

from experiments.contract import override
from experiments.terminal import duration
from reports import files
from reports.figures import fonts, palette
from reports.names import one_line
from reports.options import Options
from reports.page import render
from reports.page.report import report
from reports.page.under_way import Progress
from reports.question import QuestionError
from reports.request import load, sections_of, source_of, test_examples
from reports.runs import ReadError, sweeps

LEAST_SECONDS = 10.0
"""Between the beginnings of two pages, at least."""

SHARE = 0.2
"""Of one core's time, what making pages may take from the training."""


def watch(options: Options) -> Options:
    """Write a page that reloads itself until the sweep has ended.

    A store that cannot be read, for example while it is locked, is read again at the next turn.

    Returns:
        The options of the report on the sweep.

    Raises:
        ReadError: The sweep does not exist, or cannot be read at the first turn.
    """
    sweep = newest_sweep(options)
    chosen = replace(
        options,
        experiment=str(sweep["experiment"]),
        sweep=str(sweep["run_id"]),
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
            message = page(chosen)
        except (ReadError, QuestionError) as error:
            message = f"the store will be read again: {one_line(str(error))}"
        if message != last:
            print(message, flush=True)
            last = message
        if sweep["status"] == "RUNNING":
            time.sleep(max(LEAST_SECONDS, (time.process_time() - began) / SHARE))
    return chosen


def newest_sweep(options: Options) -> pd.Series:
    """The sweep that the options choose, else the newest: its run_id, experiment and status.

    Raises:
        ReadError: No such sweep exists.
    """
    parents = sweeps(options.uri, options.experiments, options.sweeps)
    if not len(parents):
        raise ReadError(
            "watch: expected a sweep, got none; python experiments/run.py -m loss=mse,ce starts one"
        )
    return parents.iloc[0]


def page(options: Options) -> str:
    """Write the page of the runs that exist now; what it shows, in a line."""
    runs = load(options)
    name = files.report_name(runs, options.where, {})
    path = files.prepare(options.output, name) / "index.html"
    progress = Progress.of(runs)
    # Without declared seeds only e-values decide, and these hold however often one looks.
    looked_at = replace(runs, summary=runs.summary.assign(planned=False), missing=runs.missing[:0])
    sections = sections_of(options, looked_at)
    families, _ = fonts.fallback(fonts.names(runs.summary, sections))
    with palette.style(families):
        source = source_of(options, looked_at, path.parent)
        result = report(sections, source, test_examples, progress=progress)
    files.save(path, render.to_html(result.page).encode("utf-8", errors="replace"))
    left = "" if progress.seconds is None else f" · {duration(progress.seconds)} left"
    failed = f" · {progress.failed} failed" if progress.failed else ""
    return f"{progress.done}/{progress.planned} runs{failed}{left} · {path}"
