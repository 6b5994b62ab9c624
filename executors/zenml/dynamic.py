"""ZenML's runner of dynamic pipelines, with isolated steps that end when they have ended.

ZenML asks the store for the end of an isolated step after 1, 3, 7, 15, 31 s and so on, and takes a
step that is being stopped for one that has succeeded. Both are for steps in containers: here, the
end of a step is an event of this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from zenml.exceptions import RunStoppedException
from zenml.execution.pipeline.dynamic.outputs import _IsolatedStepFuture
from zenml.execution.pipeline.dynamic.runner import DynamicPipelineRunner
from zenml.execution.pipeline.dynamic.utils import get_latest_step_run
from zenml.utils import source_code_utils

from executors.zenml.launch import isolated
from executors.zenml.store import updates

if TYPE_CHECKING:
    from zenml.config.step_configurations import Step
    from zenml.models import PipelineRunResponse, StepRunResponse

POLL_S = 0.25  # between looks at a step whose end the store alone knows, such as a retried one


def _in_turn(read_source: Callable[[Any], str]) -> Callable[[Any], str]:
    """Lets one thread at a time read the source code of a step.

    ZenML's threads compile steps side by side, but the parser of Python 3.11 fails now and then if
    several threads use it ("AST constructor recursion depth mismatch"), and in notebooks ZenML
    replaces `inspect.getfile` meanwhile.
    """
    lock = threading.Lock()

    @wraps(read_source)
    def read(value: Any) -> str:
        with lock:
            return read_source(value)

    return read


source_code_utils.get_source_code = _in_turn(  # type: ignore[assignment]
    source_code_utils.get_source_code
)


class Runner(DynamicPipelineRunner):
    """Runs a dynamic pipeline, and its child pipelines, in this process."""

    def _queue_concurrent_isolated_step(self, step: Step) -> _IsolatedStepFuture:
        future = super()._queue_concurrent_isolated_step(step)
        return _Future(future.pipeline_run_id, future.invocation_id, future._wrapped)

    def _build_child_runner(self, child_run: PipelineRunResponse) -> Runner:
        assert child_run.snapshot is not None
        return Runner(
            snapshot=child_run.snapshot,
            run=child_run,
            orchestrator=self._orchestrator,
            pause_coordinator=self._pause_coordinator,
            parent_runner=self,
        )

    def _publish_run_status(
        self, return_value: Any = None, exception: BaseException | None = None
    ) -> None:
        """Publishes how the run ended; one that was stopped elsewhere has not succeeded."""
        if exception is None and updates.is_stopped(self._run.id):
            exception = RunStoppedException("The pipeline run was stopped.")
        super()._publish_run_status(return_value, exception)


class _Future(_IsolatedStepFuture):
    def _wait_for_step_to_finish(self) -> StepRunResponse:
        while True:
            if self._wrapped is not None:
                self._wrapped.result()
            step_run = get_latest_step_run(self.pipeline_run_id, self.invocation_id)
            if step_run.status.is_finished:
                return step_run
            isolated.end_of(step_run.id).wait(POLL_S)
