"""What goes through the socket between the process backend and one of its workers.

::

    parent -> worker   SIZE, then a pickle: first a Setup, then one Order for each call
    worker -> parent   REPLY (kind, two sizes, start and end of the action),
                       then the outcome, then the log records if any, both pickled

A worker has one order at a time, so the two ends never send at once and neither can block the
other for good. Values are pickled once, by the worker that made them: the parent passes the
bytes on to the readers and unpickles only what the report keeps.
"""

from __future__ import annotations

import os
import pickle
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from executors.errors import NotPicklable, RemoteError
from executors.records import describe

SIZE = struct.Struct("<Q")
REPLY = struct.Struct("<BQQdd")
CELL = struct.Struct("<Q")  # in shared memory: how many calls a worker has begun
READY, VALUE, ERROR = range(3)  # kinds of replies


# One call: the task's name and those of its needs (for messages), its action and arguments
# (pickled). A plain tuple, as a class would cost each call another 4 us.
Order = tuple[str, tuple[str, ...], bytes, list[bytes]]


class Setup(NamedTuple):
    """How a worker becomes like its parent."""

    name: str  # for its log records
    path: list[str]  # sys.path
    python_path: str | None  # the PYTHONPATH that the user had
    log_levels: Mapping[str, int]  # by logger name, "" is the root


class Failure(NamedTuple):
    """An exception on its way to the parent; `pickled` is None if it does not come back whole."""

    pickled: bytes | None
    type_name: str
    text: str
    traceback: str


@dataclass(slots=True)
class Packed:
    """A value as the session of a process run holds it: pickled, its object only if kept."""

    payload: bytes
    value: Any = None


def unpack(packed: Packed, task: str) -> NotPicklable | None:
    """Makes the object of a value that the report keeps; the error if that fails."""
    try:
        packed.value = pickle.loads(packed.payload)
    except BaseException as error:  # what is unpickled may raise anything
        return NotPicklable(f"task {task!r}: its value cannot be unpickled: {describe(error)}")
    return None


def exception_of(failure: Failure, worker: str) -> BaseException:
    """The worker's exception, with its traceback there as a note."""
    error: BaseException = RemoteError(failure.type_name, failure.text)
    if failure.pickled is not None:
        try:
            error = pickle.loads(failure.pickled)
        except BaseException as reason:
            why = f"(the exception cannot be unpickled: {describe(reason)})"
            error = RemoteError(failure.type_name, f"{failure.text} {why}")
    try:
        error.add_note(f"In {worker}:\n{failure.traceback}")
    except Exception:
        pass  # a frozen one, say: it comes without the note
    return error


def shared_cell() -> int:
    """A descriptor of memory for one CELL, without a name, so that nothing of it can be left."""
    if hasattr(os, "memfd_create"):
        cell = os.memfd_create("executors")
    else:
        with tempfile.TemporaryFile() as file:
            cell = os.dup(file.fileno())
    os.ftruncate(cell, CELL.size)
    return cell


def dumps(thing: Any) -> bytes:
    """Pickles by reference where that works, else by value (lambdas, classes of `__main__`)."""
    try:
        return pickle.dumps(thing, protocol=5)
    except Exception:
        return dumps_by_value(thing)


def dumps_by_value(thing: Any) -> bytes:
    """Pickles so that no `__main__` is needed to unpickle."""
    import cloudpickle  # 20 ms; most workers never need it

    pickled: bytes = cloudpickle.dumps(thing, protocol=5)
    return pickled
