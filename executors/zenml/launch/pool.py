"""The worker processes of an orchestrator: one account for all runs of this process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from zenml.config.global_config import GlobalConfiguration

from executors import Graph, Task, run
from executors.backends.processes import ForkedProcesses
from executors.backends.room import has_room
from executors.cpus import usable_cpus
from executors.errors import TaskError

if TYPE_CHECKING:
    from executors.backends.workers.bodies.forked import Template

logger = logging.getLogger(__name__)

WORKER_BYTES = 70_000_000  # of a worker, which shares with the others what the template imported
GRACE_S = 2.5  # between the first SIGINT and the end of a worker
POLL_S = 0.1  # between looks whether a lease was given up
PATIENCE_S = 0.2  # for which steps wait before one more worker starts, which takes as long


class LeaseGivenUp(Exception):
    """The caller of `lease` gave up waiting."""


class WorkerOptions(NamedTuple):
    """What workers are like; those of other options, or of another store, cannot be used.

    Attributes:
        size: how many there may be.
        memory_limit_bytes: of each, or None.
        is_fresh: each makes one step only.
    """

    size: int
    memory_limit_bytes: int | None = None
    is_fresh: bool = False


def _the_template() -> Template:
    """What all workers of this process are forks of: importing ZenML takes seconds."""
    from executors.backends.workers.bodies.forked import Template

    with _lock:
        if not _templates:
            _templates.append(Template("executors.zenml.launch.worker", "warm"))
        return _templates[0]


class Worker:
    """A worker process, seen from the program."""

    def __init__(self, memory_limit_bytes: int | None) -> None:
        from executors.zenml.launch.worker import prepare

        self._backend = ForkedProcesses(
            1, _the_template(), initializer=prepare, memory_limit_bytes=memory_limit_bytes
        )
        self._cancel = threading.Event()
        self._asked_s: float | None = None
        self.is_usable = True

    def open(self) -> None:
        """Returns when it is ready; the first one takes seconds: the template imports ZenML.

        Raises:
            BackendError: it cannot start.
        """
        self._backend.__enter__()

    def close(self) -> None:
        """Ends it; returns when it is gone."""
        self._backend.__exit__()

    def perform(self, task: Task) -> None:
        """Runs the action of a task.

        Raises:
            WorkerDied, TaskTimeout, TaskStopped: it was killed, by somebody else or by us.
            BaseException: what the action has raised.
        """
        self._cancel.clear()
        self._asked_s = None
        # In a context of its own: else its log records would enter the log of the run.
        report = Context().run(run, Graph([task]), self._backend, keep="none", cancel=self._cancel)
        error = report.tasks[task.name].error
        if self._asked_s is not None or isinstance(error, TaskError):
            self.is_usable = False
        if error is not None:
            raise error

    def interrupt(self) -> bool:
        """Interrupts what it is doing; to be called until that has ended, soon by a kill.

        Returns:
            False: it may not have arrived.
        """
        now_s = monotonic()
        if self._asked_s is None:
            self._asked_s = now_s
        if now_s - self._asked_s > GRACE_S:
            self._cancel.set()
            return False
        for pid in self._backend.pids:
            try:
                os.kill(pid, signal.SIGINT)
            except ProcessLookupError:
                pass
        return False


class WorkerPool:
    """Worker processes, started when steps need them, and kept.

    State, guarded by one condition::

        idle      ready workers that nobody has
        leased    those that make steps
        starting  how many threads start one
        waiting   how many callers of `lease` wait

    No more start at once than there are CPUs: together they would all be ready late, and the first
    steps can run on the first ones. While some are at work, one more starts only for a step that
    has waited for a while: short steps are done before it would be ready, and it takes memory.
    """

    def __init__(self, options: WorkerOptions, new: Callable[[], Worker] | None = None) -> None:
        self._options = options
        self._new = new or (lambda: Worker(options.memory_limit_bytes))
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._leased: set[Worker] = set()
        self._starting = self._waiting = 0
        self._error: BaseException | None = None
        self._is_retired = self._is_full = False

    def lease(self, gives_up: Callable[[], bool]) -> Worker:
        """A ready worker that belongs to the caller until `give_back`; blocks until there is one.

        Raises:
            LeaseGivenUp: `gives_up` returned True.
            BackendError: no worker can start.
        """
        since_s = monotonic()
        with self._changed:
            self._waiting += 1
            try:
                while not self._idle:
                    if gives_up():
                        raise LeaseGivenUp
                    if self._error is not None:
                        error, self._error = self._error, None
                        raise error
                    self._start_missing(monotonic() - since_s)
                    self._changed.wait(POLL_S)
                worker = self._idle.pop()
                self._leased.add(worker)
                return worker
            finally:
                self._waiting -= 1

    def fill(self) -> None:
        """Starts all workers that there may be; returns when they are ready.

        Raises:
            BackendError: one cannot start.
        """
        leased: list[Worker] = []
        threads = [
            threading.Thread(target=lambda: leased.append(self.lease(lambda: False)))
            for _ in range(self._options.size - len(self._leased))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for worker in leased:
            self.give_back(worker)

    def give_back(self, worker: Worker) -> None:
        """Takes a worker back; one that should not be used again ends."""
        with self._changed:
            self._leased.discard(worker)
            is_kept = worker.is_usable and not self._options.is_fresh and self._keeps()
            if is_kept:
                self._idle.append(worker)
            self._changed.notify()
        if not is_kept:
            worker.close()

    def retire(self) -> None:
        """Ends the idle workers now, and the others when they have nothing left to do."""
        with self._changed:
            self._is_retired = True
            workers = self._idle[:]
            self._idle.clear()
        for worker in workers:
            worker.close()

    def _keeps(self) -> bool:
        return not self._is_retired or self._waiting > len(self._idle)

    def _start_missing(self, waited_s: float) -> None:
        """Starts workers for those who wait, unless the next one will be free sooner.

        Args:
            waited_s: how long the caller has waited.
        """
        count = len(self._idle) + len(self._leased) + self._starting
        if self._leased and waited_s < PATIENCE_S:
            return
        wanted = min(self._waiting - self._starting, self._options.size - count)
        if wanted > 0 and count and not has_room(WORKER_BYTES):
            if not self._is_full:
                logger.warning(
                    "There is no memory for more than %d worker processes of about %.0f MB,"
                    " although max_workers is %d.",
                    count,
                    WORKER_BYTES / 1e6,
                    self._options.size,
                )
            self._is_full = True
            return
        for _ in range(min(wanted, usable_cpus() - self._starting)):
            self._starting += 1
            threading.Thread(target=self._start, name="start a worker", daemon=True).start()

    def _start(self) -> None:
        worker: Worker | None = None
        error: BaseException | None = None
        try:
            worker = self._new()
            worker.open()
        except BaseException as raised:
            worker, error = None, raised
        with self._changed:
            self._starting -= 1
            if worker is not None and self._keeps():
                self._idle.append(worker)
                worker = None
            self._error = error
            self._changed.notify_all()
        if worker is not None:
            worker.close()


class _Key(NamedTuple):
    pid: int  # a forked child has no workers
    options: WorkerOptions
    store: str


_pools: dict[object, tuple[_Key, WorkerPool]] = {}
_templates: list[Template] = []  # at most one
_lock = threading.Lock()


def pool_of(owner: object, options: WorkerOptions) -> WorkerPool:
    """The workers of an orchestrator; others than before if its options or the store have changed.

    Args:
        owner: the id of the orchestrator.
    """
    store = GlobalConfiguration().store_configuration
    key = _Key(os.getpid(), options, f"{GlobalConfiguration().config_directory} {store.url}")
    with _lock:
        known = _pools.get(owner)
        if known is not None and known[0] == key:
            return known[1]
        if known is not None and known[0].pid == key.pid:
            known[1].retire()
        pool = WorkerPool(options)
        _pools[owner] = key, pool
        return pool


def retire_pools() -> None:
    """Ends the idle workers of this process, and their template; else they end with it."""
    with _lock:
        pools = [pool for key, pool in _pools.values() if key.pid == os.getpid()]
        _pools.clear()
    for pool in pools:
        pool.retire()
    for template in _templates:
        template.close()
