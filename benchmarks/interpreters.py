"""Worker interpreters beside worker processes of the same Python, in one run; Python 3.14.

`nox -s bench_interpreters` prints a Markdown table; each row has its limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from statistics import median
from subprocess import PIPE
from time import perf_counter

import psutil

from bench.workloads.kernels import calibrate
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.shapes import sized
from benchmarks.table import Contestant, Row, alone, at_most, only, ratio, show
from executors import Backend, Graph, Task, load_backend, run

KINDS = ("interpreters", "processes")
STARTS = 15
MEMORIES = 5
ROUNDS = 15
LARGE_BYTES = 16_000_000
READERS = 8


def opened(name: str) -> Backend:
    return load_backend(name, 2)


def nothing(*_: object) -> None:
    """An empty task."""


def graph_of(shape: str) -> Graph:
    return Graph(Task(name, nothing, needs) for name, needs in sized(shape).needs.items())


def memory_bytes(name: str) -> int:
    """What two idle workers take, beyond a fresh program; proportional for what they share."""
    code = f"from benchmarks.interpreters import print_memory; print_memory({name!r})"
    return int(subprocess.run([sys.executable, "-c", code], stdout=PIPE, check=True).stdout)


def print_memory(name: str) -> None:
    me = psutil.Process()
    before = me.memory_full_info().pss
    with opened(name):
        everyone = [me, *me.children(recursive=True)]
        print(sum(one.memory_full_info().pss for one in everyone) - before)


def starts() -> Iterator[Row]:
    """Start and memory of two workers."""
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    memory: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(STARTS):
        for name in KINDS if number % 2 else reversed(KINDS):
            began_s = perf_counter()
            with opened(name):
                times[name].append(perf_counter() - began_s)
    for _ in range(MEMORIES):
        for name in KINDS:
            memory[name].append(memory_bytes(name))
    for name in KINDS:
        yield only(f"start of two {name}, ms", median(times[name]) * 1e3)
        yield only(f"memory of two {name}, MB", median(memory[name]) / 1e6)
    yield at_most("start: interpreters / processes", ratio(times, *KINDS), 1.0)
    yield at_most("memory: interpreters / processes", ratio(memory, *KINDS), 1.0)


def tasks() -> Iterator[Row]:
    """Empty tasks, large values and Python code, warm."""
    work = calibrate(sized_kernel("python-cpu:20ms"))
    large = Task("make", partial(os.urandom, LARGE_BYTES))
    readers = [Task(f"read{number}", len, ("make",)) for number in range(READERS)]
    graphs: dict[str, tuple[Graph, float | None]] = {
        "2,000 empty tasks": (graph_of("independent:width=2000"), 1.0),
        "stencil of 2,000": (graph_of("stencil:steps=125:width=16"), 1.0),
        "16 MB to 8 readers": (Graph([large, *readers]), None),
        "fan of 16, python-cpu:20ms": (
            Graph([Task(f"t{number}", work) for number in range(16)]),
            1 / 0.95,
        ),
    }
    for what, (graph, limit) in graphs.items():
        contestants: dict[str, Contestant] = {
            name: (partial(opened, name), partial(run, graph)) for name in KINDS
        }
        times = alone(contestants, ROUNDS)
        for name in KINDS:
            yield only(f"{what}: {name}, ms", median(times[name]) * 1e3)
        value = ratio(times, *KINDS)
        if limit is None:
            yield only(f"{what}: interpreters / processes", value)
        else:
            yield at_most(f"{what}: interpreters / processes", value, limit)


if __name__ == "__main__":
    show([starts, tasks])
