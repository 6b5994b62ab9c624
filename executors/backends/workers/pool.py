"""`Pool`: starts worker processes, listens to them, and replaces those that end.

It does not handle calls; `dispatch.py` does. A worker is starting (no READY yet), ready,
or ended (removed from `workers`).
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import warnings
import weakref
from itertools import count
from time import monotonic

from executors.backends.base import LONGEST_SLEEP_S
from executors.backends.workers.bodies.base import Bodies, ReturnCode
from executors.backends.workers.handle import WorkerHandle
from executors.backends.workers.wire import (
    IMPORTED,
    MESSAGES,
    NOT_READY,
    READY,
    Setup,
    WorkerOptions,
    receive,
)
from executors.cpus import crowding
from executors.errors import BackendError
from executors.imports.modules import Main
from executors.imports.surroundings import Surroundings
from executors.pickling.log_records import handle, levels
from executors.pickling.packing import Packed, load

logger = logging.getLogger("executors")

EXIT_GRACE_S = 1.0
START_TIMEOUT_S = 60.0
START_TRIES = 10  # workers in a row that die at start-up before the run ends
WAKEUP_BYTES = 1 << 16  # of wake-ups, read at once
POLLS = 50  # before falling asleep: together they take as long as a wake-up


class Pool:
    """Worker processes.

    Args:
        size: their number.
        options: for each worker.
        body: makes what a worker runs in.

    Attributes:
        workers: those that were started and not removed, by number.
    """

    def __init__(self, size: int, options: WorkerOptions, body: Bodies) -> None:
        self._size = size
        self._body = body
        self.options = options
        self.workers: dict[int, WorkerHandle] = {}
        self._numbers = count()
        self._selector: selectors.BaseSelector
        self._wakeup_pipe = self._listener = -1  # a pipe, see wire.py
        self._children: socket.socket  # receives log records
        self.has_records = False  # `read_records` has something to do
        self._pid = os.getpid()
        self._starting = 0  # workers that are not ready yet
        self._failed_starts = 0
        _pools.add(self)

    @property
    def outlasts(self) -> bool:
        """Whether its workers have to be ended before the program can end."""
        return self._body.is_inside

    @property
    def is_of_parent(self) -> bool:
        """Whether this is the copy that a forked child has of its parent's pool."""
        return self._pid != os.getpid()

    def open(self) -> None:
        """Starts all workers at once and waits until each of them is ready.

        Raises:
            BackendError: they do not start.
        """
        self._selector = selectors.DefaultSelector()
        self._listener, self._wakeup_pipe = os.pipe()
        os.set_blocking(self._listener, False)
        os.set_blocking(self._wakeup_pipe, False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._children, self._to_children = socket.socketpair(socket.AF_UNIX, MESSAGES)
        self._selector.register(self._children, selectors.EVENT_READ, self._children)
        self._pid = os.getpid()
        try:
            self.fill()
            while self._starting:
                _, ended = self.listen(LONGEST_SLEEP_S)
                for worker in ended:
                    worker.outcomes()
                    if worker.has_ended:
                        self.replace(worker, self.end(worker))
        except BaseException:
            self.kill_all()
            self.close()
            raise

    def close(self) -> None:
        """Lets all workers end, and kills those that do not; returns when they are gone."""
        if self.is_of_parent:
            return
        wakeup_pipe, self._wakeup_pipe = self._wakeup_pipe, -1
        try:
            for worker in self.workers.values():
                worker.shut_down()
            give_up_s = monotonic() + EXIT_GRACE_S
            for worker in self.workers.values():
                worker.body.wait_for_exit(max(0.0, give_up_s - monotonic()))
        finally:  # also after Ctrl-C
            self.kill_all()  # also processes that tasks left behind in the groups of the workers
            self.read_records()
            self._children.close()
            self._to_children.close()
            self._selector.close()
            os.close(self._listener)
            os.close(wakeup_pipe)

    def abandon(self) -> None:
        """Ends all workers of a pool that nobody can use any more."""
        if not self.is_of_parent:
            warnings.warn("a backend was dropped without being left", ResourceWarning, 2)
            self.kill_all()
            self.close()

    def wake(self) -> None:
        """Makes `listen` return, now or when it is called next; from any thread."""
        if self._wakeup_pipe >= 0:
            try:
                os.write(self._wakeup_pipe, b"!")
            except BlockingIOError:
                pass  # it is full of wake-ups

    def fill(self) -> None:
        """Starts the workers that are missing.

        Raises:
            BackendError: the system has no room for them.
        """
        self._failed_starts = 0
        for _ in range(self._size - len(self.workers)):
            self._start()

    def keep_up(self) -> None:
        """Has all workers adopt what has changed in the program's surroundings."""
        now = Surroundings.of_this_process()
        for worker in self.workers.values():
            worker.keep_up(now)

    def _start(self) -> None:
        try:
            shared = self._wakeup_pipe, self._to_children.fileno()
            worker = WorkerHandle(next(self._numbers), self._body, shared, self._on_report)
        except OSError as error:
            raise BackendError(
                f"a worker {self._body.kind} could not be started: {error}"
            ) from error
        self.workers[worker.number] = worker
        self._starting += 1
        self._selector.register(worker.watched, selectors.EVENT_READ, worker)
        worker.prepare(
            Setup(
                worker.name,
                Main.of_this_process(),
                levels(),
                self.options,
                self._body.extra_environment(),
            )
        )

    # -- listening --------------------------------------------------------------------------

    def listen(self, timeout_s: float, polls: int = 0) -> tuple[bool, list[WorkerHandle]]:
        """Sleeps until a worker wakes it or ends.

        Args:
            timeout_s: the longest sleep.
            polls: how often it checks before it falls asleep.

        Returns:
            Whether workers have reports, and the workers that may have ended (read their outcomes,
            then `has_ended` is certain).

        Raises:
            BackendError: a worker cannot be set up, or took too long to start.
        """
        if self._starting:
            timeout_s = min(timeout_s, self._start_timeout_s())
        is_woken, ended = False, []
        events: list[tuple[selectors.SelectorKey, int]] = []
        while polls and not events:
            polls -= 1
            events = self._selector.select(0)
        for key, _ in events or self._selector.select(timeout_s):
            if key.data is None:
                os.read(self._listener, WAKEUP_BYTES)
                is_woken = True
            elif key.data is self._children:
                is_woken = self.has_records = True  # after what their workers have reported
            else:
                ended.append(key.data)
        if self._starting:
            for worker in self.workers.values():
                if not worker.is_ready:
                    worker.outcomes()
        return is_woken, ended

    def _start_timeout_s(self) -> float:
        """Seconds until a starting worker will have taken too long, on a machine this busy."""
        started_s = min(worker.started_s for worker in self.workers.values() if not worker.is_ready)
        waited_s = monotonic() - started_s
        left_s = START_TIMEOUT_S * crowding() - waited_s
        if left_s <= 0:
            raise BackendError(f"a worker {self._body.kind} was not ready after {waited_s:.0f} s")
        return left_s

    def _on_report(self, worker: WorkerHandle, kind: int, number: int, content: Packed) -> None:
        """Handles a report that is not the outcome of a call."""
        if kind == READY:
            worker.is_ready = True
            self._starting -= 1
            self._failed_starts = 0
        elif kind == NOT_READY:
            raise BackendError(f"a worker {self._body.kind} cannot be set up:\n{load(content)}")
        elif kind == IMPORTED:
            worker.imports[number] = load(content)
        else:
            handle(content, repr(worker))

    def read_records(self) -> None:
        """Handles log records from processes that actions forked."""
        self.has_records = False
        while True:
            try:
                content, _ = receive(self._children, socket.MSG_DONTWAIT)
            except OSError:  # there is none
                return
            except (ValueError, EOFError, TypeError):
                content = b""  # an action wrote to everything that it found open
            if content is None:
                return
            handle(content, "a process that a task started")

    # -- the end of workers -----------------------------------------------------------------

    def end(self, worker: WorkerHandle) -> ReturnCode:
        """Makes sure that a worker has ended; returns its return code."""
        worker.body.kill()
        return worker.body.wait()

    def remove(self, worker: WorkerHandle) -> None:
        """Forgets a worker that has ended."""
        del self.workers[worker.number]
        self._starting -= not worker.is_ready
        self._selector.unregister(worker.watched)
        worker.release()

    def replace(self, worker: WorkerHandle, status: ReturnCode) -> None:
        """Starts a new worker instead of one that has ended.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        self.remove(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                limit_bytes = self.options.memory_limit_bytes
                limit = f"; memory_limit_bytes is {limit_bytes}" if limit_bytes is not None else ""
                raise BackendError(
                    f"{START_TRIES} workers in a row died at start-up; the last {self._body.kind}"
                    f" {worker.body.how_it_ended(status)}; see its output above{limit}"
                )
        self._start()

    def kill_all(self) -> None:
        """Kills all workers immediately."""
        for worker in list(self.workers.values()):
            self.end(worker)
            self.remove(worker)


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _release_after_fork() -> None:
    """Releases the workers in a forked child: they belong to the parent, and end with it."""
    for pool in list(_pools):
        for worker in pool.workers.values():
            worker.release()
        pool.workers.clear()


os.register_at_fork(after_in_child=_release_after_fork)
