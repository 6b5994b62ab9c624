"""The overhead of the schedulers, compared with dask and concurrent.futures, in one run.

`nox -s bench` runs it and prints a Markdown table; each row has its limit.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from statistics import median
from time import perf_counter, sleep

from bench.granularity.crossings import cross
from bench.workloads.kernels import Work, calibrate
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.shapes import sized as sized_shape
from benchmarks.peers import Dask, FuturesLoop
from benchmarks.table import ROUNDS, Row, at_least, at_most, ratio, rounds, show
from executors import Attempt, Backend, Call, Graph, Observer, Task, load_backend, run


class Counter(Observer):
    """The one observer that the timed runs have."""

    def __init__(self) -> None:
        self.events = 0

    def task_started(self, call: Call) -> None:
        self.events += 1

    def task_ended(self, attempt: Attempt) -> None:
        self.events += 1


def nothing(*_: object) -> None:
    """The empty task."""


def graph_of(shape: str, action: Callable[..., object] = nothing) -> Graph:
    return Graph(Task(name, action, needs) for name, needs in sized_shape(shape).needs.items())


def observed(graph: Graph, backend: Backend) -> None:
    counter = Counter()
    run(graph, backend, observers=[counter], keep="none").raise_for_failures()
    assert counter.events == 2 * len(graph)


# -- an empty task ------------------------------------------------------------------------------


def empty_tasks() -> Iterator[Row]:
    """Microseconds of an empty task in a stencil of 16 x 625, records and one observer on."""
    graph = graph_of("stencil:steps=625:width=16")
    peers = Dask(graph)
    with (
        load_backend("sequential") as sequential,
        load_backend("threads", 2) as threads,
        load_backend("processes", 2) as processes,
        FuturesLoop(ThreadPoolExecutor, 2) as thread_loop,
        FuturesLoop(ProcessPoolExecutor, 2) as process_loop,
    ):
        times = rounds(
            {
                "sequential": lambda: observed(graph, sequential),
                "2 threads": lambda: observed(graph, threads),
                "2 processes": lambda: observed(graph, processes),
                "dask.get": peers.synchronous,
                "dask.threaded.get": lambda: peers.threaded(2),
                "ThreadPoolExecutor loop": lambda: thread_loop.run(graph),
                "ProcessPoolExecutor loop": lambda: process_loop.run(graph),
            }
        )
    cost_us = {name: 1e6 * median(seconds) / len(graph) for name, seconds in times.items()}
    for ours, peer, limit in (
        ("sequential", "dask.get", 1 / 8),
        ("2 threads", "dask.threaded.get", 1 / 10),
        ("2 threads", "ThreadPoolExecutor loop", 0.5),
        ("2 processes", "ProcessPoolExecutor loop", 0.7),
    ):
        note = f" ({cost_us[ours]:.1f} us, {cost_us[peer]:.1f} us)"
        yield at_most(f"empty task, {ours} / {peer}", ratio(times, ours, peer), limit, note)


def growth() -> Iterator[Row]:
    """Cost of a task in 100,000 against 10,000, and what the run itself keeps."""
    small = graph_of("stencil:steps=625:width=16")
    large = graph_of("stencil:steps=6250:width=16")
    for name, workers in (("sequential", 1), ("threads", 2), ("processes", 2)):
        with load_backend(name, workers) as backend:
            times = rounds(
                {
                    "small": lambda: observed(small, backend),
                    "large": lambda: observed(large, backend),
                },
                count=5,
            )
        factor = ratio(times, "large", "small") * len(small) / len(large)
        yield at_most(f"time per task, 100,000 / 10,000 tasks, {name}", factor, 1.4)
    for name in ("sequential", "threads"):
        with load_backend(name, 2) as backend:
            gc.collect()
            tracemalloc.start()
            report = run(large, backend, observers=[Counter()], keep="none")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert len(report.tasks) == len(large)
        yield at_most(f"peak memory of a run, bytes per task, {name}", peak / len(large), 1000)


# -- tasks that take time -----------------------------------------------------------------------


def spin(kernel: str, units: float, count: int) -> float:
    """Seconds of `count` tasks in a plain loop."""
    work = Work(kernel, units)
    start_s = perf_counter()
    for _ in range(count):
        work()
    return perf_counter() - start_s


@contextmanager
def two_processes(kernel: str = "native-cpu") -> Iterator[Callable[[float, int], float]]:
    """Measures the ceiling: two independent processes with half of the tasks each."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(spin, kernel, 1000, 10) for _ in range(8)]:
            future.result()

        def wall_s(units: float, count: int) -> float:
            halves = [pool.submit(spin, kernel, units, count // 2) for _ in range(2)]
            return max(future.result() for future in halves)

        yield wall_s


def ceiling() -> Iterator[Row]:
    """1 ms native tasks in a stencil on 2 threads, against what two processes reach."""
    work = calibrate(sized_kernel("native-cpu:1ms"))
    graph = graph_of("stencil:steps=60:width=8", work)
    parts, reached, against_one = [], [], []
    with two_processes() as independent, load_backend("threads", 2) as threads:
        for _ in range(2 * ROUNDS + 1):
            best_s = independent(work.units, len(graph))
            start_s = perf_counter()
            run(graph, threads, keep="none").raise_for_failures()
            ours_s = perf_counter() - start_s
            alone_s = spin("native-cpu", work.units, len(graph))
            parts.append(best_s / ours_s)
            reached.append(alone_s / best_s)
            against_one.append(alone_s / ours_s)
    note = f" ({median(against_one):.2f} of {median(reached):.2f} times one core)"
    yield at_least("1 ms native-cpu, stencil, 2 threads / ceiling", median(parts), 0.95, note)


LENGTHS_US = (10, 15, 22, 33, 50, 75, 110, 165, 250, 375, 560, 840, 1260)


def metg() -> Iterator[Row]:
    """METG(75 %): the shortest native tasks at which 75 % of the ceiling is reached.

    Task Bench's metric (Slaughter et al. 2020), with two independent processes as the peak.
    """
    one_us = calibrate(sized_kernel("native-cpu:1ms")).units / 1000
    metg_us: dict[str, list[float]] = {"2 threads": [], "dask.threaded": []}
    with two_processes() as independent, load_backend("threads", 2) as threads:
        for _ in range(5):
            efficiency: dict[str, list[float]] = {name: [] for name in metg_us}
            for length_us in LENGTHS_US:
                steps = max(20, min(200, round(60_000 / length_us / 8)))
                work = Work("native-cpu", length_us * one_us)
                graph = graph_of(f"stencil:steps={steps}:width=8", work)
                peers = Dask(graph)
                peak_s = independent(length_us * one_us, len(graph))
                for name, contestant in (
                    ("2 threads", lambda graph=graph: run(graph, threads, keep="none")),
                    ("dask.threaded", lambda peers=peers: peers.threaded(2)),
                ):
                    start_s = perf_counter()
                    contestant()
                    efficiency[name].append(peak_s / (perf_counter() - start_s))
            for name, curve in efficiency.items():
                metg_us[name].append(cross(LENGTHS_US, curve, 0.75))
    note = f" ({median(metg_us['2 threads']):.0f} us, {median(metg_us['dask.threaded']):.0f} us)"
    part = median(a / b for a, b in zip(*metg_us.values(), strict=True))
    yield at_most("METG(75 %) of native-cpu, stencil, 2 threads / dask.threaded", part, 1 / 6, note)


def sleeps() -> Iterator[Row]:
    """1 ms sleeps on 8 threads against max(work / workers, span) of the measured task times."""
    for shape in ("fan-in:width=800", "stencil:steps=30:width=16"):
        graph = graph_of(shape, Work("sleep", 0.001))
        overheads = []
        with load_backend("threads", 8) as threads:
            for _ in range(ROUNDS):
                report = run(graph, threads, keep="none")
                times_s = {name: record.duration_s for name, record in report.tasks.items()}
                least_s = max(graph.work_s(times_s) / 8, graph.span_s(times_s))
                overheads.append(report.makespan_s / least_s)
        yield at_most(f"1 ms sleeps on 8 threads / bound, {shape}", median(overheads), 1.05)


def example() -> Iterator[Row]:
    """The threaded orchestrator's documented example, in tenths of its seconds."""
    tasks = [Task(f"part{index}", lambda: sleep(0.5)) for index in range(3)]
    join = Task("join", lambda *_: sleep(0.2), tuple(task.name for task in tasks))
    graph = Graph([*tasks, join])
    for name, workers, ideal_s in (("threads", 3, 0.7), ("sequential", 1, 1.7)):
        with load_backend(name, workers) as backend:
            times = rounds({name: lambda: run(graph, backend)}, count=5)
        yield at_most(
            f"three tasks of 0.5 s, then one of 0.2 s, {name}: time / {ideal_s} s",
            median(times[name]) / ideal_s,
            1.02,
        )


def start_of_cli() -> Iterator[Row]:
    """`bench --help`, as a whole process."""
    command = [sys.executable, "-m", "bench", "--help"]
    start = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    times = rounds({"help": start}, count=11)
    yield at_most("bench --help, seconds", median(times["help"]), 0.2)


PARTS = (empty_tasks, growth, ceiling, metg, sleeps, example, start_of_cli)


if __name__ == "__main__":
    show(PARTS)
