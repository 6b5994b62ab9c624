"""Times a graph, or plain loops in every worker, outside of a plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic, process_time

from bench.workloads.kernels import Work
from executors import Attempt, Backend, Graph, RunReport, Task, run

WARM_UP_S = 0.002  # length of a warm-up task


@dataclass(frozen=True, slots=True)
class Loop:
    """An action: the same work, `count` times."""

    work: Work
    count: int

    def __call__(self) -> None:
        for _ in range(self.count):
            self.work()


def warm_up(pool: Backend, actions: Collection[Work]) -> None:
    """Gets every worker started, its modules imported and its buffers allocated."""
    first = Work("sleep", WARM_UP_S)
    for action in [first, *sorted(actions, key=lambda action: action.kernel)]:
        tasks = [Task(f"warm-up{index}", action) for index in range(pool.workers)]
        run(Graph(tasks), pool).raise_for_failures()


def wall_s(graph: Graph, pool: Backend) -> float:
    """Seconds of one run on a pool that is entered.

    Raises:
        RunFailed: a task failed.
    """
    return timed_run(graph, pool)[0]


def timed_run(graph: Graph, pool: Backend) -> tuple[float, RunReport]:
    """Seconds of one run on a pool that is entered, and its report.

    Raises:
        RunFailed: a task failed.
    """
    started_s = monotonic()
    report = run(graph, pool, keep="none")
    report.raise_for_failures()
    return monotonic() - started_s, report


def task_times(graph: Graph, pool: Backend) -> tuple[dict[str, float], float]:
    """The times of the tasks, and their share of a CPU in a run in this thread.

    Args:
        pool: the sequential backend.

    Raises:
        RunFailed: a task failed.
    """
    began_cpu_s = process_time()
    took_s, report = timed_run(graph, pool)
    cpu = min(1.0, (process_time() - began_cpu_s) / took_s)
    return {name: record.duration_s for name, record in report.tasks.items()}, cpu


def loops(pool: Backend, work: Work, count: int, number: int) -> list[Attempt]:
    """`number` loops of `count` times `work` at once, each on a worker of its own."""
    graph = Graph(Task(f"loop{index}", Loop(work, count)) for index in range(number))
    report = run(graph, pool, keep="none")
    report.raise_for_failures()
    return [record.attempts[-1] for record in report.tasks.values()]


def side_by_side_s(pool: Backend, work: Work, count: int, processes: int) -> float:
    """Seconds from the first start to the last end of loops of `count` times `work`.

    Args:
        pool: at least `processes` worker processes, entered and idle. Each gets one task, a loop,
            so the pool's own time is left out.
        processes: number of loops.
    """
    attempts = loops(pool, work, count, processes)
    first_s = min(attempt.started_s for attempt in attempts)
    return max(attempt.ended_s for attempt in attempts) - first_s
