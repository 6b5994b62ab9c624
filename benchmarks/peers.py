"""The same DAG on dask's schedulers, and on loops around pools of futures.

A futures loop is what people write by hand: submit what is ready, wait for any result, submit
what that made ready. It has the same dependencies and passes the same values.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any, Protocol, Self
from uuid import uuid4

import dask.local
import dask.multiprocessing
import dask.threaded
import joblib
import pebble
from dask.task_spec import Task as DaskTask
from dask.task_spec import TaskRef

from executors import Graph


class Dask:
    """`dask.get` (the synchronous one) and `dask.threaded.get`, on a graph as they want it."""

    def __init__(self, graph: Graph) -> None:
        self._tasks, self._sinks = _as_dask_wants(graph)

    def synchronous(self) -> None:
        dask.local.get_sync(self._tasks, self._sinks)

    def threaded(self, workers: int) -> None:
        dask.threaded.get(self._tasks, self._sinks, num_workers=workers)


def _as_dask_wants(graph: Graph) -> tuple[dict[str, Any], list[str]]:
    tasks = {task.name: (task.action, *task.needs) for task in graph.tasks}
    needed = {need for task in graph.tasks for need in task.needs}
    return tasks, [name for name in tasks if name not in needed]


class Peer(ABC):
    """Runs graphs; a context manager that ends its pool."""

    @abstractmethod
    def run(self, graph: Graph) -> None:
        """Runs a graph to its end."""

    @abstractmethod
    def close(self) -> None:
        """Ends the pool."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DaskThreads(Peer):
    """`dask.threaded.get` with a pool that is kept."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers)

    def run(self, graph: Graph) -> None:
        tasks, sinks = _as_dask_wants(graph)
        dask.threaded.get(tasks, sinks, num_workers=self._workers, pool=self._pool)

    def close(self) -> None:
        self._pool.shutdown()


class DaskClient(Peer):
    """`Client.get` on the cluster of our own backend, with a graph as dask wants it."""

    def __init__(self, backend: Any) -> None:
        self._client = backend._connection.client

    def run(self, graph: Graph) -> None:
        # As `dask.delayed` calls them; dask decides by these names what is alike.
        keys = {task.name: f"{task.action.__name__}-{uuid4().hex}" for task in graph.tasks}
        tasks = {
            keys[task.name]: DaskTask(
                keys[task.name], task.action, *(TaskRef(keys[need]) for need in task.needs)
            )
            for task in graph.tasks
        }
        sinks = [
            keys[task.name]
            for task, dependents in zip(graph.ranked, graph.dependents, strict=True)
            if not dependents
        ]
        self._client.get(tasks, sinks)

    def close(self) -> None:
        """The cluster is not its own."""


class RayTasks(Peer):
    """Remote functions with references, on the ray of our own backend."""

    def __init__(self, backend: Any) -> None:
        import ray

        self._ray: Any = ray
        self._remote: dict[Any, Any] = {}

    def run(self, graph: Graph) -> None:
        references: dict[int, Any] = {}
        for rank, task in enumerate(graph.ranked):
            if task.action not in self._remote:
                self._remote[task.action] = self._ray.remote(task.action)
            needs = [references[need] for need in graph.needs[rank]]
            references[rank] = self._remote[task.action].remote(*needs)
        sinks = [references[rank] for rank, some in enumerate(graph.dependents) if not some]
        self._ray.get(sinks)

    def close(self) -> None:
        """ray goes on until our backend ends it."""


class JoblibLevels(Peer):
    """`joblib.Parallel`, once for each level: what its users write, since it has no graphs."""

    def __init__(self, workers: int, backend: str = "loky") -> None:
        self._parallel = joblib.Parallel(workers, backend=backend)
        self._parallel.__enter__()

    def run(self, graph: Graph) -> None:
        values: dict[int, Any] = {}
        while len(values) < len(graph):
            ready = [
                rank
                for rank, needs in enumerate(graph.needs)
                if rank not in values and all(need in values for need in needs)
            ]
            jobs = (
                joblib.delayed(graph.ranked[rank].action)(
                    *(values[need] for need in graph.needs[rank])
                )
                for rank in ready
            )
            values.update(zip(ready, self._parallel(jobs), strict=True))

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)


class DaskProcesses(Peer):
    """`dask.multiprocessing.get` with a pool that is warm and kept.

    Without fusing tasks first, because then there would be no chain left to schedule.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def run(self, graph: Graph) -> None:
        tasks, sinks = _as_dask_wants(graph)
        dask.multiprocessing.get(
            tasks, sinks, num_workers=self._workers, pool=self._pool, optimize_graph=False
        )

    def close(self) -> None:
        self._pool.shutdown()


class Pool(Protocol):
    """What a futures loop needs of an executor."""

    def submit(self, action: Callable[..., Any], /, *arguments: Any) -> Future[Any]: ...

    def shutdown(self) -> None: ...


class Pebble:
    """pebble's process pool with the methods of an executor."""

    def __init__(self, workers: int) -> None:
        self._pool = pebble.ProcessPool(max_workers=workers)

    def submit(self, action: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = self._pool.schedule(action, args=arguments)
        return future

    def shutdown(self) -> None:
        self._pool.close()
        self._pool.join()


class FuturesLoop(Peer):
    """A loop around an executor; its pool is warm and kept."""

    def __init__(self, kind: Callable[[int], Pool], workers: int) -> None:
        self.pool = kind(workers)
        for future in [self.pool.submit(int) for _ in range(4 * workers)]:
            future.result()

    def run(self, graph: Graph) -> None:
        missing = [len(needs) for needs in graph.needs]
        values: list[Any] = [None] * len(graph)
        done: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()

        def report(rank: int) -> Callable[[Future[Any]], None]:
            return lambda future: done.put((rank, future))

        def submit(rank: int) -> None:
            arguments = [values[need] for need in graph.needs[rank]]
            future = self.pool.submit(graph.ranked[rank].action, *arguments)
            future.add_done_callback(report(rank))

        for rank, count in enumerate(missing):
            if not count:
                submit(rank)
        for _ in missing:
            rank, future = done.get()
            values[rank] = future.result()
            for dependent in graph.dependents[rank]:
                missing[dependent] -= 1
                if not missing[dependent]:
                    submit(dependent)

    def close(self) -> None:
        self.pool.shutdown()
