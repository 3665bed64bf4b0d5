"""Runs each job of a sweep as a task of a Ray cluster.

Hydra imports this file at every start, so it imports nothing heavy, and Ray, an extra, only to
launch. Hydra's own plug-in for Ray needs an older cloudpickle, and loses the results of all jobs
with the first worker that dies.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from experiments import places, progress
from experiments.config import CommandError
from experiments.processes import GRACE_SECONDS

from .launcher import perform, report


class RayLauncher(Launcher):
    """Runs jobs on an existing cluster; `ray` has the arguments of ray.init and ray.remote.

    Each job has its own worker process, so that none finds what another one has left. A worker or a
    node that dies ends only its own jobs. Every node needs this project at the same path, in an
    environment with the same packages.
    """

    def __init__(self, ray: DictConfig):
        self.options: Any = OmegaConf.to_container(ray, resolve=True)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Check that Ray and the store can be used. Hydra calls it before `launch`."""
        # Else Ray holds back lines of jobs that resemble each other. It reads this when it loads.
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        try:
            import ray  # noqa: F401 # asked for before anything is stored
        except ImportError as error:
            raise CommandError('hydra/launcher=ray needs Ray: pip install -e ".[ray]"') from error
        uri = places.store_uri(config.tracking.uri, config.hydra.runtime.cwd)
        if not uri.startswith(("http://", "https://")):
            raise CommandError(
                "hydra/launcher=ray: expected a tracking server that every node reaches "
                f"(tracking=server, tracking.uri=http://HOST:PORT), got {uri.partition(':')[0]}"
            )
        self.payload = (hydra_context, config, task_function)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """One result for each list of overrides, in their order."""
        import cloudpickle  # the task is a function of __main__, which pickle cannot name
        import ray

        _connect(self.options["init"])
        payload = cloudpickle.dumps((*self.payload, Singleton.get_state()))
        task = ray.remote(max_calls=1, **self.options["remote"])(_work)
        shared = ray.put((_surroundings(), payload))
        jobs = {
            task.remote(shared, job, list(overrides)): list(overrides)
            for job, overrides in enumerate(job_overrides, initial_job_idx)
        }
        results: dict[Any, JobReturn] = {}
        display = progress.Progress(list(jobs.values()), remote=True)
        number = {ref: index for index, ref in enumerate(jobs)}
        try:
            while len(results) < len(jobs):
                (ref,), _ = ray.wait([ref for ref in jobs if ref not in results])
                results[ref] = _collect(ref, jobs[ref])
                display.finish(number[ref], failed=results[ref].status != JobStatus.COMPLETED)
                if results[ref].status != JobStatus.COMPLETED:
                    report(jobs[ref], results[ref])
            return [results[ref] for ref in jobs]
        finally:
            waiting = [ref for ref in jobs if ref not in results]
            for ref in waiting:
                ray.cancel(ref)  # reaches a job as Ctrl-C does
            if waiting:
                ray.wait(waiting, num_returns=len(waiting), timeout=GRACE_SECONDS)
            ray.shutdown()


def _connect(options: dict[str, Any]) -> None:
    """Join the cluster, and restore our handler of SIGTERM, which Ray replaces."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError) as error:  # no cluster, another version, another token
        raise CommandError(
            f"hydra/launcher=ray: {error}\nExpected a cluster of this version of Ray at "
            f"hydra.launcher.ray.init.address, got {options['address']}; `ray start --head` starts "
            "one"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)


def _collect(ref: Any, overrides: list[str]) -> JobReturn:
    """The result of a job that is over, or what Ray knows of one that is lost."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).partition('. ')[0]}"
        result = JobReturn(overrides=overrides, status=JobStatus.FAILED)
        result.return_value = getattr(error, "cause", None) or RuntimeError(
            f"the job is lost: {reason}"
        )
        return result


def _surroundings() -> tuple[str, list[str], dict[str, str]]:
    """The directory, the module path, and the variables of MLflow, passwords included.

    They are not passed by Ray's `runtime_env`, which Ray writes into its logs.
    """
    mlflow = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    return str(Path.cwd()), sys.path, mlflow


def _work(
    shared: tuple[tuple[str, list[str], dict[str, str]], bytes], job: int, overrides: list[str]
) -> JobReturn:
    """In a worker: one job."""
    # Ray cancels by it; a cluster that was started in the background of a shell ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (directory, modules, environment), payload = shared
    Path(directory).mkdir(parents=True, exist_ok=True)
    os.chdir(directory)
    sys.path[:] = modules
    os.environ.update(environment)
    return perform(payload, job, overrides)
