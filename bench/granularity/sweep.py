"""Measures METG: tasks of every length on every backend, each beside independent processes.

In each block the lengths are in random order, and so are the backends of each length. Just before
each run, independent processes do their part of the same tasks in a plain loop: the ceiling.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from time import monotonic

from bench import BenchError
from bench.granularity.crossings import LENGTHS_S, Point
from bench.machine.timing import side_by_side_s, wall_s, warm_up
from bench.results.case import BASELINE
from bench.workloads.duration import nominal, with_time_left
from bench.workloads.kernels import Kernel, Work, calibrate, sized
from bench.workloads.shapes import sized as sized_shape
from executors import Graph, Task, load_backend

TOTAL_S = 0.06  # work of a graph, per worker
TASKS = (24, 2000)  # of a graph per worker, at least and at most
WIDTH = 8  # of the graph, per worker


def check_kernel(spec: str) -> Kernel:
    """The kernel of that name.

    Raises:
        BenchError: it does nothing or waits, or has a length.
    """
    kernel = sized(spec)
    if kernel.kind.waits or not kernel.length_s:
        raise BenchError(f"METG needs a kernel that keeps a CPU busy, not {kernel.kind.name!r}")
    if spec != kernel.kind.name:
        raise BenchError(
            f"METG is a length, so give the kernel without one: {kernel.kind.name}, not {spec}"
        )
    return kernel.kind


def measure(
    kernel: str,
    backends: Sequence[str],
    workers: int,
    blocks: int,
    seed: int = 0,
    progress: Callable[[str], object] = lambda step: None,
) -> tuple[list[Point], float]:
    """Measures every length on every backend, in each of the blocks.

    Args:
        kernel: a kind of work that takes time, without a length.
        progress: called before each length with what comes next and how long the rest takes.

    Returns:
        The points of all backends, including sequential, and the ceiling.

    Raises:
        BenchError: the kernel is unsuitable; see `check_kernel`.
    """
    name = check_kernel(kernel).name
    units_per_s = calibrate(sized(f"{name}:1ms")).units / 1e-3
    points: list[Point] = []
    ceilings = []
    shuffle = random.Random(seed).shuffle
    with ExitStack() as stack:
        pools = {
            backend: stack.enter_context(load_backend(backend, workers))
            for backend in dict.fromkeys([BASELINE, "processes", *backends])
        }
        for pool in pools.values():
            warm_up(pool, [Work(name, 1e-3 * units_per_s)])
        began_s = monotonic()
        for block in range(blocks):
            lengths = list(LENGTHS_S)
            shuffle(lengths)
            for number, length_s in enumerate(lengths):
                step = f"tasks of {nominal(length_s)}, run {block + 1} of {blocks}"
                done = block * len(lengths) + number
                if done:
                    left_s = (monotonic() - began_s) * (blocks * len(lengths) / done - 1)
                    step = with_time_left(step, left_s)
                progress(step)
                work = Work(name, max(1.0, length_s * units_per_s))
                graph = _graph(work, length_s, workers)
                count = len(graph) // workers
                order = [BASELINE, *backends]
                shuffle(order)
                for backend in order:
                    ceiling_s = side_by_side_s(pools["processes"], work, count, workers)
                    took_s = wall_s(graph, pools[backend])
                    points.append(Point(backend, length_s, count, block, ceiling_s, took_s))
                if length_s == LENGTHS_S[-1]:
                    one_s = side_by_side_s(pools["processes"], work, count, 1)
                    ceilings.append(workers * one_s / ceiling_s)
    return points, median(ceilings)


def _graph(work: Work, length_s: float, workers: int) -> Graph:
    """A stencil whose tasks take about TOTAL_S per worker."""
    tasks = min(max(TOTAL_S / length_s, TASKS[0]), TASKS[1])
    shape = sized_shape(f"stencil:steps={round(tasks / WIDTH)}:width={WIDTH * workers}")
    return Graph(Task(name, work, needs) for name, needs in shape.needs.items())
