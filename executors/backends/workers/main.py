"""The worker: `main` in a fresh process, `serve_in_process` in a forked one, or in an interpreter.

The descriptors are those of `wire.py`, in its order, then the lifeline of a process. The user's
`__main__` is never imported: scripts without a guard, notebooks and `python -c` work, because
actions are pickled by value.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import pickle
import resource
import signal
import sys
import traceback
from collections import Counter
from contextvars import Context, copy_context
from functools import partial
from importlib import import_module
from pathlib import Path
from pickle import loads
from time import monotonic
from types import FrameType
from typing import Any, NoReturn

from executors.backends.base import without_frames
from executors.backends.meter import LONG_S, CpuMeter, PeakMemory
from executors.backends.workers.link import (
    ParentLink,
    stops_background_output,
    yield_to_parent,
)
from executors.backends.workers.wire import (
    ERROR,
    FORGET,
    IMPORTED,
    LEADS,
    METERED,
    NOT_READY,
    READY,
    SKIPPED,
    VALUE,
    WAKES,
    Setup,
    WorkerOptions,
    receive,
)
from executors.core.deferred import DEFERRED, refusal
from executors.imports.lifeline import die_with_parent
from executors.pickling.definitions import defining, has_arrived
from executors.pickling.failure import ACTION, MEMORY, RAISED, VALUE_OF, failure_of
from executors.pickling.log_records import portable
from executors.pickling.packing import Packed, Segment, load, pack, pack_ours
from executors.pickling.raised import qualified

MAX_GLOBALS = 256
LARGE_PART = 0.25  # of the modules of the largest package
DESCRIBED = "described"  # the stage after the action has failed
_OURS = sys.stdlib_module_names | {"executors", "cloudpickle"}
_contexts = [Context()]  # of which each attempt gets a copy
_globals: dict[Packed, Any] = {}  # actions that are functions of a module, by their pickles


def main() -> None:
    descriptors = list(map(int, sys.argv[1:]))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    serve_in_process(*descriptors)


def serve_in_process(*descriptors: int) -> None:
    """What a process does whose only purpose is to be a worker."""
    queue, line, reports, wakeup_pipe, children, lifeline = descriptors
    die_with_parent(lifeline)
    yield_to_parent()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if stops_background_output():
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    link = ParentLink(queue, line, reports, wakeup_pipe, children)
    os.register_at_fork(after_in_child=partial(setattr, _Fork, "is_child", True))
    _serve(link, PeakMemory())


def serve_in_interpreter(*descriptors: int) -> None:
    """What an interpreter of the program's process does; see `bodies/interpreter.py`."""
    yield_to_parent()
    link = ParentLink(*descriptors)
    try:
        _serve(link, None)
    finally:
        link.close()


def _serve(link: ParentLink, peak_memory: PeakMemory | None) -> None:
    """Sets itself up as the parent says, and makes calls until the parent closes the pool.

    Args:
        peak_memory: of the process, if it is the worker's own.
    """
    try:
        message, _ = receive(link.line)
        if message is None:
            return  # the parent has closed the pool
        setup: Setup = loads(message)
        try:
            _set_up(setup, link)
        except BaseException as error:
            link.report(NOT_READY, 0, pack_ours("".join(traceback.format_exception(error))))
            link.wake_parent()
            return
        link.report(READY)
        link.wake_parent()
        _work(link, setup.options.memory_limit_bytes, peak_memory)
    except ConnectionError:
        pass  # the parent has closed the pool


def _set_up(setup: Setup, link: ParentLink) -> None:
    options = setup.options
    setup.main.imitate()
    for name in setup.environment:
        os.environ.pop(name, None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a kill must not lose printed lines
    logging.getLogger().addHandler(_Recorder(setup.name, link))
    for name, level in setup.log_levels.items():
        logging.getLogger(name).setLevel(level)
    if options.memory_limit_bytes is not None:
        _limit_memory(options.memory_limit_bytes)
    try:
        _load_what_tasks_need(options)
    except MemoryError as error:  # anywhere: beyond the limit not even a file can be opened
        if options.memory_limit_bytes is None:
            raise
        _limit_memory(None)
        raise MemoryError(
            f"memory_limit_bytes is {options.memory_limit_bytes}, but a worker needs more than"
            f" {_data_bytes()} bytes before its first task"
        ) from error
    _contexts[0] = copy_context()


def _load_what_tasks_need(options: WorkerOptions) -> None:
    for module in options.preload:
        import_module(module)
    if options.initializer is not None:
        with defining():
            initializer = load(options.initializer)
        initializer()
    if options.memory_limit_bytes is not None and _data_bytes() > options.memory_limit_bytes:
        raise MemoryError  # the limit was set below what was allocated before it


def _limit_memory(limit_bytes: int | None) -> None:
    """Sets the memory limit of this process, or lifts it."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if limit_bytes is None else limit_bytes, most))


def _data_bytes() -> int:
    """The memory of this process that RLIMIT_DATA counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return 1024 * int(line.split()[1])
    return 0


class _Recorder(logging.handlers.QueueHandler):
    """Sends log records to the parent immediately: they may explain what killed the worker."""

    def __init__(self, worker: str, link: ParentLink) -> None:
        super().__init__(link)  # type: ignore[arg-type]
        self._worker = worker
        self._link = link
        self._pid = os.getpid()

    def enqueue(self, record: logging.LogRecord) -> None:
        portable(record)
        if os.getpid() != self._pid:  # a process that the action forked
            self._link.send_record(pickle.dumps(record))
            return
        record.processName = self._worker
        self._link.report_record(pack_ours(record))


def _work(link: ParentLink, limit_bytes: int | None, peak_memory: PeakMemory | None) -> None:
    """Makes calls until the parent closes the pool."""
    modules = _Modules()
    cpu_meter = CpuMeter()
    last: tuple[int, Packed] | None = None  # a call that another may follow, and its value
    while True:
        if not link.is_all_announced and link.is_idle():
            link.wake_parent()
        number = link.next_ticket()
        if number >= FORGET:
            link.forget(number - FORGET)
            link.report(SKIPPED)  # for no call: it shows that this worker responds
            continue
        _, flags, action, arguments = link.order(number)
        if isinstance(arguments, int):
            if last is None or last[0] != arguments:
                link.report(SKIPPED, number)
                continue
            arguments = [last[1]]
        last = None
        objects: list[Any] = []
        taken_s = monotonic()
        meter = cpu_meter if flags & METERED else None
        kind, outcome, started_s, ended_s, cpu_s = _attempt(
            action, arguments, objects, limit_bytes, meter
        )
        _flush()
        if len(sys.modules) != modules.count:
            names = modules.new()
            if names:
                link.report(IMPORTED, number, pack_ours((names, started_s - taken_s)))
        is_long = cpu_s >= 0 and ended_s - started_s >= LONG_S
        peak = peak_memory.read() if is_long and peak_memory is not None else 0
        link.report(kind, number, outcome, started_s, ended_s, cpu_s, peak)
        if flags & LEADS and kind == VALUE:
            last = number, outcome
        is_idle = link.is_idle()
        if is_idle or flags & WAKES:
            link.wake_parent()
        if is_idle and isinstance(outcome, Segment):
            last = None  # an idle worker keeps no shared memory
        del action, arguments, outcome, objects  # after the report: freeing 100 MB takes 10 ms
        if limit_bytes is not None and kind == ERROR:
            _limit_memory(limit_bytes)


class _Modules:
    """The modules that this process has imported."""

    def __init__(self) -> None:
        self._known = set(sys.modules)
        self.count = len(sys.modules)

    def new(self) -> tuple[str, ...]:
        """The packages with a large part of the modules that were not there the last time."""
        current = set(sys.modules)
        added = Counter(name.partition(".")[0] for name in current - self._known)
        self._known, self.count = current, len(current)
        others = [(name, count) for name, count in added.most_common() if name not in _OURS]
        return tuple(name for name, count in others if count >= LARGE_PART * others[0][1])


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (Exception, SystemExit):
        pass  # closed, gone, or replaced by the action


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handles SIGINT as Python does, but only in an action; between them, it is not for this one.

    The terminal's Ctrl-C does not come here: a worker is in a process group of its own.
    """
    while frame is not None:
        if frame.f_code is _attempt.__code__:
            if frame.f_locals.get("stage") == RAISED:
                signal.default_int_handler(number, frame)
            return
        frame = frame.f_back


class _Fork:
    """Whether this is a process that an action forked."""

    is_child = False


def _leave(error: BaseException | None) -> NoReturn:
    """Ends a process that an action forked, once it returns from the action."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
    _flush()
    os._exit(code)


def _attempt(
    action: Packed,
    arguments: list[Packed],
    objects: list[Any],
    limit_bytes: int | None,
    meter: CpuMeter | None,
) -> tuple[int, Packed, float, float, float]:
    """Makes a call: VALUE or ERROR, the outcome, start and end of the action, its processor time.

    Args:
        objects: receives the arguments and the value, so that the caller decides when to free them.
        meter: measures the processor time, which is negative where it is not known.
    """
    started_s = ended_s = 0.0
    cpu_s = -1.0
    stage: str | int = ACTION
    value = None
    try:
        function = _globals.get(action) or _loaded(action)
        for position, argument in enumerate(arguments):
            stage = position
            objects.append(loads(argument) if isinstance(argument, bytes) else argument.load())
        stage = RAISED
        started_s = monotonic()
        if meter is not None and (meter.reads_start or started_s > meter.due_s):
            meter.begin()
            started_s = monotonic()
        try:
            value = _contexts[0].copy().run(function, *objects)
            if value.__class__ in DEFERRED:
                raise refusal(value)
        finally:
            ended_s = monotonic()
            if meter is not None and ended_s >= meter.due_s:
                cpu_s = meter.end(started_s, ended_s)
        if _Fork.is_child:
            _leave(None)
        stage = VALUE_OF
        objects.append(value)
        return VALUE, pack(value), started_s, ended_s, cpu_s
    except BaseException as error:
        what, stage = stage, DESCRIBED  # no interrupts from here on
        if _Fork.is_child:
            _leave(error)
        if limit_bytes is not None:
            _limit_memory(None)  # describing the error needs memory, too
            if isinstance(error, MemoryError):
                what = MEMORY
        type_name = type(value).__name__ if what == VALUE_OF else qualified(type(error))
        function = value = None
        objects.clear()  # there may be no memory left
        failure = failure_of(what, type_name, without_frames(error, 1))
        now_s = monotonic()
        return ERROR, pack_ours(failure), started_s or now_s, ended_s or now_s, cpu_s


def _loaded(action: Packed) -> Any:
    with defining():
        loaded = load(action)
    if isinstance(action, bytes) and _is_global(loaded) and len(_globals) < MAX_GLOBALS:
        _globals[action] = loaded
    return loaded


def _is_global(action: Any) -> bool:
    """Whether it was pickled by name, so that every load gives the same object."""
    if has_arrived(action):
        return False
    module = sys.modules.get(getattr(action, "__module__", None) or "")
    name = getattr(action, "__qualname__", None)
    return isinstance(name, str) and getattr(module, name, None) is action
