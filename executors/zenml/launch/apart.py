"""Keeps what a step does to its process from the next step in the same worker."""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def apart(environment: Mapping[str, str]) -> Iterator[None]:
    """Gives a step these variables and a random state of its own, and undoes what it did.

    That is: environment variables, the current folder, `sys.path`, the mask for new files and
    warning filters. The generators of `random`, numpy and torch start from a new state, as in a new
    process.
    """
    variables, folder, path = dict(os.environ), _folder(), sys.path[:]
    mask = os.umask(0o022)
    os.umask(mask)
    _reseed()
    with warnings.catch_warnings():
        try:
            os.environ.update(environment)
            yield
        finally:
            _restore(variables)
            sys.path[:] = path
            os.umask(mask)
            if folder is not None and _folder() != folder:
                os.chdir(folder)


def _restore(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None


def _reseed() -> None:
    random.seed()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()


class Sources:
    """The modules below a folder that this process has imported, as their files were then."""

    def __init__(self) -> None:
        self._imported_s: dict[str, float] = {}  # the latest time before the import, by file

    def changed(self, root: str) -> str | None:
        """A file below `root` that was written after it was imported, or None."""
        for file, imported_s in self._imported_s.items():
            if file.startswith(root):
                try:
                    if Path(file).stat().st_mtime > imported_s:
                        return file
                except OSError:
                    pass  # it was removed; what was imported stays
        return None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Notes what is imported meanwhile."""
        began_s, count = time.time(), len(sys.modules)
        try:
            yield
        finally:
            if len(sys.modules) != count or not self._imported_s:
                for module in list(sys.modules.values()):
                    file = getattr(module, "__file__", None)
                    if isinstance(file, str):
                        self._imported_s.setdefault(file, began_s)
