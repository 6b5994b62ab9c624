"""The overhead of the process backend, compared with other process pools, in one run.

`nox -s bench` runs it and prints a Markdown table; each row has its limit. The peers are loops
around ProcessPoolExecutor, pebble and loky with the same dependencies, and dask.multiprocessing.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import joblib
import loky
import numpy as np
import psutil

from bench.granularity.crossings import cross
from bench.workloads.kernels import Work, calibrate
from bench.workloads.kernels import sized as sized_kernel
from benchmarks.overhead import (
    LENGTHS_US,
    graph_of,
    nothing,
    observed,
    two_processes,
)
from benchmarks.peers import DaskProcesses, FuturesLoop, Pebble, Peer
from benchmarks.table import (
    ROUNDS,
    Contestant,
    Row,
    alone,
    at_least,
    at_most,
    only,
    ratio,
    rounds,
    show,
)
from executors import Backend, Graph, RunReport, Task, load_backend, run
from executors.backends.simulated import Simulated
from executors.contention import Demand

OURS = partial(load_backend, "processes", 2)
PEERS: dict[str, Callable[[], Peer]] = {
    "ProcessPoolExecutor": partial(FuturesLoop, ProcessPoolExecutor, 2),
    "pebble": partial(FuturesLoop, Pebble, 2),
    "loky": partial(FuturesLoop, loky.ProcessPoolExecutor, 2),
    "dask.multiprocessing": partial(DaskProcesses, 2),
}


def _ran(graph: Graph, peer: Peer) -> None:
    peer.run(graph)


def _fastest(times: dict[str, list[float]], names: Sequence[str]) -> str:
    return min(names, key=lambda name: median(times[name]))


# -- an empty task ------------------------------------------------------------------------------


def empty_tasks() -> Iterator[Row]:
    """Microseconds of an empty task, records and one observer on; peers have shorter chains."""
    for shape, short, limit in (
        ("stencil:steps=100:width=100", "stencil:steps=100:width=100", 7.0),
        ("stencil:steps=625:width=16", "stencil:steps=625:width=16", None),
        ("chain:length=10000", "chain:length=1000", 25.0),
    ):
        graph, shorter = graph_of(shape), graph_of(short)
        contestants: dict[str, Contestant] = {"ours": (OURS, partial(observed, graph))}
        contestants |= {name: (peer, partial(_ran, shorter)) for name, peer in PEERS.items()}
        times = alone(contestants)
        cost_us = {name: 1e6 * median(all_s) / len(shorter) for name, all_s in times.items()}
        cost_us["ours"] *= len(shorter) / len(graph)
        best = _fastest(times, list(PEERS))
        factor = ratio(times, best, "ours") * len(graph) / len(shorter)
        note = " (" + ", ".join(f"{name} {cost:.1f}" for name, cost in cost_us.items()) + " us)"
        what = f"empty task, {shape}: best peer ({best}) / ours"
        yield only(what, factor, note) if limit is None else at_least(what, factor, limit, note)


def round_trip() -> Iterator[Row]:
    """One empty task at a time: each has both slots, so nothing can be sent ahead."""
    tasks = [Task("0", nothing, slots=2)]
    tasks += [Task(str(at), nothing, (str(at - 1),), slots=2) for at in range(1, 1000)]
    graph = Graph(tasks)

    def one_by_one(pool: ProcessPoolExecutor) -> None:
        for _ in graph.tasks:
            pool.submit(nothing).result()

    with load_backend("processes", 2) as ours, ProcessPoolExecutor(2) as pool:
        times = rounds(
            {
                "ours": lambda: run(graph, ours, keep="none").raise_for_failures(),
                "ProcessPoolExecutor": lambda: one_by_one(pool),
            }
        )
    us = {name: 1e6 * median(seconds) / len(graph) for name, seconds in times.items()}
    note = f" ({us['ours']:.0f} us, {us['ProcessPoolExecutor']:.0f} us)"
    part = ratio(times, "ours", "ProcessPoolExecutor")
    yield at_most("round trip / ProcessPoolExecutor", part, 0.5, note)


# -- tasks that take time -----------------------------------------------------------------------


def ceiling() -> Iterator[Row]:
    """1 ms tasks in a stencil, against two independent processes just before and just after."""
    for kernel in ("native-cpu", "python-cpu"):
        work = calibrate(sized_kernel(f"{kernel}:1ms"))
        graph = graph_of("stencil:steps=60:width=8", work)
        contestants: dict[str, Contestant] = {
            "ours": (OURS, partial(observed, graph)),
            "ProcessPoolExecutor": (PEERS["ProcessPoolExecutor"], partial(_ran, graph)),
            "pebble": (PEERS["pebble"], partial(_ran, graph)),
        }
        reached = {}
        for name, (opened, action) in contestants.items():
            with two_processes(kernel) as independent, opened() as pool:
                parts = []
                for number in range(4 * ROUNDS + 1):
                    before_s = independent(work.units, len(graph))
                    start_s = perf_counter()
                    action(pool)
                    took_s = perf_counter() - start_s
                    after_s = independent(work.units, len(graph))
                    if number:
                        parts.append((before_s + after_s) / 2 / took_s)
            reached[name] = median(parts)
        note = ", ".join(f"{name} {value:.3f}" for name, value in reached.items() if name != "ours")
        yield at_least(
            f"1 ms {kernel}, stencil, 2 processes / ceiling", reached["ours"], 0.93, f" ({note})"
        )


def metg() -> Iterator[Row]:
    """METG(75 %) of native-cpu in a stencil, beside the peers."""
    one_us = calibrate(sized_kernel("native-cpu:1ms")).units / 1000
    names = ("ours", "ProcessPoolExecutor", "pebble", "loky")
    lengths_us: dict[str, list[float]] = {name: [] for name in names}
    with (
        two_processes("native-cpu") as independent,
        load_backend("processes", 2) as ours,
        ExitStack() as stack,
    ):
        peers = {name: stack.enter_context(PEERS[name]()) for name in names[1:]}
        for _ in range(5):
            efficiency: dict[str, list[float]] = {name: [] for name in names}
            for length_us in LENGTHS_US:
                steps = max(10, min(100, round(60_000 / length_us / 16)))
                graph = graph_of(
                    f"stencil:steps={steps}:width=16", Work("native-cpu", length_us * one_us)
                )
                peak_s = independent(length_us * one_us, len(graph))
                for name in names:
                    start_s = perf_counter()
                    if name == "ours":
                        run(graph, ours, keep="none")
                    else:
                        peers[name].run(graph)
                    efficiency[name].append(peak_s / (perf_counter() - start_s))
            for name in names:
                lengths_us[name].append(cross(LENGTHS_US, efficiency[name], 0.75))
    best = _fastest(lengths_us, names[1:])
    note = " (" + ", ".join(f"{name} {median(us):.0f}" for name, us in lengths_us.items()) + " us)"
    part = ratio(lengths_us, "ours", best)
    yield at_most(f"METG(75 %) of native-cpu, stencil / best peer ({best})", part, 1 / 3, note)


def mixed_lengths() -> Iterator[Row]:
    """Lengths from 0.1 to 100 ms, unknown to the scheduler, against list scheduling.

    The bound is the makespan that a list scheduler without any overhead has with the measured
    times, in the same order of urgency (Graham 1969).
    """
    draw = random.Random(4)
    one_ms = calibrate(sized_kernel("native-cpu:1ms")).units
    for shape in ("fan-in:width=200", "random-layered:tasks=200", "stencil:steps=20:width=10"):
        plain = graph_of(shape)
        graph = Graph(
            Task(
                task.name,
                Work("native-cpu", one_ms * math.exp(draw.uniform(math.log(0.1), math.log(100)))),
                task.needs,
            )
            for task in plain.tasks
        )
        overheads = []
        with load_backend("processes", 2) as ours:
            for _ in range(5):
                report = run(graph, ours, keep="none")
                overheads.append(report.makespan_s / list_schedule_s(graph, report, 2))
        yield at_most(
            f"makespan, tasks of 0.1 to 100 ms / list scheduling, {shape}", median(overheads), 1.05
        )


def list_schedule_s(graph: Graph, report: RunReport, workers: int) -> float:
    """The makespan of list scheduling with a run's own task times and no overhead."""
    times_s = {name: record.duration_s for name, record in report.tasks.items()}
    ideal = Simulated(workers, demand=lambda task: Demand(times_s[task.name]))
    return run(graph, ideal, keep="none").makespan_s


# -- large values -------------------------------------------------------------------------------

LARGE_BYTES = 100_000_000
READERS = 8


def make() -> Any:
    return np.arange(LARGE_BYTES // 8, dtype=float)


def read(array: Any) -> float:
    return float(array.sum())


def large_values() -> Iterator[Row]:
    """A 100 MB array made by one task and read by 8."""
    tasks = [Task("make", make)]
    tasks += [Task(f"read{at}", read, ("make",)) for at in range(READERS)]
    graph = Graph(tasks)

    def with_executor(pool: ProcessPoolExecutor) -> None:
        array = pool.submit(make).result()
        for future in [pool.submit(read, array) for _ in range(READERS)]:
            future.result()

    def with_joblib(pool: Any) -> None:
        (array,) = pool([joblib.delayed(make)()])
        pool(joblib.delayed(read)(array) for _ in range(READERS))

    with (
        load_backend("processes", 2, preload=["numpy"]) as ours,
        ProcessPoolExecutor(2) as executor,
        joblib.Parallel(n_jobs=2) as parallel,
    ):
        times = rounds(
            {
                "ours": lambda: run(graph, ours).raise_for_failures(),
                "ProcessPoolExecutor": lambda: with_executor(executor),
                "joblib": lambda: with_joblib(parallel),
            }
        )
        copies = median(_copies(graph, ours) for _ in range(5))
    for peer, limit in (("ProcessPoolExecutor", 20.0), ("joblib", 4.0)):
        note = f" ({median(times[peer]):.3f} s, {median(times['ours']):.3f} s)"
        yield at_least(
            f"100 MB to {READERS} tasks, {peer} / ours", ratio(times, peer, "ours"), limit, note
        )
    yield at_most("copies of the 100 MB in memory, at most", copies, 2.1)


def _copies(graph: Graph, backend: Backend) -> float:
    """The most memory that a run adds to this process and its children, in arrays."""
    family = [os.getpid(), *(child.pid for child in psutil.Process().children())]
    over = threading.Event()
    before = most = _held_bytes(family)

    def watch() -> None:
        nonlocal most
        while not over.wait(0.001):
            most = max(most, _held_bytes(family))

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(graph, backend).raise_for_failures()
    over.set()
    watcher.join()
    return (most - before) / LARGE_BYTES


def _held_bytes(pids: Sequence[int]) -> int:
    """Anonymous memory of processes, and files in memory that they have open, each file once."""
    anonymous = 0
    files: dict[int, int] = {}
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        anonymous += sum(1024 * int(line.split()[1]) for line in lines if "RssAnon" in line)
        for path in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if "memfd:" in str(path.readlink()):
                    files[path.stat().st_ino] = 512 * path.stat().st_blocks
            except FileNotFoundError:
                pass  # it was closed meanwhile
    return anonymous + sum(files.values())


def start() -> Iterator[Row]:
    """Seconds until two workers are ready."""

    def ours(**options: Any) -> None:
        with load_backend("processes", 2, **options):
            pass

    times = rounds({"bare": ours, "numpy": lambda: ours(preload=["numpy"])})
    yield only("start and end of 2 workers, seconds", median(times["bare"]))
    yield only("the same with numpy imported", median(times["numpy"]))


PARTS = (empty_tasks, round_trip, ceiling, metg, mixed_lengths, large_values, start)


if __name__ == "__main__":
    show(PARTS)
