"""How an action is performed in a worker that another package started, and what comes back.

Such a worker may be a thread here, a process, an interpreter or another machine: `place` tells. In
another interpreter, the action arrives pickled by value, and is kept there for the next call.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import lru_cache
from pickle import loads
from queue import SimpleQueue
from time import monotonic
from typing import Any, NamedTuple

from executors.backends.base import without_frames
from executors.backends.meter import CpuMeter
from executors.core.deferred import DEFERRED, refusal
from executors.pickling.definitions import defining
from executors.pickling.failure import ACTION, RAISED, VALUE_OF, Failure, failure_of
from executors.pickling.log_records import portable
from executors.pickling.packing import dumps
from executors.pickling.raised import qualified

INLINE_BYTES = 1 << 14  # of a pickled value that goes with its outcome

_HERE = object()
_local = threading.local()

# What a worker sends back: its process, start and end of the action, its processor time (negative
# if it is not known), its value, what went wrong, and the records that it logged, pickled.
Performed = tuple[int, float, float, float, Any, Failure | None, list[bytes] | None]


def place() -> tuple[int, int]:
    """The interpreter that this runs in: equal to the caller's only if it is the same one."""
    return os.getpid(), id(_HERE)


class _Collector(logging.handlers.QueueHandler):
    """Keeps the records that an action logs until its outcome is sent."""

    def __init__(self) -> None:
        self.records: SimpleQueue[logging.LogRecord] = SimpleQueue()
        super().__init__(self.records)

    def taken(self) -> list[bytes] | None:
        """The records that have come, pickled; None if there are none."""
        if self.records.empty():
            return None
        return [pickle.dumps(portable(self.records.get())) for _ in range(self.records.qsize())]


_collector: list[_Collector] = []
_levels: list[dict[str, int]] = [{}]


def _collect(levels: dict[str, int]) -> _Collector:
    """Has this interpreter's records collected, from now on at these levels."""
    if not _collector:
        _collector.append(_Collector())
        logging.getLogger().handlers[:] = _collector  # others are copies of the parent's
    if levels != _levels[0]:
        _levels[0] = levels
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    return _collector[0]


def perform_sent(
    action: bytes, arguments: Sequence[Any], levels: dict[str, int], is_metered: bool
) -> Performed:
    """Performs a pickled action in this worker; whatever it raises is the outcome."""
    collector = _collect(levels)
    value, failure = None, None
    cpu_s = -1.0
    stage = ACTION
    started_s = monotonic()
    try:
        function = _loaded(action)
        stage = RAISED
        meter = meter_of_thread() if is_metered else None
        started_s = monotonic()
        try:
            value = copy_context().run(function, *arguments)
            if value.__class__ in DEFERRED:
                raise refusal(value)
        finally:
            ended_s = monotonic()
            if meter is not None and ended_s >= meter.due_s:
                cpu_s = meter.end(started_s, ended_s)
    except BaseException as error:
        ended_s = monotonic()
        value, failure = None, failure_of(stage, qualified(type(error)), without_frames(error, 1))
    return os.getpid(), started_s, ended_s, cpu_s, value, failure, collector.taken()


def perform_checked(
    action: bytes, arguments: Sequence[Any], levels: dict[str, int], is_metered: bool
) -> Performed:
    """As `perform_sent`; a value that cannot be sent is its task's failure.

    For schedulers that lose more than the task over it.
    """
    done = perform_sent(action, arguments, levels, is_metered)
    process, started_s, ended_s, cpu_s, value, _, records = done
    if value.__class__ in PLAIN:
        return done
    import cloudpickle  # 20 ms; most workers never need it

    try:
        cloudpickle.Pickler(_Nowhere(), 5, buffer_callback=lambda _: None).dump(value)
    except Exception as error:
        failure = failure_of(VALUE_OF, qualified(type(value)), error)
        return process, started_s, ended_s, cpu_s, None, failure, records
    return done


PLAIN = frozenset((type(None), bool, int, float, str, bytes))


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, content: bytes | memoryview) -> int:
        return len(content)


@lru_cache(256)
def _loaded(action: bytes) -> Callable[..., Any]:
    with defining():
        loaded: Callable[..., Any] = loads(action)
    return loaded


def meter_of_thread() -> CpuMeter:
    """The meter of this thread, which has begun."""
    meter: CpuMeter | None = getattr(_local, "meter", None)
    if meter is None:
        meter = _local.meter = CpuMeter()
    if meter.reads_start or monotonic() > meter.due_s:
        meter.begin()
    return meter


# -- for schedulers that hand values from worker to worker ------------------------------------


class Missing(NamedTuple):
    """In the place of a value.

    Attributes:
        is_lost: the attempt succeeded, but its value was lost with a worker.
    """

    is_lost: bool


class Held:
    """A value on its way between workers: it travels pickled as our own backends do it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol < 5:  # Python's default before 3.14
            return _rebuilt, (dumps(self.value),)
        buffers: list[pickle.PickleBuffer] = []
        pickled = dumps(self.value, buffers)
        return _rebuilt, (pickled, *buffers)

    def __sizeof__(self) -> int:
        from dask.sizeof import sizeof

        return int(sizeof(self.value))


def _rebuilt(pickled: bytes, *buffers: Any) -> Held:
    return Held(pickle.loads(pickled, buffers=buffers))


def small(value: Any) -> bytes | None:
    """The pickled value if it is small; raises if it cannot be pickled.

    A value that cannot be pickled would otherwise be noticed when a reader on another worker asks
    for it, and asks again.
    """
    if value.__class__ in PLAIN and value.__sizeof__() > INLINE_BYTES:
        return None
    buffers: list[pickle.PickleBuffer] = []
    pickled = dumps(value, buffers)
    return None if buffers or len(pickled) > INLINE_BYTES else pickled


def perform_in_time(timeout_s: float, *job: Any) -> Performed | None:
    """Performs an attempt in a thread, which is abandoned if it takes longer."""
    outcome: list[Performed] = []
    name = threading.current_thread().name
    thread = threading.Thread(target=lambda: outcome.append(perform_sent(*job)), name=name)
    thread.daemon = True
    thread.start()
    thread.join(min(timeout_s, threading.TIMEOUT_MAX))
    return outcome[0] if outcome else None
