"""Runs a plan, block after block, until it is complete, precise enough or out of time.

In each block, everything happens once::

    ceilings   independent processes, for each kernel that needs CPUs
    pools      in random order: start, warm up, its cases in random order, end,
               and what other processes did meanwhile (`counters.py`)

Cases that the results of an interrupted run already have are not measured again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from statistics import fmean
from time import monotonic
from typing import Any

from bench import BenchError
from bench.analysis.summary import is_precise
from bench.machine.ceiling import side_by_side_s
from bench.machine.counters import SystemCounters
from bench.machine.sampler import Sample, Sampler
from bench.machine.timing import wall_s, warm_up
from bench.measure.losses import losses_of
from bench.measure.prepared import CEILING_S, CEILINGS, PreparedPlan
from bench.measure.timelines import Timelines
from bench.predict.simulation import simulated
from bench.results.case import Case, PoolKey
from bench.results.store import CeilingSample, Measurement, Results, ResultsWriter
from bench.workloads.duration import with_time_left
from bench.workloads.kernels import SizedKernel
from bench.workloads.own_graphs import OWN_TASKS, named
from executors import Backend, Graph, Observer, RunReport, load_backend, run
from executors.backends import backend_class

COMPLETE, BUDGET, PRECISION = "complete", "budget", "precision"


def measure(
    prepared: PreparedPlan,
    writer: ResultsWriter,
    observers: Sequence[Observer] = (),
    progress: Callable[[str], object] = lambda step: None,
    before: Results | None = None,
) -> str:
    """Measures every case of every block and appends each to the results.

    Each pool is started again in each block, because its start varies too, and warmed up.

    Args:
        progress: called before each case with what comes next and how long the rest takes.
        before: the results of the run to continue.

    Returns:
        Why nothing more is measured: "complete", "budget" or "precision".

    Raises:
        RunFailed: a task failed.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM; what was measured is in the file.
    """
    with Sampler() as sampler:
        measuring = _Measuring(prepared, writer, sampler, observers, progress, before)
        try:
            reason = measuring.blocks()
        finally:  # also of an interrupted run
            for line in measuring.timelines.lines():
                writer.append(line)
    writer.end(reason)
    return reason


class _Measuring:
    """One call of `measure`."""

    def __init__(
        self,
        prepared: PreparedPlan,
        writer: ResultsWriter,
        sampler: Sampler,
        observers: Sequence[Observer],
        progress: Callable[[str], object],
        before: Results | None,
    ) -> None:
        self._prepared = prepared
        self._writer = writer
        self._sampler = sampler
        self._observers = observers
        self._progress = progress
        self._measurements = list(before.measurements) if before else []
        self._measured = {(run.case, run.block) for run in self._measurements}
        self.timelines = Timelines(before)
        self._spent_s = sum(pool.wall_s for pool in before.interference) if before else 0.0
        ceilings = before.ceilings if before else ()
        self._spent_s += sum(sample.one_s + sample.all_s for sample in ceilings)
        self._ceilings_measured = {(loop.kernel, loop.workers, loop.block) for loop in ceilings}
        self._forecast = prepared.forecast(before)
        self._began_s = monotonic() - self._spent_s
        self._block = 0
        self._done: set[Hashable] = set()  # parts of this block
        self._part_began_s = self._began_s

    def blocks(self) -> str:
        """Measures block after block, until there is a reason to stop."""
        plan = self._prepared.plan
        longest_s = 0.0
        for block in range(plan.blocks):
            self._block, start_s = block, monotonic()
            if block and self._is_precise():
                return PRECISION
            if plan.budget_s and start_s - self._began_s + longest_s > plan.budget_s:
                return BUDGET
            self._done = set()
            if loops := self._missing_ceilings(block):
                with self._timed(CEILINGS):
                    self._ceilings(block, loops)
            for pool, cases in plan.block(block):
                if missing := [case for case in cases if (case, block) not in self._measured]:
                    with self._timed(pool):
                        self._pool(pool, block, missing)
                self._done.add(pool)
            longest_s = max(longest_s, monotonic() - start_s)
        return PRECISION if self._is_precise() else COMPLETE

    def _is_precise(self) -> bool:
        wanted = self._prepared.plan.options.precision
        return wanted is not None and is_precise(self._measurements, wanted)

    @contextmanager
    def _timed(self, part: Hashable) -> Iterator[None]:
        """Lets the forecast know how long a part took."""
        self._part_began_s = monotonic()
        yield
        self._done.add(part)
        self._forecast.add(part, monotonic() - self._part_began_s)

    def _tell(self, step: str) -> None:
        """Notifies of the next step, and of how long the rest takes."""
        now_s = monotonic()
        left_s = self._forecast.left_s(self._block, self._done, now_s - self._part_began_s)
        budget_s = self._prepared.plan.budget_s
        if budget_s is not None:
            left_s = min(left_s, max(0.0, budget_s - (now_s - self._began_s)))
        run = f"run {self._block + 1} of {self._forecast.blocks}"
        self._progress(with_time_left(f"{step}, {run}", left_s))

    def _missing_ceilings(self, block: int) -> list[tuple[SizedKernel, int]]:
        return [
            (kernel, count)
            for kernel, counts in self._prepared.plan.ceilings
            for count in counts
            if (kernel.text, count, block) not in self._ceilings_measured
        ]

    def _ceilings(self, block: int, missing: list[tuple[SizedKernel, int]]) -> None:
        works = {kernel.text: self._prepared.actions[kernel.text] for kernel, _ in missing}
        with load_backend("processes", max(count for _, count in missing)) as pool:
            warm_up(pool, set(works.values()))
            for kernel, count in missing:
                self._tell(f"{kernel.text}: {count} independent processes")
                work = works[kernel.text]
                times = max(1, round(CEILING_S / kernel.length_s))
                one_s, all_s = (side_by_side_s(pool, work, times, side) for side in (1, count))
                self._writer.append(CeilingSample(kernel.text, count, block, one_s, all_s))

    def _pool(self, key: PoolKey, block: int, missing: list[Case]) -> None:
        """Measures the missing cases of one pool."""
        backend, workers = key
        if not backend_class(backend).runs_tasks:
            for case in missing:
                graph = self._prepared.graphs[case.shape, case.kernel]
                self._keep(simulated(case, graph, self._alone(case, block)))
            return
        actions = self._prepared.actions
        with (
            self._watched(backend, workers, block),
            self._prepared.plan.pool(backend, workers) as pool,
        ):
            warm_up(pool, {actions[case.kernel] for case in missing if case.kernel in actions})
            for case in missing:
                self._tell(str(case))
                graph = self._prepared.graphs[case.shape, case.kernel]
                with named(case.shape) if case.kernel == OWN_TASKS else nullcontext():
                    is_cold = case.kernel == OWN_TASKS and not case.is_stack
                    first_s = wall_s(graph, pool) if is_cold else None
                    timed_run = timed(graph, pool, self._sampler, self._observers)
                measurement = _measurement(case, block, pool.start_s, first_s, graph, *timed_run)
                self._keep(measurement)
                self.timelines.add(measurement, graph, timed_run[1])

    def _alone(self, case: Case, block: int) -> Measurement:
        """The sequential run of the same graph in the same block, measured earlier."""
        wanted = case.baseline, block
        return next(run for run in self._measurements if (run.case, run.block) == wanted)

    def _keep(self, measurement: Measurement) -> None:
        self._writer.append(measurement)
        self._measurements.append(measurement)

    @contextmanager
    def _watched(self, backend: str, workers: int, block: int) -> Iterator[None]:
        """Writes what other processes did while the context lasted."""
        before = SystemCounters()
        yield
        self._writer.append(SystemCounters().since(before, backend, workers, block))


class _Sampling(Observer):
    """Ends the sample with the run, before other observers are notified and write their logs."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.sample: Sample | None = None

    def run_ended(self, report: RunReport) -> None:
        try:
            self.sample = self._sampler.end()
        except BenchError:
            pass  # the sampling process is gone; `timed` raises


def timed(
    graph: Graph, pool: Backend, sampler: Sampler, observers: Sequence[Observer]
) -> tuple[float, RunReport, Sample]:
    """Runs a graph once: its start time, its report, and its use of CPU and memory.

    Raises:
        RunFailed: a task failed.
    """
    sampling = _Sampling(sampler)
    gc.collect()  # so that this run does not clean up after earlier ones
    elsewhere_s = pool.elsewhere_cpu_s()
    sampler.begin()
    start_s = monotonic()
    every = [sampling, *observers]
    report = run(graph, pool, observers=every, keep="none", measure_cpu=True)
    report.raise_for_failures()
    if sampling.sample is None:
        raise BenchError("the process that samples CPU time has ended, and the run with it")
    used_s = pool.elsewhere_cpu_s() - elsewhere_s
    sample = sampling.sample
    return start_s, report, replace(sample, cpu_s=sample.cpu_s + used_s) if used_s else sample


def _measurement(
    case: Case,
    block: int,
    pool_start_s: float,
    first_s: float | None,
    graph: Graph,
    start_s: float,
    report: RunReport,
    sample: Sample,
) -> Measurement:
    times_s = {name: record.duration_s for name, record in report.tasks.items()}
    busy = [(round(at_s - start_s, 6), cores) for at_s, cores in sample.busy if at_s >= start_s]
    on_stack = of_steps(graph, report, start_s) if case.is_stack else {}
    return Measurement(
        **asdict(case),
        block=block,
        wall_s=report.ended_s - start_s,
        start_s=pool_start_s,
        work_s=graph.work_s(times_s),
        span_s=graph.span_s(times_s),
        cpu_s=sample.cpu_s,
        busy=busy,
        memory_bytes=sample.memory_bytes,
        first_s=first_s,
        **asdict(losses_of(graph, report)),
        **{"makespan_s": report.makespan_s, **on_stack},
    )


def of_steps(graph: Graph, report: RunReport, called_s: float) -> dict[str, Any]:
    """What only a run on a ZenML stack has, whose calling and compiling take a while.

    Args:
        called_s: when the pipeline was called.
    """
    spans = {
        name: (record.attempts[-1].started_s, record.attempts[-1].ended_s)
        for name, record in report.tasks.items()
    }
    first_s = min(started_s for started_s, _ in spans.values())
    queued_s = []
    for task in graph.tasks:
        ready_s = max((spans[need][1] for need in task.needs), default=first_s)
        queued_s.append(max(0.0, spans[task.name][0] - ready_s))
    running, most = 0, 0
    for _, change in sorted(
        event for started_s, ended_s in spans.values() for event in ((started_s, 1), (ended_s, -1))
    ):
        running += change
        most = max(most, running)
    return {
        "makespan_s": max(ended_s for _, ended_s in spans.values()) - first_s,
        "before_s": max(0.0, first_s - called_s),
        "queued_s": fmean(queued_s),
        "most_at_once": most,
    }
