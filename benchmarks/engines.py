"""What our adaptors take beyond the bare libraries: processor time of the whole process tree.

`nox -s bench_engines` prints a Markdown table. Each backend and the loop that its users write by
hand run the same graphs of 1,000 empty tasks, in turn, in pools that are warm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from statistics import median

import loky

from bench.machine.sampler import Sampler
from bench.workloads.shapes import sized
from benchmarks.peers import (
    DaskProcesses,
    DaskThreads,
    FuturesLoop,
    JoblibLevels,
    Pebble,
    Peer,
)
from benchmarks.table import Row, at_most, only, show
from executors import Graph, Task, load_backend, run
from executors.engines.named import FuturesProcesses

TASKS = 1000
WORKERS = 2
ROUNDS = 15
LIMITS: dict[str, float | None] = {
    "futures-threads": 2.0,
    "futures-processes": 1.2,
    "loky": 1.2,
    "pebble": None,
    "dask-threads": None,
    "dask-processes": None,
    "joblib": 1.1,
    "joblib-threads": None,
}
BARE: dict[str, Callable[[int], Peer]] = {
    "futures-threads": partial(FuturesLoop, ThreadPoolExecutor),
    "futures-processes": partial(FuturesLoop, lambda workers: FuturesProcesses(workers).make()),
    "loky": partial(FuturesLoop, loky.ProcessPoolExecutor),
    "pebble": partial(FuturesLoop, Pebble),
    "dask-threads": DaskThreads,
    "dask-processes": DaskProcesses,
    "joblib": JoblibLevels,
    "joblib-threads": partial(JoblibLevels, backend="threading"),
}


def nothing(*_: object) -> None:
    pass


def graphs() -> dict[str, Graph]:
    shapes = {"chain": f"chain:length={TASKS}", "fan": f"fan-in:width={TASKS - 1}"}
    shapes["stencil"] = f"stencil:steps={TASKS // 10}:width=10"
    return {name: _graph(spec) for name, spec in shapes.items()}


def _graph(spec: str) -> Graph:
    return Graph(Task(name, nothing, needs) for name, needs in sized(spec).needs.items())


def pools() -> Iterator[Row]:
    """Adaptor over bare loop, and microseconds of processor time per task."""
    with Sampler() as sampler:
        for name, limit in LIMITS.items():
            with ExitStack() as stack:
                ours = stack.enter_context(load_backend(name, WORKERS))
                bare = stack.enter_context(BARE[name](WORKERS))
                for shape, graph in graphs().items():
                    contestants: dict[str, Callable[[], object]] = {
                        "ours": partial(run, graph, ours, keep="none"),
                        "bare": partial(bare.run, graph),
                    }
                    used = _cpu_s(sampler, contestants)
                    pairs = zip(used["ours"], used["bare"], strict=True)
                    value = median(a / b for a, b in pairs)
                    per_task = f" ({1e6 * median(used['bare']) / TASKS:.0f} us bare)"
                    what = f"{name}, {shape}: adaptor / bare loop"
                    if limit is None:
                        yield only(what, value, per_task)
                    else:
                        yield at_most(what, value, limit, per_task)


def _cpu_s(
    sampler: Sampler, contestants: dict[str, Callable[[], object]]
) -> dict[str, list[float]]:
    """Processor seconds of each contestant in each round, after one that does not count."""
    used: dict[str, list[float]] = {name: [] for name in contestants}
    shuffle = random.Random(0).shuffle
    for number in range(ROUNDS + 1):
        order = list(contestants)
        shuffle(order)
        for name in order:
            sampler.begin()
            contestants[name]()
            sample = sampler.end()
            if number:
                used[name].append(sample.cpu_s)
    return used


if __name__ == "__main__":
    show([pools])
