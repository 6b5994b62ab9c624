"""`ParentLink`: what connects a worker with its parent, seen from the worker."""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import socket
import termios
import threading
from array import array
from collections.abc import Iterator
from time import monotonic

from executors.backends.workers.wire import (
    CHANGES,
    IN_SEGMENT,
    LOG,
    PLAIN_ORDERS,
    REPORT,
    TICKET,
    DecodedOrder,
    Order,
    receive,
    send,
)
from executors.imports.lifeline import wait_for
from executors.imports.surroundings import adopt
from executors.pickling.packing import Packed, Segment, decode

RECORDS_S = 0.05  # between wake-ups for log records; those in between are handled within a second


class ParentLink:
    """This worker's pipes and socket to its parent; see `wire.py`."""

    def __init__(
        self, queue: int, line: int, reports: int, wakeup_pipe: int, children: int
    ) -> None:
        self._queue = queue
        self._queued = select.poll()
        self._queued.register(queue, select.POLLIN)
        self._queued_bytes = array("i", [0])
        self.line = socket.socket(fileno=line)
        self._reports = reports
        self._wakeup_pipe = wakeup_pipe
        self._children = socket.socket(fileno=children)
        self.orders: dict[int, DecodedOrder] = {}  # received, by number
        self._writing = threading.Lock()  # threads of actions may log
        self.is_all_announced = True  # the parent was woken after the last report
        self._announced_s = 0.0  # when it was woken last
        os.set_blocking(reports, False)

    def close(self) -> None:
        """Closes all of them; a process leaves that to its end."""
        self.line.close()
        self._children.close()
        for descriptor in (self._queue, self._reports, self._wakeup_pipe):
            os.close(descriptor)

    def next_ticket(self) -> int:
        """The next ticket; blocks until there is one.

        Raises:
            ConnectionError: the parent has closed the pool.
        """
        while True:
            try:
                ticket = os.read(self._queue, TICKET.size)
            except BlockingIOError:
                self._queued.poll()
                continue
            if not ticket:
                raise ConnectionError
            number: int = TICKET.unpack(ticket)[0]
            return number

    def is_idle(self) -> bool:
        """Whether the worker has nothing to do now."""
        if self.orders:
            return False
        fcntl.ioctl(self._queue, termios.FIONREAD, self._queued_bytes)
        return not self._queued_bytes[0]

    def order(self, number: int) -> DecodedOrder:
        """The call of a ticket; blocks until it has arrived."""
        while number not in self.orders:
            self._receive()
        return self.orders.pop(number)

    def forget(self, number: int) -> None:
        """Drops the orders with lower numbers: their tickets were taken back."""
        try:
            while True:
                self._receive(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        for old in [other for other in self.orders if other < number]:
            del self.orders[old]

    def _receive(self, flags: int = 0) -> None:
        message, descriptors = receive(self.line, flags)
        if message is None:
            raise ConnectionError
        form, content = message
        if form == CHANGES:
            try:
                adopt(pickle.loads(content))
            except OSError:
                pass  # the folder cannot be entered
            return
        is_plain = form == PLAIN_ORDERS
        for order in content:
            self.orders[order[0]] = order if is_plain else _decoded_order(order, descriptors)

    def report(
        self,
        kind: int,
        number: int = 0,
        outcome: Packed = b"",
        started_s: float = 0.0,
        ended_s: float = 0.0,
        cpu_s: float = -1.0,
        peak_bytes: int = 0,
    ) -> None:
        """Sends a report; it has left this process when this returns."""
        with self._writing:
            if not isinstance(outcome, bytes):
                self._send(outcome)
                kind |= IN_SEGMENT
                outcome = b""
            fields = len(outcome), number, kind, started_s, ended_s, cpu_s, peak_bytes
            report = REPORT.pack(*fields) + outcome
            self.is_all_announced = False
            try:
                sent = os.write(self._reports, report)
            except BlockingIOError:
                sent = 0
            while sent < len(report):
                self.wake_parent()  # or the parent would never make room
                wait_for(self._reports, select.POLLOUT)
                sent += os.write(self._reports, report[sent:])

    def _send(self, segment: Segment) -> None:
        try:
            send(self.line, segment.sizes, [segment.fd], socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.wake_parent()
            send(self.line, segment.sizes, [segment.fd])

    def send_record(self, record: bytes) -> None:
        """Sends a pickled log record from a process that an action forked."""
        try:
            send(self._children, record, [])
        except ConnectionError:
            pass  # the program has ended

    def report_record(self, record: Packed) -> None:
        """Sends a log record; the parent soon handles it, although the action goes on."""
        self.report(LOG, 0, record)
        if monotonic() - self._announced_s > RECORDS_S:
            self.wake_parent()

    def wake_parent(self) -> None:
        """Wakes the parent."""
        self.is_all_announced = True
        self._announced_s = monotonic()
        try:
            os.write(self._wakeup_pipe, b"!")
        except BlockingIOError:
            pass  # it is full of wake-ups


def _decoded_order(order: Order, descriptors: Iterator[int]) -> DecodedOrder:
    number, flags, action, arguments = order
    packed = decode(action, descriptors)
    if isinstance(arguments, int):
        return number, flags, packed, arguments
    return number, flags, packed, [decode(argument, descriptors) for argument in arguments]


def yield_to_parent() -> None:
    """Keeps the kernel from interrupting the parent each time it sends something to a worker.

    With SCHED_BATCH a worker gets the same share of the CPU, and processes that an action starts
    are scheduled as usual. All workers wait for the parent: 10,000 empty tasks took 9.7 us each
    instead of 11.7.
    """
    if hasattr(os, "SCHED_BATCH"):
        try:
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))
        except OSError:
            pass  # not allowed here


def stops_background_output() -> bool:
    """Whether the terminal stops processes in the background, such as this one, when they print."""
    for descriptor in (1, 2):
        try:
            if termios.tcgetattr(descriptor)[3] & termios.TOSTOP:
                return True
        except (termios.error, OSError):
            pass  # not a terminal
    return False
