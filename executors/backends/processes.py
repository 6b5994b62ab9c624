"""A pool of worker processes, driven by one event loop in the calling thread.

::

    drive:  deadlines and stops -> give calls -> sleep until the bell rings -> hear reports -> ...

Each worker is a fresh interpreter (`worker.py`; its parent's side is `child.py`) in a process
group of its own. It has a queue, in the kernel, of calls that it makes one after the other, and
reports each before it begins the next (`wire.py`). How many it has is for `pace.py` to say. So the
kernel knows, whatever happens to a worker: what it took and did not report, it was running, and
what it did not take, it never began.

State of a worker: starting (no READY yet), idle (no calls), busy, slow (see `_share`), dead (left
`_workers`). A call leaves a worker by its report, by being taken back, or by the worker's end, and
whatever ends a worker, `_bury` is where it ends.
"""

from __future__ import annotations

import logging
import os
import selectors
import sys
from collections.abc import Callable, Sequence
from itertools import count
from time import monotonic
from typing import Any, ClassVar

from executors.backends.base import Backend
from executors.backends.child import EXIT_GRACE_S, Child, check_room, how_it_ended
from executors.backends.orders import Kept, Orders
from executors.backends.pace import MOST_CALLS, PATIENCE_S, Pace
from executors.backends.packing import Packed, dumps_by_value, load
from executors.backends.wire import (
    ERROR,
    LEADS,
    NOT_READY,
    OUTCOMES,
    READY,
    RINGS,
    SKIPPED,
    Setup,
    error_of,
)
from executors.errors import (
    BackendError,
    NotPicklable,
    TaskError,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
)
from executors.interpreter import import_path
from executors.records import Attempt, Call, describe, shown
from executors.session import Session

logger = logging.getLogger("executors")

START_TIMEOUT_S = 60.0
START_TRIES = 10  # workers that die at start-up, one after the other, before the run ends
LONGEST_WAIT_S = 3600.0  # epoll takes no more than some weeks
BLOCKS_FROM = 4  # calls that a worker should have at hand
BELL_BYTES = 1 << 16  # of rings, read at once


class Processes(Backend):
    """Worker processes: python code runs in parallel, at the price of pickling.

    Actions may be lambdas and closures; each attempt gets a copy of its own. Values are pickled by
    the worker that made them and unpickled by each reader; buffers of 32 KiB and more, as of numpy
    arrays, are in shared memory, which readers map (writes stay private). A worker that is killed,
    exits or crashes fails only the task it was running, with `WorkerDied`, and is replaced. A task
    that overruns its `timeout_s` is killed with its worker, as is whatever runs when the run is
    stopped.

    Args:
        workers: how many; None means `usable_cpus()`.
        initializer: called without arguments in each worker before it is ready.
        preload: names of modules that each worker imports before it is ready.
        memory_limit_bytes: memory that a worker may allocate, with the interpreter's own; an
            attempt that needs more fails with `MemoryLimitExceeded`. Linux only (RLIMIT_DATA): it
            counts private memory, touched or not, and of shared memory what arguments map.

    Raises:
        BackendError: an argument is wrong, or there is no room for so many workers.
    """

    name: ClassVar[str] = "processes"

    def __init__(
        self,
        workers: int | None = None,
        *,
        initializer: Callable[[], object] | None = None,
        preload: Sequence[str] = (),
        memory_limit_bytes: int | None = None,
    ) -> None:
        super().__init__(workers)
        check_room(self.workers)
        self._preload = _checked_preload(preload)
        self._initializer = _checked_initializer(initializer)
        self._memory_limit_bytes = _checked_limit(memory_limit_bytes)
        self._worker_numbers = count()
        self._number = 0  # of the call that was given last
        self._ring_after = 1  # calls given to one worker
        self._selector: selectors.BaseSelector
        self._workers: dict[int, Child] = {}  # by number
        self._retries_post = False  # a line was full: nothing may ring when it is not any more
        self._starting = 0  # workers that are not ready yet
        self._failed_starts = 0
        self._bell = self._listener = -1  # a pipe, see wire.py; signals ring it too
        self._pace = Pace()  # of the run, as are its orders
        self._orders = Orders()

    @classmethod
    def unavailable(cls) -> str | None:
        if os.name != "posix":
            return "it needs a POSIX system (Linux or macOS)"
        if not sys.executable:
            return "this interpreter does not know its own path (sys.executable is empty)"
        return None

    # -- start and end ----------------------------------------------------------------------

    def open(self) -> None:
        """Starts all workers at once and waits until each says that it is ready.

        Raises:
            BackendError: they do not start.
        """
        self._failed_starts = 0
        self._selector = selectors.DefaultSelector()
        self._listener, self._bell = os.pipe()
        os.set_blocking(self._listener, False)
        os.set_blocking(self._bell, False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            for _ in range(self.workers):
                self._hire()
            while self._starting:
                self._listen(None, self._check_starts())
        except BaseException:
            self._kill_all()
            self.close()
            raise

    def close(self) -> None:
        bell, self._bell = self._bell, -1
        for worker in self._workers.values():
            worker.dismiss()
        give_up_s = monotonic() + EXIT_GRACE_S
        for worker in self._workers.values():
            worker.wait_for_exit(max(0.0, give_up_s - monotonic()))
            worker.kill()  # also what its tasks left behind in its group
            worker.process.wait()
            worker.release()
        self._workers.clear()
        self._selector.close()
        os.close(self._listener)
        os.close(bell)

    def wake(self) -> None:
        if self._bell >= 0:
            try:
                os.write(self._bell, b"!")
            except BlockingIOError:
                pass  # it is full of rings

    def _hire(self) -> None:
        try:
            worker = Child(next(self._worker_numbers), self._bell)
        except OSError as error:
            raise BackendError(f"a worker process could not be started: {error}") from error
        self._workers[worker.number] = worker
        self._starting += 1
        self._selector.register(worker.watched, selectors.EVENT_READ, worker)
        setup = Setup(
            worker.name,
            import_path(),
            os.environ.get("PYTHONPATH"),
            _log_levels(),
            self._memory_limit_bytes,
            self._preload,
            self._initializer,
        )
        worker.prepare(setup)

    def _check_starts(self) -> float:
        """Seconds until a worker that is starting has taken too long; at most LONGEST_WAIT_S.

        Raises:
            BackendError: one has.
        """
        if self._starting == 0:
            return LONGEST_WAIT_S
        hired_s = min(worker.hired_s for worker in self._workers.values() if not worker.is_ready)
        left_s = hired_s + START_TIMEOUT_S - monotonic()
        if left_s <= 0:
            raise BackendError(f"a worker process was not ready after {START_TIMEOUT_S:g} s")
        return min(left_s, LONGEST_WAIT_S)

    # -- the loop ---------------------------------------------------------------------------

    def drive(self, session: Session) -> None:
        self._pace, self._orders = Pace(), Orders()
        self._failed_starts = 0
        try:
            for _ in range(self.workers - len(self._workers)):
                self._hire()  # those that an earlier run ended
            while True:
                now_s = monotonic()
                wake_at_s = session.wake_at_s
                if wake_at_s is not None and wake_at_s <= now_s:
                    self._end_overdue(session, now_s)
                wait_s = self._check_starts()
                if session.stop_reason is not None:
                    self._stop(session, now_s)
                else:
                    self._give(session, now_s)
                    wait_s = min(wait_s, self._share(session, now_s))
                if session.over:
                    return
                wake_at_s = session.wake_at_s
                if wake_at_s is not None:
                    wait_s = min(wait_s, wake_at_s - monotonic())
                self._listen(session, max(0.0, wait_s))
        except BaseException:
            self._kill_all()
            raise
        finally:
            self._orders = Orders()  # what it packed is not needed any more

    def _listen(self, session: Session | None, timeout_s: float) -> None:
        """Sleeps until the bell rings or a worker ends, and hears what there is to hear."""
        ended: list[Child] = []
        for key, _ in self._selector.select(timeout_s):
            if key.data is not None:
                ended.append(key.data)
                continue
            os.read(self._listener, BELL_BYTES)
            for worker in self._workers.values():
                if worker.calls or not worker.is_ready:
                    self._hear(session, worker)
        for worker in ended:
            if worker.number in self._workers:  # else it was buried a moment ago
                self._hear(session, worker)
                if worker.has_ended:
                    self._bury(session, worker)

    # -- giving -----------------------------------------------------------------------------

    def _give(self, session: Session, now_s: float) -> None:
        """Gives calls to the workers that have room, first to those that have least.

        Long calls are dealt one by one, the most urgent first; short ones in blocks, as neighbours
        in order are often neighbours in the graph, whose dependents then need no other worker.
        """
        depth = self._pace.depth
        rooms = [
            worker
            for worker in self._workers.values()
            if len(worker.calls) <= depth // 2 and worker.is_ready and not worker.is_slow
        ]
        if not rooms:
            return
        if len(rooms) > 1:
            rooms.sort(key=_size)
        levels: Sequence[int] = range(1, depth + 1)
        if depth >= BLOCKS_FROM:
            calls = session.startable + sum([len(worker.calls) for worker in rooms])
            levels = (min(depth, -(-calls // len(rooms))),)
        self._ring_after = self._pace.ring_after(levels[-1])
        for level in levels:
            for worker in rooms:
                while len(worker.calls) < level and self._give_one(session, worker, now_s):
                    pass
        for worker in rooms:
            while (
                worker.leader in worker.calls
                and len(worker.calls) < depth
                and self._give_one(session, worker, now_s, only_next=True)
            ):
                pass
            if worker.packet.orders:
                self._post(session, worker)

    def _give_one(
        self, session: Session, worker: Child, now_s: float, only_next: bool = False
    ) -> bool:
        """Gives a worker what follows its last call, or else the most urgent task; if any."""
        calls = worker.calls
        leader, call = worker.leader, None
        if leader in calls:
            call = session.follow(calls[leader], now_s)
        if call is None:
            leader, call = 0, None if only_next else session.take(now_s)
            if call is None:
                return False
        number = self._number = self._number + 1
        leads = session.graph.successor[call.index] >= 0
        worker.unrung += 1
        flags = LEADS if leads else 0
        if worker.unrung >= self._ring_after:
            flags |= RINGS
            worker.unrung = 0
        try:
            self._orders.add(worker.packet, number, call, leader, flags)
        except NotPicklable as error:
            if leader:  # it fails when it is its turn
                session.put_back(call, now_s)
                return False
            session.started(call, now_s)
            session.finish(Attempt(call, worker.name, now_s, now_s, None, error), now_s)
            return True
        worker.leader = number if leads else 0
        if leader:
            worker.following.add(number)
        if not calls:
            worker.heard_s = now_s
        calls[number] = call
        return not worker.packet.descriptors or self._post(session, worker)

    def _post(self, session: Session, worker: Child) -> bool:
        """Sends a worker what was packed for it; False if it has no room now."""
        now_s = monotonic()
        packet = worker.packet
        has_room = worker.post()
        if not has_room:
            self._retries_post = True
            for number, *_ in packet.orders:
                call = worker.drop(number)
                if call is not None:
                    session.put_back(call, now_s)
        self._tell_begun(session, worker, now_s)
        return has_room

    def _tell_begun(self, session: Session, worker: Child, now_s: float) -> None:
        """Tells the session of the call that a worker is at, if it does not know."""
        for number, call in worker.calls.items():
            if call is not worker.begun:
                worker.begun, worker.begun_s = call, now_s
                worker.following.discard(number)
                session.started(call, now_s)
            return
        worker.begun = None

    # -- taking back ------------------------------------------------------------------------

    def _share(self, session: Session, now_s: float) -> float:
        """Takes back calls that others may begin sooner, and gives them to these.

        Returns:
            Seconds until it has to look again, although the bell does not ring.
        """
        patience_s = self._pace.patience_s
        wait_s = PATIENCE_S if self._retries_post else LONGEST_WAIT_S
        self._retries_post = False
        idle, taken, most = False, 0, 0
        fullest: Child | None = None
        for worker in self._workers.values():
            queued = len(worker.calls) - len(worker.following) - 1
            if queued < 0:
                idle = idle or worker.is_ready
            elif queued and not worker.is_slow:
                left_s = worker.heard_s + patience_s - now_s
                if left_s <= 0:
                    taken += self._take_back_if_slow(session, worker, now_s)
                    wait_s = 0.0  # what it had to say may change what there is to do
                    continue
                wait_s = min(wait_s, left_s)
                if queued > most:
                    most, fullest = queued, worker
        is_worth_it = idle and not session.startable and self._pace.is_worth_taking(most)
        if fullest is not None and is_worth_it:
            taken += self._take_back(session, fullest, now_s, (most + 1) // 2)
        if taken:
            self._give(session, now_s)
        return wait_s

    def _take_back_if_slow(self, session: Session, worker: Child, now_s: float) -> int:
        """A worker that has not reported for long may only not have rung."""
        self._hear(session, worker)
        if worker.heard_s >= now_s:
            return 0
        taken = self._take_back(session, worker, now_s)
        worker.is_slow = bool(worker.calls)
        return taken

    def _take_back(
        self, session: Session, worker: Child, now_s: float, most: int = MOST_CALLS
    ) -> int:
        """Takes back calls that a worker has not begun; how many."""
        numbers = worker.take_back(most, self._number + 1)
        for number in numbers:
            call = worker.drop(number)
            if call is not None:
                self._put_back(session, worker, call, now_s)
        self._tell_begun(session, worker, now_s)
        return len(numbers)

    def _put_back(self, session: Session, worker: Child, call: Call, now_s: float) -> None:
        """Puts back a call that its worker does not have any more, and those that follow it."""
        session.put_back(call, now_s)
        self._drop_followers(session, worker, call, now_s)

    def _drop_followers(self, session: Session, worker: Child, call: Call, now_s: float) -> None:
        for number in sorted(worker.following):
            follower = worker.calls[number]
            if follower.needs == (call.index,):
                worker.drop(number)
                session.put_back(follower, now_s)
                call = follower

    def _stop(self, session: Session, now_s: float) -> None:
        """Nothing more starts; what runs is ended where the session says so."""
        for worker in list(self._workers.values()):
            if worker.calls and (session.stopping or len(worker.calls) > 1):
                self._take_back(session, worker, now_s)
            while session.stopping and (call := worker.begun) is not None:
                self._end(session, worker, call, TaskStopped(_stopped(call, session)))

    # -- hearing ----------------------------------------------------------------------------

    def _hear(self, session: Session | None, worker: Child, to_the_end: bool = False) -> None:
        """Deals with what a worker has reported since it was last heard.

        Raises:
            BackendError: it cannot be set up as wanted.
        """
        now_s = monotonic()
        calls, following = worker.calls, worker.following
        total_s, count = 0.0, 0
        for kind, number, outcome, started_s, ended_s in worker.hear(to_the_end):
            if kind not in OUTCOMES:
                self._note(worker, kind, outcome)
                continue
            worker.heard_s = now_s
            worker.is_slow = False
            call = calls.pop(number, None)
            if call is None or session is None:
                continue  # it was put back, and its report was on the way
            if following:
                following.discard(number)
            if kind == SKIPPED:
                self._put_back(session, worker, call, now_s)
                self._tell_begun(session, worker, now_s)
                continue
            value: Packed | Kept | None = outcome
            error: BaseException | None = None
            if kind == ERROR:
                value, error = None, self._error(call, worker, outcome)
            elif outcome.__class__ is not bytes or call.index in session.kept:
                value, error = self._orders.accept(call, outcome, call.index in session.kept)
            if error is not None:
                self._drop_followers(session, worker, call, now_s)
            session.finish(Attempt(call, worker.name, started_s, ended_s, value, error), now_s)
            self._tell_begun(session, worker, ended_s)
            total_s += ended_s - started_s
            count += 1
        if count:
            self._pace.learn(total_s, count)

    def _note(self, worker: Child, kind: int, outcome: Packed) -> None:
        """Deals with a report that is not the outcome of a call."""
        if kind == READY:
            worker.is_ready = True
            self._starting -= 1
            self._failed_starts = 0
        elif kind == NOT_READY:
            raise BackendError(f"a worker process cannot be set up:\n{load(outcome)}")
        else:
            try:
                record = load(outcome)
            except OSError as error:  # too many open files
                logger.warning("a log record of %r was lost: %s", worker, error)
            else:
                logging.getLogger(record.name).handle(record)

    def _error(self, call: Call, worker: Child, outcome: Packed) -> BaseException:
        try:
            failure = load(outcome)
        except OSError as error:  # too many open files
            return NotPicklable(
                f"task {call.task.name!r}: its exception did not come through: {describe(error)}"
            )
        return error_of(failure, call, repr(worker), self._memory_limit_bytes)

    def unwrap(self, value: Any) -> Any:
        return value.value

    # -- the end of workers -----------------------------------------------------------------

    def _end_overdue(self, session: Session, now_s: float) -> None:
        for call in session.overdue(now_s):
            for worker in list(self._workers.values()):
                if worker.begun is call:
                    self._end(session, worker, call, TaskTimeout(_timed_out(call)))

    def _end(self, session: Session, worker: Child, call: Call, error: TaskError) -> None:
        """Kills the worker of a call, unless the call has ended meanwhile."""
        self._hear(session, worker)
        if worker.begun is call:
            self._bury(session, worker, error)
            worker.begun = None

    def _bury(self, session: Session | None, worker: Child, error: TaskError | None = None) -> None:
        """Ends a worker for good, settles the calls that it had, and hires another one.

        Args:
            error: what the call that it is at gets; None: it died by itself.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        culprit = worker.begun
        worker.kill()
        status = worker.process.wait()
        self._hear(session, worker, to_the_end=True)
        if session is not None:
            self._settle_last(session, worker, culprit, error, status)
        self._forget(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise BackendError(
                    f"{START_TRIES} worker processes in a row died at start-up;"
                    f" the last one {how_it_ended(status)}; see its output above"
                )
        if session is None or not session.stopping:
            self._hire()

    def _settle_last(
        self,
        session: Session,
        worker: Child,
        culprit: Call | None,
        error: TaskError | None,
        status: int,
    ) -> None:
        """What a worker was running fails, if the worker was not ended for another call."""
        now_s = monotonic()
        self._take_back(session, worker, now_s)
        call = worker.begun
        worker.calls.clear()  # nothing else was left: the rest had tickets
        if call is None:
            return
        if error is not None and call is not culprit:
            session.put_back(call, now_s)
            return
        reason = error or WorkerDied(
            f"task {call.task.name!r}: its worker {worker!r} {how_it_ended(status)}"
        )
        session.finish(Attempt(call, worker.name, worker.begun_s, now_s, None, reason), now_s)

    def _forget(self, worker: Child) -> None:
        del self._workers[worker.number]
        self._starting -= not worker.is_ready
        self._selector.unregister(worker.watched)
        worker.release()

    def _kill_all(self) -> None:
        for worker in list(self._workers.values()):
            worker.kill()
            worker.process.wait()
            self._forget(worker)


def _size(worker: Child) -> int:
    return len(worker.calls)


def _checked_preload(preload: Sequence[str]) -> tuple[str, ...]:
    if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
        raise BackendError(f"preload must be a sequence of module names, not {preload!r}")
    return tuple(preload)


def _checked_initializer(initializer: Callable[[], object] | None) -> bytes | None:
    if initializer is None:
        return None
    if not callable(initializer):
        raise BackendError(f"initializer must be callable, not {initializer!r}")
    try:
        return dumps_by_value(initializer)
    except Exception as error:
        raise BackendError(
            f"the initializer {shown(initializer)} cannot be pickled: {describe(error)}"
        ) from error


def _checked_limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise BackendError(f"memory_limit_bytes must be a whole number of bytes, not {limit!r}")
    if sys.platform != "linux":
        raise BackendError("memory_limit_bytes works on Linux only")
    return limit


def _log_levels() -> dict[str, int]:
    """The levels that were set, so that workers keep records only of what is asked for."""
    loggers = logging.Logger.manager.loggerDict.values()
    levels = {"": logging.getLogger().level}
    for logger in loggers:
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            levels[logger.name] = logger.level
    return levels


def _timed_out(call: Call) -> str:
    return (
        f"task {call.task.name!r} ran longer than its timeout of {call.task.timeout_s:g} s;"
        " its worker was killed"
    )


def _stopped(call: Call, session: Session) -> str:
    return (
        f"task {call.task.name!r} was running when the run was stopped"
        f" ({session.stop_reason}); its worker was killed"
    )
