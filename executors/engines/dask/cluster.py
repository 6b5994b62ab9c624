"""A cluster of our own on this machine: a scheduler and workers with a thread each.

Its processes are children of this one, so a worker that was killed is noticed and replaced, and all
of them end with this process, however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from executors.engines.dask.node import ADDRESS_FILE
from executors.imports.interpreter import module_command

NODE = "executors.engines.dask.node"


class OwnCluster:
    """Scheduler and workers.

    Args:
        workers: their number.

    Attributes:
        folder: temporary; for what its processes share.
        file: it says where the scheduler is, once it has started.
    """

    def __init__(self, workers: int) -> None:
        self.folder = tempfile.mkdtemp(prefix="executors-dask-")
        self.file = str(Path(self.folder) / ADDRESS_FILE)
        self._theirs, self._lifeline = os.pipe()
        self._scheduler = self._start("scheduler")
        self._workers = [self._start("worker") for _ in range(workers)]

    def _start(self, kind: str) -> subprocess.Popen[bytes]:
        command = module_command(NODE, kind, self._theirs, self.folder)
        return subprocess.Popen(
            command,
            env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"},
            stdin=subprocess.DEVNULL,
            pass_fds=[self._theirs],
            start_new_session=True,
        )

    @property
    def is_alive(self) -> bool:
        """Whether the scheduler runs."""
        return self._scheduler.poll() is None

    def keep_up(self) -> int:
        """Replaces workers that have died; returns how many."""
        died = [number for number, worker in enumerate(self._workers) if worker.poll() is not None]
        for number in died:
            self._workers[number] = self._start("worker")
        return len(died)

    def kill(self, processes: Iterable[int]) -> None:
        """Ends these workers, whatever they are doing."""
        for worker in self._workers:
            if worker.pid in processes:
                _kill(worker)

    def close(self) -> None:
        """Ends all processes; returns when they are gone."""
        for process in (*self._workers, self._scheduler):
            _kill(process)
        os.close(self._lifeline)
        os.close(self._theirs)
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With the processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
