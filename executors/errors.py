"""Everything that this package raises, or puts into a record, as one tree.

The errors about ZenML are in `executors.zenml.errors`.

::

    ExecutorError
    ├── GraphError (ValueError)      a graph that cannot run: raised when it is built
    ├── ArgumentError (ValueError)   `run` was called with something that it cannot use
    ├── BackendError                 unknown, unavailable, wrongly sized or misused backend
    ├── RunFailed                    raised by RunReport.raise_for_failures()
    └── TaskError                    outcomes that the scheduler itself gives to a task
        ├── TaskTimeout (TimeoutError)   ran longer than its timeout_s
        ├── TaskStopped                  was running when the run was stopped
        ├── WorkerDied                   its worker process was killed or exited
        ├── MemoryLimitExceeded (MemoryError)   needed more memory than its worker may use
        └── NotPicklable                 action, argument or value cannot cross processes
            └── RemoteError              replaces an exception that cannot

    KeyboardInterrupt
    └── ActionInterrupted            raised inside an action on the main thread by a stop
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class ExecutorError(Exception):
    """Base of all errors of this package."""


class GraphError(ExecutorError, ValueError):
    """A task or graph is malformed; the message names the task."""


class ArgumentError(ExecutorError, ValueError):
    """An argument of `run` is not what it must be; the message names it."""


class BackendError(ExecutorError):
    """A backend is unknown, not available here, wrongly sized, or used wrongly."""


class RunFailed(ExecutorError):
    """A run did not succeed; `__cause__` is the first failure, `report` has all of them."""


class TaskError(ExecutorError):
    """An outcome that the scheduler gave to a task, not one that its action raised."""


class TaskTimeout(TaskError, TimeoutError):
    """The attempt took longer than the task's `timeout_s`."""


class TaskStopped(TaskError):
    """The attempt was still running when the run was stopped."""


class WorkerDied(TaskError):
    """The worker process that ran the attempt was killed or exited."""


class MemoryLimitExceeded(TaskError, MemoryError):
    """The attempt needed more memory than its worker may use (`memory_limit_bytes`)."""


class NotPicklable(TaskError):
    """Something that has to cross between processes cannot be pickled or unpickled."""


class NotLoadable(TaskError):
    """A task needs a module whose C code cannot be loaded in a worker interpreter."""


class RemoteError(NotPicklable):
    """The text of an exception that could not be sent back from its worker process.

    Attributes:
        type_name: the qualified name of the exception's class.
        text: class and message, and why the exception itself could not be sent.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return self.text


class ActionInterrupted(KeyboardInterrupt):
    """Raised inside an action that the main thread runs when a signal stops the run."""


def without_frames(error: BaseException) -> BaseException:
    """Returns the error after its tracebacks, and those of its causes, were taken off.

    For errors that the scheduler itself has caught and puts into a record: their frames would keep
    what its functions hold, such as values and a cluster's futures, for as long as the report.
    """
    seen: BaseException | None = error
    while seen is not None and seen.__traceback__ is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return error


def __getattr__(name: str) -> Any:
    if name in ("InstallError", "UnsupportedZenML"):  # where they were before
        return getattr(import_module("executors.zenml.errors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
