"""Launches steps in worker processes."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zenml.steps.step_context import get_or_create_run_context

from executors import Task
from executors.core.records import describe
from executors.errors import NotPicklable
from executors.zenml.launch.launcher import Launcher
from executors.zenml.launch.pool import GRACE_S, LeaseGivenUp, WorkerPool
from executors.zenml.launch.program import Program
from executors.zenml.launch.worker import SourcesChanged, StepsOfRun, run_step
from executors.zenml.process.environments import Environment
from executors.zenml.process.interrupts import StepNotStarted
from executors.zenml.process.stops import Stops

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse


class ProcessLauncher(Launcher):
    """Launches the steps of one run in the workers of a pool.

    Args:
        snapshot: of the pipeline.
        orchestrator_run_id: id of the run.
        pipeline_run: as the store has it.
        environments: by step name.
        stops: of this run.
        pool: its workers.
        timeout_s: of an attempt, or None.

    Raises:
        NotPicklable: what the init hook has returned.
    """

    is_shared = False
    grace_s = GRACE_S
    kill_s = 2.0

    def __init__(
        self,
        snapshot: PipelineSnapshotResponse,
        orchestrator_run_id: str,
        pipeline_run: PipelineRunResponse,
        environments: Mapping[str, Environment],
        stops: Stops,
        *,
        pool: WorkerPool,
        timeout_s: float | None,
    ) -> None:
        super().__init__(pipeline_run.id, environments)
        self._environments = environments
        self._stops = stops
        self._pool = pool
        self._timeout_s = timeout_s
        program = Program.of_this_process()
        run = StepsOfRun(snapshot, pipeline_run, orchestrator_run_id, program, pickled_state())
        descriptor, self._file = tempfile.mkstemp(prefix="executors-steps-")
        with os.fdopen(descriptor, "wb") as file:
            pickle.dump(run, file)

    def _launch(self, name: str) -> None:
        action = partial(run_step, self._file, name, dict(self._environments[name]))
        task = Task(name, action, timeout_s=self._timeout_s)
        while True:
            try:
                self._perform(task)
                return
            except SourcesChanged:
                continue  # in another worker

    def _perform(self, task: Task) -> None:
        name = task.name
        try:
            worker = self._pool.lease(lambda: self._stops.is_stopping)
        except LeaseGivenUp:
            raise StepNotStarted(f"step {name!r} was not started: the run was stopped") from None
        try:
            with self.timed(name), self._stops.around(name, worker.interrupt):
                worker.perform(task)
        except SourcesChanged:
            worker.is_usable = False
            raise
        finally:
            self._pool.give_back(worker)

    def leave(self) -> None:
        Path(self._file).unlink(missing_ok=True)


def pickled_state() -> bytes:
    """What the init hook of the run under way has returned.

    Raises:
        NotPicklable: it cannot be pickled.
    """
    state: Any = get_or_create_run_context().state
    try:
        return pickle.dumps(state)
    except Exception as error:
        raise NotPicklable(
            f"what the pipeline's init hook returned, of type {type(state).__name__}, cannot be"
            f" pickled, so steps in other processes cannot have it: {describe(error)}. Return plain"
            " data, or use a stack with the flavor local_threaded"
        ) from error
