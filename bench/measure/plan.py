"""What is measured: shapes x kernels x backends x workers, how often, and in which order."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import BenchError
from bench.workloads.duration import seconds
from bench.workloads.kernels import SizedKernel
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.shapes import SizedShape
from bench.workloads.shapes import sized as sized_shape
from bench.workloads.workflows import read_workflows
from executors.backends import SEQUENTIAL, SIMULATED, backend_class, backend_names, load_backend
from executors.backends.base import checked_workers
from executors.errors import BackendError

WAITING_FACTORS = (2, 4)  # of the CPU count, tried for kernels that wait
SHAPES = "fan-in,diamond"
BLOCKS = 7
MOST_BLOCKS = 50  # where a budget or a precision decides


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for, as the command line takes it; each field is the option of that name.

    Attributes:
        shapes: specs with commas between them, as `fan-in:width=8,diamond`; None means these two,
            or none where there is a workflow.
        kernel: the same, as `sleep:20ms,noop`. Tasks of a workflow have its lengths.
        workflow: files in WfFormat, or folders of them.
        scale: what recorded times are multiplied by; None makes each workflow a second of work.
        backends: names; None means all that are available here. The baseline is always added.
        max_workers: whole numbers; None means powers of two up to the CPU count, and twice and
            four times that for kernels that wait.
        blocks: how often each case is measured; None means BLOCKS, or with a budget or a
            precision as often as that takes, up to MOST_BLOCKS.
        seed: of the random order.
        blas_threads: of each worker.
        budget: how long it may take, as 2m.
        precision: goes on until the intervals of all speedups are at most so wide, from the
            middle and in parts of it.
    """

    shapes: str | None = None
    kernel: str = "sleep,python-cpu,native-cpu"
    workflow: tuple[str, ...] = ()
    scale: float | None = None
    backends: str | None = None
    max_workers: str | None = None
    blocks: int | None = None
    seed: int = 0
    blas_threads: int = 1
    budget: str | None = None
    precision: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Those of a results file's header; what it does not name has its default.

        Raises:
            BenchError: one has a wrong type.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        found["workflow"] = tuple(found.get("workflow", ()))
        for name, value in found.items():
            kind = (
                "tuple" if name == "workflow" else type(value).__name__.replace("NoneType", "None")
            )
            if kind not in re.split(r"\W+", known[name].replace("float", "float int")):
                raise BenchError(
                    f"the results have --{name.replace('_', '-')} {value!r}, which it cannot be"
                )
        return cls(**found)

    @property
    def command(self) -> str:
        """The command that asks for the same."""
        words = ["bench", "run"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default or field.name in ("kernel", "seed"):
                for each in value if isinstance(value, tuple) else [value]:
                    words += [f"--{field.name.replace('_', '-')}", str(each)]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: a shape of a kernel on a backend with so many workers."""

    shape: str
    kernel: str
    backend: str
    workers: int

    def __str__(self) -> str:
        return f"{self.shape}, {self.kernel}, {self.backend} with {self.workers}"


Pool = tuple[str, int]  # backend and workers


@dataclass(frozen=True, slots=True)
class Plan:
    """All cases, and how often each is measured.

    Every block has every case once. Within a block the pools are in random order, and so are the
    cases of a pool: a machine that slows down meanwhile slows all cases alike.

    Attributes:
        blocks: how many at most; fewer if `budget_s` or `precision` are reached before.
    """

    options: Options
    shapes: tuple[SizedShape, ...]
    kernels: tuple[SizedKernel, ...]
    cases: tuple[Case, ...]
    blocks: int
    cpus: int
    budget_s: float | None

    def block(self, number: int) -> Iterator[tuple[Pool, list[Case]]]:
        """The pools of one block in their order, each with its cases in theirs."""
        shuffle = random.Random(f"{self.options.seed}/{number}").shuffle
        by_pool = sorted(self.cases, key=_pool)
        pools = [(pool, list(cases)) for pool, cases in groupby(by_pool, key=_pool)]
        shuffle(pools)
        pools.sort(key=lambda pool: pool[0][0] == SIMULATED)  # last: from what was measured
        for pool, cases in pools:
            shuffle(cases)
            yield pool, cases

    @property
    def ceilings(self) -> list[tuple[SizedKernel, list[int]]]:
        """Of which kernels the ceiling is measured, and with how many processes."""
        measured = [case for case in self.cases if case.backend != SIMULATED]
        counts = sorted({min(case.workers, self.cpus) for case in measured} - {1})
        busy = [kernel for kernel in self.kernels if kernel.length_s and not kernel.kernel.waits]
        return [(kernel, counts) for kernel in busy] if counts else []


def _pool(case: Case) -> Pool:
    return case.backend, case.workers


def plan(options: Options, cpus: int) -> Plan:
    """The plan behind what is asked for, on a machine with so many usable CPUs.

    Raises:
        BenchError: something in a list is unknown or malformed.
        BackendError: a backend is not available here, or has no room for so many workers.
    """
    shapes = _shapes(options)
    kernels = _kernels(options, shapes)
    names = _backends(options.backends)
    given = None if options.max_workers is None else worker_counts(options.max_workers)
    cases = [
        Case(shape.text, kernel.text, backend, workers)
        for shape in shapes
        for kernel in kernels
        if kernel.is_mean == (shape.lengths_s is not None)
        for backend in names
        for workers in (
            [1] if backend == BASELINE else given or default_workers(cpus, kernel.kernel.waits)
        )
    ]
    for backend, workers in {_pool(case) for case in cases}:
        load_backend(backend, workers)  # refused now rather than in the middle
    budget_s = None if options.budget is None else seconds(options.budget)
    if options.budget is not None and budget_s is None:
        raise BenchError(f"--budget must be a time like 90s or 2m, not {options.budget!r}")
    if options.precision is not None and not 0 < options.precision < 1:
        raise BenchError(f"--precision must be between 0 and 1, not {options.precision:g}")
    is_open = budget_s is not None or options.precision is not None
    blocks = options.blocks or (MOST_BLOCKS if is_open else BLOCKS)
    return Plan(options, shapes, kernels, tuple(dict.fromkeys(cases)), blocks, cpus, budget_s)


def check_same(options: Options, given: Mapping[str, Any]) -> None:
    """Checks that what is asked for now is what was asked for before.

    Raises:
        BenchError: names the first option that differs.
    """
    for name, before in asdict(options).items():
        if name in given and given[name] != before:
            raise BenchError(
                f"the run to go on with has --{name.replace('_', '-')} {before}, not {given[name]};"
                " leave the option out, or start another run"
            )


def default_workers(cpus: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to the CPU count; for tasks that wait also 2 and 4 times that."""
    counts = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus} | {cpus}
    if waits:
        counts |= {factor * cpus for factor in WAITING_FACTORS}
    return sorted(counts)


def _shapes(options: Options) -> tuple[SizedShape, ...]:
    if options.scale is not None and not 0 < options.scale < float("inf"):
        raise BenchError(f"--scale must be above 0, not {options.scale:g}")
    if options.scale is not None and not options.workflow:
        raise BenchError("--scale is for recorded workflows; name one with --workflow")
    specs = options.shapes
    if specs is None:
        specs = "" if options.workflow else SHAPES
    shapes = [sized_shape(spec) for spec in (_items("shapes", specs) if specs else ())]
    if "" in options.workflow:
        raise BenchError("--workflow is empty; name a file or a folder")
    workflows = read_workflows(map(Path, options.workflow))
    shapes += [workflow.sized(options.scale) for workflow in workflows]
    names = [shape.text for shape in shapes]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise BenchError(f"a shape and a workflow are both called {twice}; rename the file")
    return tuple(shapes)


def _kernels(options: Options, shapes: Sequence[SizedShape]) -> tuple[SizedKernel, ...]:
    """Those of the shapes, and those of the workflows, with the mean length of their tasks."""
    wanted = [sized_kernel(spec) for spec in _items("kernel", options.kernel)]
    kernels = [] if all(shape.lengths_s for shape in shapes) else wanted
    lengths_s = [length for shape in shapes for length in (shape.lengths_s or {}).values()]
    if lengths_s:
        mean_s = fmean(lengths_s)
        kinds = {each.kernel.name: each.kernel for each in wanted}
        kernels += [SizedKernel(kind, mean_s, is_mean=True) for kind in kinds.values()]
    return tuple(kernels)


def _items(option: str, text: str) -> list[str]:
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise BenchError(f"--{option} is empty; see: bench list")
    return items


def _backends(text: str | None) -> list[str]:
    if text is None:
        return [name for name in backend_names() if backend_class(name).unavailable() is None]
    return [BASELINE, *(name for name in _items("backends", text) if name != BASELINE)]


def worker_counts(text: str) -> list[int]:
    """Those of a text like 1,2,4, in ascending order.

    Raises:
        BenchError: one is no whole number of at least 1.
    """
    try:
        return sorted({checked_workers(int(item)) for item in _items("max-workers", text)})
    except (ValueError, BackendError):
        raise BenchError(
            f"--max-workers must be whole numbers of at least 1, like 1,2,4; not {text!r}"
        ) from None
