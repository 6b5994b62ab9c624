"""What a results file contains, as data: measurements, ceilings, and the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.machine.counters import Interference
from bench.results.case import Case
from bench.results.timelines import GraphTasks, Timeline
from executors.core.tables import data_frame

# Of a measurement in a table: all its fields but the curve of busy cores.
COLUMNS = [
    *("shape", "kernel", "backend", "workers", "block", "wall_s", "makespan_s", "start_s"),
    *("first_s", "work_s", "span_s", "cpu_s", "memory_bytes"),
    *("tasks_cpu_s", "retried_s", "reserved_s", "idle_handover_s", "idle_return_s"),
    *("idle_retry_s", "idle_graph_s", "idle_order_s", "idle_edges_s"),
    *("before_s", "queued_s", "most_at_once", "python"),
]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One timed run of one case.

    Attributes:
        block: number of the block, from 0.
        wall_s: from the call of `run` until nothing is running.
        makespan_s: from the start of driving to the end of the last task.
        start_s: how long its pool took to start; the run itself found the pool warm.
        work_s: the sum of the tasks' measured times.
        span_s: the longest path through the graph in the tasks' measured times.
        cpu_s: CPU time of all processes of the tree during the run.
        busy: pairs of seconds since the start and the mean of busy cores since the previous pair.
        memory_bytes: largest sum of resident sizes (shared pages count in each process).
        first_s: for the user's own graph, the time of the first run on this pool; else None,
            because a pool is warmed up with tasks of its own.
        tasks_cpu_s: of `work_s`, the time for which the tasks' threads computed; tasks that were
            too short to tell count as computing. This and all that follow are None if they were not
            measured; with `work_s`, all but this and `idle_order_s` add up to workers x makespan.
        retried_s: attempts that were followed by another one.
        reserved_s: workers that tasks with several slots occupied beyond the first.
        idle_handover_s: workers were idle while a task was ready that had not started.
        idle_return_s: idle while an outcome was on its way on which another task depended.
        idle_retry_s: idle while a failed task waited for its next attempt.
        idle_graph_s: idle without a ready task.
        idle_order_s: the part of `idle_graph_s` that another order saves, as simulated, or None.
        idle_edges_s: before the first task started, and after the last one ended.
        before_s: on a ZenML stack, from the call of the pipeline to the start of the first step;
            this and what follows are None on a backend.
        queued_s: the mean time from when a step could start until it started.
        most_at_once: steps that ran at the same time.
        python: the name of the Python, if `--python` named several; else empty.
    """

    shape: str
    kernel: str
    backend: str
    workers: int
    block: int
    wall_s: float
    makespan_s: float
    start_s: float
    work_s: float
    span_s: float
    cpu_s: float
    busy: list[tuple[float, float]]
    memory_bytes: int
    first_s: float | None = None
    tasks_cpu_s: float | None = None
    retried_s: float | None = None
    reserved_s: float | None = None
    idle_handover_s: float | None = None
    idle_return_s: float | None = None
    idle_retry_s: float | None = None
    idle_graph_s: float | None = None
    idle_order_s: float | None = None
    idle_edges_s: float | None = None
    before_s: float | None = None
    queued_s: float | None = None
    most_at_once: int | None = None
    python: str = ""

    @property
    def cold_s(self) -> float:
        """The first run and the start of the pool."""
        return self.start_s + (self.wall_s if self.first_s is None else self.first_s)

    @property
    def case(self) -> Case:
        return Case(self.shape, self.kernel, self.backend, self.workers, self.python)

    @property
    def row(self) -> list[object]:
        """The values of `COLUMNS`."""
        return [getattr(self, column) for column in COLUMNS]

    @property
    def utilisation(self) -> float:
        """CPU time over workers x wall: the share of its workers that a run kept busy."""
        return self.cpu_s / (self.workers * self.wall_s)


@dataclass(frozen=True, slots=True)
class CeilingSample:
    """What independent processes reach: the same work in plain loops, without a scheduler.

    Attributes:
        one_s: seconds that one process took, alone.
        all_s: seconds until each of `workers` processes had done the same, side by side.
        python: as in a Measurement.
    """

    kernel: str
    workers: int
    block: int
    one_s: float
    all_s: float
    python: str = ""

    @property
    def value(self) -> float:
        """Their joint speed over that of one."""
        return self.workers * self.one_s / self.all_s


@dataclass(frozen=True, slots=True)
class LockState:
    """Whether the interpreter lock of a free-threaded build was on when a run ended.

    Attributes:
        python: its name in the cases.
        gil: "on" or "off".
        switched_on_by: modules that could not do without it when they were loaded.
    """

    python: str
    gil: str
    switched_on_by: list[str]


Sample = Measurement | CeilingSample | Interference | GraphTasks | Timeline | LockState


@dataclass(frozen=True, slots=True, repr=False)
class Results:
    """The content of a results file.

    Attributes:
        header: machine, versions, configuration, shapes and calibration.
        measurements, ceilings, interference: in the order in which they were measured.
        graphs: the tasks of the graphs that have timelines.
        timelines: at most one for each case, of a run that is close to its median.
        locks: of free-threaded builds, the last state of each.
        end: why nothing more was measured ("complete", "budget", "precision"); None if cut off.
        warnings: about the file.
        sound_bytes: length of the file up to its last whole line.
    """

    header: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    ceilings: tuple[CeilingSample, ...] = ()
    interference: tuple[Interference, ...] = ()
    graphs: tuple[GraphTasks, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    locks: tuple[LockState, ...] = ()
    end: str | None = None
    warnings: tuple[str, ...] = ()
    sound_bytes: int = 0

    def __repr__(self) -> str:
        cases = len({run.case for run in self.measurements})
        ended = "" if self.is_complete else ", incomplete"
        return f"<Results: {len(self.measurements)} measurements of {cases} cases{ended}>"

    @property
    def reference(self) -> str:
        """The Python that others are compared with; empty if there is one only."""
        return next(iter(self.header.get("pythons", {})), "")

    @property
    def is_complete(self) -> bool:
        return self.end is not None

    def to_pandas(self) -> Any:
        """A DataFrame with a row per measurement; the columns are those of `bench export`.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(COLUMNS, [run.row for run in self.measurements])
