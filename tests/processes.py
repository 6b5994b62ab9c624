"""The processes that tests must not leave behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic, sleep

import psutil


def working_children() -> set[psutil.Process]:
    """The processes below this one, without those that multiprocessing and loky keep for later.

    Their fork servers and resource trackers end with this process.
    """
    return {
        child
        for child in psutil.Process().children(recursive=True)
        if not _ends_with_its_parent(child)
    }


def stop(pid: int) -> None:
    """Stops a process; until it is scheduled, it may still read what is being written to it."""
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        sleep(0.001)


def shared_memory() -> set[str]:
    """Names in shared memory, without those of pools of other packages, in tests beside this."""
    names = {path.name for path in Path("/dev/shm").iterdir()}
    return {name for name in names if not name.startswith(("sem.", "joblib", "loky", "psm_"))}


def left_in_shared_memory(before: set[str]) -> set[str]:
    """New names that do not vanish; those of other packages, in tests beside this, do."""
    end_s = monotonic() + 30.0
    while (left := shared_memory() - before) and monotonic() < end_s:
        sleep(0.1)
    return left


def _ends_with_its_parent(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "resource_tracker" in command or "multiprocessing.forkserver" in command
