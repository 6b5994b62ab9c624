"""The pools that people use, by name."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from time import sleep
from typing import Any, ClassVar

from executors.engines import missing
from executors.engines.pools import FuturesBackend, Pool

PARENT_POLL_S = 2.0


def _set_up(parent: int) -> None:
    """In a worker: lets the program with this process number decide when it ends.

    The terminal's Ctrl-C is for the program; and a worker of loky, for one, outlives a program that
    was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while _is_alive(parent):
        sleep(PARENT_POLL_S)
    os._exit(1)


def _is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended may be there until its parent looks at it."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's, or this is not Linux
    return state not in "ZX"


@contextmanager
def _without_a_lost_main() -> Iterator[None]:
    """Keeps workers from importing a `__main__` whose file is not there, such as `<stdin>`."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or Path(file).exists():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


class FuturesThreads(FuturesBackend):
    """`concurrent.futures.ThreadPoolExecutor`."""

    name: ClassVar[str] = "futures-threads"
    shares_interpreter: ClassVar[bool] = True
    start_guess_s: ClassVar[float] = 0.01

    def make(self) -> Executor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="thread")


class FuturesProcesses(FuturesBackend):
    """`concurrent.futures.ProcessPoolExecutor`.

    Its processes are started by a fork server where there is one, which is Python's default from
    3.14 on: a fork of a process with threads may hang.
    """

    name: ClassVar[str] = "futures-processes"
    worker_bytes: ClassVar[int] = 30_000_000

    def make(self) -> Executor:
        has_server = "forkserver" in get_all_start_methods()
        context = get_context("forkserver" if has_server else "spawn")
        return ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=_set_up, initargs=(os.getpid(),)
        )

    def new_pool(self) -> Pool:
        with _without_a_lost_main():
            return super().new_pool()

    def kill(self, executor: Executor) -> None:
        processes = dict(getattr(executor, "_processes", None) or {})
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.join()


class Loky(FuturesBackend):
    """loky's process pool, which joblib runs on."""

    name: ClassVar[str] = "loky"
    worker_bytes: ClassVar[int] = 30_000_000
    packages: ClassVar[tuple[str, ...]] = ("loky",)

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("loky", "peers")

    def make(self) -> Executor:
        import loky

        executor: Executor = loky.ProcessPoolExecutor(
            self.workers, initializer=_set_up, initargs=(os.getpid(),)
        )
        return executor

    def kill(self, executor: Executor) -> None:
        pool: Any = executor
        pool.shutdown(wait=True, kill_workers=True)


class Pebble(FuturesBackend):
    """pebble's process pool, which can end a running call."""

    name: ClassVar[str] = "pebble"
    worker_bytes: ClassVar[int] = 30_000_000
    cancel_kills: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("pebble",)

    @classmethod
    def unavailable(cls) -> str | None:
        return missing("pebble", "peers")

    def make(self) -> Executor:
        return _PebbleExecutor(self.workers)

    def is_death(self, error: BaseException) -> bool:
        import pebble

        return isinstance(error, pebble.ProcessExpired)

    def kill(self, executor: Executor) -> None:
        assert isinstance(executor, _PebbleExecutor)
        executor.stop()


class _PebbleExecutor(Executor):
    """pebble's pool with the methods of an executor."""

    def __init__(self, workers: int) -> None:
        import pebble

        self._pool = pebble.ProcessPool(
            max_workers=workers, initializer=_set_up, initargs=(os.getpid(),)
        )

    def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = self._pool.schedule(function, args=arguments, kwargs=keywords)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.close()
        if wait:
            self._pool.join()

    def stop(self) -> None:
        self._pool.stop()
        self._pool.join()
