"""`Observer`, and the thread that tells observers what happens in a run.

Observers run on a thread of their own, so a blocked terminal stops no worker. A session posts
its events into a queue; the thread is woken by the first one and then rests for a moment, so
that a million short tasks cost a few hundred wake-ups, not two million.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from executors.gate import Gate
from executors.graph import Graph
from executors.records import Attempt, Call, RunReport, Stop

logger = logging.getLogger("executors")

REST_S = 0.02  # how late an observer may hear of an event

Event = Call | Attempt | Stop


class Observer:
    """Told what happens, one call at a time and in order; override what you need.

    An observer that raises is logged, dropped for the rest of the run, and breaks nothing.
    `run_started` and `run_ended` are called on the thread that called `run`, the others on
    another thread, up to a few milliseconds after the event.
    """

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        """The first tasks are about to start."""

    def task_started(self, call: Call) -> None:
        """An attempt began, or a worker is about to begin it; told once for each attempt."""

    def task_ended(self, attempt: Attempt) -> None:
        """An attempt ended; it carries its error, if any, but never its value."""

    def run_stopping(self, reason: str) -> None:
        """Nothing more starts and running tasks are being stopped; told once, if at all."""

    def run_ended(self, report: RunReport) -> None:
        """Nothing is running any more."""


class Announcer:
    """Fans the events of one run out to its observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)
        self._listeners = _listeners(observers)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()  # None is the end
        self._hurried = Gate()
        self._thread: threading.Thread | None = None

    @property
    def tell(self) -> Callable[[Event], None] | None:
        """What a session calls with each event; None when nobody listens to any."""
        return self._events.put if any(self._listeners.values()) else None

    def open(self, graph: Graph, backend: str, workers: int) -> None:
        """Tells `run_started` and begins to deliver."""
        for observer in self._observers:
            try:
                observer.run_started(graph, backend, workers)
            except (Exception, SystemExit):
                self._drop(observer)
        if self.tell is not None:
            self._thread = threading.Thread(target=self._deliver, name="observers", daemon=True)
            self._thread.start()

    def drain(self) -> None:
        """Delivers what is left and ends the thread; blocks while an observer does."""
        if self._thread is not None:
            self._events.put(None)
            self._hurried.open()
            self._thread.join()
            self._thread = None

    def close(self, report: RunReport) -> None:
        """Delivers what is left, then tells `run_ended`."""
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
                except BaseException:  # SystemExit too: it must not silence the others
                    self._drop(observer)
            if event.__class__ is Stop:
                self._listeners[Stop] = []  # two reasons may come at the same time
            if events.empty():
                event = None  # an idle thread pins nothing
                self._hurried.wait(REST_S)

    def _drop(self, observer: Observer) -> None:
        logger.exception("observer %r failed and hears no more of this run", observer)
        self._observers = [other for other in self._observers if other is not observer]
        self._listeners = {
            kind: [listener for listener in listeners if listener[0] is not observer]
            for kind, listeners in self._listeners.items()
        }


# Of each kind of event: who wants to hear of it, and how it is told.
Listeners = dict[type, list[tuple[Observer, Callable[[Any], None]]]]


def _listeners(observers: Sequence[Observer]) -> Listeners:
    listeners: Listeners = {Call: [], Attempt: [], Stop: []}
    for observer in observers:
        kind = type(observer)
        if kind.task_started is not Observer.task_started:
            listeners[Call].append((observer, observer.task_started))
        if kind.task_ended is not Observer.task_ended:
            listeners[Attempt].append((observer, observer.task_ended))
        if kind.run_stopping is not Observer.run_stopping:
            listeners[Stop].append((observer, partial(_tell_stopping, observer)))
    return listeners


def _tell_stopping(observer: Observer, stop: Stop) -> None:
    observer.run_stopping(stop.reason)
