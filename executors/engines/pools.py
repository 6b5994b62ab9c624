"""Any `concurrent.futures.Executor` as a backend: the loop that its users write around it.

A few calls for each worker are submitted ahead, so that no worker waits for this thread; with
slots, contexts or timeouts, only as many as there are workers. The most urgent ready task is
always submitted first. A call that has begun cannot be taken back: if it overruns its timeout, or
is still running after a stop, its pool is left to end by itself, and the next call gets a new one.
"""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from concurrent.futures import BrokenExecutor, Executor, Future
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, ClassVar

from executors.backends.base import (
    LONGEST_SLEEP_S,
    Backend,
    Feature,
    attempt,
    checked_grace,
    features_of,
    metered,
    stopped,
    timed_out,
)
from executors.core.records import Attempt, Call, describe
from executors.core.session import Session
from executors.engines import sent
from executors.engines.client import Client
from executors.errors import BackendError, NotPicklable, TaskError

AHEAD = 8  # calls for each worker that are submitted; as many may be lost with a worker
AHEAD_HERE = 32  # likewise for threads, which cannot die: fewer switches between threads
REFILL = 2  # once the calls that are submitted are down to this part of them
ONE_AT_A_TIME = {Feature.SLOTS, Feature.CONTEXTS, Feature.TIMEOUTS}
START_S = 120.0  # in which the first worker must answer
LEFT = "its worker may still be running it"

Event = tuple[Call, "Future[Any]"]


class FuturesBackend(Backend):
    """Runs tasks on an executor that `make` gives.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        grace_s: seconds that running tasks have to end after a stop.

    Attributes:
        cancel_kills: `Future.cancel` also ends a call that has begun.
    """

    is_default: ClassVar[bool] = False
    start_guess_s: ClassVar[float] = 1.0
    cancel_kills: ClassVar[bool] = False

    def __init__(self, workers: int | None = None, *, grace_s: float = 1.0) -> None:
        super().__init__(workers)
        self.grace_s = checked_grace(grace_s)
        self._pool: Pool | None = None
        self._retired: list[Pool] = []
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    # -- what executors differ in -----------------------------------------------------------

    @abstractmethod
    def make(self) -> Executor:
        """A new executor."""

    def end(self, executor: Executor) -> None:
        """Ends an executor that has nothing to do; returns when its workers are gone."""
        executor.shutdown(wait=True)

    def kill(self, executor: Executor) -> None:
        """Ends the workers of an executor whose calls nobody waits for; by default, not at all."""
        executor.shutdown(wait=False, cancel_futures=True)

    def is_death(self, error: BaseException) -> bool:
        """Whether it says that the worker of one call has died, and the pool goes on."""
        return False

    # -- opening and closing ----------------------------------------------------------------

    def open(self) -> None:
        self._events = queue.SimpleQueue()
        self._pool = self.new_pool()

    def close(self) -> None:
        pools, self._pool, self._retired = [self._pool, *self._retired], None, []
        for pool in pools:
            if pool is not None and pool.is_left:
                self.kill(pool.executor)
            elif pool is not None:
                self.end(pool.executor)

    def new_pool(self) -> Pool:
        """A pool whose workers have started.

        Raises:
            BackendError: they cannot start.
        """
        executor = self.make()
        try:
            started = [executor.submit(sent.place) for _ in range(self.workers)]
            places = {future.result(START_S) for future in started}
        except Exception as error:
            self.kill(executor)
            raise BackendError(
                f"the workers of {self.name} cannot start: {describe(error).rstrip('.')}. A script"
                ' that starts processes needs a guard: if __name__ == "__main__":'
            ) from error
        return Pool(executor, is_here=places == {sent.place()})

    # -- a run ------------------------------------------------------------------------------

    def drive(self, session: Session) -> None:
        _Loop(self, session).drive()

    def wake(self) -> None:
        self._events.put(None)  # safe in a signal handler: SimpleQueue is reentrant

    def _current(self) -> Pool:
        if self._pool is None:
            self._pool = self.new_pool()
        return self._pool

    def _leave(self, pool: Pool) -> None:
        """No new call goes to this pool: one that it runs was given up on, or it is broken."""
        pool.is_left = True
        if pool is self._pool:
            self._pool = None
            self._retired.append(pool)

    def _tidy(self) -> None:
        """Ends the pools that were left, once they have nothing to do that anybody waits for."""
        for pool in [pool for pool in self._retired if not pool.in_flight]:
            self._retired.remove(pool)
            self.kill(pool.executor)


class Pool:
    """An executor, and what it is doing.

    Attributes:
        is_here: its workers are threads of this interpreter.
        in_flight: calls whose outcomes are awaited.
        is_left: it gets no new calls, and is killed when nobody waits for those that it has.
    """

    def __init__(self, executor: Executor, is_here: bool) -> None:
        self.executor = executor
        self.is_here = is_here
        self.in_flight = 0
        self.is_left = False


class _Loop:
    """One run."""

    def __init__(self, backend: FuturesBackend, session: Session) -> None:
        self._backend = backend
        self._session = session
        self._events = backend._events
        self._in_flight: dict[Call, tuple[Future[Any], Pool, float]] = {}
        is_narrow = bool(features_of(session.graph) & ONE_AT_A_TIME) or backend.cancel_kills
        ahead = AHEAD_HERE if backend._current().is_here else AHEAD
        self._most = backend.workers * (1 if is_narrow else ahead)
        self._least = self._most - 1 if is_narrow else self._most // REFILL
        self._client = Client(session, backend.name)
        self._context = copy_context()
        self._stop_by_s: float | None = None

    def drive(self) -> None:
        session = self._session
        try:
            while True:
                now_s = monotonic()
                for call in session.overdue(now_s):
                    self._give_up(call, timed_out(call, LEFT), now_s)
                if session.stop_reason is not None:
                    self._wind_up(now_s)
                if len(self._in_flight) <= self._least:
                    while len(self._in_flight) < self._most:
                        ready = session.take(now_s)
                        if ready is None:
                            break
                        session.started(ready, now_s)
                        self._submit(ready, now_s)
                if session.over:
                    return
                self._wait(now_s)
        finally:
            for _, pool, _ in self._in_flight.values():  # only after an exception
                self._backend._leave(pool)
            self._backend._tidy()

    def _submit(self, call: Call, now_s: float) -> None:
        session = self._session
        future: Future[Any]
        try:
            pool = self._backend._current()
            if pool.is_here:
                perform = _perform_metered_here if session.measure_cpu else _perform_here
                future = pool.executor.submit(perform, self._context, call)
            else:
                arguments = [call.values[need] for need in call.needs]
                action = self._client.action(call)
                future = pool.executor.submit(
                    sent.perform_sent, action, arguments, self._client.levels, session.measure_cpu
                )
        except NotPicklable as error:
            session.finish(self._client.failed(call, now_s, error), now_s)
            return
        except BrokenExecutor as error:  # it broke while nothing was in flight
            self._backend._leave(pool)
            session.finish(self._client.died(call, now_s, error), now_s)
            return
        pool.in_flight += 1
        self._in_flight[call] = future, pool, now_s
        events = self._events
        future.add_done_callback(lambda future: events.put((call, future)))

    def _wait(self, now_s: float) -> None:
        """Waits for an outcome, a deadline, a delayed retry or `wake`, and takes what has come."""
        times = [self._session.wake_at_s, self._stop_by_s]
        wait_s = min((at_s - now_s for at_s in times if at_s is not None), default=LONGEST_SLEEP_S)
        events = self._events
        try:
            event = events.get(timeout=min(max(0.0, wait_s), LONGEST_SLEEP_S))
            while True:
                if event is not None and event[0] in self._in_flight:  # else it was given up on
                    self._finish(*event)
                if events.empty():
                    return
                event = events.get_nowait()
        except queue.Empty:
            return

    def _finish(self, call: Call, future: Future[Any]) -> None:
        _, pool, sent_s = self._in_flight.pop(call)
        pool.in_flight -= 1
        session, now_s = self._session, monotonic()
        if future.cancelled():
            session.put_back(call, now_s)
            return
        error = future.exception()
        if error is None:
            outcome = future.result()
            finished = outcome if pool.is_here else self._client.received(call, outcome)
        elif isinstance(error, BrokenExecutor):
            self._backend._leave(pool)
            finished = self._client.died(call, sent_s, error)
        elif self._backend.is_death(error):
            finished = self._client.died(call, sent_s, error)
        else:
            finished = self._client.failed(call, sent_s, _unsent(call, error))
        session.finish(finished, now_s)
        if self._backend._retired:
            self._backend._tidy()

    def _give_up(self, call: Call, error: TaskError, now_s: float) -> None:
        future, pool, sent_s = self._in_flight.pop(call)
        pool.in_flight -= 1
        if not future.cancel():
            self._backend._leave(pool)
        self._session.finish(self._client.failed(call, sent_s, error), now_s)

    def _wind_up(self, now_s: float) -> None:
        """Takes back what has not begun; after a stop, gives up on what goes on for too long."""
        if not self._backend.cancel_kills:
            for future, _, _ in list(self._in_flight.values()):
                future.cancel()  # only if it has not begun; it comes back as an event
        if not self._session.stopping:
            return
        if self._stop_by_s is None:
            self._stop_by_s = now_s + self._backend.grace_s
        if now_s >= self._stop_by_s:
            for call, (future, _, _) in list(self._in_flight.items()):
                if not future.cancelled():
                    self._give_up(call, stopped(call, self._session, LEFT), now_s)


def _perform_here(context: Context, call: Call) -> Attempt:
    return context.copy().run(attempt, call, threading.current_thread().name)


def _perform_metered_here(context: Context, call: Call) -> Attempt:
    meter = sent.meter_of_thread()
    return metered(_perform_here(context, call), meter)


def _unsent(call: Call, error: BaseException) -> NotPicklable:
    return NotPicklable(
        f"task {call.task.name!r}: its arguments or its value cannot be sent: {describe(error)};"
        " return plain data, or use a backend of threads"
    )
