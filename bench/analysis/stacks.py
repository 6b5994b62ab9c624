"""What ZenML stacks cost: the times of their pipelines' steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from bench.results.case import Case
from bench.results.samples import Measurement


@dataclass(frozen=True, slots=True)
class StackRow:
    """Medians over the runs of a case.

    Attributes:
        makespan_s: from the start of the first step to the end of the last one.
        step_s: what a step takes beyond its kernel, by the length of the calibrated kernel: the
            work of ZenML and the orchestrator, and waiting for cores and locks.
        queued_s: from when a step could start until it started, on average.
        most_at_once: steps that ran at the same time.
        before_s: from the call of the pipeline to the start of the first step.
        first_s: of a first pipeline with one empty step: starts workers, builds images.
    """

    case: Case
    makespan_s: float
    step_s: float
    queued_s: float
    most_at_once: int
    before_s: float
    first_s: float


def stack_rows(
    samples: Mapping[Case, Iterable[Measurement]], tasks: int, kernel_s: float
) -> list[StackRow]:
    """A row for each case of a shape and kernel that ran on a stack.

    Args:
        samples: the runs of each case.
        tasks: of the graph.
        kernel_s: seconds of a task.
    """
    rows = []
    for case, measured in samples.items():
        runs = [run for run in measured if run.queued_s is not None]
        if not runs:
            continue
        rows.append(
            StackRow(
                case,
                median(run.makespan_s for run in runs),
                median(run.work_s / tasks - kernel_s for run in runs),
                median(run.queued_s or 0.0 for run in runs),
                max(run.most_at_once or 0 for run in runs),
                median(run.before_s or 0.0 for run in runs),
                median(run.start_s for run in runs),
            )
        )
    return rows
