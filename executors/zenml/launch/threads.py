"""Launches steps in threads of this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from zenml.execution.step.utils import launch_step

from executors.zenml.launch.launcher import Launcher
from executors.zenml.process.environments import Environment, applied
from executors.zenml.process.interrupts import StepNotStarted
from executors.zenml.process.keyed_lock import Hold, HoldGivenUp
from executors.zenml.process.stops import Stops
from executors.zenml.store.updates import without_heartbeat

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse, PipelineSnapshotResponse

logger = logging.getLogger(__name__)


class ThreadLauncher(Launcher):
    """Launches the steps of one run, each in its environment and its own copy of the context."""

    grace_s = 3.0

    def __init__(
        self,
        snapshot: PipelineSnapshotResponse,
        orchestrator_run_id: str,
        pipeline_run: PipelineRunResponse,
        environments: Mapping[str, Environment],
        stops: Stops,
    ) -> None:
        super().__init__(pipeline_run.id, environments)
        self._snapshot = snapshot
        self._orchestrator_run_id = orchestrator_run_id
        self._environments = environments
        self._stops = stops
        self._context = copy_context()  # the caller's, in which ZenML keeps its state
        self._running: dict[Hold, tuple[str, float]] = {}  # step and start time

    def _launch(self, name: str) -> None:
        try:
            hold = applied(
                self._environments[name],
                on_wait=partial(logger.info, "Step `%s` waits for steps of another run.", name),
                gives_up=lambda: self._stops.is_stopping,
            )
        except HoldGivenUp:
            raise StepNotStarted(f"step {name!r} was not started: the run was stopped") from None
        self._running[hold] = name, monotonic()
        try:
            with self._stops.around(name):
                self._context.copy().run(
                    launch_step,
                    snapshot=self._snapshot,
                    step=without_heartbeat(self._snapshot.step_configurations[name]),
                    orchestrator_run_id=self._orchestrator_run_id,
                    retry=False,
                )
        finally:
            self._leave(hold)

    def _leave(self, hold: Hold) -> None:
        hold.release()
        running = self._running.pop(hold, None)
        if running is not None:
            name, started_s = running
            self.times_s[name] += monotonic() - started_s

    def leave(self) -> None:
        """Releases the environment of steps that were given up, and logs which they are."""
        left = dict(self._running)
        for hold in left:
            self._leave(hold)
        if left:
            logger.warning(
                "Step(s) %s did not end after the stop and were abandoned: a thread cannot be ended"
                " from outside. They may run on until this process ends.",
                ", ".join(name for name, _ in left.values()),
            )
