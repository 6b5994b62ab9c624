"""Runs a plan: warm pools, randomised blocks, one Measurement for each case of each block."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import monotonic, time
from typing import Any

from bench import BenchError
from bench.kernels import Work, calibrate
from bench.machine import describe_machine, describe_versions
from bench.plan import Case, Plan
from bench.results import Measurement, ResultsWriter
from bench.sampler import Sample, Sampler
from executors import Backend, Graph, Observer, RunReport, Task, load_backend, run

WARM_UP_S = 0.002  # length of a warm-up task
POOL_S = 0.03  # a case's part of starting and warming up a pool, for the estimate


@dataclass(frozen=True, slots=True)
class Bench:
    """A plan made runnable on this machine.

    Attributes:
        graphs: by shape and kernel.
        actions: what a task of a kernel does, calibrated.
    """

    plan: Plan
    graphs: Mapping[tuple[str, str], Graph]
    actions: Mapping[str, Work]

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the results file."""
        plan = self.plan
        sizes = {shape: self.graphs[shape, plan.kernels[0].text] for shape in self._shapes}
        machine = describe_machine()
        return {
            "created_s": round(time()),
            "planned": plan.blocks * len(plan.cases),
            "cpus": machine["cpus"]["usable"],
            "config": {
                "command": plan.command,
                "shapes": self._shapes,
                "kernels": [kernel.text for kernel in plan.kernels],
                "backends": list(dict.fromkeys(case.backend for case in plan.cases)),
                "max_workers": sorted({case.workers for case in plan.cases}),
                "blocks": plan.blocks,
                "seed": plan.seed,
            },
            "shapes": {
                shape: {
                    "tasks": len(graph),
                    "edges": graph.edges,
                    "depth": graph.depth,
                    "width": graph.width,
                    "average_parallelism": round(graph.average_parallelism, 3),
                }
                for shape, graph in sizes.items()
            },
            "kernels": {
                kernel.text: {"length_s": kernel.length_s, **asdict(self.actions[kernel.text])}
                for kernel in plan.kernels
            },
            "machine": machine,
            "versions": describe_versions(),
        }

    @property
    def _shapes(self) -> list[str]:
        return [shape.text for shape in self.plan.shapes]

    def expected_s(self, case: Case) -> float:
        """About how long a case takes, for the progress bar."""
        graph = self.graphs[case.shape, case.kernel]
        waits = any(
            kernel.kernel.waits for kernel in self.plan.kernels if kernel.text == case.kernel
        )
        at_once = case.workers if waits else min(case.workers, self.plan.cpus)
        return max(graph.work_s() / at_once, graph.span_s()) + POOL_S


def prepare(plan: Plan) -> Bench:
    """Calibrates the kernels and builds the graphs; takes a moment."""
    actions = {kernel.text: calibrate(kernel) for kernel in plan.kernels}
    graphs = {
        (shape.text, kernel.text): Graph(
            Task(name, actions[kernel.text], needs, cost_s=kernel.length_s)
            for name, needs in shape.needs.items()
        )
        for shape in plan.shapes
        for kernel in plan.kernels
    }
    return Bench(plan, graphs, actions)


def measure(
    bench: Bench,
    writer: ResultsWriter,
    observers: Sequence[Observer] = (),
    progress: Callable[[Case], object] = lambda case: None,
) -> None:
    """Measures every case of every block and appends each to the results.

    A pool is started anew in each block, as its start is part of what varies, and warmed up.

    Raises:
        RunFailed: a task failed.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM; what was measured is in the file.
    """
    with Sampler() as sampler:
        for block in range(bench.plan.blocks):
            for (backend, workers), cases in bench.plan.block(block):
                with load_backend(backend, workers) as pool:
                    _warm_up(pool, {bench.actions[case.kernel] for case in cases})
                    for case in cases:
                        graph = bench.graphs[case.shape, case.kernel]
                        timed = _timed(graph, pool, sampler, observers)
                        writer.append(_measurement(case, block, pool.start_s, graph, *timed))
                        progress(case)


def _warm_up(pool: Backend, actions: set[Work]) -> None:
    """Has every worker started, with its modules imported and its buffers made."""
    first = Work("sleep", WARM_UP_S)
    for action in [first, *sorted(actions, key=lambda action: action.kernel)]:
        tasks = [Task(f"warm-up{index}", action) for index in range(pool.workers)]
        run(Graph(tasks), pool).raise_for_failures()


class _Sampling(Observer):
    """Ends a sample with the run, before other observers hear of the end and write their logs."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.sample: Sample | None = None

    def run_ended(self, report: RunReport) -> None:
        self.sample = self._sampler.end()


def _timed(
    graph: Graph, pool: Backend, sampler: Sampler, observers: Sequence[Observer]
) -> tuple[float, RunReport, Sample]:
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
