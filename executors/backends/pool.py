"""`Pool`: worker processes that are started, listened to, and replaced.

It knows of calls only that workers have some; what they are is for `dispatch.py`. State of a
worker: starting (no READY yet), ready, ended (left `workers`).
"""

from __future__ import annotations

import logging
import os
import selectors
import weakref
from itertools import count
from time import monotonic

from executors.backends.base import LONGEST_SLEEP_S
from executors.backends.child import EXIT_GRACE_S, Child, how_it_ended
from executors.backends.packing import Packed, load
from executors.backends.wire import NOT_READY, READY, Options, Setup
from executors.errors import BackendError
from executors.interpreter import import_path
from executors.records import describe

logger = logging.getLogger("executors")

START_TIMEOUT_S = 60.0
START_TRIES = 10  # workers that die at start-up, one after the other, before the run ends
BELL_BYTES = 1 << 16  # of rings, read at once
LOOKS = 50  # before falling asleep: together they take as long as waking up does


class Pool:
    """Worker processes.

    Args:
        size: how many.
        options: what the user wants of each.

    Attributes:
        workers: those that were started and have not been removed, by number.
    """

    def __init__(self, size: int, options: Options) -> None:
        self._size = size
        self.options = options
        self.workers: dict[int, Child] = {}
        self._numbers = count()
        self._selector: selectors.BaseSelector
        self._bell = self._listener = -1  # a pipe, see wire.py; signals ring it too
        self._starting = 0  # workers that are not ready yet
        self._failed_starts = 0
        _pools.add(self)

    def open(self) -> None:
        """Starts all workers at once and waits until each says that it is ready.

        Raises:
            BackendError: they do not start.
        """
        self._selector = selectors.DefaultSelector()
        self._listener, self._bell = os.pipe()
        os.set_blocking(self._listener, False)
        os.set_blocking(self._bell, False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            self.fill()
            while self._starting:
                _, ended = self.listen(LONGEST_SLEEP_S)
                for worker in ended:
                    worker.hear()
                    if worker.has_ended:
                        self.replace(worker, self.end(worker))
        except BaseException:
            self.kill_all()
            self.close()
            raise

    def close(self) -> None:
        """Lets all workers end, or else kills them; returns when they are gone."""
        bell, self._bell = self._bell, -1
        try:
            for worker in self.workers.values():
                worker.dismiss()
            give_up_s = monotonic() + EXIT_GRACE_S
            for worker in self.workers.values():
                worker.wait_for_exit(max(0.0, give_up_s - monotonic()))
        finally:  # also after Ctrl-C
            self.kill_all()  # also what tasks left behind in the workers' groups
            self._selector.close()
            os.close(self._listener)
            os.close(bell)

    def wake(self) -> None:
        """Ends `listen`, now or when it is called next; from any thread."""
        if self._bell >= 0:
            try:
                os.write(self._bell, b"!")
            except BlockingIOError:
                pass  # it is full of rings

    def fill(self) -> None:
        """Starts as many workers as are missing.

        Raises:
            BackendError: the system has no room for them.
        """
        self._failed_starts = 0
        for _ in range(self._size - len(self.workers)):
            self._hire()

    def _hire(self) -> None:
        try:
            worker = Child(next(self._numbers), self._bell, self._note)
        except OSError as error:
            raise BackendError(f"a worker process could not be started: {error}") from error
        self.workers[worker.number] = worker
        self._starting += 1
        self._selector.register(worker.watched, selectors.EVENT_READ, worker)
        python_path = os.environ.get("PYTHONPATH")
        worker.prepare(Setup(worker.name, import_path(), python_path, _log_levels(), self.options))

    # -- listening --------------------------------------------------------------------------

    def listen(self, timeout_s: float, looks: int = 0) -> tuple[bool, list[Child]]:
        """Sleeps until the bell rings or a worker ends.

        Args:
            timeout_s: how long at most.
            looks: how often it looks before it falls asleep.

        Returns:
            Whether workers have something to say, and those that may have ended: `has_ended` knows
            once they were heard.

        Raises:
            BackendError: a worker cannot be set up as wanted, or took too long to start.
        """
        if self._starting:
            timeout_s = min(timeout_s, self._start_timeout_s())
        rung, ended = False, []
        events: list[tuple[selectors.SelectorKey, int]] = []
        while looks and not events:
            looks -= 1
            events = self._selector.select(0)
        for key, _ in events or self._selector.select(timeout_s):
            if key.data is None:
                os.read(self._listener, BELL_BYTES)
                rung = True
            else:
                ended.append(key.data)
        if self._starting:
            for worker in self.workers.values():
                if not worker.is_ready:
                    worker.hear()
        return rung, ended

    def _start_timeout_s(self) -> float:
        """Seconds until a worker that is starting has taken too long."""
        hired_s = min(worker.hired_s for worker in self.workers.values() if not worker.is_ready)
        left_s = hired_s + START_TIMEOUT_S - monotonic()
        if left_s <= 0:
            raise BackendError(f"a worker process was not ready after {START_TIMEOUT_S:g} s")
        return left_s

    def _note(self, worker: Child, kind: int, content: Packed) -> None:
        """Deals with a report that is not the outcome of a call."""
        if kind == READY:
            worker.is_ready = True
            self._starting -= 1
            self._failed_starts = 0
        elif kind == NOT_READY:
            raise BackendError(f"a worker process cannot be set up:\n{load(content)}")
        else:
            try:
                record = load(content)
                target = logging.getLogger(record.name)
                if target.isEnabledFor(record.levelno):  # by now
                    target.handle(record)
            except Exception as error:  # too many open files, a class that is not here, a handler
                logger.warning("a log record of %r was lost: %s", worker, describe(error))

    # -- the end of workers -----------------------------------------------------------------

    def end(self, worker: Child) -> int:
        """Makes sure that a worker has ended; its return code, as subprocess gives it."""
        worker.kill()
        return worker.process.wait()

    def remove(self, worker: Child) -> None:
        """Forgets a worker that has ended."""
        del self.workers[worker.number]
        self._starting -= not worker.is_ready
        self._selector.unregister(worker.watched)
        worker.release()

    def replace(self, worker: Child, status: int) -> None:
        """Starts a new worker instead of one that has ended.

        Raises:
            BackendError: several in a row died before they were ready.
        """
        self.remove(worker)
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise BackendError(
                    f"{START_TRIES} worker processes in a row died at start-up;"
                    f" the last one {how_it_ended(status)}; see its output above"
                )
        self._hire()

    def kill_all(self) -> None:
        """Ends all workers at once."""
        for worker in list(self.workers.values()):
            self.end(worker)
            self.remove(worker)


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """A forked child of this program has no workers: its parent's must not live as long as it."""
    for pool in list(_pools):
        for worker in pool.workers.values():
            worker.release()
        pool.workers.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)


def _log_levels() -> dict[str, int]:
    """The levels that were set, so that workers keep records only of what is asked for."""
    loggers = logging.Logger.manager.loggerDict.values()
    levels = {"": logging.getLogger().level}
    for logger in loggers:
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            levels[logger.name] = logger.level
    return levels
