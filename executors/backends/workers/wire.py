"""The protocol between the process backend and its workers.

::

    queue    a pipe with a ticket, a number, for each call that the worker has to make. The parent
             has the reading end too: whoever reads a ticket has the call. So the parent takes
             calls back by reading, and a dead worker never began the calls of unread tickets.
    line     a socket. To the worker: orders, which describe the calls, many in a message, before
             the tickets; and changes of its surroundings, before the orders that need them. To the
             parent: segments (see packing.py) of outcomes.
    reports  a pipe to the parent. Each report leaves the worker before its next call begins.
    wakeup   a pipe to the parent that all workers share. Reports wake nobody; a worker writes a
             byte here after calls flagged WAKES, and when it has nothing left to do.
    children a socket to the parent that all workers share, for log records of processes that
             actions fork: these cannot use the pipes of a worker that goes on writing to them.
"""

from __future__ import annotations

import array
import marshal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from executors.imports.modules import Main
from executors.pickling.packing import Encoded, Packed, Segment

TICKET = struct.Struct("=Q")  # the number of a call; later ones are higher
FORGET = 1 << 63  # added to a number: earlier calls that were not begun were taken back

# What a message to a worker has, before its content: orders in which every encoded value is just
# bytes, other orders, or the pickled `Changes` of its surroundings.
PLAIN_ORDERS, ORDERS, CHANGES = range(3)

# A call in the form in which a worker receives it: number, flags, action, and arguments, or instead
# of arguments the number of the call that it follows: the last one, whose value is the argument.
Order = tuple[int, int, Encoded, list[Encoded] | int]
DecodedOrder = tuple[int, int, Packed, list[Packed] | int]  # with packed values
WAKES = 1  # flag: wake the parent after it
LEADS = 2  # flag: keep its value, because the next call may follow it
METERED = 4  # flag: measure its processor time

# Before the packed outcome of each report: its size, number of the call, kind, start and end of
# the action, its processor time (negative: not measured), and the worker's peak memory. With
# IN_SEGMENT added to the kind, the outcome is the next segment in the socket.
REPORT = struct.Struct("<IQBdddQ")
READY, NOT_READY, VALUE, ERROR, SKIPPED, LOG, IMPORTED = range(7)
OUTCOMES = frozenset((VALUE, ERROR, SKIPPED))  # these end a call; skipped: nothing to follow
Used = tuple[float, int | None]  # processor time and peak memory of an attempt
IN_SEGMENT = 128  # added to the kind

MESSAGES = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
LONGEST = 1 << 16  # bytes of a message; longer ones go into a segment
_ROOM = socket.CMSG_SPACE(253 * array.array("i").itemsize)  # for descriptors
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class WorkerOptions(NamedTuple):
    """The user's options for each worker."""

    memory_limit_bytes: int | None
    preload: tuple[str, ...]
    initializer: bytes | None  # pickled


class Setup(NamedTuple):
    """How a worker sets itself up like its parent before it is ready."""

    name: str  # for its log records
    main: Main  # of the program
    log_levels: Mapping[str, int]  # by logger name, "" is the root
    options: WorkerOptions
    environment: Mapping[str, str]  # that it was started with beyond the program's; to be removed


def send(channel: socket.socket, thing: Any, descriptors: list[int], flags: int = 0) -> None:
    """Sends one message: anything that marshal accepts, with descriptors.

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
    """One message and its descriptors; (None, no descriptors) if the other end is gone.

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
