"""Isolated steps of dynamic pipelines: each in a worker process, beside the inline steps.

ZenML submits a step, asks for its status and may stop it. Here, a thread per step waits for a
worker and for the end of the step; one watcher per run looks for stops and sends heartbeats.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from zenml.client import Client
from zenml.enums import ExecutionStatus

from executors import Task
from executors.errors import TaskStopped
from executors.zenml.launch.pool import LeaseGivenUp, WorkerPool
from executors.zenml.launch.processes import pickled_state
from executors.zenml.launch.program import Program
from executors.zenml.launch.worker import IsolatedStep, SourcesChanged, run_isolated_step
from executors.zenml.process.interrupts import StepNotStarted
from executors.zenml.process.stops import Stops
from executors.zenml.store import updates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zenml.config.step_run_info import StepRunInfo

logger = logging.getLogger(__name__)


class _Watched(Stops):
    """Stops the isolated steps of one run, once it was stopped elsewhere.

    Attributes:
        steps: how many it watches.
    """

    def __init__(self, run_id: UUID) -> None:
        super().__init__(run_id)
        self.steps = 0

    def _check_store(self) -> None:
        super()._check_store()
        if self.requested.is_set():
            self.run_stopping("it was stopped elsewhere")


class _Step(NamedTuple):
    """A step that was submitted.

    Attributes:
        is_stopped: it should stop, alone.
        has_ended: it has, and the store knows how.
    """

    run_id: UUID
    orchestrator_run_id: str
    is_stopped: threading.Event
    has_ended: threading.Event


_lock = threading.Lock()
_steps: dict[UUID, _Step] = {}  # by the id of the step run
_watched: dict[UUID, _Watched] = {}  # by the id of the pipeline run


def submit(
    info: StepRunInfo, environment: Mapping[str, str], pool: WorkerPool, orchestrator_run_id: str
) -> None:
    """Runs a step as soon as a worker is free; returns at once.

    Raises:
        NotPicklable: what the init hook has returned.
    """
    job = IsolatedStep(
        info.snapshot.id,
        info.step_run_id,
        info.pipeline_step_name,
        orchestrator_run_id,
        Program.of_this_process(),
        pickled_state(),
    )
    step = _Step(info.run_id, orchestrator_run_id, threading.Event(), threading.Event())
    with _lock:
        watched = _watched.get(info.run_id)
        if watched is None:
            watched = _watched[info.run_id] = _Watched(info.run_id)
            watched.start()
        watched.steps += 1
        _steps[info.step_run_id] = step
    task = Task(info.pipeline_step_name, partial(run_isolated_step, job, dict(environment)))
    threading.Thread(
        target=_follow,
        args=(info.step_run_id, step, task, watched, pool),
        name=f"isolated step {task.name}",
        daemon=True,
    ).start()


def _follow(
    step_run_id: UUID, step: _Step, task: Task, watched: _Watched, pool: WorkerPool
) -> None:
    try:
        while True:
            try:
                _run(step, task, watched, pool)
            except SourcesChanged:
                continue
            except (TaskStopped, StepNotStarted):
                updates.publish_step_stopped(step_run_id)
            except BaseException as error:
                # What its own code raised, the worker has told the store already.
                updates.publish_step_failed(step_run_id, error)
            return
    except Exception:
        logger.exception("ZenML's store was not told how step `%s` ended", task.name)
    finally:
        step.has_ended.set()
        with _lock:
            watched.steps -= 1
            if not watched.steps:
                _watched.pop(step.run_id, None)
                watched.end(0.0)


def _run(step: _Step, task: Task, watched: _Watched, pool: WorkerPool) -> None:
    try:
        worker = pool.lease(lambda: watched.is_stopping or step.is_stopped.is_set())
    except LeaseGivenUp:
        raise StepNotStarted(f"step {task.name!r} was not started") from None
    ended = threading.Event()

    def stop() -> None:
        step.is_stopped.wait()
        while not ended.wait(0.05):
            worker.interrupt()

    stopper = threading.Thread(target=stop, name=f"stop {task.name}", daemon=True)
    stopper.start()
    try:
        with watched.around(task.name, worker.interrupt):
            worker.perform(task)
    except SourcesChanged:
        worker.is_usable = False
        raise
    except BaseException as error:
        if step.is_stopped.is_set():
            raise TaskStopped(str(error)) from error
        raise
    finally:
        ended.set()
        step.is_stopped.set()  # ends the thread
        pool.give_back(worker)


def status(step_run_id: UUID) -> ExecutionStatus:
    """Whether a step is running, or how it ended; also of a step that another process runs."""
    step = _steps.get(step_run_id)
    if step is not None and not step.has_ended.is_set():
        return ExecutionStatus.RUNNING
    return Client().get_run_step(step_run_id, hydrate=False).status


def end_of(step_run_id: UUID) -> threading.Event:
    """Set when a step ends that this process runs; never set for another one."""
    step = _steps.get(step_run_id)
    if step is None or step.has_ended.is_set():
        return threading.Event()
    return step.has_ended


def wait(step_run_id: UUID) -> ExecutionStatus:
    """How a step ended; blocks until it has."""
    step = _steps.get(step_run_id)
    if step is not None:
        while not step.has_ended.wait(1.0):  # so that Ctrl-C arrives
            pass
    return status(step_run_id)


def stop(step_run_id: UUID) -> None:
    """Interrupts a step, and kills it if it has not ended soon after."""
    step = _steps.get(step_run_id)
    if step is not None:
        updates.mark_step_stopping(step_run_id)
        step.is_stopped.set()


def forget(step_run_id: UUID) -> None:
    """Called when ZenML has seen the end of a step."""
    _steps.pop(step_run_id, None)


def stop_all(orchestrator_run_id: str) -> None:
    """Stops the steps of a run, whose pipeline has ended, and waits until they have."""
    steps = {
        key: step
        for key, step in list(_steps.items())
        if step.orchestrator_run_id == orchestrator_run_id
    }
    for step_run_id in steps:
        stop(step_run_id)
    for step_run_id, step in steps.items():
        step.has_ended.wait()
        forget(step_run_id)
