"""How long the steps of a pipeline took in its last completed run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zenml.client import Client
from zenml.enums import ExecutionStatus

if TYPE_CHECKING:
    from uuid import UUID

logger = logging.getLogger(__name__)

MOST_STEPS = 1000  # of a page


def step_seconds(pipeline_id: UUID) -> dict[str, float]:
    """Seconds by step name; cached steps are left out. Empty if nothing is known.

    Two queries. A store that cannot answer costs the order of the steps, never the run.
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
