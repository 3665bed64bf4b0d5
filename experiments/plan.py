"""What a command would do.

Every cell of its grid, what is known of it, and how long the rest will take. Runs nothing.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import checks, machine, places, reuse, sweeps, table
from experiments.config import Settings
from experiments.terminal import duration, plural

if TYPE_CHECKING:
    from mlflow.entities import Run

    from experiments.tracking import Store

TO_RUN = ("failed", "forced", "killed", "missing")


def show(cells: Sequence[Settings], *, slots: int) -> None:
    """Print the plan of a grid.

    `slots`: how many jobs run at once, -1 for as many as the cores have room for.

    Trains nothing, and creates no store. Raises CommandError when the data or the store cannot be
    read.
    """
    slots = slots if slots > 0 else max(1, machine.cores() // cells[0].threads)
    digests = checks.data_digests(cells)

    from experiments import tracking

    there = places.is_there(cells[0].tracking["uri"])
    store = tracking.open_for(cells[0]) if there else None
    earlier = reuse.look_up(tracking.all_runs(store) if store else {}, cells, digests)
    identities, runs = earlier.identities, earlier.runs
    grid = dict(zip(identities, cells, strict=True))
    states = _states(store, grid, runs)
    pace = _Pace(store)
    seconds = {i: pace.of(grid[i]) for i in grid if states[i].split()[0] in TO_RUN}
    shorter = _prefixes({i: grid[i] for i in seconds})

    rows = []
    for identity, cell in grid.items():
        row = table.row(cell, runs.get(identity)) | {"outcome": states[identity]}
        if identity in seconds:
            estimate = seconds[identity]
            row["time"] = "about " + duration(estimate) if estimate is not None else "?"
        rows.append(row)
    print(
        f"\n{table.text(rows)}\n\n{summary(list(states.values()), list(seconds.values()), slots)}"
    )
    for note in earlier.notes:
        print(note)
    if shorter and not cells[0].prefixes:
        print(
            f"{plural(len(shorter), 'cell')} to run at a constant rate "
            f"{'is' if len(shorter) == 1 else 'are'} the beginning of "
            f"a longer one; prefixes=true takes {'it' if len(shorter) == 1 else 'them'} out of "
            "that, and trains only the longest"
        )


def summary(states: Sequence[str], seconds: Sequence[float | None], slots: int) -> str:
    """The plan in a sentence.

    Seconds: of each cell that is to be run; None where no finished run tells.
    """
    counts = Counter(state.split()[0] for state in states)
    text = f"{plural(len(states), 'cell')}: " + ", ".join(
        f"{n} {s}" for s, n in sorted(counts.items())
    )
    if not seconds:
        return f"{text}. Nothing to run."
    known = [s for s in seconds if s is not None]
    text += f". {len(seconds)} to run, {plural(min(slots, len(seconds)), 'job')} at a time"
    if not known:
        return f"{text}; how long that takes is not known before one like them is finished."
    total = max(sum(known) * len(seconds) / len(known) / slots, max(known))
    return f"{text}: about {duration(total)}."


def _states(
    store: Store | None, grid: Mapping[str, Settings], runs: Mapping[str, Run]
) -> dict[str, str]:
    """For each cell: done, diverged, forced (done.

    Run again), running (by whom), failed, killed or missing.
    """
    from experiments.tracking import claims

    registry = claims.read(store) if store else None
    states = {}
    for identity, cell in grid.items():
        run = runs.get(identity)
        runner = registry.runner(identity) if registry else None
        if reuse.is_finished(run) and cell.force:
            states[identity] = "forced"
        elif reuse.is_finished(run):
            states[identity] = "diverged" if run.data.tags.get("outcome") == "diverged" else "done"  # type: ignore[union-attr]
        elif runner:
            states[identity] = f"running ({runner})"
        elif run:
            states[identity] = "failed" if run.info.status == "FAILED" else "killed"
        else:
            states[identity] = "missing"
    return states


class _Pace:
    """How long runs take, from those that are finished."""

    def __init__(self, store: Store | None):
        self.per_epoch: dict[tuple[str, ...], list[float]] = {}
        self.once: dict[tuple[str, ...], list[float]] = {}
        for run in store.search("tags.outcome = 'ok'") if store else []:
            metrics, info = run.data.metrics, run.info
            epoch = metrics.get("time/train_seconds", 0.0) + metrics.get("time/val_seconds", 0.0)
            epochs = int(run.data.params.get("epochs", 0))
            whole = ((info.end_time or info.start_time) - info.start_time) / 1000
            for key in _alike(run.data.params):
                if epochs:
                    self.per_epoch.setdefault(key, []).append(epoch)
                self.once.setdefault(key, []).append(max(0.0, whole - epochs * epoch))

    def of(self, cell: Settings) -> float | None:
        """Seconds that a run of `cell` will take; None when no finished run is like it."""
        for key in _alike({name: str(value) for name, value in cell.params.items()}):
            if key in self.per_epoch:
                return cell.epochs * statistics.median(self.per_epoch[key]) + statistics.median(
                    self.once[key]
                )
        return None


def _alike(params: dict[str, Any]) -> list[tuple[str, ...]]:
    """What runs of about the same speed have in common, the closest likeness first."""
    work = ("model", "model.hidden", "data", "data.train_size", "batch_size")
    return [tuple(params.get(name, "") for name in (*work, *more)) for more in (("loss",), ())]


def _prefixes(cells: dict[str, Settings]) -> set[str]:
    """The cells that are the first epochs of another one."""
    return set(cells) - set(sweeps.longest(cells))
