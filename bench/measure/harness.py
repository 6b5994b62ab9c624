"""Runs a plan, block after block, until it is complete, precise enough or out of time.

In each block, everything happens once::

    ceilings   independent processes, for each kernel that needs CPUs and each Python
    pools      in random order: start, warm up, its cases in random order, end,
               and what other processes did meanwhile (`counters.py`)

Cases that the results of an interrupted run already have are not measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from statistics import fmean
from time import monotonic
from typing import Any

from bench import BenchError
from bench.analysis.summary import is_precise
from bench.machine.counters import SystemCounters
from bench.machine.sampler import Sampler
from bench.measure.hosts.here import TimedRun
from bench.measure.hosts.here import timed as timed
from bench.measure.losses import losses_of
from bench.measure.prepared import CEILING_S, CEILINGS, PreparedPlan
from bench.measure.timelines import Timelines
from bench.predict.simulation import simulated
from bench.results.case import Case, PoolKey
from bench.results.store import CeilingSample, Measurement, Results, ResultsWriter
from bench.workloads.duration import with_time_left
from bench.workloads.kernels import SizedKernel
from bench.workloads.own_graphs import OWN_TASKS
from executors import Graph, Observer, RunReport
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
            measuring.note_locks()
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
        self._ceilings_measured = {
            (loop.python, loop.kernel, loop.workers, loop.block) for loop in ceilings
        }
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
            with self._timed(CEILINGS):
                for python in plan.pythons.hosts:
                    if loops := self._missing_ceilings(block, python):
                        self._ceilings(block, python, loops)
            for pool, cases in plan.block(block):
                if missing := [case for case in cases if (case, block) not in self._measured]:
                    with self._timed(pool):
                        self._pool(pool, block, missing)
                self._done.add(pool)
            longest_s = max(longest_s, monotonic() - start_s)
        return PRECISION if self._is_precise() else COMPLETE

    @property
    def _reference(self) -> str:
        """The Python whose sequential runs are what others are compared with."""
        return next(iter(self._prepared.plan.pythons.hosts))

    def _is_precise(self) -> bool:
        wanted = self._prepared.plan.options.precision
        return wanted is not None and is_precise(self._measurements, wanted, self._reference)

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

    def note_locks(self) -> None:
        """Writes whether the interpreter locks of free-threaded builds are on."""
        with suppress(BenchError):  # an interrupted run, of a Python that has ended
            for state in self._prepared.plan.pythons.lock_states():
                self._writer.append(state)

    def _missing_ceilings(self, block: int, python: str) -> list[tuple[SizedKernel, int]]:
        return [
            (kernel, count)
            for kernel, counts in self._prepared.plan.ceilings
            for count in counts
            if (python, kernel.text, count, block) not in self._ceilings_measured
        ]

    def _ceilings(
        self, block: int, python: str, missing: Sequence[tuple[SizedKernel, int]]
    ) -> None:
        works = {kernel.text: self._prepared.actions[kernel.text] for kernel, _ in missing}
        host = self._prepared.plan.pythons.hosts[python]
        with host.pool("processes", max(count for _, count in missing), {}) as pool:
            pool.warm_up(set(works.values()))
            for kernel, count in missing:
                on = f" on {python}" if python else ""
                self._tell(f"{kernel.text}: {count} independent processes{on}")
                work = works[kernel.text]
                times = max(1, round(CEILING_S / kernel.length_s))
                one_s, all_s = (pool.side_by_side_s(work, times, side) for side in (1, count))
                self._writer.append(CeilingSample(kernel.text, count, block, one_s, all_s, python))

    def _pool(self, key: PoolKey, block: int, missing: list[Case]) -> None:
        """Measures the missing cases of one pool."""
        backend, _, _ = key
        if not backend_class(backend).runs_tasks:
            for case in missing:
                graph = self._prepared.graphs[case.shape, case.kernel]
                self._keep(simulated(case, graph, self._alone(case, block)))
            return
        actions = self._prepared.actions
        with (
            self._watched(key, block),
            self._prepared.plan.pool(key) as pool,
        ):
            pool.warm_up({actions[case.kernel] for case in missing if case.kernel in actions})
            for case in missing:
                self._tell(str(case))
                subject = case.shape, case.kernel
                graph = self._prepared.graphs[subject]
                is_cold = case.kernel == OWN_TASKS and not case.is_stack
                first_s = pool.first_s(subject) if is_cold else None
                timed_run = pool.timed(subject, self._sampler, self._observers)
                measurement = _measurement(case, block, pool.start_s, first_s, graph, timed_run)
                self._keep(measurement)
                self.timelines.add(measurement, graph, timed_run.report)

    def _alone(self, case: Case, block: int) -> Measurement:
        """The sequential run of the same graph in the same block, measured earlier."""
        wanted = case.baseline, block
        return next(run for run in self._measurements if (run.case, run.block) == wanted)

    def _keep(self, measurement: Measurement) -> None:
        self._writer.append(measurement)
        self._measurements.append(measurement)

    @contextmanager
    def _watched(self, key: PoolKey, block: int) -> Iterator[None]:
        """Writes what other processes did while the context lasted."""
        backend, workers, python = key
        before = SystemCounters()
        yield
        self._writer.append(SystemCounters().since(before, backend, workers, block, python))


def _measurement(
    case: Case,
    block: int,
    pool_start_s: float,
    first_s: float | None,
    graph: Graph,
    timed_run: TimedRun,
) -> Measurement:
    start_s, report, sample = timed_run.start_s, timed_run.report, timed_run.sample
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
