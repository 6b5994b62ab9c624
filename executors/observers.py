"""`Observer`, and the thread that tells observers what happens in a run.

Observers run on a thread of their own, so a blocked terminal stops no worker. A session posts
its events into a queue; the thread is woken by the first one and then rests for a moment, so
that a million short tasks cost a few hundred wake-ups, not two million.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from executors.gate import Gate
from executors.graph import Graph
from executors.records import Attempt, Call, RunReport, Stop

logger = logging.getLogger("executors")

REST_S = 0.005  # how late an observer may hear of an event


class Observer:
    """Told what happens, one call at a time and in order; override what you need.

    An observer that raises is logged, dropped for the rest of the run, and breaks nothing.
    `run_started` and `run_ended` are called on the thread that called `run`, the others on
    another thread, up to a few milliseconds after the event.
    """

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        """The first tasks are about to start."""

    def task_started(self, call: Call) -> None:
        """An attempt began; told again if its worker died before it really could."""

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
        self._events: deque[Call | Attempt | Stop] = deque()
        self._is_stopping = False
        self._asleep = False
        self._closing = False
        self._woken = Gate()
        self._hurried = Gate()
        self._thread: threading.Thread | None = None

    @property
    def tell(self) -> Callable[[Call | Attempt | Stop], None] | None:
        """What a session calls with each event; None when nobody listens to any."""
        hooks = ("task_started", "task_ended", "run_stopping")
        listens = any(
            getattr(type(observer), hook) is not getattr(Observer, hook)
            for observer in self._observers
            for hook in hooks
        )
        return self._post if listens else None

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
            self._closing = True
            self._hurried.open()
            self._woken.open()
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

    def _post(self, event: Call | Attempt | Stop) -> None:
        self._events.append(event)
        if isinstance(event, Stop):
            self._hurried.open()
        if self._asleep:
            self._asleep = False
            self._woken.open()

    def _deliver(self) -> None:
        event: Call | Attempt | Stop | None
        events = self._events
        while True:
            closing = self._closing  # read first: what was posted before it is delivered
            while events:
                event = events.popleft()
                if isinstance(event, Stop):
                    if self._is_stopping:
                        continue  # two reasons at the same time
                    self._is_stopping = True
                for observer in self._observers:
                    try:
                        if isinstance(event, Call):
                            observer.task_started(event)
                        elif isinstance(event, Attempt):
                            observer.task_ended(event)
                        else:
                            observer.run_stopping(event.reason)
                    except BaseException:  # SystemExit too: it must not silence the others
                        self._drop(observer)
            event = None  # an idle thread pins nothing
            if closing:
                return
            self._asleep = True
            if not events and not self._closing:
                self._woken.wait()
                self._hurried.wait(REST_S)
            self._asleep = False

    def _drop(self, observer: Observer) -> None:
        logger.exception("observer %r failed and hears no more of this run", observer)
        self._observers = [other for other in self._observers if other is not observer]
