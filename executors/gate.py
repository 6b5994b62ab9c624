"""`Gate`: a lock to wait at, which a signal handler may open."""

from __future__ import annotations

import threading


class Gate:
    """Lets one waiter through each time it is opened.

    Opening an open gate does nothing. `open` never blocks and takes no other lock, so a signal
    handler may call it (unlike `threading.Event.set`, which deadlocks when it interrupts `wait`).
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # open already

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the gate is open, then closes it; False after the timeout."""
        if timeout_s is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(0.0, timeout_s), threading.TIMEOUT_MAX))
