"""The same session on a virtual clock: how long a run would take, without running anything.

::

    idle worker + ready task -> the scheduler starts one after the other -> the worker wakes up
        -> the task runs, slowed down by those that share cores and lock with it -> ended

Each kind of task (how much it computes, and how much of that with the interpreter lock) has a meter
of the work that one such task would have done since the run began. The meter rises at the speed
that `contention` gives, so a task ends when the meter shows its value at the start plus the task's
seconds. When other tasks start or end, only the speeds change; nothing is recomputed per task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import ClassVar

from executors.backends.base import Backend, stopped, timed_out
from executors.contention import Demand, Machine, Parts, stretches
from executors.core.graph import Task
from executors.core.records import Attempt, Call
from executors.core.session import Session
from executors.errors import BackendError

SIMULATED_END = "its simulated run was cut short"


@dataclass(frozen=True, slots=True)
class Overheads:
    """The time that a backend adds to the tasks, in seconds.

    Attributes:
        run_s: per run, before its first task.
        task_s: per task, in the scheduler, which starts tasks one after the other.
        wake_s: per worker that was idle, until it begins.
    """

    run_s: float = 0.0
    task_s: float = 0.0
    wake_s: float = 0.0


def given_cost(task: Task) -> Demand:
    """One busy core for the task's `cost_s`.

    Raises:
        BackendError: the task has no cost.
    """
    if task.cost_s is None:
        raise BackendError(
            f"task {task.name!r} has no cost_s, so its length is not known; set cost_s"
        )
    return Demand(task.cost_s)


class Simulated(Backend):
    """Runs nothing: on a virtual clock, each task takes the time that it is given.

    Values are None. Times in the report are on the virtual clock, which starts at 0 and continues
    from run to run. The time of a simulation depends on its tasks, not on its workers.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        demand: what a task needs; by default its `cost_s`, all of it on a core.
        machine: what the tasks share; by default as many cores as workers, which do not slow each
            other down, and no interpreter lock.
        overheads: those of the simulated backend; by default none, which is list scheduling.
    """

    name: ClassVar[str] = "simulated"
    runs_tasks: ClassVar[bool] = False

    def __init__(
        self,
        workers: int | None = None,
        *,
        demand: Callable[[Task], Demand] = given_cost,
        machine: Machine | None = None,
        overheads: Overheads = Overheads(),
    ) -> None:
        super().__init__(workers)
        self._demand = demand
        self._machine = machine or Machine.ideal(self.workers)
        self._overheads = overheads
        self._now_s = 0.0

    def clock(self) -> float:
        return self._now_s

    def drive(self, session: Session) -> None:
        virtual = _Run(session, self._demand, self._machine, self._overheads, self._now_s)
        try:
            virtual.drive()
        finally:
            self._now_s = virtual.now_s

    def wake(self) -> None:
        """It never sleeps."""


class _Meter:
    """The work that one task of a kind would have done so far, in seconds if it ran alone.

    Attributes:
        running: heap of (meter value at which the task ends, rank, call, worker, start).
    """

    __slots__ = ("running", "work_s")

    def __init__(self) -> None:
        self.work_s = 0.0
        self.running: list[tuple[float, int, Call, int, float]] = []


class _Run:
    """One run of a session on the virtual clock.

    Attributes:
        now_s: the clock.
        idle: workers without a call, the last one to become idle on top; workers numbered `unused`
            and above never had one.
        beginning: heap of (start time, rank, call, worker): calls on their way to a worker.
    """

    def __init__(
        self,
        session: Session,
        demand: Callable[[Task], Demand],
        machine: Machine,
        overheads: Overheads,
        now_s: float,
    ) -> None:
        self._session = session
        self._demand = demand
        self._machine = machine
        self._overheads = overheads
        self.now_s = now_s
        self._idle: list[int] = []
        self._unused = 0
        self._idle_since_s: dict[int, float] = {}
        self._free_s = now_s  # when the scheduler can start another task
        self._beginning: list[tuple[float, int, Call, int]] = []
        self._meters: dict[Parts, _Meter] = {}
        self._speeds: dict[tuple[int, ...], list[float]] = {}  # by the number of tasks per kind

    def drive(self) -> None:
        """Goes from event to event until the session is over."""
        session = self._session
        self.now_s = self._free_s = self.now_s + self._overheads.run_s
        while True:
            for call in session.overdue(self.now_s):
                self._end_early(call, timed_out(call, SIMULATED_END))
            if session.stopping:
                for call in session.running:
                    self._end_early(call, stopped(call, session, SIMULATED_END))
            while self._idle or self._unused < session.workers:
                ready = session.take(self.now_s)
                if ready is None:
                    break
                self._place(ready)
            if session.over:
                return
            self._advance()

    def _place(self, call: Call) -> None:
        """Gives a call to the worker that became idle last, because it may still be awake."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = self._unused
            self._unused += 1
        self._free_s = begins_s = max(self.now_s, self._free_s) + self._overheads.task_s
        if self._idle_since_s.get(worker) != self.now_s:
            begins_s += self._overheads.wake_s
        if begins_s > self.now_s:
            heappush(self._beginning, (begins_s, call.rank, call, worker))
        else:
            self._begin(call, worker)

    def _begin(self, call: Call, worker: int) -> None:
        self._session.started(call, self.now_s)
        demand = self._demand(call.task)
        meter = self._meters.setdefault((demand.cpu, demand.gil), _Meter())
        ends_at_s = meter.work_s + demand.seconds
        heappush(meter.running, (ends_at_s, call.rank, call, worker, self.now_s))

    def _advance(self) -> None:
        """Moves the clock to the next event: a start, an end, a deadline or a delayed retry."""
        meters = list(self._meters.values())
        counts = tuple([len(meter.running) for meter in meters])
        speeds = self._speeds.get(counts)
        if speeds is None:
            times = stretches(self._machine, list(self._meters), counts)
            speeds = self._speeds[counts] = [1 / stretch for stretch in times]
        next_s = self._session.wake_at_s
        if self._beginning and (next_s is None or self._beginning[0][0] < next_s):
            next_s = self._beginning[0][0]
        ending: _Meter | None = None
        for meter, speed in zip(meters, speeds, strict=True):
            if meter.running:
                end_s = self.now_s + max(0.0, meter.running[0][0] - meter.work_s) / speed
                if next_s is None or end_s <= next_s:
                    next_s, ending = end_s, meter
        assert next_s is not None, "a run that is not over waits for something"
        passed_s = next_s - self.now_s
        self.now_s = next_s
        for meter, speed in zip(meters, speeds, strict=True):
            if meter is ending:
                meter.work_s = meter.running[0][0]
            else:
                meter.work_s += passed_s * speed
        for meter in meters:
            while meter.running and meter.running[0][0] <= meter.work_s:
                _, _, call, worker, started_s = heappop(meter.running)
                self._end(call, worker, started_s, None)
        while self._beginning and self._beginning[0][0] <= self.now_s:
            _, _, call, worker = heappop(self._beginning)
            self._begin(call, worker)

    def _end(self, call: Call, worker: int, started_s: float, error: BaseException | None) -> None:
        self._idle.append(worker)
        self._idle_since_s[worker] = self.now_s
        attempt = Attempt(call, f"worker-{worker}", started_s, self.now_s, None, error)
        self._session.finish(attempt, self.now_s)

    def _end_early(self, call: Call, error: BaseException) -> None:
        for meter in self._meters.values():
            for entry in meter.running:
                if entry[2] is call:
                    meter.running.remove(entry)
                    heapify(meter.running)
                    self._end(call, entry[3], entry[4], error)
                    return
        for waiting in self._beginning:
            if waiting[2] is call:
                self._beginning.remove(waiting)
                heapify(self._beginning)
                self._end(call, waiting[3], self.now_s, error)
                return
