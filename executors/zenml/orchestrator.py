"""`LocalThreadedOrchestrator`: where ZenML's calls arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from zenml.client import Client
from zenml.constants import (
    ENV_ZENML_DYNAMIC_PIPELINE_MONITORING_INTERVAL,
    ENV_ZENML_DYNAMIC_PIPELINE_WORKER_COUNT,
)
from zenml.enums import ExecutionMode, ExecutionStatus
from zenml.exceptions import RunStoppedException
from zenml.orchestrators import BaseOrchestrator, SubmissionResult
from zenml.steps.step_context import RunContext, get_or_create_run_context
from zenml.utils.env_utils import get_runtime_environment

from executors.zenml.config import (
    LocalProcessOrchestratorConfig,
    LocalThreadedOrchestratorConfig,
)
from executors.zenml.dynamic import Runner
from executors.zenml.launch import isolated
from executors.zenml.launch.pool import WorkerOptions, WorkerPool, pool_of
from executors.zenml.launch.processes import ProcessLauncher
from executors.zenml.launch.threads import ThreadLauncher
from executors.zenml.process.environments import Environment, applied, environment_of
from executors.zenml.process.interrupts import CURRENT, StepInterrupted
from executors.zenml.process.keyed_lock import Hold, KeyedLock
from executors.zenml.process.run_id import current_run_id, running
from executors.zenml.steps import NewLauncher, run_steps
from executors.zenml.store import updates

if TYPE_CHECKING:
    from zenml.config.step_run_info import StepRunInfo
    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse, StepRunResponse
    from zenml.stack import Stack

logger = logging.getLogger(__name__)

RUN_CONTEXT = KeyedLock()  # of ZenML's RunContext: one object with one state per process
WITHOUT_HOOKS = "without hooks"  # runs without hooks all have the same state: none

MONITORING_S = "0.25"  # between ZenML's looks at isolated steps; what it asks stays in this process


class LocalThreadedOrchestrator(BaseOrchestrator):
    """Runs the steps of a pipeline in threads of the calling process.

    All runs of a process share one instance, so it keeps nothing about a run.
    """

    @property
    def config(self) -> LocalThreadedOrchestratorConfig:
        """Its configuration."""
        return cast(LocalThreadedOrchestratorConfig, self._config).of_this_run

    @property
    def supported_execution_modes(self) -> list[ExecutionMode]:
        """All of them."""
        return list(ExecutionMode)

    @property
    def run_init_cleanup_at_step_level(self) -> bool:
        """False: init and cleanup hooks run once per run."""
        return False

    def get_orchestrator_run_id(self) -> str:
        """The id of the run that the calling context belongs to.

        Raises:
            RuntimeError: called outside a run.
        """
        return current_run_id()

    def _launcher(self, snapshot: PipelineSnapshotResponse, run_id: str) -> NewLauncher:
        """What makes the attempts of the steps of a run."""
        return partial(ThreadLauncher, snapshot, run_id)

    def submit_pipeline(
        self,
        snapshot: PipelineSnapshotResponse,
        stack: Stack,
        base_environment: dict[str, str],
        step_environments: dict[str, dict[str, str]],
        placeholder_run: PipelineRunResponse | None = None,
    ) -> SubmissionResult | None:
        """Runs a static pipeline; returns when it has succeeded.

        Raises:
            BaseException: see `run_steps`, and what the init hook raises.
        """
        with _run_id() as run_id, _run_context(snapshot), ExitStack() as at_end:
            if _has_hooks(snapshot):
                variables = get_runtime_environment(snapshot.pipeline_configuration, stack)
                with _environment(variables):
                    self.run_init_hook(snapshot)
                at_end.callback(self._clean_up, snapshot, variables)
            run_steps(
                snapshot,
                stack,
                self.config,
                component_id=self.id,
                orchestrator_run_id=run_id,
                new_launcher=self._launcher(snapshot, run_id),
                at_second_signal=at_end.pop_all,
            )
        return None

    def _clean_up(self, snapshot: PipelineSnapshotResponse, variables: Environment) -> None:
        with _environment(variables):
            self.run_cleanup_hook(snapshot)

    def submit_dynamic_pipeline(
        self,
        snapshot: PipelineSnapshotResponse,
        stack: Stack,
        environment: dict[str, str],
        placeholder_run: PipelineRunResponse | None = None,
    ) -> SubmissionResult | None:
        """Runs a dynamic pipeline with ZenML's own runner, on `max_workers` threads.

        Raises:
            BaseException: what the pipeline function or a step raised.
        """
        started_s = monotonic()
        configuration = snapshot.pipeline_configuration
        variables = {
            ENV_ZENML_DYNAMIC_PIPELINE_MONITORING_INTERVAL: MONITORING_S,
            ENV_ZENML_DYNAMIC_PIPELINE_WORKER_COUNT: str(self.config.max_workers),
            **environment_of(configuration, stack),
        }
        with _run_id() as run_id, _run_context(snapshot), _environment(variables):
            runner = Runner(snapshot, placeholder_run, orchestrator=self)
            failure: BaseException | None = None
            try:
                runner.run_pipeline()
            except (Exception, StepInterrupted) as error:  # as the store has it of an isolated step
                failure = error
            finally:
                isolated.stop_all(run_id)
            if updates.is_stopped(runner._run.id):
                updates.publish_stopped(runner._run.id)
                raise RunStoppedException("The pipeline run was stopped.") from failure
            if failure is not None:
                raise failure
        logger.info("The pipeline run took %.2f s.", monotonic() - started_s)
        return None

    def worker_pool(self) -> WorkerPool:
        """The worker processes of this orchestrator."""
        return pool_of(self.id, WorkerOptions(self.config.max_workers))

    def submit_isolated_step(self, step_run_info: StepRunInfo, environment: dict[str, str]) -> None:
        """Runs an isolated step of a dynamic pipeline in a process of its own; returns at once."""
        variables = environment_of(step_run_info.config, Client().active_stack)
        isolated.submit(step_run_info, variables, self.worker_pool(), current_run_id())

    def get_isolated_step_status(self, step_run: StepRunResponse) -> ExecutionStatus:
        """Whether an isolated step is running, or how it ended."""
        return isolated.status(step_run.id)

    def wait_for_isolated_step(self, step_run: StepRunResponse) -> ExecutionStatus:
        """How an isolated step ended; blocks until it has, without polling."""
        return isolated.wait(step_run.id)

    def stop_isolated_step(self, step_run: StepRunResponse) -> None:
        """Interrupts an isolated step, and soon kills it."""
        isolated.stop(step_run.id)

    def cleanup_isolated_step(self, step_run: StepRunResponse) -> None:
        """Forgets an isolated step that has ended."""
        isolated.forget(step_run.id)

    @classmethod
    def run_init_hook(cls, snapshot: PipelineSnapshotResponse) -> None:
        """Runs the init hook, if there is one; else the shared run context exists already.

        Raises:
            HookExecutionException: the hook failed.
        """
        if _has_hooks(snapshot):
            super().run_init_hook(snapshot)

    @classmethod
    def run_cleanup_hook(cls, snapshot: PipelineSnapshotResponse) -> None:
        """Runs the cleanup hook, if there is one; what it raises is logged."""
        if _has_hooks(snapshot):
            super().run_cleanup_hook(snapshot)

    def cleanup_step_run(self, info: StepRunInfo, step_failed: bool) -> None:
        """ZenML calls it in the step's thread, when the step's function has ended.

        Raises:
            StepInterrupted: the run was stopped before.
        """
        stops = CURRENT.get(None)
        if stops is not None and not step_failed:
            stops.check(info.step_run_id)

    def _stop_run_forcefully(self, pipeline_run: PipelineRunResponse) -> None:
        """Marks the run as stopped immediately, even if its process is gone.

        A process that is still alive notices it within two seconds, as with a graceful stop.
        """
        updates.publish_stopped(pipeline_run.id)


class LocalProcessOrchestrator(LocalThreadedOrchestrator):
    """Runs the steps of a pipeline in worker processes of this machine, which are kept."""

    @property
    def config(self) -> LocalProcessOrchestratorConfig:
        """Its configuration."""
        return cast(LocalProcessOrchestratorConfig, self._config).of_this_run

    def _launcher(self, snapshot: PipelineSnapshotResponse, run_id: str) -> NewLauncher:
        return partial(
            ProcessLauncher,
            snapshot,
            run_id,
            pool=self.worker_pool(),
            timeout_s=self.config.step_timeout_s,
        )

    def worker_pool(self) -> WorkerPool:
        """The worker processes of this orchestrator."""
        config = self.config
        return pool_of(
            self.id,
            WorkerOptions(config.max_workers, config.memory_limit_bytes, config.fresh_workers),
        )


@contextmanager
def _run_id() -> Iterator[str]:
    """A new id for `get_orchestrator_run_id`, in this context and its copies."""
    run_id = str(uuid4())
    with running(run_id):
        yield run_id


def _has_hooks(snapshot: PipelineSnapshotResponse) -> bool:
    configuration = snapshot.pipeline_configuration
    return bool(configuration.init_hook_source or configuration.cleanup_hook_source)


def _run_context(snapshot: PipelineSnapshotResponse) -> Hold:
    """ZenML's RunContext for this run: shared with other runs unless it has hooks."""
    if _has_hooks(snapshot):
        return RUN_CONTEXT.acquire(
            object(),
            on_last=RunContext._clear,  # in case the cleanup hook did not run
            on_wait=lambda: logger.info(
                "Waiting for other pipeline runs of this process to end, because this pipeline has"
                " an init or cleanup hook, and a process can keep the state of only one."
            ),
        )
    return RUN_CONTEXT.acquire(
        WITHOUT_HOOKS,
        on_first=_no_state,
        on_last=RunContext._clear,
        on_wait=lambda: logger.info(
            "Waiting for a pipeline run with an init or cleanup hook in this process to end."
        ),
    )


def _no_state() -> None:
    context = get_or_create_run_context()
    if not context.initialized:
        context.initialize(None)


def _environment(variables: Environment) -> Hold:
    return applied(
        variables,
        on_wait=lambda: logger.info(
            "Waiting for a pipeline run with other environment variables in this process to end."
        ),
    )
