"""Runs a graph of one's own once on each backend, before the blocks: does it work, and how long?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from bench import BenchError
from bench.machine.timing import task_times, wall_s
from bench.results.case import BASELINE, Case
from bench.workloads.kernels import COMPUTES
from bench.workloads.own_graphs import OwnGraph, explained, named
from executors import RunFailed, load_backend
from executors.backends import backend_class


@dataclass(frozen=True, slots=True)
class Trial:
    """What the first runs of a graph showed.

    Attributes:
        source: hash of the module that the graph is from.
        work_s, span_s: of the sequential run.
        cpu: the share of its time in which that run kept a CPU busy.
        factors: by backend, the time of its run over the one that work and span allow.
        left_out: by backend, why the graph does not run on it.
    """

    source: str
    work_s: float
    span_s: float
    cpu: float
    factors: Mapping[str, float]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Trial:
        """From a results file's header."""
        return cls(**header)

    def run_s(self, case: Case, cpus: int) -> float:
        """Estimated time of a run."""
        return self._least_s(case.workers, cpus) * self.factors.get(case.backend, 1.0)

    def _least_s(self, workers: int, cpus: int) -> float:
        at_once = workers if self.cpu < COMPUTES else min(workers, cpus)
        return max(self.work_s / at_once, self.span_s)


def tried(
    own: OwnGraph,
    cases: Sequence[Case],
    cpus: int,
    progress: Callable[[str], object] = lambda step: None,
) -> Trial:
    """Runs the graph on each backend of its cases, with about as many workers as CPUs.

    Raises:
        RunFailed: a task failed on the sequential backend.
    """
    progress(f"{own.name}: trying sequential")
    with named(own.name), load_backend(BASELINE) as pool:
        times_s, cpu = task_times(own.graph, pool)
    trial = Trial(own.source, own.graph.work_s(times_s), own.graph.span_s(times_s), cpu, {}, {})
    factors, left_out = {}, {}
    for backend in dict.fromkeys(case.backend for case in cases):
        if backend == BASELINE or not backend_class(backend).runs_tasks:
            continue
        counts = {case.workers for case in cases if case.backend == backend}
        workers = min(counts, key=lambda count: abs(count - cpus))
        progress(f"{own.name}: trying {backend} with {workers}")
        try:
            with load_backend(backend, workers) as pool:
                began_s = monotonic()
                wall_s(own.graph, pool)
                took_s = monotonic() - began_s
        except RunFailed as error:
            left_out[backend] = explained(error)
            continue
        least_s = trial._least_s(workers, cpus)
        factors[backend] = took_s / least_s if least_s else 1.0
    return Trial(own.source, trial.work_s, trial.span_s, cpu, factors, left_out)


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
