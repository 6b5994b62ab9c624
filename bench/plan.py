"""What is measured: shapes x kernels x backends x workers, and in which order."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from bench import BenchError
from bench.kernels import SizedKernel
from bench.kernels import sized as sized_kernel
from bench.shapes import SizedShape
from bench.shapes import sized as sized_shape
from executors.backends import BASELINE, backend_class, backend_names, load_backend
from executors.backends.base import checked_workers
from executors.errors import BackendError

WAITING_FACTORS = (2, 4)  # of the CPU count, tried for kernels that wait


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure: a shape of a kernel on a backend with so many workers."""

    shape: str
    kernel: str
    backend: str
    workers: int


Pool = tuple[str, int]  # backend and workers


@dataclass(frozen=True, slots=True)
class Plan:
    """All cases, and how often each is measured.

    Every block has every case once. Within a block the pools are in random order, and so are the
    cases of a pool: a machine that slows down meanwhile slows all cases alike.
    """

    shapes: tuple[SizedShape, ...]
    kernels: tuple[SizedKernel, ...]
    cases: tuple[Case, ...]
    blocks: int
    seed: int
    cpus: int
    command: str  # that makes this plan again

    def block(self, number: int) -> Iterator[tuple[Pool, list[Case]]]:
        """The pools of one block in their order, each with its cases in theirs."""
        shuffle = random.Random(f"{self.seed}/{number}").shuffle
        by_pool = sorted(self.cases, key=_pool)
        pools = [(pool, list(cases)) for pool, cases in groupby(by_pool, key=_pool)]
        shuffle(pools)
        for pool, cases in pools:
            shuffle(cases)
            yield pool, cases


def _pool(case: Case) -> Pool:
    return case.backend, case.workers


def plan(
    shapes: str,
    kernels: str,
    backends: str | None,
    max_workers: str | None,
    blocks: int,
    seed: int,
    cpus: int,
    blas_threads: int = 1,
) -> Plan:
    """The plan behind the options of the command line.

    Args:
        shapes: specs with commas between them, as `fan-in:width=8,diamond`.
        kernels: the same, as `sleep:20ms,noop`.
        backends: names; None means all that are available here. The baseline is always added.
        max_workers: whole numbers; None means powers of two up to `cpus`, and twice and four
            times `cpus` for kernels that wait.
        blocks: how often each case is measured, at least 1.
        seed: of the random order.
        cpus: how many CPUs may be used.
        blas_threads: of each worker, for the command.

    Raises:
        BenchError: something in a list is unknown or malformed.
        BackendError: a backend is not available here, or has no room for so many workers.
    """
    sized_shapes = tuple(sized_shape(spec) for spec in _items("shapes", shapes))
    sized_kernels = tuple(sized_kernel(spec) for spec in _items("kernel", kernels))
    names = _backends(backends)
    given = None if max_workers is None else _workers(max_workers)
    cases = [
        Case(shape.text, kernel.text, backend, workers)
        for shape in sized_shapes
        for kernel in sized_kernels
        for backend in names
        for workers in (
            [1] if backend == BASELINE else given or default_workers(cpus, kernel.kernel.waits)
        )
    ]
    for backend, workers in {_pool(case) for case in cases}:
        load_backend(backend, workers)  # refused now rather than in the middle
    options = {
        "--shapes": shapes,
        "--kernel": kernels,
        "--backends": backends,
        "--max-workers": max_workers,
        "--blocks": str(blocks),
        "--seed": str(seed),
        "--blas-threads": None if blas_threads == 1 else str(blas_threads),
    }
    given_options = [word for pair in options.items() if pair[1] is not None for word in pair]
    return Plan(
        sized_shapes,
        sized_kernels,
        tuple(dict.fromkeys(cases)),
        blocks,
        seed,
        cpus,
        shlex.join(["bench", "run", *(word or "" for word in given_options)]),
    )


def default_workers(cpus: int, waits: bool) -> list[int]:
    """1, 2, 4 ... up to the CPU count; for tasks that wait also 2 and 4 times that."""
    counts = {2**power for power in range(cpus.bit_length()) if 2**power <= cpus} | {cpus}
    if waits:
        counts |= {factor * cpus for factor in WAITING_FACTORS}
    return sorted(counts)


def _items(option: str, text: str) -> list[str]:
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise BenchError(f"--{option} is empty; see: bench list")
    return items


def _backends(text: str | None) -> list[str]:
    if text is None:
        return [name for name in backend_names() if backend_class(name).unavailable() is None]
    return [BASELINE, *(name for name in _items("backends", text) if name != BASELINE)]


def _workers(text: str) -> list[int]:
    try:
        return sorted({checked_workers(int(item)) for item in _items("max-workers", text)})
    except (ValueError, BackendError):
        raise BenchError(
            f"--max-workers must be whole numbers of at least 1, like 1,2,4; not {text!r}"
        ) from None
