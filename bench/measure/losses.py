"""What the workers of a run did while they ran no task: divides workers x makespan without a rest.

At each moment between the first start and the last end of a task, workers are idle::

    as long as a task is ready and has not started       handing over
    else, as long as an outcome that others wait for
    is on its way to the scheduler                        return
    else, as long as a failed task waits for its retry    delay
    else                                                  waiting for the graph

and before the first start and after the last end, all of them: the run starts or ends. In the terms
of the POP efficiency model (Wagner, Mohr, Gimenez, Labarta 2018), the first two and the last reduce
the transfer efficiency, and the third is load imbalance and serialisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from executors import Graph, RunReport, TaskRecord, load_backend, run
from executors.backends import SIMULATED
from executors.contention import Demand

MOST_TASKS = 20_000  # of a graph that is simulated for the best order
LEAST_SHARE = 0.002  # of all time, that waits for the graph; less is not simulated


@dataclass(frozen=True, slots=True)
class Losses:
    """Seconds of workers: their sum and that of the tasks' times is workers x makespan.

    Attributes:
        tasks_cpu_s: of the tasks' times, the time for which their threads computed; a task that was
            too short to tell counts as computing.
        retried_s: attempts that were followed by another one.
        reserved_s: workers that tasks with several slots occupied beyond the first.
        idle_handover_s: idle while a task was ready that had not started.
        idle_return_s: idle while an outcome was on its way on which another task depended.
        idle_retry_s: idle while a failed task waited for its next attempt.
        idle_graph_s: idle without a ready task.
        idle_order_s: the part of `idle_graph_s` that another order saves, as simulated; or None.
        idle_edges_s: before the first task started and after the last one ended.
    """

    tasks_cpu_s: float
    retried_s: float
    reserved_s: float
    idle_handover_s: float
    idle_return_s: float
    idle_retry_s: float
    idle_graph_s: float
    idle_order_s: float | None
    idle_edges_s: float


def losses_of(graph: Graph, report: RunReport) -> Losses:
    """The losses of a run in which every task succeeded."""
    workers = report.workers
    records = [report.tasks[task.name] for task in graph.ranked]
    slots = [min(task.slots, workers) for task in graph.ranked]
    ends = [record.attempts[-1] for record in records]
    first_s = min(record.attempts[0].started_s for record in records)
    last_s = max(attempt.ended_s for attempt in ends)
    is_plain = all(task.slots == 1 and task.context is None for task in graph.ranked)
    # Where slots or contexts matter, a ready task may have to wait although a worker is free.
    ready_s = [record.ready_s if is_plain else record.taken_s for record in records]
    waiting = [
        (at_s, record.attempts[0].started_s)
        for at_s, record in zip(ready_s, records, strict=True)
        if at_s is not None and len(record.attempts) == 1
    ]
    returning = [
        (attempt.ended_s, record.received_s or attempt.ended_s)
        for attempt, record, dependents in zip(ends, records, graph.dependents, strict=True)
        if dependents
    ]
    running = [
        (attempt.started_s, attempt.ended_s, count)
        for record, count in zip(records, slots, strict=True)
        for attempt in record.attempts
    ]
    retrying = [
        (failed.ended_s, following.started_s)
        for record in records
        for failed, following in pairwise(record.attempts)
    ]
    *queues, idle_graph_s = _idle(workers, first_s, last_s, running, waiting, returning, retrying)
    idle_handover_s, idle_return_s, idle_retry_s = queues
    last = {record.name: record.duration_s for record in records}
    retried_s = sum(attempt.duration_s for record in records for attempt in record.attempts[:-1])
    occupied = zip(records, slots, strict=True)
    return Losses(
        tasks_cpu_s=sum(_cpu_s(record) for record in records),
        retried_s=retried_s,
        reserved_s=sum(
            (count - 1) * attempt.duration_s
            for record, count in occupied
            for attempt in record.attempts
        ),
        idle_handover_s=idle_handover_s,
        idle_return_s=idle_return_s,
        idle_retry_s=idle_retry_s,
        idle_graph_s=idle_graph_s,
        idle_order_s=_order_s(graph, last, workers, idle_graph_s, report.makespan_s),
        idle_edges_s=workers * ((first_s - report.started_s) + (report.ended_s - last_s)),
    )


def _cpu_s(record: TaskRecord) -> float:
    cpu_s = record.attempts[-1].cpu_s
    return record.duration_s if cpu_s is None else cpu_s


def _idle(
    workers: int,
    first_s: float,
    last_s: float,
    running: Iterable[tuple[float, float, int]],
    *causes: Iterable[tuple[float, float]],
) -> list[float]:
    """Idle seconds of workers, for each cause and without one; a moment counts for the first cause.

    Args:
        running: starts, ends and slots of the attempts.
        causes: starts and ends of what an idle worker may be idle for.
    """
    events = [(at_s, 0, sign * slots) for *span, slots in running for at_s, sign in _ends(span)]
    for place, spans in enumerate(causes, 1):
        events += [(at_s, place, sign) for span in spans for at_s, sign in _ends(span)]
    events += [(first_s, 0, 0), (last_s, 0, 0)]
    events.sort()
    table = np.zeros((len(events), 1 + len(causes)))
    for row, (_, place, change) in enumerate(events):
        table[row, place] = change
    lengths = np.diff(np.clip([at_s for at_s, _, _ in events], first_s, last_s))
    busy, *wanted = np.cumsum(table[:-1], axis=0).T
    left = np.clip(workers - busy, 0, None)
    seconds = []
    for count in wanted:
        # If nothing runs, all workers wait for what happens next, not only one for each of them.
        idle = np.where(busy > 0, np.minimum(left, count), np.where(count > 0, left, 0))
        seconds.append(float(idle @ lengths))
        left = left - idle
    return [*seconds, float(left @ lengths)]


def _ends(span: Sequence[float]) -> Iterator[tuple[float, int]]:
    """When a span begins and ends, with the change of a count; nothing if it has no length."""
    begins_s, ends_s = span
    if ends_s > begins_s:
        yield begins_s, 1
        yield ends_s, -1


def _order_s(
    graph: Graph, times_s: Mapping[str, float], workers: int, graph_s: float, makespan_s: float
) -> float | None:
    """What a scheduler saves of the time that waits for the graph if it knows the tasks' times.

    Both schedules are simulated, so that only their order differs.
    """
    if graph_s <= LEAST_SHARE * workers * makespan_s:
        return 0.0
    if len(graph) > MOST_TASKS:
        return None
    known = Graph(replace(task, cost_s=times_s[task.name]) for task in graph.tasks)
    saved_s = _simulated_s(graph, times_s, workers) - _simulated_s(known, times_s, workers)
    return min(graph_s, max(0.0, workers * saved_s))


def _simulated_s(graph: Graph, times_s: Mapping[str, float], workers: int) -> float:
    """The makespan in the graph's own order, if the tasks take these times and nothing else."""
    backend = load_backend(SIMULATED, workers, demand=lambda task: Demand(times_s[task.name]))
    return run(graph, backend, keep="none").makespan_s
