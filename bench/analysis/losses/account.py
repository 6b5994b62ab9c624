"""The loss account of a case: what workers x makespan went into, part by part, without a rest.

The work is what the same tasks took one after the other, in the sequential runs of the same blocks.
What they took longer than that divides into more processor time and more waiting; the idle time of
the workers was divided when it was measured (`bench/measure/losses.py`). In the terms of the POP
efficiency model (Wagner, Mohr, Gimenez, Labarta 2018)::

    parallel efficiency    time in tasks / (workers x makespan)
    computation scaling    work / time in tasks
    efficiency             their product: work / (workers x makespan)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.analysis.estimates import Estimate, ratio_of_sums
from bench.results.store import Measurement


class Part(StrEnum):
    """What the time of the workers went into."""

    WORK = "work"
    WAITING = "waiting"
    SLOWER = "slower"
    GRAPH = "graph"
    ORDER = "order"
    HANDOVER = "handover"
    RETURN = "return"
    DELAY = "delay"
    EDGES = "edges"
    RETRIED = "retried"
    RESERVED = "reserved"


MEASURED = {  # by the field of a measurement
    Part.GRAPH: "idle_graph_s",
    Part.ORDER: "idle_order_s",
    Part.HANDOVER: "idle_handover_s",
    Part.RETURN: "idle_return_s",
    Part.DELAY: "idle_retry_s",
    Part.EDGES: "idle_edges_s",
    Part.RETRIED: "retried_s",
    Part.RESERVED: "reserved_s",
}
LOSSES = tuple(part for part in Part if part is not Part.WORK)


@dataclass(frozen=True, slots=True, eq=False)  # a row of the summary can be a key
class Account:
    """Where the time of a case's workers went.

    Attributes:
        shares: of workers x makespan, over all blocks; they add up to 1. A part can be negative:
            tasks may wait less, or compute faster, than they do one after the other.
        cores_computing: mean number of threads that computed in tasks.
        cores_wanted: likewise if tasks computed for the same part of their time as they do one
            after the other.
    """

    workers: int
    shares: dict[Part, Estimate]
    cores_computing: float
    cores_wanted: float

    @property
    def efficiency(self) -> float:
        """Work over workers x makespan."""
        return self.shares[Part.WORK].value

    @property
    def parallel_efficiency(self) -> float:
        """Time in tasks over workers x makespan."""
        in_tasks = (Part.WORK, Part.WAITING, Part.SLOWER)
        return sum(self.shares[part].value for part in in_tasks)

    @property
    def computation_scaling(self) -> float:
        """Work over time in tasks."""
        return self.efficiency / self.parallel_efficiency if self.parallel_efficiency else 1.0

    @property
    def largest(self) -> Part:
        """The part that is lost most."""
        return max(LOSSES, key=lambda part: self.shares[part].value)


def account_of(runs: Sequence[Measurement], baseline: Sequence[Measurement]) -> Account | None:
    """The account of a case; None if its runs, or the sequential ones, have none.

    Args:
        runs: those of the case; runs without a sequential run in their block are left out.
        baseline: the sequential runs of the same graph.
    """
    alone = {run.block: run for run in baseline if run.tasks_cpu_s is not None}
    pairs = [(run, alone[run.block]) for run in runs if run.block in alone]
    blocks = [parts for pair in pairs if (parts := _parts_s(*pair)) is not None]
    if not blocks:
        return None
    totals = [sum(parts.values()) for parts in blocks]
    makespan_s = sum(run.makespan_s for run, _ in pairs)
    work_s = sum(run.work_s for run, _ in pairs)
    cpu_s = sum(run.tasks_cpu_s or 0.0 for run, _ in pairs)
    alone_s = sum(before.work_s for _, before in pairs)
    alone_cpu_s = sum(before.tasks_cpu_s or 0.0 for _, before in pairs)
    return Account(
        workers=runs[0].workers,
        shares={part: ratio_of_sums([parts[part] for parts in blocks], totals) for part in Part},
        cores_computing=cpu_s / makespan_s,
        cores_wanted=work_s / makespan_s * (alone_cpu_s / alone_s if alone_s else 0.0),
    )


def _parts_s(run: Measurement, alone: Measurement) -> dict[Part, float] | None:
    """The parts of one run in seconds of workers; None if they were not measured."""
    if run.tasks_cpu_s is None or alone.tasks_cpu_s is None:
        return None
    slower_s = run.tasks_cpu_s - alone.tasks_cpu_s
    measured = {part: getattr(run, field) or 0.0 for part, field in MEASURED.items()}
    return {
        Part.WORK: alone.work_s,
        Part.WAITING: run.work_s - alone.work_s - slower_s,
        Part.SLOWER: slower_s,
        **measured,
        Part.GRAPH: measured[Part.GRAPH] - measured[Part.ORDER],
    }
