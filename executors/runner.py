"""`run`: one graph on one backend, from the first signal handler to the report."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from executors.backends import load_backend
from executors.backends.base import Backend, act
from executors.core.graph import Graph
from executors.core.policy import FAIL_FAST, FailurePolicy
from executors.core.records import RunReport
from executors.core.session import Session
from executors.errors import ActionInterrupted, ArgumentError, BackendError, GraphError
from executors.observers import HOOKS, Announcer, Observer

CANCEL_POLL_S = 0.05  # how often a run checks `cancel`: an Event cannot wake anything else


def run(
    graph: Graph,
    backend: Backend | str,
    *,
    workers: int | None = None,
    policy: FailurePolicy = FAIL_FAST,
    observers: Collection[Observer] = (),
    keep: str | Collection[str] = "sinks",
    cancel: threading.Event | None = None,
    measure_cpu: bool = False,
) -> RunReport:
    """Runs a graph and reports what happened; a task's failure is in the report, not raised.

    In the main thread, `run` turns the first SIGINT or SIGTERM into a stop: nothing more starts,
    running tasks are stopped as far as the backend can, and observers are notified of the end. A
    second signal is handled as if `run` had installed no handlers.

    Args:
        graph: what to run.
        backend: where to run it, or the name of a backend. One that has not been entered is started
            for this run and stopped after it.
        workers: how many tasks may run at once, if `backend` is a name; see `load_backend`.
        policy: what a failure does to the rest: FAIL_FAST, STOP_ON_FAILURE, CONTINUE_ON_FAILURE.
        observers: notified of what happens.
        keep: values for the report: "sinks" (of the tasks that nothing needs), "all", "none", or
            task names.
        cancel: an event that stops the run when it is set; the run then returns its report.
        measure_cpu: measure for how long each attempt computes (`Attempt.cpu_s`).

    Raises:
        KeyboardInterrupt: after SIGINT, with the report as its attribute `report`.
        SystemExit: after SIGTERM, with code 143 and the report as its attribute `report`.
        GraphError: `graph` is not a Graph, or `keep` names an unknown task.
        ArgumentError: `workers` is given for a Backend, which has its own; `policy` is not a
            policy, one of `observers` not an Observer, or `cancel` not an event.
        BackendError: `backend` is not a Backend, no backend has this name, it refuses the graph, it
            is driving another run, or its workers cannot start.
    """
    _check(graph, policy, observers, cancel)
    backend = _chosen(backend, workers)
    if (reason := backend.refuses(graph)) is not None:
        raise BackendError(reason)
    with ExitStack() as stack:
        stack.enter_context(backend.reserved())
        if not backend.is_open:
            stack.enter_context(backend)
        announcer = Announcer(observers)
        session = Session(
            graph,
            workers=backend.workers,
            policy=policy,
            keep=keep,
            notify=announcer.notify,
            measure_cpu=measure_cpu,
        )
        signals = stack.enter_context(_Signals(session, backend))
        stack.enter_context(_cancelled_by(cancel, session, backend))
        announcer.open(graph, backend.name, backend.workers)
        started_s = backend.clock()
        try:
            backend.drive(session)
            ended_s = backend.clock()
        except BaseException:
            announcer.drain()
            raise
        report = session.report(backend.name, started_s, ended_s, backend.unwrap)
        announcer.close(report)
    signals.raise_for(report)
    return report


def _chosen(backend: object, workers: int | None) -> Backend:
    """The backend that `run` was given, or the one of that name."""
    if isinstance(backend, str):
        return load_backend(backend, workers)
    if not isinstance(backend, Backend):
        raise BackendError(f"run needs a Backend or its name, such as 'threads', not {backend!r}")
    if workers is not None:
        raise ArgumentError(
            "workers is for a backend's name, as in run(graph, 'threads', workers=4);"
            " a Backend has its own number of workers"
        )
    return backend


def _check(graph: object, policy: object, observers: object, cancel: object) -> None:
    if not isinstance(graph, Graph):
        raise GraphError(f"run needs a Graph, not {graph!r}")
    if not isinstance(policy, FailurePolicy):
        raise ArgumentError(f"policy must be a FailurePolicy, such as FAIL_FAST, not {policy!r}")
    if not isinstance(observers, Collection) or isinstance(observers, str):
        raise ArgumentError(f"observers must be a list of Observers, not {observers!r}")
    for observer in observers:
        if isinstance(observer, type) or not all(hasattr(observer, hook) for hook in HOOKS):
            raise ArgumentError(f"observers must be Observers, not {observer!r}")
    if not (cancel is None or (hasattr(cancel, "is_set") and hasattr(cancel, "wait"))):
        raise ArgumentError(f"cancel must be a threading.Event, not {cancel!r}")


class _Signals:
    """While entered in the main thread, turns the first SIGINT or SIGTERM into a stop.

    The handler only posts. It raises in one place: inside an action that the main thread itself
    is running, that is, where the interrupted frame is below `act`.
    """

    def __init__(self, session: Session, backend: Backend) -> None:
        self._session = session
        self._backend = backend
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before  # first: a signal may arrive immediately
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number in reversed(self._before):  # SIGINT last: from then on it may raise
            signal.signal(number, self._before[number])

    def _receive(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self._received is not None:
            self._pass_on(number, frame, before)
            return
        self._received = number
        name = signal.Signals(number).name
        self._session.stop(f"received {name}")
        self._backend.wake()
        outer = getattr(before, "__self__", None)
        if isinstance(outer, _Signals):  # this run is inside an action of another one
            outer._receive(number, None)
        if _is_in_action(frame):
            raise ActionInterrupted(name)

    def _pass_on(self, number: int, frame: FrameType | None, before: Any) -> None:
        """Handles a second signal as if this run were not there."""
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            signal.raise_signal(number)

    def raise_for(self, report: RunReport) -> None:
        """Raises the exception for the received signal, if there was one."""
        if self._received is None:
            return
        error: BaseException = (
            KeyboardInterrupt() if self._received == signal.SIGINT else SystemExit(143)
        )
        error.report = report  # type: ignore[attr-defined]
        raise error


def _is_in_action(frame: FrameType | None) -> bool:
    """Whether the frame is in an action of this run, not in a run inside that action."""
    while frame is not None and frame.f_code is not run.__code__:
        if frame.f_code is act.__code__:
            return True
        frame = frame.f_back
    return False


@contextmanager
def _cancelled_by(
    cancel: threading.Event | None, session: Session, backend: Backend
) -> Iterator[None]:
    """Stops the session when the event is set while the context lasts."""
    if cancel is None:
        yield
        return
    if cancel.is_set():
        session.stop("cancelled")
    has_ended = False
    lock = threading.Lock()  # so that a run that has ended is not woken

    def watch() -> None:
        while not cancel.wait(CANCEL_POLL_S) and not has_ended:
            pass
        with lock:
            if not has_ended:
                session.stop("cancelled")
                backend.wake()

    threading.Thread(target=watch, name="cancel", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            has_ended = True
