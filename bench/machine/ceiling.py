"""What the machine can do without a scheduler: independent processes, each in a plain loop.

Two CPUs are seldom twice one: they share caches, power and sometimes a core. Efficiency against the
number of cores blames the scheduler for that; against this ceiling it does not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.workloads.kernels import Work
from executors import Attempt, Backend, Graph, Task, run

WARM_UP_S = 0.002  # length of a warm-up task


@dataclass(frozen=True, slots=True)
class Loop:
    """An action: the same work again and again."""

    work: Work
    count: int

    def __call__(self) -> None:
        for _ in range(self.count):
            self.work()


def warm_up(pool: Backend, actions: Collection[Work]) -> None:
    """Has every worker started, with its modules imported and its buffers made."""
    first = Work("sleep", WARM_UP_S)
    for action in [first, *sorted(actions, key=lambda action: action.kernel)]:
        tasks = [Task(f"warm-up{index}", action) for index in range(pool.workers)]
        run(Graph(tasks), pool).raise_for_failures()


def side_by_side_s(pool: Backend, work: Work, count: int, processes: int) -> float:
    """Seconds from the first start to the last end of so many loops of `count` times `work`.

    Args:
        pool: worker processes, at least as many, entered and idle. Each gets one task, a loop, so
            what the pool costs is left out.
    """
    attempts = loops(pool, work, count, processes)
    return max(each.ended_s for each in attempts) - min(each.started_s for each in attempts)


def loops(pool: Backend, work: Work, count: int, number: int) -> list[Attempt]:
    """So many loops of `count` times `work` at once, each on a worker of its own."""
    graph = Graph(Task(f"loop{index}", Loop(work, count)) for index in range(number))
    report = run(graph, pool, keep="none")
    report.raise_for_failures()
    return [record.attempts[-1] for record in report.tasks.values()]
