"""`Workers`: a backend with a `Pool`, and one `Dispatch` per run.

What runs workers is imported when a backend is created: it needs modules that only POSIX systems
have, and the names of backends must be known everywhere.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from executors.backends.base import Backend
from executors.core.records import describe, shown
from executors.core.session import Session
from executors.errors import BackendError

if TYPE_CHECKING:
    from executors.backends.workers.bodies.base import Bodies


class Workers(Backend):
    """A backend with a `Pool` of workers that get pickled calls.

    Args:
        workers: their number; None means `usable_cpus()`.
        body: what a worker runs in.
        initializer, preload, memory_limit_bytes: as `Processes` has them.

    Raises:
        BackendError: an argument is wrong, or the system has no room for that many workers.
    """

    def __init__(
        self,
        workers: int | None,
        body: Bodies,
        initializer: Callable[[], object] | None,
        preload: Sequence[str],
        memory_limit_bytes: int | None = None,
    ) -> None:
        from executors.backends.workers.pool import Pool
        from executors.backends.workers.wire import WorkerOptions

        super().__init__(workers)
        options = WorkerOptions(
            memory_limit_bytes, _checked_preload(preload), _checked_initializer(initializer)
        )
        self._new_pool = partial(Pool, self.workers, options, body)
        self._pool = self._new_pool()

    @classmethod
    def unavailable(cls) -> str | None:
        for name in ("fcntl", "resource", "termios"):
            try:
                import_module(name)
            except ImportError:
                return f"it needs a POSIX system (Linux or macOS); this Python has no module {name}"
        if not sys.executable:
            return "this interpreter does not know its own path (sys.executable is empty)"
        return None

    def open(self) -> None:
        """Starts all workers at once and waits until each of them is ready.

        Raises:
            BackendError: they do not start, or this process is only importing the main module.
        """
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and getattr(processes.current_process(), "_inheriting", False):
            raise BackendError(
                "a process of multiprocessing imports the main module of its program, and with it a"
                " run; put what starts the run below: if __name__ == '__main__':"
            )
        self._pool.open()
        self._dropped = weakref.finalize(self, self._pool.abandon)
        self._dropped.atexit = self._pool.outlasts  # else workers end with their program anyway

    def close(self) -> None:
        self._dropped.detach()
        self._pool.close()

    def wake(self) -> None:
        self._pool.wake()

    def drive(self, session: Session) -> None:
        from executors.backends.workers.dispatch import Dispatch

        if self._pool.is_of_parent:  # in a forked child
            self._pool = self._new_pool()
            self._pool.open()
        try:
            self._pool.keep_up()
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
    from executors.pickling.packing import dumps_by_value

    if not callable(initializer):
        raise BackendError(f"initializer must be callable, not {initializer!r}")
    try:
        return dumps_by_value(initializer)
    except Exception as error:
        raise BackendError(
            f"the initializer {shown(initializer)} cannot be pickled: {describe(error)}"
        ) from error
