"""A ZenML stack as a backend: a graph becomes a pipeline, whose times are those of ZenML's store.

The whole graph is handed over at once, as one run of the stack. Its steps have no values, only an
order: a task of the graph gets none of what it needs.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from zenml import pipeline
from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.stack import Stack

from executors.backends import STACK
from executors.backends.base import Feature
from executors.core.records import Attempt, Call, describe
from executors.engines.whole import Following, Whole
from executors.errors import BackendError, ExecutorError, NotPicklable
from executors.zenml.config import max_workers
from executors.zenml.launch.pool import retire_pools
from executors.zenml.orchestrator import LocalProcessOrchestrator
from executors.zenml.stacks.calling import active, interruptible
from executors.zenml.stacks.far import settings_of, triggered
from executors.zenml.stacks.own import OwnPipeline
from executors.zenml.stacks.step import encoded, run_action
from executors.zenml.stacks.usable import OURS, flavor_of, max_workers_of, why_unusable

if TYPE_CHECKING:
    from zenml.models import PipelineRunResponse, StepRunResponse

MOST_STEPS = 10_000
POLL_S = 0.5  # between looks at a run that goes on elsewhere
TIMEOUT_S = 3600.0  # of a run
START_TIMEOUT_S = 600.0  # Airflow looks for new DAGs every five minutes
NOT_STARTED = (ExecutionStatus.INITIALIZING, ExecutionStatus.PROVISIONING)
STEP_GUESS_S = {"local": 0.06, "local_threaded": 0.06, "local_process": 0.06}
FAR_STEP_GUESS_S = 8.0  # of a step in a container, or farther away
Steps = Mapping[str, tuple[str, tuple[str, ...]]]  # encoded action and needs, by name
NO = "a pipeline's steps have their own; measure the stack with shapes"


class StepFailed(ExecutorError):
    """A step of a measured pipeline did not complete."""


class ZenMLStack(Whole):
    """Pipelines on a registered stack.

    Args:
        workers: for our own flavors, instead of the `max_workers` of their orchestrators; other
            orchestrators decide for themselves.
        timeout_s: of a run whose orchestrator does not wait for its end.
        image: of the containers that steps run in; it contains this package, and is not built.
        trigger: the command that starts a submitted run; `{run}` in it stands for the run's name,
            which is also its DAG's. None: the orchestrator starts it.

    Attributes:
        stack: its name.
        flavor: of its orchestrator.
        takes_workers: it is one of our own flavors.
    """

    cannot = {
        Feature.RETRIES: NO,
        Feature.TIMEOUTS: NO,
        Feature.SLOTS: NO,
        Feature.CONTEXTS: NO,
        Feature.STOP: "it depends on the orchestrator",
    }
    packages: ClassVar[tuple[str, ...]] = ("zenml",)
    start_guess_s: ClassVar[float] = 4.0
    stack: ClassVar[str]

    def __init__(
        self,
        workers: int | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        image: str | None = None,
        trigger: str | None = None,
    ) -> None:
        super().__init__(workers)
        self._timeout_s = timeout_s
        self._image, self._trigger = image, trigger
        self._model = Client().get_stack(self.stack, allow_name_prefix_match=False)
        self.flavor = flavor_of(self._model)
        self.takes_workers = self.flavor in OURS

    @classmethod
    def unavailable(cls) -> str | None:
        return why_unusable(cls.stack)

    @classmethod
    def configured_workers(cls) -> int | None:
        """The `max_workers` of the stack's orchestrator, or None if it has no such thing."""
        return max_workers_of(Client().get_stack(cls.stack, allow_name_prefix_match=False))

    def open(self) -> None:
        """Runs a pipeline of one empty step: builds images, starts workers, imports.

        Raises:
            BackendError: it did not complete.
        """
        retire_pools()  # so that each start is a cold one
        run = self._run_steps({"first": (encoded(bool), ())})
        if self.flavor == "local_process":
            orchestrator = cast(
                LocalProcessOrchestrator, Stack.from_model(self._model).orchestrator
            )
            with max_workers(self.workers):
                orchestrator.worker_pool().fill()
        if not run.status.is_successful:
            raise BackendError(
                f"a first, empty pipeline on stack {self.stack!r} ended as {run.status.value}; see:"
                f" zenml pipeline runs list --id {run.id}"
            )

    def close(self) -> None:
        retire_pools()

    def hand_over(self, following: Following) -> None:
        """Runs the calls as one pipeline, then reports what ZenML has recorded of its steps."""
        calls = dict(following.calls)
        own = next(iter(calls.values())).task.action
        if isinstance(own, OwnPipeline):
            names = {rank: call.task.name for rank, call in calls.items()}
            run_it = partial(self._run, partial(self._own, own), own.root)
        else:
            names = {rank: f"task{rank}" for rank in calls}
            try:
                steps = _steps(following, calls, names)
            except NotPicklable as error:
                following.failed(next(iter(calls)), error)
                return
            run_it = partial(self._run_steps, steps)
        submitted_s, offset_s = monotonic(), monotonic() - time()
        try:
            run = run_it()
        except KeyboardInterrupt:
            if following.is_stopped:
                return
            raise
        except BaseException as error:
            for rank in calls:
                following.failed(rank, error)
            return
        self._report(following, calls, self._records(run, names, submitted_s, offset_s))

    def _records(
        self,
        run: PipelineRunResponse,
        names: Mapping[int, str],
        submitted_s: float,
        offset_s: float,
    ) -> dict[int, tuple[float, float, BaseException | None]]:
        """Start, end and error of the steps that ran, by rank, on the clock of this process."""
        found = {
            step.name: step
            for step in Client()
            .list_run_steps(pipeline_run_id=run.id, exclude_retried=True, size=MOST_STEPS)
            .items
        }
        records = {}
        for rank, name in names.items():
            step = found.get(name)
            if step is not None and step.start_time is not None:
                started_s = _seconds(step.start_time) + offset_s
                ended_s = _seconds(step.end_time or step.start_time) + offset_s
                records[rank] = started_s, max(started_s, ended_s), _error_of(step)
        first_s = min((record[0] for record in records.values()), default=submitted_s)
        behind_s = max(0.0, submitted_s - first_s)  # of the clock of another machine
        return {
            rank: (started_s + behind_s, ended_s + behind_s, error)
            for rank, (started_s, ended_s, error) in records.items()
        }

    def _report(
        self,
        following: Following,
        calls: Mapping[int, Call],
        records: Mapping[int, tuple[float, float, BaseException | None]],
    ) -> None:
        """Tells the session, in the order in which it happened."""
        lanes = _lanes(records)
        events = sorted(
            event
            for rank, (started_s, ended_s, _) in records.items()
            for event in ((started_s, 0, rank), (ended_s, 1, rank))
        )
        for at_s, is_end, rank in events:
            call = calls[rank]
            if not is_end:
                following.session.started(call, at_s)
                continue
            started_s, ended_s, error = records[rank]
            worker = f"step-{lanes[rank]}"
            following.calls.pop(rank, None)
            attempt = Attempt(call, worker, started_s, ended_s, None, error)
            following.session.finish(attempt, at_s)

    def _run_steps(self, steps: Steps) -> PipelineRunResponse:
        """Runs a pipeline of these steps; see `_run`."""

        def measured() -> None:
            for name, (action, needs) in steps.items():
                run_action(action, id=name, after=list(needs))

        def configured(run_name: str) -> Callable[[], object]:
            made = pipeline(enable_cache=False, name="bench")(measured)
            settings = settings_of(self._model, run_name, self._image)
            return made.with_options(run_name=run_name, settings=settings)

        with tempfile.TemporaryDirectory(prefix="executors-empty-") as empty:
            (Path(empty) / "empty").touch()  # ZenML refuses to archive no file at all
            return self._run(configured, empty)

    def _own(self, own: OwnPipeline, run_name: str) -> Callable[[], object]:
        settings = settings_of(self._model, run_name, self._image, needs_code=True)
        return own.without_cache(run_name, settings)

    def _run(
        self, configured: Callable[[str], Callable[[], object]], root: str
    ) -> PipelineRunResponse:
        """Runs a pipeline, and returns once it has ended.

        Args:
            configured: gives what runs it under a name.
            root: the source root; on some orchestrators, ZenML archives it with each run, so an
                empty one is quickest.

        Raises:
            BackendError: it has not ended in time.
            BaseException: what the orchestrator raises, unless a step has failed.
        """
        run_name = f"bench-{uuid.uuid4()}"
        workers = self.workers if self.takes_workers else None
        with active(self._model.id, root), max_workers(workers), interruptible():
            try:
                configured(run_name)()
            except Exception as error:
                run = _run_named(run_name)
                if run is None or not run.status.is_finished:
                    raise error
                return run
            with triggered(self._trigger, run_name) as check:
                return self._ended(run_name, check)

    def _ended(self, run_name: str, check: Callable[[], None]) -> PipelineRunResponse:
        deadline_s = monotonic() + self._timeout_s
        started_by_s = monotonic() + START_TIMEOUT_S
        while True:
            run = _run_named(run_name)
            if run is not None and run.status.is_finished:
                return run
            check()
            if run is not None and run.status in NOT_STARTED and monotonic() > started_by_s:
                raise BackendError(
                    f"the run {run_name} on stack {self.stack!r} was submitted, but nothing has"
                    f" started it within {START_TIMEOUT_S:g} s; start the scheduler of the"
                    f" orchestrator ({self.flavor}), or name the command that starts a run:"
                    f" --backend-option 'stack:{self.stack}.trigger=... {{run}}'"
                )
            if monotonic() > deadline_s:
                raise BackendError(
                    f"the run {run_name} on stack {self.stack!r} has not ended within"
                    f" {self._timeout_s:g} s; it may go on. See: zenml pipeline runs list"
                )
            sleep(POLL_S)


def stack_class(name: str) -> type[ZenMLStack]:
    """The backend of a stack.

    Args:
        name: of the backend, with STACK before it.
    """
    stack = name.removeprefix(STACK)
    try:
        model = Client().get_stack(stack, allow_name_prefix_match=False)
        guess_s = STEP_GUESS_S.get(flavor_of(model), FAR_STEP_GUESS_S)
    except Exception:  # `unavailable` says why
        guess_s = 0.0
    return type("Stack", (ZenMLStack,), {"name": name, "stack": stack, "task_guess_s": guess_s})


def _steps(following: Following, calls: Mapping[int, Call], names: Mapping[int, str]) -> Steps:
    """The steps of a pipeline for these calls.

    Raises:
        NotPicklable: an action cannot be sent.
    """
    needs = following.session.graph.needs
    steps = {}
    for rank, call in sorted(calls.items()):
        try:
            action = encoded(call.task.action)
        except Exception as error:
            raise NotPicklable(
                f"the action of task {call.task.name!r} cannot be sent: {describe(error)}"
            ) from error
        steps[names[rank]] = action, tuple(names[need] for need in needs[rank] if need in names)
    return steps


def _run_named(name: str) -> PipelineRunResponse | None:
    try:
        return Client().get_pipeline_run(name, allow_name_prefix_match=False)
    except KeyError:
        return None


def _seconds(at: datetime) -> float:
    """Seconds since 1970 of a time in ZenML's store, which is UTC without saying so."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _error_of(step: StepRunResponse) -> BaseException | None:
    if step.status.is_successful:
        return None
    info = step.exception_info
    what = (info.message or info.traceback) if info is not None else "see its log"
    return StepFailed(f"the step ended as {step.status.value}: {what}")


def _lanes(records: Mapping[int, tuple[float, float, Any]]) -> dict[int, int]:
    """A number for each step, such that steps that run at the same time have different ones."""
    free: list[int] = []
    running: list[tuple[float, int]] = []
    lanes: dict[int, int] = {}
    for rank, (started_s, ended_s, _) in sorted(records.items(), key=lambda item: item[1][:2]):
        while running and running[0][0] <= started_s:
            heappush(free, heappop(running)[1])
        lane = heappop(free) if free else len(running)
        lanes[rank] = lane
        heappush(running, (ended_s, lane))
    return lanes
