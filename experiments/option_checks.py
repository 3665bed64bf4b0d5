"""Checks of a command's options before anything trains, each combination in its own process.

So a crash, a hang, or a change of shared state in a user's code reaches neither the command nor a
run.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import functions, machine, processes, rehearsal
from experiments.checks import TrainingWarning
from experiments.config import Settings
from experiments.errors import CommandError, refuse
from experiments.rehearsal import Checked, Data

if TYPE_CHECKING:
    from experiments.data import Splits

log = logging.getLogger(__name__)

_data: dict[str, Data] = {}  # of the options that chose it: once per command
_results: dict[str, Checked] = {}  # by what was checked: each is checked once per command
_logged: set[str] = set()


def data(job: Settings) -> Data:
    """The digest and the sizes of a run's data; a user's function is called in a new process."""
    key = _data_key(job)
    if key not in _data and splits(job) is None:
        ((_, result),) = _each({"": (rehearsal.describe, (job,))}, 1)
        if isinstance(result, CommandError):
            raise result
        refuse([result] if isinstance(result, str) else [])
        _data[key] = result
    return _data[key]


def splits(job: Settings) -> Splits | None:
    """The run's data; None where they come from a user's function, which is not called here."""
    if not functions.is_shipped(job, "data"):
        return None
    loaded = rehearsal.load(job)
    _data[_data_key(job)] = rehearsal.data_of(loaded)
    return loaded


def _data_key(job: Settings) -> str:
    return json.dumps(job.options["data"], sort_keys=True, default=str)


def check(jobs: Sequence[Settings]) -> list[Checked]:
    """What the checks of each run's options have shown; warnings are logged.

    Every option is bound to its function's signature, the loss is tried on random outputs, and
    every distinct combination takes training steps on blank inputs, with batches of the sizes that
    training has.

    Raises:
        CommandError: What is wrong with the options of all runs.
    """
    keys: list[str] = []
    tasks: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    for job, its in zip(jobs, map(data, jobs), strict=True):
        decides = [job.options, job.choices, job.stop, job.device, job.threads, job.batch_size]
        key = json.dumps([*decides, vars(its)], sort_keys=True, default=str)
        keys.append(key)
        if key not in _results:
            tasks.setdefault(key, (rehearsal.check, (job, its)))
    wrong = []
    slots = max(1, machine.cores() // jobs[0].threads)
    for key, result in _each(tasks, slots):
        if isinstance(result, CommandError):
            wrong.append(str(result))
        else:
            _results[key] = Checked(failure=result) if isinstance(result, str) else result
    if wrong:
        failures = [_results[key].failure for key in tasks if key in _results]
        refuse([*dict.fromkeys([*wrong, *filter(None, failures)])])
    _warn_of_starts([_results[key].start for key in dict.fromkeys(keys)])
    for job, checked in zip(jobs, (_results[key] for key in keys), strict=True):
        for warning in checked.warnings:
            _log_once(logging.WARNING, f"{job.loss_label}: {warning.name}: {warning.text}")
        if checked.failure:
            _log_once(logging.ERROR, f"FAILED {checked.failure}")
    return [_results[key] for key in keys]


def _log_once(level: int, message: str) -> None:
    if message not in _logged:
        _logged.add(message)
        log.log(level, "%s", message)


def _warn_of_starts(starts: Sequence[tuple[str, str]]) -> None:
    """Log which networks do not begin alike, so that their losses are compared unpaired."""
    hashes: dict[str, set[str]] = {}
    for network, init_hash in starts:
        hashes.setdefault(network, set()).add(init_hash)
    for network, different in hashes.items():
        message = (
            f"{network}: at the same seed, the losses begin from different weights outside the "
            "head, so their runs are compared as unpaired, which is less certain; define the head "
            "last, as the sublayer `head`"
        )
        if len(different) > 1:
            _log_once(logging.WARNING, message)


def check_one(job: Settings) -> Sequence[TrainingWarning]:
    """The warnings of a single run; a check that ended without a result is an error, too."""
    (checked,) = check([job])
    refuse([checked.failure] if checked.failure else [])
    return checked.warnings


def _each(
    tasks: Mapping[str, tuple[Any, tuple[Any, ...]]], slots: int
) -> Iterator[tuple[str, Any]]:
    """Key of each task, and its result, a CommandError, or why its process ended without one."""
    waiting = deque((key, *task) for key, task in tasks.items())
    with contextlib.closing(processes.results(waiting, slots)) as results:
        for key, result in results:
            if isinstance(result, processes.Died):
                yield key, _failure(result)
            elif isinstance(result, Exception) and not isinstance(result, CommandError):
                raise result
            else:
                yield key, result


def _failure(died: processes.Died) -> str:
    """A sentence on a process that ended without a result: what it did last."""
    if died.cause == "SIGALRM":
        limit = f"{rehearsal.LIMIT_SECONDS} s"
        return f"{died.last}: expected the check to end within {limit}, it was still running"
    return f"{died.last}: the check's process {died}"
