"""Backends over `concurrent.futures` executors: what goes wrong in them, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Backend,
    BackendError,
    Graph,
    NotPicklable,
    Status,
    Task,
    TaskStopped,
    TaskTimeout,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends import default_backends
from tests.processes import working_children

# Python's resource tracker complains if memory is collected while it is at work (3.13).
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PROCESSES = ["futures-processes", "loky", "pebble"]
NAMES = ["futures-threads", *PROCESSES]


@pytest.fixture(params=PROCESSES)
def processes(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with load_backend(request.param, 2) as backend:
        yield backend


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_fails_what_was_sent_to_it_and_the_next_run_has_a_new_pool(
    processes: Backend,
) -> None:
    graph = Graph([Task("die", die), Task("after", lambda _: 1, needs=("die",))])
    report = run(graph, processes, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["die"].error, WorkerDied)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED
    assert run(Graph([Task("again", lambda: 2)]), processes).values == {"again": 2}


def test_a_task_that_killed_its_worker_is_tried_again(processes: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "tried")

    def once() -> int:
        if not os.path.exists(path):  # noqa: PTH110 - a closure that imports nothing
            open(path, "w").close()  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
        return 3

    graph = Graph([Task("once", once, retries=1)])
    report = run(graph, processes)
    assert report.values == {"once": 3}
    assert [type(attempt.error) for attempt in report.tasks["once"].attempts] == [
        WorkerDied,
        type(None),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_after_a_timeout_the_other_tasks_have_all_workers(name: str) -> None:
    ended = threading.Event()

    def slow() -> None:
        time.sleep(20)

    def slow_here() -> None:
        ended.wait(20)

    graph = Graph(
        [
            Task("slow", slow_here if name == "futures-threads" else slow, timeout_s=0.3),
            *(Task(f"quick{index}", lambda: time.sleep(0.01), timeout_s=60) for index in range(8)),
        ]
    )
    began_s = time.monotonic()
    with load_backend(name, 2) as backend:
        report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
        assert isinstance(report.tasks["slow"].error, TaskTimeout)
        assert report.counts[Status.SUCCEEDED] == 8
        ended.set()
    assert time.monotonic() - began_s < 20, "nobody waited for the slow task"


@pytest.mark.parametrize("name", PROCESSES)
def test_closing_leaves_no_process(name: str) -> None:
    before = working_children()
    with load_backend(name, 2) as backend:
        slow = Graph([Task(f"slow{index}", lambda: time.sleep(30)) for index in range(6)])
        cancel = threading.Event()
        threading.Timer(0.3, cancel.set).start()
        report = run(slow, backend, cancel=cancel)
        assert {type(record.error) for record in report.tasks.values()} <= {TaskStopped, type(None)}
        assert run(Graph([Task("next", lambda: 1)]), backend).values == {"next": 1}
    psutil.wait_procs(working_children() - before, timeout=10)
    assert not working_children() - before


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def test_what_cannot_be_sent_fails_its_task_alone(processes: Backend) -> None:
    graph = Graph(
        [
            Task("value", Unpicklable),
            Task("lock", threading.Lock),
            Task("action", lambda lock=threading.Lock(): lock),  # noqa: B008
            Task("fine", lambda: [1, 2]),
        ]
    )
    report = run(graph, processes, policy=CONTINUE_ON_FAILURE)
    for name in ("value", "lock", "action"):
        assert isinstance(report.tasks[name].error, NotPicklable), name
        assert repr(name) in str(report.tasks[name].error)
    assert report.values == {"fine": [1, 2]}


def test_errors_come_with_the_workers_traceback(processes: Backend) -> None:
    def fail() -> None:
        raise LookupError("in there")

    report = run(Graph([Task("fail", fail)]), processes)
    error = report.tasks["fail"].error
    assert isinstance(error, LookupError)
    assert "in fail" in "".join(error.__notes__)


def test_attempts_have_their_processor_time_and_their_worker(processes: Backend) -> None:
    def spin() -> None:
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass

    graph = Graph([Task(f"spin{index}", spin) for index in range(4)])
    report = run(graph, processes, measure_cpu=True)
    for record in report.tasks.values():
        (attempt,) = record.attempts
        assert attempt.cpu_s is not None
        assert 0.02 <= attempt.cpu_s <= attempt.duration_s
        assert attempt.worker.startswith("process-")


@pytest.mark.parametrize("name", NAMES)
def test_named_pools_are_measured_only_if_they_are_named(name: str) -> None:
    assert name not in default_backends()


# -- any executor ---------------------------------------------------------------------------


class Counting(ThreadPoolExecutor):
    """An executor of the user's own."""

    made = 0

    def __init__(self, workers: int) -> None:
        type(self).made += 1
        super().__init__(workers)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


def make_processes(workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def test_any_executor_runs_a_graph() -> None:
    graph = Graph([Task("a", lambda: 2), Task("b", lambda a: a + 1, needs=("a",))])
    with load_backend("futures", 3, executor=Counting) as backend:
        assert backend.workers == 3
        assert run(graph, backend).values == {"b": 3}
    assert Counting.made == 1
    with load_backend("futures", 1, executor=make_processes) as backend:
        assert run(graph, backend).values == {"b": 3}


def test_an_executor_can_be_named_by_its_place() -> None:
    place = "concurrent.futures:ThreadPoolExecutor"
    assert run(Graph([Task("a", int)]), load_backend("futures", 1, executor=place)).succeeded


@pytest.mark.parametrize(
    ("executor", "says"),
    [
        (None, "needs the option executor"),
        ("nowhere", "must be MODULE:FUNCTION"),
        ("nowhere:it", "'nowhere:it' cannot be imported: ModuleNotFoundError"),
        ("os:nothing", "'os:nothing' cannot be imported: AttributeError"),
        (3, "must be a function"),
    ],
)
def test_a_wrong_executor_is_refused_in_a_line(executor: Any, says: str) -> None:
    with pytest.raises(BackendError, match=says) as raised:
        load_backend("futures", 1, executor=executor)
    assert "\n" not in str(raised.value)


def test_an_executor_that_cannot_start_says_so() -> None:
    def broken(workers: int) -> Executor:
        return ProcessPoolExecutor(workers, initializer=die, mp_context=get_context("spawn"))

    with (
        pytest.raises(BackendError, match="workers of futures cannot start"),
        load_backend("futures", 1, executor=broken),
    ):
        raise AssertionError("it has started")


SCRIPT = """
import sys, time
from executors import *
graph = Graph([Task(f"t{index}", lambda: time.sleep(60)) for index in range(8)])
if __name__ == "__main__":
    with load_backend(sys.argv[1], 2) as backend:
        print("ready", flush=True)
        try:
            run(graph, backend)
        except KeyboardInterrupt as error:
            print(error.report.counts, flush=True)
"""


@pytest.mark.parametrize("name", PROCESSES)
def test_workers_end_with_a_program_that_is_killed(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    program = subprocess.Popen([sys.executable, script, name], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.5)
    left = psutil.Process(program.pid).children(recursive=True)
    program.kill()
    program.communicate()
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive


@pytest.mark.parametrize("name", PROCESSES)
def test_ctrl_c_ends_the_run_and_the_processes(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    program = subprocess.Popen(
        [sys.executable, script, name], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.5)
    workers = psutil.Process(program.pid).children(recursive=True)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    said, _ = program.communicate(timeout=60)
    assert "NOT_STARTED" in said
    assert program.returncode == 0
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
