"""What goes between the process backend and its workers.

::

    queue    a pipe with a ticket, its number, for each call that the worker has to make. The
             parent has the reading end too: who reads a ticket has the call. So the parent takes
             calls back by reading, and what a dead worker left there it never began.
    line     a socket. To the worker: orders, which say what the calls are, many in a message,
             before the tickets. To the parent: segments (see packing.py) of outcomes.
    reports  a pipe to the parent. Each report leaves the worker before its next call begins.
    bell     a pipe to the parent that all workers share. Reports wake nobody; a worker rings, by
             a byte, after calls that ask for it, and when it has nothing left to do.
"""

from __future__ import annotations

import array
import marshal
import pickle
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from executors.backends.packing import Packed, Parcel, Segment
from executors.errors import MemoryLimitExceeded, NotPicklable, RemoteError
from executors.records import Call, describe

TICKET = struct.Struct("=Q")  # the number of a call; later ones are higher
FORGET = 1 << 63  # added to a number: what is before it and was not begun was taken back

# A call as a worker sees it: its number, its flags, its action, and its arguments; or instead of
# them the number of the call to follow: the last one made there, whose value is the argument.
Order = tuple[int, int, Parcel, list[Parcel] | int]
OpenOrder = tuple[int, int, Packed, list[Packed] | int]  # with what its parcels stand for
RINGS = 1  # flag: ring the bell after it
LEADS = 2  # flag: keep its value, as the next call may follow it

# Before the packed outcome of each report: its size, number of the call, kind, start and end of
# the action. With IN_SEGMENT added to the kind, the outcome is the next segment in the socket.
REPORT = struct.Struct("<IQBdd")
READY, NOT_READY, VALUE, ERROR, SKIPPED, LOG = range(6)  # SKIPPED: there was nothing to follow
OUTCOMES = frozenset((VALUE, ERROR, SKIPPED))  # those that end a call
IN_SEGMENT = 128  # added to the kind

MESSAGES = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
LONGEST = 1 << 16  # bytes of a message; longer ones go into a segment
_ROOM = socket.CMSG_SPACE(253 * array.array("i").itemsize)  # for descriptors
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Options(NamedTuple):
    """What the user wants of each worker."""

    memory_limit_bytes: int | None
    preload: tuple[str, ...]
    initializer: bytes | None  # pickled


class Setup(NamedTuple):
    """How a worker becomes like its parent, and what else it does before it is ready."""

    name: str  # for its log records
    path: list[str]  # sys.path
    python_path: str | None  # the PYTHONPATH that the user had
    log_levels: Mapping[str, int]  # by logger name, "" is the root
    options: Options


# What went wrong with a call: the action raised (and so did the worker's code, at worst), something
# cannot be pickled or unpickled (an argument by its position), or there was no memory left.
RAISED, ACTION, VALUE_OF, MEMORY = "raised", "action", "value", "memory"


class Failure(NamedTuple):
    """An exception on its way to the parent.

    Attributes:
        what: RAISED, ACTION, VALUE_OF, MEMORY, or the position of an argument.
        pickled: the exception, if it was raised and comes back whole.
        type_name: of what was raised; of a value, its type.
    """

    what: str | int
    pickled: bytes | None
    type_name: str
    text: str
    traceback: str


def error_of(failure: Failure, call: Call, worker: str, limit_bytes: int | None) -> BaseException:
    """The error that a task has from a worker's failure, its traceback there as a note."""
    name, what = call.task.name, failure.what
    if what == RAISED:
        return _raised(failure, worker)
    if what == ACTION:
        text = f"its action cannot be unpickled in the worker process: {failure.text}"
    elif what == VALUE_OF:
        text = (
            f"its value, of type {failure.type_name}, cannot be pickled: {failure.text};"
            " return plain data, or use the threads backend"
        )
    elif what == MEMORY:
        text = (
            f"task {name!r} needed more memory than the {limit_bytes} bytes that its worker may"
            f" have (memory_limit_bytes): {failure.text}"
        )
        return _noted(MemoryLimitExceeded(text), failure, worker)
    else:
        need = call.task.needs[int(what)]
        text = (
            f"its argument, the value of {need!r}, cannot be unpickled in the worker process:"
            f" {failure.text}"
        )
    return NotPicklable(f"task {name!r}: {text}")


def _raised(failure: Failure, worker: str) -> BaseException:
    error: BaseException = RemoteError(failure.type_name, failure.text)
    if failure.pickled is not None:
        try:
            error = pickle.loads(failure.pickled)
        except BaseException as reason:
            why = f"(the exception cannot be unpickled: {describe(reason)})"
            error = RemoteError(failure.type_name, f"{failure.text} {why}")
    return _noted(error, failure, worker)


def _noted(error: BaseException, failure: Failure, worker: str) -> BaseException:
    try:
        error.add_note(f"In {worker}:\n{failure.traceback}")
    except Exception:
        pass  # a frozen one, say: it comes without the note
    return error


def send(channel: socket.socket, thing: Any, descriptors: list[int], flags: int = 0) -> None:
    """Sends one message: anything that marshal takes, with descriptors.

    Raises:
        BlockingIOError: the channel does not block, and its buffer is full.
        OSError: the other end is gone, or there is no memory for a long message.
    """
    body = marshal.dumps(thing)
    if len(body) > LONGEST:
        segment = Segment.of([memoryview(body)])
        body, descriptors = marshal.dumps(len(body)), [segment.fd, *descriptors]
    if descriptors:  # send_fds of Python 3.11 forgets its flags
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        channel.sendmsg([body], [rights], flags)
    else:
        channel.send(body, flags)


def receive(channel: socket.socket, flags: int = 0) -> tuple[Any, Iterator[int]]:
    """One message and its descriptors; (None, none) when the other end is gone.

    Raises:
        BlockingIOError: there is none yet.
    """
    body, ancillary, _, _ = channel.recvmsg(LONGEST, _ROOM, flags | _CLOSE_ON_EXEC)
    if not body:
        return None, iter(())
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    thing = marshal.loads(body)
    if isinstance(thing, int):
        segment = Segment((thing,), descriptors.pop(0) if descriptors else -1)
        thing = marshal.loads(segment.content())
    return thing, iter(descriptors)
