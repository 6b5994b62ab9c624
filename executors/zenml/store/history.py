"""How long the steps of a pipeline took in its completed runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType

from executors.zenml.errors import NotRecorded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from zenml.models import PipelineRunResponse, StepRunResponse

logger = logging.getLogger(__name__)

MOST_STEPS = 1000  # per page of the store's answers
MOST_RUNS = 10


def step_seconds(pipeline_id: UUID) -> dict[str, float]:
    """Seconds by step name from the last completed run, without cached steps; may be empty.

    Two queries. If the store cannot answer, the steps start in another order, and nothing else.
    """
    try:
        client = Client()
        runs = client.list_pipeline_runs(
            pipeline_id=pipeline_id,
            status=ExecutionStatus.COMPLETED,
            sort_by="desc:created",
            size=1,
        )
        if not runs.items:
            return {}
        steps = client.list_run_steps(
            pipeline_run_id=runs.items[0].id, status=ExecutionStatus.COMPLETED, size=MOST_STEPS
        )
        return {
            step.name: max(0.0, (step.end_time - step.start_time).total_seconds())
            for step in steps.items
            if step.start_time is not None and step.end_time is not None
        }
    except Exception:
        logger.debug("no costs from past runs", exc_info=True)
        return {}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A completed run.

    Attributes:
        orchestrator: its flavor, for example "local".
        wall_s: from its start to its end.
        step_s: seconds by step name, without cached steps.
        idle_s: the part of `wall_s` in which no step ran.
        is_dynamic: its steps were created while it ran. Their needs are those that ZenML recorded:
            not those that the pipeline's function made by waiting for a value.
    """

    orchestrator: str
    wall_s: float
    step_s: dict[str, float]
    idle_s: float
    is_dynamic: bool = False

    @property
    def is_serial(self) -> bool:
        """No two steps overlapped, so none slowed down another."""
        return sum(self.step_s.values()) <= 1.02 * (self.wall_s - self.idle_s)


def recorded_runs(name: str) -> tuple[dict[str, tuple[str, ...]], list[RecordedRun]]:
    """The needs of each step of a pipeline, and its last completed runs with the same steps.

    Reads only. The latest run comes first.

    Raises:
        NotRecorded: there is no such pipeline, or it has no completed run.
    """
    try:
        return _recorded_runs(Client(), name)
    except NotRecorded:
        raise
    except Exception as error:
        raise NotRecorded(
            f"ZenML's store cannot be read: {type(error).__name__}: {str(error).splitlines()[0]}."
            " Check that it can be reached: zenml status"
        ) from error


def _recorded_runs(
    client: Client, name: str
) -> tuple[dict[str, tuple[str, ...]], list[RecordedRun]]:
    try:
        pipeline = client.get_pipeline(name)
    except KeyError as error:
        known = ", ".join(other.name for other in client.list_pipelines(size=20).items)
        raise NotRecorded(
            f"ZenML's store has no pipeline {name!r}; its pipelines: {known or 'none yet'}"
        ) from error
    runs = client.list_pipeline_runs(
        pipeline_id=pipeline.id,
        status=ExecutionStatus.COMPLETED,
        sort_by="desc:created",
        size=MOST_RUNS,
    ).items
    if not runs:
        raise NotRecorded(f"pipeline {name!r} has no completed run; run it once")
    needs: dict[str, tuple[str, ...]] = {}
    recorded = []
    for run in runs:
        if run.snapshot is None or run.start_time is None or run.end_time is None:
            continue
        steps = client.list_run_steps(
            pipeline_run_id=run.id, size=MOST_STEPS, hydrate=run.snapshot.is_dynamic
        ).items
        own = _needs(run, steps)
        needs = needs or own
        if own == needs:
            recorded.append(_recorded(run, steps))
    recorded = [run for run in recorded if run.step_s]
    if not recorded:
        raise NotRecorded(
            f"the completed runs of pipeline {name!r} have no steps, or only cached ones; run it"
            " with steps that are not cached"
        )
    return needs, recorded


def _needs(
    run: PipelineRunResponse, steps: Sequence[StepRunResponse]
) -> dict[str, tuple[str, ...]]:
    """The needs by step name: as planned, or as recorded if the pipeline is dynamic."""
    snapshot = run.snapshot
    assert snapshot is not None
    configured = snapshot.get_hydrated_version().step_configurations
    if not snapshot.is_dynamic:
        return {name: tuple(configured[name].spec.upstream_steps) for name in sorted(configured)}
    done = (ExecutionStatus.COMPLETED, ExecutionStatus.CACHED)
    ended = {step.name: step for step in steps if step.status in done}
    return {
        name: tuple(need for need in ended[name].spec.upstream_steps if need in ended)
        for name in sorted(ended)
    }


def _recorded(run: PipelineRunResponse, steps: Sequence[StepRunResponse]) -> RecordedRun:
    """A run with its steps; one that was retried lasts from its first start to its last end."""
    ran = [step for step in steps if step.status != ExecutionStatus.CACHED and step.start_time]
    starts: dict[str, datetime] = {}
    for step in ran:
        assert step.start_time is not None
        starts[step.name] = min(step.start_time, starts.get(step.name, step.start_time))
    spans = {
        step.name: (starts[step.name], step.end_time)
        for step in ran
        if step.status == ExecutionStatus.COMPLETED and step.end_time is not None
    }
    assert run.start_time is not None
    assert run.end_time is not None
    busy_s, until = 0.0, run.start_time
    for start, end in sorted(spans.values()):
        busy_s += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    wall_s = (run.end_time - run.start_time).total_seconds()
    stack = run.stack
    flavors = stack.components.get(StackComponentType.ORCHESTRATOR, []) if stack else []
    return RecordedRun(
        flavors[0].flavor_name if flavors else "unknown",
        wall_s,
        {name: max(0.0, (end - start).total_seconds()) for name, (start, end) in spans.items()},
        max(0.0, wall_s - busy_s),
        run.snapshot is not None and run.snapshot.is_dynamic,
    )
