"""Measures what tasks and backends take here: the facts that predictions are made from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Self

import psutil

from bench import BenchError
from bench.machine.ceiling import warm_up
from bench.predict.prediction import (
    LEAST_CPU,
    ROUNDS,
    Kind,
    Round,
    View,
    kind_of_work,
    lock_part,
    look,
    overheads,
    simulated_s,
    usual_of,
)
from bench.workloads.kernels import SizedKernel, Work, calibrate, sized
from executors import Backend, Graph, Task, load_backend, run, usable_cpus
from executors.backends import SEQUENTIAL, backend_class, backend_names
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine

MOST_WAITING = 16  # workers a CPU that are tried for tasks that wait
OWN_ROUNDS = 3  # of a graph of which nothing is known
CONTESTED = 1.5  # cores that tasks must want together to show whether they need the lock

Pool = tuple[str, int]  # backend and workers


class Profiler:
    """Measures what tasks and backends take; while it is entered, its pools are warm.

    Attributes:
        cpus: how many there are.
        names: of the backends to choose from, without the baseline.
        overheads: by backend.
        worker_bytes: memory of a worker that has done nothing, by backend.
    """

    def __init__(self, backends: Sequence[str] | None = None) -> None:
        self.cpus = usable_cpus()
        names = backend_names() if backends is None else list(backends)
        self.names = [name for name in names if name != BASELINE and _is_usable(name)]
        if not self.names:
            raise BenchError("there is no backend to choose from; name threads or processes")
        self._stack = ExitStack()
        self._pools: dict[Pool, Backend] = {}
        self.overheads: dict[str, Overheads] = {}
        self._kinds: dict[tuple[str, float], list[Kind]] = {}
        self.worker_bytes: dict[str, float] = {}

    def __enter__(self) -> Self:
        try:
            for backend in [BASELINE, *self.names]:
                before_bytes = _children_bytes()
                pool = self.pool(backend, self.cpus)
                self.worker_bytes[backend] = (_children_bytes() - before_bytes) / self.cpus
                self.overheads[backend] = overheads(pool)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pool(self, backend: str, workers: int) -> Backend:
        """A warm one, which lives as long as this."""
        key = backend, 1 if backend == BASELINE else workers
        if key not in self._pools:
            self._pools[key] = self._stack.enter_context(load_backend(*key))
            warm_up(self._pools[key], [])
        return self._pools[key]

    def run_s(self, graph: Graph, backend: str, workers: int) -> float:
        """Seconds of a run on a warm pool."""
        pool = self.pool(backend, workers)
        began_s = time.monotonic()
        run(graph, pool, keep="none").raise_for_failures()
        return time.monotonic() - began_s

    def views(self, kernel: SizedKernel, work: Work) -> list[View]:
        """Of graphs whose tasks are a kernel's, as long as their `cost_s` says.

        The first one is what is usual; with the others, the fastest and the slowest, predictions
        have a range.
        """
        if not kernel.length_s:
            return [View(lambda task: Demand(0.0), self._machines(Machine.ideal(self.cpus)))]
        key = kernel.kernel.name, kernel.length_s
        if key not in self._kinds:
            pools = self.side_by_side()
            for pool in pools.values():
                warm_up(pool, [work])
            rounds = [look(pools, work, kernel.length_s) for _ in range(ROUNDS)]
            self.know(kernel, rounds)
        return [
            View(
                partial(_as_long_as_said, kind.factor, kind.cpu, kind.gil),
                {backend: kind.machine(backend) for backend in (BASELINE, *self.names)},
            )
            for kind in self._kinds[key]
        ]

    def side_by_side(self) -> dict[str, Backend]:
        """The pools to look at work with: processes show the cores, whatever is asked for."""
        wanted = [name for name in ("threads", "processes") if name in self.names]
        if "processes" not in wanted and _is_usable("processes"):
            wanted.append("processes")
        return {name: self.pool(name, self.cpus) for name in wanted}

    def know(self, kernel: SizedKernel, rounds: Sequence[Round]) -> None:
        """Takes what looks at a kernel's work say."""
        self._kinds[kernel.kernel.name, kernel.length_s] = [
            kind_of_work(rounds, kernel.length_s, self.cpus, of) for of in (usual_of, min, max)
        ]

    def views_of(self, graph: Graph) -> list[View]:
        """Of a graph of which nothing is known: runs it some times, once to warm up."""
        if not len(graph):
            raise BenchError("there is nothing to recommend for a graph without tasks")
        native = sized("native-cpu:5ms")
        machines = self.views(native, calibrate(native))[0].machines
        self.run_s(graph, BASELINE, 1)
        found = []
        for _ in range(OWN_ROUNDS):
            times_s, cpu = _alone(graph, self.pool(BASELINE, 1))
            gil = 0.0
            own = dict(machines)
            if "threads" in self.names and cpu >= LEAST_CPU and self.cpus > 1:
                own["threads"] = Machine(machines["threads"].cores, (1.0, 1.0))
                gil = self._lock_part(graph, times_s, cpu, own["threads"])
            found.append(View(partial(_measured, times_s, cpu, gil), own))
        return found

    def _lock_part(
        self, graph: Graph, times_s: Mapping[str, float], cpu: float, machine: Machine
    ) -> float:
        """The part of the tasks that needs the lock, from how long a run on threads takes."""
        workers = self.cpus
        if cpu * workers < CONTESTED:
            workers = min(graph.width, MOST_WAITING * self.cpus, math.ceil(CONTESTED / cpu))

        def makespan_s(gil: float) -> float:
            demand = partial(_measured, times_s, cpu, gil)
            return simulated_s(graph, workers, demand, machine, self.overheads["threads"])

        return lock_part(makespan_s, self.run_s(graph, "threads", workers), cpu)

    def _machines(self, machine: Machine) -> dict[str, Machine]:
        return dict.fromkeys((BASELINE, *self.names), machine)


def _is_usable(backend: str) -> bool:
    kind = backend_class(backend)
    return kind.runs_tasks and not kind.unavailable()


def _as_long_as_said(factor: float, cpu: float, gil: float, task: Task) -> Demand:
    return Demand(factor * (task.cost_s or 0.0), cpu, gil)


def _measured(times_s: Mapping[str, float], cpu: float, gil: float, task: Task) -> Demand:
    return Demand(times_s[task.name], cpu, gil)


def _alone(graph: Graph, pool: Backend) -> tuple[dict[str, float], float]:
    """The times of the tasks, one after the other, and the part in which they used a CPU."""
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    report = run(graph, pool, keep="none")
    report.raise_for_failures()
    took_s = time.monotonic() - began_s
    cpu = min(1.0, (time.process_time() - began_cpu_s) / took_s)
    return {name: each.duration_s for name, each in report.tasks.items()}, cpu


def _children_bytes() -> int:
    """Memory of all processes that this one has started."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue
    return total
