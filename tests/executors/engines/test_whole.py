"""Backends that hand the whole graph to a scheduler of another package."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    STOP_ON_FAILURE,
    Attempt,
    Backend,
    Call,
    Graph,
    NotPicklable,
    Observer,
    Status,
    Task,
    TaskTimeout,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends import backend_class
from executors.backends.base import Feature

PROCESSES = ["dask-processes", "joblib"]
NAMES = ["dask-threads", "joblib-threads", *PROCESSES]
for name in NAMES:
    if (missing := backend_class(name).unavailable()) is not None:
        pytest.skip(missing, allow_module_level=True)


@pytest.fixture(scope="module", params=NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with load_backend(request.param, 2) as entered:
        yield entered


@pytest.fixture(scope="module", params=PROCESSES)
def processes(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with load_backend(request.param, 2) as entered:
        yield entered


def test_a_retry_runs_what_needs_it_again_and_nothing_else(backend: Backend) -> None:
    began: list[str] = []
    ended: list[tuple[str, str]] = []

    class Listener(Observer):
        def task_started(self, call: Call) -> None:
            began.append(call.task.name)

        def task_ended(self, attempt: Attempt) -> None:
            ended.append((attempt.task_name, type(attempt.error).__name__))

    path = f"/tmp/executors-{os.getpid()}-{time.monotonic_ns()}"

    def flaky(_: int) -> int:
        if not os.path.exists(path):  # noqa: PTH110 - a closure that imports nothing
            os.mkdir(path)  # noqa: PTH102
            raise ValueError("once")
        os.rmdir(path)  # noqa: PTH106
        return 2

    graph = Graph(
        [
            Task("first", lambda: 1),
            Task("flaky", flaky, needs=("first",), retries=1),
            Task("beside", lambda value: value, needs=("first",)),
            Task("after", lambda value, other: value + other, needs=("flaky", "beside")),
        ]
    )
    report = run(graph, backend, observers=[Listener()])
    assert report.values == {"after": 3}
    assert sorted(ended) == [
        ("after", "NoneType"),
        ("beside", "NoneType"),
        ("first", "NoneType"),
        ("flaky", "NoneType"),
        ("flaky", "ValueError"),
    ]
    assert sorted(began) == ["after", "beside", "first", "flaky", "flaky"]


def test_a_failure_stops_what_has_not_begun_and_lets_the_rest_end(backend: Backend) -> None:
    def fail() -> None:
        raise ValueError("no")

    graph = Graph(
        [
            Task("fail", fail, cost_s=9),
            *(Task(f"later{index}", lambda: time.sleep(0.02), cost_s=1) for index in range(40)),
        ]
    )
    report = run(graph, backend, policy=STOP_ON_FAILURE)
    assert report.tasks["fail"].status is Status.FAILED
    assert set(report.counts) <= {Status.FAILED, Status.SUCCEEDED, Status.NOT_STARTED}
    assert report.counts[Status.NOT_STARTED] > 10


def test_a_timeout_is_noticed_when_the_task_returns(backend: Backend) -> None:
    graph = Graph(
        [
            Task("slow", lambda: time.sleep(0.2), timeout_s=0.05),
            Task("after", lambda _: 1, needs=("slow",)),
        ]
    )
    report = run(graph, backend)
    assert isinstance(report.tasks["slow"].error, TaskTimeout)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED


def test_that_a_stop_waits_is_said(backend: Backend) -> None:
    assert "waits for the tasks that are running" in type(backend).cannot[Feature.STOP]
    cancel = threading.Event()
    graph = Graph([Task(f"t{index}", lambda: time.sleep(0.3)) for index in range(40)])
    threading.Timer(0.1, cancel.set).start()
    report = run(graph, backend, cancel=cancel)
    assert set(report.counts) <= {Status.SUCCEEDED, Status.NOT_STARTED}
    assert report.counts[Status.NOT_STARTED] >= 20


def test_a_killed_worker_fails_what_was_sent_and_the_next_run_has_new_ones(
    processes: Backend,
) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    graph = Graph([Task("die", die), Task("after", lambda _: 1, needs=("die",))])
    report = run(graph, processes, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["die"].error, WorkerDied)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED
    assert run(Graph([Task("again", lambda: 2)]), processes).values == {"again": 2}


def test_what_cannot_be_sent_fails_its_task_alone(processes: Backend) -> None:
    graph = Graph(
        [
            Task("lock", threading.Lock),
            Task("reader", lambda lock: lock, needs=("lock",)),
            Task("action", lambda lock=threading.Lock(): lock),  # noqa: B008
            Task("fine", lambda: [1, 2]),
        ]
    )
    report = run(graph, processes, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["lock"].error, NotPicklable)
    assert isinstance(report.tasks["action"].error, NotPicklable)
    assert report.tasks["reader"].status is Status.UPSTREAM_FAILED
    assert report.values == {"fine": [1, 2]}


@pytest.mark.parametrize("name", PROCESSES)
def test_large_values_go_by_reference_between_tasks(name: str) -> None:
    size = 3_000_000
    graph = Graph(
        [
            Task("make", lambda: bytes(size)),
            *(Task(f"read{index}", len, needs=("make",)) for index in range(4)),
        ]
    )
    assert set(run(graph, load_backend(name, 2)).values.values()) == {size}
