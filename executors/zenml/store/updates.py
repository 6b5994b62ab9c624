"""What a run writes to ZenML's store and reads from it, in addition to ZenML's own updates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import IllegalOperationError
from zenml.models import ExceptionInfo, PipelineRunRequest, StepRunRequest
from zenml.orchestrators.publish_utils import (
    publish_pipeline_run_metadata,
    publish_pipeline_run_status_update,
    publish_step_run_status_update,
    publish_stopped_step_run,
)
from zenml.orchestrators.step_run_utils import log_model_version_dashboard_url
from zenml.steps.heartbeat import StepHeartbeatWorker
from zenml.utils import string_utils
from zenml.utils.time_utils import utc_now

from executors.pickling.raised import qualified

if TYPE_CHECKING:
    from uuid import UUID

    from zenml.config.step_configurations import Step
    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse, StepRunResponse
    from zenml.stack import Stack

MOST_RUNNING = 10_000  # step runs without an end; more would not be marked as stopped

UNFINISHED = [status.value for status in ExecutionStatus if not status.is_finished]
STOP_STATUSES = (ExecutionStatus.STOPPING, ExecutionStatus.STOPPED)
STEP_STOP_STATUSES = (*STOP_STATUSES, ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED)


def start_run(
    snapshot: PipelineSnapshotResponse, stack: Stack, orchestrator_run_id: str
) -> PipelineRunResponse:
    """Starts the run, as ZenML's launcher does with the first step.

    Doing it once, before the first step, saves a second listing of all installed packages: this
    process is the client's, so the environments are the same.
    """
    start_time = utc_now()
    client = Client()
    run, is_new = client.zen_store.get_or_create_run(
        PipelineRunRequest(
            name=string_utils.format_name_template(
                snapshot.run_name_template,
                substitutions=snapshot.pipeline_configuration.finalize_substitutions(
                    start_time=start_time
                ),
            ),
            orchestrator_run_id=orchestrator_run_id,
            project=client.active_project.id,
            snapshot=snapshot.id,
            status=ExecutionStatus.RUNNING,
            orchestrator_environment=snapshot.client_environment,
            start_time=start_time,
            tags=snapshot.pipeline_configuration.tags,
        )
    )
    if is_new:
        publish_pipeline_run_metadata(
            pipeline_run_id=run.id,
            pipeline_run_metadata=stack.get_pipeline_run_metadata(run_id=run.id),
        )
        if run.model_version:
            log_model_version_dashboard_url(model_version=run.model_version)
    return run


def without_heartbeat(step: Step) -> Step:
    """The step without ZenML's heartbeats: `Stops` sends those that the store expects."""
    spec = step.spec.model_copy(update={"enable_heartbeat": False})
    return step.model_copy(update={"spec": spec})


def publish_failure(run_id: UUID, name: str, number: int, error: BaseException) -> bool:
    """Makes sure that the store knows of an attempt that has failed.

    It does not if the attempt failed before the store had heard of it, or if its process was
    killed. Without that, the run would count as stopped.

    Args:
        run_id: id of the pipeline run.
        name: of the step.
        number: of the attempt, from 1.
        error: its failure.

    Returns:
        Whether the step was completed before.
    """
    client = Client()
    known = client.list_run_steps(pipeline_run_id=run_id, name=name, sort_by="desc:version").items
    if known and known[0].version >= number:
        publish_step_failed(known[0].id, error)
        return known[0].status == ExecutionStatus.COMPLETED
    now = utc_now()
    request = StepRunRequest(
        name=name,
        pipeline_run_id=run_id,
        project=client.active_project.id,
        status=ExecutionStatus.FAILED,
        start_time=now,
        end_time=now,
        exception_info=_information(error),
    )
    try:
        client.zen_store.create_run_step(request)
    except IllegalOperationError:
        pass  # another step has failed
    return False


def publish_step_failed(step_run_id: UUID, error: BaseException) -> None:
    """Publishes a step as failed, unless the store knows already how it ended."""
    status = Client().get_run_step(step_run_id, hydrate=False).status
    if status.is_finished or status in (*STEP_STOP_STATUSES, ExecutionStatus.RETRYING):
        return
    publish_step_run_status_update(
        step_run_id,
        ExecutionStatus.FAILED,
        exception_info=_information(error),
    )


def _information(error: BaseException) -> ExceptionInfo:
    return ExceptionInfo(traceback=str(error), message=str(error), source=qualified(type(error)))


def publish_step_stopped(step_run_id: UUID) -> None:
    """Publishes a step as stopped, unless it has ended."""
    try:
        publish_stopped_step_run(step_run_id)
    except IllegalOperationError:
        pass


def is_stopped(run_id: UUID) -> bool:
    """Whether somebody has stopped the run."""
    return Client().get_pipeline_run(run_id, hydrate=False).status in STOP_STATUSES


def unfinished(run_id: UUID) -> list[StepRunResponse]:
    """The step runs without an end."""
    return (
        Client()
        .list_run_steps(
            pipeline_run_id=run_id, status=f"oneof:{json.dumps(UNFINISHED)}", size=MOST_RUNNING
        )
        .items
    )


def beat(step_run_id: UUID) -> bool:
    """Sends the heartbeat of a step; returns whether the step should stop."""
    response = Client().zen_store.update_step_heartbeat(
        step_run_id=step_run_id,
        heartbeat_liveness_timeout_seconds=(
            StepHeartbeatWorker.heartbeat_liveness_timeout_seconds()
        ),
    )
    return response.status in STEP_STOP_STATUSES


def mark_run_stopping(run_id: UUID, reason: str) -> None:
    """Marks a run that has not ended; if its steps have all ended, the store marks it stopped."""
    try:
        publish_pipeline_run_status_update(run_id, ExecutionStatus.STOPPING, status_reason=reason)
    except IllegalOperationError:
        pass  # it has failed or just ended


def mark_step_stopping(step_run_id: UUID) -> bool:
    """Makes the step count as stopped, not failed, when it raises; False if it has ended."""
    try:
        publish_step_run_status_update(step_run_id, ExecutionStatus.STOPPING)
    except IllegalOperationError:
        return False
    return True


def publish_stopped(run_id: UUID) -> None:
    """Marks the run as stopped, and its steps that have no end.

    Those are steps that were given up, or that wait for a retry that will not come.
    """
    for step in unfinished(run_id):
        try:
            publish_stopped_step_run(step.id)
        except IllegalOperationError:
            pass  # it has just ended
    if Client().get_pipeline_run(run_id, hydrate=False).status == ExecutionStatus.STOPPING:
        publish_pipeline_run_status_update(run_id, ExecutionStatus.STOPPED)
