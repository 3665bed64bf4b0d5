"""The command: from the runs in MLflow to a page with figures, tables and checkable verdicts.

    python reports/generate.py          the same program as
    generate report                     which the install provides

Load, summarise, plot, write. It imports nothing heavy before the options are known to be right.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from experiments import terminal
    from reports import options
    from reports.options import OptionError, Options
    from reports.printing import print_across, print_notes, print_verdicts
    from reports.request import load, question, sections_of, source_of, test_examples, unusual
    from reports.tasks import check, compare_with_itself, keep_baselines
except KeyboardInterrupt:  # Importing Hydra takes long enough to be interrupted.
    sys.exit(130)

if TYPE_CHECKING:
    from reports.analysis import Section
    from reports.gallery import Gallery
    from reports.runs import Runs

CONF = Path(__file__).resolve().parent.parent / "conf"

options.register()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def report(cfg: DictConfig) -> None:
    """Make a report, check an earlier one, or make an A/A comparison.

    An error ends the program with a message.
    """
    os.chdir(HydraConfig.get().runtime.cwd)  # whatever hydra.job.chdir says: a report is no job
    try:
        request = options.read(cfg, list(HydraConfig.get().overrides.task))
    except OptionError as error:
        sys.exit(str(error))
    print("reading the runs", file=sys.stderr, flush=True)  # what follows takes seconds to load

    from reports.files import OutputError
    from reports.question import QuestionError
    from reports.runs import ReadError
    from reports.verdicts import CheckError

    try:
        if request.check is not None:
            check(request)
        elif request.baselines_to is not None:
            keep_baselines(request)
        elif request.aa is not None:
            compare_with_itself(request)
        elif request.compare is not None:
            from reports.compare import compare

            print(compare(request.uri, next(iter(request.experiments), None), request.compare))
        elif request.watch:
            from reports.watch import watch

            generate(watch(request))
        else:
            generate(request)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
    except (ReadError, QuestionError, CheckError, OutputError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        if request.watch:
            print("stopped; the last page stays", file=sys.stderr)
        raise
    except BrokenPipeError:  # the reader of our words has gone, as in `generate report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def generate(request: Options) -> Path:
    """Write the report; the path of its page."""
    from reports import processes
    from reports.gallery import load_paddle

    shows_losses = not (request.csv or request.mapping)  # imported runs name no function
    with processes.forks(int(shows_losses)) as fork:
        if fork:
            fork.submit(load_paddle)  # while this process reads the runs
        return _generate(request, fork)


def _generate(request: Options, fork: Executor | None) -> Path:
    from reports import across, files, verdicts
    from reports.figures import fonts, palette
    from reports.page import answer, drawings, provenance, render
    from reports.page import report as page_report

    runs = load(request)
    apart = unusual(request)
    directory = files.prepare(request.output, files.report_name(runs, request.where, apart))
    sections = sections_of(request, runs)
    curves = None if runs.imported else _gallery(runs, sections, fork)
    over_all = None
    if request.across is not None:
        over_all = across.across(sections, request.across, question(request, runs))
    families, lacking = fonts.fallback(fonts.names(runs.summary, sections))
    if lacking:
        runs = replace(runs, notes=[*runs.notes, fonts.note(lacking)])
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
    if over_all:
        comparisons["across"] = across.document(over_all)
    with warnings.catch_warnings(), palette.style(families):
        if lacking:  # the note says it
            warnings.filterwarnings("ignore", message=r".*[Gg]lyph .* missing from .*font")
        result = page_report.report(
            sections,
            source,
            test_examples,
            gallery=None if curves is None else curves(),
            figure_format=request.formats[0],
            across=over_all,
        )
        drawings.draw(result.figures.values(), request.width, request.formats)
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
        beside=bool(request.where or apart),
        description=answer.description(result.page.title, sections),
    )
    if runs.baselines and sections:
        for text, _ in provenance.sentences(runs.baselines, sections[0].runs):
            print(text)
    print_notes(runs)
    if over_all:
        print_across(over_all, sections)
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
    from reports.gallery import gallery
    from reports.runs import configuration

    evaluated = {run_id for section in sections for run_id in section.evaluated["run_id"]}
    evaluated_first = runs.summary.sort_values(
        "run_id", key=lambda run_ids: ~run_ids.isin(evaluated), kind="stable"
    ).drop_duplicates("loss")
    configurations = {
        run_id: configuration(runs, run_id) for run_id in evaluated_first["run_id"].astype(str)
    }
    if fork is None:
        return partial(gallery, evaluated_first, configurations.get)
    curves = fork.submit(gallery, evaluated_first, configurations.get)

    def result() -> Gallery:
        try:
            return curves.result()
        except BrokenProcessPool:  # code of a loss has ended the process; the page says so
            why = "the process that computes the curves ended at one of the losses"
            missing = dict.fromkeys(evaluated_first["loss"].astype(str), why)
            return replace(gallery(evaluated_first[:0], configurations.get), missing=missing)

    return result


def main() -> None:
    """The entry point. Ctrl-C ends the command quietly, also while modules are imported."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)  # what shells expect


def _main() -> None:
    """Run the command.

    Hydra rejects bare words, so `report` is removed from the command line first, and `compare A B`
    becomes an option.
    """
    terminal.accept_any_character()
    if sys.argv[1:2] == ["report"]:
        del sys.argv[1]
    elif sys.argv[1:2] == ["compare"]:
        try:
            sys.argv[1:] = options.of_compare(sys.argv[2:])
        except options.OptionError as error:
            sys.exit(str(error))
    if sys.argv[1:] and sys.argv[1].isalpha():
        sys.exit(
            f"generate: there is no {sys.argv[1]!r} to generate; expected: generate report "
            "[key=value ...], or generate compare RUN_A RUN_B"
        )
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit("generate report makes one report at a time; -m is for experiments/run.py")
    try:
        options.check_names(sys.argv[1:])
    except options.OptionError as error:
        sys.exit(str(error))
    sys.argv[1:] = options.lengthen(sys.argv[1:])
    gc.set_threshold(100_000)  # imported modules stay: the default looks at them again and again
    os.environ["MPLBACKEND"] = "agg"  # one that a notebook sets may not be installed here
    report()


if __name__ == "__main__":
    main()
