"""The interpreter backend: the pool of the process backend, over interpreters of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import ClassVar

from executors.backends.workers.backend import Workers


class Interpreters(Workers):
    """Worker interpreters of this process, each with an interpreter lock of its own (PEP 734).

    Python code runs in parallel as in processes, values are pickled and shared in the same way, and
    start and memory are smaller. But they are in one process: `os.chdir` and environment variables
    are common to all, there is no memory limit, and a crash in C code ends the program. An
    interpreter cannot be killed: a task that overruns its `timeout_s`, or is still running when the
    run is stopped, is reported as such and its interpreter is given up; another one takes its
    place. Packages whose C code does not support interpreters (numpy and torch are among them)
    cannot be imported in tasks.

    Args:
        workers: their number; None means `usable_cpus()`.
        initializer: called without arguments in each interpreter before it is ready.
        preload: names of modules that each imports before it is ready.

    Raises:
        BackendError: an argument is wrong.
    """

    name: ClassVar[str] = "interpreters"
    start_guess_s: ClassVar[float] = 0.2

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[[], object] | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        from executors.backends.workers.bodies.interpreter import InterpreterBody

        super().__init__(workers, InterpreterBody, initializer, preload)

    @classmethod
    def unavailable(cls) -> str | None:
        if sys.version_info < (3, 14):
            return "it needs Python 3.14 or later, where interpreters are in the standard library"
        return super().unavailable()
