"""`Dask`: a client of dask.distributed, and the cluster behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from executors.backends.base import Backend, checked_grace
from executors.backends.room import check_room
from executors.core.session import Session
from executors.engines import missing
from executors.engines.dask.connection import Connection, Events, chosen, threads_at
from executors.errors import BackendError

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
        BackendError: no scheduler answers at `address`, or it has no workers for that many tasks.
    """

    name: ClassVar[str] = "dask"
    is_default: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("dask", "distributed")
    start_guess_s: ClassVar[float] = 1.5
    environment: ClassVar[Mapping[str, str]] = {"address": ADDRESS_VARIABLE}

    def __init__(
        self, workers: int | None = None, *, address: str | None = None, grace_s: float = 1.0
    ) -> None:
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or None
        threads = [] if self.address is None else threads_at(self.address)
        super().__init__(workers if workers is not None or not threads else sum(threads))
        if self.address is None:
            check_room(self.workers, WORKER_BYTES)
        elif chosen(self.workers, enumerate(threads)) is None:
            raise BackendError(
                f"the cluster at {self.address} cannot run {self.workers} tasks at once: its"
                f" workers have {', '.join(map(str, threads)) or 'no'} threads"
            )
        self.grace_s = checked_grace(grace_s)
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

    def elsewhere_cpu_s(self) -> float:
        return 0.0 if self._connection is None else self._connection.elsewhere_cpu_s()

    def wake(self) -> None:
        self._events.put(("wake", ""))

    def unwrap(self, value: Any) -> Any:
        return value.value
