"""What an option's own values may be: refused where they are used, and told before anything heavy loads.

The function of a loss, a network, an optimizer or a schedule begins with guards:

    check_number("gamma", gamma, at_least=0)

There a bound is written, and nowhere else. But to call the function is to import its module, and with it Paddle, which
takes longer than all else that happens before a wrong value can be told. So `alone` reads the function's source, and makes
of it a function of the same arguments that has guards for a body, and nothing else.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import math
import re
from collections.abc import Callable
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
        permitted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound))
        kind = "finite whole number" if whole else "finite number"
        raise ValueError(f"{name}: expected a {kind} {permitted}, came {value}")


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected true or false, came {value!r}")


_GUARDS: dict[str, Any] = {"check_number": check_number, "check_flag": check_flag}


@functools.cache
def alone(target: str) -> Callable[..., None] | None:
    """The function at `target`, e.g. 'experiments.losses.focal', with nothing left of its body but the guards.

    None where that cannot be read: no plain function in a module of Python source, a name that is bound more than once, or defaults
    that are more than constants.
    Raises ImportError when there is no such module, as far as that shows without importing it.
    """
    module, _, name = target.rpartition(".")
    function = _find(module, name) if module else None
    if function is None or function.decorator_list:
        return None
    arguments = function.args
    defaults = [default for default in (*arguments.defaults, *arguments.kw_defaults) if default]
    if any(isinstance(node, ast.Name) for default in defaults for node in ast.walk(default)):
        return None
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    known = _GUARDS.keys() | {argument.arg for argument in named}
    guards = [statement for statement in function.body if _is_guard(statement, known)]
    for argument in filter(None, (*named, arguments.vararg, arguments.kwarg)):
        argument.annotation = None
    function.returns, function.body = None, guards or [ast.Pass()]
    scope = dict(_GUARDS)
    exec(compile(ast.fix_missing_locations(ast.Module([function], [])), target, "exec"), scope)
    return scope[name]


def _is_guard(statement: ast.stmt, known: set[str]) -> bool:
    """Whether it calls a guard, with nothing but constants and what is `known`."""
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return False
    called = statement.value.func
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return isinstance(called, ast.Name) and called.id in _GUARDS and names <= known


def _find(module: str, name: str) -> ast.FunctionDef | None:
    """The function `name` of a module, or of one from which it imports all, or this name."""
    text = _text(module)
    imports = re.findall(r"(?m)^from ([\w.]+) import (.+)$", text)
    texts = [text, *(_text(other) for other, what in imports if what in ("*", name))]
    for text in texts:
        bound = re.findall(rf"(?m)^(?:def |class )?{re.escape(name)}\b *[=:(]", text)
        if bound:  # to parse all of them would take longer
            try:
                body = ast.parse(text).body
            except SyntaxError:  # the import will tell
                return None
            found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
            return found[0] if len(bound) == len(found) == 1 else None
    return None


def _text(module: str) -> str:
    """The source of a module, of which nothing is imported but what is already; empty where there is none."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top) if top.isidentifier() and top != "__main__" else None
    if spec is None and top != "__main__":
        raise ModuleNotFoundError(f"no module named {top!r}")
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    place = Path(spec.origin)
    if rest:
        place = place.parent.joinpath(*rest)
        place = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""
