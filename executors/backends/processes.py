"""The process-pool backend: its options, its `Pool`, and a `Dispatch` for each run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from executors.backends.base import Backend
from executors.backends.child import check_room
from executors.backends.dispatch import Dispatch
from executors.backends.packing import dumps_by_value
from executors.backends.pool import Pool
from executors.backends.wire import Options
from executors.errors import BackendError
from executors.records import describe, shown
from executors.session import Session


class Processes(Backend):
    """Worker processes: python code runs in parallel, at the price of pickling.

    Actions may be lambdas and closures; each attempt gets a copy of its own. Values are pickled by
    the worker that made them and unpickled by each reader; buffers of 32 KiB and more, as of numpy
    arrays, are in shared memory, which readers map (writes stay private). A worker that is killed,
    exits or crashes fails only the task it was running, with `WorkerDied`, and is replaced. A task
    that overruns its `timeout_s` is killed with its worker, as is whatever runs when the run is
    stopped.

    Args:
        workers: how many; None means `usable_cpus()`.
        initializer: called without arguments in each worker before it is ready.
        preload: names of modules that each worker imports before it is ready.
        memory_limit_bytes: memory that a worker may allocate, with the interpreter's own; an
            attempt that needs more fails with `MemoryLimitExceeded`. Linux only (RLIMIT_DATA): it
            counts private memory, touched or not, and of shared memory what arguments map.

    Raises:
        BackendError: an argument is wrong, or there is no room for so many workers.
    """

    name: ClassVar[str] = "processes"

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[[], object] | None = None,
        preload: Sequence[str] = (),
        memory_limit_bytes: int | None = None,
    ) -> None:
        super().__init__(workers)
        check_room(self.workers)
        options = Options(
            _checked_limit(memory_limit_bytes),
            _checked_preload(preload),
            _checked_initializer(initializer),
        )
        self._pool = Pool(self.workers, options)

    @classmethod
    def unavailable(cls) -> str | None:
        if os.name != "posix":
            return "it needs a POSIX system (Linux or macOS)"
        if not sys.executable:
            return "this interpreter does not know its own path (sys.executable is empty)"
        return None

    def open(self) -> None:
        """Starts all workers at once and waits until each says that it is ready.

        Raises:
            BackendError: they do not start.
        """
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    def wake(self) -> None:
        self._pool.wake()

    def drive(self, session: Session) -> None:
        try:
            self._pool.fill()  # an earlier run may have ended some
            Dispatch(self._pool, session).drive()
        except BaseException:
            self._pool.kill_all()
            raise

    def unwrap(self, value: Any) -> Any:
        return value.value


def _checked_preload(preload: Sequence[str]) -> tuple[str, ...]:
    if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
        raise BackendError(f"preload must be a sequence of module names, not {preload!r}")
    return tuple(preload)


def _checked_initializer(initializer: Callable[[], object] | None) -> bytes | None:
    if initializer is None:
        return None
    if not callable(initializer):
        raise BackendError(f"initializer must be callable, not {initializer!r}")
    try:
        return dumps_by_value(initializer)
    except Exception as error:
        raise BackendError(
            f"the initializer {shown(initializer)} cannot be pickled: {describe(error)}"
        ) from error


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise BackendError(f"memory_limit_bytes must be a whole number of bytes, not {limit!r}")
    if sys.platform != "linux":
        raise BackendError("memory_limit_bytes works on Linux only")
    return limit
