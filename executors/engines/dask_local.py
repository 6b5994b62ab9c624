"""dask's schedulers of one machine, `dask.threaded.get` and `dask.multiprocessing.get`.

They get the graph as dask users hand it over, resolve its needs, and call back in this thread
when a task is sent and when it has ended.
"""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

from executors.backends.base import in_time
from executors.core.records import Attempt, Call
from executors.engines import missing
from executors.engines.named import FuturesProcesses
from executors.engines.sent import Performed, perform_sent
from executors.engines.whole import Following, Whole
from executors.errors import NotPicklable
from executors.pickling.failure import VALUE_OF, failure_of
from executors.pickling.raised import qualified


class DaskLocal(Whole):
    """One of dask's local schedulers, on a pool that is kept."""

    packages: ClassVar[tuple[str, ...]] = ("dask",)

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self._pool: Executor | None = None

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("dask", "dask")

    @abstractmethod
    def make(self) -> Executor:
        """A new pool."""

    @abstractmethod
    def kill(self, pool: Executor) -> None:
        """Ends a pool that is broken."""

    @abstractmethod
    def node(self, following: Following, call: Call) -> Callable[..., Any]:
        """What dask calls for a task, with what it made of the task's needs.

        Raises:
            NotPicklable: the action cannot be sent.
        """

    @abstractmethod
    def outcome(self, following: Following, call: Call, result: Any) -> Attempt | None:
        """The attempt behind a node's result; None if the call did not begin."""

    @abstractmethod
    def get(self, graph: Mapping[str, Any], keys: list[str], pool: Executor) -> None:
        """Runs a graph."""

    def open(self) -> None:
        self._pool = self.make()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def hand_over(self, following: Following) -> None:
        from dask.callbacks import Callback

        # dask has an order of its own; of tasks that are alike, it begins with the largest key.
        size = len(following.session.graph)
        ranks = {f"{size - rank:09}": rank for rank in following.calls}
        keys = {rank: key for key, rank in ranks.items()}
        graph: dict[str, Any] = {}
        for rank, call in list(following.calls.items()):
            try:
                needs = [keys[need] for need in call.needs if need in following.calls]
                graph[keys[rank]] = (self.node(following, call), *needs)
            except NotPicklable as error:
                following.failed(rank, error)
        graph = {keys[rank]: graph[keys[rank]] for rank in following.calls}
        if not graph:
            return
        running: set[int] = set()

        def sent(key: str, *_: object) -> None:
            running.add(ranks[key])
            following.started(ranks[key])

        def ended(key: str, result: Any, *_: object) -> None:
            rank = ranks[key]
            running.discard(rank)
            if (done := following.calls.get(rank)) is not None:
                following.finish(rank, self.outcome(following, done, result))

        if self._pool is None:
            self._pool = self.make()
        try:
            callback: Any = Callback  # which has no types
            with callback(pretask=sent, posttask=ended):
                self.get(graph, list(graph), _Gated(self._pool, self.workers, following))
        except BrokenExecutor as error:
            self.kill(self._pool)
            self._pool = None
            following.died(running, error)


class _Gated(Executor):
    """A pool that gets nothing more after a stop: dask then takes the rest for done."""

    def __init__(self, pool: Executor, workers: int, following: Following) -> None:
        self._pool = pool
        self._max_workers = workers  # dask reads it
        self._following = following

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        if not self._following.is_stopped:
            return self._pool.submit(function, *arguments)
        (batch,) = arguments
        future: Future[Any] = Future()
        future.set_result([(key, dumps((None, 0)), False) for key, _, dumps, *_ in batch])
        return future


class DaskThreads(DaskLocal):
    """`dask.threaded.get`, the default of dask's arrays, data frames and delayed functions."""

    name: ClassVar[str] = "dask-threads"
    shares_interpreter: ClassVar[bool] = True
    start_guess_s: ClassVar[float] = 0.01

    def make(self) -> Executor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="thread")

    def kill(self, pool: Executor) -> None:
        pool.shutdown(wait=False)

    def node(self, following: Following, call: Call) -> Callable[..., Any]:
        return partial(_attempted, following, call)

    def outcome(self, following: Following, call: Call, result: Any) -> Attempt | None:
        attempt: Attempt | None = result
        return attempt

    def get(self, graph: Mapping[str, Any], keys: list[str], pool: Executor) -> None:
        from dask.threaded import get

        get(graph, keys, num_workers=self.workers, pool=pool)


def _attempted(following: Following, call: Call, *_: object) -> Attempt | None:
    """The values of needs are those of the session, which has them before dask goes on."""
    return following.attempt(call)


class DaskProcesses(DaskLocal):
    """`dask.multiprocessing.get`, the default of dask's bags; six tasks in a message, as there.

    Args:
        workers: their number; None means `usable_cpus()`.
        chunksize: how many tasks dask sends at once; None means its default, 6.
    """

    name: ClassVar[str] = "dask-processes"
    worker_bytes: ClassVar[int] = 30_000_000
    start_guess_s: ClassVar[float] = 0.5

    def __init__(self, workers: int | None = None, *, chunksize: int | None = None) -> None:
        super().__init__(workers)
        self._chunksize = chunksize

    def make(self) -> Executor:
        return FuturesProcesses(self.workers).new_pool().executor

    def kill(self, pool: Executor) -> None:
        FuturesProcesses(self.workers).kill(pool)

    def node(self, following: Following, call: Call) -> Callable[..., Any]:
        known = {
            position: call.values[need]
            for position, need in enumerate(call.needs)
            if need not in following.calls
        }
        client, is_metered = following.client, following.session.measure_cpu
        return partial(_performed, client.action(call), known, client.levels, is_metered)

    def outcome(self, following: Following, call: Call, result: Any) -> Attempt | None:
        if result is None:
            return None
        return in_time(call, following.client.received(call, result))

    def get(self, graph: Mapping[str, Any], keys: list[str], pool: Executor) -> None:
        from dask.multiprocessing import get

        get(
            graph,
            keys,
            num_workers=self.workers,
            pool=pool,
            optimize_graph=False,  # it would fuse chains, whose tasks would then have no times
            func_dumps=_dumps,
            func_loads=pickle.loads,
            chunksize=self._chunksize,
        )


def _performed(
    action: bytes,
    known: Mapping[int, Any],
    levels: dict[str, int],
    is_metered: bool,
    *outcomes: Performed | None,
) -> Performed | None:
    """In a worker: performs an action with the values of its needs, if all of them have one."""
    others = iter(outcomes)
    arguments = []
    for position in range(len(known) + len(outcomes)):
        if position in known:
            arguments.append(known[position])
            continue
        outcome = next(others)
        if outcome is None or outcome[5] is not None:
            return None
        arguments.append(outcome[4])
    return perform_sent(action, arguments, levels, is_metered)


def _dumps(thing: Any) -> bytes:
    """As dask pickles; a value that cannot be pickled becomes its task's failure."""
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(thing, 5)
    except Exception as error:
        result, worker = thing
        process, started_s, ended_s, cpu_s, value, _, records = result
        failure = failure_of(VALUE_OF, qualified(type(value)), error)
        done: Performed = (process, started_s, ended_s, cpu_s, None, failure, records)
        pickled = cloudpickle.dumps((done, worker), 5)
    return pickled
