"""What a run measures: cases (shapes x kernels x backends x workers), and their random order."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import BenchError
from bench.measure.backend_options import parsed, with_environment
from bench.measure.hosts.here import Pool
from bench.measure.hosts.pythons import Pythons
from bench.measure.options import RunOptions, check_text, items
from bench.measure.stacks import is_far, numbers_of, stack_backends, without
from bench.predict.worker_counts import measured_counts, own_counts, parsed_counts
from bench.results.case import BASELINE, Case, PoolKey
from bench.workloads.duration import seconds
from bench.workloads.kernels import SizedKernel
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.own_graphs import (
    OWN_TASKS,
    OwnGraph,
    installed_stacks,
    load_pipeline,
)
from bench.workloads.payload import parsed as parsed_payload
from bench.workloads.shapes import SizedShape
from bench.workloads.shapes import sized as sized_shape
from bench.workloads.workflows import read_workflows

SHAPES = "fan-in,diamond"
BLOCKS = 7
FAR_BLOCKS = 3  # of stacks whose steps run in containers or elsewhere
MOST_BLOCKS = 50  # if a budget or a precision decides


@dataclass(frozen=True, slots=True)
class Plan:
    """All cases, and how often each is measured.

    Every block has every case once; those that take very long are in the first blocks only. Within
    a block the pools are in random order, and so are the cases of a pool: a machine that slows down
    affects all cases alike.

    Attributes:
        blocks: the largest number of blocks; `budget_s` or `precision` may end the run earlier.
        graphs: the user's own.
        backend_options: arguments of the backends' classes, by backend.
        left_out: why something that was asked for is not measured, by what that is.
        pythons: where it is measured.
    """

    options: RunOptions
    shapes: tuple[SizedShape, ...]
    kernels: tuple[SizedKernel, ...]
    cases: tuple[Case, ...]
    blocks: int
    cpus: int
    budget_s: float | None
    graphs: tuple[OwnGraph, ...] = ()
    backend_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    pythons: Pythons = field(default_factory=Pythons.here)

    def pool(self, key: PoolKey) -> AbstractContextManager[Pool]:
        """A pool of a backend with its options, ready to be entered."""
        backend, workers, python = key
        options = self.backend_options.get(backend, {})
        return self.pythons.hosts[python].pool(backend, workers, options)

    def blocks_of(self, backend: str) -> int:
        """In how many blocks a backend is measured: in a few if its tasks take many seconds."""
        ends = (self.options.blocks, self.options.budget, self.options.precision)
        if any(end is not None for end in ends) or not is_far(backend):
            return self.blocks
        return min(self.blocks, FAR_BLOCKS)

    @property
    def runs(self) -> int:
        """How many measurements there are at most."""
        return sum(self.blocks_of(case.backend) for case in self.cases)

    def block(self, number: int) -> Iterator[tuple[PoolKey, list[Case]]]:
        """The pools of one block in their order, each with its cases in their order."""
        shuffle = random.Random(f"{self.options.seed}/{number}").shuffle
        by_pool = sorted(self.cases, key=_pool)
        pools = [(pool, list(cases)) for pool, cases in groupby(by_pool, key=_pool)]
        shuffle(pools)
        pools.sort(key=lambda pool: pool[1][0].is_simulated)  # last: they need measured runs
        for pool, cases in pools:
            shuffle(cases)
            if number < self.blocks_of(pool[0]):
                yield pool, cases

    @property
    def ceilings(self) -> list[tuple[SizedKernel, list[int]]]:
        """The kernels whose ceiling is measured, and the numbers of processes."""
        measured = [
            case for case in self.cases if not case.is_simulated and case.kernel != OWN_TASKS
        ]
        counts = sorted({min(case.workers, self.cpus) for case in measured} - {1})
        busy = [kernel for kernel in self.kernels if kernel.length_s and not kernel.kind.waits]
        return [(kernel, counts) for kernel in busy] if counts else []


def _pool(case: Case) -> PoolKey:
    return case.pool


def plan(
    options: RunOptions,
    cpus: int,
    known: Collection[str] = (),
    pythons: Pythons | None = None,
) -> Plan:
    """The plan for the options, on a machine with `cpus` usable CPUs.

    Args:
        known: names of graphs in the results of a run to continue.
        pythons: that measure it; None means this process.

    Raises:
        BenchError: an option is malformed or names something unknown.
        BackendError: a backend is not available here, or has no room for that many workers.
    """
    shapes = _shapes(options, known)
    kernels = _kernels(options, shapes)
    check_text(options)
    pythons = Pythons.here() if pythons is None else pythons
    graphs = tuple(_own_graph(spec, pythons) for spec in dict.fromkeys(options.graph))
    if options.pipeline is not None:
        graphs = (*graphs, load_pipeline(options.pipeline, options.pipeline_args))
        options = replace(options, stacks=options.stacks or installed_stacks())
    elif options.pipeline_args is not None:
        raise BenchError("--pipeline-args is for a pipeline of yours; name it with --pipeline")
    names = _backends(options.backends, pythons)
    missing = pythons.without(names)
    left_out = pythons.reasons({} if options.backends is None else missing)
    stacks_left_out: dict[str, str] = {}
    if options.stacks is not None:
        _refuse_beside_stacks(options, kernels)
        names, stacks_left_out = stack_backends(items("stacks", options.stacks))
        left_out = {f"stack {name}": reason for name, reason in stacks_left_out.items()}
    wanted = without(options.backend_option, stacks_left_out)
    options = replace(options, backend_option=with_environment(wanted, names))
    of_backends = parsed(options.backend_option, names)
    counts = None if options.max_workers is None else parsed_counts(options.max_workers)
    subjects = [
        (shape.text, kernel.text, counts or measured_counts(cpus, kernel.kind.waits))
        for shape in shapes
        for kernel in kernels
        if kernel.fits(shape.lengths_s)
    ]
    subjects += [
        (own.name, OWN_TASKS, counts or own_counts(cpus, own.graph.width)) for own in graphs
    ]
    cases = [
        Case(shape, kernel, backend, workers, python)
        for shape, kernel, numbers in subjects
        for python in pythons.hosts
        for backend in names
        if backend not in missing.get(python, ())
        for workers in numbers_of(backend, counts, numbers)
    ]
    blocks, budget_s = _ends(options)
    unique = tuple(dict.fromkeys(cases))
    for backend, workers, python in {case.pool for case in unique}:  # rather than in the middle
        pythons.hosts[python].check(backend, workers, of_backends.get(backend, {}))
    return Plan(
        options=options,
        shapes=shapes,
        kernels=kernels,
        cases=unique,
        blocks=blocks,
        cpus=cpus,
        budget_s=budget_s,
        graphs=graphs,
        backend_options=of_backends,
        left_out=left_out,
        pythons=pythons,
    )


def _ends(options: RunOptions) -> tuple[int, float | None]:
    """The largest number of blocks, and the seconds of the budget.

    Raises:
        BenchError: the budget or the precision is malformed.
    """
    budget_s = None if options.budget is None else seconds(options.budget)
    if options.budget is not None and budget_s is None:
        raise BenchError(f"--budget must be a time like 90s or 2m, not {options.budget!r}")
    if options.precision is not None and not 0 < options.precision < 1:
        raise BenchError(f"--precision must be between 0 and 1, not {options.precision:g}")
    is_open = budget_s is not None or options.precision is not None
    return options.blocks or (MOST_BLOCKS if is_open else BLOCKS), budget_s


def _own_graph(spec: str, pythons: Pythons) -> OwnGraph:
    """The user's own graph, which every Python builds for itself.

    Raises:
        BenchError: a Python builds none, or another one than the first.
    """
    first, *others = [(python, host.load(spec)) for python, host in pythons.hosts.items()]
    for python, own in others:
        if own.structure != first[1].structure:
            raise BenchError(
                f"--graph {spec}: Python {python} returns other tasks than Python {first[0]}, so"
                " their times cannot be compared"
            )
    return first[1]


def _shapes(options: RunOptions, known: Collection[str]) -> tuple[SizedShape, ...]:
    if options.scale is not None and not 0 < options.scale < float("inf"):
        raise BenchError(f"--scale must be above 0, not {options.scale:g}")
    if options.scale is not None and not options.workflow:
        raise BenchError("--scale is for recorded workflows; name one with --workflow")
    specs = options.shapes
    if specs is None:
        specs = "" if options.has_own else SHAPES
    is_wanted = specs or not options.has_own
    shapes = [sized_shape(spec) for spec in (items("shapes", specs) if is_wanted else ())]
    if "" in options.workflow:
        raise BenchError("--workflow is empty; name a file or a folder")
    workflows = read_workflows(map(Path, options.workflow), known)
    shapes += [workflow.sized(options.scale) for workflow in workflows]
    names = [shape.text for shape in shapes]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise BenchError(f"a shape and a workflow are both called {twice}; rename the file")
    return tuple(shapes)


def _kernels(options: RunOptions, shapes: Sequence[SizedShape]) -> tuple[SizedKernel, ...]:
    """The kernels of the shapes, and those of the workflows with the mean length of their tasks.

    Each of them once with each payload.
    """
    wanted = [sized_kernel(spec) for spec in items("kernel", options.kernel)]
    kernels = [] if all(shape.lengths_s for shape in shapes) else wanted
    lengths_s = [length for shape in shapes for length in (shape.lengths_s or {}).values()]
    if lengths_s:
        mean_s = fmean(lengths_s)
        kinds = {kernel.kind.name: kernel.kind for kernel in wanted}
        kernels += [
            sized_kernel(kind.name)
            if kind.name == "noop"
            else SizedKernel(kind, mean_s, is_mean=True)
            for kind in kinds.values()
        ]
    payloads = [parsed_payload(text) for text in items("payload", options.payload)]
    if not shapes and any(payload.size for payload in payloads):
        raise BenchError("no effect with --graph: --payload; tasks of your own have their values")
    return tuple(
        dict.fromkeys(
            replace(kernel, payload=payload) for kernel in kernels for payload in payloads
        )
    )


def _backends(text: str | None, pythons: Pythons) -> list[str]:
    if text is None:
        return pythons.default_backends()
    return [BASELINE, *(name for name in items("backends", text) if name != BASELINE)]


def _refuse_beside_stacks(options: RunOptions, kernels: Sequence[SizedKernel]) -> None:
    """Refuses options that have no effect with stacks.

    Raises:
        BenchError: names the option.
    """
    if options.backends is not None:
        raise BenchError("--backends and --stacks are two comparisons; name one of them")
    if options.graph:
        raise BenchError("no effect with --stacks: --graph; its tasks are not steps of a pipeline")
    if any(kernel.payload.size for kernel in kernels):
        raise BenchError("no effect with --stacks: --payload; measured steps return nothing")
