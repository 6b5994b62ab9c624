"""Modules that have moved: their old names can still be imported, with a warning.

The finder is the last one in `sys.meta_path`, so it is asked only for names that nothing else
provides.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

FOLDERS = {  # new package: (old package, names of the modules)
    "executors.core": ("executors", "graph policy queues records session"),
    "executors.backends.workers": ("executors.backends", "dispatch orders pace pool wire"),
    "executors.imports": ("executors", "interpreter moved"),
    "executors.pickling": ("executors.backends.workers", "packing"),
    "executors.zenml.process": ("executors.zenml", "environments stops"),
    "executors.zenml.store": ("executors.zenml", "history"),
    "bench.analysis": ("bench", "estimates"),
    "bench.cli": ("bench", "config group"),
    "bench.machine": ("bench", "blas counters doctor noise sampler"),
    "bench.measure": ("bench", "harness plan prepared"),
    "bench.predict": ("bench", "prediction profiler simulation"),
    "bench.recommend": ("bench", "decision pipelines recommendation"),
    "bench.workloads": ("bench", "duration kernels shapes workflows"),
}
RENAMED = {
    "executors.sharing": "executors.contention",
    "executors.backends.child": "executors.backends.workers.handle",
    "executors.backends.parent": "executors.backends.workers.link",
    "executors.backends.packing": "executors.pickling.packing",
    "executors.raised": "executors.pickling.raised",
    "executors.backends.worker": "executors.backends.workers.main",
    "executors.zenml.static": "executors.zenml.steps",
    "executors.zenml.turns": "executors.zenml.process.keyed_lock",
    "bench.ceiling": "bench.machine.timing",
    "bench.machine.ceiling": "bench.machine.timing",
    "bench.compare": "bench.analysis.comparison",
    "bench.forms": "bench.results.schema",
    "bench.metg": "bench.granularity.crossings",
    "bench.models": "bench.analysis.scaling",
    "bench.statistics": "bench.analysis.summary",
}


def _moved() -> Iterator[tuple[str, str]]:
    for package, (old_package, names) in FOLDERS.items():
        for name in names.split():
            yield f"{old_package}.{name}", f"{package}.{name}"
    yield from RENAMED.items()


MOVED = dict(_moved())


class MovedFinder:
    """Finds a module under its old name; it is then the same module as under the new one."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, MovedFinder) if name in MOVED else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType | None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        old = module.__name__
        new = MOVED[old]
        # Pending: a program that runs with -W error::DeprecationWarning goes on working.
        warnings.warn(f"{old} is now {new}", PendingDeprecationWarning, 2)
        sys.modules[old] = import_module(new)

    @staticmethod
    def install() -> None:
        """Has imports find modules under their old names."""
        sys.meta_path.append(MovedFinder)
