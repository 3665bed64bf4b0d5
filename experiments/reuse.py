"""Which runs in a store count for a command, which ran other code, and which disagree."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments import contract, source_digest
from experiments.config import Settings
from experiments.contract import GROUPS
from experiments.terminal import plural

if TYPE_CHECKING:
    from mlflow.entities import Run

UNKNOWN = "code unknown"  # of runs that were made before the code was recorded


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What a store has of some runs.

    Attributes:
        identities: That of each, or that of the run of other code that is taken in its place.
        runs: By identity, the one that counts.
        notes: Sentences on runs of other code.
    """

    identities: list[str]
    runs: dict[str, Run]
    notes: list[str]


def changed_files(run: Run, now: source_digest.Code) -> list[str] | None:
    """The files that changed since `run` was made; None where its code is unknown."""
    then = run.data.tags.get("code.parts")
    if then is None:
        return None
    return contract.changed_files(json.loads(then), json.loads(now.tags["code.parts"]))


def look_up(
    runs: Mapping[str, Sequence[Run]], jobs: Sequence[Settings], data_digests: Sequence[str]
) -> Earlier:
    """What `runs`, by identity and oldest first, mean for jobs whose data have these digests."""
    by_settings: dict[tuple[str, ...], list[Run]] = {}
    for run in (run for others in runs.values() for run in others):
        by_settings.setdefault(_key_of(run), []).append(run)

    identities = []
    noted: dict[tuple[str, str], list[str]] = {}
    for job, digest in zip(jobs, data_digests, strict=True):
        identity = job.identity(digest)
        if identity not in runs or not is_finished(contract.counting(runs[identity])):
            key = (job.settings_digest(digest), *(job.choices[group] for group in GROUPS))
            others = sorted(by_settings.get(key, []), key=lambda run: run.info.start_time)
            others = [run for run in others if run.data.tags["identity"] != identity]
            other = contract.counting(others) if others else None
            if other is not None and other.info.status != "RUNNING":
                files = ", ".join(changed_files(other, job.code) or [])
                reason = f"made before {files} changed" if files else UNKNOWN
                state, use = "unfinished", "start over"
                if is_finished(other):
                    state, use = "finished", "run again (reuse=any uses them)"
                    if job.reuse == "any" and not job.force:
                        use = "used (reuse=any)"
                        identity = other.data.tags["identity"]
                noted.setdefault((state, f"{reason}: {use}"), []).append(
                    f"loss={job.choices['loss']}"
                )
        identities.append(identity)
    current = {
        identity: contract.counting(runs[identity]) for identity in identities if identity in runs
    }
    notes = [
        f"{plural(len(losses), f'{state} run')} of {', '.join(sorted(set(losses)))}, {reason}"
        for (state, reason), losses in noted.items()
    ]
    return Earlier(identities, current, notes)


def is_finished(run: Run | None) -> bool:
    """Whether the run is finished."""
    return run is not None and run.info.status == "FINISHED"


def changed_since(run: Run, code: source_digest.Code) -> list[str]:
    """What has changed, besides code in the identity, since a run that is skipped."""
    from experiments import tracking

    notes = []
    if run.data.tags.get("code.metrics", code.metrics) != code.metrics:
        notes.append("the code of the test metrics changed since skipped runs were made")
    for name, now in tracking.versions().items():
        version = run.data.tags.get(name, "unknown")
        if version != now:
            notes.append(f"skipped runs were made with {name} {version}, this is {now}")
    return [f"{note}; force=true runs them again" for note in notes]


def disagreements(runs: Mapping[str, Sequence[Run]], identities: Iterable[str]) -> list[str]:
    """How FINISHED runs of these identities differ from the newest of the same, in sentences.

    runs: By identity, oldest first.
    """
    sentences = []
    for identity in dict.fromkeys(identities):
        finished = [run for run in runs.get(identity, ()) if is_finished(run)]
        for run in finished[:-1]:
            newest = finished[-1]
            if differ := contract.numbers_differ(run.data, newest.data):
                sentences.append(
                    f"two finished runs of {newest.info.run_name} disagree, "
                    f"{contract.why_numbers_differ(run.data, newest.data)}: {differ} (runs "
                    f"{run.info.run_id} and {newest.info.run_id}); the newest counts"
                )
    return sentences


def _key_of(run: Run) -> tuple[str, ...]:
    """What runs with the same values and options have in common, whatever their code."""
    tags = run.data.tags
    settings = tags.get("settings") or ("" if "code" in tags else tags.get("identity", ""))
    return (settings, *(run.data.params.get(group, "") for group in GROUPS))
