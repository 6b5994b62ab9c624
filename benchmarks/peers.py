"""The same DAG on dask's local schedulers and on bare concurrent.futures loops.

A futures loop is what people write by hand: submit what is ready, wait for any result, submit
what that made ready. It has the same dependencies and passes the same values.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import dask.local
import dask.threaded

from executors import Graph


class Dask:
    """`dask.get` (the synchronous one) and `dask.threaded.get`, on a graph as they want it."""

    def __init__(self, graph: Graph) -> None:
        self._tasks = {task.name: (task.action, *task.needs) for task in graph.tasks}
        needed = {need for task in graph.tasks for need in task.needs}
        self._sinks = [task.name for task in graph.tasks if task.name not in needed]

    def synchronous(self) -> None:
        dask.local.get_sync(self._tasks, self._sinks)

    def threaded(self, workers: int) -> None:
        dask.threaded.get(self._tasks, self._sinks, num_workers=workers)


class FuturesLoop:
    """A loop around an executor of concurrent.futures; its pool is warm and kept."""

    def __init__(self, kind: type[ThreadPoolExecutor | ProcessPoolExecutor], workers: int) -> None:
        self._pool: Executor = kind(workers)
        for future in [self._pool.submit(int) for _ in range(4 * workers)]:
            future.result()

    def run(self, graph: Graph) -> None:
        missing = [len(needs) for needs in graph.needs]
        values: list[Any] = [None] * len(graph)
        done: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()

        def told(rank: int) -> Callable[[Future[Any]], None]:
            return lambda future: done.put((rank, future))

        def submit(rank: int) -> None:
            arguments = [values[need] for need in graph.needs[rank]]
            future = self._pool.submit(graph.ranked[rank].action, *arguments)
            future.add_done_callback(told(rank))

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
