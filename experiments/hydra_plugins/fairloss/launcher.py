"""Hydra's side of running jobs: warm worker processes, each with one job at a time.

Hydra imports this file at every start, so it imports nothing heavy. Workers are forked from a server that has loaded Paddle
and MLflow once, while the launching process still checks the grid. A worker that dies takes only its own job with it, and
results are known as they come; neither holds for the launchers of Hydra's own plug-ins.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from experiments import machine
from experiments.config import CommandError

log = logging.getLogger(__name__)

GRACE_SECONDS = 20  # for a worker that was told to stop, to say so in the store


class ProcessLauncher(Launcher):
    """Runs jobs in `n_jobs` processes; -1 stands for as many as the cores have room for, given `threads` each."""

    def __init__(self, n_jobs: int = -1):
        self.n_jobs = n_jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.payload = (hydra_context, config, task_function)
        self.stop_on_failure = config.on_failure == "stop"
        threads = max(1, config.threads)
        self.slots = self.n_jobs if self.n_jobs > 0 else max(1, machine.cores() // threads)
        machine.prepare(threads)
        self.processes = multiprocessing.get_context(
            "forkserver" if hasattr(os, "fork") else "spawn"
        )
        if hasattr(os, "fork"):
            self.processes.set_forkserver_preload(["experiments.preload"])
            multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """One result for each list of overrides, in their order."""
        import cloudpickle  # the task is a function of __main__, which pickle cannot name

        payload = cloudpickle.dumps((*self.payload, Singleton.get_state()))
        waiting = list(enumerate(job_overrides))[::-1]
        results: dict[int, JobReturn] = {}
        workers: list[_Worker] = []
        try:
            while len(results) < len(job_overrides):
                while waiting and len(workers) < self.slots:
                    workers.append(_Worker(self.processes, payload))
                for worker in workers:
                    if waiting and worker.job is None:
                        worker.begin(*waiting.pop(), offset=initial_job_idx)
                for worker in _ready(workers):
                    job, result = worker.collect()
                    results[job] = result
                    if result.status != JobStatus.COMPLETED:
                        error = result._return_value
                        log.error(
                            "FAILED %s: %s: %s",
                            " ".join(worker.overrides),
                            type(error).__name__,
                            error,
                        )
                        # A job that ends the command, for want of a store perhaps, would not be the last one to do so.
                        if self.stop_on_failure or isinstance(error, CommandError):
                            results |= {index: JobReturn(overrides) for index, overrides in waiting}
                            waiting.clear()
                    if not worker.alive:
                        workers.remove(worker)
            return [results[index] for index in range(len(job_overrides))]
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()


class _Worker:
    """One worker process as the launching process sees it."""

    def __init__(self, processes: Any, payload: bytes):
        self.connection, theirs = processes.Pipe()
        self.process = processes.Process(target=_work, args=(theirs, payload), daemon=True)
        self.process.start()
        theirs.close()
        self.job: int | None = None
        self.overrides: list[str] = []
        self.alive = True

    def begin(self, job: int, overrides: Sequence[str], offset: int) -> None:
        self.job, self.overrides = job, list(overrides)
        with contextlib.suppress(
            ConnectionError
        ):  # dead already: `collect` finds out, and says of what
            self.connection.send((job + offset, self.overrides))

    def collect(self) -> tuple[int, JobReturn]:
        """The result of the job that is over, or what is known of a worker that is dead."""
        job = self.job
        assert job is not None
        try:
            result = self.connection.recv()
        except (EOFError, ConnectionError):
            self.alive = False
            self.process.join()
            result = JobReturn(overrides=self.overrides, status=JobStatus.FAILED)
            result.return_value = RuntimeError(
                f"the worker process died: {_cause(self.process.exitcode)}"
            )
        self.job = None
        return job, result

    def stop(self) -> None:
        """Ask a busy worker to stop as Ctrl-C would, and an idle one to end."""
        if self.job is not None:
            self.process.terminate()
        self.connection.close()

    def join(self) -> None:
        self.process.join(GRACE_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """The workers that have a result, or died; waits for the first."""
    busy = {worker.connection: worker for worker in workers if worker.job is not None}
    return [busy[connection] for connection in multiprocessing.connection.wait(list(busy))]


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _work(connection: Connection, payload: bytes) -> None:
    """In a worker: run jobs as they come until the launching process hangs up."""
    import cloudpickle

    # Ctrl-C reaches the whole group of processes; the launching one decides, and tells by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, signal.SIG_DFL
    )  # which the server ignores; `load_paddle` makes more of it
    setup_globals()
    hydra_context, config, task_function, state = cloudpickle.loads(payload)
    Singleton.set_state(state)
    while True:
        try:
            job, overrides = connection.recv()
            connection.send(_portable(_run(job, overrides, hydra_context, config, task_function)))
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return


def _portable(result: JobReturn) -> JobReturn:
    """`result`, its error as one that any process can read: an exception of a user's own may be readable in none."""
    error = result._return_value
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        result.return_value = RuntimeError(f"{type(error).__name__}: {error}")
    return result


def _run(
    job: int,
    overrides: list[str],
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
) -> JobReturn:
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
