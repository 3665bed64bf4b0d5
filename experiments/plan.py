"""What a command would do: each run, its state, and how long the rest will take. Runs nothing."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import checkpoints, machine, option_checks, places, reuse, table, trials
from experiments.config import Settings
from experiments.terminal import duration, plural, size

if TYPE_CHECKING:
    from mlflow.entities import Run

    from experiments.rehearsal import Checked
    from experiments.tracking import Store

TO_RUN = ("failed", "forced", "killed", "missing")
_SIZES = ("loss", "model", "optimizer", "data")  # what decides the size of a checkpoint


def show(planned: Sequence[Settings], *, slots: int) -> None:
    """Print the plan of a grid; creates no store.

    Args:
        planned: The runs.
        slots: How many jobs run at once, -1 for as many as there are cores for.
    """
    slots = slots if slots > 0 else max(1, machine.cores() // planned[0].threads)
    digests = [option_checks.data(job).digest for job in planned]

    from experiments import tracking

    exists = places.exists(planned[0].tracking["uri"])
    store = tracking.open_for(planned[0]) if exists else None
    earlier = reuse.look_up(tracking.all_runs(store) if store else {}, planned, digests)
    identities, runs = earlier.identities, earlier.runs
    grid = dict(zip(identities, planned, strict=True))
    states = _states(store, grid, runs)
    todo = [i for i in grid if states[i].split()[0] in TO_RUN]
    trajectories = {
        identity: job.trajectory(digest) if job.checkpoint and not job.force else identity
        for identity, job, digest in zip(identities, planned, digests, strict=True)
    }
    checked = _checked([grid[i] for i in todo]) if planned[0].checkpoint else []
    alone = {i for i, check in zip(todo, checked, strict=False) if not check.can_extend}
    starts = _first_epochs(store, {i: grid[i] for i in todo}, trajectories, alone)
    pace = _Pace(store)
    seconds = {i: pace.of(grid[i], starts[i]) for i in todo}
    jobs: dict[str, list[float | None]] = {}
    for identity in todo:
        job_key = identity if identity in alone else trajectories[identity]
        jobs.setdefault(job_key, []).append(seconds[identity])

    rows = []
    for identity, job in grid.items():
        row = table.row(job, runs.get(identity)) | {"outcome": states[identity]}
        if identity in seconds:
            estimate = seconds[identity]
            row["time"] = "about " + duration(estimate) if estimate is not None else "?"
        rows.append(row)
    text = table.text(rows, trials.names(planned))
    print(f"\n{text}\n\n{summary(list(states.values()), list(jobs.values()), slots)}")
    if trials_text := trials.counted(planned):
        print(f"{trials_text}.")
    for note in earlier.notes:
        print(note)
    if continued := sum(start > 0 for start in starts.values()):
        print(f"Of these, {continued} start from a checkpoint: only the other epochs take time.")
    if planned[0].checkpoint is True and todo:
        print(_disk(checked))


def summary(states: Sequence[str], jobs: Sequence[Sequence[float | None]], slots: int) -> str:
    """The plan in a sentence.

    Args:
        states: Of each run, see `_states`.
        jobs: The seconds of each run that is to be computed, None where no finished run tells; the
            runs of one job come one after the other.
        slots: How many jobs run at once.
    """
    counts = Counter(state.split()[0] for state in states)
    text = f"{plural(len(states), 'run')}: " + ", ".join(
        f"{n} {s}" for s, n in sorted(counts.items())
    )
    if not jobs:
        return f"{text}. Nothing to run."
    count = sum(map(len, jobs))
    estimates = [[seconds for seconds in job if seconds is not None] for job in jobs]
    text += f". {count} to run, {plural(min(slots, len(jobs)), 'job')} at a time"
    if not any(estimates):
        return f"{text}; how long that takes is not known before one like them is finished."
    mean = sum(map(sum, estimates)) / sum(map(len, estimates))
    return f"{text}: about {duration(max(mean * count / slots, *map(sum, estimates)))}."


def _states(
    store: Store | None, grid: Mapping[str, Settings], runs: Mapping[str, Run]
) -> dict[str, str]:
    """The state of each run: done, diverged, running (by whom), or one of `TO_RUN`."""
    from experiments import tracking

    runners = tracking.runners(store, grid) if store else {}
    states = {}
    for identity, job in grid.items():
        run = runs.get(identity)
        if run and reuse.is_finished(run):
            state = "diverged" if run.data.tags.get("outcome") == "diverged" else "done"
            states[identity] = "forced" if job.force else state
        elif identity in runners:
            states[identity] = f"running ({runners[identity]})"
        elif run:
            states[identity] = "failed" if run.info.status == "FAILED" else "killed"
        else:
            states[identity] = "missing"
    return states


class _Pace:
    """How long runs take, from those that are finished."""

    def __init__(self, store: Store | None):
        self.seconds: dict[tuple[str, ...], list[tuple[float, float]]] = {}  # of an epoch, and once
        for run in store.search("tags.outcome = 'ok'") if store else []:
            metrics, info = run.data.metrics, run.info
            epoch = metrics.get("time/train_seconds", 0.0) + metrics.get("time/val_seconds", 0.0)
            epochs = int(metrics.get("stop/trained_epochs", run.data.params.get("epochs", 0)))
            trained = epochs - int(run.data.tags.get("resumed_after", 0))
            whole = ((info.end_time or info.start_time) - info.start_time) / 1000
            for key in _speed_keys(run.data.params) if epochs else ():
                once = max(0.0, whole - trained * epoch)
                self.seconds.setdefault(key, []).append((epoch, once))

    def of(self, job: Settings, start: int) -> float | None:
        """Seconds of a run from epoch `start` on; None when no finished run is like it."""
        for key in _speed_keys({name: str(value) for name, value in job.params.items()}):
            if key in self.seconds:
                epoch, once = map(statistics.median, zip(*self.seconds[key], strict=True))
                return (job.epochs - start) * epoch + once
        return None


def _speed_keys(params: dict[str, Any]) -> list[tuple[str, ...]]:
    """What runs of about the same speed have in common, the closest likeness first."""
    work = ("model", "model.hidden", "data", "data.train_size", "batch_size")
    return [tuple(params.get(name, "") for name in (*work, *more)) for more in (("loss",), ())]


def _first_epochs(
    store: Store | None,
    planned: Mapping[str, Settings],
    trajectories: Mapping[str, str],
    alone: Collection[str],
) -> dict[str, int]:
    """The epoch after which each run starts: that of a checkpoint, or of a shorter run of these.

    alone: Which runs start from no other run's checkpoint, but from their own after a kill.
    """
    starts = {}
    ends: dict[str, list[int]] = {}
    for identity, job in sorted(planned.items(), key=lambda item: item[1].epochs):
        key = identity if identity in alone else trajectories[identity]
        if key not in ends:
            ends[key] = [0]
            if store and job.checkpoint and not job.force:
                kept_by = store.key, store.experiment_id, trajectories[identity]
                place = checkpoints.prefix(store.directory, *kept_by)
                ends[key] += [
                    epoch
                    for epoch, path in checkpoints.longest_first(place)
                    if key != identity or path == checkpoints.path(place, job.epochs, epoch)
                ]
        starts[identity] = max(end for end in ends[key] if end <= job.epochs)
        ends[key].append(job.epochs)
    return starts


def _checked(planned: Sequence[Settings]) -> list[Checked]:
    """What the check of one run of each kind has shown, for each of these runs."""
    kinds = [json.dumps([job.options[g] for g in _SIZES], default=str) for job in planned]
    one_each = dict(zip(kinds, planned, strict=True))
    shown = option_checks.check([*one_each.values()]) if planned else []
    checked = dict(zip(one_each, shown, strict=True))
    return [checked[kind] for kind in kinds]


def _disk(checked: Sequence[Checked]) -> str:
    """What the checkpoints of these runs will take on disk, as small ones of their kind show."""
    total = sum(each.checkpoint for each in checked)
    return (
        f"Their checkpoints, from which longer runs can start, will take about {size(total)} in "
        f"outputs/checkpoints; checkpoint=running keeps none of finished runs."
    )
