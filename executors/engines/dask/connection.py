"""`Connection`: a client of dask.distributed, and what is behind it."""

from __future__ import annotations

import logging
import queue
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any
from uuid import uuid4

from executors.core.records import describe
from executors.engines.dask import shipped, worker
from executors.engines.dask.cluster import OwnCluster
from executors.errors import BackendError

START_S = 60.0
CONNECT_S = 10.0
PATIENCE_S = 5.0
ADDRESS = re.compile(r"(?:[a-z]+://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s/:\[\]]+):(?P<port>\d+)")


class Connection:
    """To the scheduler at an address, or to one that this starts, with workers.

    Args:
        address: of a scheduler; None for a cluster of our own.
        workers: how many tasks may run at once.
        events: gets what the workers report.

    Attributes:
        client: of dask.
        topic: of our events.
        shipped: the module that the workers have, too.

    Raises:
        BackendError: nobody answers, the cluster cannot start, or it cannot run that many tasks.
    """

    def __init__(self, address: str | None, workers: int, events: Events) -> None:
        self.address = address
        self.topic = f"executor-bench-{uuid4().hex[:12]}"
        self._workers = workers
        self._events = events
        self._clocks: dict[str, float] = {}
        self._cluster = OwnCluster(workers) if address is None else None
        self.client: Any = None
        try:
            if self._cluster is not None:
                self.client = self._own_client(self._cluster, workers)
            else:
                self.client = connected(address)
            self.client.subscribe_topic(self.topic, self._receive)
            self.shipped = self._ship()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends a cluster of our own; leaves nothing of ours on another one."""
        try:
            with _quiet():
                if self.client is not None:
                    if self._cluster is None and self.client.status == "running":
                        self._tidy()
                    self.client.close(timeout=2)
        finally:
            if self._cluster is not None:
                self._cluster.close()

    @property
    def is_own(self) -> bool:
        """Whether the workers are on this machine, and ours."""
        return self._cluster is not None

    @property
    def processes(self) -> list[int]:
        """Those of workers of our own."""
        return [] if self._cluster is None else self._cluster.processes

    @property
    def deaths(self) -> int:
        """How many workers of our own have died so far."""
        return 0 if self._cluster is None else self._cluster.deaths

    def addresses(self) -> list[str] | None:
        """Of workers that have as many threads as wanted, now; None for all."""
        if self._cluster is not None:
            return None
        threads = self.client.nthreads()
        is_all = sum(threads.values()) <= self._workers
        return None if is_all else chosen(self._workers, threads.items())

    def gone(self) -> str | None:
        """Why the cluster cannot be used any more, or None; replaces workers that have died."""
        is_alive = self._cluster is None or self._cluster.is_alive
        if self.client.status != "running" or not is_alive:
            where = "" if self.address is None else f" at {self.address}"
            return f"the scheduler of dask{where} is gone"
        if self._cluster is not None:
            self._cluster.keep_up()
        return None

    def elsewhere_cpu_s(self) -> float:
        """Processor seconds of workers that are not ours."""
        if self._cluster is not None:
            return 0.0
        replies = self.client.run(worker.processor_time, workers=self.addresses())
        return float(sum(replies.values()))

    def kill(self, processes: Collection[int]) -> None:
        """Ends workers that do what nobody waits for, if they are ours."""
        if self._cluster is not None:
            self._cluster.kill(processes)
            self._cluster.keep_up()

    def end_workers(self) -> None:
        """Ends all workers of our own, for good."""
        if self._cluster is not None:
            self._cluster.kill(self.processes)

    def shared_folder(self, run: str) -> str:
        """A folder for a run; "" if the workers may be on other machines."""
        if self._cluster is None:
            return ""
        folder = Path(self._cluster.folder) / run
        folder.mkdir()
        return str(folder)

    # -- connecting -------------------------------------------------------------------------

    def _own_client(self, cluster: OwnCluster, workers: int) -> Any:
        began_s = monotonic()
        while not Path(cluster.file).exists():
            if not cluster.is_alive or monotonic() > began_s + START_S:
                raise BackendError("the scheduler of dask's cluster on this machine cannot start")
            self._events.get(0.005)
        client = _client(scheduler_file=cluster.file, timeout=START_S)
        try:
            client.wait_for_workers(workers, timeout=START_S)
        except TimeoutError:
            client.close(timeout=2)
            raise BackendError(
                f"the {workers} workers of dask's cluster on this machine cannot start"
            ) from None
        return client

    def _ship(self) -> ModuleType:
        """Sends our package to the cluster, also for workers that join later."""
        from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

        name, text = shipped.module()
        folder = tempfile.mkdtemp()
        try:
            path = Path(folder) / f"{name}.py"
            path.write_text(text)
            for plugin in (SchedulerUploadFile, UploadFile):  # a name, so that one replaces another
                self.client.register_plugin(plugin(str(path)), name=f"{name}-{plugin.__name__}")
            module = sys.modules.get(name)
            if module is None:
                module = ModuleType(name)
                module.__file__ = str(path)
                exec(compile(text, str(path), "exec"), vars(module))
                sys.modules[name] = module
            return module
        finally:
            shutil.rmtree(folder)

    def _tidy(self) -> None:
        """Leaves nothing of ours on a cluster that goes on."""
        try:
            self.client.unsubscribe_topic(self.topic)
            self.client.run(worker.forget, self.topic, on_error="ignore")
            name, _ = shipped.module()
            self.client.run_on_scheduler(sys.modules[name].purge, topic=self.topic)
        except Exception as error:
            logging.getLogger("executors").debug("the cluster was not tidied: %s", describe(error))

    # -- events -----------------------------------------------------------------------------

    def _receive(self, event: tuple[float, Any]) -> None:
        """On the client's event loop."""
        run, address, sent_s, entries = event[1]
        offset_s = 0.0 if self._cluster is not None else self._offset(address, sent_s)
        self._events.put(("entries", run, address, offset_s, entries))

    def _offset(self, address: str, sent_s: float) -> float:
        """What to add to a worker's clock: the least that a message seems to have been on its way.

        A few milliseconds too much; exactly 0 if both clocks are the same.
        """
        seems_s = monotonic() - sent_s
        least_s = self._clocks[address] = min(seems_s, self._clocks.get(address, seems_s))
        return 0.0 if 0.0 <= least_s < 0.05 else least_s


def chosen(workers: int, threads: Iterable[tuple[Any, int]]) -> list[Any] | None:
    """Workers that have this many threads together; None if there are none."""
    left, some = workers, []
    for address, count in sorted(threads, key=lambda item: -item[1]):
        if count <= left:
            left -= count
            some.append(address)
    return None if left else some


def threads_at(address: str) -> list[int]:
    """How many tasks each worker of the cluster at an address runs at once.

    Raises:
        BackendError: nobody answers there.
    """
    client = connected(address)
    try:
        return list(client.nthreads().values())
    finally:
        client.close()


def connected(address: str | None) -> Any:
    """A client of the scheduler at an address.

    Raises:
        BackendError: it is no address, or nobody answers.
    """
    match = ADDRESS.fullmatch(str(address))
    if match is None:
        raise BackendError(f"address must be like tcp://10.0.0.7:8786, not {address!r}")
    try:  # a client of dask that cannot connect goes on trying, and prints
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _nobody(address, error) from error
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def connect() -> None:
        try:
            outcome.put(_client(address=address, timeout=CONNECT_S))
        except Exception as error:
            outcome.put(error)

    with _quiet():  # in a thread, because it waits without end for what is no scheduler
        threading.Thread(target=connect, daemon=True).start()
        try:
            client = outcome.get(timeout=CONNECT_S + PATIENCE_S)
        except queue.Empty:
            client = TimeoutError("what listens there does not speak like one")
    if isinstance(client, Exception):
        raise _nobody(address, client) from client
    return client


def _nobody(address: str | None, error: Exception) -> BackendError:
    return BackendError(
        f"no scheduler of dask answers at {address}: {describe(error)}; start one with: dask"
        " scheduler"
    )


def _client(**options: Any) -> Any:
    import distributed

    make: Any = distributed.Client  # which has no types
    return make(set_as_default=False, **options)


class Events:
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
