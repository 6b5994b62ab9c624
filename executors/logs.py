"""A log file for runs: written between them, safe to share between processes.

Actions in worker processes log as usual; their records come back with the outcomes and are
handled here. So one process writes for a run, but other programs may write to the same file:
concurrent-log-handler takes a lock for each record. That takes 26 to 95 us per record, so the
records of a run are held in memory and written when it is over.
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

from executors.core.graph import Graph
from executors.core.records import Attempt, RunReport, describe
from executors.observers import Observer

logger = logging.getLogger("executors.runs")

MAX_BYTES = 10_000_000  # of one file, before it is rotated
BACKUPS = 3
HELD_RECORDS = 100_000  # more than these are written even while tasks run
FORMAT = (
    "%(asctime)s.%(msecs)03d %(levelname)-7s %(processName)s/%(threadName)s %(name)s: %(message)s"
)


class RunLog(Observer):
    """Logs each run, and writes the records that were held when it is over.

    A run is logged at INFO, a failed attempt at WARNING and any other attempt at DEBUG, with the
    time at which it ended. All of it is taken from the report: notifications while tasks run slowed
    down those that hold the interpreter lock by 2 %.
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
    """Logs an attempt at the time of its end; `epoch_s` is the origin of the monotonic clock."""
    if attempt.error is not None:
        level, text = logging.WARNING, "task %r failed after %.6f s on %s: %s"
        values: tuple[object, ...] = (describe(attempt.error),)
    else:
        level, text, values = logging.DEBUG, "task %r took %.6f s on %s", ()
    if not logger.isEnabledFor(level):
        return
    values = (attempt.task_name, attempt.duration_s, attempt.worker, *values)
    record = logger.makeRecord(logger.name, level, "", 0, text, values, None)
    record.created = epoch_s + attempt.ended_s
    record.msecs = 1000 * (record.created % 1)
    logger.handle(record)


def _only_once(path: Path) -> Callable[[logging.LogRecord], None]:
    """Reports once that a record could not be written; a full disk must not end a run."""
    lost: list[logging.LogRecord] = []

    def handle_error(record: logging.LogRecord) -> None:
        if not lost and sys.stderr is not None:
            sys.stderr.write(f"cannot write to {path} ({sys.exc_info()[1]}): the log has gaps\n")
        lost.append(record)

    return handle_error


@contextmanager
def log_to_file(path: Path, level: int = logging.INFO) -> Iterator[RunLog]:
    """Sends all log records of at least `level` to a file while the context lasts.

    Pass the RunLog that it yields to `run` as an observer. Enter it before the backend, because
    workers use the log levels that are set when they start.

    Raises:
        OSError: the file cannot be written.
    """
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass  # so that it fails now, not at the first record
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
