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
import weakref
from collections.abc import Collection
from pathlib import Path

from executors.imports.interpreter import module_command

ADDRESS_FILE = "scheduler.json"
NODE = "executors.engines.dask.node"


class OwnCluster:
    """Scheduler and workers.

    Args:
        workers: their number.

    Attributes:
        folder: temporary; for what its processes share.
        deaths: of workers, so far.
        file: it says where the scheduler is, once it has started.
    """

    def __init__(self, workers: int) -> None:
        self.folder = tempfile.mkdtemp(prefix="executors-dask-")
        # Also at the end of a program that does not close it.
        self._tidy = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.file = str(Path(self.folder) / ADDRESS_FILE)
        self.deaths = 0
        self._scheduler = _Node("scheduler", self.folder)
        self._workers = [_Node("worker", self.folder) for _ in range(workers)]

    @property
    def is_alive(self) -> bool:
        """Whether the scheduler runs."""
        return self._scheduler.process.poll() is None

    @property
    def processes(self) -> list[int]:
        """Those of the workers."""
        return [worker.process.pid for worker in self._workers]

    def keep_up(self) -> None:
        """Replaces workers that have died."""
        for number, worker in enumerate(self._workers):
            if worker.process.poll() is not None:
                worker.end()
                self.deaths += 1
                self._workers[number] = _Node("worker", self.folder)

    def kill(self, processes: Collection[int]) -> None:
        """Ends these workers, whatever they are doing."""
        for worker in self._workers:
            if worker.process.pid in processes:
                worker.end()

    def close(self) -> None:
        """Ends all processes; returns when they are gone."""
        for node in (*self._workers, self._scheduler):
            node.end()
        self._tidy()


class _Node:
    """A process of the cluster.

    It has the reading end of a pipe of its own, and notices when nobody can write any more.
    """

    def __init__(self, kind: str, folder: str) -> None:
        theirs, self._lifeline = os.pipe()
        self._is_ended = False
        try:
            self.process = subprocess.Popen(
                module_command(NODE, kind, theirs, folder),
                env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs],
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(theirs)

    def end(self) -> None:
        """Kills it, with the processes that it started."""
        if self._is_ended:
            return
        self._is_ended = True
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self._lifeline)
