"""What a worker process needs to know of the program to load the same steps."""

from __future__ import annotations

import importlib
import pickle
import sys
from io import BytesIO
from typing import Any, NamedTuple

from zenml.utils import source_utils

MAIN = "__main__"


class Program(NamedTuple):
    """Where the steps of a program come from.

    Attributes:
        source_root: the folder that ZenML loads modules from.
        main: the name under which other processes import its main module; None in a notebook.
    """

    source_root: str
    main: str | None

    @classmethod
    def of_this_process(cls) -> Program:
        """This program's, which from now on finds its main module under both of its names.

        A worker imports `run.py` as `run`, and an artifact or an exception of it names `run.Model`.
        Without this, loading it here would run the program a second time.
        """
        try:
            main = source_utils._resolve_module(sys.modules[MAIN])
        except RuntimeError:  # no file, or one outside the source root
            main = None
        if main is not None and main != MAIN:
            sys.modules.setdefault(main, sys.modules[MAIN])
        return cls(source_utils.get_source_root(), None if main == MAIN else main)

    def adopt(self) -> None:
        """Makes this process load sources as the program does."""
        source_utils.set_custom_source_root(self.source_root)
        if self.source_root not in sys.path:
            sys.path.append(self.source_root)

    def loads(self, pickled: bytes) -> Any:
        """Unpickles something that the program has pickled, in which `__main__` is its own."""
        return _Unpickler(BytesIO(pickled), self.main).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, main: str | None) -> None:
        super().__init__(file)
        self._main = main

    def find_class(self, module: str, name: str) -> Any:
        if module == MAIN and self._main is not None:
            importlib.import_module(self._main)
            module = self._main
        return super().find_class(module, name)
