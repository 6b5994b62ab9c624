"""Which worker did what when, in one run of a case: the timelines of a results file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bench.results.case import Case

MOST_TASKS = 20_000  # of a graph; the others are counted, not kept
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class GraphTasks:
    """The tasks of a graph, for its timelines.

    Attributes:
        shape: the shape, the workflow, or the user's own graph.
        tasks: their number, also of those that are not kept.
        names: of the tasks that are kept.
        kinds: what tasks have in common: their function or, if all have the same, the beginning of
            their names.
        kind_of: for each name, the index of its kind.
        needs: for each name, the indices of the tasks that it needs, as far as these are kept.
    """

    shape: str
    tasks: int
    names: list[str]
    kinds: list[str]
    kind_of: list[int]
    needs: list[list[int]]

    def check(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        count = len(self.names)
        if len(self.kind_of) != count or len(self.needs) != count or self.tasks < count:
            raise ValueError("names, kind_of and needs must be equally long")
        if not all(0 <= kind < len(self.kinds) for kind in self.kind_of):
            raise ValueError("kind_of names a kind that is not there")
        if not all(0 <= need < count for needs in self.needs for need in needs):
            raise ValueError("needs names a task that is not there")


class Span(NamedTuple):
    """One attempt; times are whole microseconds since the run began, or -1 if they are not known.

    Attributes:
        task, worker: indices in `GraphTasks.names` and `Timeline.worker_names`.
        number: 1 for the first attempt of a task; all but the last one failed.
        ready: when the last need was met.
        taken: when the scheduler took it for a worker.
        received: when its outcome was known to the scheduler.
        cpu: how long its thread computed; -1 if it was too short to tell.
    """

    task: int
    worker: int
    number: int
    ready: int
    taken: int
    started: int
    ended: int
    received: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The tasks of one run of a case.

    Attributes:
        block: that of the measurement, which is close to the median of the case.
        end: when the run ended, in microseconds since it began.
        spans: see `Span`.
    """

    shape: str
    kernel: str
    backend: str
    workers: int
    block: int
    end: int
    worker_names: list[str]
    spans: list[Span]
    python: str = ""

    @property
    def case(self) -> Case:
        return Case(self.shape, self.kernel, self.backend, self.workers, self.python)

    def check(self) -> None:
        """Raises ValueError if a span is out of range."""
        for span in self.spans:
            if not 0 <= span.worker < len(self.worker_names):
                raise ValueError("a span names a worker that is not there")
            if span.task < 0 or not 0 <= span.started <= span.ended or min(span) < UNKNOWN:
                raise ValueError("the times of a span are out of order")
