"""Stores the log of a step soon after it was written, so that it survives a worker that dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

SHARE = 0.05  # of the time that storing may take, while the step waits for it
LEAST_S = 0.02  # between the ends of two

Emit = Callable[..., None]


def flush_soon(emit: Emit) -> Emit:
    """An `emit` of ZenML's LoggingContext after which the record is stored.

    ZenML stores records every 5 s. Here the first line after a pause is stored before `emit`
    returns, and those that follow it closely soon after: at once would slow down a step that prints
    much.
    """
    flusher = _Flusher()

    def emit_and_flush(self: Any, record: logging.LogRecord, metadata: Any = None) -> None:
        emit(self, record, metadata)
        flusher.on_record(self._log_store)

    return emit_and_flush


class _Flusher:
    def __init__(self) -> None:
        self._next_s = 0.0
        self._is_behind = threading.Event()
        self._log_store: Any = None
        self._thread: threading.Thread | None = None

    def on_record(self, log_store: Any) -> None:
        self._log_store = log_store
        if monotonic() >= self._next_s:
            self._flush()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="flush logs", daemon=True)
            self._thread.start()
        self._is_behind.set()

    def _flush(self) -> None:
        self._is_behind.clear()
        began_s = monotonic()
        self._log_store.flush(blocking=True)
        ended_s = monotonic()
        self._next_s = ended_s + max(LEAST_S, (ended_s - began_s) / SHARE)

    def _follow(self) -> None:
        pause = threading.Event()
        while True:
            self._is_behind.wait()
            pause.wait(max(0.0, self._next_s - monotonic()))
            self._flush()
