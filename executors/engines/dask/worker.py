"""In a worker of dask: performs attempts, and reports outcomes.

A task of dask returns a value, or `Missing` if its attempt failed or never began. What its client
has to know goes into the `Outbox`, which sends what has gathered whenever the worker's event loop
has time: one message for many short tasks.

State, by run (`_Here`)::

    running    numbers of the attempts that have begun and not ended
    is_closed  the gate: nothing more begins
    outbox     entries that were not sent yet, and how many were
    ledger     on a cluster of our own: what has begun, also in workers that have died
"""

from __future__ import annotations

import os
import pickle
import threading
from functools import lru_cache
from time import monotonic
from typing import Any, NamedTuple

from executors.engines.ledger import Ledger, State
from executors.engines.sent import (
    PLAIN,
    Held,
    Missing,
    Performed,
    perform_in_time,
    perform_sent,
    small,
)
from executors.pickling.failure import VALUE_OF, failure_of
from executors.pickling.raised import qualified

LAZY_S = 0.02  # in which outcomes gather that nobody waits for
BEGUN_S = 0.05  # an attempt that takes longer is reported to have begun


class Header(NamedTuple):
    """What the attempts of a run have in common.

    Attributes:
        topic: of the events that its client receives.
        levels: of the client's loggers.
        ledger: a folder, or "".
        hurries: the client waits for each outcome.
    """

    run: str
    topic: str
    levels: dict[str, int]
    is_metered: bool
    ledger: str
    hurries: bool


class Order(NamedTuple):
    """One attempt.

    Attributes:
        sends: its client wants the value.
        stays: its readers want it, here or on another worker.
    """

    number: int
    sends: bool
    stays: bool
    timeout_s: float | None


# What became of an attempt: it ended, took too long, has begun, or began on a worker that died; or
# the value of one of its needs was lost with a worker.
ENDED, OVERDUE, BEGUN, DIED, LOST = "ended", "overdue", "begun", "died", "lost"

# Number, kind, and for ENDED and OVERDUE: process, start, end, processor time, pickled Failure or
# None, pickled value if it was wanted and is small, log records.
Entry = tuple[Any, ...]
WRONG = 6


def perform(header: bytes, action: bytes, order: tuple[Any, ...], *arguments: Any) -> Any:
    """What dask calls for a task."""
    here = _here(header)
    number, sends, stays, timeout_s = order
    missing = [argument for argument in arguments if argument.__class__ is Missing]
    state = here.begin(number, only_look=bool(missing))
    if state is None:
        return Missing(False)
    if state is not State.NEW:
        return _again(here, number, state)
    if missing:
        if any(need.is_lost for need in missing):
            here.outbox.put((number, LOST))
        return Missing(False)
    try:
        values = [
            argument.value if argument.__class__ is Held else argument for argument in arguments
        ]
        header_ = here.header
        job = (action, values, header_.levels, header_.is_metered)
        done = perform_sent(*job) if timeout_s is None else perform_in_time(timeout_s, *job)
        return _sent(here, number, sends, stays, done)
    finally:
        here.running.pop(number, None)


def _again(here: _Here, number: int, state: State) -> Any:
    """dask runs a task again: its worker died, or its value was lost."""
    assert here.ledger is not None
    if state is State.BEGUN:
        here.outbox.put((number, DIED))
        return Missing(False)
    entry, pickled = here.ledger.outcome(number)
    if entry[WRONG] is not None:
        return Missing(False)
    return Missing(is_lost=True) if pickled is None else pickle.loads(pickled)


def _sent(here: _Here, number: int, sends: bool, stays: bool, done: Performed | None) -> Any:
    """Reports an outcome; what dask keeps of it."""
    if done is None:
        here.end((number, OVERDUE), None, is_urgent=True)
        return Missing(False)
    process, started_s, ended_s, cpu_s, value, failure, records = done
    pickled: bytes | None = None
    if failure is None and (sends or here.ledger is not None or value.__class__ not in PLAIN):
        try:
            pickled = small(value)
        except BaseException as error:
            failure = failure_of(VALUE_OF, qualified(type(value)), error)
    wrong = None if failure is None else pickle.dumps(tuple(failure))
    sent = pickled if sends else None
    entry = (number, ENDED, process, started_s, ended_s, cpu_s, wrong, sent, records)
    here.end(entry, pickled, sends or not stays or wrong is not None or here.header.hurries)
    if failure is not None:
        return Missing(False)
    if not stays and (sent is not None or not sends):
        return None
    return value if value.__class__ in PLAIN else Held(value)


class _Here:
    """What this worker knows of a run."""

    def __init__(self, header: Header) -> None:
        from distributed import get_worker

        self.header = header
        self.ledger = Ledger(header.ledger) if header.ledger else None
        self.running: dict[int, float] = {}
        self.is_closed = False
        self.outbox = Outbox(header, get_worker(), self.running)
        self._lock = threading.Lock()

    def begin(self, number: int, only_look: bool) -> State | None:
        """Whether an attempt may begin: only if it is NEW; None after a stop.

        Args:
            only_look: it does not begin.
        """
        with self._lock:
            if self.is_closed:
                return None
            state = State.NEW if self.ledger is None else self.ledger.state(number)
            if state is State.NEW and not only_look:
                self.running[number] = monotonic()
                if self.ledger is not None:
                    self.ledger.begin(number)
            return state

    def end(self, entry: Entry, pickled: bytes | None, is_urgent: bool) -> None:
        """Reports an outcome; notes it first, with the value if that is small."""
        if self.ledger is not None:
            self.ledger.end(entry[0], (entry, pickled))
        self.outbox.put(entry, is_urgent)

    def close(self) -> None:
        with self._lock:
            self.is_closed = True


class Outbox:
    """Sends entries to the client, as events of dask.

    The client waits for what fails, for values, and for the last tasks of a graph; others gather
    for a while, because an event of its own would add a fifth to what a task takes. An event is the
    run, the worker's address, its clock, and the entries. The client knows by the count of all
    entries which of them are still under way.
    """

    def __init__(self, header: Header, worker: Any, running: dict[int, float]) -> None:
        self.count = 0
        self._header = header
        self._worker = worker
        self._running = running
        self._reported: set[int] = set()  # those that have begun
        self._entries: list[Entry] = []
        self._is_due = False
        self._is_over = False
        self._lock = threading.Lock()
        worker.loop.add_callback(self._watch)

    def put(self, entry: Entry, is_urgent: bool = True) -> None:
        loop = self._worker.loop
        with self._lock:
            self.count += 1
            is_first = not self._entries
            self._entries.append(entry)
            is_late, self._is_due = self._is_due, self._is_due or is_urgent
        if is_urgent and not is_late:
            loop.add_callback(self.send)
        elif is_first:
            loop.add_callback(loop.call_later, LAZY_S, self.send)

    def send(self) -> None:
        with self._lock:
            entries, self._entries, self._is_due = self._entries, [], False
        if entries:
            event = [self._header.run, self._worker.address, monotonic(), entries]
            self._worker.log_event(self._header.topic, event)

    def _watch(self) -> None:
        """Reports the attempts that have begun and take longer."""
        now_s = monotonic()
        running = dict(self._running)
        self._reported &= running.keys()
        for number, began_s in running.items():
            if now_s - began_s > BEGUN_S and number not in self._reported:
                self._reported.add(number)
                self.put((number, BEGUN, os.getpid()))
        if not self._is_over:
            self._worker.loop.call_later(BEGUN_S, self._watch)

    def close(self) -> None:
        """There will be nothing more to send."""
        self._is_over = True


_runs: dict[str, _Here] = {}
_closed: dict[str, str] = {}  # the run whose gate was closed, by topic
_runs_lock = threading.Lock()


@lru_cache(4)
def _header(pickled: bytes) -> Header:
    return Header(*pickle.loads(pickled))


def _here(pickled: bytes) -> _Here:
    header = _header(pickled)
    here = _runs.get(header.run)
    if here is None:
        with _runs_lock:
            here = _runs.get(header.run)
            if here is None:
                is_closed = _closed.get(header.topic) == header.run
                forget(header.topic)  # a client has one run at a time
                here = _Here(header)
                here.is_closed = is_closed
                _runs[header.run] = here
    return here


# -- called through `Client.run` -------------------------------------------------------------


def close_gate(topic: str, run: str) -> tuple[int, list[int], int]:
    """Nothing of a run begins here any more.

    Returns:
        This process, the attempts that it is running, and how many entries it made.
    """
    with _runs_lock:
        _closed[topic] = run
        here = _runs.get(run)
    if here is None:
        return os.getpid(), [], 0
    here.close()
    return os.getpid(), list(here.running), here.outbox.count


def processor_time() -> float:
    """Seconds of this process, and of its children that have ended."""
    return sum(os.times()[:4])


def send_all(topic: str, run: str) -> None:
    """Sends what has gathered."""
    if (here := _runs.get(run)) is not None:
        here.outbox.send()


def forget(topic: str) -> None:
    """Frees what this worker knows of the runs of a client, which have ended."""
    _closed.pop(topic, None)
    for run, here in list(_runs.items()):
        if here.header.topic == topic:
            del _runs[run]
            here.outbox.close()
            if here.ledger is not None and not here.running:
                here.ledger.close()
