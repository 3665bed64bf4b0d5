"""The command: compose the configuration, check it, train, record.

    python experiments/run.py loss=ce epochs=2        one run
    python experiments/run.py -m loss=mse,ce          a grid

The only file in which a config is seen; it imports nothing heavy before the configuration is known to be right.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments import config, machine
from experiments.config import Settings

log = logging.getLogger(__name__)

config.register()


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def run(cfg: DictConfig) -> str:
    """One cell: from its config to the id of its run in MLflow."""
    hydra_cfg = HydraConfig.get()
    settings = config.read(cfg, dict(hydra_cfg.runtime.choices))
    artifacts = {
        "config.yaml": OmegaConf.to_yaml(cfg, resolve=True),
        "overrides.yaml": OmegaConf.to_yaml(hydra_cfg.overrides.task),
    }
    if settings.tracking["parent_run"]:  # a cell of a sweep: the parent has checked it
        machine.load_paddle(settings.threads)
        return execute(settings, artifacts)
    return run_alone(settings, artifacts)


def run_alone(settings: Settings, artifacts: dict[str, str]) -> str:
    """One cell outside a sweep: checked here, and not run again when it is finished already."""
    config.check_values([settings])

    from experiments import sweeps

    (identity,) = sweeps.check([settings])
    store = sweeps.open_store(settings)

    from experiments import tracking

    found = tracking.runs_by_identity(store, [identity]).get(identity)
    if found is not None and sweeps.is_finished(found) and not settings.force:
        log.info("finished before as run %s; force=true runs it again", found.info.run_id)
        for note in sweeps.changed_since(found):
            log.info("%s", note)
        run_id = found.info.run_id
    else:
        run_id = execute(settings, artifacts)
    row = sweeps.table_row(settings, store.client.get_run(run_id))
    print(f"\n{sweeps.table([row])}\n\n{sweeps.next_commands(settings)}")
    return run_id


def execute(settings: Settings, artifacts: dict[str, str]) -> str:
    """Train one network and record everything about it; the id of its run in MLflow."""
    from experiments import conv_block, metrics, sweeps, tracking, training
    from experiments.data import order_hash

    loss, model, data, optimizer, scheduler = (config.function(settings, group) for group in config.GROUPS)
    splits = data(seed=settings.seed)
    steps = max(1, settings.epochs * -(-len(splits.train) // settings.batch_size))
    with training.fresh(settings.seed, machine.device(settings.device)):
        learner = training.build(model, loss, optimizer, scheduler, lr=settings.lr, steps=steps)
        tags = tracking.versions() | {"kernel": conv_block.kernel()} | training.weight_hashes(learner.network)
        tags |= {"order_hash": order_hash(splits, seed=settings.seed)}
        tags |= {"identity": settings.identity(splits.digest), "cell": settings.cell(splits.digest)}
        store = sweeps.open_store(settings)
        with tracking.tracked_run(
            store,
            name=settings.label,
            params=settings.params,
            tags=tags,
            parent=settings.tracking["parent_run"],
        ) as tracked:
            for name, text in artifacts.items():
                tracked.log_text(name, text)
            tracked.log_dataset(splits.name, splits.digest, splits.train.images.shape)

            start = time.perf_counter()
            records = training.train(
                learner, splits, epochs=settings.epochs, batch_size=settings.batch_size, seed=settings.seed
            )
            for record in records:
                extra = {"data/flipped": splits.flipped} if record.epoch == 0 else {}
                tracked.log_metrics(record.metrics | extra, step=record.epoch)
                log.info("%s", _progress(settings, record, time.perf_counter() - start))

            if record.diverged:
                tracked.set_tags({"outcome": "diverged", "diverged": record.diverged})
                return tracked.run_id
            outputs, losses = training.evaluate(
                learner, training.pixels(splits.test.images), splits.test.labels
            )
            found = metrics.test_metrics(
                learner.head,
                outputs,
                splits.test.labels,
                losses,
                record.validation_outputs,
                splits.validation.labels,
            )
            tracked.log_metrics({f"test/{name}": value for name, value in found.items()}, step=record.epoch)
            tracked.log_predictions(outputs, learner.head.predict(outputs), splits.test.labels)
            if settings.tracking["log_model"]:
                tracked.log_model(learner.network, learner.head.outputs)
            tracked.set_tags({"outcome": "ok"})
            return tracked.run_id


def _progress(settings: Settings, record: Any, seconds: float) -> str:
    """One line per epoch: which job, where it stands, how it does, how long it will take."""
    from experiments.sweeps import duration

    parts = [settings.label, f"epoch {record.epoch}/{settings.epochs}"]
    for name, form in (("train/loss", ".4g"), ("val/loss", ".4g"), ("val/accuracy", ".2%")):
        if name in record.metrics:
            parts.append(f"{name} {record.metrics[name]:{form}}")
    if record.diverged:
        parts.append(f"DIVERGED: {record.diverged}")
    elif record.epoch:
        left = seconds / record.epoch * (settings.epochs - record.epoch)
        parts.append(f"{duration(left)} left" if left else f"took {duration(seconds)}")
    return " | ".join(parts)


class OutputDirectory(Callback):
    """Refuses a directory that cannot be written to before Hydra trips over it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from experiments import sweeps

        try:
            sweeps.require_writable(Path(config.hydra.run.dir))
        except Exception as error:
            sys.exit(str(error))  # of a callback's exceptions, Hydra lets only this one through


def main() -> None:
    """The entry point: Ctrl-C ends a run or a sweep in good order, and so does SIGTERM once Paddle is loaded."""
    # Hydra's parser wants flags before overrides; people type them anywhere.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        run()
    except KeyboardInterrupt:
        print("interrupted; the same command continues with what is not finished", file=sys.stderr)
        sys.exit(130)  # what shells expect after Ctrl-C


if __name__ == "__main__":
    main()
