"""What is wrong with the values of a run, before anything heavy is imported."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Transformer
from hydra.errors import HydraException

from experiments import contract, credentials, machine
from experiments.config import Settings, credentials_in
from experiments.contract import GROUPS
from experiments.errors import CommandError, refuse, suggestion
from experiments.functions import cannot_load
from experiments.guards import check_number

HEADS = ("logits", "cosines", "prediction")  # as in `experiments.heads`
CHOICES = {
    "device": ("auto", "cpu", "gpu"),
    "on_failure": ("continue", "stop", "retry"),
    "reuse": ("same", "any"),
    "augment": ("none", "shift", "crop_flip"),
    "checkpoint": ("true", "running", "false"),
    "tracking.log_model": ("true", "false"),
}
BOUNDS: dict[str, dict[str, Any]] = {
    "lr": {"above": 0},
    "epochs": {"at_least": 0, "whole": True},
    "batch_size": {"at_least": 1, "whole": True},
    "seed": {"at_least": 0, "below": 2**32, "whole": True},
    "threads": {"at_least": 1, "whole": True},
    "stop.patience": {"at_least": 1, "whole": True, "optional": True},  # epochs
    "tracking.patience": {"at_least": 0},  # seconds
    "question.margin": {"at_least": 0, "optional": True},
    "question.epochs": {"at_least": 0, "whole": True, "optional": True},
}
_MOST_SEEDS = 5000  # of a question, and characters of their text: it is kept in a tag


def problems(settings: Settings) -> list[str]:
    """What is wrong with the values themselves, a sentence each. Imports nothing heavy."""
    wrong = []
    for name, bounds in BOUNDS.items():
        try:
            check_number(name, _value(settings, name), **bounds)
        except (TypeError, ValueError) as error:
            wrong.append(str(error))
    for name, choices in CHOICES.items():
        value = _value(settings, name)
        if contract.override("", value)[1:] not in choices:
            wrong.append(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    if settings.device == "gpu" and machine.built_for_cpu():
        wrong.append(machine.NO_GPU)
    if settings.force and settings.reuse == "any":
        wrong.append(
            "reuse=any takes finished runs and force=true runs them again; choose one of the two"
        )
    if refusal := credentials.refusal(settings.tracking["uri"]):
        wrong.append(refusal)
    wrong += credentials_in(settings.options)
    for name in ("experiment", "question.reference"):
        value = _value(settings, name)
        if value is not None and not value.strip():
            wrong.append(f"{name}: expected a name, got an empty one")
    metric = settings.question.get("metric")
    if metric is not None and not contract.is_metric(metric):
        wrong.append(
            "question.metric: expected one of those that `generate report --help` lists, such as "
            f"test/accuracy or test/nll, got {metric!r}{suggestion(metric, contract.METRICS)}"
        )
    try:
        question_seeds(settings.question.get("seeds"))
    except CommandError as error:
        wrong.append(str(error))
    for group in GROUPS:
        try:
            _check_option(settings, group)
        except CommandError as error:
            wrong.append(str(error))
    return wrong


def _value(settings: Settings, name: str) -> Any:
    """A value by its name as typed; None for one of a question that none declares."""
    group, _, key = name.rpartition(".")
    return getattr(settings, group).get(key) if group else getattr(settings, key)


def question_seeds(value: Any) -> tuple[int, ...]:
    """The seeds that `question.seeds` declares; none where it is null.

    Args:
        value: null, a list, or a text as it is typed for `seed`, such as "range(20)" or "0,1,2".

    Raises:
        CommandError: it is none of these, or too long for a tag of a run.
    """
    wrong = CommandError(
        "question.seeds: expected whole numbers of at least 0, such as range(20) or [0,1,2], got "
        f"{value!r}"
    )
    if value is None:
        return ()
    seeds: Sequence[Any] = value if isinstance(value, (list, tuple)) else []
    if isinstance(value, str):
        try:
            seed_override = OverridesParser.create().parse_override(f"seed={value}")
            if seed_override.is_discrete_sweep():
                every = seed_override.sweep_iterator(Transformer.identity)
                seeds = list(itertools.islice(every, _MOST_SEEDS + 1))
        except HydraException:
            raise wrong from None
    whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    if not seeds or not whole:
        raise wrong
    if len(seeds) > _MOST_SEEDS or len(contract.ranges(seeds)) > _MOST_SEEDS:
        raise CommandError(
            f"question.seeds: expected at most {_MOST_SEEDS:,} seeds, fewer where they are not "
            f"contiguous, got {value!r}"
        )
    return tuple(sorted(set(seeds)))


def _check_option(settings: Settings, group: str) -> None:
    """Raise CommandError for what is wrong with an option, without loading its function."""
    option, own = settings.options[group], settings.own_values(group)
    where = f"{group}={settings.choices[group]}"
    if option.get("_partial_") is not True:
        raise CommandError(
            f"{where}: expected `_partial_: true` in the option, so that the program can call "
            f"{option['_target_']}"
        )
    for name, value in own.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CommandError(f"{group}.{name}: expected a finite number, got {value}")
    package = str(option["_target_"]).partition(".")[0]
    without_package = package == "__main__" or not package.isidentifier()
    if not without_package and importlib.util.find_spec(package) is None:
        raise cannot_load(settings, group, ModuleNotFoundError(f"no module named {package!r}"))
    if group == "loss" and own.get("head", HEADS[0]) not in HEADS:
        raise CommandError(
            f"{where}: loss.head: expected one of {', '.join(HEADS)}, got {own['head']!r}"
        )


def check_values(
    jobs: Sequence[Settings], words: Iterable[str] = (), *, remote: bool = False
) -> None:
    """Raise CommandError with all `problems` of all runs, if there are any.

    Args:
        jobs: the runs.
        words: the overrides of all runs, as typed.
        remote: whether they run on other machines, whose cores are not known here.
    """
    wrong = {problem for job in jobs for problem in problems(job)}
    if (threads := max(job.threads for job in jobs)) > machine.cores() and not remote:
        wrong.add(
            f"threads: expected 1 to {machine.cores()} (this machine has {machine.cores()} cores), "
            f"got {threads}"
        )
    given = any(word.startswith("data.imbalance_ratio=") for word in words)
    if given and not any("imbalance_ratio" in job.options["data"] for job in jobs):
        wrong.add(
            "data.imbalance_ratio: expected data.imbalance=exponential or data.imbalance=step "
            "beside it; alone it has no effect"
        )
    refuse(sorted(wrong))
