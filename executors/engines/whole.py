"""What backends share that hand a scheduler all tasks at once, and follow what it does with them.

With slots or contexts, which such a scheduler does not know, it gets only what may run together;
when that has ended, it gets the next tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextvars import copy_context
from threading import Lock, current_thread
from time import monotonic
from typing import ClassVar

from executors.backends.base import Backend, Feature, attempt, in_time, metered
from executors.core.records import Attempt, Call
from executors.core.session import Session
from executors.engines import sent
from executors.engines.client import Client
from executors.errors import NotPicklable
from executors.gate import Gate


class Whole(Backend):
    """Hands over all tasks that may run, waits until they have ended, and goes on."""

    is_default: ClassVar[bool] = False
    cannot = {
        Feature.STOP: "its loop cannot be left, so a stop waits for the tasks that are running",
    }
    takes_ahead: ClassVar[bool] = True  # it resolves needs by itself

    def __init__(self, workers: int | None = None) -> None:
        super().__init__(workers)
        self._woken = Gate()

    def drive(self, session: Session) -> None:
        while True:
            now_s = monotonic()
            following = Following(session, self.name)
            following.take(now_s, self.takes_ahead)
            if following.calls:
                self.hand_over(following)
                following.put_back()
            elif session.over:
                return
            else:
                wake_at_s = session.wake_at_s
                self._woken.wait(None if wake_at_s is None else max(0.0, wake_at_s - now_s))

    def wake(self) -> None:
        self._woken.open()

    @abstractmethod
    def hand_over(self, following: Following) -> None:
        """Runs the calls; returns when none is running."""


class Following:
    """Calls that a scheduler has, and what becomes of them.

    Attributes:
        backend: its name.
        calls: by rank; without those that have ended or were put back.
    """

    def __init__(self, session: Session, backend: str) -> None:
        self.session = session
        self.backend = backend
        self.calls: dict[int, Call] = {}
        self.client = Client(session, backend)
        self._context = copy_context()
        self._lock = Lock()  # guards the session

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more should start."""
        return self.session.stop_reason is not None

    def take(self, now_s: float, ahead: bool) -> list[Call]:
        """Takes what is ready and, if the scheduler resolves needs, what will be."""
        session, calls, taken = self.session, self.calls, []
        while (call := session.take(now_s)) is not None:
            calls[call.rank] = call
            taken.append(call)
        for call in taken if ahead else ():  # it grows
            for rank in session.graph.dependents[call.rank]:
                if rank not in calls and (next_call := session.ahead(rank, now_s)) is not None:
                    calls[rank] = next_call
                    taken.append(next_call)
        return taken

    def taken(self, now_s: float, ahead: bool) -> Iterator[tuple[Call, bytes]]:
        """As `take`, each call with its pickled action; one that cannot be pickled fails.

        The calls that need it, which were taken ahead, are then put back and left out.
        """
        for call in self.take(now_s, ahead):
            if self.calls.get(call.rank) is call:
                try:
                    action = self.client.action(call)
                except NotPicklable as error:
                    self.failed(call.rank, error)
                else:
                    yield call, action

    def started(self, rank: int) -> None:
        """Announces that a call was sent; from any thread."""
        with self._lock:
            if (call := self.calls.get(rank)) is not None:
                self.session.started(call, monotonic())

    def attempt(self, call: Call) -> Attempt | None:
        """Makes an attempt in this thread; None if it should not begin any more."""
        if self.is_stopped or call.rank not in self.calls:
            return None
        meter = sent.meter_of_thread() if self.session.measure_cpu else None
        outcome = self._context.copy().run(attempt, call, current_thread().name)
        if meter is not None:
            metered(outcome, meter)
        return in_time(call, outcome)

    def finish(self, rank: int, outcome: Attempt | None) -> None:
        """Takes an outcome; None if the call did not begin. From any thread."""
        with self._lock:
            call = self.calls.pop(rank, None)
            if call is None:
                return
            now_s = monotonic()
            if outcome is None:
                self.session.put_back(call, now_s)
                return
            if outcome.error is not None:
                self._put_back_dependents(rank, now_s)
            self.session.finish(outcome, now_s)

    def failed(self, rank: int, error: BaseException) -> None:
        """Fails a call that was not sent."""
        if (call := self.calls.get(rank)) is not None:
            self.finish(rank, self.client.failed(call, monotonic(), error))

    def died(self, ranks: Iterable[int], why: BaseException) -> None:
        """Fails the calls that a worker may have had that died."""
        for rank in list(ranks):
            if (call := self.calls.get(rank)) is not None:
                self.finish(rank, self.client.died(call, monotonic(), why))

    def put_back(self) -> None:
        """Puts back all calls that have not ended."""
        with self._lock:
            for call in self.calls.values():
                self.session.put_back(call, monotonic())
            self.calls.clear()

    def _put_back_dependents(self, rank: int, now_s: float) -> None:
        dependents = list(self.session.graph.dependents[rank])
        while dependents:
            dependent = dependents.pop()
            if (call := self.calls.pop(dependent, None)) is not None:
                self.session.put_back(call, now_s)
                dependents += self.session.graph.dependents[dependent]
