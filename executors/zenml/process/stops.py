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

import asyncio
import ctypes
import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

from zenml.exceptions import IllegalOperationError, RunStoppedException
from zenml.orchestrators.step_runner import StepRunner
from zenml.steps import BaseStep
from zenml.steps.heartbeat import StepHeartbeatWorker

from executors.errors import TaskError, TaskStopped
from executors.observers import Observer
from executors.zenml.process.environments import PROCESS_ENVIRONMENT
from executors.zenml.store import updates

if TYPE_CHECKING:
    from uuid import UUID

logger = logging.getLogger(__name__)

GRACE_S = 3.0  # that steps have to end after a stop
REPEAT_S = 2.0  # until a step that has not ended is interrupted again
POLL_S = 1.0  # between checks whether the run was stopped elsewhere
HURRY_S = 0.5  # that a second signal waits for the store
RECHECK_S = 0.05  # between checks of a stopping run for steps that can be interrupted
STORE = "zenml.zen_stores"  # never interrupted here: it holds locks of the database


CURRENT: ContextVar[Stops] = ContextVar("stops")  # of the run that a step belongs to


class StepInterrupted(KeyboardInterrupt):
    """Raised inside a step's function when its run is stopped."""

    def __str__(self) -> str:
        return "the run is being stopped"


class StepNotStarted(TaskError):
    """The step's function was not reached, because its run had failed or was being stopped."""


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
        self._steps: dict[int, str] = {}  # the step that a thread runs, by the thread's ident
        self._asked: set[str] = set()  # steps that should stop, by the store or by an interrupt
        self._refused: set[str] = set()  # steps that the store did not let start
        self._beats_s: dict[str, float] = {}  # when the next heartbeat of a step is due
        self._thread = threading.Thread(target=self._watch, name="stops", daemon=True)
        self._token: Token[Stops] | None = None

    def __enter__(self) -> Stops:
        self._token = CURRENT.set(self)
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        self.end(None if error is None else HURRY_S)

    def end(self, timeout_s: float | None = None) -> None:
        """Returns when the thread no longer uses the store, or after the timeout."""
        self._has_ended.set()
        self._woken.set()
        self._thread.join(timeout_s)

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
        """Lets a stop reach the step in this thread while the context lasts.

        Raises:
            TaskStopped: the step ended because the run was stopped.
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
                self._wait_for_the_reason(step)
                raise StepNotStarted(f"step {step!r} was not started: {error}") from error
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
        only when they have ended. Until then the refusal must not look like the first failure.
        """
        self._refused.add(step)
        while not self.is_stopping and self._running() - self._refused:
            if self._has_ended.wait(RECHECK_S):
                return

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
                    idents = [ident for ident, name in self._steps.copy().items() if name == step]
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
            return set(self._steps.values())

    def _interrupt(self, idents: Collection[int]) -> set[int]:
        """Interrupts the threads that are inside a step's function; returns them."""
        with self._lock:
            done = {ident for ident in idents if ident in self._steps and _interrupt_step(ident)}
            self._asked |= {self._steps[ident] for ident in done}
            return done


def _interrupt_step(ident: int) -> bool:
    """Raises StepInterrupted in a thread that is inside a step's function and not in the store."""
    loop: asyncio.AbstractEventLoop | None = None
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None and frame.f_code is not BaseStep.call_entrypoint.__code__:
        if frame.f_globals.get("__name__", "").startswith(STORE):
            return False
        if frame.f_code is asyncio.BaseEventLoop.run_forever.__code__:
            loop = frame.f_locals["self"]
        frame = frame.f_back
    if frame is None:
        return False
    raise_in(ident, StepInterrupted)
    if loop is not None:  # it may be asleep in C code
        try:
            loop.call_soon_threadsafe(lambda: None)
        except RuntimeError:
            pass  # it was closed just now
    return True


def raise_in(ident: int, error: type[BaseException]) -> None:
    """Raises an exception in a thread as soon as it runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


def _was_refused(error: BaseException) -> bool:
    """Whether the store refused to create the step run, before the step's function was reached."""
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
