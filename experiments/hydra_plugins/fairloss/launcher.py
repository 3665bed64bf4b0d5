"""Runs each job of a sweep in a fresh process.

Hydra imports this file at every start, so it imports nothing heavy. A process that dies ends only
its own job, and results are known as they come; neither holds for the launchers of Hydra's own
plug-ins.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from experiments import config, machine, processes, progress

log = logging.getLogger(__name__)


class ProcessLauncher(Launcher):
    """Runs `n_jobs` jobs at once; -1: as many as there are cores for, given `threads` each."""

    def __init__(self, n_jobs: int = -1):
        self.n_jobs = n_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what the jobs need, and decide how many run at once."""
        self.payload = (hydra_context, config, task_function)
        self.stop_on_failure = config.on_failure == "stop"
        self.verbose = config.verbose
        threads = max(1, config.threads)
        self.slots = self.n_jobs if self.n_jobs > 0 else max(1, machine.cores() // threads)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """One result for each list of overrides, in their order."""
        import cloudpickle  # the task is a function of __main__, which pickle cannot name

        payload = cloudpickle.dumps((*self.payload, Singleton.get_state()))
        display = progress.Progress(job_overrides, verbose=self.verbose)
        tasks: deque[processes.Task] = deque(
            (index, _work, (payload, index + initial_job_idx, list(words), display.in_terminal))
            for index, words in enumerate(job_overrides)
        )
        results: dict[int, JobReturn] = {}
        ends = processes.results(tasks, self.slots, display.handle)
        with display, contextlib.closing(ends) as ended:
            for index, result in ended:
                if not isinstance(result, JobReturn):
                    error: Any = result  # of the composition of its config
                    if isinstance(result, processes.Died):
                        error = RuntimeError(f"the run's process {result}")
                    result = JobReturn(job_overrides[index], status=JobStatus.FAILED)
                    result.return_value = error
                results[index] = result
                display.finish(index, failed=result.status != JobStatus.COMPLETED)
                if result.status != JobStatus.COMPLETED:
                    with display.print_above():
                        report(job_overrides[index], result)
                    # Other jobs would fail with the same CommandError, such as a missing store.
                    fatal = isinstance(result._return_value, config.CommandError)
                    if self.stop_on_failure or fatal:
                        results |= {
                            waiting: JobReturn(words) for waiting, _, (_, _, words, _) in tasks
                        }
                        tasks.clear()
        return [results[index] for index in range(len(job_overrides))]


def report(overrides: Sequence[str], failed: JobReturn) -> None:
    """Log a failure when it happens."""
    error = failed._return_value
    words = " ".join(config.own_words(overrides))
    log.error("FAILED %s: %s: %s", words, type(error).__name__, error)


def _work(
    send: Callable[[Any], None], payload: bytes, job: int, overrides: list[str], in_terminal: bool
) -> JobReturn:
    """In a process of its own: one job."""
    progress.send_events(send, all_output=in_terminal)
    result = perform(payload, job, overrides)
    if result.status == JobStatus.FAILED:
        result.return_value = processes.picklable(result._return_value)
    return result


def perform(payload: bytes, job: int, overrides: list[str]) -> JobReturn:
    """Do the job in this process; `payload` is pickled in `launch`."""
    import cloudpickle

    setup_globals()
    hydra_context, config, task_function, state = cloudpickle.loads(payload)
    Singleton.set_state(state)
    cfg = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(cfg):
        cfg.hydra.job.id = f"{cfg.hydra.job.name}_{job}"
        cfg.hydra.job.num = job
    HydraConfig.instance().set_config(cfg)
    return run_job(
        hydra_context=hydra_context,
        config=cfg,
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
