"""Keeps the timeline of a run that is close to the median of its case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from statistics import median

from bench.results.case import Case
from bench.results.store import Measurement, Results
from bench.results.timelines import MOST_TASKS, UNKNOWN, GraphTasks, Span, Timeline
from bench.workloads.own_graphs import function_name
from executors import Graph, RunReport, TaskRecord

CANDIDATES = 3  # timelines that are remembered of a case while its median is not known yet


class Timelines:
    """Those of a run of the harness.

    Args:
        before: the results of the run to continue.
    """

    def __init__(self, before: Results | None) -> None:
        self._walls: dict[Case, list[float]] = {}
        self._known: dict[Case, list[tuple[float, Timeline]]] = {}
        self._graphs: dict[str, Graph] = {}
        self._written = {tasks.shape for tasks in before.graphs} if before else set()
        walls = {(run.case, run.block): run.wall_s for run in before.measurements} if before else {}
        for (case, _), wall_s in walls.items():
            self._walls.setdefault(case, []).append(wall_s)
        self._before = {
            line.case: (walls[line.case, line.block], line)
            for line in (before.timelines if before else ())
            if (line.case, line.block) in walls
        }

    def add(self, measurement: Measurement, graph: Graph, report: RunReport) -> None:
        """Remembers a run if it may be the one to keep."""
        case = measurement.case
        walls = self._walls.setdefault(case, [])
        walls.append(measurement.wall_s)
        self._graphs[case.shape] = graph
        candidate = measurement.wall_s, timeline_of(measurement, graph, report)
        known = self._known.setdefault(case, [])
        known.append(candidate)
        middle = median(walls)
        known.sort(key=lambda pair: abs(pair[0] - middle))
        del known[CANDIDATES:]

    def lines(self) -> Iterator[GraphTasks | Timeline]:
        """What is to be written: for each case, the run that is closest to its median."""
        for case, known in self._known.items():
            middle = median(self._walls[case])
            pairs = [*known, *([self._before[case]] if case in self._before else [])]
            if not pairs:
                continue  # an interrupt came while the first one was added
            _, best = min(pairs, key=lambda pair: abs(pair[0] - middle))
            if case in self._before and best is self._before[case][1]:
                continue
            if case.shape not in self._written:
                self._written.add(case.shape)
                yield tasks_of(case.shape, self._graphs[case.shape])
            yield best


def tasks_of(shape: str, graph: Graph) -> GraphTasks:
    """The tasks of a graph in its order, without those that are too many."""
    tasks = graph.tasks[:MOST_TASKS]
    index = {task.name: position for position, task in enumerate(tasks)}
    kinds = [function_name(task.action) for task in tasks]
    if len(set(kinds)) == 1:
        kinds = [task.name.rstrip("0123456789_-.,[]() ") or task.name for task in tasks]
    names = list(dict.fromkeys(kinds))
    number = {name: position for position, name in enumerate(names)}
    return GraphTasks(
        shape=shape,
        tasks=len(graph),
        names=[task.name for task in tasks],
        kinds=names,
        kind_of=[number[kind] for kind in kinds],
        needs=[[index[need] for need in task.needs if need in index] for task in tasks],
    )


def timeline_of(measurement: Measurement, graph: Graph, report: RunReport) -> Timeline:
    """The attempts of a run, in the graph's order."""
    workers: dict[str, int] = {}
    spans = [
        span
        for index, task in enumerate(graph.tasks[:MOST_TASKS])
        for span in _spans(index, report.tasks[task.name], report.started_s, workers)
    ]
    return Timeline(
        **asdict(measurement.case),
        block=measurement.block,
        end=_microseconds(report.makespan_s),
        worker_names=list(workers),
        spans=spans,
    )


def _spans(
    index: int, record: TaskRecord, origin_s: float, workers: dict[str, int]
) -> Iterator[Span]:
    def since(at_s: float | None) -> int:
        return UNKNOWN if at_s is None else max(0, _microseconds(at_s - origin_s))

    for attempt in record.attempts:
        is_last = attempt is record.attempts[-1]
        yield Span(
            task=index,
            worker=workers.setdefault(attempt.worker, len(workers)),
            number=attempt.number,
            ready=since(record.ready_s) if attempt.number == 1 else UNKNOWN,
            taken=since(record.taken_s) if is_last else UNKNOWN,
            started=since(attempt.started_s),
            ended=since(attempt.ended_s),
            received=since(record.received_s) if is_last else UNKNOWN,
            cpu=UNKNOWN if attempt.cpu_s is None else _microseconds(attempt.cpu_s),
        )


def _microseconds(seconds: float) -> int:
    return round(1e6 * seconds)
