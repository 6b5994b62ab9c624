"""ray, where it is installed; `nox -s ray` installs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    BackendError,
    Graph,
    NotPicklable,
    Status,
    Task,
    TaskTimeout,
    WorkerDied,
    load_backend,
    run,
)
from executors.backends import backend_class
from tests.processes import working_children

if (missing := backend_class("ray").unavailable()) is not None:
    pytest.skip(missing, allow_module_level=True)


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    before = working_children()
    with load_backend("ray", 2) as entered:
        yield entered
    assert working_children() == before


def test_a_killed_worker_fails_only_the_task_that_it_was_running(backend: Any) -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    others = [Task(f"t{i}", lambda i=i: i) for i in range(8)]
    graph = Graph([Task("dies", die), Task("after", lambda _: 1, ("dies",)), *others])
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["dies"].error, WorkerDied)
    assert report.tasks["after"].status is Status.UPSTREAM_FAILED
    assert report.counts[Status.SUCCEEDED] == 8


def test_large_values_stay_where_they_are_unless_they_are_kept(backend: Any) -> None:
    def large() -> bytes:
        return b"x" * 5_000_000

    graph = Graph([Task("large", large), *(Task(f"r{i}", len, ("large",)) for i in range(4))])
    report = run(graph, backend)
    assert set(report.values.values()) == {5_000_000}
    assert len(run(graph, backend, keep=["large"]).values["large"]) == 5_000_000


def test_what_cannot_be_pickled_fails_its_task(backend: Any) -> None:
    graph = Graph([Task("lock", threading.Lock), Task("other", lambda: 1)])
    report = run(graph, backend, policy=CONTINUE_ON_FAILURE)
    assert isinstance(report.tasks["lock"].error, NotPicklable)
    assert report.values == {"other": 1}


def test_after_a_timeout_and_after_a_stop_all_workers_are_there(backend: Any) -> None:
    slow = [Task(f"slow{i}", lambda: time.sleep(3), timeout_s=0.1) for i in range(2)]
    report = run(Graph(slow), backend, policy=CONTINUE_ON_FAILURE)
    assert all(isinstance(report.tasks[task.name].error, TaskTimeout) for task in slow)
    cancel = threading.Event()
    timer = threading.Timer(0.5, cancel.set)
    timer.start()
    graph = Graph(Task(f"t{i}", lambda: time.sleep(600)) for i in range(2))
    assert run(graph, backend, cancel=cancel).counts == {Status.STOPPED: 2}
    timer.join()
    assert run(Graph(Task(f"n{i}", lambda: 1) for i in range(4)), backend).succeeded


def test_a_second_ray_in_the_program_is_refused(backend: Any) -> None:
    with (
        pytest.raises(BackendError, match="runs already in this program"),
        load_backend("ray", 1),
    ):
        raise AssertionError("it was entered")


def test_a_script_needs_no_guard_and_prints_nothing_of_ray(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from executors import Graph, Task, run\n"
        "graph = Graph([Task('a', lambda: 2), Task('b', lambda a: a + 1, ('a',))])\n"
        "print(run(graph, 'ray', workers=2).values)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "{'b': 3}\n"
    assert done.stderr == ""
