"""How much the harness disturbs what it measures, in pairs of runs with it and without it.

`nox -s bench` runs it and prints a Markdown table. In one run of a pair, the sampler, its observer
and a log of every attempt are on, as in `bench run --log-file`; in the other, nothing is. Which
comes first is random. Wall time is taken as in the harness.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from logging import DEBUG
from pathlib import Path
from statistics import median
from time import monotonic

from bench.machine.sampler import Sampler
from bench.measure.harness import timed
from bench.workloads.kernels import calibrate, sized
from benchmarks.overhead import graph_of
from benchmarks.table import Row, at_most, only, show
from executors import Backend, Graph, Observer, load_backend, run
from executors.logs import log_to_file

# Shape, length of a task, pairs: what is measured by default, and many short tasks.
USUAL = ("fan-in:width=8", "20ms", 40)
SHORT = ("stencil:steps=10:width=8", "1ms", 100)


def usual() -> Iterator[Row]:
    """Wall time with the harness over that without it: 9 tasks of 20 ms, the default."""
    for what, value in _ratios(*USUAL):
        yield at_most(what, value, 1.01)


def short() -> Iterator[Row]:
    """The same with 80 tasks of 1 ms, on CPUs without spare capacity."""
    for what, value in _ratios(*SHORT):
        yield only(what, value)


def _ratios(shape: str, length: str, pairs: int) -> Iterator[tuple[str, float]]:
    draw = random.Random(0)
    with (
        tempfile.TemporaryDirectory() as folder,
        log_to_file(Path(folder) / "log", DEBUG) as log,
        Sampler() as sampler,
    ):
        for kernel in ("sleep", "python-cpu", "native-cpu"):
            graph = graph_of(shape, calibrate(sized(f"{kernel}:{length}")))
            for name, workers in (("sequential", 1), ("threads", 2), ("processes", 2)):
                with load_backend(name, workers) as pool:
                    for _ in range(3):
                        _with(graph, pool, sampler, log)
                    ratios = [_pair(graph, pool, sampler, log, draw) for _ in range(pairs)]
                yield f"{shape}, {kernel}:{length}, {name}: with / without", median(ratios)


def _pair(
    graph: Graph, pool: Backend, sampler: Sampler, log: Observer, draw: random.Random
) -> float:
    if draw.random() < 0.5:
        without_s = _without(graph, pool)
        return _with(graph, pool, sampler, log) / without_s
    with_s = _with(graph, pool, sampler, log)
    return with_s / _without(graph, pool)


def _with(graph: Graph, pool: Backend, sampler: Sampler, log: Observer) -> float:
    timed_run = timed(graph, pool, sampler, [log])
    return timed_run.report.ended_s - timed_run.start_s


def _without(graph: Graph, pool: Backend) -> float:
    start_s = monotonic()
    return run(graph, pool, keep="none").ended_s - start_s


if __name__ == "__main__":
    show([usual, short])
