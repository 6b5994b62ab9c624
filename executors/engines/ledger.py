"""What has become of the attempts on a cluster of our own; it outlives a worker that is killed.

dask runs a task again whose worker has died, or whose value was lost with it. An action must not
begin twice, so a worker looks here first. And a worker that is killed may take along outcomes that
it had not sent: the client finds them here. All workers of the cluster use one folder::

    begun     a record per attempt, at its number: its state, and where its outcome is
    PROCESS   outcomes of the attempts that this process made, pickled, one after the other
"""

from __future__ import annotations

import os
import pickle
import struct
from enum import IntEnum
from pathlib import Path
from typing import Any

_RECORD = struct.Struct("=BxxxIQQ")  # state, process, start, length


class State(IntEnum):
    """What is known of an attempt."""

    NEW = 0
    BEGUN = 1
    ENDED = 2


class Ledger:
    """The records of one run, for one process.

    Args:
        folder: shared by all processes.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._begun = os.open(self._folder / "begun", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self._process = os.getpid()
        own = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._outcomes = os.open(self._folder / str(self._process), own)
        self._end = os.fstat(self._outcomes).st_size

    def state(self, number: int) -> State:
        """What is known of an attempt."""
        record = self._record(number)
        return State.NEW if record is None else State(record[0])

    def begin(self, number: int) -> None:
        """Notes that an attempt has begun."""
        self._write(number, State.BEGUN)

    def end(self, number: int, outcome: Any) -> None:
        """Notes the outcome of an attempt."""
        pickled = pickle.dumps(outcome)
        os.write(self._outcomes, pickled)
        self._write(number, State.ENDED, self._end, len(pickled))
        self._end += len(pickled)

    def outcome(self, number: int) -> Any:
        """The outcome of an attempt; None if it has not ended."""
        record = self._record(number)
        if record is None or record[0] != State.ENDED:
            return None
        _, process, start, length = record
        with (self._folder / str(process)).open("rb") as file:
            file.seek(start)
            return pickle.loads(file.read(length))

    def close(self) -> None:
        os.close(self._begun)
        os.close(self._outcomes)

    def _record(self, number: int) -> tuple[int, int, int, int] | None:
        read = os.pread(self._begun, _RECORD.size, number * _RECORD.size)
        if len(read) < _RECORD.size or not read[0]:
            return None
        state, process, start, length = _RECORD.unpack(read)
        return state, process, start, length

    def _write(self, number: int, state: State, start: int = 0, length: int = 0) -> None:
        record = _RECORD.pack(state, self._process, start, length)
        os.pwrite(self._begun, record, number * _RECORD.size)
