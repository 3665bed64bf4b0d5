"""The command: compose the configuration, check it, train, record.

    python experiments/run.py loss=ce epochs=2        one run
    python experiments/run.py -m loss=mse,ce          a grid

Here a config becomes `Settings`. Nothing heavy is imported before the configuration is known to be
right.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments import (
    composition,
    config,
    contract,
    credentials,
    errors,
    machine,
    places,
    processes,
    progress,
    ranges,
    terminal,
)
from experiments.config import Settings, require_writable

if TYPE_CHECKING:
    from experiments.checks import TrainingWarning
    from experiments.data import Splits

log = logging.getLogger(__name__)

config.register()
composition.install()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def run(cfg: DictConfig) -> str | list[str]:
    """One run, or those of a job: from their config to the ids of the runs in MLflow."""
    terminal.accept_any_character()  # for the processes of a launcher
    if cfg.tracking.parent_run:
        with progress.in_job(verbose=cfg.verbose):
            return run_in_sweep(cfg)
    with errors.errors_without_credentials():
        config.anchor(cfg, HydraConfig.get().runtime.cwd)
        return _run_one(cfg, *_read(cfg, HydraConfig.get().overrides.task))


def _read(cfg: DictConfig, words: Sequence[str]) -> tuple[Settings, dict[str, str]]:
    """The settings in a config that was composed with these overrides, and the texts to keep."""
    settings = config.read(cfg, dict(HydraConfig.get().runtime.choices), words)
    config_yaml, overrides_yaml = OmegaConf.to_yaml(cfg, resolve=True), OmegaConf.to_yaml(words)
    return settings, {"config.yaml": config_yaml, "overrides.yaml": overrides_yaml}


def _run_one(cfg: DictConfig, settings: Settings, artifacts: dict[str, str]) -> str:
    """A command without -m: a run, the plan of one, or one that is run again."""
    hydra_cfg = HydraConfig.get()
    ranges.check_values([settings], settings.words)
    if settings.asks:
        raise config.CommandError(
            "question: expected a sweep, which keeps it, got a single run; add -m"
        )
    if not hydra_cfg.sweeper._target_.endswith(".GridSweeper"):
        raise config.CommandError(
            "hydra/sweeper: this one takes a grid, got a single run; add -m, and lr=... to choose "
            "from"
        )
    if settings.rerun is not None:  # `rerun=` and `rerun=0` are refused there
        from experiments import rerun

        return rerun.rerun(cfg, settings, list(hydra_cfg.overrides.task))
    if settings.plan:
        from experiments import plan

        plan.show([settings], slots=1)
        return ""
    return run_alone(settings, artifacts)


def run_alone(settings: Settings, artifacts: dict[str, str]) -> str:
    """One run outside a sweep: checked here, and not run again when it is finished already."""
    from experiments import option_checks, source_digest

    log.info("%s: checking the options", settings.label)
    source_digest.of_options(settings.options)  # read before it is loaded; later edits are refused
    # Before Paddle, which takes longer to load: a wrong option of the data shows at once.
    splits = option_checks.splits(settings)
    digest = option_checks.data(settings).digest
    machine.load_paddle(settings.threads)  # for the process of the check, too, which is forked
    warnings = option_checks.check_one(settings)
    settings.tracking["data_digest"] = digest
    try:
        return processes.in_fork(_in_own_process, settings, artifacts, splits, digest, warnings)
    except processes.Died as died:
        from experiments import tracking

        store = tracking.open_for(settings)
        tracking.close_stale(store, identity=settings.identity(digest), outcome="failed")
        raise config.CommandError(f"{settings.label}: the run's process {died}") from died


def _in_own_process(*arguments: Any) -> str:
    """`_record`; the traceback of an unexpected error is made here, where it is complete."""
    with errors.redacted_errors():  # no decorator: launchers pickle this module
        return _record(*arguments)


def _record(
    settings: Settings,
    artifacts: dict[str, str],
    splits: Splits | None,
    digest: str,
    warnings: Sequence[TrainingWarning],
) -> str:
    """Run it, unless it is finished, and print its result."""
    from experiments import execution, reuse, table, tracking

    store = tracking.open_for(settings)
    tracking.close_stale(store, other_hosts=settings.close_stale)
    earlier = reuse.look_up(tracking.all_runs(store), [settings], [digest])
    (identity,) = earlier.identities
    for note in earlier.notes:
        log.info("%s", note)
    finished = earlier.runs.get(identity)
    if finished is not None and reuse.is_finished(finished) and not settings.force:
        run_id = finished.info.run_id
        log.info("finished before as run %s; force=true runs it again", run_id)
        for note in reuse.changed_since(finished, settings.code):
            log.info("%s", note)
    else:
        planned = [settings.identity(digest)], settings.code_by_option
        run_id = execution.execute_alone(
            settings, artifacts, splits=splits, planned=planned, warnings=warnings
        )
    row = table.row(settings, store.client.get_run(run_id))
    following = table.next_commands(settings, link=tracking.link(store))
    print(f"\n{table.text([row])}\n\n{following}")
    for warning in reuse.disagreements(tracking.all_runs(store), [identity]):
        log.warning("%s", warning)
    return run_id


def run_in_sweep(cfg: DictConfig) -> list[str]:
    """The runs of a job, whose sweep has checked them: one, or more of one trajectory.

    The shorter ones come first, since the longer ones start where they end.

    Returns:
        The id of each that no other sweep computes, or has finished.

    Raises:
        Exception: The first that a run has raised, after the others.
    """
    config.anchor(cfg, HydraConfig.get().runtime.cwd)
    machine.load_paddle(cfg.threads)

    from experiments import execution, tracking

    words = list(HydraConfig.get().overrides.task)
    job_epochs, cfg.tracking.epochs = cfg.tracking.epochs, None
    run_ids, failure = [], None
    for epochs in job_epochs or [cfg.epochs]:
        if job_epochs:
            cfg.epochs = epochs
            others = [
                word for word in words if not word.startswith(("epochs=", "tracking.epochs="))
            ]
            words = [*others, f"epochs={epochs}"]
        settings, artifacts = _read(cfg, words)
        try:
            run_ids.append(execution.execute(settings, artifacts))
        except tracking.Taken as other:
            text = "%s | left to another sweep: %s"
            log.info(text, settings.label, other, extra=progress.end())
        except tracking.Finished:
            log.info("%s | finished by another sweep", settings.label, extra=progress.end())
        except Exception as error:
            if settings.on_failure == "stop" or isinstance(error, config.CommandError):
                raise
            failure = failure or error
    if failure:
        raise failure
    return run_ids


class BeforeWriting(Callback):
    """Ends the command before Hydra writes credentials, or where it cannot write."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a single run."""
        _refuse_credentials(config)
        try:
            require_writable(Path(config.hydra.run.dir))
        except Exception as error:
            sys.exit(str(error))  # of a callback's exceptions, Hydra lets only this one through

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a sweep, which checks the directory itself."""
        _refuse_credentials(config)


def _refuse_credentials(cfg: DictConfig) -> None:
    """End the command where a value as typed, or the store's address, holds a credential."""
    options = {
        group: OmegaConf.to_container(cfg[group])
        for group in contract.GROUPS
        if OmegaConf.is_config(OmegaConf.select(cfg, group))
    }
    refusal = credentials.refusal(OmegaConf.select(cfg, "tracking.uri"))
    if refusals := [*filter(None, [refusal]), *config.credentials_in(options)]:
        sys.exit("\n".join(refusals))


def main() -> None:
    """The entry point. Ctrl-C ends the command as SIGTERM does in training."""
    gc.disable()  # until `machine.loaded`
    terminal.accept_any_character()
    # Hydra takes -m before or after all overrides, not between two of them.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        if "hydra/launcher=slurm" in sys.argv and importlib.util.find_spec("submitit") is None:
            raise config.CommandError(
                'hydra/launcher=slurm: submitit is not installed; pip install -e ".[slurm]"'
            )
        places.keep_cache()
        run()
    except config.CommandError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command continues with what is not finished", file=sys.stderr)
        sys.exit(130)  # what shells expect after Ctrl-C


if __name__ == "__main__":
    main()
