"""Recommends for a graph: predicts all candidates, and runs those that may be the best.

It does not sweep. It measures how long tasks and backends take (`profiler.py`), simulates the graph
on every backend with every number of workers, and runs only those that may be the best::

    candidates   for each backend the fewest workers predicted within 5 % of its best, if that is
                 within a margin of the best of all; sequential if none is much faster
    verified     in randomised blocks, each candidate once per block; if one takes longer than
                 predicted, others that may then be the best run too
    pick         the fewest workers whose time is reliably within 5 % of the best measured one (by
                 the upper end of the interval of their ratio); with equally many workers the
                 backend that starts faster, if the ratio itself is within 5 %. Without
                 verification, the fewest that are predicted within 5 % of the best

It does not pick if the machine is too noisy, or if another measured candidate may be more than a
fifth faster than the pick.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from time import monotonic

import psutil

from bench.analysis.estimates import INDIFFERENCE, MIN_SAMPLES
from bench.machine.counters import SystemCounters
from bench.machine.facts import describe_machine
from bench.machine.noise import UNUSABLE, Verdict, judge_machine
from bench.predict.prediction import TaskModel, simulated_s
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import predicted_counts, with_bends
from bench.recommend.decision import decide, next_to_run
from bench.recommend.recommendation import Candidate, Recommendation, median_and_range
from bench.results.case import BASELINE
from bench.workloads.duration import with_time_left
from bench.workloads.kernels import COMPUTES
from bench.workloads.own_graphs import explained
from executors import Graph, RunFailed
from executors.backends.base import checked_workers

MORE_BLOCKS = 4  # if the first ones leave more regret than SURE, again and again
MOST_BLOCKS = 25
SURE = 0.1
UNDECIDED_S = 10.0  # for more runs if nothing is picked yet, without a budget
SWEEP_RUNS = 14  # of each candidate: seven blocks, and a warm-up in each
SWEEP_PART = 0.25  # of the time of a sweep: being surer is not worth more
ROOM = 0.8  # share of the free memory that idle workers may need
SIMULATED_TASKS = 50_000  # to find worker counts from which on a few more do not help
MOST_TASKS = 10_000  # of a graph whose predictions get a range


def recommend(
    graph: Graph,
    *,
    backends: Sequence[str] | None = None,
    max_workers: Sequence[int] | None = None,
    verify: bool = True,
    name: str = "graph",
    budget_s: float | None = None,
    progress: Callable[[str], object] = lambda step: None,
) -> Recommendation:
    """The backend and the number of workers for your own graph, on this machine.

    Runs the graph: four times in this thread, for the times of its tasks, three times on threads,
    to see how much they hold the interpreter lock, and each candidate six times or more. A backend
    on which it fails is left out.

    Args:
        backends: names; None means all that are available here.
        max_workers: numbers to choose from; None means powers of two up to twice the CPU
            count or, for tasks that wait, more.
        verify: measure the candidates; otherwise the result rests on predictions alone.
        budget_s: go on measuring for up to this time where the runs do not decide yet; None means
            10 s, or a quarter of the time of a sweep if that is longer.
        progress: called with what comes next, for example `print`.

    Raises:
        BenchError: the graph is empty, or there is no backend to choose from.
        BackendError: a number of workers is not a whole number of at least 1.
        RunFailed: a task failed in this thread.
    """
    for workers in max_workers or ():
        checked_workers(workers)
    with Profiler(backends, progress=progress) as profiler:
        advisor = Advisor(profiler, progress=progress)
        models = profiler.task_models_of(graph, name)
        return advisor.recommend(blank_for(name), graph, models, max_workers, verify, budget_s)


def blank_for(graph: str, kernel: str = "", activity: str = "") -> Recommendation:
    """A recommendation in which only the subject is known.

    Args:
        graph: its name.
        kernel: what its tasks do, if all do the same.
        activity: that in words.
    """
    return Recommendation(
        graph=graph,
        kernel=kernel,
        activity=activity,
        pick=None,
        runner_up=None,
        candidates=(),
        span_s=0.0,
        work_s=0.0,
        parallelism=1.0,
        regret=None,
        reason="",
        verdict=Verdict(),
    )


class Advisor:
    """Recommends for one graph after the other."""

    def __init__(
        self,
        profiler: Profiler,
        seed: int = 0,
        progress: Callable[[str], object] = lambda step: None,
    ) -> None:
        self._profiler = profiler
        self._progress = progress
        self._shuffle = random.Random(seed).shuffle
        self._machine: dict[str, object] = describe_machine()
        self._before = SystemCounters()

    def recommend(
        self,
        subject: Recommendation,
        graph: Graph,
        models: Sequence[TaskModel],
        max_workers: Sequence[int] | None = None,
        verify: bool = True,
        budget_s: float | None = None,
    ) -> Recommendation:
        """Predicts, verifies and picks.

        Args:
            subject: says what the graph is called; see `blank_for`.
            models: of its tasks; each gives one prediction.
            budget_s: for more runs where the first ones do not decide; see `recommend`.
        """
        models = models if len(graph) <= MOST_TASKS else models[:1]
        advice = self._predicted(subject, graph, models, max_workers)
        runs = verify and advice.parallelism >= 1 + INDIFFERENCE
        while runs and (batch := next_to_run(advice)):
            advice = self._with_runs(graph, advice, batch, MIN_SAMPLES)
        advice = self._decided(advice, graph, models[0])
        while self._is_worthwhile(advice, budget_s):
            advice = self._with_runs(graph, advice, advice.measured, MORE_BLOCKS)
            advice = self._decided(advice, graph, models[0])
        if runs and self._needs_sequential(advice, budget_s):
            advice = self._with_runs(graph, advice, [advice.sequential], MIN_SAMPLES)
            advice = self._decided(advice, graph, models[0])  # now its speedup is measured, too
        advice = replace(advice, remarks=self._profiler.take_remarks())
        self._before = SystemCounters()
        self._machine = {**self._machine, "others_running": None}  # was before the first graph
        return advice

    def _predicted(
        self,
        subject: Recommendation,
        graph: Graph,
        models: Sequence[TaskModel],
        max_workers: Sequence[int] | None,
    ) -> Recommendation:
        """All predictions, without a pick."""
        times_s = [
            {task.name: model.demand(task).seconds for task in graph.tasks} for model in models
        ]
        work_s = median(graph.work_s(times) for times in times_s)
        span_s = median(graph.span_s(times) for times in times_s)
        candidates, left_out = self.predict(graph, models, max_workers)
        return replace(
            subject,
            candidates=tuple(candidates),
            span_s=span_s,
            work_s=work_s,
            parallelism=work_s / span_s if span_s else graph.average_parallelism,
            left_out=tuple(left_out),
        )

    def predict(
        self, graph: Graph, models: Sequence[TaskModel], max_workers: Sequence[int] | None
    ) -> tuple[list[Candidate], list[str]]:
        """Every backend with every number of workers, simulated.

        Returns:
            The candidates, and a sentence for each that needs too much memory or would fail.
        """
        room_bytes = ROOM * psutil.virtual_memory().available
        waits = all(models[0].demand(task).cpu < COMPUTES for task in graph.tasks)
        counts = max_workers or predicted_counts(self._profiler.cpus, graph.width, waits)
        candidates, left_out = [], []
        for backend in (BASELINE, *self._profiler.names):
            own_counts = [1] if backend == BASELINE else counts
            if backend != BASELINE and max_workers is None:
                own_counts = with_bends(
                    counts,
                    partial(self._simulated_s, graph, backend, models[0]),
                    SIMULATED_TASKS // len(graph),
                )
            for workers in own_counts:
                memory_bytes = workers * self._profiler.worker_bytes[backend]
                if workers > 1 and memory_bytes > room_bytes:
                    left_out.append(
                        f"{backend} with {workers} workers need {memory_bytes / 1e9:.1f} GB;"
                        f" {room_bytes / 1e9:.1f} GB are free."
                    )
                    continue
                candidate = self._candidate(graph, models, backend, workers, memory_bytes)
                if math.isinf(candidate.seconds) and not candidate.is_baseline:
                    left_out.append(f"On {candidate} a task would overrun its timeout_s.")
                    continue
                candidates.append(candidate)
        return candidates, left_out

    def _candidate(
        self,
        graph: Graph,
        models: Sequence[TaskModel],
        backend: str,
        workers: int,
        memory_bytes: float,
    ) -> Candidate:
        makespans_s = [self._simulated_s(graph, backend, model, workers) for model in models]
        if any(map(math.isinf, makespans_s)):  # a task would overrun its timeout, at least at times
            makespans_s = [math.inf]
        start_s = self._profiler.pool(backend, self._profiler.cpus).start_s
        predicted = median_and_range(makespans_s)
        return Candidate(backend, workers, predicted, start_s=start_s, memory_bytes=memory_bytes)

    def _simulated_s(self, graph: Graph, backend: str, model: TaskModel, workers: int) -> float:
        overheads = self._profiler.overheads[backend]
        return simulated_s(graph, workers, model.demand, model.machines[backend], overheads)

    def _needs_sequential(self, advice: Recommendation, budget_s: float | None) -> bool:
        """Whether to run it for the speedup alone: without a pick always, else if it takes little.

        Without a pick, a lower bound of the speedup is all that can be said.
        """
        if advice.sequential.wall_s:
            return False
        more_s = (1 + MIN_SAMPLES) * advice.sequential.seconds
        return advice.pick is None or self._spent_s + more_s <= self._allowed_s(advice, budget_s)

    @property
    def _spent_s(self) -> float:
        """Seconds since the last graph was finished."""
        return monotonic() - self._before.at_s

    def _allowed_s(self, advice: Recommendation, budget_s: float | None) -> float:
        """Seconds that a graph may take.

        Without a budget, only a small part of a sweep's time, because a sweep answers as well.
        """
        if budget_s is not None:
            return budget_s
        sweep_s = SWEEP_RUNS * sum(candidate.seconds for candidate in advice.candidates)
        return max(SWEEP_PART * sweep_s, UNDECIDED_S if advice.pick is None else 0.0)

    def _is_worthwhile(self, advice: Recommendation, budget_s: float | None) -> bool:
        """Whether a few more runs may decide, or make surer, and there is time for them."""
        if (
            advice.verdict is None
            or advice.verdict.level == UNUSABLE
            or (advice.regret or 0.0) <= SURE
        ):
            return False
        if len(advice.measured[0].wall_s) >= MOST_BLOCKS:
            return False
        more_s = MORE_BLOCKS * sum(candidate.seconds for candidate in advice.measured)
        return self._spent_s + more_s <= self._allowed_s(advice, budget_s)

    def _decided(self, advice: Recommendation, graph: Graph, model: TaskModel) -> Recommendation:
        meanwhile = SystemCounters().since(self._before, "", 1, 0)
        advice = replace(advice, verdict=judge_machine(self._machine, [meanwhile]))
        return decide(advice, graph, model, self._profiler.overheads)

    def _with_runs(
        self, graph: Graph, advice: Recommendation, batch: Sequence[Candidate], blocks: int
    ) -> Recommendation:
        """Runs each candidate of the batch once per block; a backend that fails is left out.

        Raises:
            RunFailed: a task failed in this thread.
        """
        walls: dict[Candidate, dict[int, float]] = {candidate: {} for candidate in batch}
        failed: dict[str, str] = {}  # backend and error
        known = [candidate.blocks[-1] for candidate in advice.measured]
        first = 1 + max(known, default=-1)
        for block in range(first - 1, first + blocks):
            order = [candidate for candidate in batch if candidate.backend not in failed]
            if block < first:  # warms up those that have not run yet
                order = [candidate for candidate in order if not candidate.wall_s]
            self._shuffle(order)
            for candidate in order:
                run = "warming up" if block < first else f"run {block + 1} of {first + blocks}"
                block_s = sum(other.seconds for other in batch)
                left_s = (first + blocks - max(block, first)) * block_s
                self._progress(with_time_left(f"{advice.name}: {candidate}, {run}", left_s))
                try:
                    took_s = self._profiler.run_s(graph, candidate.backend, candidate.workers)
                except RunFailed as error:
                    if candidate.is_baseline:
                        raise
                    failed[candidate.backend] = explained(error)
                    continue
                if block >= first:
                    walls[candidate][block] = took_s
        return replace(
            advice,
            candidates=tuple(
                replace(
                    candidate,
                    wall_s=(*candidate.wall_s, *walls.get(candidate, {}).values()),
                    blocks=(*candidate.blocks, *walls.get(candidate, ())),
                )
                for candidate in advice.candidates
                if candidate.backend not in failed
            ),
            left_out=(
                *advice.left_out,
                *(f"{backend}: {error}" for backend, error in failed.items()),
            ),
        )
