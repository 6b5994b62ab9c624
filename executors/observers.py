"""`Observer`, and the thread that notifies observers of what happens in a run.

Observers run on a thread of their own, so a blocked terminal stops no worker. A session posts its
events into a queue. The first event after a pause wakes the thread, which then rests for a moment:
a million short tasks need a few hundred wake-ups, not two million.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection
from functools import partial
from os import PathLike
from typing import Any

from executors.core.graph import Graph
from executors.core.records import Attempt, Call, RunReport, Stop
from executors.gate import Gate

logger = logging.getLogger("executors")

HOOKS = ("run_started", "task_started", "task_ended", "run_stopping", "run_ended")
REST_S = 0.02  # how late observers may be notified of an event

Event = Call | Attempt | Stop


class Observer:
    """Is notified of a run's events, one at a time and in order; override what you need.

    An observer that raises is logged and dropped for the rest of the run; the run goes on.
    `run_started` and `run_ended` are called on the thread that called `run`, the others on
    another thread, up to 20 ms after the event.
    """

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        """The first tasks are about to start."""

    def task_started(self, call: Call) -> None:
        """An attempt began, or a worker is about to begin it; called once per attempt."""

    def task_ended(self, attempt: Attempt) -> None:
        """An attempt ended; it carries its error, if any, but never its value."""

    def run_stopping(self, reason: str) -> None:
        """Nothing more starts and running tasks are being stopped; called at most once."""

    def run_ended(self, report: RunReport) -> None:
        """Nothing is running any more."""


class Trace(Observer):
    """Writes the run as a Chrome trace when it has ended; see `RunReport.trace`.

    Args:
        path: the file; it is replaced.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = path

    def run_ended(self, report: RunReport) -> None:
        report.trace(self._path)


class Announcer:
    """Fans the events of one run out to its observers."""

    def __init__(self, observers: Collection[Observer]) -> None:
        self._observers = list(observers)
        self._listeners = _listeners(observers)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()  # None is the end
        self._hurried = Gate()
        self._thread: threading.Thread | None = None

    @property
    def notify(self) -> Callable[[Event], None] | None:
        """What a session calls with each event; None if no observer listens to any."""
        return self._events.put if any(self._listeners.values()) else None

    def open(self, graph: Graph, backend: str, workers: int) -> None:
        """Calls `run_started` and begins to deliver events."""
        for observer in self._observers:
            try:
                observer.run_started(graph, backend, workers)
            except (Exception, SystemExit):
                self._drop(observer)
        if self.notify is not None:
            self._thread = threading.Thread(target=self._deliver, name="observers", daemon=True)
            self._thread.start()

    def drain(self) -> None:
        """Delivers the remaining events and ends the thread; blocks while an observer does."""
        if self._thread is not None:
            self._events.put(None)
            self._hurried.open()
            self._thread.join()
            self._thread = None

    def close(self, report: RunReport) -> None:
        """Delivers the remaining events, then calls `run_ended`."""
        self.drain()
        for observer in self._observers:
            try:
                observer.run_ended(report)
            except (Exception, SystemExit):
                self._drop(observer)

    def _deliver(self) -> None:
        events = self._events
        while (event := events.get()) is not None:
            for observer, hook in self._listeners[event.__class__]:
                try:
                    hook(event)
                except BaseException:  # also SystemExit, which must not end this thread
                    self._drop(observer)
            if event.__class__ is Stop:
                self._listeners[Stop] = []  # only the first of several reasons is delivered
            if events.empty():
                event = None  # an idle thread keeps nothing alive
                self._hurried.wait(REST_S)

    def _drop(self, observer: Observer) -> None:
        logger.exception("observer %r failed and is dropped for the rest of this run", observer)
        self._observers = [other for other in self._observers if other is not observer]
        self._listeners = {
            kind: [listener for listener in listeners if listener[0] is not observer]
            for kind, listeners in self._listeners.items()
        }


# The observers of each kind of event, and the function that notifies them.
Listeners = dict[type, list[tuple[Observer, Callable[[Any], None]]]]


def _listeners(observers: Collection[Observer]) -> Listeners:
    listeners: Listeners = {Call: [], Attempt: [], Stop: []}
    for observer in observers:
        kind = type(observer)
        if kind.task_started is not Observer.task_started:
            listeners[Call].append((observer, observer.task_started))
        if kind.task_ended is not Observer.task_ended:
            listeners[Attempt].append((observer, observer.task_ended))
        if kind.run_stopping is not Observer.run_stopping:
            listeners[Stop].append((observer, partial(_notify_stopping, observer)))
    return listeners


def _notify_stopping(observer: Observer, stop: Stop) -> None:
    observer.run_stopping(stop.reason)
