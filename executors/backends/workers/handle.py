"""`WorkerHandle`: one worker, seen from its parent: its pipes, its messages, its end."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import socket
from collections.abc import Callable
from time import monotonic

from executors.backends.workers.assigned import Assigned
from executors.backends.workers.bodies.base import Bodies, Descriptors
from executors.backends.workers.orders import Batch
from executors.backends.workers.wire import (
    CHANGES,
    FORGET,
    IMPORTED,
    IN_SEGMENT,
    LONGEST,
    MESSAGES,
    ORDERS,
    OUTCOMES,
    PLAIN_ORDERS,
    REPORT,
    TICKET,
    Setup,
    Used,
    receive,
    send,
)
from executors.imports.surroundings import Surroundings
from executors.pickling.packing import Packed, Segment

MANY_DESCRIPTORS = 0.75  # of those that this process may have: beyond, segments are copied

# The outcome of a call: its kind, the call's number, value or failure, start and end of the action.
Outcome = tuple[int, int, Packed, float, float, Used | None]


class WorkerHandle:
    """One worker, seen from its parent.

    Args:
        number: for its name.
        body: makes what it runs in.
        shared: the descriptors `wakeup` and `children` of `wire.py`.
        on_report: called with the handle, and kind, number of the call and content of each report
            that is not the outcome of a call.

    Attributes:
        assigned: its calls.
        surroundings: those that it has, unless its actions change them.
        batch: calls that `post` will send.
        body: what it runs in.
        started_s: when that was started.
        imports: modules that it has imported for a call, and the time until the action began, by
            the call's number.
        is_ready: it has set itself up and takes calls.
        has_closed: it has closed its pipe of reports.
    """

    def __init__(
        self,
        number: int,
        body: Bodies,
        shared: tuple[int, int],
        on_report: Callable[[WorkerHandle, int, int, Packed], object],
    ) -> None:
        self.number = number
        self.name = f"{body.kind}-{number}"
        self.assigned = Assigned()
        self.batch = Batch()
        self.imports: dict[int, tuple[tuple[str, ...], float]] = {}
        self.started_s = monotonic()
        self.surroundings = Surroundings.of_this_process()
        self.is_ready = self.has_closed = False
        self._on_report = on_report
        self._unread = b""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, MESSAGES)
        self._queue, self._tickets = os.pipe()
        self._reports, reports = os.pipe()
        try:
            self.body = body(Descriptors(self._queue, theirs.fileno(), reports, *shared))
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(reports)
        self._line.setblocking(False)
        for descriptor in (self._queue, self._tickets, self._reports):
            os.set_blocking(descriptor, False)

    # -- what it is sent --------------------------------------------------------------------

    def prepare(self, setup: Setup) -> None:
        """Sends what the worker has to do before it is ready."""
        try:
            send(self._line, pickle.dumps(setup), [])
        except ConnectionError:
            pass  # it is gone, which its end will show

    def keep_up(self, now: Surroundings) -> None:
        """Has it adopt surroundings that changed after it was started, before its next call."""
        if now != self.surroundings:
            try:
                send(self._line, (CHANGES, pickle.dumps(now.since(self.surroundings))), [])
            except (BlockingIOError, ConnectionError):
                self.body.kill()  # the one that replaces it will have them
            self.surroundings = now

    def post(self) -> bool:
        """Sends the batch; False, and nothing is sent, if there is no room."""
        batch, self.batch = self.batch, Batch()
        try:
            form = PLAIN_ORDERS if batch.is_plain else ORDERS
            send(self._line, (form, batch.orders), batch.descriptors)
            os.write(self._tickets, batch.tickets())
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:  # too many descriptors on their way
                return False
            raise
        return True

    def take_back(self, most: int) -> list[int]:
        """Takes back calls that it has not begun; their numbers."""
        try:
            tickets = os.read(self._queue, most * TICKET.size)
            os.write(self._tickets, TICKET.pack(FORGET | self.assigned.last + 1))
        except BlockingIOError:
            tickets = b""
        return [number for (number,) in TICKET.iter_unpack(tickets) if number < FORGET]

    # -- what it reports --------------------------------------------------------------------

    def outcomes(self, to_the_end: bool = False) -> list[Outcome]:
        """The outcomes that it has reported since the last time.

        Args:
            to_the_end: read until the end of the pipe: the process has ended.
        """
        outcomes: list[Outcome] = []
        while True:
            try:
                data = os.read(self._reports, LONGEST)
            except BlockingIOError:
                return outcomes
            if not data:
                self.has_closed = True
                return outcomes
            self._read(self._unread + data if self._unread else data, outcomes)
            if len(data) < LONGEST and not to_the_end:
                return outcomes

    def _read(self, data: bytes, outcomes: list[Outcome]) -> None:
        unpack = REPORT.unpack_from
        offset, last = 0, len(data) - REPORT.size
        while offset <= last:
            size, number, kind, started_s, ended_s, cpu_s, peak_bytes = unpack(data, offset)
            begin = offset + REPORT.size
            end = begin + size
            is_in_segment, kind = kind & IN_SEGMENT, kind & ~IN_SEGMENT
            content: Packed | None = None
            if size < LONGEST and kind <= IMPORTED:
                if end > len(data):
                    break
                content = self._segment() if is_in_segment else data[begin:end]
            if content is None:
                # Something else wrote to its pipes, so nothing in them can be trusted.
                self.body.kill()
                data = b""
                break
            offset = end
            if kind in OUTCOMES:
                used = None if cpu_s < 0 else (cpu_s, peak_bytes or None)
                outcomes.append((kind, number, content, started_s, ended_s, used))
            else:
                self._on_report(self, kind, number, content)
        self._unread = data[offset:]

    def _segment(self) -> Segment | None:
        """The next segment that it has sent, or None if it is not one."""
        for _ in range(2):
            try:
                sizes, descriptors = receive(self._line)
                segment = Segment(sizes, next(descriptors, -1))
            except ConnectionResetError:  # raised once, if it left orders behind: it is dead
                continue
            except (OSError, ValueError, EOFError, TypeError):
                return None
            if segment.fd > MANY_DESCRIPTORS * resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                segment.copy_and_close()
            return segment
        return None

    # -- its end ----------------------------------------------------------------------------

    @property
    def watched(self) -> int:
        """The descriptor that becomes readable at its end (without pidfds also at each report)."""
        return self._reports if self.body.ended < 0 else self.body.ended

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, once `watched` is readable and its reports were read."""
        return self.body.ended >= 0 or self.has_closed

    def shut_down(self) -> None:
        """Lets it end after its remaining calls."""
        os.close(self._tickets)
        self._tickets = -1

    def release(self) -> None:
        """Closes all of the parent's descriptors for it."""
        self._close()
        self.body.release()

    def _close(self) -> None:
        self._line.close()
        for descriptor in (self._tickets, self._queue, self._reports):
            if descriptor >= 0:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"{self.name} ({self.body})"
