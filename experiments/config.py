"""The settings of a run: typed values, their ranges, the run's identity, the options' functions.

Importing this costs Hydra and OmegaConf only, so that a wrong value is refused at once. Below the
entry points nothing sees a config: the rest of the program gets `Settings` or plain arguments.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import inspect
import itertools
import json
import math
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Transformer
from hydra.errors import CompactHydraException, HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from experiments import contract, credentials, machine, places, source_digest

GROUPS = ("loss", "model", "data", "optimizer", "scheduler")
DECIDING_SCALARS = ("lr", "epochs", "batch_size", "seed")  # others do not change a run's numbers
HEADS = ("logits", "prediction")  # as in `experiments.heads`
_PLACES = ("root", "path", "test_path")  # of data: where they lie; their content is in the digest
TAKEN = "taken"  # what a job returns whose run another sweep has taken
CHOICES = {
    "device": ("auto", "cpu", "gpu"),
    "on_failure": ("continue", "stop", "retry"),
    "reuse": ("same", "any"),
    "augment": ("none", "shift", "crop_flip"),
}
_MOST_SEEDS = 5000  # of a question, and characters of their text: it is kept in a tag


class CommandError(CompactHydraException):
    """What ends the command: Hydra prints its message without a traceback and exits with 1."""


@dataclass
class Question:
    """What the report on a sweep will be asked; declared where any value is set."""

    metric: str | None = None
    margin: float | None = None
    reference: str | None = None
    epochs: int | None = None
    seeds: Any = None


@dataclass
class RunConfig:
    """The schema of conf/config.yaml. Hydra checks types against it, `problems` the ranges."""

    loss: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    tracking: Any = MISSING
    lr: float = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    seed: int = MISSING
    experiment: str = MISSING
    device: str = MISSING
    threads: int = MISSING
    corruptions: bool = MISSING
    augment: str = MISSING
    force: bool = MISSING
    checkpoint: Any = MISSING
    on_failure: str = MISSING
    plan: bool = MISSING
    rerun: Any = MISSING
    reuse: str = MISSING
    close_stale: bool = MISSING
    verbose: bool = MISSING
    question: Question = field(default_factory=Question)


def register() -> None:
    """Make the schema known to Hydra."""
    ConfigStore.instance().store(name="run_config", node=RunConfig)


@dataclass(frozen=True)
class Settings:
    """One run of a grid, resolved.

    Attributes:
        choices: The option's name of each group, e.g. {"loss": "ce", ...}.
        options: Each group's own values with `_target_`, e.g. {"loss": {"_target_":
            "experiments.losses.focal", "gamma": 2.0}}.
        question: The values of `Question`.
        words: The overrides, e.g. "model=mlp", for the label alone.
    """

    choices: dict[str, str]
    options: dict[str, dict[str, Any]]
    tracking: dict[str, Any]
    lr: float
    epochs: int
    batch_size: int
    seed: int
    experiment: str
    device: str
    threads: int
    corruptions: bool
    force: bool
    checkpoint: bool | str
    on_failure: str
    plan: bool
    rerun: str | None
    reuse: str = "same"
    close_stale: bool = False
    verbose: bool = False
    augment: str = "none"
    question: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @property
    def loss_label(self) -> str:
        """The loss with its own values, in words."""
        own = (f" {name}={_typed(value)}" for name, value in self._own_values("loss").items())
        return f"loss={self.choices['loss']}{''.join(own)}"

    @property
    def label(self) -> str:
        """A name of the run: its loss, its scalars, and other options that the user set."""
        words = (word.lstrip("+").partition("=") for word in self.words)
        values = {name: value for name, _, value in words}  # of two, the last one counts
        others = "|".join(group for group in GROUPS if group != "loss")
        shown = (
            rf"({others})\b(?!\.(root|path|test_path))|(batch_size|threads|corruptions|augment)$"
        )
        parts = [self.loss_label, f"lr={self.lr:g} epochs={self.epochs} seed={self.seed}"]
        parts += [f"{name}={value}" for name, value in values.items() if re.match(shown, name)]
        return " ".join(parts)

    @property
    def params(self) -> dict[str, Any]:
        """The run's params in MLflow."""
        scalars = {name: getattr(self, name) for name in DECIDING_SCALARS}
        own = {name: _typed(value) for name, value in own_values(self.options).items()}
        return self.choices | scalars | own | self._unusual

    def identity(self, data_digest: str) -> str:
        """SHA-256 over all that decides the numbers: values, option names, code and data."""
        return self._with_code(self.settings_digest(data_digest))

    def configuration(self, data_digest: str) -> str:
        """`identity` without the seed: equal for the runs that are repetitions of each other."""
        scalars = [name for name in DECIDING_SCALARS if name != "seed"]
        return self._with_code(self._digest(data_digest, scalars))

    def trajectory(self, data_digest: str) -> str:
        """`identity` without the epochs, where the learning rate does not depend on them.

        A run is the beginning of every longer run of its trajectory.
        """
        constant = self.options["scheduler"]["_target_"] == "experiments.schedulers.constant"
        scalars = [name for name in DECIDING_SCALARS if name != "epochs" or not constant]
        return self._with_code(self._digest(data_digest, scalars))

    def identities(self, data_digest: str) -> dict[str, str]:
        """The tags that tell which runs are alike."""
        return {
            "identity": self.identity(data_digest),
            "configuration": self.configuration(data_digest),
            "settings": self.settings_digest(data_digest),
        }

    def settings_digest(self, data_digest: str) -> str:
        """SHA-256 over values and data, whatever the code; the identity of runs without a code."""
        return self._digest(data_digest, DECIDING_SCALARS)

    @property
    def code(self) -> source_digest.Code:
        """The code that computes the numbers."""
        return source_digest.of_options(self.options)

    @property
    def code_by_option(self) -> source_digest.Parts:
        """The files that each option reaches, by "loss=ce", and the training's, by "training"."""
        return {
            f"{part}={self.choices[part]}" if part in self.choices else part: files
            for part, files in self.code.parts.items()
        }

    @property
    def asks(self) -> bool:
        """Whether a question is declared."""
        return any(value is not None for value in self.question.values())

    def _with_code(self, settings_digest: str) -> str:
        whole = {"settings": settings_digest, "choices": self.choices, "code": self.code.digest}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    @property
    def _unusual(self) -> dict[str, Any]:
        """What decides numbers, but is part of the identity only where it is not the default."""
        found: dict[str, Any] = {}
        if self.threads != 1:  # sums in another order: other last digits
            found["threads"] = self.threads
        if self.augment != "none":
            found["augment"] = self.augment
        if self.corruptions:  # more numbers
            found["corruptions"] = True
        if (device := machine.resolved_device(self.device, self.threads)) != "cpu":  # other kernels
            found["device"] = device
        return found

    def _own_values(self, group: str) -> dict[str, Any]:
        return {key: value for key, value in self.options[group].items() if not key.startswith("_")}

    def _digest(self, data_digest: str, scalars: Sequence[str]) -> str:
        options = {group: dict(self.options[group]) for group in GROUPS}
        for place in _PLACES:
            options["data"].pop(place, None)
        values = {name: getattr(self, name) for name in scalars} | self._unusual
        decides = _numbers_alike({"options": options, "scalars": values, "data": data_digest})
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def own_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each group's option, by dotted name, e.g. `loss.gamma`."""
    groups = {group: option for group, option in options.items() if isinstance(option, dict)}
    return {
        f"{group}.{key}": value
        for group, option in groups.items()
        for key, value in option.items()
        if not str(key).startswith("_")
    }


def credentials_in(options: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that holds a credential; a path of data may have any name."""
    paths = [f"data.{place}" for place in _PLACES]
    return credentials.refused_values(
        {name: value for name, value in own_values(options).items() if name not in paths}
    )


def _typed(value: Any) -> Any:
    """A list or a mapping as it is typed on the command line; any other value as it is."""
    return contract.override("", value)[1:] if isinstance(value, (list, dict)) else value


def _numbers_alike(value: Any) -> Any:
    """`value` with whole floats as ints: gamma=2 and gamma=2.0 ask for the same run."""
    if isinstance(value, dict):
        return {key: _numbers_alike(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_numbers_alike(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def anchor(cfg: DictConfig, directory: str) -> None:
    """Make the paths in a config absolute, as seen from `directory`, where the command started.

    Raises:
        CommandError: No store can be at `tracking.uri`.
    """
    try:
        cfg.tracking.uri = places.store_uri(cfg.tracking.uri, directory)
    except places.AddressError as error:
        raise CommandError(str(error)) from error
    cfg.tracking.directory = directory
    for place in _PLACES:
        path = OmegaConf.select(cfg, f"data.{place}")
        if isinstance(path, str) and path and "://" not in path:
            cfg.data[place] = str(Path(directory, Path(path).expanduser()))


def require_writable(directory: Path) -> None:
    """Raise CommandError unless `directory` can be created and written to."""
    try:
        places.probe(directory)
    except OSError as error:
        raise CommandError(
            f"cannot write to {directory}: {error.strerror}; start the command in a directory "
            "that you can write to"
        ) from error


def wrong_value(error: OmegaConfBaseException) -> str:
    """The message for a value of the wrong type."""
    said = str(error).splitlines()[0]
    kinds = {"Integer": "a whole number", "Float": "a number"}
    if match := re.match(r"Value (.+) of type .+ could not be converted to (\w+)$", said):
        said = f"expected {kinds.get(match[2], match[2])}, got {match[1]}"
    elif match := re.match(r"Value (.+) is not a valid bool", said):
        said = f"expected true or false, got {match[1]}"
    elif said.endswith("is not Optional"):
        said = "expected a value, got null"
    return f"{error.full_key}: {said}"


def read(cfg: DictConfig, choices: dict[str, str], words: Sequence[str] = ()) -> Settings:
    """The settings in a config with Hydra's `runtime.choices`, composed with `words`."""
    try:
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        raise CommandError(f"{key}: expected a value, got none; set it with {key}=...") from None
    except OmegaConfBaseException as error:
        raise CommandError(wrong_value(error)) from None
    assert isinstance(values, dict)
    check_names(map(str, values))
    names = [field.name for field in dataclasses.fields(RunConfig)]
    if missing := [name for name in names if name not in values]:
        raise CommandError(f"{missing[0]}: expected a value, got none")
    settings: dict[str, Any] = {str(name): value for name, value in values.items()}
    options = {group: settings.pop(group) for group in GROUPS}
    for group, option in options.items():
        if not isinstance(option, dict) or "_target_" not in option:
            raise CommandError(
                f"{group}: expected an option with a _target_ (see conf/{group}/), got {option!r}"
            )
        if not isinstance(choices.get(group), str):
            raise CommandError(
                f"{group}: expected the name of one option; with -m, {group}=A,B means several runs"
            )
    chosen = {group: choices[group] for group in GROUPS}
    return Settings(chosen, options, **settings, words=tuple(words))


def check_names(names: Iterable[str]) -> None:
    """Raise CommandError, with the choices, for a name that is no value of the config's root."""
    known = [field.name for field in dataclasses.fields(RunConfig)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise CommandError(
                f"{name}: there is no such value{meant} There are {', '.join(known)}"
            )


def own_words(overrides: Iterable[str]) -> list[str]:
    """The overrides of a run that a user set: none that a sweep sets, nor the sweep's question."""
    names = ("parent_run", "epochs", "warnings", "data_digest")
    passed = ("question.", *(f"tracking.{name}=" for name in names))
    return [word for word in overrides if not word.startswith(passed)]


def problems(settings: Settings) -> list[str]:
    """What is wrong with the values themselves, a sentence each. Imports nothing heavy."""
    found = []
    if not (math.isfinite(settings.lr) and settings.lr > 0):
        found.append(f"lr: expected a finite number above 0, got {settings.lr}")
    for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("threads", 1)):
        value = getattr(settings, name)
        if value < least:
            found.append(f"{name}: expected a whole number of at least {least}, got {value}")
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
    if metric is not None and metric not in contract.METRICS:
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
    option, own = settings.options[group], settings._own_values(group)
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
        raise _cannot_load(settings, group, ModuleNotFoundError(f"no module named {package!r}"))
    if group == "loss" and own.get("head", HEADS[0]) not in HEADS:
        raise CommandError(
            f"{where}: loss.head: expected one of {', '.join(HEADS)}, got {own['head']!r}"
        )


def check_values(jobs: Sequence[Settings]) -> None:
    """Raise CommandError with all `problems` of all runs, if there are any."""
    refuse(sorted({problem for job in jobs for problem in problems(job)}))


@contextlib.contextmanager
def errors_without_credentials() -> Iterator[None]:
    """Make of an unexpected error in the block a CommandError with its redacted traceback."""
    try:
        yield
    except CompactHydraException:
        raise
    except Exception:
        trace = credentials.redacted(traceback.format_exc().rstrip())
        raise CommandError(trace) from None


def refuse(wrong: Sequence[str]) -> None:
    """Raise CommandError with these sentences, if there are any."""
    if wrong:
        raise CommandError("\n".join(wrong) + "\nNothing was trained.")


# How the program calls each option's function, besides the option's own values.
_CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "loss": (("outputs", "labels"), ()),
    "model": (("outputs",), ()),
    "data": ((), ("seed",)),
    "optimizer": ((), ("learning_rate", "parameters")),
    "scheduler": (("lr",), ("steps",)),
}


def is_shipped(settings: Settings, group: str) -> bool:
    """Whether the function of an option is this project's own, and not a user's."""
    return str(settings.options[group]["_target_"]).startswith("experiments.")


def function(settings: Settings, group: str) -> functools.partial[Any]:
    """The function that an option names, with the option's own values bound.

    Lists and mappings among the values are plain Python. A loss whose option states its head has it
    as the attribute `head`, for `heads.head_name`.

    Raises:
        CommandError: It cannot be imported, or does not take what it is given.
    """
    from hydra.utils import get_object, instantiate

    option = {"_convert_": "all"} | settings.options[group]
    head = option.pop("head", None) if group == "loss" else None
    try:
        bound = instantiate(option)
    except Exception as error:
        raise _cannot_load(settings, group, error.__cause__ or error) from error
    # Hydra's own wrapper takes longer for a call than most losses do.
    bound = functools.partial(get_object(option["_target_"]), **bound.keywords)
    if head is not None:
        bound.head = head  # type: ignore[attr-defined]
    _check_call(settings, group, bound)
    return bound


def naming_function(settings: Settings, group: str) -> functools.partial[Any]:
    """`function`, whose errors in a call become CommandErrors that name the option and value."""
    bound = function(settings, group)

    @functools.wraps(bound.func)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return bound.func(*args, **kwargs)
        except Exception as error:
            name = str(error).partition(":")[0]
            said = f"{group}.{error}" if name in bound.keywords else str(error)
            said = said or type(error).__name__
            raise CommandError(f"{group}={settings.choices[group]}: {said}") from error

    named = functools.partial(call, **bound.keywords)
    named.__dict__.update(bound.__dict__)  # the head that a loss's option states
    return named


def _cannot_load(settings: Settings, group: str, cause: BaseException) -> CommandError:
    mine = isinstance(cause, ImportError)
    hint = "; for a module of your own, export PYTHONPATH=ITS_DIRECTORY" if mine else ""
    target = settings.options[group]["_target_"]
    why = credentials.redacted(" ".join(str(cause).split()))
    return CommandError(f"{group}={settings.choices[group]}: cannot load {target}: {why}{hint}")


def _check_call(settings: Settings, group: str, bound: functools.partial[Any]) -> None:
    """Raise CommandError unless an option's function takes its own values and the program's."""
    positional, keywords = _CALLS[group]
    own, target = bound.keywords, settings.options[group]["_target_"]
    where = f"{group}={settings.choices[group]}: {target}"
    try:
        signature = inspect.signature(bound.func)
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"{where}: expected a function whose parameters Python can tell, got {bound.func!r}; "
            "call it from a function of your own"
        ) from error
    try:
        signature.bind(*positional, **dict.fromkeys(keywords), **own)
    except TypeError as error:
        program = (*keywords, "shape") if group == "model" else keywords
        takes = [name for name in signature.parameters if name not in program][len(positional) :]
        raise CommandError(
            f"{where}: {error}; "
            f"its own arguments are {', '.join(takes) or 'none'}, got {', '.join(own) or 'none'}"
        ) from error
    if group == "loss":
        if inspect.isclass(bound.func):
            raise CommandError(
                f"{where}: expected a function of outputs and labels, got a class; write a "
                "function that calls an object of it"
            )
        from experiments.heads import head_name

        try:
            head_name(bound)
        except ValueError as error:
            raise CommandError(f"{where}: {error}") from error
