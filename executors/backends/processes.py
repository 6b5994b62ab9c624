"""A pool of worker processes, driven by one event loop in the calling thread.

::

    drive:  take -> pickle -> socket -> worker: action -> socket -> finish -> take ...

Each worker is a fresh interpreter (`worker.py`) in a process group of its own, with a socket
pair for messages, a pipe, its lifeline, that ends it with this process, and a shared cell in
which it counts the calls that it has begun. It has one call at a time: when it dies, that call
fails, or, if it had not begun, goes to another worker. Nothing else is lost.

State of a worker: starting (no READY yet), idle (in `_idle`), busy (`call` is set), dead (left
`_workers`). Whatever kills one, `_bury` is where it ends.
"""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import resource
import selectors
import signal
import socket
import subprocess
import sys
import weakref
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from executors.backends.base import Backend
from executors.backends.wire import (
    CELL,
    ERROR,
    READY,
    REPLY,
    SIZE,
    Failure,
    Order,
    Packed,
    Setup,
    dumps_by_value,
    shared_cell,
)
from executors.errors import (
    BackendError,
    NotPicklable,
    RemoteError,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
)
from executors.interpreter import import_path, module_command, module_environment
from executors.records import Attempt, Call, describe, shown
from executors.session import Session

START_TIMEOUT_S = 60.0
START_TRIES = 5  # workers that die at start-up, one after the other, before the run ends
EXIT_GRACE_S = 1.0
WORKER_BYTES = 20_000_000  # resident memory of an idle worker, rounded up
WORKER_DESCRIPTORS = 4
LONGEST_WAIT_S = 3600.0  # epoll takes no more than some weeks
SPARE_DESCRIPTORS = 64
CACHED_BYTES = 1 << 16  # pickled actions up to this size are kept: tasks often share one
CHUNK = 1 << 14  # of a reply; most are short, and room for more would cost them 15 us
LONG_CHUNK = 1 << 20


class _Worker:
    """One worker process, seen from the parent."""

    def __init__(self, number: int) -> None:
        self.name = f"process-{number}"
        self.is_ready = False
        self.has_hung_up = False
        self.hired_s = monotonic()
        self.call: Call | None = None
        self.taken_s = 0.0
        self.unsent = memoryview(b"")
        self.unread = bytearray()
        self.socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self._sent = 0  # calls
        cell = shared_cell()
        self._begun = mmap.mmap(cell, CELL.size)
        inherited = (theirs.fileno(), lifeline, cell)
        try:
            self.process = subprocess.Popen(
                module_command("executors.backends.worker", *inherited),
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=module_environment(),
            )
        except BaseException:
            self.socket.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(cell)
        self.socket.setblocking(False)
        self.exit_fd = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else -1

    def order(self, call: Call, message: bytes, now_s: float) -> None:
        """Gives it a call."""
        self._sent += 1
        self.call = call
        self.taken_s = now_s
        self.send(message)

    @property
    def has_begun(self) -> bool:
        """Whether it has begun its call, as far as it got to say so; it may be dead by now."""
        return bool(CELL.unpack_from(self._begun)[0] == self._sent)

    def send(self, message: bytes) -> None:
        """Sends as much as goes now; the rest waits in `unsent`."""
        self.unsent = memoryview(SIZE.pack(len(message)) + message)
        self.send_more()

    def send_more(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # it is gone: reading will tell
            self.unsent = memoryview(b"")

    def receive(self, to_the_end: bool = False) -> tuple[int, bytes, bytes, float, float] | None:
        """The reply, when all of it is here: kind, outcome, records, start and end."""
        size = LONG_CHUNK if self.unread else CHUNK
        try:
            while True:
                data = self.socket.recv(size)
                self.unread += data
                if not data:
                    self.has_hung_up = True
                if not data or (len(data) < size and not to_the_end):
                    break
                size = LONG_CHUNK
        except BlockingIOError:
            pass
        except ConnectionError:
            self.has_hung_up = True
        if len(self.unread) < REPLY.size:
            return None
        kind, size, records_size, started_s, ended_s = REPLY.unpack_from(self.unread)
        middle = REPLY.size + size
        end = middle + records_size
        if len(self.unread) < end:
            return None
        with memoryview(self.unread) as unread:
            outcome, records = bytes(unread[REPLY.size : middle]), bytes(unread[middle:end])
        self.unread = bytearray()
        return kind, outcome, records, started_s, ended_s

    def wait_for_exit(self, timeout_s: float = EXIT_GRACE_S) -> None:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass

    def kill(self) -> None:
        """Kills the process and all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
            pass

    def release(self) -> None:
        """Closes what the parent holds of it."""
        self.socket.close()
        self._begun.close()
        os.close(self._lifeline)
        if self.exit_fd >= 0:
            os.close(self.exit_fd)

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.process.pid})"


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
        _check_room(self.workers)
        self._numbers = count()
        self._selector: selectors.BaseSelector
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
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
        _open_backends.add(self)
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
            worker = _Worker(next(self._numbers))
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
            worker: _Worker | None = key.data
            if worker is None:
                os.read(self._woken, 4096)
            elif worker in self._workers:  # else it was buried a moment ago
                if events & selectors.EVENT_WRITE:
                    self._send_more(worker)
                if events & selectors.EVENT_READ:
                    self._hear(session, worker, has_exited=key.fd == worker.exit_fd)

    def _hear(self, session: Session | None, worker: _Worker, has_exited: bool) -> None:
        """Takes what a worker sent; one that is gone may have sent its result before."""
        reply = worker.receive(to_the_end=has_exited)
        if reply is not None:
            self._accept(session, worker, *reply)
        if worker.has_hung_up and not has_exited:
            worker.wait_for_exit()  # killed now, it would seem to have died of that
        if has_exited or worker.has_hung_up:
            self._bury(session, worker)

    def _dispatch(self, session: Session, worker: _Worker, call: Call, now_s: float) -> None:
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

    def _watch_writes(self, worker: _Worker) -> None:
        """Asks to be told when the rest of a message can be sent; messages are mostly short."""
        if worker.unsent:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(worker.socket, both, worker)

    def _send_more(self, worker: _Worker) -> None:
        worker.send_more()
        if not worker.unsent:
            self._selector.modify(worker.socket, selectors.EVENT_READ, worker)

    def _accept(
        self,
        session: Session | None,
        worker: _Worker,
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
            error = _error(pickle.loads(outcome), worker)
        else:
            value = Packed(outcome)
            if session.keeps(call):
                error = _unpack(value, call)
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

    def _bury(self, session: Session | None, worker: _Worker) -> None:
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
                    f" the last one {_how(status)}; see its output above"
                )
        call = worker.call
        if session is not None and call is not None:
            now_s = monotonic()
            if not has_begun:
                session.put_back(call, now_s)
            else:
                died = WorkerDied(f"task {call.task.name!r}: its worker {worker!r} {_how(status)}")
                session.finish(Attempt(call, worker.name, worker.taken_s, now_s, None, died), now_s)
        if session is None or not session.stopping:
            self._hire()

    def _forget(self, worker: _Worker) -> None:
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


_open_backends: weakref.WeakSet[Processes] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """A forked child of this program must not keep workers alive when the program has ended."""
    for backend in _open_backends:
        for worker in backend._workers:
            worker.release()
        backend._workers.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)


def _log_levels() -> dict[str, int]:
    """The levels that were set, so that workers keep records only of what is asked for."""
    loggers = logging.Logger.manager.loggerDict.values()
    levels = {"": logging.getLogger().level}
    for logger in loggers:
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            levels[logger.name] = logger.level
    return levels


def _check_room(workers: int) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = workers * WORKER_DESCRIPTORS + SPARE_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise BackendError(
            f"{workers} worker processes need about {needed} open files, and the limit is {limit};"
            " use fewer workers, or raise it with: ulimit -n"
        )
    free = _available_bytes()
    if free is not None and workers * WORKER_BYTES > free:
        raise BackendError(
            f"{workers} worker processes need about {workers * WORKER_BYTES / 1e9:.1f} GB of"
            f" memory, and {free / 1e9:.1f} GB are free; use fewer workers"
        )


def _available_bytes() -> int | None:
    """Memory that processes can have without swapping, where the system says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def _how(status: int) -> str:
    """How a process ended, from its return code as subprocess gives it."""
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _unpack(packed: Packed, call: Call) -> NotPicklable | None:
    """Unpickles a value that the report keeps; a reader may still need the bytes."""
    try:
        packed.value = pickle.loads(packed.payload)
    except BaseException as error:  # what is unpickled may raise anything
        return NotPicklable(
            f"task {call.task.name!r}: its value cannot be unpickled: {describe(error)}"
        )
    return None


def _error(failure: Failure, worker: _Worker) -> BaseException:
    """The worker's exception, with its traceback there as a note."""
    error: BaseException = RemoteError(failure.type_name, failure.text)
    if failure.pickled is not None:
        try:
            error = pickle.loads(failure.pickled)
        except BaseException as reason:
            error = RemoteError(
                failure.type_name,
                f"{failure.text} (the exception cannot be unpickled: {describe(reason)})",
            )
    try:
        error.add_note(f"In {worker!r}:\n{failure.traceback}")
    except Exception:
        pass  # a frozen one, say: it comes without the note
    return error


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
