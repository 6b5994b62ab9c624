"""METG: the shortest tasks at which a backend still reaches a part of what the machine can do.

The minimum effective task granularity of Task Bench (Slaughter et al. 2020), against the measured
ceiling: independent processes that each do their part of the same tasks in a plain loop, just
before each run. The length of a task is what it took there; Task Bench counts what the scheduler
costs in, so its figure is this one over the level. In each block the lengths are in random order,
and so are the backends of each.

The break-even length is where a backend takes as long as the sequential one: shorter tasks are not
worth running in parallel here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic

import numpy as np

from bench import BenchError
from bench.machine.ceiling import side_by_side_s, warm_up
from bench.workloads.kernels import Kernel, Work, calibrate, sized
from bench.workloads.shapes import sized as sized_shape
from executors import Backend, Graph, Task, load_backend, run
from executors.backends import SEQUENTIAL

LEVELS = (0.5, 0.75, 0.9)
LENGTHS_S = tuple(5e-6 * 2**power for power in range(11))  # 5 us to 5 ms
TOTAL_S = 0.06  # work of a graph, for each worker
TASKS = (24, 2000)  # of a graph and worker, at least and at most
WIDTH = 8  # of the graph, for each worker
RESAMPLES = 1000
MIN_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """One run of one length.

    Attributes:
        length_s: that the tasks should have.
        tasks: of each worker.
        ceiling_s: what independent processes took for the same tasks, just before.
        wall_s: what the backend took.
    """

    backend: str
    length_s: float
    tasks: int
    block: int
    ceiling_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Crossing:
    """A length of tasks with its 95 % interval (None: too few blocks).

    Attributes:
        length_s: infinite where even the longest tasks stay below, 0 where the shortest do not.
    """

    length_s: float
    low_s: float | None
    high_s: float | None


@dataclass(frozen=True, slots=True)
class Metg:
    """What was found.

    Attributes:
        metg: by backend and part of the ceiling.
        break_even: by backend.
        curves: by backend: (length, efficiency, lowest, highest) of each length.
        ceiling: how many times as fast as one the independent processes were.
    """

    kernel: str
    workers: int
    blocks: int
    metg: Mapping[str, Mapping[float, Crossing]]
    break_even: Mapping[str, Crossing]
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]]
    ceiling: float


def check_kernel(kernel: str) -> Kernel:
    """The kernel of that name.

    Raises:
        BenchError: it does nothing or waits, or has a length.
    """
    known = sized(kernel).kernel
    if known.waits or not sized(kernel).length_s:
        raise BenchError(f"METG needs a kernel that keeps a CPU busy, not {known.name!r}")
    if kernel != known.name:
        raise BenchError(f"METG is a length, so the kernel has none: {known.name}, not {kernel}")
    return known


def measure(
    kernel: str,
    backends: Sequence[str],
    workers: int,
    blocks: int,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> tuple[list[Point], float]:
    """Measures every length on every backend, in each of the blocks.

    Args:
        kernel: a kind of work that takes time, without a length.
        progress: called after each of the blocks x lengths.

    Returns:
        The points of all backends, sequential among them, and the ceiling.

    Raises:
        BenchError: the kernel is not fit for it; see `check_kernel`.
    """
    known = check_kernel(kernel)
    units_per_s = calibrate(sized(f"{known.name}:1ms")).units / 1e-3
    points: list[Point] = []
    ceilings = []
    shuffle = random.Random(seed).shuffle
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(load_backend(name, 1 if name == BASELINE else workers))
            for name in dict.fromkeys([BASELINE, "processes", *backends])
        }
        for pool in pools.values():
            warm_up(pool, [Work(known.name, 1e-3 * units_per_s)])
        for block in range(blocks):
            lengths = list(LENGTHS_S)
            shuffle(lengths)
            for length_s in lengths:
                work = Work(known.name, max(1.0, length_s * units_per_s))
                graph = _graph(work, length_s, workers)
                count = len(graph) // workers
                names = [BASELINE, *backends]
                shuffle(names)
                for name in names:
                    ceiling_s = side_by_side_s(pools["processes"], work, count, workers)
                    wall_s = _wall_s(graph, pools[name])
                    points.append(Point(name, length_s, count, block, ceiling_s, wall_s))
                if length_s == LENGTHS_S[-1]:
                    one_s = side_by_side_s(pools["processes"], work, count, 1)
                    ceilings.append(workers * one_s / ceiling_s)
                progress()
    return points, median(ceilings)


def _graph(work: Work, length_s: float, workers: int) -> Graph:
    """A stencil whose tasks, as many for each worker, take about TOTAL_S."""
    each = min(max(TOTAL_S / length_s, TASKS[0]), TASKS[1])
    shape = sized_shape(f"stencil:steps={round(each / WIDTH)}:width={WIDTH * workers}")
    return Graph(Task(name, work, needs) for name, needs in shape.needs.items())


def _wall_s(graph: Graph, pool: Backend) -> float:
    start_s = monotonic()
    run(graph, pool, keep="none").raise_for_failures()
    return monotonic() - start_s


# -- what follows -------------------------------------------------------------------------------


def summarise(points: Sequence[Point], kernel: str, workers: int, ceiling: float) -> Metg:
    """METG at each level, and the break-even, of each backend."""
    names = [name for name in dict.fromkeys(point.backend for point in points) if name != BASELINE]
    names.sort()
    lengths = lengths_of(points)
    walls = {name: _grid(points, name, "wall_s") for name in [BASELINE, *names]}
    ceilings = {name: _grid(points, name, "ceiling_s") for name in names}
    return Metg(
        kernel,
        workers,
        len(walls[BASELINE]),
        {
            name: {
                level: _crossing(lengths, ceilings[name], walls[name], level) for level in LEVELS
            }
            for name in names
        },
        {name: _crossing(lengths, walls[BASELINE], walls[name], 1.0) for name in names},
        {name: _curve(lengths, ceilings[name], walls[name]) for name in names},
        ceiling,
    )


Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def lengths_of(points: Sequence[Point]) -> list[float]:
    """What tasks took in the loops of independent processes, for each of LENGTHS_S."""
    found: dict[float, list[float]] = {}
    for point in points:
        found.setdefault(point.length_s, []).append(point.ceiling_s / point.tasks)
    return [median(found[length_s]) for length_s in sorted(found)]


def _grid(points: Sequence[Point], backend: str, field: str) -> Floats:
    """Seconds of a backend: a row a block, a column a length."""
    own = {
        (point.block, point.length_s): float(getattr(point, field))
        for point in points
        if point.backend == backend
    }
    blocks = sorted({block for block, _ in own})
    return np.array([[own[block, length_s] for length_s in LENGTHS_S] for block in blocks])


def _crossing(lengths: Sequence[float], above: Floats, below: Floats, level: float) -> Crossing:
    """Where the ratio of the medians reaches a level, with an independent bootstrap of both."""
    length_s = cross(lengths, np.median(above, axis=0) / np.median(below, axis=0), level)
    if len(above) < MIN_BLOCKS:
        return Crossing(length_s, None, None)
    random = np.random.default_rng(0)

    def resampled(grid: Floats) -> Floats:
        """Medians of each length, of blocks drawn for each length alone."""
        chosen = random.integers(0, len(grid), grid.shape)
        medians: Floats = np.median(np.take_along_axis(grid, chosen, axis=0), axis=0)
        return medians

    found = [cross(lengths, resampled(above) / resampled(below), level) for _ in range(RESAMPLES)]
    low_s, high_s = np.quantile(found, [0.025, 0.975], method="nearest")
    return Crossing(length_s, float(low_s), float(high_s))


def _curve(
    lengths: Sequence[float], ceilings: Floats, walls: Floats
) -> list[tuple[float, float, float, float]]:
    """Of each length: the efficiency of the medians, and the lowest and highest of a block."""
    each = ceilings / walls
    middles = np.median(ceilings, axis=0) / np.median(walls, axis=0)
    columns = zip(lengths, middles, each.min(axis=0), each.max(axis=0), strict=True)
    return [tuple(map(float, column)) for column in columns]  # type: ignore[misc]


def cross(lengths: Sequence[float], curve: Sequence[float] | Floats, level: float) -> float:
    """The length above which a curve over lengths stays at a level or more.

    Between two lengths it is taken to be straight over their logarithms. Infinite where the last
    one is below the level, 0 where none is.
    """
    below = [index for index, value in enumerate(curve) if value < level]
    if not below:
        return 0.0
    last = below[-1]
    if last + 1 == len(curve):
        return float("inf")
    low, high = curve[last], curve[last + 1]
    part = (level - low) / (high - low)
    return float(lengths[last] * (lengths[last + 1] / lengths[last]) ** part)
