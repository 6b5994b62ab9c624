"""The backends by name: the modules of this folder, engines, and entry points of other packages.

A backend is a subclass of `Backend` in a module of this folder, one of `ENGINES`, or an entry point
in the group `executors.backends` with the backend's name and its class.
"""

from __future__ import annotations

import inspect
import logging
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from executors.backends.base import Backend
from executors.core.records import describe
from executors.engines import ENGINES, FUTURES
from executors.errors import BackendError
from executors.spelling import instead

logger = logging.getLogger("executors")

ENTRY_POINTS = "executors.backends"
SEQUENTIAL = "sequential"
SIMULATED = "simulated"
STACK = "stack:"  # before the name of a ZenML stack


def backend_names() -> list[str]:
    """Names of all backends that run tasks, available here or not; engines come last."""
    names = {name for name, backend in _built_in().items() if backend.runs_tasks}
    names |= {point.name for point in _entry_points()} - {SIMULATED}
    names |= set(ENGINES) - {FUTURES}  # which needs to be told what it runs on
    return sorted(names, key=lambda name: (name != SEQUENTIAL, name in ENGINES, name))


def default_backends() -> list[str]:
    """Names of those that are available here and measured unless others are named."""
    return [
        name
        for name in backend_names()
        if why_unavailable(name) is None and backend_class(name).is_default
    ]


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, available here or not.

    Raises:
        BackendError: no backend has this name, or its package cannot be imported.
    """
    if name in _built_in():
        return _built_in()[name]
    if name in ENGINES:
        module, _, attribute = ENGINES[name].partition(":")
        engine: type[Backend] = getattr(import_module(module), attribute)
        return engine
    if name.startswith(STACK):
        return _stack(name)
    for point in _entry_points():
        if point.name != name:
            continue
        try:
            backend = point.load()
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, ImportError) else describe(error)
            raise BackendError(
                f"backend {name!r} ({point.value}) cannot be imported: {reason}"
            ) from error
        if not (isinstance(backend, type) and issubclass(backend, Backend)):
            raise BackendError(f"backend {name!r} ({point.value}) is not a subclass of Backend")
        return backend
    known = [*backend_names(), FUTURES, SIMULATED]
    raise BackendError(f"unknown backend {name!r}; {instead(name, known, 'known backends')}")


@cache
def _stack(name: str) -> type[Backend]:
    """The backend of a ZenML stack.

    Raises:
        BackendError: ZenML cannot be imported.
    """
    try:
        stack: type[Backend] = import_module("executors.zenml.stacks.backend").stack_class(name)
    except ImportError as error:
        raise BackendError(f"ZenML cannot be imported: {error}") from error
    return stack


def _entry_points() -> list[EntryPoint]:
    """Those of other packages; without all of them if one cannot be read."""
    try:
        return list(entry_points(group=ENTRY_POINTS))
    except Exception as error:
        logger.warning("the backends of other packages cannot be read: %s", describe(error))
        return []


def why_unavailable(name: str) -> str | None:
    """Why a backend cannot run here, or cannot even be imported; None if it can run."""
    try:
        return backend_class(name).unavailable()
    except BackendError as error:
        return str(error)


def load_backend(name: str, workers: int | None = None, **options: Any) -> Backend:
    """A backend, ready to be entered.

    Args:
        name: one of `backend_names()`.
        workers: how many tasks may run at once; None means `usable_cpus()`.
        options: further arguments of the backend's class.

    Raises:
        BackendError: unknown, not available here, a wrong option, or not a whole number of
            workers >= 1.
    """
    backend = backend_class(name)
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"backend {name!r} is not available here: {reason}")
    known = inspect.signature(backend).parameters
    for option in options:
        if option not in known:
            takes = instead(option, known, "its options")
            raise BackendError(f"backend {name!r} has no option {option!r}; {takes}")
    return backend(workers, **options)


@cache
def _built_in() -> dict[str, type[Backend]]:
    backends: dict[str, type[Backend]] = {}
    for module in pkgutil.iter_modules(__path__):
        for content in vars(import_module(f"{__name__}.{module.name}")).values():
            is_backend = isinstance(content, type) and issubclass(content, Backend)
            if is_backend and "name" in vars(content):
                backends[content.name] = content
    return backends
