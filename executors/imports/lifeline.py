"""How a process that we start ends with its parent."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading


def die_with_parent(lifeline: int) -> None:
    """Has this process group killed when the other end of a pipe is closed, for whatever reason.

    The kernel sends the signal itself (fcntl(2), F_SETSIG), so it works while an action holds the
    GIL, and unlike PR_SET_PDEATHSIG it does not depend on the thread that started this process.
    """
    os.set_blocking(lifeline, False)
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        if wait_for(lifeline, select.POLLIN, 0):  # it was closed before
            os.killpg(0, signal.SIGKILL)
    else:  # not Linux
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: int) -> None:
    wait_for(lifeline, select.POLLIN)
    os.killpg(0, signal.SIGKILL)


def wait_for(descriptor: int, event: int, timeout_ms: int | None = None) -> bool:
    """Waits for an event; unlike `select`, it works with descriptors above 1,023."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(timeout_ms))
