"""What the machine can do without a scheduler: independent processes, each in a plain loop.

Two busy CPUs are seldom twice as fast as one: they share caches, power and sometimes a core.
Efficiency against the number of cores blames the scheduler for that; against this ceiling it does
not.
"""

from __future__ import annotations

from bench.machine.timing import loops
from bench.workloads.kernels import Work
from executors import Backend


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
