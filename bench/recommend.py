"""Which backend, and how many workers, for a graph on this machine, and how sure that is.

It does not sweep: it measures what tasks and backends take (`prediction.py`), simulates the graph
on every backend with every number of workers, and runs only those that may be the best::

    candidates   of each backend the fewest workers predicted within 5 % of its best, where that is
                 within a margin of the best of all; sequential where little is gained
    verified     in randomised blocks, each candidate once in each; where one takes longer than
                 predicted, others that may then be the best are run too
    pick         the fewest workers whose time is surely within 5 % of the best measured one
                 (the upper end of the interval of their ratio is); of as many workers the backend
                 that starts faster, if it is within 5 % in the middle. Without verification, the
                 fewest that are predicted within 5 % of the best

It does not pick where the machine is too noisy, or where a candidate that was not picked may be
better by more than a fifth for all that was measured.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median

import psutil

from bench import BenchError
from bench.ceiling import warm_up
from bench.counters import Counters
from bench.decision import decide, next_to_run
from bench.kernels import SizedKernel, Work, calibrate, sized
from bench.machine import describe_machine
from bench.noise import UNUSABLE, Verdict, judge_machine
from bench.prediction import (
    LEAST_CPU,
    LEAST_LOCK,
    ROUNDS,
    Kind,
    Round,
    View,
    bisected,
    kind_of_work,
    look,
    overheads,
    simulated_s,
    usual_of,
)
from bench.recommendation import Candidate, Recommendation, median_and_range
from bench.statistics import WORTH
from executors import Backend, Graph, RunFailed, Task, load_backend, run, usable_cpus
from executors.backends import BASELINE, backend_class, backend_names
from executors.backends.base import checked_workers
from executors.backends.simulated import Overheads
from executors.sharing import Demand, Machine

BLOCKS = 5
MORE_BLOCKS = 4  # where the first ones leave more open than this
SURE = 0.1
MOST_WAITING = 16  # workers a CPU that are tried for tasks that wait
ROOM = 0.8  # of the free memory, that workers may need before they do anything
MOST_TASKS = 10_000  # of a graph whose predictions get a range
OWN_ROUNDS = 3  # of a graph of which nothing is known
CONTESTED = 1.5  # cores that tasks must want together to show whether they need the lock

Pool = tuple[str, int]  # backend and workers


def recommend(
    graph: Graph,
    *,
    backends: Sequence[str] | None = None,
    max_workers: Sequence[int] | None = None,
    verify: bool = True,
    name: str = "graph",
) -> Recommendation:
    """The backend and the number of workers for a graph of your own, on this machine.

    Runs the graph: four times in this thread, for the times of its tasks, three times on threads,
    to see how much they hold the interpreter lock, and each candidate six times or more. A backend
    that it fails on is left out.

    Args:
        backends: names; None means all that are available here.
        max_workers: numbers to choose from; None means powers of two, up to the CPU count or for
            tasks that wait further.
        verify: measure the candidates; else predictions are all there is.

    Raises:
        BenchError: the graph is empty, or there is no backend to choose from.
        BackendError: a number of workers is none.
        RunFailed: a task failed in this thread.
    """
    for workers in max_workers or ():
        checked_workers(workers)
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
        self._names = [name for name in names if name != BASELINE and _is_usable(name)]
        if not self._names:
            raise BenchError("there is no backend to choose from; name threads or processes")
        self._shuffle = random.Random(seed).shuffle
        self._stack = ExitStack()
        self._pools: dict[Pool, Backend] = {}
        self._overheads: dict[str, Overheads] = {}
        self._kinds: dict[tuple[str, float], list[Kind]] = {}
        self._worker_bytes: dict[str, float] = {}
        self._machine: dict[str, object] = {}

    def __enter__(self) -> Advisor:
        try:
            self._machine = describe_machine()
            self._before = Counters()
            for backend in [BASELINE, *self._names]:
                before_bytes = _children_bytes()
                pool = self.pool(backend, self.cpus)
                self._worker_bytes[backend] = (_children_bytes() - before_bytes) / self.cpus
                self._overheads[backend] = overheads(pool)
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

    # -- what tasks take ---------------------------------------------------------------------

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
                {backend: kind.machine(backend) for backend in (BASELINE, *self._names)},
            )
            for kind in self._kinds[key]
        ]

    def side_by_side(self) -> dict[str, Backend]:
        """The pools to look at work with: processes show the cores, whatever is asked for."""
        wanted = [name for name in ("threads", "processes") if name in self._names]
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
            if "threads" in self._names and cpu >= LEAST_CPU and self.cpus > 1:
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
            return simulated_s(graph, workers, demand, machine, self._overheads["threads"])

        took_s = self.run_s(graph, "threads", workers)
        if took_s <= makespan_s(0.0) * (1 + LEAST_LOCK):
            return 0.0
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
        views = views if len(graph) <= MOST_TASKS else views[:1]
        times_s = [{task.name: view.demand(task).seconds for task in graph.tasks} for view in views]
        work_s = median(graph.work_s(each) for each in times_s)
        span_s = median(graph.span_s(each) for each in times_s)
        left_out: list[str] = []
        found = Recommendation(
            name=name,
            pick=None,
            runner_up=None,
            candidates=tuple(self.predict(graph, views, max_workers, left_out)),
            span_s=span_s,
            work_s=work_s,
            parallelism=work_s / span_s if span_s else graph.average_parallelism,
            regret=None,
            reason="",
            verdict=Verdict(),
        )
        if verify and found.parallelism >= 1 + WORTH:
            while batch := next_to_run(found):
                found = self._with_runs(graph, found, batch, BLOCKS, left_out)
        found = self._decided(found, graph, views[0], left_out)
        if found.regret is not None and found.regret > SURE and found.verdict.level != UNUSABLE:
            batch = [each for each in found.candidates if each.wall_s]
            found = self._with_runs(graph, found, batch, MORE_BLOCKS, left_out)
            found = self._decided(found, graph, views[0], left_out)
        self._before = Counters()
        self._machine = {**self._machine, "others_running": None}  # that was before the first one
        return found

    def _decided(
        self, found: Recommendation, graph: Graph, view: View, left_out: Sequence[str]
    ) -> Recommendation:
        window = Counters().since(self._before, "", 1, 0)
        found = replace(
            found, left_out=tuple(left_out), verdict=judge_machine(self._machine, [window])
        )
        return decide(found, graph, view, self._overheads)

    def predict(
        self,
        graph: Graph,
        views: Sequence[View],
        max_workers: Sequence[int] | None,
        left_out: list[str],
    ) -> list[Candidate]:
        """Every backend with every number of workers, simulated.

        Args:
            left_out: gets a sentence for what does not fit into the memory, or would fail.
        """
        room_bytes = ROOM * psutil.virtual_memory().available
        waits = all(view.demand(task).cpu < 0.9 for view in views[:1] for task in graph.tasks)
        counts = max_workers or default_counts(self.cpus, graph.width, waits)
        found = []
        for backend in (BASELINE, *self._names):
            for workers in [1] if backend == BASELINE else counts:
                memory_bytes = workers * self._worker_bytes[backend]
                if workers > 1 and memory_bytes > room_bytes:
                    left_out.append(
                        f"{backend} with {workers} workers need {memory_bytes / 1e9:.1f} GB;"
                        f" {room_bytes / 1e9:.1f} GB are free."
                    )
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
                made = Candidate(
                    backend,
                    workers,
                    median_and_range(makespans_s),
                    start_s=self.pool(backend, self.cpus).start_s,
                    memory_bytes=memory_bytes,
                )
                if math.isinf(made.seconds) and backend != BASELINE:
                    left_out.append(f"On {made} a task would take longer than its timeout_s.")
                    continue
                found.append(made)
        return found

    def _with_runs(
        self,
        graph: Graph,
        found: Recommendation,
        batch: Sequence[Candidate],
        blocks: int,
        left_out: list[str],
    ) -> Recommendation:
        """Runs each of the batch once in each block; a backend that fails is left out.

        Raises:
            RunFailed: a task failed in this thread.
        """
        walls: dict[Candidate, list[float]] = {each: [] for each in batch}
        failed: set[str] = set()
        for block in range(-1, blocks):  # the first one warms up those that have not run yet
            order = [each for each in batch if each.backend not in failed]
            if block < 0:
                order = [each for each in order if not each.wall_s]
            self._shuffle(order)
            for each in order:
                try:
                    took_s = self.run_s(graph, each.backend, each.workers)
                except RunFailed as error:
                    if each.backend == BASELINE:
                        raise
                    failed.add(each.backend)
                    left_out.append(f"{each.backend}: {error}")
                    continue
                if block >= 0:
                    walls[each].append(took_s)
        return replace(
            found,
            candidates=tuple(
                replace(each, wall_s=(*each.wall_s, *walls.get(each, ())))
                for each in found.candidates
                if each.backend not in failed
            ),
        )


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


def default_counts(cpus: int, width: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to twice the CPU count; where tasks wait, up to the width of the graph."""
    most = 2 * cpus if not waits else max(2 * cpus, min(width, MOST_WAITING * cpus))
    counts = {2**power for power in range(most.bit_length())} | {cpus, most}
    return sorted(count for count in counts if count <= most)
