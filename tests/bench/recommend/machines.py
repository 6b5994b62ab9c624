"""A made-up machine, on which the right recommendation is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from bench.measure.prepared import graph_of
from bench.predict.prediction import KernelProfile, TaskModel
from bench.predict.profiler import Profiler
from bench.recommend.advisor import Advisor, blank_for
from bench.recommend.recommendation import Recommendation
from bench.workloads.kernels import SizedKernel, Work, sized
from bench.workloads.shapes import sized as sized_shape
from executors import Graph
from executors.backends.simulated import Overheads

CPUS = 4
COSTS = {
    "sequential": Overheads(1e-4, 2e-6, 0.0),
    "processes": Overheads(5e-4, 1e-5, 2e-4),
    "threads": Overheads(2e-4, 5e-6, 5e-5),
}
PROFILES = {  # of tasks with the intended length
    "python-cpu": KernelProfile(1.0, 1.0, 1.0, (1.0, 1.95, 2.9, 3.8), (1.0, 0.95)),
    "native-cpu": KernelProfile(1.0, 1.0, 0.0, (1.0, 1.95, 2.9, 3.8), (1.0, 1.0)),
    "sleep": KernelProfile(1.0, 0.0, 0.0, (1.0, 2.0, 3.0, 4.0), (1.0, 1.0)),
}


class MadeUp(Profiler):
    """A profiler of a known machine with 4 CPUs; runs take 1 s, or the seconds in `walls`."""

    def __init__(self, **walls: float) -> None:
        self.cpus = CPUS
        self._progress = lambda step: None
        self.names = ["processes", "threads"]
        self.overheads = dict(COSTS)
        self.worker_bytes = {"sequential": 0.0, "processes": 50e6, "threads": 0.0}
        self._profiles: dict[tuple[str, float], list[KernelProfile]] = {}
        self.walls = walls
        self._remarks: dict[str, None] = {}
        self.ran: list[str] = []

    def task_models(self, kernel: SizedKernel, work: Work) -> list[TaskModel]:
        if kernel.length_s:
            usual = PROFILES[kernel.kind.name]
            profiles = [replace(usual, factor=factor) for factor in (1.0, 0.98, 1.02)]
            self._profiles[kernel.kind.name, kernel.length_s] = profiles
        return super().task_models(kernel, work)

    def pool(self, backend: str, workers: int) -> Any:
        return SimpleNamespace(start_s={"processes": 0.2}.get(backend, 0.0), backend=backend)

    def run_s(self, graph: Graph, backend: str, workers: int) -> float:
        self.ran.append(f"{backend} {workers}")
        return self.walls.get(backend, 1.0)


def recommended(
    shape: str,
    kernel: str,
    verify: bool = False,
    profiler: MadeUp | None = None,
    budget_s: float | None = None,
    **walls: float,
) -> Recommendation:
    wanted = sized(kernel)
    work = Work(wanted.kind.name, 1)
    graph = graph_of(sized_shape(shape), wanted, work)
    profiler = profiler or MadeUp(**walls)
    models = profiler.task_models(wanted, work)
    return Advisor(profiler).recommend(
        blank_for(shape, kernel), graph, models, None, verify, budget_s
    )
