"""Which experiment, which sweep, and which of their runs count."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import contract
from experiments.contract import Parts, command, mlflow_for
from experiments.credentials import shown
from reports.names import counted, natural
from reports.runs.naming import Tuned, is_complete, loss_values, scalars, setting_key, with_digests
from reports.runs.plans import Declared, common, planned, questions, tunings
from reports.runs.records import NEEDED, Experiment, ReadError, Run, age
from reports.runs.versions import code_of, left_out, newest_code, taken
from reports.runs.wording import MAKE_RUNS, cut, quote, short, some

if TYPE_CHECKING:
    from reports.runs.store import Database, Server

OTHER_CODE = (
    "the code of the newest finished run is shown, also where the files were changed back since; "
    "versions=true compares versions of the code, sweep=NAME_OR_ID shows the code of one sweep"
)


@dataclass(frozen=True)
class Picked:
    """The runs that count, one per configuration and seed, oldest first, and where they are from.

    parents: of the sweeps that were named. missing: identities of their grids without a run.
    warnings: what may make the numbers wrong, a sentence each. planned: the runs whose seeds were
    declared before, and how many of their plan have no result. declared: the questions, the oldest
    first. disagreement: why several sweeps or experiments have no common question; "" where they
    have one, or where one was named.
    tuned: the own values of losses that the sweeps tuned.
    """

    experiments: list[Experiment]
    parents: list[Run]
    runs: list[Run]
    missing: list[str]
    notes: list[str]
    warnings: list[str]
    planned: dict[str, int]
    declared: list[Declared]
    disagreement: str
    tuned: list[Tuned]


def pick(
    store: Database | Server,
    experiments: Sequence[str],
    sweeps: Sequence[str],
    where: Mapping[str, Any],
    *,
    versions: bool = False,
    run_ids: Collection[str] | None = None,
) -> Picked:
    """The runs of experiments, or of sweeps wherever in their experiment they ran.

    Arguments as in `reports.runs.load`, names as sequences.
    """
    chosen, parents, notes = choose(store, experiments, sweeps)

    ids = [each.id for each in chosen]
    every = [run for run in store.runs("run", ids) if run.tags.get("identity")]
    with_runs = {run.experiment for run in every}
    for each in [] if parents else chosen:
        if each.id not in with_runs:
            raise ReadError(
                f"the experiment {quote(each.name)} in {shown(store.uri)} has no runs. {MAKE_RUNS}"
            )

    begun = with_digests([run for run in every if is_complete(run)])
    if len(begun) < len(every):
        bad = [run.run_id for run in every if not is_complete(run)]
        notes.append(
            f"left out: {counted(len(bad), 'run')} without readable params {', '.join(NEEDED)}, "
            f"which ended before they were written or were changed since: {some(bad)}"
        )
    all_sweeps = sorted(store.runs("sweep", ids, deleted=True), key=age)
    live = [run for run in all_sweeps if not run.deleted]
    plan = planned(begun, all_sweeps), *_declared(chosen, parents, live), tunings(parents or live)
    if run_ids is not None:
        requested = [run for run in begun if run.run_id in run_ids]
        return Picked(chosen, [], sorted(requested, key=age), [], notes, [], *plan)
    grid: list[str] = []
    left: list[tuple[Run, Run]] = []
    if parents:
        grid, begun = _of_sweeps(store, parents, begun, notes)
    missing = sorted(set(grid) - {run.tags["identity"] for run in begun}, key=grid.index)
    if len(parents) != 1 and not versions:
        begun, left = newest_code(begun)

    lost = left_out([pair for pair in left if _fits(pair[0], where)])
    notes += [f"{text}; {OTHER_CODE}" for text in lost]
    filtered = where_params(begun, where, lost)
    if where and len(missing):
        notes.append(
            f"{counted(len(missing), 'combination')} without a run: which of them the filter "
            "would choose is not known"
        )
    sweep_ids = {run.run_id for run in all_sweeps if not run.deleted} | {""}
    if deleted := {run.tags.get("mlflow.parentRunId", "") for run in filtered} - sweep_ids:
        notes.append(
            f"the parent runs of {counted(len(deleted), 'sweep')} were deleted; the sweeps' runs "
            "count like all others"
        )
    return Picked(
        *(chosen, parents, one_per_identity(filtered, notes), missing, notes),
        *(disagreements(filtered), *plan),
    )


def _declared(
    experiments: Sequence[Experiment], parents: Sequence[Run], sweeps: Sequence[Run]
) -> tuple[list[Declared], str]:
    """The questions of the sweeps, and why those that were named together share none."""
    if len(parents) > 1:
        return common({quote(each.name): questions([each]) for each in parents})
    if len(experiments) > 1:
        return common(
            {
                quote(each.name): questions(run for run in sweeps if run.experiment == each.id)
                for each in experiments
            }
        )
    return questions(sweeps), ""


def _of_sweeps(
    store: Database | Server, parents: Sequence[Run], runs: Sequence[Run], notes: list[str]
) -> tuple[list[str], list[Run]]:
    """The identities of the sweeps' grids, and the runs that have them, each run once."""
    grids: dict[str, None] = {}
    kept: dict[str, Run] = {}
    for parent in parents:
        of_experiment = [run for run in runs if run.experiment == parent.experiment]
        grid, code = grid_of(store, parent, of_experiment, notes)
        own = [run for run in of_experiment if run.tags["identity"] in set(grid)]
        notes += taken(own, code)
        grids |= dict.fromkeys(grid)
        kept |= {run.run_id: run for run in own}
    return list(grids), list(kept.values())


def choose(
    store: Database | Server, experiments: Sequence[str], sweeps: Sequence[str]
) -> tuple[list[Experiment], list[Run], list[str]]:
    """The experiments, the parents of the sweeps that were named, and notes on the choice.

    The experiments are those named, those of the sweeps, or the one with the newest run.
    """
    chosen = [experiment_named(store, name) for name in dict.fromkeys(experiments)]
    if not sweeps:
        return chosen or [_newest(store)], [], []
    scope = {each.id: each for each in chosen or active(store)}
    every = sorted(store.runs("sweep", list(scope), deleted=True), key=age, reverse=True)
    place = " and ".join(f"the experiment {quote(each.name)}" for each in chosen)
    notes: list[str] = []
    named = [
        _sweep_named(store, str(name), every, place or shown(store.uri), notes) for name in sweeps
    ]
    parents = {run.run_id: run for run in named}
    used = dict.fromkeys(scope[run.experiment].id for run in named)
    return [scope[each] for each in used], list(parents.values()), notes


def _newest(store: Database | Server) -> Experiment:
    """The experiment with the newest run."""
    live = active(store)
    newest = next(store.runs("run", [each.id for each in live], newest=True), None)
    if newest is None:
        raise ReadError(f"the store {shown(store.uri)} has no runs of this program. {MAKE_RUNS}")
    return next(each for each in live if each.id == newest.experiment)


def _sweep_named(
    store: Database | Server, sweep: str, every: Sequence[Run], place: str, notes: list[str]
) -> Run:
    """The sweep of this id or name, or the only one whose id begins so.

    Args:
        store: where it is.
        sweep: its id, the beginning of its id, or its name.
        every: all sweeps of the experiments, deleted ones included, the newest first.
        place: where they are, for messages.
        notes: to which is added that others have the same name.
    """
    named = [run for run in every if run.run_id == sweep]
    named = named or [run for run in every if run.name == sweep]
    if not named and sweep:
        named = [run for run in every if run.run_id.startswith(sweep) and not run.deleted]
        if len(named) > 1:
            raise ReadError(
                f"expected one sweep, but the ids of several begin with {quote(sweep)}: "
                f"{some([run.run_id for run in named])}"
            )
    present = [run for run in named if not run.deleted]
    if not present:
        if named:
            raise ReadError(
                f"the sweep {quote(sweep)} was deleted; bring it back with "
                f"`{command(f'{mlflow_for(store.uri)} runs restore', '--run-id', named[0].run_id)}`"
            )
        choices = [f"{quote(run.name)} ({run.run_id})" for run in every if not run.deleted]
        raise ReadError(
            f"no sweep in {place} has the run id or name {quote(sweep)}; expected one of: "
            f"{some(choices) or 'none there'}"
        )
    if len(present) > 1:
        others = [run.run_id for run in present[1:]]
        notes.append(
            f"{len(present)} sweeps are named {quote(sweep)}: this is the newest; the others are "
            f"{some(others)}"
        )
    return present[0]


def active(store: Database | Server) -> list[Experiment]:
    """The experiments that are not deleted."""
    return [each for each in store.experiments() if not each.deleted]


def experiment_named(store: Database | Server, name: str) -> Experiment:
    """The experiment of this name; ReadError where there is none."""
    experiments = store.experiments()
    for each in experiments:
        if each.name == str(name):
            if each.deleted:
                raise ReadError(
                    f"the experiment {quote(each.name)} was deleted; bring it back with "
                    f"`{mlflow_for(store.uri)} experiments restore --experiment-id {each.id}`"
                )
            return each
    choices = sorted(quote(each.name) for each in experiments if not each.deleted)
    raise ReadError(
        f"no experiment in {shown(store.uri)} is named {quote(name)}; expected one of: "
        f"{some(choices) or 'none there'}"
    )


def grid_of(
    store: Database | Server, parent: Run, runs: Iterable[Run], notes: list[str]
) -> tuple[list[str], Parts]:
    """The identities of a sweep's runs, and by option the code that its command had.

    Where they cannot be read, the identities are those of its children, with a note.
    """
    try:
        content = json.loads(store.artifact(parent.run_id, "grid.json") or b"")
        identities, code = content["identities"], content.get("code", {})
        if isinstance(identities, list) and all(isinstance(each, str) for each in identities):
            return list(dict.fromkeys(identities)), code if isinstance(code, dict) else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    notes.append(
        "the sweep's list of runs (its artifact grid.json) is missing or damaged: these are the "
        "runs that it started; "
        "combinations without a run, and those finished before it, are not known"
    )
    children = (run for run in runs if run.tags.get("mlflow.parentRunId") == parent.run_id)
    return list(dict.fromkeys(run.tags["identity"] for run in children)), {}


def where_params(runs: list[Run], where: Mapping[str, Any], lost: Sequence[str] = ()) -> list[Run]:
    """The runs whose params have the values asked for; numbers are compared as numbers.

    Raises:
        ReadError: there are none; the message names the values there are, and `lost`, which says
            what was left out before.
    """
    besides = "".join(f"\n{text}" for text in lost)
    for name, value in where.items():
        choices = sorted({param for run in runs for param in run.params})
        if runs and name not in choices:
            raise ReadError(
                f"where: no run has a param {quote(name)}; expected one of: {some(choices, 60)}"
                f"{besides}"
            )
        kept = [run for run in runs if _fits(run, {name: value})]
        if runs and not kept:
            values = sorted(
                {short(run.params[name]) for run in runs if name in run.params}, key=natural
            )
            got = ", ".join(sorted(_texts(value)))
            raise ReadError(
                f"where: no run has {name}={cut(got)}; expected one of: {some(values)}{besides}"
            )
        runs = kept
    return runs


def _fits(run: Run, where: Mapping[str, Any]) -> bool:
    """Whether a run's params have the values asked for."""
    return all(
        name in run.params and short(run.params[name]) in _texts(value)
        for name, value in where.items()
    )


def _texts(value: Any) -> set[str]:
    """The values that a filter asks for, in their shortest form."""
    return {
        short(str(each)) for each in (value if isinstance(value, (list, tuple, set)) else [value])
    }


def one_per_identity(runs: Iterable[Run], notes: list[str]) -> list[Run]:
    """One run of each identity.

    Of those one for each set of values and each version of the code.

    The newest FINISHED one counts, else the newest.
    """
    ordered = sorted(runs, key=age)
    once = _one_each(ordered, [run.tags["identity"] for run in ordered])
    if again := len(ordered) - len(once):
        notes.append(
            f"left out: {counted(again, 'run')} of configurations that ran more than once; the "
            "newest FINISHED run counts"
        )
    keys = [
        json.dumps([setting_key(run), loss_values(run), *scalars(run).values(), code_of(run)])
        for run in once
    ]
    same = _one_each(once, keys)
    if again := len(once) - len(same):
        notes.append(
            f"left out: {counted(again, 'run')} with the params of another run but another "
            "identity (2 and 2.0, or a function or default that changed in between); the newest "
            "FINISHED run counts"
        )
    return same


def _one_each(ordered: Sequence[Run], keys: Sequence[str]) -> list[Run]:
    """Of the runs with the same key the newest FINISHED one, else the newest.

    `ordered` is oldest first, and so is the result.
    """
    best: dict[str, Run] = {}
    for run, key in zip(ordered, keys, strict=True):
        if key not in best or run.status == "FINISHED" or best[key].status != "FINISHED":
            best[key] = run
    return sorted(best.values(), key=age)


def disagreements(runs: Iterable[Run]) -> list[str]:
    """Finished runs of one identity whose numbers differ: a warning for each reason.

    Each finished run is compared with the newest one of its identity, in every metric that both
    have but times.
    """
    finished: dict[str, list[Run]] = {}
    for run in sorted(runs, key=age):
        if run.status == "FINISHED":
            finished.setdefault(run.tags["identity"], []).append(run)
    differing: dict[str, list[tuple[Run, Run, str]]] = {}
    for *earlier, newest in finished.values():
        for run in earlier:
            if differ := contract.numbers_differ(run, newest):
                why = contract.why_numbers_differ(run, newest)
                differing.setdefault(why, []).append((run, newest, differ))
    warnings = []
    for reason, pairs in differing.items():
        run, newest, differ = pairs[0]
        many = f"{counted(len(pairs), 'finished run')} disagree{'s' if len(pairs) == 1 else ''}"
        first = "" if len(pairs) == 1 else "the first: "
        warnings.append(
            f"{many} with the newest finished run of the same identity, {reason}; {first}"
            f"{cut(newest.name)}: {differ} (runs {run.run_id} and {newest.run_id})"
        )
    return warnings
