"""The same session on a virtual clock: what a run would take, without running anything.

::

    idle worker + ready task -> the scheduler starts one after the other -> the worker wakes up
        -> the task runs, slowed down by those that share cores and lock with it -> ended

Each kind of task (how much it computes, how much of that with the interpreter lock) has a meter of
the work that one of its tasks has done since the run began. It rises at the speed that `sharing`
says, so a task ends when the meter shows what it showed at its start plus its seconds; when others
start or end, only the speeds change, not what was computed for each task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import ClassVar

from executors.backends.base import Backend
from executors.errors import BackendError, TaskStopped, TaskTimeout
from executors.graph import Task
from executors.records import Attempt, Call
from executors.session import Session
from executors.sharing import Demand, Machine, Parts, stretches


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a backend takes besides the tasks, in seconds.

    Attributes:
        run_s: of each run, before its first task.
        task_s: of the scheduler for each task; it starts one after the other.
        wake_s: until a worker that was idle begins.
    """

    run_s: float = 0.0
    task_s: float = 0.0
    wake_s: float = 0.0


def given_cost(task: Task) -> Demand:
    """Keeps a core busy for its `cost_s`.

    Raises:
        BackendError: it has none.
    """
    if task.cost_s is None:
        raise BackendError(
            f"task {task.name!r} has no cost_s, so how long it would take is not known; give it one"
        )
    return Demand(task.cost_s)


class Simulated(Backend):
    """Runs nothing: tasks take the time that they are said to take, on a clock of its own.

    Values are None. Times in the report are of that clock, which starts at 0 and goes on from run
    to run. Ten thousand workers cost no more than the tasks.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        demand: what a task takes; by default its `cost_s`, all of it on a core.
        machine: what the tasks share; by default as many cores as workers, which do not slow each
            other down, and no lock.
        overheads: of the backend that is simulated; by default none, which is list scheduling.
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
        made = _Run(session, self._demand, self._machine, self._overheads, self._now_s)
        try:
            made.drive()
        finally:
            self._now_s = made.now_s

    def wake(self) -> None:
        """It never sleeps."""


class _Meter:
    """Of one kind of task: the work, in seconds alone, that one such task would have done so far.

    Attributes:
        speed: how fast it rises.
        running: heap of (what it shows when the task ends, rank, call, worker, start).
    """

    __slots__ = ("running", "shown_s", "speed")

    def __init__(self) -> None:
        self.shown_s = 0.0
        self.speed = 1.0
        self.running: list[tuple[float, int, Call, int, float]] = []


class _Run:
    """One run of a session on the virtual clock.

    Attributes:
        now_s: the clock.
        idle: workers without a call, the last one to become idle on top; those from `unused` on
            never had one.
        beginning: heap of (when it begins, rank, call, worker): calls on their way to a worker.
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
        self._speeds: dict[tuple[int, ...], list[float]] = {}  # by the number of tasks of each kind

    def drive(self) -> None:
        """Goes from event to event until the session is over."""
        session = self._session
        self.now_s = self._free_s = self.now_s + self._overheads.run_s
        while True:
            for call in session.overdue(self.now_s):
                timeout_s = call.task.timeout_s
                self._end_early(
                    call, TaskTimeout(f"task {call.task.name!r} took longer than {timeout_s:g} s")
                )
            if session.stopping:
                for call in session.running:
                    self._end_early(
                        call, TaskStopped(f"the run was stopped: {session.stop_reason}")
                    )
            while self._idle or self._unused < session.workers:
                ready = session.take(self.now_s)
                if ready is None:
                    break
                self._place(ready)
            if session.over:
                return
            self._advance()

    def _place(self, call: Call) -> None:
        """Gives a call to a worker, the last one that became idle: it may still be awake."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = self._unused
            self._unused += 1
        self._free_s = begins_s = max(self.now_s, self._free_s) + self._overheads.task_s
        if self._idle_since_s.get(worker) != self.now_s:
            begins_s += self._overheads.wake_s
        if begins_s > self.now_s:
            heappush(self._beginning, (begins_s, call.index, call, worker))
        else:
            self._begin(call, worker)

    def _begin(self, call: Call, worker: int) -> None:
        self._session.started(call, self.now_s)
        demand = self._demand(call.task)
        meter = self._meters.setdefault((demand.cpu, demand.gil), _Meter())
        ends_at_s = meter.shown_s + demand.seconds
        heappush(meter.running, (ends_at_s, call.index, call, worker, self.now_s))

    def _advance(self) -> None:
        """Goes to the next event: tasks begin or end, a deadline or a delayed retry is due."""
        meters = list(self._meters.values())
        counts = tuple([len(meter.running) for meter in meters])
        speeds = self._speeds.get(counts)
        if speeds is None:
            found = stretches(self._machine, list(self._meters), counts)
            speeds = self._speeds[counts] = [1 / stretch for stretch in found]
        next_s = self._session.wake_at_s
        if self._beginning and (next_s is None or self._beginning[0][0] < next_s):
            next_s = self._beginning[0][0]
        ending: _Meter | None = None
        for meter, speed in zip(meters, speeds, strict=True):
            if meter.running:
                end_s = self.now_s + max(0.0, meter.running[0][0] - meter.shown_s) / speed
                if next_s is None or end_s <= next_s:
                    next_s, ending = end_s, meter
        assert next_s is not None, "a run that is not over waits for something"
        passed_s = next_s - self.now_s
        self.now_s = next_s
        for meter, speed in zip(meters, speeds, strict=True):
            if meter is ending:
                meter.shown_s = meter.running[0][0]
            else:
                meter.shown_s += passed_s * speed
        for meter in meters:
            while meter.running and meter.running[0][0] <= meter.shown_s:
                _, _, call, worker, started_s = heappop(meter.running)
                self._end(call, worker, started_s, None)
        while self._beginning and self._beginning[0][0] <= self.now_s:
            _, _, call, worker = heappop(self._beginning)
            self._begin(call, worker)

    def _end(self, call: Call, worker: int, started_s: float, error: BaseException | None) -> None:
        self._idle.append(worker)
        self._idle_since_s[worker] = self.now_s
        made = Attempt(call, f"worker-{worker}", started_s, self.now_s, None, error)
        self._session.finish(made, self.now_s)

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
