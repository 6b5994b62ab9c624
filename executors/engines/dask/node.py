"""The scheduler, or one worker, of a cluster of our own: `main` is called in a fresh interpreter.

Arguments: `scheduler` or `worker`, the descriptor of the lifeline, and the cluster's folder. The
user's `__main__` is never imported.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import dask
import distributed

from executors.engines.dask.cluster import ADDRESS_FILE
from executors.imports.lifeline import die_with_parent

HOST = "127.0.0.1"
ENDLESS = 1 << 30

# A task whose worker died is put back by the scheduler; the ledger says whether it had begun.
CONFIG = {
    "distributed.scheduler.allowed-failures": ENDLESS,
    "distributed.admin.low-level-log-length": 1,
    "distributed.worker.profile.enabled": False,
}


def main() -> None:
    kind, lifeline, folder = sys.argv[1:]
    os.set_inheritable(int(lifeline), False)
    die_with_parent(int(lifeline))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the program
    dask.config.set({**CONFIG, "temporary-directory": folder})
    asyncio.run(_serve(kind, folder))


async def _serve(kind: str, folder: str) -> None:
    file = str(Path(folder) / ADDRESS_FILE)
    any_port = f"{HOST}:0"
    node: distributed.Scheduler | distributed.Worker
    if kind == "scheduler":
        node = distributed.Scheduler(
            host=HOST, dashboard=False, dashboard_address=any_port, scheduler_file=file
        )
    else:
        node = distributed.Worker(
            scheduler_file=file,
            host=HOST,
            nthreads=1,
            memory_limit=0,
            local_directory=folder,
            dashboard=False,
            dashboard_address=any_port,
        )
    async with node:
        finished: Any = node.finished  # which has no types
        await finished()
