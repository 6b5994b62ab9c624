"""A pool of threads in this process.

Each worker takes, runs and finishes calls itself, so a chain never changes threads::

    worker:  run the action -> inbox -> [lock: finish all of the inbox, take the next call] -> ...

No worker ever blocks on the lock. A worker that cannot take it leaves its outcome in the inbox
and goes to sleep at its gate; the thread that holds the lock checks the inbox again after
releasing it, and wakes a sleeper if there is work. (With a blocking lock, a holder that is
interrupted by the interpreter's thread switch makes every other worker queue up, and from then on
each hand-over of the lock needs a switch: twice the time per task in a long run of short tasks.)

What is shared without the lock is right with and without an interpreter lock, because each step is
one operation that Python makes atomic (https://docs.python.org/3/howto/free-threading-python.html):

    claim       `list.pop` decides who owns an outcome; one of two gets an IndexError
    inbox,      `deque.append`, `popleft` and `pop`; who looks at one too early looks again, see
    sleepers    `_after_release`
    pool        changed by `dict` operations, and iterated over as a copy (`list`)
    gates       a lock each; one that was opened before it is waited for does not block

The calling thread sleeps until the run is over, a deadline or a delayed retry is due, or a stop
wakes it. It is the only one that gives up on a worker.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
import weakref
from collections import deque
from contextvars import Context, copy_context
from itertools import count, repeat
from math import inf
from time import monotonic
from typing import ClassVar

from executors.backends.base import (
    LONGEST_SLEEP_S,
    Backend,
    attempt,
    stopped,
    timed_out,
)
from executors.backends.meter import CpuMeter
from executors.core.records import Attempt, Call
from executors.core.session import Session
from executors.cpus import has_interpreter_lock
from executors.errors import BackendError, TaskError
from executors.gate import Gate

logger = logging.getLogger("executors")

FREE = not has_interpreter_lock()
SPINS = 200
STILL_RUNNING = "a thread cannot be stopped, so it may still be running"


class _Worker:
    """A thread of the pool.

    Attributes:
        gate: where it sleeps while there is nothing to do.
        claim: holds the call that it has been running since `taken_s`. Whoever pops it owns the
            outcome: the worker when the action returns, or the calling thread when it gives up.
    """

    __slots__ = ("claim", "gate", "meter", "name", "taken_s", "thread")

    def __init__(self, name: str, team: _Team) -> None:
        self.name = name
        self.gate = Gate()
        self.claim: list[Call] = []
        self.meter = CpuMeter()
        self.taken_s = 0.0
        self.thread = threading.Thread(target=team._work, args=(self,), name=name, daemon=True)


class _Team:
    """The threads of a backend, and all that they share.

    It does not know the backend, so the backend is collected when nobody else does, and with it
    its threads end.

    Args:
        size: how many tasks may run at once.
        grace_s: seconds that running tasks have to end after a stop.
    """

    def __init__(self, size: int, grace_s: float) -> None:
        self.pid = os.getpid()  # where its threads are
        self._size = size
        self.grace_s = grace_s
        self._lock = threading.Lock()  # guards the session
        self._session: Session | None = None
        self._context = Context()  # during a run, a copy of its caller's
        self._measures_cpu = False  # during a run, whether it should
        self._inbox: deque[Attempt] = deque()  # outcomes on their way into the session
        self._sleepers: deque[_Worker] = deque()
        self._numbers = count()
        self._pool: dict[_Worker, None] = {}
        self._recruiting = threading.Lock()  # guards additions to the pool and the two below
        self._most = size  # the largest size of the pool
        self._is_closing = False
        self._crash: BaseException | None = None  # a bug, on its way to the caller
        self._caller = Gate()  # opened to wake the thread that drives
        self._caller_wakes_s: float | None = None

    def open(self) -> None:
        self._is_closing = False

    def dismiss(self) -> list[_Worker]:
        """Has the threads end after their calls; returns them."""
        with self._recruiting:
            self._is_closing = True
            workers = list(self._pool)
        for worker in workers:
            worker.gate.open()
        return workers

    def close(self) -> None:
        for worker in self.dismiss():
            worker.thread.join()
        self._pool.clear()
        self._sleepers.clear()

    def wake(self) -> None:
        self._caller.open()

    # -- the calling thread -----------------------------------------------------------------

    def drive(self, session: Session) -> None:
        self._inbox.clear()
        self._context = copy_context()
        self._measures_cpu = session.measure_cpu
        self._session = session
        stop_by_s: float | None = None
        try:
            while True:
                if self._crash is not None:
                    raise self._crash
                with self._lock:
                    now_s = monotonic()
                    self._finish_inbox(session, now_s)
                    for call in session.overdue(now_s):
                        self._give_up(session, call, now_s, timed_out(call, STILL_RUNNING))
                    if session.stopping:
                        stop_by_s = stop_by_s or now_s + self.grace_s
                        if now_s >= stop_by_s:
                            for call in session.running:
                                error = stopped(call, session, STILL_RUNNING)
                                self._give_up(session, call, now_s, error)
                    if session.over:
                        return
                    times = [at_s for at_s in (session.wake_at_s, stop_by_s) if at_s is not None]
                    self._caller_wakes_s = wakes_s = min(times, default=None)
                    is_more = session.startable > 0
                self._after_release(is_more)
                sleep_s = LONGEST_SLEEP_S if wakes_s is None else wakes_s - monotonic()
                self._caller.wait(min(sleep_s, LONGEST_SLEEP_S))
        finally:
            self._session = self._crash = None
            self._context = Context()  # keeps nothing of the caller alive
            for worker in list(self._pool):  # busy only if an exception broke the loop
                if worker.claim:
                    self._abandon(worker)

    def _give_up(self, session: Session, call: Call, now_s: float, error: TaskError) -> None:
        """Ends a call whose thread keeps running.

        If no worker has the call, its outcome is already in the inbox, and counts.
        """
        for worker in list(self._pool):
            if call in worker.claim and self._abandon(worker):
                session.finish(
                    Attempt(call, worker.name, worker.taken_s, now_s, None, error), now_s
                )

    def _abandon(self, worker: _Worker) -> bool:
        """Takes a worker's call from it; False if it has just returned."""
        try:
            worker.claim.pop()
        except IndexError:
            return False
        del self._pool[worker]
        return True

    # -- the workers ------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        try:
            while not self._is_closing:
                call = self._next(worker) or self._sleep(worker)
                meter = worker.meter  # without what it computed before it slept
                due_s = meter.begin() if self._measures_cpu else inf
                while call is not None:
                    context = self._context.copy()
                    outcome = context.run(attempt, call, worker.name)
                    if outcome.ended_s >= due_s:
                        outcome.cpu_s = meter.end(outcome.started_s, outcome.ended_s)
                        due_s = meter.due_s
                    call = None
                    try:
                        worker.claim.pop()
                    except IndexError:
                        return  # given up on: another thread has its place
                    self._inbox.append(outcome)
                    del outcome  # a sleeping thread keeps nothing alive
                    call = self._next(worker)
        except BaseException as error:
            self._pool.pop(worker, None)
            self._crash = error
            self._caller.open()

    def _next(self, worker: _Worker | None, is_listed: bool = False) -> Call | None:
        """Finishes the inbox and takes a call; None if there is none now or the lock is taken."""
        call = None
        is_more = False
        if self._lock.acquire(False) or (FREE and worker is not None and self._spins()):
            try:
                session = self._session
                if session is None:
                    self._inbox.clear()  # from a run that an exception ended
                else:
                    now_s = monotonic()
                    self._finish_inbox(session, now_s)
                    if worker is not None:
                        call = session.take(now_s)
                        if call is not None:
                            worker.claim.append(call)
                            worker.taken_s = now_s
                            session.started(call, now_s)
                    self._notify_caller(session)
                    is_more = session.startable > 0
            finally:
                self._lock.release()
            if is_listed and call is not None and worker is not None:
                self._unlist(worker)  # before another one is woken, or it might be this one
            self._after_release(is_more)
        return call

    def _spins(self) -> bool:
        """Tries the lock for about as long as going to sleep and being woken takes.

        Without an interpreter lock, its holder runs on another CPU and is soon done with it.
        """
        return any(self._lock.acquire(False) for _ in repeat(None, SPINS))

    def _finish_inbox(self, session: Session, now_s: float) -> None:
        while self._inbox:
            session.finish(self._inbox.popleft(), now_s)

    def _notify_caller(self, session: Session) -> None:
        """Wakes the calling thread if only it can go on, or if it would sleep too long."""
        wake_at_s = session.wake_at_s
        if wake_at_s is not None:
            sleeps_to_s = self._caller_wakes_s
            if sleeps_to_s is None or wake_at_s < sleeps_to_s:
                self._caller.open()
        if session.stopping or session.over:
            self._caller.open()

    def _after_release(self, is_more: bool) -> None:
        """Deals with what arrived in the inbox while this thread held the lock.

        A worker appends its outcome (or itself to the sleepers) and then tries the lock; here the
        lock is released, and then they are looked at. At least one of both sees the other, if both
        keep that order. With an interpreter lock they do. Without it, a processor such as ARM may
        look at a size before its release is visible. Taking the lock of a deque keeps the order,
        and extending it by nothing takes that lock. (Copying and searching one do not hold it.)
        """
        if FREE:
            self._sleepers.extend(())
            self._inbox.extend(())
        if is_more and (self._sleepers or len(self._pool) < self._most):
            self._rouse()
        if self._inbox:
            self._next(None)

    def _rouse(self) -> None:
        """Wakes a sleeper, or starts a thread; each thread that wakes up wakes the next."""
        try:
            self._sleepers.pop().gate.open()
        except IndexError:
            self._recruit()

    def _recruit(self) -> None:
        with self._recruiting:
            if self._is_closing or len(self._pool) >= self._most:
                return
            worker = _Worker(f"thread-{next(self._numbers)}", self)
            self._pool[worker] = None  # first: `_give_up` looks for its call there
            try:
                worker.thread.start()
            except RuntimeError as error:  # the system allows no more: go on with these
                del self._pool[worker]
                if not self._pool:
                    raise BackendError(f"no thread could be started: {error}") from error
                self._most = len(self._pool)
                logger.warning("only %d of %d threads could be started", self._most, self._size)

    def _sleep(self, worker: _Worker) -> Call | None:
        """Sleeps until there may be work; returns a call that arrived in the meantime."""
        self._sleepers.append(worker)
        call = self._next(worker, is_listed=True)  # work that came before the append woke nobody
        if call is None:
            if not self._is_closing:
                worker.gate.wait()
            self._unlist(worker)
        return call

    def _unlist(self, worker: _Worker) -> None:
        try:
            self._sleepers.remove(worker)
        except ValueError:
            pass  # it is being woken: its gate may be open once without a reason


class Threads(Backend):
    """Threads of this process; they share its interpreter lock (GIL).

    Threads are started when they are first needed and live until the backend is closed.
    A thread cannot be killed: a task that overruns its `timeout_s`, or is still running `grace_s`
    after a stop, is reported as such and its daemon thread is abandoned. Its late result is
    dropped, and a new thread takes its place.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`.
        grace_s: seconds that running tasks have to end after a stop.
    """

    name: ClassVar[str] = "threads"
    shares_interpreter: ClassVar[bool] = True

    def __init__(self, workers: int | None = None, *, grace_s: float = 1.0) -> None:
        super().__init__(workers)
        self._team = _Team(self.workers, grace_s)

    def open(self) -> None:
        self._team.open()
        self._dropped = weakref.finalize(self, _abandon, self._team)
        self._dropped.atexit = False  # they are daemons

    @property
    def grace_s(self) -> float:
        """Seconds that running tasks have to end after a stop."""
        return self._team.grace_s

    def close(self) -> None:
        self._dropped.detach()
        self._team.close()

    def wake(self) -> None:
        self._team.wake()

    def drive(self, session: Session) -> None:
        if self._team.pid != os.getpid():  # a forked child, which has none of the threads
            self._team = _Team(self.workers, self.grace_s)
        self._team.drive(session)


def _abandon(team: _Team) -> None:
    if os.getpid() == team.pid and team.dismiss():
        warnings.warn("a backend was dropped without being left", ResourceWarning, 2)
