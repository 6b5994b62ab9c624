"""A plan made runnable on this machine: calibrated kernels, graphs, and estimated times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import time
from typing import Any

from bench.machine.facts import describe_machine, describe_versions
from bench.measure.plan import Plan
from bench.results.case import Case
from bench.results.store import Results
from bench.workloads.kernels import KERNELS, SizedKernel, Work, calibrate
from bench.workloads.shapes import SizedShape
from executors import Graph, Task
from executors.backends import backend_class

POOL_S = 0.2  # starting, warming up and ending a pool, for the estimate
SIMULATED_S = 2e-5  # per task
CASE_S = 0.01  # per case, beside its run
CEILING_S = 0.1  # length of a loop


@dataclass(frozen=True, slots=True)
class PreparedPlan:
    """A plan made runnable on this machine.

    Attributes:
        graphs: by shape and kernel.
        actions: the calibrated work of a task, by kernel.
    """

    plan: Plan
    graphs: Mapping[tuple[str, str], Graph]
    actions: Mapping[str, Work]

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the results file; examines the machine for a moment."""
        plan = self.plan
        sizes = {shape: graph for (shape, _), graph in self.graphs.items()}
        machine = describe_machine()
        return {
            "created_s": round(time()),
            "planned": plan.blocks * len(plan.cases),
            "cpus": plan.cpus,
            "config": {
                "command": plan.options.command,
                "shapes": [shape.text for shape in plan.shapes],
                "kernels": [kernel.text for kernel in plan.kernels],
                "backends": list(dict.fromkeys(case.backend for case in plan.cases)),
                "max_workers": sorted({case.workers for case in plan.cases}),
                "blocks": plan.blocks,
                "seed": plan.options.seed,
                "options": asdict(plan.options),
            },
            "shapes": {
                shape.text: {
                    "tasks": len(graph),
                    "edges": graph.edges,
                    "depth": graph.depth,
                    "width": graph.width,
                    "average_parallelism": round(graph.average_parallelism, 3),
                    "work_s": None if shape.lengths_s is None else graph.work_s(),
                    "span_s": None if shape.lengths_s is None else graph.span_s(),
                }
                for shape in plan.shapes
                for graph in [sizes[shape.text]]
            },
            "kernels": {
                kernel.text: {"length_s": kernel.length_s, **asdict(self.actions[kernel.text])}
                for kernel in plan.kernels
            },
            "machine": machine,
            "versions": describe_versions(),
        }

    def expected_s(self, case: Case) -> float:
        """Estimated time of a case in one block, with its share of its pool."""
        graph = self.graphs[case.shape, case.kernel]
        if not backend_class(case.backend).runs_tasks:
            return SIMULATED_S * len(graph)
        waits = KERNELS[self.actions[case.kernel].kernel].waits
        at_once = case.workers if waits else min(case.workers, self.plan.cpus)
        cases_of_pool = sum(case.pool == other.pool for other in self.plan.cases)
        run_s = max(graph.work_s() / at_once, graph.span_s())
        start_s = CASE_S if case.is_baseline else POOL_S
        return run_s + CASE_S + start_s / cases_of_pool

    @property
    def block_s(self) -> float:
        """Estimated time of a block."""
        ceilings_s = sum(
            POOL_S + 2 * len(counts) * max(CEILING_S, kernel.length_s)
            for kernel, counts in self.plan.ceilings
        )
        return ceilings_s + sum(self.expected_s(case) for case in self.plan.cases)

    @property
    def blocks(self) -> int:
        """Expected number of blocks: as many as the budget has room for."""
        if self.plan.budget_s is None:
            return self.plan.blocks
        return max(1, min(self.plan.blocks, int(self.plan.budget_s / self.block_s)))


def prepare(plan: Plan, before: Results | None = None) -> PreparedPlan:
    """Calibrates the kernels and builds the graphs; takes a moment.

    Args:
        before: the run to continue, whose calibration is used.
    """
    if before is None:
        actions = {kernel.text: calibrate(kernel) for kernel in plan.kernels}
    else:
        calibrated = before.header["kernels"]
        actions = {
            kernel.text: Work(kernel.kind.name, calibrated[kernel.text]["units"])
            for kernel in plan.kernels
        }
    graphs = {
        (shape.text, kernel.text): graph_of(shape, kernel, actions[kernel.text])
        for shape in plan.shapes
        for kernel in plan.kernels
        if kernel.fits(shape.lengths_s)
    }
    return PreparedPlan(plan, graphs, actions)


def graph_of(shape: SizedShape, kernel: SizedKernel, work: Work) -> Graph:
    """A graph whose tasks do the calibrated work or, in a workflow, their share of it."""
    if shape.lengths_s is None:
        return Graph(
            Task(name, work, needs, cost_s=kernel.length_s) for name, needs in shape.needs.items()
        )
    return Graph(
        Task(
            name,
            work.times(shape.lengths_s[name] / kernel.length_s if kernel.length_s else 0.0),
            needs,
            cost_s=shape.lengths_s[name],
        )
        for name, needs in shape.needs.items()
    )
