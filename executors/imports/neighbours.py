"""Packages of users that have the names of ours: `executors`, `bench` and `reports` are common.

A name can stand for one package or module only. Once ours is imported, it is ours, wherever else
the path leads, so our own imports always work. What ours does not have, modules and names, is taken
from the next one of that name on the path, so those of the user work as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from executors.imports.interpreter import import_path, own

_initialised: dict[str, ModuleType] = {}  # the users' packages, as modules, without submodules


def claim(*names: str) -> None:
    """From now on these names stand for our packages."""
    own.names.update(names)


class NeighbourFinder:
    """Finds modules that only a user's package has, for example `bench.my_tasks`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        if package not in own.names or not module or "." in module:
            return None
        for spec in _neighbours(package):
            if spec.submodule_search_locations is None:
                continue
            found = PathFinder.find_spec(name, spec.submodule_search_locations)
            if found is not None:
                return found
        return None


def attribute(package: str, name: str) -> Any:
    """A name that a user's package has and ours has not.

    Raises:
        AttributeError: it has not, either.
    """
    if not name.startswith("__"):
        ours = PathFinder.find_spec(f"{package}.{name}", sys.modules[package].__path__)
        for spec in _neighbours(package) if ours is None else ():
            if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                module = _initialised.get(package)
                if module is None:
                    module = _initialised[package] = module_from_spec(spec)
                    spec.loader.exec_module(module)
                if name in vars(module):
                    return vars(module)[name]
            break
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def _neighbours(package: str) -> Iterator[ModuleSpec]:
    """The packages and modules of this name on the path, without ours."""
    for folder in import_path():
        if Path(folder) != Path(own.root):
            spec = PathFinder.find_spec(package, [folder])
            if spec is not None:
                yield spec


def install() -> None:
    """Has imports use these rules."""
    sys.meta_path.insert(0, own)
    sys.meta_path.append(NeighbourFinder)
