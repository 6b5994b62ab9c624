"""Log records on their way from another process."""

from __future__ import annotations

import logging

from executors.core.records import describe
from executors.pickling.packing import Packed, load

logger = logging.getLogger("executors")


def levels() -> dict[str, int]:
    """The levels that were set, so that workers send only the records that are wanted."""
    loggers = logging.Logger.manager.loggerDict.values()
    found = {"": logging.getLogger().level}
    for one in loggers:
        if isinstance(one, logging.Logger) and one.level != logging.NOTSET:
            found[one.name] = one.level
    return found


def portable(record: logging.LogRecord) -> logging.LogRecord:
    """Makes a record that can be pickled: `extra` may hold anything."""
    for key, value in vars(record).items():
        if not isinstance(value, (str, int, float, type(None))):
            setattr(record, key, repr(value))
    return record


def handle(packed: Packed, sender: str) -> None:
    """Handles a record as if it had been logged here."""
    try:
        record = load(packed)
        target = logging.getLogger(record.name)
        if target.isEnabledFor(record.levelno):  # still
            target.handle(record)
    except Exception as error:  # too many open files, a missing class, a handler
        logger.warning("a log record of %s was lost: %s", sender, describe(error))
