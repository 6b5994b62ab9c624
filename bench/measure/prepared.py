"""A plan made runnable on this machine: calibrated kernels, graphs, and estimated times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from operator import attrgetter
from time import time
from typing import Any

from bench import BenchError
from bench.machine.facts import describe_machine, describe_versions, memory_bytes
from bench.measure.forecast import Forecast
from bench.measure.plan import Plan
from bench.measure.trial import Trial, check_source
from bench.results.case import BASELINE, Case, PoolKey
from bench.results.store import Results
from bench.workloads.kernels import KERNELS, SizedKernel, Work
from bench.workloads.own_graphs import OWN_TASKS
from bench.workloads.payload import NOTHING, Payload
from bench.workloads.shapes import SizedShape
from executors import Graph, Task
from executors.backends import backend_class

POOL_S = 0.2  # starting, warming up and ending a pool, for the estimate
THREAD_S, PROCESS_S = 1.5e-3, 1e-2  # starting and warming up a worker
VALUE_BYTES_S = 1.5e9  # of values that are made
SIMULATED_S = 2e-5  # per task
CASE_S = 0.01  # per case, beside its run
CEILING_S = 0.1  # length of a loop
SIZE = attrgetter("size")
MOST_MEMORY = 0.5  # of the machine, for the values of a run
CEILINGS = "ceilings"  # the part of a block in which they are measured


@dataclass(frozen=True, slots=True)
class PreparedPlan:
    """A plan made runnable on this machine.

    Attributes:
        graphs: by shape and kernel.
        actions: the calibrated work of a task, by kernel; those of the user's own graphs have none.
        trials: of the user's own graphs, by name and Python.
    """

    plan: Plan
    graphs: Mapping[tuple[str, str], Graph]
    actions: Mapping[str, Work]
    trials: Mapping[tuple[str, str], Trial] = field(default_factory=dict)

    def _trials(self, python: str) -> dict[str, Trial]:
        return {name: trial for (name, where), trial in self.trials.items() if where == python}

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the results file; examines the machine for a moment."""
        plan = self.plan
        first, *_ = plan.pythons.hosts
        trials = self._trials(first)
        pythons = plan.pythons.header()
        for python, facts in pythons.items():
            facts["graphs"] = {name: asdict(one) for name, one in self._trials(python).items()}
        sizes = {shape: graph for (shape, _), graph in self.graphs.items()}
        machine = describe_machine()
        return {
            "created_s": round(time()),
            "planned": plan.runs,
            "cpus": plan.cpus,
            "config": {
                "command": plan.options.command,
                "shapes": [*(shape.text for shape in plan.shapes), *trials],
                "kernels": [
                    *(kernel.text for kernel in plan.kernels),
                    *([OWN_TASKS] if trials else []),
                ],
                "backends": list(dict.fromkeys(case.backend for case in plan.cases)),
                "max_workers": sorted({case.workers for case in plan.cases}),
                "blocks": plan.blocks,
                "seed": plan.options.seed,
                "options": asdict(plan.options),
            },
            "shapes": {
                **{
                    shape.text: _sizes(sizes[shape.text], shape.lengths_s is not None)
                    for shape in plan.shapes
                },
                **{
                    name: {
                        **_sizes(sizes[name], False),
                        "work_s": trial.work_s,
                        "span_s": trial.span_s,
                    }
                    for name, trial in trials.items()
                },
            },
            "kernels": {
                **{
                    kernel.text: {"length_s": kernel.length_s, **asdict(self.actions[kernel.text])}
                    for kernel in plan.kernels
                },
                **({OWN_TASKS: {"kernel": OWN_TASKS, "units": 0}} if trials else {}),
            },
            "graphs": {name: asdict(trial) for name, trial in trials.items()},
            "pythons": pythons,
            "machine": machine,
            "versions": describe_versions(
                package
                for name in dict.fromkeys(case.backend for case in plan.cases)
                for package in backend_class(name).packages
            ),
        }

    def expected_s(self, case: Case) -> float:
        """Estimated time of a case in one block, with its share of its pool.

        A run takes as long as work and span allow on the CPUs and under the interpreter lock.
        """
        graph = self.graphs[case.shape, case.kernel]
        if not backend_class(case.backend).runs_tasks:
            return SIMULATED_S * len(graph)
        cases_of_pool = sum(case.pool == other.pool for other in self.plan.cases)
        backend = backend_class(case.backend)
        start_s = CASE_S if case.backend == BASELINE else backend.start_guess_s
        if case.backend != BASELINE:
            start_s += case.workers * (THREAD_S if backend.shares_interpreter else PROCESS_S)
        beside_s = CASE_S + start_s / cases_of_pool + backend.task_guess_s * len(graph)
        if case.kernel == OWN_TASKS:
            if (case.shape, case.python) not in self.trials:
                return beside_s  # it was not tried, so nothing is known
            return self.trials[case.shape, case.python].both_s(case, self.plan.cpus) + beside_s
        kernel = KERNELS[self.actions[case.kernel].kernel]
        shares = [1 / case.workers, kernel.cpu / self.plan.cpus]
        is_threaded = backend.shares_interpreter and self.plan.pythons.shares_lock(case.python)
        if case.is_baseline or is_threaded:
            shares.append(kernel.gil)
        run_s = max(graph.work_s() * max(shares), graph.span_s())
        alike = sum(
            (case.pool, case.kernel) == (other.pool, other.kernel) for other in self.plan.cases
        )
        wanted = next(one for one in self.plan.kernels if one.text == case.kernel)
        length_s = wanted.length_s
        run_s += len(graph) * wanted.payload.size / VALUE_BYTES_S
        return run_s + length_s / alike + beside_s  # a pool warms up with a task of each kernel

    @property
    def parts_s(self) -> dict[Hashable, float]:
        """Estimated time of each part of a block: the ceilings, and each pool."""
        seconds: dict[Hashable, float] = {CEILINGS: 0.0}
        if self.plan.ceilings:
            seconds[CEILINGS] = POOL_S
        for kernel, counts in self.plan.ceilings:
            loops = len(self.plan.pythons.hosts) * len(counts)
            seconds[CEILINGS] += 2 * loops * max(CEILING_S, kernel.length_s)
        for case in self.plan.cases:
            seconds[case.pool] = seconds.get(case.pool, 0.0) + self.expected_s(case)
        return seconds

    @property
    def block_s(self) -> float:
        """Estimated time of a block."""
        return sum(self.parts_s.values())

    def forecast(self, before: Results | None = None) -> Forecast:
        """How long the run takes, also judging by what an interrupted run has measured."""
        known_s: dict[Hashable, list[float]] = {}
        for pool in before.interference if before else ():
            key = PoolKey(pool.backend, pool.workers, pool.python)
            known_s.setdefault(key, []).append(pool.wall_s)
        by_block: dict[int, float] = {}
        for sample in before.ceilings if before else ():
            by_block.setdefault(sample.block, POOL_S)
            by_block[sample.block] += sample.one_s + sample.all_s
        if by_block:
            known_s[CEILINGS] = list(by_block.values())
        fewer: dict[Hashable, int] = {
            case.pool: self.plan.blocks_of(case.backend) for case in self.plan.cases
        }
        return Forecast(self.parts_s, self.blocks, known_s, fewer)

    @property
    def blocks(self) -> int:
        """Expected number of blocks: as many as the budget has room for."""
        if self.plan.budget_s is None:
            return self.plan.blocks
        return max(1, min(self.plan.blocks, int(self.plan.budget_s / self.block_s)))


def prepare(
    plan: Plan,
    before: Results | None = None,
    try_graphs: bool = True,
    progress: Callable[[str], object] = lambda step: None,
) -> PreparedPlan:
    """Calibrates the kernels and builds the graphs; runs the user's own on each backend.

    Cases on a backend on which a graph fails are left out of the plan.

    Args:
        before: the run to continue, whose calibration and trials are used.
        try_graphs: otherwise, no own graph runs.
        progress: called with what comes next.

    Raises:
        BenchError: code of the run to continue has changed.
        RunFailed: a task of a graph failed on the sequential backend.
    """
    largest = max((kernel.payload for kernel in plan.kernels), key=SIZE, default=NOTHING)
    check_memory(plan, largest)
    progress("calibrating the kernels")
    if before is None:
        alike = cache(plan.pythons.reference.calibrate)  # kernels that differ only in their payload
        actions = {
            kernel.text: replace(alike(replace(kernel, payload=NOTHING)), payload=kernel.payload)
            for kernel in plan.kernels
        }
    else:
        calibrated = before.header["kernels"]
        actions = {
            kernel.text: Work(kernel.kind.name, calibrated[kernel.text]["units"], kernel.payload)
            for kernel in plan.kernels
        }
    graphs = {
        (shape.text, kernel.text): graph_of(shape, kernel, actions[kernel.text])
        for shape in plan.shapes
        for kernel in plan.kernels
        if kernel.fits(shape.lengths_s)
    }
    graphs |= {(own.name, OWN_TASKS): own.graph for own in plan.graphs}
    for key, graph in graphs.items():
        for host in plan.pythons.hosts.values():
            host.add(key, graph)
    trials = {}
    for own in plan.graphs if try_graphs else ():
        for python, host in plan.pythons.hosts.items():
            if before is None:
                cases = [
                    case for case in plan.cases if (case.shape, case.python) == (own.name, python)
                ]
                trial = host.tried(own, cases, plan.cpus, plan.backend_options, progress)
            else:
                trial = Trial.of(_tried_before(before.header, own.name, python))
                if host is plan.pythons.reference:
                    check_source(own, trial)
            trials[own.name, python] = trial
    possible = tuple(
        case
        for case in plan.cases
        if (case.shape, case.python) not in trials
        or case.backend not in trials[case.shape, case.python].left_out
    )
    return PreparedPlan(replace(plan, cases=possible), graphs, actions, trials)


def _tried_before(header: Mapping[str, Any], name: str, python: str) -> Mapping[str, Any]:
    """What a results file's header says of the first runs of a graph."""
    place = header["pythons"][python] if python else header
    trial: Mapping[str, Any] = place["graphs"][name]
    return trial


def check_memory(plan: Plan, largest: Payload) -> None:
    """Refuses values that would fill this machine.

    A value lives until its last reader has ended, so about as many as the graph is wide do at once;
    where it is pickled, there are two of each for a moment.

    Raises:
        BenchError: they may need more than half of the memory.
    """
    room = MOST_MEMORY * memory_bytes()
    for shape in plan.shapes if largest.size else ():
        width = Graph(Task(name, bool, needs) for name, needs in shape.needs.items()).width
        needed = 2 * (width + 1) * largest.size
        if needed > room:
            raise BenchError(
                f"--payload {largest.text} with {shape.text} may need"
                f" {needed / 1e9:.1f} GB at once, and half of this machine has"
                f" {room / 1e9:.1f} GB; choose a smaller payload, or a narrower shape"
            )


def _sizes(graph: Graph, has_lengths: bool) -> dict[str, Any]:
    return {
        "tasks": len(graph),
        "edges": graph.edges,
        "depth": graph.depth,
        "width": graph.width,
        "average_parallelism": round(graph.average_parallelism, 3),
        "work_s": graph.work_s() if has_lengths else None,
        "span_s": graph.span_s() if has_lengths else None,
    }


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
