"""What every backend does alike, one sentence a test."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Attempt,
    Backend,
    BackendError,
    Call,
    Graph,
    GraphError,
    Observer,
    RunFailed,
    RunReport,
    Session,
    Status,
    Task,
    TaskStopped,
    TaskTimeout,
    run,
)


def diamond() -> Graph:
    """::

    top -> left  -> bottom
        -> right ->
    """
    return Graph(
        [
            Task("bottom", lambda left, right: [left, right], needs=("left", "right")),
            Task("top", lambda: 1),
            Task("left", lambda top: top + 1, needs=("top",)),
            Task("right", lambda top: top + 2, needs=("top",)),
        ]
    )


def test_values_become_arguments_in_the_order_of_needs(backend: Backend) -> None:
    assert run(diamond(), backend).values == {"bottom": [2, 3]}


@pytest.mark.parametrize(
    ("keep", "names"),
    [
        ("sinks", ["bottom"]),
        ("all", ["bottom", "top", "left", "right"]),
        ("none", []),
        (["top", "bottom"], ["bottom", "top"]),
    ],
)
def test_keep_says_which_values_the_report_has(
    backend: Backend, keep: Any, names: list[str]
) -> None:
    assert list(run(diamond(), backend, keep=keep).values) == names


def test_keep_refuses_unknown_names(backend: Backend) -> None:
    with pytest.raises(GraphError, match="'nowhere'"):
        run(diamond(), backend, keep=["nowhere"])


def test_an_empty_graph_is_over_at_once(backend: Backend) -> None:
    report = run(Graph([]), backend)
    assert report.succeeded
    assert report.values == {}


def test_one_need_can_be_two_arguments(backend: Backend) -> None:
    graph = Graph([Task("a", lambda: 2), Task("b", lambda x, y: x * y, needs=("a", "a"))])
    assert run(graph, backend).values == {"b": 4}


def test_large_values_pass(backend: Backend) -> None:
    size = 8_000_000
    graph = Graph(
        [
            Task("make", lambda: b"x" * size),
            *(Task(f"pass{i}", lambda data: data + b"y", needs=("make",)) for i in range(3)),
            Task(
                "count",
                lambda *many: [len(data) for data in many],
                needs=("pass0", "pass1", "pass2"),
            ),
        ]
    )
    assert run(graph, backend).values == {"count": [size + 1] * 3}


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt("mine")])
def test_whatever_an_action_raises_is_its_outcome(backend: Backend, error: BaseException) -> None:
    def action() -> None:
        raise error

    report = run(Graph([Task("t", action)]), backend)
    got = report.tasks["t"].error
    assert report.tasks["t"].status is Status.FAILED
    assert type(got) is type(error)
    assert got.args == error.args
    with pytest.raises(RunFailed, match="'t'") as raised:
        report.raise_for_failures()
    assert raised.value.__cause__ is got


def test_a_retry_waits_for_its_delay_and_holds_no_worker(backend: Backend) -> None:
    def flaky(box: list[int] = []) -> None:  # noqa: B006
        raise ValueError

    graph = Graph(
        [
            Task("flaky", flaky, retries=2, retry_delay_s=0.05, retry_backoff=2.0),
            *(Task(f"other{i}", lambda: None) for i in range(6)),
        ]
    )
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    first, second, third = report.tasks["flaky"].attempts
    assert [attempt.number for attempt in (first, second, third)] == [1, 2, 3]
    assert second.started_s - first.ended_s >= 0.05
    assert third.started_s - second.ended_s >= 0.1
    others = [report.tasks[f"other{i}"].attempts[0] for i in range(6)]
    assert all(other.ended_s < third.started_s for other in others)


def test_a_task_that_overruns_its_timeout_fails(backend: Backend) -> None:
    graph = Graph(
        [
            Task("slow", lambda: time.sleep(0.4), timeout_s=0.1),
            Task("after", lambda _: None, needs=("slow",)),
            Task("quick", lambda: 1, timeout_s=30.0),
        ]
    )
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["slow"].error, TaskTimeout)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED
    assert report.values == {"quick": 1}


def test_the_most_urgent_ready_task_goes_first(backend: Backend) -> None:
    """::

    short, short2 ...    and   long0 -> long1 -> long2
    """
    chain = [Task("long0", lambda: None)]
    chain += [Task(f"long{i}", lambda _: None, needs=(f"long{i - 1}",)) for i in (1, 2)]
    graph = Graph([*(Task(f"short{i}", lambda: None) for i in range(4)), *chain])
    report = run(graph, backend)
    taken = {name: record.taken_s or 0.0 for name, record in report.tasks.items()}
    assert taken["long0"] <= min(taken[f"short{i}"] for i in range(4))


def test_retries_that_wait_hold_no_worker(backend: Backend) -> None:
    """As many waiting retries as workers, and others that must not wait for them."""

    def fail() -> None:
        raise ValueError

    flaky = [
        Task(f"flaky{i}", fail, retries=1, retry_delay_s=0.5, cost_s=9)
        for i in range(backend.workers)
    ]
    others = [Task(f"other{i}", lambda: None, cost_s=1) for i in range(6)]
    report = run(Graph([*flaky, *others]), backend, policy=CONTINUE_ON_FAILURE)
    retried_s = min(report.tasks[task.name].attempts[1].started_s for task in flaky)
    assert all(report.tasks[task.name].attempts[0].ended_s < retried_s for task in others)


def test_endless_backoff_and_far_timeouts_do_no_harm(backend: Backend) -> None:
    def fail() -> None:
        raise ValueError

    graph = Graph(
        [
            Task("fail", fail, retries=3, retry_backoff=1e200),
            Task("late", lambda: 1, timeout_s=1e9, retries=1, retry_delay_s=1e9),
        ]
    )
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert len(report.tasks["fail"].attempts) == 4
    assert report.values == {"late": 1}


def test_cancel_before_the_start_starts_nothing(backend: Backend) -> None:
    cancel = threading.Event()
    cancel.set()
    report = run(diamond(), backend, cancel=cancel)
    assert report.counts == {Status.NOT_STARTED: 4}


def test_an_action_that_raises_the_schedulers_own_errors_just_fails(backend: Backend) -> None:
    def fail() -> None:
        raise TaskStopped("not really")

    graph = Graph([Task("t", fail), Task("other", lambda: 1)])
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert report.counts == {Status.SUCCEEDED: 1, Status.FAILED: 1}


class Listener(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def run_started(self, graph: Graph, backend: str, workers: int) -> None:
        self.heard.append(f"run {len(graph)}")

    def task_started(self, call: Call) -> None:
        self.heard.append(f"start {call.task.name} {call.number}")

    def task_ended(self, attempt: Attempt) -> None:
        assert attempt.value is None
        self.heard.append(
            f"end {attempt.task_name} {attempt.number} {type(attempt.error).__name__}"
        )

    def run_stopping(self, reason: str) -> None:
        self.heard.append(f"stopping: {reason}")

    def run_ended(self, report: RunReport) -> None:
        self.heard.append("over")


def test_cancel_stops_the_run(backend: Backend) -> None:
    cancel = threading.Event()
    graph = Graph([Task(f"t{i}", lambda: time.sleep(0.02)) for i in range(500)])
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    listener = Listener()
    report = run(graph, backend, cancel=cancel, observers=[listener])
    timer.join()
    assert listener.heard.count("stopping: cancelled") == 1
    assert report.stop_reason == "cancelled"
    assert not report.failures
    assert Status.NOT_STARTED in {record.status for record in report.tasks.values()}
    with pytest.raises(RunFailed, match="cancelled"):
        report.raise_for_failures()


def test_observers_hear_everything_in_order(backend: Backend) -> None:
    def fail(_: object) -> None:
        raise ValueError

    graph = Graph([Task("a", lambda: 1), Task("b", fail, needs=("a",), retries=1)])
    listener = Listener()
    run(graph, backend, observers=[listener])
    assert listener.heard == [
        "run 2",
        "start a 1",
        "end a 1 NoneType",
        "start b 1",
        "end b 1 ValueError",
        "start b 2",
        "end b 2 ValueError",
        "stopping: task 'b' failed",
        "over",
    ]


def test_an_observer_that_raises_is_logged_and_dropped(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        heard = 0

        def task_ended(self, attempt: Attempt) -> None:
            self.heard += 1
            raise SystemExit("observer bug")

    broken, listener = Broken(), Listener()
    assert run(diamond(), backend, observers=[broken, listener]).succeeded
    assert broken.heard == 1
    assert listener.heard[-1] == "over"
    assert len(listener.heard) == 10
    assert "observer bug" in caplog.text


def test_a_blocked_observer_does_not_stop_the_workers(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The observer blocks until the backend has driven the whole run."""
    driven = threading.Event()
    drive = backend.drive

    def drive_and_tell(session: Session) -> None:
        drive(session)
        driven.set()

    class Blocked(Observer):
        saw_the_end = True

        def task_started(self, call: Call) -> None:
            self.saw_the_end = self.saw_the_end and driven.wait(20)

    monkeypatch.setattr(backend, "drive", drive_and_tell)
    blocked = Blocked()
    run(diamond(), backend, observers=[blocked])
    assert driven.is_set()
    assert blocked.saw_the_end


def test_records_divide_the_time_of_a_task(backend: Backend) -> None:
    report = run(diamond(), backend)
    for record in report.tasks.values():
        (attempt,) = record.attempts
        times = [
            record.ready_s,
            record.taken_s,
            attempt.started_s,
            attempt.ended_s,
            record.received_s,
        ]
        assert None not in times
        assert times == sorted(times)  # type: ignore[type-var]


def test_log_records_of_actions_reach_the_handlers_here(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def action() -> None:
        logging.getLogger("mine").warning("from %s", "inside", extra={"lock": threading})

    run(Graph([Task("t", action)]), backend)
    assert [record.getMessage() for record in caplog.records if record.name == "mine"] == [
        "from inside"
    ]


def test_a_backend_serves_one_run_at_a_time(backend: Backend) -> None:
    class Nested(Observer):
        error: BaseException | None = None

        def run_started(self, graph: Graph, name: str, workers: int) -> None:
            with pytest.raises(BackendError, match="is running another graph") as raised:
                run(diamond(), backend)
            self.error = raised.value

    nested = Nested()
    assert run(diamond(), backend, observers=[nested]).succeeded
    assert nested.error is not None
    with pytest.raises(BackendError, match="has already been entered"), backend:
        raise AssertionError("entered twice")


def test_slots_and_contexts_keep_tasks_apart(backend: Backend) -> None:
    """Two tasks that fill all workers, two contexts, and small ones that may pass."""
    nap = 0.01
    graph = Graph(
        [
            *(Task(f"wide{i}", lambda: time.sleep(nap), slots=99) for i in range(2)),
            *(Task(f"context{i}", lambda: time.sleep(nap), context=i % 2) for i in range(6)),
            *(Task(f"small{i}", lambda: time.sleep(nap)) for i in range(6)),
        ]
    )
    report = run(graph, backend)
    assert report.succeeded
    spans = {name: record.attempts[0] for name, record in report.tasks.items()}
    for name, span in spans.items():
        for other, far in spans.items():
            if name < other and span.started_s < far.ended_s and far.started_s < span.ended_s:
                assert "wide" not in name + other
                if name.startswith("context") and other.startswith("context"):
                    assert int(name[7:]) % 2 == int(other[7:]) % 2
