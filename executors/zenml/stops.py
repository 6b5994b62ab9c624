"""Stops a run from outside and from inside, so that its steps end as soon as they can.

One thread for each run does it::

    every second     ask the store for the run's status: somebody may have stopped it elsewhere
    once stopping    mark the run and its running steps as stopping in the store, so that ZenML
                     publishes them as stopped, not as failed; then raise StepInterrupted in the
                     threads that are inside a step's own function, never in ZenML's code
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType, TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.exceptions import IllegalOperationError, RunStoppedException
from zenml.orchestrators.publish_utils import (
    publish_pipeline_run_status_update,
    publish_step_run_status_update,
    publish_stopped_step_run,
)
from zenml.orchestrators.step_runner import StepRunner
from zenml.steps import BaseStep
from zenml.steps.heartbeat import StepHeartbeatWorker

from executors.errors import TaskError, TaskStopped
from executors.observers import Observer
from executors.zenml.environments import PROCESS_ENVIRONMENT

if TYPE_CHECKING:
    from zenml.models import StepRunResponse

logger = logging.getLogger(__name__)

GRACE_S = 3.0  # how long steps may take to end after a stop
POLL_S = 1.0  # how often the store is asked whether somebody stopped the run
LOOK_S = 0.05  # how often a stopping run looks for steps that can be interrupted now
FIRST_BEAT_S = 0.5  # how long we wait for a step's first heartbeat
REPEAT_S = 1.5  # when a step that went on after it was interrupted is interrupted again
MOST_STEPS = 1000  # of a page

HEARTBEAT_FILE = StepHeartbeatWorker.start.__code__.co_filename
STOP_STATUSES = (ExecutionStatus.STOPPING, ExecutionStatus.STOPPED)


class StepInterrupted(KeyboardInterrupt):
    """Raised inside a step's function when its run is stopped."""

    def __str__(self) -> str:
        return "the run is being stopped"


class StepNotStarted(TaskError):
    """The store refused to start the step, because its run had failed or was being stopped."""


class Stops(Observer):
    """Watches one run while entered.

    Attributes:
        requested: set when the run was stopped elsewhere; `run` takes it as `cancel`.
    """

    def __init__(self, run_id: UUID) -> None:
        self.requested = threading.Event()
        self._run_id = run_id
        self._woken = threading.Event()  # by a stop or the end
        self._reason: str | None = None
        self._has_ended = False
        self._steps: dict[int, str] = {}  # the step that a thread runs, by the thread's ident
        self._asked: set[str] = set()  # steps that were marked in the store or interrupted
        self._thread = threading.Thread(target=self._watch, name="stops", daemon=True)

    def __enter__(self) -> Stops:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._has_ended = True
        self._woken.set()

    def run_stopping(self, reason: str) -> None:
        self._reason = reason
        self._woken.set()
        PROCESS_ENVIRONMENT.wake()

    @property
    def is_stopping(self) -> bool:
        return self._reason is not None

    # -- the threads that run steps ----------------------------------------------------------

    @contextmanager
    def around(self, step: str) -> Iterator[None]:
        """Makes the step in this thread one that can be stopped.

        Raises:
            TaskStopped: it ended because the run was stopped.
            StepNotStarted: the store refused to start it.
        """
        ident = threading.get_ident()
        self._steps[ident] = step
        try:
            yield
        except BaseException as error:
            if step in self._asked or isinstance(error, (StepInterrupted, RunStoppedException)):
                raise TaskStopped(f"step {step!r} was stopped ({self._reason})") from error
            if _was_refused(error):
                raise StepNotStarted(f"step {step!r} was not started: {error}") from error
            raise
        finally:
            self._steps.pop(ident, None)

    # -- the thread that stops them ----------------------------------------------------------

    def _watch(self) -> None:
        while not self._woken.wait(POLL_S):
            self._ask()
        if not self._has_ended:
            self._stop()

    def _ask(self) -> None:
        """Looks whether the run was stopped elsewhere."""
        try:
            status = Client().get_pipeline_run(self._run_id, hydrate=False).status
        except Exception:
            logger.debug("could not ask for the status of the run", exc_info=True)
            return
        if status in STOP_STATUSES:
            self.requested.set()

    def _stop(self) -> None:
        self._ask()  # what looks like a signal may be how ZenML's heartbeat tells of it
        self._try(self._mark_run)
        began_s = monotonic()
        interrupted_s: dict[int, float] = {}
        while not self._has_ended:
            is_late = monotonic() - began_s > FIRST_BEAT_S
            if set(self._steps.copy().values()) - self._asked:
                self._try(self._mark_steps, is_late)
            for ident, step in self._steps.copy().items():
                now_s = monotonic()
                if (
                    (step in self._asked or is_late)
                    and now_s - interrupted_s.get(ident, -REPEAT_S) >= REPEAT_S
                    and _interrupt(ident)
                ):
                    interrupted_s[ident] = now_s
                    self._asked.add(step)
            threading.Event().wait(LOOK_S)

    def _try(self, mark: Callable[..., None], *arguments: object) -> None:
        try:
            mark(*arguments)
        except Exception:
            logger.debug("could not mark what is stopping", exc_info=True)

    def _mark_run(self) -> None:
        run = Client().get_pipeline_run(self._run_id, hydrate=False)
        if not run.status.is_finished and run.status not in STOP_STATUSES:
            publish_pipeline_run_status_update(
                self._run_id, ExecutionStatus.STOPPING, status_reason=self._reason
            )

    def _mark_steps(self, is_late: bool) -> None:
        """Tells the store which steps are stopping.

        A step's heartbeat, a thread of ZenML, interrupts the main thread when it finds its step
        stopping. Its first beat comes at once and the next one much later, so we wait for the
        first, but not for long.
        """
        running = set(self._steps.copy().values())
        for step in unfinished(self._run_id):
            has_beaten = step.latest_heartbeat is not None or not step.spec.enable_heartbeat
            if step.name in running - self._asked and (has_beaten or is_late):
                self._asked.add(step.name)
                try:
                    publish_step_run_status_update(step.id, ExecutionStatus.STOPPING)
                except IllegalOperationError:
                    pass  # it has just ended, or was stopped by force


def heeds(number: int) -> bool:
    """Whether a signal is the user's: a heartbeat of ZenML that finds its step stopped sends one.

    Such a heartbeat interrupts the main thread whatever thread its step runs in, once each
    interval. Called in a signal handler, so it takes no lock.
    """
    now_s = monotonic()
    is_heartbeat = False
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None and frame.f_code.co_filename != HEARTBEAT_FILE:
            frame = frame.f_back
        worker = None if frame is None else frame.f_locals.get("self")
        if (
            isinstance(worker, StepHeartbeatWorker)
            and worker.is_terminated
            and now_s - _heard_s.get(worker.step_id, -worker.interval) > worker.interval / 2
        ):
            _heard_s[worker.step_id] = now_s
            is_heartbeat = True
    return number != signal.SIGINT or not is_heartbeat


_heard_s: dict[UUID, float] = {}  # when a heartbeat interrupted us, by its step's id


def unfinished(run_id: UUID) -> list[StepRunResponse]:
    """The step runs that the store does not know the end of."""
    page = Client().list_run_steps(pipeline_run_id=run_id, size=MOST_STEPS)
    return [step for step in page.items if not step.status.is_finished]


def publish_stopped(run_id: UUID) -> None:
    """Marks everything of the run that has no end as stopped.

    That is steps that were given up, and those that wait for a retry which will not come.
    """
    for step in unfinished(run_id):
        try:
            publish_stopped_step_run(step.id)
        except IllegalOperationError:
            pass  # it has just ended
    run = Client().get_pipeline_run(run_id, hydrate=False)
    if run.status == ExecutionStatus.STOPPING:
        publish_pipeline_run_status_update(run_id, ExecutionStatus.STOPPED)


def _interrupt(ident: int) -> bool:
    """Raises StepInterrupted in a thread if it is inside a step's function."""
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None and frame.f_code is not BaseStep.call_entrypoint.__code__:
        frame = frame.f_back
    if frame is None:
        return False
    raised: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object(StepInterrupted)
    )
    return raised > 0


def _was_refused(error: BaseException) -> bool:
    """Whether the store refused to create the step run: the step's function was never reached."""
    if not isinstance(error, IllegalOperationError):
        return False
    names = set()
    codes = set()
    traceback = error.__traceback__
    while traceback is not None:
        codes.add(traceback.tb_frame.f_code)
        names.add(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    return "create_run_step" in names and StepRunner.run.__code__ not in codes
