"""The runs of a grid: check all, leave out what is finished, launch the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import shlex
import textwrap
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from experiments import (
    config,
    contract,
    machine,
    option_checks,
    places,
    processes,
    ranges,
    reuse,
    table,
    trials,
)
from experiments.config import CommandError, Settings
from experiments.credentials import redacted
from experiments.rehearsal import Checked
from experiments.reuse import changed_since, is_finished
from experiments.terminal import plural

if TYPE_CHECKING:
    from mlflow.entities import Run

    from experiments.tracking import Store

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]


def run(
    planned: Sequence[tuple[list[str], Settings]],
    *,
    preset: str | None,
    directory: Path,
    launch: Launch,
    stage: str = "",
    tuning_seeds: int = 0,
    seeds: Collection[int] = (),
) -> list[Run]:
    """Run the jobs of a grid that have no FINISHED run yet, as children of one parent run.

    Args:
        planned: each job's overrides and settings.
        preset: its name, if the grid is of one.
        directory: where Hydra will write; it must be writable.
        launch: runs jobs given their overrides.
        stage: what the sweep is for where another one follows; its table is left out.
        tuning_seeds: how many seeds, from 0 on, only chose the rates, for the report.
        seeds: those that the command will run, besides those of the grid.

    Returns:
        The run of each job, in order.

    Raises:
        CommandError: before anything is stored when a run is wrong, and after the table when a run
            failed.
    """
    settings = [planned_run for _, planned_run in planned]
    machine.take_signals()
    new = not places.exists(settings[0].tracking["uri"])
    if not new:
        processes.initialize_workers(settings[0].threads)
    digests = [option_checks.data(job).digest for job in settings]
    config.require_writable(directory)
    if new:  # A wrong command creates nothing, and does not wait until MLflow is imported.
        machine.load_paddle(settings[0].threads)
        option_checks.check(settings)
        processes.initialize_workers(settings[0].threads)

    from experiments import tracking

    store = tracking.open_for(settings[0])
    tracking.close_stale(store, other_hosts=settings[0].close_stale)
    runs = tracking.all_runs(store)
    earlier = reuse.look_up(runs, settings, digests)
    identities, before = earlier.identities, earlier.runs
    grid = dict(zip(identities, planned, strict=True))
    todo = {
        identity: overrides
        for identity, (overrides, planned_run) in grid.items()
        if planned_run.force or not is_finished(before.get(identity))
    }
    checks = option_checks.check([grid[identity][1] for identity in todo]) if todo else []
    checked = dict(zip(todo, checks, strict=True))
    for level, notice in dict.fromkeys(n for each in checked.values() for n in each.kernel):
        log.log(level, "%s", notice)
    counts = plural(len(grid), "run"), len(grid) - len(todo), len(todo)
    log.info("%s, %d finished before, %d to run", *counts)
    if todo and not settings[0].verbose:
        log.info("epochs in %s", directory / "*" / "run.log")
    skipped = ((run, grid[i][1].code) for i, run in before.items() if i not in todo)
    notes = {note for run, code in skipped for note in changed_since(run, code)}
    for note in [*earlier.notes, *sorted(notes)]:
        log.info("%s", note)

    name = preset or " ".join(sorted({planned_run.choices["loss"] for planned_run in settings}))
    name += f" {stage}" if stage else ""
    name += f" ({plural(len(grid), 'run')})"
    failures: dict[str, Any] = {}  # by identity; None: not begun
    machine.loaded()  # from here on it may wait for hours
    by_option = {option: files for job in settings for option, files in job.code_by_option.items()}
    grid_seeds = {*seeds, *(job.seed for job in settings)}
    declared = ranges.question_seeds(settings[0].question.get("seeds")) or grid_seeds
    declared_question = question(settings, declared)
    with tracking.tracked_sweep(
        store,
        name=name,
        identities=identities,
        again=bool(todo),
        code=by_option,
        seeds=declared,
        question=declared_question,
        tuned=trials.declared(settings),
    ) as sweep:
        parent = sweep.run_id
        for identity in todo:
            if failure := checked[identity].failure:
                failures[identity] = _failed_check(store, grid[identity][1], failure, parent)
        if failures and settings[0].on_failure == "stop":
            failures = {i: failures.get(i) for i in todo}
        jobs = _Jobs(store, parent, grid, checked, dict(zip(identities, digests, strict=True)))
        to_launch = [identity for identity in todo if identity not in failures]
        failures |= _run_all(jobs, to_launch, launch, settings[0].on_failure)
        sweep.status = "FAILED" if failures else "FINISHED"
    if sweep.status != "FINISHED":  # the store has been waited for
        store = store.hasty()

    try:
        runs = tracking.all_runs(store) if todo else runs  # a thousand runs take a second or more
    except tracking.Away:  # no table, but what failed
        _raise_failures(todo, failures)
        raise
    newest = {i: contract.counting(runs[i]) for i in identities if i in runs}
    if failures or not stage:
        jobs_of_grid = [job for _, job in grid.values()]
        counted = [newest.get(identity) for identity in grid]
        tables, means = _results(jobs_of_grid, counted, tuning_seeds)
        if todo:  # else the run has the description of its report
            tracking.describe(store, parent, textwrap.indent(tables, "    "), means)
        losses = {job.choices["loss"] for job in settings}
        reported = declared_question or {}
        reported = {k: v for k, v in reported.items() if k != "reference" or v in losses}
        link = tracking.link(store)
        following = table.next_commands(settings[0], parent, tuning_seeds, reported, link)
        print(f"\n{tables}\n\n{following}")
    for warning in reuse.disagreements(runs, identities):
        log.warning("%s", warning)
    _raise_failures(todo, failures)
    return [newest[identity] for identity in identities]


def _results(
    jobs: Sequence[Settings], runs: Sequence[Run | None], tuning_seeds: int
) -> tuple[str, dict[str, float]]:
    """The table of the runs with what follows from it, as text, and the mean of each loss."""
    pairs = list(zip(jobs, runs, strict=True))
    rows = [table.row(job, run) for job, run in pairs]
    tuned = trials.names(jobs)
    texts = [table.text(rows, tuned, tuning_seeds), trials.counted(jobs)]
    choosing = [(job, run) for job, run in pairs if job.seed < (tuning_seeds or math.inf)]
    texts += ["\n".join(table.at_the_edge(choosing, tuned)), table.of_one_seed(jobs, runs)]
    return "\n\n".join(filter(None, texts)), table.means(rows, tuning_seeds)


def question(settings: Sequence[Settings], seeds: Iterable[int]) -> dict[str, Any] | None:
    """The question that a sweep of these runs declares, complete; None where it declares none."""
    declared = settings[0].question
    if not settings[0].asks:
        return None
    losses = sorted({planned_run.choices["loss"] for planned_run in settings})
    usual = contract.REFERENCE if contract.REFERENCE in losses else losses[0]
    longest = max(planned_run.epochs for planned_run in settings)
    return {
        "metric": declared["metric"] or contract.METRIC,
        "margin": declared["margin"],
        "reference": declared["reference"] or usual,
        "epochs": longest if declared["epochs"] is None else declared["epochs"],
        "seeds": contract.ranges(seeds),
    }


def _failed_check(store: Store, settings: Settings, failure: str, parent: str) -> CommandError:
    """Record as FAILED a run whose check ended without a result, so that it is not launched."""
    from experiments import tracking

    tags = settings.identities(option_checks.data(settings).digest) | settings.code.tags
    error = CommandError(failure)
    with (
        contextlib.suppress(CommandError),
        tracking.tracked_run(
            store, name=settings.label, params=settings.params, tags=tags, parent=parent
        ),
    ):
        raise error
    return error


@dataclasses.dataclass(frozen=True)
class _Jobs:
    """How the runs of a sweep become jobs.

    Runs of one trajectory are one job, in ascending order of their epochs, so that each starts
    where the one before ended, on whatever machine the job is.
    """

    store: Store
    parent: str
    grid: Mapping[str, tuple[list[str], Settings]]
    checked: Mapping[str, Checked]
    digests: Mapping[str, str]

    def groups(self, identities: Iterable[str]) -> list[list[str]]:
        """The runs of each job."""
        jobs: dict[str, list[str]] = {}
        for identity in identities:
            planned_run = self.grid[identity][1]
            together = planned_run.checkpoint and not planned_run.force
            together = together and self.checked[identity].can_extend
            key = planned_run.trajectory(self.digests[identity]) if together else identity
            jobs.setdefault(key, []).append(identity)
        return [sorted(group, key=lambda i: self.grid[i][1].epochs) for group in jobs.values()]

    def overrides(self, group: Sequence[str]) -> list[str]:
        """The overrides of a job: those of its longest run, and what the sweep hands to it."""
        words = [*self.grid[group[-1]][0], f"tracking.parent_run={self.parent}"]
        words.append(f"tracking.data_digest={self.digests[group[-1]]}")
        if len(group) > 1:
            epochs = [str(self.grid[identity][1].epochs) for identity in group]
            words.append(f"tracking.epochs=[{','.join(epochs)}]")
        if warnings := self.checked[group[-1]].warnings:
            texts = [f"{warning.name}: {warning.text}" for warning in warnings]
            words.append(contract.override("tracking.warnings", texts))
        return words


def _run_all(
    jobs: _Jobs, identities: Sequence[str], launch: Launch, on_failure: str
) -> dict[str, Any]:
    """Launch the jobs of these runs, and wait for those that another sweep computes.

    Returns:
        The error of each run that failed, after a second try with on_failure=retry; None for a run
        that was not begun.
    """
    from experiments import tracking

    failures: dict[str, Any] = {}
    retried: set[str] = set()
    away = False
    todo = set(identities)
    while todo:
        groups = jobs.groups(identity for identity in identities if identity in todo)
        ended = launch([jobs.overrides(group) for group in groups])
        completed = all(job.status == JobStatus.COMPLETED for job in ended)
        try:
            missing = _missing(jobs.store if completed else jobs.store.hasty(), identities)
        except tracking.Away:
            if completed:
                raise
            missing, away = set(identities), True  # the failures can still be shown
        for group, job in zip(groups, ended, strict=True):
            for identity in group:
                failures.pop(identity, None)
                if job.status == JobStatus.UNKNOWN:
                    failures[identity] = None
                elif job.status == JobStatus.FAILED and (identity in missing or len(group) == 1):
                    failures[identity] = job._return_value
        if away:
            return failures
        failed = {identity for identity in todo if failures.get(identity)}
        again = failed - retried if on_failure == "retry" else set()
        retried |= again
        if again:
            log.info("%s once more: on_failure=retry", plural(len(again), "failed run"))
        todo = again or _wait_for(jobs.store, sorted(missing - failures.keys()))
    return failures


def _wait_for(store: Store, locked: Sequence[str]) -> set[str]:
    """Wait for runs that other processes compute; those that have to be run here after all."""
    from experiments import tracking

    waiting, logged = list(locked), False
    while waiting:
        runners = tracking.runners(store, waiting)
        if free := [identity for identity in waiting if identity not in runners]:
            tracking.close_stale(store)
            if missing := _missing(store, free):
                return missing
            waiting = [identity for identity in waiting if identity not in free]
            continue
        if not logged:
            holders = ", ".join(sorted(set(runners.values())))
            log.info("waiting for %s that %s will finish", plural(len(waiting), "run"), holders)
            logged = True
        time.sleep(_POLL_SECONDS)
    return set()


def _missing(store: Store, identities: Iterable[str]) -> set[str]:
    """Those that have no FINISHED run."""
    from experiments import tracking

    runs = tracking.all_runs(store)
    return {i for i in identities if i not in runs or not is_finished(contract.counting(runs[i]))}


def _in_words(error: Any) -> str:
    """The message of an error, with its kind where it is not one of the command's own."""
    kind = "" if isinstance(error, CommandError) else f"{type(error).__name__}: "
    return f"{kind}{error}"


def _raise_failures(jobs: Mapping[str, Sequence[str]], failures: Mapping[str, Any]) -> None:
    """Raise CommandError with what `_run_all` returns for these jobs, if there is anything."""
    errors = {identity: error for identity, error in failures.items() if error is not None}
    if errors:
        listed = [
            f"  {shlex.join(jobs[identity])}: {redacted(_in_words(error))}"
            for identity, error in list(errors.items())[: table.MOST_ROWS]
        ]
        listed += [f"  and {len(errors) - len(listed)} more"] if len(errors) > len(listed) else []
        not_begun = len(failures) - len(errors)
        raise CommandError(
            f"{len(errors)} of {plural(len(jobs), 'run')} failed; their tracebacks "
            f"are in MLflow (traceback.txt).{f' {not_begun} were not begun.' if not_begun else ''} "
            "The same command runs only what is not finished.\n" + "\n".join(listed)
        )
