"""Events reach observers in order, on another thread, and cost nothing where nobody listens."""

from __future__ import annotations

import threading

import pytest

from executors import Attempt, Call, Graph, Observer, Task
from executors.core.records import Stop
from executors.observers import Announcer

GRAPH = Graph([Task("a", print)])


def call(number: int) -> Call:
    return Call(0, GRAPH.ranked[0], number, (), [None])


class Listener(Observer):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.threads: set[str] = set()

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread().name)

    def task_started(self, call: Call) -> None:
        self._note(f"start {call.number}")

    def task_ended(self, attempt: Attempt) -> None:
        self._note(f"end {attempt.number}")

    def run_stopping(self, reason: str) -> None:
        self._note(f"stop {reason}")


def delivered(*observers: Observer, events: list[Call | Attempt | Stop]) -> None:
    announcer = Announcer(observers)
    announcer.open(GRAPH, "none", 1)
    assert announcer.notify is not None
    for event in events:
        announcer.notify(event)
    announcer.drain()


def test_events_come_in_order_and_on_a_thread_of_their_own() -> None:
    listener = Listener()
    attempt = Attempt(call(1), "w", 0.0, 1.0, None, None)
    delivered(listener, events=[call(1), attempt, call(2)])
    assert listener.events == ["start 1", "end 1", "start 2"]
    assert listener.threads == {"observers"}


def test_only_the_first_reason_of_a_stop_is_delivered() -> None:
    listener = Listener()
    delivered(listener, events=[Stop("first"), Stop("second")])
    assert listener.events == ["stop first"]


def test_a_session_notifies_nobody_if_nobody_listens() -> None:
    class OnlyTheEnds(Observer):
        def run_started(self, graph: Graph, backend: str, workers: int) -> None:
            pass

    assert Announcer([]).notify is None
    assert Announcer([OnlyTheEnds()]).notify is None
    assert Announcer([OnlyTheEnds(), Listener()]).notify is not None


def test_an_observer_that_raises_is_dropped_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Listener):
        def task_started(self, call: Call) -> None:
            super().task_started(call)
            raise SystemExit("a bug")

    broken, listener = Broken(), Listener()
    delivered(broken, listener, events=[call(1), call(2)])
    assert broken.events == ["start 1"]
    assert listener.events == ["start 1", "start 2"]
    assert "is dropped for the rest of this run" in caplog.text


def test_one_that_fails_at_the_start_hears_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    class Early(Listener):
        def run_started(self, graph: Graph, backend: str, workers: int) -> None:
            raise ValueError("too early")

    early, listener = Early(), Listener()
    delivered(early, listener, events=[call(1)])
    assert (early.events, listener.events) == ([], ["start 1"])
    assert "too early" in caplog.text
