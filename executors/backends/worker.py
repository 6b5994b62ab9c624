"""The worker process: `python -m executors.backends.worker SOCKET LIFELINE CELL`.

The arguments are numbers of inherited descriptors. The user's `__main__` is never imported:
scripts without a guard, notebooks and `python -c` work, because actions come by value.
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import mmap
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from itertools import count
from time import monotonic
from typing import Any

from executors.backends.base import without_frames
from executors.backends.wire import (
    CELL,
    ERROR,
    READY,
    REPLY,
    SIZE,
    VALUE,
    Failure,
    Order,
    Setup,
    dumps,
)
from executors.errors import NotPicklable
from executors.records import describe

MAX_GLOBALS = 256
_globals: dict[bytes, Any] = {}  # actions that are functions of a module, by their pickles


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    lifeline = int(sys.argv[2])
    os.set_inheritable(lifeline, False)
    die_with_parent(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to decide
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a group of its own may print as well
    begun = mmap.mmap(int(sys.argv[3]), CELL.size)
    os.close(int(sys.argv[3]))
    size = _read(channel, SIZE.size)
    message = _read(channel, SIZE.unpack(size)[0]) if size else None
    if message is None:
        return  # the parent has closed the pool
    records = _set_up(pickle.loads(message))
    try:
        channel.sendall(REPLY.pack(READY, 0, 0, 0.0, 0.0))
        for number in count(1):
            size = _read(channel, SIZE.size)
            if size is None:
                break
            CELL.pack_into(begun, 0, number)  # receiving may be what kills us
            message = _read(channel, SIZE.unpack(size)[0])
            if message is None:
                break
            order: Order = pickle.loads(message)
            del message  # it may be large, and the action needs the room
            channel.sendall(_carry_out(order, records))
            del order
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
        if select.select([lifeline], [], [], 0)[0]:  # it was closed before we asked
            os.killpg(0, signal.SIGKILL)
    else:  # not Linux
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: int) -> None:
    select.select([lifeline], [], [])
    os.killpg(0, signal.SIGKILL)


def _set_up(setup: Setup) -> _Recorder:
    sys.path[:] = setup.path
    if setup.python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = setup.python_path
    recorder = _Recorder(setup.name)
    logging.getLogger().addHandler(recorder)
    for name, level in setup.log_levels.items():
        logging.getLogger(name).setLevel(level)
    return recorder


class _Recorder(logging.handlers.QueueHandler):
    """Keeps log records for the parent, which gets them with the outcome."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self.records: list[logging.LogRecord] = []
        super().__init__(self.records)  # type: ignore[arg-type]

    def enqueue(self, record: logging.LogRecord) -> None:
        for key, value in vars(record).items():
            if not isinstance(value, (str, int, float, type(None))):
                setattr(record, key, repr(value))  # `extra` may hold anything
        record.processName = self._worker
        self.records.append(record)


def _read(channel: socket.socket, size: int) -> bytearray | None:
    """So many bytes, or None when the parent has hung up."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return data


def _carry_out(order: Order, recorder: _Recorder) -> bytes:
    """Makes the attempt; the reply, with what was logged."""
    task, needs, pickled_action, pickled_arguments = order
    started_s = ended_s = monotonic()
    try:
        action = _unpickled(task, "action", pickled_action, is_action=True)
        arguments = [
            _unpickled(task, f"argument, the value of {need!r},", data)
            for need, data in zip(needs, pickled_arguments, strict=True)
        ]
        started_s = monotonic()
        try:
            value = action(*arguments)
        finally:
            ended_s = monotonic()
        kind, payload = VALUE, _pickled(task, value)
    except BaseException as error:
        kind, payload = ERROR, pickle.dumps(_failure(without_frames(error, 1)))
    finally:
        action = value = None  # nothing outlives its call
        arguments = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, gone, or something else that the action put there
    records = b""
    if recorder.records:
        records = dumps(recorder.records)
        recorder.records.clear()
    return REPLY.pack(kind, len(payload), len(records), started_s, ended_s) + payload + records


def _unpickled(task: str, what: str, data: bytes, is_action: bool = False) -> Any:
    try:
        if is_action and data in _globals:
            return _globals[data]
        loaded = pickle.loads(data)
        if is_action and _is_global(loaded) and len(_globals) < MAX_GLOBALS:
            _globals[data] = loaded
        return loaded
    except Exception as error:
        raise NotPicklable(
            f"task {task!r}: its {what} cannot be unpickled in the worker process:"
            f" {describe(error)}"
        ) from error


def _is_global(action: Any) -> bool:
    """Whether it came as a name, so that every load gives the same object anyway."""
    module = sys.modules.get(getattr(action, "__module__", None) or "")
    name = getattr(action, "__qualname__", None)
    return isinstance(name, str) and getattr(module, name, None) is action


def _pickled(task: str, value: Any) -> bytes:
    try:
        return dumps(value)
    except Exception as error:
        raise NotPicklable(
            f"task {task!r}: its value, of type {type(value).__name__}, cannot be pickled:"
            f" {describe(error)}; return plain data, or use the threads backend"
        ) from error


def _failure(error: BaseException) -> Failure:
    kind = type(error)
    try:
        printed = "".join(traceback.format_exception(error))
    except BaseException as broken:
        printed = f"its traceback cannot be shown: {type(broken).__name__}"
    type_name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )
    try:
        pickled = dumps(error)
        returned = pickle.loads(pickled)
        if type(returned) is not kind:
            raise TypeError(f"it comes back as {type(returned).__name__}")
    except BaseException as reason:
        text = f"{describe(error)} (the exception cannot be sent itself: {describe(reason)})"
        return Failure(None, type_name, text, printed)
    return Failure(pickled, type_name, describe(error), printed)


if __name__ == "__main__":
    main()
