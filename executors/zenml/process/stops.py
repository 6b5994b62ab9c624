"""Stops the steps of a run, and sends their heartbeats to ZenML.

One thread for each run does both::

    every second     check in the store whether the run was stopped elsewhere; send the
                     heartbeats that are due
    once stopping    mark the run and its running steps as stopping in the store, so that ZenML
                     publishes them as stopped, not as failed; then raise StepInterrupted in the
                     threads that are inside a step's own function, but never in ZenML's code or
                     while it uses the store, which would stay locked

ZenML's own heartbeats, one thread per step, are switched off: if one sees that its step was
stopped, it interrupts the main thread, where none of these steps runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import Token
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from zenml.exceptions import RunStoppedException
from zenml.steps.heartbeat import StepHeartbeatWorker

from executors.errors import TaskStopped
from executors.observers import Observer
from executors.zenml.process.environments import PROCESS_ENVIRONMENT
from executors.zenml.process.interrupts import (
    CURRENT,
    REPEAT_S,
    Checks,
    StepInterrupted,
    StepNotStarted,
    interrupt_thread,
    was_refused,
)
from executors.zenml.store import updates

if TYPE_CHECKING:
    from uuid import UUID

    from executors.core.records import Attempt

logger = logging.getLogger(__name__)

POLL_S = 1.0  # between checks whether the run was stopped elsewhere
HURRY_S = 0.5  # that a second signal waits for the store
RECHECK_S = 0.05  # between checks of a stopping run for steps that can be interrupted


class _Running(NamedTuple):
    """A step that runs, and what interrupts it: False if it could not be interrupted now."""

    step: str
    interrupt: Callable[[], bool]


class Stops(Observer):
    """Watches one run while entered.

    Attributes:
        requested: set when the run was stopped elsewhere; pass it to `run` as `cancel`.
    """

    def __init__(self, run_id: UUID) -> None:
        self.requested = threading.Event()
        self._run_id = run_id
        self._woken = threading.Event()  # by a stop or the end
        self._has_ended = threading.Event()
        self._reason: str | None = None
        self._lock = threading.Lock()  # while it is held, no step leaves `_steps`
        self._steps: dict[int, _Running] = {}  # what a thread runs, by the thread's ident
        self._asked: set[str] = set()  # steps that should stop, by the store or by an interrupt
        self._refused: set[str] = set()  # steps that the store did not let start
        self._failed: set[str] = set()  # steps whose failure the run does not know yet
        self._beats_s: dict[str, float] = {}  # when the next heartbeat of a step is due
        self._thread = threading.Thread(target=self._watch, name="stops", daemon=True)
        self._token: Token[Checks] | None = None

    def __enter__(self) -> Stops:
        self._token = CURRENT.set(self)
        self.start()
        return self

    def start(self) -> None:
        """Begins to watch; for a run that no `with` encloses, until `end`."""
        self._thread.start()

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        self.end(None if error is None else HURRY_S)

    def end(self, timeout_s: float | None = None) -> None:
        """Returns when the thread no longer uses the store, or after the timeout."""
        self._has_ended.set()
        self._woken.set()
        self._thread.join(timeout_s)

    def task_ended(self, attempt: Attempt) -> None:
        self._failed.discard(attempt.task_name)

    def run_stopping(self, reason: str) -> None:
        self._reason = reason
        self._woken.set()
        PROCESS_ENVIRONMENT.wake()

    @property
    def is_stopping(self) -> bool:
        return self._reason is not None

    # -- the threads that run steps ----------------------------------------------------------

    @contextmanager
    def around(self, step: str, interrupt: Callable[[], bool] | None = None) -> Iterator[None]:
        """Lets a stop reach the step while the context lasts.

        Args:
            step: its name.
            interrupt: interrupts it, or returns False if it has to be called again soon; None for a
                step that runs in this thread.

        Raises:
            TaskStopped: the step ended because the run was stopped.
            StepNotStarted: the store refused to start it.
        """
        ident = threading.get_ident()
        self._steps[ident] = _Running(step, interrupt or partial(interrupt_thread, ident))
        try:
            yield
        except BaseException as error:
            if step in self._asked or isinstance(error, (StepInterrupted, RunStoppedException)):
                raise TaskStopped(f"step {step!r} was stopped ({self._reason})") from error
            if was_refused(error) or isinstance(error, StepNotStarted):
                self._wait_for_the_reason(step)
                raise StepNotStarted(f"step {step!r} was not started: {error}") from error
            self._failed.add(step)
            raise
        finally:
            self._leave(ident)

    def _leave(self, ident: int) -> None:
        """Makes sure that no interrupt reaches this thread any more, and swallows late ones.

        They are not taken back by setting the exception to NULL: CPython 3.11 and 3.12 would then
        expect one forever. All calls of the process get slower, and in 3.11 a function that is
        traced (by coverage, a debugger or Hypothesis) never begins.
        """
        while True:
            try:
                with self._lock:
                    self._steps.pop(ident, None)
                for _ in range(2):  # a pending interrupt is raised here at the latest
                    pass
                return
            except StepInterrupted:
                continue

    def _wait_for_the_reason(self, step: str) -> None:
        """Blocks until the run knows why the store refuses a step.

        The store records a failure while the failed step's hooks still run, but the run is notified
        only when they have ended, and a moment later. Until then the refusal must not look like the
        first failure.
        """
        self._refused.add(step)
        while not self.is_stopping and (self._running() | self._failed) - self._refused:
            if self._has_ended.wait(RECHECK_S):
                return
        if not self.is_stopping:
            self._has_ended.wait(RECHECK_S)  # a stop is told just after the failure

    def check(self, step_run_id: UUID) -> None:
        """Called when a step's function has returned, before its outputs are stored.

        Ctrl-C also kills child processes in the terminal, so the outputs of a step after a stop may
        be incomplete.

        Raises:
            StepInterrupted: the run is being stopped; the step is then published as stopped.
        """
        if self.is_stopping:
            self._mark_run()
            updates.mark_step_stopping(step_run_id)
            raise StepInterrupted

    # -- the thread that stops them ----------------------------------------------------------

    def _watch(self) -> None:
        while not self._woken.wait(POLL_S):
            self._try(self._check_store)
            self._try(self._send_heartbeats)
        if self.is_stopping:  # also if it is over: the store has to know
            self._stop()

    def _try(self, use_store: Callable[[], None]) -> None:
        """Uses the store; if it does not answer, the run goes on, and so does a stop."""
        try:
            use_store()
        except Exception:
            logger.debug("ZenML's store did not answer", exc_info=True)

    def _check_store(self) -> None:
        if updates.is_stopped(self._run_id):
            self.requested.set()

    def _send_heartbeats(self) -> None:
        now_s = monotonic()
        due = {step for step in self._running() if now_s >= self._beats_s.get(step, 0.0)}
        if not due:
            return
        for step_run in updates.unfinished(self._run_id):
            step = step_run.name
            if step in due and step_run.spec.enable_heartbeat:
                wait_s: float = StepHeartbeatWorker.STEP_HEARTBEAT_INTERVAL_SECONDS
                if updates.beat(step_run.id):
                    self._asked.add(step)
                    idents = [
                        ident for ident, one in self._steps.copy().items() if one.step == step
                    ]
                    wait_s = REPEAT_S if self._interrupt(idents) else 0.0
                self._beats_s[step] = now_s + wait_s

    def _stop(self) -> None:
        """Marks, then interrupts, without delay: Ctrl-C may have killed what a step waits for.

        The run is marked first: ZenML takes a running run with only stopping steps for completed.
        """
        again_s = monotonic() + REPEAT_S
        interrupted: set[int] = set()
        self._try(self._mark_run)
        self._try(self._mark_steps)
        while True:
            interrupted |= self._interrupt(self._steps.copy().keys() - interrupted)
            if self._has_ended.wait(RECHECK_S):
                return
            if monotonic() >= again_s:
                interrupted.clear()
                again_s += REPEAT_S

    def _mark_run(self) -> None:
        updates.mark_run_stopping(self._run_id, self._reason or "")

    def _mark_steps(self) -> None:
        running = self._running()
        for step_run in updates.unfinished(self._run_id):
            if step_run.name in running and updates.mark_step_stopping(step_run.id):
                self._asked.add(step_run.name)

    def _running(self) -> set[str]:
        with self._lock:
            return {running.step for running in self._steps.values()}

    def _interrupt(self, idents: Collection[int]) -> set[int]:
        """Interrupts the threads that are inside a step's function; returns them."""
        with self._lock:
            done = {
                ident for ident in idents if ident in self._steps and self._steps[ident].interrupt()
            }
            self._asked |= {self._steps[ident].step for ident in done}
            return done
