"""What an option's own values may be: refused where they are used, and told before anything heavy loads.

The function of a loss, a network, an optimizer or a schedule begins with guards:

    check_number("gamma", gamma, at_least=0)

There a bound is written, and nowhere else. But to call the function is to import its module, and with it Paddle, which
takes longer than all else that happens before a wrong value can be told. So `declared` reads arguments and guards out of
the function's source. It does so for the functions of this package alone, whose ways are known; a user's own module may
bring anything by its name, and tells what is wrong when it is called.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any


def check_number(
    name: str,
    value: float | None,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raise unless `value` is a finite number within the bounds; nan never is, a bool is no number, None is one where it is `optional`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, came {value!r}")
    if not (at_least <= value <= at_most and above < value < below) or (whole and value % 1):
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        permitted = " and ".join(
            f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound)
        )
        kind = "finite whole number" if whole else "finite number"
        raise ValueError(f"{name}: expected a {kind} {permitted}, came {value}")


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected true or false, came {value!r}")


_GUARDS: dict[str, Callable[..., None]] = {"check_number": check_number, "check_flag": check_flag}


@dataclass(frozen=True)
class Declared:
    """What the source of a function says of its arguments.

    signature: names and kinds; a default is `...`, whatever it is. guards: (argument, what raises TypeError or ValueError for a wrong
    value of it), in their order.
    """

    signature: inspect.Signature
    guards: tuple[tuple[str, Callable[[Any], None]], ...]


@functools.cache
def declared(target: str) -> Declared | None:
    """Arguments and guards of the function at `target`, e.g. 'experiments.losses.focal', without importing it.

    Guards are the calls of `check_number` and `check_flag`, with constant bounds, that only other calls come before. None where `target`
    is not one plain function of this package. Raises ImportError when there is no package of the target's name.
    """
    function = _function(target)
    if function is None:
        return None
    arguments, kinds = function.args, inspect.Parameter
    required = len(arguments.args) - len(arguments.defaults)
    defaults = [kinds.empty if at < required else ... for at in range(len(arguments.args))]
    parameters = [
        kinds(each.arg, kinds.POSITIONAL_OR_KEYWORD, default=default)
        for each, default in zip(arguments.args, defaults, strict=True)
    ]
    parameters += [
        kinds(each.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else ...)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    first = itertools.takewhile(lambda statement: isinstance(statement, ast.Expr), function.body)
    guards = [_guard(statement.value) for statement in first if isinstance(statement, ast.Expr)]
    return Declared(inspect.Signature(parameters), tuple(guard for guard in guards if guard))


def _guard(call: ast.expr) -> tuple[str, Callable[[Any], None]] | None:
    """The argument and its check, for a call such as check_number("x", x, at_least=0); None for any other expression."""
    match call:
        case ast.Call(ast.Name(guard), [ast.Constant(name), ast.Name(argument)]) if (
            guard in _GUARDS
        ):
            try:
                bounds = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
            except ValueError:  # a bound that is computed
                return None
            return argument, functools.partial(_GUARDS[guard], name, **bounds)
    return None


def _function(target: str) -> ast.FunctionDef | None:
    """The only function of that name in a module of this package, or in the modules of a package in it."""
    package, _, rest = target.partition(".")
    if package != "experiments":
        if (
            package.isidentifier()
            and package != "__main__"
            and importlib.util.find_spec(package) is None
        ):
            raise ModuleNotFoundError(f"no module named {package!r}")
        return None
    *parts, name = rest.split(".")
    place = Path(__file__).parent.joinpath(*parts)
    files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    texts = [text for text in texts if re.search(rf"(?m)^def {re.escape(name)}\(", text)]
    try:
        nodes = [node for text in texts for node in ast.parse(text).body]
    except SyntaxError:  # the import will tell
        return None
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(found) != 1:
        return None
    arguments = found[0].args
    odd = found[0].decorator_list or arguments.posonlyargs or arguments.vararg or arguments.kwarg
    return None if odd else found[0]
