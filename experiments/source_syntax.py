"""What Python source defines, imports and uses, and its syntax tree as text.

The text is the same on every version of Python. `source_digest` decides which of it counts.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# ---- a syntax tree as text -----------------------------------------------------------------------


def dump(node: Any) -> str:
    """A syntax tree as text that is the same on every version of Python.

    It leaves out positions, docstrings and other statements without effect, and fields that are
    empty or mean nothing by themselves (`ctx`, `kind`, `type_comment`).
    """
    if isinstance(node, list):
        return "".join(f"{dump(each)}," for each in node)
    if isinstance(node, int) and not isinstance(node, bool):
        return hex(node)  # Python refuses to write a very long number in decimals
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = []
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name in ("ctx", "kind", "type_comment", "type_ignores"):
            continue
        if isinstance(node, ast.JoinedStr):
            value = _merged(value)
        elif name == "format_spec" and value is not None and not _merged(value.values):
            value = None
        elif isinstance(value, list):
            value = [each for each in value if not _without_effect(each)]
        if value != [] and (value is not None or isinstance(node, ast.Constant)):
            fields.append(f" {name}={dump(value)}")
    return f"({type(node).__name__}{''.join(fields)})"


def _without_effect(node: Any) -> bool:
    """Whether a statement is `pass` or a lone constant, as a docstring is."""
    lone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return lone or isinstance(node, ast.Pass)


def _merged(values: list[Any]) -> list[Any]:
    """The pieces of an f-string, with neighbouring texts as one: Python's versions differ there."""
    merged: list[Any] = []
    for value in values:
        if isinstance(value, ast.Constant) and merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(str(merged[-1].value) + str(value.value))
        elif not isinstance(value, ast.Constant) or value.value:
            merged.append(value)
    return merged


def native(text: str) -> str:
    """C++ without comments, indentation and empty lines."""
    pattern = r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/'
    text = re.sub(pattern, lambda match: match[1] or " ", text, flags=re.DOTALL)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


# ---- a module's source ---------------------------------------------------------------------------

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Import:
    """An import of `module`, or of `name` in it ("*" is all of it).

    Attributes:
        bound: The name that it gets; empty where it gets none.
        level: The dots of a relative import.
        whole: Whether all of the module may be used.
    """

    bound: str
    module: str
    name: str = ""
    level: int = 0
    whole: bool = False


def _imports(node: ast.AST) -> Iterator[Import]:
    """The imports within a node, those of `importlib.import_module("a.b")` included."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                top = alias.name.partition(".")[0]
                if alias.asname:
                    yield Import(alias.asname, alias.name)
                else:
                    yield from (Import(top, top), Import("", alias.name))
        elif isinstance(each, ast.ImportFrom):
            for alias in each.names:
                bound = "" if alias.name == "*" else alias.asname or alias.name
                yield Import(bound, each.module or "", alias.name, each.level)
        elif isinstance(each, ast.Call) and each.args and isinstance(each.args[0], ast.Constant):
            function = getattr(each.func, "attr", getattr(each.func, "id", ""))
            name = each.args[0].value
            if function in ("import_module", "__import__") and str(name)[:1] != ".":
                yield Import("", str(name), whole=True)


class Statement:
    """A statement at the top level of a module; its parts are read when they are needed."""

    def __init__(self, node: ast.stmt):
        self.node = node

    @functools.cached_property
    def dump(self) -> str:
        """Its syntax tree as text."""
        return dump(self.node)

    @functools.cached_property
    def imports(self) -> list[Import]:
        """The imports inside it; none of a statement that is an import itself."""
        return [] if isinstance(self.node, IMPORTS) else list(_imports(self.node))

    @functools.cached_property
    def uses(self) -> dict[str, set[str]]:
        """The names that are used outside annotations, each with the attributes after it."""
        names: dict[str, set[str]] = {}
        nodes: list[tuple[ast.AST, tuple[str, ...]]] = [(self.node, ())]
        while nodes:
            node, chain = nodes.pop()
            if isinstance(node, ast.Name):
                names.setdefault(node.id, set()).add(".".join(chain))
            chain = (node.attr, *chain) if isinstance(node, ast.Attribute) else ()
            for name, value in ast.iter_fields(node):
                if name not in ("annotation", "returns"):
                    values = value if isinstance(value, list) else [value]
                    nodes += [(each, chain) for each in values if isinstance(each, ast.AST)]
        return names


class Source:
    """What a module's source defines and imports at its top level."""

    def __init__(self, content: bytes):
        body = ast.parse(content).body
        counted = (node for node in body if not (_without_effect(node) or _never_runs(node)))
        self.statements = [Statement(node) for node in counted]
        self.definitions: dict[str, list[int]] = {}
        self.imports: list[Import] = []
        self.effects: list[int] = []  # statements that give no name a value
        for number, statement in enumerate(self.statements):
            node = statement.node
            if isinstance(node, IMPORTS):
                self.imports += _imports(node)
                continue
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                nested = (each for each in ast.walk(node) if isinstance(each, IMPORTS))
                self.imports += [each_import for each in nested for each_import in _imports(each)]
            bound = _bound(node)
            for name in bound:
                self.definitions.setdefault(name, []).append(number)
            if not bound:
                self.effects.append(number)


def _never_runs(node: ast.stmt) -> bool:
    """Whether a statement is for type checkers, or for a module that is run as a script."""
    match node:
        case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=[]):
            return True
        case ast.If(
            ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]), orelse=[]
        ):
            return True
    return False


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement at a module's top level gives a value, or changes."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    names = set()
    for each in ast.walk(node):
        base: Any = each
        if isinstance(each, _DEFINITIONS):
            names.add(each.name)
        elif isinstance(getattr(each, "ctx", None), (ast.Store, ast.Del)):
            while isinstance(base, (ast.Attribute, ast.Subscript)):
                base = base.value
        else:
            base = getattr(each, "name", None)  # of `type X = ...`
        if isinstance(base, ast.Name):
            names.add(base.id)
    return names


@functools.lru_cache(maxsize=512)
def parsed(content: bytes) -> Source | None:
    """The parsed source; None where this Python cannot parse it."""
    try:
        return Source(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
