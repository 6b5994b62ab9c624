"""How the function of a step is interrupted, wherever it runs, and what its end then means."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from zenml.exceptions import IllegalOperationError
from zenml.orchestrators.step_runner import StepRunner
from zenml.steps import BaseStep

from executors.errors import TaskError

if TYPE_CHECKING:
    from uuid import UUID

REPEAT_S = 2.0  # until a step that has not ended is interrupted again
STORE = "zenml.zen_stores"  # never interrupted here: it holds locks of the database


class StepInterrupted(KeyboardInterrupt):
    """Raised inside a step's function when its run is stopped."""

    def __str__(self) -> str:
        return "the run is being stopped"


class StepNotStarted(TaskError):
    """The step's function was not reached, because its run had failed or was being stopped."""


class Checks(Protocol):
    """Whoever knows whether the run of a step is being stopped."""

    def check(self, step_run_id: UUID) -> None:
        """Called when a step's function has returned, before its outputs are stored.

        Raises:
            StepInterrupted: the run is being stopped; the step is then published as stopped.
        """


CURRENT: ContextVar[Checks] = ContextVar("stops")  # of the run that a step belongs to


def step_inside(frame: FrameType | None) -> tuple[bool, asyncio.AbstractEventLoop | None]:
    """Whether a step's function can be interrupted in a frame, and the event loop it is in.

    It cannot while it uses the store, or in ZenML's code around it.
    """
    loop: asyncio.AbstractEventLoop | None = None
    while frame is not None and frame.f_code is not BaseStep.call_entrypoint.__code__:
        if frame.f_globals.get("__name__", "").startswith(STORE):
            return False, None
        if frame.f_code is asyncio.BaseEventLoop.run_forever.__code__:
            loop = frame.f_locals["self"]
        frame = frame.f_back
    return frame is not None, loop


def interrupt_thread(ident: int) -> bool:
    """Raises StepInterrupted in a thread that is inside a step's function and not in the store."""
    can_be, loop = step_inside(sys._current_frames().get(ident))
    if not can_be:
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


def was_refused(error: BaseException) -> bool:
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
