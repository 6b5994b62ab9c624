"""How accurate `bench recommend` is: predictions over measurements, picks against a full sweep.

`nox -s bench_recommend` runs it and prints a Markdown table. The environment variable WORKFLOWS may
name a folder of recorded workflows to include. Predictions and runs are interleaved, so that a
change of the machine's speed affects both.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean, median

from bench.machine.blas import limit_blas_threads

limit_blas_threads(1)

from bench.machine.timing import wall_s, warm_up
from bench.measure.prepared import graph_of
from bench.predict.prediction import ProfileRound, measure_round
from bench.predict.profiler import Profiler
from bench.predict.worker_counts import predicted_counts
from bench.recommend.advisor import Advisor, blank_for
from bench.results.case import BASELINE
from bench.workloads.kernels import SizedKernel, calibrate
from bench.workloads.kernels import sized as sized_kernel
from bench.workloads.shapes import SizedShape
from bench.workloads.shapes import sized as sized_shape
from bench.workloads.workflows import read_workflows
from benchmarks.table import Row, at_least, at_most, show
from executors import Graph, load_backend

Candidate = tuple[str, int]  # backend and workers
SHAPES = ("fan-in:width=48", "stencil", "diamond-chain:count=8:width=4")
KERNELS = os.environ.get("KERNELS", "sleep:20ms,python-cpu:20ms,native-cpu:20ms").split(",")
ROUNDS = 15
BLOCKS = 7  # of the sweep, like in `bench run`
LIMITS = {"threads": 0.10, "processes": 0.20}
NEAR = 1.05
NEAR_AT_FIRST = 1.2
MORE_BLOCKS = 40  # of the cases near the best

Case = tuple[SizedShape, SizedKernel]


def cases() -> Iterator[Case]:
    for kernel in map(sized_kernel, KERNELS):
        for shape in SHAPES:
            yield sized_shape(shape), kernel
        if (folder := os.environ.get("WORKFLOWS")) is not None:
            for workflow in read_workflows([Path(folder)]):
                shape_ = workflow.sized(None)
                lengths = list((shape_.lengths_s or {}).values())
                mean_s = sum(lengths) / len(lengths)
                yield shape_, SizedKernel(kernel.kind, mean_s, is_mean=True)


def named(shape: SizedShape, kernel: SizedKernel) -> str:
    return f"{shape.text}, {kernel.text}"


def predictions() -> Iterator[Row]:
    """Predicted over measured makespan on as many workers as CPUs, and twice that if tasks wait.

    The loops behind the prediction and the runs are interleaved. The rows of python-cpu on threads
    have no limit.
    """
    for shape, kernel in cases():
        work = calibrate(kernel)
        graph = graph_of(shape, kernel, work)
        with Profiler() as profiler:
            counts = [profiler.cpus, 2 * profiler.cpus][: 1 + kernel.kind.waits]
            wanted = [(backend, workers) for backend in LIMITS for workers in counts]
            separate, shared = profiler.side_by_side()
            for pool in (separate, shared):
                if pool is not None:
                    warm_up(pool, [work])
            walls: dict[Candidate, list[float]] = {key: [] for key in wanted}
            loops: list[ProfileRound] = []
            for number in range(ROUNDS + 1):
                random.shuffle(wanted)
                for backend, workers in wanted:
                    loops.append(measure_round(work, kernel.length_s, separate, shared))
                    took_s = profiler.run_s(graph, backend, workers)
                    if number:  # the first one warms up
                        walls[backend, workers].append(took_s)
            profiler.set_profile(kernel, loops)
            models = profiler.task_models(kernel, work)
            candidates, _ = Advisor(profiler).predict(graph, models, counts)
        predicted_s = {(one.backend, one.workers): one.seconds for one in candidates}
        for backend, workers in sorted(walls):
            ratio = predicted_s[backend, workers] / median(walls[backend, workers])
            what = f"{named(shape, kernel)}, {backend} with {workers}: predicted / measured"
            has_limit = backend == "processes" or kernel.kind.name != "python-cpu"
            holds = abs(ratio - 1) <= LIMITS[backend] if has_limit else None
            limit = f"within {100 * LIMITS[backend]:.0f} %" if has_limit else ""
            yield Row(what, f"{ratio:.3f}", limit, holds)


def swept(graph: Graph, cpus: int, waits: bool) -> dict[Candidate, float]:
    """The median time of every backend with every number of workers, in randomised blocks."""
    counts = predicted_counts(cpus, graph.width, waits)
    pools: list[Candidate] = [(BASELINE, 1)]
    pools += [(backend, workers) for backend in LIMITS for workers in counts]
    walls: dict[Candidate, list[float]] = {pool: [] for pool in pools}
    for _ in range(BLOCKS):
        random.shuffle(pools)
        for backend, workers in pools:
            with load_backend(backend, workers) as pool:
                wall_s(graph, pool)  # warms up
                walls[backend, workers].append(wall_s(graph, pool))
    return {key: median(times_s) for key, times_s in walls.items()}


def compared(
    graph: Graph, profiler: Profiler, times_s: dict[Candidate, float], pick: Candidate
) -> tuple[Candidate, float]:
    """The best of the cases near the best of the sweep, and the pick's time over that of the best.

    From many more blocks. With noise, the best of several equal cases is the luckiest one. So one
    half of the blocks shows which is best, and the other half by how much, block by block; then the
    other way round. The ratio is the geometric mean of both.
    """
    best_s = min(times_s.values())
    near = [pool for pool in times_s if pool == pick or times_s[pool] <= NEAR_AT_FIRST * best_s]
    walls: dict[Candidate, list[float]] = {pool: [] for pool in near}
    for number in range(MORE_BLOCKS + 1):
        random.shuffle(near)
        for pool in near:
            took_s = profiler.run_s(graph, *pool)
            if number:  # the first one warms up
                walls[pool].append(took_s)
    ratios = []
    for half in (0, 1):
        best = min(walls, key=lambda pool: median(walls[pool][half::2]))
        others = zip(walls[pick][1 - half :: 2], walls[best][1 - half :: 2], strict=True)
        ratios.append(median(one / other for one, other in others))
    return min(walls, key=lambda pool: median(walls[pool])), geometric_mean(ratios)


def picks() -> Iterator[Row]:
    """The time of each pick over the best of a sweep after it, and how long finding it took."""
    right, picked, costs = 0, 0, []
    for shape, kernel in cases():
        work = calibrate(kernel)
        graph = graph_of(shape, kernel, work)
        began_s = time.monotonic()
        with Profiler() as profiler:
            advisor = Advisor(profiler)
            models = profiler.task_models(kernel, work)
            advice = advisor.recommend(blank_for(named(shape, kernel)), graph, models)
            took_s = time.monotonic() - began_s
            began_s = time.monotonic()
            times_s = swept(graph, profiler.cpus, kernel.kind.waits)
            costs.append(took_s / (time.monotonic() - began_s))
            if advice.pick is None:
                best = min(times_s, key=lambda pool: times_s[pool])
                yield Row(f"{advice.name}: cannot tell", f"best {best[0]} with {best[1]}", "", None)
                continue
            pick = advice.pick.backend, advice.pick.workers
            best, slower = compared(graph, profiler, times_s, pick)
        picked += 1
        right += slower <= NEAR
        what = f"{advice.name}: {advice.pick} / {best[0]} with {best[1]}"
        measured = f"{slower:.3f}, at {costs[-1]:.2f} of the sweep's time"
        yield Row(what, measured, "<= 1.05", slower <= NEAR)
    of = f" ({right} of {picked})"
    yield at_least("picks within 5 % of the best of the sweep", right / max(1, picked), 0.9, of)
    yield at_most("time of a recommendation / of its sweep, the largest", max(costs), 0.25)


if __name__ == "__main__":
    show([predictions, picks])
