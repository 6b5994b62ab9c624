"""What a run passes around and leaves behind: Call, Attempt, TaskRecord, RunReport.

`Call` and `Attempt` are created for every task, so they are slotted but not frozen: freezing
them would take longer than the rest of the scheduler. Only the session changes them.
All times are `time.monotonic()` seconds, comparable between the processes of one machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from executors.core.descriptions import describe as describe
from executors.core.descriptions import shown as shown
from executors.core.summary import Readable
from executors.durations import shown as shown_s
from executors.errors import RunFailed

if TYPE_CHECKING:
    from executors.core.graph import Graph, Task


class Status(StrEnum):
    """How a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # its last attempt failed; the error says whether by itself
    STOPPED = "stopped"  # it was running when the run was stopped
    UPSTREAM_FAILED = "upstream_failed"  # never started: a task that it needs did not succeed
    NOT_STARTED = "not_started"  # the run ended before it could start


def _renamed(owner: str, old: str, new: str) -> property:
    """The old name of an attribute, which goes on working with a warning."""

    def read(record: object) -> Any:
        warnings.warn(f"{owner}.{old} is now {owner}.{new}", DeprecationWarning, 2)
        return getattr(record, new)

    return property(read, doc=f"The old name of `{new}`.")


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """One attempt that a worker should make.

    Attributes:
        rank: the task's rank in the graph.
        task: the task itself.
        number: 1 for the first attempt.
        needs: value references (ranks of the needed tasks), in argument order.
        values: the run's values by reference, in the form in which the backend gave them.
        is_announced: observers were notified of its start.
    """

    rank: int
    task: Task
    number: int
    needs: tuple[int, ...]
    values: list[Any]
    is_announced: bool = False

    def __repr__(self) -> str:
        return f"<call {self.number} of {self.task.name!r}>"

    index = _renamed("Call", "index", "rank")
    is_told = _renamed("Call", "is_told", "is_announced")


@dataclass(slots=True, eq=False, repr=False)
class Attempt:
    """A call and its outcome: a value or an error (any BaseException).

    The session removes the value, so the attempts that observers and records show keep no value
    alive.

    Attributes:
        worker: name of the worker that made it.
        started_s: when the action started, on the worker.
        ended_s: when it ended, on the worker.
        cpu_s: seconds for which its thread computed, without threads and processes that the action
            starts; None if it was too short to tell (less than 0.1 ms), or if `run` was not asked
            for it (`measure_cpu`).
        peak_bytes: the largest resident size of its worker process until then; None if it took
            less than 5 ms, or on other backends.
    """

    call: Call
    worker: str
    started_s: float
    ended_s: float
    value: Any
    error: BaseException | None
    cpu_s: float | None = None
    peak_bytes: int | None = None

    def __repr__(self) -> str:
        outcome = "succeeded" if self.error is None else f"failed: {describe(self.error)}"
        return f"<attempt {self.number} of {self.task_name!r} on {self.worker}: {outcome}>"

    @property
    def task_name(self) -> str:
        return self.call.task.name

    name = _renamed("Attempt", "name", "task_name")

    @property
    def number(self) -> int:
        return self.call.number

    @property
    def duration_s(self) -> float:
        return self.ended_s - self.started_s


@dataclass(frozen=True, slots=True)
class Stop:
    """Running tasks are being stopped, and why."""

    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class TaskRecord:
    """One task of a finished run.

    Its time divides into waiting (`ready_s` to `taken_s`, including earlier attempts), dispatch (to
    the last attempt's `started_s`), work (to its `ended_s`) and return (to `received_s`).

    Attributes:
        attempts: in order; empty if it never started.
        ready_s: when its last need was met, or None.
        taken_s: when the last attempt was taken for a worker, or None.
        received_s: when the last attempt's outcome was known to the scheduler, or None.
    """

    name: str
    status: Status
    attempts: tuple[Attempt, ...]
    ready_s: float | None
    taken_s: float | None
    received_s: float | None

    def __repr__(self) -> str:
        ran = f" after {shown_s(self.duration_s)}" if self.attempts else ""
        return f"<TaskRecord {self.name!r}: {self.status}{ran}>"

    @property
    def error(self) -> BaseException | None:
        """The last attempt's error, or None."""
        return self.attempts[-1].error if self.attempts else None

    @property
    def duration_s(self) -> float:
        """Seconds of work in the last attempt (0 if it never started)."""
        return self.attempts[-1].duration_s if self.attempts else 0.0


class Records(Mapping[str, TaskRecord]):
    """Records by task name, in the graph's order; each is built when it is read."""

    def __init__(self, graph: Graph, make: Callable[[int], TaskRecord]) -> None:
        self._graph = graph
        self._make = make

    def __getitem__(self, name: str) -> TaskRecord:
        return self._make(self._graph.rank[name])

    def __iter__(self) -> Iterator[str]:
        return (task.name for task in self._graph.tasks)

    def __len__(self) -> int:
        return len(self._graph)

    def __repr__(self) -> str:
        return f"<records of {len(self)} tasks>"


@dataclass(frozen=True, slots=True)
class Imports:
    """Modules that a worker process imported for a task.

    Attributes:
        modules: the packages, those with the most new modules first; without the standard library.
        load_s: seconds from the receipt of the call to the start of its action, in which modules
            that its pickle names were imported.
    """

    task_name: str
    worker: str
    modules: tuple[str, ...]
    load_s: float


@dataclass(frozen=True, slots=True, repr=False)
class RunReport(Readable):
    """What a run did; `print` it for a line, or its `summary()` for a table.

    Attributes:
        backend: its name.
        workers: their number.
        policy: the failure policy's name.
        started_s: when the backend began to drive.
        ended_s: when nothing was running and nothing more would start.
        stop_reason: why the run was stopped early (a failure, a signal, a cancel), or None.
        counts: the number of tasks that ended with each status, without zeros.
        tasks: a record for each task, by name.
        values: the kept values, by task name.
        imports: what worker processes imported for its tasks.
    """

    backend: str
    workers: int
    policy: str
    started_s: float
    ended_s: float
    stop_reason: str | None
    counts: Mapping[Status, int]
    tasks: Mapping[str, TaskRecord]
    values: Mapping[str, Any]
    imports: tuple[Imports, ...] = ()

    @property
    def makespan_s(self) -> float:
        return self.ended_s - self.started_s

    @property
    def succeeded(self) -> bool:
        """Every task succeeded."""
        return self.counts.get(Status.SUCCEEDED, 0) == len(self.tasks)

    @property
    def failures(self) -> list[TaskRecord]:
        """Records of the tasks that failed, the earliest failure first."""
        if not self.counts.get(Status.FAILED):
            return []
        failed = [record for record in self.tasks.values() if record.status is Status.FAILED]
        return sorted(failed, key=lambda record: record.received_s or 0.0)

    def raise_for_failures(self) -> None:
        """Does nothing after a run in which every task succeeded.

        Raises:
            RunFailed: a task failed or the run was stopped; its `__cause__` is the first error.
        """
        if self.succeeded:
            return
        failures = self.failures
        if failures:
            shown = ", ".join(repr(record.name) for record in failures[:5])
            more = f" and {len(failures) - 5} more" if len(failures) > 5 else ""
            message = (
                f"{len(failures)} of {len(self.tasks)} tasks failed: {shown}{more};"
                f" the first error: {describe(failures[0].error)}"
            )
        else:
            message = f"the run was stopped: {self.stop_reason}"
        error = RunFailed(message)
        error.report = self  # type: ignore[attr-defined]
        raise error from (failures[0].error if failures else None)
