"""Which attempts have begun on a cluster of our own, and small values: both outlive a killed worker.

dask runs a task again whose worker has died, or whose value was lost with it. An action must not
begin twice, so a worker looks here first. All workers of the cluster use one folder::

    begun     a record per attempt, at its number: state, and where its value is
    PROCESS   values of the attempts that this process made, pickled, one after the other
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from pathlib import Path

_RECORD = struct.Struct("=BxxxIQQ")  # state, process, start, length


class State(IntEnum):
    """What is known of an attempt."""

    NEW = 0
    BEGUN = 1
    VALUE = 2  # ended; its value is in the ledger
    ENDED = 3  # ended; its value is not in the ledger


class Ledger:
    """The records of one run, for one worker process.

    Args:
        folder: shared by the workers.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._begun = os.open(self._folder / "begun", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self._process = os.getpid()
        own = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._values = os.open(self._folder / str(self._process), own)
        self._end = os.fstat(self._values).st_size

    def begin(self, number: int) -> State:
        """What was known of an attempt; if nothing, it has begun now."""
        record = self._record(number)
        if record is not None:
            return State(record[0])
        self._write(number, State.BEGUN)
        return State.NEW

    def end(self, number: int, pickled: bytes | None) -> None:
        """Notes that an attempt has ended, and its value if it is small."""
        if pickled is None:
            self._write(number, State.ENDED)
            return
        os.write(self._values, pickled)
        self._write(number, State.VALUE, self._end, len(pickled))
        self._end += len(pickled)

    def value(self, number: int) -> bytes:
        """The pickled value of an attempt in the state VALUE."""
        record = self._record(number)
        assert record is not None
        _, process, start, length = record
        with (self._folder / str(process)).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def close(self) -> None:
        os.close(self._begun)
        os.close(self._values)

    def _record(self, number: int) -> tuple[int, int, int, int] | None:
        read = os.pread(self._begun, _RECORD.size, number * _RECORD.size)
        if len(read) < _RECORD.size or not read[0]:
            return None
        state, process, start, length = _RECORD.unpack(read)
        return state, process, start, length

    def _write(self, number: int, state: State, start: int = 0, length: int = 0) -> None:
        record = _RECORD.pack(state, self._process, start, length)
        os.pwrite(self._begun, record, number * _RECORD.size)
