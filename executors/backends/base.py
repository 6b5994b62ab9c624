"""`Backend`, the port that every way of running tasks implements, and `attempt`.

A backend decides nothing: it takes calls from a `Session`, has its workers make the attempts,
and gives the outcomes back. Two methods make a backend, `drive` and `wake`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Self

from executors.cpus import usable_cpus
from executors.errors import BackendError
from executors.records import Attempt, Call
from executors.session import Session

# The longest sleep of a thread that drives. Of two signals at once, the kernel may give both to
# another thread, and then nothing wakes the main thread, which alone runs Python's handlers.
LONGEST_SLEEP_S = 1.0


class Backend(ABC):
    """Runs the calls of a session on its workers.

    A context manager: on entry its workers are started and ready, on exit they are gone.
    It may drive several sessions, one after the other.

    Args:
        workers: how many; None means `usable_cpus()`.

    Attributes:
        start_s: seconds that its workers took to be ready when it was entered last.

    Raises:
        BackendError: `workers` is not a whole number of at least 1.
    """

    name: ClassVar[str]
    runs_tasks: ClassVar[bool] = True  # False: it says what a run would take, and runs nothing
    workers: int
    start_s: float = 0.0

    def __init__(self, workers: int | None = None) -> None:
        self.workers = usable_cpus() if workers is None else checked_workers(workers)
        self.is_open = False
        self._driving = threading.Lock()

    @property
    def is_driving(self) -> bool:
        """A run is under way."""
        return self._driving.locked()

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """For one run at a time.

        Raises:
            BackendError: another run has it.
        """
        if not self._driving.acquire(blocking=False):
            raise BackendError("this backend is running another graph; load a second one")
        try:
            yield
        finally:
            self._driving.release()

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot run here and what to do about it, or None if it can."""
        return None

    def __enter__(self) -> Self:
        if self.is_open:
            raise BackendError("this backend is entered already; load a second one")
        began_s = monotonic()
        self.open()
        self.start_s = monotonic() - began_s
        self.is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_open = False
        self.close()

    def open(self) -> None:  # noqa: B027 - a backend without workers of its own has nothing to do
        """Starts the workers; returns when they are ready."""

    def close(self) -> None:  # noqa: B027
        """Ends the workers; returns when they are gone."""

    @abstractmethod
    def drive(self, session: Session) -> None:
        """Runs the session's calls until it is over; blocks the calling thread."""

    @abstractmethod
    def wake(self) -> None:
        """Makes a blocked `drive` look at its session again.

        Called from any thread and from signal handlers, also when nothing is driven.
        """

    def clock(self) -> float:
        """The time of this backend's runs, in seconds."""
        return monotonic()

    def unwrap(self, value: Any) -> Any:
        """The object behind a value that this backend gave to the session."""
        return value


def checked_workers(workers: object) -> int:
    """`workers` itself, if it is a whole number of at least 1."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BackendError(f"workers must be a whole number of at least 1, not {workers!r}")
    return workers


def act(action: Callable[..., Any], call: Call) -> Any:
    """Calls the action. A stop signal raises only in frames below this one."""
    return action(*map(call.values.__getitem__, call.needs))


def attempt(call: Call, worker: str) -> Attempt:
    """Makes an attempt in this thread; whatever the action raises is the outcome."""
    value: Any = None
    error: BaseException | None = None
    started_s = monotonic()
    try:
        value = act(call.task.action, call)
    except BaseException as raised:
        error = without_frames(raised, 2)
    return Attempt(call, worker, started_s, monotonic(), value, error)


def without_frames(error: BaseException, count: int) -> BaseException:
    """Drops the outermost frames of a traceback: the scheduler's own.

    The user sees only the action's frames, and the error does not pin the scheduler's.
    """
    traceback = error.__traceback__
    for _ in range(count):
        if traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
    return error.with_traceback(traceback)
