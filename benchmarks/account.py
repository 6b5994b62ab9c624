"""Whether the loss account names what was built into a run, and what measuring it takes.

`nox -s bench_account` prints a Markdown table. Each made case has one loss that is known; the rest
compares interleaved runs with and without `measure_cpu`.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

from bench.analysis.losses.account import Part
from bench.analysis.summary import summarise
from bench.machine.noise import UNUSABLE
from bench.results.samples import Measurement
from bench.results.store import read_results
from benchmarks.table import Row, at_most, show
from executors import Graph, Task, load_backend, run, usable_cpus

LONG_LAST = """
import time
from executors import Graph, Task

def part():
    time.sleep(0.02)

def last(*_):
    time.sleep(0.1)

def make():
    names = [f"part{number}" for number in range(8)]
    return Graph([*(Task(name, part) for name in names), Task("last", last, names)])
"""
CPUS = usable_cpus()

# By what is built in: the options of `bench run`, the backend that is looked at, and the part.
MADE: dict[str, tuple[list[str], str, Part]] = {
    "python-cpu on threads": (
        ["--shapes", "independent", "--kernel", "python-cpu", "--max-workers", str(CPUS)],
        "threads",
        Part.WAITING,
    ),
    "native-cpu, twice as many workers as CPUs": (
        ["--shapes", "independent", "--kernel", "native-cpu", "--max-workers", str(2 * CPUS)],
        "threads",
        Part.WAITING,
    ),
    "moving memory": (
        ["--shapes", "independent", "--kernel", "memory", "--max-workers", str(CPUS)],
        "threads",
        Part.SLOWER,
    ),
    "a long last task": (
        ["--graph", "long_last:make", "--max-workers", "4"],
        "threads",
        Part.GRAPH,
    ),
    "100 us tasks on processes": (
        [
            *("--shapes", "independent:width=500", "--kernel", "native-cpu:100us"),
            *("--max-workers", str(CPUS)),
        ],
        "processes",
        Part.HANDOVER,
    ),
    "sleeps": (
        ["--shapes", "fan-in", "--kernel", "sleep", "--max-workers", "8"],
        "threads",
        Part.GRAPH,
    ),
}
TRIES = 5
IDLE = [one.name for one in fields(Measurement) if one.name.startswith("idle_")]
PAIRS = {"empty": 300, "1 ms sleeps": 30, "1 ms busy": 30}


def made_cases() -> Iterator[Row]:
    """The part that is named, and by how much the parts miss workers x makespan."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "long_last.py").write_text(LONG_LAST)
        for number, (name, (options, backend, part)) in enumerate(MADE.items()):
            command = [sys.executable, "-m", "bench", "run", *options, "--backends", backend]
            for attempt in range(TRIES):  # an unusable machine names no loss
                output = f"out{number}-{attempt}"
                whole = [*command, "-q", "-o", output]
                subprocess.run(whole, cwd=folder, check=False, stdout=subprocess.DEVNULL)
                results = read_results(Path(folder, output))
                summary = summarise(results)
                if summary.verdict.level != UNUSABLE:
                    break
            (group,) = summary.groups
            (row,) = (row for row in group.rows if row.case.backend == backend)
            cause = group.causes.get(row.case)
            named = None if cause is None else cause.part
            yield Row(name, f"{named}: {cause}", str(part), named is part)
            misses = [
                abs(1 - _accounted(one) / (one.workers * one.makespan_s))
                for one in results.measurements
                if one.makespan_s and one.retried_s is not None
            ]
            yield at_most(f"{name}: what the parts miss", max(misses), 0.01)


def _accounted(measured: Measurement) -> float:
    """Seconds of workers that the parts of a run have."""
    parts = [measured.work_s, measured.retried_s, measured.reserved_s]
    # The idle time that another order saves is a part of what the graph leaves idle.
    parts += [getattr(measured, name) for name in IDLE if name != "idle_order_s"]
    return sum(part or 0.0 for part in parts)


def _nothing(*_: object) -> None:
    pass


def _nap(*_: object) -> None:
    time.sleep(0.001)


def _busy(*_: object) -> None:
    end_s = time.perf_counter() + 0.001
    while time.perf_counter() < end_s:
        pass


def on_and_off() -> Iterator[Row]:
    """Runs that measure processor times over runs that do not, interleaved."""
    actions: dict[str, tuple[Callable[..., Any], int, float]] = {
        "empty": (_nothing, 3000, 1.03),
        "1 ms sleeps": (_nap, 200, 1.01),
        "1 ms busy": (_busy, 100, 1.01),
    }
    for name, (action, count, limit) in actions.items():
        graph = Graph(Task(f"t{number}", action) for number in range(count))
        for backend in ("sequential", "threads", "processes"):
            if (name, backend) != ("1 ms busy", "threads"):  # it would compare turns at the lock
                ratios = _ratios(graph, backend, PAIRS[name])
                quarter = len(ratios) // 4
                note = f" (quartiles {ratios[quarter]:.3f} to {ratios[-quarter]:.3f})"
                yield at_most(f"{name} on {backend}: on / off", median(ratios), limit, note)


def _ratios(graph: Graph, backend: str, pairs: int) -> list[float]:
    ratios = []
    with load_backend(backend, CPUS) as pool:
        run(graph, pool, keep="none")
        for number in range(pairs):
            gc.collect()
            makespan_s = {}
            for is_on in (False, True) if number % 2 else (True, False):
                report = run(graph, pool, keep="none", measure_cpu=is_on)
                makespan_s[is_on] = report.makespan_s
            ratios.append(makespan_s[True] / makespan_s[False])
    return sorted(ratios)


if __name__ == "__main__":
    show([made_cases, on_and_off])
