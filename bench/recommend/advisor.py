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
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from time import monotonic

import psutil

from bench.analysis.estimates import WORTH
from bench.machine.counters import Counters
from bench.machine.facts import describe_machine
from bench.machine.noise import UNUSABLE, Verdict, judge_machine
from bench.predict.prediction import View, simulated_s
from bench.predict.profiler import MOST_WAITING, Profiler
from bench.recommend.decision import decide, next_to_run
from bench.recommend.recommendation import Candidate, Recommendation, median_and_range
from executors import Graph, RunFailed
from executors.backends import SEQUENTIAL
from executors.backends.base import checked_workers

BLOCKS = 5
MORE_BLOCKS = 4  # where the first ones leave more open than this
SURE = 0.1
SWEEP_RUNS = 14  # of each candidate: seven blocks, and a warm-up in each
SWEEP_PART = 0.25  # of the time of a sweep: more than that is not worth being surer
COMPUTES = 0.9  # of a task's time on a core: then more workers than cores gain nothing
ROOM = 0.8  # of the free memory, that workers may need before they do anything
MOST_TASKS = 10_000  # of a graph whose predictions get a range


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
    with Profiler(backends) as profiler:
        advisor = Advisor(profiler)
        return advisor.recommend(name, graph, profiler.views_of(graph), max_workers, verify)


class Advisor:
    """Recommends for one graph after the other."""

    def __init__(self, profiler: Profiler, seed: int = 0) -> None:
        self._profiler = profiler
        self._shuffle = random.Random(seed).shuffle
        self._machine: dict[str, object] = describe_machine()
        self._before = Counters()

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
        batch = [each for each in found.candidates if each.wall_s]
        if (found.regret or 0.0) > SURE and self._is_worthwhile(found, batch):
            found = self._with_runs(graph, found, batch, MORE_BLOCKS, left_out)
            found = self._decided(found, graph, views[0], left_out)
        self._before = Counters()
        self._machine = {**self._machine, "others_running": None}  # that was before the first one
        return found

    def _is_worthwhile(self, found: Recommendation, batch: Sequence[Candidate]) -> bool:
        """A sweep would answer as well, so more runs must not make it a large part of one."""
        spent_s = (
            monotonic() - self._before.at_s + MORE_BLOCKS * sum(each.seconds for each in batch)
        )
        sweep_s = SWEEP_RUNS * sum(each.seconds for each in found.candidates)
        return found.verdict.level != UNUSABLE and spent_s <= SWEEP_PART * sweep_s

    def _decided(
        self, found: Recommendation, graph: Graph, view: View, left_out: Sequence[str]
    ) -> Recommendation:
        window = Counters().since(self._before, "", 1, 0)
        found = replace(
            found, left_out=tuple(left_out), verdict=judge_machine(self._machine, [window])
        )
        return decide(found, graph, view, self._profiler.overheads)

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
        waits = all(views[0].demand(task).cpu < COMPUTES for task in graph.tasks)
        counts = max_workers or default_counts(self._profiler.cpus, graph.width, waits)
        found = []
        for backend in (BASELINE, *self._profiler.names):
            for workers in [1] if backend == BASELINE else counts:
                memory_bytes = workers * self._profiler.worker_bytes[backend]
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
                        self._profiler.overheads[backend],
                    )
                    for view in views
                ]
                made = Candidate(
                    backend,
                    workers,
                    median_and_range(makespans_s),
                    start_s=self._profiler.pool(backend, self._profiler.cpus).start_s,
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
        walls: dict[Candidate, dict[int, float]] = {each: {} for each in batch}
        failed: set[str] = set()
        first = max((1 + each.blocks[-1] for each in found.candidates if each.blocks), default=0)
        for block in range(first - 1, first + blocks):
            order = [each for each in batch if each.backend not in failed]
            if block < first:  # warms up those that have not run yet
                order = [each for each in order if not each.wall_s]
            self._shuffle(order)
            for each in order:
                try:
                    took_s = self._profiler.run_s(graph, each.backend, each.workers)
                except RunFailed as error:
                    if each.backend == BASELINE:
                        raise
                    failed.add(each.backend)
                    left_out.append(f"{each.backend}: {error}")
                    continue
                if block >= first:
                    walls[each][block] = took_s
        return replace(
            found,
            candidates=tuple(
                replace(
                    each,
                    wall_s=(*each.wall_s, *walls.get(each, {}).values()),
                    blocks=(*each.blocks, *walls.get(each, ())),
                )
                for each in found.candidates
                if each.backend not in failed
            ),
        )


def default_counts(cpus: int, width: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to twice the CPU count; where tasks wait, up to the width of the graph."""
    most = 2 * cpus if not waits else max(2 * cpus, min(width, MOST_WAITING * cpus))
    counts = {2**power for power in range(most.bit_length())} | {cpus, most}
    return sorted(count for count in counts if count <= most)
