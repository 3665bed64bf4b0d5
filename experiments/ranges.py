"""What is wrong with the values of a run, before anything heavy is imported."""

from __future__ import annotations

import difflib
import importlib.util
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Transformer
from hydra.errors import HydraException

from experiments import contract, credentials, machine
from experiments.config import GROUPS, CommandError, Settings, credentials_in, refuse
from experiments.functions import cannot_load

HEADS = ("logits", "prediction")  # as in `experiments.heads`
CHOICES = {
    "device": ("auto", "cpu", "gpu"),
    "on_failure": ("continue", "stop", "retry"),
    "reuse": ("same", "any"),
    "augment": ("none", "shift", "crop_flip"),
}
_MOST_SEEDS = 5000  # of a question, and characters of their text: it is kept in a tag


def problems(settings: Settings) -> list[str]:
    """What is wrong with the values themselves, a sentence each. Imports nothing heavy."""
    found = []
    if not (math.isfinite(settings.lr) and settings.lr > 0):
        found.append(f"lr: expected a finite number above 0, got {settings.lr}")
    for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("threads", 1)):
        value = getattr(settings, name)
        if value < least:
            found.append(f"{name}: expected a whole number of at least {least}, got {value}")
    if settings.patience is not None and settings.patience < 1:
        wrong = f"expected a whole number of epochs, at least 1, or null, got {settings.patience}"
        found.append(f"stop.patience: {wrong}")
    if settings.seed >= 2**32:
        found.append(f"seed: expected a whole number below 2**32, got {settings.seed}")
    for name, choices in CHOICES.items():
        value = getattr(settings, name)
        if value not in choices:
            found.append(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    if settings.device == "gpu" and machine.built_for_cpu():
        found.append(machine.NO_GPU)
    if not (isinstance(settings.checkpoint, bool) or settings.checkpoint == "running"):
        checkpoint = repr(settings.checkpoint)
        found.append(f"checkpoint: expected one of true, running, false, got {checkpoint}")
    if settings.force and settings.reuse == "any":
        found.append(
            "reuse=any takes finished runs and force=true runs them again; choose one of the two"
        )
    log_model, patience = settings.tracking["log_model"], settings.tracking["patience"]
    if not isinstance(log_model, bool):
        found.append(f"tracking.log_model: expected true or false, got {log_model!r}")
    number = isinstance(patience, (int, float)) and not isinstance(patience, bool)
    if not (number and 0 <= patience < math.inf):
        said = f"expected a number of seconds, at least 0, got {patience!r}"
        found.append(f"tracking.patience: {said}")
    if refusal := credentials.refusal(settings.tracking["uri"]):
        found.append(refusal)
    found += credentials_in(settings.options)
    found += _problems_of_question(settings.question)
    if not settings.experiment.strip():
        found.append("experiment: expected a name, got an empty one")
    for group in GROUPS:
        try:
            _check_option(settings, group)
        except CommandError as error:
            found.append(str(error))
    return found


def _problems_of_question(question: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of a question, a sentence each."""
    asked = {name: value for name, value in question.items() if value is not None}
    found = []
    metric, margin, epochs = (asked.get(name) for name in ("metric", "margin", "epochs"))
    if metric is not None and not contract.is_metric(metric):
        near = difflib.get_close_matches(metric, contract.METRICS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        found.append(
            "question.metric: expected one of those that `generate report --help` lists, such as "
            f"test/accuracy or test/nll, got {metric!r}{meant}"
        )
    if margin is not None and not 0 <= margin < math.inf:
        found.append(f"question.margin: expected a finite number of at least 0, got {margin}")
    if epochs is not None and epochs < 0:
        found.append(f"question.epochs: expected a whole number of at least 0, got {epochs}")
    if "reference" in asked and not asked["reference"].strip():
        found.append("question.reference: expected the name of a loss, got an empty one")
    try:
        question_seeds(asked.get("seeds"))
    except CommandError as error:
        found.append(str(error))
    return found


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
            word = OverridesParser.create().parse_override(f"seed={value}")
            if word.is_discrete_sweep():
                every = word.sweep_iterator(Transformer.identity)
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
    known = package == "__main__" or not package.isidentifier()
    if not known and importlib.util.find_spec(package) is None:
        raise cannot_load(settings, group, ModuleNotFoundError(f"no module named {package!r}"))
    if group == "loss" and own.get("head", HEADS[0]) not in HEADS:
        raise CommandError(
            f"{where}: loss.head: expected one of {', '.join(HEADS)}, got {own['head']!r}"
        )


def check_values(jobs: Sequence[Settings], *, elsewhere: bool = False) -> None:
    """Raise CommandError with all `problems` of all runs, if there are any.

    Args:
        jobs: the runs.
        elsewhere: whether they run on other machines, whose cores are not known here.
    """
    found = {problem for job in jobs for problem in problems(job)}
    if (most := max(job.threads for job in jobs)) > machine.cores() and not elsewhere:
        found.add(f"threads: expected 1 to {machine.cores()}, the cores that there are, got {most}")
    refuse(sorted(found))
