"""A report from its options: load, summarise, plot, write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path

from reports import across, files, verdicts
from reports.analysis import Section
from reports.figures import fonts, palette
from reports.gallery import Gallery, gallery
from reports.options import Options
from reports.page import answer, figure, provenance, render
from reports.page import report as page_report
from reports.printing import print_across, print_notes, print_verdicts
from reports.request import load, question, sections_of, source_of, test_examples, unusual
from reports.runs import Runs, configuration


def make(request: Options, fork: Executor | None) -> Path:
    """Write the report, print its verdicts, and store it with its sweep; the path of its page.

    fork: computes the curves of the losses; None: this process does.
    """
    runs = load(request)
    non_default = unusual(request)
    directory = files.prepare(request.output, files.report_name(runs, request.where, non_default))
    sections = sections_of(request, runs)
    curves = None if runs.imported else _gallery(runs, sections, fork)
    across_result = None
    if request.across is not None:
        across_result = across.across(sections, request.across, question(request, runs))
    families, missing_glyphs = fonts.fallback(fonts.names(runs.summary, sections))
    if missing_glyphs:
        runs = replace(runs, notes=[*runs.notes, fonts.note(missing_glyphs)])
    source = source_of(request, runs, directory)
    comparisons = verdicts.document(
        sections,
        {
            "experiments": list(runs.experiments),
            "sweeps": list(runs.sweeps),
            "where": request.where,
            "versions": request.versions,
            "baselines": request.baselines,
            "from": request.mapping or request.csv,
        },
    )
    if across_result:
        comparisons["across"] = across.document(across_result)
    with warnings.catch_warnings(), palette.style(families):
        if missing_glyphs:  # the note says it
            warnings.filterwarnings("ignore", message=r".*[Gg]lyph .* missing from .*font")
        result = page_report.report(
            sections,
            source,
            test_examples,
            gallery=None if curves is None else curves(),
            figure_format=request.formats[0],
            across=across_result,
        )
        figure.draw_all(result.figures.values(), request.width, request.formats)
        written = files.write(
            directory,
            html=render.to_html(result.page),
            markdown=render.to_markdown(result.page),
            verdicts=verdicts.write(comparisons),
            result=result,
        )
    stored = files.store_with_parent(
        directory,
        runs,
        beside=bool(request.where or non_default),
        description=answer.description(result.page.title, sections),
    )
    if runs.baselines and sections:
        for text, _ in provenance.sentences(runs.baselines, sections[0].runs):
            print(text)
    print_notes(runs)
    if across_result:
        print_across(across_result, sections)
    else:
        print_verdicts(sections)
    print(f"\nreport: {written}\n{stored}")
    return written


def _gallery(
    runs: Runs, sections: Sequence[Section], fork: Executor | None
) -> Callable[[], Gallery]:
    """The curves of the losses, each with the values of an evaluated run where there is one.

    The fork begins at once; without it the call computes them.
    """
    evaluated = {run_id for section in sections for run_id in section.evaluated["run_id"]}
    evaluated_first = runs.summary.sort_values(
        "run_id", key=lambda run_ids: ~run_ids.isin(evaluated), kind="stable"
    ).drop_duplicates("loss")
    configurations = {
        run_id: configuration(runs, run_id) for run_id in evaluated_first["run_id"].astype(str)
    }
    if fork is None:
        return partial(gallery, evaluated_first, configurations.get)
    curves: Future[Gallery] = Future()
    try:
        curves = fork.submit(gallery, evaluated_first, configurations.get)
    except BrokenProcessPool as error:  # the process ended while it loaded Paddle
        curves.set_exception(error)

    def result() -> Gallery:
        try:
            return curves.result()
        except BrokenProcessPool:  # the page says so
            why = "the process that computes the curves ended, perhaps at one of the losses"
            missing = dict.fromkeys(evaluated_first["loss"].astype(str), why)
            return replace(gallery(evaluated_first[:0], configurations.get), missing=missing)

    return result
