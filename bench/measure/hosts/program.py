"""The process of another Python: takes requests from `child.py`, one after the other.

A request is the name of a method of `_Desk` and its arguments; the answer is its value, or why it
failed. In between, the process may ask for something itself: the sampler is its parent's, and so is
the terminal::

    parent                          process
    ("timed", key)   -------------> gets ready
                     <------------- ("ask", "begin")    and the same with ("ask", "end")
    ("value", None)  -------------> runs the graph
                     <------------- ("value", TimedRun)
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from bench import BenchError
from bench.machine.sampler import Sample
from bench.measure.hosts.here import GraphKey, Here, Options, PoolHere, TimedRun
from bench.measure.trial import Trial
from bench.results.case import Case
from bench.workloads.kernels import Work
from bench.workloads.own_graphs import (
    OwnGraph,
    explained,
    function_name,
)
from executors import BackendError, ExecutorError, Graph, RunFailed, RunReport, Task
from executors.backends import backend_names, why_unavailable
from executors.core.records import Call
from executors.imports.lifeline import die_with_parent


def main() -> None:
    """Answers requests until the parent hangs up."""
    lifeline, socket = map(int, sys.argv[1:3])
    signal.signal(signal.SIGTERM, _leave)  # pools end in order
    die_with_parent(lifeline)
    with Connection(socket) as connection, ExitStack() as pools:
        desk = _Desk(connection, pools)
        try:
            while True:
                send(connection, _answer(desk, connection))
        except (EOFError, OSError):
            pass  # the parent has ended


def send(connection: Connection, thing: object) -> None:
    """Does what `connection.send` does, but pickles first.

    The traceback of an error inside `connection.send` holds a view of an `io.BytesIO`. If both are
    garbage of the same cycle, Python prints "Exception ignored while finalizing file".
    """
    connection.send_bytes(pickle.dumps(thing))


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _answer(desk: _Desk, connection: Connection) -> tuple[object, ...]:
    """Takes one request; its value, or what went wrong, in words."""
    request = connection.recv_bytes()
    try:
        method, arguments = pickle.loads(request)
        return "value", getattr(desk, method)(*arguments)
    except RunFailed as error:
        return "failed", explained(error)
    except BackendError as error:
        return "refused", str(error)
    except ExecutorError as error:
        return "failed", str(error)
    except Exception:  # so that it does not end without a word
        return "failed", traceback.format_exc().rstrip()


class _Desk(Here):
    """What the parent may ask for: the methods of a `Host`, and those of the pool that is open."""

    def __init__(self, connection: Connection, pools: ExitStack) -> None:
        super().__init__()
        self._connection = connection
        self._owns: dict[str, OwnGraph] = {}
        self._pools = pools
        self._pool: PoolHere | None = None

    def ask(self, *question: object) -> Any:
        """Has the parent do something, and returns what it answers."""
        try:
            send(self._connection, ("ask", *question))
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise BenchError("the run was stopped") from None
        if isinstance(answer, BenchError):
            raise answer
        return answer

    def unavailable(self) -> dict[str, str | None]:
        """For each backend that is known, why it cannot be used here, or None."""
        return {name: why_unavailable(name) for name in backend_names()}

    def load(self, spec: str) -> OwnGraph:
        """The user's own graph, whose actions stay here; what is returned has their names."""
        own = super().load(spec)
        self._owns[own.name] = own
        return replace(own, graph=Graph(map(_described, own.graph.tasks)))

    def try_own(
        self, name: str, cases: Sequence[Case], cpus: int, options: Mapping[str, Options]
    ) -> Trial:
        def progress(step: str) -> object:
            return self.ask("progress", step)

        return self.tried(self._owns[name], cases, cpus, options, progress)

    def open(self, backend: str, workers: int, options: Options) -> float:
        """Enters a pool, of which there is one at a time; how long it took to start."""
        self._pool = self._pools.enter_context(self.pool(backend, workers, options))
        return self._pool.start_s

    def close(self) -> None:
        self._pool = None
        self._pools.close()

    def warm_up(self, works: Collection[Work]) -> None:
        self._open.warm_up(works)

    def side_by_side_s(self, work: Work, times: int, processes: int) -> float:
        return self._open.side_by_side_s(work, times, processes)

    def first_s(self, key: GraphKey) -> float:
        return self._open.first_s(key)

    def timed(self, key: GraphKey) -> TimedRun:
        run = self._open.timed(key, _ParentsSampler(self))
        return replace(run, report=_sendable(run.report))

    @property
    def _open(self) -> PoolHere:
        assert self._pool is not None
        return self._pool


def _described(task: Task) -> Task:
    """The task with its action's name in the place of what only this process can import."""
    context = None if task.context is None else str(hash(task.context))
    return replace(task, action=Named(function_name(task.action)), context=context)


def _sendable(report: RunReport) -> RunReport:
    """The report with its tasks described, and without what they were called with."""
    tasks = {}
    for name, record in report.tasks.items():
        attempts = []
        for attempt in record.attempts:
            call = attempt.call
            sent = Call(call.rank, _described(call.task), call.number, call.needs, [])
            attempts.append(replace(attempt, call=sent, value=None, error=None))
        tasks[name] = replace(record, attempts=tuple(attempts))
    return replace(report, tasks=tasks, values={})


class _ParentsSampler:
    """The sampler of the parent, which samples this process and its children."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def begin(self) -> None:
        self._desk.ask("begin", os.getpid())

    def end(self) -> Sample:
        sample: Sample = self._desk.ask("end")
        return sample


class Named:
    """Stands for the action of a task that is in another process, and has its name."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name

    def __call__(self, *values: object) -> None:
        raise BenchError(f"{self.__qualname__} is in another process")
