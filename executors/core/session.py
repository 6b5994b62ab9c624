"""`Session`: every decision of one run, without a thread, a sleep or any I/O.

A backend drives it: take a call, run it, finish the attempt, until `over`. Calls into a session
must not overlap, except `stop`, which is safe from anywhere, even from a signal handler.

State, by task (an integer: its rank in the graph, 0 the most urgent)::

    missing    needs that have not succeeded yet; 0 puts it into its queue
    readers    tasks that still need its value, plus one when the caller keeps it
    values     its value, from its success until its last reader has ended
    in_flight  the call that a worker has, or None; only one that follows another (see `follow`)
               or was taken ahead has needs missing
    settled    its final Status, or None
    ready_s, taken_s, started_s, ended_s, received_s, worker
               of the last attempt: columns, because with an object per task the garbage
               collector takes longer than the scheduling
    earlier    attempts before the last one, only for tasks that were retried
    errors     the last attempt's error, only for tasks that have one
    used       the last attempt's processor time and peak memory, only where they were measured

and for the run::

    queues     ready tasks, in heaps (see `queues.py`); `ready` is the heap if there is only one
    delayed    heap of (time, task): retries that wait for their delay
    deadlines  heap of (time, task, number, call): running attempts with a timeout
    announced  tasks that were put back after their start was announced: it is not announced again
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from heapq import heappop, heappush
from typing import Any

from executors.core.graph import Graph
from executors.core.policy import FAIL_FAST, FailurePolicy
from executors.core.queues import Queues
from executors.core.records import (
    Attempt,
    Call,
    Imports,
    Records,
    RunReport,
    Status,
    Stop,
    TaskRecord,
)
from executors.errors import ActionInterrupted, GraphError, TaskStopped

SUCCEEDED = Status.SUCCEEDED  # an attribute of an Enum takes longer than a global


class Session:
    """The state machine of one run.

    Args:
        graph: what to run.
        workers: number of slots; a task with more occupies all of them.
        policy: what a failure does to the rest.
        keep: which values the report has: "sinks" (of the tasks that nothing needs; all others
            live until their last reader has ended), "all", "none", or a collection of task names.
        notify: called with each Call that started, each Attempt that ended, and the Stop of the
            run (which may come twice).
        measure_cpu: attempts should have their processor time.

    Attributes:
        stopping: running tasks should be stopped.
        stop_reason: why nothing more starts, or None.
        values: by rank, as the backend gave them; None before and after they are needed.
        kept: ranks of the tasks whose values the report will have.

    Raises:
        GraphError: `keep` names a task that is not in the graph.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        workers: int = 1,
        policy: FailurePolicy = FAIL_FAST,
        keep: str | Collection[str] = "sinks",
        notify: Callable[[Call | Attempt | Stop], object] | None = None,
        measure_cpu: bool = False,
    ) -> None:
        size = len(graph)
        self.graph = graph
        self.workers = workers
        self.policy = policy
        self.measure_cpu = measure_cpu
        self.stopping = False
        self.stop_reason: str | None = None
        self.values: list[Any] = [None] * size
        self._notify = notify
        self._closed = False  # nothing more starts
        self.kept = _kept(graph, keep)
        self._missing = [len(needs) for needs in graph.needs]
        self._readers = [len(readers) for readers in graph.dependents]
        for rank in self.kept:
            self._readers[rank] += 1

        self._in_flight: list[Call | None] = [None] * size
        self._settled: list[Status | None] = [None] * size
        self._unsettled = size
        self._running = 0
        self._ready_s: list[float | None] = [None] * size
        self._taken_s: list[float | None] = [None] * size
        self._started_s = [0.0] * size
        self._ended_s = [0.0] * size
        self._received_s: list[float | None] = [None] * size
        self._worker: list[str | None] = [None] * size
        self._earlier: dict[int, list[Attempt]] = {}
        self._imports: list[Imports] = []
        self._used: dict[int, tuple[float, int | None]] = {}
        self._errors: dict[int, BaseException] = {}

        self._queues = Queues(graph.ranked, workers)
        self._heap_of = self._queues.heap_of
        self._ready = self._queues.only_heap
        self._delayed: list[tuple[float, int]] = []
        self._deadlines: list[tuple[float, int, int, Call]] = []
        self._announced: set[int] = set()
        for rank, missing in enumerate(self._missing):  # in order, so these are heaps
            if not missing:
                self._heap_of[rank].append(rank)

    # -- what a backend reads ---------------------------------------------------------------

    @property
    def startable(self) -> int:
        """How many calls could be taken now, and so how many workers to wake.

        Exact if all tasks have equal slots and context; else 1 stands for "at least one".
        """
        if self._closed:
            return 0
        if self._ready is not None:
            return len(self._ready)
        return 0 if self._queues.fitting() is None else 1

    @property
    def wake_at_s(self) -> float | None:
        """When to look again even if nothing ends (a delayed retry, a deadline), or None."""
        if not self._delayed and not self._deadlines:
            return None
        while self._deadlines and self._is_stale(self._deadlines[0][3]):
            heappop(self._deadlines)
        times = [self._deadlines[0][0]] if self._deadlines else []
        if self._delayed and not self._closed:
            times.append(self._delayed[0][0])
        return min(times, default=None)

    @property
    def over(self) -> bool:
        """Nothing is running and nothing more will start."""
        return not self._running and (self._closed or not self._unsettled)

    @property
    def running(self) -> list[Call]:
        """The calls that were taken and have not ended, the most urgent first."""
        return [call for call in self._in_flight if call is not None]

    # -- what a backend does ----------------------------------------------------------------

    def take(self, now_s: float) -> Call | None:
        """The most urgent task that may start now, or None."""
        if self._closed:
            return None
        if self._delayed:
            self._wake_delayed(now_s)
        if self._ready is not None:
            if not self._ready:
                return None
            rank = heappop(self._ready)
        else:
            queue = self._queues.fitting()
            if queue is None:
                return None
            rank = self._queues.occupy(queue)
        return self._call(rank, now_s)

    def follow(self, call: Call, now_s: float) -> Call | None:
        """Takes the task that waits for nothing but this running call, before the call has ended.

        The worker then continues with it on its own, and keeps the value. The backend puts the
        task back if the call does not succeed. None if there is no such task, or a more urgent one
        is ready; also for a task with a timeout, because nobody would notice its start, and where
        slots or contexts matter.
        """
        rank = self.graph.successor[call.rank]
        if rank < 0 or self._closed or self._ready is None or self._in_flight[rank] is not None:
            return None
        if self._ready and self._ready[0] < rank:
            return None
        if self.graph.ranked[rank].timeout_s is not None:
            return None
        return self._call(rank, now_s)

    def ahead(self, rank: int, now_s: float) -> Call | None:
        """Takes a task before its needs have ended, for a scheduler that has the whole graph.

        All of its needs have to be taken or to have succeeded. Before the backend finishes a call
        that failed, it puts back the tasks that it took ahead and that need it, directly or not.
        None if the task cannot be taken so: it is ready (see `take`), taken or settled, or one of
        its needs is neither taken nor has succeeded; and where slots or contexts matter.
        """
        if self._closed or self._ready is None or not self._missing[rank]:
            return None
        if self._in_flight[rank] is not None or self._settled[rank] is not None:
            return None
        for need in self.graph.needs[rank]:
            if self._in_flight[need] is None and self._settled[need] is not SUCCEEDED:
                return None
        return self._call(rank, now_s)

    def started(self, call: Call, now_s: float) -> None:
        """The call's real start: its deadline runs from here, and observers are notified, once."""
        if call.task.timeout_s is not None:
            deadline_s = now_s + call.task.timeout_s
            heappush(self._deadlines, (deadline_s, call.rank, call.number, call))
        if self._notify is not None:
            if not self._announced or call.rank not in self._announced:
                self._notify(call)
            else:
                self._announced.discard(call.rank)
            call.is_announced = True

    def finish(self, attempt: Attempt, now_s: float) -> None:
        """Takes an outcome; a second one for the same call is ignored."""
        call = attempt.call
        rank = call.rank
        if self._in_flight[rank] is not call:
            return
        self._in_flight[rank] = None
        self._running -= 1
        if self._ready is None:
            self._queues.vacate(call.task)
        self._started_s[rank] = attempt.started_s
        self._ended_s[rank] = attempt.ended_s
        self._received_s[rank] = now_s
        self._worker[rank] = attempt.worker
        if attempt.cpu_s is not None:
            self._used[rank] = attempt.cpu_s, attempt.peak_bytes
        value, attempt.value = attempt.value, None
        if self._notify is not None:
            self._notify(attempt)
        if attempt.error is None:
            self._settled[rank] = SUCCEEDED
            self._unsettled -= 1
            if self._readers[rank]:
                self.values[rank] = value
            missing = self._missing
            for dependent in self.graph.dependents[rank]:
                left = missing[dependent] - 1
                missing[dependent] = left
                if not left:
                    if self._in_flight[dependent] is None:
                        self._ready_s[dependent] = now_s
                        heappush(self._heap_of[dependent], dependent)
                    else:  # it follows: its worker may have begun it already
                        self._ready_s[dependent] = self._taken_s[dependent] = attempt.ended_s
            self._release(call.needs)
        else:
            self._failed(attempt, attempt.error, now_s)

    def put_back(self, call: Call, now_s: float) -> None:
        """Takes back a call that never ran: it is ready again, and no attempt is counted."""
        rank = call.rank
        if self._in_flight[rank] is not call:
            return
        self._in_flight[rank] = None
        self._running -= 1
        self._taken_s[rank] = None
        if call.is_announced:
            self._announced.add(rank)
        if self._ready is None:
            self._queues.vacate(call.task)
        if not self._missing[rank]:
            heappush(self._heap_of[rank], rank)

    def overdue(self, now_s: float) -> Sequence[Call]:
        """The calls past their deadlines, each returned once; also readies retries that are due."""
        if self._delayed and not self._closed:
            self._wake_delayed(now_s)
        late = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            call = heappop(self._deadlines)[3]
            if not self._is_stale(call):
                late.append(call)
        return late

    def stop(self, reason: str) -> None:
        """Starts nothing more and has the backend stop what runs.

        Only sets attributes and posts a notification, so it may interrupt any other method.
        """
        if self.stop_reason is None:
            self.stop_reason = reason
        self._closed = True
        self._stop_running(reason)

    # -- what a failure does ----------------------------------------------------------------

    def _failed(self, attempt: Attempt, error: BaseException, now_s: float) -> None:
        call = attempt.call
        rank, task = call.rank, call.task
        stopped = self.stopping and isinstance(error, (TaskStopped, ActionInterrupted))
        if call.number <= task.retries and not stopped and not self._closed:
            self._earlier.setdefault(rank, []).append(attempt)
            self._used.pop(rank, None)
            heappush(self._delayed, (now_s + task.delay_s(call.number), rank))
            return
        self._errors[rank] = error
        if stopped:
            self._settle(rank, Status.STOPPED)
            return
        self._settle(rank, Status.FAILED)
        blocked = list(self.graph.dependents[rank])
        while blocked:
            dependent = blocked.pop()
            if self._settled[dependent] is None:
                self._settle(dependent, Status.UPSTREAM_FAILED)
                blocked += self.graph.dependents[dependent]
        if not self.policy.starts_unrelated:
            if self.stop_reason is None:
                self.stop_reason = f"task {task.name!r} failed"
            self._closed = True
            if self.policy.stops_running:
                self._stop_running(self.stop_reason)

    def _stop_running(self, reason: str) -> None:
        is_new = not self.stopping
        self.stopping = True
        if is_new and self._notify is not None:
            self._notify(Stop(reason))

    def _settle(self, rank: int, status: Status) -> None:
        self._settled[rank] = status
        self._unsettled -= 1
        self._release(self.graph.needs[rank])

    def _release(self, needs: tuple[int, ...]) -> None:
        """One reader of each of these values has ended."""
        readers = self._readers
        for need in needs:
            left = readers[need] - 1
            readers[need] = left
            if not left:
                self.values[need] = None

    def _call(self, rank: int, now_s: float) -> Call:
        self._running += 1
        self._taken_s[rank] = now_s
        number = 1 + len(self._earlier[rank]) if rank in self._earlier else 1
        graph = self.graph
        call = Call(rank, graph.ranked[rank], number, graph.needs[rank], self.values)
        self._in_flight[rank] = call
        return call

    # -- waiting ----------------------------------------------------------------------------

    def _is_stale(self, call: Call) -> bool:
        return self._in_flight[call.rank] is not call

    def _wake_delayed(self, now_s: float) -> None:
        while self._delayed and self._delayed[0][0] <= now_s:
            rank = heappop(self._delayed)[1]
            heappush(self._heap_of[rank], rank)

    def imported(self, call: Call, worker: str, modules: tuple[str, ...], load_s: float) -> None:
        """Notes modules that a worker imported for a call; see `Imports`."""
        self._imports.append(Imports(call.task.name, worker, modules, load_s))

    # -- what remains -----------------------------------------------------------------------

    def record(self, rank: int) -> TaskRecord:
        """The record of one task, built from the columns."""
        task = self.graph.ranked[rank]
        attempts = list(self._earlier.get(rank, ()))
        worker = self._worker[rank]
        retried_last = self._settled[rank] is None and rank in self._earlier
        if worker is not None and not retried_last:
            needs = self.graph.needs[rank]
            call = Call(rank, task, len(attempts) + 1, needs, self.values)
            error = self._errors.get(rank)
            span = self._started_s[rank], self._ended_s[rank]
            used = self._used.get(rank, ())
            attempts.append(Attempt(call, worker, *span, None, error, *used))
        return TaskRecord(
            task.name,
            self._status(rank),
            tuple(attempts),
            self._ready_s[rank],
            self._taken_s[rank],
            self._received_s[rank],
        )

    def _status(self, rank: int) -> Status:
        """A task that was not settled never started, or failed and was not retried again."""
        unsettled = Status.FAILED if rank in self._earlier else Status.NOT_STARTED
        return self._settled[rank] or unsettled

    def report(
        self,
        backend: str,
        started_s: float,
        ended_s: float,
        unwrap: Callable[[Any], Any] = lambda value: value,
    ) -> RunReport:
        """The report of a run that is over; `unwrap` turns a backend's value into the object."""
        for rank, needs in enumerate(self.graph.needs):
            if not needs and self._ready_s[rank] is None:
                self._ready_s[rank] = started_s
        values = {
            task.name: unwrap(self.values[rank])
            for task in self.graph.tasks
            if (rank := self.graph.rank[task.name]) in self.kept
            and self._settled[rank] is Status.SUCCEEDED
        }
        self.values.clear()
        return RunReport(
            backend,
            self.workers,
            self.policy.name,
            started_s,
            ended_s,
            self.stop_reason,
            self._counts(),
            Records(self.graph, self.record),
            values,
            tuple(self._imports),
        )

    def _counts(self) -> dict[Status, int]:
        counts = Counter(self._settled)
        if counts.pop(None, 0):
            counts += Counter(
                self._status(rank) for rank, status in enumerate(self._settled) if status is None
            )
        return {status: counts[status] for status in Status if counts[status]}


def _kept(graph: Graph, keep: str | Collection[str]) -> Collection[int]:
    """Ranks of the tasks whose values the report has."""
    if keep == "needed":
        warnings.warn('keep="needed" has been renamed: use keep="sinks"', DeprecationWarning, 4)
        keep = "sinks"
    if keep == "all":
        return range(len(graph))
    if keep == "none":
        return ()
    if keep == "sinks":
        return {rank for rank, readers in enumerate(graph.dependents) if not readers}
    if isinstance(keep, str):
        raise GraphError(f"keep must be 'sinks', 'all', 'none' or task names, not {keep!r}")
    try:
        return {graph.rank[name] for name in keep}
    except KeyError as error:
        raise GraphError(f"keep: no task is named {error.args[0]!r}") from None
