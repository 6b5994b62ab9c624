"""Runs a graph of one's own on each backend before the blocks: does it work, and how long?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import BenchError
from bench.machine.timing import task_times, timed_run, wall_s
from bench.results.case import BASELINE, Case
from bench.workloads.kernels import COMPUTES
from bench.workloads.own_graphs import OwnGraph, explained, named
from executors import RunFailed, load_backend
from executors.backends import backend_class
from executors.core.summary import remarks


@dataclass(frozen=True, slots=True)
class Trial:
    """What the first runs of a graph showed.

    Attributes:
        source: hash of the module that the graph is from.
        work_s, span_s: of the sequential run.
        cpu: the share of its time in which that run kept a CPU busy.
        factors: by backend, the time of its second run over the one that work and span allow.
        first_extra_s: by backend, how much longer its first run took.
        left_out: by backend, why the graph does not run on it.
        remarks: by backend, what made its first run slow.
    """

    source: str
    work_s: float
    span_s: float
    cpu: float
    factors: dict[str, float] = field(default_factory=dict)
    first_extra_s: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Trial:
        """From a results file's header."""
        return cls(**header)

    def both_s(self, case: Case, cpus: int) -> float:
        """Estimated time of a first and a second run."""
        run_s = self.least_s(case.workers, cpus) * self.factors.get(case.backend, 1.0)
        return 2 * run_s + self.first_extra_s.get(case.backend, 0.0)

    def least_s(self, workers: int, cpus: int) -> float:
        """The time that work and span allow."""
        at_once = workers if self.cpu < COMPUTES else min(workers, cpus)
        return max(self.work_s / at_once, self.span_s)


def tried(
    own: OwnGraph,
    cases: Sequence[Case],
    cpus: int,
    progress: Callable[[str], object] = lambda step: None,
) -> Trial:
    """Runs the graph twice on each backend of its cases, with about as many workers as CPUs.

    Raises:
        RunFailed: a task failed on the sequential backend.
    """
    progress(f"{own.name}: trying sequential")
    with named(own.name), load_backend(BASELINE) as pool:
        for _ in range(2):  # the first time, modules may be imported
            times_s, cpu = task_times(own.graph, pool)
    work_s, span_s = own.graph.work_s(times_s), own.graph.span_s(times_s)
    trial = Trial(own.source, work_s, span_s, cpu)
    for backend in dict.fromkeys(case.backend for case in cases):
        if backend == BASELINE or not backend_class(backend).runs_tasks:
            continue
        counts = {case.workers for case in cases if case.backend == backend}
        workers = min(counts, key=lambda count: abs(count - cpus))
        progress(f"{own.name}: trying {backend} with {workers}")
        try:
            with load_backend(backend, workers) as pool:
                first_s, report = timed_run(own.graph, pool)
                later_s = wall_s(own.graph, pool)
        except RunFailed as error:
            trial.left_out[backend] = explained(error)
            continue
        least_s = trial.least_s(workers, cpus)
        trial.factors[backend] = later_s / least_s if least_s else 1.0
        trial.first_extra_s[backend] = max(0.0, first_s - later_s)
        if text := " ".join(remarks(report)):
            trial.remarks[backend] = text
    return trial


def check_source(own: OwnGraph, trial: Trial) -> None:
    """Refuses to continue a run of another version of the code.

    Raises:
        BenchError: the module's file has changed.
    """
    if own.source != trial.source:
        raise BenchError(
            f"the module of {own.name} has changed since the run was started; start a new run, and"
            " compare the two with: bench compare"
        )
