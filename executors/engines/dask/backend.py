"""`Dask`: a client of dask.distributed, and the cluster behind it."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, ClassVar
from uuid import uuid4

from executors.backends.base import Backend
from executors.core.records import describe
from executors.core.session import Session
from executors.engines.dask import shipped
from executors.engines.library import missing
from executors.errors import BackendError

ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
START_S = 60.0
CONNECT_S = 10.0


class Dask(Backend):
    """dask.distributed: on this machine, or on as many as a cluster has.

    Without an address, it starts a cluster of its own here: a scheduler, and a process with one
    thread per worker. A worker that dies fails only the task that it was running.

    Args:
        workers: how many tasks may run at once; None means `usable_cpus()`, or all threads of the
            cluster at `address`.
        address: of a scheduler that is running, such as "tcp://10.0.0.7:8786"; None means the
            environment's DASK_SCHEDULER_ADDRESS, or a cluster of its own if that is not set.
        grace_s: seconds that running tasks have to end after a stop.

    Raises:
        BackendError: no scheduler answers at `address`.
    """

    name: ClassVar[str] = "dask"
    is_default: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("dask", "distributed")
    start_guess_s: ClassVar[float] = 2.5

    def __init__(
        self, workers: int | None = None, *, address: str | None = None, grace_s: float = 1.0
    ) -> None:
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or None
        if workers is None and self.address is not None:
            workers = self._threads_there()
        super().__init__(workers)
        self.grace_s = grace_s
        self.events = _Events()
        self.client: Any = None
        self.addresses: list[str] | None = None
        self.topic = ""
        self.shipped: Any = None
        self._cluster: Any = None
        self._clocks: dict[str, float] = {}

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("distributed", "dask")

    @property
    def is_direct(self) -> bool:
        """Whether the workers can be reached from here."""
        return self._cluster is not None

    # -- opening and closing ----------------------------------------------------------------

    def open(self) -> None:
        from executors.engines.dask.cluster import OwnCluster

        self.events = _Events()
        self.topic = f"executor-bench-{uuid4().hex[:12]}"
        try:
            if self.address is None:
                self._cluster = OwnCluster(self.workers)
                self.client = self._own_client()
            else:
                self.client = self._connected()
                self.addresses = self._chosen_workers()
            self.client.subscribe_topic(self.topic, self._receive)
            self.shipped = self._ship()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        client, self.client = self.client, None
        cluster, self._cluster = self._cluster, None
        with _quiet():
            if client is not None:
                if cluster is None and client.status == "running":
                    self._tidy(client)
                client.close(timeout=2)
            if cluster is not None:
                cluster.close()

    def _own_client(self) -> Any:
        began_s = monotonic()
        while not Path(self._cluster.file).exists():
            if not self._cluster.is_alive or monotonic() > began_s + START_S:
                raise BackendError("the scheduler of dask's cluster on this machine cannot start")
            self.events.get(0.005)
        client = _client(scheduler_file=self._cluster.file, timeout=START_S)
        try:
            client.wait_for_workers(self.workers, timeout=START_S)
        except TimeoutError:
            client.close(timeout=0)
            raise BackendError(
                f"the {self.workers} workers of dask's cluster on this machine cannot start"
            ) from None
        return client

    def _connected(self) -> Any:
        with _quiet():
            try:
                return _client(address=self.address, timeout=CONNECT_S)
            except (OSError, ValueError) as error:
                raise BackendError(
                    f"no scheduler of dask answers at {self.address}: {describe(error)}; start one"
                    " with: dask scheduler"
                ) from error

    def _threads_there(self) -> int:
        client = self._connected()
        try:
            return sum(client.nthreads().values()) or 1
        finally:
            client.close()

    def _chosen_workers(self) -> list[str] | None:
        """Addresses of workers that have as many threads as wanted; None for all."""
        threads = self.client.nthreads()
        total = sum(threads.values())
        if total == self.workers:
            return None
        left, chosen = self.workers, []
        for address, count in sorted(threads.items(), key=lambda item: -item[1]):
            if count <= left:
                left -= count
                chosen.append(address)
        if left:
            counts = ", ".join(map(str, threads.values())) or "no"
            raise BackendError(
                f"the cluster at {self.address} cannot run {self.workers} tasks at once: its"
                f" workers have {counts} threads"
            )
        return chosen

    def _ship(self) -> ModuleType:
        """Sends our package to the cluster."""
        name, text = shipped.module()
        folder = tempfile.mkdtemp()
        try:
            path = Path(folder) / f"{name}.py"
            path.write_text(text)
            self.client.upload_file(str(path))
            module = sys.modules.get(name)
            if module is None:
                module = ModuleType(name)
                module.__file__ = str(path)
                exec(compile(text, str(path), "exec"), vars(module))
                sys.modules[name] = module
            return module
        finally:
            shutil.rmtree(folder)

    def _tidy(self, client: Any) -> None:
        """Leaves nothing of ours on a cluster that goes on."""
        from executors.engines.dask import worker

        try:
            client.unsubscribe_topic(self.topic)
            client.run(worker.forget, self.topic, on_error="ignore")
            name, _ = shipped.module()
            client.run_on_scheduler(sys.modules[name].purge, topic=self.topic)
        except Exception as error:
            logging.getLogger("executors").debug("the cluster was not tidied: %s", describe(error))

    # -- a run ------------------------------------------------------------------------------

    def drive(self, session: Session) -> None:
        from executors.engines.dask.driving import Driving

        if self.gone() is not None:
            self.close()  # a cluster of our own may have ended between two runs
            self.open()
        Driving(self, session).drive()

    def wake(self) -> None:
        self.events.put(("wake", ""))

    def unwrap(self, value: Any) -> Any:
        return value.value

    def shared_folder(self, run: str) -> str:
        """A folder for a run; "" if the workers may be on other machines."""
        if self._cluster is None:
            return ""
        folder = Path(self._cluster.folder) / run
        folder.mkdir()
        return str(folder)

    def kill(self, processes: Collection[int]) -> None:
        """Ends workers that do what nobody waits for, if they are ours."""
        if self._cluster is not None:
            self._cluster.kill(processes)
            self._cluster.keep_up()

    def gone(self) -> str | None:
        """Why the cluster cannot be used any more, or None; replaces workers that have died."""
        if self.client.status != "running" or not (self._cluster is None or self._cluster.is_alive):
            where = "" if self.address is None else f" at {self.address}"
            return f"the scheduler of dask{where} is gone"
        if self._cluster is not None:
            self._cluster.keep_up()
        return None

    def _receive(self, event: tuple[float, Any]) -> None:
        """On the client's event loop."""
        run, address, sent_s, entries = event[1]
        offset_s = 0.0 if self._cluster is not None else self._offset(address, sent_s)
        self.events.put(("entries", run, address, offset_s, entries))

    def _offset(self, address: str, sent_s: float) -> float:
        """What to add to a worker's clock: the least that a message seems to have been on its way.

        A few milliseconds too much; exactly 0 if both clocks are the same.
        """
        seems_s = monotonic() - sent_s
        least_s = self._clocks[address] = min(seems_s, self._clocks.get(address, seems_s))
        return 0.0 if 0.0 <= least_s < 0.05 else least_s


def _client(**options: Any) -> Any:
    import distributed

    make: Any = distributed.Client  # which has no types
    return make(set_as_default=False, **options)


class _Events:
    """A queue that signal handlers may use."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._queue.put

    def get(self, timeout_s: float) -> Any:
        """The next one; None if there is none in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def get_nowait(self) -> Any:
        return None if self._queue.empty() else self._queue.get_nowait()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps dask from logging what becomes an error here anyway."""
    loggers = [
        logging.getLogger(f"distributed{part}") for part in ("", ".client", ".core", ".comm")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
