"""Which backend, and how many workers, for a graph on this machine, and how sure that is.

It does not sweep: it measures what tasks and backends take (`prediction.py`), simulates the graph
on every backend with every number of workers, and runs only those that may be the best::

    candidates   of each backend the fewest workers predicted within 5 % of its best, where that is
                 within a margin of the best of all; sequential where little is gained
    verified     in randomised blocks, each candidate once in each
    pick         the fewest workers whose time is surely within 5 % of the best measured one
                 (the upper end of the interval of their ratio is), and of those the backend that
                 starts faster; without verification, the same of the predicted times

It does not pick where the machine is too noisy, or where a candidate that was not picked may be
better by more than a fifth for all that was measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import psutil

from bench import BenchError
from bench.ceiling import warm_up
from bench.kernels import SizedKernel, Work, calibrate, sized
from bench.machine import describe_machine
from bench.noise import UNUSABLE, Counters, judge_machine
from bench.prediction import (
    ROUNDS,
    Kind,
    bisected,
    kind_of_work,
    look,
    overheads,
    simulated_s,
)
from bench.recommendation import Candidate, Recommendation, median_and_range
from bench.statistics import WORTH, ratio_of_medians
from executors import Backend, Graph, Task, load_backend, run, usable_cpus
from executors.backends import BASELINE, backend_class, backend_names
from executors.backends.simulated import Overheads
from executors.sharing import Demand, Machine

MARGIN = 0.15  # of the best prediction: what predictions may be wrong by
SEQUENTIAL_MARGIN = 0.35  # the same where no parallelism is the alternative
LARGEST_REGRET = 0.2  # more than that, and nothing is recommended
BLOCKS = 5
MOST_WAITING = 16  # workers a CPU that are tried for tasks that wait
MUCH_BYTES = 1e9  # worth a word
ROOM = 0.8  # of the free memory, that workers may need before they do anything
SIMULATED_TASKS = 20_000  # a round more only where all rounds together are smaller


@dataclass(frozen=True, slots=True)
class View:
    """What a round of measuring says of the tasks of one graph.

    Attributes:
        demand: what each task takes.
        machines: what the workers share, by backend.
    """

    demand: Callable[[Task], Demand]
    machines: Mapping[str, Machine]


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
        if verify:
            chosen = set(candidates_of(candidates, _parallelism(graph, work_s, span_s)))
            measured = self._verified(graph, [each for each in candidates if each in chosen])
            candidates = [measured.get((each.backend, each.workers), each) for each in candidates]
        window = Counters().since(self._before, "", 1, 0)
        self._before = Counters()
        verdict = judge_machine(self._machine, [window])
        found = Recommendation(
            name=name,
            pick=None,
            runner_up=None,
            candidates=tuple(candidates),
            span_s=span_s,
            work_s=work_s,
            regret=None,
            reason="",
            verdict=verdict,
        )
        return decide(found, graph, views[0], self._overheads)

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

    def _verified(
        self, graph: Graph, chosen: Sequence[Candidate]
    ) -> dict[tuple[str, int], Candidate]:
        walls: dict[Candidate, list[float]] = {candidate: [] for candidate in chosen}
        for candidate in chosen:  # its pool is started, and the graph known to its workers
            self._run_s(graph, candidate.backend, candidate.workers)
        for _ in range(BLOCKS):
            order = list(chosen)
            self._shuffle(order)
            for candidate in order:
                took_s = self._run_s(graph, candidate.backend, candidate.workers)
                walls[candidate].append(took_s)
        return {
            (candidate.backend, candidate.workers): replace(candidate, wall_s=tuple(each))
            for candidate, each in walls.items()
        }

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


# -- choosing -----------------------------------------------------------------------------------


def candidates_of(predictions: Sequence[Candidate], parallelism: float) -> Iterator[Candidate]:
    """Those that may be the best for all that predictions can say.

    A pool of one worker gains nothing by being a pool, so it is none of them.

    Args:
        parallelism: work over span; where it is 1, nothing can be gained.
    """
    best_s = min(each.seconds for each in predictions)
    if parallelism < 1 + WORTH:
        yield next(each for each in predictions if each.backend == BASELINE)
        return
    for backend in dict.fromkeys(each.backend for each in predictions):
        own = [
            each
            for each in predictions
            if each.backend == backend and (each.workers > 1 or backend == BASELINE)
        ]
        if not own:
            continue
        own_best_s = min(each.seconds for each in own)
        margin = SEQUENTIAL_MARGIN if backend == BASELINE else MARGIN
        if own_best_s <= best_s * (1 + margin):
            near = [each for each in own if each.seconds <= own_best_s * (1 + WORTH)]
            yield min(near, key=lambda each: each.workers)


def decide(
    found: Recommendation, graph: Graph, view: View, costs: Mapping[str, Overheads]
) -> Recommendation:
    """Picks among the measured candidates or, where none was measured, among the predicted ones."""
    if _parallelism(graph, found.work_s, found.span_s) < 1 + WORTH:  # sure without measuring
        pick = found.sequential
        return replace(found, pick=pick, reason=why(pick, found, graph, view, costs))
    if found.verdict.level == UNUSABLE:
        return replace(found, reason=f"The machine is too noisy. {found.verdict}")
    measured = [each for each in found.candidates if each.wall_s]
    parallelism = _parallelism(graph, found.work_s, found.span_s)
    pool = measured or list(candidates_of(found.candidates, parallelism))
    best = min(pool, key=lambda each: each.seconds)
    near = [each for each in pool if each is best or _slowdown(each, best) <= 1 + WORTH]
    pick = min(near, key=lambda each: (each.workers, each.start_s, each.seconds))
    alone = found.sequential
    if alone in pool and pick is not alone and _slowdown(alone, pick, surely=True) <= 1:
        pick = alone  # no gain that is sure
    others = [each for each in measured if each is not pick]
    regret = max((max(0.0, _slowdown(pick, each) - 1) for each in others), default=None)
    rivals = [
        each
        for each in found.candidates
        if each.backend != pick.backend and (each.workers > 1 or each.backend == BASELINE)
    ]
    runner_up = min(rivals, key=lambda each: each.seconds, default=None)
    found = replace(found, runner_up=runner_up, regret=regret)
    if regret is not None and regret > LARGEST_REGRET:
        other = max(others, key=lambda each: _slowdown(pick, each))
        return replace(
            found,
            runner_up=other,
            reason=(
                f"{pick} and {other} cannot be told apart: their runs differ too much."
                " Stop what else is running, or use longer tasks, and try again."
            ),
        )
    return replace(found, pick=pick, reason=why(pick, found, graph, view, costs))


def _slowdown(one: Candidate, other: Candidate, surely: bool = False) -> float:
    """How many times as long as the other it takes at most; `surely`: at least."""
    if not one.wall_s or not other.wall_s:
        return one.seconds / other.seconds
    ratio = ratio_of_medians(one.wall_s, other.wall_s)
    end = ratio.low if surely else ratio.high
    return ratio.value if end is None else end


def why(
    pick: Candidate,
    found: Recommendation,
    graph: Graph,
    view: View,
    costs: Mapping[str, Overheads],
) -> str:
    """What decided, in plain words."""
    demands = [view.demand(task) for task in graph.tasks]
    mean_s = found.work_s / len(graph)
    cpu = sum(each.cpu * each.seconds for each in demands) / found.work_s if found.work_s else 1.0
    if pick.backend == BASELINE:
        others = [each for each in costs if each != BASELINE]
        least_s = min((costs[each].task_s + costs[each].wake_s for each in others), default=0.0)
        if _parallelism(graph, found.work_s, found.span_s) < 1 + WORTH:
            return "Each task waits for the one before: the critical path is all there is."
        if mean_s < 3 * least_s:
            return (
                f"The tasks are too short ({_shown(mean_s)} on average): to hand one to a worker"
                f" takes up to {_shown(least_s)}."
            )
        return "No backend is surely faster than one task after the other."
    sentences = []
    if cpu < 0.5:
        sentences.append(
            f"The tasks wait for {100 * (1 - cpu):.0f} % of their time, not for cores."
        )
    elif pick.backend == "processes" and (gil := _lock_part(demands)) > 0.5:
        sentences.append(
            f"The tasks hold the interpreter lock for {100 * gil:.0f} % of their time, so threads"
            " take turns."
        )
    else:
        speed = view.machines[pick.backend].cores[-1]
        cores = len(view.machines[pick.backend].cores)
        sentences.append(
            f"The tasks compute, mostly without the interpreter lock; {cores} cores are"
            f" {speed:.2f} times one."
        )
    if pick.seconds < found.span_s * (1 + 2 * WORTH):
        sentences.append(
            f"The critical path, {_shown(found.span_s)}, is nearly reached: more workers change"
            " nothing."
        )
    elif cpu >= 0.5:
        sentences.append("More workers than cores gain nothing.")
    if pick.start_s + pick.seconds > found.sequential.seconds:
        sentences.append(
            f"Starting the workers takes {_shown(pick.start_s)}, once: more than a single run"
            " gains."
        )
    if pick.memory_bytes > MUCH_BYTES:
        sentences.append(f"Its workers need {pick.memory_bytes / 1e9:.1f} GB to begin with.")
    if found.regret is None and not pick.wall_s:
        sentences.append("Nothing was run to verify it.")
    return " ".join(sentences)


def _parallelism(graph: Graph, work_s: float, span_s: float) -> float:
    """Work over span; of tasks that take no time, tasks over depth."""
    return work_s / span_s if span_s else graph.average_parallelism


def _lock_part(demands: Sequence[Demand]) -> float:
    total_s = sum(each.seconds for each in demands)
    return sum(each.gil * each.seconds for each in demands) / total_s if total_s else 0.0


def _shown(seconds: float) -> str:
    if not seconds:
        return "no time"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
