"""Simulations of a graph with the times of a timeline, and with others: what would be if."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from bench.analysis.losses.account import Part
from bench.results.timelines import UNKNOWN, GraphTasks, Span, Timeline
from executors import Graph, RunReport, Task, load_backend, run
from executors.backends import SIMULATED
from executors.contention import Demand

MUCH_LONGER = 1.5  # times the median of all tasks

Times = dict[str, float]  # seconds by name of the task


class WhatIf:
    """Simulations of a graph with the times of a timeline, and with others.

    Args:
        alone: the timeline of the sequential run, for what a task takes by itself.
        cpus: those of the machine; computing cannot be split over more.
    """

    def __init__(
        self, tasks: GraphTasks, timeline: Timeline, alone: Timeline | None, cpus: int
    ) -> None:
        self._workers = timeline.workers
        self._cpus = min(cpus, timeline.workers)
        self._makespan_s = timeline.end / 1e6
        self._graph = _graph(tasks)
        self._times_s, self._cpu_s = _times(tasks, timeline)
        self._alone = _times(tasks, alone) if alone is not None else None
        self._usual_s = self._alone[0] if self._alone else self._times_s
        self.path = self._graph.critical_path(self._usual_s)
        self.path_s = sum(self._usual_s[task.name] for task in self.path)

    @property
    def long_task(self) -> str | None:
        """The longest task of the critical path, if it is much longer than tasks are as a rule."""
        longest = max(self.path, key=lambda task: self._usual_s[task.name]).name
        is_long = all(  # in both runs, or something may have delayed it
            times_s[longest] > MUCH_LONGER * median(times_s.values())
            for times_s in (self._usual_s, self._times_s)
        )
        return longest if is_long else None

    def gain(self, part: Part, share: float) -> float | None:
        """How many times as fast the run would be at most without a loss; None: not known."""
        before_s = self._simulated_s(self._times_s)
        if part in (Part.WAITING, Part.SLOWER):
            if self._alone is None:
                return None
            after_s = self._simulated_s(self._alone_in(part))
        elif part is Part.ORDER:
            after_s = self._simulated_s(self._times_s, known=True)
        elif part is Part.GRAPH:
            after_s = self._without_waiting_s()
        else:  # it is not in the tasks
            before_s, after_s = share * self._makespan_s, 0.0
        least_s = self._makespan_s - max(0.0, before_s - after_s)
        return self._makespan_s / least_s if least_s > 0 else None

    def _alone_in(self, part: Part) -> Times:
        """The times of the tasks with the waiting, or the computing, that they have alone."""
        assert self._alone is not None
        alone_s, alone_cpu_s = self._alone
        if part is Part.WAITING:
            return {
                name: cpu_s + max(0.0, alone_s[name] - alone_cpu_s[name])
                for name, cpu_s in self._cpu_s.items()
            }
        return {
            name: time_s - max(0.0, self._cpu_s[name] - alone_cpu_s[name])
            for name, time_s in self._times_s.items()
        }

    def _without_waiting_s(self) -> float:
        """The makespan with the long task split over all workers; without one, with no needs.

        Computing takes at least its time over the CPUs.
        """
        if (task := self.long_task) is not None:
            part_s = self._split_s(self._times_s[task], self._cpu_s[task])
            return self._simulated_s({**self._times_s, task: part_s})
        return self._split_s(sum(self._times_s.values()), sum(self._cpu_s.values()))

    def _split_s(self, time_s: float, cpu_s: float) -> float:
        return max(time_s / self._workers, cpu_s / self._cpus)

    def _simulated_s(self, times_s: Times, known: bool = False) -> float:
        graph = self._graph
        if known:
            graph = Graph(replace(task, cost_s=times_s[task.name]) for task in graph.tasks)
        return _simulated(graph, times_s, self._workers).makespan_s


def _times(tasks: GraphTasks, timeline: Timeline) -> tuple[Times, Times]:
    """Seconds and processor seconds of each task, in its last attempt."""
    times_s, cpu_s = dict.fromkeys(tasks.names, 0.0), dict.fromkeys(tasks.names, 0.0)
    for span in timeline.spans:
        took, name = span.ended - span.started, tasks.names[span.task]
        times_s[name] = took / 1e6
        cpu_s[name] = (took if span.cpu == UNKNOWN else min(span.cpu, took)) / 1e6
    return times_s, cpu_s


def ideal_timeline(tasks: GraphTasks, alone: Timeline, workers: int) -> Timeline:
    """The same tasks on as many cores as workers, as long as one after the other, simulated."""
    times_s, _ = _times(tasks, alone)
    report = _simulated(_graph(tasks), times_s, workers)
    rows: dict[str, int] = {}
    spans = []
    for index, record in enumerate(report.tasks.values()):
        attempt = record.attempts[-1]
        ready, started, ended = (
            round(1e6 * (at_s - report.started_s))
            for at_s in (record.ready_s or 0.0, attempt.started_s, attempt.ended_s)
        )
        row = rows.setdefault(attempt.worker, len(rows))
        spans.append(Span(index, row, 1, ready, ready, started, ended, ended, UNKNOWN))
    end = round(1e6 * report.makespan_s)
    graph, kernel = alone.shape, alone.kernel
    return Timeline(graph, kernel, SIMULATED, workers, alone.block, end, list(rows), spans)


def _graph(tasks: GraphTasks) -> Graph:
    return Graph(
        Task(name, abs, tuple(tasks.names[need] for need in needs))  # abs is never called
        for name, needs in zip(tasks.names, tasks.needs, strict=True)
    )


def _simulated(graph: Graph, times_s: Times, workers: int) -> RunReport:
    backend = load_backend(SIMULATED, workers, demand=lambda task: Demand(times_s[task.name]))
    return run(graph, backend, keep="none")
