"""The command: from the runs in MLflow to a page with figures, tables and checkable verdicts.

    python reports/generate.py          the same program as
    generate report                     which the install provides

Load, summarise, plot, write. It imports nothing heavy before the options are known to be right.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import terminal
from experiments.contract import is_default, override
from reports import options
from reports.names import counted, one_line
from reports.options import OptionError, Options

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from reports.across import Across
    from reports.analysis import Question, Scores, Section
    from reports.page.cross_setting import Source
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
        asked = options.read(cfg, list(HydraConfig.get().overrides.task))
    except OptionError as error:
        sys.exit(str(error))
    print("reading the runs", file=sys.stderr, flush=True)  # what follows takes seconds to load

    from reports.analysis import QuestionError
    from reports.files import OutputError
    from reports.runs import ReadError
    from reports.verdicts import CheckError

    try:
        if asked.check is not None:
            check(asked)
        elif asked.baselines_to is not None:
            keep_baselines(asked)
        elif asked.aa is not None:
            compare_with_itself(asked)
        elif asked.compare is not None:
            from reports.compare import compare

            print(compare(asked.uri, next(iter(asked.experiments), None), asked.compare))
        elif asked.watch:
            watch(asked)
        else:
            generate(asked)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
    except (ReadError, QuestionError, CheckError, OutputError) as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader of our words has gone, as in `generate report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def generate(asked: Options) -> Path:
    """Write the report; the path of its page."""
    from reports import across, files, gallery, verdicts
    from reports.figures import fonts, palette
    from reports.page import answer, provenance, render
    from reports.page import report as page_report
    from reports.runs import configuration

    runs = load(asked)
    apart = unusual(asked)
    directory = files.prepare(asked.output, files.report_name(runs, asked.where, apart))
    sections = sections_of(asked, runs)
    over_all = None
    if asked.across is not None:
        over_all = across.across(sections, asked.across, question(asked, runs))
    names = runs.summary[["loss", "setting_text"]].astype(str).to_numpy().ravel()
    families, lacking = fonts.fallback({one_line(name) for name in names})
    if lacking:
        runs = replace(runs, notes=[*runs.notes, fonts.note(lacking)])
    source = source_of(asked, runs, directory)
    comparisons = verdicts.document(
        sections,
        {
            "experiments": list(runs.experiments),
            "sweeps": list(runs.sweeps),
            "where": asked.where,
            "versions": asked.versions,
            "baselines": asked.baselines,
            "from": asked.mapping or asked.csv,
        },
    )
    evaluated = {run_id for section in sections for run_id in section.judged["run_id"]}
    chosen_first = runs.summary.sort_values(  # a loss is drawn with the values that it is shown at
        "run_id", key=lambda run_ids: ~run_ids.isin(evaluated), kind="stable"
    )
    if over_all:
        comparisons["across"] = across.document(over_all)
    with warnings.catch_warnings(), palette.style(families):
        if lacking:  # the note says it
            warnings.filterwarnings("ignore", message=r".*[Gg]lyph .* missing from .*font")
        result = page_report.report(
            sections,
            source,
            test_images,
            gallery=None
            if runs.imported
            else gallery.gallery(chosen_first, lambda run_id: configuration(runs, run_id)),
            figure_format=asked.formats[0],
            across=over_all,
            width=asked.width,
        )
        written = files.write(
            directory,
            html=render.to_html(result.page),
            markdown=render.to_markdown(result.page),
            verdicts=verdicts.write(comparisons),
            result=result,
            formats=asked.formats,
        )
    stored = files.store_with_parent(
        directory,
        runs,
        beside=bool(asked.where or apart),
        description=answer.description(result.page.title, sections),
    )
    if runs.baselines and sections:
        for text, _ in provenance.sentences(runs.baselines, sections[0].runs):
            print(text)
    tell_of_runs(runs)
    if over_all:
        tell_across(over_all, sections)
    else:
        tell(sections)
    print(f"\nreport: {written}\n{stored}")
    return written


def sections_of(asked: Options, runs: Runs) -> list[Section]:
    """What the report says about each setting."""
    from reports import analysis
    from reports.runs import predictions

    return analysis.sections(
        runs.summary,
        runs.curves,
        question(asked, runs),
        lambda run_id: predictions(runs, run_id),
        scores_of(runs),
        runs.declared,
        runs.disagreement,
    )


def source_of(asked: Options, runs: Runs, directory: Path) -> Source:
    """Where the runs come from, for the page's commands and caveats."""
    from reports.page.cross_setting import Source

    return Source(
        experiments=runs.experiments,
        chosen=tuple(runs.sweeps.values()),
        uri=None if is_default(runs.uri) else runs.uri,
        imported=runs.imported,
        overrides=words_for(asked, runs),
        missing=len(runs.missing),
        notes=runs.notes,
        warnings=runs.warnings,
        sweeps=() if runs.imported else sweeps_of(runs),
        verdicts=(directory / "verdicts.json").as_posix(),
        baselines=runs.baselines,
    )


def watch(asked: Options) -> None:
    """Show a sweep under way; Ctrl-C ends the program, and the last page stays."""
    from reports import watch

    try:
        watch.watch(asked, watch.Steps(load, sections_of, source_of, test_images, generate))
    except KeyboardInterrupt:
        sys.exit("stopped; the last page stays")


def scores_of(runs: Runs) -> Scores:
    """What a metric of a run is the mean of, read once for each run."""
    from reports.runs import scores

    @cache
    def read(run_id: str, metric: str) -> np.ndarray | None:
        found = scores(runs, run_id, metric)
        counts = found is not None and metric == "test_accuracy"
        return found.astype(bool) if found is not None and counts else found

    return read


def words_for(asked: Options, runs: Runs) -> tuple[str, ...]:
    """The overrides that make this report again: as typed, and where its runs were found."""
    words = list(asked.overrides)
    if asked.csv is not None:
        return tuple(words)
    if asked.uri is None and not is_default(runs.uri):
        words.append(override("tracking.uri", runs.uri))
    if not asked.experiments and not asked.sweeps:  # the newest, today
        words.append(override("experiment", *runs.experiments))
    return tuple(words)


def unusual(asked: Options) -> dict[str, str]:
    """The options in which a report differs from the usual one on the same runs, as typed."""
    from reports.analysis import Question
    from reports.metrics import read_metric

    usual = Question()
    found = {
        name: str(getattr(asked, name))
        for name in ("margin", "all_pairs", "seed")
        if getattr(asked, name) != getattr(usual, name)
    }
    if asked.metric != usual.metric:
        found["metric"] = read_metric(asked.metric).typed
    if asked.tuning_seeds is not None:
        found["tuning_seeds"] = ",".join(map(str, sorted(set(asked.tuning_seeds))))
    if asked.across is not None:
        found["across"] = asked.across
    if asked.target is not None:
        found["target"] = f"{asked.target:g}"
    if asked.versions:
        found["versions"] = "true"
    if asked.baselines is not None:
        found["baselines"] = asked.baselines
    # With baselines the losses that are run here are compared with all others unless one is named,
    # even the usual one.
    if asked.reference != usual.reference or (
        asked.baselines is not None and asked.asked_reference
    ):
        found["reference"] = asked.reference
    return found


def sweeps_of(runs: Runs) -> list[tuple[str, str]]:
    """The sweeps that were chosen, else those that started the runs: run id and name."""
    from reports.runs import sweeps

    if runs.sweeps:
        return list(runs.sweeps.items())
    found = sweeps(runs.uri, runs.experiments)
    found = found[found["run_id"].isin(set(runs.summary["parent_run_id"]))]
    return list(zip(found["run_id"], found["name"], strict=True))


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
        of_file = load_baselines(_file(str(baselines)))
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
        file=SHIPPED.relative_to(CONF.parent).as_posix() if shipped else path.name,
    )
    data = baselines.pack(kept)
    files.save(path, data)
    runs = read(asked.uri, asked.experiments, asked.sweeps, asked.where)
    tell_of_runs(runs)
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
    from reports import analysis, verdicts
    from reports.names import plain
    from reports.runs import predictions

    runs = load(asked)
    tell_of_runs(runs)
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
        print(f"lr={row['lr_a']:g} epochs={row['epochs']}: {verdicts.sentence(row)}")
    false = int(frame["verdict"].isin(["better", "worse"]).sum())
    names = ", ".join(plain(name) for name in sorted(set(frame["a"])))
    print(
        f"\nA/A on {names}: {false} of {len(frame)} comparisons of a loss with itself found a "
        "difference that is not there"
    )


def load(asked: Options) -> Runs:
    """The runs that the options choose, with the metric wherever it can be computed."""
    from reports import runs
    from reports.runs.computed import with_metric

    if source := asked.mapping or asked.csv:
        return imported(source, asked.uri, asked.experiments, asked.metric, asked.where)
    baselines = None if asked.baselines is None else _file(asked.baselines)
    found = runs.load(
        *(asked.uri, asked.experiments, asked.sweeps, asked.where, baselines),
        versions=asked.versions,
    )
    if not len(found.summary):
        why = (
            f" with {', '.join(f'{key}={value}' for key, value in asked.where.items())}"
            if asked.where
            else ""
        )
        names = " and ".join(map(repr, found.experiments))
        raise runs.ReadError(f"the experiment {names} has no runs{why} to report on")
    return with_metric(found, asked.metric, lambda run_id: runs.predictions(found, run_id))


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
        from reports.runs import csv_file

        return csv_file.load(Path(source), metric, where)
    from reports.runs import foreign

    return foreign.load(uri, experiments, source, metric, where, run_ids=run_ids)


def _file(baselines: str) -> Path:
    """The file of baselines that was asked for."""
    from reports.runs import SHIPPED

    return SHIPPED if baselines == "true" else Path(baselines)


def question(asked: Options, runs: Runs, *, reference: bool = True) -> Question:
    """What the sections are asked; a baseline that the user named must be there.

    Unless one was named, losses that are run here are compared with every other one where baselines
    have joined them, and imported ones that have no ce with the first of them.
    """
    from reports.analysis import Question, QuestionError
    from reports.names import BASELINE, plain

    losses = sorted(set(runs.summary["loss"].astype(str)))
    asked = replace(asked, reference=newest_version(asked.reference, runs.summary))
    here = tuple(
        sorted(set(runs.summary.loc[~runs.summary["baseline"].astype(bool), "loss"].astype(str)))
    )
    compared_with, subjects = asked.reference, ()
    if runs.imported and not asked.asked_reference and compared_with not in losses:
        compared_with = str(runs.summary["loss"].iloc[0])
    if len(here) < len(losses):
        if not asked.asked_reference:
            compared_with, subjects = here[0], here
        elif (marked := asked.reference + BASELINE) in losses:
            compared_with = marked
    if reference and asked.asked_reference and compared_with not in losses:
        raise QuestionError(
            f"reference={asked.reference}: no run has this loss; there are "
            f"{', '.join(plain(loss) for loss in losses)}"
        )
    return Question(
        reference=compared_with,
        subjects=subjects,
        metric=asked.metric,
        margin=asked.margin,
        all_pairs=asked.all_pairs,
        target=asked.target,
        tuning_seeds=asked.tuning_seeds,
        seed=asked.seed,
    )


def newest_version(loss: str, summary: pd.DataFrame) -> str:
    """The label of the newest version of a loss's code, or `loss` itself if there is only one.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"loss": ["ce@1a2b3c4", "ce@5d6e7f8"], "status": "FINISHED"})
    >>> newest_version("ce", runs.assign(loss_option="ce", started=[2, 1]))
    'ce@1a2b3c4'
    """
    labels = summary["loss"].astype(str)
    if loss in set(labels):
        return loss
    same = summary[labels.str.replace(r"@\w+", "", n=1, regex=True) == loss]
    if not len(same):
        return loss
    finished = same[same["status"] == "FINISHED"]
    return str((finished if len(finished) else same).sort_values("started")["loss"].iloc[-1])


def test_images(section: Section) -> Any:
    """The test images uint8 [n, 28, 28] of a section's data, or why they cannot be had."""
    from experiments import data

    name = str(section.runs["data"].iloc[0])
    known = {"mnist": data.mnist, "digits": data.digits, "fashion": data.fashion}
    if name not in known:
        return f"no pictures are known for the data {name!r}"
    try:
        return known[name](seed=0).test.inputs
    except (data.DataError, OSError) as error:
        return f"{name} cannot be read here ({error})"


def tell_of_runs(runs: Runs) -> None:
    """Print what was left out of the runs, and what may make their numbers wrong."""
    from reports.names import plain

    for warning in runs.warnings:
        print(f"WARNING: {plain(warning, 1000)}")
    for note in runs.notes:
        print(f"note: {plain(note, 1000)}")


def tell(sections: list[Section]) -> None:
    """Print the verdicts in plain sentences."""
    from reports import source_code, verdicts
    from reports.names import plain
    from reports.page.methods import basis

    for section in sections:
        if len(sections) > 1:
            print(f"\n== {plain(section.title, 400)} ==")
        for note in section.notes:
            print(note)
        for warning in source_code.warnings(section.runs):
            print(f"WARNING: {warning}")
        if not len(section.headline):
            print(
                "nothing to compare: "
                + ("no run has a result" if not len(section.judged) else "there is one loss")
            )
            continue
        print(basis(section))
        for row in section.compared(section.epochs).to_dict("records"):
            print(f"  {verdicts.sentence(row)} {verdicts.needed(row)}".rstrip())
        for epochs in section.lengths[1:]:
            if told := verdicts.tally(section.compared(epochs).to_dict("records")):
                print(
                    f"After {counted(epochs, 'epoch')}: {told}; where.epochs={epochs} makes a "
                    "report on them."
                )


def tell_across(found: Across, sections: list[Section]) -> None:
    """Print the verdicts across data sets or models, and how many each of these has alone."""
    from reports import across, verdicts
    from reports.names import plain

    print(across.basis(found))
    for row in found.comparison.contrasts.to_dict("records"):
        print(f"  {across.sentence(found, row)}")
    for advice in across.advice(found):
        print(f"note: {advice}")
    if found.units:
        ranks = found.comparison.average_ranks.items()
        print(f"Average ranks: {', '.join(f'{plain(loss)} {rank:.2f}' for loss, rank in ranks)}")
    for section in sections:
        tally = verdicts.tally(section.compared(section.epochs).to_dict("records"))
        print(f"On {plain(section.runs[found.key].iloc[0])} alone: {tally or 'nothing to compare'}")


def main() -> None:
    """The entry point.

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
    os.environ["MPLBACKEND"] = "agg"  # one that a notebook sets may not be installed here
    report()


if __name__ == "__main__":
    main()
