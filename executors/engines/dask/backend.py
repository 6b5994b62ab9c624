"""`Dask`: a client of dask.distributed, and the cluster behind it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from executors.backends.base import Backend
from executors.backends.room import check_room
from executors.core.session import Session
from executors.engines import missing
from executors.engines.dask.connection import Connection, Events, connected

WORKER_BYTES = 70_000_000  # of a worker of our own
ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"


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
    start_guess_s: ClassVar[float] = 1.0

    def __init__(
        self, workers: int | None = None, *, address: str | None = None, grace_s: float = 1.0
    ) -> None:
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or None
        if workers is None and self.address is not None:
            workers = _threads_at(self.address)
        super().__init__(workers)
        if self.address is None:
            check_room(self.workers, WORKER_BYTES)
        self.grace_s = grace_s
        self._events = Events()
        self._connection: Connection | None = None

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("distributed", "dask")

    def open(self) -> None:
        self._events = Events()
        self._connection = Connection(self.address, self.workers, self._events)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def drive(self, session: Session) -> None:
        from executors.engines.dask.driving import Driving

        connection = self._connection
        if connection is None or connection.gone() is not None:
            self.close()  # its scheduler has ended since the last run
            self.open()
        assert self._connection is not None
        Driving(self._connection, self._events, session, self.grace_s).drive()

    def wake(self) -> None:
        self._events.put(("wake", ""))

    def unwrap(self, value: Any) -> Any:
        return value.value


def _threads_at(address: str) -> int:
    """How many tasks the cluster at an address runs at once."""
    client = connected(address)
    try:
        return sum(client.nthreads().values()) or 1
    finally:
        client.close()
