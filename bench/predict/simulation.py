"""Simulated cases: a Measurement of what a run would take, without the run."""

from __future__ import annotations

from dataclasses import asdict

from bench.predict.prediction import LEAST_CPU
from bench.results.case import Case
from bench.results.store import Measurement
from executors import Graph, RunReport, Task, load_backend, run
from executors.contention import Demand

SHORTEST_S = 1e-9  # a time is never 0
STEPS = 40  # in the curve of busy cores


def simulated(case: Case, graph: Graph, alone: Measurement) -> Measurement:
    """The time that the tasks would take on as many cores as workers.

    Tasks are as long as in a sequential run, and a scheduler takes no time, so this is a bound.

    Args:
        alone: the sequential run in the same block.
    """
    costs_s = [task.cost_s for task in graph.tasks]
    work_s = sum(cost_s or 0.0 for cost_s in costs_s) if None not in costs_s else 0.0
    factor = alone.work_s / work_s if work_s else 0.0
    mean_s = alone.work_s / len(graph)  # of tasks of unknown length
    cores = min(1.0, alone.cpu_s / alone.work_s) if alone.work_s else 0.0
    cores = cores if cores >= LEAST_CPU else 0.0

    def demand(task: Task) -> Demand:
        return Demand(factor * (task.cost_s or 0.0) if work_s else mean_s, cores)

    report = run(graph, load_backend(case.backend, case.workers, demand=demand), keep="none")
    times_s = {task.name: demand(task).seconds for task in graph.tasks}
    return Measurement(
        **asdict(case),
        block=alone.block,
        wall_s=max(report.makespan_s, SHORTEST_S),
        makespan_s=report.makespan_s,
        start_s=0.0,
        work_s=graph.work_s(times_s),
        span_s=graph.span_s(times_s),
        cpu_s=cores * alone.work_s,
        busy=_cores_busy(report) if cores else [],
        memory_bytes=0,
    )


def _cores_busy(report: RunReport) -> list[tuple[float, float]]:
    """Pairs of time and mean of running tasks since the previous pair, in equal steps."""
    step_s = report.makespan_s / STEPS
    if not step_s:
        return []
    used_s = [0.0] * STEPS
    for record in report.tasks.values():
        start_s, end_s = (
            (at_s - report.started_s) / step_s
            for at_s in (record.attempts[-1].started_s, record.attempts[-1].ended_s)
        )
        for step in range(int(start_s), min(STEPS, int(end_s) + 1)):
            used_s[step] += min(end_s, step + 1) - max(start_s, step)
    return [(round((step + 1) * step_s, 6), round(used, 4)) for step, used in enumerate(used_s)]
