"""Modules that a worker process would not find by their names, and how it gets them.

A pickle names the module of a function or class. A worker that imports this name gets another
module, or none, if the program loaded its module by path (plugins, DAG files, some test runners),
made it by hand, or changed `sys.path` in between. Such a module is loaded from the same file there.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from weakref import WeakKeyDictionary

MAIN = "__main__"
# What was found out of modules, and the path with which it was.
_importable: WeakKeyDictionary[ModuleType, tuple[bool, list[str]]] = WeakKeyDictionary()

# Names of the modules here that other processes cannot import, as they stand in pickles.
private = [MAIN.encode()]


def is_importable(name: str) -> bool:
    """Whether a fresh interpreter with this `sys.path` finds the module that this one has."""
    if name == MAIN:
        return False
    module = sys.modules.get(name)
    if not isinstance(module, ModuleType):
        return True  # nothing to compare with
    known, path = _importable.get(module, (False, None))
    if path != sys.path:
        known = _is_found(name, module)
        _importable[module] = known, sys.path[:]
    return known


def _is_found(name: str, module: ModuleType) -> bool:
    parent = name.rpartition(".")[0]
    if parent and not is_importable(parent):
        return False
    file = file_of(module)
    if file is None:  # built in, a namespace, or made by its parent
        return bool(parent) or module.__spec__ is not None
    spec = _found_spec(name, getattr(sys.modules.get(parent), "__path__", None))
    return spec is not None and (not spec.has_location or _is_same(spec.origin, file))


def _found_spec(name: str, path: list[str] | None) -> ModuleSpec | None:
    """What an import would find if the module were not loaded already."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # finders of other packages
            continue
        if spec is not None:
            return spec
    return None


def _is_same(origin: str | None, file: str) -> bool:
    if origin is None or origin == file:
        return True
    try:
        return Path(origin).samefile(file)
    except OSError:
        return False


def file_of(module: ModuleType | None) -> str | None:
    """The file of a module, or None."""
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def can_be_loaded(module: ModuleType) -> bool:
    """Whether `load_file` can load the module in another process."""
    file = file_of(module)
    return module.__name__ != MAIN and file is not None and Path(file).exists()


def load_file(name: str, file: str, locations: list[str] | None, *_parents: ModuleType) -> object:
    """The module of this name, loaded from a file unless it is here already.

    Args:
        locations: the folders of its submodules, if it is a package.
        _parents: loaded before it.

    Raises:
        ImportError: a module of another file has this name.
    """
    module = sys.modules.get(name)
    if module is not None:
        if not _is_same(file_of(module), file):
            raise ImportError(f"{name!r} is {file_of(module)} here, but {file} in the program")
        return module
    spec = spec_from_file_location(name, file, submodule_search_locations=locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name!r} cannot be loaded from {file}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)
    private.append(name.encode())
    return module


class Main(NamedTuple):
    """How a program was started.

    Attributes:
        arguments: `sys.argv`.
        name: of its main module, if it was started with `-m`.
        file: of its main module, which children of `multiprocessing` import again; None for a
            notebook, a prompt, or `-c`.
    """

    arguments: list[str]
    name: str | None
    file: str | None

    @classmethod
    def of_this_process(cls) -> Main:
        arguments = list(getattr(sys, "argv", []))
        main = sys.modules.get(MAIN)
        file = getattr(main, "__file__", None)
        if not (isinstance(file, str) and Path(file).is_file()):
            return cls(arguments, None, None)
        name = getattr(getattr(main, "__spec__", None), "name", None)
        return cls(arguments, name, str(Path(file).absolute()))

    def imitate(self) -> None:
        """Makes this process look as if it had been started like that."""
        sys.argv[:] = self.arguments
        main = sys.modules[MAIN]
        if self.file is not None:
            main.__file__ = self.file
        if self.name is not None:
            main.__spec__ = ModuleSpec(self.name, None, origin=self.file)


def make(name: str) -> ModuleType:
    """The module of this name; an empty one if there is none."""
    module = sys.modules.get(name)
    if module is None:
        module = sys.modules[name] = ModuleType(name)
        private.append(name.encode())
    return module
