"""Digests of the code that computes a run's numbers.

Which source files it reaches, and what it reaches in them.

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
from collections.abc import Iterable, Iterator, Mapping
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

    parts: by part (loss, model, data, optimizer, scheduler, training) the files it reaches and
    their digests.
    metrics: digest of the code that computes test metrics. files: where the files lie.
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
        """The tags of a run that say by which code it was made."""
        parts = self.parts
        depth = max((name.count("/") for files in parts.values() for name in files), default=0)
        while len(text := json.dumps(parts, sort_keys=True)) > _TAG_LENGTH and depth >= 0:
            parts = {part: _by_directory(files, depth) for part, files in parts.items()}
            depth -= 1
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


def dump(node: Any) -> str:
    """A syntax tree as text that is the same on every version of Python.

    Left out: positions, docstrings and other statements without effect, and fields that are empty
    or hold no meaning of their own (`ctx`, `kind`, `type_comment`).
    """
    out: list[str] = []
    _dump(node, out)
    return "".join(out)


def _dump(node: Any, out: list[str]) -> None:
    if isinstance(node, ast.AST):
        out.append(f"({type(node).__name__}")
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
            if value is None and not isinstance(node, ast.Constant):
                continue
            if value != []:
                out.append(f" {name}=")
                _dump(value, out)
        out.append(")")
    elif isinstance(node, list):
        for each in node:
            _dump(each, out)
            out.append(",")
    elif isinstance(node, int) and not isinstance(node, bool):
        out.append(hex(node))  # decimals of a very long number are refused
    else:
        out.append(ascii(node))


def _without_effect(node: Any) -> bool:
    """Whether a statement is `pass` or a lone constant, as a docstring is."""
    lone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return lone or isinstance(node, ast.Pass)


def _merged(values: list[Any]) -> list[Any]:
    """The pieces of an f-string with neighbouring texts as one.

    Versions of Python cut them differently.
    """
    merged: list[Any] = []
    for value in values:
        if isinstance(value, ast.Constant):
            if merged and isinstance(merged[-1], ast.Constant):
                merged[-1] = ast.Constant(str(merged[-1].value) + str(value.value))
            elif value.value:
                merged.append(value)
        else:
            merged.append(value)
    return merged


@dataclass(frozen=True)
class _Module:
    """A module that was found: its dotted name, its file, and where its submodules are sought."""

    name: str
    path: Path | None  # None for a namespace package
    places: tuple[str, ...] | None
    loader: Any = field(compare=False)

    @property
    def own(self) -> bool:
        """Whether it belongs to this package."""
        return in_package(self.path) if self.path else False

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.places is not None else self.name.rpartition(".")[0]

    @property
    def label(self) -> str:
        """Its file's name, the same wherever the file lies."""
        assert self.path is not None
        if self.own:
            relative = Path(os.path.realpath(self.path)).relative_to(_PACKAGE.parent)
            return relative.as_posix()
        parents = self.package.split(".") if self.package else []
        return str(PurePosixPath(*parents, self.path.name))

    def read(self) -> bytes:
        """The bytes of its file, which may lie in an archive."""
        if hasattr(self.loader, "get_data"):
            return bytes(self.loader.get_data(str(self.path)))
        return self.path.read_bytes() if self.path else b""


class _Statement:
    """One statement of a module, read when it is asked for."""

    def __init__(self, node: ast.stmt, annotations: bool):
        self.node = node
        self._annotations = annotations

    @functools.cached_property
    def dump(self) -> str:
        return dump(self.node)

    @functools.cached_property
    def references(self) -> set[tuple[str, ...]]:
        """The names that are used, each with the attributes that follow it.

        `np.random.rand` is ("np", "random", "rand").
        """
        found: set[tuple[str, ...]] = set()
        _references(self.node, found, self._annotations)
        return found

    @functools.cached_property
    def imports(self) -> list[tuple[str, _Import]]:
        """What it imports, in its functions, too."""
        nodes = ast.walk(self.node)
        return [
            each
            for node in nodes
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call))
            for each in _imports(node)
        ]


@dataclass(frozen=True)
class _Import:
    """`module` is imported, and `name` of it where that is not empty; "*" is all of it.

    level: the dots before it. whole: all of the module may be used.
    """

    module: str
    name: str = ""
    level: int = 0
    whole: bool = False


def _imports(node: ast.AST) -> Iterator[tuple[str, _Import]]:
    """(bound name, import); the name is empty where none is bound."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, _Import(alias.name)
            else:
                yield alias.name.partition(".")[0], _Import(alias.name.partition(".")[0])
                yield "", _Import(alias.name)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            bound = "" if alias.name == "*" else alias.asname or alias.name
            yield bound, _Import(node.module or "", alias.name, node.level)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        name = node.args[0].value
        if called in ("import_module", "__import__") and isinstance(name, str) and name[:1] != ".":
            yield "", _Import(name, whole=True)


def _references(node: ast.AST, found: set[tuple[str, ...]], annotations: bool) -> None:
    chain: list[str] = []
    base: ast.AST = node
    while isinstance(base, ast.Attribute):
        chain.append(base.attr)
        base = base.value
    if isinstance(base, ast.Name):
        found.add((base.id, *reversed(chain)))
        return
    for name, value in ast.iter_fields(base):
        if not annotations and name in ("annotation", "returns"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                _references(each, found, annotations)


class _Source:
    """What a module's source defines and imports at its top level."""

    def __init__(self, content: bytes):
        tree = ast.parse(content)
        future = any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
        )
        self.statements = [
            _Statement(node, annotations=not future)
            for node in tree.body
            if not (_without_effect(node) or _never_runs(node))
        ]
        self.definitions: dict[str, list[int]] = {}
        self.imports: dict[str, list[_Import]] = {}
        self.stars: list[_Import] = []
        self.effects: list[int] = []
        for number, statement in enumerate(self.statements):
            self._sort(number, statement)

    def _sort(self, number: int, statement: _Statement) -> None:
        node = statement.node
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self._keep(_imports(node))
            return
        bound = set(_bound(node))
        for name in bound:
            self.definitions.setdefault(name, []).append(number)
        if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for each in ast.walk(node):
                if isinstance(each, (ast.Import, ast.ImportFrom)):
                    self._keep(_imports(each))
        if not bound:
            self.effects.append(number)

    def _keep(self, imports: Iterable[tuple[str, _Import]]) -> None:
        for name, each in imports:
            if each.name == "*":
                self.stars.append(each)
            else:
                self.imports.setdefault(name, []).append(each)


def _never_runs(node: ast.stmt) -> bool:
    """Whether a statement is for type checkers, or for a module that is run as a script."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    match node.test:
        case ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return True
    return False


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at a module's top level gives a value, or changes one of."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    for each in ast.walk(node):
        if isinstance(each, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(
            each.ctx, (ast.Store, ast.Del)
        ):
            base: ast.expr = each
            while isinstance(base, (ast.Attribute, ast.Subscript)):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id
        elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield each.name
        elif isinstance(getattr(each, "name", None), ast.Name):  # `type X = ...`
            yield each.name.id  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=512)
def _source(content: bytes) -> _Source | None:
    """The parsed source; None where it is none that this Python can parse."""
    try:
        return _Source(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.cache
def _library(top: str) -> bool:
    """Whether the top-level module `top` is the standard library's or an installed package's."""
    spec = _spec(top)
    if spec is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    places = [spec.origin] if spec.has_location and spec.origin else []
    places = places or list(spec.submodule_search_locations or ())
    return bool(places) and all(_installed(place) for place in places)


def _installed(place: str) -> bool:
    if in_package(Path(place)):
        return False
    return place.startswith(_LIBRARY) or not _INSTALLED.isdisjoint(Path(place).parts)


def _spec(top: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module without a spec, such as __main__
        return None


class _Walk:
    """What is reached from some targets; see the module's description."""

    def __init__(self) -> None:
        self.modules: dict[str, _Module | None] = {}
        self.contents: dict[str, bytes] = {}
        self.reached: dict[str, set[int]] = {}  # statements, by the module's name
        # What names of the module mean that are installed packages'.
        self.outside: dict[str, set[str]] = {}
        self.entered: set[str] = set()
        self.whole: set[str] = set()
        self.named: dict[tuple[str, str, tuple[str, ...] | None], bool] = {}

    def target(self, dotted: str) -> None:
        """Reach what a `_target_` names.

        The longest part of it that is a module, then a name in it.
        """
        parts = dotted.split(".")
        module = None
        at = 0
        for at in range(1, len(parts) + 1):
            found = self.module(".".join(parts[:at]))
            if found is None:
                break
            module = found
            self.enter(found)
        else:
            at += 1
        if module is None:
            return
        rest = parts[at - 1 :]
        if rest:
            self.name(module, rest[0], rest[1:])
        else:
            self.everything(module)

    def module(self, dotted: str) -> _Module | None:
        """The module of this name.

        None where it is none, or an installed package's or the standard library's.
        """
        if dotted not in self.modules:
            self.modules[dotted] = self._find(dotted)
        return self.modules[dotted]

    def _find(self, dotted: str) -> _Module | None:
        parent, _, _ = dotted.rpartition(".")
        if not all(part.isidentifier() for part in dotted.split(".")):
            return None
        if not parent:
            spec = None if _library(dotted) else _spec(dotted)
        else:
            above = self.module(parent)
            if above is None or above.places is None:
                return None
            spec = importlib.machinery.PathFinder.find_spec(dotted, list(above.places))
        if spec is None:
            return None
        places = spec.submodule_search_locations
        path = Path(spec.origin) if spec.has_location and spec.origin else None
        if path is None and places is None:
            return None
        if path is not None and _installed(str(path)):
            return None
        return _Module(dotted, path, tuple(places) if places is not None else None, spec.loader)

    def source(self, module: _Module) -> _Source | None:
        """What the module's file says; None where it is not Python's."""
        if module.path is None:
            return None
        if module.name not in self.contents:
            self.contents[module.name] = module.read()
        if module.path.suffix != ".py":
            return None
        return _source(self.contents[module.name])

    def enter(self, module: _Module) -> None:
        """Reach what importing the module executes.

        Of this package's its bare statements, of others everything.
        """
        if module.name in self.entered or module.name in _NEUTRAL:
            return
        self.entered.add(module.name)
        source = self.source(module)
        if module.path is None:
            return
        if not module.own:
            self.everything(module)
        elif source is not None:
            for number in source.effects:
                self.statement(module, number)
            for each in [*source.stars, *(i for found in source.imports.values() for i in found)]:
                found = self.module(self.absolute(module, each))
                if found and not found.own:
                    self.follow(module, each)

    def everything(self, module: _Module) -> None:
        """Reach all that the module defines and imports."""
        if module.name in _NEUTRAL or module.name in self.whole:
            return
        self.whole.add(module.name)
        self.enter(module)
        source = self.source(module)
        if source is None:
            if module.path is not None:
                self.reached.setdefault(module.name, set())
            return
        self.reached.setdefault(module.name, set())
        for number in range(len(source.statements)):
            if not module.own or not isinstance(
                source.statements[number].node, (ast.Import, ast.ImportFrom)
            ):
                self.statement(module, number)
        for each in [*source.stars, *(i for found in source.imports.values() for i in found)]:
            self.follow(module, each)

    def statement(self, module: _Module, number: int) -> None:
        """Reach a statement, and what it names."""
        if number in self.reached.setdefault(module.name, set()):
            return
        self.reached[module.name].add(number)
        source = self.source(module)
        assert source is not None
        statement = source.statements[number]
        if isinstance(statement.node, (ast.Import, ast.ImportFrom)):
            return  # followed by its module
        local: dict[str, list[_Import]] = {}
        for name, each in statement.imports:
            local.setdefault(name, []).append(each)
            self.follow(module, each, deep=not module.own or not name)
        for first, *rest in statement.references:
            for each in local.get(first, []):
                self.follow(module, each, rest)
            self.name(module, first, rest)

    def name(self, module: _Module, name: str, rest: list[str] | None) -> bool:
        """Reach a name of a module; whether the module has it.

        rest: the attributes that follow it; None where it is imported and not seen to be used.
        """
        if module.name in _NEUTRAL:
            return True
        key = (module.name, name, None if rest is None else tuple(rest))
        if key not in self.named:
            self.named[key] = False  # a package that imports the name from itself means a submodule
            self.named[key] = self._defined(module, name, rest)
        if not self.named[key] and module.places is not None:
            found = self.module(f"{module.name}.{name}")
            if found:
                self.chain(found, rest)
                self.named[key] = True
        return self.named[key]

    def _defined(self, module: _Module, name: str, rest: list[str] | None) -> bool:
        self.enter(module)
        source = self.source(module)
        if source is None:
            return False
        for number in source.definitions.get(name, ()):
            self.statement(module, number)
        for each in source.imports.get(name, ()):
            self.follow(module, each, rest, bound=name)
        if name in source.definitions or name in source.imports:
            return True
        stars = (self.module(self.absolute(module, star)) for star in source.stars)
        return any(self.name(found, name, rest) for found in stars if found)

    def chain(self, module: _Module, rest: list[str] | None) -> None:
        """Reach what follows a module.

        A name in it, or all of it where it is handed on as it is.
        """
        self.enter(module)
        if rest is not None and not (rest and self.name(module, rest[0], rest[1:])):
            self.everything(module)

    def follow(
        self,
        module: _Module,
        each: _Import,
        rest: list[str] | None = None,
        *,
        bound: str = "",
        deep: bool = True,
    ) -> None:
        """Reach what an import of `module` brings.

        Rest: the attributes used of it; None where it is imported only.

        bound: the name that it has there. deep: whether a name counts that is imported and not seen
        to be used.
        """
        target = self.absolute(module, each)
        parts = target.split(".") if target else []
        for at in range(1, len(parts) + 1):
            found = self.module(".".join(parts[:at]))
            if found is None:
                if bound:
                    meaning = f"{target}.{each.name}" if each.name else target
                    self.outside.setdefault(module.name, set()).add(f"{bound} is {meaning}")
                return
            self.enter(found)
        found = self.module(target)
        if found is None:
            return
        if each.whole:
            self.everything(found)
        elif each.name == "*":
            if not found.own or module.own:  # of this package, a user's module uses what it names
                self.everything(found)
        elif not each.name:
            self.chain(found, rest)
        elif rest is not None or deep:
            self.name(found, each.name, rest)

    def absolute(self, module: _Module, each: _Import) -> str:
        """The full name of the module that an import means."""
        if not each.level:
            return each.module
        package = module.package.split(".")
        base = package[: len(package) - each.level + 1]
        return ".".join([*base, *filter(None, [each.module])])

    def files(self) -> Iterator[tuple[str, str, Path]]:
        """(label, digest, path) of every file of which something is reached."""
        for name in sorted({*self.reached, *self.outside}):
            module = self.modules[name]
            assert module is not None
            if module.path is None:
                continue
            source = self.source(module)
            reached = sorted(self.reached.get(name, ()))
            if source is None:
                yield module.label, _short(self.contents[name]), module.path
                continue
            if not reached:
                if not module.own:
                    yield module.label, _short(b""), module.path
                continue
            texts = [source.statements[number].dump for number in reached]
            texts += sorted(self.outside.get(name, ())) if module.own else []
            yield module.label, _short("\n".join(texts).encode()), module.path
            native = module.path.with_suffix(".cpp")
            if module.own and native.is_file():
                label = str(PurePosixPath(module.label).with_suffix(".cpp"))
                yield label, _short(_native(native.read_text(encoding="utf-8")).encode()), native


@functools.cache
def _reached(targets: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Path]]:
    """The files that the targets reach: their digests, and where they lie. Kept until `refresh`."""
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
        for each in value.values():
            yield from _targets(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _targets(each)


def _native(text: str) -> str:
    """C++ without comments, indentation and empty lines."""
    pattern = r'("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')|//[^\n]*|/\*.*?\*/'
    text = re.sub(pattern, lambda found: found[1] or " ", text, flags=re.DOTALL)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _by_directory(files: Mapping[str, str], depth: int) -> dict[str, str]:
    """The files with those as one that lie `depth` directories deep or deeper, by directory."""
    merged: dict[str, list[str]] = {}
    for name, digest in sorted(files.items()):
        parts = name.split("/")
        key = "/".join([*parts[:depth], ""]) if len(parts) > depth else name
        merged.setdefault(key or "*", []).append(digest)
    return {
        key: digests[0] if len(digests) == 1 else _short("".join(digests).encode())
        for key, digests in merged.items()
    }
