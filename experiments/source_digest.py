"""Digests of the code that computes a run's numbers.

`of_options` walks from the functions that options name through every import, also those inside
functions, and executes none of it. Packages in site-packages and the standard library are left out:
their versions are recorded elsewhere. A module outside this package counts whole. In this package
only the definitions count that are reached by name, so that an edit of one loss leaves the others
as they were.

A digest is of the syntax tree: comments, docstrings and formatting do not change it, nor does the
version of Python. Not seen: modules whose names are computed at run time
(`importlib.import_module(name)`, where `name` is no constant), and files that the code reads.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

Parts = dict[str, dict[str, str]]  # part -> file -> digest of what the part reaches in it, 12 hex

# What trains and evaluates every run, besides the functions of its options.
_TRAINING = (
    "experiments.training.fresh",
    "experiments.training.build",
    "experiments.training.total_steps",
    "experiments.training.train",
    "experiments.training.evaluate",
    "experiments.training.state",
    "experiments.training.restore",
)
# Test metrics can be computed again from a run's outputs, so they are no part of its identity;
# those of an epoch, which `train` reaches, cannot.
_METRICS = ("experiments.metrics", "experiments.corruptions")
# Modules of this package that decide no numbers: they refuse values, or fetch bytes whose digest is
# in the identity.
_NEUTRAL = frozenset(
    {
        "experiments.data.sources",
        "experiments.guards",
        "experiments.losses.checks",
        "experiments.machine",
    }
)
_PACKAGE = Path(__file__).resolve().parent
_LIBRARY = tuple(
    {sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")}
    | {os.path.dirname(os.__file__) + os.sep}  # noqa: PTH120
)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_TAG_LENGTH = 8000  # characters that MLflow keeps of a tag


@dataclass(frozen=True)
class Code:
    """The code behind a run.

    Attributes:
        parts: By part (loss, model, data, optimizer, scheduler, training) the digests of its files.
        metrics: The digest of the code that computes test metrics.
        files: Where the files are.
    """

    parts: Parts
    metrics: str
    files: dict[str, Path] = field(compare=False)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 in hex of `parts`."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run that name its code; a part with too many files for a tag is one."""
        text = json.dumps(self.parts, sort_keys=True)
        if len(text) > _TAG_LENGTH:
            merged = {
                part: {f"{len(files)} files": _short(json.dumps(files, sort_keys=True).encode())}
                for part, files in self.parts.items()
            }
            text = json.dumps(merged, sort_keys=True)
        return {"code": self.digest, "code.parts": text, "code.metrics": self.metrics}


def of_options(options: Mapping[str, Mapping[str, Any]]) -> Code:
    """The code behind a run whose groups have these options, each with its `_target_`."""
    parts: Parts = {}
    files: dict[str, Path] = {}
    for group, option in options.items():
        parts[group], found = _reached(tuple(sorted(set(_targets(option)))))
        files |= found
    parts["training"], found = _reached(_TRAINING)
    metrics, _ = _reached(_METRICS)
    digest = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()
    return Code(parts, digest, files | found)


def refresh() -> None:
    """Read the files again at the next question: they may have been edited since the last one."""
    _reached.cache_clear()


@functools.lru_cache(maxsize=4096)
def in_package(path: Path) -> bool:
    """Whether a file belongs to this package, wherever links lead."""
    return Path(os.path.realpath(path)).is_relative_to(_PACKAGE)


@functools.cache
def _reached(targets: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Path]]:
    """The files that the targets reach: their digests, and where they are."""
    walk = _Walk()
    for target in targets:
        walk.target(target)
    found = list(walk.files())
    return {label: digest for label, digest, _ in found}, {label: path for label, _, path in found}


def _targets(value: Any) -> Iterator[str]:
    """Every `_target_` in an option, and what Hydra's own functions are told to look up."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str):
            yield target
            if target.startswith("hydra.utils.get_") and isinstance(value.get("path"), str):
                yield value["path"]
        value = list(value.values())
    for each in value if isinstance(value, (list, tuple)) else ():
        yield from _targets(each)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


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


def _native(text: str) -> str:
    """C++ without comments, indentation and empty lines."""
    pattern = r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/'
    text = re.sub(pattern, lambda found: found[1] or " ", text, flags=re.DOTALL)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


# ---- a module's source ---------------------------------------------------------------------------

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class _Import:
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


def _imports(node: ast.AST) -> Iterator[_Import]:
    """The imports within a node, those of `importlib.import_module("a.b")` included."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                top = alias.name.partition(".")[0]
                if alias.asname:
                    yield _Import(alias.asname, alias.name)
                else:
                    yield from (_Import(top, top), _Import("", alias.name))
        elif isinstance(each, ast.ImportFrom):
            for alias in each.names:
                bound = "" if alias.name == "*" else alias.asname or alias.name
                yield _Import(bound, each.module or "", alias.name, each.level)
        elif isinstance(each, ast.Call) and each.args and isinstance(each.args[0], ast.Constant):
            called = getattr(each.func, "attr", getattr(each.func, "id", ""))
            name = each.args[0].value
            if called in ("import_module", "__import__") and str(name)[:1] != ".":
                yield _Import("", str(name), whole=True)


class _Statement:
    """A statement at the top level of a module; its parts are read when they are needed."""

    def __init__(self, node: ast.stmt, annotations: bool):
        self.node = node
        self.annotations = annotations  # whether annotations are evaluated

    @functools.cached_property
    def dump(self) -> str:
        return dump(self.node)

    @functools.cached_property
    def imports(self) -> list[_Import]:
        return [] if isinstance(self.node, _IMPORTS) else list(_imports(self.node))

    @functools.cached_property
    def uses(self) -> dict[str, set[str]]:
        """The names that are used, each with the attributes that directly follow it."""
        found: dict[str, set[str]] = {}
        nodes: list[tuple[ast.AST, tuple[str, ...]]] = [(self.node, ())]
        while nodes:
            node, after = nodes.pop()
            if isinstance(node, ast.Name):
                found.setdefault(node.id, set()).add(".".join(after))
            after = (node.attr, *after) if isinstance(node, ast.Attribute) else ()
            for name, value in ast.iter_fields(node):
                if self.annotations or name not in ("annotation", "returns"):
                    values = value if isinstance(value, list) else [value]
                    nodes += [(each, after) for each in values if isinstance(each, ast.AST)]
        return found


class _Source:
    """What a module's source defines and imports at its top level."""

    def __init__(self, content: bytes):
        body = ast.parse(content).body
        future = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in body)
        self.statements = [
            _Statement(node, annotations=not future)
            for node in body
            if not (_without_effect(node) or _never_runs(node))
        ]
        self.definitions: dict[str, list[int]] = {}
        self.imports: list[_Import] = []
        self.effects: list[int] = []  # statements that give no name a value
        for number, statement in enumerate(self.statements):
            node = statement.node
            if isinstance(node, _IMPORTS):
                self.imports += _imports(node)
                continue
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                nested = (each for each in ast.walk(node) if isinstance(each, _IMPORTS))
                self.imports += [found for each in nested for found in _imports(each)]
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
def _source(content: bytes) -> _Source | None:
    """The parsed source; None where this Python cannot parse it."""
    try:
        return _Source(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# ---- from module to module -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """A module that was found: its dotted name, its file, and where its submodules are sought."""

    name: str
    path: Path | None  # None for a namespace package
    places: list[str] | None = field(compare=False)
    loader: Any = field(compare=False)

    @property
    def own(self) -> bool:
        """Whether it belongs to this package."""
        return self.path is not None and in_package(self.path)

    @property
    def package(self) -> list[str]:
        """The package from which relative imports start."""
        parts = self.name.split(".")
        return parts if self.places is not None else parts[:-1]

    @property
    def label(self) -> str:
        """Its file's name, the same wherever the file is."""
        assert self.path is not None
        if self.own:
            relative = Path(os.path.realpath(self.path)).relative_to(_PACKAGE.parent)
            return relative.as_posix()
        return str(PurePosixPath(*self.package, self.path.name))

    def read(self) -> bytes:
        """The bytes of its file, which may be in an archive."""
        if hasattr(self.loader, "get_data"):
            return bytes(self.loader.get_data(str(self.path)))
        return self.path.read_bytes() if self.path else b""


def _installed(place: str) -> bool:
    """Whether a file is the standard library's or an installed package's."""
    library = place.startswith(_LIBRARY) or not _INSTALLED.isdisjoint(Path(place).parts)
    return library and not in_package(Path(place))


class _Walk:
    """What is reached from some targets; see the module's description."""

    def __init__(self) -> None:
        self.modules: dict[str, _Module | None] = {}
        self.contents: dict[str, bytes] = {}
        self.reached: dict[str, set[int]] = {}  # statements, by the module's name
        self.outside: dict[str, set[str]] = {}  # what names mean that are installed packages'
        self.entered: set[str] = set(_NEUTRAL)
        self.whole: set[str] = set(_NEUTRAL)
        self.named: dict[tuple[str, str, str | None], bool] = {}

    def target(self, dotted: str) -> None:
        """Reach a `_target_`: the longest part of it that is a module, then a name in it."""
        parts = dotted.split(".")
        for at in range(len(parts), 0, -1):
            if module := self.module(".".join(parts[:at])):
                self.use(module, ".".join(parts[at:]) or "*")
                return

    def module(self, dotted: str) -> _Module | None:
        """The module of this name; None for none, an installed package's, or the library's."""
        if dotted not in self.modules:
            self.modules[dotted] = self._find(dotted)
        return self.modules[dotted]

    def _find(self, dotted: str) -> _Module | None:
        parent, _, _ = dotted.rpartition(".")
        if not parent:
            spec = _spec(dotted) if dotted.isidentifier() and not _library(dotted) else None
        else:
            above = self.module(parent)
            if above is None or above.places is None:
                return None
            spec = importlib.machinery.PathFinder.find_spec(dotted, above.places)
        if spec is None or not (spec.has_location or spec.submodule_search_locations):
            return None
        path = Path(spec.origin) if spec.has_location and spec.origin else None
        if path is not None and _installed(str(path)):
            return None
        places = spec.submodule_search_locations
        return _Module(dotted, path, list(places) if places is not None else None, spec.loader)

    def source(self, module: _Module) -> _Source | None:
        """What the module's file says; None where it is not Python's."""
        if module.path is None:
            return None
        if module.name not in self.contents:
            self.contents[module.name] = module.read()
        return _source(self.contents[module.name]) if module.path.suffix == ".py" else None

    def enter(self, module: _Module) -> None:
        """Reach what importing the module executes: of this package's its bare statements."""
        if module.name in self.entered:
            return
        self.entered.add(module.name)
        source = self.source(module)
        if not module.own:
            self.everything(module)
        elif source is not None:
            for number in source.effects:
                self.statement(module, number)
            for each in source.imports:
                found = self.module(self.absolute(module, each))
                if found and not found.own:
                    self.follow(module, each)

    def everything(self, module: _Module) -> None:
        """Reach all that the module defines and imports."""
        if module.name in self.whole:
            return
        self.whole.add(module.name)
        self.enter(module)
        source = self.source(module)
        if module.path is not None:
            self.reached.setdefault(module.name, set())
        if source is not None:
            for number, statement in enumerate(source.statements):
                if not (module.own and isinstance(statement.node, _IMPORTS)):
                    self.statement(module, number)
            for each in source.imports:
                self.follow(module, each)

    def statement(self, module: _Module, number: int) -> None:
        """Reach a statement, and what it names."""
        numbers = self.reached.setdefault(module.name, set())
        source = self.source(module)
        if number in numbers or source is None:
            return
        numbers.add(number)
        statement = source.statements[number]
        for each in statement.imports:
            if not (module.own and each.bound and each.name):
                self.follow(module, each)
        for name, attributes in statement.uses.items():
            for after in attributes:
                for each in statement.imports:
                    if each.bound == name:
                        self.follow(module, each, after)
                self.name(module, name, after)

    def name(self, module: _Module, name: str, after: str | None) -> bool:
        """Reach a name of a module; whether the module has it.

        Args:
            module: The module.
            name: The name.
            after: The attributes that follow it; None where it is imported and not seen to be used.
        """
        key = module.name, name, after
        if key not in self.named:
            self.named[key] = False  # a package that imports the name from itself means a submodule
            self.named[key] = module.name in _NEUTRAL or self._defined(module, name, after)
        if not self.named[key] and (found := self.module(f"{module.name}.{name}")):
            self.use(found, after)
            self.named[key] = True
        return self.named[key]

    def _defined(self, module: _Module, name: str, after: str | None) -> bool:
        self.enter(module)
        source = self.source(module)
        if source is None:
            return False
        for number in source.definitions.get(name, ()):
            self.statement(module, number)
        imported = [each for each in source.imports if each.bound == name]
        for each in imported:
            if not self.follow(module, each, after):
                meaning = ".".join(filter(None, [self.absolute(module, each), each.name]))
                self.outside.setdefault(module.name, set()).add(f"{name} is {meaning}")
        if name in source.definitions or imported:
            return True
        stars = [self.module(self.absolute(module, e)) for e in source.imports if e.name == "*"]
        return any(self.name(found, name, after) for found in stars if found)

    def use(self, module: _Module, after: str | None) -> None:
        """Reach a name in a module, or all of the module where it is handed on as it is.

        Args:
            module: The module.
            after: As for `name`.
        """
        self.enter(module)
        if after is not None:
            name, _, rest = after.partition(".")
            if not (name and self.name(module, name, rest)):
                self.everything(module)

    def follow(self, module: _Module, each: _Import, after: str | None = None) -> bool:
        """Reach what an import in `module` brings; whether it is not an installed package's.

        `after` is as for `name`.
        """
        parts = self.absolute(module, each).split(".")
        for at in range(1, len(parts) + 1):
            found = self.module(".".join(parts[:at]))
            if found is None:
                return False
            self.enter(found)
        assert found is not None
        if each.whole or (each.name == "*" and (module.own or not found.own)):
            self.everything(found)
        elif not each.name:
            self.use(found, after)
        elif each.name != "*":  # of this package, a user's module uses what it names
            self.name(found, each.name, after)
        return True

    def absolute(self, module: _Module, each: _Import) -> str:
        """The full name of the module that an import means."""
        if not each.level:
            return each.module
        base = module.package[: len(module.package) - each.level + 1]
        return ".".join([*base, *filter(None, [each.module])])

    def files(self) -> Iterator[tuple[str, str, Path]]:
        """(label, digest, path) of every file of which something is reached."""
        for name in sorted({*self.reached, *self.outside}):
            module = self.modules[name]
            if module is None or module.path is None:
                continue
            source, reached = self.source(module), sorted(self.reached.get(name, ()))
            if source is None:
                yield module.label, _short(self.contents[name]), module.path
            elif reached or not module.own:
                texts = [source.statements[number].dump for number in reached]
                texts += sorted(self.outside.get(name, ())) if module.own else []
                yield module.label, _short("\n".join(texts).encode()), module.path
            native = module.path.with_suffix(".cpp")
            if reached and module.own and native.is_file():
                label = str(PurePosixPath(module.label).with_suffix(".cpp"))
                yield label, _short(_native(native.read_text(encoding="utf-8")).encode()), native


@functools.cache
def _library(top: str) -> bool:
    """Whether a top-level module is the standard library's or an installed package's."""
    spec = _spec(top)
    if spec is None:
        return False
    file = [spec.origin] if spec.has_location and spec.origin else []
    return all(map(_installed, file or spec.submodule_search_locations or []))


def _spec(top: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module without a spec, such as __main__
        return None
