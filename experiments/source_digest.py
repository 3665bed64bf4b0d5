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

import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.source_syntax import IMPORTS, Import, Source, native, parsed

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
        parts[group], paths = _reached(tuple(sorted(set(targets(option)))))
        files |= paths
    parts["training"], paths = _reached(_TRAINING)
    metrics = json.dumps(_reached(_METRICS)[0], sort_keys=True)
    return Code(parts, hashlib.sha256(metrics.encode()).hexdigest(), files | paths)


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
    files = list(walk.files())
    return {label: digest for label, digest, _ in files}, {label: path for label, _, path in files}


def targets(value: Any) -> Iterator[str]:
    """Every `_target_` in an option, and what Hydra's own functions look up."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if isinstance(target, str):
            yield target
            if target.startswith("hydra.utils.get_") and isinstance(value.get("path"), str):
                yield value["path"]
        value = list(value.values())
    for each in value if isinstance(value, (list, tuple)) else ():
        yield from targets(each)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


# ---- from module to module -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """A module: its dotted name, its file, and where its submodules are; None of no package."""

    name: str
    path: Path | None  # None for a namespace package
    places: list[str] | None = field(compare=False)

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
        """The bytes of its file."""
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
        self.external: dict[str, set[str]] = {}  # what names mean that are installed packages'
        self.executed: set[str] = set(_NEUTRAL)
        self.complete: set[str] = set(_NEUTRAL)
        self.reached_names: dict[tuple[str, str, str | None], bool] = {}

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
            spec = _spec(dotted) if dotted.isidentifier() else None
        else:
            above = self.module(parent)
            if above is None or above.places is None:
                return None
            spec = importlib.machinery.PathFinder.find_spec(dotted, above.places)
        if spec is None or not (spec.has_location or spec.submodule_search_locations):
            return None
        places = spec.submodule_search_locations
        path = Path(spec.origin) if spec.has_location and spec.origin else None
        if all(map(_installed, [str(path)] if path else places or [])):
            return None
        return _Module(dotted, path, list(places) if places is not None else None)

    def source(self, module: _Module) -> Source | None:
        """The parsed file of the module; None where it is not Python's."""
        if module.path is None:
            return None
        if module.name not in self.contents:
            self.contents[module.name] = module.read()
        return parsed(self.contents[module.name]) if module.path.suffix == ".py" else None

    def enter(self, module: _Module) -> None:
        """Reach what importing the module executes: of this package's its bare statements."""
        if module.name in self.executed:
            return
        self.executed.add(module.name)
        source = self.source(module)
        if not module.own:
            self.everything(module)
        elif source is not None:
            for number in source.effects:
                self.statement(module, number)
            for each in source.imports:
                target = self.module(self.absolute(module, each))
                if target and not target.own:
                    self.follow(module, each)

    def everything(self, module: _Module) -> None:
        """Reach all that the module defines and imports."""
        if module.name in self.complete:
            return
        self.complete.add(module.name)
        self.enter(module)
        source = self.source(module)
        if module.path is not None:
            self.reached.setdefault(module.name, set())
        if source is not None:
            for number, statement in enumerate(source.statements):
                if not (module.own and isinstance(statement.node, IMPORTS)):
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
        if key not in self.reached_names:
            # For a package that imports the name from itself: then it means a submodule.
            self.reached_names[key] = False
            self.reached_names[key] = module.name in _NEUTRAL or self._defined(module, name, after)
        if not self.reached_names[key] and (target := self.module(f"{module.name}.{name}")):
            self.use(target, after)
            self.reached_names[key] = True
        return self.reached_names[key]

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
                self.external.setdefault(module.name, set()).add(f"{name} is {meaning}")
        if name in source.definitions or imported:
            return True
        stars = [self.module(self.absolute(module, e)) for e in source.imports if e.name == "*"]
        return any(self.name(target, name, after) for target in stars if target)

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

    def follow(self, module: _Module, each: Import, after: str | None = None) -> bool:
        """Reach what an import in `module` brings; whether it is not an installed package's.

        `after` is as for `name`.
        """
        parts = self.absolute(module, each).split(".")
        for at in range(1, len(parts) + 1):
            target = self.module(".".join(parts[:at]))
            if target is None:
                return False
            self.enter(target)
        assert target is not None
        if each.whole or (each.name == "*" and (module.own or not target.own)):
            self.everything(target)
        elif not each.name:
            self.use(target, after)
        elif each.name != "*":  # of this package, a user's module uses what it names
            self.name(target, each.name, after)
        return True

    def absolute(self, module: _Module, each: Import) -> str:
        """The full name of the module that an import means."""
        if not each.level:
            return each.module
        base = module.package[: len(module.package) - each.level + 1]
        return ".".join([*base, *filter(None, [each.module])])

    def files(self) -> Iterator[tuple[str, str, Path]]:
        """(label, digest, path) of every file of which something is reached."""
        for name in sorted({*self.reached, *self.external}):
            module = self.modules[name]
            if module is None or module.path is None:
                continue
            source, reached = self.source(module), sorted(self.reached.get(name, ()))
            if source is None:
                yield module.label, _short(self.contents[name]), module.path
            elif reached or not module.own:
                texts = [source.statements[number].dump for number in reached]
                texts += sorted(self.external.get(name, ())) if module.own else []
                yield module.label, _short("\n".join(texts).encode()), module.path
            cpp = module.path.with_suffix(".cpp")
            if reached and module.own and cpp.is_file():
                label = str(PurePosixPath(module.label).with_suffix(".cpp"))
                yield label, _short(native(cpp.read_text(encoding="utf-8")).encode()), cpp


def _spec(top: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module without a spec, such as __main__
        return None
