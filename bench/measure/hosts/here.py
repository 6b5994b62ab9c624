"""Measures in this process: opens pools, and runs graphs on them.

It imports the standard library, cloudpickle and our own packages alone, because the processes of
other Pythons run it too (`program.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

from bench import BenchError
from bench.machine import lock
from bench.machine.sampler import Sample
from bench.machine.timing import side_by_side_s, wall_s, warm_up
from bench.measure.trial import Trial, tried
from bench.results.case import Case
from bench.workloads.kernels import SizedKernel, Work, calibrate
from bench.workloads.own_graphs import OWN_TASKS, OwnGraph, load_graph, named
from executors import Backend, Graph, Observer, RunReport, load_backend, run

GraphKey = tuple[str, str]  # shape and kernel
Options = Mapping[str, Any]  # arguments of a backend's class


class Sampling(Protocol):
    """Samples this process and its children; see `bench.machine.sampler`."""

    def begin(self) -> None: ...

    def end(self) -> Sample: ...


@dataclass(frozen=True, slots=True)
class TimedRun:
    """One run of a graph.

    Attributes:
        start_s: on the monotonic clock, which all processes of a machine share.
        sample: its use of CPU and memory.
    """

    start_s: float
    report: RunReport
    sample: Sample


class Pool(Protocol):
    """A backend that is entered, wherever it is."""

    @property
    def start_s(self) -> float: ...

    def warm_up(self, works: Collection[Work]) -> None: ...

    def side_by_side_s(self, work: Work, times: int, processes: int) -> float: ...

    def first_s(self, key: GraphKey) -> float: ...

    def timed(
        self, key: GraphKey, sampler: Sampling, observers: Sequence[Observer] = ()
    ) -> TimedRun: ...


class Host(Protocol):
    """A Python that pools are opened in.

    Its methods raise what the same calls raise in this process; another Python's name itself.
    """

    def lock_state(self) -> tuple[str, list[str]] | None: ...

    def load(self, spec: str) -> OwnGraph: ...

    def add(self, key: GraphKey, graph: Graph) -> None: ...

    def calibrate(self, kernel: SizedKernel) -> Work: ...

    def check(self, backend: str, workers: int, options: Options) -> None: ...

    def tried(
        self,
        own: OwnGraph,
        cases: Sequence[Case],
        cpus: int,
        options: Mapping[str, Options],
        progress: Callable[[str], object],
    ) -> Trial: ...

    def pool(
        self, backend: str, workers: int, options: Options
    ) -> AbstractContextManager[Pool]: ...


class Here:
    """This process."""

    def __init__(self) -> None:
        self._graphs: dict[GraphKey, Graph] = {}
        lock.watch()

    def lock_state(self) -> tuple[str, list[str]] | None:
        """On a free-threaded build, whether the lock is "on" or "off", and what switched it on."""
        return lock.state()

    def load(self, spec: str) -> OwnGraph:
        """The graph that module:function returns; see `load_graph`."""
        own = load_graph(spec)
        self.add((own.name, OWN_TASKS), own.graph)
        return own

    def add(self, key: GraphKey, graph: Graph) -> None:
        """Makes a graph known under a shape and a kernel."""
        self._graphs[key] = graph

    def calibrate(self, kernel: SizedKernel) -> Work:
        return calibrate(kernel)

    def check(self, backend: str, workers: int, options: Options) -> None:
        """Raises BackendError if there can be no such pool."""
        load_backend(backend, workers, **options)

    def tried(
        self,
        own: OwnGraph,
        cases: Sequence[Case],
        cpus: int,
        options: Mapping[str, Options],
        progress: Callable[[str], object],
    ) -> Trial:
        """The first runs of one's own graph; see `tried` of `trial.py`."""

        def load(backend: str, workers: int) -> Backend:
            return load_backend(backend, workers, **options.get(backend, {}))

        return tried(own, cases, cpus, progress, load)

    @contextmanager
    def pool(self, backend: str, workers: int, options: Options) -> Iterator[PoolHere]:
        with load_backend(backend, workers, **options) as pool:
            yield PoolHere(pool, self._graphs)


class PoolHere:
    """A backend of this process that is entered."""

    def __init__(self, backend: Backend, graphs: Mapping[GraphKey, Graph]) -> None:
        self.backend = backend
        self._graphs = graphs

    @property
    def start_s(self) -> float:
        """How long it took to start."""
        return self.backend.start_s

    def warm_up(self, works: Collection[Work]) -> None:
        """Gets every worker started, its modules imported and its buffers allocated."""
        warm_up(self.backend, works)

    def side_by_side_s(self, work: Work, times: int, processes: int) -> float:
        """Seconds of loops of `times` times the work, on as many workers side by side."""
        return side_by_side_s(self.backend, work, times, processes)

    def first_s(self, key: GraphKey) -> float:
        """Seconds of a run that nothing is measured of but its length."""
        with _named(key):
            return wall_s(self._graphs[key], self.backend)

    def timed(
        self, key: GraphKey, sampler: Sampling, observers: Sequence[Observer] = ()
    ) -> TimedRun:
        """Runs a graph once; see `timed`."""
        with _named(key):
            return timed(self._graphs[key], self.backend, sampler, observers)


def _named(key: GraphKey) -> AbstractContextManager[None]:
    """Lets a run of one's own graph that fails say which graph it was."""
    shape, kernel = key
    return named(shape) if kernel == OWN_TASKS else nullcontext()


class _UntilEnd(Observer):
    """Ends the sample with the run, before other observers are notified and write their logs."""

    def __init__(self, sampler: Sampling) -> None:
        self._sampler = sampler
        self.sample: Sample | None = None

    def run_ended(self, report: RunReport) -> None:
        try:
            self.sample = self._sampler.end()
        except BenchError:
            pass  # the sampling process is gone; `timed` raises


def timed(
    graph: Graph, pool: Backend, sampler: Sampling, observers: Sequence[Observer] = ()
) -> TimedRun:
    """Runs a graph once, with all that is measured of a run.

    Raises:
        RunFailed: a task failed.
        BenchError: the process that samples CPU time has ended.
    """
    until_end = _UntilEnd(sampler)
    gc.collect()  # so that this run does not clean up after earlier ones
    elsewhere_s = pool.elsewhere_cpu_s()
    sampler.begin()
    start_s = monotonic()
    every = [until_end, *observers]
    report = run(graph, pool, observers=every, keep="none", measure_cpu=True)
    report.raise_for_failures()
    if until_end.sample is None:
        raise BenchError("the process that samples CPU time has ended, and the run with it")
    used_s = pool.elsewhere_cpu_s() - elsewhere_s
    sample = until_end.sample
    if used_s:
        sample = replace(sample, cpu_s=sample.cpu_s + used_s)
    return TimedRun(start_s, report, sample)
