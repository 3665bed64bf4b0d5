"""The functions that options name, with the options' own values bound."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import context, credentials, source_digest
from experiments.config import CommandError, Settings
from experiments.errors import place_of

# How the program calls each option's function, besides the option's own values.
_CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "loss": (("outputs", "labels"), ()),
    "model": (("outputs",), ()),
    "data": ((), ("seed",)),
    "optimizer": ((), ("learning_rate", "parameters")),
    "scheduler": (("lr",), ("steps",)),
}


def is_shipped(settings: Settings, group: str) -> bool:
    """Whether the functions of an option are this project's own, and not a user's."""
    names = source_digest.targets(settings.options[group])
    return all(target.startswith("experiments.") for target in names)


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
            message = f"{group}.{error}" if name in bound.keywords else str(error)
            message = (message or type(error).__name__) + place_of(error)
            raise CommandError(f"{group}={settings.choices[group]}: {message}") from error

    named = functools.partial(call, **bound.keywords)
    named.__dict__.update(bound.__dict__)  # the head that a loss's option states
    return named


def cannot_load(settings: Settings, group: str, cause: BaseException) -> CommandError:
    """The error for an option whose function cannot be imported, because of `cause`."""
    target = settings.options[group]["_target_"]
    module, _, name = target.rpartition(".")
    reason, hint = credentials.redacted(" ".join(str(cause).split())), ""
    if module in sys.modules and not hasattr(sys.modules[module], name):
        reason = f"the module {module} has no {name}"
    elif isinstance(cause, ImportError):
        hint = "; for a module of your own, export PYTHONPATH=ITS_DIRECTORY"
    return CommandError(
        f"{group}={settings.choices[group]}: cannot load {target}: {reason}{hint}{place_of(cause)}"
    )


def _check_call(settings: Settings, group: str, bound: functools.partial[Any]) -> None:
    """Raise CommandError unless an option's function takes its own values and the program's."""
    positional, keywords = _CALLS[group]
    where = f"{group}={settings.choices[group]}: {settings.options[group]['_target_']}"
    try:
        signature = inspect.signature(bound.func)
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"{where}: expected a function whose parameters Python can tell, got {bound.func!r}; "
            "call it from a function of your own"
        ) from error
    if group == "model" and "shape" in signature.parameters:
        keywords = (*keywords, "shape")
    if group == "loss":
        try:
            _check_loss(where, positional, bound)
        except ValueError as error:
            raise CommandError(f"{where}: {error}") from error
    else:
        _bind(where, signature, positional, keywords, bound.keywords)


def _check_loss(where: str, positional: Sequence[str], bound: functools.partial[Any]) -> None:
    """Raise CommandError unless a loss takes its own values, and names no more than there is.

    ValueError for parts of a mixture that do not fit, or where the head is unknown.
    """
    from experiments.heads import head_name

    layer, own = context.class_of(bound), bound.keywords
    if layer and not hasattr(layer, "set_state_dict"):
        raise CommandError(
            f"{where}: expected a function of outputs and labels, or a subclass of "
            "paddle.nn.Layer whose forward is one, got another class"
        )
    if layer:
        needs, called = context.needed(bound), context.signature(bound)
        names, constant = context.needed_to_build(bound), context.CONSTANT
        _bind(where, inspect.signature(layer), (), names, own, constant)
        _bind(f"{where}.forward", called, positional, needs, {}, context.NAMES)
    else:
        needs = tuple(name for name in context.needed(bound.func) if name not in own)
        _bind(where, inspect.signature(bound.func), positional, needs, own, context.NAMES)
    head_name(bound)


def _bind(
    where: str,
    signature: inspect.Signature,
    positional: Sequence[str],
    keywords: Sequence[str],
    own: Mapping[str, Any],
    may_need: Sequence[str] = (),
) -> None:
    """Raise CommandError unless a function takes what it is given; `may_need`: what it may name."""
    try:
        signature.bind(*positional, **dict.fromkeys(keywords), **own)
    except TypeError as error:
        parameters = [name for name in signature.parameters if name not in keywords][
            len(positional) :
        ]
        is_missing = may_need and str(error).startswith("missing")
        hint = f"; without a default, it may name {', '.join(may_need)}" if is_missing else ""
        called = ", ".join([*positional, *(f"{name}=..." for name in keywords)])
        hint += f"; the program calls it with {called}" if called else ""
        raise CommandError(
            f"{where}: {error}; its own arguments are {', '.join(parameters) or 'none'}, got "
            f"{', '.join(own) or 'none'}{hint}"
        ) from error
