"""Runs the user's own graph on each backend before the blocks: does it work, and how long?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from bench import BenchError
from bench.machine.timing import task_times, timed_run, wall_s
from bench.results.case import Case
from bench.workloads.kernels import COMPUTES
from bench.workloads.own_graphs import OwnGraph, explained, named
from executors import Backend, RunFailed, RunReport, WorkerDied, load_backend
from executors.backends import backend_class
from executors.core.summary import remarks


@dataclass(frozen=True, slots=True)
class Trial:
    """What the first runs of a graph showed.

    Attributes:
        source: hash of the files with the code of the graph.
        structure: hash of its tasks and what they need.
        work_s, span_s: of the run on the baseline.
        cpu: the share of its time in which that run kept a CPU busy.
        factors: by backend, the time of its second run over the one that work and span allow.
        first_extra_s: by backend, how much longer its first run took.
        left_out: by backend, why the graph does not run on it.
        remarks: by backend, what made its first run slow.
    """

    source: str
    structure: str
    work_s: float
    span_s: float
    cpu: float
    factors: dict[str, float] = field(default_factory=dict)
    first_extra_s: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Trial:
        """From a results file's header, which may be of a later version."""
        return cls(**{field.name: header[field.name] for field in fields(cls)})

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
    load: Callable[[str, int], Backend] = load_backend,
) -> Trial:
    """Runs the graph twice on each backend of its cases, with about as many workers as CPUs.

    Raises:
        RunFailed: a task failed on the baseline.
    """
    alone = next(case for case in cases if case.is_baseline)
    progress(f"{own.name}: trying {alone.name}")
    with named(own.name), load(alone.backend, alone.workers) as pool:
        for _ in range(2):  # the first time, modules may be imported
            times_s, cpu = task_times(own.graph, pool)
    work_s, span_s = own.graph.work_s(times_s), own.graph.span_s(times_s)
    trial = Trial(own.source, own.structure, work_s, span_s, cpu)
    for backend in dict.fromkeys(case.backend for case in cases):
        if backend == alone.backend or not backend_class(backend).runs_tasks:
            continue
        counts = {case.workers for case in cases if case.backend == backend}
        workers = min(counts, key=lambda count: abs(count - cpus))
        progress(f"{own.name}: trying {backend} with {workers}")
        try:
            first_s, later_s, report = _twice(own, partial(load, backend, workers))
        except RunFailed as error:
            trial.left_out[backend] = explained(error)
            continue
        least_s = trial.least_s(workers, cpus)
        trial.factors[backend] = later_s / least_s if least_s else 1.0
        trial.first_extra_s[backend] = max(0.0, first_s - later_s)
        if text := " ".join(remarks(report)):
            trial.remarks[backend] = text
    return trial


def _twice(own: OwnGraph, load: Callable[[], Backend]) -> tuple[float, float, RunReport]:
    """Seconds of two runs, and the report of the first; tries again if a worker died.

    Raises:
        RunFailed: a task failed.
    """
    for is_last in (False, True):
        try:
            with load() as pool:
                first_s, report = timed_run(own.graph, pool)
                return first_s, wall_s(own.graph, pool), report
        except RunFailed as error:
            if is_last or not isinstance(error.__cause__, WorkerDied):
                raise
    raise AssertionError("the second attempt returns or raises")


def check_source(own: OwnGraph, trial: Trial) -> None:
    """Refuses to continue a run of another version of the code.

    Raises:
        BenchError: the module's file has changed.
    """
    if (own.source, own.structure) != (trial.source, trial.structure):
        what = "code" if own.structure == trial.structure else "graph"
        raise BenchError(
            f"the {what} of {own.name} has changed since the run was started; start a new run, and"
            " compare the two with: bench compare"
        )
