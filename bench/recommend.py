"""Which backend, and how many workers, for a graph on this machine, and how sure that is.

It does not sweep: it measures what tasks and backends take (`prediction.py`), simulates the graph
on every backend with every number of workers, and runs only those that may be the best::

    candidates   of each backend the fewest workers predicted within 5 % of its best, where that is
                 within a margin of the best of all; sequential where little is gained
    verified     in randomised blocks, each candidate once in each
    pick         the fewest workers whose time is surely within 5 % of the best measured one
                 (the upper end of the interval of their ratio is), and of those the backend that
                 starts faster, unless it is surely slower than another with as many, and by more
                 than 5 %; without verification, the same of the predicted times

It does not pick where the machine is too noisy, or where a candidate that was not picked may be
better by more than a fifth for all that was measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import psutil

from bench import BenchError
from bench.ceiling import warm_up
from bench.counters import Counters
from bench.decision import candidates_of, decide, parallelism_of
from bench.kernels import SizedKernel, Work, calibrate, sized
from bench.machine import describe_machine
from bench.noise import UNUSABLE, judge_machine
from bench.prediction import (
    ROUNDS,
    Kind,
    View,
    bisected,
    kind_of_work,
    look,
    overheads,
    simulated_s,
)
from bench.recommendation import Candidate, Recommendation, median_and_range
from executors import Backend, Graph, Task, load_backend, run, usable_cpus
from executors.backends import BASELINE, backend_class, backend_names
from executors.backends.simulated import Overheads
from executors.sharing import Demand, Machine

BLOCKS = (5, 4)  # and so many more if the first ones do not tell candidates apart
MOST_WAITING = 16  # workers a CPU that are tried for tasks that wait
ROOM = 0.8  # of the free memory, that workers may need before they do anything
SIMULATED_TASKS = 20_000  # a round more only where all rounds together are smaller


def recommend(
    graph: Graph,
    *,
    backends: Sequence[str] | None = None,
    max_workers: Sequence[int] | None = None,
    verify: bool = True,
    name: str = "graph",
) -> Recommendation:
    """The backend and the number of workers for a graph of your own, on this machine.

    Runs the graph: some times in this thread, for the times of its tasks, some times on threads, to
    see how much they hold the interpreter lock, and each candidate five times.

    Args:
        backends: names; None means all that are available here.
        max_workers: numbers to choose from; None means powers of two, up to the CPU count or for
            tasks that wait further.
        verify: measure the candidates; else predictions are all there is.

    Raises:
        BenchError: the graph is empty.
        RunFailed: a task failed.
    """
    if not len(graph):
        raise BenchError("there is nothing to recommend for a graph without tasks")
    with Advisor(backends) as advisor:
        views = advisor.views_of(graph)
        return advisor.recommend(name, graph, views, max_workers, verify)


class Advisor:
    """Recommends for one graph after the other; while it is entered, its pools are warm.

    Attributes:
        cpus: how many there are.
    """

    def __init__(self, backends: Sequence[str] | None = None, seed: int = 0) -> None:
        self.cpus = usable_cpus()
        names = backend_names() if backends is None else list(backends)
        classes = {name: backend_class(name) for name in names if name != BASELINE}
        self._names = [
            name for name, each in classes.items() if each.runs_tasks and not each.unavailable()
        ]
        self._shuffle = random.Random(seed).shuffle
        self._stack = ExitStack()
        self._pools: dict[tuple[str, int], Backend] = {}
        self._overheads: dict[str, Overheads] = {}
        self._kinds: dict[str, Kind] = {}
        self._worker_bytes: dict[str, float] = {}
        self._machine: dict[str, object] = {}

    def __enter__(self) -> Advisor:
        try:
            self._machine = describe_machine()
            self._before = Counters()
            for backend in [BASELINE, *self._names]:
                before_bytes = _children_bytes()
                pool = self._pool(backend, self.cpus)
                self._worker_bytes[backend] = (_children_bytes() - before_bytes) / self.cpus
                self._overheads[backend] = overheads(pool)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _pool(self, backend: str, workers: int) -> Backend:
        """A warm one, which lives as long as this."""
        key = backend, 1 if backend == BASELINE else workers
        if key not in self._pools:
            self._pools[key] = self._stack.enter_context(load_backend(*key))
            warm_up(self._pools[key], [])
        return self._pools[key]

    # -- what tasks take ---------------------------------------------------------------------

    def views(self, kernel: SizedKernel, work: Work) -> list[View]:
        """Of graphs whose tasks are a kernel's, as long as their `cost_s` says."""
        if not kernel.length_s:
            return [View(lambda task: Demand(0.0), self._machines(Machine.ideal(self.cpus)))]
        name = kernel.kernel.name
        if name not in self._kinds:
            pools = {backend: self._pool(backend, self.cpus) for backend in self._names}
            for pool in pools.values():
                warm_up(pool, [work])
            rounds = [look(pools, work, kernel.length_s) for _ in range(ROUNDS)]
            self._kinds[name] = kind_of_work(rounds, kernel.length_s, self.cpus)
        kind = self._kinds[name]
        machines = {backend: kind.machine(backend) for backend in (BASELINE, *self._names)}
        return [
            View(partial(_as_long_as_said, factor, kind.cpu, kind.gil), machines)
            for factor in kind.factors
        ]

    def views_of(self, graph: Graph) -> list[View]:
        """Of a graph of which nothing is known: runs it some times."""
        native = sized("native-cpu:5ms")
        rounds = self.views(native, calibrate(native))
        found = []
        for view in rounds[:3]:
            times_s, cpu = _alone(graph, self._pool(BASELINE, 1))
            machines = dict(view.machines)
            gil = 0.0
            if "threads" in self._names and cpu and self.cpus > 1:
                cores = machines["threads"].cores
                machines["threads"] = Machine(cores, (1.0, 1.0))
                took_s = self._run_s(graph, "threads", self.cpus)
                gil = self._lock_part(graph, times_s, cpu, machines["threads"], took_s)
            found.append(View(partial(_measured, times_s, cpu, gil), machines))
        return found

    def _lock_part(
        self,
        graph: Graph,
        times_s: Mapping[str, float],
        cpu: float,
        machine: Machine,
        took_s: float,
    ) -> float:
        """The part of the tasks that needs the lock, if a run on threads took so long."""

        def makespan_s(gil: float) -> float:
            demand = partial(_measured, times_s, cpu, gil)
            return simulated_s(graph, self.cpus, demand, machine, self._overheads["threads"])

        if makespan_s(cpu) <= took_s:
            return cpu
        return bisected(makespan_s, took_s, cpu)

    def _machines(self, machine: Machine) -> dict[str, Machine]:
        return dict.fromkeys((BASELINE, *self._names), machine)

    # -- what to run -------------------------------------------------------------------------

    def recommend(
        self,
        name: str,
        graph: Graph,
        views: Sequence[View],
        max_workers: Sequence[int] | None = None,
        verify: bool = True,
    ) -> Recommendation:
        """Predicts, verifies and picks.

        Args:
            views: of its tasks; each gives one prediction.
        """
        views = views[: max(1, SIMULATED_TASKS // len(graph))]
        candidates = self.predict(graph, views, max_workers)
        times_s = {task.name: views[0].demand(task).seconds for task in graph.tasks}
        work_s, span_s = graph.work_s(times_s), graph.span_s(times_s)
        walls: dict[Candidate, list[float]] = {}
        if verify:
            chosen = candidates_of(candidates, parallelism_of(graph, work_s, span_s))
            walls = {each: [] for each in chosen}
        for blocks in BLOCKS:
            self._verify(graph, walls, blocks)
            window = Counters().since(self._before, "", 1, 0)
            found = Recommendation(
                name=name,
                pick=None,
                runner_up=None,
                candidates=tuple(
                    replace(each, wall_s=tuple(walls.get(each, ()))) for each in candidates
                ),
                span_s=span_s,
                work_s=work_s,
                regret=None,
                reason="",
                verdict=judge_machine(self._machine, [window]),
            )
            found = decide(found, graph, views[0], self._overheads)
            if found.pick is not None or found.verdict.level == UNUSABLE:
                break
        self._before = Counters()
        return found

    def predict(
        self, graph: Graph, views: Sequence[View], max_workers: Sequence[int] | None
    ) -> list[Candidate]:
        """Every backend with every number of workers that fits into the memory, simulated."""
        room_bytes = ROOM * psutil.virtual_memory().available
        waits = all(view.demand(task).cpu < 0.9 for view in views[:1] for task in graph.tasks)
        counts = max_workers or default_counts(self.cpus, graph.width, waits)
        found = []
        for backend in (BASELINE, *self._names):
            for workers in [1] if backend == BASELINE else counts:
                if workers > 1 and workers * self._worker_bytes[backend] > room_bytes:
                    continue
                makespans_s = [
                    simulated_s(
                        graph,
                        workers,
                        view.demand,
                        view.machines[backend],
                        self._overheads[backend],
                    )
                    for view in views
                ]
                start_s = self._pool(backend, self.cpus).start_s
                memory_bytes = workers * self._worker_bytes[backend]
                found.append(
                    Candidate(
                        backend, workers, median_and_range(makespans_s), (), start_s, memory_bytes
                    )
                )
        return found

    def _verify(self, graph: Graph, walls: Mapping[Candidate, list[float]], blocks: int) -> None:
        """Runs each candidate once in each block and adds the seconds to its list."""
        order = list(walls)
        for candidate in order:  # its pool is started, and the graph known to its workers
            self._run_s(graph, candidate.backend, candidate.workers)
        for _ in range(blocks):
            self._shuffle(order)
            for candidate in order:
                took_s = self._run_s(graph, candidate.backend, candidate.workers)
                walls[candidate].append(took_s)

    def _run_s(self, graph: Graph, backend: str, workers: int) -> float:
        pool = self._pool(backend, workers)
        began_s = time.monotonic()
        run(graph, pool, keep="none").raise_for_failures()
        return time.monotonic() - began_s


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


def default_counts(cpus: int, width: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to twice the CPU count; where tasks wait, up to the width of the graph."""
    most = 2 * cpus if not waits else max(2 * cpus, min(width, MOST_WAITING * cpus))
    counts = {2**power for power in range(most.bit_length())} | {cpus, most}
    return sorted(count for count in counts if count <= most)
