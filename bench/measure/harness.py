"""Runs a plan: warm pools, randomised blocks, one Measurement for each case of each block.

A block, in which everything happens once::

    ceilings   independent processes, for each kernel that needs CPUs
    pools      in random order: start, warm up, its cases in random order, end
               and what else the machine did meanwhile (`counters.py`)

What the results file has already, from a run that was interrupted, is not measured again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from time import monotonic

from bench import BenchError
from bench.analysis.summary import is_precise
from bench.machine.ceiling import side_by_side_s, warm_up
from bench.machine.counters import Counters
from bench.machine.sampler import Sample, Sampler
from bench.measure.plan import Case
from bench.measure.prepared import CEILING_S, Bench
from bench.predict.simulation import simulated
from bench.results.store import CeilingSample, Measurement, Results, ResultsWriter
from executors import Backend, Graph, Observer, RunReport, load_backend, run
from executors.backends import SEQUENTIAL, backend_class

COMPLETE, BUDGET, PRECISION = "complete", "budget", "precision"


def measure(
    bench: Bench,
    writer: ResultsWriter,
    observers: Sequence[Observer] = (),
    progress: Callable[[Case], object] = lambda case: None,
    before: Results | None = None,
) -> str:
    """Measures every case of every block and appends each to the results.

    A pool is started anew in each block, as its start is part of what varies, and warmed up.

    Args:
        before: what the results have already.

    Returns:
        Why nothing more is to be measured: "complete", "budget" or "precision".

    Raises:
        RunFailed: a task failed.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM; what was measured is in the file.
    """
    with Sampler() as sampler:
        job = _Job(bench, writer, sampler, observers, progress, before)
        reason = job.blocks()
    writer.end(reason)
    return reason


class _Job:
    """One call of `measure`."""

    def __init__(
        self,
        bench: Bench,
        writer: ResultsWriter,
        sampler: Sampler,
        observers: Sequence[Observer],
        progress: Callable[[Case], object],
        before: Results | None,
    ) -> None:
        self._bench = bench
        self._writer = writer
        self._sampler = sampler
        self._observers = observers
        self._progress = progress
        self._measurements = list(before.measurements) if before else []
        self._done = {(made.case, made.block) for made in self._measurements}
        ceilings = before.ceilings if before else ()
        self._spent_s = sum(window.wall_s for window in before.windows) if before else 0.0
        self._ceilings_done = {(made.kernel, made.workers, made.block) for made in ceilings}

    def blocks(self) -> str:
        """Measures block after block, until there is a reason to stop."""
        plan = self._bench.plan
        began_s = monotonic() - self._spent_s
        longest_s = 0.0
        for block in range(plan.blocks):
            start_s = monotonic()
            if block and self._is_precise():
                return PRECISION
            if plan.budget_s and start_s - began_s + longest_s > plan.budget_s:
                return BUDGET
            self._ceilings(block)
            for (backend, workers), cases in plan.block(block):
                self._pool(backend, workers, block, cases)
            longest_s = max(longest_s, monotonic() - start_s)
        return COMPLETE

    def _is_precise(self) -> bool:
        wanted = self._bench.plan.options.precision
        return wanted is not None and is_precise(self._measurements, wanted)

    def _ceilings(self, block: int) -> None:
        wanted = [
            (kernel, count)
            for kernel, counts in self._bench.plan.ceilings
            for count in counts
            if (kernel.text, count, block) not in self._ceilings_done
        ]
        if not wanted:
            return
        works = {kernel.text: self._bench.actions[kernel.text] for kernel, _ in wanted}
        with load_backend("processes", max(count for _, count in wanted)) as pool:
            warm_up(pool, set(works.values()))
            for kernel, count in wanted:
                work = works[kernel.text]
                times = max(1, round(CEILING_S / kernel.length_s))
                one_s, all_s = (side_by_side_s(pool, work, times, side) for side in (1, count))
                self._writer.append(CeilingSample(kernel.text, count, block, one_s, all_s))

    def _pool(self, backend: str, workers: int, block: int, cases: list[Case]) -> None:
        """Measures the cases of one pool, each unless it is done."""
        missing = [case for case in cases if (case, block) not in self._done]
        for case in cases:
            if case not in missing:
                self._progress(case)
        if not missing:
            return
        if not backend_class(backend).runs_tasks:
            for case in missing:
                graph = self._bench.graphs[case.shape, case.kernel]
                self._keep(simulated(case, graph, self._alone(case, block)))
            return
        with self._watched(backend, workers, block), load_backend(backend, workers) as pool:
            warm_up(pool, {self._bench.actions[case.kernel] for case in missing})
            for case in missing:
                graph = self._bench.graphs[case.shape, case.kernel]
                timed_run = timed(graph, pool, self._sampler, self._observers)
                self._keep(_measurement(case, block, pool.start_s, graph, *timed_run))

    def _alone(self, case: Case, block: int) -> Measurement:
        """The sequential run of the same graph in a block; it is made before it is asked for."""
        wanted = replace(case, backend=BASELINE, workers=1), block
        return next(made for made in self._measurements if (made.case, made.block) == wanted)

    def _keep(self, made: Measurement) -> None:
        self._writer.append(made)
        self._measurements.append(made)
        self._progress(made.case)

    @contextmanager
    def _watched(self, backend: str, workers: int, block: int) -> Iterator[None]:
        """Writes what else the machine did meanwhile."""
        before = Counters()
        yield
        self._writer.append(Counters().since(before, backend, workers, block))


class _Sampling(Observer):
    """Ends a sample with the run, before other observers hear of the end and write their logs."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.sample: Sample | None = None

    def run_ended(self, report: RunReport) -> None:
        try:
            self.sample = self._sampler.end()
        except BenchError:
            pass  # the sampling process is gone, which ends the run right after


def timed(
    graph: Graph, pool: Backend, sampler: Sampler, observers: Sequence[Observer]
) -> tuple[float, RunReport, Sample]:
    """Runs a graph once: when it was started, its report, and what it used.

    Raises:
        RunFailed: a task failed.
    """
    sampling = _Sampling(sampler)
    gc.collect()  # what earlier runs left is not this one's to clean
    sampler.begin()
    start_s = monotonic()
    report = run(graph, pool, observers=[sampling, *observers], keep="none")
    report.raise_for_failures()
    if sampling.sample is None:
        raise BenchError("the process that samples CPU time has ended, and the run with it")
    return start_s, report, sampling.sample


def _measurement(
    case: Case,
    block: int,
    pool_start_s: float,
    graph: Graph,
    start_s: float,
    report: RunReport,
    sample: Sample,
) -> Measurement:
    times_s = {name: record.duration_s for name, record in report.tasks.items()}
    busy = [(round(at_s - start_s, 6), cores) for at_s, cores in sample.busy if at_s >= start_s]
    return Measurement(
        **asdict(case),
        block=block,
        wall_s=report.ended_s - start_s,
        makespan_s=report.makespan_s,
        start_s=pool_start_s,
        work_s=graph.work_s(times_s),
        span_s=graph.span_s(times_s),
        cpu_s=sample.cpu_s,
        busy=busy,
        memory_bytes=sample.memory_bytes,
    )
