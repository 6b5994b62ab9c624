"""What a worker process does: one step at a time, in its main thread, as ZenML runs it anywhere.

Nothing has to be pickled but ZenML's own models: steps are loaded from their sources, and their
values go through the artifact store. A worker is kept for later runs.
"""

from __future__ import annotations

import logging
import pickle
import signal
import sys
from contextvars import Context, copy_context
from importlib import import_module
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.orm import configure_mappers
from zenml.constants import (
    ENV_ZENML_ACTIVE_PROJECT_ID,
    ENV_ZENML_ACTIVE_STACK_ID,
    ENV_ZENML_DISABLE_DATABASE_MIGRATION,
)
from zenml.execution.context import setup_execution_context
from zenml.execution.pipeline.utils import prevent_pipeline_execution
from zenml.execution.step.utils import launch_step
from zenml.integrations.registry import integration_registry
from zenml.logger import ZenMLConsoleHandler
from zenml.orchestrators.signal_handler import SignalHandler
from zenml.step_operators.step_operator_entrypoint_configuration import (
    StepOperatorEntrypointConfiguration,
)
from zenml.steps.step_context import RunContext, get_or_create_run_context
from zenml.utils.logging_utils import LoggingContext

from executors.zenml.launch.apart import Sources, apart
from executors.zenml.launch.flushing import flush_soon
from executors.zenml.launch.program import MAIN
from executors.zenml.process.environments import exactly
from executors.zenml.process.interrupts import (
    CURRENT,
    REPEAT_S,
    StepInterrupted,
    StepNotStarted,
    step_inside,
    was_refused,
)
from executors.zenml.process.run_id import running
from executors.zenml.store import updates
from executors.zenml.store.tuning import commit_quickly

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zenml.config.step_configurations import Step
    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse

    from executors.zenml.launch.program import Program


class StepsOfRun(NamedTuple):
    """What the steps of a run have in common.

    Attributes:
        program: the one that started it.
        state: what its init hook returned, pickled.
    """

    snapshot: PipelineSnapshotResponse
    pipeline_run: PipelineRunResponse
    orchestrator_run_id: str
    program: Program
    state: bytes


class IsolatedStep(NamedTuple):
    """A step of a dynamic pipeline that the store knows already.

    Attributes:
        program: the one that runs the pipeline.
        state: what its init hook returned, pickled.
    """

    snapshot_id: UUID
    step_run_id: UUID
    name: str
    orchestrator_run_id: str
    program: Program
    state: bytes


class SourcesChanged(Exception):
    """A module that this worker has imported was edited since: another worker has to do it."""


# Of the run whose step this worker has made last: its file, itself, and the context of its steps.
_last: tuple[str, StepsOfRun, Context] | None = None
_sources = Sources()


def warm() -> None:
    """Makes a process ready that will fork workers: all that takes long and opens nothing."""
    integration_registry.activate_integrations()  # their materializers
    import_module("zenml.zen_stores.sql_zen_store")
    configure_mappers()  # of its tables


def prepare() -> None:
    """Makes a new process, fresh or forked, ready for steps."""
    main = sys.modules[MAIN]
    if getattr(main, "__file__", None) is not None:
        main.__file__ = None  # or ZenML would look here for the steps of the program's main module
    with exactly({ENV_ZENML_DISABLE_DATABASE_MIGRATION: "True"}):
        commit_quickly()  # opens the store
    integration_registry.activate_integrations()  # their materializers
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, ZenMLConsoleHandler):  # the program prints the records
            root.removeHandler(handler)
    LoggingContext.emit = flush_soon(LoggingContext.emit)  # type: ignore[method-assign]
    # ZenML's handler would interrupt its own code, too, and ask the store from inside the store.
    SignalHandler.register = lambda self: self  # type: ignore[method-assign]
    signal.signal(signal.SIGINT, _Interrupts.on_signal)


def run_step(file: str, name: str, environment: Mapping[str, str]) -> None:
    """Makes one attempt of a step.

    Args:
        file: contains the pickled `StepsOfRun`.
        name: of the step.
        environment: the variables and secrets of the step.

    Raises:
        SourcesChanged: before anything else; the step was not started.
        StepNotStarted: the store refused to start it.
        BaseException: what the step has raised.
    """
    with _sources.importing():
        run, context = _opened(file)
        step = run.snapshot.step_configurations[name]
        with apart({**environment, **_active(run.snapshot)}), _Interrupts():
            try:
                context.copy().run(_launch, run, step)
            except BaseException as error:
                if was_refused(error):
                    raise StepNotStarted(str(error)) from None
                raise


def run_isolated_step(job: IsolatedStep, environment: Mapping[str, str]) -> None:
    """Runs an isolated step, as ZenML's entrypoint for them does in a container.

    Raises:
        SourcesChanged: before anything else; the step was not started.
        BaseException: what the step has raised.
    """
    with _sources.importing(), prevent_pipeline_execution():
        _adopt(job.program, job.state)
        with (
            apart(environment),
            _Interrupts(),
            running(job.orchestrator_run_id),
        ):
            entrypoint = _Entrypoint.of(job)
            with exactly(_active(entrypoint.snapshot)):
                entrypoint._run_step(
                    updates.without_heartbeat(entrypoint.step), entrypoint.snapshot
                )


class _Entrypoint(StepOperatorEntrypointConfiguration):
    @classmethod
    def of(cls, job: IsolatedStep) -> _Entrypoint:
        return cls(
            cls.get_entrypoint_arguments(
                step_name=job.name,
                snapshot_id=str(job.snapshot_id),
                step_run_id=str(job.step_run_id),
            )
        )


def _launch(run: StepsOfRun, step: Step) -> None:
    with prevent_pipeline_execution(), running(run.orchestrator_run_id):
        launch_step(
            snapshot=run.snapshot,
            step=updates.without_heartbeat(step),
            orchestrator_run_id=run.orchestrator_run_id,
            retry=False,
        )


def _active(snapshot: PipelineSnapshotResponse) -> dict[str, str]:
    """The variables that make the stack and project of a run the active ones."""
    variables = {ENV_ZENML_ACTIVE_PROJECT_ID: str(snapshot.project_id)}
    if snapshot.stack is not None:
        variables[ENV_ZENML_ACTIVE_STACK_ID] = str(snapshot.stack.id)
    return variables


def _opened(file: str) -> tuple[StepsOfRun, Context]:
    """The run that a file describes, and the context that its steps get copies of."""
    global _last
    if _last is not None and _last[0] == file:
        return _last[1:]
    run: StepsOfRun = pickle.loads(Path(file).read_bytes())
    with prevent_pipeline_execution():
        _adopt(run.program, run.state)
    context = copy_context()
    # It is never left, because it belongs to this context alone.
    context.run(setup_execution_context(run.pipeline_run).__enter__)
    _last = file, run, context
    return run, context


def _adopt(program: Program, state: bytes) -> None:
    """Makes this process one of the program, in a run with this state."""
    global _last
    if (changed := _sources.changed(program.source_root)) is not None:
        raise SourcesChanged(changed)
    _last = None
    program.adopt()
    RunContext._clear()
    get_or_create_run_context().initialize(program.loads(state))


class _Interrupts:
    """Interrupts the function of the step when its run is stopped; never ZenML's own code.

    The program sends SIGINT again and again until the step has ended.
    """

    _current: _Interrupts | None = None

    def __init__(self) -> None:
        self._last_s = 0.0
        self._is_requested = False

    def __enter__(self) -> None:
        _Interrupts._current = self
        self._token = CURRENT.set(self)

    def __exit__(self, *_: object) -> None:
        _Interrupts._current = None
        CURRENT.reset(self._token)

    @classmethod
    def on_signal(cls, number: int, frame: FrameType | None) -> None:
        self = cls._current
        if self is None:
            return
        self._is_requested = True
        now_s = monotonic()
        if now_s - self._last_s >= REPEAT_S and step_inside(frame)[0]:
            self._last_s = now_s
            raise StepInterrupted

    def check(self, step_run_id: UUID) -> None:
        """Called when the step's function has returned, before its outputs are stored.

        Raises:
            StepInterrupted: its run is being stopped.
        """
        if self._is_requested:
            updates.mark_step_stopping(step_run_id)
            raise StepInterrupted
