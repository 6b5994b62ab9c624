"""ZenML's runner of dynamic pipelines, with isolated steps that end when they have ended.

ZenML asks the store for the end of an isolated step after 1, 3, 7, 15, 31 s and so on, and takes a
step that is being stopped for one that has succeeded. Both are for steps in containers: here, the
end of a step is an event of this process.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

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

_Returned = TypeVar("_Returned")

POLL_S = 0.25  # between looks at a step whose end the store alone knows, such as a retried one


def _in_turn(function: Callable[..., _Returned]) -> Callable[..., _Returned]:
    """Returns the function so that one thread at a time is in it."""
    lock = threading.RLock()

    @wraps(function)
    def call(*args: Any, **options: Any) -> _Returned:
        with lock:
            return function(*args, **options)

    return call


# ZenML's threads compile steps side by side. In notebooks, ZenML replaces `inspect.getfile` while
# it reads a step's source.
source_code_utils.get_source_code = _in_turn(source_code_utils.get_source_code)
# ZenML and `inspect` parse that source. Before Python 3.13, `ast.parse` counts its depth for all
# threads together, and raises a SystemError if another thread's call got in between, which the
# garbage collector may let happen (https://github.com/python/cpython/issues/106905).
if sys.version_info < (3, 13):
    ast.parse = _in_turn(ast.parse)


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
