"""`Backend`: the interface of every way of running tasks, and how an action is run.

A backend decides nothing: it takes calls from a `Session`, has its workers make the attempts,
and gives the outcomes back. A backend needs two methods, `drive` and `wake`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic
from typing import Any, ClassVar, Self

from executors.backends.meter import CpuMeter
from executors.backends.room import check_room
from executors.core.deferred import DEFERRED, refusal
from executors.core.graph import Graph
from executors.core.records import Attempt, Call
from executors.core.session import Session
from executors.cpus import usable_cpus
from executors.errors import BackendError, TaskStopped, TaskTimeout

# The longest sleep of a thread that drives. If two signals arrive together, the kernel may give
# both to another thread; then nothing wakes the main thread, which alone runs Python's handlers.
LONGEST_SLEEP_S = 1.0


class Feature(StrEnum):
    """What a graph or a run may ask of a backend beyond running tasks in order.

    `STOP` means that running tasks end, or are given up, soon after a stop; the others are
    properties of tasks.
    """

    RETRIES = "retries"
    TIMEOUTS = "timeouts"
    SLOTS = "slots"
    CONTEXTS = "contexts"
    STOP = "stop"


def features_of(graph: Graph) -> set[Feature]:
    """What the tasks of a graph need."""
    needed = set()
    for task in graph.tasks:
        if task.retries:
            needed.add(Feature.RETRIES)
        if task.timeout_s is not None:
            needed.add(Feature.TIMEOUTS)
        if task.slots != 1:
            needed.add(Feature.SLOTS)
        if task.context is not None:
            needed.add(Feature.CONTEXTS)
    return needed


class Backend(ABC):
    """Runs the calls of a session on its workers.

    A context manager: on entry its workers are started and ready, on exit they are gone.
    It may drive several sessions, one after the other.

    Args:
        workers: their number; None means `usable_cpus()`.

    Attributes:
        name: the name that `load_backend` takes.
        runs_tasks: False for a backend that only predicts how long a run would take.
        shares_interpreter: its workers are threads of one interpreter, which take turns at its lock
            (GIL) if it has one.
        is_default: `bench` measures it unless other backends are named.
        packages: what it runs on, as names of installed distributions.
        cannot: what it cannot do, with the reason; see `refuses`.
        start_guess_s: about how long its workers take to start and end, for estimates before a run.
        worker_bytes: about how much memory an idle worker process takes; 0 for threads. More
            workers than fit are refused.
        environment: options that an environment variable sets if they are not given, by name.
        task_guess_s: about what it takes for a task, beyond the task itself, likewise.
        start_s: seconds until its workers were ready when it was last entered.

    Raises:
        BackendError: `workers` is not a whole number of at least 1, or this machine has no room for
            that many.
    """

    name: ClassVar[str]
    runs_tasks: ClassVar[bool] = True
    shares_interpreter: ClassVar[bool] = False
    is_default: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    cannot: ClassVar[Mapping[Feature, str]] = {}
    start_guess_s: ClassVar[float] = 0.2
    worker_bytes: ClassVar[int] = 0
    environment: ClassVar[Mapping[str, str]] = {}
    task_guess_s: ClassVar[float] = 2e-5
    workers: int
    start_s: float = 0.0

    def __init__(self, workers: int | None = None) -> None:
        self.workers = usable_cpus() if workers is None else checked_workers(workers)
        if self.worker_bytes:
            check_room(self.workers, self.worker_bytes)
        self.is_open = False
        self._driving = threading.Lock()

    @property
    def is_driving(self) -> bool:
        """A run is under way."""
        return self._driving.locked()

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keeps other runs away while the context lasts.

        Raises:
            BackendError: another run is using this backend.
        """
        if not self._driving.acquire(blocking=False):
            raise BackendError("this backend is running another graph; load a second one")
        try:
            yield
        finally:
            self._driving.release()

    @classmethod
    def configured_workers(cls) -> int | None:
        """The number of workers that it has wherever it is loaded, or None if that is chosen."""
        return None

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot run here and what to do about it, or None if it can."""
        return None

    def refuses(self, graph: Graph) -> str | None:
        """Why this backend cannot run a graph as it says, or None if it can."""
        for feature in features_of(graph) if self.cannot else ():
            if feature in self.cannot:
                return f"{self.name} does not support {feature}: {self.cannot[feature]}"
        return None

    def __enter__(self) -> Self:
        if self.is_open:
            raise BackendError("this backend has already been entered; load a second one")
        began_s = monotonic()
        self.open()
        self.start_s = monotonic() - began_s
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False
        self.close()

    def open(self) -> None:  # noqa: B027 - optional: not every backend has workers of its own
        """Starts the workers; returns when they are ready."""

    def close(self) -> None:  # noqa: B027
        """Stops the workers; returns when they are gone."""

    @abstractmethod
    def drive(self, session: Session) -> None:
        """Runs the session's calls until it is over; blocks the calling thread."""

    @abstractmethod
    def wake(self) -> None:
        """Makes a blocked `drive` look at its session again.

        Called from any thread and from signal handlers, also while no run is under way.
        """

    def elsewhere_cpu_s(self) -> float:
        """Processor seconds so far of workers that are not below this process: of other machines.

        It may take a moment, so it is not called during a run.
        """
        return 0.0

    def clock(self) -> float:
        """The current time of this backend's runs, in seconds."""
        return monotonic()

    def unwrap(self, value: Any) -> Any:
        """Turns a value that this backend gave to the session into the object it stands for."""
        return value


def checked_workers(workers: object) -> int:
    """`workers` itself, if it is a whole number of at least 1."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BackendError(f"workers must be a whole number of at least 1, not {workers!r}")
    return workers


# What came of an action: when it started and ended, its value, and its error or None.
Performed = tuple[float, float, Any, BaseException | None]


def act(action: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Calls the action. A stop signal raises only in frames below this one."""
    return action(*arguments)


def perform(action: Callable[..., Any], arguments: Sequence[Any]) -> Performed:
    """Runs an action here and now; anything that it raises is its outcome.

    It does not depend on the run, so it can be submitted to any other pool with the action and
    the arguments: `pool.submit(perform, call.task.action, arguments_of(call))`.
    """
    value: Any = None
    error: BaseException | None = None
    started_s = monotonic()
    try:
        value = act(action, arguments)
        if value.__class__ in DEFERRED:
            raise refusal(value)
    except BaseException as raised:
        value, error = None, without_frames(raised, 2)
    return started_s, monotonic(), value, error


def arguments_of(call: Call) -> list[Any]:
    """The values that the call's action takes, in order."""
    return list(map(call.values.__getitem__, call.needs))


def attempt(call: Call, worker: str) -> Attempt:
    """Makes an attempt in this thread; whatever the action raises is the outcome."""
    started_s, ended_s, value, error = perform(call.task.action, arguments_of(call))
    return Attempt(call, worker, started_s, ended_s, value, error)


def metered(outcome: Attempt, meter: CpuMeter) -> Attempt:
    """The attempt that this thread has just made, with the time for which it computed."""
    if outcome.ended_s >= meter.due_s:
        outcome.cpu_s = meter.end(outcome.started_s, outcome.ended_s)
    return outcome


def checked_grace(grace_s: object) -> float:
    """`grace_s` itself, if it is a number of at least 0."""
    if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not grace_s >= 0:
        raise BackendError(f"grace_s must be a number of seconds of at least 0, not {grace_s!r}")
    return grace_s


def timed_out(call: Call, consequence: str) -> TaskTimeout:
    """The error of a call that overran its task's timeout."""
    return TaskTimeout(
        f"task {call.task.name!r} took longer than its timeout of {call.task.timeout_s:g} s;"
        f" {consequence}"
    )


def in_time(call: Call, outcome: Attempt) -> Attempt:
    """The outcome, or its timeout: noticed only when the task returns."""
    timeout_s = call.task.timeout_s
    if timeout_s is not None and outcome.error is None and outcome.duration_s > timeout_s:
        outcome.value = None
        outcome.error = timed_out(call, f"it returned after {outcome.duration_s:.3g} s")
    return outcome


def stopped(call: Call, session: Session, consequence: str) -> TaskStopped:
    """The error of a call that was running when its run was stopped."""
    return TaskStopped(
        f"task {call.task.name!r} was running when the run was stopped ({session.stop_reason});"
        f" {consequence}"
    )


def without_frames(error: BaseException, count: int) -> BaseException:
    """Drops the outermost frames of a traceback: the scheduler's own.

    The user sees only the action's frames, and the error keeps none of the scheduler's alive.
    """
    traceback = error.__traceback__
    for _ in range(count):
        if traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
    return error.with_traceback(traceback)
