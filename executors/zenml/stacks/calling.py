"""How the pipeline of a measured stack is called: quietly, leaving nothing, and stoppable."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from zenml.constants import ENV_ZENML_ACTIVE_STACK_ID
from zenml.utils import source_utils

from executors.zenml.process.environments import exactly

if TYPE_CHECKING:
    from uuid import UUID


@contextmanager
def active(stack: UUID, source_root: str) -> Iterator[None]:
    """Makes a stack the active one of this process, with a source root and few words.

    Nothing is changed that another process sees, so nothing has to be put back there.
    """
    root, zenml = source_utils._CUSTOM_SOURCE_ROOT, logging.getLogger("zenml")
    ours, level = logging.getLogger("executors.zenml"), zenml.level
    our_level = ours.level
    with exactly({ENV_ZENML_ACTIVE_STACK_ID: str(stack)}):
        source_utils.set_custom_source_root(source_root)
        zenml.setLevel(logging.ERROR)
        ours.setLevel(logging.WARNING)
        try:
            yield
        finally:
            zenml.setLevel(level)
            ours.setLevel(our_level)
            source_utils.set_custom_source_root(root)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C end a pipeline: what handles it in the meantime would only take note of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
