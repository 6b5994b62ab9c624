"""A pool of worker processes, driven by one event loop in the calling thread.

::

    drive:  take -> pickle -> socket -> worker: action -> socket -> finish -> take ...

Each worker is a fresh interpreter (`worker.py`; its parent's side is `child.py`) in a process
group of its own, with a socket
pair for messages, a pipe, its lifeline, that ends it with this process, and a shared cell in
which it counts the calls that it has begun. It has one call at a time: when it dies, that call
fails, or, if it had not begun, goes to another worker. Nothing else is lost.

State of a worker: starting (no READY yet), idle (in `_idle`), busy (`call` is set), dead (left
`_workers`). Whatever kills one, `_bury` is where it ends.
"""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import socket
import sys
from itertools import count
from time import monotonic
from typing import Any, ClassVar

from executors.backends.base import Backend
from executors.backends.child import EXIT_GRACE_S, Child, check_room, how_it_ended
from executors.backends.wire import (
    ERROR,
    READY,
    Order,
    Packed,
    Setup,
    dumps_by_value,
    exception_of,
    unpack,
)
from executors.errors import (
    BackendError,
    NotPicklable,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
)
from executors.interpreter import import_path
from executors.records import Attempt, Call, describe, shown
from executors.session import Session

START_TIMEOUT_S = 60.0
START_TRIES = 5  # workers that die at start-up, one after the other, before the run ends
LONGEST_WAIT_S = 3600.0  # epoll takes no more than some weeks
CACHED_BYTES = 1 << 16  # pickled actions up to this size are kept: tasks often share one


class Processes(Backend):
    """Worker processes: python code runs in parallel, at the price of pickling.

    Actions may be lambdas and closures; each attempt gets a copy of its own. Values are pickled by
    the worker that made them and unpickled by each reader. A worker that is killed, exits or
    crashes fails only the task it was running, with `WorkerDied`, and is replaced. A task that
    overruns its `timeout_s` is killed with its worker, as is whatever runs when the run is stopped.
    """

    name: ClassVar[str] = "processes"

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        check_room(self.workers)
        self._numbers = count()
        self._selector: selectors.BaseSelector
        self._workers: set[Child] = set()
        self._idle: list[Child] = []
        self._starting = 0  # workers that are not ready yet
        self._failed_starts = 0
        self._actions: dict[int, bytes] = {}  # pickled actions of the run, by id
        self._waker, self._woken = -1, -1  # a pipe: a signal must get us out of select

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
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        try:
            for _ in range(self.workers):
                self._hire()
            while len(self._idle) < self.workers:
                self._react(None, self._check_starts())
        except BaseException:
            self._kill_all()
            self.close()
            raise

    def close(self) -> None:
        waker, self._waker = self._waker, -1
        for worker in self._workers:
            try:
                worker.socket.shutdown(socket.SHUT_RDWR)  # an idle worker ends at that
            except OSError:
                pass  # it has hung up
        give_up_s = monotonic() + EXIT_GRACE_S
        for worker in self._workers:
            worker.wait_for_exit(max(0.0, give_up_s - monotonic()))
            worker.kill()  # also what its tasks left behind in its group
            worker.process.wait()
            worker.release()
        self._workers.clear()
        self._idle.clear()
        self._selector.close()
        os.close(self._woken)
        os.close(waker)

    def wake(self) -> None:
        if self._waker >= 0:
            try:
                os.write(self._waker, b"!")
            except BlockingIOError:
                pass  # it is full of wake-ups

    def _hire(self) -> None:
        try:
            worker = Child(next(self._numbers))
        except OSError as error:
            raise BackendError(f"a worker process could not be started: {error}") from error
        self._workers.add(worker)
        self._starting += 1
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        if worker.exit_fd >= 0:
            self._selector.register(worker.exit_fd, selectors.EVENT_READ, worker)
        setup = Setup(worker.name, import_path(), os.environ.get("PYTHONPATH"), _log_levels())
        worker.send(pickle.dumps(setup))
        self._watch_writes(worker)

    # -- the loop ---------------------------------------------------------------------------

    def drive(self, session: Session) -> None:
        try:
            for _ in range(self.workers - len(self._workers)):
                self._hire()  # those that an earlier run ended
            while True:
                now_s = monotonic()
                for call in session.overdue(now_s):
                    self._end(session, call, TaskTimeout(_timed_out(call)))
                if session.stopping:
                    for call in session.running:
                        self._end(session, call, TaskStopped(_stopped(call, session)))
                while self._idle and (taken := session.take(now_s)) is not None:
                    self._dispatch(session, self._idle.pop(), taken, now_s)
                if session.over:
                    return
                waits_s = [self._check_starts()]
                if session.wake_at_s is not None:
                    waits_s.append(max(0.0, session.wake_at_s - monotonic()))
                self._react(session, min(waits_s))
        except BaseException:
            self._kill_all()
            raise
        finally:
            self._actions.clear()

    def _check_starts(self) -> float:
        """Seconds until a worker that is starting has taken too long; at most LONGEST_WAIT_S.

        Raises:
            BackendError: one has.
        """
        if self._starting == 0:
            return LONGEST_WAIT_S
        hired_s = min(worker.hired_s for worker in self._workers if not worker.is_ready)
        left_s = hired_s + START_TIMEOUT_S - monotonic()
        if left_s <= 0:
            raise BackendError(f"a worker process was not ready after {START_TIMEOUT_S:g} s")
        return min(left_s, LONGEST_WAIT_S)

    def _react(self, session: Session | None, timeout_s: float) -> None:
        """Waits for workers, and deals with what they sent."""
        for key, events in self._selector.select(timeout_s):
            worker: Child | None = key.data
            if worker is None:
                os.read(self._woken, 4096)
            elif worker in self._workers:  # else it was buried a moment ago
                if events & selectors.EVENT_WRITE:
                    self._send_more(worker)
                if events & selectors.EVENT_READ:
                    self._hear(session, worker, has_exited=key.fd == worker.exit_fd)

    def _hear(self, session: Session | None, worker: Child, has_exited: bool) -> None:
        """Takes what a worker sent; one that is gone may have sent its result before."""
        reply = worker.receive(to_the_end=has_exited)
        if reply is not None:
            self._accept(session, worker, *reply)
        if worker.has_hung_up and not has_exited:
            worker.wait_for_exit()  # killed now, it would seem to have died of that
        if has_exited or worker.has_hung_up:
            self._bury(session, worker)

    def _dispatch(self, session: Session, worker: Child, call: Call, now_s: float) -> None:
        try:
            message = self._order(call)
        except NotPicklable as error:
            self._idle.append(worker)
            session.started(call, now_s)
            session.finish(Attempt(call, worker.name, now_s, now_s, None, error), now_s)
            return
        worker.order(call, message, now_s)
        self._watch_writes(worker)
        session.started(call, now_s)

    def _order(self, call: Call) -> bytes:
        task = call.task
        action = self._actions.get(id(task.action))
        if action is None:
            try:
                action = dumps_by_value(task.action)
            except Exception as error:
                raise NotPicklable(
                    f"task {task.name!r}: its action {shown(task.action)} cannot be pickled:"
                    f" {describe(error)}; use the threads backend, or create in the action what"
                    " cannot be sent"
                ) from error
            if len(action) <= CACHED_BYTES:
                self._actions[id(task.action)] = action
        arguments = [call.values[need].payload for need in call.needs]
        order: Order = (task.name, task.needs, action, arguments)
        return pickle.dumps(order, protocol=5)

    def _watch_writes(self, worker: Child) -> None:
        """Asks to be told when the rest of a message can be sent; messages are mostly short."""
        if worker.unsent:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(worker.socket, both, worker)

    def _send_more(self, worker: Child) -> None:
        worker.send_more()
        if not worker.unsent:
            self._selector.modify(worker.socket, selectors.EVENT_READ, worker)

    def _accept(
        self,
        session: Session | None,
        worker: Child,
        kind: int,
        outcome: bytes,
        records: bytes,
        started_s: float,
        ended_s: float,
    ) -> None:
        self._idle.append(worker)
        if kind == READY:
            worker.is_ready = True
            self._starting -= 1
            self._failed_starts = 0
            return
        if records:
            for record in pickle.loads(records):
                logging.getLogger(record.name).handle(record)
        call, worker.call = worker.call, None
        if session is None or call is None:
            return
        value: Packed | None = None
        error: BaseException | None = None
        if kind == ERROR:
            error = exception_of(pickle.loads(outcome), repr(worker))
        else:
            value = Packed(outcome)
            if session.keeps(call):
                error = unpack(value, call.task.name)
        session.finish(Attempt(call, worker.name, started_s, ended_s, value, error), monotonic())

    def unwrap(self, value: Any) -> Any:
        return value.value

    # -- the end of workers -----------------------------------------------------------------

    def _end(self, session: Session, call: Call, error: TaskTimeout | TaskStopped) -> None:
        """Kills the worker of a call, unless its result is there already."""
        worker = next(worker for worker in self._workers if worker.call is call)
        reply = worker.receive()
        if reply is not None:
            self._accept(session, worker, *reply)
            return
        worker.call = None
        self._bury(session, worker)
        now_s = monotonic()
        session.finish(Attempt(call, worker.name, worker.taken_s, now_s, None, error), now_s)

    def _bury(self, session: Session | None, worker: Child) -> None:
        """Ends a worker for good, settles the call that it had, and hires another one.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        worker.kill()
        status = worker.process.wait()
        has_begun = worker.has_begun
        self._forget(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise BackendError(
                    f"{START_TRIES} worker processes in a row died at start-up;"
                    f" the last one {how_it_ended(status)}; see its output above"
                )
        call = worker.call
        if session is not None and call is not None:
            now_s = monotonic()
            if not has_begun:
                session.put_back(call, now_s)
            else:
                died = WorkerDied(
                    f"task {call.task.name!r}: its worker {worker!r} {how_it_ended(status)}"
                )
                session.finish(Attempt(call, worker.name, worker.taken_s, now_s, None, died), now_s)
        if session is None or not session.stopping:
            self._hire()

    def _forget(self, worker: Child) -> None:
        self._workers.discard(worker)
        self._starting -= not worker.is_ready
        if worker in self._idle:
            self._idle.remove(worker)
        self._selector.unregister(worker.socket)
        if worker.exit_fd >= 0:
            self._selector.unregister(worker.exit_fd)
        worker.release()

    def _kill_all(self) -> None:
        for worker in list(self._workers):
            worker.kill()
            worker.process.wait()
            self._forget(worker)


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
