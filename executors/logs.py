"""A log file for runs: written between them, safe to share between processes.

Actions in worker processes log as usual; their records come back with the outcomes and are
handled here. So one process writes, but others may write to the same file:
concurrent-log-handler takes a lock for each record. That costs 26 to 95 us a record, so a run's
records are held in memory and written when it is over.
"""

from __future__ import annotations

import errno
import logging
import logging.handlers
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from executors.graph import Graph
from executors.observers import Observer
from executors.records import Attempt, RunReport, describe

logger = logging.getLogger("executors.runs")

MAX_BYTES = 10_000_000  # of one file, before it is rotated
BACKUPS = 3
HELD_RECORDS = 100_000  # beyond this they are written even while tasks run
FORMAT = (
    "%(asctime)s.%(msecs)03d %(levelname)-7s %(processName)s/%(threadName)s %(name)s: %(message)s"
)


class RunLog(Observer):
    """Writes what was held when a run is over, and logs the run itself.

    Each run is logged at INFO, each failed attempt at WARNING, every other attempt at DEBUG, with
    the time at which it ended. All of that is made from the report: to hear of each attempt while
    tasks run took 2 % from those that hold the interpreter lock.
    """

    def __init__(self, held: logging.handlers.MemoryHandler) -> None:
        self._held = held

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        logger.info("run of %d tasks on %s, workers: %d", len(graph), backend, workers)

    def run_ended(self, report: RunReport) -> None:
        attempts = [attempt for record in report.tasks.values() for attempt in record.attempts]
        epoch_s = time.time() - time.monotonic()
        for attempt in sorted(attempts, key=lambda attempt: attempt.ended_s):
            _log(attempt, epoch_s)
        early = f"; stopped early: {report.stop_reason}" if report.stop_reason else ""
        logger.info("run took %.6f s%s", report.makespan_s, early)
        self._held.flush()


def _log(attempt: Attempt, epoch_s: float) -> None:
    """Logs an attempt as of its end; the monotonic clock began at `epoch_s`."""
    if attempt.error is not None:
        level, text = logging.WARNING, "task %r failed after %.6f s on %s: %s"
        values: tuple[object, ...] = (describe(attempt.error),)
    else:
        level, text, values = logging.DEBUG, "task %r took %.6f s on %s", ()
    if not logger.isEnabledFor(level):
        return
    values = (attempt.name, attempt.duration_s, attempt.worker, *values)
    record = logger.makeRecord(logger.name, level, "", 0, text, values, None)
    record.created = epoch_s + attempt.ended_s
    record.msecs = 1000 * (record.created % 1)
    logger.handle(record)


def _only_once(path: Path) -> Callable[[logging.LogRecord], None]:
    """Says once that a record could not be written: a full disk must not end what is logged."""
    told: list[logging.LogRecord] = []

    def handle_error(record: logging.LogRecord) -> None:
        if not told and sys.stderr is not None:
            sys.stderr.write(f"cannot write to {path} ({sys.exc_info()[1]}): the log has gaps\n")
        told.append(record)

    return handle_error


@contextmanager
def log_to_file(path: Path, level: int = logging.INFO) -> Iterator[RunLog]:
    """Sends all log records of at least `level` to a file while the context lasts.

    Pass what it yields to `run` as an observer. Enter it before the backend, as workers take
    over the levels that are set when they start.

    Raises:
        OSError: the file cannot be written.
    """
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass  # fails now rather than at the first record
    file = ConcurrentRotatingFileHandler(
        str(path), maxBytes=MAX_BYTES, backupCount=BACKUPS, keep_file_open=True
    )
    file.setFormatter(logging.Formatter(FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    held = logging.handlers.MemoryHandler(HELD_RECORDS, logging.CRITICAL + 1, file)
    held.setLevel(level)
    file.handleError = _only_once(path)  # type: ignore[assignment,method-assign]
    root = logging.getLogger()
    before = root.level
    root.setLevel(min(level, before))
    root.addHandler(held)
    try:
        yield RunLog(held)
    finally:
        root.removeHandler(held)
        root.setLevel(before)
        held.close()
        file.close()
