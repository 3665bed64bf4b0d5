"""`rerun=`: run a finished run again, and tell whether every number is equal to the bit."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from experiments import (
    comparison,
    config,
    contract,
    machine,
    option_checks,
    places,
    ranges,
    reuse,
    table,
)
from experiments.config import CommandError, Settings

if TYPE_CHECKING:
    from experiments.tracking import Store

log = logging.getLogger(__name__)

_DECIDES = (*contract.GROUPS, *contract.SCALARS, "corruptions", "augment", "stop")
_OF_THEN = (*_DECIDES, "device", "threads")  # the last two may change rounding


def rerun(cfg: DictConfig, settings: Settings, overrides: Sequence[str]) -> str:
    """Run `settings.rerun` again and print how the two compare.

    Args:
        cfg: The command's own config.
        settings: The command's own settings.
        overrides: What was set on its command line.

    Returns:
        The id of the new run; its tag `rerun_of` names the old one.

    Raises:
        CommandError: The run cannot be found or run again, or any number differs.
    """
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key not in contract.DATA_PLACES and key.partition(".")[0] in (*_DECIDES, "plan"):
            raise CommandError(
                f"{word}: rerun={settings.rerun} takes what decides the numbers from that run, "
                "and runs it; leave this out"
            )
    if not places.exists(settings.tracking["uri"]):  # a new one would have no run
        raise CommandError(
            f"rerun={settings.rerun}: there is no store {settings.tracking['uri']}; start the "
            "command where mlflow.db is, or choose a store with tracking.uri=URI"
        )
    machine.prepare(settings.threads)  # the store brings numpy with it
    from experiments import tracking

    store = tracking.open_for(settings)
    tracking.close_stale(store, other_hosts=settings.close_stale)
    old_run = find(store, settings.rerun)
    cfg = config_of(store, old_run, cfg, overrides)
    choices = {group: old_run.data.params[group] for group in contract.GROUPS}
    words = (comparison.read(store, old_run, "overrides.yaml") or b"[]").decode()
    settings = config.read(cfg, choices, list(OmegaConf.create(words)))
    settings = dataclasses.replace(settings, force=True, reuse="same", checkpoint=False)
    ranges.check_values([settings])
    machine.load_paddle(settings.threads)  # for the process of the check, too, which is forked
    warnings = option_checks.check_one(settings)
    if settings.identity(option_checks.data(settings).digest) != old_run.data.tags.get("identity"):
        files = reuse.changed_files(old_run, settings.code)
        if files is None:
            log.warning("the run does not record its code (%s)", reuse.UNKNOWN)
        else:
            log.warning("%s changed since then", ", ".join(files) or "the data or the device")
    log.info("run %s once more: %s", old_run.info.run_id, settings.label)
    from experiments import execution  # now that it is known how Paddle is to be loaded

    artifacts = {
        "config.yaml": OmegaConf.to_yaml(cfg),
        "overrides.yaml": OmegaConf.to_yaml(list(overrides)),
    }
    tags = {"rerun_of": old_run.info.run_id}
    new_id = execution.execute_alone(settings, artifacts, tags=tags, warnings=warnings)

    pair = old_run, store.client.get_run(new_id)
    print(f"\n{table.text([table.row(settings, run) for run in pair])}\n")
    old, new = (
        comparison.record(store.client, run, partial(comparison.read, store)) for run in pair
    )
    report = comparison.text(old, new)
    # A number that only the new run has comes from newer code.
    if old.results.keys() & comparison.differences(old, new):
        raise CommandError(report)
    print(report)
    return new_id


def find(store: Store, run_id: object) -> Any:
    """The FINISHED run, in any experiment of the store, that `rerun=` names.

    Raises:
        CommandError: There is none, there are several, or it cannot be run again.
    """
    if isinstance(run_id, float):
        raise CommandError(
            f"rerun: expected a run id, got the number {run_id}; quote it: 'rerun=\"ID\"'"
        )
    try:
        run = comparison.find(store.client, str(run_id), store.uri)
    except comparison.RunError as error:
        raise CommandError(f"rerun={run_id}: {error}") from error
    if run.info.status != "FINISHED":
        raise CommandError(f"rerun={run_id}: expected a FINISHED run, got one {run.info.status}")
    return run


def config_of(store: Store, run: Any, now: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config `now`, with the values that decided the numbers of `run`.

    Device, threads and where data lie may be set by `overrides`: the machine may be another one.
    """
    content = comparison.read(store, run, "config.yaml")
    if content is None:
        raise CommandError(
            f"rerun: the run {run.info.run_id} has no config.yaml any more; see where its "
            "artifacts are"
        )
    old: Any = OmegaConf.to_container(OmegaConf.create(content.decode()))
    values: Any = OmegaConf.to_container(now, resolve=True)
    overridden = {word.lstrip("+").partition("=")[0] for word in overrides}
    names = [name.removeprefix("data.") for name in contract.DATA_PLACES if name in overridden]
    data_places = {name: values["data"][name] for name in names}
    values |= {name: old[name] for name in _OF_THEN if name in old and name not in overridden}
    return OmegaConf.create(values | {"data": values["data"] | data_places})
