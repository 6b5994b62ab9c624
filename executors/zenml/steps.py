"""Runs a static pipeline: its snapshot becomes a Graph, and `run` does the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING

from zenml.exceptions import RunStoppedException
from zenml.execution.context import setup_execution_context
from zenml.orchestrators.publish_utils import publish_pipeline_run_metadata

from executors import Backend, FailurePolicy, Graph, Observer, RunReport, run
from executors.backends.threads import Threads
from executors.core.policy import POLICIES
from executors.core.records import describe
from executors.errors import TaskStopped
from executors.zenml.graph import graph_of
from executors.zenml.outcome import Outcome
from executors.zenml.process.environments import Environment, resolved
from executors.zenml.process.interrupts import StepNotStarted
from executors.zenml.process.stops import HURRY_S, Stops
from executors.zenml.store import updates
from executors.zenml.store.tuning import commit_quickly

if TYPE_CHECKING:
    from uuid import UUID

    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse
    from zenml.stack import Stack

    from executors.core.records import Attempt
    from executors.zenml.config import LocalThreadedOrchestratorConfig
    from executors.zenml.launch.launcher import Launcher

logger = logging.getLogger(__name__)

NewLauncher = Callable[["PipelineRunResponse", Mapping[str, Environment], Stops], "Launcher"]


def run_steps(
    snapshot: PipelineSnapshotResponse,
    stack: Stack,
    config: LocalThreadedOrchestratorConfig,
    *,
    component_id: UUID,
    orchestrator_run_id: str,
    new_launcher: NewLauncher,
    at_second_signal: Callable[[], object],
) -> None:
    """Runs the steps of a snapshot; returns when all of them have succeeded.

    Args:
        snapshot: of the pipeline.
        stack: where to run it.
        config: of the orchestrator.
        component_id: the orchestrator's, under which the run's metadata is published.
        orchestrator_run_id: id of this run.
        new_launcher: called with the run, the environments of its steps and its stops.
        at_second_signal: called before a second SIGINT ends everything immediately.

    Raises:
        BaseException: in fail_fast, the error of the step that failed first.
        RuntimeError: in the other modes, if a step failed.
        RunStoppedException: the run was stopped from elsewhere.
        KeyboardInterrupt: after SIGINT, if called in the main thread.
        SystemExit: after SIGTERM, with code 143, if called in the main thread.
    """
    commit_quickly()
    environments = resolved(snapshot, stack)
    policy = POLICIES[snapshot.pipeline_configuration.execution_mode.value]
    pipeline_run = updates.start_run(snapshot, stack, orchestrator_run_id)
    with setup_execution_context(pipeline_run=pipeline_run), Stops(pipeline_run.id) as stops:
        launcher = new_launcher(pipeline_run, environments, stops)
        graph = graph_of(
            snapshot, config, environments if launcher.is_shared else {}, launcher.launch
        )
        backend = Threads(config.max_workers, grace_s=launcher.grace_s + launcher.kill_s)
        try:
            report, interrupt = _run(graph, backend, policy, stops, launcher.grace_s)
        except (KeyboardInterrupt, SystemExit):
            at_second_signal()
            stops.end(HURRY_S)
            _mark_stopped(pipeline_run.id)
            raise
        finally:
            launcher.leave()
    outcome = Outcome.of(report, graph, policy, launcher.times_s)
    _publish(outcome, config.flavor, pipeline_run.id, component_id)
    if not report.succeeded or stops.is_stopping:
        _mark_stopped(pipeline_run.id)
    if interrupt is not None:
        raise interrupt
    if stops.requested.is_set() or _was_stopped_last(pipeline_run.id):
        raise RunStoppedException("The pipeline run was stopped.")
    outcome.raise_for_failures()
    if not report.succeeded:
        raise RunStoppedException("A step was stopped; no step failed.")


def _run(
    graph: Graph, backend: Backend, policy: FailurePolicy, stops: Stops, grace_s: float
) -> tuple[RunReport, BaseException | None]:
    """Runs the graph; its report, and the exception of the signal that stopped it, if any.

    Raises:
        KeyboardInterrupt, SystemExit: a second signal, which leaves no report.
    """
    try:
        report = run(
            graph,
            backend,
            policy=policy,
            observers=[stops, _RunLog(grace_s)],
            keep="none",
            cancel=stops.requested,
        )
    except (KeyboardInterrupt, SystemExit) as interrupt:
        if not hasattr(interrupt, "report"):
            raise
        return interrupt.report, interrupt
    return report, None


def _was_stopped_last(run_id: UUID) -> bool:
    """Whether the run was stopped elsewhere since the last check."""
    try:
        return updates.is_stopped(run_id)
    except Exception:
        return False


def _mark_stopped(run_id: UUID) -> None:
    """Marks as stopped whatever of the run has no end."""
    try:
        updates.publish_stopped(run_id)
    except Exception:
        logger.warning("ZenML's store may still show steps of this run as running", exc_info=True)


class _RunLog(Observer):
    """Logs failures and the stop in the log of the run."""

    def __init__(self, grace_s: float) -> None:
        self._context = copy_context()
        self._grace_s = grace_s

    def run_stopping(self, reason: str) -> None:
        self._context.run(
            logger.warning,
            "Stopping (%s): running steps have %g s to end.",
            reason,
            self._grace_s,
        )

    def task_ended(self, attempt: Attempt) -> None:
        error = attempt.error
        if error is None or isinstance(error, (TaskStopped, StepNotStarted)):
            return
        task, number = attempt.call.task, attempt.number
        if number > task.retries:
            self._context.run(logger.error, "Step `%s` failed.", task.name, exc_info=error)
            return
        self._context.run(
            logger.warning,
            "Step `%s` failed (attempt %d of %d): %s. The next attempt comes after %g s.",
            task.name,
            number,
            task.retries + 1,
            describe(error),
            task.delay_s(number),
        )


def _publish(outcome: Outcome, flavor: str, run_id: UUID, component_id: UUID) -> None:
    """Logs the outcome and stores it with the run."""
    losses = outcome.losses()
    if losses is not None:
        logger.error("%s", losses)
    logger.info("%s", outcome.line())
    try:
        publish_pipeline_run_metadata(
            pipeline_run_id=run_id,
            pipeline_run_metadata={component_id: {flavor: outcome.metadata()}},
        )
    except Exception:
        logger.debug("the run's metadata could not be stored", exc_info=True)
