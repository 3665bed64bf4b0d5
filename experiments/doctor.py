"""The doctor: what is wrong in a store, and the mending of it. Deletes nothing.

    python experiments/doctor.py               looks
    python experiments/doctor.py mend=true     mends what can be mended

Exits with 0 when nothing is left to do, what is harmless not counted, and else with 1. It may be
asked while sweeps run: what somebody runs who lives is left alone. Imports nothing heavy before its
options are known to be right.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig

from experiments import (
    comparison,
    config,
    contract,
    credentials,
    owners,
    reuse,
    terminal,
)
from experiments.terminal import plural

if TYPE_CHECKING:
    from mlflow.entities import Run

    from experiments.tracking import Store


@dataclass
class DoctorConfig:
    """The schema of conf/doctor.yaml."""

    experiment: str = MISSING
    mend: bool = MISSING
    tracking: Any = MISSING


class Patient:
    """An experiment in a store; what is read of it is read once, when it is first asked for."""

    def __init__(self, store: Store):
        self.store = store

    @functools.cached_property
    def runs(self) -> dict[str, Run]:
        """Every run by its id, oldest first."""
        return {run.info.run_id: run for run in self.store.search("")}

    @functools.cached_property
    def registry(self) -> Any:
        """The claims."""
        from experiments.tracking import claims

        return claims.read(self.store)

    @functools.cached_property
    def finished(self) -> dict[str, list[Run]]:
        """The FINISHED runs of each identity, oldest first."""
        found: dict[str, list[Run]] = {}
        for run in self.runs.values():
            if run.data.tags.get("kind") == "run" and run.info.status == "FINISHED":
                found.setdefault(run.data.tags.get("identity", ""), []).append(run)
        return found

    @functools.cached_property
    def grids(self) -> dict[str, set[str]]:
        """The identities of each sweep that has ended, by its run's id.

        None where they cannot be read.
        """
        found = {}
        for run_id, run in self.runs.items():
            if run.data.tags.get("kind") == "sweep" and run.info.status != "RUNNING":
                content = comparison.read(self.store, run, "grid.json")
                found[run_id] = set(json.loads(content)["identities"]) if content else set()
        return found


# A line each, and what mends it, where something does.
Findings = Iterator[tuple[str, Callable[[], object] | None]]


def dead(patient: Patient) -> Findings:
    """Runs and sweeps that are RUNNING though their owner is dead, or that do not say who it is."""
    from experiments import tracking

    buried = {run.info.run_id for run in tracking.the_dead(patient.store)}
    for run in list(patient.store.search("attributes.status = 'RUNNING'")):
        said = run.data.tags.get("owner")
        if run.info.run_id in buried or (not said and "kind" in run.data.tags):
            why = (
                f"{owners.parse(said)} is dead"
                if said
                else "it does not say whose it is; ask around first"
            )
            yield f"{_name(run)}: {why}", functools.partial(tracking.bury, patient.store, run)


def abandoned(patient: Patient) -> Findings:
    """Claims without an end whose owner is dead."""
    from experiments import tracking

    for name, owner in patient.registry.abandoned().items():
        identity, _, attempt = name.partition("/")
        claim = tracking.Claim(patient.store, identity, int(attempt))
        yield (
            f"attempt {attempt} at {identity}: {owner} is dead",
            functools.partial(claim.end, "lost"),
        )


def misjudged(patient: Patient) -> Findings:
    """Sweeps that are FINISHED though cells are missing, or are not though none is."""
    from experiments import tracking

    for run_id, grid in patient.grids.items():
        run, missing = patient.runs[run_id], grid - patient.finished.keys()
        if grid and bool(missing) == (run.info.status == "FINISHED"):
            cells = f"{len(missing)} of {plural(len(grid), 'cell')} not finished"
            status = "FAILED" if missing else "FINISHED"
            mend = functools.partial(tracking.correct, patient.store, run, status)
            yield f"{_name(run)}: {run.info.status}, {cells}", mend


def incomplete(patient: Patient) -> Findings:
    """Sweeps without their grid, and FINISHED runs without what a report or a rerun needs."""
    for run_id, grid in patient.grids.items():
        if not grid:
            yield f"{_name(patient.runs[run_id])}: no grid.json", None
    for run in [run for runs in patient.finished.values() for run in runs]:
        wanted = {"config.yaml", "identity", "outcome"}
        if run.data.tags.get("outcome") == "ok":
            wanted |= {"predictions.npz", "test/accuracy"}
        store = patient.store
        files = {artifact.path for artifact in store.patiently(store.artifacts(run).list_artifacts)}
        if missing := wanted - files - run.data.tags.keys() - run.data.metrics.keys():
            yield f"{_name(run)}: no {', '.join(sorted(missing))}", None


def outlived(patient: Patient) -> Findings:
    """Runs that somebody runs, of a sweep that has ended."""
    for run in patient.runs.values():
        tags = run.data.tags
        parent = patient.runs.get(tags.get("mlflow.parentRunId", ""))
        if (
            run.info.status == "RUNNING"
            and parent
            and parent.info.status != "RUNNING"
            and "owner" in tags
        ):
            owner = owners.parse(tags["owner"])
            if patient.registry.lives(owner):
                yield f"{_name(run)}: {owner} runs it; the sweep is {parent.info.status}", None


def orphans(patient: Patient) -> Findings:
    """Runs whose sweep is no run of the experiment."""
    for run in patient.runs.values():
        parent = run.data.tags.get("mlflow.parentRunId")
        if parent and parent not in patient.runs:
            yield f"{_name(run)}: of {parent}", None


def duplicates(patient: Patient) -> Findings:
    """Cells with more than one FINISHED run whose numbers agree.

    With a claim, a finished cell is run again only when that is asked for.
    """
    for first, *others in patient.finished.values():
        alike = "identity" in first.data.tags and not reuse.disagreements([first, *others])
        if others and alike:
            why = {
                "rerun_of": "by rerun",
                "attempt": "by force=true",
                "kind": "before there were claims",
            }
            also = [
                f"{r.info.run_id} {next(why[t] for t in why if t in r.data.tags)}" for r in others
            ]
            yield f"{_name(first)}; again {', '.join(also)}", None


def disagreeing(patient: Patient) -> Findings:
    """FINISHED runs of one identity whose numbers differ."""
    for runs in patient.finished.values():
        if "identity" in runs[0].data.tags:
            yield from ((said, None) for said in reuse.disagreements(runs))


def foreign(patient: Patient) -> Findings:
    """Runs of another program."""
    return ((_name(run), None) for run in patient.runs.values() if "kind" not in run.data.tags)


def leftovers(patient: Patient) -> Findings:
    """A store that was begun and not completed."""
    for path in sorted(patient.store.directory.glob("*.creating")):
        yield f"{path}: a store whose creation was cut short", None


# Whether something is harmless, its heading, what can be done. The first two first: they end what
# the others look at.
CHECKS = {
    dead: (
        False,
        "RUNNING, but nobody runs them",
        "mending ends them, as KILLED unless all was said and done",
    ),
    abandoned: (
        False,
        "Cells claimed by a process that is dead",
        "mending ends the claims as lost, as the next run would",
    ),
    misjudged: (
        False,
        "Sweeps whose status is not that of their cells",
        "mending makes them FINISHED when all cells are, else FAILED",
    ),
    incomplete: (
        False,
        "Files or numbers are missing",
        "if the files were moved, move them back; else `mlflow runs delete --run-id ID`, and the "
        "command that made them makes them anew",
    ),
    disagreeing: (
        False,
        "Runs of one identity that disagree",
        "look at both; `mlflow runs delete --run-id ID` takes the wrong one out of the count",
    ),
    outlived: (
        True,
        "Running, of a sweep that has ended",
        "let them end, or stop the process; then look again",
    ),
    orphans: (
        True,
        "Of a sweep that is not there",
        "they count all the same; `mlflow runs restore --run-id ID` restores a deleted sweep, "
        "its command makes a new one",
    ),
    duplicates: (True, "Cells that were run more than once", "the newest run counts"),
    foreign: (True, "Runs of another program", "nobody counts them"),
    leftovers: (True, "Files that nothing needs", "you may delete them; a checkpoint of no cell "
                                                  "only if no other store lies here"),
}  # fmt: skip


def examine(store: Store, *, mend: bool) -> int:
    """Print what is found, and mend it if told to.

    How many findings are left that are not harmless.
    """
    patient = Patient(store)
    count = mendable = left = 0
    for check, (harmless, heading, advice) in CHECKS.items():
        advice = advice.replace("`mlflow ", f"`{contract.mlflow_for(store.uri)} ")
        for number, (line, cure) in enumerate(check(patient)):
            if number == 0:
                print(f"\n{heading} ({'harmless: ' if harmless else ''}{advice})")
            if cure and mend:
                cure()
            print(f"  {line}{' -> mended' if cure and mend else ''}")
            count += 1
            mendable += cure is not None
            left += not harmless and not (cure and mend)
    how = "mended" if mend else "can be mended: the same command with mend=true"
    said = f", {mendable} of them {how}" if mendable else "; nothing to mend"
    print(f"\n{plural(count, 'finding')}{said}" if count else "nothing to mend")
    return left


def _name(run: Run) -> str:
    return f"{run.info.run_id} {run.info.run_name}"


ConfigStore.instance().store(name="doctor_config", node=DoctorConfig)


@hydra.main(version_base="1.3", config_path="../conf", config_name="doctor")
def doctor(cfg: DictConfig) -> None:
    """Examine one experiment; ends the command with its exit code."""
    if refusal := credentials.refusal(cfg.tracking.uri):
        sys.exit(refusal)

    from experiments import tracking

    directory = Path(HydraConfig.get().runtime.cwd)  # where the command was started
    open_store = functools.partial(
        tracking.open_store, cfg.tracking.uri, cfg.experiment, directory=directory
    )
    try:
        store = open_store(patience=cfg.tracking.patience, create=False)
        if cfg.mend and not store.registry:  # deleted, while claims are to be ended
            store = open_store(patience=cfg.tracking.patience)
        print(f"{cfg.experiment} in {credentials.shown(store.uri)}")
        left = examine(store, mend=cfg.mend)
    except (tracking.StoreError, tracking.MlflowException, OSError) as error:
        sys.exit(credentials.redacted(str(error)))
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    terminal.accept_any_character()
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit("the doctor looks at one experiment at a time; -m is for experiments/run.py")
    try:
        config.check_names(config.set_at_the_root(sys.argv[1:]), DoctorConfig)
    except config.CommandError as error:
        sys.exit(str(error))
    doctor()
