"""All backends beside each other: empty tasks, efficiency, large values, start; the table of docs.

`nox -s bench_engines` prints it. A backend of another package and the code that its users write by
hand run the same graphs in turn, in workers that are warm, which shows what our adaptor takes.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from functools import partial
from importlib.metadata import version
from statistics import median
from time import perf_counter
from typing import Any

import loky

from bench.machine.sampler import Sampler
from bench.workloads.kernels import calibrate
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.shapes import sized
from benchmarks import peers
from executors import Backend, Graph, Task, backend_names, load_backend, run
from executors.backends import backend_class, why_unavailable
from executors.engines.named import FuturesProcesses

TASKS = 1000
WORKERS = 2
MOST_ROUNDS = 15
ROUNDS_S = 12.0  # for all rounds of one cell, but at least LEAST_ROUNDS of them
LEAST_ROUNDS = 5
STARTS = 3
LENGTH = "native-cpu:1ms"
ARRAY = 100_000_000 // 8  # numbers of eight bytes
READERS = 8

# Adaptor over bare library, at most; None where no bar was set.
LIMITS = {
    "futures-threads": 2.0,
    "futures-processes": 1.2,
    "loky": 1.2,
    "dask": 1.1,
    "joblib": 1.1,
    "ray": 1.2,
}

Bare = Callable[[Backend, int], "peers.Peer"]
BARE: dict[str, Bare] = {
    "futures-threads": lambda _, workers: peers.FuturesLoop(ThreadPoolExecutor, workers),
    "futures-processes": lambda _, workers: peers.FuturesLoop(
        lambda workers: FuturesProcesses(workers).make(), workers
    ),
    "loky": lambda _, workers: peers.FuturesLoop(loky.ProcessPoolExecutor, workers),
    "pebble": lambda _, workers: peers.FuturesLoop(peers.Pebble, workers),
    "dask": lambda ours, _: peers.DaskClient(ours),
    "dask-threads": lambda _, workers: peers.DaskThreads(workers),
    "dask-processes": lambda _, workers: peers.DaskProcesses(workers),
    "joblib": lambda _, workers: peers.JoblibLevels(workers),
    "joblib-threads": lambda _, workers: peers.JoblibLevels(workers, backend="threading"),
    "ray": lambda ours, _: peers.RayTasks(ours),
}


def nothing(*_: object) -> None:
    pass


def large() -> Any:
    import numpy

    return numpy.ones(ARRAY)


def read(array: Any) -> float:
    return float(array[0] + array[-1])


def empty(spec: str) -> Graph:
    return Graph(Task(name, nothing, needs) for name, needs in sized(spec).needs.items())


SHAPES = {
    "chain": f"chain:length={TASKS}",
    "fan": f"fan-in:width={TASKS - 1}",
    "stencil": f"stencil:steps={TASKS // 10}:width=10",
}


def rounds(contestants: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """What each contestant gives in each round, interleaved, after one that does not count."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    shuffle = random.Random(0).shuffle
    began_s = perf_counter()
    for number in range(MOST_ROUNDS + 1):
        if number > LEAST_ROUNDS and perf_counter() > began_s + ROUNDS_S:
            break
        order = list(contestants)
        shuffle(order)
        for name in order:
            figure = contestants[name]()
            if number:
                figures[name].append(figure)
    return figures


def compared(figures: dict[str, list[float]], unit: float, digits: int) -> tuple[str, float | None]:
    """A cell of the table, and how many times as much as the bare library."""
    text = f"{median(figures['ours']) * unit:.{digits}f}"
    if "bare" not in figures:
        return text, None
    pairs = zip(figures["ours"], figures["bare"], strict=True)
    ratio = median(ours / bare for ours, bare in pairs)
    return f"{text} ({ratio:.2f})", ratio


def row(name: str, sampler: Sampler) -> list[str]:
    """The cells of a backend; prints what is above its bar on stderr."""
    starts = []
    for _ in range(STARTS):
        with load_backend(name, WORKERS) as started:
            starts.append(started.start_s)
    cells = [f"`{name}`", f"{median(starts):.2f}"]
    with ExitStack() as stack:
        ours = stack.enter_context(load_backend(name, WORKERS))
        bare = stack.enter_context(BARE[name](ours, WORKERS)) if name in BARE else None

        def cell(graph: Graph, gauge: Callable[..., float], unit: float, digits: int) -> str:
            contestants: dict[str, Callable[[], float]] = {
                "ours": partial(gauge, partial(run, graph, ours, keep="none"))
            }
            if bare is not None:
                contestants["bare"] = partial(gauge, partial(bare.run, graph))
            text, ratio = compared(rounds(contestants), unit, digits)
            limit = LIMITS.get(name)
            if ratio is not None and limit is not None and ratio > limit:
                print(f"{name}: {text}, but at most {limit} was wanted", file=sys.stderr)
            return text

        def cpu_s(act: Callable[[], object]) -> float:
            sampler.begin()
            act()
            return sampler.end().cpu_s

        cells += [cell(empty(spec), cpu_s, 1e6 / TASKS, 0) for spec in SHAPES.values()]
        cells.append(efficiency(ours))
        readers = [Task(f"read{i}", read, ("large",)) for i in range(READERS)]
        cells.append(cell(Graph([Task("large", large), *readers]), seconds, 1.0, 2))
    return cells


def seconds(act: Callable[[], object]) -> float:
    began_s = perf_counter()
    act()
    return perf_counter() - began_s


def efficiency(backend: Backend) -> str:
    """Speedup per worker over the sequential backend, of 200 independent tasks of 1 ms."""
    work = calibrate(sized_kernel(LENGTH))
    graph = Graph(Task(f"t{i}", work) for i in range(200))
    sequential = load_backend("sequential")
    figures = rounds(
        {
            "one": partial(seconds, partial(run, graph, sequential, keep="none")),
            "all": partial(seconds, partial(run, graph, backend, keep="none")),
        }
    )
    pairs = zip(figures["one"], figures["all"], strict=True)
    return f"{100 * median(one / all_ for one, all_ in pairs) / backend.workers:.0f} %"


def rows() -> Iterator[list[str]]:
    with Sampler() as sampler:
        wanted = sys.argv[1:] or backend_names()
        for name in wanted:
            if why_unavailable(name) is None:
                yield row(name, sampler)


def main() -> None:
    packages = sorted({name for it in backend_names() for name in backend_class(it).packages})
    used = ", ".join(f"{name} {version(name)}" for name in packages if installed(name))
    print(f"{date.today()}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, {used}\n")
    head = ["backend", "start, s", *(f"{shape}, us" for shape in SHAPES), "1 ms", "100 MB, s"]
    print(f"| {' | '.join(head)} |\n| --- {'| ---: ' * (len(head) - 1)}|")
    for cells in rows():
        print(f"| {' | '.join(cells)} |", flush=True)


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


if __name__ == "__main__":
    main()
