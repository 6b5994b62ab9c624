"""Measures how long tasks and backends take here: the facts behind predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, Self

import psutil

from bench import BenchError
from bench.machine.timing import task_times, timed_run, warm_up
from bench.predict.prediction import (
    LEAST_CPU,
    ROUNDS,
    KernelProfile,
    ProfileRound,
    TaskModel,
    interquartile_mean,
    lock_part,
    measure_round,
    overheads,
    profile_of,
    simulated_s,
    takes_turns,
)
from bench.predict.worker_counts import MOST_WAITING
from bench.results.case import BASELINE, PoolKey
from bench.workloads.kernels import SizedKernel, Work, calibrate, sized
from bench.workloads.own_graphs import named
from executors import Backend, Graph, Task, load_backend, usable_cpus
from executors.backends import backend_class, default_backends
from executors.backends.simulated import Overheads
from executors.contention import Demand, Machine
from executors.core.summary import remarks, retries

OWN_ROUNDS = 3  # of a graph about which nothing is known
CONTESTED = 1.5  # cores that tasks must want together to show whether they need the lock
PROCESSES = "processes"  # these measure the cores, whatever backends are asked for


class Profiler:
    """Measures how long tasks and backends take; while it is entered, its pools are warm.

    Args:
        backends: names; None means this project's.
        progress: called with what comes next.
        options: arguments of the backends' classes, by backend.

    Attributes:
        cpus: number of usable CPUs.
        names: the backends to choose from, without the baseline.
        overheads: by backend.
        worker_bytes: memory of a worker that has done nothing, by backend.

    Raises:
        BenchError: there is no backend to choose from.
    """

    def __init__(
        self,
        backends: Sequence[str] | None = None,
        progress: Callable[[str], object] = lambda step: None,
        options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.cpus = usable_cpus()
        self._options = options
        names = default_backends() if backends is None else list(backends)
        self.names = [name for name in names if name != BASELINE and _is_usable(name)]
        if not self.names:
            raise BenchError("there is no backend to choose from; name threads or processes")
        self._progress = progress
        self._stack = ExitStack()
        self._pools: dict[PoolKey, Backend] = {}
        self.overheads: dict[str, Overheads] = {}
        self._profiles: dict[tuple[str, float], list[KernelProfile]] = {}
        self._remarks: dict[str, None] = {}
        self.worker_bytes: dict[str, float] = {}

    def __enter__(self) -> Self:
        try:
            for backend in [BASELINE, *self.names]:
                self._progress(f"measuring what {backend} adds to a task")
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
        """A warm pool, which lives until the profiler is left."""
        key = PoolKey(backend, 1 if backend == BASELINE else workers)
        if key not in self._pools:
            options = self._options.get(backend, {})
            self._pools[key] = self._stack.enter_context(load_backend(*key[:2], **options))
            warm_up(self._pools[key], [])
        return self._pools[key]

    def run_s(self, graph: Graph, backend: str, workers: int) -> float:
        """Seconds of a run on a warm pool."""
        seconds, report = timed_run(graph, self.pool(backend, workers))
        again = retries(report)
        texts = [text for text in remarks(report) if text != again]
        if again is not None:
            texts.append("Tasks were retried; predictions leave out failed attempts and delays.")
        self._remarks |= dict.fromkeys(texts)
        return seconds

    def take_remarks(self) -> tuple[str, ...]:
        """Sentences on what made runs slow since the last call."""
        taken = tuple(self._remarks)
        self._remarks.clear()
        return taken

    def task_models(self, kernel: SizedKernel, work: Work) -> list[TaskModel]:
        """The models of a kernel's tasks, whose lengths are their `cost_s`.

        The first one is the usual case; the others, the fastest and the slowest, give predictions
        their range.
        """
        if not kernel.length_s:
            return [TaskModel(lambda task: Demand(0.0), self._machines(Machine.ideal(self.cpus)))]
        key = kernel.kind.name, kernel.length_s
        if key not in self._profiles:
            separate, shared = self.side_by_side()
            for pool in (separate, shared):
                if pool is not None:
                    warm_up(pool, [work])
            rounds = []
            for number in range(1, ROUNDS + 1):
                self._progress(f"{kernel.text}: measuring its tasks, round {number} of {ROUNDS}")
                rounds.append(measure_round(work, kernel.length_s, separate, shared))
            self.set_profile(kernel, rounds)
        return [
            TaskModel(
                partial(_as_long_as_planned, profile.factor, profile.cpu, profile.gil),
                {backend: profile.machine(backend) for backend in (BASELINE, *self.names)},
            )
            for profile in self._profiles[key]
        ]

    def side_by_side(self) -> tuple[Backend | None, Backend | None]:
        """Pools with one worker per CPU: with interpreters of their own, and sharing one."""
        shared = [name for name in self.names if takes_turns(name)]
        separate = [name for name in self.names if name not in shared]
        if PROCESSES in separate or _is_usable(PROCESSES):
            separate = [PROCESSES]
        first, second = (
            self.pool(names[0], self.cpus) if names else None for names in (separate, shared)
        )
        return first, second

    def set_profile(self, kernel: SizedKernel, rounds: Sequence[ProfileRound]) -> None:
        """Sets the profile of a kernel, from rounds of its work."""
        self._profiles[kernel.kind.name, kernel.length_s] = [
            profile_of(rounds, kernel.length_s, self.cpus, of)
            for of in (interquartile_mean, min, max)
        ]

    def task_models_of(self, graph: Graph, name: str = "graph") -> list[TaskModel]:
        """The models of a graph about which nothing is known, the usual one first: runs it.

        Args:
            name: of the graph, for the progress.

        Raises:
            BenchError: the graph has no tasks.
            RunFailed: a task failed.
        """
        if not len(graph):
            raise BenchError("there is nothing to recommend for a graph without tasks")
        native = sized("native-cpu:5ms")
        machines = self.task_models(native, calibrate(native))[0].machines
        self._progress(f"{name}: sequential, warming up")
        with named(name):
            self.run_s(graph, BASELINE, 1)
        models: list[tuple[float, TaskModel]] = []
        for number in range(1, OWN_ROUNDS + 1):
            self._progress(f"{name}: measuring its tasks, round {number} of {OWN_ROUNDS}")
            times_s, cpu = task_times(graph, self.pool(BASELINE, 1))
            gil, own = 0.0, dict(machines)
            shared = [name for name in self.names if takes_turns(name)]
            if shared and cpu >= LEAST_CPU and self.cpus > 1:
                own |= {name: Machine(machines[name].cores, (1.0, 1.0)) for name in shared}
                gil = self._lock_part(graph, times_s, cpu, shared[0], own[shared[0]])
            model = TaskModel(partial(_measured, times_s, cpu, gil), own)
            models.append((graph.work_s(times_s), model))
        models.sort(key=lambda pair: pair[0])
        usual = models.pop(len(models) // 2)
        return [model for _, model in (usual, *models)]

    def _lock_part(
        self,
        graph: Graph,
        times_s: Mapping[str, float],
        cpu: float,
        backend: str,
        machine: Machine,
    ) -> float:
        """The share of the tasks that needs the lock, judging by a run on threads."""
        workers = self.cpus
        if cpu * workers < CONTESTED:
            workers = min(graph.width, MOST_WAITING * self.cpus, math.ceil(CONTESTED / cpu))

        def makespan_s(gil: float) -> float:
            demand = partial(_measured, times_s, cpu, gil)
            return simulated_s(graph, workers, demand, machine, self.overheads[backend])

        return lock_part(makespan_s, self.run_s(graph, backend, workers), cpu)

    def _machines(self, machine: Machine) -> dict[str, Machine]:
        return dict.fromkeys((BASELINE, *self.names), machine)


def _is_usable(backend: str) -> bool:
    kind = backend_class(backend)
    return kind.runs_tasks and not kind.unavailable()


def _as_long_as_planned(factor: float, cpu: float, gil: float, task: Task) -> Demand:
    return Demand(factor * (task.cost_s or 0.0), cpu, gil)


def _measured(times_s: Mapping[str, float], cpu: float, gil: float, task: Task) -> Demand:
    return Demand(times_s[task.name], cpu, gil)


def _children_bytes() -> int:
    """Memory of all processes that this one has started."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue
    return total
