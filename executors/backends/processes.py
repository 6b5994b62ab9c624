"""The process-pool backend."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from executors.backends.workers.backend import Workers
from executors.errors import BackendError

if TYPE_CHECKING:
    from executors.backends.workers.bodies.forked import Template


class Processes(Workers):
    """Worker processes: Python code runs in parallel, but values have to be pickled.

    Actions may be lambdas and closures; each attempt gets its own copy. Values are pickled by the
    worker that made them and unpickled by each reader. Buffers of 32 KiB and more, for example of
    numpy arrays, are in shared memory, which readers map (their writes stay private). A worker that
    is killed, exits or crashes fails only the task it was running, with `WorkerDied`, and is
    replaced. A task that overruns its `timeout_s`, or is running when the run is stopped, is killed
    with its worker.

    Args:
        workers: their number; None means `usable_cpus()`.
        initializer: called without arguments in each worker before it is ready.
        preload: names of modules that each worker imports before it is ready.
        memory_limit_bytes: memory that a worker may allocate, including the interpreter; an attempt
            that needs more fails with `MemoryLimitExceeded`. Linux only (RLIMIT_DATA): it counts
            private memory, touched or not, and the shared memory that arguments map.

    Raises:
        BackendError: an argument is wrong, or the system has no room for that many workers.
    """

    name: ClassVar[str] = "processes"
    worker_bytes: ClassVar[int] = 20_000_000

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[[], object] | None = None,
        preload: Sequence[str] = (),
        memory_limit_bytes: int | None = None,
    ) -> None:
        from executors.backends.workers.bodies.process import ProcessBody

        limit_bytes = _checked_limit(memory_limit_bytes)
        super().__init__(workers, ProcessBody, initializer, preload, limit_bytes)

    @property
    def pids(self) -> list[int]:
        """The process ids of its workers, while it is entered."""
        return [worker.body.pid for worker in list(self._pool.workers.values())]


class ForkedProcesses(Processes):
    """`Processes` that start in milliseconds: their workers are forks of a template.

    They share the memory of what it has imported. Where it cannot fork, they are fresh processes.

    Args:
        template: may be that of other pools, too, and outlives them.
        workers, initializer, memory_limit_bytes: as `Processes` has them.

    Raises:
        BackendError: as `Processes`.
    """

    def __init__(
        self,
        workers: int | None,
        template: Template,
        *,
        initializer: Callable[[], object] | None = None,
        memory_limit_bytes: int | None = None,
    ) -> None:
        limit_bytes = _checked_limit(memory_limit_bytes)
        Workers.__init__(self, workers, template, initializer, (), limit_bytes)


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise BackendError(f"memory_limit_bytes must be a whole number of bytes, not {limit!r}")
    if sys.platform != "linux":
        raise BackendError("memory_limit_bytes works on Linux only")
    return limit
