"""Messages for what Hydra refuses when it composes a config.

They say what was expected and what the choices are. An option that another one of the same name
would hide is refused, too. Importing this costs Hydra alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra._internal.hydra
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from experiments import contract
from experiments.contract import GROUPS
from experiments.errors import CommandError, ends_command, no_such_value, suggestion, wrong_value


def install() -> None:
    """Let `hydra.main` compose with `Loader`; Hydra has no setting for it."""
    hydra._internal.hydra.ConfigLoaderImpl = Loader  # type: ignore[misc]


class Loader(ConfigLoaderImpl):
    """Hydra's loader of configs.

    What is wrong in the config of a command ends it, in a sentence. Those of the runs of a sweep
    follow, and raise their errors.
    """

    _in_sweep = False

    def load_sweep_config(self, *arguments: Any, **keywords: Any) -> DictConfig:
        """The config of a run of a sweep."""
        self._in_sweep = True
        return super().load_sweep_config(*arguments, **keywords)

    def load_configuration(self, *arguments: Any, **keywords: Any) -> DictConfig:
        """The composed config. Raises CommandError or an error of Hydra's own."""
        with contextlib.nullcontext() if self._in_sweep else ends_command():
            return self._load(*arguments, **keywords)

    def _load(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if not self._in_sweep:
            _refuse_repeated(overrides)

        def compose(words: list[str]) -> DictConfig:
            return super(Loader, self).load_configuration(
                config_name, words, run_mode, from_shell, validate_sweep_overrides
            )

        try:
            cfg = compose(overrides)
        except Exception as error:
            key_error = _refused_name(error)
            if key_error is None:
                if refusal := self._worded(error, overrides):
                    raise refusal from error
                raise
            group, _, name = str(key_error.full_key).partition(".")
            if not (group in GROUPS and name and run_mode == RunMode.MULTIRUN):
                choices = self.compute_defaults_list(config_name, overrides, run_mode)
                raise _no_such_value(key_error, choices.overrides.known_choices) from error
            # The grid may choose other options than this config has: each of its runs is composed
            # and checked by itself.
            parsed = OverridesParser.create().parse_overrides(overrides)
            cfg = compose([str(o.input_line) for o in parsed if not _is_own_value(o)])
            cfg.hydra.overrides.task = [o.input_line for o in parsed if not o.is_hydra_override()]
        sources = cfg.hydra.runtime.config_sources
        refuse_hidden_options([(s.provider, s.schema, s.path) for s in sources])
        return cfg

    def _worded(self, error: Exception, overrides: list[str]) -> CommandError | None:
        """What to raise for an error that is not about a name; None where Hydra says enough."""
        if isinstance(error, (yaml.YAMLError, UnicodeDecodeError)):
            return CommandError(f"expected a YAML file, got: {' '.join(str(error).split())}")
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError):
            return CommandError(wrong_value(cause))
        if isinstance(error, MissingConfigException) and error.options:
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            hint, choices = suggestion(name, error.options) or ".", ", ".join(error.options)
            return CommandError(f"{group}: there is no option {name!r}{hint} There are {choices}")
        parsed = OverridesParser.create().parse_overrides(overrides)
        sweeps = [override for override in parsed if override.is_sweep_override()]
        if sweeps and "--multirun" in str(error):
            word, key = sweeps[0].input_line, sweeps[0].key_or_group
            command_line = contract.command("python", sys.argv[0], "-m", *sys.argv[1:])
            own = _is_own_value(sweeps[0])
            hint = f". One value that is a list has brackets: {key}=[A,B]" if own else ""
            return CommandError(
                f"{word}: several values are several runs, which need -m: {command_line}{hint}"
            )
        for override in parsed:
            value, group = override.value(), override.key_or_group
            if group in GROUPS and override.is_delete():
                return CommandError(f"{group}: expected an option, got ~{group}, which removes it")
            if group in GROUPS and not override.is_sweep_override() and not isinstance(value, str):
                got = override.get_value_element_as_str()
                choices = ", ".join(self.get_group_options(group))
                return CommandError(
                    f"{group}: expected the name of one option, got {got}. There are {choices}"
                )
        return None


def _refuse_repeated(overrides: list[str]) -> None:
    """Raise CommandError for an option with two values, of which Hydra would take the last."""
    values: dict[str, str] = {}
    for name, _, value in (word.partition("=") for word in overrides):
        if (first := values.setdefault(name, value)) != value:
            raise CommandError(f"{name}: expected one value, got {first} and {value}")


def _is_own_value(override: Override) -> bool:
    group, _, name = override.key_or_group.partition(".")
    return group in GROUPS and name != ""


def _refused_name(error: BaseException) -> OmegaConfBaseException | None:
    """The error about a name that a config does not have, if that is the cause of `error`."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, OmegaConfBaseException) and cause.full_key else None


def _no_such_value(error: OmegaConfBaseException, choices: dict[str, Any]) -> CommandError:
    """The message for a name that is not in the config, with those that are."""
    full_key, parent = str(error.full_key), error.parent_node
    if full_key == "tune":
        return CommandError(
            "tune: expected a sweep, two values or more, and the names of a loss and of its value, "
            "such as -m loss=ce,focal tune.focal.gamma=1,2,3 lr=0.01,0.1"
        )
    names = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
    names = [name for name in names if not name.startswith("_") and name != "hydra"]
    group, _, name = full_key.rpartition(".")
    if group not in GROUPS:
        return no_such_value(full_key, names or ["none"])
    hint = suggestion(name, names, f"{group}.") or ";"
    option, values = choices[group], ", ".join(names) or "none"
    return CommandError(
        f"{full_key}: {group}={option} has no value of this name{hint} {option} has {values}"
    )


def refuse_hidden_options(places: Sequence[tuple[str, str, str]]) -> None:
    """Raise CommandError where a user's option has the name of another, which Hydra would take.

    Args:
        places: Provider, scheme and path of every place that Hydra looks in, in its order.
    """
    files_of = {
        Path(path).resolve(): by for by, scheme, path in places if scheme == "file" and path
    }
    shipped_in = [
        Path(str(files("hydra.conf"))),
        *(d for d, by in files_of.items() if by == "main"),
    ]
    shipped = {
        file.relative_to(directory).with_suffix("").as_posix()
        for directory in shipped_in
        for file in directory.rglob("*.yaml")
    }
    origins = dict.fromkeys(shipped, "the project")
    for directory in (each for each in files_of if each not in shipped_in):
        for group in {name.rpartition("/")[0] for name in shipped}:
            for file in sorted((directory / group).glob("*.yaml")):
                name = f"{group}/{file.stem}".lstrip("/")
                if name in origins:
                    new = f"{group}/my_{file.name}".lstrip("/")
                    raise CommandError(
                        f"{name}: expected a name of its own for {file}, got the name of an option "
                        f"of {origins[name]}, which would be used instead; rename the file, e.g. "
                        f"to {new}"
                    )
                if group:  # above the groups there are configs of any program
                    origins[name] = str(directory)
