"""The functions that options name, with the options' own values bound."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from experiments import credentials
from experiments.config import CommandError, Settings

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
        raise cannot_load(settings, group, error.__cause__ or error) from error
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


def cannot_load(settings: Settings, group: str, cause: BaseException) -> CommandError:
    """The error for an option whose function cannot be imported, because of `cause`."""
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
    if group == "model" and "shape" in signature.parameters:
        keywords = (*keywords, "shape")
    try:
        signature.bind(*positional, **dict.fromkeys(keywords), **own)
    except TypeError as error:
        takes = [name for name in signature.parameters if name not in keywords][len(positional) :]
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
