"""The worker process: `python -m executors.backends.worker DESCRIPTOR...`.

The descriptors are those of `wire.py`, in its order, and the lifeline. The user's `__main__` is
never imported: scripts without a guard, notebooks and `python -c` work, because actions come by
value.
"""

from __future__ import annotations

import fcntl
import io
import logging
import logging.handlers
import os
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pickle import loads
from time import monotonic
from typing import Any

from executors.backends.base import without_frames
from executors.backends.packing import Packed, Segment, dumps, load, pack, unparcel
from executors.backends.wire import (
    ACTION,
    ERROR,
    FORGET,
    IN_SEGMENT,
    LEADS,
    LOG,
    MEMORY,
    NOT_READY,
    RAISED,
    READY,
    REPORT,
    RINGS,
    SKIPPED,
    TICKET,
    VALUE,
    VALUE_OF,
    Failure,
    OpenOrder,
    Order,
    Setup,
    receive,
    send,
)
from executors.records import describe

MAX_GLOBALS = 256
_globals: dict[Packed, Any] = {}  # actions that are functions of a module, by their pickles


def main() -> None:
    descriptors = list(map(int, sys.argv[1:]))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    queue, line, reports, bell, lifeline = descriptors
    die_with_parent(lifeline)
    yield_to_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a group of its own may print as well
    parent = _Parent(queue, line, reports, bell)
    try:
        message, _ = receive(parent.line)
        if message is None:
            return  # the parent has closed the pool
        setup: Setup = loads(message)
        try:
            _set_up(setup, parent)
        except BaseException as error:
            parent.report(NOT_READY, 0, pack("".join(traceback.format_exception(error))))
            parent.ring()
            return
        parent.report(READY)
        parent.ring()
        _work(parent, setup.memory_limit_bytes is not None)
    except ConnectionError:
        pass  # the parent has closed the pool


def die_with_parent(lifeline: int) -> None:
    """Has this process group killed when the other end of a pipe is closed, however that happens.

    The kernel sends the signal itself (fcntl(2), F_SETSIG), so it works while an action holds
    the GIL, and, unlike PR_SET_PDEATHSIG, does not depend on the thread that started us.
    """
    os.set_blocking(lifeline, False)
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        if _wait(lifeline, select.POLLIN, 0):  # it was closed before we asked
            os.killpg(0, signal.SIGKILL)
    else:  # not Linux
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: int) -> None:
    _wait(lifeline, select.POLLIN)
    os.killpg(0, signal.SIGKILL)


def yield_to_parent() -> None:
    """Keeps the kernel from interrupting the parent whenever it gives us something.

    SCHED_BATCH gets the same share of the CPU; what an action starts is scheduled as usual. The
    parent is what all workers wait for: with it, 10,000 empty tasks took 9.7 us each, not 11.7.
    """
    if hasattr(os, "SCHED_BATCH"):
        try:
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))
        except OSError:
            pass  # not allowed here


class _Parent:
    """What connects this worker with its parent; see `wire.py`."""

    def __init__(self, queue: int, line: int, reports: int, bell: int) -> None:
        self._queue = socket.socket(fileno=queue)
        self.line = socket.socket(fileno=line)
        self._reports = reports
        self._bell = bell
        self.orders: dict[int, OpenOrder] = {}  # that came, by number, unparceled
        self._writing = threading.Lock()  # threads of actions log
        self.is_announced = True  # everything that was reported
        os.set_blocking(reports, False)

    def next_ticket(self) -> int:
        """The next ticket; blocks until there is one.

        Raises:
            ConnectionError: the parent has closed the pool.
        """
        ticket = self._queue.recv(TICKET.size)
        if not ticket:
            raise ConnectionError
        number: int = TICKET.unpack(ticket)[0]
        return number

    def is_dry(self) -> bool:
        """Whether there is nothing to do now."""
        if self.orders:
            return False
        try:
            self._queue.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        return False

    def order(self, number: int) -> OpenOrder:
        """What a ticket is for."""
        while number not in self.orders:
            self._receive()
        return self.orders.pop(number)

    def forget(self, number: int) -> None:
        """Drops the orders before this one: their tickets were taken back."""
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
        is_plain, orders = message
        for order in orders:
            self.orders[order[0]] = order if is_plain else _opened(order, descriptors)

    def report(
        self,
        kind: int,
        number: int = 0,
        outcome: Packed = b"",
        started_s: float = 0.0,
        ended_s: float = 0.0,
    ) -> None:
        """Sends a report; it has left this process when this returns."""
        with self._writing:
            if not isinstance(outcome, bytes):
                self._send(outcome)
                kind |= IN_SEGMENT
                outcome = b""
            report = REPORT.pack(len(outcome), number, kind, started_s, ended_s) + outcome
            self.is_announced = False
            try:
                sent = os.write(self._reports, report)
            except BlockingIOError:
                sent = 0
            while sent < len(report):
                self.ring()  # or nobody would make room
                _wait(self._reports, select.POLLOUT)
                sent += os.write(self._reports, report[sent:])

    def _send(self, segment: Segment) -> None:
        try:
            send(self.line, segment.sizes, [segment.fd], socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.ring()
            send(self.line, segment.sizes, [segment.fd])

    def ring(self) -> None:
        """Wakes the parent."""
        self.is_announced = True
        try:
            os.write(self._bell, b"!")
        except BlockingIOError:
            pass  # it is full of rings


def _opened(order: Order, descriptors: Iterator[int]) -> OpenOrder:
    number, flags, action, arguments = order
    packed = unparcel(action, descriptors)
    if isinstance(arguments, int):
        return number, flags, packed, arguments
    return number, flags, packed, [unparcel(argument, descriptors) for argument in arguments]


def _wait(descriptor: int, event: int, timeout_ms: int | None = None) -> bool:
    """Waits for an event; unlike `select`, it takes descriptors of any number."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(timeout_ms))


def _set_up(setup: Setup, parent: _Parent) -> None:
    sys.path[:] = setup.path
    if setup.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = setup.python_path
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a kill must not lose what was printed
    logging.getLogger().addHandler(_Recorder(setup.name, parent))
    for name, level in setup.log_levels.items():
        logging.getLogger(name).setLevel(level)
    if setup.memory_limit_bytes is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (setup.memory_limit_bytes, most))
    for module in setup.preload:
        import_module(module)
    if setup.initializer is not None:
        load(setup.initializer)()
    if setup.memory_limit_bytes is not None and _data_bytes() > setup.memory_limit_bytes:
        raise MemoryError(
            f"memory_limit_bytes is {setup.memory_limit_bytes}, and a worker that does nothing yet"
            f" has {_data_bytes()}"
        )


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return 1024 * int(line.split()[1])
    return 0


class _Recorder(logging.handlers.QueueHandler):
    """Sends log records to the parent at once: what killed the worker may be explained there."""

    def __init__(self, worker: str, parent: _Parent) -> None:
        super().__init__(parent)  # type: ignore[arg-type]
        self._worker = worker
        self._parent = parent
        self._pid = os.getpid()

    def enqueue(self, record: logging.LogRecord) -> None:
        if os.getpid() != self._pid:
            return  # a process that the action forked: the line is not its own
        for key, value in vars(record).items():
            if not isinstance(value, (str, int, float, type(None))):
                setattr(record, key, repr(value))  # `extra` may hold anything
        record.processName = self._worker
        self._parent.report(LOG, 0, pack(record))


def _work(parent: _Parent, has_limit: bool) -> None:
    """Makes calls until the parent closes the pool."""
    last: tuple[int, Packed] | None = None  # a call that leads, and its value
    while True:
        if not parent.is_announced and parent.is_dry():
            parent.ring()
        number = parent.next_ticket()
        if number >= FORGET:
            parent.forget(number - FORGET)
            continue
        _, flags, action, arguments = parent.order(number)
        if isinstance(arguments, int):
            if last is None or last[0] != arguments:
                parent.report(SKIPPED, number)
                continue
            arguments = [last[1]]
        last = None
        objects: list[Any] = []
        kind, outcome, started_s, ended_s = _attempt(action, arguments, objects, has_limit)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:
            pass  # closed, gone, or something else that the action put there
        parent.report(kind, number, outcome, started_s, ended_s)
        if flags & LEADS and kind == VALUE:
            last = number, outcome
        is_dry = parent.is_dry()
        if is_dry or flags & RINGS:
            parent.ring()
        if is_dry and isinstance(outcome, Segment):
            last = None  # an idle worker keeps no shared memory
        del action, arguments, outcome, objects  # after the report: 100 MB take 10 ms to free


def _attempt(
    action: Packed, arguments: list[Packed], objects: list[Any], has_limit: bool
) -> tuple[int, Packed, float, float]:
    """Makes a call: VALUE or ERROR, the outcome, start and end of the action.

    Args:
        objects: gets the arguments and the value, so that they are freed when the caller likes.
    """
    started_s = ended_s = 0.0
    stage: str | int = ACTION
    value = None
    try:
        function = _globals.get(action) or _loaded(action)
        for position, argument in enumerate(arguments):
            stage = position
            objects.append(loads(argument) if isinstance(argument, bytes) else argument.load())
        stage = RAISED
        started_s = monotonic()
        try:
            value = function(*objects)
        finally:
            ended_s = monotonic()
        stage = VALUE_OF
        objects.append(value)
        return VALUE, pack(value), started_s, ended_s
    except BaseException as error:
        if has_limit and isinstance(error, MemoryError):
            stage = MEMORY
        type_name = type(value).__name__ if stage == VALUE_OF else _qualified(type(error))
        function = value = None
        objects.clear()  # there may be no memory left
        failure = _failure(stage, type_name, without_frames(error, 1))
        now_s = monotonic()
        return ERROR, pack(failure), started_s or now_s, ended_s or now_s


def _loaded(action: Packed) -> Any:
    loaded = load(action)
    if isinstance(action, bytes) and _is_global(loaded) and len(_globals) < MAX_GLOBALS:
        _globals[action] = loaded
    return loaded


def _is_global(action: Any) -> bool:
    """Whether it came as a name, so that every load gives the same object anyway."""
    module = sys.modules.get(getattr(action, "__module__", None) or "")
    name = getattr(action, "__qualname__", None)
    return isinstance(name, str) and getattr(module, name, None) is action


def _failure(what: str | int, type_name: str, error: BaseException) -> Failure:
    try:
        printed = "".join(traceback.format_exception(error))
    except BaseException as broken:
        printed = f"its traceback cannot be shown: {type(broken).__name__}"
    text = describe(error)
    pickled: bytes | None = None
    if what == RAISED:
        try:
            pickled = dumps(error)
            returned = loads(pickled)
            if type(returned) is not type(error):
                raise TypeError(f"it comes back as {type(returned).__name__}")
        except BaseException as reason:
            pickled = None
            text += f" (the exception cannot be sent itself: {describe(reason)})"
    return Failure(what, pickled, type_name, text, printed)


def _qualified(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


if __name__ == "__main__":
    main()
