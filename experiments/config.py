"""The settings of a run: typed values, and the identity that decides which runs are equal.

Importing this costs Hydra and OmegaConf only, so that a wrong value is refused at once. Below the
entry points nothing sees a config: the rest of the program gets `Settings` or plain arguments.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from experiments import contract, credentials, machine, places, source_digest
from experiments.contract import GROUPS, SCALARS
from experiments.errors import CommandError, no_such_value, wrong_value

_PLACES = [name.removeprefix("data.") for name in contract.DATA_PLACES]
_OWN_DATA = {"csv": "path", "npz": "path", "folder": "root", "idx": "root"}  # where they lie


@dataclass
class Question:
    """What the report on a sweep will be asked; declared where any value is set."""

    metric: str | None = None
    margin: float | None = None
    reference: str | None = None
    epochs: int | None = None
    seeds: Any = None


@dataclass
class Stop:
    """When training ends before `epochs`; null: never."""

    patience: int | None = None


@dataclass
class RunConfig:
    """The schema of conf/config.yaml. Hydra checks the types, `ranges.problems` the ranges."""

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
    experiment: str | None = MISSING
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
    stop: Stop = field(default_factory=Stop)


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
        stop: The values of `Stop`.
        question: The values of `Question`.
        words: The overrides, e.g. "model=mlp", for the label alone.
        tuned: Of the sweep, by loss: its own values that are tuned, e.g. {"focal": ["loss.gamma"]}.
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
    stop: Mapping[str, Any] = field(default_factory=dict)
    question: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    tuned: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def loss_label(self) -> str:
        """The loss with its own values, in words."""
        values = _without_targets(self.own_values("loss"))
        parts = (
            f" {name}={_as_override(value)}" for name, value in values.items() if value is not None
        )
        return f"loss={self.choices['loss']}{''.join(parts)}"

    @property
    def label(self) -> str:
        """A name of the run: its loss, its scalars, and other options that the user set."""
        words = (word.lstrip("+").partition("=") for word in self.words)
        values = {name: value for name, _, value in words}  # of two, the last one counts
        groups = "|".join(group for group in GROUPS if group != "loss")
        scalars = r"(batch_size|threads|corruptions|augment|stop\.patience)$"
        pattern = rf"({groups})\b(?!\.(root|path|test_path))|{scalars}"
        parts = [self.loss_label, f"lr={self.lr:g} epochs={self.epochs} seed={self.seed}"]
        parts += [f"{name}={value}" for name, value in values.items() if re.match(pattern, name)]
        return " ".join(parts)

    @property
    def params(self) -> dict[str, Any]:
        """The run's params in MLflow; a class of Paddle is named, since no code digest has it."""
        scalars = {name: getattr(self, name) for name in SCALARS}
        own = {name: _as_override(value) for name, value in own_values(self.options).items()}
        targets = {
            f"{group}._target_": option["_target_"] for group, option in self.options.items()
        }
        paddles = {k: t for k, t in targets.items() if t.startswith("paddle.optimizer.")}
        return self.choices | scalars | own | paddles | self._unusual

    def identity(self, data_digest: str) -> str:
        """SHA-256 over all that decides the numbers: values, option names, code and data."""
        return self._with_code(self.settings_digest(data_digest))

    def configuration(self, data_digest: str) -> str:
        """`identity` without the seed: equal for the runs that are repetitions of each other."""
        scalars = [name for name in SCALARS if name != "seed"]
        return self._with_code(self._digest(data_digest, scalars))

    def trajectory(self, data_digest: str) -> str:
        """`identity` without the epochs, where the learning rate does not depend on them.

        A run is the beginning of every longer run of its trajectory.
        """
        constant = self.options["scheduler"]["_target_"] == "experiments.schedulers.constant"
        scalars = [name for name in SCALARS if name != "epochs" or not constant]
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
        return self._digest(data_digest, SCALARS)

    @property
    def code(self) -> source_digest.Code:
        """The code that computes the numbers."""
        stop = {"stop": {"_target_": "experiments.stopping"}} if self.patience else {}
        return source_digest.of_options(self.options | stop)

    @property
    def patience(self) -> int | None:
        """How many epochs in a row may be no better before training stops; None: any number."""
        return self.stop.get("patience")

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
        values: dict[str, Any] = {}
        if self.threads != 1:  # sums in another order: other last digits
            values["threads"] = self.threads
        if self.augment != "none":
            values["augment"] = self.augment
        if self.patience is not None:
            values["stop.patience"] = self.patience
        if self.corruptions:  # more numbers
            values["corruptions"] = True
        # Other kernels. Whether there is a GPU is checked where the run is computed.
        device = "gpu" if self.device == "gpu" else machine.device(self.device, self.threads)
        if device != "cpu":
            values["device"] = device
        return values

    def own_values(self, group: str) -> dict[str, Any]:
        """The values of a group's option, without those that only Hydra reads."""
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


def _without_targets(value: Any) -> Any:
    """`value` without what only Hydra reads, at any depth."""
    if not isinstance(value, dict):
        return value
    public = {key: each for key, each in value.items() if not str(key).startswith("_")}
    return {key: _without_targets(each) for key, each in public.items()}


def _as_override(value: Any) -> Any:
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
    for name in _PLACES:
        path = OmegaConf.select(cfg, f"data.{name}")
        if isinstance(path, str) and path and "://" not in path:
            cfg.data[name] = str(Path(directory, Path(path).expanduser()))


def require_writable(directory: Path) -> None:
    """Raise CommandError unless `directory` can be created and written to."""
    try:
        places.probe(directory)
    except OSError as error:
        raise CommandError(
            f"cannot write to {directory}: {error.strerror}; start the command in a directory "
            "that you can write to"
        ) from error


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
    if options["data"].get("imbalance", "") is None:  # as a run without, with the same identity
        options["data"].pop("imbalance_ratio", None)
        del options["data"]["imbalance"]
    chosen = {group: choices[group] for group in GROUPS}
    if settings["experiment"] is None:
        settings["experiment"] = _data_name(chosen["data"], options["data"])
    return Settings(chosen, options, **settings, words=tuple(words))


def _data_name(choice: str, option: Mapping[str, Any]) -> str:
    """What data are called: by their file or directory where it is a user's own, else by option."""
    target = option["_target_"].rpartition(".")[2]
    if option["_target_"] == "experiments.data.table":
        return str(option["name"])
    path = option.get(_OWN_DATA.get(target, ""))
    if option["_target_"].startswith("experiments.data.") and isinstance(path, str):
        place = Path(path).resolve()
        return (place.name if place.is_dir() else place.stem) or choice
    return choice


def check_names(names: Iterable[str]) -> None:
    """Raise CommandError, with the choices, for a name that is no value of the config's root."""
    root = [field.name for field in dataclasses.fields(RunConfig)]
    for name in names:
        if name not in root:
            raise no_such_value(name, root)


def own_words(overrides: Iterable[str]) -> list[str]:
    """The overrides of a run that a user set: none that a sweep sets, nor the sweep's question."""
    names = ("parent_run", "epochs", "warnings", "data_digest")
    set_by_sweep = ("question.", *(f"tracking.{name}=" for name in names))
    return [word for word in overrides if not word.startswith(set_by_sweep)]
