"""The section of a report on ZenML stacks: what their steps cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.analysis.stacks import StackRow
from bench.workloads.duration import shown
from reports.markdown import table

TITLES = [
    *("stack", "workers", "makespan", "a step beyond its kernel", "waiting to start"),
    *("most at once", "before the first step", "first pipeline"),
]
NOTE = (
    "From the times in ZenML's store, medians. The makespan is from the start of the first step to"
    " the end of the last one. A step's own time beyond its kernel is the work of ZenML and of the"
    " orchestrator, and waiting for cores or locks. The first pipeline, of one empty step, is"
    " measured once per block, when workers have to start and images have to be built; it counts"
    " as the start of the cold speedup."
)


def stack_section(rows: Sequence[StackRow]) -> Iterator[str]:
    """A table with a line for each stack, and what it means."""
    yield table(TITLES, stack_cells(rows), right_from=1)
    yield NOTE


def stack_cells(rows: Sequence[StackRow]) -> list[list[str]]:
    """The cells of the table."""
    return [
        [
            row.case.name,
            str(row.case.workers),
            shown(row.makespan_s),
            shown(row.step_s),
            shown(row.queued_s),
            str(row.most_at_once),
            shown(row.before_s),
            shown(row.first_s),
        ]
        for row in rows
    ]
