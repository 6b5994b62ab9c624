"""`futures`: any executor, which the user makes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, ClassVar

from executors.core.records import describe
from executors.engines.pools import FuturesBackend
from executors.errors import BackendError

MakeExecutor = Callable[[int], Executor]
WHERE = "as in load_backend('futures', executor=make_executor)"


class Futures(FuturesBackend):
    """Runs tasks on any `concurrent.futures.Executor`.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        executor: takes a number of workers and returns a new executor; or where to find such a
            function, as "module:function".
        grace_s: seconds that running tasks have to end after a stop.

    Raises:
        BackendError: `executor` is missing, cannot be imported, or is not callable.
    """

    name: ClassVar[str] = "futures"

    def __init__(
        self,
        workers: int | None = None,
        *,
        executor: MakeExecutor | str | None = None,
        grace_s: float = 1.0,
    ) -> None:
        super().__init__(workers, grace_s=grace_s)
        if executor is None:
            raise BackendError(
                "backend 'futures' needs the option executor, a function that takes the number of"
                f" workers and returns a concurrent.futures.Executor, {WHERE}; on the command"
                " line: --backend-option futures.executor=MODULE:FUNCTION"
            )
        self._make = _imported(executor) if isinstance(executor, str) else executor
        if not callable(self._make):
            raise BackendError(f"executor must be a function, {WHERE}, not {executor!r}")

    def make(self) -> Executor:
        executor: Executor = self._make(self.workers)
        return executor


def _imported(where: str) -> Any:
    """What "module:name" stands for.

    Raises:
        BackendError: it is not of this form, or cannot be imported.
    """
    module, colon, name = where.partition(":")
    if not colon:
        raise BackendError(f"executor must be MODULE:FUNCTION, not {where!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise BackendError(f"executor {where!r} cannot be imported: {describe(error)}") from error
