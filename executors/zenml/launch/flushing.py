"""Stores the log of a step soon after it was written, so that it survives a worker that dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

SHARE = 0.05  # of the time that a step may wait for it
BURST_S = 0.1  # for which it may wait at once
LATER_S = 0.1  # until a record is stored for which the step does not wait

Emit = Callable[..., None]


def flush_soon(emit: Emit) -> Emit:
    """An `emit` of ZenML's LoggingContext after which the record is stored.

    ZenML stores records every 5 s. Here a record is stored before `emit` returns. A step that
    prints so much that this takes more than a twentieth of its time does not wait for it.
    """
    flusher = _Flusher()

    def emit_and_flush(self: Any, record: logging.LogRecord, metadata: Any = None) -> None:
        emit(self, record, metadata)
        flusher.on_record(self._log_store)

    return emit_and_flush


class _Flusher:
    def __init__(self) -> None:
        self._budget_s = BURST_S  # for which the step may wait, at `_counted_s`
        self._counted_s = monotonic()
        self._is_behind = threading.Event()
        self._log_store: Any = None
        self._thread: threading.Thread | None = None

    def on_record(self, log_store: Any) -> None:
        self._log_store = log_store
        now_s = monotonic()
        self._budget_s = min(BURST_S, self._budget_s + SHARE * (now_s - self._counted_s))
        self._counted_s = now_s
        if self._budget_s > 0:
            log_store.flush(blocking=True)
            self._budget_s -= monotonic() - now_s
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="flush logs", daemon=True)
            self._thread.start()
        self._is_behind.set()

    def _follow(self) -> None:
        pause = threading.Event()
        while True:
            self._is_behind.wait()
            pause.wait(LATER_S)
            self._is_behind.clear()
            self._log_store.flush(blocking=True)
